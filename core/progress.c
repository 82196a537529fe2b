#include "progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { TIME = 32 };

__attribute__((format(printf, 4, 5))) static int say(const struct progress *progress, char *line,
                                                     size_t size, const char *format, ...)
{
	size_t used;
	va_list args;

	if (size < 2)
		return 0;
	/* One byte is held back, so that a line that was cut has its newline too. */
	(void)snprintf(line, size - 1, "[Parallel(n_jobs=%lld)]: ", (long long)progress->n_jobs);
	used = strlen(line);
	va_start(args, format);
	(void)vsnprintf(line + used, size - 1 - used, format, args);
	va_end(args);
	strcat(line, "\n");
	return 1;
}

char *progress_time(double seconds, char *buffer, size_t size)
{
	if (seconds > 60)
		(void)snprintf(buffer, size, "%4.1fmin", seconds / 60);
	else
		(void)snprintf(buffer, size, " %5.1fs", seconds);
	return buffer;
}

int progress_start(const struct progress *progress, const char *backend, int32_t n_workers,
                   char *line, size_t size)
{
	if (progress->verbose < 1)
		return 0;
	return say(progress, line, size, "Using backend %s with %d concurrent workers.", backend,
	           (int)n_workers);
}

static int is_last(const struct progress_point *point)
{
	return point->exhausted && point->completed == point->sent;
}

/* The source has more: the distance between lines grows with the square. */
static int shown_on_the_way(int64_t verbose, uint64_t batches)
{
	double scale;

	if (verbose > 10 || batches == 0)
		return 1;
	scale = 0.5 * (double)((11 - verbose) * (11 - verbose));
	return (uint64_t)sqrt((double)(batches + 1) / scale) != (uint64_t)sqrt((double)batches / scale);
}

/* The source is at its end: verbose lines or so over the rest, counted from where
 * dispatch ended, and not for the last but one, which the last follows at once. */
static int shown_at_the_end(const struct progress *progress, const struct progress_point *point)
{
	uint64_t frequency = point->sent / (uint64_t)progress->verbose + 1;
	uint64_t left = point->sent - point->completed + 1;
	uint64_t cursor;

	if (point->completed == 0)
		return 1;
	if (point->completed + 1 == point->sent)
		return 0;
	cursor = left > progress->pre_dispatch ? left - progress->pre_dispatch
	                                       : progress->pre_dispatch - left;
	return cursor % frequency == 0;
}

static int digits(int64_t total)
{
	return total > 0 ? snprintf(NULL, 0, "%lld", (long long)total) : 3;
}

static double remaining(const struct progress_point *point)
{
	double each = point->elapsed_s / (double)(point->completed > 0 ? point->completed : 1);

	return each * (double)(point->sent - point->completed);
}

int progress_at(const struct progress *progress, const struct progress_point *point, char *line,
                size_t size)
{
	unsigned long long done = point->completed, sent = point->sent;
	int width = digits(progress->total);
	char elapsed[TIME], left[TIME];

	if (progress->verbose < 1)
		return 0;
	progress_time(point->elapsed_s, elapsed, sizeof(elapsed));
	if (is_last(point))
		return say(progress, line, size, "Done %*llu out of %*llu | elapsed: %s finished",
		           width, done, width, done, elapsed);
	if (point->exhausted) {
		if (!shown_at_the_end(progress, point))
			return 0;
		progress_time(remaining(point), left, sizeof(left));
		return say(progress, line, size,
		           "Done %*llu out of %*llu | elapsed: %s remaining: %s", width, done,
		           width, sent, elapsed, left);
	}
	if (!shown_on_the_way(progress->verbose, point->batches))
		return 0;
	if (progress->total < 0)
		return say(progress, line, size, "Done %*llu tasks      | elapsed: %s", width, done,
		           elapsed);
	return say(progress, line, size, "Done %*llu out of %*lld | elapsed: %s", width, done,
	           width, (long long)progress->total, elapsed);
}
