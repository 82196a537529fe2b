#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "bench.h"
#include "noise.h"

/* user nice system idle iowait irq softirq steal; what a hypervisor took counts too. */
static double busy_s(void)
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

/* user and system time of a process, in ticks, if it is of that session; else 0. */
static unsigned long ticks_of(pid_t pid, pid_t session)
{
	char path[64], line[1024], *after;
	unsigned long user, system;
	int in_session, found = 0;
	FILE *stat;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	stat = fopen(path, "r");
	if (stat == NULL)
		return 0;
	/* Its name may hold anything, but the last parenthesis ends it. */
	if (fgets(line, sizeof(line), stat) != NULL && (after = strrchr(line, ')')) != NULL)
		found = sscanf(after + 1,
			       " %*c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
			       &in_session, &user, &system);
	fclose(stat);
	return found == 3 && in_session == (int)session ? user + system : 0;
}

/* Of the other processes of this session, which a cell has to itself: its workers. */
static double workers_s(void)
{
	pid_t self = getpid(), session = getsid(0), pid;
	DIR *proc = opendir("/proc");
	unsigned long ticks = 0;
	struct dirent *entry;

	if (proc == NULL)
		return 0;
	while ((entry = readdir(proc)) != NULL) {
		pid = (pid_t)atoi(entry->d_name);
		if (pid > 0 && pid != self)
			ticks += ticks_of(pid, session);
	}
	closedir(proc);
	return (double)ticks / (double)sysconf(_SC_CLK_TCK);
}

static double used_s(int who)
{
	struct rusage usage;

	getrusage(who, &usage);
	return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static double own_s(void)
{
	return used_s(RUSAGE_SELF) + used_s(RUSAGE_CHILDREN) + workers_s();
}

void noise_begin(struct noise *noise)
{
	noise->others_s = busy_s() - own_s();
	noise->wall_s = (double)now_ns() / 1e9;
}

double noise_end(const struct noise *noise, double *cpus_s)
{
	double others_s = busy_s() - own_s() - noise->others_s;

	*cpus_s = ((double)now_ns() / 1e9 - noise->wall_s) * (double)sysconf(_SC_NPROCESSORS_ONLN);
	return others_s > 0 ? others_s : 0;
}

/* The scheduler first shares the CPUs between sessions (autogroup), then between the
 * processes of one, so the one would do nothing without the other. */
void noise_prevent(void)
{
	int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	setpriority(PRIO_PROCESS, 0, -15);
	if (fd < 0)
		return;
	/* Refused to who may not, and then nothing is lost. */
	(void)!write(fd, "-15", 3);
	close(fd);
}
