#include "cpus.h"

int cpus_choose(cpu_set_t cpus[2])
{
	cpu_set_t all;
	int cpu, n = 0;

	if (sched_getaffinity(0, sizeof(all), &all) != 0)
		return -1;
	for (cpu = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
		if (CPU_ISSET(cpu, &all)) {
			CPU_ZERO(&cpus[n]);
			CPU_SET(cpu, &cpus[n++]);
		}
	return n == 2 ? 0 : -1;
}
