/* uv.c - libuv's thread pool, as a program that already has a loop would use it: a
 * window of requests, each used again for the next task when it comes back. */
#include <stdatomic.h>
#include <stdlib.h>
#include <uv.h>

#include "bench.h"

enum {
	WINDOW = 4096,
	QUEUED = 1000000
};

struct request {
	uv_work_t req;
	struct pool *pool;
	const uint64_t *in;
	uint64_t *out;
};

struct pool {
	uv_loop_t loop;
	const struct load *load;
	uint64_t next;
	struct request window[WINDOW];
};

static void on_work(uv_work_t *req)
{
	struct request *request = req->data;

	*request->out = work(*request->in);
}

static void on_done(uv_work_t *req, int status);

static void submit_next(struct request *request)
{
	struct pool *pool = request->pool;
	uint64_t i = pool->next++;

	request->in = &pool->load->in[i];
	request->out = &pool->load->out[i];
	uv_queue_work(&pool->loop, &request->req, on_work, on_done);
}

static void on_done(uv_work_t *req, int status)
{
	struct request *request = req->data;

	(void)status;
	if (request->pool->next < request->pool->load->n)
		submit_next(request);
}

static int run_single(void *arg, const struct load *load)
{
	struct pool *pool = arg;
	uint64_t i, first = load->n < WINDOW ? load->n : WINDOW;

	pool->load = load;
	pool->next = 0;
	for (i = 0; i < first; i++)
		submit_next(&pool->window[i]);
	return uv_run(&pool->loop, UV_RUN_DEFAULT);
}

static struct pool *pool_create(void)
{
	struct pool *pool = calloc(1, sizeof(*pool));
	int i;

	setenv("UV_THREADPOOL_SIZE", "2", 1);
	if (pool == NULL || uv_loop_init(&pool->loop) != 0)
		return NULL;
	for (i = 0; i < WINDOW; i++) {
		pool->window[i].pool = pool;
		pool->window[i].req.data = &pool->window[i];
	}
	return pool;
}

static void pool_destroy(struct pool *pool)
{
	uv_loop_close(&pool->loop);
	free(pool);
}

static int single_cell(const struct load *load, struct sample *sample)
{
	struct pool *pool = pool_create();
	int result;

	if (pool == NULL)
		return sample_fail(sample, "cannot make a loop");
	result = sample_tasks(sample, load, run_single, pool);
	pool_destroy(pool);
	return result;
}

/* --- there and back ------------------------------------------------------------------- */

static int trip_once(void *arg)
{
	static const uint64_t in = 1;
	static uint64_t out;

	return run_single(arg, &(struct load){.in = &in, .out = &out, .n = 1});
}

static int trip_cell(const struct load *load, struct sample *sample)
{
	struct pool *pool = pool_create();
	int result;

	(void)load;
	if (pool == NULL)
		return sample_fail(sample, "cannot make a loop");
	result = sample_trips(sample, trip_once, pool);
	pool_destroy(pool);
	return result;
}

/* --- a million queued ------------------------------------------------------------------ */

/* The workers wait until everything is queued. */
static atomic_int gate;

struct queued {
	uv_work_t req;
	uint64_t in, out;
};

static void on_gated_work(uv_work_t *req)
{
	struct queued *queued = req->data;

	while (!atomic_load(&gate))
		uv_sleep(1);
	queued->out = work(queued->in);
}

static void on_gated_done(uv_work_t *req, int status)
{
	(void)status;
	free(req->data);
}

static int queue_all(uv_loop_t *loop, uint64_t n)
{
	struct queued *queued;
	uint64_t i;

	for (i = 0; i < n; i++) {
		queued = malloc(sizeof(*queued));
		if (queued == NULL)
			return -1;
		queued->req.data = queued;
		queued->in = i << 32 | 1;
		uv_queue_work(loop, &queued->req, on_gated_work, on_gated_done);
	}
	return 0;
}

static int queued_cell(const struct load *load, struct sample *sample)
{
	struct pool *pool = pool_create();
	int64_t before;

	(void)load;
	if (pool == NULL)
		return sample_fail(sample, "cannot make a loop");
	atomic_store(&gate, 1);
	if (queue_all(&pool->loop, 1) != 0 || uv_run(&pool->loop, UV_RUN_DEFAULT) != 0)
		return sample_fail(sample, "no memory");
	atomic_store(&gate, 0);
	before = memory_now_kb();
	if (queue_all(&pool->loop, QUEUED) != 0)
		return sample_fail(sample, "no memory");
	sample->least = (double)(memory_now_kb() - before) * 1024 / QUEUED;
	atomic_store(&gate, 1);
	uv_run(&pool->loop, UV_RUN_DEFAULT);
	sample->value = (double)(memory_peak_kb() - before) * 1024 / QUEUED;
	pool_destroy(pool);
	return 0;
}

const struct cell cells_uv[] = {
	{"W1a", "libuv uv_queue_work", PEER, single_cell},
	{"W2-single", "libuv uv_queue_work", PEER, single_cell},
	{"W3", "libuv uv_queue_work", PEER, single_cell},
	{"W4", "libuv uv_queue_work", PEER, single_cell},
	{"W4s", "libuv uv_queue_work", PEER, single_cell},
	{"back", "libuv uv_queue_work", PEER, trip_cell},
	{"W9", "libuv uv_queue_work", PEER, queued_cell},
	{NULL, NULL, PEER, NULL},
};
