/* ring.h - a ring of bytes from one process to another, in memory that both map.
 *
 * One process puts in, one takes out.  The memory of the ring is mapped twice in a row, so that any
 * bytes that are in it, and any room, lie in one piece: frames are written and read where they
 * are.  An empty ring begins again at its first byte once some pages of it were in use, so that
 * few pages ever are.
 *
 * Who finds nothing to take out, or no room, says so before it sleeps, and looks once more; who
 * puts in or takes out looks at that word after it has.  Between the two, on either side, stands
 * a full barrier, so one of them sees the other, and only who sleeps needs to be woken.  How is
 * the caller's business.
 *
 * Each side believes its own numbers only.  What the other one says is checked against them.  They
 * are multiples of 8, as the sizes of frames are, and so each frame is aligned. */
#ifndef CORE_RING_H
#define CORE_RING_H

#include <stddef.h>
#include <stdint.h>

/* In memory that both map; each line has one side that writes to it often. */
struct ring_words {
	_Alignas(64) uint64_t put; /* bytes that were ever put in                              */
	uint64_t base;             /* of them, before the ring last began at its first byte    */
	_Alignas(64) uint64_t taken;
	_Alignas(64) uint32_t sleeps;     /* who takes out does, until something is put in     */
	_Alignas(64) uint32_t wants_room; /* who puts in does, until something is taken out    */
};

/* One side of it. */
struct ring {
	struct ring_words *words;
	char *bytes;    /* 2 * size                                                            */
	uint64_t size;  /* a power of two, of whole pages                                      */
	uint64_t here;  /* our own number: bytes put in, or taken out                          */
	uint64_t there; /* the other side's, when we looked                                    */
	uint64_t base;  /* as above                                                            */
};

void ring_init(struct ring *ring, struct ring_words *words, char *bytes, uint64_t size);

/* --- putting in ---------------------------------------------------------------------------- */

/* Room for bytes, from *at on, to be written at once or as it comes.  Looks for more than is
 * known of only if there are not that many.  0; -1: what the other side says makes no sense. */
int ring_room(struct ring *ring, uint64_t wanted, char **at, uint64_t *room);

/* So many bytes of it are written.  1: the other side sleeps, and is to be woken. */
int ring_put(struct ring *ring, uint64_t n);

/* Begin to wait for room, or not any more.  1: there is some since we last looked, or never was
 * none. */
int ring_wait(struct ring *ring, int waits);

/* --- taking out ---------------------------------------------------------------------------- */

/* What there is, from *at on.  0; -1: what the other side says makes no sense. */
int ring_look(struct ring *ring, char **at, uint64_t *n);

/* So many bytes of it are not needed any more.  1: the other side waits for room, and is to be
 * woken. */
int ring_take(struct ring *ring, uint64_t n);

/* Begin to sleep, or not any more.  1: something is there. */
int ring_sleep(struct ring *ring, int sleeps);

#endif
