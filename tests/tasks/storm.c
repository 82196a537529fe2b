/* storm.c - tasks for tests/storm.c: most work for a while, and some kill whoever runs them. */
#include "storm.h"

#include <parloop/task.h>

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

/* Goes on until the stack is used up. */
static uint64_t sink_down(volatile uint64_t *above)
{
	volatile uint64_t here[512];

	here[0] = *above + 1;
	return here[0] == 0 ? 0 : sink_down(here) + here[511];
}

static void poison(uint64_t kind)
{
	volatile uint64_t top = 0;

	switch (kind) {
	case STORM_SEGV:
		*(volatile int *)(uintptr_t)top = 1;
		break;
	case STORM_ABORT:
		abort();
	case STORM_EXIT_0:
		exit(0);
	case STORM_EXIT_42:
		_exit(42);
	case STORM_KILL:
		kill(getpid(), SIGKILL);
		break;
	default:
		sink_down(&top);
	}
}

static int weather(const struct storm_in *in, uint64_t *out)
{
	uint64_t sum = in->value;

	if (in->kind > 0)
		poison(in->kind);
	for (uint32_t i = 0; i < in->turns; i++)
		sum = sum * UINT64_C(6364136223846793005) + 1442695040888963407;
	*out = storm_mix(in->value) + (sum == 0);
	return 0;
}
PAR_TASK(weather, struct storm_in, uint64_t)
