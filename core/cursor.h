/* cursor.h - who does which part of a loop: ranges that workers claim and share.
 *
 * Work is numbered from 0 in units; units below the limit are published.  Each
 * worker sits on a seat.  It claims a chunk from the common front (guided: a
 * share of what is left), takes pieces off its chunk, and when nothing is left
 * in front steals half of somebody else's chunk.  So a worker never holds more
 * than one piece that nobody else could do, whatever the chunk was.
 *
 * States of a unit: published (next <= u < limit), claimed (in one seat's range),
 * taken (returned by cursor_take, exactly once).  A range is one 64-bit word,
 * the low 32 bits of its two ends, so that owner and thief settle by one
 * compare-and-swap.  The word could only repeat within one stalled steal if
 * 2^32 units went by meanwhile.
 */
#ifndef CORE_CURSOR_H
#define CORE_CURSOR_H

#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>

#define CACHE_LINE 64

/* The most units that may be published and not yet taken. */
#define CURSOR_SPAN ((uint64_t)1 << 31)

struct cursor_seat {
	alignas(CACHE_LINE) _Atomic uint64_t range;
	_Atomic uint32_t occupied;
};

struct cursor {
	alignas(CACHE_LINE) _Atomic uint64_t limit; /* written by the loop's thread */
	alignas(CACHE_LINE) _Atomic uint64_t next;  /* the common front */
	alignas(CACHE_LINE) struct cursor_seat *seats;
	uint32_t n_seats;
	_Atomic uint32_t left; /* somebody got up from a seat with work in it, or is stuck there */
};

/* Room for that many seats; 0, or -1 if there is no memory. */
int cursor_init(struct cursor *cursor, uint32_t n_seats);
void cursor_finish(struct cursor *cursor);

/* Start over with limit 0; nobody may sit on a seat. [loop] */
void cursor_reset(struct cursor *cursor);

/* Publish the units below limit; what was written before is seen by who takes them. [loop] */
static inline void cursor_extend(struct cursor *cursor, uint64_t limit)
{
	atomic_store_explicit(&cursor->limit, limit, memory_order_release);
}

/* Sit down; the seat's number, or -1 if all are taken.  Get up again: what is left of
 * the chunk stays for others to steal. [any] */
int32_t cursor_sit(struct cursor *cursor);
void cursor_leave(struct cursor *cursor, uint32_t seat);

/* Who sits there is stuck with what was taken last: what is left of the chunk waits for others
 * to steal, until the occupant says that it is not stuck any more, or gets up.  [any] */
void cursor_set_stuck(struct cursor *cursor, uint32_t seat, int is_stuck);

/* Take up to want consecutive units, from *first; 0: nothing left to take now. [seat] */
uint32_t cursor_take(struct cursor *cursor, uint32_t seat, uint32_t want, uint64_t *first);

/* Take them from the front, without a seat: for who sends them elsewhere. [any] */
uint32_t cursor_take_front(struct cursor *cursor, uint32_t want, uint64_t *first);

/* Units published that nobody claimed. [any] */
static inline uint64_t cursor_unclaimed(const struct cursor *cursor)
{
	uint64_t next = atomic_load_explicit(&cursor->next, memory_order_relaxed);
	uint64_t limit = atomic_load_explicit(&cursor->limit, memory_order_relaxed);

	return limit > next ? limit - next : 0;
}

/* Units that wait for somebody to come: unclaimed, or in a seat where nobody sits who could do
 * them. [any] */
uint64_t cursor_waiting(const struct cursor *cursor);

/* Units that somebody who works has claimed and not taken: another could have them. [any] */
uint64_t cursor_claimed(const struct cursor *cursor);

/* Is there anything left to take?  Exact once nobody sits. [any] */
int cursor_is_dry(const struct cursor *cursor);

#endif
