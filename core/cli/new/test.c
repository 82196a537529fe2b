/* test.c - a program that runs on mybackend, and looks at what it gets. */
#include <parloop/parloop.h>
#include <parloop/worker.h>

static int square(const int *in, int *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, int, int)

static int picky(par_env *env, const int *in, int *out)
{
	*out = *in;
	return *in == 70 ? par_fail_task(env, 1, "not %d", *in) : 0;
}
PAR_TASK_ENV(picky, int, int)

static int failed(const par_error *error)
{
	char text[2048];

	fprintf(stderr, "%s\n", par_error_text(error, 1, text, sizeof(text)));
	return 1;
}

int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *pool;
	int in[1000], out[1000];

	par_worker_main(argc, argv);
	for (int i = 0; i < 1000; i++)
		in[i] = i;
	if (par_open(&pool, PAR_SETTINGS(.backend = "mybackend", .n_jobs = PAR_SET(2)), &error) < 0)
		return failed(&error);
	for (int call = 0; call < 100; call++) {
		if (par_map(pool, &par_task_square, in, out, 1000, NULL, &error) < 0)
			return failed(&error);
		for (int i = 0; i < 1000; i++)
			if (out[i] != i * i)
				return fprintf(stderr, "%d * %d is not %d\n", i, i, out[i]), 1;
	}
	if (par_map(pool, &par_task_picky, in, out, 1000, NULL, &error) != PAR_EFAILED || error.task != 70)
		return fprintf(stderr, "a task that fails is not reported\n"), 1;
	printf("100 calls of 1000 tasks on %s: ok\n", par_backend_file(pool));
	par_close(pool);
	return 0;
}
