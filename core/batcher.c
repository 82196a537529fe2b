#include "batcher.h"

/* No call has as many tasks; doubling stops here, before it overflows. */
#define LARGEST ((uint64_t)1 << 40)

void batcher_init(struct batcher *batcher, uint64_t fixed_size, int64_t shortest_ns,
                  int64_t longest_ns)
{
	*batcher = (struct batcher){
		.fixed = fixed_size > 0,
		.size = fixed_size > 0 ? fixed_size : 1,
		.shortest_ns = (double)shortest_ns,
		.longest_ns = (double)longest_ns,
	};
}

/* Twice the size that would just reach the shortest time. */
static double ideal_size(const struct batcher *batcher)
{
	double reaches = (double)batcher->size * batcher->shortest_ns / batcher->smoothed_ns;

	return reaches < (double)LARGEST ? 2 * (double)(uint64_t)reaches : (double)LARGEST;
}

static uint64_t next_size(const struct batcher *batcher)
{
	double ideal, doubled = 2 * (double)batcher->size;

	if (batcher->smoothed_ns <= 0)
		return batcher->size;
	ideal = ideal_size(batcher);
	if (batcher->smoothed_ns < batcher->shortest_ns)
		/* Grow step by step: the first tasks may be unlike the others. */
		return (uint64_t)(ideal < doubled ? ideal : doubled);
	if (batcher->smoothed_ns > batcher->longest_ns && batcher->size >= 2)
		return (uint64_t)ideal;
	return batcher->size;
}

uint64_t batcher_size(struct batcher *batcher)
{
	uint64_t size;

	if (batcher->fixed)
		return batcher->size;
	size = next_size(batcher);
	size = size < 1 ? 1 : size > LARGEST ? LARGEST : size;
	if (size != batcher->size) {
		batcher->size = size;
		batcher->smoothed_ns = 0;
	}
	return size;
}

void batcher_completed(struct batcher *batcher, uint64_t size, int64_t ns)
{
	/* Zero means "none" below, and a batch that the clock could not measure is the
	 * one that most needs to grow. */
	double took = ns < 1 ? 1 : (double)ns;

	if (batcher->fixed || size != batcher->size)
		return;
	if (batcher->smoothed_ns <= 0)
		batcher->smoothed_ns = took;
	else
		batcher->smoothed_ns = 0.8 * batcher->smoothed_ns + 0.2 * took;
}
