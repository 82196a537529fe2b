/* workers.c - workers that die: B55 to B57, B60 and B61.  In the address space of its caller a task
 * that crashes takes the program with it, so these are about the other backends. */
#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <signal.h>
#include <stdlib.h>

enum { TASKS = 20, VICTIM = 5 };

/* How the workers of the tasks are to end: that of one in a special way. */
static uint64_t ways[TASKS], pids[TASKS];
static int32_t statuses[TASKS];

/* One task ends its worker, and whatever other runs it: three times, then it is known that it does.
 * Every other task must not care. */
static void lose_one(par_parallel *pool, uint64_t way)
{
	memset(ways, 0, sizeof(ways));
	memset(pids, 0, sizeof(pids));
	ways[VICTIM] = way;
	MUST_BE(PAR_EFAILED, par_map(pool, task("end"), ways, pids, TASKS,
	                             PAR_SETTINGS(.on_error = PAR_COLLECT, .statuses = statuses,
	                                          .batch_size = PAR_SET(1)), &error));
	EXPECT_INT(VICTIM, error.task);
	EXPECT_INT(3, error.attempts);
	EXPECT(error.pid > 0, "no pid");
	for (int i = 0; i < TASKS; i++) {
		EXPECT_INT(i == VICTIM ? PAR_ELOST : PAR_OK, statuses[i]);
		EXPECT(i == VICTIM || pids[i] != 0, "task %d has not run", i);
	}
}

static void lose_one_by_signal(par_parallel *pool, int signal, const char *name)
{
	lose_one(pool, (uint64_t)signal);
	EXPECT_INT(signal, error.signal);
	EXPECT_INT(-1, error.exit_code);
	EXPECT_CONTAINS(name, error.reason);
	EXPECT_TEXT(name, error.type);
}

static void lose_one_by_exit(par_parallel *pool, int code, const char *name)
{
	lose_one(pool, ACCEPTANCE_EXIT + (uint64_t)code);
	EXPECT_INT(0, error.signal);
	EXPECT_INT(code, error.exit_code);
	EXPECT_CONTAINS(name, error.reason);
}

BEHAVIOUR(55, SURVIVING_CRASHES, "a worker that dies is reported with its signal or its exit code")
{
	par_parallel *pool = open_n(2);

	lose_one_by_signal(pool, SIGSEGV, "SIGSEGV");
	lose_one_by_signal(pool, SIGKILL, "SIGKILL");
	lose_one_by_signal(pool, SIGTERM, "SIGTERM");
	lose_one_by_exit(pool, 0, "EXIT(0)");
	lose_one_by_exit(pool, 42, "EXIT(42)");
	memset(ways, 0, sizeof(ways));
	ways[VICTIM] = SIGSEGV;
	MUST_BE(PAR_ELOST, par_map(pool, task("end"), ways, pids, TASKS, NULL, &error));
	EXPECT_INT(VICTIM, error.task);
	par_close(pool);
}

struct replies {
	struct count count;
	int good, bad;
};

/* The third asks for a reply that is longer than any can be. */
static int32_t give_endless(void *user, par_item *item)
{
	struct replies *replies = user;
	int32_t got = give_count(&replies->count, item);

	replies->count.value = replies->count.given == 3 ? (uint64_t)5 << 30 : 100;
	return got;
}

static int32_t count_replies(void *user, const par_outcome *outcome)
{
	struct replies *replies = user;

	if (outcome->status == PAR_OK) {
		replies->good++;
		return 0;
	}
	replies->bad++;
	EXPECT_INT(2, outcome->index);
	EXPECT_CONTAINS("no room", outcome->message);
	return 0;
}

BEHAVIOUR(56, SURVIVING_CRASHES, "what dies while a task runs costs that task only, and so does a "
                                 "reply that cannot be (ours: joblib's pool breaks)")
{
	struct replies replies = {.count = {.n = 10}};
	par_parallel *pool = open_n(2);

	lose_one(pool, SIGSEGV);
	lose_one(pool, ACCEPTANCE_EXIT + 1);
	expect_usable(pool);
	MUST_BE(PAR_EFAILED, par_run(pool, task("fill"), give_endless, count_replies, &replies,
	                             PAR_SETTINGS(.on_error = PAR_COLLECT), &error));
	EXPECT_INT(9, replies.good);
	EXPECT_INT(1, replies.bad);
	expect_usable(pool);
	par_close(pool);
}

BEHAVIOUR(57, SURVIVING_CRASHES, "after any crash the backend works, in the same pool and in a new "
                                 "one (ours: nothing breaks)")
{
	static const int signals[] = {SIGSEGV, SIGKILL, SIGABRT};

	for (int i = 0; i < 3; i++) {
		par_parallel *pool = open_n(2);

		lose_one(pool, (uint64_t)signals[i]);
		expect_usable(pool);
		par_close(pool);
		pool = open_n(2);
		expect_usable(pool);
		par_close(pool);
	}
}

BEHAVIOUR(60, SURVIVING_CRASHES, "a worker that another kills is noticed, among 2, 5 and 13 (ours: "
                                 "its task is run again, and nothing is lost)")
{
	static const int n_jobs[] = {2, 5, 13};
	const char *folder = getenv("TMPDIR");
	const uint64_t size = strlen(folder) + 1;
	uint64_t in[13], out[13];

	for (uint64_t i = 0; i < 13; i++)
		in[i] = i;
	for (int i = 0; i < 3; i++) {
		par_parallel *pool = open_n(n_jobs[i]);

		MUST(par_map(pool, task("end_another"), in, out, (uint64_t)n_jobs[i],
		             PAR_SETTINGS(.on_error = PAR_COLLECT, .batch_size = PAR_SET(1),
		                          .shared = folder, .shared_size = size), &error));
		EXPECT(remove(path_of("victim")) == 0, "nobody was killed");
		EXPECT(remove(path_of("saved")) == 0, "its task was not run again");
		expect_usable(pool);
		par_close(pool);
	}
}

BEHAVIOUR(61, SURVIVING_CRASHES, "a result that was there before its worker died is kept")
{
	par_parallel *pool = open_n(2);

	for (int i = 0; i < 20; i++)
		lose_one(pool, SIGKILL);
	par_close(pool);
}
