/* noise.h - how much of the machine other processes took while we measured. */
#ifndef BENCH_NOISE_H
#define BENCH_NOISE_H

struct noise {
	double others_s; /* all CPUs together, since boot, less what this session used */
	double wall_s;
};

void noise_begin(struct noise *noise);

/* CPU seconds that others took since then, and that there were in all.  The kernel
 * counts in ticks of 10 ms, so a short cell says little; the table adds the
 * rounds up. */
double noise_end(const struct noise *noise, double *cpus_s);

/* Ask for a high priority for this process, and for its session, which should be its
 * own; without the right to it, do without. */
void noise_prevent(void);

#endif
