/* probe.h - a plugin that was never seen is loaded in a process of its own first.
 *
 * What its constructors and its factory do there hurts nobody: they may crash, hang, print or end
 * the process.  That it went well is remembered, for this very file and this version of parloop;
 * that it did not never is. */
#ifndef CORE_PROBE_H
#define CORE_PROBE_H

#include <parloop/error.h>

enum probe_mode {
	PROBE_AUTO,  /* what did not come with parloop, and is not remembered */
	PROBE_ALWAYS,
	PROBE_NEVER
};

/* "auto", "always" or "never"; -1: it is none of them. */
int probe_parse_mode(const char *text, enum probe_mode *mode);

/* May this file, which has that backend, be loaded here?  PAR_EUNAVAIL says what happened; what
 * the core would refuse in it anyhow is not asked.  Takes some milliseconds, and 5 s at most. [any] */
int32_t probe_file(enum probe_mode mode, const char *path, const char *name, par_error *error);

#endif
