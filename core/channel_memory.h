/* channel_memory.h - what a channel's two ends share: a memfd with some words, and a ring of bytes
 * in each direction.
 *
 * It is as long as it will ever be, and takes memory where it was used. */
#ifndef CORE_CHANNEL_MEMORY_H
#define CORE_CHANNEL_MEMORY_H

#include "ring.h"
#include "wire_batch.h"

enum {
	CHANNEL_LAYOUT = 2, /* of this struct: another one cannot be served */
	CHANNEL_WORDS = 64 * 1024, /* whole pages on any machine */
	CHANNEL_TO_WORKER = 4 << 20,
	CHANNEL_FROM_WORKER = 1 << 20,
	CHANNEL_STORY = 3072
};

struct channel_words {
	char mark[8]; /* "parloop" */
	uint32_t layout;
	uint32_t reserved;
	struct ring_words to_worker, from_worker;
	_Alignas(64) int32_t stopping; /* the parent's                                        */
	int32_t core; /* that it is on while it looks out for an answer, + 1; also its own     */
	int32_t moves; /* the worker from one core to another: it is not to begin meanwhile    */
	_Alignas(64) struct wire_now now; /* the worker's                                     */
	int32_t serves; /* also its own: it does not wait for something to do                 */
	_Alignas(64) uint32_t n_story;    /* bytes of what a dying worker says                */
	char story[CHANNEL_STORY];
};

_Static_assert(sizeof(struct channel_words) <= CHANNEL_WORDS, "the words have their place");

/* Mapped here. */
struct channel_memory {
	struct channel_words *words;

	/* Each twice in a row, and then zeros: a text that loses its end while it is looked at
	 * ends there. */
	char *to_worker, *from_worker;
};

/* A new one: its descriptor, sealed; or an error. */
int channel_memory_create(par_error *error);

/* Map one, of which the mark says that it is one; a worker checks that, since it may be of another
 * version.  It is not there in a child of fork(), unless that inherits it: a task may fork, and what
 * it was given lies there. */
int32_t channel_memory_map(struct channel_memory *memory, int fd, par_error *error);
void channel_memory_inherit(const struct channel_memory *memory);
int32_t channel_memory_check(const struct channel_memory *memory, par_error *error);
void channel_memory_unmap(struct channel_memory *memory);

#endif
