/* blas.c - a task that is one call of OpenBLAS, with which this module is linked. */
#include <parloop/task.h>

#include "bench.h"

enum { SIZE = 256, ROWS = 101, AS_IT_IS = 111 };

extern void cblas_dgemm(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
			const double *a, int lda, const double *b, int ldb, double beta, double *c,
			int ldc);

static int multiply(const uint64_t *in, uint64_t *out)
{
	static double a[SIZE * SIZE];
	static _Thread_local double c[SIZE * SIZE];

	cblas_dgemm(ROWS, AS_IT_IS, AS_IT_IS, SIZE, SIZE, SIZE, 1, a, SIZE, a, SIZE, 0, c, SIZE);
	*out = c[0] == 0 ? work(*in) : 0;
	return 0;
}
PAR_TASK(multiply, uint64_t, uint64_t)
