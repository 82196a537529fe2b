#include "settings.h"

#include "environment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define METHOD_VARIABLE "PARLOOP_START_METHOD"

static const char *const method_names[] = {"auto", "fork", "forkserver", "spawn"};
enum { N_METHODS = sizeof(method_names) / sizeof(method_names[0]) };

const char *settings_method_name(enum method method)
{
	return method_names[method];
}

/* A folder has a link for each folder in it, and two of its own. */
int settings_count_threads(void)
{
	struct stat tasks;

	return stat("/proc/self/task", &tasks) == 0 ? (int)tasks.st_nlink - 2 : 0;
}

/* The option, if somebody set it; else the variable. */
static int32_t read_method(struct settings *settings, const par_host *host,
                           const par_options *options, par_error *error)
{
	const char *name = getenv(METHOD_VARIABLE);

	settings->method = (enum method)host->option_int(options, "start_method");
	if (host->option_is_set(options, "start_method") || name == NULL || *name == '\0')
		return PAR_OK;
	for (int i = 0; i < N_METHODS; i++) {
		if (strcmp(name, method_names[i]) != 0)
			continue;
		settings->method = (enum method)i;
		return PAR_OK;
	}
	(void)par_fail(error, PAR_ECONFIG,
	               "$" METHOD_VARIABLE " is \"%.100s\", not one of auto, fork, forkserver, "
	               "spawn",
	               name);
	par_remedy(error, "unset $" METHOD_VARIABLE ", or correct it");
	return PAR_ECONFIG;
}

static const char *text_or_null(const par_host *host, const par_options *options, const char *key)
{
	const char *text = host->option_text(options, key);

	return *text != '\0' ? text : NULL;
}

static int32_t read_common(struct settings *settings, const par_host *host,
                           const par_options *options, par_error *error)
{
	settings->output = (enum output_mode)host->option_int(options, "output");
	settings->initializer = text_or_null(host, options, "initializer");
	settings->initarg = text_or_null(host, options, "initarg");
	settings->variables = text_or_null(host, options, "env");
	settings->pins = host->option_int(options, "pin") != 0;
	settings->memory_limit = host->option_int(options, "memory_limit");
	settings->cpu_limit_ns = host->option_int(options, "cpu_limit");
	settings->max_growth = host->option_int(options, "max_growth");
	settings->abort_grace_ns = host->option_int(options, "abort_grace");
	settings->start_timeout_ns = host->option_int(options, "start_timeout");
	/* It may load whatever it likes, for as long as that takes. */
	if (settings->initializer != NULL && !host->option_is_set(options, "start_timeout"))
		settings->start_timeout_ns = 0;
	return environment_check(settings->variables, error);
}

int32_t settings_read_multiprocessing(struct settings *settings, const par_host *host,
                                      const par_options *options, par_error *error)
{
	int32_t status;

	memset(settings, 0, sizeof(*settings));
	status = read_method(settings, host, options, error);
	settings->preload = text_or_null(host, options, "preload");
	return status < 0 ? status : read_common(settings, host, options, error);
}

int32_t settings_read_loky(struct settings *settings, const par_host *host,
                           const par_options *options, par_error *error)
{
	memset(settings, 0, sizeof(*settings));
	settings->method = METHOD_SPAWN;
	settings->idle_timeout_ns = host->option_int(options, "idle_worker_timeout");
	return read_common(settings, host, options, error);
}
