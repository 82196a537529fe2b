/* backends.c - parloop backends: which backends can be named, and what is the matter with
 * those that cannot be used. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char backends_help[] =
	"usage: parloop backends [--config FILE]\n"
	"\n"
	"List the backends that -b and plugins.conf can name: name, state, version, file and\n"
	"what it is, or why it cannot be used.  Nothing of them is run.\n"
	"  available  can be used; a file that is there\n"
	"  loaded     its code is in this program already\n"
	"  lazy       in [lazy] of plugins.conf: not looked at before it is asked for\n"
	"  broken     cannot be used\n"
	"Then the names that mean one of these at every level, which is to say that loops inside\n"
	"its tasks run on it as well; the default backend; the plugins.conf in use and where\n"
	"plugins are looked for; and how many cores there are for us, which affinity, cgroups and\n"
	"PARLOOP_MAX_CPU_COUNT limit.\n"
	"On a terminal the columns are aligned; else they are separated by tabs, and every\n"
	"other line begins with \"# \".\n"
	"\n"
	"      --config FILE  the plugins.conf to use\n"
	"  -h, --help         this text\n";

enum { COLUMNS = 5 };

/* A row: copies, because what the library hands out is valid for a moment only. */
struct row {
	char *text[COLUMNS];
};

struct table {
	struct row *rows;
	size_t n_rows;
	int no_memory;
};

static const char *state_name(int32_t state)
{
	static const char *const names[] = {"available", "loaded", "lazy", "broken", "linked in"};

	return state >= 0 && state < 5 ? names[state] : "unknown";
}

/* The last column: what it is; of a broken one, what to do. */
static char *describe(const par_backend_info *info)
{
	const char *remedy = info->remedy != NULL ? info->remedy : "";
	char *text = NULL;

	if (info->state != PAR_STATE_BROKEN)
		return strdup(info->summary != NULL ? info->summary : "");
	if (asprintf(&text, "%s%s%s", info->reason != NULL ? info->reason : "",
	             remedy[0] != '\0' ? "; " : "", remedy) < 0)
		return NULL;
	return text;
}

/* A tab or a newline in a file's name must not make a column or a row. */
static char *printable(const char *text)
{
	char quoted[QUOTED_SIZE];
	size_t n = text != NULL ? strlen(text) : 0;

	if (n == 0)
		return strdup("-");
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return strdup(quote(text, n, SIZE_MAX, quoted));
	return strdup(text);
}

static int32_t add(void *user, const par_backend_info *info)
{
	struct table *table = user;
	struct row *rows = realloc(table->rows, (table->n_rows + 1) * sizeof(*rows)), *row;
	char *description = describe(info);

	if (rows != NULL) {
		table->rows = rows;
		row = &rows[table->n_rows++];
		row->text[0] = printable(info->name);
		row->text[1] = printable(state_name(info->state));
		row->text[2] = printable(info->version);
		row->text[3] = info->file != NULL ? printable(info->file) : strdup("built in");
		row->text[4] = printable(description);
		for (int i = 0; i < COLUMNS; i++)
			table->no_memory |= row->text[i] == NULL;
	}
	table->no_memory |= rows == NULL || description == NULL;
	free(description);
	return table->no_memory;
}

static void finish(struct table *table)
{
	for (size_t i = 0; i < table->n_rows; i++)
		for (int j = 0; j < COLUMNS; j++)
			free(table->rows[i].text[j]);
	free(table->rows);
}

static void print_tabs(const struct table *table)
{
	(void)printf("# name\tstate\tversion\tfile\tsummary\n");
	for (size_t i = 0; i < table->n_rows; i++)
		for (int j = 0; j < COLUMNS; j++)
			(void)printf("%s%c", table->rows[i].text[j], j + 1 < COLUMNS ? '\t' : '\n');
}

static void print_aligned(const struct table *table)
{
	static const char *const heads[COLUMNS] = {"NAME", "STATE", "VERSION", "FILE", "SUMMARY"};
	int width[COLUMNS];

	for (int j = 0; j < COLUMNS; j++) {
		width[j] = (int)strlen(heads[j]);
		for (size_t i = 0; i < table->n_rows; i++)
			if ((int)strlen(table->rows[i].text[j]) > width[j])
				width[j] = (int)strlen(table->rows[i].text[j]);
	}
	width[COLUMNS - 1] = 0;
	for (int j = 0; j < COLUMNS; j++)
		(void)printf("%-*s%s", width[j], heads[j], j + 1 < COLUMNS ? "  " : "\n");
	for (size_t i = 0; i < table->n_rows; i++)
		for (int j = 0; j < COLUMNS; j++)
			(void)printf("%-*s%s", width[j], table->rows[i].text[j],
			             j + 1 < COLUMNS ? "  " : "\n");
}

static void print_nested(const char *before, const struct table *table)
{
	const char *comma = "";

	(void)printf("%snested:", before);
	for (size_t i = 0; i < table->n_rows; i++) {
		char *const *text = table->rows[i].text;

		if (strcmp(text[1], state_name(PAR_STATE_BROKEN)) == 0)
			continue;
		(void)printf("%s nested-%s", comma, text[0]);
		comma = ",";
	}
	(void)printf("\n");
}

static void print_places(const char *before)
{
	const char *file = par_config_file(), *const *dirs = par_plugin_dirs();

	(void)printf("%sdefault: %s\n", before, par_default_backend());
	(void)printf("%splugins.conf: %s; plugins in:", before,
	             file != NULL ? file : "none, the built-in settings serve");
	for (size_t i = 0; dirs != NULL && dirs[i] != NULL; i++)
		(void)printf("%s %s", i > 0 ? "," : "", dirs[i]);
	(void)printf("%s\n", dirs == NULL || dirs[0] == NULL ? " nowhere" : "");
	(void)printf("%scores: %d, physical: %d\n", before, (int)par_cpu_count(0), (int)par_cpu_count(1));
}

static int list(void)
{
	const char *before = isatty(STDOUT_FILENO) ? "" : "# ";
	struct table table = {0};
	par_error error = PAR_ERROR_INIT;
	int status;

	if (par_each_backend(add, &table, &error) < 0) {
		status = report(&error);
	} else if (table.no_memory) {
		status = report_io("cannot list the backends", -1, ENOMEM);
	} else {
		if (isatty(STDOUT_FILENO))
			print_aligned(&table);
		else
			print_tabs(&table);
		print_nested(before, &table);
		print_places(before);
		status = finish_stdout();
	}
	finish(&table);
	return status;
}

int backends_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *config = NULL;
	char quoted[QUOTED_SIZE];
	int option, status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == 'h')
			return print_help(backends_help);
		if (option != 'c')
			return report_option("backends", argv, option);
		config = optarg;
	}
	if (optind < argc)
		return report_usage("backends", "unexpected \"%s\"",
		                    quote(argv[optind], strlen(argv[optind]), 60, quoted));
	status = use_config(config);
	return status == STATUS_OK ? list() : status;
}
