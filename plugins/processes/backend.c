/* processes - runs batches in worker processes of this machine.  joblib's multiprocessing and
 * loky backends.
 *
 * What is common to both is a pool of workers (pool.h), each of which has a channel of the
 * core's to itself: no lock and no queue is shared with a worker, so one that dies takes nothing
 * along but what it was at.  They differ in where workers come from, and where they go:
 * multiprocessing forks or executes them for one instance and ends them with it; loky executes
 * them, and keeps them for the next instance (executor.h). */
#include "pool.h"

#include <stdlib.h>
#include <string.h>

#define SHARED_OPTIONS                                                                          \
	PAR_OPTION_TEXT("initializer", "",                                                      \
	                "a task that each worker runs before any other: MODULE.so:TASK")        \
	PAR_OPTION_TEXT("initarg", "", "its payload")                                           \
	PAR_OPTION_TEXT("env", "",                                                              \
	                "added to a worker's environment; {slot} is its number: "               \
	                "CUDA_VISIBLE_DEVICES={slot} NAME='two words'")                         \
	PAR_OPTION_BOOL("pin", "no", "each worker runs on one core")                            \
	PAR_OPTION_SIZE("memory_limit", "0", "0", "1024T", "address space of a worker; 0: any") \
	PAR_OPTION_TIME("cpu_limit", "0s", "0s", "87600h", "processor time of a worker; 0: any") \
	PAR_OPTION_SIZE("max_growth", "300M", "0", "1024T",                                     \
	                "a worker whose memory has grown by more than that since its first "    \
	                "batch is replaced; 0: never")                                          \
	PAR_OPTION_CHOICE("output", "pass", "pass|prefix|capture|inherit",                      \
	                  "what tasks print: pass it on line by line, begin each with the "     \
	                  "worker's number, keep the end for errors only, or let them write "   \
	                  "to ours")                                                            \
	PAR_OPTION_TIME("abort_grace", "20ms", "0s", "1h",                                      \
	                "how long tasks may take to end by themselves when a call ends early")  \
	PAR_OPTION_TIME("start_timeout", "60s", "0s", "87600h",                                 \
	                "a worker that has not begun to work by then is replaced; 0: never, "   \
	                "as with an initializer, unless this is set")

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("multiprocessing", "runs tasks in processes, forked or executed for the call")
	PAR_CAPABILITIES("survives_crash can_kill auto_batches limits_threads")
	PAR_BATCH_TIMES("4ms", "20ms")
	PAR_OPTION_CHOICE("start_method", "auto", "auto|fork|forkserver|spawn",
	                  "how: a fork of this process, of a small one that was executed, or "
	                  "executed; auto is fork as long as this process has one thread, then "
	                  "forkserver")
	PAR_OPTION_TEXT("preload", "", "task modules that the fork server opens first: A.so:B.so")
	SHARED_OPTIONS
	PAR_BACKEND("loky", "runs tasks in processes that are kept for the next call")
	PAR_CAPABILITIES("survives_crash can_kill auto_batches limits_threads")
	PAR_BATCH_TIMES("4ms", "20ms")
	PAR_OPTION_TIME("idle_worker_timeout", "300s", "0s", "87600h",
	                "how long a worker that nobody uses is kept; 0: not at all")
	SHARED_OPTIONS)

struct par_backend {
	struct pool pool;
};

static int32_t make(struct par_backend **out, par_error *error)
{
	*out = calloc(1, sizeof(**out));
	return *out != NULL ? PAR_OK : par_fail(error, PAR_ENOMEM, "no memory");
}

/* What is left to do for both, once the options were read. */
static int32_t finish_create(const par_host *host, par_backend *backend, int32_t status,
                             par_backend **out, par_error *error)
{
	if (status == PAR_OK)
		status = pool_init(&backend->pool, host, error);
	if (status == PAR_OK)
		*out = backend;
	else
		free(backend);
	return status;
}

static int32_t create_multiprocessing(const par_host *host, const par_options *options,
                                      int32_t level, int32_t inner_max_num_threads,
                                      par_backend **out, par_error *error)
{
	par_backend *backend;
	int32_t status = make(&backend, error);

	(void)level, (void)inner_max_num_threads;
	if (status < 0)
		return status;
	status = settings_read_multiprocessing(&backend->pool.settings, host, options, error);
	return finish_create(host, backend, status, out, error);
}

static int32_t create_loky(const par_host *host, const par_options *options, int32_t level,
                           int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	par_backend *backend;
	int32_t status = make(&backend, error);

	(void)level, (void)inner_max_num_threads;
	if (status < 0)
		return status;
	backend->pool.keeps = 1;
	status = settings_read_loky(&backend->pool.settings, host, options, error);
	return finish_create(host, backend, status, out, error);
}

static void destroy(par_backend *backend)
{
	pool_finish(&backend->pool);
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	const par_host *host = backend->pool.host;
	int64_t n = n_jobs < 0 ? (int64_t)host->cores(host) + 1 + n_jobs : n_jobs;

	return n < 1 ? 1 : (int32_t)n;
}

/* One in a worker of ours looks out for the death of its parent; it holds no lock. */
static int count_threads(const struct par_call *call)
{
	int is_worker = call->around != NULL && !call->below_threads &&
	                (strcmp(call->around, "multiprocessing") == 0 || strcmp(call->around, "loky") == 0);
	int n = settings_count_threads();

	return is_worker && n > 1 ? n - 1 : n;
}

/* Which of them auto is now. */
static enum method choose_method(const struct pool *pool, const struct par_call *call)
{
	enum method method = pool->settings.method;
	int n_threads = count_threads(call);
	char line[160];

	if (method == METHOD_AUTO) {
		method = n_threads == 1 ? METHOD_FORK : METHOD_FORKSERVER;
		(void)snprintf(line, sizeof(line),
		               "start_method=auto: %s, since this process has %d thread%s",
		               settings_method_name(method), n_threads, n_threads == 1 ? "" : "s");
		pool->host->log(pool->host, 1, line);
	} else if (method == METHOD_FORK && n_threads > 1) {
		(void)snprintf(line, sizeof(line),
		               "start_method=fork with %d threads: a lock that one of them holds "
		               "is locked for ever in the workers",
		               n_threads);
		pool->host->log(pool->host, 2, line);
	}
	return method;
}

/* joblib's rule for a call that a worker makes: it may have workers of its own if both are loky's,
 * or if it says nested-.  Why not, NULL: it may. */
static const char *forbidden(const par_backend *backend, const par_call *call)
{
	const int is_loky = backend->pool.keeps;

	if (call->around == NULL || call->is_nested)
		return NULL;
	if (call->below_threads)
		return is_loky ? "Loky-backed parallel loops cannot be nested below threads"
		               : "Multiprocessing-backed parallel loops cannot be nested below threads";
	if (strcmp(call->around, "multiprocessing") == 0)
		return is_loky ? "Loky-backed parallel loops cannot be called in a multiprocessing"
		               : "Multiprocessing-backed parallel loops cannot be nested";
	if (strcmp(call->around, "loky") == 0 && !is_loky)
		return "Multiprocessing-backed parallel loops cannot be nested below loky";
	return NULL;
}

static void choose_n_jobs(const par_backend *backend, const par_call *call, par_answer *answer)
{
	const char *why = forbidden(backend, call);
	char line[160];

	if (why == NULL)
		return;
	answer->n_jobs = 1;
	if (call->n_jobs == 1)
		return;
	(void)snprintf(line, sizeof(line), "%s, setting n_jobs=1; nested-%s may", why,
	               backend->pool.keeps ? "loky" : "multiprocessing");
	backend->pool.host->log(backend->pool.host, 2, line);
}

static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	choose_n_jobs(backend, call, answer);
	answer->holds = pool_holds(answer->n_jobs);
	return pool_start(&backend->pool, answer->n_jobs, choose_method(&backend->pool, call), error);
}

static int32_t start_call(par_backend *backend, par_error *error)
{
	(void)error;
	pool_begin_call(&backend->pool);
	return PAR_OK;
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
	(void)batch;
	return pool_kill(&backend->pool, future);
}

/* Afterwards all is as it was in any case: who was killed is replaced when there is work. */
static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	(void)ensure_ready;
	pool_abort(&backend->pool);
}

static int32_t poll_workers(par_backend *backend, int32_t sleeps)
{
	return pool_poll(&backend->pool, sleeps);
}

static int32_t terminate(par_backend *backend, par_error *error)
{
	(void)error;
	return pool_stop(&backend->pool);
}

#define SHARED_OPERATIONS                                                                       \
	.size = sizeof(par_backend_ops), .abi = PAR_ABI, .destroy = destroy,                    \
	.effective_n_jobs = effective_n_jobs, .configure = configure, .start_call = start_call, \
	.stop_call = stop_call, .submit = submit, .kill = kill_batch,                           \
	.abort_everything = abort_everything, .terminate = terminate, .poll = poll_workers

static const par_backend_ops multiprocessing = {
	.create = create_multiprocessing, SHARED_OPERATIONS};
static const par_backend_ops loky = {.create = create_loky, SHARED_OPERATIONS};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	if (strcmp(name, "multiprocessing") == 0)
		return &multiprocessing;
	return strcmp(name, "loky") == 0 ? &loky : NULL;
}
