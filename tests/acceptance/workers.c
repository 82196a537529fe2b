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

/* One task ends its worker; every other task must not care. */
static void lose_one(par_parallel *pool, uint64_t way)
{
	memset(ways, 0, sizeof(ways));
	memset(pids, 0, sizeof(pids));
	ways[VICTIM] = way;
	MUST_BE(PAR_ELOST, par_map(pool, task("end"), ways, pids, TASKS,
	                           PAR_SETTINGS(.on_error = PAR_COLLECT, .statuses = statuses,
	                                        .batch_size = PAR_SET(1)), &error));
	EXPECT_INT(VICTIM, error.task);
	for (int i = 0; i < TASKS; i++) {
		EXPECT_INT(i == VICTIM ? PAR_ELOST : PAR_OK, statuses[i]);
		EXPECT(i == VICTIM || pids[i] != 0, "task %d has not run", i);
	}
}

BEHAVIOUR(55, SURVIVING_CRASHES, "a worker that dies is reported with its signal or its exit code")
{
	static const int signals[] = {SIGSEGV, SIGKILL, SIGTERM}, codes[] = {0, 42};
	par_parallel *pool = open_n(2);

	for (int i = 0; i < 3; i++) {
		lose_one(pool, (uint64_t)signals[i]);
		EXPECT_INT(signals[i], error.signal);
		EXPECT(error.pid > 0, "no pid");
	}
	for (int i = 0; i < 2; i++) {
		lose_one(pool, ACCEPTANCE_EXIT + (uint64_t)codes[i]);
		EXPECT_INT(0, error.signal);
		EXPECT_INT(codes[i], error.exit_code);
	}
	par_close(pool);
}

BEHAVIOUR(56, SURVIVING_CRASHES,
          "what dies while a task runs costs that task only (ours: joblib's pool breaks)")
{
	par_parallel *pool = open_n(2);

	lose_one(pool, SIGSEGV);
	lose_one(pool, ACCEPTANCE_EXIT + 1);
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

BEHAVIOUR(60, SURVIVING_CRASHES, "a worker that another kills is noticed, among 2, 5 and 13")
{
	static const int n_jobs[] = {2, 5, 13};
	const char *folder = getenv("TMPDIR");
	const uint64_t size = strlen(folder) + 1;
	uint64_t in[13], out[13];

	for (uint64_t i = 0; i < 13; i++)
		in[i] = i;
	for (int i = 0; i < 3; i++) {
		par_parallel *pool = open_n(n_jobs[i]);

		MUST_BE(PAR_ELOST, par_map(pool, task("end_another"), in, out, (uint64_t)n_jobs[i],
		                           PAR_SETTINGS(.on_error = PAR_COLLECT,
		                                        .batch_size = PAR_SET(1), .shared = folder,
		                                        .shared_size = size), &error));
		EXPECT_INT(0, error.task);
		EXPECT_INT(SIGKILL, error.signal);
		(void)remove(path_of("victim"));
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
