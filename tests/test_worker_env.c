#include "worker_env.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const thread_limits[] = {
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
	"VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
};
enum { N_LIMITS = sizeof(thread_limits) / sizeof(thread_limits[0]) };

static void clear_limits(void)
{
	for (int i = 0; i < N_LIMITS; i++)
		unsetenv(thread_limits[i]);
	unsetenv("ENABLE_IPC");
}

/* The value in an environment block, where it must stand once; NULL: not there. */
static const char *value_of(char **env, const char *name)
{
	const char *value = NULL;
	size_t length = strlen(name);

	for (; *env != NULL; env++) {
		if (strncmp(*env, name, length) != 0 || (*env)[length] != '=')
			continue;
		ck_assert_msg(value == NULL, "%s is there twice", name);
		value = *env + length + 1;
	}
	return value;
}

static void expect_all(char **env, const char *value)
{
	ck_assert_ptr_nonnull(env);
	for (int i = 0; i < N_LIMITS; i++)
		ck_assert_str_eq(value_of(env, thread_limits[i]), value);
}

START_TEST(shares_the_cores_among_the_workers)
{
	char **env = worker_env_make(2, 0, 8, 0);

	expect_all(env, "4");
	worker_env_free(env);
	env = worker_env_make(3, 0, 8, 0);
	expect_all(env, "2");
	worker_env_free(env);
}
END_TEST

START_TEST(leaves_every_worker_a_thread)
{
	char **env = worker_env_make(100, 0, 8, 0);

	expect_all(env, "1");
	worker_env_free(env);
	env = worker_env_make(0, 0, 0, 0);
	expect_all(env, "1");
	worker_env_free(env);
}
END_TEST

START_TEST(what_the_caller_set_goes_before_the_share)
{
	char **env;

	setenv("OMP_NUM_THREADS", "7", 1);
	setenv("MKL_NUM_THREADS", "", 1);
	env = worker_env_make(2, 0, 8, 0);
	ck_assert_str_eq(value_of(env, "OMP_NUM_THREADS"), "7");
	ck_assert_str_eq(value_of(env, "MKL_NUM_THREADS"), "");
	ck_assert_str_eq(value_of(env, "BLIS_NUM_THREADS"), "4");
	worker_env_free(env);
}
END_TEST

START_TEST(the_inner_limit_goes_before_both)
{
	char **env;

	setenv("OMP_NUM_THREADS", "7", 1);
	env = worker_env_make(2, 3, 8, 0);
	expect_all(env, "3");
	worker_env_free(env);
	ck_assert_str_eq(getenv("OMP_NUM_THREADS"), "7");
}
END_TEST

START_TEST(in_a_worker_what_it_was_given_is_shared_once_more)
{
	char **env;

	setenv("OMP_NUM_THREADS", "4", 1);
	setenv("MKL_NUM_THREADS", "1", 1);
	setenv("BLIS_NUM_THREADS", "some", 1);
	env = worker_env_make(2, 0, 4, 1);
	ck_assert_str_eq(value_of(env, "OMP_NUM_THREADS"), "2");
	ck_assert_str_eq(value_of(env, "MKL_NUM_THREADS"), "1");
	ck_assert_str_eq(value_of(env, "BLIS_NUM_THREADS"), "some");
	ck_assert_str_eq(value_of(env, "OPENBLAS_NUM_THREADS"), "2");
	worker_env_free(env);
	env = worker_env_make(2, 8, 4, 1);
	expect_all(env, "8");
	worker_env_free(env);
}
END_TEST

START_TEST(tbb_may_share_unless_the_caller_decided)
{
	char **env = worker_env_make(2, 0, 8, 0);

	ck_assert_str_eq(value_of(env, "ENABLE_IPC"), "1");
	worker_env_free(env);
	setenv("ENABLE_IPC", "0", 1);
	env = worker_env_make(2, 0, 8, 0);
	ck_assert_str_eq(value_of(env, "ENABLE_IPC"), "0");
	worker_env_free(env);
}
END_TEST

START_TEST(the_rest_is_the_callers)
{
	char **env;

	setenv("PARLOOP_TEST_ENV", "a=b c", 1);
	setenv("OMP_NUM_THREADS_X", "kept", 1);
	env = worker_env_make(2, 5, 8, 0);
	ck_assert_str_eq(value_of(env, "PARLOOP_TEST_ENV"), "a=b c");
	ck_assert_str_eq(value_of(env, "OMP_NUM_THREADS_X"), "kept");
	ck_assert_str_eq(value_of(env, "PATH"), getenv("PATH"));
	worker_env_free(env);
}
END_TEST

START_TEST(one_more_takes_the_place_of_what_has_its_name)
{
	char **env, **before;

	setenv("PARLOOP_TEST_ENV", "old", 1);
	unsetenv("PARLOOP_TEST");
	env = before = worker_env_make(2, 0, 8, 0);
	env = worker_env_put(env, "PARLOOP_TEST_ENV=new");
	ck_assert_ptr_eq(env, before);
	ck_assert_str_eq(value_of(env, "PARLOOP_TEST_ENV"), "new");
	env = worker_env_put(env, "PARLOOP_TEST=a=b");
	ck_assert_str_eq(value_of(env, "PARLOOP_TEST"), "a=b");
	ck_assert_str_eq(value_of(env, "PARLOOP_TEST_ENV"), "new");
	worker_env_free(env);
	ck_assert_ptr_null(worker_env_put(NULL, "PARLOOP_TEST=1"));
}
END_TEST

START_TEST(an_empty_environment_gets_the_limits_alone)
{
	char **env;
	int n = 0;

	clearenv();
	env = worker_env_make(2, 0, 8, 0);
	expect_all(env, "4");
	while (env[n] != NULL)
		n++;
	ck_assert_int_eq(n, N_LIMITS + 1);
	worker_env_free(env);
	worker_env_free(NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("worker_env");
	TCase *tests = tcase_create("worker_env");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, clear_limits, NULL);
	tcase_add_test(tests, shares_the_cores_among_the_workers);
	tcase_add_test(tests, leaves_every_worker_a_thread);
	tcase_add_test(tests, what_the_caller_set_goes_before_the_share);
	tcase_add_test(tests, the_inner_limit_goes_before_both);
	tcase_add_test(tests, in_a_worker_what_it_was_given_is_shared_once_more);
	tcase_add_test(tests, tbb_may_share_unless_the_caller_decided);
	tcase_add_test(tests, the_rest_is_the_callers);
	tcase_add_test(tests, one_more_takes_the_place_of_what_has_its_name);
	tcase_add_test(tests, an_empty_environment_gets_the_limits_alone);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
