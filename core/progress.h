/* progress.h - joblib's lines about a call, for settings.verbose, and which of them
 * are worth showing.
 *
 * Formats into the caller's buffer and writes nothing: whoever runs the call
 * asks after each batch that completed, and writes what it gets, from verbose 50 on
 * to standard output, else to standard error.  Every line has its prefix and its
 * newline.  PROGRESS_LINE bytes are always enough; too long a line is cut, and
 * keeps its newline.  Pure functions: any thread, no failure. */
#ifndef CORE_PROGRESS_H
#define CORE_PROGRESS_H

#include <stddef.h>
#include <stdint.h>

enum { PROGRESS_LINE = 256, PROGRESS_STDOUT = 50 };

/* What is fixed for a call. */
struct progress {
	int64_t verbose;       /* below 1: no lines                                     */
	int64_t n_jobs;        /* as asked for (-1), not as it came out                 */
	int64_t total;         /* tasks, where the source said so beforehand; else -1   */
	uint64_t pre_dispatch; /* tasks; 0: all                                         */
};

/* How far it is, counted after the batch that has just completed. */
struct progress_point {
	uint64_t batches;   /* sent: the index that thins lines while the source has more */
	uint64_t sent;      /* tasks                                                      */
	uint64_t completed; /* tasks: the index that thins them afterwards                */
	int exhausted;      /* the source has no more                                     */
	double elapsed_s;
};

/* "Using backend threading with 2 concurrent workers."  0: nothing to show. */
int progress_start(const struct progress *progress, const char *backend, int32_t n_workers,
                   char *line, size_t size);

/* "Done ... tasks" and its relatives, if this point is one to show; the last one,
 * when all that was sent has completed and the source has no more, always is.
 * 0: nothing to show. */
int progress_at(const struct progress *progress, const struct progress_point *point, char *line,
                size_t size);

/* A duration, "  42.0s" up to a minute, " 1.2min" above.  Returns buffer. */
char *progress_time(double seconds, char *buffer, size_t size);

#endif
