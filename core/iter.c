/* A call whose results are asked for, one by one: joblib's generators. */
#include "parallel.h"

#include "error.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct par_iter {
	par_parallel *parallel;
	int owns;         /* the par_parallel was opened for this alone */
	int is_shown;     /* the caller has seen the result that results hold */
	int is_over;      /* no task of it runs any more, or is waited for */
	int is_concluded; /* status and error say how */
	int32_t status;
	par_error error;
};

/* Workers have their first tasks before anybody asks for a result.  One that runs them on
 * this thread does so when it is asked, as in joblib. */
static void set_off(struct par_iter *iter)
{
	par_parallel *parallel = iter->parallel;

	if (parallel->engine->is_up && instance_can(&parallel->engine->instance, PAR_RUNS_INLINE))
		return;
	iter->is_over = turn_rise(parallel);
	while (!iter->is_over && !parallel->results.holds && !turn_is_idle(parallel))
		iter->is_over = turn_advance(parallel);
}

int32_t par_iter_open(par_iter **out, par_parallel *parallel, const par_task *task,
                      par_source_fn source, void *user, const par_settings *settings,
                      par_error *error)
{
	struct job job = {.task = task, .source = source, .user = user, .is_pulled = 1};
	struct par_iter *iter = calloc(1, sizeof(*iter));
	int32_t code;

	*out = NULL;
	if (iter == NULL)
		return error_memory(error, "cannot open an iterator");
	iter->owns = parallel == NULL;
	iter->parallel = parallel;
	iter->error = (par_error)PAR_ERROR_INIT;
	code = parallel_check_stream(&job, error);
	if (code == PAR_OK && iter->owns)
		code = parallel_open_for_call(&iter->parallel, settings, error);
	if (code == PAR_OK)
		code = parallel_begin(iter->parallel, &job, iter->owns ? NULL : settings, 1, error);
	if (code != PAR_OK) {
		if (iter->owns)
			par_close(iter->parallel);
		free(iter);
		return code;
	}
	set_off(iter);
	*out = iter;
	return PAR_OK;
}

static int is_ours(const struct par_iter *iter)
{
	return iter->parallel->pid == getpid() && pthread_equal(iter->parallel->thread, pthread_self());
}

static void conclude(struct par_iter *iter)
{
	if (iter->is_concluded)
		return;
	iter->status = turn_conclude(iter->parallel, &iter->error);
	iter->is_concluded = 1;
}

/* 1: there is one; 0: there is none any more. */
static int next_result(struct par_iter *iter)
{
	par_parallel *parallel = iter->parallel;

	/* The first may have come before anybody asked. */
	if (parallel->results.holds && !iter->is_shown)
		return 1;
	results_let_go(&parallel->results, &parallel->engine->call);
	iter->is_shown = 0;
	/* Patience begins when somebody waits. */
	parallel->results.since_ns = loop_now();
	if (!iter->is_over)
		iter->is_over = turn_pull(parallel);
	/* It ended, but what was over before that has not been handed out. */
	else if (!parallel->results.holds)
		turn_hand_out(parallel);
	return parallel->results.holds;
}

int32_t par_iter_next(par_iter *iter, const par_outcome **outcome, par_error *error)
{
	*outcome = NULL;
	if (!is_ours(iter))
		return parallel_refuse(error, PAR_EINVAL, "this iterator belongs to another thread, or "
		                                          "to the parent process",
		                       "ask for its results where it was opened");
	if (iter->is_concluded || !next_result(iter)) {
		conclude(iter);
		if (iter->status < 0)
			parallel_note(&iter->error);
		if (iter->status != PAR_OK && error != NULL)
			error_copy(error, &iter->error);
		return iter->status;
	}
	iter->is_shown = 1;
	*outcome = &iter->parallel->results.outcome;
	return 1;
}

static uint64_t count_unused(const par_parallel *parallel)
{
	const struct slots *slots = &parallel->engine->call.slots;
	uint64_t n = 0;

	for (uint64_t i = parallel->results.oldest; i < parallel->dispatcher.taken; i++)
		n += atomic_load_explicit(&slots_at(slots, i)->state, memory_order_acquire) == SLOT_DONE;
	return n;
}

/* End the call early, counting what is lost by that. */
static par_thrown throw_away(struct par_iter *iter)
{
	par_parallel *parallel = iter->parallel;
	par_thrown thrown = {.size = sizeof(thrown)};
	uint64_t left, unseen = parallel->results.holds && !iter->is_shown;

	results_let_go(&parallel->results, &parallel->engine->call);
	if (parallel->phase == PHASE_RUNNING) {
		left = parallel->dispatcher.taken - parallel->results.delivered;
		thrown.unused = count_unused(parallel);
		thrown.cancelled = left > thrown.unused ? left - thrown.unused : 0;
		thrown.unused += unseen;
	}
	parallel->is_dropped = 1;
	if (!iter->is_over) {
		par_cancel(parallel);
		turn_drive(parallel);
	}
	conclude(iter);
	return thrown;
}

static void tell_thrown(const par_thrown *thrown)
{
	log_line(LOG_WARNING, "%llu tasks have been successfully executed but not used. Additionally, "
	                      "%llu tasks which were still being processed by the workers have been "
	                      "cancelled. You could benefit from adjusting the source of tasks to limit "
	                      "unnecessary computation time.",
	         (unsigned long long)thrown->unused, (unsigned long long)thrown->cancelled);
}

/* The caller's may be of another version. */
static void hand_over(par_thrown *out, par_thrown thrown)
{
	const uint32_t size = out->size;

	memcpy(out, &thrown, size < sizeof(thrown) ? size : sizeof(thrown));
	out->size = size;
}

void par_iter_close(par_iter *iter, par_thrown *out)
{
	par_thrown thrown = {.size = sizeof(thrown)};

	if (iter == NULL || iter->parallel->pid != getpid())
		return;
	if (!is_ours(iter)) {
		log_line(LOG_ERROR, "par_iter_close() by another thread than opened it: ignored");
		return;
	}
	if (!iter->is_concluded)
		thrown = throw_away(iter);
	if (out != NULL && PAR_HAS(out, cancelled))
		hand_over(out, thrown);
	else if (thrown.unused + thrown.cancelled > 0)
		tell_thrown(&thrown);
	atomic_store(&iter->parallel->busy, 0);
	if (iter->owns)
		par_close(iter->parallel);
	free(iter);
}
