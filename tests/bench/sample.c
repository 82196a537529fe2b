#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "noise.h"

enum {
	WARM_UP_TASKS = 100000,
	WARM_UP_NS = 100000000, /* a longer load is not run a second time to warm up */
	PAUSE_NS = 200000,
	MOST_REPEATS = 10000
};

int
sample_fail(struct sample *sample, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sample->error, sizeof(sample->error), format, args);
	va_end(args);
	return -1;
}

int64_t
now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static int
by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int
repeats_of(const struct sample *sample)
{
	return sample->repeats < MOST_REPEATS ? sample->repeats : MOST_REPEATS;
}

static int
sample_finish(struct sample *sample, double *took, int n)
{
	qsort(took, (size_t)n, sizeof(*took), by_size);
	sample->value = took[n / 2];
	sample->least = took[0];
	return 0;
}

/* Threads, stacks, queues and the pages of out[] are had before the clock starts. */
static int
warm_up(const struct load *load, int (*once)(void *arg, const struct load *load), void *arg)
{
	struct load part = *load;
	int64_t begun = now_ns();

	memset(load->out, 0, load->n * sizeof(*load->out));
	part.n = load->n / 20 < WARM_UP_TASKS ? load->n / 20 : WARM_UP_TASKS;
	if (part.n == 0)
		part.n = 1;
	if (once(arg, &part) != 0)
		return -1;
	if ((now_ns() - begun) * (int64_t)(load->n / part.n) > WARM_UP_NS)
		return 0;
	return once(arg, load);
}

int
sample_tasks(struct sample *sample, const struct load *load,
             int (*once)(void *arg, const struct load *load), void *arg)
{
	double took[MOST_REPEATS];
	struct noise noise;
	int64_t begun;
	int i, n = repeats_of(sample);

	if (warm_up(load, once, arg) != 0)
		return -1;
	noise_begin(&noise);
	for (i = 0; i < n; i++) {
		begun = now_ns();
		if (once(arg, load) != 0)
			return -1;
		took[i] = (double)(now_ns() - begun) / (double)load->n;
	}
	sample->others_s = noise_end(&noise, &sample->cpus_s);
	return sample_finish(sample, took, n);
}

static void
pause_awake(void)
{
	int64_t until = now_ns() + PAUSE_NS;

	while (now_ns() < until)
		;
}

int
sample_trips(struct sample *sample, int (*once)(void *arg), void *arg)
{
	enum { WARM_UP_TRIPS = 20 };
	double took[MOST_REPEATS];
	int64_t begun;
	int i, n = repeats_of(sample);

	for (i = -WARM_UP_TRIPS; i < n; i++) {
		pause_awake();
		begun = now_ns();
		if (once(arg) != 0)
			return -1;
		if (i >= 0)
			took[i] = (double)(now_ns() - begun);
	}
	return sample_finish(sample, took, n);
}

static int
start_once(struct sample *sample, const char *program)
{
	char *const argv[] = {(char *)program, NULL};
	extern char **environ;
	int status, error;
	pid_t pid;

	error = posix_spawn(&pid, program, NULL, NULL, argv, environ);
	if (error != 0)
		return sample_fail(sample, "%s: %s", program, strerror(error));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return sample_fail(sample, "waitpid: %s", strerror(errno));
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return sample_fail(sample, "%s: ended with status 0x%x", program, (unsigned)status);
	return 0;
}

int
sample_starts(struct sample *sample, const char *program)
{
	double took[MOST_REPEATS];
	int64_t begun;
	int i, n = repeats_of(sample);

	for (i = -2; i < n; i++) {
		begun = now_ns();
		if (start_once(sample, program) != 0)
			return -1;
		if (i >= 0)
			took[i] = (double)(now_ns() - begun);
	}
	return sample_finish(sample, took, n);
}

int64_t
memory_now_kb(void)
{
	long total, resident = 0;
	FILE *statm = fopen("/proc/self/statm", "r");

	if (statm == NULL)
		return 0;
	if (fscanf(statm, "%ld %ld", &total, &resident) != 2)
		resident = 0;
	fclose(statm);
	return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

int64_t
memory_peak_kb(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}
