/* shared.h - memory that worker processes map: what the caller has allocated there, and copies of
 * what is large.
 *
 * Each piece is a memfd without a name, sealed against shrinking and growing so that nobody dies
 * of SIGBUS, with its pages reserved before anything is written.  It is an attachment, and goes
 * to each worker once.  Its id is never used again in this process, and not below 1 << 32, so that
 * there are some for attachments that are not made here.
 *
 * A child of fork() has no descriptor of ours.  What the caller has allocated it still sees, and
 * frees for itself; but its own calls find nothing of that, and copy it.  Copies it does not see,
 * and may only release. */
#ifndef CORE_SHARED_H
#define CORE_SHARED_H

#include "wire.h"

/* How workers see what they are given (joblib's mmap_mode), as in par_attachment: 'r' read-only;
 * 'r+' writable, and seen by the other workers; 'c' writable, and seen by nobody else.  ('w+' is
 * 'r+'.)  Or it is a copy for all tasks of a call whose bytes somebody else moves (parloop.encode/1):
 * without a descriptor, and no two have the same id. */
enum shared_mode { SHARED_READ, SHARED_WRITE, SHARED_PRIVATE, SHARED_BROADCAST };

/* What such a text means: 0, or -1: nothing. [any] */
int shared_parse_mode(const char *text, enum shared_mode *mode);

/* par_shared_alloc() and par_shared_free() of parloop.h are implemented here. */

/* Do all of these bytes lie in one buffer of par_shared_alloc()?  1: where, for workers that read
 * them.  The attachment is valid until that is freed.  Of no bytes: no.  Costs one load while there
 * is no such buffer. [any] */
int shared_find(const void *bytes, uint64_t n, struct wire_ref *ref,
                const par_attachment **attachment);

/* The same, for workers that write there: it is another attachment, so that one who only reads a
 * buffer cannot spoil it. [any] */
int shared_find_out(const void *bytes, uint64_t n, struct wire_ref *ref,
                    const par_attachment **attachment);

/* A copy of bytes, to be seen that way.  The attachment may be longer, and what follows in it is
 * anything.  Its pages are used again for the next copy once it is released: the same id then has
 * other bytes (but not SHARED_PRIVATE, where a worker that wrote would not see them, nor where
 * the bytes are moved).  NULL: not enough memory, and the error says so. [any] */
struct shared_copy;
struct shared_copy *shared_copy(const void *bytes, uint64_t n, enum shared_mode mode,
                                par_error *error);
const par_attachment *shared_copy_attachment(const struct shared_copy *copy);
void shared_release(struct shared_copy *copy); /* NULL is allowed. [any] */

/* Give back to the system what is kept for copies to come: at most 16, and 256 MiB.  It is done
 * where memory or descriptors run out, too. [any] */
void shared_shrink(void);

/* What was given back to the system since: workers that have it should let go of it, for until then
 * it takes memory.  The number changes whenever an attachment ends. [any] */
uint64_t shared_ended(void);
int shared_is_there(uint64_t id);

#endif
