#include "call.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

/* Replies from this size on are counted, so that a slow sink bounds their memory. */
#define LARGE_REPLY 16384

/* --- the call -------------------------------------------------------------------------- */

void call_init(struct call *call)
{
	memset(call, 0, sizeof(*call));
	pthread_mutex_init(&call->lock, NULL);
	redo_init(&call->redo);
	events_init(&call->events);
}

int call_seat(struct call *call, uint32_t n_jobs)
{
	void *duties = NULL;

	call->arenas = calloc(n_jobs, sizeof(*call->arenas));
	if (call->arenas == NULL ||
	    posix_memalign(&duties, CACHE_LINE, n_jobs * sizeof(*call->duties)) != 0)
		goto fail;
	if (cursor_init(&call->cursor, n_jobs) < 0)
		goto fail;
	call->duties = memset(duties, 0, n_jobs * sizeof(*call->duties));
	call->n_jobs = n_jobs;
	return 0;
fail:
	free(call->arenas);
	free(duties);
	call->arenas = NULL;
	return -1;
}

void call_finish(struct call *call)
{
	if (call->n_jobs > 0) {
		for (uint32_t i = 0; i < call->n_jobs; i++)
			arena_finish(&call->arenas[i]);
		cursor_finish(&call->cursor);
		free(call->arenas);
		free(call->duties);
	}
	redo_finish(&call->redo);
	events_finish(&call->events);
	pthread_mutex_destroy(&call->lock);
}

/* --- large replies ---------------------------------------------------------------------- */

void call_add_reply(struct call *call, uint64_t size)
{
	if (size >= LARGE_REPLY)
		atomic_fetch_add_explicit(&call->reply_bytes, (int64_t)size, memory_order_relaxed);
}

void call_drop_reply(struct call *call, uint64_t size)
{
	if (size >= LARGE_REPLY)
		atomic_fetch_sub_explicit(&call->reply_bytes, (int64_t)size, memory_order_relaxed);
}

void call_forget(struct call *call, const struct slot *slot)
{
	if (slot->flags & SLOT_OUT_ARENA)
		call_drop_reply(call, slot->out_size);
}

/* --- what becomes of it, for who watches -------------------------------------------------- */

void call_add_event(struct call *call, int32_t kind, uint64_t index, uint32_t worker,
                      int32_t attempt, const struct call_failure *failure)
{
	par_event event = {
		.size = sizeof(event),
		.kind = kind,
		.index = index,
		.at_ns = call->clock(),
		.worker = (int32_t)worker,
		.attempt = attempt,
	};

	if (failure != NULL) {
		event.status = failure->status;
		event.code = failure->code;
		event.message = failure->text[0] != '\0' ? failure->text : NULL;
	}
	events_add(&call->events, &event);
	if (call->is_inline)
		events_hand_out(&call->events);
	else
		call->wake(call->wake_arg);
}


/* --- failures ------------------------------------------------------------------------- */

/* The bytes of the character of UTF-8 that is there, whole; 0: none that a text has. */
static size_t character(const unsigned char *bytes, uint64_t n)
{
	unsigned char c = bytes[0];
	size_t length = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	if (length > n || (c < 0x20 && c != '\t' && c != '\n') || c == 0x7f)
		return 0;
	for (size_t i = 1; i < length; i++)
		if ((bytes[i] & 0xc0) != 0x80)
			return 0;
	return length;
}

/* Is it text, as far as it can be shown?  Its last character may be cut there. */
static int is_text(const unsigned char *bytes, uint64_t size, size_t room)
{
	uint64_t n = size < room ? size : room, i = 0;
	size_t length;

	while (i < n && (length = character(bytes + i, n - i)) > 0)
		i += length;
	return i == n || (n < size && n - i < 4);
}

static uint64_t describe_text(const unsigned char *bytes, uint64_t size, char *text, size_t room)
{
	size_t used = 0, length;
	uint64_t i = 0;

	while (i < size && (length = character(bytes + i, size - i)) > 0) {
		size_t wanted = bytes[i] < 0x20 ? 4 : length;

		if (used + wanted >= room)
			break;
		(void)error_escape((const char *)bytes + i, length, text + used, room - used);
		used += wanted;
		i += length;
	}
	return i;
}

static uint64_t describe_bytes(const unsigned char *bytes, uint64_t size, char *text, size_t room)
{
	size_t used = 0;
	uint64_t i;

	for (i = 0; i < size && used + 3 < room; i++)
		used += (size_t)snprintf(text + used, room - used, i > 0 ? " %02x" : "%02x", bytes[i]);
	return i;
}

void call_describe_input(const void *input, uint64_t size, char *text, size_t room)
{
	const size_t most = room - sizeof(" ...");

	text[0] = '\0';
	if (is_text(input, size, most)) {
		if (describe_text(input, size, text, most) < size)
			strcat(text, "...");
	} else if (describe_bytes(input, size, text, most) < size) {
		strcat(text, " ...");
	}
}

static void describe_input(const struct call *call, uint64_t index, struct call_failure *failure)
{
	const struct slot *slot;

	if (call->is_stream) {
		slot = slots_at(&call->slots, index);
		call_describe_input(slot_payload(slot), slot->in_size, failure->input,
		                    sizeof(failure->input));
	} else {
		const uint32_t size = call->tasks[0]->in_size;

		call_describe_input((const char *)call->in + index * size, size, failure->input,
		                    sizeof(failure->input));
	}
}

void call_charge(struct call *call, struct call_failure *failure)
{
	atomic_fetch_add_explicit(&call->failed, 1, memory_order_relaxed);
	pthread_mutex_lock(&call->lock);
	if (!call->have_failure || failure->index < call->failure.index) {
		describe_input(call, failure->index, failure);
		call->have_failure = 1;
		call->failure = *failure;
	}
	pthread_mutex_unlock(&call->lock);
	if (call->collect)
		return;
	call_stop(call);
	call->wake(call->wake_arg);
}

int call_has_other_try(const struct call *call, int32_t attempt, uint32_t reason)
{
	return (uint32_t)attempt < call->retries && (call->retry_on & reason) && !call_is_stopping(call);
}

int call_try_again(struct call *call, uint64_t index, int32_t attempt)
{
	int doublings = attempt < 30 ? attempt : 30;
	int64_t wait = call->retry_delay_ns < INT64_MAX >> (doublings + 2)
	                       ? call->retry_delay_ns << doublings
	                       : INT64_MAX / 4;

	if (redo_add(&call->redo, (struct redo_task){.index = index,
	                                              .due_ns = call->clock() + wait,
	                                              .attempt = attempt + 1,
	                                              .chance = 1}) < 0)
		return 0;
	atomic_fetch_add_explicit(&call->redone, 1, memory_order_relaxed);
	/* Who has failed may be long at the next, and others idle when it is due. */
	call->wake(call->wake_arg);
	return 1;
}

/* A task failed; 1: it will be tried again, else it is in *failure, to be charged. */
static size_t text_room(const char *text)
{
	return text[0] != '\0' ? strlen(text) + 1 : 0;
}

static uint16_t put_text(struct slot_failure *failure, size_t *used, const char *text)
{
	size_t at = *used, size = text_room(text);

	if (size == 0)
		return 0;
	memcpy(failure->text + at, text, size);
	*used += size;
	return (uint16_t)(at + 1);
}

void call_fail_slot(struct slot *slot, struct arena *arena, const struct call_failure *from)
{
	size_t texts = text_room(from->text) + text_room(from->type) + text_room(from->trace) +
	               text_room(from->host);
	int is_bare = texts == 0 && from->status == PAR_EFAILED && from->pid == 0;
	struct slot_failure *failure = NULL;
	size_t used = 0;

	if (!is_bare)
		failure = arena_alloc(arena, sizeof(*failure) + texts);
	slot->flags |= SLOT_FAILED;
	slot->out_size = 0;
	slot->out.inside = slot_bare_failure(from->code, (uint32_t)from->worker, from->attempts);
	if (failure == NULL)
		return;
	*failure = (struct slot_failure){
		.status = from->status,
		.code = from->code,
		.attempts = from->attempts,
		.worker = from->worker,
		.pid = from->pid,
		.signal = from->signal,
		.exit_code = from->exit_code,
		.peak_memory = from->peak_memory,
	};
	failure->message = put_text(failure, &used, from->text);
	failure->type = put_text(failure, &used, from->type);
	failure->trace = put_text(failure, &used, from->trace);
	failure->host = put_text(failure, &used, from->host);
	slot->out.pointer = failure;
	slot->flags |= SLOT_OUT_ARENA;
}

/* --- what was measured ------------------------------------------------------------------- */

void call_measure(struct call *call, uint64_t tasks, int64_t ns)
{
	int64_t before = atomic_load_explicit(&call->task_ns, memory_order_relaxed);
	int64_t each = ns / (int64_t)(tasks > 0 ? tasks : 1);

	/* One long task among short ones changes little; many do.  That two who tell at once
	 * may forget one another does no harm. */
	if (before > 0) {
		each = each < 4 * SHORT_TASK_NS ? each : 4 * SHORT_TASK_NS;
		each = before + (each - before) / 4;
	}
	atomic_store_explicit(&call->task_ns, each > 0 ? each : 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&call->busy_ns, ns, memory_order_relaxed);
}

void call_tell(struct call *call, uint64_t tasks, int64_t ns)
{
	call_measure(call, tasks, ns);
	atomic_fetch_add_explicit(&call->finished, tasks, memory_order_relaxed);
}

/* --- results that come as they are over -------------------------------------------------- */

uint64_t call_take_done(struct call *call)
{
	if (atomic_load_explicit(&call->done_list, memory_order_relaxed) == 0)
		return 0;
	return atomic_exchange_explicit(&call->done_list, 0, memory_order_acquire);
}

void call_list_done(struct call *call, uint64_t first, uint64_t n)
{
	struct slot *last = slots_at(&call->slots, first);
	uint64_t head = atomic_load_explicit(&call->done_list, memory_order_relaxed);

	for (uint64_t i = first + 1; i < first + n; i++) {
		struct slot *slot = slots_at(&call->slots, i);

		slot->link = (uint32_t)(i - 1);
		slot->flags |= SLOT_CHAINED;
	}
	do {
		last->link = (uint32_t)(head - 1);
		last->flags = (uint8_t)(head > 0 ? last->flags | SLOT_CHAINED : last->flags & ~SLOT_CHAINED);
	} while (!atomic_compare_exchange_weak_explicit(&call->done_list, &head, first + n,
	                                                memory_order_release, memory_order_relaxed));
}

int64_t call_next_expiry(const struct call *call, int64_t now_ns)
{
	int64_t next = now_ns;

	for (uint32_t i = 0; i < call->n_jobs; i++) {
		const struct duty *duty = &call->duties[i];
		int64_t since;

		if (atomic_load_explicit(&duty->word, memory_order_acquire) % DUTY_STATES != DUTY_RUNS)
			continue;
		since = atomic_load_explicit(&duty->since_ns, memory_order_relaxed);
		next = since < next ? since : next;
	}
	return next + call->task_timeout_ns;
}

int call_awaits_retry(const struct call *call)
{
	for (uint32_t i = 0; call->task_timeout_ns > 0 && i < call->n_jobs; i++)
		if (atomic_load_explicit(&call->duties[i].word, memory_order_acquire) % DUTY_STATES ==
		    DUTY_AGAIN)
			return 1;
	return 0;
}

int call_is_only_late(const struct call *call)
{
	uint32_t seated = atomic_load_explicit(&call->seated, memory_order_acquire), late = 0;

	for (uint32_t i = 0; i < call->n_jobs; i++)
		late += atomic_load_explicit(&call->duties[i].word, memory_order_acquire) % DUTY_STATES ==
		        DUTY_OVERDUE;
	return late > 0 && late == seated;
}

/* Its worker may come back meanwhile, and waits until it is told. */
static void tell_late(struct call *call, uint32_t seat)
{
	struct duty *duty = &call->duties[seat];
	uint64_t word = atomic_load_explicit(&duty->word, memory_order_acquire);

	if (word % DUTY_STATES != DUTY_RUNS ||
	    !atomic_compare_exchange_strong_explicit(&duty->word, &word, word - DUTY_RUNS + DUTY_TOLD,
	                                             memory_order_acq_rel, memory_order_relaxed))
		return;
	call_add_event(call, PAR_EVENT_TIMEOUT, atomic_load_explicit(&duty->index, memory_order_relaxed), seat,
	          atomic_load_explicit(&duty->attempt, memory_order_relaxed), NULL);
	atomic_store_explicit(&duty->word, word, memory_order_release);
}

void call_tell_late(struct call *call)
{
	for (uint32_t i = 0; call->events.on_event != NULL && i < call->n_jobs; i++)
		tell_late(call, i);
}

int call_expire(struct call *call, uint32_t seat, int64_t now_ns, struct call_failure *failure)
{
	struct duty *duty = &call->duties[seat];
	uint64_t word = atomic_load_explicit(&duty->word, memory_order_acquire);
	int64_t since = atomic_load_explicit(&duty->since_ns, memory_order_relaxed);
	uint64_t index = atomic_load_explicit(&duty->index, memory_order_relaxed);
	int32_t attempt = atomic_load_explicit(&duty->attempt, memory_order_relaxed);
	int again = call_has_other_try(call, attempt, PAR_ON_TIMEOUT);

	if (word % DUTY_STATES != DUTY_RUNS || now_ns - since < call->task_timeout_ns)
		return 0;
	/* Before its worker can see it, and say that it is not stuck any more. */
	cursor_set_stuck(&call->cursor, seat, 1);
	if (!atomic_compare_exchange_strong_explicit(&duty->word, &word, word - DUTY_RUNS + DUTY_TOLD,
	                                             memory_order_acq_rel, memory_order_relaxed)) {
		cursor_set_stuck(&call->cursor, seat, 0);
		return 0;
	}
	*failure = (struct call_failure){
		.index = index,
		.status = PAR_ETIMEOUT,
		.attempts = attempt + 1,
		.worker = (int32_t)seat,
		.exit_code = -1,
	};
	(void)snprintf(failure->text, sizeof(failure->text), "it ran for more than %g s",
	               (double)call->task_timeout_ns / 1e9);
	if (call->events.on_event != NULL)
		call_add_event(call, PAR_EVENT_TIMEOUT, index, seat, attempt, failure);
	atomic_store_explicit(&duty->word, word - DUTY_RUNS + (again ? DUTY_AGAIN : DUTY_OVERDUE),
	                      memory_order_release);
	if (again)
		return 2;
	if (call->statuses != NULL)
		call->statuses[index] = PAR_ETIMEOUT;
	if (call->events.on_event != NULL)
		call_add_event(call, PAR_EVENT_FAILED, index, seat, attempt, failure);
	call_charge(call, failure);
	return 1;
}

