/* tasks.h - what the tasks of `parloop check` do, for them and for who looks at their results.
 *
 * They are a task module (tasks/tasks.c), since workers in other programs and on other machines are
 * to run them as well. */
#ifndef CHECK_TASKS_H
#define CHECK_TASKS_H

#include <stdint.h>

/* Inputs from here on: a task that fails if it meets one, with that code; one that crashes, or is
 * stuck. */
enum { TASKS_BAD = 1000000, TASKS_SPECIAL = 2000000, TASKS_CODE = 7, TASKS_INNER = 10 };

/* What each makes of an input; check_nested of the sum of so many from there on. */
static inline uint64_t tasks_mixed(uint64_t value)
{
	return (value + 1) * UINT64_C(6364136223846793005);
}

#endif
