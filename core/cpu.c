#include "cpu.h"

#include "log.h"

#include <errno.h>
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

/* Read the first line of a small file; 0 if there is none. */
static int first_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[PATH_MAX];
	FILE *file;
	int found;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
		return 0;
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	found = fgets(line, (int)size, file) != NULL;
	fclose(file);
	return found;
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

	if (!first_line(folder, "cpu.max", line, sizeof(line)))
		return INT_MAX;
	if (sscanf(line, "%lf %lf", &quota, &period) != 2)
		return INT_MAX;
	return cores_of(quota, period);
}

/* v1: the same in two files; a quota of -1 is none. */
static int cfs_quota(const char *folder)
{
	char quota[64], period[64];

	if (!first_line(folder, "cpu.cfs_quota_us", quota, sizeof(quota)) ||
	    !first_line(folder, "cpu.cfs_period_us", period, sizeof(period)))
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
		if (first_line(folder, names[i], line, sizeof(line)))
			return cpus_in(line);
	return INT_MAX;
}

/* The limits of a cgroup and of all above it: a slice's quota binds its services.
 * What is missing limits nothing; in a container the path may be the host's, and
 * then only the mount's own root is there. */
static int limit_of_path(const char *root, const char *mount, const char *cgroup,
                         int (*const *files)(const char *folder))
{
	char folder[PATH_MAX];
	size_t top;
	int limit = INT_MAX;
	char *slash;

	top = (size_t)snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup%s", root, mount);
	if (top + strlen(cgroup) >= sizeof(folder))
		return INT_MAX;
	/* ".." leads out of what is mounted here, to cgroups that are not ours. */
	if (strstr(cgroup, "..") == NULL && strcmp(cgroup, "/") != 0)
		strcat(folder, cgroup);
	for (;;) {
		for (size_t i = 0; files[i] != NULL; i++)
			limit = least(limit, files[i](folder));
		slash = strrchr(folder, '/');
		if (slash == NULL || (size_t)(slash - folder) < top)
			return limit;
		*slash = '\0';
	}
}

static int has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (; list != NULL; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, word, length) == 0 && strchr(",", list[length]) != NULL)
			return 1;
	}
	return 0;
}

/* One line of /proc/self/cgroup, "4:cpu,cpuacct:/path" or, for v2, "0::/path". */
static int limit_of_line(const char *root, char *line)
{
	static int (*const v2[])(const char *) = {cpu_max, cpuset, NULL};
	static int (*const v1_cpu[])(const char *) = {cfs_quota, NULL};
	static int (*const v1_cpuset[])(const char *) = {cpuset, NULL};
	char *controllers = strchr(line, ':');
	char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;
	int limit = INT_MAX;

	if (path == NULL)
		return INT_MAX;
	*controllers++ = '\0';
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (*controllers == '\0') {
		limit = least(limit, limit_of_path(root, "", path, v2));
		limit = least(limit, limit_of_path(root, "/unified", path, v2));
	}
	if (has_word(controllers, "cpu")) {
		limit = least(limit, limit_of_path(root, "/cpu", path, v1_cpu));
		limit = least(limit, limit_of_path(root, "/cpu,cpuacct", path, v1_cpu));
	}
	if (has_word(controllers, "cpuset"))
		limit = least(limit, limit_of_path(root, "/cpuset", path, v1_cpuset));
	return limit;
}

int cpu_cgroup_limit(const char *root)
{
	char line[PATH_MAX + 256];
	int limit = INT_MAX;
	FILE *file;

	(void)snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	file = fopen(line, "re");
	if (file == NULL)
		return INT_MAX;
	while (fgets(line, sizeof(line), file) != NULL)
		limit = least(limit, limit_of_line(root, line));
	fclose(file);
	return limit;
}

int cpu_parse_limit(const char *text)
{
	char *end;
	long long limit;

	if (text == NULL || *text == '\0')
		return INT_MAX;
	errno = 0;
	limit = strtoll(text, &end, 10);
	if (end == text || *end != '\0') {
		log_line(LOG_WARNING, "PARLOOP_MAX_CPU_COUNT=\"%s\" is not a whole number; ignored",
		         text);
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

int cpu_n_jobs(int64_t n_jobs, int cores)
{
	if (n_jobs >= 0)
		return n_jobs < INT_MAX ? (int)n_jobs : INT_MAX;
	n_jobs += (int64_t)cores + 1;
	return n_jobs > 1 ? (int)n_jobs : 1;
}
