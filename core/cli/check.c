/* check.c - parloop check FILE.so: does a plugin keep the rules of the manual? */
#include "check_report.h"
#include "cli.h"

#include "../check/rules.h"
#include "../check/run.h"
#include "../check/scene.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char check_help[] =
	"usage: parloop check [OPTION]... FILE.so\n"
	"\n"
	"Does a backend plugin keep the rules?  Each is tested in a process of its own; what they\n"
	"mean, and what happens if one is broken, is in backends.md of the documentation, which\n"
	"is plugins/README.md of the source.\n"
	"\n"
	"  -b, --backend NAME    that backend of the file alone\n"
	"  -o, --option KEY=VALUE  an option of it; may be repeated\n"
	"      --only ID         that rule alone; may be repeated\n"
	"      --in-process      in this process, without a limit: for a debugger, whose\n"
	"                        breakpoint rule_is_broken is where one is\n"
	"      --fuzz SEED N     instead: N random steps of a program, the same for the same SEED\n"
	"      --time-limit S    seconds without a move, after which a test hangs (30)\n"
	"      --tap, --json     for programs to read\n"
	"      --list            print the rules\n"
	"      --config FILE     the plugins.conf to use\n"
	"  -h, --help            this text\n"
	"\n"
	"Status 0: no rule is broken; 1: one is; 2: a wrong command line; 3: a backend could not\n"
	"be tried here.\n";

enum { MOST = 62 };

static struct {
	const char *file, *backend, *config;
	const char *options[MOST + 1], *only[MOST + 1];
	int n_options, n_only, in_process, limit_s, is_fuzz;
	unsigned long seed;
	long steps;
	const struct format *format;
} wants = {.limit_s = 30};

/* --- which rules ------------------------------------------------------------------------------ */

static const struct {
	const char *name;
	const struct rule *rules;
	int of_backend; /* each of the file's is tried */
} levels[] = {
	{"file", rules_file, 0},           {"load", rules_load, 0},       {"contract", rules_contract, 1},
	{"behaviour", rules_behaviour, 1}, {"threads", rules_threads, 1},
};

enum { N_LEVELS = sizeof(levels) / sizeof(levels[0]) };

static int is_wanted(const char *id)
{
	for (int i = 0; i < wants.n_only; i++)
		if (strcmp(wants.only[i], id) == 0)
			return 1;
	return wants.n_only == 0;
}

static const struct rule *find_rule(const char *id, int *of_backend)
{
	for (int i = 0; i < N_LEVELS; i++)
		for (const struct rule *rule = levels[i].rules; rule->id != NULL; rule++)
			if (strcmp(rule->id, id) == 0) {
				*of_backend = levels[i].of_backend;
				return rule;
			}
	return NULL;
}

static int print_rules(void)
{
	for (int i = 0; i < N_LEVELS; i++)
		for (const struct rule *rule = levels[i].rules; rule->id != NULL; rule++)
			(void)printf("%-3s  %-9s  %s\n", rule->id, levels[i].name, rule->title);
	return finish_stdout();
}

/* --- trying them ------------------------------------------------------------------------------ */

static struct plugin plugin;
static struct counts counts;
static int n_results;
static const char *in_the_way; /* a rule without which no other can be seen */
static int could_not_be_tried;

/* What a test found of another rule, whose own may not find it: threads are not the same twice. */
static struct {
	const struct rule *rule;
	int is_broken;
	char words[600];
	const char *found_by;
} seen[64];
static int n_seen;

static int place_of(const struct rule *rule)
{
	int i = 0;

	while (i < n_seen && seen[i].rule != rule)
		i++;
	if (i == n_seen && n_seen < 63)
		seen[n_seen++].rule = rule;
	return i;
}

static void remember(const struct rule *rule, const struct finding *finding)
{
	const struct rule *other;
	int of_backend, place;

	seen[place_of(rule)].is_broken |= verdict_is_bad(finding->verdict);
	other = finding->other[0] != '\0' ? find_rule(finding->other, &of_backend) : NULL;
	if (other == NULL)
		return;
	place = place_of(other);
	if (seen[place].found_by == NULL) {
		seen[place].found_by = rule->id;
		(void)snprintf(seen[place].words, sizeof(seen[0].words), "%s", finding->other_words);
	}
}

/* Many a rule is looked after in every test.  Those that share one share its run, as long as nothing
 * at all was found in it: else each has its own, in which it is the one that counts. */
static void (*clean_tests[64])(void);
static int n_clean_tests;

static int is_clean(void (*test)(void))
{
	for (int i = 0; i < n_clean_tests; i++)
		if (clean_tests[i] == test)
			return 1;
	return 0;
}

static void note_if_clean(void (*test)(void), const struct finding *finding)
{
	if (finding->verdict == VERDICT_OK && finding->other[0] == '\0' && !is_clean(test) &&
	    n_clean_tests < (int)(sizeof(clean_tests) / sizeof(clean_tests[0])))
		clean_tests[n_clean_tests++] = test;
}

static void show_result(struct result *result)
{
	result->number = ++n_results;
	counts.of[result->finding.verdict]++;
	wants.format->show(result);
}

/* At the end of a backend's tests: what only those of other rules have found. */
static void show_seen(const char *backend)
{
	for (int i = 0; i < n_seen; i++) {
		struct result result = {.backend = backend, .title = seen[i].rule->title};

		if (seen[i].is_broken || seen[i].found_by == NULL || !is_wanted(seen[i].rule->id))
			continue;
		result.finding.verdict = VERDICT_FAIL;
		(void)snprintf(result.finding.rule, sizeof(result.finding.rule), "%s", seen[i].rule->id);
		(void)snprintf(result.finding.words, sizeof(result.finding.words), "%.550s (seen by the test of %s)",
		               seen[i].words, seen[i].found_by);
		show_result(&result);
	}
	memset(seen, 0, sizeof(seen));
	n_seen = n_clean_tests = 0;
}

static void try_rule(const struct rule *rule, const char *backend)
{
	struct result result = {.backend = backend, .title = rule->title};
	struct finding *finding = &result.finding;

	subject.backend = backend;
	if (in_the_way == NULL && is_clean(rule->test)) {
		finding->verdict = VERDICT_OK;
		(void)snprintf(finding->rule, sizeof(finding->rule), "%s", rule->id);
	} else if (in_the_way == NULL) {
		run_in_child(rule->test, rule->id, wants.limit_s, finding, result.output);
	} else {
		finding->verdict = VERDICT_SKIP;
		result.is_unseen = 1;
		(void)snprintf(finding->rule, sizeof(finding->rule), "%s", rule->id);
		(void)snprintf(finding->words, sizeof(finding->words), "not seen, as rule %s is broken",
		               in_the_way);
	}
	if (verdict_is_bad(finding->verdict) && (strcmp(rule->id, "F1") == 0 || strcmp(rule->id, "L1") == 0))
		in_the_way = rule->id;
	could_not_be_tried |= finding->is_unavailable;
	remember(rule, finding);
	note_if_clean(rule->test, finding);
	show_result(&result);
}

static void try_level(int level, const char *backend)
{
	for (const struct rule *rule = levels[level].rules; rule->id != NULL; rule++)
		if (is_wanted(rule->id))
			try_rule(rule, backend);
}

static void fuzz(void)
{
	rules_fuzz(wants.seed, wants.steps);
}

static void try_fuzz(const char *backend)
{
	struct result result = {.backend = backend};
	char title[100];

	(void)snprintf(title, sizeof(title), "%ld random steps, of seed %lu", wants.steps, wants.seed);
	result.title = title;
	subject.backend = backend;
	run_in_child(fuzz, NULL, wants.limit_s, &result.finding, result.output);
	could_not_be_tried |= result.finding.is_unavailable;
	show_result(&result);
}

static int ended(void)
{
	int status;

	wants.format->end(&counts);
	status = finish_stdout();
	if (status != STATUS_OK)
		return status;
	if (counts_bad(&counts) > 0)
		return STATUS_FAILED;
	return could_not_be_tried ? STATUS_UNAVAILABLE : STATUS_OK;
}

/* Those of the file that are wanted. */
static int choose(const char *backends[PLUGIN_BACKENDS + 1])
{
	int n = 0;

	for (int i = 0; i < plugin.n_names; i++)
		if (wants.backend == NULL || strcmp(wants.backend, plugin.names[i]) == 0)
			backends[n++] = plugin.names[i];
	return n;
}

static int try_all(const char *const *backends, int n)
{
	wants.format->begin(plugin.path);
	for (int level = 0; level < N_LEVELS && !wants.is_fuzz; level++)
		if (!levels[level].of_backend)
			try_level(level, NULL);
	for (int i = 0; i < n; i++) {
		for (int level = 0; level < N_LEVELS && !wants.is_fuzz; level++)
			if (levels[level].of_backend)
				try_level(level, backends[i]);
		if (wants.is_fuzz)
			try_fuzz(backends[i]);
		show_seen(backends[i]);
	}
	return ended();
}

/* --- in this process -------------------------------------------------------------------------- */

static void say(const struct finding *finding)
{
	(void)printf("%s %s%s%s\n", verdict_name(finding->verdict), finding->rule,
	             finding->words[0] != '\0' ? ": " : "", finding->words);
	(void)fflush(NULL);
}

static int try_here(const char *backend)
{
	int of_backend = 0;
	const struct rule *rule;

	subject.backend = backend;
	if (wants.is_fuzz)
		run_here(fuzz, NULL, say);
	if (wants.n_only != 1)
		return report_usage("check", "--in-process is for one rule: --only ID");
	rule = find_rule(wants.only[0], &of_backend);
	if (of_backend && backend == NULL)
		return report_usage("check", "the file has no backend");
	run_here(rule->test, rule->id, say);
}

/* --- the command line ------------------------------------------------------------------------- */

static int cannot_read(const char *file, int number)
{
	par_error error = PAR_ERROR_INIT;

	(void)par_fail(&error, PAR_ENOTFOUND, "%s", strerror(number));
	(void)snprintf(error.what, sizeof(error.what), "cannot read the plugin");
	(void)snprintf(error.file, sizeof(error.file), "%s", file);
	return report(&error);
}

static int check(void)
{
	const char *backends[PLUGIN_BACKENDS + 1] = {NULL};
	par_error error = PAR_ERROR_INIT;
	char *path = realpath(wants.file, NULL);
	char quoted[QUOTED_SIZE];
	int n;

	if (path == NULL || plugin_read(&plugin, path) < 0)
		return cannot_read(wants.file, errno);
	n = choose(backends);
	if (wants.backend != NULL && n == 0)
		return report_usage("check", "the file has no backend \"%s\"",
		                    quote(wants.backend, strlen(wants.backend), 60, quoted));
	subject = (struct subject){&plugin, NULL, wants.options, wants.limit_s};
	if (scene_open_tasks(&error) < 0)
		return report(&error);
	return wants.in_process ? try_here(backends[0]) : try_all(backends, n);
}

static int read_number(const char *word, long *number)
{
	char *end;

	errno = 0;
	*number = strtol(word, &end, 10);
	return *word != '\0' && *end == '\0' && errno == 0 && *number >= 0 ? 0 : -1;
}

static int add(const char *list[MOST + 1], int *n, const char *word)
{
	if (*n == MOST)
		return report_usage("check", "there are too many of them");
	list[(*n)++] = word;
	return STATUS_OK;
}

static int add_only(const char *id)
{
	char quoted[QUOTED_SIZE];
	int of_backend;

	if (find_rule(id, &of_backend) == NULL)
		return report_usage("check", "there is no rule \"%s\": --list has them",
		                    quote(id, strlen(id), 60, quoted));
	return add(wants.only, &wants.n_only, id);
}

/* Its second argument is the next word. */
static int read_fuzz(int argc, char **argv)
{
	long seed;

	wants.is_fuzz = 1;
	if (optind >= argc || read_number(optarg, &seed) < 0 ||
	    read_number(argv[optind], &wants.steps) < 0)
		return report_usage("check", "--fuzz wants two numbers, SEED and N");
	wants.seed = (unsigned long)seed;
	optind++;
	return STATUS_OK;
}

static int take(int option, int argc, char **argv)
{
	long number;

	switch (option) {
	case 'b':
		wants.backend = optarg;
		return STATUS_OK;
	case 'o':
		return add(wants.options, &wants.n_options, optarg);
	case 'n':
		return add_only(optarg);
	case 'i':
		wants.in_process = 1;
		return STATUS_OK;
	case 'f':
		return read_fuzz(argc, argv);
	case 't':
		if (read_number(optarg, &number) < 0 || number < 1 || number > 100000)
			return report_usage("check", "--time-limit wants seconds, from 1");
		wants.limit_s = (int)number;
		return STATUS_OK;
	case 'T':
		wants.format = &format_tap;
		return STATUS_OK;
	case 'J':
		wants.format = &format_json;
		return STATUS_OK;
	case 'c':
		wants.config = optarg;
		return STATUS_OK;
	default:
		return report_option("check", argv, option);
	}
}

int check_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"backend", required_argument, NULL, 'b'},
		{"option", required_argument, NULL, 'o'},
		{"only", required_argument, NULL, 'n'},
		{"in-process", no_argument, NULL, 'i'},
		{"fuzz", required_argument, NULL, 'f'},
		{"time-limit", required_argument, NULL, 't'},
		{"tap", no_argument, NULL, 'T'},
		{"json", no_argument, NULL, 'J'},
		{"list", no_argument, NULL, 'l'},
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	char quoted[QUOTED_SIZE];
	int option, status;

	wants.format = &format_text;
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":b:o:h", options, NULL)) != -1) {
		if (option == 'h')
			return print_help(check_help);
		if (option == 'l')
			return print_rules();
		status = take(option, argc, argv);
		if (status != STATUS_OK)
			return status;
	}
	if (optind == argc)
		return report_usage("check", "no plugin is named");
	if (optind + 1 < argc)
		return report_usage("check", "unexpected \"%s\"",
		                    quote(argv[optind + 1], strlen(argv[optind + 1]), 60, quoted));
	wants.file = argv[optind];
	status = use_config(wants.config);
	return status == STATUS_OK ? check() : status;
}
