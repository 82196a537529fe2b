#include "results.h"

#include "arena.h"

static void describe(const struct slot *slot, uint64_t index, par_outcome *outcome)
{
	*outcome = (par_outcome){
		.size = sizeof(*outcome),
		.index = index,
		.bytes = slot_reply(slot),
		.n_bytes = slot->out_size,
		.payload = slot_payload(slot),
		.payload_bytes = slot->in_size,
	};
	if (__builtin_expect(slot->flags & SLOT_FAILED, 0)) {
		const struct slot_failure *failure = slot->out.pointer;

		outcome->status = PAR_EFAILED;
		outcome->bytes = NULL;
		outcome->n_bytes = 0;
		outcome->code = slot->flags & SLOT_OUT_ARENA ? failure->code : (int32_t)slot->out.inside;
		outcome->message = slot->flags & SLOT_OUT_ARENA ? failure->text : NULL;
	}
}

static void clear(struct results *results, struct call *call, struct slot *slot)
{
	/* Most hold nothing but themselves. */
	if (slot->flags == 0) {
		atomic_store_explicit(&slot->state, SLOT_FREE, memory_order_relaxed);
		return;
	}
	if (results->forget != NULL)
		results->forget(results->forget_arg, slot);
	ticket_forget(call, slot);
	slot_clear(slot);
}

static int is_silent(const struct results *results)
{
	return results->stopped ||
	       (results->cancelled != NULL &&
	        atomic_load_explicit(results->cancelled, memory_order_relaxed));
}

static void hand_out(struct results *results, struct call *call, struct slot *slot, uint64_t index)
{
	par_outcome outcome;

	if (results->sink != NULL && !is_silent(results)) {
		describe(slot, index, &outcome);
		results->in_sink = 1;
		if (results->sink(results->user, &outcome) != 0)
			results->stopped = 1;
		results->in_sink = 0;
	}
	results->delivered++;
	clear(results, call, slot);
}

static uint64_t deliver_ordered(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t before = results->delivered;

	while (results->oldest < taken && !is_silent(results)) {
		struct slot *slot = slots_at(&call->slots, results->oldest);

		if (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_DONE)
			break;
		hand_out(results, call, slot, results->oldest++);
	}
	return results->delivered - before;
}

/* The list comes newest first: turn it round, so that results come as they were over. */
static uint64_t reverse(struct call *call, uint64_t head)
{
	uint64_t reversed = 0;

	while (head > 0) {
		struct slot *slot = slots_at(&call->slots, head - 1);
		uint64_t above = atomic_load_explicit(&call->cursor.limit, memory_order_relaxed);
		uint64_t next = slot->flags & SLOT_CHAINED ? call_linked(above, slot->link) + 1 : 0;

		slot->link = (uint32_t)(reversed - 1);
		slot->flags = (uint8_t)(reversed > 0 ? slot->flags | SLOT_CHAINED : slot->flags & ~SLOT_CHAINED);
		reversed = head;
		head = next;
	}
	return reversed;
}

static uint64_t deliver_unordered(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t before = results->delivered, head = reverse(call, call_take_done(call));

	while (head > 0) {
		struct slot *slot = slots_at(&call->slots, head - 1);
		uint64_t next = slot->flags & SLOT_CHAINED ? call_linked(taken, slot->link) + 1 : 0;

		hand_out(results, call, slot, head - 1);
		head = next;
	}
	while (results->oldest < taken &&
	       atomic_load_explicit(&slots_at(&call->slots, results->oldest)->state,
	                            memory_order_relaxed) == SLOT_FREE)
		results->oldest++;
	return results->delivered - before;
}

uint64_t results_deliver(struct results *results, struct call *call, uint64_t taken)
{
	if (is_silent(results))
		return 0;
	return call->unordered ? deliver_unordered(results, call, taken)
	                       : deliver_ordered(results, call, taken);
}

void results_drop(struct results *results, struct call *call, uint64_t taken)
{
	for (; results->oldest < taken; results->oldest++) {
		struct slot *slot = slots_at(&call->slots, results->oldest);

		if (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_FREE)
			clear(results, call, slot);
	}
}

int results_overdue(struct results *results, uint64_t came, int pending, int64_t now_ns)
{
	if (came != results->seen || !pending) {
		results->seen = came;
		results->since_ns = now_ns;
	}
	return results->timeout_ns > 0 && pending && now_ns - results->since_ns >= results->timeout_ns;
}
