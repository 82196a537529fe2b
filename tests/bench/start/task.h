/* task.h - the two tasks of W6: next to nothing, but their results are looked at. */
#ifndef START_TASK_H
#define START_TASK_H

#include <stdint.h>

static inline uint64_t task(uint64_t in)
{
	return in * 6364136223846793005u + 1442695040888963407u;
}

/* The exit status of the program. */
static inline int wrong(const uint64_t in[2], const uint64_t out[2])
{
	return out[0] != task(in[0]) || out[1] != task(in[1]);
}

#endif
