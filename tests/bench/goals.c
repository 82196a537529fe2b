/* goals.c - what issue and README promise, beside what this run reached.  A goal that
 * is missed is printed and changes no exit status: other people's machines differ. */
#include <stdio.h>
#include <string.h>

#include "table.h"

#define GCC_TASK "gcc OpenMP task"
#define PIPES    "C pool over pipes"
#define SPINNING "two processes that spin"
#define VALUE    "joblib loky, by value"

/* What a goal compares.  Times become better as they fall, efficiencies as they rise. */
enum measure {
	TIMES,     /* ours, in times the row `to`                               */
	MINIMA,    /* the same of the best rounds: whoever spins loses the others */
	AHEAD,     /* how many times faster than the best peer other than `to`  */
	TWO_CORES, /* efficiency                                                */
	WAKE_UPS,  /* ours, in times half the best ping-pong                    */
	UNITS      /* the value itself                                          */
};

struct goal {
	const char *workload;
	const char *name; /* our row */
	enum measure measure;
	double bar;
	const char *to;
	const char *words;
};

/* The same goal for both backends of processes; variant is the end of the row's name. */
#define FORKED   "parloop multiprocessing"
#define EXECUTED "parloop loky"
#define ON_BOTH(workload, variant, measure, bar, to, words)                          \
	{workload, FORKED variant, measure, bar, to, words ", multiprocessing" variant}, \
	{workload, EXECUTED variant, measure, bar, to, words ", loky" variant}

#define BY_HAND "by hand, 32 a message"
#define ON_MPI(mpi)                                                                    \
	{"W1b-" mpi, "parloop mpi", TIMES, 2, BY_HAND, "x " BY_HAND},                  \
	{"W1a-" mpi, "parloop mpi, one by one", TIMES, 5, "by hand, one a message",    \
	 "x by hand, one a message"},                                                  \
	{"W1a-" mpi, "parloop mpi, one by one", TIMES, 5, BY_HAND, "x " BY_HAND},      \
	{"W3-" mpi, "parloop mpi", TWO_CORES, 0.9, NULL, "of two cores"}

static const struct goal goals[] = {
	{"W1b", "parloop par_map", TIMES, 1.30, "TBB auto", "x TBB auto"},
	{"W1a", "parloop par_run", TIMES, 1.00, GCC_TASK, "x " GCC_TASK},
	{"W1a", "parloop par_run", AHEAD, 5, GCC_TASK, "x ahead of the best other peer"},
	{"W2", "parloop par_map", TWO_CORES, 0.97, NULL, "of two cores, auto-batched"},
	{"W2-single", "parloop par_run", TWO_CORES, 0.90, NULL, "of two cores, one by one"},
	{"W3", "parloop par_map", TWO_CORES, 0.99, NULL, "of two cores"},
	{"W4", "parloop par_map", TWO_CORES, 0.985, NULL, "of two cores"},
	{"W4s", "parloop par_map", TWO_CORES, 0.98, NULL, "of two cores"},
	{"back", "parloop par_map", WAKE_UPS, 2, NULL, "wake-ups, par_map"},
	{"back", "parloop par_run", WAKE_UPS, 2, NULL, "wake-ups, par_run"},
	{"back", "parloop par_map, timeout", WAKE_UPS, 2, NULL, "wake-ups, run by a worker"},
	{"back", "parloop on a uv loop", WAKE_UPS, 2, NULL, "wake-ups, on a uv loop"},
	{"W6", "parloop", TIMES, 1.1, "Go", "x Go"},
	{"W6", "parloop", TIMES, 1.1, "libuv", "x libuv"},
	{"W9", "parloop par_run", UNITS, 64, NULL, "bytes a queued task"},
	{"W9-ahead", "parloop par_run", UNITS, 100, NULL, "tasks taken, 100 asked"},
	{"calls", "parloop par_run, W1a", UNITS, 5, NULL, "system calls / 1000 tasks, W1a"},
	{"calls", "parloop par_map, W1b", UNITS, 5, NULL, "system calls / 1000 tasks, W1b"},
	{"calls", "parloop par_map, W2", UNITS, 5, NULL, "system calls / 1000 tasks, W2"},
	{"calls", "parloop par_run, W2", UNITS, 5, NULL, "system calls / 1000 tasks, W2 single"},
	ON_BOTH("W1b-processes", "", TIMES, 0.12, "Python Pool.map", "x Pool.map"),
	ON_BOTH("W2-processes", "", TWO_CORES, 0.93, NULL, "of two cores"),
	ON_BOTH("W3-processes", "", TWO_CORES, 0.98, NULL, "of two cores"),
	ON_BOTH("W4-processes", "", TWO_CORES, 0.97, NULL, "of two cores"),
	ON_BOTH("W4s-processes", "", TWO_CORES, 0.97, NULL, "of two cores"),
	ON_BOTH("W5-full", "", TIMES, 0.5, PIPES, "x " PIPES),
	ON_BOTH("W5-one", "", MINIMA, 6, SPINNING, "x " SPINNING),
	ON_BOTH("W5-one", ", streamed", MINIMA, 6, SPINNING, "x " SPINNING),
	ON_BOTH("W5-1M", ", value", TIMES, 1.1, "one copy", "x one copy"),
	ON_BOTH("W5-1M", ", shared", TIMES, 1.1, "no copy", "x no copy"),
	ON_BOTH("W5-64M", ", value", TIMES, 1.1, "one copy", "x one copy"),
	ON_BOTH("W5-64M", ", value", TIMES, 0.5, VALUE, "x " VALUE),
	ON_BOTH("W5-64M", ", shared", TIMES, 1.1, "no copy", "x no copy"),
	{"W6-processes", FORKED, TIMES, 1.2, "C fork pool", "x C fork pool"},
	{"W6-processes", EXECUTED, TIMES, 1.2, "C exec'd pool", "x C exec'd pool"},
	{"W6b", FORKED, TIMES, 2, "re-fork", "x re-fork"},
	{"W6b", EXECUTED, TIMES, 1.35, "re-spawn", "x re-spawn"},
	{"W9-workers", FORKED, UNITS, 0.2, NULL, "MB an idle worker, forked"},
	{"W9-workers", EXECUTED, UNITS, 1, NULL, "MB an idle worker, executed"},
	ON_MPI("openmpi"),
	ON_MPI("mpich"),
	{"inner", "loky, 1 thread inside", TIMES, 1, "loky, 2 threads inside",
	 "x as long as with 2 threads inside"},
};

static const struct row *compared_with(const struct table *table, const struct goal *goal)
{
	switch (goal->measure) {
	case TIMES:
	case MINIMA:
		return table_find(table, goal->workload, goal->to);
	case AHEAD:
		return table_best(table, goal->workload, PEER, goal->to);
	case TWO_CORES:
		return table_best(table, goal->workload, SERIAL, NULL);
	case WAKE_UPS:
		return table_best(table, goal->workload, LIMIT, NULL);
	default:
		return NULL;
	}
}

static double reached(const struct goal *goal, double ours, double theirs)
{
	switch (goal->measure) {
	case TIMES:
	case MINIMA:
		return ours / theirs;
	case AHEAD:
		return theirs / ours;
	case TWO_CORES:
		return theirs / (JOBS * ours);
	case WAKE_UPS:
		return ours / (theirs / 2);
	default:
		return ours;
	}
}

static void goal_print(const struct table *table, const struct goal *goal)
{
	const struct row *ours = table_find(table, goal->workload, goal->name);
	const struct row *theirs = compared_with(table, goal);
	int at_least = goal->measure == AHEAD || goal->measure == TWO_CORES;
	double figure, best, median;

	if (ours == NULL || (theirs == NULL && goal->measure != UNITS))
		return;
	best = reached(goal, row_min(ours), theirs ? row_min(theirs) : 0);
	median = reached(goal, row_median(ours), theirs ? row_median(theirs) : 0);
	figure = goal->measure == MINIMA
			 ? best
			 : reached(goal, row_figure(ours), theirs ? row_figure(theirs) : 0);
	printf("goal %-13s %s %g %s: reached %.3g (of minima %.3g, of medians %.3g)%s\n",
	       goal->workload, at_least ? ">=" : "<=", goal->bar, goal->words, figure, best, median,
	       (at_least ? figure < goal->bar : figure > goal->bar) ? "  MISSED" : "");
}

/* libuv is the measure for a start only where Go was not to be had. */
static int is_superseded(const struct table *table, const struct goal *goal)
{
	return strcmp(goal->workload, "W6") == 0 && strcmp(goal->to, "libuv") == 0 &&
	       table_find(table, "W6", "Go") != NULL;
}

void goals_print(const struct table *table)
{
	size_t i;

	printf("\n");
	for (i = 0; i < sizeof(goals) / sizeof(*goals); i++)
		if (!is_superseded(table, &goals[i]))
			goal_print(table, &goals[i]);
}
