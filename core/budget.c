#include "budget.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysinfo.h>

/* Where /proc is not mounted: at least nothing larger than the machine. */
static uint64_t all_of_it(void)
{
	struct sysinfo machine;

	if (sysinfo(&machine) < 0)
		return UINT64_MAX;
	return ((uint64_t)machine.totalram + machine.totalswap) * machine.mem_unit;
}

static uint64_t machine_left(const char *root)
{
	unsigned long long kib, left = 0;
	char line[256];
	int found = 0;
	FILE *file;

	(void)snprintf(line, sizeof(line), "%s/proc/meminfo", root);
	file = fopen(line, "re");
	if (file == NULL)
		return all_of_it();
	while (found < 2 && fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "MemAvailable: %llu kB", &kib) != 1 &&
		    sscanf(line, "SwapFree: %llu kB", &kib) != 1)
			continue;
		left += kib;
		found++;
	}
	fclose(file);
	return found > 0 && left < UINT64_MAX >> 10 ? left << 10 : all_of_it();
}

uint64_t budget_of(const char *root)
{
	return machine_left(root);
}

uint64_t budget_left(void)
{
	return budget_of("");
}
