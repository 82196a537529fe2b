/* wire_batch.h - a batch as bytes: what a worker in another address space needs to run some
 * tasks as if it were a thread of the caller's, and nothing that has to be asked for.
 *
 * The body of a frame WIRE_BATCH, after which nothing follows:
 *
 *	struct wire_batch_head            136 bytes, below
 *	text                              name of the backend for calls inside the tasks
 *	text, text                        chain and around of their struct context
 *	text * n_options                  "key=value" of that backend
 *	module * n_modules                struct wire_module_head, 64 bytes; text: its path
 *	task * n_tasks_known              struct wire_task_head, 16 bytes; text: its name; u64: where
 *	                                  it is, if it is said so (WIRE_TASK_BY_ADDRESS)
 *	bytes                             the call's shared value, if shared.id is 0
 *	the tasks of the batch:
 *	  a range of an array             n values of in_size bytes, if in.id is 0; else nothing,
 *	                                  they lie in an attachment
 *	  a list                          n times struct wire_item_head, 16 bytes, and its payload,
 *	                                  or a struct wire_ref to it (WIRE_ITEM_ATTACHED)
 *
 * A batch that is a range is one of a single task, and its values go out as they came: into an
 * attachment, or in the answer.  Everything is padded to a multiple of 8. */
#ifndef CORE_WIRE_BATCH_H
#define CORE_WIRE_BATCH_H

#include "elf_file.h"
#include "wire.h"

enum { WIRE_MODULES = 64, WIRE_TASKS = 256, WIRE_OPTIONS = 64 };

/* flags of a batch */
enum {
	WIRE_IS_RANGE = 1,
	WIRE_SAY_STARTS = 2,      /* a frame WIRE_STARTED before each task, or piece of a range  */
	WIRE_STOP_AT_FAILURE = 4, /* what comes after a task that failed does not run            */
	WIRE_HAS_SHARED = 8       /* the call has a .shared; it may be empty                     */
};

enum { WIRE_ITEM_ATTACHED = 1 };

/* Of a task: it is where it was in the caller's memory, which its worker, a fork of the caller,
 * has too.  It need be in no file, and module means nothing. */
enum { WIRE_TASK_BY_ADDRESS = 1 };

struct wire_batch_head {
	uint64_t call;
	uint64_t seed;
	int64_t task_timeout_ns; /* 0: none; the core's to enforce, a task may want to know  */
	uint32_t flags;
	int32_t level;           /* of nesting, for calls inside the tasks                   */
	int32_t depth;           /* of the tasks themselves: env->level                      */
	int32_t nested_n_jobs;   /* 0: unset                                                 */
	int32_t cores, sharers;  /* of calls inside: struct context                          */
	int32_t inner_max_num_threads;
	int32_t chained;
	int32_t is_below_threads;
	int32_t oversubscribe;
	uint16_t n_options, n_modules, n_tasks_known;
	uint16_t worker;         /* its number for this batch, plus 1; 0: as it was started  */
	struct wire_ref shared;  /* id 0: inline                                             */
	uint64_t shared_size;
	struct wire_ref stopping; /* an int32_t there is not 0 once the call ends early      */
	struct wire_ref now;     /* a struct wire_now there says which task runs             */
	uint64_t n;              /* tasks                                                    */
};

_Static_assert(sizeof(struct wire_batch_head) == 136, "the head of a batch has its size");

/* Of a range, after the tables. */
struct wire_range {
	uint64_t first;      /* index of its first task                                      */
	struct wire_ref in;  /* id 0: inline; of the range's first value, not the array's     */
	struct wire_ref out; /* id 0: in the answer                                          */
	uint32_t in_size, out_size;
	uint32_t piece;      /* tasks in a chunk that is acknowledged; 0: as many as are short */
	uint32_t attempt;
};

/* In shared memory: who runs a task says so before it begins, for others to see if it
 * crashes or takes too long.  Costs no system call. */
struct wire_now {
	uint64_t batch;      /* 0: none is running                                           */
	uint64_t index;
	uint64_t n;          /* tasks of a range's piece, of which it may be any             */
	int64_t begin_ns;    /* CLOCK_MONOTONIC; written last                                */
	int64_t peak_memory; /* of the worker, when it last looked; bytes, 0: unknown        */
};

struct wire_module_head {
	uint64_t attachment; /* that has its bytes; 0: the file lies at its path             */
	uint32_t is_program; /* the caller's own program, not a shared object                */
	uint32_t id_size;
	uint8_t id[ELF_ID];  /* struct elf_id                                                */
	uint8_t sha256_reserved[16];
};

struct wire_task_head {
	uint16_t module;
	uint16_t kind;       /* PAR_TASK_TYPED, PAR_TASK_BYTES                               */
	uint32_t in_size, out_size;
	uint32_t flags;
};

struct wire_item_head {
	uint64_t index;
	uint32_t size;       /* of the payload                                               */
	uint16_t attempt;
	uint8_t task;        /* in the table                                                 */
	uint8_t flags;
};

_Static_assert(sizeof(struct wire_range) == 56, "a range has its size");
_Static_assert(sizeof(struct wire_module_head) == 64, "a module has its size");
_Static_assert(sizeof(struct wire_task_head) == 16, "a task has its size");
_Static_assert(sizeof(struct wire_item_head) == 16, "an item has its size");

/* A batch, to be written or as it was read; texts and bytes are the owner's, or lie in the
 * frame. */
struct wire_module {
	const char *path;
	uint64_t attachment;
	int is_program;
	struct elf_id id;
};

struct wire_task {
	const char *name;
	uint32_t module;
	int32_t kind;
	uint32_t in_size, out_size;
	uint64_t address;    /* of its par_task; 0: it is found in the module by its name    */
};

struct wire_batch {
	uint64_t batch; /* the frame's */
	struct wire_batch_head head; /* its counts are set by what is added */
	const char *backend, *chain, *around; /* NULL: none */
	const void *shared; /* inline, or NULL */
	struct wire_range range;
	const void *in; /* inline, or NULL */
	struct wire_cursor items; /* read: of a list, those not yet asked for */
	struct wire_module modules[WIRE_MODULES];
	struct wire_task tasks[WIRE_TASKS];
	const char *options[WIRE_OPTIONS + 1]; /* ends in NULL */
};

struct wire_item {
	struct wire_item_head head;
	const void *payload; /* NULL: attached */
	struct wire_ref ref;
};

/* --- writing ----------------------------------------------------------------------------- */

/* Start over, with nothing in it; the rest of the head is the caller's to set. */
void wire_batch_init(struct wire_batch *batch);

/* Add to the tables; return the place there, or -1 if they are full. */
int wire_batch_module(struct wire_batch *batch, const struct wire_module *module);
int wire_batch_task(struct wire_batch *batch, const struct wire_task *task);
int wire_batch_option(struct wire_batch *batch, const char *option);

/* A whole frame with a range of head.n tasks, as range and in say. */
void wire_put_range(struct wire_writer *writer, const struct wire_batch *batch);

/* A frame with a list: its begin, as head says but for n; each item; its end.  Payloads that
 * stay apart (wire_writer_init) must do so until the frame was sent. */
void wire_begin_list(struct wire_writer *writer, const struct wire_batch *batch);
void wire_end_list(struct wire_writer *writer, uint64_t n);
void wire_put_attached(struct wire_writer *writer, const struct wire_item *item);
void wire_put_apart(struct wire_writer *writer, const struct wire_item_head *head,
                    const void *payload);

static inline void wire_put_item(struct wire_writer *writer, uint64_t index, uint8_t task,
                                 uint16_t attempt, const void *payload, uint32_t size)
{
	const struct wire_item_head head = {index, size, attempt, task, 0};
	char *room;

	if (writer->stays > 0 && size >= writer->stays) {
		wire_put_apart(writer, &head, payload);
		return;
	}
	room = wire_room(writer, sizeof(head) + (size_t)wire_padded(size));
	if (__builtin_expect(room == NULL, 0))
		return;
	memcpy(room, &head, sizeof(head));
	room += sizeof(head);
	if (size % 8 != 0)
		memset(room + (size & ~UINT32_C(7)), 0, 8);
	if (size > 0)
		memcpy(room, payload, size);
}

/* --- reading ------------------------------------------------------------------------------ */

/* What is in a frame WIRE_BATCH, each count and place of it checked, those of every item too;
 * what an attachment is to hold is not known here. */
int32_t wire_get_batch(const struct wire_frame *frame, struct wire_batch *batch,
                       par_error *error);

/* The next item of a list that wire_get_batch() has checked; 0: there are no more. */
static inline int wire_next_item(struct wire_batch *batch, struct wire_item *item)
{
	if (batch->items.left == 0)
		return 0;
	memcpy(&item->head, batch->items.at, sizeof(item->head));
	batch->items.at += sizeof(item->head);
	batch->items.left -= sizeof(item->head);
	if (__builtin_expect(item->head.flags & WIRE_ITEM_ATTACHED, 0)) {
		item->payload = NULL;
		return wire_get(&batch->items, &item->ref, sizeof(item->ref)) == 0;
	}
	item->payload = wire_take(&batch->items, item->head.size);
	return item->payload != NULL;
}

#endif
