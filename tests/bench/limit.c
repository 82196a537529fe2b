/* limit.c - the floors: what the machine allows to somebody who needs no interface, no
 * errors and no sleep.  Not runtimes: their threads spin as long as they live. */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"
#include "cpus.h"

enum {
	LINE = 64,
	RING = 8192
};

/* --- two threads, one of them the caller's --------------------------------------------- */

struct team {
	pthread_t thread;
	void (*fn)(void *arg, int who);
	void *arg;
	alignas(LINE) atomic_uint begun;
	alignas(LINE) atomic_uint ended;
};

static void *team_helper(void *arg)
{
	struct team *team = arg;
	unsigned turn;

	for (turn = 1;; turn++) {
		while (atomic_load_explicit(&team->begun, memory_order_acquire) != turn)
			relax();
		if (team->fn == NULL)
			return NULL;
		team->fn(team->arg, 1);
		atomic_store_explicit(&team->ended, turn, memory_order_release);
	}
}

static int team_init(struct team *team)
{
	*team = (struct team){.fn = NULL};
	return pthread_create(&team->thread, NULL, team_helper, team);
}

static void team_run(struct team *team, void (*fn)(void *arg, int who), void *arg)
{
	unsigned turn = atomic_load_explicit(&team->begun, memory_order_relaxed) + 1;

	team->fn = fn;
	team->arg = arg;
	atomic_store_explicit(&team->begun, turn, memory_order_release);
	fn(arg, 0);
	while (atomic_load_explicit(&team->ended, memory_order_acquire) != turn)
		relax();
}

static void team_finish(struct team *team)
{
	team->fn = NULL;
	atomic_fetch_add_explicit(&team->begun, 1, memory_order_release);
	pthread_join(team->thread, NULL);
}

/* --- a range of tasks, shared out in three ways ----------------------------------------- */

struct range {
	struct team team;
	const struct load *load;
	alignas(LINE) _Atomic uint64_t cursor;
};

static void run_tasks(const struct load *load, uint64_t from, uint64_t to)
{
	for (; from < to; from++)
		load->out[from] = work(load->in[from]);
}

static void split(void *arg, int who)
{
	struct range *range = arg;
	uint64_t half = range->load->n / 2;

	if (who == 0)
		run_tasks(range->load, 0, half);
	else
		run_tasks(range->load, half, range->load->n);
}

/* Chunks of a fraction of what is left, so that both end together. */
static void guided(void *arg, int who)
{
	struct range *range = arg;
	uint64_t n = range->load->n, from, chunk;

	(void)who;
	from = atomic_load_explicit(&range->cursor, memory_order_relaxed);
	while (from < n) {
		chunk = (n - from) / (4 * JOBS) + 1;
		if (!atomic_compare_exchange_weak_explicit(&range->cursor, &from, from + chunk,
							   memory_order_relaxed,
							   memory_order_relaxed))
			continue;
		run_tasks(range->load, from, from + chunk);
		from = atomic_load_explicit(&range->cursor, memory_order_relaxed);
	}
}

static void one_by_one(void *arg, int who)
{
	struct range *range = arg;
	uint64_t at;

	(void)who;
	while ((at = atomic_fetch_add_explicit(&range->cursor, 1, memory_order_relaxed)) <
	       range->load->n)
		run_tasks(range->load, at, at + 1);
}

struct way {
	struct range *range;
	void (*fn)(void *arg, int who);
};

static int range_once(void *arg, const struct load *load)
{
	struct way *way = arg;

	way->range->load = load;
	atomic_store(&way->range->cursor, 0);
	team_run(&way->range->team, way->fn, way->range);
	return 0;
}

static int range_cell(const struct load *load, struct sample *sample,
		      void (*fn)(void *arg, int who))
{
	static struct range range;
	struct way way = {&range, fn};
	int result;

	if (team_init(&range.team) != 0)
		return sample_fail(sample, "cannot start a thread");
	result = sample_tasks(sample, load, range_once, &way);
	team_finish(&range.team);
	return result;
}

static int split_cell(const struct load *load, struct sample *sample)
{
	return range_cell(load, sample, split);
}

static int guided_cell(const struct load *load, struct sample *sample)
{
	return range_cell(load, sample, guided);
}

static int one_by_one_cell(const struct load *load, struct sample *sample)
{
	return range_cell(load, sample, one_by_one);
}

/* --- single submissions: closures in a Chase-Lev deque ----------------------------------- */

/* Atomic, since a thief may read a closure that is being replaced; what it read is
 * thrown away then. */
struct closure {
	_Atomic(uint64_t (*)(uint64_t)) fn;
	_Atomic(const uint64_t *) in;
	_Atomic(uint64_t *) out;
};

struct deque {
	struct team team;
	const struct load *load;
	struct closure ring[RING];
	alignas(LINE) _Atomic int64_t top;
	alignas(LINE) _Atomic int64_t bottom;
	alignas(LINE) _Atomic uint64_t stolen; /* and run */
	alignas(LINE) atomic_int closed;
};

static void closure_set(struct closure *closure, const uint64_t *in, uint64_t *out)
{
	atomic_store_explicit(&closure->fn, work, memory_order_relaxed);
	atomic_store_explicit(&closure->in, in, memory_order_relaxed);
	atomic_store_explicit(&closure->out, out, memory_order_relaxed);
}

static void closure_run(struct closure *closure)
{
	uint64_t (*fn)(uint64_t) = atomic_load_explicit(&closure->fn, memory_order_relaxed);

	*atomic_load_explicit(&closure->out, memory_order_relaxed) =
		fn(*atomic_load_explicit(&closure->in, memory_order_relaxed));
}

static int deque_steal(struct deque *deque)
{
	int64_t top = atomic_load_explicit(&deque->top, memory_order_acquire), bottom;
	struct closure mine;

	atomic_thread_fence(memory_order_seq_cst);
	bottom = atomic_load_explicit(&deque->bottom, memory_order_acquire);
	if (top >= bottom)
		return 0;
	closure_set(&mine, atomic_load_explicit(&deque->ring[top % RING].in, memory_order_relaxed),
		    atomic_load_explicit(&deque->ring[top % RING].out, memory_order_relaxed));
	if (!atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 1,
						     memory_order_seq_cst, memory_order_relaxed))
		return 0;
	closure_run(&mine);
	atomic_fetch_add_explicit(&deque->stolen, 1, memory_order_release);
	return 1;
}

/* Returns 0 if there is no room. */
static int deque_push(struct deque *deque, const uint64_t *in, uint64_t *out)
{
	int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed);

	if (bottom - atomic_load_explicit(&deque->top, memory_order_acquire) >= RING)
		return 0;
	closure_set(&deque->ring[bottom % RING], in, out);
	atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_release);
	return 1;
}

/* Run the youngest closure; returns 0 if there is none. */
static int deque_pop(struct deque *deque)
{
	int64_t bottom = atomic_load_explicit(&deque->bottom, memory_order_relaxed) - 1, top;
	int mine;

	atomic_store_explicit(&deque->bottom, bottom, memory_order_relaxed);
	atomic_thread_fence(memory_order_seq_cst);
	top = atomic_load_explicit(&deque->top, memory_order_relaxed);
	if (top < bottom) {
		closure_run(&deque->ring[bottom % RING]);
		return 1;
	}
	mine = top == bottom &&
	       atomic_compare_exchange_strong_explicit(&deque->top, &top, top + 1,
						       memory_order_seq_cst, memory_order_relaxed);
	if (mine)
		closure_run(&deque->ring[bottom % RING]);
	atomic_store_explicit(&deque->bottom, bottom + 1, memory_order_relaxed);
	return mine;
}

static void deque_submit_all(struct deque *deque)
{
	const struct load *load = deque->load;
	uint64_t ran = 0, i;

	for (i = 0; i < load->n; i++)
		if (!deque_push(deque, &load->in[i], &load->out[i])) {
			run_tasks(load, i, i + 1);
			ran++;
		}
	while (deque_pop(deque))
		ran++;
	while (atomic_load_explicit(&deque->stolen, memory_order_acquire) + ran < load->n)
		relax();
	atomic_store_explicit(&deque->closed, 1, memory_order_release);
}

static void deque_both(void *arg, int who)
{
	struct deque *deque = arg;

	if (who == 0) {
		deque_submit_all(deque);
		return;
	}
	while (!atomic_load_explicit(&deque->closed, memory_order_acquire))
		if (!deque_steal(deque))
			relax();
}

static int deque_once(void *arg, const struct load *load)
{
	struct deque *deque = arg;

	deque->load = load;
	atomic_store(&deque->stolen, 0);
	atomic_store(&deque->closed, 0);
	team_run(&deque->team, deque_both, deque);
	return 0;
}

static int deque_cell(const struct load *load, struct sample *sample)
{
	static struct deque deque;
	int result;

	if (team_init(&deque.team) != 0)
		return sample_fail(sample, "cannot start a thread");
	result = sample_tasks(sample, load, deque_once, &deque);
	team_finish(&deque.team);
	return result;
}

/* --- single submissions: every task runs on the other thread ----------------------------- */

struct spsc {
	struct team team;
	const struct load *load;
	struct closure ring[RING];
	alignas(LINE) _Atomic uint64_t written;
	alignas(LINE) _Atomic uint64_t read;
};

static void spsc_write_all(struct spsc *spsc)
{
	uint64_t read = 0, i;

	for (i = 0; i < spsc->load->n; i++) {
		while (i - read >= RING) {
			read = atomic_load_explicit(&spsc->read, memory_order_acquire);
			if (i - read >= RING)
				relax();
		}
		closure_set(&spsc->ring[i % RING], &spsc->load->in[i], &spsc->load->out[i]);
		atomic_store_explicit(&spsc->written, i + 1, memory_order_release);
	}
}

static void spsc_read_all(struct spsc *spsc)
{
	uint64_t written = 0, i;

	for (i = 0; i < spsc->load->n; i++) {
		while (i >= written) {
			written = atomic_load_explicit(&spsc->written, memory_order_acquire);
			if (i >= written)
				relax();
		}
		closure_run(&spsc->ring[i % RING]);
		atomic_store_explicit(&spsc->read, i + 1, memory_order_release);
	}
}

static void spsc_both(void *arg, int who)
{
	if (who == 0)
		spsc_write_all(arg);
	else
		spsc_read_all(arg);
}

static int spsc_once(void *arg, const struct load *load)
{
	struct spsc *spsc = arg;

	spsc->load = load;
	atomic_store(&spsc->written, 0);
	atomic_store(&spsc->read, 0);
	team_run(&spsc->team, spsc_both, spsc);
	return 0;
}

static int spsc_cell(const struct load *load, struct sample *sample)
{
	static struct spsc spsc;
	int result;

	if (team_init(&spsc.team) != 0)
		return sample_fail(sample, "cannot start a thread");
	result = sample_tasks(sample, load, spsc_once, &spsc);
	team_finish(&spsc.team);
	return result;
}

/* --- one thread --------------------------------------------------------------------------- */

static int serial_once(void *arg, const struct load *load)
{
	(void)arg;
	run_tasks(load, 0, load->n);
	return 0;
}

static int serial_cell(const struct load *load, struct sample *sample)
{
	return sample_tasks(sample, load, serial_once, NULL);
}

/* --- a wake-up: there and back between two threads that sleep ----------------------------- */

/* Both are pinned, each to a core of its own; unpinned, the kernel may put them on
 * one core, and nobody is woken. */
struct pingpong {
	int (*call)(struct pingpong *, int to); /* wake that side  */
	int (*wait)(struct pingpong *, int me); /* sleep until woken */
	alignas(LINE) atomic_int flag[2];
	int fd[2];
	cpu_set_t cpu[2];
	atomic_int closed;
};

static int pin_thread(pthread_t thread, const cpu_set_t *cpu)
{
	return pthread_setaffinity_np(thread, sizeof(*cpu), cpu);
}

static int futex_call(struct pingpong *pong, int to)
{
	atomic_store(&pong->flag[to], 1);
	return syscall(SYS_futex, &pong->flag[to], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0) < 0;
}

static int futex_wait(struct pingpong *pong, int me)
{
	while (atomic_exchange(&pong->flag[me], 0) == 0)
		if (syscall(SYS_futex, &pong->flag[me], FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) < 0 &&
		    errno != EAGAIN && errno != EINTR)
			return -1;
	return 0;
}

static int eventfd_call(struct pingpong *pong, int to)
{
	return eventfd_write(pong->fd[to], 1);
}

static int eventfd_wait(struct pingpong *pong, int me)
{
	eventfd_t count;

	return eventfd_read(pong->fd[me], &count);
}

static void *answer(void *arg)
{
	struct pingpong *pong = arg;

	while (pong->wait(pong, 1) == 0 && !atomic_load(&pong->closed))
		if (pong->call(pong, 0) != 0)
			return NULL;
	return NULL;
}

static int trip_once(void *arg)
{
	struct pingpong *pong = arg;

	return pong->call(pong, 1) != 0 || pong->wait(pong, 0) != 0;
}

static int trip_cell(struct sample *sample, struct pingpong *pong)
{
	pthread_t thread;
	int result;

	if (cpus_choose(pong->cpu) != 0)
		return sample_fail(sample, "needs two cores");
	if (pthread_create(&thread, NULL, answer, pong) != 0)
		return sample_fail(sample, "cannot start a thread");
	if (pin_thread(thread, &pong->cpu[1]) != 0 || pin_thread(pthread_self(), &pong->cpu[0]) != 0)
		return sample_fail(sample, "cannot pin a thread");
	result = sample_trips(sample, trip_once, pong);
	atomic_store(&pong->closed, 1);
	pong->call(pong, 1);
	pthread_join(thread, NULL);
	return result;
}

static int futex_cell(const struct load *load, struct sample *sample)
{
	static struct pingpong pong = {.call = futex_call, .wait = futex_wait};

	(void)load;
	return trip_cell(sample, &pong);
}

static int eventfd_cell(const struct load *load, struct sample *sample)
{
	static struct pingpong pong = {.call = eventfd_call, .wait = eventfd_wait};
	int result = -1;

	(void)load;
	pong.fd[0] = eventfd(0, EFD_CLOEXEC);
	pong.fd[1] = eventfd(0, EFD_CLOEXEC);
	if (pong.fd[0] < 0 || pong.fd[1] < 0)
		sample_fail(sample, "eventfd: %s", strerror(errno));
	else
		result = trip_cell(sample, &pong);
	close(pong.fd[0]);
	close(pong.fd[1]);
	return result;
}

const struct cell cells_limit[] = {
	{"W1a", "serial inline", SERIAL, serial_cell},
	{"W1a", "Chase-Lev deque", LIMIT, deque_cell},
	{"W1a", "SPSC to the other core", LIMIT, spsc_cell},
	{"W1b", "serial inline", SERIAL, serial_cell},
	{"W1b", "split", LIMIT, split_cell},
	{"W1b", "guided", LIMIT, guided_cell},
	{"W2", "serial inline", SERIAL, serial_cell},
	{"W2", "split", LIMIT, split_cell},
	{"W2", "guided", LIMIT, guided_cell},
	{"W2-single", "serial inline", SERIAL, serial_cell},
	{"W2-single", "Chase-Lev deque", LIMIT, deque_cell},
	{"W3", "serial inline", SERIAL, serial_cell},
	{"W3", "split", LIMIT, split_cell},
	{"W3", "one by one", LIMIT, one_by_one_cell},
	{"W4", "serial inline", SERIAL, serial_cell},
	{"W4", "guided", LIMIT, guided_cell},
	{"W4", "one by one", LIMIT, one_by_one_cell},
	{"W4s", "serial inline", SERIAL, serial_cell},
	{"W4s", "guided", LIMIT, guided_cell},
	{"W4s", "one by one", LIMIT, one_by_one_cell},
	{"W1b-processes", "serial inline", SERIAL, serial_cell},
	{"W2-processes", "serial inline", SERIAL, serial_cell},
	{"W3-processes", "serial inline", SERIAL, serial_cell},
	{"W4-processes", "serial inline", SERIAL, serial_cell},
	{"W4s-processes", "serial inline", SERIAL, serial_cell},
	{"back", "futex ping-pong", LIMIT, futex_cell},
	{"back", "eventfd ping-pong", LIMIT, eventfd_cell},
	{NULL, NULL, LIMIT, NULL},
};
