/* start.c - W6: from nothing to two tasks done and the process gone, a small program
 * for each peer (start/), started with posix_spawn. */
#include "bench.h"

static int ours_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "ours");
}

static int uv_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "uv");
}

static int tbb_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "tbb");
}

static int openmp_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "openmp");
}

static int go_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "go");
}

static int pthreads_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "pthreads");
}

static int none_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "none");
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
