#include "worker_env.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const thread_limits[] = {
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
	"VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
};
enum { N_LIMITS = sizeof(thread_limits) / sizeof(thread_limits[0]) };

/* One that is no number says nothing, and stays as it is. */
static int is_above(const char *value, int most)
{
	return strtol(value, NULL, 10) > most;
}

/* Is it a limit that comes anew?  Those above most do; 0: all of them. */
static int is_replaced(const char *entry, int most)
{
	for (int i = 0; i < N_LIMITS; i++) {
		size_t length = strlen(thread_limits[i]);

		if (strncmp(entry, thread_limits[i], length) == 0 && entry[length] == '=')
			return most == 0 || is_above(entry + length + 1, most);
	}
	return 0;
}

/* Append a copy; 0 if there is no memory for it. */
static int append(char **env, size_t *n, const char *entry)
{
	env[*n] = strdup(entry);
	return env[(*n)++] != NULL;
}

/* What the caller has, but for the variables that come anew. */
static int append_ours(char **env, size_t *n, int most)
{
	for (char **entry = environ; entry != NULL && *entry != NULL; entry++) {
		if (is_replaced(*entry, most))
			continue;
		if (!append(env, n, *entry))
			return 0;
	}
	return 1;
}

static int append_limits(char **env, size_t *n, int n_threads, int most)
{
	char entry[64];

	for (int i = 0; i < N_LIMITS; i++) {
		const char *value = getenv(thread_limits[i]);

		if (value != NULL && most > 0 && !is_above(value, most))
			continue;
		(void)snprintf(entry, sizeof(entry), "%s=%d", thread_limits[i], n_threads);
		if (!append(env, n, entry))
			return 0;
	}
	return 1;
}

char **worker_env_make(int32_t n_workers, int32_t inner_max_num_threads, int cores, int is_nested)
{
	int each = n_workers > 0 ? cores / n_workers : cores;
	int n_threads = inner_max_num_threads > 0 ? inner_max_num_threads : each > 1 ? each : 1;
	int most = inner_max_num_threads > 0 ? 0 : is_nested ? n_threads : INT_MAX;
	size_t n = 0, room = 0;
	char **env;

	while (environ != NULL && environ[room] != NULL)
		room++;
	/* The limits, ENABLE_IPC and the NULL at the end. */
	env = calloc(room + N_LIMITS + 2, sizeof(*env));
	if (env == NULL)
		return NULL;
	if (!append_ours(env, &n, most) || !append_limits(env, &n, n_threads, most))
		goto fail;
	if (getenv("ENABLE_IPC") == NULL && !append(env, &n, "ENABLE_IPC=1"))
		goto fail;
	return env;
fail:
	worker_env_free(env);
	return NULL;
}

char **worker_env_put(char **env, const char *entry)
{
	size_t length = strcspn(entry, "=") + 1, n = 0;
	char *copy = strdup(entry), **grown;

	while (env != NULL && env[n] != NULL && strncmp(env[n], entry, length) != 0)
		n++;
	if (env != NULL && copy != NULL && env[n] != NULL) {
		free(env[n]);
		env[n] = copy;
		return env;
	}
	grown = env != NULL && copy != NULL ? reallocarray(env, n + 2, sizeof(*env)) : NULL;
	if (grown == NULL) {
		free(copy);
		worker_env_free(env);
		return NULL;
	}
	grown[n] = copy;
	grown[n + 1] = NULL;
	return grown;
}

void worker_env_free(char **env)
{
	if (env == NULL)
		return;
	for (char **entry = env; *entry != NULL; entry++)
		free(*entry);
	free(env);
}
