/* storm.h - what tests/storm.c and its tasks agree on. */
#ifndef TESTS_TASKS_STORM_H
#define TESTS_TASKS_STORM_H

#include <stdint.h>

/* How a task kills its worker. */
enum { STORM_GOOD, STORM_SEGV, STORM_ABORT, STORM_EXIT_0, STORM_EXIT_42, STORM_KILL, STORM_STACK, STORM_KINDS };

struct storm_in {
	uint64_t value;
	uint32_t kind;
	uint32_t turns; /* of a dependent chain, some 1.3 ns each */
};

static inline uint64_t storm_mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	return z ^ z >> 31;
}

#endif
