#include "scope.h"

#include "context.h"
#include "error.h"
#include "forked.h"
#include "log.h"
#include "registry.h"
#include "settings.h"

#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct scope {
	struct par_context context; /* first: how the thread's stack sees it */
	par_settings settings;      /* merged with those around it */
};

static struct {
	pthread_mutex_t lock;
	par_settings settings; /* under lock; all zero: none */
} process = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(process.lock);

/* --- what may be pushed -------------------------------------------------------------------- */

static int32_t refuse(par_error *error, const char *what, const char *remedy)
{
	error_set(error, PAR_EINVAL, "%s", what);
	error_remedy(error, "%s", remedy);
	return PAR_EINVAL;
}

static int32_t check_fields(const par_settings *settings, par_error *error)
{
	if (settings->order != 0 || settings->on_error != 0 || settings->shared != NULL ||
	    settings->statuses != NULL || settings->seed.set || settings->n_tasks.set ||
	    settings->on_progress != NULL || settings->on_event != NULL)
		return refuse(error, "order, on_error, shared, statuses, seed, n_tasks, on_progress and "
		                     "on_event are for single calls",
		              "leave them out here: the callees would not expect them");
	if (settings->backend == NULL &&
	    (settings->options != NULL || settings->inner_max_num_threads.set))
		return refuse(error, "options and inner_max_num_threads are only supported when "
		                     "backend is set",
		              "name the backend that they are for");
	return PAR_OK;
}

int32_t scope_check_inner(par_int inner, par_error *error)
{
	if (!inner.set || (inner.value >= 1 && inner.value <= INT32_MAX))
		return PAR_OK;
	error_set(error, PAR_EINVAL, "inner_max_num_threads must be a positive integer, got: %lld",
	          (long long)inner.value);
	error_remedy(error, "leave it unset, or give 1, 2, ... threads");
	return PAR_EINVAL;
}

/* Everything about the backend that can be known before a call. */
static int32_t check_backend(const par_settings *settings, const struct provider **provider,
                             par_error *error)
{
	int32_t code;

	*provider = NULL;
	if (settings->backend == NULL)
		return PAR_OK;
	code = registry_find(settings->backend, provider, error);
	if (code == PAR_OK)
		code = registry_check_options(*provider, settings->options, error);
	if (code == PAR_OK)
		code = scope_check_inner(settings->inner_max_num_threads, error);
	return code;
}

static int32_t check(par_settings *out, const par_settings *settings,
                     const struct provider **provider, par_error *error)
{
	int32_t code = PAR_OK;

	*provider = NULL;
	*out = (par_settings){.size = sizeof(*out)};
	if (settings != NULL)
		code = settings_check(out, settings, error);
	if (code == PAR_OK)
		code = check_fields(out, error);
	return code == PAR_OK ? check_backend(out, provider, error) : code;
}

/* Does the backend that is inherited come before what was pushed?  A task that pushes
 * something itself has its own way. */
static int is_overruled(void)
{
	const struct par_context *overruled = context_current()->overruled;

	return overruled != NULL && overruled == context_pushed();
}

/* What the call around this one left for those inside its tasks. */
static par_settings inherited(void)
{
	const struct context *context = context_current();

	return (par_settings){
		.size = sizeof(par_settings),
		.backend = context->backend,
		.options = context->options,
	};
}

/* --- a thread's contexts ------------------------------------------------------------------- */

static const par_settings *innermost(void)
{
	struct par_context *context = context_pushed();

	return context != NULL ? &((struct scope *)context)->settings : NULL;
}

/* What a context that is pushed now stands in; merged is to be finished afterwards. */
static int32_t see_around(const par_settings **around, par_settings *merged, par_error *error)
{
	static const par_settings none = {.size = sizeof(none)};
	const par_settings *outer = innermost(), inner = inherited();

	*merged = none;
	*around = outer != NULL ? outer : &none;
	if (!is_overruled())
		return PAR_OK;
	*around = merged;
	return settings_merge(merged, &inner, outer, error);
}

static void end_scope(struct par_context *context)
{
	settings_finish(&((struct scope *)context)->settings);
	free(context);
}

int32_t par_context_push(const par_settings *settings, par_context **out, par_error *error)
{
	const par_settings *around;
	const struct provider *provider;
	par_settings checked, merged;
	struct scope *scope;
	int32_t code = check(&checked, settings, &provider, error);

	if (out != NULL)
		*out = NULL;
	if (code != PAR_OK)
		return code;
	scope = calloc(1, sizeof(*scope));
	if (scope == NULL)
		return error_memory(error, "cannot push a context");
	scope->context.end = end_scope;
	code = see_around(&around, &merged, error);
	if (code == PAR_OK)
		code = settings_merge(&scope->settings, &checked, around, error);
	settings_finish(&merged);
	if (code == PAR_OK && context_push(&scope->context) < 0)
		code = error_memory(error, "cannot push a context");
	if (code != PAR_OK)
		end_scope(&scope->context);
	else if (out != NULL)
		*out = &scope->context;
	return code;
}

/* Nothing of context is looked at, since it may be long gone. */
static int32_t refuse_pop(const struct par_context *context, par_error *error)
{
	int above = 0;
	struct par_context *pushed = context_pushed();

	for (; pushed != NULL && pushed != context; pushed = pushed->outer)
		above++;
	error_set(error, PAR_EINVAL, "this context cannot be popped");
	if (pushed == NULL) {
		error_reason(error, "it is none of this thread's: another thread has pushed it, or "
		                    "it was popped already");
		error_remedy(error, "pop it once, on the thread that pushed it");
	} else if (above > 0) {
		error_reason(error, "out of order: %d that were pushed after it are still there",
		             above);
		error_remedy(error, "pop those first");
	} else {
		error_reason(error, "a task cannot end a context of its caller");
		error_remedy(error, "push one in the task, and pop that");
	}
	return PAR_EINVAL;
}

int32_t par_context_pop(par_context *context, par_error *error)
{
	struct par_context *pushed = context_pushed();

	if (pushed == NULL && context == NULL)
		return refuse(error, "there is no context to pop", "push one on this thread first");
	if (context == NULL)
		context = pushed;
	if (context != pushed || context_pop() == NULL)
		return refuse_pop(context, error);
	end_scope(context);
	return PAR_OK;
}

par_context *par_context_begin(const par_settings *settings, par_error *error)
{
	par_context *context;

	(void)par_context_push(settings, &context, error);
	return context;
}

void par_context_end(par_context **context)
{
	par_error error = PAR_ERROR_INIT;
	char text[1200];

	if (*context != NULL && par_context_pop(*context, &error) < 0)
		log_line(LOG_ERROR, "%s", par_error_text(&error, 0, text, sizeof(text)));
	*context = NULL;
}

/* --- the default of the process ------------------------------------------------------------ */

int32_t par_set_default(const par_settings *settings, par_error *error)
{
	static const par_settings none = {.size = sizeof(none)};
	const struct provider *provider;
	par_settings checked, kept, before;
	int32_t code = check(&checked, settings, &provider, error);

	if (code == PAR_OK)
		code = settings_merge(&kept, &checked, &none, error);
	if (code != PAR_OK)
		return code;
	pthread_mutex_lock(&process.lock);
	before = process.settings;
	process.settings = kept;
	registry_choose_default(provider != NULL ? provider->name : NULL);
	pthread_mutex_unlock(&process.lock);
	settings_finish(&before);
	return PAR_OK;
}

/* --- what an open gets --------------------------------------------------------------------- */

/* As settings_merge, counting what is inherited; the texts of inner are let go. */
static int32_t merge_under(par_settings *inner, const par_settings *outer, struct wish *wish,
                           par_error *error)
{
	size_t own = settings_count(inner->options);
	par_settings merged;
	int32_t code = settings_merge(&merged, inner, outer, error);

	if (code != PAR_OK)
		return code;
	wish->n_inherited += settings_count(merged.options) - own;
	wish->inner_is_inherited |= !inner->inner_max_num_threads.set;
	settings_finish(inner);
	*inner = merged;
	return PAR_OK;
}

static int32_t add_default(par_settings *settings, struct wish *wish, par_error *error)
{
	par_settings outer;
	int32_t code = PAR_OK;

	pthread_mutex_lock(&process.lock);
	outer = process.settings;
	/* What was asked of one default backend is not asked of the next. */
	if (outer.backend != NULL && strcmp(outer.backend, wish->backend) != 0) {
		outer.options = NULL;
		outer.inner_max_num_threads = (par_int){0};
	}
	outer.backend = NULL;
	if (outer.size > 0)
		code = merge_under(settings, &outer, wish, error);
	pthread_mutex_unlock(&process.lock);
	return code;
}

static int32_t collect(par_settings *settings, struct wish *wish, const struct conf *conf,
                       par_error *error)
{
	const par_settings *pushed = innermost(), left = inherited();
	const par_settings *around[] = {pushed, left.backend != NULL ? &left : NULL};
	int32_t code = PAR_OK;

	if (is_overruled()) {
		around[0] = around[1];
		around[1] = pushed;
	}
	/* joblib: None says nothing here, but in a context it does. */
	if (settings->n_jobs.set && settings->n_jobs.value == PAR_UNSET)
		settings->n_jobs = (par_int){0};
	wish->backend_by = settings->backend != NULL ? BY_CALL : BY_CONTEXT;
	for (int i = 0; i < 2 && code == PAR_OK; i++)
		if (around[i] != NULL)
			code = merge_under(settings, around[i], wish, error);
	if (code != PAR_OK)
		return code;
	if (settings->backend == NULL)
		wish->backend_by = BY_NOBODY;
	wish->backend = settings->backend != NULL ? settings->backend : registry_default(conf);
	return context_current()->level == 0 ? add_default(settings, wish, error) : PAR_OK;
}

int32_t scope_settings(par_settings *out, const par_settings *call, struct wish *wish,
                       const struct conf *conf, par_error *error)
{
	int32_t code = settings_copy(out, call, error);

	*wish = (struct wish){0};
	if (code != PAR_OK)
		return code;
	code = collect(out, wish, conf, error);
	if (code != PAR_OK) {
		settings_finish(out);
		return code;
	}
	if (out->backend != NULL)
		wish->backend = out->backend;
	wish->options = out->options;
	wish->inner_max_num_threads = out->inner_max_num_threads;
	wish->resets_n_jobs = out->n_jobs.set && out->n_jobs.value == PAR_UNSET;
	if (wish->resets_n_jobs)
		out->n_jobs = (par_int){0};
	return PAR_OK;
}
