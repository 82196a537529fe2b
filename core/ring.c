#include "ring.h"

/* So many bytes are put in before an empty ring begins again.  Whether it is empty can only be told
 * from a line that the other side has just written to, so that is not asked each time. */
enum { BEGINS_AGAIN = 16 * 1024 };

void ring_init(struct ring *ring, struct ring_words *words, char *bytes, uint64_t size)
{
	*ring = (struct ring){.words = words, .bytes = bytes, .size = size};
}

/* A full barrier comes with it: what was written before it is seen by who reads the word after a
 * barrier of its own, or we see what it wrote before that. */
static void publish(uint64_t *word, uint64_t value)
{
	(void)__atomic_exchange_n(word, value, __ATOMIC_SEQ_CST);
}

/* Has the other side set this word?  It is to be woken once. */
static int is_to_be_woken(uint32_t *word)
{
	return __atomic_load_n(word, __ATOMIC_SEQ_CST) != 0 &&
	       __atomic_exchange_n(word, 0, __ATOMIC_SEQ_CST) != 0;
}

/* --- putting in ------------------------------------------------------------------------------ */

static int look_at_taken(struct ring *ring)
{
	uint64_t taken = __atomic_load_n(&ring->words->taken, __ATOMIC_SEQ_CST);

	/* It grows, and not beyond what was put in. */
	if (taken - ring->there > ring->here - ring->there || taken % 8 != 0)
		return -1;
	ring->there = taken;
	return 0;
}

/* Whoever takes out reads the base only when there is something to take out, and then it is that
 * of what is there: it changes only while there is nothing. */
static void begin_again(struct ring *ring)
{
	ring->base = ring->here;
	__atomic_store_n(&ring->words->base, ring->base, __ATOMIC_RELAXED);
}

int ring_room(struct ring *ring, uint64_t wanted, char **at, uint64_t *room)
{
	const int is_far = ring->here - ring->base >= BEGINS_AGAIN;

	if ((is_far || ring->size - (ring->here - ring->there) < wanted) && look_at_taken(ring) < 0)
		return -1;
	if (is_far && ring->there == ring->here)
		begin_again(ring);
	*at = ring->bytes + ((ring->here - ring->base) & (ring->size - 1));
	*room = ring->size - (ring->here - ring->there);
	return 0;
}

int ring_put(struct ring *ring, uint64_t n)
{
	ring->here += n;
	publish(&ring->words->put, ring->here);
	return is_to_be_woken(&ring->words->sleeps);
}

int ring_wait(struct ring *ring, int waits)
{
	(void)__atomic_exchange_n(&ring->words->wants_room, (uint32_t)waits, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&ring->words->taken, __ATOMIC_SEQ_CST) != ring->there ||
	       ring->here - ring->there < ring->size;
}

/* --- taking out ------------------------------------------------------------------------------ */

int ring_look(struct ring *ring, char **at, uint64_t *n)
{
	uint64_t put = __atomic_load_n(&ring->words->put, __ATOMIC_ACQUIRE);

	if (put - ring->here > ring->size || put % 8 != 0)
		return -1;
	if (put != ring->here)
		ring->base = __atomic_load_n(&ring->words->base, __ATOMIC_RELAXED) & ~UINT64_C(7);
	ring->there = put;
	*at = ring->bytes + ((ring->here - ring->base) & (ring->size - 1));
	*n = put - ring->here;
	return 0;
}

int ring_take(struct ring *ring, uint64_t n)
{
	ring->here += n;
	publish(&ring->words->taken, ring->here);
	return is_to_be_woken(&ring->words->wants_room);
}

int ring_sleep(struct ring *ring, int sleeps)
{
	(void)__atomic_exchange_n(&ring->words->sleeps, (uint32_t)sleeps, __ATOMIC_SEQ_CST);
	return __atomic_load_n(&ring->words->put, __ATOMIC_SEQ_CST) != ring->here;
}
