#include "results.h"

#include "arena.h"

#include <stdlib.h>

static const char *text_at(const struct slot_failure *failure, uint16_t at)
{
	return at > 0 ? failure->text + at - 1 : NULL;
}

static void describe_failure(const struct slot *slot, par_outcome *outcome)
{
	const struct slot_failure *failure = slot->out.pointer;
	uint64_t bare = slot->out.inside;

	outcome->bytes = NULL;
	outcome->n_bytes = 0;
	if (!(slot->flags & SLOT_OUT_ARENA)) {
		outcome->status = PAR_EFAILED;
		outcome->code = (int32_t)(uint32_t)bare;
		outcome->worker = (int32_t)(bare >> 32 & 0xfffff);
		outcome->attempts = (int32_t)(bare >> 52);
	} else {
		outcome->status = failure->status;
		outcome->code = failure->code;
		outcome->worker = failure->worker;
		outcome->attempts = failure->attempts;
		outcome->message = text_at(failure, failure->message);
		outcome->type = text_at(failure, failure->type);
		outcome->trace = text_at(failure, failure->trace);
		outcome->host = text_at(failure, failure->host);
		outcome->pid = failure->pid;
		outcome->signal = failure->signal;
		outcome->exit_code = failure->exit_code;
		outcome->peak_memory = failure->peak_memory;
	}
	if (outcome->type == NULL)
		outcome->type = par_code_name(outcome->status);
}

static const par_outcome success = {.size = sizeof(success), .worker = -1, .exit_code = -1};

/* Of a success only so much is different from one to the next. */
static void describe(const struct slot *slot, uint64_t index, par_outcome *outcome)
{
	if (__builtin_expect(outcome->status != PAR_OK || outcome->size == 0, 0))
		*outcome = success;
	outcome->index = index;
	outcome->bytes = slot_reply(slot);
	outcome->n_bytes = slot->out_size;
	outcome->payload = slot_payload(slot);
	outcome->payload_bytes = slot->in_size;
	if (__builtin_expect(slot->flags & SLOT_FAILED, 0)) {
		*outcome = (par_outcome){.size = sizeof(*outcome), .index = index, .payload = outcome->payload,
		                         .payload_bytes = outcome->payload_bytes, .exit_code = -1};
		describe_failure(slot, outcome);
	}
}

static void describe_overdue(const struct results *results, const struct slot *slot,
                             const struct overdue *overdue, par_outcome *outcome)
{
	*outcome = (par_outcome){
		.size = sizeof(*outcome),
		.status = PAR_ETIMEOUT,
		.index = overdue->index,
		.payload = slot_payload(slot),
		.payload_bytes = slot->in_size,
		.message = results->late,
		.type = par_code_name(PAR_ETIMEOUT),
		.worker = overdue->worker,
		.attempts = overdue->attempts,
		.exit_code = -1,
	};
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
	call_forget(call, slot);
	slot_clear(slot);
}

/* It is delivered; its worker frees the slot if it still runs the task. */
static void clear_held(struct results *results, struct slot *slot)
{
	uint8_t was = SLOT_HELD;

	if (results->forget != NULL)
		results->forget(results->forget_arg, slot);
	if (!atomic_compare_exchange_strong_explicit(&slot->state, &was, SLOT_GONE, memory_order_acq_rel,
	                                             memory_order_acquire))
		slot_clear(slot);
}

static int is_silent(const struct results *results)
{
	return results->stopped ||
	       (results->cancelled != NULL &&
	        atomic_load_explicit(results->cancelled, memory_order_relaxed));
}

/* No more results now: nobody wants any, or an iterator holds one. */
static int is_full(const struct results *results)
{
	return results->holds || is_silent(results);
}

static void give_to_sink(struct results *results)
{
	results->in_sink = 1;
	if (results->sink(results->user, &results->outcome) != 0)
		results->stopped = 1;
	results->in_sink = 0;
}

static void finish(struct results *results, struct call *call, struct slot *slot)
{
	uint8_t state = atomic_load_explicit(&slot->state, memory_order_relaxed);

	results->delivered++;
	if (__builtin_expect(state == SLOT_HELD || state == SLOT_LEFT, 0))
		clear_held(results, slot);
	else
		clear(results, call, slot);
}

static int is_wanted(const struct results *results, int failed)
{
	return (results->sink != NULL || results->is_pulled) && !is_silent(results) &&
	       !(failed && results->leaves_out_failed);
}

/* It is in outcome; an iterator keeps it there, and its slot, until it is let go. */
static void give(struct results *results, struct call *call, struct slot *slot, uint64_t index)
{
	if (__builtin_expect(results->is_pulled, 0)) {
		results->holds = 1;
		results->held = index;
		return;
	}
	give_to_sink(results);
	finish(results, call, slot);
}

/* Its worker told who watches before it said that the task is over, so that is told first. */
static void tell_events(struct call *call)
{
	if (__builtin_expect(call->is_single, 0))
		events_hand_out(&call->events);
}

static void hand_out(struct results *results, struct call *call, struct slot *slot, uint64_t index)
{
	tell_events(call);
	if (__builtin_expect(!is_wanted(results, slot->flags & SLOT_FAILED), 0)) {
		finish(results, call, slot);
		return;
	}
	describe(slot, index, &results->outcome);
	give(results, call, slot, index);
}

static void hand_out_overdue(struct results *results, struct call *call, struct slot *slot,
                             const struct overdue *overdue)
{
	tell_events(call);
	if (!is_wanted(results, 1)) {
		finish(results, call, slot);
		return;
	}
	describe_overdue(results, slot, overdue, &results->outcome);
	give(results, call, slot, overdue->index);
}

void results_let_go(struct results *results, struct call *call)
{
	if (!results->holds)
		return;
	results->holds = 0;
	finish(results, call, slots_at(&call->slots, results->held));
}

/* --- tasks that are over their time --------------------------------------------------------- */

int results_reserve(struct results *results)
{
	uint32_t room = results->room_overdue > 0 ? 2 * results->room_overdue : 16;
	struct overdue *more;

	if (results->n_overdue < results->room_overdue)
		return 0;
	more = realloc(results->overdue, room * sizeof(*more));
	if (more == NULL)
		return -1;
	results->overdue = more;
	results->room_overdue = room;
	return 0;
}

void results_expire(struct results *results, struct call *call, const struct call_failure *failure)
{
	struct slot *slot = slots_at(&call->slots, failure->index);

	results->n_expired++;
	results->overdue[results->n_overdue++] =
		(struct overdue){failure->index, failure->worker, failure->attempts};
	atomic_store_explicit(&slot->state, SLOT_OVERDUE, memory_order_release);
}

static void deliver_overdue(struct results *results, struct call *call, uint32_t which)
{
	struct overdue overdue = results->overdue[which];
	struct slot *slot = slots_at(&call->slots, overdue.index);
	uint8_t was = SLOT_OVERDUE;

	results->overdue[which] = results->overdue[--results->n_overdue];
	/* If this fails, its worker has come back, and left the slot to us. */
	(void)atomic_compare_exchange_strong_explicit(&slot->state, &was, SLOT_HELD,
	                                              memory_order_acq_rel, memory_order_acquire);
	hand_out_overdue(results, call, slot, &overdue);
}

static void deliver_overdue_number(struct results *results, struct call *call, uint64_t index)
{
	for (uint32_t i = 0; i < results->n_overdue; i++)
		if (results->overdue[i].index == index) {
			deliver_overdue(results, call, i);
			return;
		}
}

void results_finish(struct results *results)
{
	free(results->overdue);
	results->overdue = NULL;
	results->n_overdue = results->room_overdue = 0;
}

/* --- in order ---------------------------------------------------------------------------------- */

static uint64_t deliver_ordered(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t before = results->delivered;

	while (results->oldest < taken && !is_full(results)) {
		struct slot *slot = slots_at(&call->slots, results->oldest);
		uint8_t state = atomic_load_explicit(&slot->state, memory_order_acquire);

		if (__builtin_expect(state == SLOT_OVERDUE || state == SLOT_LEFT, 0))
			deliver_overdue_number(results, call, results->oldest++);
		else if (state == SLOT_DONE)
			hand_out(results, call, slot, results->oldest++);
		else
			break;
	}
	return results->delivered - before;
}

/* --- as they are over --------------------------------------------------------------------------- */

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

static void deliver_listed(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t head = results->listed;

	while (head > 0 && !results->holds) {
		struct slot *slot = slots_at(&call->slots, head - 1);
		uint64_t next = slot->flags & SLOT_CHAINED ? call_linked(taken, slot->link) + 1 : 0;

		hand_out(results, call, slot, head - 1);
		head = next;
	}
	results->listed = head;
}

static uint64_t deliver_unordered(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t before = results->delivered;

	while (results->n_overdue > 0 && !is_full(results))
		deliver_overdue(results, call, 0);
	if (results->listed > 0)
		deliver_listed(results, call, taken);
	if (results->listed == 0 && !results->holds) {
		results->listed = reverse(call, call_take_done(call));
		deliver_listed(results, call, taken);
	}
	while (results->oldest < taken &&
	       atomic_load_explicit(&slots_at(&call->slots, results->oldest)->state,
	                            memory_order_acquire) == SLOT_FREE)
		results->oldest++;
	return results->delivered - before;
}

uint64_t results_deliver(struct results *results, struct call *call, uint64_t taken)
{
	if (is_full(results))
		return 0;
	return call->unordered ? deliver_unordered(results, call, taken)
	                       : deliver_ordered(results, call, taken);
}

void results_drop(struct results *results, struct call *call, uint64_t taken)
{
	uint64_t ring = call->slots.mask == UINT64_MAX ? taken : call->slots.mask + 1;
	uint64_t first = results->oldest;

	/* Tasks that were delivered while they ran are behind the oldest. */
	if (results->n_expired > 0)
		first = taken > ring ? taken - ring : 0;
	for (; first < taken; first++) {
		struct slot *slot = slots_at(&call->slots, first);

		if (atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_FREE)
			clear(results, call, slot);
	}
	results->oldest = taken;
}

int results_overdue(struct results *results, uint64_t came, int pending, int64_t now_ns)
{
	if (came != results->seen || !pending) {
		results->seen = came;
		results->since_ns = now_ns;
	}
	return results->timeout_ns > 0 && pending && now_ns - results->since_ns >= results->timeout_ns;
}
