#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "noise.h"

enum {
	WARM_UP_TASKS = 100000,
	WARM_UP_NS = 100000000, /* a longer load is not run a second time to warm up */
	PAUSE_NS = 200000,
	MOST_REPEATS = 10000
};

int sample_fail(struct sample *sample, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(sample->error, sizeof(sample->error), format, args);
	va_end(args);
	return -1;
}

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static int repeats_of(const struct sample *sample)
{
	return sample->repeats < MOST_REPEATS ? sample->repeats : MOST_REPEATS;
}

int sample_figures(struct sample *sample, double *figures, int n)
{
	qsort(figures, (size_t)n, sizeof(*figures), by_size);
	sample->value = figures[n / 2];
	sample->least = figures[0];
	return 0;
}

/* Threads, stacks, queues and the pages of out[] are had before the clock starts. */
static int warm_up(const struct load *load, int (*once)(void *arg, const struct load *load),
		   void *arg)
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

int sample_tasks(struct sample *sample, const struct load *load,
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
	return sample_figures(sample, took, n);
}

static void pause_awake(void)
{
	int64_t until = now_ns() + PAUSE_NS;

	while (now_ns() < until)
		;
}

int sample_trips(struct sample *sample, int (*once)(void *arg), void *arg)
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
	return sample_figures(sample, took, n);
}

int sample_own(struct sample *sample, int (*once)(void *arg, double *took), void *arg)
{
	double took[MOST_REPEATS];
	int i, n = repeats_of(sample);

	for (i = -2; i < n; i++)
		if (once(arg, &took[i < 0 ? 0 : i]) != 0)
			return -1;
	return sample_figures(sample, took, n);
}

struct start {
	struct sample *sample;
	char *const *argv;
};

static int start_once(void *arg, double *took)
{
	struct start *start = arg;
	extern char **environ;
	int64_t begun = now_ns();
	int status, error;
	pid_t pid;

	error = posix_spawnp(&pid, start->argv[0], NULL, NULL, start->argv, environ);
	if (error != 0)
		return sample_fail(start->sample, "%s: %s", start->argv[0], strerror(error));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return sample_fail(start->sample, "waitpid: %s", strerror(errno));
	*took = (double)(now_ns() - begun);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return sample_fail(start->sample, "%s: ended with status 0x%x", start->argv[0],
				   (unsigned)status);
	return 0;
}

int sample_starts(struct sample *sample, char *const argv[])
{
	return sample_own(sample, start_once, &(struct start){sample, argv});
}

char *built_path(char path[PATH_MAX], const char *name)
{
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	path[length < 0 ? 0 : length] = '\0';
	slash = strrchr(path, '/');
	length = slash == NULL ? 0 : slash + 1 - path;
	snprintf(path + length, PATH_MAX - (size_t)length, "%s", name);
	return path;
}

int sample_start_of(struct sample *sample, const char *name)
{
	char path[PATH_MAX], file[64];
	char *const argv[] = {path, NULL};

	snprintf(file, sizeof(file), "start-%s", name);
	if (access(built_path(path, file), X_OK) != 0)
		return sample_fail(sample, "not built: its library or compiler is missing");
	return sample_starts(sample, argv);
}

int64_t memory_now_kb(void)
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

int64_t memory_peak_kb(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_maxrss;
}

int64_t memory_own_kb(pid_t pid)
{
	char path[64], line[256];
	long long kb, sum = 0;
	FILE *rollup;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
	rollup = fopen(path, "r");
	if (rollup == NULL)
		return -1;
	while (fgets(line, sizeof(line), rollup) != NULL)
		if (sscanf(line, "Private_Clean: %lld", &kb) == 1 ||
		    sscanf(line, "Private_Dirty: %lld", &kb) == 1)
			sum += kb;
	fclose(rollup);
	return sum;
}
