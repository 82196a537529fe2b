/* call.h - a call as those see it who run its tasks, and what becomes of a task.
 *
 * The tasks stand in the caller's arrays (par_map) or in slots (par_run).  Workers that share
 * our memory run them by themselves (ticket.h); for others the loop sends them and takes the
 * answers (remote.h).  Either says here what came of each. */
#ifndef CORE_CALL_H
#define CORE_CALL_H

#include "arena.h"
#include "context.h"
#include "cursor.h"
#include "events.h"
#include "redo.h"
#include "slots.h"

#include <parloop/parloop.h>

#include <pthread.h>

/* Up to this time a task is short enough to be run on the loop's thread. */
#define SHORT_TASK_NS 500000

enum { CALL_TASKS = 256 }; /* different tasks in one streamed call */

/* What a seat is at, where tasks are timed: the word has the number of its task, counted on
 * the seat, and whose it is, so that worker and loop settle by one compare-and-swap whether
 * it was over in time.
 *
 *   NOTHING -> RUNS -> NOTHING                    in time
 *              RUNS -> TOLD -> OVERDUE, AGAIN     by the loop, which tells of it in between
 *              RUNS -> TOLD -> RUNS               likewise, if it is the call that is late
 *                      OVERDUE, AGAIN -> NOTHING  then its worker comes back: what it brings
 *                                                 is thrown away, and the task is run again
 *                                                 or not */
enum duty_state { DUTY_NOTHING, DUTY_RUNS, DUTY_TOLD, DUTY_OVERDUE, DUTY_AGAIN, DUTY_STATES };

struct duty {
	alignas(CACHE_LINE) _Atomic uint64_t word; /* number * DUTY_STATES + state */
	_Atomic uint64_t index;
	_Atomic int64_t since_ns;
	_Atomic int32_t attempt;
};

/* Why a task failed, for the caller's error. */
struct call_failure {
	uint64_t index;
	int32_t status, code, attempts, worker;
	int32_t pid, signal, exit_code; /* of its worker, if that ended by it; else 0, 0, -1 */
	int64_t peak_memory;            /* bytes; 0: unknown */
	char host[sizeof(((par_error *)0)->host)];
	char type[sizeof(((par_error *)0)->type)];
	char text[sizeof(((par_error *)0)->reason)];
	char trace[sizeof(((par_error *)0)->trace)];
	char input[sizeof(((par_error *)0)->input)];
};

struct call {
	/* set before the first ticket goes out */
	int is_stream, unordered, collect;
	int is_single;          /* something is told of each task, so they run one by one  */
	int is_inline;          /* its worker is the loop's thread                          */
	int64_t task_timeout_ns; /* 0: none                                                 */
	uint32_t retries, retry_on;
	int64_t retry_delay_ns;
	uint64_t seed;
	int32_t *statuses;      /* par_map: the caller's; may be NULL                       */
	const void *in;
	void *out;
	uint64_t n_tasks; /* par_map */
	uint64_t unit;    /* par_map: tasks in a unit of the cursor */
	const par_task *tasks[CALL_TASKS]; /* a stream's first task of a kind adds to it, */
	uint32_t n_tasks_known;            /* before the slot that names it is published   */
	const void *shared;
	uint64_t shared_size;
	struct context context; /* of calls inside its tasks */
	uint32_t n_jobs;
	uint32_t piece;    /* units to take at a time; 0: as many as are short */
	int64_t spin_ns;   /* how long a worker without work looks out for more */
	int64_t (*clock)(void); /* of the workers: monotonic, ns */
	void (*wake)(void *wake_arg); /* the loop; [any] */
	void *wake_arg;

	struct cursor cursor;
	struct slots slots;
	struct arena *arenas; /* of replies: one a seat */
	struct duty *duties;  /* one a seat */
	struct redo redo;
	struct events events;

	/* read by all at every piece, seldom written */
	alignas(CACHE_LINE) _Atomic int32_t stopping;
	_Atomic int32_t hungry;  /* the loop sleeps and wants results            */
	_Atomic int32_t open;    /* stream: more may come, so look out for it    */
	_Atomic int32_t yield;   /* a ticket is to leave, for the loop's thread  */
	_Atomic int32_t helping; /* the loop's thread takes part: quotas do not count */
	_Atomic int32_t nests;   /* tasks make calls: each is run by itself, to know whose they are */

	/* written now and then by all */
	alignas(CACHE_LINE) _Atomic uint32_t seated; /* how many sit */
	_Atomic int64_t task_ns;   /* what tasks take, smoothed; 0: not measured */
	_Atomic int64_t busy_ns;   /* that workers spent on those finished       */
	_Atomic uint64_t finished; /* tasks that were run, as far as told        */
	_Atomic uint64_t redone;   /* of those: to be run again                  */
	_Atomic uint64_t failed;
	_Atomic int64_t reply_bytes; /* in large replies not yet delivered       */
	_Atomic uint64_t done_list;  /* unordered: number + 1 of the task that was over last */

	alignas(CACHE_LINE) pthread_mutex_t lock;
	/* under lock: the failure that is first in order */
	int have_failure;
	struct call_failure failure;
};

/* Empty, without seats; seats, arenas and duties for n_jobs (-1: no memory); the end, of what is
 * there of it. */
void call_init(struct call *call);
int call_seat(struct call *call, uint32_t n_jobs);
void call_finish(struct call *call);

/* End the call early: no piece is taken any more. [any] */
static inline void call_stop(struct call *call)
{
	atomic_store_explicit(&call->stopping, 1, memory_order_release);
}

static inline int call_is_stopping(const struct call *call)
{
	return atomic_load_explicit(&call->stopping, memory_order_relaxed) != 0;
}

/* A task failed for good: remember it if it is the first in order so far, and end the call if
 * it is to end by that.  Adds the input. [any] */
void call_charge(struct call *call, struct call_failure *failure);

/* The task that a seat is at is over its time.  If it has just ended, nothing happens: 0.
 * Else it is charged with that, now, and whatever it brings later is thrown away: 1, it
 * failed, and is in *failure; 2, it will be run again. [loop] */
int call_expire(struct call *call, uint32_t seat, int64_t now_ns, struct call_failure *failure);

/* Nobody is at anything but a task that is over its time, for good. [loop] */
int call_is_only_late(const struct call *call);

/* One that is over its time is to be tried again, once its worker comes back. [loop] */
int call_awaits_retry(const struct call *call);

/* When to look next whether a task is over its time, going by those that run now; those that
 * begin later have all theirs. [loop] */
int64_t call_next_expiry(const struct call *call, int64_t now_ns);

/* The call ran out of time: tell who watches of the tasks that run. [loop] */
void call_tell_late(struct call *call);

/* An input as text, fit for a person. */
void call_describe_input(const void *input, uint64_t size, char *text, size_t room);

/* May a task that was tried before so often be tried again, for that reason?  Then: after
 * a while, which doubles each time; 0: no memory. [any] */
int call_has_other_try(const struct call *call, int32_t attempt, uint32_t reason);
int call_try_again(struct call *call, uint64_t index, int32_t attempt);

/* In place of its reply: why the task in that slot failed, put into that arena. */
void call_fail_slot(struct slot *slot, struct arena *arena, const struct call_failure *failure);

/* For who watches, if anybody does (call->events). [any] */
void call_add_event(struct call *call, int32_t kind, uint64_t index, uint32_t worker,
                    int32_t attempt, const struct call_failure *failure);

/* So many tasks were run in that time, all of them by one worker. [any] */
void call_tell(struct call *call, uint64_t tasks, int64_t ns);

/* A large reply is under way; it is not any more. [any] */
void call_add_reply(struct call *call, uint64_t size);
void call_drop_reply(struct call *call, uint64_t size);

/* A slot is about to be cleared: its reply is not under way any more. [loop] */
void call_forget(struct call *call, const struct slot *slot);

/* Unordered: put some tasks, one after the other, on the list of those that are over. [any] */
void call_list_done(struct call *call, uint64_t first, uint64_t n);

/* Unordered: the task that was over last, plus 1, with the others linked to it by
 * their slots; 0: none.  The list is empty then. [loop] */
uint64_t call_take_done(struct call *call);

/* The number of the task that a slot is linked to, given one not below it. */
static inline uint64_t call_linked(uint64_t above, uint32_t link)
{
	return above - (uint32_t)((uint32_t)above - link);
}

#endif
