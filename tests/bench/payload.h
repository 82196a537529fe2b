/* payload.h - what is sent to workers in other processes, and what it proves.
 *
 * A payload begins with a value of in[], and what comes back leads to that value again, so out[]
 * is work() of it, as everywhere, and the harness sees a wrong answer. */
#ifndef BENCH_PAYLOAD_H
#define BENCH_PAYLOAD_H

#include "bench.h"

enum { ECHO_WORDS = 8 }; /* 64 bytes, a cache line */

struct echo {
	uint64_t words[ECHO_WORDS];
};

#define MIB ((uint64_t)1 << 20)

/* The sum of n words, read in order (work.c). */
uint64_t sum_words(const uint64_t *words, uint64_t n);

/* Fill n words, an even number, so that their sum is the first one, whatever that becomes. */
void payload_fill(uint64_t *words, uint64_t n);

/* Memory that processes forked later share, populated; NULL: there is none. */
void *payload_shared(uint64_t size);

#endif
