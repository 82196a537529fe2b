/* roots.c - joblib's first example: the square roots of i*i, on whichever backend.
 *
 *	$ ./roots
 *	0 1 2 3 4 5 6 7 8 9
 *	$ ./roots sequential
 *	0 1 2 3 4 5 6 7 8 9
 */
#include <math.h>
#include <parloop/parloop.h>
#include <parloop/worker.h>

static int root(const double *in, double *out)
{
	*out = sqrt(*in);
	return 0;
}
PAR_TASK(root, double, double)

int main(int argc, char **argv)
{
	const char *backend = argc > 1 ? argv[1] : NULL; /* NULL: what plugins.conf says */
	par_error error = PAR_ERROR_INIT;
	double in[10], out[10];

	par_worker_main(argc, argv); /* for backends whose workers are processes */
	for (int i = 0; i < 10; i++)
		in[i] = i * i;
	if (par_map(NULL, &par_task_root, in, out, 10,
	            PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2)), &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	for (int i = 0; i < 10; i++)
		printf("%g%c", out[i], i < 9 ? ' ' : '\n');
	return 0;
}
