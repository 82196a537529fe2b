#include "scratch.h"

#include "own_backend.h"

#include <parloop/worker.h>

#include <fcntl.h>

static par_error error = PAR_ERROR_INIT;

/* "custom" has threads, "plain" nothing but this address space, "remote" not even that. */
static void begin(void)
{
	static const char conf[] = "[backend loky]\nidle_worker_timeout = 10ms\n";

	scratch_begin();
	ck_assert_int_eq(par_configure(scratch_write("hints.conf", conf, sizeof(conf) - 1), &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("plain", own_factory, NULL, 0, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("remote", own_factory,
	                                      PAR_CAPABILITIES("survives_crash limits_threads")
	                                      PAR_OPTION_TEXT("endpoint", "", "where"), 0, &error),
	                 PAR_OK);
}

/* The backend of an open with these settings. */
static const char *backend_for(const par_settings *settings, int32_t *n_jobs)
{
	static char name[40];
	par_parallel *pool;
	int32_t code = par_open(&pool, settings, &error);

	if (code != PAR_OK)
		return par_code_name(code);
	(void)snprintf(name, sizeof(name), "%s", par_backend_name(pool));
	*n_jobs = par_n_jobs(pool);
	par_close(pool);
	return name;
}

#define assert_for(name, n, ...)                                                                \
	do {                                                                                    \
		int32_t n_jobs_now = 0;                                                         \
		const char *name_now = backend_for(PAR_SETTINGS(__VA_ARGS__), &n_jobs_now);     \
		ck_assert_msg(strcmp(name_now, name) == 0, "%s: %s", name_now, error.what);     \
		ck_assert_int_eq(n_jobs_now, n);                                                \
	} while (0)

static void push(const par_settings *settings)
{
	int32_t code = par_context_push(settings, NULL, &error);

	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
}

static void make_default(const char *backend)
{
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = backend), &error), PAR_OK);
}

/* --- how many ------------------------------------------------------------------------------ */

START_TEST(b01_there_are_cores_and_workers)
{
	ck_assert_int_gt(par_effective_n_jobs(NULL, PAR_UNSET, &error), 0);
	ck_assert_int_gt(par_effective_n_jobs(NULL, -1, &error), 0);
	ck_assert_int_gt(par_effective_n_jobs("sequential", -1, &error), 0);
	ck_assert_int_eq(par_effective_n_jobs("threading", -1000, &error), 1);
}
END_TEST

START_TEST(b02_effective_n_jobs_unset_is_the_contexts)
{
	setenv("PARLOOP_MAX_CPU_COUNT", "1", 1);
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, &error), 1);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)));
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, &error), 3);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(-1)));
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, &error),
	                 par_effective_n_jobs(NULL, -1, &error));
	push(PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)));
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, &error), 1);
	push(PAR_SETTINGS(.backend = "custom"));
	own.default_n_jobs = 6;
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, &error), 6);
	ck_assert_int_eq(par_effective_n_jobs(NULL, 2, &error), 2);
}
END_TEST

static int hush(int fd)
{
	int before = dup(fd), quiet = open(scratch_path("said"), O_WRONLY | O_CREAT | O_APPEND, 0600);

	fflush(NULL);
	ck_assert_int_ge(before, 0);
	ck_assert_int_eq(dup2(quiet, fd), fd);
	close(quiet);
	return before;
}

static void speak(int fd, int before)
{
	fflush(NULL);
	ck_assert_int_eq(dup2(before, fd), fd);
	close(before);
}

START_TEST(b03_every_backend_gives_what_a_serial_loop_gives)
{
	static const char *const backends[] = {"sequential", "threading", "custom", "plain"};
	static const int n_jobs[] = {1, 2, -1, -2}, verbose[] = {2, 11, 100};
	int out = hush(1), err = hush(2);

	for (int i = 0; i < 4 * 4 * 3; i++) {
		int32_t code = own_squares(PAR_SETTINGS(.backend = backends[i % 4],
		                                        .n_jobs = PAR_SET(n_jobs[i / 4 % 4]),
		                                        .verbose = PAR_SET(verbose[i / 16])), &error);

		ck_assert_msg(code == PAR_OK, "%s %d: %s", backends[i % 4], i, error.what);
	}
	speak(1, out);
	speak(2, err);
}
END_TEST

START_TEST(b04_n_jobs_0_has_no_meaning_on_any_backend)
{
	static const char *const backends[] = {"sequential", "threading", "custom", "plain"};

	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = backends[i], .n_jobs = PAR_SET(0)),
		                             &error), PAR_EINVAL);
		ck_assert_str_eq(error.what, "n_jobs == 0 in Parallel has no meaning");
		ck_assert_int_eq(par_effective_n_jobs(backends[i], 0, &error), 0);
		ck_assert_str_eq(error.what, "n_jobs == 0 in Parallel has no meaning");
	}
	push(PAR_SETTINGS(.n_jobs = {1, (int64_t)0.5}));
	ck_assert_int_eq(own_squares(NULL, &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "n_jobs == 0 in Parallel has no meaning");
}
END_TEST

START_TEST(b05_n_jobs_in_plugins_conf_is_a_whole_number_or_an_error)
{
	static const char *const bad[] = {"two", "2.3", "2x", "", "0"};
	char text[80];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		(void)snprintf(text, sizeof(text), "[parloop]\nn_jobs = %s\n", bad[i]);
		ck_assert_int_eq(par_configure(scratch_write("plugins.conf", text, strlen(text)), &error),
		                 PAR_ECONFIG);
		assert_contains(error.what, "plugins.conf:2: n_jobs in [parloop]");
		assert_contains(error.reason, bad[i]);
		assert_contains(error.reason, "is not a whole number");
	}
	ck_assert_int_eq(par_configure(scratch_write("plugins.conf", "[parloop]\nn_jobs = 2\n", 21),
	                               &error), PAR_OK);
	assert_for("threading", 2, .backend = NULL);
}
END_TEST

START_TEST(b24_a_backend_without_workers_says_so)
{
	own.has_no_worker = 1;
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "custom"), &error), PAR_EUNAVAIL);
	assert_contains(error.what, "custom has no active worker");
	ck_assert_int_eq(par_effective_n_jobs("custom", 2, &error), 0);
	assert_contains(error.what, "custom has no active worker");
}
END_TEST

/* --- which --------------------------------------------------------------------------------- */

START_TEST(b20_nobody_names_a_backend_and_there_is_no_hint)
{
	assert_for("threading", 2, .n_jobs = PAR_SET(2));
	make_default("custom");
	assert_for("custom", 2, .n_jobs = PAR_SET(2));
}
END_TEST

START_TEST(b20_prefer_threads_leads_to_threading)
{
	make_default("remote");
	assert_for("threading", 2, .n_jobs = PAR_SET(2), .prefer = "threads");
	make_default("custom");
	assert_for("custom", 2, .n_jobs = PAR_SET(2), .prefer = "threads");
	make_default("sequential");
	assert_for("sequential", 1, .n_jobs = PAR_SET(2), .prefer = "threads");
}
END_TEST

START_TEST(b20_prefer_processes_leads_to_loky)
{
	assert_for("loky", 2, .n_jobs = PAR_SET(2), .prefer = "processes");
	ck_assert_int_eq(par_register_backend("multiprocessing", own_factory, NULL, 0, &error), PAR_OK);
	assert_for("loky", 2, .n_jobs = PAR_SET(2), .prefer = "processes");
	ck_assert_int_eq(par_register_backend("loky", own_factory,
	                                      PAR_CAPABILITIES("shares_memory")
	                                      PAR_OPTION_TIME("idle_worker_timeout", "1s", "0s", "1h", "-"),
	                                      0, &error),
	                 PAR_OK);
	assert_for("loky", 2, .n_jobs = PAR_SET(2), .prefer = "processes");
	ck_assert_int_eq(own.call.prefer_threads, -1);
	make_default("plain");
	assert_for("plain", 2, .n_jobs = PAR_SET(2), .prefer = "processes");
}
END_TEST

START_TEST(b20_require_sharedmem_leads_to_threading)
{
	make_default("remote");
	assert_for("threading", 2, .n_jobs = PAR_SET(2), .require = "sharedmem");
	make_default("plain");
	assert_for("plain", 2, .n_jobs = PAR_SET(2), .require = "sharedmem");
	ck_assert_int_eq(own.call.require_sharedmem, 1);
}
END_TEST

START_TEST(b20_a_backend_that_is_named_ignores_prefer)
{
	assert_for("plain", 2, .backend = "plain", .n_jobs = PAR_SET(2), .prefer = "threads");
	ck_assert_int_eq(own.call.prefer_threads, 1);
	assert_for("threading", 2, .backend = "threading", .n_jobs = PAR_SET(2),
	           .prefer = "processes");
	push(PAR_SETTINGS(.backend = "plain"));
	assert_for("plain", 2, .n_jobs = PAR_SET(2), .prefer = "threads");
	push(PAR_SETTINGS(.prefer = "threads"));
	assert_for("plain", 2, .n_jobs = PAR_SET(2));
}
END_TEST

/* joblib would have n_jobs 1. */
START_TEST(b20_hints_keep_the_contexts_n_jobs_unlike_joblib)
{
	const char *const options[] = {"endpoint=here", NULL};

	push(PAR_SETTINGS(.backend = "remote", .options = options, .n_jobs = PAR_SET(3),
	                  .inner_max_num_threads = PAR_SET(2)));
	assert_for("threading", 3, .require = "sharedmem");
	assert_for("threading", 2, .require = "sharedmem", .n_jobs = PAR_SET(2));
	ck_assert_int_eq(par_context_pop(NULL, &error), PAR_OK);
	make_default("remote");
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3), .prefer = "threads"));
	assert_for("threading", 3, .n_jobs = {0});
}
END_TEST

START_TEST(b21_hints_never_keep_a_call_from_running)
{
	static const char *const defaults[] = {"threading", "sequential", "custom", "plain"};
	static const char *const prefer[] = {NULL, "threads", "processes"};
	static const char *const require[] = {NULL, "sharedmem"};
	static const int n_jobs[] = {1, 2, -1};

	for (int i = 0; i < 4 * 3 * 2 * 3; i++) {
		int32_t code;

		if (i % 6 == 5)
			continue; /* these two do not agree */
		/* Valgrind has no pidfd, and so no worker process. */
		if (i % 3 == 2 && getenv("UNDER_VALGRIND") != NULL)
			continue;
		make_default(defaults[i / 18]);
		code = own_squares(PAR_SETTINGS(.prefer = prefer[i % 3], .require = require[i / 3 % 2],
		                                .n_jobs = PAR_SET(n_jobs[i / 6 % 3])), &error);
		ck_assert_msg(code == PAR_OK, "%d: %s", i, error.what);
	}
}
END_TEST

/* What is said on both streams while a pool is opened. */
static const char *said_by(const par_settings *settings)
{
	static char text[1000];
	int out = hush(1), err = hush(2);
	int32_t n_jobs;
	size_t n;
	char *said;

	ck_assert_str_eq(backend_for(settings, &n_jobs), "threading");
	speak(1, out);
	speak(2, err);
	said = scratch_read(scratch_path("said"), &n);
	ck_assert_int_eq(truncate(scratch_path("said"), 0), 0);
	(void)snprintf(text, sizeof(text), "%.*s", (int)n, said);
	free(said);
	return text;
}

START_TEST(b22_a_context_without_shared_memory_is_overruled_and_says_so_from_verbose_10)
{
	push(PAR_SETTINGS(.backend = "remote", .n_jobs = PAR_SET(2)));
	ck_assert_str_eq(said_by(PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(9))), "");
	ck_assert_str_eq(said_by(PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(10))),
	                 "Using threading as parloop backend instead of remote as the latter does not "
	                 "provide shared memory semantics.\n");
	ck_assert_int_eq(par_context_pop(NULL, &error), PAR_OK);
	make_default("remote");
	ck_assert_str_eq(said_by(PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(10),
	                                      .n_jobs = PAR_SET(2))), "");
	push(PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)));
	ck_assert_str_eq(said_by(PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(10))), "");
}
END_TEST

START_TEST(b22_a_custom_backend_declares_that_it_shares_memory)
{
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(2)));
	assert_for("custom", 2, .require = "sharedmem");
	assert_for("custom", 2, .backend = "custom", .n_jobs = PAR_SET(2), .require = "sharedmem");
}
END_TEST

START_TEST(b23_hints_that_mean_nothing_or_contradict_are_refused)
{
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.prefer = "fibers"), &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "prefer=fibers is not a valid backend hint, expected one of "
	                             "'processes', 'threads'");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.require = ""), &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "require= is not a valid backend constraint, expected 'sharedmem'");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.prefer = "processes", .require = "sharedmem"),
	                             &error), PAR_EINVAL);
	assert_contains(error.what, "are inconsistent settings");
	push(PAR_SETTINGS(.prefer = "processes"));
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.require = "sharedmem"), &error), PAR_EINVAL);
	assert_contains(error.what, "are inconsistent settings");
}
END_TEST

START_TEST(b23_a_backend_that_is_named_must_share_memory_if_that_is_required)
{
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "remote", .require = "sharedmem"), &error),
	                 PAR_EINVAL);
	ck_assert_str_eq(error.what, "Backend remote does not support shared memory");
	push(PAR_SETTINGS(.require = "sharedmem"));
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "remote"), &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "Backend remote does not support shared memory");
}
END_TEST

static int tell_limit(par_env *env, const int32_t *in, int32_t *out)
{
	*out = *in + env->inner_max_num_threads;
	return 0;
}
PAR_TASK_ENV(tell_limit, int32_t, int32_t)

START_TEST(a_limit_of_the_calls_own_goes_to_whoever_serves_it)
{
	int32_t in[2] = {0, 10}, out[2];

	push(PAR_SETTINGS(.backend = "remote", .n_jobs = PAR_SET(2)));
	ck_assert_int_eq(par_map(NULL, &par_task_tell_limit, in, out, 2,
	                         PAR_SETTINGS(.require = "sharedmem",
	                                      .inner_max_num_threads = PAR_SET(3)), &error), PAR_OK);
	ck_assert_int_eq(out[0], 3);
	ck_assert_int_eq(out[1], 13);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	/* Its tasks may run in worker processes, which are this program. */
	par_worker_main(argc, argv);
	suite = suite_create("hints");
	tests = tcase_create("hints");
	runner = srunner_create(suite);
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, b01_there_are_cores_and_workers);
	tcase_add_test(tests, b02_effective_n_jobs_unset_is_the_contexts);
	tcase_add_test(tests, b03_every_backend_gives_what_a_serial_loop_gives);
	tcase_add_test(tests, b04_n_jobs_0_has_no_meaning_on_any_backend);
	tcase_add_test(tests, b05_n_jobs_in_plugins_conf_is_a_whole_number_or_an_error);
	tcase_add_test(tests, b24_a_backend_without_workers_says_so);
	tcase_add_test(tests, b20_nobody_names_a_backend_and_there_is_no_hint);
	tcase_add_test(tests, b20_prefer_threads_leads_to_threading);
	tcase_add_test(tests, b20_prefer_processes_leads_to_loky);
	tcase_add_test(tests, b20_require_sharedmem_leads_to_threading);
	tcase_add_test(tests, b20_a_backend_that_is_named_ignores_prefer);
	tcase_add_test(tests, b20_hints_keep_the_contexts_n_jobs_unlike_joblib);
	tcase_add_test(tests, b21_hints_never_keep_a_call_from_running);
	tcase_add_test(tests, b22_a_context_without_shared_memory_is_overruled_and_says_so_from_verbose_10);
	tcase_add_test(tests, b22_a_custom_backend_declares_that_it_shares_memory);
	tcase_add_test(tests, b23_hints_that_mean_nothing_or_contradict_are_refused);
	tcase_add_test(tests, b23_a_backend_that_is_named_must_share_memory_if_that_is_required);
	tcase_add_test(tests, a_limit_of_the_calls_own_goes_to_whoever_serves_it);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
