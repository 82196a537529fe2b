/* watch.h - with watch = yes in plugins.conf: tell of plugins that come, change and go while the
 * program runs.
 *
 * A name that is not loaded is looked for anew each time that somebody asks for it, so what was
 * dropped in is there with or without this.  Who watches says so: of a file that was written whole,
 * or renamed to its place; of one that cannot be used, and why; of one whose code is loaded, and
 * stays until the program is started again; and of one that is gone. */
#ifndef CORE_WATCH_H
#define CORE_WATCH_H

#include "conf.h"

/* If conf says so, from the first time on: by a thread, which ends with the process.  A child of
 * fork() has none.  That it cannot be done is a warning. [any] */
void watch_begin(const struct conf *conf);

#endif
