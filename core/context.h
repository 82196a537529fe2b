/* context.h - what a thread's calls inherit without being told.
 *
 * A call made inside a task gets level, backend and n_jobs from the call around it: they
 * travel with the batch, and are installed around its tasks on whatever thread runs them.
 * What the program pushed (scope.h) stays on its own thread, and out of the tasks'
 * sight: it is a stack of its own for each thread, and for each ticket that a thread
 * runs. */
#ifndef CORE_CONTEXT_H
#define CORE_CONTEXT_H

#include <stdint.h>

/* Settings that were pushed; scope.c knows them. */
struct par_context {
	struct par_context *outer;
	void (*end)(struct par_context *context); /* frees it */
};

struct context {
	int32_t level;       /* of nesting: 0 outside of any task; a backend may say    */
	int32_t n_jobs;      /* for a nested call that does not say; 0: unset           */
	const char *backend; /* likewise; NULL: unset.  Outlives the tasks that see it. */
	const char *const *options; /* "key=value" of that backend; NULL: none           */
	int32_t depth; /* of nesting, as it is: see level                               */

	/* what nesting.h makes of these; texts outlive the tasks that see them */
	const char *chain;  /* "loky > threading": whose workers this is in, the outermost first; */
	                    /* NULL: nobody's                                            */
	int32_t chained;    /* how many they are                                         */
	const char *around; /* the last of them, without its nested-; NULL: none         */
	int is_below_threads; /* it shares memory with its caller                        */
	int32_t cores;      /* that the calls around may use, 0: the machine's, ...      */
	int32_t sharers;    /* ... by how many workers they are shared; 0: not nested    */
	int32_t oversubscribe; /* calls inside may have more workers than that: 1 yes, -1 no, 0: */
	                    /* nobody said                                               */
	int32_t inner_max_num_threads; /* of OpenMP and the like; 0: nobody said          */

	int is_transparent;  /* tasks see what their own thread has pushed              */
	const struct par_context *overruled; /* what was pushed up to this one does not say on   */
	                     /* which backend: the one above does; NULL: it says        */
	const uint64_t *task; /* the index of the task that runs, while one does         */
	_Atomic int32_t *nests; /* to be set if it makes a call; NULL: nobody wants to know */
};

/* This thread's; and what it has pushed, innermost first, NULL: nothing. */
const struct context *context_current(void);
struct par_context *context_pushed(void);

/* What to come back to. */
struct context_outside {
	struct context context;
	struct par_context *pushed, *floor;
};

/* Install another for a while; at the end of that, what was pushed meanwhile and is still
 * there is ended. */
struct context_outside context_enter(const struct context *context);
void context_leave(const struct context_outside *outside);

/* Who is to know when a task on this thread waits for a call of its own, since another could run in
 * its place. */
struct context_employer {
	void (*tell)(void *arg, int32_t waits); /* NULL: nobody */
	void *arg;
	int waits; /* how deep: what runs while it waits may wait too */
};

/* Work for that one from now on; who it was before, to come back to. */
struct context_employer context_employ(struct context_employer employer);

/* Somebody is told when this thread waits; so it is not to do anything else meanwhile. */
int context_is_employed(void);

/* A task waits, or the program does, for whom nobody is told; and goes on. */
void context_wait(void);
void context_go_on(void);

/* A call begins: tell the task that it is in, if any. */
void context_nest(void);

/* A call inside a task failed: remember how, in case that the task fails because of it.  What
 * was noted in that task, NULL: nothing; it is forgotten, and valid until the next note. */
void context_note(const char *text);
const char *context_take_note(uint64_t task);

/* Push one, which is this thread's from now on and ends with it at the latest.  -1: no
 * memory. */
int context_push(struct par_context *context);

/* Take the innermost off, for the caller to end; NULL: there is none, or it was pushed
 * before this thread came in here. */
struct par_context *context_pop(void);

#endif
