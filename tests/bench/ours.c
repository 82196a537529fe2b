/* ours.c - parloop, through its public headers, on the backend threading. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include <parloop/parloop.h>

#include "bench.h"

enum {
	QUEUED = 1000000,
	AHEAD = 100
};

static atomic_int ran_on; /* the thread that ran the last task of a trip */

static int turn(const uint64_t *in, uint64_t *out)
{
	*out = work(*in);
	return 0;
}
PAR_TASK(turn, uint64_t, uint64_t)

static int trip(const uint64_t *in, uint64_t *out)
{
	atomic_store_explicit(&ran_on, gettid(), memory_order_relaxed);
	return turn(in, out);
}
PAR_TASK(trip, uint64_t, uint64_t)

static int fail_with(struct sample *sample, const par_error *error)
{
	return sample_fail(sample, "%s: %s", error->what, error->reason);
}

static const par_settings two_threads = {
	.size = sizeof(par_settings), .backend = "threading", .n_jobs = PAR_SET(JOBS)};

/* --- arrays: par_map --------------------------------------------------------------------- */

struct call {
	par_parallel *parallel;
	const par_task *task;
	const par_settings *settings;
	par_error error;
};

static int map_once(void *arg, const struct load *load)
{
	struct call *call = arg;

	return par_map(call->parallel, call->task, load->in, load->out, load->n, call->settings,
		       &call->error);
}

static int map_cell(const struct load *load, struct sample *sample)
{
	struct call call = {.task = &par_task_turn, .error = PAR_ERROR_INIT};
	int result;

	if (par_open(&call.parallel, &two_threads, &call.error) != PAR_OK)
		return fail_with(sample, &call.error);
	result = sample_tasks(sample, load, map_once, &call);
	if (result != 0)
		fail_with(sample, &call.error);
	par_close(call.parallel);
	return result;
}

/* --- streams: par_run -------------------------------------------------------------------- */

struct stream {
	struct call call;
	struct load load;
	uint64_t taken, delivered;
	int stays;
};

static int32_t next_item(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->taken == stream->load.n)
		return 0;
	item->payload = &stream->load.in[stream->taken++];
	item->n_bytes = sizeof(uint64_t);
	item->stays = stream->stays;
	return 1;
}

/* Nonzero, which ends the call, if the results do not come in order. */
static int32_t deliver(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;
	uint64_t i = stream->delivered++;

	memcpy(&stream->load.out[i], outcome->bytes, sizeof(uint64_t));
	return outcome->index != i || outcome->status != PAR_OK;
}

static int run_once(void *arg, const struct load *load)
{
	struct stream *stream = arg;

	stream->load = *load;
	stream->taken = stream->delivered = 0;
	return par_run(stream->call.parallel, stream->call.task, next_item, deliver, stream,
		       stream->call.settings, &stream->call.error);
}

static int stream_cell(const struct load *load, struct sample *sample,
		       const par_settings *settings,
		       int stays)
{
	struct stream stream = {.stays = stays};
	int result;

	stream.call = (struct call){
		.task = &par_task_turn, .settings = settings, .error = PAR_ERROR_INIT};
	if (par_open(&stream.call.parallel, &two_threads, &stream.call.error) != PAR_OK)
		return fail_with(sample, &stream.call.error);
	result = sample_tasks(sample, load, run_once, &stream);
	if (result != 0)
		fail_with(sample, &stream.call.error);
	par_close(stream.call.parallel);
	return result;
}

static int single_cell(const struct load *load, struct sample *sample)
{
	return stream_cell(load, sample, PAR_SETTINGS(.batch_size = PAR_SET(1)), 1);
}

static int single_copied_cell(const struct load *load, struct sample *sample)
{
	return stream_cell(load, sample, PAR_SETTINGS(.batch_size = PAR_SET(1)), 0);
}

static int batched_cell(const struct load *load, struct sample *sample)
{
	return stream_cell(load, sample, NULL, 1);
}

/* --- there and back ---------------------------------------------------------------------- */

static const uint64_t one_in = 1;
static uint64_t one_out;
static const struct load one_task = {.in = &one_in, .out = &one_out, .n = 1};

static int map_trip(void *arg)
{
	return map_once(arg, &one_task);
}

static int run_trip(void *arg)
{
	return run_once(arg, &one_task);
}

static int note_who(struct sample *sample)
{
	int caller = atomic_load(&ran_on) == gettid();

	snprintf(sample->note, sizeof(sample->note), "the %s ran it",
		 caller ? "caller" : "worker");
	return 0;
}

static int trip_cell(struct sample *sample, const par_settings *settings, int (*once)(void *arg))
{
	struct stream stream = {.stays = 1};
	int result;

	stream.call = (struct call){
		.task = &par_task_trip, .settings = settings, .error = PAR_ERROR_INIT};
	if (par_open(&stream.call.parallel, &two_threads, &stream.call.error) != PAR_OK)
		return fail_with(sample, &stream.call.error);
	result = sample_trips(sample, once, &stream);
	if (result != 0)
		fail_with(sample, &stream.call.error);
	else
		note_who(sample);
	par_close(stream.call.parallel);
	return result;
}

static int map_trip_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return trip_cell(sample, NULL, map_trip);
}

static int run_trip_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return trip_cell(sample, PAR_SETTINGS(.batch_size = PAR_SET(1)), run_trip);
}

/* With a time-out the caller's thread has to watch, so a worker must run the task:
 * this trip really goes there and back. */
static int watched_trip_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return trip_cell(sample, PAR_SETTINGS(.timeout = PAR_SET(60.0)), map_trip);
}

/* The same on a loop of the caller's, which never runs a task either. */
struct looped {
	struct call call;
	uv_loop_t loop;
	int done;
	int32_t status;
};

static void on_done(void *user, int32_t status, const par_error *error)
{
	struct looped *looped = user;

	looped->done = 1;
	looped->status = status;
	if (status != PAR_OK && error != NULL)
		looped->call.error = *error;
}

static void on_closed(void *user)
{
	((struct looped *)user)->done = 1;
}

static int loop_trip(void *arg)
{
	struct looped *looped = arg;

	looped->done = 0;
	if (par_start_map(looped->call.parallel, looped->call.task, &one_in, &one_out, 1, NULL,
			  on_done, looped, &looped->call.error) != PAR_OK)
		return -1;
	while (!looped->done)
		uv_run(&looped->loop, UV_RUN_ONCE);
	return looped->status;
}

static void loop_close(struct looped *looped)
{
	looped->done = 0;
	par_close_on(looped->call.parallel, on_closed, looped);
	while (!looped->done)
		uv_run(&looped->loop, UV_RUN_ONCE);
}

static int loop_trip_cell(const struct load *load, struct sample *sample)
{
	struct looped looped = {.call = {.task = &par_task_trip, .error = PAR_ERROR_INIT}};
	int result;

	(void)load;
	if (uv_loop_init(&looped.loop) != 0)
		return sample_fail(sample, "cannot make a loop");
	if (par_open_on(&looped.call.parallel, &looped.loop, &two_threads, NULL, NULL,
			&looped.call.error) != PAR_OK)
		return fail_with(sample, &looped.call.error);
	result = sample_trips(sample, loop_trip, &looped);
	if (result != 0)
		fail_with(sample, &looped.call.error);
	else
		note_who(sample);
	loop_close(&looped);
	uv_loop_close(&looped.loop);
	return result;
}

/* --- a million queued -------------------------------------------------------------------- */

/* A worker waits at the gate until the source has given everything; the caller, should
 * it run tasks itself, does not, since it is the one who opens the gate. */
static struct {
	pthread_t caller;
	atomic_int open;
	_Atomic uint64_t ran;
	_Atomic uint64_t taken;
	_Atomic uint64_t taken_first; /* when the first task completed, plus one */
} gate;

static int is_caller(void)
{
	return pthread_equal(pthread_self(), gate.caller);
}

static int gated(const uint64_t *in, uint64_t *out)
{
	int waited_ms;

	/* The bound is for a core that waits for a completion before it takes them all. */
	for (waited_ms = 0; !is_caller() && !atomic_load(&gate.open); waited_ms++)
		if (waited_ms < 5000)
			usleep(1000);
		else
			atomic_store(&gate.open, 1);
	atomic_fetch_add(&gate.ran, 1);
	return turn(in, out);
}
PAR_TASK(gated, uint64_t, uint64_t)

struct counted {
	uint64_t i, n;
	int64_t before_kb, queued_kb;
	uint64_t queued;
};

static int32_t next_gated(void *user, par_item *item)
{
	struct counted *counted = user;
	static uint64_t value;

	if (counted->i == counted->n) {
		counted->queued = counted->n - atomic_load(&gate.ran);
		counted->queued_kb = memory_now_kb();
		atomic_store(&gate.open, 1);
		return 0;
	}
	value = counted->i++ << 32 | 1;
	item->payload = &value;
	item->n_bytes = sizeof(value);
	item->stays = 0;
	return 1;
}

static int32_t ignore(void *user, const par_outcome *outcome)
{
	(void)user;
	return outcome->status != PAR_OK;
}

/* With a time-out the caller's thread runs no task: it would empty the queue. */
static int run_gated(struct call *call, struct counted *counted)
{
	atomic_store(&gate.open, counted->n == 1);
	atomic_store(&gate.ran, 0);
	return par_run(call->parallel, &par_task_gated, next_gated, ignore, counted,
		       PAR_SETTINGS(.batch_size = PAR_SET(1), .pre_dispatch = "all",
				    .timeout = PAR_SET(3600.0)),
		       &call->error);
}

static int measure_queue(struct call *call, struct sample *sample)
{
	struct counted one = {.n = 1}, all = {.n = QUEUED};

	if (run_gated(call, &one) != PAR_OK)
		return fail_with(sample, &call->error);
	all.before_kb = memory_now_kb();
	if (run_gated(call, &all) != PAR_OK)
		return fail_with(sample, &call->error);
	sample->value = (double)(memory_peak_kb() - all.before_kb) * 1024 / QUEUED;
	sample->least = (double)(all.queued_kb - all.before_kb) * 1024 / QUEUED;
	if (all.queued < QUEUED / 2)
		snprintf(sample->note, sizeof(sample->note), "only %llu were queued",
			 (unsigned long long)all.queued);
	return 0;
}

static int queued_cell(const struct load *load, struct sample *sample)
{
	struct call call = {.error = PAR_ERROR_INIT};
	int result;

	(void)load;
	gate.caller = pthread_self();
	if (par_open(&call.parallel, &two_threads, &call.error) != PAR_OK)
		return fail_with(sample, &call.error);
	result = measure_queue(&call, sample);
	par_close(call.parallel);
	return result;
}

/* --- none taken ahead of what pre_dispatch asks ------------------------------------------ */

static int tardy(const uint64_t *in, uint64_t *out)
{
	uint64_t none = 0;

	if (!is_caller())
		usleep(30000);
	atomic_compare_exchange_strong(&gate.taken_first, &none, atomic_load(&gate.taken) + 1);
	return turn(in, out);
}
PAR_TASK(tardy, uint64_t, uint64_t)

static int32_t next_counted(void *user, par_item *item)
{
	static const uint64_t value = 1;
	const uint64_t *n = user;

	if (atomic_load(&gate.taken) == *n)
		return 0;
	atomic_fetch_add(&gate.taken, 1);
	item->payload = &value;
	item->n_bytes = sizeof(value);
	item->stays = 1;
	return 1;
}

static int ahead_cell(const struct load *load, struct sample *sample)
{
	par_error error = PAR_ERROR_INIT;
	par_settings settings = two_threads;
	uint64_t n = 2 * AHEAD;

	(void)load;
	gate.caller = pthread_self();
	settings.pre_dispatch = "100";
	settings.batch_size = (par_int)PAR_SET(1);
	if (par_run(NULL, &par_task_tardy, next_counted, ignore, &n, &settings, &error) != PAR_OK)
		return fail_with(sample, &error);
	sample->value = sample->least = (double)atomic_load(&gate.taken_first) - 1;
	return 0;
}

const struct cell cells_ours[] = {
	{"W1a", "parloop par_run", OURS, single_cell},
	{"W1a", "parloop par_run, copied", EXTRA, single_copied_cell},
	{"W1a", "parloop par_run, auto", EXTRA, batched_cell},
	{"W1b", "parloop par_map", OURS, map_cell},
	{"W2", "parloop par_map", OURS, map_cell},
	{"W2", "parloop par_run, auto", EXTRA, batched_cell},
	{"W2-single", "parloop par_run", OURS, single_cell},
	{"W3", "parloop par_map", OURS, map_cell},
	{"W3", "parloop par_run", EXTRA, single_cell},
	{"W4", "parloop par_map", OURS, map_cell},
	{"W4", "parloop par_run", EXTRA, single_cell},
	{"W4s", "parloop par_map", OURS, map_cell},
	{"W4s", "parloop par_run", EXTRA, single_cell},
	{"back", "parloop par_map", OURS, map_trip_cell},
	{"back", "parloop par_run", OURS, run_trip_cell},
	{"back", "parloop par_map, timeout", OURS, watched_trip_cell},
	{"back", "parloop on a uv loop", OURS, loop_trip_cell},
	{"W9", "parloop par_run", OURS, queued_cell},
	{"W9-ahead", "parloop par_run", OURS, ahead_cell},
	{NULL, NULL, OURS, NULL},
};
