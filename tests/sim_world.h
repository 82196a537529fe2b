/* sim_world.h - the world that tests/simulation.c puts around the core: one thread, and
 * everything on it that is otherwise many threads, a clock, libuv and malloc.
 *
 * Fibers stand for threads: the caller's (whose loop it is), one on which the rest of
 * the world happens at its times, and the backend's workers.  One goes on until it
 * reaches a point where the seed may let another go first: a look at the clock, a
 * lock, a message to the loop, anything in a task or in the backend.  The clock
 * is virtual: when all wait, it goes on to when the next does not.  If all wait
 * for ever, a wake-up was lost.
 *
 * Everything random comes from one seed, and nothing depends on addresses, on the
 * machine or on the time of day, so that a seed is a schedule. */
#ifndef TESTS_SIM_WORLD_H
#define TESTS_SIM_WORLD_H

#undef _FORTIFY_SOURCE /* its longjmp() knows of one stack only */

#include "context.h"

#include <uv.h>

#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/common_interface_defs.h>
#include <sanitizer/tsan_interface.h>
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SIM_SANITIZED 1
#else
#define SIM_SANITIZED 0
#endif

#define NEVER INT64_MAX

#define US ((int64_t)1000)
#define MS ((int64_t)1000000)
#define S  ((int64_t)1000000000)

/* --- seed, and how a schedule fails ---------------------------------------------------------- */

static struct {
	uint64_t seed, random;
	int verbose;
	const char *program;
	int64_t now;
	int64_t tick;      /* that a look at the clock takes, the first ... */
	int looks;         /* ... of so many since anything happened */
	uint32_t preempt;  /* of 256 points, where another fiber may go first */
	int frozen;        /* it is the simulation that looks at the clock */
	uint64_t switches; /* in this schedule */
} world;

/* A schedule that has not ended after so many steps never will. */
enum { MOST_SWITCHES = 2000000 };

/* To look at the clock again and again takes so long, and more than these for nothing are
 * no look-out any more, which is some tens of microseconds. */
#define SPIN (20 * US)
enum { MOST_LOOKS = 200 };

static uint64_t mix(uint64_t value)
{
	value = (value ^ value >> 30) * 0xbf58476d1ce4e5b9;
	value = (value ^ value >> 27) * 0x94d049bb133111eb;
	return value ^ value >> 31;
}

static uint64_t draw(void)
{
	return mix(world.random += 0x9e3779b97f4a7c15);
}

/* Below n. */
static uint32_t below(uint32_t n)
{
	return (uint32_t)((draw() >> 32) * n >> 32);
}

static int64_t between(int64_t low, int64_t high)
{
	return low + (int64_t)(draw() % (uint64_t)(high - low + 1));
}

/* Once in n times. */
static int rarely(uint32_t n)
{
	return below(n) == 0;
}

static const char *fiber_name(void);

__attribute__((format(printf, 1, 2))) static void trace(const char *format, ...)
{
	va_list args;

	if (!world.verbose)
		return;
	printf("%12.3f us  %-8s ", (double)world.now / 1e3, fiber_name());
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
}

static void say_how_to_replay(void)
{
	printf("  replay: %s --seed %llu --verbose\n", world.program, (unsigned long long)world.seed);
}

static uint64_t schedules_done;

__attribute__((format(printf, 1, 2), noreturn)) static void broken(const char *format, ...)
{
	va_list args;

	printf("seed %llu: ", (unsigned long long)world.seed);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	say_how_to_replay();
	printf("%d%%: Checks: %llu, Failures: 1, Errors: 0\n",
	       (int)(100 * schedules_done / (schedules_done + 1)), (unsigned long long)schedules_done + 1);
	fflush(stdout);
	_exit(1);
}

#define must(condition, ...)              \
	do {                              \
		if (!(condition))         \
			broken(__VA_ARGS__); \
	} while (0)

/* --- fibers ---------------------------------------------------------------------------------- */

enum { CALLER, WORLD, WORKER, WORKERS = 6, FIBERS = WORKER + WORKERS };
enum { STACK = SIM_SANITIZED ? 1 << 20 : 1 << 17, GUARD = 1 << 12 };

struct fiber {
	int64_t wake; /* when it goes on; NEVER: somebody must wake it */
	struct context context; /* what core/context.c keeps for each thread */
	void (*body)(void);
	const char *name;
	int in_core; /* a worker within host->run(), host->done() and the like */
	int is_elsewhere; /* it passes for a worker that has memory of its own */
	struct errand *errand; /* what that is at */
	int takes; /* within receive() */
#if SIM_SANITIZED
	ucontext_t registers;
	void *fiber;
#else
	jmp_buf registers;
#endif
	char *stack;
};

static struct fiber fibers[FIBERS];
static struct fiber *running = &fibers[CALLER];

static const char *fiber_name(void)
{
	return running->name;
}

static void fiber_begin(void);

#if SIM_SANITIZED
static void switch_registers(struct fiber *from, struct fiber *to)
{
#if defined(__SANITIZE_ADDRESS__)
	void *fake;

	__sanitizer_start_switch_fiber(&fake, to->stack, to->stack != NULL ? STACK : 8 << 20);
	swapcontext(&from->registers, &to->registers);
	__sanitizer_finish_switch_fiber(fake, NULL, NULL);
#else
	__tsan_switch_to_fiber(to->fiber, 0);
	swapcontext(&from->registers, &to->registers);
#endif
}
#else
static void switch_registers(struct fiber *from, struct fiber *to)
{
	if (_setjmp(from->registers) == 0)
		_longjmp(to->registers, 1);
}
#endif

static void switch_to(struct fiber *next)
{
	struct fiber *before = running;

	if (next == before)
		return;
	running = next;
	switch_registers(before, next);
}

static void fiber_begin(void)
{
#if defined(__SANITIZE_ADDRESS__)
	__sanitizer_finish_switch_fiber(NULL, NULL, NULL);
#endif
	running->body();
	abort();
}

/* Ready to go on at fiber_begin(), once somebody switches to it. */
static void fiber_create(struct fiber *fiber, const char *name, void (*body)(void))
{
	static ucontext_t first;
	ucontext_t *begin = &first;

	fiber->stack = mmap(NULL, STACK + GUARD, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (fiber->stack == MAP_FAILED || mprotect(fiber->stack, GUARD, PROT_NONE) != 0)
		abort();
	fiber->stack += GUARD;
	fiber->name = name;
	fiber->body = body;
	fiber->wake = NEVER;
#if SIM_SANITIZED
	begin = &fiber->registers;
#endif
#if defined(__SANITIZE_THREAD__)
	fiber->fiber = __tsan_create_fiber(0);
#endif
	getcontext(begin);
	begin->uc_stack.ss_sp = fiber->stack;
	begin->uc_stack.ss_size = STACK;
	begin->uc_link = NULL;
	makecontext(begin, fiber_begin, 0);
#if !SIM_SANITIZED
	/* It goes as far as its first wait, and from there by longjmp(), without a system call. */
	running = fiber;
	if (_setjmp(fibers[CALLER].registers) == 0)
		setcontext(begin);
#endif
}

static void world_body(void);

static void fibers_create(void (*worker)(void))
{
	static char names[WORKERS][16];

	for (int i = 0; i < FIBERS; i++)
		fibers[i].wake = NEVER;
	fibers[CALLER].wake = 0;
	fibers[CALLER].name = "caller";
#if defined(__SANITIZE_THREAD__)
	fibers[CALLER].fiber = __tsan_get_current_fiber();
#endif
	fiber_create(&fibers[WORLD], "world", world_body);
	for (int i = 0; i < WORKERS; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "worker %d", i);
		fiber_create(&fibers[WORKER + i], names[i], worker);
	}
}

/* Whoever goes on first; among equals the seed decides. */
static struct fiber *next_fiber(void)
{
	struct fiber *next = NULL;
	uint32_t equals = 1;

	for (int i = 0; i < FIBERS; i++) {
		struct fiber *fiber = &fibers[i];

		if (fiber->wake == NEVER)
			continue;
		if (next == NULL || fiber->wake < next->wake) {
			next = fiber;
			equals = 1;
		} else if (fiber->wake == next->wake && rarely(++equals)) {
			next = fiber;
		}
	}
	return next;
}

static void check_sleep(int64_t until); /* of simulation.c: may time pass now? */

/* Wait until somebody wakes this fiber, at the latest at its wake. */
static void wait_here(void)
{
	struct fiber *next = next_fiber();

	must(next != NULL, "all wait, and nobody would ever wake anybody: a wake-up was lost");
	must(++world.switches < MOST_SWITCHES, "it goes on and on");
	if (next->wake > world.now) {
		check_sleep(next->wake);
		world.now = next->wake;
	}
	switch_to(next);
	running->wake = 0;
}

static void pass(int64_t time)
{
	running->wake = world.now + time;
	wait_here();
}

static void sleep_until_woken(void)
{
	running->wake = NEVER;
	wait_here();
}

static void wake_fiber(struct fiber *fiber)
{
	if (fiber->wake > world.now)
		fiber->wake = world.now;
}

/* Another may go first, or time pass, here. */
static void point(void)
{
	uint32_t chance = below(256);

	if (chance >= world.preempt)
		return;
	pass(chance % 4 > 0 ? 0 : between(0, 20 * US));
}

/* --- what the core calls, and gets from us --------------------------------------------------- */

int __real_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time);
int __wrap_clock_gettime(clockid_t clock, struct timespec *time)
{
	(void)clock;
	if (world.frozen) {
		time->tv_sec = (time_t)(world.now / S);
		time->tv_nsec = (long)(world.now % S);
		return 0;
	}
	/* It may take hundreds of frames. */
	if (running->takes)
		world.looks = 0;
	/* Who looks again and again waits for time to pass. */
	if (world.looks++ < 3)
		point();
	else
		pass(SPIN);
	must(world.looks < MOST_LOOKS, "it spins, and nothing happens");
	world.now += world.tick;
	time->tv_sec = (time_t)(world.now / S);
	time->tv_nsec = (long)(world.now % S);
	return 0;
}

int __wrap_sched_yield(void);
int __wrap_sched_yield(void)
{
	pass(SPIN);
	return 0;
}

const struct context *__wrap_context_current(void);
const struct context *__wrap_context_current(void)
{
	return &running->context;
}

struct context_outside __wrap_context_enter(const struct context *context);
struct context_outside __wrap_context_enter(const struct context *context)
{
	struct context_outside outside = {.context = running->context};

	running->context = *context;
	return outside;
}

void __wrap_context_leave(const struct context_outside *outside);
void __wrap_context_leave(const struct context_outside *outside)
{
	running->context = outside->context;
}

static int locks_held, cores;

/* A thread that waits for what nobody else waits for: the caller's does that at once. */
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg)
{
	(void)attributes;
	must(running == &fibers[CALLER], "a worker makes a thread");
	trace("a thread of its own");
	*thread = pthread_self();
	(void)run(arg);
	return 0;
}

int __wrap_pthread_detach(pthread_t thread);
int __wrap_pthread_detach(pthread_t thread)
{
	(void)thread;
	return 0;
}

/* Whoever holds it may be another fiber, which reached a point. */
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_lock(pthread_mutex_t *lock)
{
	/* Elsewhere they are another process's, and what it knows already it takes no lock for. */
	if (locks_held == 0 && !world.frozen && !running->is_elsewhere)
		point();
	while (pthread_mutex_trylock(lock) != 0)
		pass(US);
	locks_held++;
	return 0;
}

int __real_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock);
int __wrap_pthread_mutex_unlock(pthread_mutex_t *lock)
{
	locks_held--;
	return __real_pthread_mutex_unlock(lock);
}

int __wrap_cpu_count(void);
int __wrap_cpu_count(void)
{
	return cores;
}

/* How much memory this process has had takes long to read, and is nothing that a seed says. */
int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...)
{
	return strcmp(path, "/proc/self/status") == 0 ? -1 : __real_open(path, flags, 0666);
}

/* Lines of progress. */
int __wrap_fputs(const char *text, FILE *file);
int __wrap_fputs(const char *text, FILE *file)
{
	(void)file;
	trace("shows: %.*s", (int)strcspn(text, "\r\n"), text);
	return 0;
}

/* --- memory: counted, and not always to be had ----------------------------------------------- */

static struct {
	int64_t blocks;  /* that there are */
	int64_t fail_at; /* allocations until one fails; 0: none does */
	int refused;
} memory;

static int no_memory(void)
{
	if (memory.fail_at == 0 || running->is_elsewhere || --memory.fail_at > 0)
		return 0;
	memory.refused++;
	trace("no memory");
	return 1;
}

#define COUNTED(result) (memory.blocks += (result) != NULL, (result))

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_malloc(size_t size)
{
	void *block = no_memory() ? NULL : __real_malloc(size);

	return COUNTED(block);
}

void *__real_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
	void *block = no_memory() ? NULL : __real_calloc(n, size);

	return COUNTED(block);
}

void *__real_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_realloc(void *old, size_t size)
{
	void *block = no_memory() ? NULL : __real_realloc(old, size);

	memory.blocks += old == NULL && block != NULL;
	return block;
}

void *__wrap_reallocarray(void *old, size_t n, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	return __wrap_realloc(old, n * size);
}

void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	void *block = no_memory() ? NULL : __real_aligned_alloc(alignment, size);

	return COUNTED(block);
}

int __real_posix_memalign(void **block, size_t alignment, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
	if (no_memory() || __real_posix_memalign(block, alignment, size) != 0)
		return 12;
	memory.blocks++;
	return 0;
}

char *__real_strdup(const char *text);
char *__wrap_strdup(const char *text);
char *__wrap_strdup(const char *text)
{
	char *copy = no_memory() ? NULL : __real_strdup(text);

	return COUNTED(copy);
}

void __real_free(void *block);
void __wrap_free(void *block);
void __wrap_free(void *block)
{
	memory.blocks -= block != NULL;
	__real_free(block);
}

/* --- libuv, as far as the core and its callers use it ---------------------------------------- */

enum { HANDLES = 8 };

struct handle {
	uv_loop_t *loop;
	uv_handle_t *uv;
	uv_async_cb on_async;
	uv_timer_cb on_timer;
	uv_close_cb on_closed;
	int64_t due; /* ms */
	int sent, started, is_ref, closing;
};

static struct {
	struct handle handles[HANDLES];
	int n;
	int waiting; /* the caller's fiber sleeps in it */
	uv_loop_t *running; /* the innermost that is run: one may be run within another */
	int stopped;
} uv;

static struct handle *handle_of(const void *uv_handle)
{
	for (int i = 0; i < uv.n; i++)
		if (uv.handles[i].uv == uv_handle)
			return &uv.handles[i];
	broken("the core uses a handle of libuv's that it closed, or never made");
}

static struct handle *handle_create(uv_loop_t *loop, void *uv_handle)
{
	must(uv.n < HANDLES, "the core makes more handles of libuv's than it needs");
	uv.handles[uv.n] = (struct handle){.loop = loop, .uv = uv_handle, .is_ref = 1};
	return &uv.handles[uv.n++];
}

int uv_loop_init(uv_loop_t *loop)
{
	(void)loop;
	return no_memory() ? UV_ENOMEM : 0;
}

int uv_loop_close(uv_loop_t *loop)
{
	for (int i = 0; i < uv.n; i++)
		if (uv.handles[i].loop == loop)
			return UV_EBUSY;
	return 0;
}

const char *uv_strerror(int code)
{
	(void)code;
	return "not enough memory";
}

int uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb on_async)
{
	if (no_memory())
		return UV_ENOMEM;
	async->loop = loop;
	handle_create(loop, async)->on_async = on_async;
	return 0;
}

int uv_async_send(uv_async_t *async)
{
	handle_of(async)->sent = 1;
	if (running != &fibers[CALLER])
		world.looks = 0;
	if (uv.waiting)
		wake_fiber(&fibers[CALLER]);
	point();
	return 0;
}

int uv_timer_init(uv_loop_t *loop, uv_timer_t *timer)
{
	timer->loop = loop;
	handle_create(loop, timer);
	return 0;
}

int uv_timer_start(uv_timer_t *timer, uv_timer_cb on_timer, uint64_t after, uint64_t every)
{
	struct handle *handle = handle_of(timer);

	must(every == 0, "the core repeats a timer");
	handle->on_timer = on_timer;
	handle->due = world.now / MS + (int64_t)after;
	handle->started = 1;
	return 0;
}

int uv_timer_stop(uv_timer_t *timer)
{
	handle_of(timer)->started = 0;
	return 0;
}

void uv_stop(uv_loop_t *loop)
{
	(void)loop;
	uv.stopped = 1;
}

void uv_update_time(uv_loop_t *loop)
{
	(void)loop;
}

void uv_ref(uv_handle_t *handle)
{
	handle_of(handle)->is_ref = 1;
}

void uv_unref(uv_handle_t *handle)
{
	handle_of(handle)->is_ref = 0;
}

void uv_close(uv_handle_t *uv_handle, uv_close_cb on_closed)
{
	struct handle *handle = handle_of(uv_handle);

	must(!handle->closing, "the core closes a handle twice");
	handle->closing = 1;
	handle->on_closed = on_closed;
}

/* Descriptors and their like are beyond this world. */
int uv_poll_init(uv_loop_t *loop, uv_poll_t *poll, int fd)
{
	(void)loop, (void)poll, (void)fd;
	return UV_ENOTSUP;
}

int uv_poll_start(uv_poll_t *poll, int events, uv_poll_cb on_poll)
{
	(void)poll, (void)events, (void)on_poll;
	return UV_ENOTSUP;
}

static int is_due(const struct handle *handle)
{
	if (handle->on_async != NULL)
		return handle->sent && !handle->closing;
	return handle->started && !handle->closing && handle->due <= world.now / MS;
}

static int uv_is_alive(const uv_loop_t *loop)
{
	for (int i = 0; i < uv.n; i++) {
		struct handle *handle = &uv.handles[i];

		if (handle->loop != loop)
			continue;
		if (handle->closing || (handle->is_ref && (handle->on_async != NULL || handle->started)))
			return 1;
	}
	return 0;
}

/* Until when there is nothing to call on the loop that is run. */
static int64_t uv_waits_until(void)
{
	int64_t until = NEVER;

	for (int i = 0; i < uv.n; i++) {
		const struct handle *handle = &uv.handles[i];

		if (handle->loop != uv.running)
			continue;
		if (is_due(handle) || handle->closing)
			return 0;
		if (handle->on_async == NULL && handle->started && handle->due * MS < until)
			until = handle->due * MS;
	}
	return until;
}

static void uv_call_due(int timers)
{
	for (int i = 0; i < uv.n; i++) {
		struct handle *handle = &uv.handles[i];

		if (handle->loop != uv.running || (handle->on_async == NULL) != timers || !is_due(handle))
			continue;
		if (timers) {
			handle->started = 0;
			handle->on_timer((uv_timer_t *)handle->uv);
		} else {
			handle->sent = 0;
			handle->on_async((uv_async_t *)handle->uv);
		}
	}
}

static void uv_call_closed(void)
{
	for (int i = uv.n - 1; i >= 0; i--) {
		struct handle handle = uv.handles[i];

		if (handle.loop != uv.running || !handle.closing)
			continue;
		memmove(&uv.handles[i], &uv.handles[i + 1], (size_t)(--uv.n - i) * sizeof(handle));
		if (handle.on_closed != NULL)
			handle.on_closed(handle.uv);
	}
}

int uv_run(uv_loop_t *loop, uv_run_mode mode)
{
	uv_loop_t *outer = uv.running;

	must(outer != loop && running == &fibers[CALLER], "the loop is run within itself");
	uv.running = loop;
	while (uv_is_alive(loop) && !uv.stopped) {
		must(++world.switches < MOST_SWITCHES, "the loop turns and turns");
		/* As libuv 1.44: timers before it sleeps, and then it sleeps all the same. */
		uv_call_due(1);
		if (mode != UV_RUN_NOWAIT && !uv.stopped && uv_is_alive(loop)) {
			fibers[CALLER].wake = uv_waits_until();
			uv.waiting = 1;
			world.looks = 0;
			if (fibers[CALLER].wake > world.now)
				wait_here();
			uv.waiting = 0;
		}
		uv_call_due(0);
		uv_call_due(1);
		uv_call_closed();
		if (mode != UV_RUN_DEFAULT)
			break;
	}
	uv.running = outer;
	uv.stopped = 0;
	return uv_is_alive(loop);
}

/* --- what happens at a time ------------------------------------------------------------------ */

struct event {
	int64_t at;
	void (*happen)(void *arg, uint64_t value);
	void *arg;
	uint64_t value;
};

enum { EVENTS = 8192 };

static struct {
	struct event all[EVENTS];
	int n;
} planned;

static void happens(int64_t after, void (*happen)(void *arg, uint64_t value), void *arg, uint64_t value)
{
	must(planned.n < EVENTS, "the simulation plans too much");
	planned.all[planned.n++] = (struct event){world.now + after, happen, arg, value};
	if (fibers[WORLD].wake > world.now + after)
		fibers[WORLD].wake = world.now + after;
}

static void world_body(void)
{
	for (;;) {
		struct event next = {.at = NEVER};
		int at = -1;

		for (int i = 0; i < planned.n; i++)
			if (planned.all[i].at < next.at)
				next = planned.all[at = i];
		if (next.at > world.now) {
			running->wake = next.at;
			wait_here();
			continue;
		}
		planned.all[at] = planned.all[--planned.n];
		next.happen(next.arg, next.value);
	}
}

#endif
