/* ours_process.c - the program is its own worker, if the backend executes any. */
#include <stdio.h>

#include <parloop/parloop.h>
#include <parloop/worker.h>

#include "task.h"

static int turn(const uint64_t *in, uint64_t *out)
{
	*out = task(*in);
	return 0;
}
PAR_TASK(turn, uint64_t, uint64_t)

int main(int argc, char **argv)
{
	static const uint64_t in[2] = {1, 2};
	par_error error = PAR_ERROR_INIT;
	par_parallel *parallel;
	uint64_t out[2] = {0, 0};

	par_worker_main(argc, argv);
	if (par_open(&parallel, PAR_SETTINGS(.backend = BACKEND, .n_jobs = PAR_SET(2)),
		     &error) != PAR_OK ||
	    par_map(parallel, &par_task_turn, in, out, 2, PAR_SETTINGS(.batch_size = PAR_SET(1)),
		    &error) != PAR_OK) {
		fprintf(stderr, "%s: %s\n", error.what, error.reason);
		return 1;
	}
	par_close(parallel);
	return wrong(in, out);
}
