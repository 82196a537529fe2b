/* acceptance.h - what the behaviours (tests/acceptance/) and their tasks agree on. */
#ifndef TESTS_TASKS_ACCEPTANCE_H
#define TESTS_TASKS_ACCEPTANCE_H

#include <stdint.h>

enum { ACCEPTANCE_CODE = 17, ACCEPTANCE_BAD = 7 };

/* How the task `end` ends its worker: a signal's number, or this plus an exit code. */
enum { ACCEPTANCE_EXIT = 1000 };

/* What the task `weigh` replies: the sum is of the first ACCEPTANCE_WEIGHED bytes at most. */
enum { ACCEPTANCE_WEIGHED = 8 << 20 };
struct acceptance_weight {
	uint64_t size, sum;
	int32_t first, last, is_shared, reserved;
};

static inline uint64_t acceptance_sum(const unsigned char *bytes, uint64_t n)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < n; i++)
		sum += (i % 251 + 1) * bytes[i];
	return sum;
}

/* What tasks share that make calls: the backend of those (empty: they do not say), and where each
 * process leaves a file here-PID. */
struct acceptance_nest {
	char backend[64];
	char folder[448];
};

/* What the task `look_down` replies, an array of these, one for each level of tasks: where it is, and
 * what became of the call that it made itself, if it made one. */
struct acceptance_sight {
	int32_t level, pid;
	int32_t code;     /* of the call: that of opening a pool, or of running one     */
	int32_t n_jobs;
	int32_t warnings; /* that the backend was not to be had as it was asked for      */
	int32_t n_threads; /* of the process                                             */
	char backend[48]; /* empty: there was no call                                    */
	char words[256];  /* the warning, or the error                                   */
};

#endif
