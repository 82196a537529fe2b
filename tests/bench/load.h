/* load.h - the workloads' inputs, the same in every run but for the machine's speed. */
#ifndef BENCH_LOAD_H
#define BENCH_LOAD_H

#include "bench.h"

enum shape {
	NONE,   /* the workload has no array of tasks                        */
	EVEN,   /* every task as long as the others                          */
	PARETO, /* 10 us to 50 ms, heavy-tailed, from a fixed seed          */
	SORTED  /* the same, ascending                                       */
};

/* How many turns of the chain this machine makes in a microsecond, now. */
double load_calibrate(void);

/* Fill in a load of n tasks, each (shape EVEN) of that many turns, or of what
 * turns_per_us makes of the Pareto times.  Its pages are shared between
 * processes and populated.  Exits if there is no memory. */
void load_make(struct load *load, enum shape shape, uint64_t n, uint32_t turns,
	       double turns_per_us);

/* A sum over out[] that depends on every value and its place, and what it would be
 * after a serial run.  The latter does the work: call it once. */
uint64_t load_checksum(const struct load *load);
uint64_t load_expected(const struct load *load);

/* The efficiency of a perfect scheduler that gives two workers the tasks one by one,
 * in order, at no cost: the most that a heavy tail allows. */
double load_greedy(const struct load *load);

#endif
