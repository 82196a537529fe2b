#include "cursor.h"

#include <stdlib.h>
#include <string.h>

/* Of a seat. */
enum { VACANT, OCCUPIED, STUCK };

static uint64_t range_of(uint64_t low, uint64_t high)
{
	return (low & UINT32_MAX) << 32 | (high & UINT32_MAX);
}

static uint32_t range_low(uint64_t range)
{
	return (uint32_t)(range >> 32);
}

/* The difference is right also where the 32 bits wrapped. */
static uint32_t range_length(uint64_t range)
{
	return (uint32_t)range - (uint32_t)(range >> 32);
}

/* The whole number of a unit, of which a range keeps 32 bits: the newest one below the
 * front that ends in them. */
static uint64_t widen(const struct cursor *cursor, uint32_t low)
{
	uint64_t next = atomic_load_explicit(&cursor->next, memory_order_relaxed);

	return next - (uint32_t)((uint32_t)next - low);
}

int cursor_init(struct cursor *cursor, uint32_t n_seats)
{
	size_t size = n_seats * sizeof(struct cursor_seat);

	memset(cursor, 0, sizeof(*cursor));
	cursor->seats = aligned_alloc(CACHE_LINE, size);
	if (cursor->seats == NULL)
		return -1;
	cursor->n_seats = n_seats;
	memset(cursor->seats, 0, size);
	return 0;
}

void cursor_finish(struct cursor *cursor)
{
	free(cursor->seats);
	cursor->seats = NULL;
}

void cursor_reset(struct cursor *cursor)
{
	atomic_store_explicit(&cursor->limit, 0, memory_order_relaxed);
	atomic_store_explicit(&cursor->next, 0, memory_order_relaxed);
	atomic_store_explicit(&cursor->left, 0, memory_order_relaxed);
	for (uint32_t i = 0; i < cursor->n_seats; i++)
		atomic_store_explicit(&cursor->seats[i].range, 0, memory_order_relaxed);
}

int32_t cursor_sit(struct cursor *cursor)
{
	for (uint32_t i = 0; i < cursor->n_seats; i++) {
		uint32_t vacant = VACANT;

		if (atomic_load_explicit(&cursor->seats[i].occupied, memory_order_relaxed) == VACANT &&
		    atomic_compare_exchange_strong_explicit(&cursor->seats[i].occupied, &vacant, OCCUPIED,
		                                            memory_order_acquire, memory_order_relaxed))
			return (int32_t)i;
	}
	return -1;
}

void cursor_leave(struct cursor *cursor, uint32_t seat)
{
	uint64_t range = atomic_load_explicit(&cursor->seats[seat].range, memory_order_relaxed);

	atomic_store_explicit(&cursor->seats[seat].occupied, VACANT, memory_order_release);
	if (range_length(range) > 0)
		atomic_store_explicit(&cursor->left, 1, memory_order_release);
}

void cursor_set_stuck(struct cursor *cursor, uint32_t seat, int is_stuck)
{
	uint32_t was = is_stuck ? OCCUPIED : STUCK;

	if (atomic_compare_exchange_strong_explicit(&cursor->seats[seat].occupied, &was,
	                                            is_stuck ? STUCK : OCCUPIED, memory_order_acq_rel,
	                                            memory_order_relaxed) &&
	    is_stuck)
		atomic_store_explicit(&cursor->left, 1, memory_order_release);
}

/* In seats where somebody works, or in the others. */
static uint64_t in_seats(const struct cursor *cursor, int of_who_works)
{
	uint64_t units = 0;

	for (uint32_t i = 0; i < cursor->n_seats; i++)
		if ((atomic_load_explicit(&cursor->seats[i].occupied, memory_order_acquire) ==
		     OCCUPIED) == of_who_works)
			units += range_length(atomic_load_explicit(&cursor->seats[i].range,
			                                           memory_order_relaxed));
	return units;
}

uint64_t cursor_waiting(const struct cursor *cursor)
{
	uint64_t left = 0;

	if (atomic_load_explicit(&cursor->left, memory_order_acquire))
		left = in_seats(cursor, 0);
	return cursor_unclaimed(cursor) + left;
}

uint64_t cursor_claimed(const struct cursor *cursor)
{
	return in_seats(cursor, 1);
}

static uint32_t take_own(struct cursor *cursor, uint32_t seat, uint32_t want, uint64_t *first)
{
	_Atomic uint64_t *own = &cursor->seats[seat].range;
	uint64_t range = atomic_load_explicit(own, memory_order_relaxed);

	while (range_length(range) > 0) {
		uint32_t n = range_length(range) < want ? range_length(range) : want;
		uint64_t rest = range_of(range_low(range) + (uint64_t)n, range);

		/* Acquire: what is left of a chunk of another occupant of this seat. */
		if (atomic_compare_exchange_weak_explicit(own, &range, rest, memory_order_acq_rel,
		                                          memory_order_relaxed)) {
			*first = widen(cursor, range_low(range));
			return n;
		}
	}
	return 0;
}

/* Own a chunk, and take the first piece of it.  Nobody else writes an empty range. */
static uint32_t settle(struct cursor *cursor, uint32_t seat, uint64_t low, uint64_t n, uint32_t want,
                       uint64_t *first)
{
	uint32_t piece = n < want ? (uint32_t)n : want;

	atomic_store_explicit(&cursor->seats[seat].range, range_of(low + piece, low + n),
	                      memory_order_release);
	*first = low;
	return piece;
}

static uint32_t take_chunk(struct cursor *cursor, uint32_t seat, uint32_t want, uint64_t *first)
{
	uint64_t next = atomic_load_explicit(&cursor->next, memory_order_relaxed);
	uint64_t limit, left, chunk;

	do {
		limit = atomic_load_explicit(&cursor->limit, memory_order_acquire);
		if (next >= limit)
			return 0;
		left = limit - next;
		chunk = left / (2 * (uint64_t)cursor->n_seats);
		chunk = chunk < want ? want : chunk;
		chunk = chunk > left ? left : chunk;
	} while (!atomic_compare_exchange_weak_explicit(&cursor->next, &next, next + chunk,
	                                                memory_order_acq_rel, memory_order_relaxed));
	return settle(cursor, seat, next, chunk, want, first);
}

uint32_t cursor_take_front(struct cursor *cursor, uint32_t want, uint64_t *first)
{
	uint64_t next = atomic_load_explicit(&cursor->next, memory_order_relaxed), left, n;

	do {
		left = atomic_load_explicit(&cursor->limit, memory_order_acquire);
		left = left > next ? left - next : 0;
		n = left < want ? left : want;
	} while (n > 0 && !atomic_compare_exchange_weak_explicit(&cursor->next, &next, next + n,
	                                                         memory_order_acq_rel,
	                                                         memory_order_relaxed));
	*first = next;
	return (uint32_t)n;
}

/* The upper half of somebody's chunk, the whole if it is one unit. */
static uint32_t steal(struct cursor *cursor, uint32_t seat, uint32_t want, uint64_t *first)
{
	for (uint32_t i = 1; i < cursor->n_seats; i++) {
		_Atomic uint64_t *victim = &cursor->seats[(seat + i) % cursor->n_seats].range;
		uint64_t range = atomic_load_explicit(victim, memory_order_relaxed);

		while (range_length(range) > 0) {
			uint32_t n = (range_length(range) + 1) / 2;
			uint64_t middle = (uint32_t)range - (uint64_t)n;

			if (atomic_compare_exchange_weak_explicit(
			            victim, &range, range_of(range_low(range), middle),
			            memory_order_acq_rel, memory_order_relaxed))
				return settle(cursor, seat, widen(cursor, (uint32_t)middle), n, want,
				              first);
		}
	}
	return 0;
}

uint32_t cursor_take(struct cursor *cursor, uint32_t seat, uint32_t want, uint64_t *first)
{
	uint32_t n = take_own(cursor, seat, want, first);

	if (n == 0)
		n = take_chunk(cursor, seat, want, first);
	return n > 0 ? n : steal(cursor, seat, want, first);
}

int cursor_is_dry(const struct cursor *cursor)
{
	if (cursor_unclaimed(cursor) > 0)
		return 0;
	for (uint32_t i = 0; i < cursor->n_seats; i++)
		if (range_length(atomic_load_explicit(&cursor->seats[i].range,
		                                      memory_order_relaxed)) > 0)
			return 0;
	return 1;
}
