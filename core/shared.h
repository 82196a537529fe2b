/* shared.h - memory that worker processes map: what the caller has allocated there, and copies of
 * what is large.
 *
 * Each piece is a memfd without a name, sealed against shrinking and growing so that nobody dies
 * of SIGBUS, with its pages reserved before anything is written.  It is an attachment, and goes
 * to each worker once.  Ids are never used again in this process. */
#ifndef CORE_SHARED_H
#define CORE_SHARED_H

#include "wire.h"

/* How workers see what they are given (joblib's mmap_mode): 'r' read-only; 'r+' writable, and
 * seen by the other workers; 'c' writable, and seen by nobody else.  ('w+' is 'r+'.) */
enum shared_mode { SHARED_READ, SHARED_WRITE, SHARED_PRIVATE };

/* par_shared_alloc() and par_shared_free() of parloop.h are implemented here. */

/* Do all of these bytes lie in one buffer of par_shared_alloc()?  1: where.  The attachment is
 * valid until that is freed. [any] */
int shared_find(const void *bytes, uint64_t n, struct wire_ref *ref,
                const par_attachment **attachment);

/* A copy of bytes, to be seen that way.  Its pages are used again for the next copy once it is
 * released: the same id then has other bytes.  NULL: not enough memory, and the error says so.
 * [any] */
struct shared_copy;
struct shared_copy *shared_copy(const void *bytes, uint64_t n, enum shared_mode mode, par_error *error);
const par_attachment *shared_copy_attachment(const struct shared_copy *copy);
void shared_release(struct shared_copy *copy); /* NULL is allowed. [any] */

/* What was given back to the system since: workers that have it may let go of it.  The number
 * changes whenever an attachment ends. [any] */
uint64_t shared_ended(void);
int shared_is_there(uint64_t id);

#endif
