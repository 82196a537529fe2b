/* mpi - runs batches on the ranks of an MPI job, on this machine and others.
 *
 * The program stays outside of MPI, and so does this plugin: it starts the launcher of one, Open
 * MPI's or MPICH's, with a relay program that was built for the same (relay/, protocol.h).  A rank
 * that dies takes its job along, as MPI has it; the plugin starts another (pool.h, job.h). */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("mpi", "runs tasks on the ranks of an MPI job")
	PAR_CAPABILITIES("survives_crash can_kill auto_batches limits_threads reruns ships_modules "
	                 "elsewhere")
	PAR_BATCH_TIMES("2ms", "20ms")
	PAR_OPTION_CHOICE("mpi", "auto", "auto|openmpi|mpich",
	                  "which: auto is whose launcher it is, or the first that is found")
	PAR_OPTION_TEXT("launcher", "",
	                "what starts the job, with {n} for the number of ranks, which is one more than "
	                "that of workers: mpirun -n {n}, srun -n {n}")
	PAR_OPTION_TEXT("hosts", "", "machines to run on, for the launcher: a:2,b:4")
	PAR_OPTION_TEXT("hostfile", "", "a file that lists them, as the launcher reads it")
	PAR_OPTION_TEXT("env", "",
	                "added to the environment of the launcher and of the ranks; {slot} is the "
	                "number of a worker: OMPI_ALLOW_RUN_AS_ROOT=1 NAME='two words'")
	PAR_OPTION_TEXT("address", "",
	                "name or address of this machine by which others reach it; set it if they "
	                "cannot by its host name")
	PAR_OPTION_TEXT("relay", "",
	                "the relay program, if it does not lie beside the plugin; at the same path on "
	                "all machines")
	PAR_OPTION_CHOICE("output", "pass", "pass|capture",
	                  "what tasks print: pass it on line by line, or keep the end for errors only")
	PAR_OPTION_TIME("start_timeout", "60s", "0s", "87600h",
	                "how long the job may take to start; 0: any time")
	PAR_OPTION_TIME("idle_timeout", "60s", "0s", "87600h",
	                "how long a job that nobody uses is kept for the next call; 0: not at all")
	PAR_OPTION_TIME("abort_grace", "200ms", "0s", "1h",
	                "how long tasks may take to end by themselves when a call ends early, before "
	                "the job is killed"))

struct par_backend {
	struct pool pool;
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	par_backend *backend = calloc(1, sizeof(*backend));
	int32_t status;

	(void)level, (void)inner_max_num_threads;
	if (backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	status = settings_read(&backend->pool.settings, host, options, error);
	if (status == PAR_OK)
		status = pool_init(&backend->pool, host, error);
	if (status == PAR_OK)
		*out = backend;
	else
		free(backend);
	return status;
}

static void destroy(par_backend *backend)
{
	pool_finish(&backend->pool);
	free(backend);
}

/* All cores are the slots that hosts or an allocation have, else those of this machine. */
static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	const struct pool *pool = &backend->pool;
	int32_t slots;

	if (n_jobs > 0)
		return n_jobs;
	slots = settings_slots(&pool->settings);
	if (slots == 0)
		slots = pool->host->cores(pool->host);
	return slots + 1 + n_jobs > 1 ? slots + 1 + n_jobs : 1;
}

static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	(void)call;
	return pool_start(&backend->pool, answer, error);
}

static void stop_call(par_backend *backend)
{
	pool_end_call(&backend->pool);
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	return pool_submit(&backend->pool, batch, future, error);
}

static int32_t kill_batch(par_backend *backend, par_batch batch, void *future)
{
	return pool_kill(&backend->pool, batch, (int)(intptr_t)future);
}

static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	(void)ensure_ready;
	pool_abort(&backend->pool);
}

static int32_t poll_job(par_backend *backend, int32_t sleeps)
{
	(void)sleeps;
	return pool_poll(&backend->pool);
}

static int32_t terminate(par_backend *backend, par_error *error)
{
	(void)error;
	return pool_stop(&backend->pool);
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .configure = configure, .stop_call = stop_call,
	.submit = submit, .kill = kill_batch, .abort_everything = abort_everything, .poll = poll_job,
	.terminate = terminate,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	return strcmp(name, "mpi") == 0 ? &ops : NULL;
}
