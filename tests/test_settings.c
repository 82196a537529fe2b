#include "scratch.h"

#include "settings.h"

#include <limits.h>
#include <math.h>

static par_error error = PAR_ERROR_INIT;
static const par_settings unset = {.size = sizeof(unset)};
static struct conf conf;
static struct plan plan;

static int32_t plan_call(const par_settings *call)
{
	return settings_plan(&unset, call, &conf, &plan, &error);
}

START_TEST(unset_is_joblibs_default)
{
	ck_assert_int_eq(plan_call(&unset), PAR_OK);
	ck_assert_int_eq(plan.unordered, 0);
	ck_assert_int_eq(plan.collect, 0);
	ck_assert_uint_eq(plan.batch_size, 0);
	ck_assert_int_eq(plan.timeout_ns, 0);
	ck_assert_int_eq(plan.verbose, 0);
	ck_assert_ptr_null(plan.pre_dispatch);
	ck_assert_uint_eq(plan.max_nbytes, 1048576);
	ck_assert_int_eq(plan.shared_mode, SHARED_READ);
}
END_TEST

START_TEST(the_call_wins_over_the_pool_and_that_over_the_file)
{
	const par_settings opened = {.size = sizeof(opened), .verbose = PAR_SET(2),
	                             .timeout = PAR_SET(3), .order = PAR_UNORDERED, .pre_dispatch = "2"};
	const par_settings call = {.size = sizeof(call), .verbose = PAR_SET(0), .order = PAR_ORDERED};

	conf.verbose = (par_int)PAR_SET(1);
	conf.batch_size = (par_int)PAR_SET(9);
	conf.pre_dispatch = (char *)(uintptr_t)"1";
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_int_eq(plan.verbose, 0);
	ck_assert_int_eq(plan.unordered, 0);
	ck_assert_int_ge(plan.timeout_ns, 3000000000);
	ck_assert_int_le(plan.timeout_ns, 3000000001);
	ck_assert_uint_eq(plan.batch_size, 9);
	ck_assert_str_eq(plan.pre_dispatch, "2");
	ck_assert_int_eq(settings_plan(&unset, &unset, &conf, &plan, &error), PAR_OK);
	ck_assert_int_eq(plan.verbose, 1);
	ck_assert_str_eq(plan.pre_dispatch, "1");
}
END_TEST

START_TEST(a_batch_size_is_auto_or_positive)
{
	static const int64_t wrong[] = {0, -1, INT64_MIN, (1 << 30) + 1, INT64_MAX};
	par_settings call = unset;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		call.batch_size = (par_int)PAR_SET(wrong[i]);
		ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
		assert_contains(error.what, "batch_size must be 'auto' or a positive integer, got: ");
	}
	call.batch_size = (par_int)PAR_SET(1 << 30);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_uint_eq(plan.batch_size, 1 << 30);
	call.batch_size = (par_int)PAR_SET(PAR_AUTO);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_uint_eq(plan.batch_size, 0);
}
END_TEST

START_TEST(a_timeout_is_a_positive_number)
{
	const double wrong[] = {0, -0.0, -1, NAN, -INFINITY};
	par_settings call = unset;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		call.timeout = (par_real)PAR_SET(wrong[i]);
		ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
		assert_contains(error.what, "timeout must be a positive number");
	}
	call.timeout = (par_real)PAR_SET(1e-12);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_int_eq(plan.timeout_ns, 1);
	call.timeout = (par_real)PAR_SET(INFINITY);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_int_eq(plan.timeout_ns, 0);
}
END_TEST

START_TEST(an_order_or_on_error_that_means_nothing_is_refused)
{
	par_settings call = unset;

	call.order = 3;
	ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
	call.order = -1;
	ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
	call.order = PAR_UNORDERED;
	call.on_error = 4;
	ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
	call.on_error = PAR_COLLECT;
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_int_eq(plan.collect, 1);
	ck_assert_int_eq(plan.ignore, 0);
	call.on_error = PAR_IGNORE;
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_int_eq(plan.collect, 1);
	ck_assert_int_eq(plan.ignore, 1);
}
END_TEST

START_TEST(what_is_shared_is_the_calls_or_the_pools)
{
	par_settings opened = unset, call = unset;

	opened.shared = "pool";
	opened.shared_size = 4;
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_ptr_eq(plan.shared, opened.shared);
	ck_assert_uint_eq(plan.shared_size, 4);
	call.shared = "call's";
	call.shared_size = 6;
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_ptr_eq(plan.shared, call.shared);
	ck_assert_uint_eq(plan.shared_size, 6);
}
END_TEST

/* --- sharing --------------------------------------------------------------------------------- */

static int32_t insists(par_int call, par_int inherited, par_int file)
{
	const par_settings settings = {.size = sizeof(settings), .oversubscribe = call};
	int32_t answer = -1;

	conf.oversubscribe = file;
	return settings_oversubscribe(&settings, inherited, &conf, &answer, &error) == PAR_OK ? answer : -2;
}

START_TEST(to_oversubscribe_is_said_by_the_call_the_one_around_it_or_the_file)
{
	const par_int none = {0}, yes = PAR_SET(1), no = PAR_SET(0), odd = PAR_SET(7);

	ck_assert_int_eq(insists(none, none, none), 0);
	ck_assert_int_eq(insists(none, none, yes), 1);
	ck_assert_int_eq(insists(none, no, yes), 0);
	ck_assert_int_eq(insists(none, yes, no), 1);
	ck_assert_int_eq(insists(no, yes, yes), 0);
	ck_assert_int_eq(insists(yes, no, no), 1);
	ck_assert_int_eq(insists(odd, yes, yes), -2);
	assert_contains(error.what, "oversubscribe must be 0 or 1, got: 7");
}
END_TEST

START_TEST(max_nbytes_is_a_size_or_never)
{
	par_settings call = unset;

	call.max_nbytes = (par_int)PAR_SET(0);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, 0);
	call.max_nbytes = (par_int)PAR_SET(INT64_MAX);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, INT64_MAX);
	call.max_nbytes = (par_int)PAR_SET(-1);
	ck_assert_int_eq(plan_call(&call), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, UINT64_MAX);
	call.max_nbytes = (par_int)PAR_SET(-2);
	ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
	ck_assert_str_eq(error.what, "max_nbytes must be a number of bytes, or -1, got: -2");
	assert_contains(error.remedy, "1 MiB");
	call.max_nbytes = (par_int)PAR_SET(INT64_MIN);
	ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
}
END_TEST

START_TEST(mmap_mode_is_one_of_joblibs)
{
	static const struct {
		const char *text;
		enum shared_mode mode;
	} modes[] = {{"r", SHARED_READ}, {"r+", SHARED_WRITE}, {"w+", SHARED_WRITE}, {"c", SHARED_PRIVATE}};
	static const char *const wrong[] = {"", "w", "R", "r ", "rw", "cc", "none", "\x1b[31m"};
	par_settings call = unset;

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		call.mmap_mode = modes[i].text;
		ck_assert_int_eq(plan_call(&call), PAR_OK);
		ck_assert_int_eq(plan.shared_mode, modes[i].mode);
	}
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		call.mmap_mode = wrong[i];
		ck_assert_int_eq(plan_call(&call), PAR_EINVAL);
		assert_contains(error.what, "mmap_mode must be 'r', 'r+', 'w+' or 'c', got: '");
		assert_contains(error.remedy, "only read");
	}
	assert_contains(error.what, "\\x1b[31m");
}
END_TEST

START_TEST(sharing_is_the_calls_or_the_pools_or_the_files)
{
	par_settings opened = unset, call = unset;

	conf.max_nbytes = (par_int)PAR_SET(-1);
	conf.mmap_mode = (char *)(uintptr_t)"c";
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, UINT64_MAX);
	ck_assert_int_eq(plan.shared_mode, SHARED_PRIVATE);
	opened.max_nbytes = (par_int)PAR_SET(100);
	opened.mmap_mode = "r+";
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, 100);
	ck_assert_int_eq(plan.shared_mode, SHARED_WRITE);
	call.max_nbytes = (par_int)PAR_SET(0);
	call.mmap_mode = "r";
	ck_assert_int_eq(settings_plan(&opened, &call, &conf, &plan, &error), PAR_OK);
	ck_assert_uint_eq(plan.max_nbytes, 0);
	ck_assert_int_eq(plan.shared_mode, SHARED_READ);
}
END_TEST

/* --- n_jobs ---------------------------------------------------------------------------------- */

START_TEST(n_jobs_0_has_no_meaning)
{
	par_settings settings = unset;
	int32_t n_jobs = 77;
	int is_set;

	settings.n_jobs = (par_int)PAR_SET(0);
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "n_jobs == 0 in Parallel has no meaning");
	settings.n_jobs = (par_int)PAR_SET((int64_t)INT32_MAX + 1);
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_EINVAL);
	settings.n_jobs = (par_int)PAR_SET((int64_t)INT32_MIN - 1);
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_EINVAL);
	settings.n_jobs = (par_int){.set = 2, .value = 1};
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_EINVAL);
	ck_assert_int_eq(n_jobs, 77);
}
END_TEST

START_TEST(n_jobs_are_the_calls_or_the_files_or_unset)
{
	par_settings settings = unset;
	int32_t n_jobs = 77;
	int is_set = 1;

	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_OK);
	ck_assert_int_eq(is_set, 0);
	conf.n_jobs = (par_int)PAR_SET(5);
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_OK);
	ck_assert_int_eq(is_set, 1);
	ck_assert_int_eq(n_jobs, 5);
	settings.n_jobs = (par_int)PAR_SET(-1);
	ck_assert_int_eq(settings_n_jobs(&settings, &conf, &is_set, &n_jobs, &error), PAR_OK);
	ck_assert_int_eq(n_jobs, -1);
}
END_TEST

/* --- copies ------------------------------------------------------------------------------------ */

START_TEST(a_copy_has_texts_of_its_own)
{
	char backend[] = "threading", option[] = "spin=1us", mode[] = "r+";
	const char *options[] = {option, "stack=1M", NULL};
	const par_settings settings = {.size = sizeof(settings), .backend = backend, .options = options,
	                               .pre_dispatch = "all", .n_jobs = PAR_SET(3), .mmap_mode = mode,
	                               .max_nbytes = PAR_SET(5)};
	par_settings copy;

	ck_assert_int_eq(settings_copy(&copy, &settings, &error), PAR_OK);
	memset(backend, 'x', 3);
	memset(option, 'x', 3);
	mode[0] = 'w';
	options[1] = NULL;
	ck_assert_str_eq(copy.backend, "threading");
	ck_assert_str_eq(copy.options[0], "spin=1us");
	ck_assert_str_eq(copy.options[1], "stack=1M");
	ck_assert_ptr_null(copy.options[2]);
	ck_assert_str_eq(copy.pre_dispatch, "all");
	ck_assert_int_eq(copy.n_jobs.value, 3);
	ck_assert_str_eq(copy.mmap_mode, "r+");
	ck_assert_int_eq(copy.max_nbytes.value, 5);
	settings_finish(&copy);
	ck_assert_ptr_null(copy.backend);
	ck_assert_ptr_null(copy.mmap_mode);
	settings_finish(&copy);
	ck_assert_int_eq(settings_copy(&copy, NULL, &error), PAR_OK);
	ck_assert_ptr_null(copy.backend);
	ck_assert_int_eq(copy.n_jobs.set, 0);
}
END_TEST

START_TEST(settings_of_an_older_program_are_read_as_far_as_they_go)
{
	par_settings settings = {.backend = "threading", .n_jobs = PAR_SET(3), .verbose = PAR_SET(11),
	                         .shared = &plan};
	par_settings copy;

	settings.size = offsetof(par_settings, verbose);
	ck_assert_int_eq(settings_check(&copy, &settings, &error), PAR_OK);
	ck_assert_int_eq(copy.n_jobs.value, 3);
	ck_assert_int_eq(copy.verbose.set, 0);
	ck_assert_ptr_null(copy.shared);
}
END_TEST

START_TEST(settings_of_a_newer_program_are_read_as_far_as_we_know)
{
	struct {
		par_settings known;
		char newer[64];
	} settings = {.known = {.size = sizeof(settings), .n_jobs = PAR_SET(4), .shared_size = 9}};
	par_settings copy;

	ck_assert_int_eq(settings_check(&copy, &settings.known, &error), PAR_OK);
	ck_assert_int_eq(copy.n_jobs.value, 4);
	ck_assert_uint_eq(copy.shared_size, 9);
	ck_assert_uint_eq(copy.size, sizeof(copy));
}
END_TEST

START_TEST(what_we_do_not_know_is_not_forgotten_if_it_is_set)
{
	struct {
		par_settings known;
		char newer[64];
	} settings = {.known = {.size = sizeof(settings), .n_jobs = PAR_SET(4)}, .newer = {[63] = 1}};
	const par_settings reserved = {.size = sizeof(reserved), .reserved = 1};
	par_settings copy;

	ck_assert_int_eq(settings_check(&copy, &settings.known, &error), PAR_EINVAL);
	assert_contains(error.what, "that this parloop does not know");
	assert_contains(error.remedy, PAR_VERSION_STRING);
	settings.known.size--;
	ck_assert_int_eq(settings_check(&copy, &settings.known, &error), PAR_OK);
	ck_assert_int_eq(settings_check(&copy, &reserved, &error), PAR_EINVAL);
}
END_TEST

START_TEST(settings_without_a_size_are_refused)
{
	const par_settings settings = {.n_jobs = PAR_SET(4)};
	par_settings copy;

	ck_assert_int_eq(settings_copy(&copy, &settings, &error), PAR_EINVAL);
	assert_contains(error.what, "no size");
	assert_contains(error.remedy, "PAR_SETTINGS()");
	settings_finish(&copy);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("settings");
	TCase *tests = tcase_create("settings");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, unset_is_joblibs_default);
	tcase_add_test(tests, the_call_wins_over_the_pool_and_that_over_the_file);
	tcase_add_test(tests, a_batch_size_is_auto_or_positive);
	tcase_add_test(tests, a_timeout_is_a_positive_number);
	tcase_add_test(tests, an_order_or_on_error_that_means_nothing_is_refused);
	tcase_add_test(tests, what_is_shared_is_the_calls_or_the_pools);
	tcase_add_test(tests, to_oversubscribe_is_said_by_the_call_the_one_around_it_or_the_file);
	tcase_add_test(tests, max_nbytes_is_a_size_or_never);
	tcase_add_test(tests, mmap_mode_is_one_of_joblibs);
	tcase_add_test(tests, sharing_is_the_calls_or_the_pools_or_the_files);
	tcase_add_test(tests, n_jobs_0_has_no_meaning);
	tcase_add_test(tests, n_jobs_are_the_calls_or_the_files_or_unset);
	tcase_add_test(tests, a_copy_has_texts_of_its_own);
	tcase_add_test(tests, settings_of_an_older_program_are_read_as_far_as_they_go);
	tcase_add_test(tests, settings_of_a_newer_program_are_read_as_far_as_we_know);
	tcase_add_test(tests, what_we_do_not_know_is_not_forgotten_if_it_is_set);
	tcase_add_test(tests, settings_without_a_size_are_refused);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
