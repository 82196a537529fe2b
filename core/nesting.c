#include "nesting.h"

#include "cpu.h"
#include "error.h"
#include "log.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* loky's limit, of processes that start processes; and of calls that run on their caller's thread,
 * each of which takes some of its stack, so many times as many. */
enum { DEEPEST = 10, INLINE_TIMES = 20 };

enum { SHOWN_CHAIN = 200 };

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
	if (errno == 0 && end != text && *end == '\0' && depth >= 1 && depth <= INT32_MAX)
		return depth;
	log_line(LOG_WARNING, "PARLOOP_MAX_DEPTH=\"%.40s\" is not a whole number above 0; it is %d", text,
	         DEEPEST);
	return DEEPEST;
}

/* "a > b > b > b" as "a > b (3 times)", and of a long one the end. */
static void show_chain(char shown[SHOWN_CHAIN], const char *chain)
{
	const char *at = chain != NULL ? chain : "";
	size_t used = 0;

	shown[0] = '\0';
	while (*at != '\0') {
		size_t length = strcspn(at, " "), n = 0;
		const char *name = at;
		char link[80];

		do {
			n++;
			at += length + (strncmp(at + length, " > ", 3) == 0 ? 3 : 0);
		} while (strncmp(at, name, length) == 0 && (at[length] == ' ' || at[length] == '\0'));
		length = (size_t)snprintf(link, sizeof(link), n > 1 ? "%s%.*s (%zu times)" : "%s%.*s",
		                          used > 0 ? " > " : "", (int)length, name, n);
		if (used + length >= SHOWN_CHAIN)
			used = (size_t)snprintf(shown, SHOWN_CHAIN, "...");
		used += (size_t)snprintf(shown + used, SHOWN_CHAIN - used, "%s", link);
	}
}

int32_t nesting_check(const struct provider *provider, int is_inline, par_error *error)
{
	const struct context *context = context_current();
	char chain[SHOWN_CHAIN];
	long long most;

	if (context->depth == 0)
		return PAR_OK;
	most = deepest();
	show_chain(chain, context->chain);
	if (!is_inline && context->chained >= most) {
		error_set(error, PAR_EUNAVAIL, "calls are nested too deep: %d of them have workers, and "
		          "this one, on %s, would be another", context->chained, provider->name);
		error_reason(error, "it is inside %s; PARLOOP_MAX_DEPTH is %lld", chain, most);
		error_remedy(error, "look for a task that makes a call of itself, or run it on the "
		                    "backend sequential there");
		return PAR_EUNAVAIL;
	}
	if (context->depth < INLINE_TIMES * most)
		return PAR_OK;
	error_set(error, PAR_EUNAVAIL, "calls are nested too deep: this one, on %s, is inside %d others",
	          provider->name, context->depth);
	error_reason(error, "%s%s%sPARLOOP_MAX_DEPTH is %lld, and %d times as many calls may have no "
	             "workers", *chain != '\0' ? "it is inside " : "", chain, *chain != '\0' ? "; " : "",
	             most, INLINE_TIMES);
	error_remedy(error, "look for a task that makes a call of itself");
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
	call->inner_max_num_threads = context->inner_max_num_threads;
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

static int has_same_key(const char *option, const char *other)
{
	size_t length = strcspn(option, "=");

	return strncmp(option, other, length) == 0 && other[length] == '=';
}

/* The last of each key, which counts: those of calls in calls would pile up. */
static int32_t keep_options(struct nesting *nesting, struct context *inside,
                            const char *const *options)
{
	size_t n = 0, kept = 0;

	inside->options = NULL;
	while (options != NULL && options[n] != NULL)
		n++;
	if (n == 0)
		return PAR_OK;
	nesting->options = calloc(n + 1, sizeof(*nesting->options));
	if (nesting->options == NULL)
		return PAR_ENOMEM;
	for (size_t i = 0; i < n; i++) {
		size_t later = i + 1;

		while (later < n && !has_same_key(options[i], options[later]))
			later++;
		if (later == n && (nesting->options[kept++] = strdup(options[i])) == NULL)
			return PAR_ENOMEM;
	}
	inside->options = (const char *const *)nesting->options;
	return PAR_OK;
}

static int32_t cores_to_share(const struct context *inside, const struct context *outer,
                              int32_t n_jobs)
{
	/* In this process it is found out when somebody asks; another one may have been started
	 * when there were others. */
	if (!is_nested(outer) && inside->is_below_threads)
		return 0;
	/* Quotas, which take a while to read, can only make fewer of what is one each anyway. */
	if (!is_nested(outer) && cpu_affinity() <= n_jobs)
		return n_jobs;
	return nesting_cores();
}

/* The workers are others than the caller: a level of its own. */
static void add_level(struct nesting *nesting, struct context *inside, const struct provider *provider,
                      uint32_t capabilities, int32_t n_jobs)
{
	const struct context *outer = context_current();

	lengthen(nesting->chain, outer->chain, provider->name);
	inside->chain = nesting->chain;
	inside->chained = outer->chained + 1;
	inside->around = note_plain_name(provider->name);
	inside->is_below_threads = (capabilities & PAR_SHARES_MEMORY) != 0;
	inside->cores = capabilities & PAR_ELSEWHERE ? 1 : cores_to_share(inside, outer, n_jobs);
	inside->sharers = capabilities & PAR_ELSEWHERE ? 1 : n_jobs;
}

/* What the backend says itself of calls inside its tasks: 1; 0: nothing. */
static int ask(const struct provider *provider, par_backend *backend, par_nested *answer)
{
	const par_backend_ops *ops = &provider->ops;

	return ops->get_nested_backend != NULL && ops->get_nested_backend(backend, answer) == PAR_OK;
}

/* joblib's rule for those that say nothing. */
static void follow_rule(struct context *inside, const struct context *outer)
{
	inside->backend = outer->level == 0 ? "threading" : "sequential";
	inside->options = NULL;
	inside->n_jobs = 0;
	inside->level = outer->level + 1;
}

static void follow_answer(struct context *inside, const struct provider *provider,
                          const par_nested *answer)
{
	if (answer->myself)
		inside->backend = provider->name;
	else if (answer->name != NULL)
		inside->backend = answer->name;
	if (answer->myself || answer->name != NULL)
		inside->options = answer->options;
	inside->n_jobs = answer->n_jobs;
	inside->level = answer->level > 0 ? answer->level : 0;
}

int32_t nesting_begin(struct nesting *nesting, struct context *inside, const struct provider *asked,
                      const char *const *options, const struct provider *provider,
                      par_backend *backend, uint32_t capabilities, int32_t n_jobs,
                      int32_t oversubscribe)
{
	const struct context *outer = context_current();
	/* Also where it has left this call to another. */
	const struct provider *stays = asked->base != NULL ? asked : provider->base != NULL ? provider : NULL;
	par_nested answer = {.size = sizeof(answer), .level = outer->level + 1};
	int is_inline = (capabilities & PAR_RUNS_INLINE) != 0;
	int says = stays == NULL && ask(provider, backend, &answer);

	*inside = *outer;
	inside->task = NULL;
	inside->nests = NULL;
	inside->overruled = NULL;
	inside->depth = outer->depth + 1;
	inside->oversubscribe = oversubscribe ? 1 : -1;
	/* joblib: one worker on the calling thread is transparent to what it runs. */
	inside->is_transparent = is_inline && !says;
	if (inside->is_transparent)
		inside->overruled = stays != NULL ? context_pushed() : outer->overruled;
	else
		follow_rule(inside, outer);
	if (!is_inline)
		add_level(nesting, inside, provider, capabilities, n_jobs);
	if (says)
		follow_answer(inside, provider, &answer);
	if (stays != NULL)
		inside->backend = stays->name;
	if (stays == NULL && !(says && answer.myself && answer.options == NULL))
		return PAR_OK;
	/* Options that were given to another are none of its. */
	return keep_options(nesting, inside, stays == asked || provider == asked ? options : NULL);
}

void nesting_finish(struct nesting *nesting)
{
	for (char **option = nesting->options; option != NULL && *option != NULL; option++)
		free(*option);
	free(nesting->options);
	nesting->options = NULL;
}
