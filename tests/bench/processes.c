/* processes.c - parloop, through its public headers, on the backends whose workers are other
 * processes.  One that is not there leaves its rows out, and they say so.  The tasks are in a
 * module (tasks/), since a worker that was executed finds them by their file and name. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <parloop/parloop.h>

#include "crash.h"
#include "payload.h"

struct pool {
	par_parallel *parallel;
	const par_task *task;
	const par_settings *settings; /* of its calls */
	par_error error;
};

static int fail_with(struct sample *sample, const par_error *error)
{
	return sample_fail(sample, "%s: %s", error->what, error->reason);
}

static int find_task(struct pool *pool, const char *name)
{
	char path[PATH_MAX];
	par_module *module;

	return par_module_open(&module, built_path(path, "tasks.so"), &pool->error) == PAR_OK
		       ? par_module_task(module, name, &pool->task, &pool->error)
		       : -1;
}

static int pool_open(struct pool *pool, struct sample *sample, const char *backend,
		     const char *task)
{
	par_settings settings = {
		.size = sizeof(settings), .backend = backend, .n_jobs = PAR_SET(JOBS)};

	pool->error = (par_error)PAR_ERROR_INIT;
	if (par_effective_n_jobs(backend, JOBS, &pool->error) == 0 ||
	    find_task(pool, task) != 0 ||
	    par_open(&pool->parallel, &settings, &pool->error) != PAR_OK)
		return fail_with(sample, &pool->error);
	return 0;
}

/* Returns result, and says why if it is a failure. */
static int pool_close(struct pool *pool, struct sample *sample, int result)
{
	if (result != 0 && sample->error[0] == '\0')
		fail_with(sample, &pool->error);
	par_close(pool->parallel);
	return result;
}

/* --- arrays: par_map --------------------------------------------------------------------- */

static int map_once(void *arg, const struct load *load)
{
	struct pool *pool = arg;

	return par_map(pool->parallel, pool->task, load->in, load->out, load->n, pool->settings,
		       &pool->error);
}

static int map_cell(const struct load *load, struct sample *sample, const char *backend)
{
	struct pool pool = {.settings = NULL};

	if (pool_open(&pool, sample, backend, "turn") != 0)
		return -1;
	return pool_close(&pool, sample, sample_tasks(sample, load, map_once, &pool));
}

/* --- payloads: par_run ------------------------------------------------------------------- */

struct stream {
	struct pool pool;
	struct load load;
	uint64_t taken, delivered;
	uint64_t most;   /* this many are out at a time */
	uint64_t *words; /* the payload, for all: one is out at a time, or it is copied */
	uint64_t n_bytes;
	int stays;
};

static int32_t next_payload(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->taken == stream->load.n)
		return 0;
	if (stream->taken - stream->delivered == stream->most)
		return PAR_NONE_YET;
	stream->words[0] = stream->load.in[stream->taken++];
	item->payload = stream->words;
	item->n_bytes = stream->n_bytes;
	item->stays = stream->stays;
	return 1;
}

/* Nonzero, which ends the call, if it is no result. */
static int32_t deliver(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;
	uint64_t i = stream->delivered++, value;

	if (outcome->status != PAR_OK || outcome->n_bytes < sizeof(value))
		return 1;
	memcpy(&value, outcome->bytes, sizeof(value));
	stream->load.out[i] = work(value);
	if (stream->taken < stream->load.n && stream->most != UINT64_MAX)
		par_wake(stream->pool.parallel);
	return 0;
}

static int run_once(void *arg, const struct load *load)
{
	struct stream *stream = arg;

	stream->load = *load;
	stream->taken = stream->delivered = 0;
	return par_run(stream->pool.parallel, stream->pool.task, next_payload, deliver, stream,
		       stream->pool.settings, &stream->pool.error);
}

/* A call for every task. */
static int calls_once(void *arg, const struct load *load)
{
	struct load one = {.n = 1};
	uint64_t i;

	for (i = 0; i < load->n; i++) {
		one.in = &load->in[i];
		one.out = &load->out[i];
		if (run_once(arg, &one) != 0)
			return -1;
	}
	return 0;
}

static int stream_cell(const struct load *load, struct sample *sample, const char *backend,
		       struct stream *stream, int (*once)(void *arg, const struct load *load))
{
	struct echo echo = {{0}};

	stream->words = echo.words;
	stream->n_bytes = sizeof(echo);
	stream->pool.settings = PAR_SETTINGS(.batch_size = PAR_SET(1));
	if (pool_open(&stream->pool, sample, backend, "echo") != 0)
		return -1;
	return pool_close(&stream->pool, sample, sample_tasks(sample, load, once, stream));
}

static int full_cell(const struct load *load, struct sample *sample, const char *backend)
{
	struct stream stream = {.most = UINT64_MAX, .stays = 0};

	return stream_cell(load, sample, backend, &stream, run_once);
}

static int one_cell(const struct load *load, struct sample *sample, const char *backend)
{
	struct stream stream = {.most = UINT64_MAX, .stays = 1};

	return stream_cell(load, sample, backend, &stream, calls_once);
}

/* One call, whose source has nothing while a task is out. */
static int one_streamed_cell(const struct load *load, struct sample *sample, const char *backend)
{
	struct stream stream = {.most = 1, .stays = 1};

	return stream_cell(load, sample, backend, &stream, run_once);
}

/* --- large payloads, a call for each ----------------------------------------------------- */

static int large_cell(const struct load *load, struct sample *sample, const char *backend,
		      uint64_t size, uint64_t *(*make)(uint64_t size, struct pool *pool))
{
	struct stream stream = {.most = UINT64_MAX, .n_bytes = size, .stays = 1};

	if (pool_open(&stream.pool, sample, backend, "total") != 0)
		return -1;
	stream.words = make(size, &stream.pool);
	if (stream.words == NULL)
		return pool_close(&stream.pool, sample, -1);
	payload_fill(stream.words, size / sizeof(uint64_t));
	return pool_close(&stream.pool, sample, sample_tasks(sample, load, calls_once, &stream));
}

static uint64_t *make_own(uint64_t size, struct pool *pool)
{
	(void)pool;
	return malloc(size);
}

#ifdef PAR_HAS_SHARED
static uint64_t *make_shared(uint64_t size, struct pool *pool)
{
	return par_shared_alloc(size, &pool->error);
}
#endif

static int value_cell(const struct load *load, struct sample *sample, const char *backend,
		      uint64_t size)
{
	return large_cell(load, sample, backend, size, make_own);
}

static int shared_cell(const struct load *load, struct sample *sample, const char *backend,
		       uint64_t size)
{
#ifdef PAR_HAS_SHARED
	return large_cell(load, sample, backend, size, make_shared);
#else
	(void)load, (void)backend, (void)size;
	return sample_fail(sample, "this parloop has no par_shared_alloc()");
#endif
}

static int value_1m_cell(const struct load *load, struct sample *sample, const char *backend)
{
	return value_cell(load, sample, backend, MIB);
}

static int shared_1m_cell(const struct load *load, struct sample *sample, const char *backend)
{
	return shared_cell(load, sample, backend, MIB);
}

static int value_64m_cell(const struct load *load, struct sample *sample, const char *backend)
{
	return value_cell(load, sample, backend, 64 * MIB);
}

static int shared_64m_cell(const struct load *load, struct sample *sample, const char *backend)
{
	return shared_cell(load, sample, backend, 64 * MIB);
}

/* --- from nothing to the end ------------------------------------------------------------- */

static int start_cell(const struct load *load, struct sample *sample, const char *backend)
{
	par_error error = PAR_ERROR_INIT;
	char name[64];

	(void)load;
	if (par_effective_n_jobs(backend, JOBS, &error) == 0)
		return fail_with(sample, &error);
	snprintf(name, sizeof(name), "ours-%s", backend);
	return sample_start_of(sample, name);
}

/* --- from a worker's death to the result of its replacement -------------------------------- */

/* Two tasks: one keeps a worker busy, so that nobody but a replacement can run the other one
 * again, which has killed its own. */
struct crash {
	struct pool pool;
	struct sample *sample;
	struct crash_order orders[2];
	uint64_t pids[2];
	uint64_t taken;
	volatile struct crash_file *file;
	int64_t result_ns; /* of the replacement */
};

static int32_t next_order(void *user, par_item *item)
{
	struct crash *crash = user;

	if (crash->taken == 2)
		return 0;
	item->payload = &crash->orders[crash->taken++];
	item->n_bytes = sizeof(struct crash_order);
	item->stays = 1;
	return 1;
}

static int32_t take_pid(void *user, const par_outcome *outcome)
{
	struct crash *crash = user;

	if (outcome->status == PAR_OK && outcome->n_bytes == sizeof(uint64_t))
		memcpy(&crash->pids[outcome->index], outcome->bytes, sizeof(uint64_t));
	if (!crash->orders[outcome->index].stands_by) {
		crash->result_ns = now_ns();
		crash->file->over = 1;
	}
	return 0;
}

static int crash_once(void *arg, double *took)
{
	struct crash *crash = arg;

	crash->taken = crash->pids[0] = crash->pids[1] = 0;
	crash->file->standing = crash->file->died_ns = crash->file->over = 0;
	if (par_run(crash->pool.parallel, crash->pool.task, next_order, take_pid, crash,
		    crash->pool.settings, &crash->pool.error) != PAR_OK)
		return -1;
	if (crash->file->died_ns == 0 || crash->pids[0] == crash->pids[1])
		return sample_fail(crash->sample, "no replacement ran the task");
	*took = (double)(crash->result_ns - (int64_t)crash->file->died_ns);
	return 0;
}

/* A worker opens the file by this process's descriptor, so it needs no name. */
static int crash_prepare(struct crash *crash)
{
	int fd = memfd_create("crash", MFD_CLOEXEC), i;
	void *file;

	if (fd < 0 || ftruncate(fd, sizeof(struct crash_file)) != 0)
		return sample_fail(crash->sample, "cannot make a file in memory");
	file = mmap(NULL, sizeof(struct crash_file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (file == MAP_FAILED)
		return sample_fail(crash->sample, "cannot map a file in memory");
	crash->file = file;
	for (i = 0; i < 2; i++)
		snprintf(crash->orders[i].path, sizeof(crash->orders[i].path), "/proc/%d/fd/%d",
			 (int)getpid(), fd);
	crash->orders[0].stands_by = 1;
	return 0;
}

static int crash_cell(const struct load *load, struct sample *sample, const char *backend)
{
	struct crash crash = {.sample = sample};

	(void)load;
	crash.pool.settings = PAR_SETTINGS(
			.order = PAR_UNORDERED, .on_error = PAR_COLLECT, .batch_size = PAR_SET(1),
			.retries = PAR_SET(3), .retry_on = PAR_SET(PAR_ON_CRASH));
	if (pool_open(&crash.pool, sample, backend, "crash") != 0)
		return -1;
	return pool_close(&crash.pool, sample,
			  crash_prepare(&crash) != 0
				  ? -1
				  : sample_own(sample, crash_once, &crash));
}

/* --- what an idle worker has to itself ------------------------------------------------------ */

enum {
	ASKED = 8, /* tasks, so that both workers have had some */
	IDLE_US = 200000
};

static int measure_memory(struct sample *sample, const uint64_t *pids)
{
	int64_t kb, most_kb = 0;
	int i, workers = 0, seen;

	for (i = 0; i < ASKED; i++) {
		for (seen = 0; pids[seen] != pids[i]; seen++)
			;
		if (seen < i)
			continue;
		workers++;
		kb = memory_own_kb((pid_t)pids[i]);
		if (kb < 0 || (pid_t)pids[i] == getpid())
			return sample_fail(sample, "no memory of a worker to be read");
		most_kb = kb > most_kb ? kb : most_kb;
	}
	if (workers != JOBS)
		snprintf(sample->note, sizeof(sample->note), "of %d workers", workers);
	sample->value = sample->least = (double)most_kb * 1024 / 1e6;
	return 0;
}

static int idle_cell(const struct load *load, struct sample *sample, const char *backend)
{
	static const uint64_t in[ASKED];
	struct load asked = {.in = in, .n = ASKED};
	struct pool pool = {.settings = PAR_SETTINGS(.batch_size = PAR_SET(1))};
	uint64_t pids[ASKED];
	int result;

	(void)load;
	asked.out = pids;
	if (pool_open(&pool, sample, backend, "where") != 0)
		return -1;
	result = map_once(&pool, &asked);
	if (result == 0) {
		usleep(IDLE_US);
		result = measure_memory(sample, pids);
	}
	return pool_close(&pool, sample, result);
}

/* --- each of them on both backends ----------------------------------------------------------- */

#define ON_BOTH(cell)                                                              \
	static int cell##_forked(const struct load *load, struct sample *sample)   \
	{                                                                          \
		return cell(load, sample, "multiprocessing");                      \
	}                                                                          \
	static int cell##_executed(const struct load *load, struct sample *sample) \
	{                                                                          \
		return cell(load, sample, "loky");                                 \
	}

ON_BOTH(map_cell)
ON_BOTH(full_cell)
ON_BOTH(one_cell)
ON_BOTH(one_streamed_cell)
ON_BOTH(value_1m_cell)
ON_BOTH(shared_1m_cell)
ON_BOTH(value_64m_cell)
ON_BOTH(shared_64m_cell)
ON_BOTH(start_cell)
ON_BOTH(crash_cell)
ON_BOTH(idle_cell)

#define FORKED   "parloop multiprocessing"
#define EXECUTED "parloop loky"

const struct cell cells_processes[] = {
	{"W1b-processes", FORKED, OURS, map_cell_forked},
	{"W1b-processes", EXECUTED, OURS, map_cell_executed},
	{"W2-processes", FORKED, OURS, map_cell_forked},
	{"W2-processes", EXECUTED, OURS, map_cell_executed},
	{"W3-processes", FORKED, OURS, map_cell_forked},
	{"W3-processes", EXECUTED, OURS, map_cell_executed},
	{"W4-processes", FORKED, OURS, map_cell_forked},
	{"W4-processes", EXECUTED, OURS, map_cell_executed},
	{"W4s-processes", FORKED, OURS, map_cell_forked},
	{"W4s-processes", EXECUTED, OURS, map_cell_executed},
	{"W5-full", FORKED, OURS, full_cell_forked},
	{"W5-full", EXECUTED, OURS, full_cell_executed},
	{"W5-one", FORKED, OURS, one_cell_forked},
	{"W5-one", EXECUTED, OURS, one_cell_executed},
	{"W5-one", FORKED ", streamed", OURS, one_streamed_cell_forked},
	{"W5-one", EXECUTED ", streamed", OURS, one_streamed_cell_executed},
	{"W5-1M", FORKED ", value", OURS, value_1m_cell_forked},
	{"W5-1M", EXECUTED ", value", OURS, value_1m_cell_executed},
	{"W5-1M", FORKED ", shared", OURS, shared_1m_cell_forked},
	{"W5-1M", EXECUTED ", shared", OURS, shared_1m_cell_executed},
	{"W5-64M", FORKED ", value", OURS, value_64m_cell_forked},
	{"W5-64M", EXECUTED ", value", OURS, value_64m_cell_executed},
	{"W5-64M", FORKED ", shared", OURS, shared_64m_cell_forked},
	{"W5-64M", EXECUTED ", shared", OURS, shared_64m_cell_executed},
	{"W6-processes", FORKED, OURS, start_cell_forked},
	{"W6-processes", EXECUTED, OURS, start_cell_executed},
	{"W6b", FORKED, OURS, crash_cell_forked},
	{"W6b", EXECUTED, OURS, crash_cell_executed},
	{"W9-workers", FORKED, OURS, idle_cell_forked},
	{"W9-workers", EXECUTED, OURS, idle_cell_executed},
	{NULL, NULL, OURS, NULL},
};
