/* settings.h - what a call is to be like, once every layer had its say: the call's
 * settings, those its par_parallel was opened with, plugins.conf, the defaults. */
#ifndef CORE_SETTINGS_H
#define CORE_SETTINGS_H

#include "conf.h"
#include "shared.h"

#include <parloop/parloop.h>

struct plan {
	int unordered;
	int collect, ignore;      /* what a failure does not do: end the call; fail it */
	const char *pre_dispatch; /* NULL: the default   */
	uint32_t batch_size;      /* 0: auto             */
	int64_t timeout_ns, task_timeout_ns, call_timeout_ns; /* 0: none */
	uint32_t retries, retry_on;
	int64_t retry_delay_ns;
	int64_t verbose;
	const void *shared;
	uint64_t shared_size;
	int32_t *statuses;
	int has_seed;
	uint64_t seed;
	int64_t n_tasks;          /* of a stream; -1: unknown */
	par_progress_fn on_progress;
	par_event_fn on_event;
	void *watcher;
	uint64_t max_nbytes;      /* what is longer is shared with worker processes; UINT64_MAX: nothing */
	enum shared_mode shared_mode;
};

/* Does anything of it need a thread that is not in the middle of a task? */
static inline int plan_has_deadline(const struct plan *plan)
{
	return plan->timeout_ns > 0 || plan->task_timeout_ns > 0 || plan->call_timeout_ns > 0;
}

/* A copy that shares the caller's texts, of a size that we know; else PAR_EINVAL. */
int32_t settings_check(par_settings *out, const par_settings *settings, par_error *error);

/* A copy with texts of its own, so that the caller's need not stay.  PAR_EINVAL if its size
 * is not one we know; NULL gives all unset. */
int32_t settings_copy(par_settings *out, const par_settings *settings, par_error *error);
void settings_finish(par_settings *settings);

/* A copy of over, with what it leaves unset taken from under.  Options and
 * inner_max_num_threads are under's only for the same backend; of the options those of over
 * come last, and win.  What belongs to a single call (order, on_error, shared, statuses,
 * seed, n_tasks, on_progress, on_event) is not taken from under. */
int32_t settings_merge(par_settings *out, const par_settings *over, const par_settings *under,
                       par_error *error);

size_t settings_count(const char *const *options); /* NULL: 0 */

/* n_jobs of an open. */
int32_t settings_n_jobs(const par_settings *settings, const struct conf *conf, int *is_set,
                        int32_t *n_jobs, par_error *error);

/* Is a call to have more workers than its share of the cores?  inherited: what the call around it
 * says, unset: there is none. */
int32_t settings_oversubscribe(const par_settings *settings, par_int inherited,
                               const struct conf *conf, int32_t *oversubscribe, par_error *error);

/* How long closing waits for tasks that were left running, in ns. */
int32_t settings_close_timeout(const par_settings *settings, const struct conf *conf, int64_t *ns,
                               par_error *error);

/* Everything else, checked. */
int32_t settings_plan(const par_settings *opened, const par_settings *call,
                      const struct conf *conf, struct plan *plan, par_error *error);

#endif
