/* engine.h - a backend at work for a par_parallel, with all that its workers see of a call:
 * the seats, the slots, the replies.
 *
 * A call that must not wait for its running tasks (a time-out on a backend that cannot
 * kill) leaves its engine behind, whole, and the next call gets another: so a late task finds
 * everything where it was.  [loop] */
#ifndef CORE_ENGINE_H
#define CORE_ENGINE_H

#include "batcher.h"
#include "conf.h"
#include "instance.h"
#include "nesting.h"
#include "ticket.h"

struct engine {
	struct instance instance; /* first: a plugin's way back */
	struct call call;
	struct batcher batcher;
	struct nesting nesting; /* what the context of its tasks points at */
	int is_up, has_equipment, has_slots;
	int in_call;           /* its backend's start_call() was called   */
	int stands_in;         /* for one that runs tasks inside submit() */
	uint64_t slots_asked;  /* what the ring was made for      */
	uint64_t slots_taken;  /* left behind: tasks in the slots */
	const par_task *timed; /* of which is remembered what it is like */
	struct engine *next;   /* of those left behind            */
};

/* Which backend, for what; nothing of it runs yet.  settings are its "key=value" options, and
 * stay until it is up.  NULL: no memory. */
struct engine *engine_create(struct loop *loop, const struct provider *provider,
                             const char *const *settings, const struct par_call *wants,
                             int n_jobs_is_set);

/* Once its backend is up: seats and arenas for its n_jobs. */
int32_t engine_equip(struct engine *engine, const struct conf *conf, par_error *error);

/* Towards being up, or gone; PAR_PENDING: the loop will be notified. */
int32_t engine_step(struct engine *engine, enum instance_goal goal, par_error *error);

/* Left behind: 1 once the last of its tasks has come back. */
int engine_is_deserted(struct engine *engine);

/* Once its instance is gone, or was never made. */
void engine_free(struct engine *engine);

#endif
