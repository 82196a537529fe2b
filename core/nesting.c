#include "nesting.h"

#include "cpu.h"
#include "error.h"
#include "log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* loky's limit, of processes that start processes. */
enum { DEEPEST = 10 };

/* --- how deep ------------------------------------------------------------------------------- */

static int64_t deepest(void)
{
	const char *text = secure_getenv("PARLOOP_MAX_DEPTH");
	char *end;
	long long depth;

	if (text == NULL || *text == '\0')
		return DEEPEST;
	errno = 0;
	depth = strtoll(text, &end, 10);
	if (errno == 0 && end != text && *end == '\0' && depth >= 1)
		return depth;
	log_line(LOG_WARNING, "PARLOOP_MAX_DEPTH=\"%.40s\" is not a whole number above 0; it is %d", text,
	         DEEPEST);
	return DEEPEST;
}

int32_t nesting_check(const struct provider *provider, par_error *error)
{
	const struct context *context = context_current();
	const char *chain = context->chain;
	size_t length = chain != NULL ? strlen(chain) : 0;

	if (context->chained == 0 || context->chained < deepest())
		return PAR_OK;
	error_set(error, PAR_EUNAVAIL, "calls are nested too deep: %d of them have workers, and this one, "
	          "on %s, would be another", context->chained, provider->name);
	error_reason(error, "it is inside %s%s; PARLOOP_MAX_DEPTH is %lld", length > 200 ? "... " : "",
	             chain == NULL ? "" : length > 200 ? chain + length - 200 : chain,
	             (long long)deepest());
	error_remedy(error, "look for a task that makes a call of itself, or run it on the backend "
	                    "sequential there");
	return PAR_EUNAVAIL;
}

/* --- whose cores ---------------------------------------------------------------------------- */

int32_t nesting_cores(void)
{
	const struct context *context = context_current();
	int32_t ours = cpu_count(), cores = context->cores > 0 ? context->cores : ours;

	if (context->sharers > 1)
		cores /= context->sharers;
	/* A worker process may have been given fewer than its share. */
	if (cores > ours)
		cores = ours;
	return cores > 1 ? cores : 1;
}

static int is_nested(const struct context *context)
{
	return context->sharers > 0;
}

par_int nesting_oversubscribe(void)
{
	int32_t said = context_current()->oversubscribe;

	return said != 0 ? (par_int)PAR_SET(said > 0) : (par_int){0};
}

/* One that runs its tasks on the calling thread takes no core that was not taken. */
static int counts(const struct provider *provider)
{
	return !(provider->capabilities & (PAR_ELSEWHERE | PAR_RUNS_INLINE));
}

int32_t nesting_most(const struct provider *provider, const struct par_call *call)
{
	return call->core_share > 0 && counts(provider) && !call->oversubscribe ? call->core_share
	                                                                        : INT32_MAX;
}

/* Information and not a warning: code that asks for so many workers was written as if nobody was
 * around it, and there is nothing wrong with that; but it may run in every task of every worker. */
static void tell_capped(const struct provider *provider, const struct par_call *call)
{
	log_line(LOG_INFO, "%s: n_jobs=%d inside a task of %s is more than its share of the cores: it is "
	                   "%d (oversubscribe lifts that)",
	         provider->name, call->n_jobs, call->around, call->core_share);
}

int32_t nesting_n_jobs(const struct provider *provider, const struct par_call *call)
{
	int32_t most = nesting_most(provider, call);

	if (call->core_share > 0 && counts(provider) && call->n_jobs < 0)
		return cpu_n_jobs(call->n_jobs, call->core_share);
	if (call->n_jobs <= most)
		return call->n_jobs;
	tell_capped(provider, call);
	return most;
}

/* --- what a call is told, and what it tells its tasks ---------------------------------------- */

void nesting_describe(const struct provider *provider, struct par_call *call)
{
	const struct context *context = context_current();

	call->level = context->level;
	call->core_share = is_nested(context) ? nesting_cores() : 0;
	call->around = context->around;
	call->below_threads = context->is_below_threads;
	call->is_nested = provider->base != NULL;
}

/* So long as the chain has room; what is left out of a longer one is its beginning. */
static void lengthen(char chain[NESTING_CHAIN], const char *outer, const char *name)
{
	const char *join = outer != NULL && *outer != '\0' ? " > " : "";
	size_t more = strlen(join) + strlen(name) + 1, length = *join != '\0' ? strlen(outer) : 0;

	if (length + more > NESTING_CHAIN) {
		outer += length + more - NESTING_CHAIN;
		length = NESTING_CHAIN - more;
	}
	if (length > 0)
		memcpy(chain, outer, length);
	memcpy(chain + length, join, strlen(join));
	memcpy(chain + length + strlen(join), name, strlen(name) + 1);
}

static int32_t keep_options(struct nesting *nesting, const char *const *options)
{
	size_t n = 0;

	while (options != NULL && options[n] != NULL)
		n++;
	if (n == 0)
		return PAR_OK;
	nesting->options = calloc(n + 1, sizeof(*nesting->options));
	for (size_t i = 0; nesting->options != NULL && i < n; i++)
		if ((nesting->options[i] = strdup(options[i])) == NULL)
			nesting_finish(nesting);
	return nesting->options != NULL ? PAR_OK : PAR_ENOMEM;
}

/* The backend of calls inside, by what asked says of itself: 0: nothing. */
static int ask(struct context *inside, const struct provider *asked, const struct provider *provider,
               par_backend *backend, int32_t *keeps)
{
	par_nested nested = {.size = sizeof(nested), .level = inside->level};

	*keeps = 1;
	if (asked->base != NULL) {
		inside->backend = asked->name;
		return 1;
	}
	if (provider->ops.get_nested_backend == NULL ||
	    provider->ops.get_nested_backend(backend, &nested) != PAR_OK)
		return 0;
	inside->level = nested.level;
	inside->n_jobs = nested.n_jobs;
	inside->backend = nested.myself ? provider->name : nested.name;
	inside->options = nested.options;
	*keeps = nested.myself && nested.options == NULL;
	return 1;
}

/* The workers are others than the caller: a level of its own. */
static void add_level(struct nesting *nesting, struct context *inside, const struct provider *provider,
                      uint32_t capabilities, int32_t n_jobs)
{
	const struct context *outer = context_current();

	lengthen(nesting->chain, outer->chain, provider->name);
	inside->chain = nesting->chain;
	inside->chained = outer->chained + 1;
	inside->around = provider->base != NULL ? provider->base->name : provider->name;
	inside->is_below_threads = (capabilities & PAR_SHARES_MEMORY) != 0;
	/* Another process may have been started when there were others; in this one it is found out
	 * when somebody asks. */
	inside->cores = capabilities & PAR_ELSEWHERE                      ? 1
	                : is_nested(outer) || !inside->is_below_threads ? nesting_cores()
	                                                                : 0;
	inside->sharers = capabilities & PAR_ELSEWHERE ? 1 : n_jobs;
}

int32_t nesting_begin(struct nesting *nesting, struct context *inside, const struct provider *asked,
                      const char *const *options, const struct provider *provider,
                      par_backend *backend, uint32_t capabilities, int32_t n_jobs,
                      int32_t oversubscribe)
{
	const struct context *outer = context_current();
	int is_inline = (capabilities & PAR_RUNS_INLINE) != 0;
	int32_t keeps = 0;

	*inside = *outer;
	inside->task = NULL;
	inside->nests = NULL;
	inside->depth = outer->depth + 1;
	inside->is_transparent = 0;
	inside->oversubscribe = oversubscribe ? 1 : -1;
	if (!is_inline)
		add_level(nesting, inside, provider == asked->base ? asked : provider, capabilities, n_jobs);
	inside->level = outer->level + 1;
	inside->n_jobs = 0;
	inside->options = NULL;
	if (ask(inside, asked, provider, backend, &keeps)) {
		if (!keeps || keep_options(nesting, options) < 0)
			return keeps ? PAR_ENOMEM : PAR_OK;
		if (nesting->options != NULL)
			inside->options = (const char *const *)nesting->options;
		if (asked->base == NULL || !is_inline)
			return PAR_OK;
	}
	/* joblib: one worker on the calling thread is transparent to what it runs. */
	if (is_inline) {
		inside->level = outer->level;
		inside->n_jobs = outer->n_jobs;
		inside->is_transparent = 1;
		if (asked->base == NULL) {
			inside->backend = outer->backend;
			inside->options = outer->options;
		}
		return PAR_OK;
	}
	inside->backend = outer->level == 0 ? "threading" : "sequential";
	return PAR_OK;
}

void nesting_finish(struct nesting *nesting)
{
	for (char **option = nesting->options; option != NULL && *option != NULL; option++)
		free(*option);
	free(nesting->options);
	nesting->options = NULL;
}
