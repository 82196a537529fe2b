/* batcher.h - how many tasks to put in a batch: large enough to hide the cost of
 * sending it, small enough to keep every worker busy until the end.
 *
 * joblib's AutoBatchingMixin.  No I/O, no clock: it is told how long each batch
 * took, and aims between the shortest and the longest time.  Its owner calls it
 * from one thread.  Nothing here fails, and there is nothing to give back; to
 * forget what was measured (joblib does at terminate), init it again. */
#ifndef CORE_BATCHER_H
#define CORE_BATCHER_H

#include <stdint.h>

struct batcher {
	int fixed;
	uint64_t size;
	double smoothed_ns; /* of batches of this size; 0: none has completed */
	double shortest_ns, longest_ns;
};

/* fixed_size 0: measure, beginning with 1. */
void batcher_init(struct batcher *batcher, uint64_t fixed_size, int64_t shortest_ns,
                  int64_t longest_ns);

/* For the next batch; at least 1. */
uint64_t batcher_size(struct batcher *batcher);

/* A batch of so many tasks took so long.  One of another size than the present one
 * says nothing about that, and is ignored: the last of a call, or one sent before
 * the size changed. */
void batcher_completed(struct batcher *batcher, uint64_t size, int64_t ns);

#endif
