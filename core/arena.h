/* arena.h - room for payloads and replies that travel together.
 *
 * One thread at a time allocates from an arena; any thread may release what came
 * from it, in any order, also after the arena was finished.  Small pieces share
 * a block, which is freed when its last piece is released; a large piece has a
 * block of its own.  A block begins at a multiple of its nominal size, so a
 * piece finds its block by its address, and the count of pieces is written
 * only when the arena leaves the block, not at each allocation. */
#ifndef CORE_ARENA_H
#define CORE_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct arena {
	struct arena_block *block;
	size_t used;
	int64_t given;
};

static inline void arena_init(struct arena *arena)
{
	*arena = (struct arena){NULL, 0, 0};
}

/* size bytes, aligned for anything; NULL: no memory. */
void *arena_alloc(struct arena *arena, size_t size);

/* Leave the current block to those who hold pieces of it. */
void arena_finish(struct arena *arena);

/* One more holder; one less.  NULL is allowed. [any] */
void arena_hold(const void *piece);
void arena_release(const void *piece);

#endif
