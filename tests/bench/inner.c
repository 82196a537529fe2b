/* inner.c - OpenBLAS inside the tasks of two workers, on JOBS cores: as many threads as there are
 * cores for each worker, which is one, or as many as there are cores. */
#include <parloop/parloop.h>

#include "bench.h"

struct pool {
	par_parallel *parallel;
	const par_task *task;
	par_error error;
};

static int map_once(void *arg, const struct load *load)
{
	struct pool *pool = arg;

	return par_map(pool->parallel, pool->task, load->in, load->out, load->n, NULL, &pool->error);
}

static int cell(const struct load *load, struct sample *sample, const char *backend, int n_threads)
{
	const par_settings settings = {.size = sizeof(settings), .backend = backend,
				       .n_jobs = PAR_SET(JOBS),
				       .inner_max_num_threads = PAR_SET(n_threads)};
	struct pool pool = {.error = PAR_ERROR_INIT};
	char path[PATH_MAX];
	par_module *module;
	int result = -1;

	if (par_module_open(&module, built_path(path, "blas.so"), &pool.error) == PAR_OK &&
	    par_module_task(module, "multiply", &pool.task, &pool.error) == PAR_OK &&
	    par_open(&pool.parallel, &settings, &pool.error) == PAR_OK) {
		result = sample_tasks(sample, load, map_once, &pool);
		par_close(pool.parallel);
	}
	if (result != 0 && sample->error[0] == '\0')
		sample_fail(sample, "%s: %s", pool.error.what, pool.error.reason);
	return result;
}

#define CELL(function, backend, n_threads)                                          \
	static int function(const struct load *load, struct sample *sample)         \
	{                                                                           \
		return cell(load, sample, backend, n_threads);                      \
	}
CELL(loky_1, "loky", 1)
CELL(loky_2, "loky", JOBS)
CELL(forked_1, "multiprocessing", 1)
CELL(forked_2, "multiprocessing", JOBS)
CELL(threads_1, "threading", 1)
CELL(threads_2, "threading", JOBS)
CELL(serial, "sequential", 1)

const struct cell cells_inner[] = {
	{"inner", "loky, 1 thread inside", OURS, loky_1},
	{"inner", "loky, 2 threads inside", EXTRA, loky_2},
	{"inner", "multiprocessing, 1 thread inside", EXTRA, forked_1},
	{"inner", "multiprocessing, 2 threads inside", EXTRA, forked_2},
	{"inner", "threading, 1 thread inside", EXTRA, threads_1},
	{"inner", "threading, 2 threads inside", EXTRA, threads_2},
	{"inner", "sequential, 1 thread inside", SERIAL, serial},
	{0},
};
