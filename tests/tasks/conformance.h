/* conformance.h - what the conformance test and its tasks agree on. */
#ifndef TESTS_TASKS_CONFORMANCE_H
#define TESTS_TASKS_CONFORMANCE_H

#include <stdint.h>

enum { CONFORMANCE_CODE = 42, CONFORMANCE_BAD = 1000000 };

/* What look() saw. */
struct seen {
	uint64_t value, index, shared, shared_size;
	int64_t pid;
	uint32_t worker;
	int32_t level, cancelled, reserved;
};

/* A result that no other input has. */
static inline uint64_t conformance_mix(uint64_t value)
{
	return (value + 1) * UINT64_C(0x9e3779b97f4a7c15);
}

static inline unsigned char conformance_byte(uint64_t size, uint64_t place)
{
	return (unsigned char)(size * 31 + place * 7 + 1);
}

#endif
