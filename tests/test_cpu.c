/* What limits there are.  Real cgroups and the command: test_cpu_count.sh.
 *
 * link: -Wl,--wrap=cores_physical,--wrap=sysconf
 */
#include "scratch.h"

#include "cpu.h"

#include <limits.h>
#include <sched.h>

/* How many physical cores there are, and cpus to the system. */
static int n_cores = 1, n_asked;
static long n_online;

int __wrap_cores_physical(const char *root);
int __wrap_cores_physical(const char *root)
{
	ck_assert_str_eq(root, "");
	n_asked++;
	return n_cores;
}

long __real_sysconf(int name);
long __wrap_sysconf(int name);
long __wrap_sysconf(int name)
{
	return name == _SC_NPROCESSORS_ONLN && n_online > 0 ? n_online : __real_sysconf(name);
}

static int limit_with(const char *name, const char *text)
{
	scratch_put(name, text);
	return cpu_cgroup_limit(scratch_dir);
}

START_TEST(there_is_a_core)
{
	ck_assert_int_ge(cpu_count(), 1);
	ck_assert_int_le(cpu_count(), (int)sysconf(_SC_NPROCESSORS_ONLN));
}
END_TEST

START_TEST(affinity_lowers_the_count)
{
	cpu_set_t set, one;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(set), &set), 0);
	CPU_ZERO(&one);
	for (int i = 0; i < CPU_SETSIZE && CPU_COUNT(&one) == 0; i++)
		if (CPU_ISSET(i, &set))
			CPU_SET(i, &one);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(one), &one), 0);
	ck_assert_int_eq(cpu_count(), 1);
	ck_assert_int_eq(sched_setaffinity(0, sizeof(set), &set), 0);
}
END_TEST

START_TEST(physical_cores_are_fewer)
{
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	n_online = cpu_count();
	ck_assert_int_eq(cpu_physical_count(), 1);
	n_cores = 2;
	ck_assert_int_eq(cpu_physical_count(), 1);
	ck_assert_int_eq(n_asked, 1);
}
END_TEST

START_TEST(physical_cores_of_a_machine_of_which_we_have_a_part_are_all_that_we_have)
{
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	n_online = cpu_count() + 1;
	ck_assert_int_eq(cpu_physical_count(), cpu_count());
	ck_assert_int_eq(n_asked, 0);
	setenv("PARLOOP_MAX_CPU_COUNT", "1", 1);
	n_online = 2;
	ck_assert_int_eq(cpu_physical_count(), 1);
}
END_TEST

START_TEST(physical_cores_that_nobody_knows_are_all_and_one_warning)
{
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	n_online = cpu_count();
	n_cores = 0;
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(cpu_physical_count(), cpu_count());
	ck_assert_int_eq(n_asked, 1);
	ck_assert_int_eq(strncmp(scratch_log, "2 cannot tell how many physical cores", 37), 0);
	ck_assert_ptr_eq(strchr(scratch_log, '\n'), strrchr(scratch_log, '\n'));
}
END_TEST

START_TEST(the_public_count_is_both)
{
	n_online = cpu_count();
	ck_assert_int_eq(par_cpu_count(0), cpu_count());
	ck_assert_int_eq(par_cpu_count(1), cpu_physical_count());
}
END_TEST

START_TEST(the_environment_only_lowers_the_count)
{
	int all;

	unsetenv("PARLOOP_MAX_CPU_COUNT");
	all = cpu_count();
	setenv("PARLOOP_MAX_CPU_COUNT", "1", 1);
	ck_assert_int_eq(cpu_count(), 1);
	setenv("PARLOOP_MAX_CPU_COUNT", "100000", 1);
	ck_assert_int_eq(cpu_count(), all);
	setenv("PARLOOP_MAX_CPU_COUNT", "-3", 1);
	ck_assert_int_eq(cpu_count(), 1);
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	ck_assert_int_eq(cpu_count(), all);
}
END_TEST

START_TEST(a_limit_in_the_environment_is_a_whole_number)
{
	ck_assert_int_eq(cpu_parse_limit(NULL), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit(""), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("3"), 3);
	ck_assert_int_eq(cpu_parse_limit("0"), 1);
	ck_assert_int_eq(cpu_parse_limit("2.5"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("two"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("2 "), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit(" 2"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("+2"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("-"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("-2"), 1);
	ck_assert_int_eq(cpu_parse_limit("99999999999999999999"), INT_MAX);
	ck_assert_str_eq(scratch_log, "2 PARLOOP_MAX_CPU_COUNT=\"2.5\" is not a whole number; ignored\n");
}
END_TEST

START_TEST(no_cgroup_is_no_limit)
{
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), INT_MAX);
	ck_assert_int_eq(limit_with("proc/self/cgroup", ""), INT_MAX);
	ck_assert_int_eq(limit_with("proc/self/cgroup", "0::/\n"), INT_MAX);
	ck_assert_int_eq(limit_with("proc/self/cgroup", "nonsense\n:\n::\n0:"), INT_MAX);
}
END_TEST

START_TEST(quotas_of_v2_round_up)
{
	scratch_put("proc/self/cgroup", "0::/\n");
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "50000 100000\n"), 1);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "100000 100000\n"), 1);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "150000 100000\n"), 2);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "400000 100000\n"), 4);
}
END_TEST

START_TEST(a_quota_of_v2_may_be_absent)
{
	static const char *const texts[] = {"max 100000\n", "max\n", "", "\n", "garbage",
	                                    "100000\n", "0 100000\n", "-1 100000\n", "100000 0\n"};

	scratch_put("proc/self/cgroup", "0::/\n");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(limit_with("sys/fs/cgroup/cpu.max", texts[i]) == INT_MAX, "\"%s\"",
		              texts[i]);
}
END_TEST

START_TEST(a_slice_above_binds_too)
{
	scratch_put("proc/self/cgroup", "0::/user.slice/user-1.slice/run.scope\n");
	scratch_put("sys/fs/cgroup/user.slice/user-1.slice/run.scope/cpu.max", "max 100000\n");
	scratch_put("sys/fs/cgroup/user.slice/user-1.slice/cpu.max", "300000 100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), 3);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/user.slice/cpu.max", "200000 100000\n"), 2);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/other.slice/cpu.max", "100000 100000\n"), 2);
	scratch_put("sys/fs/cgroup/user.slice/user-1.slice/run.scope/cpu.max", "9 10\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), 1);
}
END_TEST

START_TEST(a_path_that_is_not_mounted_leaves_its_root)
{
	scratch_put("proc/self/cgroup", "0::/system.slice/docker-4711.scope\n");
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "200000 100000\n"), 2);
}
END_TEST

START_TEST(a_path_outside_the_mount_is_not_followed)
{
	scratch_put("proc/self/cgroup", "0::/../../other\n");
	scratch_put("sys/other/cpu.max", "100000 100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), INT_MAX);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu.max", "200000 100000\n"), 2);
}
END_TEST

START_TEST(quotas_of_v1_round_up)
{
	scratch_put("proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/a/b\n0::/\n");
	scratch_put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), INT_MAX);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n"),
	                 INT_MAX);
	scratch_put("sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "250000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), 3);
	scratch_put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
	scratch_put("sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "150000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), 2);
}
END_TEST

START_TEST(quotas_of_other_controllers_do_not_count)
{
	scratch_put("proc/self/cgroup", "5:cpuacct:/a\n6:memory:/a\n");
	scratch_put("sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
	scratch_put("sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), INT_MAX);
	ck_assert_int_eq(limit_with("proc/self/cgroup", "5:cpu:/a\n"), 1);
}
END_TEST

START_TEST(counts_the_cpus_of_a_set)
{
	static const struct {
		const char *set;
		int n;
	} vectors[] = {
		{"0\n", 1}, {"0-3\n", 4}, {"0-3,8\n", 5}, {"1,3,5-6\n", 4}, {"\n", INT_MAX},
		{"", INT_MAX}, {"3-1\n", INT_MAX}, {"0-99999999999999999999\n", INT_MAX},
		{"none\n", INT_MAX},
	};

	scratch_put("proc/self/cgroup", "0::/a\n");
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		int n = limit_with("sys/fs/cgroup/a/cpuset.cpus.effective", vectors[i].set);

		ck_assert_msg(n == vectors[i].n, "\"%s\": %d", vectors[i].set, n);
	}
	scratch_put("proc/self/cgroup", "2:cpuset:/b\n");
	ck_assert_int_eq(limit_with("sys/fs/cgroup/cpuset/b/cpuset.cpus", "4-5\n"), 2);
}
END_TEST

START_TEST(the_least_of_all_holds)
{
	scratch_put("proc/self/cgroup", "2:cpuset:/b\n3:cpu:/b\n0::/c\n");
	scratch_put("sys/fs/cgroup/cpuset/b/cpuset.cpus", "0-6\n");
	scratch_put("sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n");
	scratch_put("sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "500000\n");
	ck_assert_int_eq(cpu_cgroup_limit(scratch_dir), 5);
	ck_assert_int_eq(limit_with("sys/fs/cgroup/unified/c/cpu.max", "300000 100000\n"), 3);
}
END_TEST

START_TEST(a_path_too_long_is_no_limit)
{
	static char line[2 * PATH_MAX];

	memset(line, 'a', sizeof(line) - 1);
	memcpy(line, "0::/", 4);
	line[PATH_MAX - 2] = '\n';
	line[PATH_MAX - 1] = '\0';
	ck_assert_int_eq(limit_with("proc/self/cgroup", line), INT_MAX);
	memset(line, 'a', sizeof(line) - 1);
	memcpy(line, "0::/", 4);
	ck_assert_int_eq(limit_with("proc/self/cgroup", line), INT_MAX);
}
END_TEST

START_TEST(n_jobs_counts_from_all_cores_down)
{
	ck_assert_int_eq(cpu_n_jobs(-1, 8), 8);
	ck_assert_int_eq(cpu_n_jobs(-2, 8), 7);
	ck_assert_int_eq(cpu_n_jobs(-8, 8), 1);
	ck_assert_int_eq(cpu_n_jobs(-9, 8), 1);
	ck_assert_int_eq(cpu_n_jobs(-100, 8), 1);
	ck_assert_int_eq(cpu_n_jobs(INT64_MIN, 8), 1);
	ck_assert_int_eq(cpu_n_jobs(0, 8), 0);
	ck_assert_int_eq(cpu_n_jobs(1, 8), 1);
	ck_assert_int_eq(cpu_n_jobs(64, 8), 64);
	ck_assert_int_eq(cpu_n_jobs(INT64_MAX, 8), INT_MAX);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cpu");
	TCase *tests = tcase_create("cpu");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, there_is_a_core);
	tcase_add_test(tests, affinity_lowers_the_count);
	tcase_add_test(tests, physical_cores_are_fewer);
	tcase_add_test(tests,
	               physical_cores_of_a_machine_of_which_we_have_a_part_are_all_that_we_have);
	tcase_add_test(tests, physical_cores_that_nobody_knows_are_all_and_one_warning);
	tcase_add_test(tests, the_public_count_is_both);
	tcase_add_test(tests, the_environment_only_lowers_the_count);
	tcase_add_test(tests, a_limit_in_the_environment_is_a_whole_number);
	tcase_add_test(tests, no_cgroup_is_no_limit);
	tcase_add_test(tests, quotas_of_v2_round_up);
	tcase_add_test(tests, a_quota_of_v2_may_be_absent);
	tcase_add_test(tests, a_slice_above_binds_too);
	tcase_add_test(tests, a_path_that_is_not_mounted_leaves_its_root);
	tcase_add_test(tests, a_path_outside_the_mount_is_not_followed);
	tcase_add_test(tests, quotas_of_v1_round_up);
	tcase_add_test(tests, quotas_of_other_controllers_do_not_count);
	tcase_add_test(tests, counts_the_cpus_of_a_set);
	tcase_add_test(tests, the_least_of_all_holds);
	tcase_add_test(tests, a_path_too_long_is_no_limit);
	tcase_add_test(tests, n_jobs_counts_from_all_cores_down);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
