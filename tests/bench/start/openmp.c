#include "task.h"

int main(void)
{
	static const uint64_t in[2] = {1, 2};
	uint64_t out[2] = {0, 0};
	int i;

#pragma omp parallel for num_threads(2)
	for (i = 0; i < 2; i++)
		out[i] = task(in[i]);
	return wrong(in, out);
}
