/* What is left when a call, or its par_parallel, ends before some of its tasks.
 *
 * An engine that was left behind is looked at now and then, and let go once its last task
 * has come back.  At the end it is waited for, up to close_timeout; after that everything is
 * handed over to a thread of its own, which waits for as long as it takes. */
#include "parallel.h"

#include "context.h"
#include "error.h"
#include "log.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>

/* --- letting go -------------------------------------------------------------------------------- */

void closing_add(par_parallel *parallel, struct engine *engine)
{
	engine->next = parallel->left;
	parallel->left = engine;
}

/* par_cancel() on another thread may be looking at it. */
static void forget_engine(par_parallel *parallel, struct engine *engine)
{
	atomic_store(&parallel->running, parallel->engine != NULL ? &parallel->engine->call : NULL);
	while (atomic_load(&parallel->cancelling) > 0)
		sched_yield();
	engine_free(engine);
}

static void end_call(struct engine *engine)
{
	const par_backend_ops *ops = &engine->instance.provider->ops;

	if (engine->in_call && ops->stop_call != NULL)
		ops->stop_call(engine->instance.backend);
	engine->in_call = 0;
}

void closing_sweep(par_parallel *parallel)
{
	struct engine **place = &parallel->left, *engine;

	while ((engine = *place) != NULL) {
		if (!engine_is_deserted(engine) ||
		    (end_call(engine), engine_step(engine, INSTANCE_GONE, NULL)) == PAR_PENDING) {
			place = &engine->next;
			continue;
		}
		*place = engine->next;
		forget_engine(parallel, engine);
	}
}

int closing_is_idle(const par_parallel *parallel)
{
	const struct engine *engine;

	for (engine = parallel->left; engine != NULL; engine = engine->next)
		if (batch_has_completed(&engine->instance.batches) ||
		    (instance_is_pending(&engine->instance) && instance_is_ready(&engine->instance)))
			return 0;
	return 1;
}

/* --- leaving ----------------------------------------------------------------------------------- */

int closing_may_leave(par_parallel *parallel)
{
	struct engine *engine = parallel->engine;

	if (!parallel->engine->call.is_stream || parallel->plan.shared != NULL ||
	    parallel->dispatcher.has_callers_memory)
		return 0;
	if (parallel->spare != NULL)
		return 1;
	if (parallel_new_engine(parallel, engine->instance.wants.may_block, NULL) != PAR_OK)
		return 0;
	parallel->spare = parallel->engine;
	parallel->engine = engine;
	return 1;
}

void closing_leave(par_parallel *parallel)
{
	struct engine *engine = parallel->engine, *next = parallel->spare;

	/* Whoever still runs may know. */
	call_stop(&engine->call);
	engine->slots_taken = parallel->dispatcher.taken;
	closing_add(parallel, engine);
	next->stands_in = engine->stands_in;
	/* Until it is up, it passes for the one before. */
	next->instance.answer.n_jobs = engine->instance.answer.n_jobs;
	parallel->engine = next;
	parallel->spare = NULL;
}

/* --- the end ------------------------------------------------------------------------------------ */

/* From now on there is nothing but what is left. */
static void put_down(par_parallel *parallel)
{
	struct engine *engine = parallel->engine;

	parallel->engine = NULL;
	if (engine != NULL)
		closing_add(parallel, engine);
	if (parallel->spare != NULL)
		engine_free(parallel->spare);
	parallel->spare = NULL;
}

/* It ran out of time while its backend was rising, or before its tasks were over. */
static int is_overtaken(const struct engine *engine)
{
	return engine->instance.batches.n_out > 0 || engine->instance.state == INSTANCE_CREATING ||
	       engine->instance.state == INSTANCE_CONFIGURING;
}

static int has_overtaken(const par_parallel *parallel)
{
	const struct engine *engine;

	for (engine = parallel->left; engine != NULL; engine = engine->next)
		if (is_overtaken(engine))
			return 1;
	return 0;
}

static int left_is_idle(void *parallel)
{
	return closing_is_idle(parallel);
}

static int is_left(const par_parallel *parallel, const struct engine *which)
{
	const struct engine *engine = parallel->left;

	while (engine != NULL && which != NULL && engine != which)
		engine = engine->next;
	return engine != NULL;
}

/* On its own loop, until then; 1: that engine is gone; NULL: all are. */
static int wait_for(par_parallel *parallel, const struct engine *engine, int64_t until_ns)
{
	for (;;) {
		loop_run_posts(&parallel->loop);
		closing_sweep(parallel);
		if (!is_left(parallel, engine))
			return 1;
		if (loop_now() >= until_ns)
			return 0;
		context_wait();
		loop_wait(&parallel->loop, until_ns < INT64_MAX ? until_ns : 0, left_is_idle);
		context_go_on();
	}
}

void closing_replace(par_parallel *parallel, struct engine *engine)
{
	closing_add(parallel, engine);
	(void)wait_for(parallel, engine, loop_now() + parallel->close_timeout_ns);
}

static void end_own(par_parallel *parallel)
{
	loop_finish(&parallel->loop, NULL);
	parallel_free(parallel);
}

static void *undertake(void *arg)
{
	par_parallel *parallel = arg;

	(void)wait_for(parallel, NULL, INT64_MAX);
	end_own(parallel);
	return NULL;
}

/* Nobody waits for it any more, but for a thread: if that cannot be had, it all stays. */
static void hand_over(par_parallel *parallel)
{
	pthread_t thread;
	sigset_t all, before;
	int code;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&thread, NULL, undertake, parallel);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code == 0)
		(void)pthread_detach(thread);
	else
		log_line(LOG_WARNING, "no thread to wait for tasks that still run: what they use is "
		                      "not freed");
}

static void tell_given_up(const par_parallel *parallel)
{
	log_line(LOG_WARNING, "backend %s still runs tasks, or has not ended, %g s after it was closed: "
	                      "it is given up, and goes when they have ended",
	         parallel->left->instance.provider->name, (double)parallel->close_timeout_ns / 1e9);
}

void closing_own(par_parallel *parallel)
{
	int64_t until;

	put_down(parallel);
	loop_run_posts(&parallel->loop);
	closing_sweep(parallel);
	/* A call that is not to wait does not do so here either. */
	until = !parallel->is_managed && has_overtaken(parallel)
	                ? 0
	                : loop_now() + parallel->close_timeout_ns;
	if (wait_for(parallel, NULL, until)) {
		end_own(parallel);
		return;
	}
	if (until > 0)
		tell_given_up(parallel);
	hand_over(parallel);
}

/* --- on the caller's loop ------------------------------------------------------------------------ */

void closing_begin(par_parallel *parallel)
{
	put_down(parallel);
	parallel->close_by_ns = loop_now() + parallel->close_timeout_ns;
}

/* What is left moves to a loop of its own, since the caller's may end.  -1: it cannot, as when
 * a plugin watches something on the caller's. */
static int move_out(par_parallel *parallel)
{
	par_parallel *shell = parallel->loop.first_watch == NULL ? calloc(1, sizeof(*shell)) : NULL;

	if (shell == NULL)
		return -1;
	if (loop_init(&shell->loop, NULL, started_on_loop, shell, NULL) != PAR_OK) {
		free(shell);
		return -1;
	}
	for (struct engine *engine = parallel->left; engine != NULL; engine = engine->next)
		instance_move(&engine->instance, &shell->loop);
	loop_run_posts(&parallel->loop);
	shell->left = parallel->left;
	parallel->left = NULL;
	hand_over(shell);
	return 0;
}

int closing_is_done(par_parallel *parallel, int64_t now_ns)
{
	closing_sweep(parallel);
	if (parallel->left == NULL)
		return 1;
	if (now_ns < parallel->close_by_ns)
		return 0;
	tell_given_up(parallel);
	if (move_out(parallel) == 0)
		return 1;
	parallel->close_by_ns = now_ns + parallel->close_timeout_ns;
	return 0;
}

static void on_gone(void *arg)
{
	par_parallel *parallel = arg;
	void (*closed)(void *user) = parallel->closed;
	void *user = parallel->closed_user;

	parallel_free(parallel);
	if (closed != NULL)
		closed(user);
}

void closing_finish(par_parallel *parallel)
{
	parallel->is_closing = 2;
	loop_finish(&parallel->loop, on_gone);
}
