/* budget.h - how much memory may still be taken, to be asked before much of it is. */
#ifndef CORE_BUDGET_H
#define CORE_BUDGET_H

#include <stdint.h>

/* Bytes that the machine has left, swap among them.  A guess: others take memory too. [any] */
uint64_t budget_left(void);

/* For tests: root is put before /proc. */
uint64_t budget_of(const char *root);

#endif
