#include "batch.h"

#include <stdlib.h>
#include <string.h>

enum { FREE, OUT, RUNNING, RETURNED /* while RUNNING */, DONE, STATE = 7, STATE_BITS = 3 };

int batch_table_init(struct batch_table *table, uint32_t n_places)
{
	memset(table, 0, sizeof(*table));
	table->places = calloc(n_places, sizeof(*table->places));
	if (table->places == NULL)
		return -1;
	table->n_places = n_places;
	for (uint32_t i = n_places; i-- > 0;) {
		/* Generation 0 is never out: a handle of 0 is nobody's. */
		atomic_init(&table->places[i].tag, 1 << STATE_BITS | FREE);
		table->places[i].next = table->spare;
		table->spare = &table->places[i];
	}
	return 0;
}

static void forget_how(struct batch *batch)
{
	free((void *)(uintptr_t)batch->how.host);
	free((void *)(uintptr_t)batch->how.text);
	batch->how.host = batch->how.text = NULL;
}

void batch_table_finish(struct batch_table *table)
{
	for (uint32_t i = 0; i < table->n_places; i++)
		forget_how(&table->places[i]);
	free(table->places);
	memset(table, 0, sizeof(*table));
}

static void set_state(struct batch *batch, unsigned state)
{
	uint64_t tag = atomic_load_explicit(&batch->tag, memory_order_relaxed);

	atomic_store_explicit(&batch->tag, (tag & ~(uint64_t)STATE) | state, memory_order_release);
}

struct batch *batch_open(struct batch_table *table)
{
	struct batch *batch = table->spare;

	if (batch == NULL)
		return NULL;
	table->spare = batch->next;
	table->n_out++;
	batch->next = NULL;
	batch->future = NULL;
	batch->quota = batch->ran = 0;
	batch->ran_ns = 0;
	batch->status = PAR_OK;
	batch->how = (struct par_how){.size = sizeof(batch->how), .worker = -1, .exit_code = -1};
	set_state(batch, OUT);
	return batch;
}

par_batch batch_handle(const struct batch_table *table, const struct batch *batch)
{
	uint64_t generation = atomic_load_explicit(&batch->tag, memory_order_relaxed) >> STATE_BITS;

	return (generation & UINT32_MAX) << 32 | (uint64_t)(batch - table->places);
}

void batch_close(struct batch_table *table, struct batch *batch)
{
	uint64_t generation = (atomic_load_explicit(&batch->tag, memory_order_relaxed) >> STATE_BITS) + 1;

	/* A handle keeps 32 bits of it, of which 0 is nobody's. */
	if ((generation & UINT32_MAX) == 0)
		generation++;
	forget_how(batch);
	atomic_store_explicit(&batch->tag, generation << STATE_BITS | FREE, memory_order_release);
	batch->next = table->spare;
	table->spare = batch;
	table->n_out--;
}

void batch_withdraw(struct batch_table *table, struct batch *batch)
{
	uint64_t tag = atomic_load_explicit(&batch->tag, memory_order_relaxed);
	unsigned after;

	do {
		if ((tag & STATE) != OUT && (tag & STATE) != RUNNING)
			return;
		/* DONE refuses who comes from here on, and is on no list. */
		after = (tag & STATE) == OUT ? DONE : RETURNED;
	} while (!atomic_compare_exchange_weak_explicit(&batch->tag, &tag,
	                                                (tag & ~(uint64_t)STATE) | after,
	                                                memory_order_acq_rel, memory_order_relaxed));
	if (after == DONE)
		batch_close(table, batch);
}

/* The place of a handle and its tag, if its generation is the one there now. */
static struct batch *place_of(struct batch_table *table, par_batch handle, uint64_t *tag)
{
	uint32_t place = (uint32_t)handle;

	if (place >= table->n_places)
		return NULL;
	*tag = atomic_load_explicit(&table->places[place].tag, memory_order_acquire);
	return (uint32_t)(*tag >> STATE_BITS) == handle >> 32 ? &table->places[place] : NULL;
}

struct batch *batch_begin(struct batch_table *table, par_batch handle)
{
	uint64_t tag;
	struct batch *batch = place_of(table, handle, &tag);

	if (batch != NULL && (tag & STATE) == OUT &&
	    atomic_compare_exchange_strong_explicit(&batch->tag, &tag, (tag & ~(uint64_t)STATE) | RUNNING,
	                                            memory_order_acq_rel, memory_order_relaxed))
		return batch;
	atomic_fetch_add_explicit(&table->refused, 1, memory_order_relaxed);
	return NULL;
}

static void push(struct batch_table *table, struct batch *batch)
{
	struct batch *head = atomic_load_explicit(&table->completed, memory_order_relaxed);

	do
		batch->next = head;
	while (!atomic_compare_exchange_weak_explicit(&table->completed, &head, batch,
	                                              memory_order_acq_rel, memory_order_relaxed));
}

int batch_end(struct batch_table *table, struct batch *batch)
{
	uint64_t tag = atomic_load_explicit(&batch->tag, memory_order_relaxed);

	for (;;) {
		unsigned after = (tag & STATE) == RETURNED ? DONE : OUT;

		if (!atomic_compare_exchange_weak_explicit(&batch->tag, &tag,
		                                           (tag & ~(uint64_t)STATE) | after,
		                                           memory_order_acq_rel, memory_order_relaxed))
			continue;
		if (after == DONE)
			push(table, batch);
		return after == DONE;
	}
}

/* Texts that there is no memory for are left out. */
static void keep_how(struct batch *batch, const par_how *how)
{
	/* The backend's may be a newer one. */
	memcpy(&batch->how, how, how->size < sizeof(*how) ? how->size : sizeof(*how));
	batch->how.size = sizeof(batch->how);
	batch->how.host = how->host != NULL ? strdup(how->host) : NULL;
	batch->how.text = how->text != NULL ? strdup(how->text) : NULL;
}

int batch_complete(struct batch_table *table, par_batch handle, int32_t status, const par_how *how)
{
	uint64_t tag;
	struct batch *batch = place_of(table, handle, &tag);
	unsigned after;

	do {
		if (batch == NULL || ((tag & STATE) != OUT && (tag & STATE) != RUNNING) ||
		    (uint32_t)(tag >> STATE_BITS) != handle >> 32) {
			atomic_fetch_add_explicit(&table->refused, 1, memory_order_relaxed);
			return -1;
		}
		after = (tag & STATE) == OUT ? DONE : RETURNED;
	} while (!atomic_compare_exchange_weak_explicit(&batch->tag, &tag,
	                                                (tag & ~(uint64_t)STATE) | after,
	                                                memory_order_acq_rel, memory_order_acquire));
	/* Given back while it runs: its worker may be at its end already, so hands off. */
	if (after == RETURNED)
		return 0;
	/* The winner alone writes; the loop reads after it took the list. */
	batch->status = status;
	if (how != NULL && PAR_HAS(how, text))
		keep_how(batch, how);
	push(table, batch);
	return 1;
}

struct batch *batch_find(struct batch_table *table, par_batch handle)
{
	uint64_t tag;
	struct batch *batch = place_of(table, handle, &tag);

	return batch != NULL && (tag & STATE) == OUT ? batch : NULL;
}

struct batch *batch_take_completed(struct batch_table *table)
{
	struct batch *batch, *oldest = NULL;

	if (!batch_has_completed(table))
		return NULL;
	batch = atomic_exchange_explicit(&table->completed, NULL, memory_order_acq_rel);
	while (batch != NULL) {
		struct batch *next = batch->next;

		batch->next = oldest;
		oldest = batch;
		batch = next;
	}
	return oldest;
}
