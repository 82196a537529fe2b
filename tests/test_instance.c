#include "scratch.h"

#include "instance.h"
#include "options.h"

#include <pthread.h>

/* A backend whose every answer a test chooses; it notes down what it was asked. */
struct par_backend {
	const par_host *host;
};

static struct par_backend backend;
static char story[400];
static struct {
	int32_t create, configure, terminate, submit;
	int32_t n_jobs, holds, default_n_jobs;
	uint32_t add_capabilities, drop_capabilities;
	const char *fallback;
	int inner_max_num_threads, leave_something;
} says;
static par_batch submitted;
static int32_t asked_n_jobs;

static void tell(const char *word)
{
	size_t used = strlen(story);

	(void)snprintf(story + used, sizeof(story) - used, "%s%s", used > 0 ? " " : "", word);
}

static int32_t answer(int32_t code, par_error *error, const char *word)
{
	tell(word);
	return code < 0 ? par_fail(error, code, "%s was told to", word) : code;
}

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	(void)options, (void)level;
	backend.host = host;
	says.inner_max_num_threads = inner_max_num_threads;
	if (says.create >= 0 || says.leave_something)
		*out = &backend;
	return answer(says.create, error, "create");
}

static void destroy(par_backend *instance)
{
	ck_assert_ptr_eq(instance, &backend);
	tell("destroy");
}

static int32_t effective_n_jobs(par_backend *instance, int32_t n_jobs)
{
	(void)instance;
	return n_jobs < 0 ? 2 : n_jobs;
}

static int32_t default_n_jobs(par_backend *instance)
{
	(void)instance;
	return says.default_n_jobs;
}

static int32_t configure(par_backend *instance, const par_call *call, par_answer *out, par_error *error)
{
	(void)instance;
	asked_n_jobs = call->n_jobs;
	if (says.n_jobs >= 0)
		out->n_jobs = says.n_jobs;
	out->holds = says.holds;
	out->capabilities |= says.add_capabilities;
	out->capabilities &= ~says.drop_capabilities;
	out->fallback = says.fallback;
	return answer(says.configure, error, "configure");
}

static int32_t submit(par_backend *instance, par_batch batch, void **future, par_error *error)
{
	(void)instance;
	submitted = batch;
	*future = &submitted;
	return answer(says.submit, error, "submit");
}

static int32_t terminate(par_backend *instance, par_error *error)
{
	(void)instance, (void)error;
	tell("terminate");
	return says.terminate;
}

static struct schema schema;
static struct provider provider;
static struct par_call wants;
static struct call call;
static struct loop loop;
static struct instance instance;
static par_error error = PAR_ERROR_INIT;

static void on_event(void *arg)
{
	(void)arg;
}

static void configure_parloop(const char *text)
{
	scratch_write("plugins.conf", text, strlen(text));
	ck_assert_int_eq(par_configure(scratch_path("plugins.conf"), &error), PAR_OK);
}

static void begin(void)
{
	scratch_begin();
	story[0] = '\0';
	memset(&says, 0, sizeof(says));
	says.n_jobs = -1;
	schema = (struct schema){0};
	provider = (struct provider){
		.name = "told",
		.file = "/nowhere/told.so",
		.capabilities = PAR_SHARES_MEMORY | PAR_USES_THREADS,
		.schema = &schema,
		.ops = {.size = sizeof(par_backend_ops), .abi = PAR_ABI, .create = create,
	                .destroy = destroy, .effective_n_jobs = effective_n_jobs,
	                .configure = configure, .submit = submit, .terminate = terminate},
	};
	wants = (struct par_call){.size = sizeof(wants), .n_jobs = 3, .core_share = 5,
	                          .inner_max_num_threads = 6};
	memset(&call, 0, sizeof(call));
	ck_assert_int_eq(loop_init(&loop, NULL, on_event, NULL, &error), PAR_OK);
	instance_init(&instance, &loop, &call, &provider, NULL, &wants);
	instance.n_jobs_is_set = 1;
}

static void end(void)
{
	loop_finish(&loop, NULL);
	scratch_end();
}

static int32_t step(enum instance_goal goal)
{
	return instance_step(&instance, goal, &error);
}

static int not_ready(void *arg)
{
	(void)arg;
	return !instance_is_ready(&instance);
}

/* --- its life -------------------------------------------------------------------------------- */

START_TEST(goes_up_and_down_once)
{
	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(instance.answer.n_jobs, 3);
	ck_assert_int_eq(asked_n_jobs, 3);
	ck_assert_int_eq(says.inner_max_num_threads, 6);
	ck_assert_int_eq(backend.host->cores(backend.host), 5);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(one_that_is_only_made_is_not_configured_nor_terminated)
{
	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_MADE), PAR_OK);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create destroy");
}
END_TEST

START_TEST(a_create_that_failed_left_nothing_to_destroy)
{
	configure_parloop("");
	says.create = PAR_EUNAVAIL;
	says.leave_something = 1;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_EUNAVAIL);
	ck_assert_str_eq(story, "create");
	ck_assert_str_eq(error.what, "cannot create backend \"told\"");
	ck_assert_str_eq(error.file, "/nowhere/told.so");
	ck_assert_str_eq(error.reason, "create was told to");
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create");
}
END_TEST

START_TEST(a_configure_that_failed_is_terminated)
{
	configure_parloop("");
	says.configure = PAR_ENOMEM;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_ENOMEM);
	ck_assert_str_eq(story, "create configure terminate destroy");
	ck_assert_str_eq(error.what, "cannot configure backend \"told\"");
	ck_assert_int_eq(error.code, PAR_ENOMEM);
	/* It stays down, with the same reason. */
	ck_assert_int_eq(step(INSTANCE_UP), PAR_ENOMEM);
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(an_option_that_nobody_knows_is_refused_before_anything_runs)
{
	static const char *const settings[] = {"colour=red", NULL};

	configure_parloop("");
	instance_init(&instance, &loop, &call, &provider, settings, &wants);
	ck_assert_int_eq(step(INSTANCE_UP), PAR_ECONFIG);
	assert_contains(error.what, "colour");
	ck_assert_str_eq(story, "");
}
END_TEST

START_TEST(unset_n_jobs_are_the_backends_default)
{
	configure_parloop("");
	provider.ops.default_n_jobs = default_n_jobs;
	says.default_n_jobs = -1;
	instance.n_jobs_is_set = 0;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(asked_n_jobs, -1);
	ck_assert_int_eq(instance.answer.n_jobs, 5); /* its share */
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(of_an_outermost_call_n_jobs_are_the_backends_affair)
{
	configure_parloop("");
	wants.core_share = 0;
	wants.n_jobs = -1;
	instance_init(&instance, &loop, &call, &provider, NULL, &wants);
	instance.n_jobs_is_set = 1;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(asked_n_jobs, -1);
	ck_assert_int_eq(instance.answer.n_jobs, 2);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(a_table_with_what_is_required_only_will_do)
{
	configure_parloop("");
	provider.ops.configure = NULL;
	provider.ops.terminate = NULL;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(instance.answer.n_jobs, 3);
	ck_assert_uint_eq(instance.answer.capabilities, provider.capabilities);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create destroy");
}
END_TEST

/* --- answers that wait ------------------------------------------------------------------------- */

static int32_t later;

static void *be_ready(void *arg)
{
	const struct timespec moment = {.tv_nsec = 10 * 1000 * 1000};
	par_error why = PAR_ERROR_INIT;

	(void)arg;
	(void)nanosleep(&moment, NULL);
	if (later < 0)
		(void)par_fail(&why, later, "it took its time");
	backend.host->ready(backend.host, later, later < 0 ? &why : NULL);
	return NULL;
}

/* The loop sleeps meanwhile. */
static int32_t step_with_patience(enum instance_goal goal)
{
	pthread_t thread;
	int32_t code = step(goal);

	ck_assert_int_eq(code, PAR_PENDING);
	ck_assert_int_eq(step(goal), PAR_PENDING);
	ck_assert_int_eq(pthread_create(&thread, NULL, be_ready, NULL), 0);
	while (not_ready(NULL))
		loop_wait(&loop, 0, not_ready);
	pthread_join(thread, NULL);
	return step(goal);
}

START_TEST(a_create_may_be_ready_later)
{
	configure_parloop("");
	says.create = PAR_PENDING;
	ck_assert_int_eq(step_with_patience(INSTANCE_UP), PAR_OK);
	ck_assert_str_eq(story, "create configure");
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(a_configure_may_be_ready_later)
{
	configure_parloop("");
	says.configure = PAR_PENDING;
	says.n_jobs = 2;
	ck_assert_int_eq(step_with_patience(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(instance.answer.n_jobs, 2);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(a_terminate_may_be_ready_later)
{
	configure_parloop("");
	says.terminate = PAR_PENDING;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(step_with_patience(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(a_create_that_fails_later_says_why)
{
	configure_parloop("");
	says.create = PAR_PENDING;
	later = PAR_EUNAVAIL;
	ck_assert_int_eq(step_with_patience(INSTANCE_UP), PAR_EUNAVAIL);
	ck_assert_str_eq(error.reason, "it took its time");
	ck_assert_str_eq(error.what, "cannot create backend \"told\"");
}
END_TEST

START_TEST(a_configure_that_fails_later_says_why)
{
	configure_parloop("");
	says.configure = PAR_PENDING;
	later = PAR_EFAILED;
	ck_assert_int_eq(step_with_patience(INSTANCE_UP), PAR_EFAILED);
	ck_assert_str_eq(error.reason, "it took its time");
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(one_that_is_still_pending_is_waited_for_on_the_way_down)
{
	configure_parloop("");
	says.configure = PAR_PENDING;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_PENDING);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_PENDING);
	ck_assert_str_eq(story, "create configure");
	backend.host->ready(backend.host, PAR_OK, NULL);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

static void note_post(void *arg)
{
	tell(arg);
}

START_TEST(posts_are_delivered_before_it_is_destroyed)
{
	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(backend.host->post(backend.host, note_post, "post"), PAR_OK);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure terminate post destroy");
}
END_TEST

/* --- what configure answers -------------------------------------------------------------------- */

START_TEST(no_worker_is_an_error)
{
	configure_parloop("");
	says.n_jobs = 0;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "told has no active worker");
	assert_contains(error.remedy, "parloop show told");
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(capabilities_can_be_removed_but_not_added)
{
	configure_parloop("");
	says.add_capabilities = PAR_CAN_KILL | PAR_RUNS_INLINE;
	says.drop_capabilities = PAR_USES_THREADS;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert(!instance_can(&instance, PAR_CAN_KILL));
	ck_assert(!instance_can(&instance, PAR_RUNS_INLINE));
	ck_assert(!instance_can(&instance, PAR_USES_THREADS));
	ck_assert(instance_can(&instance, PAR_SHARES_MEMORY));
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(one_in_another_address_space_may_not_run_batches_here)
{
	configure_parloop("");
	says.drop_capabilities = PAR_SHARES_MEMORY;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(backend.host->run(backend.host, 1), PAR_EINVAL);
	assert_contains(scratch_log, "does not share memory");
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(it_may_fall_back_on_another)
{
	configure_parloop("[parloop]\nplugin_dir = " PAR_PLUGINS "\n");
	says.fallback = "sequential";
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_str_eq(instance.provider->name, "sequential");
	ck_assert_str_eq(story, "create configure terminate destroy");
	ck_assert(instance_can(&instance, PAR_RUNS_INLINE));
	ck_assert_uint_eq(instance_holds(&instance), 1);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(it_may_not_fall_back_on_nobody)
{
	configure_parloop("");
	says.fallback = "nobody";
	ck_assert_int_eq(step(INSTANCE_UP), PAR_ENOTFOUND);
	assert_contains(error.what, "nobody");
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

START_TEST(backends_that_fall_back_in_a_circle_are_found_out)
{
	scratch_copy(PLUGIN("circle"), "circle.so");
	configure_parloop("[parloop]\nplugin_dir = .\n");
	says.fallback = "this-way";
	ck_assert_int_eq(step(INSTANCE_UP), PAR_EUNAVAIL);
	assert_contains(error.what, "in a circle");
	ck_assert_str_eq(story, "create configure terminate destroy");
}
END_TEST

/* --- batches ------------------------------------------------------------------------------------- */

START_TEST(it_holds_what_it_last_said)
{
	configure_parloop("");
	says.holds = 7;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_uint_eq(instance_holds(&instance), 7);
	backend.host->capacity(backend.host, 2, 4);
	ck_assert_uint_eq(instance_holds(&instance), 4);
	backend.host->capacity(backend.host, 2, 0);
	ck_assert_uint_eq(instance_holds(&instance), 2);
	backend.host->capacity(backend.host, 0, 0);
	ck_assert_uint_eq(instance_holds(&instance), 0);
	/* No more than there are places for. */
	backend.host->capacity(backend.host, 100, 1000);
	ck_assert_uint_eq(instance_holds(&instance), 7);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(a_batch_comes_back_by_done)
{
	struct batch *batch;

	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(instance_submit(&instance, 1, &error), PAR_OK);
	ck_assert_uint_eq(instance.batches.n_out, 1);
	backend.host->done(backend.host, submitted, PAR_EABORTED, NULL);
	backend.host->done(backend.host, submitted, PAR_EABORTED, NULL);
	batch = batch_take_completed(&instance.batches);
	ck_assert_ptr_nonnull(batch);
	ck_assert_ptr_null(batch->next);
	ck_assert_ptr_eq(batch->future, &submitted);
	ck_assert_int_eq(instance_retire(&instance, batch, &error), PAR_EABORTED);
	ck_assert_uint_eq(instance.batches.n_out, 0);
	ck_assert_int_eq(backend.host->run(backend.host, submitted), PAR_EINVAL);
	assert_contains(scratch_log, "told: run() of a batch that is not out");
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

START_TEST(a_batch_that_was_not_taken_is_not_out)
{
	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	says.submit = PAR_EUNAVAIL;
	ck_assert_int_eq(instance_submit(&instance, 1, &error), PAR_EUNAVAIL);
	ck_assert_uint_eq(instance.batches.n_out, 0);
	ck_assert_str_eq(error.what, "backend \"told\" cannot take a batch");
	says.submit = 5;
	error = (par_error)PAR_ERROR_INIT;
	ck_assert_int_eq(instance_submit(&instance, 1, &error), PAR_EFAILED);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

static int32_t look_at_result(par_backend *of, par_batch batch, void *future, int32_t status,
                              par_error *why)
{
	(void)of, (void)why;
	ck_assert_uint_eq(batch, submitted);
	ck_assert_ptr_eq(future, &submitted);
	ck_assert_int_eq(status, PAR_OK);
	tell("look");
	return PAR_ELOST;
}

START_TEST(a_result_can_be_looked_at_before_the_core_does)
{
	configure_parloop("");
	provider.ops.retrieve_result_callback = look_at_result;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_int_eq(instance_submit(&instance, 1, &error), PAR_OK);
	backend.host->done(backend.host, submitted, PAR_OK, NULL);
	ck_assert_int_eq(instance_retire(&instance, batch_take_completed(&instance.batches), &error),
	                 PAR_ELOST);
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	ck_assert_str_eq(story, "create configure submit look terminate destroy");
}
END_TEST

/* --- results that are fetched ----------------------------------------------------------------------- */

static _Atomic int n_fetched;
static pthread_t fetched_on;
static par_batch fetched[3];

static int32_t fetch(par_backend *of, par_batch batch, void *future, int64_t timeout_ns, par_error *why)
{
	static int asked;

	(void)of, (void)why;
	ck_assert_ptr_eq(future, &submitted);
	ck_assert_int_gt(timeout_ns, 0);
	/* Not ready yet, the first time. */
	if (asked++ == 0)
		return PAR_ETIMEOUT;
	fetched_on = pthread_self();
	fetched[n_fetched] = batch;
	n_fetched++;
	return n_fetched == 2 ? PAR_ELOST : PAR_OK;
}

static int none_completed(void *arg)
{
	(void)arg;
	return !batch_has_completed(&instance.batches);
}

START_TEST(results_are_fetched_by_a_thread_oldest_first)
{
	par_batch sent[3];
	int32_t statuses[3];
	int n = 0;

	configure_parloop("");
	provider.ops.retrieve_result = fetch;
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(instance_submit(&instance, 1, &error), PAR_OK);
		sent[i] = submitted;
	}
	while (n < 3) {
		struct batch *batch, *next;

		loop_wait(&loop, 0, none_completed);
		for (batch = batch_take_completed(&instance.batches); batch != NULL; batch = next) {
			next = batch->next;
			statuses[n++] = instance_retire(&instance, batch, &error);
		}
	}
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(fetched[i], sent[i]);
		ck_assert_int_eq(statuses[i], i == 1 ? PAR_ELOST : PAR_OK);
	}
	ck_assert(!pthread_equal(fetched_on, pthread_self()));
}
END_TEST

/* --- the host ------------------------------------------------------------------------------------------ */

START_TEST(the_host_offers_what_its_header_names)
{
	const par_ext_worker_env *env;
	char **made;

	configure_parloop("");
	ck_assert_int_eq(step(INSTANCE_UP), PAR_OK);
	ck_assert_ptr_nonnull(backend.host->extension(backend.host, PAR_EXT_FD));
	ck_assert_ptr_nonnull(backend.host->extension(backend.host, PAR_EXT_TIMER));
	ck_assert_ptr_nonnull(backend.host->extension(backend.host, PAR_EXT_ENCODE));
	ck_assert_ptr_nonnull(backend.host->extension(backend.host, PAR_EXT_CHANNEL));
	ck_assert_ptr_null(backend.host->extension(backend.host, "parloop.moon/1"));
	env = backend.host->extension(backend.host, PAR_EXT_WORKER_ENV);
	made = env->make_env(backend.host, 2);
	ck_assert_ptr_nonnull(made);
	env->free_env(made);
	ck_assert_uint_eq(backend.host->size, sizeof(par_host));
	backend.host->log(backend.host, 2, "a line");
	assert_contains(scratch_log, "2 told: a line");
	ck_assert_int_eq(step(INSTANCE_GONE), PAR_OK);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("instance");
	TCase *tests = tcase_create("instance");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, goes_up_and_down_once);
	tcase_add_test(tests, one_that_is_only_made_is_not_configured_nor_terminated);
	tcase_add_test(tests, a_create_that_failed_left_nothing_to_destroy);
	tcase_add_test(tests, a_configure_that_failed_is_terminated);
	tcase_add_test(tests, an_option_that_nobody_knows_is_refused_before_anything_runs);
	tcase_add_test(tests, unset_n_jobs_are_the_backends_default);
	tcase_add_test(tests, of_an_outermost_call_n_jobs_are_the_backends_affair);
	tcase_add_test(tests, a_table_with_what_is_required_only_will_do);
	tcase_add_test(tests, a_create_may_be_ready_later);
	tcase_add_test(tests, a_configure_may_be_ready_later);
	tcase_add_test(tests, a_terminate_may_be_ready_later);
	tcase_add_test(tests, a_create_that_fails_later_says_why);
	tcase_add_test(tests, a_configure_that_fails_later_says_why);
	tcase_add_test(tests, one_that_is_still_pending_is_waited_for_on_the_way_down);
	tcase_add_test(tests, posts_are_delivered_before_it_is_destroyed);
	tcase_add_test(tests, no_worker_is_an_error);
	tcase_add_test(tests, capabilities_can_be_removed_but_not_added);
	tcase_add_test(tests, one_in_another_address_space_may_not_run_batches_here);
	tcase_add_test(tests, it_may_fall_back_on_another);
	tcase_add_test(tests, it_may_not_fall_back_on_nobody);
	tcase_add_test(tests, backends_that_fall_back_in_a_circle_are_found_out);
	tcase_add_test(tests, it_holds_what_it_last_said);
	tcase_add_test(tests, a_batch_comes_back_by_done);
	tcase_add_test(tests, a_batch_that_was_not_taken_is_not_out);
	tcase_add_test(tests, a_result_can_be_looked_at_before_the_core_does);
	tcase_add_test(tests, results_are_fetched_by_a_thread_oldest_first);
	tcase_add_test(tests, the_host_offers_what_its_header_names);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
