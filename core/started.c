#include "parallel.h"

#include "error.h"

#include <unistd.h>

/* A par_parallel on its caller's loop: taken further by callbacks, never waiting. */

/* After so many turns in a row the caller's other handles have their turn. */
enum { TURNS_IN_A_ROW = 16 };

/* The handles keep the caller's uv_run() going only while there is something to wait for. */
static void hold_loop(par_parallel *parallel, int hold)
{
	uv_handle_t *async = (uv_handle_t *)&parallel->loop.async;
	uv_handle_t *timer = (uv_handle_t *)&parallel->loop.timer;

	if (hold) {
		uv_ref(async);
		uv_ref(timer);
	} else {
		uv_unref(async);
		uv_unref(timer);
	}
}

static int rests(par_parallel *parallel)
{
	_Atomic int32_t *hungry = parallel->engine != NULL ? &parallel->engine->call.hungry : NULL;

	if (!loop_rest(&parallel->loop, turn_deadline(parallel), turn_may_sleep))
		return 1;
	if (hungry != NULL)
		(void)atomic_exchange_explicit(hungry, 0, memory_order_acq_rel);
	return 0;
}

static void tell_ready(par_parallel *parallel, int32_t status, const par_error *error)
{
	par_done_fn ready = parallel->ready;

	parallel->ready = NULL;
	if (ready != NULL)
		ready(parallel->ready_user, status, error);
}

/* Bring the backend up when no call does; 1: it waits. */
static int rise_alone(par_parallel *parallel)
{
	par_error error = PAR_ERROR_INIT;
	int32_t code = engine_step(parallel->engine, INSTANCE_UP, &error);

	if (code == PAR_PENDING)
		return 1;
	if (code == PAR_OK)
		code = engine_equip(parallel->engine, parallel->conf, &error);
	parallel->engine->is_up = code == PAR_OK;
	if (code == PAR_OK || parallel->ready != NULL)
		tell_ready(parallel, code, &error);
	return 0;
}

/* The call itself may have found that the backend is up, or failed to be. */
static void tell_if_ready(par_parallel *parallel)
{
	if (parallel->is_closing || instance_is_pending(&parallel->engine->instance))
		return;
	if (parallel->engine->is_up || parallel->engine->instance.status < 0)
		tell_ready(parallel, parallel->engine->instance.status, &parallel->engine->instance.error);
}

/* 1: everything is gone but the handles, which closing_finish() waits for. */
static int sink_alone(par_parallel *parallel)
{
	if (parallel->engine != NULL)
		closing_begin(parallel);
	if (!closing_is_done(parallel, loop_now()))
		return 0;
	closing_finish(parallel);
	return 1;
}

static void finish_started(par_parallel *parallel)
{
	par_error error = PAR_ERROR_INIT;
	par_done_fn done = parallel->done;
	void *user = parallel->done_user;
	int32_t status = turn_conclude(parallel, &error);

	atomic_store(&parallel->busy, 0);
	/* The backend may still be rising: the call was cancelled before it was up, or had no memory
	 * for its workers. */
	hold_loop(parallel, parallel->is_closing || parallel->ready != NULL ||
	                            instance_is_pending(&parallel->engine->instance));
	if (parallel->ready != NULL)
		(void)uv_async_send(&parallel->loop.async);
	/* It may start another call, or close. */
	if (done != NULL)
		done(user, status, &error);
}

/* Whatever there is to do, once; 1: the par_parallel is gone. */
static int serve(par_parallel *parallel)
{
	int is_over;

	loop_run_posts(&parallel->loop);
	if (parallel->phase == PHASE_IDLE && parallel->is_closing)
		return sink_alone(parallel);
	if (parallel->left != NULL)
		closing_sweep(parallel);
	if (!parallel->engine->is_up && !parallel->is_closing && !rise_alone(parallel) &&
	    !atomic_load(&parallel->busy))
		hold_loop(parallel, 0);
	if (parallel->phase == PHASE_IDLE)
		return 0;
	is_over = turn_advance(parallel);
	tell_if_ready(parallel);
	if (is_over)
		finish_started(parallel);
	return 0;
}

void started_on_loop(void *arg)
{
	par_parallel *parallel = arg;
	int turns = TURNS_IN_A_ROW;

	/* Our own loop is driven by who waits on it. */
	if (parallel->loop.is_own || parallel->is_closing == 2)
		return;
	do {
		if (serve(parallel) || rests(parallel))
			return;
	} while (--turns > 0);
	(void)uv_async_send(&parallel->loop.async);
}

int32_t par_open_on(par_parallel **out, struct uv_loop_s *loop, const par_settings *settings,
                    par_done_fn ready, void *user, par_error *error)
{
	par_parallel *parallel;
	int32_t code;

	*out = NULL;
	if (loop == NULL)
		return parallel_refuse(error, PAR_EINVAL, "par_open_on has no loop", "use par_open()");
	code = parallel_create(&parallel, loop, settings, error);
	if (code != PAR_OK)
		return code;
	parallel->is_managed = 1;
	parallel->ready = ready;
	parallel->ready_user = user;
	*out = parallel;
	/* The backend rises from the loop, so that ready is never called before this returns. */
	(void)uv_async_send(&parallel->loop.async);
	return PAR_OK;
}

static int32_t start(par_parallel *parallel, const struct job *job, const par_settings *settings,
                     par_done_fn done, void *user, par_error *error)
{
	int32_t code;

	if (parallel == NULL)
		return parallel_refuse(error, PAR_EINVAL, "there is no par_parallel to start the call on",
		              "open one with par_open_on()");
	code = parallel_begin(parallel, job, settings, 0, error);
	if (code != PAR_OK)
		return code;
	parallel->done = done;
	parallel->done_user = user;
	hold_loop(parallel, 1);
	(void)uv_async_send(&parallel->loop.async);
	return PAR_OK;
}

int32_t par_start_map(par_parallel *parallel, const par_task *task, const void *in, void *out,
                      uint64_t n, const par_settings *settings, par_done_fn done, void *user,
                      par_error *error)
{
	struct job job = {.task = task, .in = in, .out = out, .n = n};
	int32_t code = parallel_check_arrays(&job, error);

	return code != PAR_OK ? code : start(parallel, &job, settings, done, user, error);
}

int32_t par_start_run(par_parallel *parallel, const par_task *task, par_source_fn source,
                      par_sink_fn sink, const par_settings *settings, par_done_fn done, void *user,
                      par_error *error)
{
	struct job job = {.task = task, .source = source, .sink = sink, .user = user};
	int32_t code = parallel_check_stream(&job, error);

	return code != PAR_OK ? code : start(parallel, &job, settings, done, user, error);
}

void par_close_on(par_parallel *parallel, void (*closed)(void *user), void *user)
{
	if (parallel == NULL || parallel->pid != getpid() || parallel->is_closing)
		return;
	if (parallel->loop.is_own) {
		par_close(parallel);
		if (closed != NULL)
			closed(user);
		return;
	}
	parallel->closed = closed;
	parallel->closed_user = user;
	parallel->is_closing = 1;
	parallel->is_dropped = 1;
	hold_loop(parallel, 1);
	par_cancel(parallel);
	(void)uv_async_send(&parallel->loop.async);
}

