/* acceptance.h - joblib's behaviours, each with a number, a sentence and a test.
 *
 *	BEHAVIOUR(49, EVERY_BACKEND, "a first task that fails does not wait for 100 slow ones")
 *	{
 *		...
 *	}
 *
 * The body runs once for each backend that it concerns, in a process of its own and
 * within a time limit, so that it may crash, hang or leave things behind.  It ends by
 * returning, or at the first expectation that is not met.  Where it shows what we do
 * in place of joblib, the sentence says so.
 *
 * Through the public API only.  Tasks that are to run in other processes too are in
 * modules (tests/tasks/acceptance.c and conformance.c). */
#ifndef TESTS_ACCEPTANCE_H
#define TESTS_ACCEPTANCE_H

#include "../tasks/inner.h"

#include <parloop/parloop.h>

#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Which backends a behaviour is about: of those that are here, by what they promise. */
enum concern {
	NO_BACKEND,         /* the core alone, or a backend of the test's own: runs once */
	EVERY_BACKEND,
	WITH_WORKERS,       /* that can have several at work */
	WITH_SHARED_MEMORY, /* whose tasks see our memory */
	WITH_THREADS,       /* and run on threads */
	WITH_PROCESSES,     /* whose tasks do not see our memory */
	SURVIVING_CRASHES,
	STARTING_PROCESSES, /* on this machine: with each of its start methods */
	KEEPING_WORKERS,    /* for the next call, until an idle_worker_timeout */
	N_CONCERNS
};

struct behaviour {
	int number;
	enum concern concern;
	const char *sentence;
	void (*run)(void);
};

#define BEHAVIOUR(number, concern, sentence)                                                    \
	static void B##number(void);                                                            \
	__attribute__((section("behaviours"), used)) static const struct behaviour *const       \
		behaviour_##number =                                                            \
			&(const struct behaviour){number, concern, sentence, B##number};        \
	static void B##number(void)

/* --- for the bodies --------------------------------------------------------------------------- */

extern const char *backend; /* the one under test; NULL: no backend */
extern const char *start_method; /* of its processes; NULL: there is no choice */
extern par_error error;     /* for whoever needs one */

#define PRINTF(words, first) __attribute__((format(printf, words, first)))

/* End the behaviour: not met, or left out for a reason. [any] */
_Noreturn void not_met(const char *file, int line, const char *format, ...) PRINTF(3, 4);
_Noreturn void leave_out(const char *format, ...) PRINTF(1, 2);

/* Of what is met: a part that could not be seen here, and why. */
void but(const char *format, ...) PRINTF(1, 2);

/* Is the backend under test of that kind? */
int is_backend(enum concern concern);

/* What was printed so far, on both streams; valid until the next call of this. */
const char *printed(void);

/* A moment passes, while this process waits for another; its time limit ends that. */
void pass_time(void);

/* A path in this behaviour's own folder; valid until the fourth call after.  And a file there. */
const char *path_of(const char *name);
const char *write_file(const char *name, const char *text);

int64_t now_ms(void);

#define EXPECT(condition, ...)                                                                  \
	do {                                                                                    \
		if (!(condition))                                                               \
			not_met(__FILE__, __LINE__, __VA_ARGS__);                                  \
	} while (0)

#define EXPECT_INT(expected, actual)                                                            \
	do {                                                                                    \
		long long want_ = (long long)(expected), got_ = (long long)(actual);            \
		EXPECT(want_ == got_, "%s: expected %lld, got %lld", #actual, want_, got_);     \
	} while (0)

#define EXPECT_BETWEEN(low, high, actual)                                                       \
	do {                                                                                    \
		long long low_ = (long long)(low), high_ = (long long)(high);                   \
		long long got_ = (long long)(actual);                                           \
		EXPECT(low_ <= got_ && got_ <= high_, "%s: expected %lld to %lld, got %lld",    \
		       #actual, low_, high_, got_);                                             \
	} while (0)

#define EXPECT_TEXT(expected, actual)                                                           \
	do {                                                                                    \
		const char *want_ = (expected), *got_ = (actual);                               \
		EXPECT(got_ != NULL && strcmp(want_, got_) == 0,                                \
		       "%s: expected \"%s\", got \"%s\"", #actual, want_,                       \
		       got_ != NULL ? got_ : "(NULL)");                                         \
	} while (0)

#define EXPECT_CONTAINS(part, actual)                                                           \
	do {                                                                                    \
		const char *want_ = (part), *got_ = (actual);                                   \
		EXPECT(got_ != NULL && strstr(got_, want_) != NULL,                             \
		       "%s: expected \"...%s...\", got \"%s\"", #actual, want_,                 \
		       got_ != NULL ? got_ : "(NULL)");                                         \
	} while (0)

/* A call that succeeds, and one that is refused. */
#define MUST(call) MUST_BE(PAR_OK, call)
#define MUST_BE(code, call)                                                                     \
	do {                                                                                    \
		int32_t want_ = (code), got_;                                                   \
		error = (par_error)PAR_ERROR_INIT;                                              \
		got_ = (call);                                                                  \
		EXPECT(want_ == got_, "%s: expected %s, got %s (%s: %s)", #call,                \
		       par_code_name(want_), par_code_name(got_), error.what, error.reason);    \
	} while (0)

/* --- what many of them need (common.c) -------------------------------------------------------- */

/* A task of tests/tasks/acceptance.c, conformance.c or inner.c.  For the first thread only, as error is. */
const par_task *task(const char *name);

/* Settings for the backend under test, and a pool of it. */
#define ON(...) PAR_SETTINGS(.backend = backend, __VA_ARGS__)
par_parallel *open_n(int64_t n_jobs);

/* The same with more options, NULL at the end.  And those with which a backend that keeps workers
 * lets them go soon, and waits for nobody's next call. */
par_parallel *open_with(int64_t n_jobs, const char *const *options);
const char *const *not_keeping(void);

/* Every one of n workers at once: their process ids.  And the same of a call without a pool. */
void meet_workers(par_parallel *pool, int n, uint64_t *pids);
void meet_workers_of_call(int n, const char *const *options, uint64_t *pids);
int is_among(uint64_t pid, const uint64_t *pids, int n);
int n_among(const uint64_t *some, int n_some, const uint64_t *pids, int n);

int is_alive(uint64_t pid);

/* A process has ended; a file is there.  Both wait for it. */
void await_end(uint64_t pid);
void await_file(const char *path);

/* The file of a library with threads of its own, which is loaded here and in workers; NULL: it is not
 * installed.  And how many threads it has in a task of a call with these settings, also at work if it
 * is used there. */
enum library { OPENMP, OPENBLAS };
const char *library_file(enum library library);
struct inner_seen ask_library(int use, const par_settings *settings);

/* A task of bytes, asked once; its reply is a text, valid until the next question. */
const char *ask_task(par_parallel *pool, const char *name, const char *payload);

/* A source that gives the values first, first + 1, ..., n of them, and counts. */
struct count {
	uint64_t first, n, given, value;
};
int32_t give_count(void *count, par_item *item);

/* The pool is as good as new: a call of each kind gives what it should. */
void expect_usable(par_parallel *pool);

/* Results of conformance.c's task mix: out[i] is what it makes of in[i]. */
void expect_mixed(const uint64_t *in, const uint64_t *out, uint64_t n);

#endif
