/* failure.h - a task that failed, as the person at the command sees it. */
#ifndef CLI_FAILURE_H
#define CLI_FAILURE_H

#include <parloop/parloop.h>

/* On stderr: its number, from 1, its input and why it failed, with the kind of failure if
 * the task named one and the number of attempts if there were several; then what is known
 * of where, a line each: its source line, the call inside it that failed. */
void failure_show(const par_outcome *outcome);

/* The same of a task that ended the call, and did not come as an outcome. */
void failure_show_error(const par_error *error, const void *input, size_t n);

#endif
