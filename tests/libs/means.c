/* A library that knows nothing of backends: it has a loop, and asks for no settings. */
#include <parloop/parloop.h>

int means_of_pairs(const double (*pairs)[2], double *means, size_t n);

struct pair {
	double first, second;
};

static int mean(const struct pair *in, double *out)
{
	*out = (in->first + in->second) / 2;
	return 0;
}
PAR_TASK(mean, struct pair, double)

__attribute__((visibility("default"))) int means_of_pairs(const double (*pairs)[2],
                                                          double *means, size_t n)
{
	return par_map(NULL, &par_task_mean, pairs, means, n, NULL, NULL);
}
