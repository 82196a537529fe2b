/* work.c - what the tasks do.  An object of its own, since it is linked into the modules of
 * tasks too, which workers in other processes open. */
#include "payload.h"

uint64_t work(uint64_t item)
{
	uint32_t turns = (uint32_t)item;
	uint64_t value = item;

	do
		value = value * 6364136223846793005u + 1442695040888963407u;
	while (--turns > 0);
	return value;
}

uint64_t sum_words(const uint64_t *words, uint64_t n)
{
	uint64_t sum = 0, i;

	for (i = 0; i < n; i++)
		sum += words[i];
	return sum;
}
