#include "cpu.h"

#include <check.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char root[64];

static void make_root(void)
{
	const char *folder = getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp";

	(void)snprintf(root, sizeof(root), "%.40s/cpu.XXXXXX", folder);
	ck_assert_ptr_nonnull(mkdtemp(root));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static void remove_root(void)
{
	nftw(root, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* Write a file below root, and the folders it needs. */
static void put(const char *name, const char *text)
{
	char path[512];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s%s", root, name);
	for (char *at = path + strlen(root) + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		mkdir(path, 0700);
		*at = '/';
	}
	file = fopen(path, "w");
	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	fclose(file);
}

static int limit_with(const char *name, const char *text)
{
	put(name, text);
	return cpu_cgroup_limit(root);
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
	setenv("PARLOOP_LOG", "none", 1);
	ck_assert_int_eq(cpu_parse_limit(NULL), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit(""), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("3"), 3);
	ck_assert_int_eq(cpu_parse_limit("0"), 1);
	ck_assert_int_eq(cpu_parse_limit("2.5"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("two"), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("2 "), INT_MAX);
	ck_assert_int_eq(cpu_parse_limit("99999999999999999999"), INT_MAX);
}
END_TEST

START_TEST(no_cgroup_is_no_limit)
{
	ck_assert_int_eq(cpu_cgroup_limit(root), INT_MAX);
	ck_assert_int_eq(limit_with("/proc/self/cgroup", ""), INT_MAX);
	ck_assert_int_eq(limit_with("/proc/self/cgroup", "0::/\n"), INT_MAX);
	ck_assert_int_eq(limit_with("/proc/self/cgroup", "nonsense\n:\n::\n0:"), INT_MAX);
}
END_TEST

START_TEST(quotas_of_v2_round_up)
{
	put("/proc/self/cgroup", "0::/\n");
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "50000 100000\n"), 1);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "100000 100000\n"), 1);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "150000 100000\n"), 2);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "400000 100000\n"), 4);
}
END_TEST

START_TEST(a_quota_of_v2_may_be_absent)
{
	static const char *const texts[] = {"max 100000\n", "max\n", "", "\n", "garbage",
	                                    "100000\n", "0 100000\n", "-1 100000\n", "100000 0\n"};

	put("/proc/self/cgroup", "0::/\n");
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_msg(limit_with("/sys/fs/cgroup/cpu.max", texts[i]) == INT_MAX, "\"%s\"",
		              texts[i]);
}
END_TEST

START_TEST(a_slice_above_binds_too)
{
	put("/proc/self/cgroup", "0::/user.slice/user-1.slice/run.scope\n");
	put("/sys/fs/cgroup/user.slice/user-1.slice/run.scope/cpu.max", "max 100000\n");
	put("/sys/fs/cgroup/user.slice/user-1.slice/cpu.max", "300000 100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), 3);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/user.slice/cpu.max", "200000 100000\n"), 2);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/other.slice/cpu.max", "100000 100000\n"), 2);
	put("/sys/fs/cgroup/user.slice/user-1.slice/run.scope/cpu.max", "9 10\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), 1);
}
END_TEST

START_TEST(a_path_that_is_not_mounted_leaves_its_root)
{
	put("/proc/self/cgroup", "0::/system.slice/docker-4711.scope\n");
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "200000 100000\n"), 2);
}
END_TEST

START_TEST(a_path_outside_the_mount_is_not_followed)
{
	put("/proc/self/cgroup", "0::/../../other\n");
	put("/sys/other/cpu.max", "100000 100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), INT_MAX);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu.max", "200000 100000\n"), 2);
}
END_TEST

START_TEST(quotas_of_v1_round_up)
{
	put("/proc/self/cgroup", "4:memory:/x\n3:cpu,cpuacct:/a/b\n0::/\n");
	put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_period_us", "100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), INT_MAX);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "-1\n"),
	                 INT_MAX);
	put("/sys/fs/cgroup/cpu,cpuacct/a/b/cpu.cfs_quota_us", "250000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), 3);
	put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us", "150000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), 2);
}
END_TEST

START_TEST(quotas_of_other_controllers_do_not_count)
{
	put("/proc/self/cgroup", "5:cpuacct:/a\n6:memory:/a\n");
	put("/sys/fs/cgroup/cpu/a/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu/a/cpu.cfs_quota_us", "100000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), INT_MAX);
	ck_assert_int_eq(limit_with("/proc/self/cgroup", "5:cpu:/a\n"), 1);
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

	put("/proc/self/cgroup", "0::/a\n");
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		int n = limit_with("/sys/fs/cgroup/a/cpuset.cpus.effective", vectors[i].set);

		ck_assert_msg(n == vectors[i].n, "\"%s\": %d", vectors[i].set, n);
	}
	put("/proc/self/cgroup", "2:cpuset:/b\n");
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/cpuset/b/cpuset.cpus", "4-5\n"), 2);
}
END_TEST

START_TEST(the_least_of_all_holds)
{
	put("/proc/self/cgroup", "2:cpuset:/b\n3:cpu:/b\n0::/c\n");
	put("/sys/fs/cgroup/cpuset/b/cpuset.cpus", "0-6\n");
	put("/sys/fs/cgroup/cpu/b/cpu.cfs_period_us", "100000\n");
	put("/sys/fs/cgroup/cpu/b/cpu.cfs_quota_us", "500000\n");
	ck_assert_int_eq(cpu_cgroup_limit(root), 5);
	ck_assert_int_eq(limit_with("/sys/fs/cgroup/unified/c/cpu.max", "300000 100000\n"), 3);
}
END_TEST

START_TEST(a_path_too_long_is_no_limit)
{
	static char line[2 * PATH_MAX];

	memset(line, 'a', sizeof(line) - 1);
	memcpy(line, "0::/", 4);
	line[PATH_MAX - 2] = '\n';
	line[PATH_MAX - 1] = '\0';
	ck_assert_int_eq(limit_with("/proc/self/cgroup", line), INT_MAX);
	memset(line, 'a', sizeof(line) - 1);
	memcpy(line, "0::/", 4);
	ck_assert_int_eq(limit_with("/proc/self/cgroup", line), INT_MAX);
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
	tcase_add_checked_fixture(tests, make_root, remove_root);
	tcase_add_test(tests, there_is_a_core);
	tcase_add_test(tests, affinity_lowers_the_count);
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
