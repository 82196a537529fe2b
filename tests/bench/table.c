#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

#define NOISE_SHOWN 0.05
#define WIDE_SPREAD 1.3

static int by_size(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

void table_add(struct row *row, const struct sample *sample)
{
	if (row->n == 0 || sample->least < row->least)
		row->least = sample->least;
	row->values[row->n++] = sample->value;
	qsort(row->values, (size_t)row->n, sizeof(*row->values), by_size);
	row->others_s += sample->others_s;
	row->cpus_s += sample->cpus_s;
	memcpy(row->note, sample->note, sizeof(row->note));
}

double row_min(const struct row *row)
{
	return row->values[0];
}

double row_median(const struct row *row)
{
	int half = row->n / 2;

	return row->n % 2 ? row->values[half] : (row->values[half - 1] + row->values[half]) / 2;
}

double row_figure(const struct row *row)
{
	return row_median(row) > WIDE_SPREAD * row_min(row) ? row_median(row) : row_min(row);
}

static int is_of(const struct row *row, const char *workload)
{
	return strcmp(row->workload->id, workload) == 0 && row->n > 0 && row->error[0] == '\0';
}

const struct row *table_find(const struct table *table, const char *workload, const char *name)
{
	int i;

	for (i = 0; i < table->n; i++)
		if (is_of(&table->rows[i], workload) &&
		    strcmp(table->rows[i].cell->name, name) == 0)
			return &table->rows[i];
	return NULL;
}

const struct row *table_best(const struct table *table, const char *workload, enum kind kind,
			     const char *but)
{
	const struct row *best = NULL, *row;
	int i;

	for (i = 0; i < table->n; i++) {
		row = &table->rows[i];
		if (!is_of(row, workload) || row->cell->kind != kind)
			continue;
		if (but != NULL && strcmp(row->cell->name, but) == 0)
			continue;
		if (best == NULL || row_figure(row) < row_figure(best))
			best = row;
	}
	return best;
}

/* --- printing ---------------------------------------------------------------------------- */

struct columns {
	const struct row *serial, *peer, *limit;
};

static double shown(const struct row *row, const struct columns *columns, double value,
		    double serial)
{
	if (row->workload->view == EFFICIENCY)
		return columns->serial != NULL ? serial / (JOBS * value) : 0;
	return value / row->workload->unit_size;
}

static void print_figure(double value)
{
	printf(" %9.*f", value < 10 ? 3 : value < 1000 ? 1
						       : 0,
	       value);
}

static void print_ratio(const struct row *row, const struct row *to)
{
	if (to == NULL || row_figure(to) <= 0)
		printf(" %8s", "-");
	else
		printf(" %8.2f", row_figure(row) / row_figure(to));
}

static void print_remarks(const struct row *row)
{
	double others = row->cpus_s > 0 ? row->others_s / row->cpus_s : 0;

	if (row->note[0] != '\0')
		printf("  %s", row->note);
	if (others > NOISE_SHOWN)
		printf("  (others took %.0f %% of the CPUs)", others * 100);
	printf("\n");
}

static void print_row(const struct row *row, const struct columns *columns)
{
	const struct row *serial = columns->serial;

	if (row->error[0] != '\0' || row->n == 0) {
		printf("  %-32s left out: %s\n", row->cell->name,
		       row->error[0] != '\0' ? row->error : "never measured");
		return;
	}
	printf("  %-32s", row->cell->name);
	print_figure(shown(row, columns, row_min(row), serial ? row_min(serial) : 0));
	print_figure(shown(row, columns, row_median(row), serial ? row_median(serial) : 0));
	print_figure(row->least / row->workload->unit_size);
	printf(" %8.2f", row_min(row) > 0 ? row_median(row) / row_min(row) : 1);
	print_ratio(row, columns->peer);
	print_ratio(row, columns->limit);
	print_remarks(row);
}

static void print_head(const struct workload *workload)
{
	int efficiency = workload->view == EFFICIENCY;

	printf("\n%s  %s", workload->id, workload->title);
	if (workload->shape == PARETO || workload->shape == SORTED)
		printf("; a perfect scheduler reaches %.3f", load_greedy(&workload->load));
	printf("\n  %-32s %9s %9s %9s %8s %8s %8s\n", efficiency ? "efficiency" : workload->unit,
	       efficiency ? "best" : "min", "median", efficiency ? workload->unit : "least",
	       "spread", "x peer", "x limit");
}

static int count_rows(const struct table *table, const struct workload *workload)
{
	int i, n = 0;

	for (i = 0; i < table->n; i++)
		n += table->rows[i].workload == workload;
	return n;
}

void table_print(const struct table *table, const struct workload *workload)
{
	struct columns columns = {
		.serial = table_best(table, workload->id, SERIAL, NULL),
		.peer = table_best(table, workload->id, PEER, NULL),
		.limit = table_best(table, workload->id, LIMIT, NULL),
	};
	int i;

	if (count_rows(table, workload) == 0)
		return;
	print_head(workload);
	for (i = 0; i < table->n; i++)
		if (table->rows[i].workload == workload)
			print_row(&table->rows[i], &columns);
}
