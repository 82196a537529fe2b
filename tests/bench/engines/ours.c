/* ours.c BACKEND - tasks a second on a cluster's two workers: no-op tasks, and tasks of 100 us; the
 * best of three calls each, on an open pool.  Prints a line each: what, tasks a second. */
#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NO_OPS = 4000000, SPINS = 60000 };

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

static int no_op(const int32_t *in, int32_t *out)
{
	*out = *in + 1;
	return 0;
}
PAR_TASK(no_op, int32_t, int32_t)

/* Of processor time, so that it does not end by itself while others have the core. */
static int spin(const int32_t *in, int32_t *out)
{
	struct timespec begun, time;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &begun);
	do
		clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
	while ((time.tv_sec - begun.tv_sec) * 1000000000L + time.tv_nsec - begun.tv_nsec < 100000);
	*out = *in + 1;
	return 0;
}
PAR_TASK(spin, int32_t, int32_t)

static double best_of(par_parallel *pool, const par_task *task, int32_t *in, int32_t *out, uint64_t n)
{
	par_error error = PAR_ERROR_INIT;
	double best = 0;

	for (int round = 0; round < 3; round++) {
		double begun = now(), rate;

		memset(out, 0, n * sizeof(*out));
		if (par_map(pool, task, in, out, n, NULL, &error) < 0) {
			(void)fprintf(stderr, "%s: %s\n", error.what, error.reason);
			exit(1);
		}
		rate = (double)n / (now() - begun);
		best = rate > best ? rate : best;
		for (uint64_t i = 0; i < n; i++)
			if (out[i] != in[i] + 1)
				exit(2);
	}
	return best;
}

int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	int32_t *in = malloc(NO_OPS * sizeof(*in)), *out = malloc(NO_OPS * sizeof(*out));
	par_parallel *pool;

	par_worker_main(argc, argv);
	if (argc < 2 || in == NULL || out == NULL)
		return 1;
	for (int32_t i = 0; i < NO_OPS; i++)
		in[i] = i;
	if (par_open(&pool, PAR_SETTINGS(.backend = argv[1], .n_jobs = PAR_SET(2)), &error) < 0) {
		(void)fprintf(stderr, "%s: %s; %s\n", error.what, error.reason, error.remedy);
		return 1;
	}
	(void)printf("no-op %.0f\n", best_of(pool, &par_task_no_op, in, out, NO_OPS));
	(void)printf("100us %.0f\n", best_of(pool, &par_task_spin, in, out, SPINS));
	par_close(pool);
	free(in);
	free(out);
	return 0;
}
