/* log.h - lines for whoever runs the program: stderr, or par_set_log()'s function. */
#ifndef CORE_LOG_H
#define CORE_LOG_H

#include <stdint.h>

enum { LOG_DEBUG, LOG_INFO, LOG_WARNING, LOG_ERROR };

/* One line, printf-like, without its newline. [any] */
__attribute__((format(printf, 2, 3))) void log_line(int32_t level, const char *format, ...);

/* The same, but no second one about that topic in this process: what is so stays so, and whoever
 * runs the program has heard of it. [any] */
__attribute__((format(printf, 3, 4))) void log_once(const char *topic, int32_t level,
                                                    const char *format, ...);

#endif
