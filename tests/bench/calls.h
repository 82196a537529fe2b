/* calls.h - system calls per 1000 tasks, counted by strace: a figure without noise. */
#ifndef BENCH_CALLS_H
#define BENCH_CALLS_H

#include "bench.h"

/* The same cell is traced with few and with many repetitions, and the difference is
 * what the tasks cost, without start and end. */
extern const struct cell cells_calls[];

#endif
