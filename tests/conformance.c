/* conformance.c - what every backend must do, asked of every backend there is.
 *
 * It takes the backends that plugins.conf and plugins/ offer, so a new one needs no
 * new test.  Through the public API only; its tasks are in a module
 * (tests/tasks/conformance.c), so that they run in other processes too.  A
 * backend that cannot be had here is shown, counted and skipped.
 *
 * link: -rdynamic
 *
 *	build/tests/conformance              all backends
 *	CK_RUN_CASE=threading ...            one of them
 *	CK_RUN_CASE=multiprocessing/start_method=fork ...
 */
#include "leaks.h"
#include "tasks/acceptance.h"
#include "tasks/conformance.h"

#include <parloop/parloop.h>

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <uv.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { HAS_SANITIZER = 1 };
#else
enum { HAS_SANITIZER = 0 };
#endif

enum { MOST_BACKENDS = 64, MOST_TASKS = 1000, TIMEOUT_S = 60 };

static struct backend {
	char title[128];
	char name[64];
	const char *options[3]; /* with which it is to be had */
	char reason[1024]; /* why it cannot be had; empty: it can */
} backends[MOST_BACKENDS];
static int n_backends;

/* Backends that are several, by an option: each of them is asked.  What is kept for the next
 * call, elsewhere, would look like something left behind. */
static const struct variant {
	const char *backend, *option, *second;
} variants[] = {
	{"multiprocessing", "start_method=fork", NULL},
	{"multiprocessing", "start_method=forkserver", NULL},
	{"multiprocessing", "start_method=spawn", NULL},
	{"loky", "idle_worker_timeout=0s", NULL},
	{"mpi", "mpi=mpich", "idle_timeout=0s"},
};

/* --- what tests share; each has a process of its own -------------------------------------- */

static const char *backend; /* the one under test */
static const char *const *options;
static par_error error = PAR_ERROR_INIT;

static const char *error_line(void)
{
	static char text[2048];

	return par_error_text(&error, 0, text, sizeof(text));
}

#define MUST(call)                                                                              \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == PAR_OK, "%s: %s, %s", #call,                         \
		              par_code_name(must_code), error_line());                          \
	} while (0)

#define MUST_BE(expected, call)                                                                 \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == (expected), "%s: %s, expected %s", #call,            \
		              par_code_name(must_code), par_code_name(expected));               \
	} while (0)

static const par_task *task_of(const char *file, const char *name)
{
	par_module *module;
	const par_task *found;

	MUST(par_module_open(&module, file, &error));
	MUST(par_module_task(module, name, &found, &error));
	return found;
}

static const par_task *task(const char *name)
{
	return task_of(PAR_BUILD "/tasks/conformance.so", name);
}

static par_parallel *open_n(int64_t n_jobs)
{
	par_parallel *pool;

	MUST(par_open(&pool,
	              PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = {1, n_jobs}),
	              &error));
	return pool;
}

/* What a backend makes once per process is no leak: it is made before counting begins. */
static void begin(int i)
{
	backend = backends[i].name;
	options = backends[i].options;
	(void)task("mix");
	par_close(open_n(2));
	leaks_begin_again();
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- streams: a source that counts and a sink that checks --------------------------------- */

struct stream {
	/* what to give: the values 0, 1, ..., some of them bad */
	uint64_t n;
	uint64_t bad_from, n_bad; /* these get CONFORMANCE_BAD on top */
	int source_fails;         /* instead of coming to its end     */
	uint64_t sink_stops_at;   /* outcomes; 0: never               */
	int unordered;

	/* what came */
	uint64_t value, given, got, failed;
	unsigned char times[MOST_TASKS]; /* each was delivered */
};

static uint64_t value_at(const struct stream *stream, uint64_t index)
{
	if (index >= stream->bad_from && index - stream->bad_from < stream->n_bad)
		return index + CONFORMANCE_BAD;
	return index;
}

static int32_t give(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->given == stream->n)
		return stream->source_fails ? -1 : 0;
	stream->value = value_at(stream, stream->given++);
	item->payload = &stream->value;
	item->n_bytes = sizeof(stream->value);
	return 1;
}

static void check_success(const par_outcome *outcome, uint64_t value)
{
	uint64_t result;

	ck_assert_uint_eq(outcome->n_bytes, sizeof(result));
	memcpy(&result, outcome->bytes, sizeof(result));
	ck_assert_uint_eq(result, conformance_mix(value));
	ck_assert_ptr_null(outcome->message);
}

static void check_failure(const par_outcome *outcome, uint64_t value)
{
	char words[64];

	(void)snprintf(words, sizeof(words), "the value %llu is bad", (unsigned long long)value);
	ck_assert_uint_ge(value, CONFORMANCE_BAD);
	ck_assert_int_eq(outcome->status, PAR_EFAILED);
	ck_assert_int_eq(outcome->code, CONFORMANCE_CODE);
	ck_assert_ptr_nonnull(outcome->message);
	ck_assert_str_eq(outcome->message, words);
}

static int32_t take(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;
	uint64_t payload;

	ck_assert_uint_lt(outcome->index, stream->given);
	ck_assert_msg(stream->times[outcome->index]++ == 0, "task %llu was delivered twice",
	              (unsigned long long)outcome->index);
	if (!stream->unordered)
		ck_assert_uint_eq(outcome->index, stream->got);
	stream->got++;
	ck_assert_uint_eq(outcome->payload_bytes, sizeof(payload));
	memcpy(&payload, outcome->payload, sizeof(payload));
	ck_assert_uint_eq(payload, value_at(stream, outcome->index));
	if (outcome->status == PAR_OK)
		check_success(outcome, payload);
	else
		check_failure(outcome, payload);
	stream->failed += outcome->status != PAR_OK;
	return stream->got == stream->sink_stops_at;
}

/* Every task once, and its result. */
static void expect_all(const struct stream *stream)
{
	ck_assert_uint_eq(stream->given, stream->n);
	ck_assert_uint_eq(stream->got, stream->n);
	for (uint64_t i = 0; i < stream->n; i++)
		ck_assert_uint_eq(stream->times[i], 1);
}

/* The pool is as good as new. */
static void expect_usable(par_parallel *pool)
{
	struct stream stream = {.n = 50};
	uint64_t in[50], out[50];

	MUST(par_run(pool, task("mix"), give, take, &stream, NULL, &error));
	expect_all(&stream);
	for (uint64_t i = 0; i < 50; i++)
		in[i] = i;
	MUST(par_map(pool, task("mix"), in, out, 50, NULL, &error));
	for (uint64_t i = 0; i < 50; i++)
		ck_assert_uint_eq(out[i], conformance_mix(i));
}

/* --- the matrix --------------------------------------------------------------------------- */

static const uint64_t sizes[] = {0, 1, 2, 3, 17, 1000};
static const int64_t jobs[] = {1, 2, -1};
static const int64_t batch_sizes[] = {PAR_AUTO, 1, 7};
static const char *const pre_dispatches[] = {"all", "1", "2*n_jobs", "3"};

#define EACH(variable, array)                                                                   \
	for (size_t variable = 0; variable < sizeof(array) / sizeof((array)[0]); variable++)

START_TEST(map_fills_every_place)
{
	static uint64_t in[MOST_TASKS], out[MOST_TASKS + 1];

	begin(_i);
	for (uint64_t i = 0; i < MOST_TASKS; i++)
		in[i] = i * i + 5;
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);

		EACH(n, sizes) EACH(b, batch_sizes) {
			memset(out, 0, sizeof(out));
			MUST(par_map(pool, task("mix"), in, out, sizes[n],
			             PAR_SETTINGS(.batch_size = {1, batch_sizes[b]}), &error));
			for (uint64_t i = 0; i < sizes[n]; i++)
				ck_assert_uint_eq(out[i], conformance_mix(in[i]));
			ck_assert_uint_eq(out[sizes[n]], 0);
		}
		par_close(pool);
	}
}
END_TEST

static void run_matrix(int32_t order)
{
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);

		EACH(n, sizes) EACH(b, batch_sizes) EACH(p, pre_dispatches) {
			struct stream stream = {.n = sizes[n], .unordered = order == PAR_UNORDERED};

			MUST(par_run(pool, task("mix"), give, take, &stream,
			             PAR_SETTINGS(.order = order, .batch_size = {1, batch_sizes[b]},
			                          .pre_dispatch = pre_dispatches[p]),
			             &error));
			expect_all(&stream);
		}
		par_close(pool);
	}
}

START_TEST(run_delivers_in_order)
{
	begin(_i);
	run_matrix(PAR_ORDERED);
}
END_TEST

START_TEST(run_unordered_delivers_the_same_set)
{
	begin(_i);
	run_matrix(PAR_UNORDERED);
}
END_TEST

START_TEST(a_call_of_its_own_needs_no_pool)
{
	struct stream stream = {.n = 100};
	uint64_t in[3] = {1, 2, 3};

	begin(_i);
	MUST(par_run(NULL, task("mix"), give, take, &stream,
	             PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = PAR_SET(2)),
	             &error));
	expect_all(&stream);
	/* In place: the array is both. */
	MUST(par_map(NULL, task("mix"), in, in, 3,
	             PAR_SETTINGS(.backend = backend, .options = options), &error));
	for (uint64_t i = 0; i < 3; i++)
		ck_assert_uint_eq(in[i], conformance_mix(i + 1));
}
END_TEST

/* Of the module whose tasks make calls: on the backend itself at every level, if it is a nested- one. */
START_TEST(tasks_may_make_calls)
{
	const par_task *sum_below = task_of(PAR_BUILD "/tasks/acceptance.so", "sum_below");
	const struct acceptance_nest nobody_says = {.backend = ""};
	uint64_t in[8], out[8] = {0};
	par_parallel *pool;

	begin(_i);
	pool = open_n(2);
	for (uint64_t i = 0; i < 8; i++)
		in[i] = 10 * i;
	MUST(par_map(pool, sum_below, in, out, 8,
	             PAR_SETTINGS(.shared = &nobody_says, .shared_size = sizeof(nobody_says),
	                          .batch_size = PAR_SET(1)), &error));
	par_close(pool);
	for (uint64_t i = 0; i < 8; i++) {
		uint64_t sum = 0;

		for (uint64_t value = 10 * i; value < 10 * i + 4; value++)
			sum += value * value;
		ck_assert_uint_eq(out[i], sum);
	}
}
END_TEST

START_TEST(n_jobs_is_what_can_run)
{
	par_parallel *pool;

	begin(_i);
	EACH(j, jobs) {
		pool = open_n(jobs[j]);
		ck_assert_int_ge(par_n_jobs(pool), 1);
		/* With one worker a backend may leave the work to another, as joblib's do. */
		if (par_n_jobs(pool) > 1)
			ck_assert_str_eq(par_backend_name(pool), backend);
		ck_assert_int_eq(par_effective_n_jobs(backend, (int32_t)jobs[j], &error),
		                 par_n_jobs(pool));
		par_close(pool);
	}
	MUST_BE(PAR_EINVAL,
	        par_open(&pool, PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = PAR_SET(0)),
	                 &error));
	ck_assert_ptr_null(pool);
}
END_TEST

/* One slow task in front; unordered, the fast ones overtake it. */
struct race {
	uint64_t given, value, got, first;
};

static int32_t give_slow_first(void *user, par_item *item)
{
	struct race *race = user;

	if (race->given == 10)
		return 0;
	race->value = race->given++ == 0 ? 500 : 0;
	item->payload = &race->value;
	item->n_bytes = sizeof(race->value);
	return 1;
}

static int32_t take_race(void *user, const par_outcome *outcome)
{
	struct race *race = user;

	if (race->got++ == 0)
		race->first = outcome->index;
	if (outcome->index == 0)
		ck_assert_uint_eq(race->got, 10);
	return 0;
}

START_TEST(unordered_results_overtake_a_slow_task)
{
	par_parallel *pool;
	struct race race = {0};

	begin(_i);
	pool = open_n(2);
	if (par_n_jobs(pool) >= 2) {
		MUST(par_run(pool, task("wait_for"), give_slow_first, take_race, &race,
		             PAR_SETTINGS(.order = PAR_UNORDERED, .batch_size = PAR_SET(1)),
		             &error));
		ck_assert_uint_ne(race.first, 0);
		ck_assert_uint_eq(race.got, 10);
	}
	par_close(pool);
}
END_TEST

/* When was the fourth task taken? */
struct pace {
	uint64_t given, value;
	int64_t fourth_ms;
};

static int32_t give_paced(void *user, par_item *item)
{
	struct pace *pace = user;

	if (pace->given == 6)
		return 0;
	if (++pace->given == 4)
		pace->fourth_ms = now_ms();
	pace->value = 60;
	item->payload = &pace->value;
	item->n_bytes = sizeof(pace->value);
	return 1;
}

START_TEST(pre_dispatch_bounds_what_is_taken_first)
{
	par_parallel *pool;
	struct pace pace = {0};
	int64_t began_ms;

	begin(_i);
	pool = open_n(2);
	began_ms = now_ms();
	MUST(par_run(pool, task("wait_for"), give_paced, NULL, &pace,
	             PAR_SETTINGS(.pre_dispatch = "3", .batch_size = PAR_SET(1)), &error));
	/* Not before a task of 60 ms was over. */
	ck_assert_int_ge(pace.fourth_ms - began_ms, 55);
	par_close(pool);
}
END_TEST

/* --- failures ----------------------------------------------------------------------------- */

static void expect_error_of(uint64_t index)
{
	char words[64];

	(void)snprintf(words, sizeof(words), "the value %llu is bad",
	               (unsigned long long)(index + CONFORMANCE_BAD));
	ck_assert_int_eq(error.code, PAR_EFAILED);
	ck_assert_int_eq(error.task, (int64_t)index);
	ck_assert_msg(strstr(error_line(), words) != NULL, "%s", error_line());
}

START_TEST(an_error_has_its_index_and_words)
{
	begin(_i);
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);
		struct stream stream = {.n = 50, .bad_from = 17, .n_bad = 1};

		MUST_BE(PAR_EFAILED,
		        par_run(pool, task("fail_some"), give, take, &stream,
		                PAR_SETTINGS(.batch_size = {1, batch_sizes[b]}), &error));
		expect_error_of(17);
		/* What was over by then is handed out, in order, the failure in its place. */
		ck_assert_uint_eq(stream.failed, stream.got > 17);
		expect_usable(pool);
		par_close(pool);
	}
}
END_TEST

START_TEST(of_many_errors_the_first_in_order_is_reported)
{
	begin(_i);
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);
		struct stream stream = {.n = 200, .bad_from = 20, .n_bad = 180};

		MUST_BE(PAR_EFAILED, par_run(pool, task("fail_some"), give, take, &stream,
		                             PAR_SETTINGS(.batch_size = PAR_SET(1)), &error));
		/* With several workers another may have failed before the first began. */
		ck_assert_int_ge(error.task, 20);
		if (par_n_jobs(pool) == 1)
			ck_assert_int_eq(error.task, 20);
		expect_error_of((uint64_t)error.task);
		par_close(pool);
	}
}
END_TEST

START_TEST(map_reports_an_error_as_well)
{
	uint64_t in[100], out[100];

	begin(_i);
	for (uint64_t i = 0; i < 100; i++)
		in[i] = i == 63 ? i + CONFORMANCE_BAD : i;
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);

		MUST_BE(PAR_EFAILED, par_map(pool, task("fail_some"), in, out, 100, NULL, &error));
		expect_error_of(63);
		expect_usable(pool);
		par_close(pool);
	}
}
END_TEST

START_TEST(collect_runs_every_task)
{
	begin(_i);
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);
		struct stream stream = {.n = 100, .bad_from = 30, .n_bad = 10};

		MUST_BE(PAR_EFAILED,
		        par_run(pool, task("fail_some"), give, take, &stream,
		                PAR_SETTINGS(.on_error = PAR_COLLECT,
		                             .batch_size = {1, batch_sizes[b]}),
		                &error));
		expect_all(&stream);
		ck_assert_uint_eq(stream.failed, 10);
		expect_error_of(30);
		expect_usable(pool);
		par_close(pool);
	}
}
END_TEST

START_TEST(map_collects_every_result)
{
	par_parallel *pool;
	uint64_t in[100], out[100] = {0};

	begin(_i);
	pool = open_n(2);
	for (uint64_t i = 0; i < 100; i++)
		in[i] = i % 10 == 4 ? i + CONFORMANCE_BAD : i;
	MUST_BE(PAR_EFAILED, par_map(pool, task("fail_some"), in, out, 100,
	                             PAR_SETTINGS(.on_error = PAR_COLLECT), &error));
	expect_error_of(4);
	for (uint64_t i = 0; i < 100; i++)
		if (i % 10 != 4)
			ck_assert_uint_eq(out[i], conformance_mix(i));
	par_close(pool);
}
END_TEST

START_TEST(a_source_that_fails_ends_the_call)
{
	static const uint64_t places[] = {0, 5, 19};

	begin(_i);
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);

		EACH(p, places) {
			struct stream stream = {.n = places[p], .source_fails = 1};

			MUST_BE(PAR_ESOURCE,
			        par_run(pool, task("mix"), give, take, &stream, NULL, &error));
			ck_assert_int_eq(error.code, PAR_ESOURCE);
			ck_assert_uint_eq(stream.given, places[p]);
			ck_assert_uint_le(stream.got, places[p]);
			expect_usable(pool);
		}
		par_close(pool);
	}
}
END_TEST

START_TEST(a_sink_may_end_the_call)
{
	static const uint64_t places[] = {1, 6, 50};

	begin(_i);
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);

		EACH(p, places) {
			struct stream stream = {.n = 50, .sink_stops_at = places[p]};

			MUST_BE(PAR_ECANCELED,
			        par_run(pool, task("mix"), give, take, &stream, NULL, &error));
			ck_assert_uint_eq(stream.got, places[p]);
			expect_usable(pool);
		}
		par_close(pool);
	}
}
END_TEST

/* --- cancelling and time-outs ------------------------------------------------------------- */

struct canceller {
	par_parallel *pool;
	_Atomic int over;
};

/* From another thread, again and again, since the call may not have begun. */
static void *cancel_until_over(void *arg)
{
	struct canceller *canceller = arg;

	while (!atomic_load(&canceller->over)) {
		leaks_moment();
		par_cancel(canceller->pool);
	}
	return NULL;
}

static int32_t give_long(void *user, par_item *item)
{
	static const uint64_t half_a_minute = 30000;
	uint64_t *given = user;

	if ((*given)++ == 20)
		return 0;
	item->stays = 1;
	item->payload = &half_a_minute;
	item->n_bytes = sizeof(half_a_minute);
	return 1;
}

static int32_t take_none(void *user, const par_outcome *outcome)
{
	(void)user;
	ck_abort_msg("task %llu was delivered", (unsigned long long)outcome->index);
	return 0;
}

START_TEST(another_thread_may_cancel)
{
	uint64_t in[8] = {30000, 30000, 30000, 30000, 30000, 30000, 30000, 30000}, out[8];

	begin(_i);
	EACH(j, jobs) {
		struct canceller canceller = {.pool = open_n(jobs[j])};
		int64_t began_ms = now_ms();
		uint64_t given = 0;
		pthread_t thread;

		ck_assert_int_eq(pthread_create(&thread, NULL, cancel_until_over, &canceller), 0);
		MUST_BE(PAR_ECANCELED, par_run(canceller.pool, task("wait_for"), give_long,
		                               take_none, &given, NULL, &error));
		MUST_BE(PAR_ECANCELED,
		        par_map(canceller.pool, task("wait_for"), in, out, 8, NULL, &error));
		atomic_store(&canceller.over, 1);
		pthread_join(thread, NULL);
		ck_assert_int_lt(now_ms() - began_ms, 15000);
		expect_usable(canceller.pool);
		par_close(canceller.pool);
	}
}
END_TEST

START_TEST(cancelling_nothing_does_nothing)
{
	par_parallel *pool;

	begin(_i);
	pool = open_n(2);
	par_cancel(pool);
	par_cancel(NULL);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

/* Opened with it, so that a backend that cannot tell the time is replaced. */
START_TEST(a_time_out_ends_the_call)
{
	uint64_t in[4] = {30000, 30000, 30000, 30000}, out[4];

	begin(_i);
	EACH(j, jobs) {
		par_parallel *pool;
		uint64_t given = 0;
		int64_t began_ms = now_ms();

		MUST(par_open(&pool,
		              PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = {1, jobs[j]},
		                           .timeout = PAR_SET(0.1)),
		              &error));
		MUST_BE(PAR_ETIMEOUT, par_run(pool, task("wait_for"), give_long, take_none, &given,
		                              NULL, &error));
		ck_assert_int_ge(now_ms() - began_ms, 100);
		MUST_BE(PAR_ETIMEOUT, par_map(pool, task("wait_for"), in, out, 4, NULL, &error));
		ck_assert_int_eq(error.code, PAR_ETIMEOUT);
		ck_assert_int_lt(now_ms() - began_ms, 15000);
		expect_usable(pool);
		par_close(pool);
	}
}
END_TEST

/* 20 tasks of 150 ms are more than the time-out in all, and far less each. */
START_TEST(a_time_out_waits_for_the_next_result_only)
{
	par_parallel *pool;
	uint64_t in[20], out[20];
	int64_t began_ms;

	begin(_i);
	for (int i = 0; i < 20; i++)
		in[i] = 150;
	MUST(par_open(&pool,
	              PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = PAR_SET(2),
	                           .timeout = PAR_SET(1)),
	              &error));
	began_ms = now_ms();
	MUST(par_map(pool, task("wait_for"), in, out, 20, PAR_SETTINGS(.batch_size = PAR_SET(1)),
	             &error));
	if (par_n_jobs(pool) <= 2)
		ck_assert_int_gt(now_ms() - began_ms, 1000);
	par_close(pool);
}
END_TEST

/* --- re-entrancy, and several pools ------------------------------------------------------- */

struct reentrant {
	struct stream stream;
	par_parallel *pool;
	int refused;
};

static void call_again(struct reentrant *reentrant)
{
	struct stream inner = {.n = 1};
	uint64_t value = 0;

	MUST_BE(PAR_EBUSY, par_run(reentrant->pool, task("mix"), give, take, &inner, NULL, &error));
	MUST_BE(PAR_EBUSY, par_map(reentrant->pool, task("mix"), &value, &value, 1, NULL, &error));
	ck_assert_uint_eq(inner.given, 0);
	ck_assert_uint_eq(value, 0);
	reentrant->refused++;
}

static int32_t give_and_call(void *user, par_item *item)
{
	struct reentrant *reentrant = user;

	if (reentrant->stream.given % 10 == 3)
		call_again(reentrant);
	return give(&reentrant->stream, item);
}

static int32_t take_and_call(void *user, const par_outcome *outcome)
{
	struct reentrant *reentrant = user;

	if (outcome->index % 10 == 5)
		call_again(reentrant);
	return take(&reentrant->stream, outcome);
}

START_TEST(a_call_inside_a_call_is_refused)
{
	begin(_i);
	EACH(j, jobs) {
		struct reentrant reentrant = {{.n = 50}, open_n(jobs[j]), 0};

		MUST(par_run(reentrant.pool, task("mix"), give_and_call, take_and_call, &reentrant,
		             NULL, &error));
		expect_all(&reentrant.stream);
		ck_assert_int_eq(reentrant.refused, 10);
		par_close(reentrant.pool);
	}
}
END_TEST

/* Rounds on a pool of its own; arg gets the first code that is not PAR_OK. */
static void *run_rounds(void *arg)
{
	int32_t *code = arg;
	const par_task *mix = task("mix");
	par_parallel *pool = NULL;
	uint64_t in[64], out[64];

	for (uint64_t i = 0; i < 64; i++)
		in[i] = i;
	*code = par_open(&pool,
	                 PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = PAR_SET(2)), NULL);
	for (int round = 0; round < 50 && *code == PAR_OK; round++) {
		memset(out, 0, sizeof(out));
		*code = par_map(pool, mix, in, out, 64, NULL, NULL);
		for (uint64_t i = 0; i < 64 && *code == PAR_OK; i++)
			*code = out[i] == conformance_mix(i) ? PAR_OK : PAR_EFAILED;
	}
	par_close(pool);
	return NULL;
}

/* Its locks are not held at a fork, as glibc's are; so it must not be in use by another thread. */
static int forks_may_hang(void)
{
#ifdef __SANITIZE_ADDRESS__
	return options[0] != NULL && strcmp(options[0], "start_method=fork") == 0;
#else
	return 0;
#endif
}

START_TEST(two_threads_have_a_pool_each)
{
	pthread_t threads[2];
	int32_t codes[2];

	begin(_i);
	if (forks_may_hang()) {
		printf("SKIP two_threads_have_a_pool_each: a fork may find AddressSanitizer's allocator "
		       "locked\n");
		return;
	}
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_rounds, &codes[i]), 0);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(codes[0], PAR_OK);
	ck_assert_int_eq(codes[1], PAR_OK);
}
END_TEST

static int32_t take_and_use_another(void *user, const par_outcome *outcome)
{
	struct reentrant *reentrant = user;

	if (outcome->index % 10 == 5) {
		expect_usable(reentrant->pool);
		reentrant->refused++;
	}
	return take(&reentrant->stream, outcome);
}

START_TEST(two_pools_interleave_on_one_thread)
{
	struct reentrant reentrant = {.stream = {.n = 50}};
	par_parallel *outer;

	begin(_i);
	outer = open_n(2);
	reentrant.pool = open_n(2);
	MUST(par_run(outer, task("mix"), give, take_and_use_another, &reentrant, NULL, &error));
	expect_all(&reentrant.stream);
	ck_assert_int_eq(reentrant.refused, 5);
	/* In the order in which they were opened, not the other way round. */
	par_close(outer);
	expect_usable(reentrant.pool);
	par_close(reentrant.pool);
}
END_TEST

START_TEST(a_pool_serves_many_calls)
{
	par_parallel *pool;

	begin(_i);
	pool = open_n(2);
	for (int i = 0; i < 200; i++) {
		struct stream stream = {.n = (uint64_t)i % 20};

		MUST(par_run(pool, task("mix"), give, take, &stream, NULL, &error));
		expect_all(&stream);
	}
	par_close(pool);
}
END_TEST

START_TEST(pools_open_and_close_many_times)
{
	int n = 100;

	begin(_i);
	/* A job of MPI takes its time to come and go, and so does whoever has a sanitizer. */
	if (strcmp(backend, "mpi") == 0 || HAS_SANITIZER)
		n = 20;
	for (int i = 0; i < n; i++) {
		par_parallel *pool = open_n(i % 3 + 1);
		struct stream stream = {.n = 5};

		/* Some never run anything. */
		if (i % 4 != 0)
			MUST(par_run(pool, task("mix"), give, take, &stream, NULL, &error));
		par_close(pool);
	}
}
END_TEST

START_TEST(a_forked_child_is_refused)
{
	par_parallel *pool;
	const par_task *mix;
	uint64_t value = 1;
	int status;
	pid_t pid;

	begin(_i);
	pool = open_n(2);
	expect_usable(pool);
	mix = task("mix");
	pid = fork();
	if (pid == 0)
		_exit(par_map(pool, mix, &value, &value, 1, NULL, NULL) == PAR_EINVAL ? 0 : 1);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

/* --- what tasks are told and reply -------------------------------------------------------- */

static void check_seen(const struct seen *seen, uint64_t index, uint64_t shared, int32_t n_jobs)
{
	ck_assert_uint_eq(seen->value, index + 100);
	ck_assert_uint_eq(seen->index, index);
	ck_assert_uint_eq(seen->shared_size, shared != 0 ? sizeof(shared) : 0);
	ck_assert_uint_eq(seen->shared, shared);
	ck_assert_uint_lt(seen->worker, (uint32_t)n_jobs);
	ck_assert_int_eq(seen->cancelled, 0);
}

START_TEST(tasks_know_their_index_worker_and_shared_bytes)
{
	static uint64_t in[MOST_TASKS];
	static struct seen out[MOST_TASKS];
	const uint64_t shared = UINT64_C(0x123456789abcdef0);

	begin(_i);
	for (uint64_t i = 0; i < MOST_TASKS; i++)
		in[i] = i + 100;
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);

		MUST(par_map(pool, task("look"), in, out, MOST_TASKS,
		             PAR_SETTINGS(.shared = &shared, .shared_size = sizeof(shared),
		                          .batch_size = {1, batch_sizes[b]}),
		             &error));
		for (uint64_t i = 0; i < MOST_TASKS; i++)
			check_seen(&out[i], i, shared, par_n_jobs(pool));
		MUST(par_map(pool, task("look"), in, out, 10, NULL, &error));
		for (uint64_t i = 0; i < 10; i++)
			check_seen(&out[i], i, 0, par_n_jobs(pool));
		par_close(pool);
	}
}
END_TEST

struct looks {
	uint64_t given, got, value;
	int32_t n_jobs;
};

static int32_t give_look(void *user, par_item *item)
{
	struct looks *looks = user;

	if (looks->given == 300)
		return 0;
	looks->value = 100 + looks->given++;
	item->payload = &looks->value;
	item->n_bytes = sizeof(looks->value);
	return 1;
}

static int32_t take_look(void *user, const par_outcome *outcome)
{
	struct looks *looks = user;
	struct seen seen;

	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, sizeof(seen));
	memcpy(&seen, outcome->bytes, sizeof(seen));
	check_seen(&seen, outcome->index, 7, looks->n_jobs);
	looks->got++;
	return 0;
}

START_TEST(streamed_tasks_know_them_too)
{
	const uint64_t shared = 7;

	begin(_i);
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);
		struct looks looks = {.n_jobs = par_n_jobs(pool)};

		MUST(par_run(pool, task("look"), give_look, take_look, &looks,
		             PAR_SETTINGS(.shared = &shared, .shared_size = sizeof(shared),
		                          .batch_size = {1, batch_sizes[b]}),
		             &error));
		ck_assert_uint_eq(looks.got, 300);
		par_close(pool);
	}
}
END_TEST

static const uint64_t reply_sizes[] = {0, 1, 7, 8, 9, 4095, 4096, 65537, 1 << 20};
enum { N_REPLIES = sizeof(reply_sizes) / sizeof(reply_sizes[0]) };

struct replies {
	uint64_t given, got;
	unsigned char *payload; /* echo: of the size to come back */
	par_outcome *kept[4 * N_REPLIES];
	int keeps;
};

static int32_t give_size(void *user, par_item *item)
{
	struct replies *replies = user;

	if (replies->given == 4 * N_REPLIES)
		return 0;
	item->payload = &reply_sizes[replies->given++ % N_REPLIES];
	item->n_bytes = sizeof(uint64_t);
	return 1;
}

static int32_t give_bytes(void *user, par_item *item)
{
	struct replies *replies = user;
	uint64_t n;

	if (replies->given == 4 * N_REPLIES)
		return 0;
	n = reply_sizes[replies->given++ % N_REPLIES];
	/* One buffer for all: what does not stay must have been copied. */
	for (uint64_t i = 0; i < n; i++)
		replies->payload[i] = conformance_byte(n, i);
	item->payload = replies->payload;
	item->n_bytes = n;
	return 1;
}

static void check_reply(const par_outcome *outcome)
{
	uint64_t n = reply_sizes[outcome->index % N_REPLIES];
	const unsigned char *bytes = outcome->bytes;

	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, n);
	for (uint64_t i = 0; i < n; i++)
		if (bytes[i] != conformance_byte(n, i))
			ck_abort_msg("byte %llu of %llu is wrong", (unsigned long long)i,
			             (unsigned long long)n);
}

static int32_t take_reply(void *user, const par_outcome *outcome)
{
	struct replies *replies = user;

	check_reply(outcome);
	if (replies->keeps) {
		replies->kept[replies->got] = par_keep(outcome);
		ck_assert_ptr_nonnull(replies->kept[replies->got]);
	}
	replies->got++;
	return 0;
}

START_TEST(replies_have_any_size)
{
	begin(_i);
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);
		struct replies replies = {0};

		MUST(par_run(pool, task("fill"), give_size, take_reply, &replies,
		             PAR_SETTINGS(.batch_size = {1, batch_sizes[b]}), &error));
		ck_assert_uint_eq(replies.got, 4 * N_REPLIES);
		par_close(pool);
	}
}
END_TEST

START_TEST(payloads_have_any_size_and_the_last_reply_counts)
{
	static const char *const names[] = {"echo", "reply_twice"};

	begin(_i);
	EACH(j, jobs) EACH(n, names) {
		par_parallel *pool = open_n(jobs[j]);
		struct replies replies = {.payload = malloc(1 << 20)};

		MUST(par_run(pool, task(names[n]), give_bytes, take_reply, &replies, NULL, &error));
		ck_assert_uint_eq(replies.got, 4 * N_REPLIES);
		free(replies.payload);
		par_close(pool);
	}
}
END_TEST

static void *release_all(void *arg)
{
	struct replies *replies = arg;

	for (uint64_t i = 0; i < replies->got; i++)
		par_release(replies->kept[i]);
	par_release(NULL);
	return NULL;
}

START_TEST(kept_outcomes_outlive_the_pool)
{
	begin(_i);
	EACH(j, jobs) {
		par_parallel *pool = open_n(jobs[j]);
		struct replies replies = {.keeps = 1};
		pthread_t thread;

		MUST(par_run(pool, task("fill"), give_size, take_reply, &replies, NULL, &error));
		expect_usable(pool);
		par_close(pool);
		for (uint64_t i = 0; i < replies.got; i++) {
			ck_assert_uint_eq(replies.kept[i]->index, i);
			ck_assert_ptr_null(replies.kept[i]->payload);
			check_reply(replies.kept[i]);
		}
		ck_assert_int_eq(pthread_create(&thread, NULL, release_all, &replies), 0);
		pthread_join(thread, NULL);
	}
}
END_TEST

static int32_t keep_failure(void *user, const par_outcome *outcome)
{
	par_outcome **kept = user;

	if (outcome->status != PAR_OK)
		*kept = par_keep(outcome);
	return 0;
}

struct failing {
	par_outcome *kept; /* first: the sink knows no more */
	struct stream stream;
};

static int32_t give_failing(void *user, par_item *item)
{
	return give(&((struct failing *)user)->stream, item);
}

START_TEST(a_kept_failure_keeps_its_words)
{
	struct failing failing = {.stream = {.n = 20, .bad_from = 9, .n_bad = 1}};
	par_parallel *pool;

	begin(_i);
	pool = open_n(2);
	MUST_BE(PAR_EFAILED, par_run(pool, task("fail_some"), give_failing, keep_failure, &failing,
	                             PAR_SETTINGS(.on_error = PAR_COLLECT), &error));
	par_close(pool);
	ck_assert_ptr_nonnull(failing.kept);
	ck_assert_uint_eq(failing.kept->index, 9);
	check_failure(failing.kept, 9 + CONFORMANCE_BAD);
	par_release(failing.kept);
}
END_TEST

struct mixed {
	const par_task *mix, *echo, *silent;
	uint64_t given, got, value;
};

static int32_t give_mixed(void *user, par_item *item)
{
	struct mixed *mixed = user;

	if (mixed->given == 300)
		return 0;
	mixed->value = mixed->given;
	item->task = mixed->given % 3 == 0   ? mixed->mix
	             : mixed->given % 3 == 1 ? mixed->echo
	                                     : mixed->silent;
	item->payload = &mixed->value;
	item->n_bytes = sizeof(mixed->value);
	mixed->given++;
	return 1;
}

static int32_t take_mixed(void *user, const par_outcome *outcome)
{
	struct mixed *mixed = user;
	uint64_t value = 0;

	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, outcome->index % 3 == 2 ? 0 : sizeof(value));
	if (outcome->n_bytes > 0)
		memcpy(&value, outcome->bytes, sizeof(value));
	if (outcome->index % 3 == 0)
		ck_assert_uint_eq(value, conformance_mix(outcome->index));
	if (outcome->index % 3 == 1)
		ck_assert_uint_eq(value, outcome->index);
	mixed->got++;
	return 0;
}

/* Of two modules. */
START_TEST(one_call_may_mix_tasks)
{
	begin(_i);
	EACH(j, jobs) EACH(b, batch_sizes) {
		par_parallel *pool = open_n(jobs[j]);
		const par_task *echo = task_of(PAR_BUILD "/tasks/demo.so", "echo");
		struct mixed mixed = {task("mix"), echo, task("silent"), 0, 0, 0};

		MUST(par_run(pool, NULL, give_mixed, take_mixed, &mixed,
		             PAR_SETTINGS(.batch_size = {1, batch_sizes[b]}), &error));
		ck_assert_uint_eq(mixed.got, 300);
		par_close(pool);
	}
}
END_TEST

/* --- on a loop of the caller's ------------------------------------------------------------ */

/* A libuv program: a clock that ticks, and calls that run beside it. */
struct program {
	uv_loop_t loop;
	uv_timer_t clock;
	int64_t last_ms, longest_ms; /* between ticks */
	_Atomic int *ticks; /* seen by tasks, wherever they run */
	int n_ticks; /* once it is over */
	int ready, done, closed;
	int32_t ready_status, status;
	int error_task;
	par_parallel *pool;
	int rounds; /* calls to start after this one */
	uint64_t in[64], out[64];
	struct stream stream;
};

static void on_tick(uv_timer_t *timer)
{
	struct program *program = timer->data;
	int64_t now = now_ms();

	if (atomic_fetch_add(program->ticks, 1) > 0 && now - program->last_ms > program->longest_ms)
		program->longest_ms = now - program->last_ms;
	program->last_ms = now;
}

static void on_ready(void *user, int32_t status, const par_error *unused)
{
	struct program *program = user;

	(void)unused;
	program->ready++;
	program->ready_status = status;
}

static void on_closed(void *user)
{
	struct program *program = user;

	program->closed++;
	uv_close((uv_handle_t *)&program->clock, NULL);
}

static void finish_program(struct program *program)
{
	par_close_on(program->pool, on_closed, program);
}

static void on_done(void *user, int32_t status, const par_error *how)
{
	struct program *program = user;

	program->done++;
	program->status = status;
	program->error_task = (int)how->task;
	finish_program(program);
}

static void begin_program(struct program *program, int64_t n_jobs)
{
	memset(program, 0, sizeof(*program));
	program->ticks = par_shared_alloc(sizeof(*program->ticks), &error);
	ck_assert_msg(program->ticks != NULL, "%s", error_line());
	ck_assert_int_eq(uv_loop_init(&program->loop), 0);
	ck_assert_int_eq(uv_timer_init(&program->loop, &program->clock), 0);
	program->clock.data = program;
	ck_assert_int_eq(uv_timer_start(&program->clock, on_tick, 0, 5), 0);
	MUST(par_open_on(&program->pool, &program->loop,
	                 PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = {1, n_jobs}),
	                 on_ready, program, &error));
	for (uint64_t i = 0; i < 64; i++)
		program->in[i] = i;
}

/* Until nothing is left on the loop, as a libuv program does. */
static void run_program(struct program *program)
{
	uv_run(&program->loop, UV_RUN_DEFAULT);
	ck_assert_int_eq(program->closed, 1);
	ck_assert_int_eq(uv_loop_close(&program->loop), 0);
	program->n_ticks = *program->ticks;
	par_shared_free(program->ticks);
}

static struct program program;

START_TEST(a_started_map_fills_every_place)
{
	begin(_i);
	EACH(j, jobs) {
		begin_program(&program, jobs[j]);
		/* Before the backend is ready: the call waits for it. */
		MUST(par_start_map(program.pool, task("mix"), program.in, program.out, 64, NULL,
		                   on_done, &program, &error));
		ck_assert_int_eq(program.done, 0);
		run_program(&program);
		ck_assert_int_eq(program.ready, 1);
		ck_assert_int_eq(program.ready_status, PAR_OK);
		ck_assert_int_eq(program.done, 1);
		ck_assert_int_eq(program.status, PAR_OK);
		for (uint64_t i = 0; i < 64; i++)
			ck_assert_uint_eq(program.out[i], conformance_mix(i));
	}
}
END_TEST

static int32_t give_to_program(void *user, par_item *item)
{
	return give(&((struct program *)user)->stream, item);
}

static int32_t take_for_program(void *user, const par_outcome *outcome)
{
	return take(&((struct program *)user)->stream, outcome);
}

START_TEST(a_started_run_delivers_in_order)
{
	begin(_i);
	EACH(j, jobs) EACH(n, sizes) {
		begin_program(&program, jobs[j]);
		program.stream.n = sizes[n];
		MUST(par_start_run(program.pool, task("mix"), give_to_program, take_for_program,
		                   NULL, on_done, &program, &error));
		run_program(&program);
		ck_assert_int_eq(program.status, PAR_OK);
		expect_all(&program.stream);
	}
}
END_TEST

START_TEST(a_started_call_reports_its_error)
{
	begin(_i);
	begin_program(&program, 2);
	program.in[33] += CONFORMANCE_BAD;
	MUST(par_start_map(program.pool, task("fail_some"), program.in, program.out, 64, NULL,
	                   on_done, &program, &error));
	run_program(&program);
	ck_assert_int_eq(program.done, 1);
	ck_assert_int_eq(program.status, PAR_EFAILED);
	ck_assert_int_eq(program.error_task, 33);
}
END_TEST

/* Each task is over only when the loop's clock has ticked on: a loop that ran one itself
 * would wait for itself. */
START_TEST(the_loop_never_blocks)
{
	begin(_i);
	/* Its tasks do not see our ticks. */
	if (strcmp(backend, "mpi") == 0)
		return;
	EACH(j, jobs) {
		begin_program(&program, jobs[j]);
		for (int i = 0; i < 4; i++)
			program.in[i] = 10 * (uint64_t)(i + 1);
		MUST(par_start_map(program.pool, task("wait_for_ticks"), program.in, program.out, 4,
		                   PAR_SETTINGS(.shared = program.ticks, .shared_size = sizeof(int)),
		                   on_done, &program, &error));
		run_program(&program);
		ck_assert_int_eq(program.status, PAR_OK);
		ck_assert_int_ge(program.n_ticks, 40);
	}
}
END_TEST

START_TEST(a_blocking_call_on_a_loop_is_refused)
{
	struct stream stream = {.n = 1};

	begin(_i);
	begin_program(&program, 2);
	MUST_BE(PAR_EINVAL,
	        par_map(program.pool, task("mix"), program.in, program.out, 64, NULL, &error));
	MUST_BE(PAR_EINVAL, par_run(program.pool, task("mix"), give, take, &stream, NULL, &error));
	finish_program(&program);
	run_program(&program);
	ck_assert_uint_eq(stream.given, 0);
}
END_TEST

START_TEST(a_second_call_on_a_busy_pool_is_refused)
{
	begin(_i);
	begin_program(&program, 2);
	MUST(par_start_map(program.pool, task("mix"), program.in, program.out, 64, NULL, on_done,
	                   &program, &error));
	MUST_BE(PAR_EBUSY, par_start_map(program.pool, task("mix"), program.in, program.out, 64,
	                                 NULL, on_done, &program, &error));
	run_program(&program);
	ck_assert_int_eq(program.done, 1);
	ck_assert_int_eq(program.status, PAR_OK);
}
END_TEST

static void on_round(void *user, int32_t status, const par_error *how)
{
	struct program *next = user;

	ck_assert_int_eq(status, PAR_OK);
	if (next->rounds-- == 0) {
		on_done(user, status, how);
		return;
	}
	memset(next->out, 0, sizeof(next->out));
	MUST(par_start_map(next->pool, task("mix"), next->in, next->out, 64, NULL, on_round, next,
	                   &error));
}

START_TEST(the_end_of_a_call_may_start_the_next)
{
	begin(_i);
	begin_program(&program, 2);
	program.rounds = 50;
	MUST(par_start_map(program.pool, task("mix"), program.in, program.out, 64, NULL, on_round,
	                   &program, &error));
	run_program(&program);
	ck_assert_int_eq(program.done, 1);
	ck_assert_uint_eq(program.out[63], conformance_mix(63));
}
END_TEST

static void on_cancel_time(uv_timer_t *timer)
{
	par_cancel(((struct program *)timer->data)->pool);
	uv_close((uv_handle_t *)timer, NULL);
}

static void on_close_time(uv_timer_t *timer)
{
	finish_program(timer->data);
	uv_close((uv_handle_t *)timer, NULL);
}

/* Ends by what is done 50 ms after a call of half-minute tasks began. */
static void run_and_interrupt(uv_timer_cb interrupt, par_done_fn done)
{
	uv_timer_t later;
	int64_t began_ms = now_ms();

	begin_program(&program, 2);
	for (int i = 0; i < 64; i++)
		program.in[i] = 30000;
	MUST(par_start_map(program.pool, task("wait_for"), program.in, program.out, 64, NULL, done,
	                   &program, &error));
	ck_assert_int_eq(uv_timer_init(&program.loop, &later), 0);
	later.data = &program;
	ck_assert_int_eq(uv_timer_start(&later, interrupt, 50, 0), 0);
	run_program(&program);
	ck_assert_int_eq(program.done, 1);
	ck_assert_int_eq(program.status, PAR_ECANCELED);
	ck_assert_int_lt(now_ms() - began_ms, 15000);
}

START_TEST(a_started_call_can_be_cancelled)
{
	begin(_i);
	run_and_interrupt(on_cancel_time, on_done);
}
END_TEST

static void on_done_while_closing(void *user, int32_t status, const par_error *how)
{
	struct program *closing = user;

	(void)how;
	closing->done++;
	closing->status = status;
	/* First the call's end, then the pool's. */
	ck_assert_int_eq(closing->closed, 0);
}

START_TEST(closing_cancels_the_call)
{
	begin(_i);
	run_and_interrupt(on_close_time, on_done_while_closing);
}
END_TEST

START_TEST(a_pool_may_close_before_it_is_ready)
{
	begin(_i);
	for (int i = 0; i < 20; i++) {
		begin_program(&program, 2);
		finish_program(&program);
		run_program(&program);
		ck_assert_int_le(program.ready, 1);
	}
}
END_TEST

static void on_done_of_two(void *user, int32_t status, const par_error *how)
{
	int *left = user;

	(void)how;
	ck_assert_int_eq(status, PAR_OK);
	if (--*left == 0)
		finish_program(&program);
}

START_TEST(two_pools_share_a_loop)
{
	static uint64_t other_out[64];
	par_parallel *other;
	int left = 2;

	begin(_i);
	begin_program(&program, 2);
	MUST(par_open_on(&other, &program.loop,
	                 PAR_SETTINGS(.backend = backend, .options = options, .n_jobs = PAR_SET(2)), NULL,
	                 NULL, &error));
	MUST(par_start_map(program.pool, task("mix"), program.in, program.out, 64, NULL,
	                   on_done_of_two, &left, &error));
	MUST(par_start_map(other, task("mix"), program.in, other_out, 64, NULL, on_done_of_two,
	                   &left, &error));
	while (left > 0)
		uv_run(&program.loop, UV_RUN_ONCE);
	par_close_on(other, NULL, NULL);
	run_program(&program);
	for (uint64_t i = 0; i < 64; i++) {
		ck_assert_uint_eq(program.out[i], conformance_mix(i));
		ck_assert_uint_eq(other_out[i], conformance_mix(i));
	}
}
END_TEST

START_TEST(a_started_call_times_out)
{
	begin(_i);
	begin_program(&program, 2);
	for (int i = 0; i < 64; i++)
		program.in[i] = 30000;
	MUST(par_start_map(program.pool, task("wait_for"), program.in, program.out, 64,
	                   PAR_SETTINGS(.timeout = PAR_SET(0.1)), on_done, &program, &error));
	run_program(&program);
	ck_assert_int_eq(program.status, PAR_ETIMEOUT);
	ck_assert_int_lt(program.longest_ms, 5000);
}
END_TEST

START_TEST(a_program_that_forgets_to_close_still_ends)
{
	begin(_i);
	begin_program(&program, 2);
	MUST(par_start_map(program.pool, task("mix"), program.in, program.out, 64, NULL, NULL, NULL,
	                   &error));
	uv_unref((uv_handle_t *)&program.clock);
	/* An idle pool does not keep uv_run() going. */
	uv_run(&program.loop, UV_RUN_DEFAULT);
	ck_assert_uint_eq(program.out[63], conformance_mix(63));
	finish_program(&program);
	run_program(&program);
}
END_TEST

/* --- which backends there are ------------------------------------------------------------- */

START_TEST(a_backend_that_is_skipped_says_why)
{
	ck_assert_str_ne(backends[_i].reason, "");
}
END_TEST

static void add_variant(const char *prefix, const par_backend_info *info, const char *option,
                        const char *second)
{
	struct backend *new = &backends[n_backends];

	if (n_backends == MOST_BACKENDS)
		return;
	(void)snprintf(new->name, sizeof(new->name), "%s%s", prefix, info->name);
	(void)snprintf(new->title, sizeof(new->title), "%s%s%s%s", prefix, info->name,
	               option != NULL ? "/" : "", option != NULL ? option : "");
	new->options[0] = option;
	new->options[1] = second;
	if (info->state == PAR_STATE_BROKEN)
		(void)snprintf(new->reason, sizeof(new->reason), "%s", info->reason);
	n_backends++;
}

/* And, once, by the name that means it at every level. */
static int32_t add_backend(void *user, const par_backend_info *info)
{
	const char *option = NULL;
	int n_variants = 0;

	(void)user;
	EACH(k, variants) {
		if (strcmp(variants[k].backend, info->name) != 0)
			continue;
		option = variants[k].option;
		add_variant("", info, option, variants[k].second);
		n_variants++;
	}
	if (n_variants == 0)
		add_variant("", info, NULL, NULL);
	/* Whose jobs take their time. */
	if (strcmp(info->name, "mpi") != 0)
		add_variant("nested-", info, option, NULL);
	return n_backends == MOST_BACKENDS;
}

/* Can it be had on this machine?  Asked in a process of its own, as nothing may run in
 * this one before the tests fork from it. */
static void probe(struct backend *candidate)
{
	int fds[2];
	ssize_t n;
	pid_t pid;

	if (candidate->reason[0] != '\0' || pipe(fds) != 0)
		return;
	pid = fork();
	if (pid == 0) {
		par_parallel *pool;
		int32_t code = par_open(
			&pool, PAR_SETTINGS(.backend = candidate->name, .options = candidate->options),
			&error);

		if (code == PAR_EUNAVAIL || code == PAR_ENOTFOUND)
			dprintf(fds[1], "%s", error_line());
		par_close(pool);
		_exit(0);
	}
	close(fds[1]);
	n = read(fds[0], candidate->reason, sizeof(candidate->reason) - 1);
	candidate->reason[n > 0 ? n : 0] = '\0';
	close(fds[0]);
	waitpid(pid, NULL, 0);
}

/* Of the tests, those that calls in tasks, and their ends, are about, come first. */
enum { OF_NESTING = 6, OF_EVERY_NAME = 16 };

/* By the name that means it at every level a backend is the same, and has shown the rest.  So is,
 * for a sanitizer, whatever has begun in another way: all that it can see there is in the workers. */
static size_t n_tests_of(const struct backend *whose, size_t all)
{
	const char *way = whose->options[0];

	if (strncmp(whose->name, "nested-", 7) == 0)
		return HAS_SANITIZER ? OF_NESTING : OF_EVERY_NAME;
	if (HAS_SANITIZER && way != NULL && strncmp(way, "start_method=", 13) == 0 && strcmp(way + 13, "fork") != 0)
		return OF_EVERY_NAME;
	return all;
}

static void add_tests(TCase *tests, int i)
{
	const TTest *const all[] = {
		map_fills_every_place,
		run_delivers_in_order,
		run_unordered_delivers_the_same_set,
		a_call_of_its_own_needs_no_pool,
		tasks_may_make_calls,
		n_jobs_is_what_can_run,
		unordered_results_overtake_a_slow_task,
		pre_dispatch_bounds_what_is_taken_first,
		an_error_has_its_index_and_words,
		of_many_errors_the_first_in_order_is_reported,
		map_reports_an_error_as_well,
		collect_runs_every_task,
		map_collects_every_result,
		a_source_that_fails_ends_the_call,
		a_sink_may_end_the_call,
		another_thread_may_cancel,
		cancelling_nothing_does_nothing,
		a_time_out_ends_the_call,
		a_time_out_waits_for_the_next_result_only,
		a_call_inside_a_call_is_refused,
		two_threads_have_a_pool_each,
		two_pools_interleave_on_one_thread,
		a_pool_serves_many_calls,
		pools_open_and_close_many_times,
		a_forked_child_is_refused,
		tasks_know_their_index_worker_and_shared_bytes,
		streamed_tasks_know_them_too,
		replies_have_any_size,
		payloads_have_any_size_and_the_last_reply_counts,
		kept_outcomes_outlive_the_pool,
		a_kept_failure_keeps_its_words,
		one_call_may_mix_tasks,
		a_started_map_fills_every_place,
		a_started_run_delivers_in_order,
		a_started_call_reports_its_error,
		the_loop_never_blocks,
		a_blocking_call_on_a_loop_is_refused,
		a_second_call_on_a_busy_pool_is_refused,
		the_end_of_a_call_may_start_the_next,
		a_started_call_can_be_cancelled,
		closing_cancels_the_call,
		a_pool_may_close_before_it_is_ready,
		two_pools_share_a_loop,
		a_started_call_times_out,
		a_program_that_forgets_to_close_still_ends,
	};

	EACH(k, all)
		if (k < n_tests_of(&backends[i], sizeof(all) / sizeof(*all)))
			tcase_add_loop_test(tests, all[k], i, i + 1);
}

static TCase *tests_of(int i)
{
	TCase *tests = tcase_create(backends[i].title);

	/* valgrind takes longer, and says so. */
	if (getenv("CK_DEFAULT_TIMEOUT") == NULL)
		tcase_set_timeout(tests, TIMEOUT_S);
	if (backends[i].reason[0] != '\0') {
		printf("SKIP %s: %s\n", backends[i].title, backends[i].reason);
		tcase_add_loop_test(tests, a_backend_that_is_skipped_says_why, i, i + 1);
		return tests;
	}
	add_tests(tests, i);
	return tests;
}

static int find_backends(void)
{
	if (par_each_backend(add_backend, NULL, &error) != PAR_OK || n_backends == 0) {
		printf("no backend: %s\n", error_line());
		return 0;
	}
	for (int i = 0; i < n_backends; i++)
		probe(&backends[i]);
	return n_backends;
}

int main(void)
{
	Suite *suite = suite_create("conformance");
	SRunner *runner;
	int failed;

	if (find_backends() == 0)
		return EXIT_FAILURE;
	for (int i = 0; i < n_backends; i++)
		suite_add_tcase(suite, tests_of(i));
	fflush(stdout);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	/* A backend that is named and not there passed nothing. */
	failed = srunner_ntests_failed(runner) > 0 || srunner_ntests_run(runner) == 0;
	srunner_free(runner);
	return failed;
}
