#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"

enum {
	FEW = 2,
	MANY = 12
};

/* All calls that strace counted, or -1. */
static long count_in(int summary)
{
	FILE *file = fdopen(summary, "r");
	char line[256], name[64];
	long calls, sum = 0;

	if (file == NULL)
		return -1;
	while (fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "%ld %63s", &calls, name) == 2 && strcmp(name, "total") != 0)
			sum += calls;
	fclose(file);
	return sum;
}

/* In the child: this program again, for one cell, under strace. */
static void trace(int summary, const char *cell, const char *tasks, int repeats)
{
	char self[PATH_MAX + 1], count[16], file[32];
	ssize_t length = readlink("/proc/self/exe", self, PATH_MAX);

	if (length < 0)
		_exit(1);
	self[length] = '\0';
	snprintf(file, sizeof(file), "/proc/self/fd/%d", summary);
	snprintf(count, sizeof(count), "%d", repeats);
	execlp("strace", "strace", "-f", "-c", "-U", "calls,name", "-o", file, self, "--cell",
	       cell, "--tasks", tasks, "--repeats", count, (char *)NULL);
	_exit(errno == ENOENT ? 127 : 1);
}

static long count(struct sample *sample, const char *cell, const char *tasks, int repeats)
{
	int summary = memfd_create("strace", 0), status = 0;
	pid_t pid;

	if (summary < 0)
		return sample_fail(sample, "memfd_create: %s", strerror(errno));
	pid = fork();
	if (pid == 0)
		trace(summary, cell, tasks, repeats);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		sample_fail(sample, "strace: %s", strerror(errno));
	else if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		sample_fail(sample, "strace is not installed");
	else if (status != 0)
		sample_fail(sample, "bench --cell '%s' under strace: status 0x%x", cell,
			    (unsigned)status);
	else
		return count_in(summary);
	close(summary);
	return -1;
}

static int calls_cell(struct sample *sample, const char *cell, const char *tasks)
{
	long few = count(sample, cell, tasks, FEW), many;

	if (few < 0)
		return -1;
	many = count(sample, cell, tasks, MANY);
	if (many < 0)
		return -1;
	sample->value = sample->least =
		(double)(many - few) * 1000 / ((MANY - FEW) * strtod(tasks, NULL));
	if (sample->value < 0)
		sample->value = sample->least = 0;
	return 0;
}

static int
ours_w1a(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W1a/parloop par_run", "200000");
}

static int
ours_w1b(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W1b/parloop par_map", "2000000");
}

static int
ours_w2(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W2/parloop par_map", "50000");
}

static int
ours_w2_single(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W2-single/parloop par_run", "50000");
}

/* Fewer, since strace makes each of its calls some 20 us longer. */
static int
uv_w1a(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W1a/libuv uv_queue_work", "50000");
}

static int
uv_w2(const struct load *load, struct sample *sample)
{
	(void)load;
	return calls_cell(sample, "W2-single/libuv uv_queue_work", "50000");
}

const struct cell cells_calls[] = {
	{"calls", "parloop par_run, W1a", OURS, ours_w1a},
	{"calls", "parloop par_map, W1b", OURS, ours_w1b},
	{"calls", "parloop par_map, W2", OURS, ours_w2},
	{"calls", "parloop par_run, W2", OURS, ours_w2_single},
	{"calls", "libuv, W1a", PEER, uv_w1a},
	{"calls", "libuv, W2", PEER, uv_w2},
	{NULL, NULL, PEER, NULL},
};
