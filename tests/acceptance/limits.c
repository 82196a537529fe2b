/* limits.c - how many cores there are, and what workers may use of them: B99 and B100. */
#include "acceptance.h"

#include <sched.h>
#include <stdlib.h>
#include <unistd.h>

/* --- threads in workers --------------------------------------------------------------------------- */

static const char *const limits[] = {"OMP_NUM_THREADS",     "OPENBLAS_NUM_THREADS",
                                     "MKL_NUM_THREADS",     "BLIS_NUM_THREADS",
                                     "NUMBA_NUM_THREADS",   "VECLIB_MAXIMUM_THREADS",
                                     "NUMEXPR_NUM_THREADS"};

enum { N_LIMITS = sizeof(limits) / sizeof(limits[0]) };

static void expect_limits(par_parallel *pool, int n)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", n);
	for (int i = 0; i < N_LIMITS; i++) {
		const char *value = ask_task(pool, "variable", limits[i]);

		EXPECT(strcmp(text, value) == 0, "%s is %s, not %s", limits[i], value, text);
	}
}

static void expect_limits_of(int n, const par_settings *settings)
{
	par_parallel *pool;

	MUST(par_open(&pool, settings, &error));
	expect_limits(pool, n);
	par_close(pool);
}

static void expect_variables(void)
{
	const int cores = par_cpu_count(0);
	par_parallel *pool;

	for (int i = 0; i < N_LIMITS; i++)
		unsetenv(limits[i]);
	unsetenv("ENABLE_IPC");
	for (int n_jobs = 1; n_jobs <= 3; n_jobs++)
		expect_limits_of(cores / n_jobs > 1 ? cores / n_jobs : 1, ON(.n_jobs = {1, n_jobs}));
	pool = open_n(2);
	EXPECT_TEXT("1", ask_task(pool, "variable", "ENABLE_IPC"));
	par_close(pool);
	expect_limits_of(5, ON(.n_jobs = PAR_SET(2), .inner_max_num_threads = PAR_SET(5)));
	for (int i = 0; i < N_LIMITS; i++)
		setenv(limits[i], "3", 1);
	setenv("ENABLE_IPC", "0", 1);
	expect_limits_of(3, ON(.n_jobs = PAR_SET(2)));
	pool = open_n(2);
	EXPECT_TEXT("0", ask_task(pool, "variable", "ENABLE_IPC"));
	par_close(pool);
	expect_limits_of(4, ON(.n_jobs = PAR_SET(2), .inner_max_num_threads = PAR_SET(4)));
	/* And nothing of that is here. */
	EXPECT_TEXT("3", getenv(limits[0]));
}

/* What a library has in fact, wherever tasks run, and what is left of that here. */
static void expect_limit_in_use(enum library library, const char *name)
{
	const int limit = library == OPENMP ? 3 : 1;
	struct inner_seen before, seen;

	if (library_file(library) == NULL) {
		but("%s is not installed", name);
		return;
	}
	before = ask_library(0, PAR_SETTINGS(.backend = "sequential"));
	seen = ask_library(1, ON(.n_jobs = PAR_SET(2), .inner_max_num_threads = {1, limit}));
	EXPECT_INT(limit, seen.limit);
	EXPECT_INT(limit, seen.asked);
	EXPECT_INT(limit, seen.told);
	if (library == OPENMP)
		EXPECT_INT(limit, seen.used); /* of BLAS it is a guess, by the time that it takes */
	seen = ask_library(0, ON(.n_jobs = PAR_SET(2), .inner_max_num_threads = {1, 2}));
	EXPECT_INT(2, seen.asked);
	seen = ask_library(0, PAR_SETTINGS(.backend = "sequential"));
	EXPECT_INT(before.asked, seen.asked);
}

BEHAVIOUR(99, EVERY_BACKEND, "workers may use cores/n_jobs threads each, unless the environment says "
                             "how many, or the call does, which has the last word (ours: on threads "
                             "of this process the call's limit holds, too)")
{
	if (is_backend(STARTING_PROCESSES))
		expect_variables();
	for (int i = 0; i < N_LIMITS; i++)
		unsetenv(limits[i]);
#ifdef __SANITIZE_THREAD__
	but("ThreadSanitizer does not see how threads of libraries wait for each other");
#else
	expect_limit_in_use(OPENMP, "OpenMP");
	expect_limit_in_use(OPENBLAS, "OpenBLAS");
#endif
}

/* --- cores ---------------------------------------------------------------------------------------- */

static void keep_to_one_cpu(cpu_set_t *before)
{
	cpu_set_t one;

	EXPECT(sched_getaffinity(0, sizeof(*before), before) == 0, "no affinity");
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, before))
			CPU_SET(i, &one);
	if (sched_setaffinity(0, sizeof(one), &one) != 0)
		leave_out("the affinity cannot be set here");
}

BEHAVIOUR(100, NO_BACKEND, "cores that may be used are counted: affinity, cgroups and a limit in the "
                           "environment lower their number, physical ones are no more (ours: also "
                           "cgroups above)")
{
	cpu_set_t before;
	int32_t all;

	unsetenv("PARLOOP_MAX_CPU_COUNT");
	all = par_cpu_count(0);
	EXPECT_BETWEEN(1, sysconf(_SC_NPROCESSORS_ONLN), all);
	EXPECT_BETWEEN(1, all, par_cpu_count(1));
	EXPECT_INT(all, par_effective_n_jobs("threading", -1, &error));
	setenv("PARLOOP_MAX_CPU_COUNT", "1", 1);
	EXPECT_INT(1, par_cpu_count(0));
	EXPECT_INT(1, par_cpu_count(1));
	EXPECT_INT(1, par_effective_n_jobs("threading", -1, &error));
	setenv("PARLOOP_MAX_CPU_COUNT", "1000000", 1);
	EXPECT_INT(all, par_cpu_count(0));
	EXPECT_TEXT("", printed());
	setenv("PARLOOP_MAX_CPU_COUNT", "1.5", 1);
	for (int i = 0; i < 3; i++)
		EXPECT_INT(all, par_cpu_count(0));
	EXPECT_TEXT("parloop: warning: PARLOOP_MAX_CPU_COUNT=\"1.5\" is not a whole number; ignored\n",
	            printed());
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	keep_to_one_cpu(&before);
	EXPECT_INT(1, par_cpu_count(0));
	EXPECT_INT(1, par_cpu_count(1));
	EXPECT_INT(0, sched_setaffinity(0, sizeof(before), &before));
	EXPECT_INT(all, par_cpu_count(0));
	but("cgroups are tried by tests/test_cpu_count.sh");
}
