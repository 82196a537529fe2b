/* slots.h - the tasks of a streamed call that are under way: payload and result, 32
 * bytes each.
 *
 * Task number i stands in slot i of a ring, or, where everything is taken before
 * anything is delivered ("all"), of a list that grows and never moves.  The
 * loop's thread fills a slot and publishes it through the cursor; who took it
 * runs it and sets DONE last; the loop's thread delivers it and frees it. */
#ifndef CORE_SLOTS_H
#define CORE_SLOTS_H

#include <stdatomic.h>
#include <stdint.h>

/* A task that is over its time is delivered before it is over, on a backend that cannot kill
 * it: its slot is free again once both have happened.
 *
 *   FREE -> READY -> DONE -> FREE
 *           READY -> OVERDUE -> HELD (in the sink) -> GONE -> FREE (by its worker, at last)
 *                    OVERDUE, HELD -> LEFT (by its worker) -> FREE (by the loop) */
enum slot_state {
	SLOT_FREE,
	SLOT_READY,
	SLOT_DONE,
	SLOT_OVERDUE,
	SLOT_HELD,
	SLOT_GONE,
	SLOT_LEFT
};

enum {
	SLOT_IN_ARENA = 1,  /* in.pointer is a piece of an arena       */
	SLOT_IN_STAYS = 2,  /* in.pointer is the caller's              */
	SLOT_OUT_ARENA = 4, /* out.pointer is a piece of an arena      */
	SLOT_FAILED = 8,    /* out is a struct slot_failure, or slot_bare_failure() */
	SLOT_CHAINED = 16,  /* link is the low half of another task's number  */
};

/* Up to this many bytes lie in the slot itself. */
enum { SLOT_INLINE = 8 };

union slot_bytes {
	uint64_t inside;
	void *pointer;
};

/* Why a task failed, in the arena, if there is something to say. */
struct slot_failure {
	int32_t status, code, attempts, worker;
	int32_t pid, signal, exit_code; /* of its worker, if that ended by it; else 0, 0, -1 */
	uint16_t message, type, trace, host; /* where each begins in text, + 1; 0: there is none */
	int64_t peak_memory;
	char text[];
};

/* The same in eight bytes, if there is not. */
static inline uint64_t slot_bare_failure(int32_t code, uint32_t worker, int32_t attempts)
{
	return (uint64_t)attempts << 52 | (uint64_t)worker << 32 | (uint32_t)code;
}

struct slot {
	union slot_bytes in, out;
	uint32_t in_size, out_size;
	uint32_t link;
	uint16_t task;
	uint8_t flags;
	_Atomic uint8_t state;
};

enum { SLOTS_SEGMENTS = 40 };

struct slots {
	struct slot *segments[SLOTS_SEGMENTS]; /* of base, base, 2 base, 4 base, ... slots */
	uint64_t base;                         /* a power of two */
	uint64_t capacity;                     /* of the segments that there are */
	uint64_t mask;                         /* ring: base - 1; list: all ones */
};

/* A ring of at least that many slots, or a list that begins with as many.  0, or -1 if
 * there is no memory. */
int slots_init(struct slots *slots, uint64_t at_least, int grows);
void slots_finish(struct slots *slots);

/* List: have slot number index.  0, or -1 if there is no memory. [loop] */
int slots_grow(struct slots *slots, uint64_t index);
static inline int slots_reach(struct slots *slots, uint64_t index)
{
	return __builtin_expect((index & slots->mask) < slots->capacity, 1) ? 0
	                                                                     : slots_grow(slots, index);
}

static inline struct slot *slots_at(const struct slots *slots, uint64_t index)
{
	uint64_t place = index & slots->mask, n;
	unsigned segment;

	if (__builtin_expect(place < slots->base, 1))
		return &slots->segments[0][place];
	n = place / slots->base;
	segment = 64 - (unsigned)__builtin_clzll(n);
	return &slots->segments[segment][place - (slots->base << (segment - 1))];
}

static inline const void *slot_payload(const struct slot *slot)
{
	return slot->flags & (SLOT_IN_ARENA | SLOT_IN_STAYS) ? slot->in.pointer : (const void *)&slot->in;
}

static inline const void *slot_reply(const struct slot *slot)
{
	return slot->flags & SLOT_OUT_ARENA ? slot->out.pointer : (const void *)&slot->out;
}

/* Give back what it holds of arenas, and free it.  By the loop, or the worker of a task that
 * is GONE. */
void slot_clear(struct slot *slot);

#endif
