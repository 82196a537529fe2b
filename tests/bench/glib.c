/* glib.c - GLib's GThreadPool. */
#include <glib.h>
#include <stdatomic.h>

#include "bench.h"

struct pool {
	GThreadPool *threads;
	const struct load *load;
	_Atomic uint64_t left;
	GMutex lock;
	GCond ended;
};

/* A datum may not be NULL, so the index of a task goes in plus one. */
static void on_task(gpointer datum, gpointer user)
{
	struct pool *pool = user;
	uint64_t i = GPOINTER_TO_SIZE(datum) - 1;

	pool->load->out[i] = work(pool->load->in[i]);
	if (atomic_fetch_sub(&pool->left, 1) > 1)
		return;
	g_mutex_lock(&pool->lock);
	g_cond_signal(&pool->ended);
	g_mutex_unlock(&pool->lock);
}

static int run_single(void *arg, const struct load *load)
{
	struct pool *pool = arg;
	uint64_t i;

	pool->load = load;
	atomic_store(&pool->left, load->n);
	for (i = 0; i < load->n; i++)
		g_thread_pool_push(pool->threads, GSIZE_TO_POINTER(i + 1), NULL);
	g_mutex_lock(&pool->lock);
	while (atomic_load(&pool->left) > 0)
		g_cond_wait(&pool->ended, &pool->lock);
	g_mutex_unlock(&pool->lock);
	return 0;
}

static int trip_once(void *arg)
{
	static const uint64_t in = 1;
	static uint64_t out;

	return run_single(arg, &(struct load){.in = &in, .out = &out, .n = 1});
}

static int pool_init(struct pool *pool, struct sample *sample)
{
	g_mutex_init(&pool->lock);
	g_cond_init(&pool->ended);
	pool->threads = g_thread_pool_new(on_task, pool, JOBS, TRUE, NULL);
	return pool->threads != NULL ? 0 : sample_fail(sample, "cannot make a pool");
}

static int single_cell(const struct load *load, struct sample *sample)
{
	static struct pool pool;
	int result;

	if (pool_init(&pool, sample) != 0)
		return -1;
	result = sample_tasks(sample, load, run_single, &pool);
	g_thread_pool_free(pool.threads, FALSE, TRUE);
	return result;
}

static int trip_cell(const struct load *load, struct sample *sample)
{
	static struct pool pool;
	int result;

	(void)load;
	if (pool_init(&pool, sample) != 0)
		return -1;
	result = sample_trips(sample, trip_once, &pool);
	g_thread_pool_free(pool.threads, FALSE, TRUE);
	return result;
}

const struct cell cells_glib[] = {
	{"W1a", "GLib GThreadPool", PEER, single_cell},
	{"W2-single", "GLib GThreadPool", PEER, single_cell},
	{"W3", "GLib GThreadPool", PEER, single_cell},
	{"W4", "GLib GThreadPool", PEER, single_cell},
	{"W4s", "GLib GThreadPool", PEER, single_cell},
	{"back", "GLib GThreadPool", PEER, trip_cell},
	{NULL, NULL, PEER, NULL},
};
