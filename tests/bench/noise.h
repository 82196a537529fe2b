/* noise.h - how much of the machine other processes took while we measured. */
#ifndef BENCH_NOISE_H
#define BENCH_NOISE_H

#include <sys/resource.h>

struct noise {
	double busy_s; /* all CPUs together, since boot */
	double wall_s;
};

void noise_begin(struct noise *noise);

/* CPU seconds that others took since then (ours are what the child used, and what the
 * harness itself did), and that there were in all.  The kernel counts in ticks of
 * 10 ms, so a short cell says little; the table adds the rounds up. */
double noise_end(const struct noise *noise, const struct rusage *child, double *cpus_s);

/* Ask for a high priority; without the right to it, do without. */
void noise_prevent(void);

#endif
