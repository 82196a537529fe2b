#include "paths.h"

#include "error.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#ifdef PAR_CHECKOUT
#define SYSTEM_CONF PAR_CHECKOUT "/plugins.conf"
#define PLUGIN_DIR  PAR_PLUGINS
#define WORKER      PAR_BUILD "/parloop-worker"
#else
#define SYSTEM_CONF PAR_SYSCONFDIR "/parloop/plugins.conf"
#define PLUGIN_DIR  PAR_PLUGINDIR
#define WORKER      PAR_BINDIR "/parloop-worker"
#endif

const char *paths_system_conf(void)
{
	return SYSTEM_CONF;
}

const char *paths_plugin_dir(void)
{
	return PLUGIN_DIR;
}

const char *paths_worker(void)
{
	return WORKER;
}

/* The environment of a program with more rights than its user is not listened to. */
static const char *environment(const char *name)
{
	const char *value = secure_getenv(name);

	return value == NULL || value[0] == '\0' ? NULL : value;
}

static char *join(const char *folder, const char *name)
{
	char *path;

	return asprintf(&path, "%s/%s", folder, name) < 0 ? NULL : path;
}

/* *out is of malloc, or NULL: there is no home.  -1: no memory. */
static int user_conf(char **out)
{
	const char *config = environment("XDG_CONFIG_HOME"), *home = environment("HOME");

	*out = NULL;
	if (config != NULL && config[0] == '/')
		*out = join(config, "parloop/plugins.conf");
	else if (home != NULL && home[0] == '/')
		*out = join(home, ".config/parloop/plugins.conf");
	else
		return 0;
	return *out == NULL ? -1 : 0;
}

char *paths_absolute(const char *path)
{
	char *here, *full;

	if (path[0] == '/')
		return strdup(path);
	here = getcwd(NULL, 0);
	full = here == NULL ? strdup(path) : join(here, path);
	free(here);
	return full;
}

int32_t paths_find_conf(char **out, par_error *error)
{
	const char *named = environment(PATHS_CONF_VARIABLE);
	char *user;

	*out = NULL;
	if (named != NULL && strcmp(named, PATHS_NO_CONF) == 0)
		return PAR_OK;
	if (named != NULL) {
		*out = paths_absolute(named);
		return *out == NULL ? error_memory(error, "finding plugins.conf") : PAR_OK;
	}
	if (user_conf(&user) < 0)
		return error_memory(error, "finding plugins.conf");
	if (user != NULL && access(user, F_OK) == 0) {
		*out = user;
		return PAR_OK;
	}
	free(user);
	if (access(SYSTEM_CONF, F_OK) < 0)
		return PAR_OK;
	*out = strdup(SYSTEM_CONF);
	return *out == NULL ? error_memory(error, "finding plugins.conf") : PAR_OK;
}

char *paths_resolve(const char *folder, const char *written)
{
	const char *home = environment("HOME");

	if (written[0] == '/')
		return strdup(written);
	if (strncmp(written, "~/", 2) == 0 && home != NULL)
		return join(home, written + 2);
	if (strncmp(written, "./", 2) == 0)
		written += 2;
	if (strcmp(written, ".") == 0 || written[0] == '\0')
		return strdup(folder);
	return join(folder, written);
}

char *paths_folder(const char *file)
{
	char *full = paths_absolute(file), *slash;

	if (full == NULL)
		return NULL;
	slash = strrchr(full, '/');
	slash[slash == full] = '\0';
	return full;
}

char *paths_stem(const char *file)
{
	const char *slash = strrchr(file, '/');
	const char *name = slash == NULL ? file : slash + 1;
	size_t length = strlen(name);

	if (length > 3 && strcmp(name + length - 3, ".so") == 0)
		length -= 3;
	return strndup(name, length);
}
