#include "log.h"

#include "error.h"
#include "forked.h"

#include <parloop/parloop.h>

#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct {
	pthread_mutex_t lock;
	/* under lock */
	void (*write)(void *user, int32_t level, const char *line);
	void *user;
} sink = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(sink.lock);

static const char *const level_names[] = {"debug", "info", "warning", "error", "none"};

static int32_t lowest_level(void)
{
	const char *wanted = secure_getenv("PARLOOP_LOG");

	for (int32_t i = 0; wanted != NULL && i < 5; i++)
		if (strcmp(wanted, level_names[i]) == 0)
			return i;
	return LOG_WARNING;
}

void par_set_log(void (*log)(void *user, int32_t level, const char *line), void *user)
{
	pthread_mutex_lock(&sink.lock);
	sink.write = log;
	sink.user = user;
	pthread_mutex_unlock(&sink.lock);
}

void log_line(int32_t level, const char *format, ...)
{
	void (*write)(void *user, int32_t level, const char *line);
	void *user;
	char line[2048], shown[2048];
	va_list args;

	level = level < LOG_DEBUG ? LOG_DEBUG : level > LOG_ERROR ? LOG_ERROR : level;
	pthread_mutex_lock(&sink.lock);
	write = sink.write;
	user = sink.user;
	pthread_mutex_unlock(&sink.lock);
	if (write == NULL && level < lowest_level())
		return;
	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	error_escape(line, strlen(line), shown, sizeof(shown));
	if (write != NULL)
		write(user, level, shown);
	else
		fprintf(stderr, "parloop: %s: %s\n", level_names[level], shown);
}
