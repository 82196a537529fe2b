#include "turn.h"

#include <stdio.h>

/* -1: nobody knows. */
static int64_t total_tasks(const par_parallel *parallel)
{
	return parallel->engine->call.is_stream ? parallel->plan.n_tasks
	                                        : (int64_t)parallel->engine->call.n_tasks;
}

/* Tasks that are over, as far as workers have told. */
static uint64_t over_tasks(const par_parallel *parallel)
{
	const struct call *call = &parallel->engine->call;
	uint64_t redone = atomic_load_explicit(&call->redone, memory_order_relaxed);
	uint64_t finished = atomic_load_explicit(&call->finished, memory_order_relaxed);
	uint64_t over = finished > redone ? finished - redone : 0;

	if (call->is_stream)
		return over > parallel->results.delivered ? over : parallel->results.delivered;
	return over < call->n_tasks ? over : call->n_tasks;
}

void turn_tell(par_parallel *parallel, int64_t now_ns)
{
	const struct call *call = &parallel->engine->call;
	int64_t total = total_tasks(parallel);
	par_progress progress = {
		.size = sizeof(progress),
		.done = over_tasks(parallel),
		.failed = atomic_load_explicit(&call->failed, memory_order_relaxed),
		.running = atomic_load_explicit(&call->seated, memory_order_relaxed),
		.elapsed_s = (double)(now_ns - parallel->begun_ns) / 1e9,
		.remaining_s = -1,
	};

	/* A failure is told at once, the rest when it is convenient. */
	if (progress.done < progress.failed)
		progress.done = progress.failed;
	/* That a task is to run again is known before that it has run. */
	if (progress.done < parallel->told_done)
		progress.done = parallel->told_done;
	if (total < 0 && parallel->dispatcher.exhausted)
		total = (int64_t)parallel->dispatcher.taken;
	progress.total = total >= 0 ? (uint64_t)total : UINT64_MAX;
	if (total >= 0 && progress.done > 0)
		progress.remaining_s = progress.done >= progress.total
		                               ? 0
		                               : progress.elapsed_s / (double)progress.done *
		                                         (double)(progress.total - progress.done);
	parallel->told_ns = now_ns;
	parallel->told_done = progress.done;
	parallel->plan.on_progress(parallel->plan.watcher, &progress);
}

void turn_tell_on_the_way(par_parallel *parallel)
{
	int64_t now = loop_now();

	if (now - parallel->told_ns >= PROGRESS_NS && over_tasks(parallel) != parallel->told_done)
		turn_tell(parallel, now);
}

uint64_t turn_finished_tasks(const par_parallel *parallel)
{
	return parallel->engine->call.is_stream ? parallel->results.delivered : over_tasks(parallel);
}

static void show(par_parallel *parallel, const char *line)
{
	FILE *out = parallel->plan.verbose >= PROGRESS_STDOUT ? stdout : stderr;

	fputs(line, out);
	fflush(out);
}

void turn_show_start(par_parallel *parallel)
{
	char line[PROGRESS_LINE];

	parallel->progress = (struct progress){
		.verbose = parallel->plan.verbose,
		.n_jobs = parallel->wants.n_jobs,
		.total = total_tasks(parallel),
		.pre_dispatch = parallel->dispatcher.pre_dispatch == UINT64_MAX
		                        ? 0
		                        : parallel->dispatcher.pre_dispatch,
	};
	parallel->shown = (struct progress_point){0};
	if (progress_start(&parallel->progress, parallel->engine->instance.provider->name,
	                   parallel->engine->instance.answer.n_jobs, line, sizeof(line)))
		show(parallel, line);
}

void turn_show(par_parallel *parallel, int is_over)
{
	struct progress_point point = {
		.sent = parallel->engine->call.is_stream ? parallel->dispatcher.taken : parallel->engine->call.n_tasks,
		.exhausted = !parallel->engine->call.is_stream || parallel->dispatcher.exhausted,
		.elapsed_s = (double)(loop_now() - parallel->started_ns) / 1e9,
	};
	uint64_t now = is_over ? point.sent : turn_finished_tasks(parallel);
	char line[PROGRESS_LINE];

	/* Each task is a point that thinning may choose; of a great many, the last thousand. */
	if (now - parallel->shown.completed > 1000)
		parallel->shown.completed = now - 1000;
	while (parallel->shown.completed < now) {
		if (parallel->shown.completed + 1 == point.sent && !is_over && point.exhausted)
			return;
		parallel->shown.completed++;
		point.completed = point.batches = parallel->shown.completed;
		if (progress_at(&parallel->progress, &point, line, sizeof(line)))
			show(parallel, line);
	}
}
