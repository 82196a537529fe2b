/* reuse.c - one pool for many calls: its two workers stay from par_open to par_close.
 *
 *	$ ./reuse
 *	1136.5969 after 14 rounds
 */
#include <math.h>
#include <parloop/parloop.h>

static int root(const double *in, double *out)
{
	*out = sqrt(*in);
	return 0;
}
PAR_TASK(root, double, double)

int main(void)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *pool;
	double in[5], out[5], acc = 0;
	int rounds = 0;

	if (par_open(&pool, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	for (; acc < 1000; rounds++) {
		for (int i = 0; i < 5; i++)
			in[i] = acc + i * i;
		if (par_map(pool, &par_task_root, in, out, 5, NULL, &error) < 0)
			return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
		for (int i = 0; i < 5; i++)
			acc += out[i];
	}
	par_close(pool);
	printf("%.4f after %d rounds\n", acc, rounds);
	return 0;
}
