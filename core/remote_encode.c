/* What goes out: which memory the tasks are given, what the worker has to know of them, and the
 * frame. */
#include "remote.h"

#include "error.h"
#include "log.h"
#include "module_content.h"
#include "serve.h"

#include <stdlib.h>
#include <string.h>

/* What all tasks see goes with each batch, where no memory is shared, if it is no more. */
enum { BROADCAST_BYTES = 1024 };

/* --- which tasks ------------------------------------------------------------------------------- */

static int32_t place_of_module(struct remote *remote, par_module *module, par_error *error)
{
	struct wire_module entry = {
		.path = module_path(module),
		.is_program = module_is_program(module),
		.id = *module_id(module),
	};
	const par_attachment *content = NULL;
	uint32_t i = 0;
	int place;

	while (i < remote->n_modules && remote->modules[i] != module)
		i++;
	if (i < remote->n_modules)
		return (int32_t)i;
	if (remote->ships_modules && !entry.is_program) {
		int32_t status = module_attachment(module, &content, error);

		if (status < 0)
			return status;
		entry.attachment = content->id;
	}
	place = wire_batch_module(remote->batch, &entry);
	if (place < 0)
		return error_set(error, PAR_EINVAL, "a call uses more than %d task modules", WIRE_MODULES);
	remote->contents[remote->n_modules] = content;
	remote->modules[remote->n_modules++] = module;
	return place;
}

/* A task without a name elsewhere can still be run by a fork of this process. */
static int32_t add_task(struct remote *remote, const par_task *task, par_error *error)
{
	struct wire_task entry = {
		.name = task->name,
		.kind = task->kind,
		.in_size = task->in_size,
		.out_size = task->out_size,
	};
	par_module *module;
	int32_t place = module_of_task(&module, task, error);

	if (place == PAR_OK) {
		remote->needs_program |= module_is_program(module);
		place = place_of_module(remote, module, error);
		if (place < 0)
			return place;
		entry.module = (uint32_t)place;
	} else {
		remote->unnamed = task;
		entry.address = (uint64_t)(uintptr_t)task;
	}
	if (wire_batch_task(remote->batch, &entry) < 0)
		return error_set(error, PAR_EINVAL, "a call uses more than %d tasks", WIRE_TASKS);
	remote->tasks[remote->n_tasks++] = task;
	return PAR_OK;
}

static int has_other_tasks(const struct remote *remote)
{
	const struct call *call = remote->call;

	for (uint32_t i = 0; i < remote->n_tasks; i++)
		if (i >= call->n_tasks_known || remote->tasks[i] != call->tasks[i])
			return 1;
	return 0;
}

/* The tables of the call before serve again, as long as its tasks do; and a stream adds to
 * them. */
static int32_t know_tasks(struct remote *remote, par_error *error)
{
	const struct call *call = remote->call;
	int32_t status = PAR_OK;

	if (remote->n_tasks == 0 || has_other_tasks(remote)) {
		wire_batch_init(remote->batch);
		remote->n_tasks = remote->n_modules = 0;
		remote->needs_program = 0;
		remote->unnamed = NULL;
	}
	while (status == PAR_OK && remote->n_tasks < call->n_tasks_known)
		status = add_task(remote, call->tasks[remote->n_tasks], error);
	return status;
}

static int32_t refuse_program(const struct remote *remote, par_error *error)
{
	error_set(error, PAR_EINVAL, "task \"%.100s\" cannot leave this process",
	          remote->call->tasks[0]->name);
	error_reason(error, "it stands in the program, which has not called par_worker_main()");
	error_remedy(error, "call par_worker_main(argc, argv) first in main, or put it into a task module");
	return PAR_EINVAL;
}

static int32_t refuse_unnamed(const struct remote *remote, par_error *error)
{
	par_module *module;

	/* Why, once more. */
	if (module_of_task(&module, remote->unnamed, error) < 0)
		return error != NULL ? error->code : PAR_EINVAL;
	return PAR_EINVAL;
}

static int32_t check_worker(const struct remote *remote, const par_channel *channel,
                            par_error *error)
{
	if (channel != NULL && channel_is_forked(channel))
		return PAR_OK;
	if (remote->unnamed != NULL)
		return refuse_unnamed(remote, error);
	/* Who moves bytes by other means may have this program at the other end. */
	if (remote->needs_program &&
	    !(channel == NULL ? serve_program_can() : channel_is_program(channel)))
		return refuse_program(remote, error);
	return PAR_OK;
}

/* --- which memory ------------------------------------------------------------------------------- */

/* Copied to where workers find them.  Without memory for that they go with each batch. */
static void copy_there(const void *bytes, uint64_t n, enum shared_mode mode, struct shared_copy **copy,
                       struct wire_ref *ref, const par_attachment **attachment)
{
	par_error error = PAR_ERROR_INIT;
	char text[1200];

	*copy = shared_copy(bytes, n, mode, &error);
	if (*copy == NULL) {
		log_line(LOG_WARNING, "what goes to workers is not shared: %s",
		         par_error_text(&error, 0, text, sizeof(text)));
		return;
	}
	*attachment = shared_copy_attachment(*copy);
	ref->id = (*attachment)->id;
}

/* Where workers find these bytes: shared already, or copied there if there are many.  Else they
 * go with each batch. */
static void look_for(struct remote *remote, const void *bytes, uint64_t n, struct shared_copy **copy,
                     struct wire_ref *ref, const par_attachment **attachment)
{
	if (bytes != NULL && n > 0 && !shared_find(bytes, n, ref, attachment) && n > remote->max_nbytes)
		copy_there(bytes, n, remote->mode, copy, ref, attachment);
}

static int overlap(const void *a, uint64_t n_a, const void *b, uint64_t n_b)
{
	return (uintptr_t)a < (uintptr_t)b + n_b && (uintptr_t)b < (uintptr_t)a + n_a;
}

/* Results go where they belong if workers see it, unless that would overwrite the input of
 * tasks which may have to run again. */
static void look_for_out(struct remote *remote, uint64_t n_in, uint64_t n_out)
{
	const struct call *call = remote->call;

	remote->out = (struct wire_ref){0, 0};
	remote->out_attachment = NULL;
	if (n_out > 0 && !overlap(call->in, n_in, call->out, n_out))
		(void)shared_find_out(call->out, n_out, &remote->out, &remote->out_attachment);
}

static void look_for_memory(struct remote *remote)
{
	const struct call *call = remote->call;
	const par_task *task = call->tasks[0];

	look_for(remote, call->shared, call->shared_size, &remote->shared_copy, &remote->shared,
	         &remote->shared_attachment);
	if (call->is_stream)
		return;
	look_for(remote, call->in, call->n_tasks * task->in_size, &remote->in_copy, &remote->in,
	         &remote->in_attachment);
	look_for_out(remote, call->n_tasks * task->in_size, call->n_tasks * task->out_size);
}

/* Whoever moves bytes moves no memory: results come as bytes too, and of the caller's array each
 * batch has the part that it is for.  What all tasks see goes once to each worker. */
static void look_for_bytes(struct remote *remote)
{
	const struct call *call = remote->call;

	if (call->shared != NULL && call->shared_size > BROADCAST_BYTES)
		copy_there(call->shared, call->shared_size, SHARED_BROADCAST, &remote->shared_copy,
		           &remote->shared, &remote->shared_attachment);
}

/* Once a call. */
static void look_once(struct remote *remote, int is_moved)
{
	if (remote->has_looked)
		return;
	remote->has_looked = 1;
	remote->shared = remote->in = remote->out = (struct wire_ref){0, 0};
	remote->shared_attachment = remote->in_attachment = remote->out_attachment = NULL;
	if (is_moved)
		look_for_bytes(remote);
	else
		look_for_memory(remote);
}

static int append(const par_attachment ***list, uint32_t *n, uint32_t *room,
                  const par_attachment *attachment)
{
	uint32_t more = *room > 0 ? 2 * *room : 16;
	const par_attachment **grown;

	if (*n == *room) {
		grown = reallocarray(*list, more, sizeof(const par_attachment *));
		if (grown == NULL)
			return -1;
		*list = grown;
		*room = more;
	}
	(*list)[(*n)++] = attachment;
	return 0;
}

static int need(struct remote *remote, const par_attachment *attachment)
{
	if (attachment == NULL)
		return 0;
	return append(&remote->attachments, &remote->n_attachments, &remote->room_attachments, attachment);
}

/* --- payloads that do not go with the batch ------------------------------------------------------- */

static int keep_copy(struct parcel *parcel, struct shared_copy *copy)
{
	uint32_t room = parcel->room_copies > 0 ? 2 * parcel->room_copies : 4;
	struct shared_copy **copies;

	if (parcel->n_copies == parcel->room_copies) {
		copies = reallocarray(parcel->copies, room, sizeof(*copies));
		if (copies == NULL)
			return -1;
		parcel->copies = copies;
		parcel->room_copies = room;
	}
	parcel->copies[parcel->n_copies++] = copy;
	return 0;
}

/* Only what stays where the caller has it can be found there. */
static int is_found(const struct slot *slot, struct wire_ref *ref, const par_attachment **attachment)
{
	return (slot->flags & SLOT_IN_STAYS) && slot->in_size > 0 &&
	       shared_find(slot->in.pointer, slot->in_size, ref, attachment);
}

static int32_t prepare_payloads(struct remote *remote, struct parcel *parcel, par_error *error)
{
	const struct call *call = remote->call;

	for (uint64_t i = 0; i < parcel->n; i++) {
		const struct slot *slot = slots_at(&call->slots, parcel->first + i);
		const par_attachment *attachment = NULL;
		struct shared_copy *copy;
		struct wire_ref ref;

		if (__builtin_expect(!(slot->flags & (SLOT_IN_STAYS | SLOT_IN_ARENA)), 1))
			continue;
		if (!is_found(slot, &ref, &attachment)) {
			if (slot->in_size <= remote->max_nbytes)
				continue;
			/* Without memory for it, it goes with the batch. */
			copy = shared_copy(slot_payload(slot), slot->in_size, remote->mode, NULL);
			if (keep_copy(parcel, copy) < 0) {
				shared_release(copy);
				return error_memory(error, "cannot send a batch");
			}
			attachment = copy != NULL ? shared_copy_attachment(copy) : NULL;
		}
		if (need(remote, attachment) < 0)
			return error_memory(error, "cannot send a batch");
	}
	return PAR_OK;
}

/* Is it one that may go once for all tasks that have it? */
static int is_large(const struct remote *remote, const struct slot *slot)
{
	return __builtin_expect(slot->flags & (SLOT_IN_STAYS | SLOT_IN_ARENA), 0) &&
	       slot->in_size > remote->max_nbytes;
}

static int is_needed(const struct remote *remote, const par_attachment *attachment)
{
	for (uint32_t i = 0; i < remote->n_attachments; i++)
		if (remote->attachments[i] == attachment)
			return 1;
	return 0;
}

/* The same where somebody else moves the bytes, who is told of each attachment once a batch. */
static int32_t look_for_repeated(struct remote *remote, const struct parcel *parcel, par_error *error)
{
	remote->n_payloads = 0;
	for (uint64_t i = 0; i < parcel->n; i++) {
		const struct slot *slot = slots_at(&remote->call->slots, parcel->first + i);
		const par_attachment *attachment;

		if (!is_large(remote, slot))
			continue;
		attachment = repeated_find(&remote->repeated, slot_payload(slot), slot->in_size);
		if (append(&remote->payloads, &remote->n_payloads, &remote->room_payloads, attachment) < 0 ||
		    (!is_needed(remote, attachment) && need(remote, attachment) < 0))
			return error_memory(error, "cannot send a batch");
	}
	return PAR_OK;
}

int32_t remote_prepare(struct remote *remote, uint32_t place, par_channel *channel,
                       par_error *error)
{
	struct parcel *parcel = &remote->parcels[place];
	int32_t status = know_tasks(remote, error);

	if (status == PAR_OK)
		status = check_worker(remote, channel, error);
	if (status < 0)
		return status;
	look_once(remote, channel == NULL);
	parcel->channel = channel;
	remote->n_attachments = 0;
	if (need(remote, remote->shared_attachment) < 0 || need(remote, remote->in_attachment) < 0 ||
	    need(remote, remote->out_attachment) < 0)
		return error_memory(error, "cannot send a batch");
	for (uint32_t i = 0; channel == NULL && i < remote->n_modules; i++)
		if (need(remote, remote->contents[i]) < 0)
			return error_memory(error, "cannot send a batch");
	if (!remote->call->is_stream)
		return PAR_OK;
	return channel != NULL ? prepare_payloads(remote, parcel, error)
	                       : look_for_repeated(remote, parcel, error);
}

/* --- the frame ------------------------------------------------------------------------------------- */

/* By a channel the worker says in shared memory what it is at.  Elsewhere it takes a frame each
 * time, which is asked for where a task is timed, and where one may have killed a worker. */
static int says_starts(const struct remote *remote, const struct parcel *parcel)
{
	return remote->says_starts ||
	       (parcel->channel == NULL && (parcel->is_careful || remote->call->task_timeout_ns > 0));
}

static void fill_head(struct remote *remote, const struct parcel *parcel)
{
	const struct call *call = remote->call;
	const char *const *option = call->context.options;
	struct wire_batch *batch = remote->batch;

	batch->batch = parcel->handle;
	batch->head.call = remote->number;
	batch->head.seed = call->seed;
	batch->head.task_timeout_ns = call->task_timeout_ns;
	batch->head.level = call->context.level;
	batch->head.depth = call->context.depth;
	batch->head.nested_n_jobs = call->context.n_jobs;
	batch->head.cores = call->context.cores;
	batch->head.sharers = call->context.sharers;
	batch->head.inner_max_num_threads = call->context.inner_max_num_threads;
	batch->head.chained = call->context.chained;
	batch->head.oversubscribe = call->context.oversubscribe;
	batch->head.is_below_threads = call->context.is_below_threads;
	batch->head.flags = (call->is_stream ? 0 : WIRE_IS_RANGE) |
	                    (says_starts(remote, parcel) ? WIRE_SAY_STARTS : 0) |
	                    (remote->stops_at_failure ? WIRE_STOP_AT_FAILURE : 0) |
	                    (call->shared != NULL ? WIRE_HAS_SHARED : 0);
	batch->head.shared = remote->shared;
	batch->head.shared_size = call->shared_size;
	batch->head.n = parcel->n;
	batch->head.worker = parcel->worker >= 0 && parcel->worker < UINT16_MAX
	                             ? (uint16_t)(parcel->worker + 1)
	                             : 0;
	batch->shared = remote->shared.id == 0 ? call->shared : NULL;
	batch->backend = call->context.backend;
	batch->chain = call->context.chain;
	batch->around = call->context.around;
	batch->head.n_options = 0;
	for (; option != NULL && *option != NULL; option++)
		(void)wire_batch_option(batch, *option);
}

static struct wire_ref part_of(const struct wire_ref *whole, uint64_t offset)
{
	return whole->id == 0 ? *whole : (struct wire_ref){whole->id, whole->offset + offset};
}

static void encode_range(struct remote *remote, const struct parcel *parcel,
                         struct wire_writer *writer)
{
	const struct call *call = remote->call;
	const par_task *task = call->tasks[0];
	struct wire_batch *batch = remote->batch;

	batch->range = (struct wire_range){
		.first = parcel->first,
		.in = part_of(&remote->in, parcel->first * task->in_size),
		.out = part_of(&remote->out, parcel->first * task->out_size),
		.in_size = task->in_size,
		.out_size = task->out_size,
		.piece = call->is_single || parcel->is_careful ? 1 : 0,
		.attempt = (uint32_t)parcel->attempt,
	};
	batch->in = remote->in.id == 0 ? (const char *)call->in + parcel->first * task->in_size : NULL;
	wire_put_range(writer, batch);
}

/* Where that one of a batch's large payloads was put; NULL: nowhere. */
static const par_attachment *large_at(const struct remote *remote, const struct parcel *parcel, uint32_t i)
{
	if (parcel->channel == NULL)
		return remote->payloads[i];
	return parcel->copies[i] != NULL ? shared_copy_attachment(parcel->copies[i]) : NULL;
}

/* n_large: of those before it in the batch. */
static void encode_slot(const struct remote *remote, struct parcel *parcel, uint64_t index,
                        uint32_t *n_large, struct wire_writer *writer)
{
	const struct slot *slot = slots_at(&remote->call->slots, index);
	const par_attachment *attachment = NULL;
	struct wire_item item = {
		.head = {index, slot->in_size, (uint16_t)parcel->attempt, (uint8_t)slot->task,
	                 WIRE_ITEM_ATTACHED},
	};

	if (parcel->channel != NULL && is_found(slot, &item.ref, &attachment)) {
		wire_put_attached(writer, &item);
		return;
	}
	if (is_large(remote, slot)) {
		attachment = large_at(remote, parcel, (*n_large)++);
		if (attachment != NULL) {
			item.ref.id = attachment->id;
			wire_put_attached(writer, &item);
			return;
		}
	}
	wire_put_item(writer, index, (uint8_t)slot->task, (uint16_t)parcel->attempt,
	              slot_payload(slot), slot->in_size);
}

void remote_encode(struct remote *remote, uint32_t place, uint64_t handle, struct wire_writer *writer)
{
	struct parcel *parcel = &remote->parcels[place];
	uint32_t n_large = 0;

	parcel->handle = handle;
	fill_head(remote, parcel);
	if (!remote->call->is_stream) {
		encode_range(remote, parcel, writer);
		return;
	}
	wire_begin_list(writer, remote->batch);
	for (uint64_t i = 0; i < parcel->n; i++)
		encode_slot(remote, parcel, parcel->first + i, &n_large, writer);
	wire_end_list(writer, parcel->n);
}

static const char *first_name(const struct remote *remote, const struct parcel *parcel)
{
	const struct call *call = remote->call;

	return call->tasks[call->is_stream ? slots_at(&call->slots, parcel->first)->task : 0]->name;
}

int32_t remote_bytes(struct remote *remote, uint32_t place, uint64_t handle, par_encoded *encoded,
                     par_error *error)
{
	struct parcel *parcel = &remote->parcels[place];
	size_t n_attachments = sizeof(const par_attachment *);
	par_encoded whole;
	int32_t status = remote_prepare(remote, place, NULL, error);

	if (status < 0)
		return status;
	if (parcel->carriage == NULL)
		parcel->carriage = calloc(1, sizeof(*parcel->carriage));
	if (parcel->carriage == NULL)
		return error_memory(error, "cannot encode a batch");
	wire_writer_clear(&parcel->carriage->bytes);
	remote_encode(remote, place, handle, &parcel->carriage->bytes);
	n_attachments *= remote->n_attachments > 0 ? remote->n_attachments : 1;
	free(parcel->carriage->attachments);
	parcel->carriage->attachments = malloc(n_attachments);
	if (parcel->carriage->bytes.failed || parcel->carriage->attachments == NULL)
		return error_memory(error, "cannot encode a batch");
	if (remote->n_attachments > 0)
		memcpy(parcel->carriage->attachments, remote->attachments, n_attachments);
	whole = (par_encoded){
		.size = encoded->size,
		.n_attachments = remote->n_attachments,
		.bytes = parcel->carriage->bytes.bytes,
		.n_bytes = parcel->carriage->bytes.used,
		.attachments = parcel->carriage->attachments,
		.name = first_name(remote, parcel),
		.n_tasks = parcel->n,
	};
	/* The caller's may be an older one, or a newer. */
	memcpy(encoded, &whole, encoded->size < sizeof(whole) ? encoded->size : sizeof(whole));
	return PAR_OK;
}
