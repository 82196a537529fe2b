/* threading - runs batches on threads of this process.  joblib's ThreadingBackend.
 *
 * One queue, one lock.  Batches are few (in shared memory a batch is the right to
 * take part in a call until its work is done), so neither is on the way of a
 * task.  Threads start when there is a batch for them, and look out a while
 * before they sleep, as long as there are cores for that: to wake a sleeping
 * thread takes longer than many a loop. */
#include <parloop/backend.h>

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("threading", "runs tasks on threads of this process")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches")
	PAR_OPTION_SIZE("stack", "0", "0", "1G", "stack of a thread; 0: the system's default")
	PAR_OPTION_TIME("spin", "50us", "0us", "10ms", "how long a thread looks out for work before it sleeps"))

struct par_backend {
	const par_host *host;
	size_t stack;
	int64_t spin_ns;
	int n_jobs;
	pthread_t *threads;
	int n_threads;
	_Atomic int n_queued; /* written under lock; read by who looks out */
	_Atomic int ending;

	pthread_mutex_t lock;
	pthread_cond_t work;
	/* under lock */
	par_batch *queue; /* a ring of n_jobs places */
	int first;
	int idle;     /* threads without a batch */
	int sleeping; /* those of them that wait for work */
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pause_briefly(void)
{
#if defined(__x86_64__) || defined(__i386__)
	for (int i = 0; i < 8; i++)
		__builtin_ia32_pause();
#endif
}

/* To look out is worth a core only where there is one to spare. */
static int may_spin(par_backend *backend)
{
	int32_t cores = backend->host->cores(backend->host);

	return backend->spin_ns > 0 && cores > 1 && backend->n_jobs <= cores;
}

static void look_out(par_backend *backend)
{
	int64_t until = now_ns() + backend->spin_ns;

	while ( atomic_load_explicit(&backend->n_queued, memory_order_relaxed) == 0 &&
	       !atomic_load_explicit(&backend->ending, memory_order_relaxed)) {
		pause_briefly();
		if (now_ns() >= until)
			break;
	}
}

/* The next batch, under the lock; 0: there will be none. */
static par_batch take(par_backend *backend)
{
	par_batch batch;

	while (backend->n_queued == 0) {
		if (backend->ending)
			return 0;
		backend->sleeping++;
		pthread_cond_wait(&backend->work, &backend->lock);
		backend->sleeping--;
	}
	batch = backend->queue[backend->first];
	backend->first = (backend->first + 1) % backend->n_jobs;
	backend->n_queued--;
	return batch;
}

static void *worker(void *arg)
{
	par_backend *backend = arg;
	const par_host *host = backend->host;
	par_batch batch;
	int n_batches = 0, spins = 0;

	for (;;) {
		if (spins)
			look_out(backend);
		pthread_mutex_lock(&backend->lock);
		batch = take(backend);
		if (batch != 0)
			backend->idle--;
		pthread_mutex_unlock(&backend->lock);
		if (batch == 0)
			return NULL;
		int32_t status = host->run(host, batch);
		/* Idle before it is given back: the next submit may come at once. */
		pthread_mutex_lock(&backend->lock);
		backend->idle++;
		pthread_mutex_unlock(&backend->lock);
		host->done(host, batch, status, NULL);
		/* To find out takes a while: a short life is over by then. */
		if (n_batches < 3 && ++n_batches == 3)
			spins = may_spin(backend);
	}
}

static int start_thread(par_backend *backend)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	int code;

	if (pthread_attr_init(&attributes) != 0)
		return -1;
	if (backend->stack > 0)
		(void)pthread_attr_setstacksize(&attributes, backend->stack);
	/* Signals are the program's affair, and reach its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&backend->threads[backend->n_threads], &attributes, worker, backend);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	if (code != 0)
		return -1;
	backend->n_threads++;
	return 0;
}

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	par_backend *backend = calloc(1, sizeof(*backend));

	(void)level, (void)inner_max_num_threads;
	if (backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	backend->host = host;
	backend->stack = (size_t)host->option_int(options, "stack");
	if (backend->stack > 0 && backend->stack < (size_t)PTHREAD_STACK_MIN)
		backend->stack = (size_t)PTHREAD_STACK_MIN;
	backend->spin_ns = host->option_int(options, "spin");
	pthread_mutex_init(&backend->lock, NULL);
	pthread_cond_init(&backend->work, NULL);
	*out = backend;
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	pthread_cond_destroy(&backend->work);
	pthread_mutex_destroy(&backend->lock);
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	int64_t n = n_jobs < 0 ? (int64_t)backend->host->cores(backend->host) + 1 + n_jobs : n_jobs;

	return n < 1 ? 1 : (int32_t)n;
}

static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	if (answer->n_jobs == 1 && call->may_block) {
		answer->fallback = "sequential";
		return PAR_OK;
	}
	backend->n_jobs = answer->n_jobs;
	backend->ending = 0;
	backend->first = 0;
	backend->threads = calloc((size_t)backend->n_jobs, sizeof(*backend->threads));
	backend->queue = calloc((size_t)backend->n_jobs, sizeof(*backend->queue));
	if (backend->threads == NULL || backend->queue == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory for %d threads", backend->n_jobs);
	return PAR_OK;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	int status = PAR_OK;

	(void)future;
	pthread_mutex_lock(&backend->lock);
	if (backend->n_queued >= backend->idle && backend->n_threads < backend->n_jobs) {
		if (start_thread(backend) == 0)
			backend->idle++;
		else if (backend->n_threads > 0)
			backend->host->capacity(backend->host, backend->n_threads, backend->n_threads);
		else
			status = par_fail(error, PAR_ENOMEM, "cannot start a thread");
	}
	if (status == PAR_OK) {
		backend->queue[(backend->first + backend->n_queued) % backend->n_jobs] = batch;
		backend->n_queued++;
		if (backend->sleeping > 0)
			pthread_cond_signal(&backend->work);
	} else {
		par_remedy(error, "ask for fewer n_jobs, or see ulimit -u and the option stack");
	}
	pthread_mutex_unlock(&backend->lock);
	return status;
}

/* Threads cannot be killed; what no thread has begun can be given back. */
static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	par_batch batch;

	(void)ensure_ready;
	do {
		batch = 0;
		pthread_mutex_lock(&backend->lock);
		if (backend->n_queued > 0)
			batch = take(backend);
		pthread_mutex_unlock(&backend->lock);
		if (batch != 0)
			backend->host->done(backend->host, batch, PAR_EABORTED, NULL);
	} while (batch != 0);
}

static int32_t terminate(par_backend *backend, par_error *error)
{
	(void)error;
	pthread_mutex_lock(&backend->lock);
	backend->ending = 1;
	pthread_cond_broadcast(&backend->work);
	pthread_mutex_unlock(&backend->lock);
	while (backend->n_threads > 0)
		pthread_join(backend->threads[--backend->n_threads], NULL);
	free(backend->threads);
	free(backend->queue);
	backend->threads = NULL;
	backend->queue = NULL;
	backend->idle = 0;
	return PAR_OK;
}

static const par_backend_ops ops = {
	.size = sizeof(ops),
	.abi = PAR_ABI,
	.create = create,
	.destroy = destroy,
	.effective_n_jobs = effective_n_jobs,
	.configure = configure,
	.submit = submit,
	.abort_everything = abort_everything,
	.terminate = terminate,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
	return strcmp(name, "threading") == 0 ? &ops : NULL;
}
