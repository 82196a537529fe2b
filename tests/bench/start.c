/* start.c - W6: from nothing to two tasks done and the process gone, a small program
 * for each peer (start/), started with posix_spawn. */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

/* The programs stand beside this one. */
static int start_cell(struct sample *sample, const char *name)
{
	char path[PATH_MAX + 32];
	ssize_t length = readlink("/proc/self/exe", path, PATH_MAX);
	char *slash;

	if (length < 0)
		return sample_fail(sample, "cannot tell where this program is");
	path[length] = '\0';
	slash = strrchr(path, '/');
	sprintf(slash + 1, "start-%s", name);
	if (access(path, X_OK) != 0)
		return sample_fail(sample, "not built: its library or compiler is missing");
	return sample_starts(sample, path);
}

static int ours_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "ours");
}

static int uv_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "uv");
}

static int tbb_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "tbb");
}

static int openmp_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "openmp");
}

static int go_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "go");
}

static int pthreads_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "pthreads");
}

static int none_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return start_cell(sample, "none");
}

const struct cell cells_start[] = {
	{"W6", "parloop", OURS, ours_cell},
	{"W6", "Go", PEER, go_cell},
	{"W6", "libuv", PEER, uv_cell},
	{"W6", "TBB", PEER, tbb_cell},
	{"W6", "gcc OpenMP", PEER, openmp_cell},
	{"W6", "pthreads", LIMIT, pthreads_cell},
	{"W6", "an empty program", EXTRA, none_cell},
	{NULL, NULL, PEER, NULL},
};
