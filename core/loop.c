#include "loop.h"

#include "error.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct loop_post {
	struct loop_post *next;
	void (*fn)(void *arg);
	void *arg;
};

struct par_watch {
	struct loop *loop;
	struct par_watch *next, **place; /* among the loop's */
	union {
		uv_handle_t handle;
		uv_poll_t poll;
		uv_timer_t timer;
	} uv;
	void (*on_ready)(void *arg, int32_t events, int32_t error);
	void (*on_time)(void *arg);
	void *arg;
};

int64_t loop_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* By an exchange as well: a plain store would part the loop from what producers wrote who
 * found it awake a moment ago. */
static void wake_up(struct loop *loop)
{
	(void)atomic_exchange_explicit(&loop->sleeping, 0, memory_order_acq_rel);
}

static void on_async(uv_async_t *async)
{
	struct loop *loop = async->data;

	wake_up(loop);
	loop->on_event(loop->arg);
}

static void on_timer(uv_timer_t *timer)
{
	struct loop *loop = timer->data;

	wake_up(loop);
	/* A timer that was due already fires before uv_run() sleeps, and would not keep it
	 * from sleeping on. */
	if (loop->is_own)
		uv_stop(loop->uv);
	loop->on_event(loop->arg);
}

int32_t loop_init(struct loop *loop, uv_loop_t *uv, void (*on_event)(void *arg), void *arg,
                  par_error *error)
{
	int code = 0;

	memset(loop, 0, sizeof(*loop));
	loop->is_own = uv == NULL;
	loop->uv = uv != NULL ? uv : &loop->own;
	loop->on_event = on_event;
	loop->arg = arg;
	loop->last_post = &loop->first_post;
	if (loop->is_own)
		code = uv_loop_init(&loop->own);
	if (code != 0)
		goto fail;
	code = uv_async_init(loop->uv, &loop->async, on_async);
	if (code != 0)
		goto fail_loop;
	code = pthread_mutex_init(&loop->lock, NULL);
	if (code != 0)
		abort(); /* a default mutex of glibc cannot fail */
	(void)uv_timer_init(loop->uv, &loop->timer); /* cannot fail either */
	loop->async.data = loop->timer.data = loop;
	loop->open_handles = 2;
	return PAR_OK;
fail_loop:
	if (loop->is_own)
		(void)uv_loop_close(&loop->own);
fail:
	error_set(error, PAR_ENOMEM, "cannot make an event loop");
	error_reason(error, "%s", uv_strerror(code));
	error_remedy(error, "see ulimit -n: it needs six descriptors");
	return PAR_ENOMEM;
}

static void drop_posts(struct loop *loop)
{
	while (loop->first_post != NULL) {
		struct loop_post *post = loop->first_post;

		loop->first_post = post->next;
		free(post);
	}
}

static void on_handle_closed(uv_handle_t *handle)
{
	struct loop *loop = handle->data;

	if (--loop->open_handles > 0)
		return;
	drop_posts(loop);
	pthread_mutex_destroy(&loop->lock);
	if (loop->on_closed != NULL)
		loop->on_closed(loop->arg);
}

/* What a plugin forgot would keep the loop going for ever, or outlive what it points to. */
static void stop_leftovers(struct loop *loop)
{
	if (loop->first_watch != NULL)
		log_line(LOG_WARNING, "a plugin left a watch or a timer on the loop");
	while (loop->first_watch != NULL)
		loop_stop_watch(loop->first_watch);
}

void loop_finish(struct loop *loop, void (*on_closed)(void *arg))
{
	stop_leftovers(loop);
	loop->on_closed = on_closed;
	uv_close((uv_handle_t *)&loop->async, on_handle_closed);
	uv_close((uv_handle_t *)&loop->timer, on_handle_closed);
	if (!loop->is_own)
		return;
	(void)uv_run(&loop->own, UV_RUN_DEFAULT);
	(void)uv_loop_close(&loop->own); /* nothing is left on it */
}

void loop_notify(struct loop *loop)
{
	if (atomic_exchange_explicit(&loop->sleeping, 0, memory_order_acq_rel))
		(void)uv_async_send(&loop->async);
}

/* Rounded up: to wake a little early would mean to wake twice. */
static uint64_t to_ms(int64_t ns)
{
	return ns > 0 ? ((uint64_t)ns + 999999) / 1000000 : 0;
}

static void set_timer(struct loop *loop, int64_t until_ns)
{
	if (until_ns == 0) {
		(void)uv_timer_stop(&loop->timer);
		return;
	}
	uv_update_time(loop->uv);
	(void)uv_timer_start(&loop->timer, on_timer, to_ms(until_ns - loop_now()), 0);
}

static int fall_asleep(struct loop *loop, int (*is_idle)(void *arg))
{
	(void)atomic_exchange_explicit(&loop->sleeping, 1, memory_order_acq_rel);
	if (is_idle(loop->arg) && !atomic_load_explicit(&loop->has_posts, memory_order_relaxed))
		return 1;
	wake_up(loop);
	return 0;
}

void loop_turn(struct loop *loop)
{
	(void)uv_run(loop->uv, UV_RUN_NOWAIT);
}

void loop_wait(struct loop *loop, int64_t until_ns, int (*is_idle)(void *arg))
{
	if (!fall_asleep(loop, is_idle)) {
		/* However busy the call is, what plugins watch has its turn. */
		if (loop->first_watch != NULL)
			loop_turn(loop);
		return;
	}
	set_timer(loop, until_ns);
	(void)uv_run(loop->uv, UV_RUN_ONCE);
	wake_up(loop);
}

int loop_rest(struct loop *loop, int64_t until_ns, int (*is_idle)(void *arg))
{
	if (!fall_asleep(loop, is_idle))
		return 1;
	set_timer(loop, until_ns);
	return 0;
}

int32_t loop_post(struct loop *loop, void (*fn)(void *arg), void *arg)
{
	struct loop_post *post = malloc(sizeof(*post));

	if (post == NULL)
		return PAR_ENOMEM;
	*post = (struct loop_post){NULL, fn, arg};
	pthread_mutex_lock(&loop->lock);
	*loop->last_post = post;
	loop->last_post = &post->next;
	atomic_store_explicit(&loop->has_posts, 1, memory_order_relaxed);
	pthread_mutex_unlock(&loop->lock);
	loop_notify(loop);
	return PAR_OK;
}

void loop_run_posts(struct loop *loop)
{
	struct loop_post *post, *next;

	if (!atomic_load_explicit(&loop->has_posts, memory_order_relaxed))
		return;
	/* Take the whole list at once: plugin code runs without the lock. */
	pthread_mutex_lock(&loop->lock);
	post = loop->first_post;
	loop->first_post = NULL;
	loop->last_post = &loop->first_post;
	atomic_store_explicit(&loop->has_posts, 0, memory_order_relaxed);
	pthread_mutex_unlock(&loop->lock);
	for (; post != NULL; post = next) {
		next = post->next;
		post->fn(post->arg);
		free(post);
	}
}

/* --- services for plugins --------------------------------------------------------------- */

static void on_poll(uv_poll_t *poll, int status, int events)
{
	struct par_watch *watch = poll->data;
	struct loop *loop = watch->loop;

	/* We are awake: whatever the plugin tells us now need not wake us. */
	wake_up(loop);
	watch->on_ready(watch->arg,
	                (events & UV_READABLE ? PAR_READABLE : 0) | (events & UV_WRITABLE ? PAR_WRITABLE : 0),
	                status < 0 ? status : 0);
	if (!loop->is_own)
		loop->on_event(loop->arg);
}

static void on_plugin_timer(uv_timer_t *timer)
{
	struct par_watch *watch = timer->data;
	struct loop *loop = watch->loop;

	watch->on_time(watch->arg);
	if (!loop->is_own)
		loop->on_event(loop->arg);
}

static par_watch *watch_create(struct loop *loop, void *arg)
{
	par_watch *watch = calloc(1, sizeof(*watch));

	if (watch != NULL) {
		watch->loop = loop;
		watch->arg = arg;
	}
	return watch;
}

static void watch_started(struct loop *loop, par_watch *watch, par_watch **out)
{
	watch->uv.handle.data = watch;
	/* What a plugin waits for is no reason for the caller's uv_run() to go on: what we wait for
	 * is. */
	uv_unref(&watch->uv.handle);
	watch->next = loop->first_watch;
	watch->place = &loop->first_watch;
	if (watch->next != NULL)
		watch->next->place = &watch->next;
	loop->first_watch = watch;
	*out = watch;
}

int32_t loop_watch(struct loop *loop, int32_t fd, int32_t events,
                   void (*on_ready)(void *arg, int32_t events, int32_t error), void *arg,
                   par_watch **out)
{
	int wanted = (events & PAR_READABLE ? UV_READABLE : 0) | (events & PAR_WRITABLE ? UV_WRITABLE : 0);
	par_watch *watch = watch_create(loop, arg);

	if (watch == NULL)
		return PAR_ENOMEM;
	watch->on_ready = on_ready;
	if (wanted == 0 || uv_poll_init(loop->uv, &watch->uv.poll, fd) != 0) {
		free(watch);
		return PAR_EINVAL;
	}
	watch_started(loop, watch, out);
	/* Can fail only for a closed handle or an event that does not exist. */
	(void)uv_poll_start(&watch->uv.poll, wanted, on_poll);
	return PAR_OK;
}

int32_t loop_start_timer(struct loop *loop, int64_t after_ns, int64_t every_ns,
                         void (*on_time)(void *arg), void *arg, par_watch **out)
{
	par_watch *watch = watch_create(loop, arg);

	if (watch == NULL)
		return PAR_ENOMEM;
	watch->on_time = on_time;
	(void)uv_timer_init(loop->uv, &watch->uv.timer);
	watch_started(loop, watch, out);
	uv_update_time(loop->uv);
	(void)uv_timer_start(&watch->uv.timer, on_plugin_timer, to_ms(after_ns), to_ms(every_ns));
	return PAR_OK;
}

static void on_watch_closed(uv_handle_t *handle)
{
	free(handle->data);
}

void loop_stop_watch(par_watch *watch)
{
	if (watch == NULL)
		return;
	*watch->place = watch->next;
	if (watch->next != NULL)
		watch->next->place = watch->place;
	uv_close(&watch->uv.handle, on_watch_closed);
}
