/* dispatcher.h - how many tasks to take from the source, and how many batches to have out.
 *
 * Before the first task has completed, pre_dispatch bounds what is taken;
 * afterwards a window bounds what was taken and not delivered, so a slow sink
 * slows everything down instead of filling the memory.  Told everything, it
 * touches no clock, descriptor or thread.  [loop] */
#ifndef CORE_DISPATCHER_H
#define CORE_DISPATCHER_H

#include "arena.h"
#include "call.h"

struct dispatcher {
	par_source_fn source;
	void *user;
	const par_task *task; /* of items that name none; may be NULL */
	uint64_t pre_dispatch; /* tasks; UINT64_MAX: all */
	uint64_t window;       /* tasks taken and not delivered, from the first completion on */
	uint64_t room;         /* places of the ring, which nothing may overrun */
	uint64_t turn;         /* tasks to take before others have their turn; 0: any number */

	uint64_t taken;
	int exhausted;
	int waits; /* the source had none yet; whoever hears of one sets this back */
	int64_t payload_bytes; /* of large payloads under way */
	int copies_all; /* also what stays: it may be read after it was delivered */
	int has_callers_memory; /* a payload was not copied */
	int has_late; /* a task was delivered before it was over, and has its place a while longer */
	struct arena payloads;
};

/* Take what may be taken: fill slots, publish them.  delivered is the number of tasks
 * delivered, oldest the lowest not delivered, completed whether any is over.
 * PAR_OK, or why the call must end: PAR_ESOURCE, PAR_EINVAL, PAR_ENOMEM. */
int32_t dispatcher_take(struct dispatcher *dispatcher, struct call *call, uint64_t delivered,
                        uint64_t oldest, int completed, par_error *error);

/* A slot is about to be cleared: its payload is not under way any more. */
void dispatcher_delivered(struct dispatcher *dispatcher, const struct slot *slot);

/* May more be taken? */
int dispatcher_may_take(const struct dispatcher *dispatcher, const struct call *call,
                        uint64_t delivered, uint64_t oldest, int completed);

/* How many batches to send now, of those that may be out at once, due being the tasks that
 * are to be tried again now. */
uint32_t dispatcher_batches(const struct call *call, uint32_t out, uint32_t allowed, uint32_t due);

/* Is the description of a task sound?  PAR_EINVAL says what is not. */
int32_t dispatcher_check_task(const par_task *task, par_error *error);

#endif
