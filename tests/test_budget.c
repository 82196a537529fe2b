#include "scratch.h"

#include "budget.h"

/* Write a file below the scratch folder, and the folders it needs. */
static void put(const char *name, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s", scratch_path(name));
	for (char *at = path + strlen(scratch_dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	scratch_write(name, text, strlen(text));
}

static uint64_t left(void)
{
	return budget_of(scratch_dir);
}

START_TEST(what_is_available_and_swap_are_left)
{
	put("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n"
	                    "SwapTotal: 900 kB\nSwapFree:   24 kB\nDirty: 1 kB\n");
	ck_assert_uint_eq(left(), 1024 * 1024);
}
END_TEST

START_TEST(without_words_of_the_kernel_it_is_all_of_the_machine)
{
	uint64_t all = left();

	ck_assert_uint_gt(all, 64 << 20);
	put("proc/meminfo", "nothing\n");
	ck_assert_uint_eq(left(), all);
	put("proc/meminfo", "MemAvailable: 18446744073709551615 kB\n");
	ck_assert_uint_eq(left(), all);
}
END_TEST

START_TEST(something_is_left_here)
{
	ck_assert_uint_gt(budget_left(), 1 << 20);
	ck_assert_uint_lt(budget_left(), UINT64_C(1) << 50);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		what_is_available_and_swap_are_left,
		without_words_of_the_kernel_it_is_all_of_the_machine,
		something_is_left_here,
	};
	Suite *suite = suite_create("budget");
	TCase *tcase = tcase_create("budget");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
