/* n_jobs.c - how many workers: B01 to B05. */
#include "acceptance.h"

#include "../tasks/conformance.h"

#include <unistd.h>

BEHAVIOUR(1, EVERY_BACKEND, "there are cores and workers, whatever is asked for")
{
	EXPECT_BETWEEN(1, INT32_MAX, par_effective_n_jobs(backend, PAR_UNSET, &error));
	EXPECT_BETWEEN(1, INT32_MAX, par_effective_n_jobs(backend, -1, &error));
	EXPECT_BETWEEN(1, sysconf(_SC_NPROCESSORS_CONF), par_effective_n_jobs("threading", -1,
	                                                                      &error));
	EXPECT_INT(1, par_effective_n_jobs("threading", -1000, &error));
}

static void expect_in_context(par_int n_jobs, int32_t expected)
{
	par_context *context;

	MUST(par_context_push(PAR_SETTINGS(.n_jobs = n_jobs), &context, &error));
	EXPECT_INT(expected, par_effective_n_jobs(backend, PAR_UNSET, &error));
	MUST(par_context_pop(context, &error));
}

BEHAVIOUR(2, EVERY_BACKEND, "effective_n_jobs(unset) is the context's, and 1 without one")
{
	expect_in_context((par_int)PAR_SET(3), par_effective_n_jobs(backend, 3, &error));
	expect_in_context((par_int)PAR_SET(-1), par_effective_n_jobs(backend, -1, &error));
	expect_in_context((par_int)PAR_SET(PAR_UNSET), 1);
	expect_in_context((par_int){0}, 1);
	EXPECT_INT(1, par_effective_n_jobs(backend, PAR_UNSET, &error));
}

BEHAVIOUR(3, EVERY_BACKEND, "every n_jobs and verbose gives what a serial loop gives")
{
	static const int n_jobs[] = {1, 2, -1, -2}, verbose[] = {2, 11, 100};
	uint64_t in[100], out[100];

	for (uint64_t i = 0; i < 100; i++)
		in[i] = i;
	for (int i = 0; i < 12; i++) {
		memset(out, 0, sizeof(out));
		MUST(par_map(NULL, task("mix"), in, out, 100,
		             PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(n_jobs[i % 4]),
		                          .verbose = PAR_SET(verbose[i / 4])), &error));
		expect_mixed(in, out, 100);
	}
}

static void expect_no_meaning(const par_settings *settings)
{
	uint64_t in = 0, out;
	par_parallel *pool;

	MUST_BE(PAR_EINVAL, par_map(NULL, task("mix"), &in, &out, 1, settings, &error));
	EXPECT_TEXT("n_jobs == 0 in Parallel has no meaning", error.what);
	MUST_BE(PAR_EINVAL, par_open(&pool, settings, &error));
	EXPECT_TEXT("n_jobs == 0 in Parallel has no meaning", error.what);
}

BEHAVIOUR(4, EVERY_BACKEND, "n_jobs 0, and what truncates to 0, has no meaning")
{
	expect_no_meaning(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(0)));
	expect_no_meaning(PAR_SETTINGS(.backend = backend, .n_jobs = {1, (int64_t)-0.5}));
	EXPECT_INT(0, par_effective_n_jobs(backend, 0, &error));
	EXPECT_TEXT("n_jobs == 0 in Parallel has no meaning", error.what);
	MUST(par_context_push(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(0)), NULL,
	                      &error));
	expect_no_meaning(NULL);
}

static int32_t configure_n_jobs(const char *value)
{
	char text[80];

	(void)snprintf(text, sizeof(text), "[parloop]\nn_jobs = %s\n", value);
	return par_configure(write_file("plugins.conf", text), &error);
}

BEHAVIOUR(5, NO_BACKEND, "n_jobs in plugins.conf is a whole number, or an error that says where")
{
	static const char *const bad[] = {"abc", "2.3", "2x", "", "0"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		MUST_BE(PAR_ECONFIG, configure_n_jobs(bad[i]));
		EXPECT_CONTAINS("plugins.conf:2: n_jobs in [parloop]", error.what);
		EXPECT_CONTAINS("is not a whole number", error.reason);
		EXPECT_CONTAINS(bad[i], error.reason);
	}
	MUST(configure_n_jobs("2"));
	EXPECT_INT(2, par_effective_n_jobs("threading", PAR_UNSET, &error));
}
