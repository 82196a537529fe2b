#include "context.h"

static _Thread_local struct context current;

const struct context *context_current(void)
{
	return &current;
}

struct context context_swap(struct context context)
{
	struct context before = current;

	current = context;
	return before;
}
