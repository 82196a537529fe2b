#include "budget.h"

#include "cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* --- the machine ------------------------------------------------------------------------------ */

/* Where /proc is not mounted: at least nothing larger than the machine. */
static uint64_t all_of_it(void)
{
	struct sysinfo machine;

	if (sysinfo(&machine) < 0)
		return UINT64_MAX;
	return (uint64_t)machine.totalram * machine.mem_unit;
}

static uint64_t of_kib(unsigned long long kib)
{
	return kib < UINT64_MAX >> 12 ? (uint64_t)kib << 10 : UINT64_MAX >> 2;
}

static void see_machine(const char *root, uint64_t *memory, uint64_t *swap)
{
	unsigned long long kib;
	char line[256];
	FILE *file;

	*memory = all_of_it();
	*swap = 0;
	(void)snprintf(line, sizeof(line), "%s/proc/meminfo", root);
	file = fopen(line, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
			*memory = of_kib(kib);
		else if (sscanf(line, "SwapFree: %llu kB", &kib) == 1)
			*swap = of_kib(kib);
	}
	fclose(file);
}

/* --- its cgroups ------------------------------------------------------------------------------ */

/* 0: it is not there.  "max" is no number, and no limit. */
static int read_number(const char *folder, const char *name, uint64_t *number)
{
	char line[64];

	if (!cgroup_line(folder, name, line, sizeof(line)))
		return 0;
	*number = line[0] >= '0' && line[0] <= '9' ? strtoull(line, NULL, 10) : UINT64_MAX;
	return 1;
}

/* What the kernel will give up first, if memory is short. */
static uint64_t reclaimable(const char *folder, const char *key)
{
	unsigned long long bytes = 0;
	char line[256], format[64];
	FILE *file;

	(void)snprintf(line, sizeof(line), "%.200s/memory.stat", folder);
	file = fopen(line, "re");
	if (file == NULL)
		return 0;
	(void)snprintf(format, sizeof(format), "%s %%llu", key);
	while (fgets(line, sizeof(line), file) != NULL && sscanf(line, format, &bytes) != 1)
		;
	fclose(file);
	return bytes;
}

static uint64_t group_left(const char *folder, const char *limit_name, const char *usage_name,
                           const char *key)
{
	uint64_t limit, usage, given;

	if (!read_number(folder, limit_name, &limit) || !read_number(folder, usage_name, &usage) ||
	    limit >= INT64_MAX / 2)
		return UINT64_MAX;
	given = reclaimable(folder, key);
	usage -= least(usage, given);
	return limit - least(limit, usage);
}

static void see_group(void *user, const char *folder)
{
	uint64_t *left = user;

	*left = least(*left, group_left(folder, "memory.max", "memory.current", "inactive_file"));
	*left = least(*left, group_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes",
	                                "total_inactive_file"));
}

/* Swap is counted as if all of it were ours: to refuse what is possible would be worse than to let
 * pass what is not. */
uint64_t budget_of(const char *root)
{
	uint64_t left, swap;

	see_machine(root, &left, &swap);
	cgroup_visit(root, "memory", see_group, &left);
	return left < UINT64_MAX - swap ? left + swap : UINT64_MAX;
}

uint64_t budget_left(void)
{
	return budget_of("");
}
