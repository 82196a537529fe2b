#include "arena.h"

#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { BLOCK = 32 * 1024, LARGE = BLOCK / 4 };

/* While an arena fills a block, its count stands this much too high, so that releases
 * cannot bring it to zero. */
#define FILLING ((int64_t)1 << 40)

struct arena_block {
	alignas(64) _Atomic int64_t holders;
};

static struct arena_block *block_of(const void *piece)
{
	return (struct arena_block *)((uintptr_t)piece & ~(uintptr_t)(BLOCK - 1));
}

static struct arena_block *block_create(size_t room, int64_t holders)
{
	struct arena_block *block;
	size_t size = (sizeof(*block) + room + 63) & ~(size_t)63;

	if (size < room)
		return NULL;
	/* posix_memalign has no rule about multiples, unlike aligned_alloc. */
	if (posix_memalign((void **)&block, BLOCK, size) != 0)
		return NULL;
	atomic_init(&block->holders, holders);
	return block;
}

static void drop(struct arena_block *block, int64_t n)
{
	if (atomic_fetch_sub_explicit(&block->holders, n, memory_order_acq_rel) == n)
		free(block);
}

void *arena_alloc(struct arena *arena, size_t size)
{
	char *piece;

	if (size > LARGE) {
		struct arena_block *block = block_create(size, 1);

		return block != NULL ? block + 1 : NULL;
	}
	/* At least 16, or an empty piece could lie on the next block's address. */
	size = size > 0 ? (size + 15) & ~(size_t)15 : 16;
	if (arena->block == NULL || arena->used + size > BLOCK) {
		struct arena_block *block = block_create(BLOCK - sizeof(*block), FILLING);

		if (block == NULL)
			return NULL;
		arena_finish(arena);
		arena->block = block;
		arena->used = sizeof(*block);
	}
	piece = (char *)arena->block + arena->used;
	arena->used += size;
	arena->given++;
	return piece;
}

void arena_finish(struct arena *arena)
{
	if (arena->block != NULL)
		drop(arena->block, FILLING - arena->given);
	arena_init(arena);
}

void arena_hold(const void *piece)
{
	if (piece != NULL)
		atomic_fetch_add_explicit(&block_of(piece)->holders, 1, memory_order_relaxed);
}

void arena_release(const void *piece)
{
	if (piece != NULL)
		drop(block_of(piece), 1);
}
