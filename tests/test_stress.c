/* test_stress.c - many short calls with real threads, for TSan and ASan to watch.
 *
 * What is called, and how, comes from a seed: PARLOOP_SEED=N runs one again.  Each
 * worker thread of the test has a pool of its own and calls it for a few seconds; another
 * thread cancels calls at any moment. */
#include "scratch.h"

#include <parloop/parloop.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

enum { MOST = 3000, CALLERS = 2, RUN_MS = 1500 };

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t seed(void)
{
	const char *given = getenv("PARLOOP_SEED");

	return given != NULL ? strtoull(given, NULL, 10) : (uint64_t)now_ms() * 2654435761u + (uint64_t)getpid();
}

/* splitmix64 */
static uint64_t chance(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15u;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
	z = (z ^ z >> 27) * 0x94d049bb133111ebu;
	return z ^ z >> 31;
}

/* --- tasks ------------------------------------------------------------------------------------ */

static int64_t bend(int64_t x)
{
	return x * 3 + 1;
}

static int bend_all(const int64_t *in, int64_t *out)
{
	*out = bend(*in);
	return 0;
}
PAR_TASK(bend_all, int64_t, int64_t)

/* Fails for negative numbers. */
static int bend_positive(par_env *env, const int64_t *in, int64_t *out)
{
	if (*in < 0)
		return par_fail_task(env, 5, "%lld is negative", (long long)*in);
	*out = bend(*in);
	return 0;
}
PAR_TASK_ENV(bend_positive, int64_t, int64_t)

/* The first eight bytes are a number; replies with the bent number and the rest. */
static int bend_bytes(par_env *env, const void *payload, uint64_t size)
{
	int64_t number;
	char *room;

	memcpy(&number, payload, sizeof(number));
	if (number < 0)
		return par_fail_task(env, 5, "%lld is negative", (long long)number);
	room = par_reply_room(env, size);
	if (room == NULL)
		return par_fail_task(env, 6, "no memory");
	memcpy(room, payload, size);
	number = bend(number);
	memcpy(room, &number, sizeof(number));
	for (volatile int i = 0; i < (int)(number % 64) * 8; i++)
		;
	return 0;
}
PAR_TASK_OF_BYTES(bend_bytes)

#define WRONG(caller)                                                                           \
	do {                                                                                    \
		fprintf(stderr, "line %d: call %lu of %llu, %llu given, %llu got, fails at %lld, "  \
		        "stops at %lld, %s, %s\n", __LINE__, (caller)->calls,                       \
		        (unsigned long long)(caller)->n, (unsigned long long)(caller)->given,       \
		        (unsigned long long)(caller)->got,                                          \
		        (caller)->fails ? (long long)(caller)->fail_at : -1,                        \
		        (long long)(caller)->stop_at, (caller)->unordered ? "unordered" : "ordered", \
		        (caller)->collect ? "collect" : "fail fast");                               \
		abort();                                                                        \
	} while (0)

/* --- one caller ---------------------------------------------------------------------------------- */

struct caller {
	uint64_t state, cancel_state; /* the canceller's own */
	pthread_t thread, canceller;
	pthread_mutex_t lock;
	par_parallel *pool; /* under lock, for the canceller; its own thread reads it freely */
	_Atomic int cancels, cancelled; /* begun, and ended */
	int cancelled_before;           /* those that ended before the call began */
	_Atomic int done;

	/* the call */
	uint64_t n, given, got, n_failed, stop_at;
	int unordered, collect, fails;
	uint64_t fail_at;
	unsigned char seen[MOST];
	char payload[600];
	int64_t in[MOST], out[MOST];
	unsigned long calls;
};

static int64_t number_of(const struct caller *caller, uint64_t i)
{
	return caller->fails && i == caller->fail_at ? -(int64_t)i - 1 : (int64_t)i;
}

static uint64_t size_of(uint64_t i)
{
	return i % 7 == 0 ? 600 : i % 3 == 0 ? 40 : 8;
}

static int32_t source(void *user, par_item *item)
{
	struct caller *caller = user;
	int64_t number;

	if (caller->given == caller->n)
		return 0;
	number = number_of(caller, caller->given);
	memcpy(caller->payload, &number, sizeof(number));
	item->payload = caller->payload;
	item->n_bytes = size_of(caller->given++);
	return 1;
}

static int32_t sink(void *user, const par_outcome *outcome)
{
	struct caller *caller = user;
	uint64_t i = outcome->index;
	int64_t number;

	if (i >= caller->n || caller->seen[i]++ || (!caller->unordered && i != caller->got))
		WRONG(caller);
	caller->got++;
	if (outcome->status != PAR_OK) {
		caller->n_failed++;
		if (!caller->fails || i != caller->fail_at || outcome->code != 5)
			WRONG(caller);
		return 0;
	}
	memcpy(&number, outcome->bytes, sizeof(number));
	if (outcome->n_bytes != size_of(i) || number != bend((int64_t)i))
		WRONG(caller);
	return caller->got == caller->stop_at;
}

static void plan(struct caller *caller, par_settings *settings)
{
	static const char *const pre_dispatch[] = {NULL, "all", "1", "3*n_jobs", NULL};
	uint64_t dice = chance(&caller->state);

	caller->n = chance(&caller->state) % (dice & 1 ? MOST : 20);
	caller->unordered = dice >> 1 & 1;
	caller->collect = dice >> 2 & 1;
	caller->fails = (dice >> 3 & 3) == 0 && caller->n > 0;
	caller->fail_at = caller->fails ? chance(&caller->state) % caller->n : 0;
	caller->stop_at = (dice >> 5 & 7) == 0 ? chance(&caller->state) % MOST : UINT64_MAX;
	caller->given = caller->got = caller->n_failed = 0;
	memset(caller->seen, 0, sizeof(caller->seen));
	*settings = (par_settings){
		.size = sizeof(*settings),
		.order = caller->unordered ? PAR_UNORDERED : PAR_ORDERED,
		.on_error = caller->collect ? PAR_COLLECT : PAR_FAIL_FAST,
		.pre_dispatch = pre_dispatch[dice >> 8 & 3],
	};
	if (dice >> 10 & 1)
		settings->batch_size = (par_int)PAR_SET(1 + (int64_t)(dice >> 11 & 15));
	if ((dice >> 15 & 7) == 0)
		settings->timeout = (par_real)PAR_SET(60);
}

/* That the call ended as it had to. */
static void judge(struct caller *caller, int32_t code, const par_error *error, int is_stream)
{
	int cancelled = code == PAR_ECANCELED;

	if (cancelled && atomic_load(&caller->cancels) == caller->cancelled_before &&
	    (!is_stream || caller->got < caller->stop_at))
		WRONG(caller);
	if (code == PAR_EFAILED && (!caller->fails || error->task != (int64_t)caller->fail_at))
		WRONG(caller);
	if (code == PAR_OK && (caller->fails || (is_stream && caller->got != caller->n)))
		WRONG(caller);
	if (code == PAR_EFAILED && is_stream && caller->collect && caller->got != caller->n)
		WRONG(caller);
	if (code != PAR_OK && code != PAR_EFAILED && !cancelled) {
		fprintf(stderr, "%s: %s: %s\n", par_code_name(code), error->what, error->reason);
		WRONG(caller);
	}
}

static void map_once(struct caller *caller)
{
	par_error error = PAR_ERROR_INIT;
	par_settings settings;
	int32_t code;

	plan(caller, &settings);
	for (uint64_t i = 0; i < caller->n; i++)
		caller->in[i] = number_of(caller, i), caller->out[i] = -1;
	code = par_map(caller->pool, caller->fails ? &par_task_bend_positive : &par_task_bend_all,
	               caller->in, caller->out, caller->n, &settings, &error);
	judge(caller, code, &error, 0);
	for (uint64_t i = 0; i < caller->n; i++)
		if (code == PAR_OK || (code == PAR_EFAILED && caller->collect && i != caller->fail_at)) {
			if (caller->out[i] != bend((int64_t)i))
				WRONG(caller);
		} else if (caller->out[i] != -1 && caller->out[i] != bend((int64_t)i)) {
			WRONG(caller);
		}
}

static void run_once(struct caller *caller)
{
	par_error error = PAR_ERROR_INIT;
	par_settings settings;
	int32_t code;

	plan(caller, &settings);
	code = par_run(caller->pool, &par_task_bend_bytes, source, sink, caller, &settings, &error);
	judge(caller, code, &error, 1);
}

/* Cancels the pool of one caller now and then, also where no call is under way. */
static void *cancel_now_and_then(void *arg)
{
	struct caller *caller = arg;
	uint64_t state = caller->cancel_state;

	while (!atomic_load(&caller->done)) {
		const struct timespec nap = {.tv_nsec = (long)(chance(&state) % 3000000)};

		(void)nanosleep(&nap, NULL);
		pthread_mutex_lock(&caller->lock);
		if (caller->pool != NULL) {
			atomic_fetch_add(&caller->cancels, 1);
			par_cancel(caller->pool);
			atomic_fetch_add(&caller->cancelled, 1);
		}
		pthread_mutex_unlock(&caller->lock);
	}
	return NULL;
}

static void set_pool(struct caller *caller, par_parallel *pool)
{
	pthread_mutex_lock(&caller->lock);
	caller->pool = pool;
	pthread_mutex_unlock(&caller->lock);
}

static void open_and_call(struct caller *caller)
{
	par_error error = PAR_ERROR_INIT;
	int64_t n_jobs = 1 + (int64_t)(chance(&caller->state) % 8);
	par_parallel *pool;
	uint64_t n_calls = 1 + chance(&caller->state) % 40;

	if (par_open(&pool, PAR_SETTINGS(.n_jobs = {1, n_jobs}), &error) != PAR_OK) {
		fprintf(stderr, "%s: %s\n", error.what, error.reason);
		abort();
	}
	set_pool(caller, pool);
	for (uint64_t i = 0; i < n_calls; i++) {
		caller->cancelled_before = atomic_load(&caller->cancelled);
		if (chance(&caller->state) & 1)
			map_once(caller);
		else
			run_once(caller);
		caller->calls++;
	}
	set_pool(caller, NULL);
	par_close(pool);
}

static void *call_for_a_while(void *arg)
{
	struct caller *caller = arg;
	int64_t until = now_ms() + RUN_MS;

	while (now_ms() < until)
		open_and_call(caller);
	atomic_store(&caller->done, 1);
	return NULL;
}

START_TEST(calls_from_several_threads_cancelled_at_any_moment_end_as_they_must)
{
	static struct caller callers[CALLERS];
	uint64_t start = seed();
	unsigned long calls = 0;

	fprintf(stderr, "PARLOOP_SEED=%llu\n", (unsigned long long)start);
	for (int i = 0; i < CALLERS; i++) {
		callers[i].state = start + (uint64_t)i;
		callers[i].cancel_state = ~callers[i].state;
		pthread_mutex_init(&callers[i].lock, NULL);
		ck_assert_int_eq(pthread_create(&callers[i].canceller, NULL, cancel_now_and_then,
		                                &callers[i]), 0);
		ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call_for_a_while, &callers[i]), 0);
	}
	for (int i = 0; i < CALLERS; i++) {
		pthread_join(callers[i].thread, NULL);
		pthread_join(callers[i].canceller, NULL);
		pthread_mutex_destroy(&callers[i].lock);
		calls += callers[i].calls;
	}
	ck_assert_uint_gt(calls, 0);
}
END_TEST

/* --- on a loop ------------------------------------------------------------------------------------- */

/* Calls that follow one another on a uv loop, beside a timer that cancels some. */
struct guest {
	struct caller caller;
	uv_timer_t timer;
	int64_t until;
	int is_stream, n_closed;
};

static void start_next(struct guest *guest);

static void on_closed(void *user)
{
	((struct guest *)user)->n_closed++;
}

static void on_done(void *user, int32_t status, const par_error *error)
{
	struct guest *guest = user;

	judge(&guest->caller, status, error, guest->is_stream);
	guest->caller.calls++;
	if (now_ms() < guest->until) {
		start_next(guest);
		return;
	}
	uv_close((uv_handle_t *)&guest->timer, NULL);
	par_close_on(guest->caller.pool, on_closed, guest);
}

static void start_next(struct guest *guest)
{
	struct caller *caller = &guest->caller;
	par_error error = PAR_ERROR_INIT;
	par_settings settings;

	plan(caller, &settings);
	caller->cancelled_before = atomic_load(&caller->cancelled);
	guest->is_stream = chance(&caller->state) & 1;
	for (uint64_t i = 0; i < caller->n; i++)
		caller->in[i] = number_of(caller, i);
	if (guest->is_stream ? par_start_run(caller->pool, &par_task_bend_bytes, source, sink, &settings,
	                                     on_done, guest, &error)
	                     : par_start_map(caller->pool,
	                                     caller->fails ? &par_task_bend_positive : &par_task_bend_all,
	                                     caller->in, caller->out, caller->n, &settings, on_done, guest,
	                                     &error)) {
		fprintf(stderr, "%s: %s\n", error.what, error.reason);
		abort();
	}
}

static void on_timer(uv_timer_t *timer)
{
	struct guest *guest = timer->data;

	atomic_fetch_add(&guest->caller.cancels, 1);
	par_cancel(guest->caller.pool);
	atomic_fetch_add(&guest->caller.cancelled, 1);
	(void)uv_timer_start(timer, on_timer, chance(&guest->caller.state) % 4, 0);
}

START_TEST(calls_on_one_loop_side_by_side_end_as_they_must)
{
	static struct guest guests[3];
	uint64_t start = seed();
	par_error error = PAR_ERROR_INIT;
	uv_loop_t loop;

	fprintf(stderr, "PARLOOP_SEED=%llu\n", (unsigned long long)start);
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	for (int i = 0; i < 3; i++) {
		guests[i].caller.state = start + (uint64_t)i;
		guests[i].until = now_ms() + RUN_MS;
		ck_assert_int_eq(uv_timer_init(&loop, &guests[i].timer), 0);
		guests[i].timer.data = &guests[i];
		ck_assert_int_eq(par_open_on(&guests[i].caller.pool, &loop,
		                             PAR_SETTINGS(.n_jobs = {1, 1 + i}), NULL, NULL, &error), PAR_OK);
		start_next(&guests[i]);
		ck_assert_int_eq(uv_timer_start(&guests[i].timer, on_timer, 1, 0), 0);
	}
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(guests[i].n_closed, 1);
		ck_assert_uint_gt(guests[i].caller.calls, 0);
	}
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stress");
	TCase *tests = tcase_create("stress");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, calls_from_several_threads_cancelled_at_any_moment_end_as_they_must);
	tcase_add_test(tests, calls_on_one_loop_side_by_side_end_as_they_must);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
