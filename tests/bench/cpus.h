/* cpus.h - two of the CPUs that this process is allowed, for limits that pin. */
#ifndef BENCH_CPUS_H
#define BENCH_CPUS_H

#include <sched.h>

/* 0, or -1 if there are no two. */
int cpus_choose(cpu_set_t cpus[2]);

/* Tell the core that this thread spins. */
static inline void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

#endif
