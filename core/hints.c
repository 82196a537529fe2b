#include "hints.h"

#include "error.h"
#include "log.h"

#include <stdio.h>
#include <string.h>

/* From here on joblib is talkative; from the second it talks to stdout. */
enum { TALKS = 10, TALKS_ALOUD = 50 };

static int is(const char *value, const char *word)
{
	return value != NULL && strcmp(value, word) == 0;
}

static int32_t bad_value(par_error *error, const char *key, const char *value, const char *kind,
                         const char *expected)
{
	char shown[60];

	error_set(error, PAR_EINVAL, "%s=%s is not a valid backend %s, expected %s", key,
	          error_escape(value, strlen(value), shown, sizeof(shown)), kind, expected);
	error_remedy(error, "leave it unset, or give one of these");
	return PAR_EINVAL;
}

int32_t hints_check(const char *prefer, const char *require, par_error *error)
{
	if (prefer != NULL && !is(prefer, "processes") && !is(prefer, "threads"))
		return bad_value(error, "prefer", prefer, "hint", "one of 'processes', 'threads'");
	if (require != NULL && !is(require, "sharedmem"))
		return bad_value(error, "require", require, "constraint", "'sharedmem'");
	if (is(prefer, "processes") && is(require, "sharedmem")) {
		error_set(error, PAR_EINVAL,
		          "prefer=processes and require=sharedmem are inconsistent settings");
		error_remedy(error, "leave one of them unset");
		return PAR_EINVAL;
	}
	return PAR_OK;
}

void hints_forget(struct wish *wish)
{
	if (wish->options != NULL)
		wish->options += wish->n_inherited;
	wish->n_inherited = 0;
	if (wish->inner_is_inherited)
		wish->inner_max_num_threads = (par_int){0};
}

static int32_t use_threads(struct wish *wish, const struct provider **provider, par_error *error)
{
	hints_forget(wish);
	return registry_find("threading", provider, error);
}

/* The first that is installed; it is only a hint. */
static void use_processes(struct wish *wish, const struct provider **provider)
{
	static const char *const names[] = {"loky", "multiprocessing"};
	const struct provider *found;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		if (registry_find(names[i], &found, NULL) < 0)
			continue;
		hints_forget(wish);
		*provider = found;
		return;
	}
	log_line(LOG_INFO,
	         "prefer=processes: neither loky nor multiprocessing is installed (processes.so has both), "
	         "using %s",
	         (*provider)->name);
}

static int32_t refuse_unshared(const char *name, par_error *error)
{
	error_set(error, PAR_EINVAL, "Backend %s does not support shared memory", name);
	error_reason(error, "the call has require=sharedmem, and the backend's note does not say "
	                    "shares_memory");
	error_remedy(error, "leave one of the two out, or choose threading");
	return PAR_EINVAL;
}

static void tell_overruled(const char *name, int64_t verbose)
{
	FILE *out = verbose >= TALKS_ALOUD ? stdout : stderr;

	if (verbose < TALKS)
		return;
	(void)fprintf(out, "Using threading as parloop backend instead of %s as the latter does "
	                   "not provide shared memory semantics.\n", name);
	(void)fflush(out);
}

int32_t hints_choose(struct wish *wish, const par_settings *settings, int64_t verbose,
                     const struct provider **provider, par_error *error)
{
	int32_t code = hints_check(settings->prefer, settings->require, error);
	uint32_t can;

	if (code == PAR_OK)
		code = registry_find(wish->backend, provider, error);
	if (code != PAR_OK)
		return code;
	can = (*provider)->capabilities;
	if (is(settings->require, "sharedmem") && !(can & PAR_SHARES_MEMORY)) {
		if (wish->backend_by == BY_CALL)
			return refuse_unshared((*provider)->name, error);
		if (wish->backend_by == BY_CONTEXT)
			tell_overruled((*provider)->name, verbose);
		return use_threads(wish, provider, error);
	}
	if (wish->backend_by != BY_NOBODY)
		return PAR_OK;
	/* The caller's own thread is one as well. */
	if (is(settings->prefer, "threads") && !(can & (PAR_USES_THREADS | PAR_RUNS_INLINE)))
		return use_threads(wish, provider, error);
	if (is(settings->prefer, "processes") && (can & (PAR_USES_THREADS | PAR_RUNS_INLINE)))
		use_processes(wish, provider);
	return PAR_OK;
}
