/* promise.h - what a reader promises of any input, checked by the fuzz targets. */
#ifndef TESTS_FUZZ_PROMISE_H
#define TESTS_FUZZ_PROMISE_H

#include <parloop/parloop.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* As assert(), but always, and it ends as a crash does. */
#define promise(condition)                                                                      \
	do {                                                                                    \
		if (!(condition))                                                               \
			promise_broken(__FILE__, __LINE__, #condition);                         \
	} while (0)

static inline _Noreturn void promise_broken(const char *file, int line, const char *condition)
{
	(void)fprintf(stderr, "%s:%d: promise broken: %s\n", file, line, condition);
	abort();
}

static inline void promise_line(const char *text)
{
	for (; *text != '\0'; text++)
		promise((unsigned char)*text >= 0x20 && *text != 0x7f);
}

/* Whoever reads it learns what was wrong, on one line. */
static inline void promise_error(const par_error *error, int32_t status)
{
	char text[2400];

	promise(status < 0 && error->code == status);
	promise(error->what[0] != '\0' || error->file[0] != '\0');
	promise(error->reason[0] != '\0');
	promise_line(par_error_text(error, 0, text, sizeof(text)));
}

/* For par_set_log(): what is logged is one line as well. */
static inline void promise_log(void *user, int32_t level, const char *line)
{
	(void)user, (void)level;
	promise_line(line);
}

/* The next descriptor: it is the same before and after what leaves none open. */
static inline int promise_fd(void)
{
	int fd = dup(STDERR_FILENO);

	promise(fd >= 0);
	(void)close(fd);
	return fd;
}

#endif
