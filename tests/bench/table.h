/* table.h - the figures of all rounds, and how they are shown. */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include "load.h"

enum {
	MOST_ROUNDS = 100,
	MOST_ROWS = 200
};

enum view {
	TIME,      /* the value, divided by the unit's size       */
	EFFICIENCY /* of JOBS cores, against the serial row       */
};

struct workload {
	const char *id;
	const char *title;
	enum view view;
	const char *unit;
	double unit_size; /* a value of that many is one unit */
	enum shape shape;
	uint64_t n;
	double task_us; /* of shape EVEN; 0: one turn of the chain */
	int repeats;

	struct load load;
	uint64_t expected; /* checksum of out[] */
};

/* A cell, and what was measured of it so far. */
struct row {
	const struct cell *cell;
	const struct workload *workload;
	int n;
	double values[MOST_ROUNDS]; /* in ascending order */
	double least;               /* of all repetitions */
	double others_s, cpus_s;    /* CPU time that others took, and that there was */
	char note[64];
	char error[240]; /* not empty: the cell is left out */
};

struct table {
	int n;
	struct row rows[MOST_ROWS];
};

void table_add(struct row *row, const struct sample *sample);

double row_min(const struct row *row);
double row_median(const struct row *row);

/* The one that is compared with others: the minimum, which others disturb least; the
 * median where the rounds differ so much that the minimum is a stroke of luck. */
double row_figure(const struct row *row);

/* The row of that workload and name; the best of one kind, but for the one
 * named; the serial one.  NULL if there is none, or it has no figures. */
const struct row *table_find(const struct table *table, const char *workload, const char *name);
const struct row *table_best(const struct table *table, const char *workload, enum kind kind,
			     const char *but);

void table_print(const struct table *table, const struct workload *workload);

/* A line for each goal of the project whose rows were measured. */
void goals_print(const struct table *table);

#endif
