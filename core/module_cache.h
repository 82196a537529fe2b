/* module_cache.h - task modules that came as bytes, as files that can be loaded.
 *
 * They lie in a folder of the user's own (mode 0700) under their hash, so that a module is
 * written once on a machine: $PARLOOP_CACHE, else parloop/ in $XDG_CACHE_HOME or ~/.cache, else
 * /tmp/parloop-UID.  A file gets its name when it is whole; what is found under it is believed
 * only if it has that hash.  The folder holds MODULE_CACHE_BYTES: when one more is written, those
 * that nobody has asked for the longest go, and so does what a process that was killed has left
 * half written.  To remove any of it, also while it is in use, does no harm. */
#ifndef CORE_MODULE_CACHE_H
#define CORE_MODULE_CACHE_H

#include <parloop/backend.h>
#include <parloop/parloop.h>

#define MODULE_CACHE_BYTES (UINT64_C(256) << 20)

/* Open a module that came so.  For another machine, or not what its hash says: it is refused
 * before anything is written. [any] */
int32_t module_cache_open(par_module **module, const par_attachment *attachment, par_error *error);

#endif
