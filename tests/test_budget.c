#include "scratch.h"

#include "budget.h"

static uint64_t left(void)
{
	return budget_of(scratch_dir);
}

START_TEST(what_is_available_and_swap_are_left)
{
	scratch_put("proc/meminfo", "MemTotal:  9000 kB\nMemFree: 10 kB\nMemAvailable:    1000 kB\n"
	                    "SwapTotal: 900 kB\nSwapFree:   24 kB\nDirty: 1 kB\n");
	ck_assert_uint_eq(left(), 1024 * 1024);
}
END_TEST

START_TEST(without_words_of_the_kernel_it_is_all_of_the_machine)
{
	uint64_t all = left();

	ck_assert_uint_gt(all, 64 << 20);
	scratch_put("proc/meminfo", "nothing\n");
	ck_assert_uint_eq(left(), all);
	scratch_put("proc/meminfo", "MemAvailable: 18446744073709551615 kB\n");
	ck_assert_uint_gt(left(), all);
}
END_TEST

static void put_machine(void)
{
	scratch_put("proc/meminfo", "MemAvailable: 1000 kB\nSwapFree: 24 kB\n");
}

/* Of the limit, what is used and not about to be given up is gone. */
START_TEST(a_cgroup_has_its_limit)
{
	put_machine();
	scratch_put("proc/self/cgroup", "0::/a/b\n");
	scratch_put("sys/fs/cgroup/a/b/memory.max", "100000\n");
	scratch_put("sys/fs/cgroup/a/b/memory.current", "50000\n");
	ck_assert_uint_eq(left(), 50000 + 24 * 1024);
	scratch_put("sys/fs/cgroup/a/b/memory.stat", "anon 5\nfile 7000\ninactive_file 6000\nactive_file 1000\n");
	ck_assert_uint_eq(left(), 56000 + 24 * 1024);
	scratch_put("sys/fs/cgroup/a/b/memory.stat", "inactive_file 60000\n");
	ck_assert_uint_eq(left(), 100000 + 24 * 1024);
	scratch_put("sys/fs/cgroup/a/b/memory.current", "200000\n");
	ck_assert_uint_eq(left(), 24 * 1024);
}
END_TEST

START_TEST(the_cgroups_above_it_count_too)
{
	put_machine();
	scratch_put("proc/self/cgroup", "0::/a/b\n");
	scratch_put("sys/fs/cgroup/a/b/memory.max", "max\n");
	scratch_put("sys/fs/cgroup/a/b/memory.current", "10\n");
	ck_assert_uint_eq(left(), 1024 * 1024);
	scratch_put("sys/fs/cgroup/a/memory.max", "4096\n");
	scratch_put("sys/fs/cgroup/a/memory.current", "96\n");
	ck_assert_uint_eq(left(), 4000 + 24 * 1024);
}
END_TEST

START_TEST(a_cgroup_of_version_1_has_its_limit)
{
	put_machine();
	scratch_put("proc/self/cgroup", "5:cpu:/x\n4:memory:/job\n0::/\n");
	scratch_put("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	scratch_put("sys/fs/cgroup/memory/memory.usage_in_bytes", "1\n");
	ck_assert_uint_eq(left(), 1024 * 1024);
	scratch_put("sys/fs/cgroup/memory/job/memory.limit_in_bytes", "20000\n");
	scratch_put("sys/fs/cgroup/memory/job/memory.usage_in_bytes", "15000\n");
	scratch_put("sys/fs/cgroup/memory/job/memory.stat", "inactive_file 1\ntotal_inactive_file 3000\n");
	ck_assert_uint_eq(left(), 8000 + 24 * 1024);
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
		a_cgroup_has_its_limit,
		the_cgroups_above_it_count_too,
		a_cgroup_of_version_1_has_its_limit,
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
