/* trust.h - may we run what this file says?  A file that names code is code. */
#ifndef CORE_TRUST_H
#define CORE_TRUST_H

#include <parloop/error.h>

/* Refuse a file that anybody could have written: it, or a folder above it, is
 * writable by all (a folder like /tmp, where only the owner may replace a file, is
 * not meant).  $PARLOOP_ALLOW_WORLD_WRITABLE=yes overrides that, for file systems that
 * show everything so.  What belongs to another user than root and this one, or, for root, may be
 * written by a group, is a warning, once; a program with more rights than its user refuses both.  PAR_EUNAVAIL, with file, reason and remedy; a file that
 * is not there is nobody's fault here. */
int32_t trust_check(const char *path, par_error *error);

#endif
