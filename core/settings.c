#include "settings.h"

#include "error.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_BATCH = 1 << 30 };

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
	const char **slots[] = {&out->backend, &out->pre_dispatch, &out->prefer, &out->require};
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
	memcpy(out, settings, settings->size < sizeof(*out) ? settings->size : sizeof(*out));
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

static int32_t plan_timeout(par_real timeout, struct plan *plan, par_error *error)
{
	if (!timeout.set)
		return PAR_OK;
	if (!(timeout.value > 0)) {
		error_set(error, PAR_EINVAL, "timeout must be a positive number of seconds, got: %g",
		          timeout.value);
		error_remedy(error, "leave it unset to wait for ever");
		return PAR_EINVAL;
	}
	/* Longer than 30 years is for ever. */
	plan->timeout_ns = timeout.value < 1e9 ? (int64_t)(timeout.value * 1e9) + 1 : 0;
	return PAR_OK;
}

int32_t settings_plan(const par_settings *opened, const par_settings *call,
                      const struct conf *conf, struct plan *plan, par_error *error)
{
	par_int verbose = FIRST_SET(call->verbose, opened->verbose, conf->verbose);
	int order = call->order ? call->order : opened->order;
	int on_error = call->on_error ? call->on_error : opened->on_error;
	const par_settings *shares = call->shared != NULL ? call : opened;
	int32_t code;

	*plan = (struct plan){
		.unordered = order == PAR_UNORDERED,
		.collect = on_error == PAR_COLLECT,
		.pre_dispatch = call->pre_dispatch   ? call->pre_dispatch
		                : opened->pre_dispatch ? opened->pre_dispatch
		                                       : conf->pre_dispatch,
		.verbose = verbose.set ? verbose.value : 0,
		.shared = shares->shared,
		.shared_size = shares->shared_size,
	};
	if (order < 0 || order > PAR_UNORDERED || on_error < 0 || on_error > PAR_COLLECT)
		return wrong(error, "order or on_error has a value that means nothing",
		             "see PAR_ORDERED and PAR_FAIL_FAST in <parloop/parloop.h>");
	code = plan_batch_size(FIRST_SET(call->batch_size, opened->batch_size, conf->batch_size), plan, error);
	if (code == PAR_OK)
		code = plan_timeout(FIRST_SET(call->timeout, opened->timeout, conf->timeout), plan, error);
	return code;
}
