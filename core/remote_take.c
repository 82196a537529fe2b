/* What comes back: answers in the order of the tasks, each of them looked at before it is
 * believed. */
#include "remote.h"

#include "error.h"
#include "wire_answer.h"

#include <string.h>

static uint64_t next_of(const struct parcel *parcel)
{
	return parcel->first + parcel->answered;
}

static uint32_t worker_of(const struct parcel *parcel)
{
	return parcel->worker > 0 ? (uint32_t)parcel->worker : 0;
}

static void tell_event(struct call *call, const struct parcel *parcel, int32_t kind, uint64_t index,
                       const struct call_failure *failure)
{
	if (__builtin_expect(call->events.on_event != NULL, 0))
		call_add_event(call, kind, index, worker_of(parcel), parcel->attempt, failure);
}

static void answer(struct call *call, struct parcel *parcel, uint64_t n)
{
	parcel->answered += n;
	atomic_fetch_add_explicit(&call->finished, n, memory_order_relaxed);
}

/* --- failures ----------------------------------------------------------------------------------- */

static void copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text != NULL ? text : "");
}

static void read_failure(const struct parcel *parcel, const struct wire_outcome *outcome,
                         struct call_failure *failure)
{
	size_t used;

	failure->index = outcome->head.index;
	failure->status = PAR_EFAILED;
	failure->code = outcome->code;
	failure->attempts = parcel->attempt + 1;
	failure->worker = (int32_t)worker_of(parcel);
	failure->pid = failure->signal = 0;
	failure->exit_code = -1;
	failure->peak_memory = 0;
	copy_text(failure->host, sizeof(failure->host),
	          parcel->carriage != NULL ? parcel->carriage->machine : NULL);
	failure->input[0] = '\0';
	copy_text(failure->type, sizeof(failure->type), outcome->type);
	copy_text(failure->text, sizeof(failure->text), outcome->text);
	copy_text(failure->trace, sizeof(failure->trace), outcome->where);
	used = strlen(failure->trace);
	if (outcome->trace != NULL && outcome->trace[0] != '\0')
		(void)snprintf(failure->trace + used, sizeof(failure->trace) - used, "%s%s",
		               used > 0 ? "\n" : "", outcome->trace);
}

/* 1: it will be tried again. */
static int is_tried_again(struct call *call, const struct parcel *parcel,
                          const struct call_failure *failure)
{
	if (!call_has_other_try(call, parcel->attempt, PAR_ON_ERROR))
		return 0;
	tell_event(call, parcel, PAR_EVENT_RETRY, failure->index, failure);
	return call_try_again(call, failure->index, parcel->attempt);
}

/* Of a task of the array; slot: of a stream's, else NULL. */
static void take_failure(struct call *call, struct parcel *parcel, const struct wire_outcome *outcome,
                         struct slot *slot)
{
	struct call_failure failure;

	read_failure(parcel, outcome, &failure);
	if (is_tried_again(call, parcel, &failure))
		return;
	tell_event(call, parcel, PAR_EVENT_FAILED, failure.index, &failure);
	if (call->statuses != NULL)
		call->statuses[failure.index] = PAR_EFAILED;
	if (slot != NULL)
		call_fail_slot(slot, &call->arenas[0], &failure);
	call_charge(call, &failure);
	if (slot == NULL)
		return;
	atomic_store_explicit(&slot->state, SLOT_DONE, memory_order_release);
	if (call->unordered)
		call_list_done(call, failure.index, 1);
}

/* --- replies ------------------------------------------------------------------------------------- */

static int32_t keep_reply(struct call *call, struct slot *slot, const struct wire_outcome *outcome,
                          par_error *error)
{
	uint32_t size = outcome->head.size;

	slot->out_size = size;
	if (size <= SLOT_INLINE) {
		slot->out.inside = 0;
		memcpy(&slot->out, outcome->reply, size);
		return PAR_OK;
	}
	slot->out.pointer = arena_alloc(&call->arenas[0], size);
	if (slot->out.pointer == NULL)
		return error_memory(error, "cannot keep a reply");
	memcpy(slot->out.pointer, outcome->reply, size);
	slot->flags |= SLOT_OUT_ARENA;
	call_add_reply(call, size);
	return PAR_OK;
}

static int32_t take_reply(struct call *call, struct parcel *parcel, const struct wire_outcome *outcome,
                          par_error *error)
{
	struct slot *slot = slots_at(&call->slots, outcome->head.index);
	const par_task *task = call->tasks[slot->task];
	int32_t status;

	if (outcome->head.failed) {
		take_failure(call, parcel, outcome, slot);
		return PAR_OK;
	}
	if (task->kind == PAR_TASK_TYPED && outcome->head.size != task->out_size)
		return wire_refuse(error, "the reply of task %llu has %u bytes, not %u",
		                   (unsigned long long)outcome->head.index,
		                   (unsigned)outcome->head.size, (unsigned)task->out_size);
	status = keep_reply(call, slot, outcome, error);
	if (status < 0)
		return status;
	tell_event(call, parcel, PAR_EVENT_DONE, outcome->head.index, NULL);
	atomic_store_explicit(&slot->state, SLOT_DONE, memory_order_release);
	return PAR_OK;
}

/* Whatever it answers, since it was told so. */
static int is_late(const struct parcel *parcel, uint64_t first, uint64_t n)
{
	return parcel->is_late && parcel->late >= first && parcel->late - first < n;
}

/* Where its worker is not killed for it, the tasks after it have a time too. */
static void expire(struct remote *remote, struct parcel *parcel, uint64_t index)
{
	remote_expire(remote, parcel, index, NULL);
	parcel->is_late = parcel->is_killed;
}

/* --- frames -------------------------------------------------------------------------------------- */

static int32_t check_outcome(const struct parcel *parcel, const struct wire_outcome *outcome,
                             int may_reply, par_error *error)
{
	if (parcel->answered == parcel->n || outcome->head.index != next_of(parcel))
		return wire_refuse(error, "an answer is for task %llu, the next of the batch is %llu",
		                   (unsigned long long)outcome->head.index,
		                   (unsigned long long)next_of(parcel));
	if (!may_reply && !outcome->head.failed)
		return wire_refuse(error, "a range is answered as a list");
	return PAR_OK;
}

/* Those that are to be handed out as they come are listed together. */
static int32_t take_outcomes(struct remote *remote, struct parcel *parcel,
                             const struct wire_frame *frame, par_error *error)
{
	struct call *call = remote->call;
	struct wire_cursor cursor = wire_body(frame);
	uint64_t listed = next_of(parcel);
	struct wire_outcome outcome;
	int32_t status;
	int late;

	while ((status = wire_next_outcome(&cursor, &outcome, error)) > 0) {
		status = check_outcome(parcel, &outcome, call->is_stream, error);
		if (status < 0)
			break;
		late = is_late(parcel, outcome.head.index, 1);
		if (__builtin_expect(late, 0))
			expire(remote, parcel, outcome.head.index);
		else if (!call->is_stream)
			take_failure(call, parcel, &outcome, NULL);
		else if ((status = take_reply(call, parcel, &outcome, error)) < 0)
			break;
		if (call->unordered && (outcome.head.failed || late)) {
			if (next_of(parcel) > listed)
				call_list_done(call, listed, next_of(parcel) - listed);
			listed = next_of(parcel) + 1;
		}
		answer(call, parcel, 1);
	}
	if (call->unordered && next_of(parcel) > listed)
		call_list_done(call, listed, next_of(parcel) - listed);
	return status;
}

/* So many succeeded, but for one that is over its time: that has failed, or runs again. */
static void tell_values(struct remote *remote, struct parcel *parcel, uint64_t first, uint64_t n)
{
	struct call *call = remote->call;

	if (call->statuses != NULL && !is_late(parcel, first, n))
		memset(&call->statuses[first], PAR_OK, n * sizeof(*call->statuses));
	for (uint64_t i = first; call->is_single && i < first + n; i++)
		if (is_late(parcel, i, 1))
			expire(remote, parcel, i);
		else
			tell_event(call, parcel, PAR_EVENT_DONE, i, NULL);
}

/* But for a task that is over its time: in place, it would overwrite the input of the next try. */
static void keep_values(const struct call *call, const struct parcel *parcel,
                        const struct wire_chunk *chunk, uint64_t size)
{
	uint64_t first = chunk->head.first, n = chunk->head.n, before = n, after = n;

	if (is_late(parcel, first, n)) {
		before = parcel->late - first;
		after = before + 1;
	}
	memcpy((char *)call->out + first * size, chunk->values, before * size);
	memcpy((char *)call->out + (first + after) * size, (const char *)chunk->values + after * size,
	       (n - after) * size);
}

static int32_t take_chunk(struct remote *remote, struct parcel *parcel, const struct wire_frame *frame,
                          par_error *error)
{
	struct call *call = remote->call;
	struct wire_chunk chunk;
	uint64_t size = call->tasks[0]->out_size;
	int32_t status = wire_get_chunk(frame, &chunk, error);

	if (status < 0)
		return status;
	if (call->is_stream || chunk.head.first != next_of(parcel) ||
	    chunk.head.n > parcel->n - parcel->answered)
		return wire_refuse(error, "values are for %llu tasks from %llu on, the next is %llu",
		                   (unsigned long long)chunk.head.n, (unsigned long long)chunk.head.first,
		                   (unsigned long long)next_of(parcel));
	if (chunk.values == NULL ? remote->out.id == 0 && size > 0
	                         : remote->out.id != 0 || chunk.head.out_size != size)
		return wire_refuse(error, "values of %u bytes come where they should not",
		                   (unsigned)chunk.head.out_size);
	if (chunk.values != NULL)
		keep_values(call, parcel, &chunk, size);
	tell_values(remote, parcel, chunk.head.first, chunk.head.n);
	answer(call, parcel, chunk.head.n);
	return PAR_OK;
}

static int32_t take_started(struct remote *remote, struct parcel *parcel, const struct wire_frame *frame,
                            par_error *error)
{
	struct wire_started started;
	int32_t status = wire_get_started(frame, &started, error);

	if (status < 0)
		return status;
	if (started.index < next_of(parcel) || started.index >= parcel->first + parcel->n ||
	    started.n > parcel->first + parcel->n - started.index)
		return wire_refuse(error, "task %llu begins, which is not in the batch",
		                   (unsigned long long)started.index);
	/* By our clock: its own may be another machine's. */
	parcel->now = (struct wire_now){parcel->handle, started.index, started.n,
	                                remote->call->clock()};
	tell_event(remote->call, parcel, PAR_EVENT_STARTED, started.index, NULL);
	return PAR_OK;
}

static int32_t take_finished(struct remote *remote, struct parcel *parcel,
                             const struct wire_frame *frame, par_error *error)
{
	struct wire_finished finished;
	int32_t status = wire_get_finished(frame, &finished, error);

	if (status < 0)
		return status;
	if (parcel->answered < parcel->n && !finished.stopped)
		return wire_refuse(error, "a batch is over, of whose %llu tasks %llu were answered",
		                   (unsigned long long)parcel->n, (unsigned long long)parcel->answered);
	parcel->ran = parcel->answered;
	parcel->ran_ns = finished.ns > 0 ? finished.ns : 1;
	parcel->peak_memory = finished.peak_memory;
	if (parcel->ran > 0)
		call_measure(remote->call, parcel->ran, parcel->ran_ns);
	return 1;
}

static int32_t take_cannot(struct remote *remote, const struct wire_frame *frame, par_error *error)
{
	par_error cannot = PAR_ERROR_INIT;
	int32_t status = wire_get_cannot(frame, &cannot, error);

	if (status < 0)
		return status;
	if (!remote->is_refused)
		error_copy(&remote->refusal, &cannot);
	remote->is_refused = 1;
	return 1;
}

static int32_t take(struct remote *remote, struct parcel *parcel, const struct wire_frame *frame,
                    par_error *error)
{
	switch (frame->kind) {
	case WIRE_OUTCOMES:
		return take_outcomes(remote, parcel, frame, error);
	case WIRE_CHUNK:
		return take_chunk(remote, parcel, frame, error);
	case WIRE_STARTED:
		return take_started(remote, parcel, frame, error);
	case WIRE_FINISHED:
		return take_finished(remote, parcel, frame, error);
	case WIRE_CANNOT:
		return take_cannot(remote, frame, error);
	default:
		return wire_refuse(error, "a worker sent a frame of kind %d", (int)frame->kind);
	}
}

int32_t remote_take(struct remote *remote, uint32_t place, const struct wire_frame *frame,
                    par_error *error)
{
	struct parcel *parcel = &remote->parcels[place];
	int32_t status;

	if (!parcel->is_out || frame->batch != parcel->handle)
		return wire_refuse(error, "an answer is about a batch that is not out");
	pthread_mutex_lock(&remote->lock);
	status = take(remote, parcel, frame, error);
	/* Which is no fault of the worker's, nor of what it runs now. */
	if (status == PAR_ENOMEM)
		remote->out_of_memory = "cannot keep a reply";
	pthread_mutex_unlock(&remote->lock);
	return status;
}

void remote_runs_at(struct remote *remote, uint32_t place, int32_t worker, const char *machine)
{
	struct parcel *parcel = &remote->parcels[place];

	pthread_mutex_lock(&remote->lock);
	parcel->worker = worker;
	if (parcel->carriage != NULL)
		copy_text(parcel->carriage->machine, sizeof(parcel->carriage->machine), machine);
	pthread_mutex_unlock(&remote->lock);
}

int32_t remote_receive(struct remote *remote, uint32_t place, const void *bytes, uint64_t n_bytes,
                       par_error *error)
{
	struct parcel *parcel = &remote->parcels[place];
	struct wire_frame frame;
	int32_t status;

	if (parcel->carriage == NULL)
		return wire_refuse(error, "an answer is about a batch that was not encoded");
	wire_reader_lend(&parcel->carriage->answer, bytes, (size_t)n_bytes);
	while ((status = wire_next(&parcel->carriage->answer, &frame, error)) > 0) {
		status = remote_take(remote, place, &frame, error);
		if (status < 0)
			return status;
	}
	return status;
}
