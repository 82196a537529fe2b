/* bench.h - what a peer's source and the harness promise each other.
 *
 * A peer is one source, ours.c, uv.c, tbb.cc, that exports a table of cells.  A
 * cell runs one workload in that peer's way.  The harness (bench.c) runs every
 * cell once a round, each time in a process of its own, forked from a small
 * single-threaded one: so no peer inherits another's threads, caches of freed
 * memory or environment, and a cell that crashes costs only itself.
 *
 * The life of a cell: set up its pool, call one of the sample_ functions below, which
 * warm up, measure and fill the sample; take the pool down; return 0, or what
 * sample_fail() returned.
 */
#ifndef BENCH_H
#define BENCH_H

#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { JOBS = 2 }; /* the threads that every cell may keep busy */

/* --- the work: the same object code for everybody (work.c) ---------------------------- */

/* A task: 8 bytes in, 8 out.  The low 32 bits say how many turns of a dependent
 * multiply-add chain to make, at least 1; the rest makes the result differ. */
uint64_t work(uint64_t item);

/* The tasks of a workload: out[i] = work(in[i]).  Both arrays are shared with
 * the harness, which checks out[] afterwards. */
struct load {
	const uint64_t *in;
	uint64_t *out;
	uint64_t n;
};

/* --- a sample: one cell measured once (sample.c) -------------------------------------- */

struct sample {
	int repeats;     /* asked for; the sample_ functions obey it            */
	double value;    /* the median repetition, in the unit of the workload  */
	double least;    /* the least repetition                                */
	double others_s; /* CPU time that others took meanwhile; 0: not known   */
	double cpus_s;   /* CPU time that there was                             */
	char note[64];   /* something to print beside the row; may be empty     */
	char error[240]; /* why it failed                                       */
};

#if defined(__GNUC__)
__attribute__((format(printf, 2, 3)))
#endif
int
sample_fail(struct sample *sample, const char *format, ...); /* returns -1 */

/* Run the whole load as often as asked, after a warm-up of at most 100 000 tasks of
 * it and one of them all if that is short; the value is nanoseconds a task.
 * once() returns 0, or nonzero to give up, and has no error text to leave. */
int sample_tasks(struct sample *sample, const struct load *load,
		 int (*once)(void *arg, const struct load *load), void *arg);

/* Make single round trips, the caller awake and everybody else left alone for 200 us
 * before each, so that they sleep; the value is nanoseconds a trip. */
int sample_trips(struct sample *sample, int (*once)(void *arg), void *arg);

/* What once() says that each of its repetitions took, the first two left out.  It returns 0, or
 * nonzero to give up, and has left its error text. */
int sample_own(struct sample *sample, int (*once)(void *arg, double *took), void *arg);

/* Start that program, or the program start-NAME that was built beside this one, and wait for
 * its end, again and again; nanoseconds. */
int sample_starts(struct sample *sample, char *const argv[]);
int sample_start_of(struct sample *sample, const char *name);

/* Fill the sample from n figures, which it sorts; returns 0. */
int sample_figures(struct sample *sample, double *figures, int n);

/* The path of a file that was built beside this program; returns path. */
char *built_path(char path[PATH_MAX], const char *name);

int64_t now_ns(void);

/* Kilobytes resident now, and at the most since this process began. */
int64_t memory_now_kb(void);
int64_t memory_peak_kb(void);

/* Kilobytes that only that process has, and that would be free without it: what it wrote to and
 * what of its files nobody else has mapped.  Pages shared with its parent, since a fork or in
 * shared memory, and a library that others use too are nobody's own.  -1: it is gone. */
int64_t memory_own_kb(pid_t pid);

/* --- cells ----------------------------------------------------------------------------- */

enum kind {
	OURS,  /* the first of a workload is the one that the goals are about          */
	EXTRA, /* ours too, in another way; no goal                                    */
	PEER,  /* somebody else's                                                      */
	LIMIT, /* a hand-written floor: no interface, no errors, its threads spin      */
	SERIAL /* a plain loop on one thread: the base of the efficiencies             */
};

struct cell {
	const char *workload; /* as in the table in bench.c */
	const char *name;
	enum kind kind;
	int (*fn)(const struct load *load, struct sample *sample);
};

/* The tables, each ending in a cell without a name.  Weak: a peer whose library was
 * missing when the benchmark was built is NULL here. */
#define PEER_TABLE __attribute__((weak))
extern const struct cell cells_ours[] PEER_TABLE;
extern const struct cell cells_processes[] PEER_TABLE;
extern const struct cell cells_mpi[] PEER_TABLE;
extern const struct cell cells_inner[] PEER_TABLE;
extern const struct cell cells_openmp[] PEER_TABLE;
extern const struct cell cells_tbb[] PEER_TABLE;
extern const struct cell cells_uv[] PEER_TABLE;
extern const struct cell cells_glib[] PEER_TABLE;
extern const struct cell cells_limit[];
extern const struct cell cells_start[];
extern const struct cell cells_spin[];
extern const struct cell cells_pools[];
extern const struct cell cells_python[];

#ifdef __cplusplus
}
#endif
#endif
