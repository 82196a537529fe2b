/* clock.c - the clock that all processes share; in the modules of tasks too, as work.c. */
#include <time.h>

#include "bench.h"

int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}
