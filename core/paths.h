/* paths.h - where things are, for an installed build and for one in its checkout. */
#ifndef CORE_PATHS_H
#define CORE_PATHS_H

#include <parloop/error.h>

/* The system's plugins.conf (an uninstalled build: its checkout's), whether it exists
 * or not; the folder of the plugins that came with parloop.  Static. */
const char *paths_system_conf(void);
const char *paths_plugin_dir(void);

/* The program parloop-worker, whether it exists or not.  Static. */
const char *paths_worker(void);

/* The plugins.conf that serves if nobody names one: $PARLOOP_CONF, the user's, the
 * system's.  *out is of malloc, or NULL: there is none.  PAR_ENOMEM is all that can
 * fail: what $PARLOOP_CONF names is returned even if it does not exist; this there means
 * none. */
#define PATHS_CONF_VARIABLE "PARLOOP_CONF"
#define PATHS_NO_CONF       "/dev/null"
int32_t paths_find_conf(char **out, par_error *error);

/* A file as somebody wrote it in a file of that folder: absolute, "~/" is the home
 * directory, anything else is relative to folder.  Of malloc; NULL: no memory. */
char *paths_resolve(const char *folder, const char *written);

/* Relative to the current directory, for what the user named himself.  Of malloc. */
char *paths_absolute(const char *path);

/* The folder of a file, and its name without ".so".  Of malloc; NULL: no memory. */
char *paths_folder(const char *file);
char *paths_stem(const char *file);

#endif
