/* budget.h - how much memory may still be taken, to be asked before much of it is: the kernel does
 * not refuse a file in memory its pages, but ends some process for them. */
#ifndef CORE_BUDGET_H
#define CORE_BUDGET_H

#include <stdint.h>

/* Bytes that the machine and this process's cgroups have left, swap among them.  A guess: others
 * take memory too.  Reads some files of the kernel's, in about 0.1 ms. [any] */
uint64_t budget_left(void);

/* For tests: root is put before /proc and /sys. */
uint64_t budget_of(const char *root);

#endif
