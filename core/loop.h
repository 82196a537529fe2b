/* loop.h - the uv loop that one par_parallel lives on: its own, or its caller's.
 *
 * Everything that happens elsewhere comes in by loop_notify(): completions, posts,
 * results, cancel.  It costs a system call only if the loop sleeps, and as
 * many notifications as come before it wakes cost one.
 *
 *   sleeping 0: the loop's thread is at work, and will look at every queue before it
 *               sleeps.  1: it sleeps, or is about to; whoever brings it to 0 sends.
 *   The loop sets 1, looks at every queue again, then waits.  A producer queues,
 *   then sets 0.  Both do it by an exchange, so that the later of them sees what
 *   the earlier one did before: the queue, or that the loop sleeps.
 *
 * What libuv itself aborts on is listed in core/README.md. */
#ifndef CORE_LOOP_H
#define CORE_LOOP_H

#include <parloop/backend.h>

#include <pthread.h>
#include <stdatomic.h>
#include <uv.h>

struct loop_post;

struct loop {
	uv_loop_t *uv; /* &own, or the caller's */
	uv_loop_t own;
	int is_own;
	uv_async_t async;
	uv_timer_t timer;
	int open_handles;
	void (*on_event)(void *arg); /* on the loop's thread, when notified or on time */
	void *arg;
	void (*on_closed)(void *arg);
	_Atomic int32_t sleeping;

	_Atomic int32_t has_posts;
	pthread_mutex_t lock;
	/* under lock */
	struct loop_post *first_post, **last_post;
	par_watch *first_watch; /* [loop] watches and timers of plugins */
};

/* uv NULL: a loop of its own.  PAR_OK, or PAR_ENOMEM. */
int32_t loop_init(struct loop *loop, uv_loop_t *uv, void (*on_event)(void *arg), void *arg,
                  par_error *error);

/* Close what it has on the loop.  Its own: done when it returns.  The caller's: on_closed
 * is called from the loop; until then the struct must stay. */
void loop_finish(struct loop *loop, void (*on_closed)(void *arg));

/* Something was queued.  Async-signal-safe. [any] */
void loop_notify(struct loop *loop);

/* Wait until notified, at most until a time (monotonic ns; 0: for ever), serving what
 * plugins watch.  is_idle is asked once more before it sleeps.  Its own loop only. [loop] */
void loop_wait(struct loop *loop, int64_t until_ns, int (*is_idle)(void *arg));

/* Serve what is ready without waiting.  Its own loop only. [loop] */
void loop_turn(struct loop *loop);

/* The caller's loop: be called by then, and when notified; say so before going back to it.
 * 1: something came meanwhile, look again. [loop] */
int loop_rest(struct loop *loop, int64_t until_ns, int (*is_idle)(void *arg));

/* Have fn(arg) called on the loop's thread: by loop_run_posts(). [any] */
int32_t loop_post(struct loop *loop, void (*fn)(void *arg), void *arg);
void loop_run_posts(struct loop *loop);
static inline int loop_has_posts(const struct loop *loop)
{
	return atomic_load_explicit(&loop->has_posts, memory_order_relaxed);
}

/* The services of backend.h for descriptors and timers. [loop] */
int32_t loop_watch(struct loop *loop, int32_t fd, int32_t events,
                   void (*on_ready)(void *arg, int32_t events, int32_t error), void *arg,
                   par_watch **watch);
int32_t loop_start_timer(struct loop *loop, int64_t after_ns, int64_t every_ns,
                         void (*on_time)(void *arg), void *arg, par_watch **watch);
void loop_stop_watch(par_watch *watch);

/* Monotonic time in ns. [any] */
int64_t loop_now(void);

#endif
