/* test_promises.c - what the headers promise, with a backend of the test's own: one thread
 * for each batch, and whatever is set in toy.
 *
 * link: -Wl,--wrap=registry_find,--wrap=registry_options
 * link: -Wl,--wrap=clock_gettime
 */
#include "clock.h"
#include "scratch.h"

#include "parallel.h"
#include "registry.h"

#include <parloop/backend.h>

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>
#include <uv.h>

static par_error error = PAR_ERROR_INIT;

/* --- the backend ---------------------------------------------------------------------------- */

enum { MOST_THREADS = 4096 };

struct par_backend {
	const par_host *host;
	pthread_t threads[MOST_THREADS];
	int n_threads;
};

static struct {
	int32_t (*create)(const par_host *host, par_backend **backend, par_error *error);
	int32_t (*configure)(par_backend *backend, par_answer *answer, par_error *error);
	int32_t (*terminate)(par_backend *backend);
	int32_t (*run)(const par_host *host, par_batch batch); /* in place of host->run */
	const char *const *nested_options;
	int creates, configures, terminates, destroys;
	char option[40];            /* the first of the last create */
	int empty_batches;          /* batch_completed() of no task */
	int32_t batch_size;         /* compute_batch_size(); */
} toy;

static int32_t toy_create(const par_host *host, const par_options *options, int32_t level,
                          int32_t inner_max_num_threads, par_backend **backend, par_error *why)
{
	(void)options, (void)level, (void)inner_max_num_threads;
	toy.creates++;
	if (toy.create != NULL)
		return toy.create(host, backend, why);
	*backend = calloc(1, sizeof(**backend));
	(*backend)->host = host;
	return PAR_OK;
}

static void toy_destroy(par_backend *backend)
{
	toy.destroys++;
	while (backend->n_threads > 0)
		pthread_join(backend->threads[--backend->n_threads], NULL);
	free(backend);
}

static int32_t toy_effective(par_backend *backend, int32_t n_jobs)
{
	(void)backend;
	return n_jobs > 0 ? n_jobs : 2;
}

static int32_t toy_configure(par_backend *backend, const par_call *call, par_answer *answer,
                             par_error *why)
{
	(void)call;
	toy.configures++;
	return toy.configure != NULL ? toy.configure(backend, answer, why) : PAR_OK;
}

static int32_t toy_terminate(par_backend *backend, par_error *why)
{
	(void)why;
	toy.terminates++;
	return toy.terminate != NULL ? toy.terminate(backend) : PAR_OK;
}

struct lent {
	const par_host *host;
	par_batch batch;
};

static void *toy_thread(void *arg)
{
	struct lent lent = *(struct lent *)arg;

	free(arg);
	lent.host->done(lent.host, lent.batch,
	                toy.run != NULL ? toy.run(lent.host, lent.batch)
	                                : lent.host->run(lent.host, lent.batch),
	                NULL);
	return NULL;
}

static int32_t toy_submit(par_backend *backend, par_batch batch, void **future, par_error *why)
{
	struct lent *lent = malloc(sizeof(*lent));

	(void)future;
	*lent = (struct lent){backend->host, batch};
	if (backend->n_threads == MOST_THREADS)
		return par_fail(why, PAR_ENOMEM, "so many batches were not expected");
	ck_assert_int_eq(pthread_create(&backend->threads[backend->n_threads++], NULL, toy_thread, lent), 0);
	return PAR_OK;
}

static void toy_batch_completed(par_backend *backend, int64_t size, int64_t nanoseconds)
{
	(void)backend, (void)nanoseconds;
	toy.empty_batches += size == 0;
}

static int32_t toy_batch_size(par_backend *backend)
{
	(void)backend;
	return toy.batch_size;
}

static int32_t toy_nested(par_backend *backend, par_nested *nested)
{
	(void)backend;
	nested->myself = 1;
	nested->options = toy.nested_options;
	return PAR_OK;
}

static struct provider provider = {
	.name = "toy",
	.capabilities = PAR_SHARES_MEMORY,
	.ops = {
		.size = sizeof(par_backend_ops),
		.abi = PAR_ABI,
		.create = toy_create,
		.destroy = toy_destroy,
		.effective_n_jobs = toy_effective,
		.configure = toy_configure,
		.submit = toy_submit,
		.batch_completed = toy_batch_completed,
		.get_nested_backend = toy_nested,
		.terminate = toy_terminate,
	},
};

int32_t __real_registry_find(const char *name, const struct provider **found, par_error *why);
int32_t __wrap_registry_find(const char *name, const struct provider **found, par_error *why);
int32_t __wrap_registry_find(const char *name, const struct provider **found, par_error *why)
{
	if (strcmp(name, "toy") != 0)
		return __real_registry_find(name, found, why);
	*found = &provider;
	return PAR_OK;
}

int32_t __real_registry_options(const struct provider *of, const char *const *settings,
                                struct par_options **out, par_error *why);
int32_t __wrap_registry_options(const struct provider *of, const char *const *settings,
                                struct par_options **out, par_error *why);
int32_t __wrap_registry_options(const struct provider *of, const char *const *settings,
                                struct par_options **out, par_error *why)
{
	if (of != &provider)
		return __real_registry_options(of, settings, out, why);
	(void)snprintf(toy.option, sizeof(toy.option), "%s",
	               settings != NULL && settings[0] != NULL ? settings[0] : "");
	*out = NULL;
	return PAR_OK;
}

/* --- what the tests share -------------------------------------------------------------------- */

static int64_t now_ns(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void pass_ms(int ms)
{
	struct timespec time = {ms / 1000, ms % 1000 * 1000000L};

	while (nanosleep(&time, &time) != 0)
		;
}

static int next_value(const int64_t *in, int64_t *out)
{
	*out = *in + 1;
	return 0;
}
PAR_TASK(next_value, int64_t, int64_t)

static int take_2ms(const int64_t *in, int64_t *out)
{
	pass_ms(2);
	*out = *in + 1;
	return 0;
}
PAR_TASK(take_2ms, int64_t, int64_t)

struct stream {
	int64_t next, n;
	uint64_t delivered;
	int pause_at, pause_ms;
	int64_t pause_cpu_ns; /* what all threads used meanwhile */
	par_parallel *parallel;
};

static int32_t count_up(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->next == stream->n)
		return 0;
	if (stream->pause_ms > 0 && stream->next == stream->pause_at) {
		stream->pause_cpu_ns = -now_ns(CLOCK_PROCESS_CPUTIME_ID);
		pass_ms(stream->pause_ms);
		stream->pause_cpu_ns += now_ns(CLOCK_PROCESS_CPUTIME_ID);
	}
	stream->next++;
	item->payload = &stream->next;
	item->n_bytes = sizeof(stream->next);
	return 1;
}

static int32_t count_delivered(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;

	if (outcome->status == PAR_OK)
		stream->delivered++;
	return 0;
}

static const par_settings *toy_settings = PAR_SETTINGS(.backend = "toy", .n_jobs = PAR_SET(2));
/* --- the life of an instance ------------------------------------------------------------------ */

static int32_t fail_with_leftover(const par_host *host, par_backend **backend, par_error *why)
{
	(void)host;
	*backend = calloc(1, sizeof(**backend));
	free(*backend);
	return par_fail(why, PAR_EUNAVAIL, "no licence");
}

START_TEST(an_instance_that_was_not_created_is_not_destroyed)
{
	par_parallel *parallel;

	toy.create = fail_with_leftover;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.reason, "no licence");
	assert_contains(error.what, "cannot create backend \"toy\"");
	ck_assert_int_eq(toy.terminates, 0);
	ck_assert_int_eq(toy.destroys, 0);
}
END_TEST

static int32_t create_nothing(const par_host *host, par_backend **backend, par_error *why)
{
	(void)host, (void)backend, (void)why;
	return PAR_OK;
}

START_TEST(a_create_that_makes_nothing_is_told_so)
{
	par_parallel *parallel;

	toy.create = create_nothing;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_EFAILED);
	assert_contains(error.reason, "no instance");
	ck_assert_int_eq(toy.configures, 0);
}
END_TEST

START_TEST(what_was_not_configured_is_not_terminated)
{
	ck_assert_int_eq(par_effective_n_jobs("toy", 3, &error), 3);
	ck_assert_int_eq(toy.creates, 1);
	ck_assert_int_eq(toy.terminates, 0);
	ck_assert_int_eq(toy.destroys, 1);
}
END_TEST

static int32_t answer_seven(par_backend *backend, par_answer *answer, par_error *why)
{
	(void)backend, (void)answer, (void)why;
	return 7;
}

START_TEST(an_answer_that_means_nothing_is_an_error)
{
	par_parallel *parallel;

	toy.configure = answer_seven;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_EFAILED);
	assert_contains(error.reason, "7");
	ck_assert_int_eq(toy.terminates, 1);
	ck_assert_int_eq(toy.destroys, 1);
}
END_TEST

static int32_t ready_with_pending(par_backend *backend, par_answer *answer, par_error *why)
{
	(void)answer, (void)why;
	backend->host->ready(backend->host, PAR_PENDING, NULL);
	return PAR_PENDING;
}

START_TEST(ready_cannot_answer_that_it_is_pending)
{
	par_parallel *parallel;

	toy.configure = ready_with_pending;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_EFAILED);
}
END_TEST

static int32_t answer_two_billion(par_backend *backend, par_answer *answer, par_error *why)
{
	(void)backend, (void)why;
	answer->n_jobs = 2000000000;
	return PAR_OK;
}

START_TEST(more_workers_than_there_can_be_are_refused)
{
	par_parallel *parallel;

	toy.configure = answer_two_billion;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_EINVAL);
	assert_contains(error.reason, "2000000000");
}
END_TEST

static int32_t lose_all_workers(par_backend *backend, par_answer *answer, par_error *why)
{
	(void)answer, (void)why;
	backend->host->capacity(backend->host, 0, 5);
	return PAR_OK;
}

static int posted;

static void post_again(void *arg)
{
	par_backend *backend = arg;

	if (++posted < 3)
		ck_assert_int_eq(backend->host->post(backend->host, post_again, backend), PAR_OK);
}

static int32_t post_at_the_end(par_backend *backend)
{
	return backend->host->post(backend->host, post_again, backend);
}

START_TEST(posts_are_drained_before_destroy)
{
	par_parallel *parallel;

	posted = 0;
	toy.terminate = post_at_the_end;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_OK);
	par_close(parallel);
	ck_assert_int_eq(posted, 3);
}
END_TEST

static void never(void *arg)
{
	(void)arg;
}

static int32_t leave_a_timer(par_backend *backend, par_answer *answer, par_error *why)
{
	const par_ext_timer *timer = backend->host->extension(backend->host, PAR_EXT_TIMER);
	par_watch *watch;

	(void)answer, (void)why;
	return timer->start(backend->host, 1000000000, 1000000000, never, NULL, &watch);
}

START_TEST(a_timer_that_was_left_does_not_hold_the_end_up)
{
	par_parallel *parallel;

	toy.configure = leave_a_timer;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_OK);
	par_close(parallel);
	assert_contains(scratch_log, "left a watch or a timer");
}
END_TEST

START_TEST(a_timer_that_was_left_does_not_hold_the_callers_loop_up)
{
	par_parallel *parallel;
	uv_loop_t loop;

	toy.configure = leave_a_timer;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(par_open_on(&parallel, &loop, toy_settings, NULL, NULL, &error), PAR_OK);
	(void)uv_run(&loop, UV_RUN_ONCE);
	par_close_on(parallel, NULL, NULL);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

/* --- batches ---------------------------------------------------------------------------------- */

static int32_t run_second_time(const par_host *host, par_batch batch)
{
	static _Atomic int times;

	return atomic_fetch_add(&times, 1) == 0 ? PAR_OK : host->run(host, batch);
}

START_TEST(an_empty_batch_is_not_told_to_the_backend)
{
	int64_t in[4] = {0, 1, 2, 3}, out[4];

	toy.run = run_second_time;
	ck_assert_int_eq(par_map(NULL, &par_task_next_value, in, out, 4, toy_settings, &error), PAR_OK);
	ck_assert_int_eq(toy.empty_batches, 0);
}
END_TEST

static int ask_options(const int64_t *in, int64_t *out)
{
	par_parallel *inner;

	(void)in;
	*out = par_open(&inner, NULL, NULL);
	if (*out == PAR_OK)
		par_close(inner);
	return (int)*out;
}
PAR_TASK(ask_options, int64_t, int64_t)

START_TEST(a_nested_backend_gets_the_options_it_was_named_with)
{
	static const char *const options[] = {"depth=2", NULL};
	int64_t in = 0, out;

	toy.nested_options = options;
	ck_assert_int_eq(par_map(NULL, &par_task_ask_options, &in, &out, 1, toy_settings, &error), PAR_OK);
	ck_assert_int_eq(toy.creates, 2);
	ck_assert_str_eq(toy.option, "depth=2");
}
END_TEST

static int tell_level(par_env *env, const int64_t *in, int64_t *out)
{
	(void)in;
	*out = env->level;
	return 0;
}
PAR_TASK_ENV(tell_level, int64_t, int64_t)

START_TEST(the_level_in_an_outermost_call_is_one_on_every_backend)
{
	static const char *const names[] = {"sequential", "threading", "toy"};
	int64_t in = 0, out;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ck_assert_int_eq(par_map(NULL, &par_task_tell_level, &in, &out, 1,
		                         PAR_SETTINGS(.backend = names[i], .n_jobs = PAR_SET(2)), &error),
		                 PAR_OK);
		ck_assert_int_eq(out, 1);
	}
}
END_TEST

/* --- settings that are large ------------------------------------------------------------------- */

START_TEST(a_batch_size_may_be_as_large_as_it_likes)
{
	struct stream stream = {.n = 1000};

	ck_assert_int_eq(par_run(NULL, &par_task_next_value, count_up, count_delivered, &stream,
	                         PAR_SETTINGS(.backend = "toy", .n_jobs = PAR_SET(1000),
	                                      .batch_size = PAR_SET(1 << 30), .order = PAR_UNORDERED),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(stream.delivered, 1000);
}
END_TEST

START_TEST(a_pre_dispatch_may_be_as_large_as_it_likes)
{
	struct stream stream = {.n = 1000};

	ck_assert_int_eq(par_run(NULL, &par_task_next_value, count_up, count_delivered, &stream,
	                         PAR_SETTINGS(.backend = "toy", .n_jobs = PAR_SET(2),
	                                      .pre_dispatch = "1000000", .order = PAR_UNORDERED),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(stream.delivered, 1000);
}
END_TEST

/* --- soon ---------------------------------------------------------------------------------------- */

static int cancel_at_5(par_env *env, const int64_t *in, int64_t *out)
{
	par_parallel *parallel;

	memcpy(&parallel, env->shared, sizeof(parallel));
	if (*in == 5)
		par_cancel(parallel);
	if (*in > 5)
		pass_ms(20);
	*out = 1;
	return 0;
}
PAR_TASK_ENV(cancel_at_5, int64_t, int64_t)

START_TEST(tasks_of_a_large_batch_that_did_not_begin_are_dropped_by_a_cancel)
{
	static const char *const names[] = {"sequential", "threading", "toy"};
	par_parallel *parallel;
	int64_t in[1000], out[1000];
	int ran;

	for (int i = 0; i < 1000; i++)
		in[i] = i;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		memset(out, 0, sizeof(out));
		ck_assert_int_eq(par_open(&parallel, PAR_SETTINGS(.backend = names[i], .n_jobs = PAR_SET(2)),
		                          &error),
		                 PAR_OK);
		ck_assert_int_eq(par_map(parallel, &par_task_cancel_at_5, in, out, 1000,
		                         PAR_SETTINGS(.batch_size = PAR_SET(500), .shared = &parallel,
		                                      .shared_size = sizeof(parallel)),
		                         &error),
		                 PAR_ECANCELED);
		par_close(parallel);
		ran = 0;
		for (int j = 0; j < 1000; j++)
			ran += out[j] != 0;
		ck_assert_int_lt(ran, 50);
	}
}
END_TEST

static _Atomic int n_pauses;

/* Time passes while it blocks, and at no other time. */
static int32_t block_at_5(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->next == 5) {
		n_pauses++;
		(void)now_ns(CLOCK_MONOTONIC);
		pass_ms(700);
		clock_stands_until(&n_pauses, 2);
	}
	return count_up(user, item);
}

START_TEST(a_source_that_blocks_does_not_run_the_time_out_down)
{
	struct stream stream = {.n = 10};

	clock_stands_until(&n_pauses, 1);
	ck_assert_int_eq(par_run(NULL, &par_task_take_2ms, block_at_5, count_delivered, &stream,
	                         PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2),
	                                      .timeout = PAR_SET(0.3)),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(stream.delivered, 10);
}
END_TEST

START_TEST(workers_sleep_while_a_source_blocks)
{
	struct stream stream = {.n = 100010, .pause_at = 100000, .pause_ms = 1000};

	ck_assert_int_eq(par_run(NULL, &par_task_next_value, count_up, count_delivered, &stream,
	                         PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)), &error),
	                 PAR_OK);
	ck_assert_msg(stream.pause_cpu_ns < 500000000, "%lld ms", (long long)stream.pause_cpu_ns / 1000000);
}
END_TEST

/* --- no worker --------------------------------------------------------------------------------- */

START_TEST(no_worker_holds_no_batch)
{
	par_parallel *parallel;

	toy.configure = lose_all_workers;
	ck_assert_int_eq(par_open(&parallel, toy_settings, &error), PAR_OK);
	ck_assert_uint_eq(instance_holds(&parallel->engine->instance), 0);
	par_close(parallel);
}
END_TEST
/* --- on the caller's loop ----------------------------------------------------------------------- */

static int n_ready, n_done, n_closed;
static int32_t done_status;

static void count_ready(void *user, int32_t status, const par_error *why)
{
	(void)user, (void)why;
	n_ready++;
	ck_assert_int_eq(status, PAR_OK);
}

static void count_done(void *user, int32_t status, const par_error *why)
{
	(void)user, (void)why;
	n_done++;
	done_status = status;
}

static void count_closed(void *user)
{
	(void)user;
	n_closed++;
}

static void say_ready(void *arg)
{
	par_backend *backend = arg;

	backend->host->ready(backend->host, PAR_OK, NULL);
}

static int32_t ready_by_post(par_backend *backend, par_answer *answer, par_error *why)
{
	(void)answer, (void)why;
	ck_assert_int_eq(backend->host->post(backend->host, say_ready, backend), PAR_OK);
	return PAR_PENDING;
}

START_TEST(ready_is_told_also_if_a_call_saw_it_first)
{
	int64_t in[2] = {1, 2}, out[2];
	par_parallel *parallel;
	uv_loop_t loop;

	toy.configure = ready_by_post;
	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(par_open_on(&parallel, &loop, toy_settings, count_ready, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_start_map(parallel, &par_task_next_value, in, out, 2, NULL, count_done, NULL,
	                               &error),
	                 PAR_OK);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(n_done, 1);
	ck_assert_int_eq(n_ready, 1);
	par_close_on(parallel, count_closed, NULL);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(n_closed, 1);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

START_TEST(what_is_closed_before_it_began_makes_no_backend)
{
	int64_t in[2] = {1, 2}, out[2];
	par_parallel *parallel;
	uv_loop_t loop;

	ck_assert_int_eq(uv_loop_init(&loop), 0);
	ck_assert_int_eq(par_open_on(&parallel, &loop, toy_settings, NULL, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_start_map(parallel, &par_task_next_value, in, out, 2, NULL, count_done, NULL,
	                               &error),
	                 PAR_OK);
	par_close_on(parallel, count_closed, NULL);
	ck_assert_int_eq(uv_run(&loop, UV_RUN_DEFAULT), 0);
	ck_assert_int_eq(n_done, 1);
	ck_assert_int_eq(done_status, PAR_ECANCELED);
	ck_assert_int_eq(n_closed, 1);
	ck_assert_int_eq(toy.creates, 0);
	ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

static struct {
	int n;
	char last[400];
} warned;

static void count_warnings(void *user, int32_t level, const char *line)
{
	(void)user;
	ck_assert_int_eq(level, 2);
	warned.n++;
	(void)snprintf(warned.last, sizeof(warned.last), "%s", line);
}

START_TEST(a_batch_size_of_none_is_one_and_said_once)
{
	int64_t in[20], out[20];
	const int32_t sizes[] = {0, -5, 0};

	provider.ops.compute_batch_size = toy_batch_size;
	par_set_log(count_warnings, NULL);
	for (int call = 0; call < 3; call++) {
		toy.batch_size = sizes[call];
		for (int i = 0; i < 20; i++) {
			in[i] = i;
			out[i] = 0;
		}
		ck_assert_int_eq(par_map(NULL, &par_task_next_value, in, out, 20,
		                         PAR_SETTINGS(.backend = "toy"), &error), PAR_OK);
		for (int i = 0; i < 20; i++)
			ck_assert_int_eq(out[i], i + 1);
	}
	ck_assert_int_eq(warned.n, 1);
	ck_assert_str_eq(warned.last, "backend \"toy\": its compute_batch_size() is 0, not 1 or more, and "
	                              "taken for 1; parloop check tells its author more");
	par_set_log(NULL, NULL);
	provider.ops.compute_batch_size = NULL;
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("promises");
	TCase *tests = tcase_create("promises");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, an_instance_that_was_not_created_is_not_destroyed);
	tcase_add_test(tests, a_create_that_makes_nothing_is_told_so);
	tcase_add_test(tests, what_was_not_configured_is_not_terminated);
	tcase_add_test(tests, an_answer_that_means_nothing_is_an_error);
	tcase_add_test(tests, ready_cannot_answer_that_it_is_pending);
	tcase_add_test(tests, more_workers_than_there_can_be_are_refused);
	tcase_add_test(tests, posts_are_drained_before_destroy);
	tcase_add_test(tests, a_timer_that_was_left_does_not_hold_the_end_up);
	tcase_add_test(tests, a_timer_that_was_left_does_not_hold_the_callers_loop_up);
	tcase_add_test(tests, an_empty_batch_is_not_told_to_the_backend);
	tcase_add_test(tests, a_nested_backend_gets_the_options_it_was_named_with);
	tcase_add_test(tests, the_level_in_an_outermost_call_is_one_on_every_backend);
	tcase_add_test(tests, a_batch_size_may_be_as_large_as_it_likes);
	tcase_add_test(tests, a_pre_dispatch_may_be_as_large_as_it_likes);
	tcase_add_test(tests, tasks_of_a_large_batch_that_did_not_begin_are_dropped_by_a_cancel);
	tcase_add_test(tests, a_source_that_blocks_does_not_run_the_time_out_down);
	tcase_add_test(tests, workers_sleep_while_a_source_blocks);
	tcase_add_test(tests, no_worker_holds_no_batch);
	tcase_add_test(tests, ready_is_told_also_if_a_call_saw_it_first);
	tcase_add_test(tests, what_is_closed_before_it_began_makes_no_backend);
	tcase_add_test(tests, a_batch_size_of_none_is_one_and_said_once);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
