/* wire.c - bytes as they might come from anywhere, given to all that reads frames. */
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#include "read_frames.h"

/* The first byte says in pieces of which size the others come. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n == 0)
		return 0;
	read_frames(bytes + 1, n - 1, bytes[0] % 64 == 0 ? n : bytes[0] % 64);
	return 0;
}

#include "corpus.h"
