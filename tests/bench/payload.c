#include <sys/mman.h>

#include "payload.h"

void payload_fill(uint64_t *words, uint64_t n)
{
	uint64_t i;

	words[0] = words[1] = 0;
	for (i = 2; i < n; i += 2) {
		words[i] = i * 0x9e3779b97f4a7c15u;
		words[i + 1] = 0 - words[i];
	}
}

void *payload_shared(uint64_t size)
{
	void *room = mmap(NULL, size, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return room == MAP_FAILED ? NULL : room;
}
