#include "settings.h"

#include "abi.h"
#include "error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum {
	MOST_BATCH = 1 << 30,
	MOST_RETRIES = 1000,
	CLOSE_TIMEOUT_S = 30,
	MAX_NBYTES = 1 << 20 /* joblib's "1M" */
};

static int32_t wrong(par_error *error, const char *what, const char *remedy)
{
	error_set(error, PAR_EINVAL, "%s", what);
	error_remedy(error, "%s", remedy);
	return PAR_EINVAL;
}

size_t settings_count(const char *const *options)
{
	size_t n = 0;

	while (options != NULL && options[n] != NULL)
		n++;
	return n;
}

static int copy_text(const char **slot)
{
	if (*slot != NULL)
		*slot = strdup(*slot);
	return *slot != NULL;
}

/* Each text in out is the caller's, and becomes its own copy, or NULL. */
static int32_t copy_texts(par_settings *out)
{
	const char *const *theirs = out->options;
	const char **slots[] = {&out->backend, &out->pre_dispatch, &out->prefer, &out->require,
	                        &out->mmap_mode};
	size_t n = settings_count(theirs);
	char **options;
	int32_t result = 0;

	out->options = NULL;
	for (size_t i = 0; i < sizeof(slots) / sizeof(slots[0]); i++)
		if (*slots[i] != NULL && !copy_text(slots[i]))
			result = -1;
	if (theirs == NULL)
		return result;
	options = calloc(n + 1, sizeof(*options));
	if (options == NULL)
		return -1;
	out->options = (const char *const *)options;
	for (size_t i = 0; i < n; i++)
		if ((options[i] = strdup(theirs[i])) == NULL)
			return -1;
	return result;
}

int32_t settings_check(par_settings *out, const par_settings *settings, par_error *error)
{
	*out = (par_settings){.size = sizeof(*out)};
	if (settings->size < offsetof(par_settings, backend)) {
		error_set(error, PAR_EINVAL, "the settings have no size");
		error_reason(error, "size is %u, this parloop knows %zu", settings->size, sizeof(*out));
		error_remedy(error, "begin with PAR_SETTINGS(), or .size = sizeof(par_settings)");
		return PAR_EINVAL;
	}
	if (settings->reserved != 0 || abi_wants_more(settings, sizeof(*out))) {
		error_set(error, PAR_EINVAL, "the settings have one that this parloop does not know");
		error_reason(error, "size is %u, this parloop knows %zu, and something is set behind that, "
		                    "or in reserved", settings->size, sizeof(*out));
		error_remedy(error, "leave it unset, or update parloop: this is " PAR_VERSION_STRING);
		return PAR_EINVAL;
	}
	memcpy(out, settings, settings->size < sizeof(*out) ? settings->size : sizeof(*out));
	out->size = sizeof(*out);
	return PAR_OK;
}

int32_t settings_copy(par_settings *out, const par_settings *settings, par_error *error)
{
	int32_t code;

	*out = (par_settings){.size = sizeof(*out)};
	if (settings == NULL)
		return PAR_OK;
	code = settings_check(out, settings, error);
	if (code != PAR_OK) {
		*out = (par_settings){.size = sizeof(*out)};
		return code;
	}
	if (copy_texts(out) == 0)
		return PAR_OK;
	settings_finish(out);
	return error_memory(error, "cannot keep the settings");
}

/* The outer ones first, so that the inner ones win. */
static int32_t join_options(const char *const **joined, const char *const *outer,
                            const char *const *inner)
{
	size_t n_outer = settings_count(outer), n_inner = settings_count(inner);
	const char **all;

	*joined = NULL;
	if (n_outer + n_inner == 0)
		return 0;
	all = calloc(n_outer + n_inner + 1, sizeof(*all));
	if (all == NULL)
		return -1;
	if (n_outer > 0)
		memcpy(all, outer, n_outer * sizeof(*all));
	if (n_inner > 0)
		memcpy(all + n_outer, inner, n_inner * sizeof(*all));
	*joined = all;
	return 0;
}

/* What is asked of a backend is not asked of another. */
static void inherit_backend(par_settings *inner, par_settings *outer)
{
	if (inner->backend != NULL && outer->backend != NULL &&
	    strcmp(inner->backend, outer->backend) != 0) {
		outer->options = NULL;
		outer->inner_max_num_threads = (par_int){0};
	}
	if (inner->backend == NULL)
		inner->backend = outer->backend;
}

#define INHERIT(field) (inner.field.set ? inner.field : outer.field)

int32_t settings_merge(par_settings *out, const par_settings *over, const par_settings *under,
                       par_error *error)
{
	par_settings inner = *over, outer = *under;
	const char *const *options;
	int32_t code;

	inherit_backend(&inner, &outer);
	if (join_options(&options, outer.options, inner.options) < 0) {
		*out = (par_settings){.size = sizeof(*out)};
		return error_memory(error, "cannot keep the settings");
	}
	inner.options = options;
	inner.n_jobs = INHERIT(n_jobs);
	inner.batch_size = INHERIT(batch_size);
	inner.timeout = INHERIT(timeout);
	inner.verbose = INHERIT(verbose);
	inner.inner_max_num_threads = INHERIT(inner_max_num_threads);
	inner.task_timeout = INHERIT(task_timeout);
	inner.call_timeout = INHERIT(call_timeout);
	inner.close_timeout = INHERIT(close_timeout);
	inner.retries = INHERIT(retries);
	inner.retry_delay = INHERIT(retry_delay);
	inner.retry_on = INHERIT(retry_on);
	inner.max_nbytes = INHERIT(max_nbytes);
	inner.oversubscribe = INHERIT(oversubscribe);
	inner.mmap_mode = inner.mmap_mode != NULL ? inner.mmap_mode : outer.mmap_mode;
	inner.pre_dispatch = inner.pre_dispatch != NULL ? inner.pre_dispatch : outer.pre_dispatch;
	inner.prefer = inner.prefer != NULL ? inner.prefer : outer.prefer;
	inner.require = inner.require != NULL ? inner.require : outer.require;
	code = settings_copy(out, &inner, error);
	free((void *)(uintptr_t)options);
	return code;
}

void settings_finish(par_settings *settings)
{
	if (settings->options != NULL)
		for (size_t i = 0; settings->options[i] != NULL; i++)
			free((void *)(uintptr_t)settings->options[i]);
	free((void *)(uintptr_t)settings->options);
	free((void *)(uintptr_t)settings->backend);
	free((void *)(uintptr_t)settings->pre_dispatch);
	free((void *)(uintptr_t)settings->prefer);
	free((void *)(uintptr_t)settings->require);
	free((void *)(uintptr_t)settings->mmap_mode);
	*settings = (par_settings){.size = sizeof(*settings)};
}

/* Which of them is set; the last if none is. */
#define FIRST_SET(a, b, c) ((a).set ? (a) : (b).set ? (b) : (c))

int32_t settings_n_jobs(const par_settings *settings, const struct conf *conf, int *is_set,
                        int32_t *n_jobs, par_error *error)
{
	par_int wanted = settings->n_jobs.set ? settings->n_jobs : conf->n_jobs;

	*is_set = wanted.set != 0;
	if (!wanted.set)
		return PAR_OK;
	if (wanted.set != 1)
		return wrong(error, "n_jobs is set in a way that means nothing",
		             "write .n_jobs = PAR_SET(2)");
	if (wanted.value == 0)
		return wrong(error, "n_jobs == 0 in Parallel has no meaning",
		             "give 1, 2, ... workers, or -1 for all cores");
	if (wanted.value > INT32_MAX || wanted.value < INT32_MIN)
		return wrong(error, "n_jobs is beyond all machines", "give 1, 2, ... or -1 for all cores");
	*n_jobs = (int32_t)wanted.value;
	return PAR_OK;
}

int32_t settings_oversubscribe(const par_settings *settings, par_int inherited,
                               const struct conf *conf, int32_t *oversubscribe, par_error *error)
{
	par_int wanted = FIRST_SET(settings->oversubscribe, inherited, conf->oversubscribe);

	*oversubscribe = wanted.set && wanted.value == 1;
	if (!wanted.set || wanted.value == 0 || wanted.value == 1)
		return PAR_OK;
	error_set(error, PAR_EINVAL, "oversubscribe must be 0 or 1, got: %lld", (long long)wanted.value);
	error_remedy(error, "leave it unset, or give 1 for more n_jobs inside tasks than there are cores");
	return PAR_EINVAL;
}

static int32_t plan_batch_size(par_int size, struct plan *plan, par_error *error)
{
	if (!size.set || size.value == PAR_AUTO)
		return PAR_OK;
	if (size.value < 1 || size.value > MOST_BATCH) {
		error_set(error, PAR_EINVAL, "batch_size must be 'auto' or a positive integer, got: %lld",
		          (long long)size.value);
		error_remedy(error, "leave it unset, or give 1 to %d", MOST_BATCH);
		return PAR_EINVAL;
	}
	plan->batch_size = (uint32_t)size.value;
	return PAR_OK;
}

/* Longer than 30 years is for ever. */
static int64_t seconds_to_ns(double seconds)
{
	return seconds < 1e9 ? (int64_t)(seconds * 1e9) + 1 : 0;
}

static int32_t plan_timeout(par_real timeout, const char *name, int64_t *ns, par_error *error)
{
	*ns = 0;
	if (!timeout.set)
		return PAR_OK;
	if (!(timeout.value > 0)) {
		error_set(error, PAR_EINVAL, "%s must be a positive number of seconds, got: %g", name,
		          timeout.value);
		error_remedy(error, "leave it unset to wait for ever");
		return PAR_EINVAL;
	}
	*ns = seconds_to_ns(timeout.value);
	return PAR_OK;
}

int32_t settings_close_timeout(const par_settings *settings, const struct conf *conf, int64_t *ns,
                               par_error *error)
{
	const par_real usual = {1, CLOSE_TIMEOUT_S};
	par_real timeout = FIRST_SET(settings->close_timeout, conf->close_timeout, usual);

	if (timeout.value == 0) {
		*ns = 0;
		return PAR_OK;
	}
	if (!(timeout.value > 0))
		return plan_timeout(timeout, "close_timeout", ns, error);
	/* For ever is long enough. */
	*ns = timeout.value < 1e9 ? seconds_to_ns(timeout.value) : INT64_MAX / 2;
	return PAR_OK;
}

static int32_t plan_retries(const par_settings *call, const par_settings *opened,
                            const struct conf *conf, struct plan *plan, par_error *error)
{
	par_int retries = FIRST_SET(call->retries, opened->retries, conf->retries);
	par_int on = call->retry_on.set ? call->retry_on : opened->retry_on;
	par_real delay = call->retry_delay.set ? call->retry_delay : opened->retry_delay;
	const int64_t all = PAR_ON_ERROR | PAR_ON_CRASH | PAR_ON_TIMEOUT;

	if (retries.set && (retries.value < 0 || retries.value > MOST_RETRIES)) {
		error_set(error, PAR_EINVAL, "retries must be 0 to %d, got: %lld", MOST_RETRIES,
		          (long long)retries.value);
		error_remedy(error, "leave it unset, or 0, for none");
		return PAR_EINVAL;
	}
	if (delay.set && !(delay.value >= 0 && delay.value < 1e9)) {
		error_set(error, PAR_EINVAL, "retry_delay must be a number of seconds, got: %g",
		          delay.value);
		error_remedy(error, "leave it unset, or 0, to try again at once");
		return PAR_EINVAL;
	}
	if (on.set && (on.value & ~all) != 0)
		return wrong(error, "retry_on has a value that means nothing",
		             "see PAR_ON_ERROR in <parloop/parloop.h>");
	plan->retries = retries.set ? (uint32_t)retries.value : 0;
	plan->retry_delay_ns = delay.set ? (int64_t)(delay.value * 1e9) : 0;
	plan->retry_on = (uint32_t)(on.set ? on.value : all);
	return PAR_OK;
}

static int32_t plan_deadlines(const par_settings *call, const par_settings *opened,
                              const struct conf *conf, struct plan *plan, par_error *error)
{
	int32_t code = plan_timeout(FIRST_SET(call->timeout, opened->timeout, conf->timeout), "timeout",
	                            &plan->timeout_ns, error);

	if (code == PAR_OK)
		code = plan_timeout(FIRST_SET(call->task_timeout, opened->task_timeout, conf->task_timeout),
		                    "task_timeout", &plan->task_timeout_ns, error);
	if (code == PAR_OK)
		code = plan_timeout(FIRST_SET(call->call_timeout, opened->call_timeout, conf->call_timeout),
		                    "call_timeout", &plan->call_timeout_ns, error);
	return code;
}

/* What is large does not travel with each batch. */
static int32_t plan_sharing(const par_settings *call, const par_settings *opened,
                            const struct conf *conf, struct plan *plan, par_error *error)
{
	const par_int usual = {1, MAX_NBYTES};
	par_int max = FIRST_SET(call->max_nbytes, opened->max_nbytes, conf->max_nbytes);
	const char *mode = call->mmap_mode     ? call->mmap_mode
	                   : opened->mmap_mode ? opened->mmap_mode
	                                       : conf->mmap_mode;
	char shown[40];

	if (!max.set)
		max = usual;
	if (max.value < -1) {
		error_set(error, PAR_EINVAL, "max_nbytes must be a number of bytes, or -1, got: %lld",
		          (long long)max.value);
		error_remedy(error, "leave it unset for 1 MiB, or give -1 to share nothing");
		return PAR_EINVAL;
	}
	plan->max_nbytes = max.value >= 0 ? (uint64_t)max.value : UINT64_MAX;
	plan->shared_mode = SHARED_READ;
	if (mode == NULL || shared_parse_mode(mode, &plan->shared_mode) == 0)
		return PAR_OK;
	error_set(error, PAR_EINVAL, "mmap_mode must be 'r', 'r+', 'w+' or 'c', got: '%s'",
	          error_escape(mode, strlen(mode), shown, sizeof(shown)));
	error_remedy(error, "leave it unset, or give 'r', if tasks only read what is shared");
	return PAR_EINVAL;
}

/* Who watches: the call's, both of them, or those of the open. */
static void plan_watchers(const par_settings *call, const par_settings *opened, struct plan *plan)
{
	const par_settings *watches = call->on_progress != NULL || call->on_event != NULL ? call : opened;

	plan->on_progress = watches->on_progress;
	plan->on_event = watches->on_event;
	plan->watcher = watches->watcher;
}

int32_t settings_plan(const par_settings *opened, const par_settings *call,
                      const struct conf *conf, struct plan *plan, par_error *error)
{
	par_int verbose = FIRST_SET(call->verbose, opened->verbose, conf->verbose);
	par_int seed = call->seed.set ? call->seed : opened->seed;
	int order = call->order ? call->order : opened->order;
	int on_error = call->on_error ? call->on_error : opened->on_error;
	const par_settings *shares = call->shared != NULL ? call : opened;
	int32_t code;

	*plan = (struct plan){
		.unordered = order == PAR_UNORDERED,
		.collect = on_error == PAR_COLLECT || on_error == PAR_IGNORE,
		.ignore = on_error == PAR_IGNORE,
		.pre_dispatch = call->pre_dispatch   ? call->pre_dispatch
		                : opened->pre_dispatch ? opened->pre_dispatch
		                                       : conf->pre_dispatch,
		.verbose = verbose.set ? verbose.value : 0,
		.shared = shares->shared,
		.shared_size = shares->shared_size,
		.statuses = call->statuses,
		.has_seed = seed.set != 0,
		.seed = (uint64_t)seed.value,
		.n_tasks = call->n_tasks.set && call->n_tasks.value >= 0 ? call->n_tasks.value : -1,
	};
	if (order < 0 || order > PAR_UNORDERED || on_error < 0 || on_error > PAR_IGNORE)
		return wrong(error, "order or on_error has a value that means nothing",
		             "see PAR_ORDERED and PAR_FAIL_FAST in <parloop/parloop.h>");
	plan_watchers(call, opened, plan);
	code = plan_batch_size(FIRST_SET(call->batch_size, opened->batch_size, conf->batch_size), plan, error);
	if (code == PAR_OK)
		code = plan_deadlines(call, opened, conf, plan, error);
	if (code == PAR_OK)
		code = plan_sharing(call, opened, conf, plan, error);
	return code == PAR_OK ? plan_retries(call, opened, conf, plan, error) : code;
}
