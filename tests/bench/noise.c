#include <fcntl.h>
#include <stdio.h>
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

void
noise_begin(struct noise *noise)
{
	noise->busy_s = busy_s();
	noise->wall_s = (double)now_ns() / 1e9;
}

static double
cpu_s(const struct rusage *usage)
{
	return (double)(usage->ru_utime.tv_sec + usage->ru_stime.tv_sec) +
	       (double)(usage->ru_utime.tv_usec + usage->ru_stime.tv_usec) / 1e6;
}

double
noise_end(const struct noise *noise, const struct rusage *child, double *cpus_s)
{
	double others_s = busy_s() - noise->busy_s - cpu_s(child);

	*cpus_s = ((double)now_ns() / 1e9 - noise->wall_s) * (double)sysconf(_SC_NPROCESSORS_ONLN);
	return others_s > 0 ? others_s : 0;
}

/* The scheduler first shares the CPUs between sessions (autogroup), then between the
 * processes of one, so niceness alone would do nothing. */
void
noise_prevent(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	if (setpriority(PRIO_PROCESS, 0, -15) != 0)
		fprintf(stderr, "bench: at normal priority (no right to raise it)\n");
	if (fd < 0)
		return;
	if (write(fd, "-15", 3) < 0)
		fprintf(stderr, "bench: in a session of normal priority\n");
	close(fd);
}
