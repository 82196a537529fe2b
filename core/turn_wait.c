#include "turn.h"

#include <sched.h>

/* How long the loop's thread takes part before it looks around. */
#define HELP_NS 50000

/* For an answer from another process the loop looks out for so long: its spinning, and the worker's,
 * must outlast the time that it takes to wake either, or each finds the other asleep for ever. */
#define REMOTE_SPIN_NS 200000

/* What plugins watch is served so often at least, also while nobody sleeps. */
#define SERVE_NS 100000

static int was_woken(const par_parallel *parallel)
{
	return parallel->dispatcher.waits && !call_is_stopping(&parallel->engine->call) &&
	       atomic_load_explicit(&parallel->woken, memory_order_relaxed);
}

/* All workers left since this turn looked: their deadline is to be set first. */
static int lost_workers(const par_parallel *parallel)
{
	return parallel->no_worker_ns == 0 && instance_holds(&parallel->engine->instance) == 0;
}

int turn_is_idle(void *arg)
{
	par_parallel *parallel = arg;

	if (!closing_is_idle(parallel))
		return 0;
	if (parallel->engine == NULL)
		return 1;
	if (parallel->phase == PHASE_IDLE && parallel->is_closing)
		return 0;
	if (parallel->phase == PHASE_IDLE && instance_is_pending(&parallel->engine->instance))
		return !instance_is_ready(&parallel->engine->instance);
	if (parallel->phase == PHASE_IDLE)
		return 1;
	if (parallel->phase == PHASE_RISING)
		return !instance_is_ready(&parallel->engine->instance) && !atomic_load(&parallel->cancelled);
	return !batch_has_completed(&parallel->engine->instance.batches) && !turn_has_result(parallel) &&
	       !turn_can_take(parallel) && !turn_can_send(parallel) && !was_woken(parallel) &&
	       !lost_workers(parallel) && !events_has_some(&parallel->engine->call.events) &&
	       (parallel->aborted || ((parallel->is_done || !call_is_stopping(&parallel->engine->call)) &&
	                              !atomic_load(&parallel->cancelled)));
}

/* A task failed after the deadline was reckoned, while nobody knew yet that we would sleep. */
static int has_new_retry(par_parallel *parallel)
{
	return redo_first_due(&parallel->engine->call.redo) < parallel->retry_ns;
}

int turn_may_sleep(void *arg)
{
	par_parallel *parallel = arg;

	if (parallel->engine != NULL)
		(void)atomic_exchange_explicit(&parallel->engine->call.hungry, 1, memory_order_acq_rel);
	if (parallel->phase == PHASE_RUNNING && instance_poll(&parallel->engine->instance, 1))
		return 0;
	if (parallel->phase == PHASE_RUNNING && has_new_retry(parallel))
		return 0;
	return turn_is_idle(parallel);
}

static void stop_helping(struct call *call)
{
	if (atomic_load_explicit(&call->helping, memory_order_relaxed)) {
		atomic_store_explicit(&call->helping, 0, memory_order_relaxed);
		atomic_store_explicit(&call->yield, 0, memory_order_relaxed);
	}
}

/* What a task takes, to decide whether to take part.  In a stream the last ones count, since
 * source and sink wait meanwhile.  In arrays nobody waits: there it is the mean, so that a
 * few long ones do not make us come and go, which each time leaves a core to nobody. */
static int64_t usual_task_ns(const struct call *call)
{
	uint64_t finished = atomic_load_explicit(&call->finished, memory_order_relaxed);

	if (call->is_stream || finished == 0)
		return atomic_load_explicit(&call->task_ns, memory_order_relaxed);
	return atomic_load_explicit(&call->busy_ns, memory_order_relaxed) / (int64_t)finished + 1;
}

/* Take part for a while, if tasks are short; 1: did. */
static int help(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	int64_t task_ns = usual_task_ns(call);
	struct ticket_report report;

	if (!parallel->may_help || call_is_stopping(call))
		return 0;
	if (task_ns == 0 && !atomic_load_explicit(&call->helping, memory_order_relaxed))
		return 0;
	if (task_ns > SHORT_TASK_NS) {
		stop_helping(call);
		return 0;
	}
	if (cursor_is_dry(&call->cursor) && turn_due(parallel) == 0) {
		/* What is to be tried later is sent, for which we may not take the place of one. */
		if (!redo_is_empty(&call->redo))
			stop_helping(call);
		return 0;
	}
	atomic_store_explicit(&call->helping, 1, memory_order_relaxed);
	if (atomic_load_explicit(&call->seated, memory_order_relaxed) >= call->n_jobs) {
		atomic_store_explicit(&call->yield, 1, memory_order_relaxed);
		return 0;
	}
	atomic_store_explicit(&call->yield, 0, memory_order_relaxed);
	ticket_run(call, 0, HELP_NS, &report);
	return report.ran > 0;
}

/* A system call, so not every time. */
static void serve_watches(par_parallel *parallel, int64_t now)
{
	if (parallel->loop.first_watch == NULL || now - parallel->served_ns < SERVE_NS)
		return;
	loop_turn(&parallel->loop);
	parallel->served_ns = now;
}

/* Look out before sleeping, as long as there is a core for that. */
static int look_out(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;
	int64_t begin, until;

	if (call->spin_ns == 0 || parallel->phase != PHASE_RUNNING ||
	    atomic_load(&call->seated) >= (uint32_t)parallel->cores)
		return 0;
	begin = loop_now();
	until = begin + (parallel->engine->instance.has_remote ? REMOTE_SPIN_NS : call->spin_ns);
	do {
		for (int i = 0; i < 16; i++) {
			if (instance_poll(&parallel->engine->instance, 0) || !turn_is_idle(parallel)) {
				serve_watches(parallel, begin);
				return 1;
			}
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
		}
		/* The worker may have been woken on this very core. */
		if (parallel->engine->instance.has_remote)
			sched_yield();
	} while (loop_now() < until);
	return 0;
}

void turn_wait(par_parallel *parallel)
{
	struct call *call = &parallel->engine->call;

	if (help(parallel)) {
		serve_watches(parallel, loop_now());
		return;
	}
	if (look_out(parallel))
		return;
	loop_wait(&parallel->loop, turn_deadline(parallel), turn_may_sleep);
	/* An exchange: a store would part us from results whose workers found it 0. */
	(void)atomic_exchange_explicit(&call->hungry, 0, memory_order_acq_rel);
}
