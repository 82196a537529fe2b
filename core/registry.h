/* registry.h - backends by name: one table that only grows, under one mutex.
 *
 * The one lookup, for API, command and plugins.conf alike: what the program
 * registered, then [backend NAME] with a path, then [lazy], then the notes of the
 * files in the plugin directories.  nested-NAME is whatever NAME is.  A name is loaded once; concurrent first uses
 * wait for it.  No lock is held in plugin code except dlopen's and the factory's, none
 * in a loader of the program's. */
#ifndef CORE_REGISTRY_H
#define CORE_REGISTRY_H

#include "conf.h"
#include "note.h"
#include "options.h"

#include <parloop/backend.h>

enum { REGISTERED_NAMES = 32 }; /* that an error lists */

/* A backend that is loaded and ready to make instances; lives as long as the
 * process. */
struct provider {
	const char *name;
	const struct provider *base; /* this is nested-NAME: that backend at every level, NAME's; */
	                             /* NULL: it is a plain one                               */
	const char *file;            /* NULL: linked in */
	par_backend_ops ops;         /* the core's copy: NULL where the plugin has nothing */
	uint32_t capabilities;       /* of the note */
	int64_t batch_shortest_ns;   /* of the note; 0: the core's */
	int64_t batch_longest_ns;
	const struct schema *schema; /* its options */
};

/* The backend of that name, loaded if it was not; nested-NAME is there for each NAME.
 * PAR_ENOTFOUND lists what exists, with the nearest name; PAR_EUNAVAIL says why it cannot
 * be loaded. [any] */
int32_t registry_find(const char *name, const struct provider **out, par_error *error);

/* The backend of that name if it is loaded already, else NULL.  [any] */
const struct provider *registry_loaded(const char *name);

/* The i-th of those that are loaded from that file, from 0; NULL: there are no more.  [any] */
const struct provider *registry_loaded_of(const char *file, size_t i);

/* What the program registered: the i-th name, from 0, as long as it returns 1.  The
 * texts live as long as the process.  [any] */
struct registered {
	const char *name;
	const struct note *note; /* NULL: its loader was not asked yet */
	const char *hint;        /* NULL: none */
};
int registry_registered(size_t i, struct registered *out);

/* The same names, ending in NULL, for an error to list.  [any] */
void registry_names(const char *names[REGISTERED_NAMES + 1]);

/* The backend where nobody names one: as the program chose, else plugins.conf's.  A chosen
 * name must live as long as the process; NULL takes the choice back.  [any] */
const char *registry_default(const struct conf *conf);
void registry_choose_default(const char *name);

/* Its options: defaults, plugins.conf's, then these "key=value" texts, ending in NULL
 * (NULL: none), checked.  Must be destroyed with options_destroy(). [any] */
int32_t registry_options(const struct provider *provider, const char *const *settings,
                         struct par_options **out, par_error *error);

/* Are these texts, which more may follow, right for it so far?  [any] */
int32_t registry_check_options(const struct provider *provider, const char *const *settings,
                               par_error *error);

#endif
