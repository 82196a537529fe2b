/* fixed_pool - one pool of so many threads for all calls of the process, as an engine has that was
 * started before us.
 *
 * A thread runs a batch only while it has one of the pool's slots.  If a task makes a call of its
 * own, its thread waits, and its slot goes to another thread until then: or else the pool, full of
 * threads that wait for those behind them in the queue, would stand still for ever.  So there are
 * as many threads as slots, and one more for each that waits.  So that few do, what came last is
 * run first: a tree of calls is then gone through in depth, and not in all its breadth at once.
 *
 * It does not say uses_threads: a caller that waits for a backend of threads may run some of its
 * batches itself, and here nobody is to run one without a slot. */
#include <parloop/backend.h>

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("fixed_pool", "one pool of so many threads for all calls of the process")
	PAR_CAPABILITIES("shares_memory auto_batches")
	PAR_OPTION_INT("slots", 2, 1, 64, "threads that run at once, whoever calls"))

enum { MOST_SLOTS = 64 };

struct entry {
	struct entry *next;
	const par_host *host;
	par_batch batch;
};

struct thread {
	struct thread *next;
	pthread_t id;
};

/* The pool of that many slots. */
struct pool {
	int slots;
	pthread_mutex_t lock;
	pthread_cond_t work; /* for threads without a batch */
	pthread_cond_t slot; /* for those whose task goes on */

	/* under lock */
	struct entry *last; /* what came last */
	int queued, taken; /* slots that are */
	int n_threads, idle, waiting, returning;
	struct thread *threads;
	int users, ending; /* instances; the last one ends the threads */
};

struct par_backend {
	const par_host *host;
	struct pool *pool;
};

static struct pool pools[MOST_SLOTS + 1];

/* Whose slot this thread has. */
static _Thread_local const struct pool *employer;

/* Also of a forked child, where none of the threads is. */
static void make_pools(void)
{
	memset(pools, 0, sizeof(pools));
	for (int i = 0; i <= MOST_SLOTS; i++) {
		pools[i].slots = i;
		pthread_mutex_init(&pools[i].lock, NULL);
		pthread_cond_init(&pools[i].work, NULL);
		pthread_cond_init(&pools[i].slot, NULL);
	}
}

static void make_pools_once(void)
{
	make_pools();
	(void)pthread_atfork(NULL, NULL, make_pools);
}

/* --- under the lock ------------------------------------------------------------------------ */

/* A free slot is for who had one before; then for the queue. */
static void offer_slot(struct pool *pool)
{
	if (pool->taken == pool->slots)
		return;
	if (pool->returning > 0)
		pthread_cond_signal(&pool->slot);
	else if (pool->queued > 0)
		pthread_cond_signal(&pool->work);
}

static int may_begin(const struct pool *pool)
{
	return pool->queued > 0 && pool->taken < pool->slots && pool->returning == 0;
}

static struct entry *take(struct pool *pool)
{
	struct entry *entry = pool->last;

	pool->last = entry->next;
	pool->queued--;
	pool->idle--;
	pool->taken++;
	offer_slot(pool);
	return entry;
}

static void *worker(void *arg)
{
	struct pool *pool = arg;
	struct entry *entry;

	employer = pool;
	pthread_mutex_lock(&pool->lock);
	for (;;) {
		while (!may_begin(pool) && !pool->ending)
			pthread_cond_wait(&pool->work, &pool->lock);
		if (pool->ending)
			break;
		entry = take(pool);
		pthread_mutex_unlock(&pool->lock);
		int32_t status = entry->host->run(entry->host, entry->batch);
		pthread_mutex_lock(&pool->lock);
		pool->taken--;
		pool->idle++;
		offer_slot(pool);
		pthread_mutex_unlock(&pool->lock);
		/* From here on the instance may be gone. */
		entry->host->done(entry->host, entry->batch, status, NULL);
		free(entry);
		pthread_mutex_lock(&pool->lock);
	}
	pthread_mutex_unlock(&pool->lock);
	return NULL;
}

static int start_thread(struct pool *pool)
{
	struct thread *thread = malloc(sizeof(*thread));
	sigset_t all, before;
	int code;

	if (thread == NULL)
		return -1;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&thread->id, NULL, worker, pool);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code != 0) {
		free(thread);
		return -1;
	}
	thread->next = pool->threads;
	pool->threads = thread;
	pool->n_threads++;
	pool->idle++;
	return 0;
}

/* A thread for what is queued, if all are busy and there is a slot for one more: whoever waits,
 * or submits from a task and is about to, needs none. */
static int have_thread(struct pool *pool)
{
	int waiting = pool->waiting + (employer == pool); /* it will give its slot away in a moment */

	if (pool->queued < pool->idle || pool->n_threads - waiting >= pool->slots)
		return 0;
	return start_thread(pool);
}

/* --- the operations ------------------------------------------------------------------------ */

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	par_backend *backend = malloc(sizeof(*backend));

	(void)level, (void)inner_max_num_threads;
	if (backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	backend->host = host;
	backend->pool = &pools[host->option_int(options, "slots")];
	pthread_mutex_lock(&backend->pool->lock);
	while (backend->pool->ending)
		pthread_cond_wait(&backend->pool->slot, &backend->pool->lock);
	backend->pool->users++;
	pthread_mutex_unlock(&backend->pool->lock);
	*out = backend;
	return PAR_OK;
}

/* The last is none of a task's, whose own call still has an instance. */
static void end_threads(struct pool *pool)
{
	struct thread *thread = pool->threads, *next;

	pool->ending = 1;
	pthread_cond_broadcast(&pool->work);
	pthread_mutex_unlock(&pool->lock);
	for (; thread != NULL; thread = next) {
		next = thread->next;
		pthread_join(thread->id, NULL);
		free(thread);
	}
	pthread_mutex_lock(&pool->lock);
	pool->threads = NULL;
	pool->n_threads = pool->idle = pool->ending = 0;
	pthread_cond_broadcast(&pool->slot);
}

static void destroy(par_backend *backend)
{
	struct pool *pool = backend->pool;

	pthread_mutex_lock(&pool->lock);
	if (--pool->users == 0)
		end_threads(pool);
	pthread_mutex_unlock(&pool->lock);
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	int32_t slots = backend->pool->slots;

	if (n_jobs < 0)
		n_jobs += slots + 1;
	return n_jobs < 1 ? 1 : n_jobs > slots ? slots : n_jobs;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	struct pool *pool = backend->pool;
	struct entry *entry = malloc(sizeof(*entry));
	int32_t status = PAR_OK;

	(void)future;
	if (entry == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	*entry = (struct entry){.host = backend->host, .batch = batch};
	pthread_mutex_lock(&pool->lock);
	if (have_thread(pool) < 0) {
		status = par_fail(error, PAR_ENOMEM, "cannot start a thread");
		free(entry);
	} else {
		entry->next = pool->last;
		pool->last = entry;
		pool->queued++;
		offer_slot(pool);
	}
	pthread_mutex_unlock(&pool->lock);
	return status;
}

static void batch_waits(par_backend *backend, par_batch batch, int32_t waits)
{
	struct pool *pool = backend->pool;

	(void)batch;
	employer = waits ? NULL : pool;
	pthread_mutex_lock(&pool->lock);
	if (waits) {
		pool->taken--;
		pool->waiting++;
		/* If there is none, what is queued waits for us; what we wait for has one. */
		if (pool->queued > 0)
			(void)have_thread(pool);
	} else {
		pool->returning++;
		while (pool->taken == pool->slots)
			pthread_cond_wait(&pool->slot, &pool->lock);
		pool->returning--;
		pool->waiting--;
		pool->taken++;
	}
	offer_slot(pool);
	pthread_mutex_unlock(&pool->lock);
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .submit = submit, .batch_waits = batch_waits,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	(void)host;
	pthread_once(&once, make_pools_once);
	return strcmp(name, "fixed_pool") == 0 ? &ops : NULL;
}
