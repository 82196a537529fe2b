/* loader.h - from a checked file to a checked table of operations.
 *
 * Here, and only here, code of a plugin runs before an instance of it exists: its
 * constructors, and its factory. */
#ifndef CORE_LOADER_H
#define CORE_LOADER_H

#include "note.h"

#include <parloop/backend.h>
#include <parloop/parloop.h>

/* Load the file that this note was read from, and copy the table of that backend
 * (one that the note names) into *ops: what the plugin's table has not is NULL.  The
 * file is never unloaded.  PAR_EUNAVAIL says what is wrong with it.  One at a
 * time, process-wide: the factory is promised that.  [any] */
int32_t loader_load(const char *path, const struct note *note, const char *name,
                    par_backend_ops *ops, par_error *error);

/* Whatever of that can be found out without running any of the file: has it a factory at
 * all?  [any] */
int32_t loader_check(const char *path, par_error *error);

/* The same for a factory that is linked in.  [any] */
int32_t loader_link(par_factory_fn factory, const char *name, par_backend_ops *ops,
                    par_error *error);

#endif
