#include "scratch.h"

#include "cores.h"

static void put_cpu(int cpu, const char *name, const char *text)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "sys/devices/system/cpu/cpu%d/%s", cpu, name);
	scratch_put(path, text);
}

static int count(void)
{
	return cores_physical(scratch_dir);
}

START_TEST(this_machine_has_cores)
{
	int n = cores_physical("");

	ck_assert_int_ge(n, 0);
	ck_assert_int_le(n, (int)sysconf(_SC_NPROCESSORS_ONLN));
}
END_TEST

START_TEST(nobody_knows)
{
	ck_assert_int_eq(count(), 0);
	scratch_put("sys/devices/system/cpu/online", "0-3\n");
	put_cpu(0, "topology/core_cpus_list", "nonsense\n");
	put_cpu(1, "topology/core_cpus_list", "");
	scratch_put("proc/cpuinfo", "processor\t: 0\nBogoMIPS\t: 48.00\n\nprocessor\t: 1\n");
	ck_assert_int_eq(count(), 0);
}
END_TEST

START_TEST(threads_of_a_core_are_one)
{
	static const char *const lists[] = {"0,4", "1,5", "2,6", "3,7"};

	for (int i = 0; i < 8; i++)
		put_cpu(i, "topology/core_cpus_list", lists[i % 4]);
	put_cpu(8, "topology/core_cpus_list", "8-9\n");
	put_cpu(9, "topology/core_cpus_list", "8-9\n");
	scratch_put("sys/devices/system/cpu/cpufreq/x", "");
	scratch_put("sys/devices/system/cpu/cpuidle/x", "");
	ck_assert_int_eq(count(), 5);
}
END_TEST

START_TEST(one_that_is_offline_does_not_count)
{
	put_cpu(0, "topology/core_cpus_list", "0\n");
	put_cpu(1, "online", "0\n");
	put_cpu(2, "topology/core_cpus_list", "2\n");
	ck_assert_int_eq(count(), 2);
	/* Of this core the lowest is. */
	put_cpu(3, "online", "0\n");
	put_cpu(7, "topology/core_cpus_list", "7\n");
	ck_assert_int_eq(count(), 3);
}
END_TEST

START_TEST(older_kernels_speak_of_siblings)
{
	for (int i = 0; i < 4; i++)
		put_cpu(i, "topology/thread_siblings_list", i < 2 ? "0-1\n" : "2-3\n");
	ck_assert_int_eq(count(), 2);
}
END_TEST

START_TEST(cpuinfo_has_the_number_of_each_core_in_its_package)
{
	char text[4096] = "";

	for (int i = 0; i < 16; i++)
		(void)snprintf(text + strlen(text), sizeof(text) - strlen(text),
		               "processor\t: %d\nphysical id\t: %d\nsiblings\t: 8\ncore id\t\t: %d\n"
		               "cpu cores\t: 4\n\n", i, i / 8, 2 * (i % 4));
	scratch_put("proc/cpuinfo", text);
	ck_assert_int_eq(count(), 8);
	/* What is in /sys comes first. */
	put_cpu(0, "topology/core_cpus_list", "0\n");
	ck_assert_int_eq(count(), 1);
}
END_TEST

START_TEST(cpuinfo_may_have_many)
{
	static char text[65536];

	for (int i = 0; i < 1000; i++)
		(void)snprintf(text + strlen(text), 40, "core id : %d\n", i % 300);
	scratch_put("proc/cpuinfo", text);
	ck_assert_int_eq(count(), 300);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cores");
	TCase *tests = tcase_create("cores");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, this_machine_has_cores);
	tcase_add_test(tests, nobody_knows);
	tcase_add_test(tests, threads_of_a_core_are_one);
	tcase_add_test(tests, one_that_is_offline_does_not_count);
	tcase_add_test(tests, older_kernels_speak_of_siblings);
	tcase_add_test(tests, cpuinfo_has_the_number_of_each_core_in_its_package);
	tcase_add_test(tests, cpuinfo_may_have_many);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
