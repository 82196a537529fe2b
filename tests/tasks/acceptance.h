/* acceptance.h - what the behaviours (tests/acceptance/) and their tasks agree on. */
#ifndef TESTS_TASKS_ACCEPTANCE_H
#define TESTS_TASKS_ACCEPTANCE_H

#include <stdint.h>

enum { ACCEPTANCE_CODE = 17, ACCEPTANCE_BAD = 7 };

/* How the task `end` ends its worker: a signal's number, or this plus an exit code. */
enum { ACCEPTANCE_EXIT = 1000 };

#endif
