#include "wire_batch.h"

#include <parloop/task.h>

/* --- writing ------------------------------------------------------------------------------- */

void wire_batch_init(struct wire_batch *batch)
{
	/* The tables are long, and what is not in use of them is not looked at. */
	memset(batch, 0, offsetof(struct wire_batch, modules));
	batch->options[0] = NULL;
}

int wire_batch_module(struct wire_batch *batch, const struct wire_module *module)
{
	if (batch->head.n_modules == WIRE_MODULES)
		return -1;
	batch->modules[batch->head.n_modules] = *module;
	return batch->head.n_modules++;
}

int wire_batch_task(struct wire_batch *batch, const struct wire_task *task)
{
	if (batch->head.n_tasks_known == WIRE_TASKS)
		return -1;
	batch->tasks[batch->head.n_tasks_known] = *task;
	return batch->head.n_tasks_known++;
}

int wire_batch_option(struct wire_batch *batch, const char *option)
{
	if (batch->head.n_options == WIRE_OPTIONS)
		return -1;
	batch->options[batch->head.n_options] = option;
	batch->options[batch->head.n_options + 1] = NULL;
	return batch->head.n_options++;
}

static void put_tables(struct wire_writer *writer, const struct wire_batch *batch)
{
	wire_put_text(writer, batch->backend);
	wire_put_text(writer, batch->chain);
	wire_put_text(writer, batch->around);
	for (int i = 0; i < batch->head.n_options; i++)
		wire_put_text(writer, batch->options[i]);
	for (int i = 0; i < batch->head.n_modules; i++) {
		const struct wire_module *module = &batch->modules[i];
		struct wire_module_head head = {module->attachment, module->is_program != 0,
		                                module->id.size, {0}, {0}};

		memcpy(head.id, module->id.bytes, sizeof(head.id));
		wire_put(writer, &head, sizeof(head));
		wire_put_text(writer, module->path);
	}
	for (int i = 0; i < batch->head.n_tasks_known; i++) {
		const struct wire_task *task = &batch->tasks[i];
		struct wire_task_head head = {(uint16_t)task->module, (uint16_t)task->kind,
		                              task->in_size, task->out_size,
		                              task->address != 0 ? WIRE_TASK_BY_ADDRESS : 0};

		wire_put(writer, &head, sizeof(head));
		wire_put_text(writer, task->name);
		if (task->address != 0)
			wire_put(writer, &task->address, sizeof(task->address));
	}
}

static void begin(struct wire_writer *writer, const struct wire_batch *batch, uint32_t flags)
{
	struct wire_batch_head head = batch->head;

	head.flags = (head.flags & ~(uint32_t)WIRE_IS_RANGE) | flags;
	wire_begin(writer, WIRE_BATCH, batch->batch);
	wire_put(writer, &head, sizeof(head));
	put_tables(writer, batch);
	if ((head.flags & WIRE_HAS_SHARED) && head.shared.id == 0)
		wire_put_bytes(writer, batch->shared, (size_t)head.shared_size);
}

void wire_put_range(struct wire_writer *writer, const struct wire_batch *batch)
{
	begin(writer, batch, WIRE_IS_RANGE);
	wire_put(writer, &batch->range, sizeof(batch->range));
	if (batch->range.in.id == 0)
		wire_put_bytes(writer, batch->in, (size_t)(batch->head.n * batch->range.in_size));
	wire_end(writer);
}

void wire_begin_list(struct wire_writer *writer, const struct wire_batch *batch)
{
	begin(writer, batch, 0);
}

void wire_end_list(struct wire_writer *writer, uint64_t n)
{
	const size_t place = sizeof(struct wire_head) + offsetof(struct wire_batch_head, n);

	if (!writer->failed)
		memcpy(writer->bytes + writer->frame + place, &n, sizeof(n));
	wire_end(writer);
}

void wire_put_attached(struct wire_writer *writer, const struct wire_item *item)
{
	struct wire_item_head head = item->head;

	head.flags |= WIRE_ITEM_ATTACHED;
	wire_put(writer, &head, sizeof(head));
	wire_put(writer, &item->ref, sizeof(item->ref));
}

void wire_put_apart(struct wire_writer *writer, const struct wire_item_head *head,
                    const void *payload)
{
	wire_put(writer, head, sizeof(*head));
	wire_put_bytes(writer, payload, head->size);
}

/* --- reading -------------------------------------------------------------------------------- */

static int32_t get_head(struct wire_cursor *body, struct wire_batch *batch, par_error *error)
{
	struct wire_batch_head *head = &batch->head;

	if (wire_get(body, head, sizeof(*head)) < 0)
		return wire_refuse(error, "a batch of %zu bytes, its head alone has %zu", body->left,
		                   sizeof(*head));
	if (head->flags & ~(uint32_t)(WIRE_IS_RANGE | WIRE_SAY_STARTS | WIRE_STOP_AT_FAILURE |
	                              WIRE_HAS_SHARED))
		return wire_refuse(error, "a batch with unknown flags (0x%x)", (unsigned)head->flags);
	if (head->n_options > WIRE_OPTIONS || head->n_modules > WIRE_MODULES ||
	    head->n_tasks_known > WIRE_TASKS)
		return wire_refuse(error, "a batch with %u options, %u modules, %u tasks to know; "
		                   "at most %d, %d, %d are taken", head->n_options, head->n_modules,
		                   head->n_tasks_known, WIRE_OPTIONS, WIRE_MODULES, WIRE_TASKS);
	if (head->n_tasks_known == 0)
		return wire_refuse(error, "a batch that names no task");
	return PAR_OK;
}

static int32_t get_nested(struct wire_cursor *body, struct wire_batch *batch, par_error *error)
{
	if (wire_get_text(body, &batch->backend) < 0 || wire_get_text(body, &batch->chain) < 0 ||
	    wire_get_text(body, &batch->around) < 0)
		return wire_refuse(error, "the name of a backend, for calls inside or around, is cut");
	for (int i = 0; i < batch->head.n_options; i++)
		if (wire_get_text(body, &batch->options[i]) < 0 || batch->options[i] == NULL)
			return wire_refuse(error, "option %d of the nested backend is cut", i);
	batch->options[batch->head.n_options] = NULL;
	return PAR_OK;
}

static int32_t get_module(struct wire_cursor *body, struct wire_module *module, int i,
                          par_error *error)
{
	struct wire_module_head head;

	if (wire_get(body, &head, sizeof(head)) < 0 || wire_get_text(body, &module->path) < 0)
		return wire_refuse(error, "task module %d is cut", i);
	if (head.id_size > ELF_ID)
		return wire_refuse(error, "task module %d has an id of %u bytes, at most %d are taken", i,
		                   (unsigned)head.id_size, ELF_ID);
	if (module->path == NULL)
		return wire_refuse(error, "task module %d has no path", i);
	module->attachment = head.attachment;
	module->is_program = head.is_program != 0;
	module->id.size = head.id_size;
	memcpy(module->id.bytes, head.id, sizeof(head.id));
	return PAR_OK;
}

/* Where it is, if it is said so, else 0.  0, or -1: it is cut. */
static int get_address(struct wire_cursor *body, const struct wire_task_head *head,
                       uint64_t *address)
{
	*address = 0;
	if (!(head->flags & WIRE_TASK_BY_ADDRESS))
		return 0;
	return wire_get(body, address, sizeof(*address)) < 0 || *address == 0 ? -1 : 0;
}

static int32_t get_task(struct wire_cursor *body, struct wire_batch *batch, int i,
                        par_error *error)
{
	struct wire_task *task = &batch->tasks[i];
	struct wire_task_head head;

	if (wire_get(body, &head, sizeof(head)) < 0 || wire_get_text(body, &task->name) < 0 ||
	    task->name == NULL || get_address(body, &head, &task->address) < 0)
		return wire_refuse(error, "task %d of the table is cut", i);
	if (head.flags & ~(uint32_t)WIRE_TASK_BY_ADDRESS)
		return wire_refuse(error, "task %d of the table has unknown flags (0x%x)", i,
		                   (unsigned)head.flags);
	if (task->address == 0 && head.module >= batch->head.n_modules)
		return wire_refuse(error, "task %d of the table is of module %u, there are %u", i,
		                   head.module, batch->head.n_modules);
	if (head.kind != PAR_TASK_TYPED && head.kind != PAR_TASK_BYTES)
		return wire_refuse(error, "task %d of the table is of kind %u", i, head.kind);
	if (head.kind == PAR_TASK_TYPED && (head.in_size == 0 || head.out_size == 0))
		return wire_refuse(error, "task %d of the table maps %u bytes to %u", i,
		                   (unsigned)head.in_size, (unsigned)head.out_size);
	task->module = head.module;
	task->kind = head.kind;
	task->in_size = head.in_size;
	task->out_size = head.out_size;
	return PAR_OK;
}

static int32_t get_shared(struct wire_cursor *body, struct wire_batch *batch, par_error *error)
{
	const struct wire_batch_head *head = &batch->head;

	batch->shared = NULL;
	if (!(head->flags & WIRE_HAS_SHARED)) {
		if (head->shared.id != 0 || head->shared_size != 0)
			return wire_refuse(error, "a batch with a shared value, and not");
		return PAR_OK;
	}
	if (head->shared.id != 0)
		return PAR_OK;
	batch->shared = wire_take(body, head->shared_size);
	if (batch->shared == NULL)
		return wire_refuse(error, "a shared value of %llu bytes is cut",
		                   (unsigned long long)head->shared_size);
	return PAR_OK;
}

static int32_t get_range(struct wire_cursor *body, struct wire_batch *batch, par_error *error)
{
	struct wire_range *range = &batch->range;
	const struct wire_task *task = &batch->tasks[0];
	uint64_t n = batch->head.n, in_bytes, out_bytes, last;

	batch->in = NULL;
	if (wire_get(body, range, sizeof(*range)) < 0)
		return wire_refuse(error, "a range is cut");
	if (batch->head.n_tasks_known != 1 || task->kind != PAR_TASK_TYPED ||
	    task->in_size != range->in_size || task->out_size != range->out_size)
		return wire_refuse(error, "a range of %u to %u bytes, not of its task's %u to %u",
		                   (unsigned)range->in_size, (unsigned)range->out_size,
		                   (unsigned)task->in_size, (unsigned)task->out_size);
	if (__builtin_mul_overflow(n, range->in_size, &in_bytes) ||
	    __builtin_mul_overflow(n, range->out_size, &out_bytes) ||
	    __builtin_add_overflow(range->first, n, &last))
		return wire_refuse(error, "a range of %llu tasks from %llu", (unsigned long long)n,
		                   (unsigned long long)range->first);
	if (range->in.id != 0)
		return PAR_OK;
	batch->in = wire_take(body, in_bytes);
	if (batch->in == NULL)
		return wire_refuse(error, "a range of %llu values of %u bytes is cut",
		                   (unsigned long long)n, (unsigned)range->in_size);
	return PAR_OK;
}

static int32_t refuse_item(const struct wire_batch *batch, const struct wire_item_head *head,
                           uint64_t i, par_error *error)
{
	if (head->task >= batch->head.n_tasks_known)
		return wire_refuse(error, "item %llu is of task %u, there are %u", (unsigned long long)i,
		                   head->task, batch->head.n_tasks_known);
	if (head->flags & ~WIRE_ITEM_ATTACHED)
		return wire_refuse(error, "item %llu has unknown flags (0x%x)", (unsigned long long)i,
		                   head->flags);
	return wire_refuse(error, "item %llu has %u bytes, its task takes %u", (unsigned long long)i,
	                   (unsigned)head->size, (unsigned)batch->tasks[head->task].in_size);
}

/* Walk over all of them, so that who runs them need not look twice, and a batch that is
 * damaged at its end runs no task at all. */
static int32_t get_items(struct wire_cursor *body, struct wire_batch *batch, par_error *error)
{
	const struct wire_task *tasks = batch->tasks;
	const unsigned n_tasks = batch->head.n_tasks_known;
	struct wire_item_head head;

	batch->items = *body;
	for (uint64_t i = 0; i < batch->head.n; i++) {
		if (wire_get(body, &head, sizeof(head)) < 0)
			return wire_refuse(error, "a list of %llu tasks is cut after %llu",
			                   (unsigned long long)batch->head.n, (unsigned long long)i);
		if (head.task >= n_tasks || (head.flags & ~WIRE_ITEM_ATTACHED) ||
		    (tasks[head.task].kind == PAR_TASK_TYPED && head.size != tasks[head.task].in_size))
			return refuse_item(batch, &head, i, error);
		if (wire_take(body, head.flags & WIRE_ITEM_ATTACHED ? sizeof(struct wire_ref)
		                                                    : head.size) == NULL)
			return wire_refuse(error, "item %llu of %u bytes is cut", (unsigned long long)i,
			                   (unsigned)head.size);
	}
	return PAR_OK;
}

int32_t wire_get_batch(const struct wire_frame *frame, struct wire_batch *batch, par_error *error)
{
	struct wire_cursor body = wire_body(frame);
	int32_t status;

	wire_batch_init(batch);
	batch->batch = frame->batch;
	status = get_head(&body, batch, error);
	if (status == PAR_OK)
		status = get_nested(&body, batch, error);
	for (int i = 0; status == PAR_OK && i < batch->head.n_modules; i++)
		status = get_module(&body, &batch->modules[i], i, error);
	for (int i = 0; status == PAR_OK && i < batch->head.n_tasks_known; i++)
		status = get_task(&body, batch, i, error);
	if (status == PAR_OK)
		status = get_shared(&body, batch, error);
	if (status == PAR_OK && (batch->head.flags & WIRE_IS_RANGE))
		status = get_range(&body, batch, error);
	else if (status == PAR_OK)
		status = get_items(&body, batch, error);
	if (status == PAR_OK && body.left > 0)
		status = wire_refuse(error, "%zu bytes are left after the batch", body.left);
	return status;
}
