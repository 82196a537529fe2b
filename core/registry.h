/* registry.h - backends by name: one table that only grows, under one mutex.
 *
 * The one lookup, for API, command and plugins.conf alike: [backend NAME] with
 * a path, then [lazy], then the notes of the files in the plugin directories.
 * A name is loaded once; concurrent first uses wait for it.  No lock is held in
 * plugin code except dlopen's and the factory's. */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "options.h"

#include <parloop/backend.h>

/* A backend that is loaded and ready to make instances; lives as long as the
 * process. */
struct provider {
	const char *name;
	const char *file;            /* NULL: linked in */
	par_backend_ops ops;         /* the core's copy: NULL where the plugin has nothing */
	uint32_t capabilities;       /* of the note */
	int64_t batch_shortest_ns;   /* of the note; 0: the core's */
	int64_t batch_longest_ns;
	const struct schema *schema; /* its options */
};

/* The backend of that name, loaded if it was not.  PAR_ENOTFOUND lists what exists,
 * with the nearest name; PAR_EUNAVAIL says why it cannot be loaded. [any] */
int32_t registry_find(const char *name, const struct provider **out, par_error *error);

/* The backend of that name if it is loaded already, else NULL.  [any] */
const struct provider *registry_loaded(const char *name);

/* Its options: defaults, plugins.conf's, then these "key=value" texts, ending in NULL
 * (NULL: none), checked.  Must be destroyed with options_destroy(). [any] */
int32_t registry_options(const struct provider *provider, const char *const *settings,
                         struct par_options **out, par_error *error);

#endif
