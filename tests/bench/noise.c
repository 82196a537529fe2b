#include <fcntl.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "noise.h"

/* user nice system idle iowait irq softirq steal; what a hypervisor took counts too. */
static double
busy_s(void)
{
	unsigned long long field[8] = {0};
	FILE *stat = fopen("/proc/stat", "r");

	if (stat == NULL)
		return 0;
	if (fscanf(stat, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &field[0], &field[1],
	           &field[2], &field[3], &field[4], &field[5], &field[6], &field[7]) != 8)
		field[0] = 0;
	fclose(stat);
	return (double)(field[0] + field[1] + field[2] + field[5] + field[6] + field[7]) /
	       (double)sysconf(_SC_CLK_TCK);
}

static double
own_s(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

void
noise_begin(struct noise *noise)
{
	noise->others_s = busy_s() - own_s();
	noise->wall_s = (double)now_ns() / 1e9;
}

double
noise_end(const struct noise *noise, double *cpus_s)
{
	double others_s = busy_s() - own_s() - noise->others_s;

	*cpus_s = ((double)now_ns() / 1e9 - noise->wall_s) * (double)sysconf(_SC_NPROCESSORS_ONLN);
	return others_s > 0 ? others_s : 0;
}

/* The scheduler first shares the CPUs between sessions (autogroup), then between the
 * processes of one, so the one would do nothing without the other. */
void
noise_prevent(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	setpriority(PRIO_PROCESS, 0, -15);
	if (fd < 0)
		return;
	/* Refused to who may not, and then nothing is lost. */
	(void)!write(fd, "-15", 3);
	close(fd);
}
