/* cpu.h - how many cores there are for us. */
#ifndef CORE_CPU_H
#define CORE_CPU_H

#include <stdint.h>

/* The least of: cores online, this thread's affinity, the cgroups' quotas (rounded
 * up) and cpusets, $PARLOOP_MAX_CPU_COUNT; at least 1.  The
 * cgroups are read once in a process, the rest each time. [any] */
int cpu_count(void);

/* The same, or if that is all that the machine has, how many of them are not merely threads of
 * another's.  Where nobody knows, one warning says so. [any] */
int cpu_physical_count(void);

/* The cheap part of it: cores that this thread may run on, whatever the quota. [any] */
int cpu_affinity(void);

/* What n_jobs means with so many cores, joblib's rule: negative ones count from
 * all (-1) down, never below 1; others are taken as they are, 0 too. [any] */
int cpu_n_jobs(int64_t n_jobs, int cores);

/* The parts of cpu_count(), apart for tests; INT_MAX: no limit.  root is put before
 * /proc/self/cgroup and /sys/fs/cgroup. */
int cpu_cgroup_limit(const char *root);
int cpu_parse_limit(const char *text); /* of $PARLOOP_MAX_CPU_COUNT; NULL: no limit */

#endif
