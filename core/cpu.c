#include "cpu.h"

#include "cgroup.h"
#include "cores.h"
#include "log.h"

#include <ctype.h>
#include <limits.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int least(int a, int b)
{
	return a < b ? a : b;
}

/* Half a core still runs something: round up. */
static int cores_of(double quota, double period)
{
	double cores;

	if (quota <= 0 || period <= 0)
		return INT_MAX;
	cores = quota / period;
	if (cores >= INT_MAX - 1)
		return INT_MAX;
	return (int)cores + (cores > (int)cores);
}

/* v2: "150000 100000", "max 100000", or nothing at all. */
static int cpu_max(const char *folder)
{
	char line[128];
	double quota, period;

	if (!cgroup_line(folder, "cpu.max", line, sizeof(line)))
		return INT_MAX;
	if (sscanf(line, "%lf %lf", &quota, &period) != 2)
		return INT_MAX;
	return cores_of(quota, period);
}

/* v1: the same in two files; a quota of -1 is none. */
static int cfs_quota(const char *folder)
{
	char quota[64], period[64];

	if (!cgroup_line(folder, "cpu.cfs_quota_us", quota, sizeof(quota)) ||
	    !cgroup_line(folder, "cpu.cfs_period_us", period, sizeof(period)))
		return INT_MAX;
	return cores_of(strtod(quota, NULL), strtod(period, NULL));
}

/* "0-3,8": how many.  An empty set, or one that makes no sense, is no limit. */
static int cpus_in(const char *list)
{
	long first, last, n = 0;
	char *end;

	while (*list >= '0' && *list <= '9') {
		first = last = strtol(list, &end, 10);
		if (*end == '-')
			last = strtol(end + 1, &end, 10);
		if (last < first || last - first > INT_MAX / 2 || n > INT_MAX / 2)
			return INT_MAX;
		n += last - first + 1;
		list = *end == ',' ? end + 1 : end;
	}
	return n > 0 ? (int)n : INT_MAX;
}

static int cpuset(const char *folder)
{
	static const char *const names[] = {"cpuset.cpus.effective", "cpuset.effective_cpus",
	                                    "cpuset.cpus"};
	char line[4096];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (cgroup_line(folder, names[i], line, sizeof(line)))
			return cpus_in(line);
	return INT_MAX;
}

/* A file that is not there limits nothing: a folder has those of its kind of cgroup. */
static void see_folder(void *user, const char *folder)
{
	int *limit = user;

	*limit = least(*limit, cpu_max(folder));
	*limit = least(*limit, cfs_quota(folder));
	*limit = least(*limit, cpuset(folder));
}

int cpu_cgroup_limit(const char *root)
{
	int limit = INT_MAX;

	cgroup_visit(root, "cpu", see_folder, &limit);
	cgroup_visit(root, "cpuset", see_folder, &limit);
	return limit;
}

int cpu_parse_limit(const char *text)
{
	static _Atomic int has_warned;
	char *end;
	long long limit;

	if (text == NULL || *text == '\0')
		return INT_MAX;
	limit = strtoll(text, &end, 10);
	if (end == text || *end != '\0' || (*text != '-' && !isdigit((unsigned char)*text))) {
		if (!atomic_exchange(&has_warned, 1))
			log_line(LOG_WARNING, "PARLOOP_MAX_CPU_COUNT=\"%.40s\" is not a whole number; "
			                      "ignored", text);
		return INT_MAX;
	}
	return limit < 1 ? 1 : limit < INT_MAX ? (int)limit : INT_MAX;
}

/* The kernel refuses a set that is smaller than its own. */
static int affinity(void)
{
	for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
		size_t size = CPU_ALLOC_SIZE(cpus);
		cpu_set_t *set = CPU_ALLOC(cpus);
		int n;

		if (set == NULL)
			return INT_MAX;
		n = sched_getaffinity(0, size, set) == 0 ? CPU_COUNT_S(size, set) : 0;
		CPU_FREE(set);
		if (n > 0)
			return n;
	}
	return INT_MAX;
}

/* Quotas are in a dozen files, and change when somebody moves the process: once is enough. */
static int cgroup_limit(void)
{
	static _Atomic int known;
	int limit = atomic_load_explicit(&known, memory_order_relaxed);

	if (limit == 0) {
		limit = cpu_cgroup_limit("");
		atomic_store_explicit(&known, limit, memory_order_relaxed);
	}
	return limit;
}

int cpu_affinity(void)
{
	int count = affinity(); /* holds no core that is not online */

	if (count == INT_MAX)
		count = (int)sysconf(_SC_NPROCESSORS_ONLN);
	return count > 1 ? count : 1;
}

int cpu_count(void)
{
	int count = least(cpu_affinity(), cgroup_limit());

	count = least(count, cpu_parse_limit(getenv("PARLOOP_MAX_CPU_COUNT")));
	return count > 1 ? count : 1;
}

/* Nothing takes one out of a machine that runs: once is enough. */
static int physical(void)
{
	static _Atomic int known;
	int n = atomic_load_explicit(&known, memory_order_relaxed);

	if (n == 0) {
		n = cores_physical("");
		n = n > 0 ? n : -1;
		if (atomic_exchange(&known, n) == 0 && n < 0)
			log_line(LOG_WARNING, "cannot tell how many physical cores there are, neither "
			                      "/sys/devices/system/cpu nor /proc/cpuinfo says; those of "
			                      "the system count (PARLOOP_MAX_CPU_COUNT sets a limit)");
	}
	return n > 0 ? n : INT_MAX;
}

int cpu_physical_count(void)
{
	int count = cpu_count();

	/* joblib: who has less than the machine has got that much. */
	if (count < (int)sysconf(_SC_NPROCESSORS_ONLN))
		return count;
	return least(count, physical());
}

int cpu_n_jobs(int64_t n_jobs, int cores)
{
	if (n_jobs >= 0)
		return n_jobs < INT_MAX ? (int)n_jobs : INT_MAX;
	n_jobs += (int64_t)cores + 1;
	return n_jobs > 1 ? (int)n_jobs : 1;
}
