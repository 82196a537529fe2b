#include "dispatcher.h"

#include "abi.h"
#include "error.h"

#include <string.h>

/* Payloads and replies of this size are counted, and this much of them may be under way
 * beyond what pre_dispatch asked for. */
enum { LARGE = 16384 };
#define LARGE_LIMIT ((int64_t)256 << 20)

int32_t dispatcher_check_task(const par_task *task, par_error *error)
{
	const char *name;

	if (task == NULL) {
		error_set(error, PAR_EINVAL, "there is no task to run");
		error_remedy(error, "name one in the call, or in each item of the source");
		return PAR_EINVAL;
	}
	if (!PAR_HAS(task, bytes) || task->abi != PAR_TASK_ABI) {
		error_set(error, PAR_EINVAL, "the task is not one that this parloop can run");
		error_reason(error, "it has size %u and ABI %u, this parloop wants %zu and %d", task->size,
		             task->abi, ABI_UP_TO(par_task, bytes), PAR_TASK_ABI);
		error_remedy(error, "compile it again with this version's <parloop/task.h>");
		return PAR_EINVAL;
	}
	name = task->name != NULL ? task->name : "?";
	if ((task->kind == PAR_TASK_TYPED && task->range != NULL && task->in_size > 0) ||
	    (task->kind == PAR_TASK_BYTES && task->bytes != NULL))
		return PAR_OK;
	error_set(error, PAR_EINVAL, "the task \"%s\" is not well described", name);
	error_reason(error, "its kind is %d, and the function for it is missing", task->kind);
	error_remedy(error, "describe it with PAR_TASK, PAR_TASK_ENV or PAR_TASK_OF_BYTES");
	return PAR_EINVAL;
}

/* The place of a task among those of the call; -1 and an error if there is none. */
static int32_t known_task(struct call *call, const par_task *task, par_error *error)
{
	int32_t code;

	for (uint32_t i = 0; i < call->n_tasks_known; i++)
		if (call->tasks[i] == task)
			return (int32_t)i;
	code = dispatcher_check_task(task, error);
	if (code != PAR_OK)
		return code;
	if (call->n_tasks_known == CALL_TASKS) {
		error_set(error, PAR_EINVAL, "one call cannot mix more than %d different tasks", CALL_TASKS);
		return PAR_EINVAL;
	}
	call->tasks[call->n_tasks_known] = task;
	return (int32_t)call->n_tasks_known++;
}

static int32_t check_payload(const par_task *task, const par_item *item, uint64_t index,
                             par_error *error)
{
	if (task->kind == PAR_TASK_TYPED && item->n_bytes != task->in_size) {
		error_set(error, PAR_EINVAL, "payload %llu has the wrong size", (unsigned long long)index);
		error_reason(error, "task \"%s\" takes %u bytes, the source gave %llu", task->name,
		             task->in_size, (unsigned long long)item->n_bytes);
		return PAR_EINVAL;
	}
	if (item->n_bytes > UINT32_MAX || (item->payload == NULL && item->n_bytes > 0)) {
		error_set(error, PAR_EINVAL, "payload %llu cannot be sent", (unsigned long long)index);
		error_reason(error, "it has %llu bytes at %p; at most 4 GiB can be in one payload",
		             (unsigned long long)item->n_bytes, item->payload);
		error_remedy(error, "send a file name or an offset, and share the bytes by .shared");
		return PAR_EINVAL;
	}
	return PAR_OK;
}

static int32_t keep_payload(struct dispatcher *dispatcher, struct slot *slot, const par_item *item,
                            par_error *error)
{
	slot->in_size = (uint32_t)item->n_bytes;
	if (item->n_bytes == SLOT_INLINE) {
		memcpy(&slot->in, item->payload, SLOT_INLINE);
		return PAR_OK;
	}
	if (item->n_bytes < SLOT_INLINE) {
		memcpy(&slot->in, item->n_bytes > 0 ? item->payload : "", (size_t)item->n_bytes);
		return PAR_OK;
	}
	if (item->stays && !dispatcher->copies_all) {
		/* Never written: tasks get it as const. */
		slot->in.pointer = (void *)(uintptr_t)item->payload;
		slot->flags = SLOT_IN_STAYS;
		dispatcher->has_callers_memory = 1;
	} else {
		slot->in.pointer = arena_alloc(&dispatcher->payloads, (size_t)item->n_bytes);
		if (slot->in.pointer == NULL)
			return error_memory(error, "cannot keep a payload");
		memcpy(slot->in.pointer, item->payload, (size_t)item->n_bytes);
		slot->flags = SLOT_IN_ARENA;
	}
	/* What stays with the caller takes memory as well, if he reads it as he goes. */
	if (item->n_bytes >= LARGE)
		dispatcher->payload_bytes += (int64_t)item->n_bytes;
	return PAR_OK;
}

void dispatcher_delivered(struct dispatcher *dispatcher, const struct slot *slot)
{
	if ((slot->flags & (SLOT_IN_ARENA | SLOT_IN_STAYS)) && slot->in_size >= LARGE)
		dispatcher->payload_bytes -= slot->in_size;
}

/* One task from the source into its slot.  1: done; 0: the source has no more;
 * PAR_NONE_YET: at the moment. */
static int32_t take_one(struct dispatcher *dispatcher, struct call *call, par_error *error)
{
	par_item item;
	struct slot *slot;
	int32_t got, known = 0;

	if (slots_reach(&call->slots, dispatcher->taken) < 0)
		return error_memory(error, "cannot queue another task");
	item.size = sizeof(item);
	item.stays = 0;
	item.payload = NULL;
	item.n_bytes = 0;
	item.task = dispatcher->task;
	got = dispatcher->source(dispatcher->user, &item);
	if (got == 0 || got == PAR_NONE_YET)
		return got;
	if (got < 0) {
		error_set(error, PAR_ESOURCE, "the source failed at task %llu",
		          (unsigned long long)dispatcher->taken);
		error_reason(error, "it returned %d", got);
		return PAR_ESOURCE;
	}
	if (item.task == NULL)
		item.task = dispatcher->task;
	if (__builtin_expect(call->n_tasks_known == 0 || item.task != call->tasks[0], 0))
		known = known_task(call, item.task, error);
	if (known < 0)
		return known;
	got = check_payload(call->tasks[known], &item, dispatcher->taken, error);
	if (got != PAR_OK)
		return got;
	slot = slots_at(&call->slots, dispatcher->taken);
	slot->task = (uint16_t)known;
	slot->flags = 0;
	got = keep_payload(dispatcher, slot, &item, error);
	if (got != PAR_OK)
		return got;
	atomic_store_explicit(&slot->state, SLOT_READY, memory_order_relaxed);
	cursor_extend(&call->cursor, ++dispatcher->taken);
	return 1;
}

static int is_place_free(const struct dispatcher *dispatcher, const struct call *call)
{
	return !dispatcher->has_late || call->slots.mask == UINT64_MAX ||
	       atomic_load_explicit(&slots_at(&call->slots, dispatcher->taken)->state,
	                            memory_order_acquire) == SLOT_FREE;
}

int dispatcher_may_take(const struct dispatcher *dispatcher, const struct call *call,
                        uint64_t delivered, uint64_t oldest, int completed)
{
	uint64_t out = dispatcher->taken - delivered;
	int64_t bytes = dispatcher->payload_bytes +
	                atomic_load_explicit(&call->reply_bytes, memory_order_relaxed);

	if (dispatcher->exhausted || dispatcher->waits ||
	    dispatcher->taken - oldest >= dispatcher->room || !is_place_free(dispatcher, call))
		return 0;
	if (dispatcher->taken < dispatcher->pre_dispatch)
		return 1;
	return completed && out < dispatcher->window && (bytes < LARGE_LIMIT || out == 0);
}

int32_t dispatcher_take(struct dispatcher *dispatcher, struct call *call, uint64_t delivered,
                        uint64_t oldest, int completed, par_error *error)
{
	uint64_t until = dispatcher->turn > 0 ? dispatcher->taken + dispatcher->turn : UINT64_MAX;

	while (dispatcher->taken < until && !call_is_stopping(call) &&
	       dispatcher_may_take(dispatcher, call, delivered, oldest, completed)) {
		int32_t got = take_one(dispatcher, call, error);

		if (got < 0)
			return got;
		if (got == PAR_NONE_YET)
			dispatcher->waits = 1;
		if (got == 0) {
			dispatcher->exhausted = 1;
			atomic_store_explicit(&call->open, 0, memory_order_relaxed);
		}
	}
	return PAR_OK;
}

/* For those that have nothing to do: what others have claimed, since they may be at a long task. */
static uint64_t to_steal(const struct call *call, uint64_t at_work)
{
	uint64_t idle = at_work < call->n_jobs ? call->n_jobs - at_work : 0;
	uint64_t claimed = idle > 0 ? cursor_claimed(&call->cursor) : 0;

	return claimed < idle ? claimed : idle;
}

uint32_t dispatcher_batches(const struct call *call, uint32_t out, uint32_t allowed, uint32_t due)
{
	uint64_t work = cursor_unclaimed(&call->cursor) + due;
	uint32_t free = allowed > out ? allowed - out : 0;

	if (free == 0 || call_is_stopping(call))
		return 0;
	if (work < free)
		work = cursor_waiting(&call->cursor) + due;
	if (work < free)
		work += to_steal(call, out + work);
	return work < free ? (uint32_t)work : free;
}
