#include "slots.h"

#include "arena.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(sizeof(struct slot) == 32, "a queued task is to stay small");

int slots_init(struct slots *slots, uint64_t at_least, int grows)
{
	uint64_t base = 64;

	while (base < at_least && base < (uint64_t)1 << 40)
		base *= 2;
	memset(slots, 0, sizeof(*slots));
	slots->segments[0] = calloc(base, sizeof(struct slot));
	if (slots->segments[0] == NULL)
		return -1;
	slots->base = base;
	slots->capacity = base;
	slots->mask = grows ? UINT64_MAX : base - 1;
	return 0;
}

void slots_finish(struct slots *slots)
{
	for (int i = 0; i < SLOTS_SEGMENTS; i++)
		free(slots->segments[i]);
	memset(slots, 0, sizeof(*slots));
}

int slots_grow(struct slots *slots, uint64_t index)
{
	while ((index & slots->mask) >= slots->capacity) {
		unsigned segment = 64 - (unsigned)__builtin_clzll(slots->capacity / slots->base);

		if (segment >= SLOTS_SEGMENTS)
			return -1;
		slots->segments[segment] = calloc(slots->capacity, sizeof(struct slot));
		if (slots->segments[segment] == NULL)
			return -1;
		slots->capacity *= 2;
	}
	return 0;
}

void slot_clear(struct slot *slot)
{
	if (slot->flags & SLOT_IN_ARENA)
		arena_release(slot->in.pointer);
	if (slot->flags & SLOT_OUT_ARENA)
		arena_release(slot->out.pointer);
	slot->flags = 0;
	atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_release);
}
