/* work.c - what the tasks do.  An object of its own, since it is linked into the modules of
 * tasks too, which workers in other processes open. */
#include "bench.h"

uint64_t work(uint64_t item)
{
	uint32_t turns = (uint32_t)item;
	uint64_t value = item;

	do
		value = value * 6364136223846793005u + 1442695040888963407u;
	while (--turns > 0);
	return value;
}
