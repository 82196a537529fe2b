#include <stdio.h>

#include <parloop/parloop.h>

#include "task.h"

static int turn(const uint64_t *in, uint64_t *out)
{
	*out = task(*in);
	return 0;
}
PAR_TASK(turn, uint64_t, uint64_t)

int main(void)
{
	static const uint64_t in[2] = {1, 2};
	par_error error = PAR_ERROR_INIT;
	par_parallel *parallel;
	uint64_t out[2] = {0, 0};

	if (par_open(&parallel, PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)),
		     &error) != PAR_OK ||
	    par_map(parallel, &par_task_turn, in, out, 2, NULL, &error) != PAR_OK) {
		fprintf(stderr, "%s: %s\n", error.what, error.reason);
		return 1;
	}
	par_close(parallel);
	return wrong(in, out);
}
