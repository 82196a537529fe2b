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

static void log_args(int32_t level, const char *format, va_list args)
{
	void (*write)(void *user, int32_t level, const char *line);
	void *user;
	char line[2048], shown[2048];

	level = level < LOG_DEBUG ? LOG_DEBUG : level > LOG_ERROR ? LOG_ERROR : level;
	pthread_mutex_lock(&sink.lock);
	write = sink.write;
	user = sink.user;
	pthread_mutex_unlock(&sink.lock);
	if (write == NULL && level < lowest_level())
		return;
	(void)vsnprintf(line, sizeof(line), format, args);
	error_escape(line, strlen(line), shown, sizeof(shown));
	if (write != NULL)
		write(user, level, shown);
	else
		fprintf(stderr, "parloop: %s: %s\n", level_names[level], shown);
}

void log_line(int32_t level, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	log_args(level, format, args);
	va_end(args);
}

/* --- once ----------------------------------------------------------------------------------- */

/* Topics by their hash: nothing that has to be allocated, or let go of. */
enum { MOST_TOPICS = 256 };

static struct {
	pthread_mutex_t lock;
	/* under lock */
	uint64_t topics[MOST_TOPICS];
	size_t n;
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(told.lock);

/* FNV-1a. */
static uint64_t hash_of(const char *text)
{
	uint64_t hash = 14695981039346656037u;

	for (; *text != '\0'; text++)
		hash = (hash ^ (unsigned char)*text) * 1099511628211u;
	return hash;
}

/* Of more topics than there is room for, all are told of again. */
static int is_first(const char *topic)
{
	uint64_t hash = hash_of(topic);
	int is_new = 1;

	pthread_mutex_lock(&told.lock);
	for (size_t i = 0; is_new && i < told.n; i++)
		is_new = told.topics[i] != hash;
	if (is_new && told.n < MOST_TOPICS)
		told.topics[told.n++] = hash;
	pthread_mutex_unlock(&told.lock);
	return is_new;
}

void log_once(const char *topic, int32_t level, const char *format, ...)
{
	va_list args;

	if (!is_first(topic))
		return;
	va_start(args, format);
	log_args(level, format, args);
	va_end(args);
}
