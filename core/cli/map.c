/* map.c - parloop map: a task module's task over lines or arguments. */
#include "cli.h"
#include "input.h"
#include "meter.h"
#include "output.h"
#include "signals.h"
#include "watcher.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char map_help[] =
	"usage: parloop map [OPTION]... MODULE.so:TASK [::: ARGUMENT...]\n"
	"\n"
	"Run a task once for each line of standard input, or for each ARGUMENT, and print\n"
	"its replies, a line each, in the order of the input.  A task that fails is\n"
	"reported on standard error with its number, from 1, and its input; the others go on.\n"
	"MODULE.so is a file with tasks in it (PAR_TASK_OF_BYTES of parloop/task.h).\n"
	"\n"
	"  -b, --backend NAME       what runs the tasks (parloop backends lists them);\n"
	"                           default: the one that plugins.conf names\n"
	"  -j, --n-jobs N           how many workers; -1 (default) all cores, -2 all but one\n"
	"  -o, --option KEY=VALUE   an option of that backend (parloop show NAME)\n"
	"      --config FILE        the plugins.conf to use\n"
	"      --pre-dispatch EXPR  tasks read before the first has ended: all, a number, or\n"
	"                           arithmetic in n_jobs; default: 2 * n_jobs\n"
	"      --batch-size N       tasks that travel together; default: auto\n"
	"      --timeout SECONDS    give up when no result comes for so long\n"
	"      --unordered          print results as they come\n"
	"  -0, --null               inputs and replies end in NUL, not in a newline\n"
	"      --fail-fast          end when a task has failed\n"
	"  -v, --verbose            say how far it is, in lines; -vv more often, -vvv always\n"
	"  -q, --no-progress        no progress line on a terminal\n"
	"  -h, --help               this text\n"
	"\n"
	"Exit status: 0 all tasks succeeded, 1 a task failed or a file could not be read or\n"
	"written, 2 wrong usage or configuration, 3 the backend is not available,\n"
	"130 and 143 interrupted, 141 nobody reads the results any more.\n";

/* What the command line asks for. */
struct choices {
	par_settings settings;
	const char **options; /* KEY=VALUE, ends in NULL; ours */
	size_t n_options;
	const char *config;
	char *module, *task;  /* MODULE.so:TASK, split         */
	char **arguments;     /* after ":::"; NULL: read lines */
	char end;
	int verbosity, progress;
};

/* A call under way. */
struct map {
	const struct choices *choices;
	par_parallel *parallel;
	struct input *input;
	struct watcher *watcher; /* of the input */
	struct output *output;
	struct meter meter;
	uint64_t done, failed;
	int watch_error; /* errno */
	int on_terminal; /* stdout, which then shares the screen with the meter */
};

/* --- the command line --------------------------------------------------------------------- */

static int parse_int(const char *text, par_int *value)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0')
		return -1;
	*value = (par_int)PAR_SET(number);
	return 0;
}

static int parse_seconds(const char *text, par_real *value)
{
	char *end;
	double number = strtod(text, &end);

	if (end == text || *end != '\0' || !isfinite(number) || number <= 0)
		return -1;
	*value = (par_real)PAR_SET(number);
	return 0;
}

static int parse_batch_size(const char *text, par_int *value)
{
	if (strcmp(text, "auto") == 0) {
		*value = (par_int)PAR_SET(PAR_AUTO);
		return 0;
	}
	/* The number behind the word is none that anybody means. */
	return parse_int(text, value) < 0 || value->value == PAR_AUTO ? -1 : 0;
}

static int refuse_value(const char *option, const char *value, const char *wanted)
{
	char quoted[QUOTED_SIZE];

	return report_usage("map", "%s \"%s\": not %s", option,
	                    quote(value, strlen(value), 60, quoted), wanted);
}

/* getopt's answers for options that have no letter. */
enum {
	OPT_CONFIG = 256,
	OPT_PRE_DISPATCH,
	OPT_BATCH_SIZE,
	OPT_TIMEOUT,
	OPT_UNORDERED,
	OPT_FAIL_FAST
};

static const struct option long_options[] = {
	{"backend", required_argument, NULL, 'b'},
	{"n-jobs", required_argument, NULL, 'j'},
	{"option", required_argument, NULL, 'o'},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"pre-dispatch", required_argument, NULL, OPT_PRE_DISPATCH},
	{"batch-size", required_argument, NULL, OPT_BATCH_SIZE},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"unordered", no_argument, NULL, OPT_UNORDERED},
	{"null", no_argument, NULL, '0'},
	{"fail-fast", no_argument, NULL, OPT_FAIL_FAST},
	{"verbose", no_argument, NULL, 'v'},
	{"no-progress", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

enum { GO_ON = -1 };

/* One option: GO_ON, or the status to end with. */
static int choose(struct choices *choices, int option, char *value, char **argv)
{
	par_settings *settings = &choices->settings;

	switch (option) {
	case 'b':
		settings->backend = value;
		return GO_ON;
	case 'j':
		if (parse_int(value, &settings->n_jobs) < 0)
			return refuse_value("--n-jobs", value, "a whole number");
		return GO_ON;
	case 'o':
		if (strchr(value, '=') == NULL || value[0] == '=')
			return refuse_value("--option", value, "KEY=VALUE");
		choices->options[choices->n_options++] = value;
		return GO_ON;
	case OPT_CONFIG:
		choices->config = value;
		return GO_ON;
	case OPT_PRE_DISPATCH:
		settings->pre_dispatch = value;
		return GO_ON;
	case OPT_BATCH_SIZE:
		if (parse_batch_size(value, &settings->batch_size) < 0)
			return refuse_value("--batch-size", value, "1, 2, ... or auto");
		return GO_ON;
	case OPT_TIMEOUT:
		if (parse_seconds(value, &settings->timeout) < 0)
			return refuse_value("--timeout", value, "a number of seconds above 0");
		return GO_ON;
	case OPT_UNORDERED:
		settings->order = PAR_UNORDERED;
		return GO_ON;
	case OPT_FAIL_FAST:
		settings->on_error = PAR_FAIL_FAST;
		return GO_ON;
	case '0':
		choices->end = '\0';
		return GO_ON;
	case 'v':
		choices->verbosity++;
		return GO_ON;
	case 'q':
		choices->progress = 0;
		return GO_ON;
	case 'h':
		return print_help(map_help);
	default:
		return report_option("map", argv, option);
	}
}

/* What is behind ":::" is nobody's option. */
static int cut_arguments(struct choices *choices, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], ":::") == 0) {
			choices->arguments = argv + i + 1;
			return i;
		}
	return argc;
}

static int choose_task(struct choices *choices, char **operands, int n)
{
	char quoted[QUOTED_SIZE], *colon;

	if (n == 0)
		return report_usage("map", "no task is named: MODULE.so:TASK is missing");
	if (n > 1)
		return report_usage("map", "unexpected \"%s\": arguments come after \":::\"",
		                    quote(operands[1], strlen(operands[1]), 60, quoted));
	colon = strrchr(operands[0], ':');
	if (colon == NULL)
		/* The module knows what could have been asked for. */
		colon = operands[0] + strlen(operands[0]);
	else
		*colon++ = '\0';
	choices->module = operands[0];
	choices->task = colon;
	return GO_ON;
}

static int parse(struct choices *choices, int argc, char **argv)
{
	static const int32_t joblib_verbose[] = {0, 1, 10, 11};
	int option, status;

	argc = cut_arguments(choices, argc, argv);
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":b:j:o:0vqh", long_options, NULL)) != -1) {
		status = choose(choices, option, optarg, argv);
		if (status != GO_ON)
			return status;
	}
	if (choices->verbosity > 0) {
		if (choices->verbosity > 3)
			choices->verbosity = 3;
		choices->settings.verbose =
			(par_int)PAR_SET(joblib_verbose[choices->verbosity]);
	}
	return choose_task(choices, argv + optind, argc - optind);
}

/* --- the task ------------------------------------------------------------------------------- */

static int refuse_typed(const struct choices *choices, const par_task *task)
{
	par_error error = PAR_ERROR_INIT;

	(void)par_fail(&error, PAR_EINVAL,
	               "it maps values of %" PRIu32 " bytes to values of %" PRIu32
	               " bytes; parloop map has lines of any length",
	               task->in_size, task->out_size);
	(void)snprintf(error.what, sizeof(error.what), "cannot run task \"%s\"", task->name);
	(void)snprintf(error.file, sizeof(error.file), "%s", choices->module);
	par_remedy(&error, "define a task of lines with PAR_TASK_OF_BYTES, or call this one "
	                   "from a program, with par_map()");
	return report(&error);
}

static int find_task(const struct choices *choices, const par_task **task)
{
	par_error error = PAR_ERROR_INIT;
	par_module *module;

	/* Whatever is wrong with it, the command line names the wrong file or task. */
	if (par_module_open(&module, choices->module, &error) < 0 ||
	    par_module_task(module, choices->task, task, &error) < 0) {
		(void)report(&error);
		return STATUS_USAGE;
	}
	return (*task)->kind == PAR_TASK_BYTES ? STATUS_OK : refuse_typed(choices, *task);
}

/* --- the call --------------------------------------------------------------------------------- */

static void on_readable(void *user)
{
	struct map *map = user;

	par_wake(map->parallel);
}

/* Meanwhile results are delivered. */
static int32_t wait_for_input(struct map *map)
{
	map->watch_error = watcher_watch(map->watcher);
	return map->watch_error == 0 ? PAR_NONE_YET : -1;
}

static int32_t take(void *user, par_item *item)
{
	struct map *map = user;
	const char *bytes;
	size_t n;
	int more;

	if (signals_caught())
		return -1;
	more = input_next(map->input, &bytes, &n);
	if (more == INPUT_NOT_YET)
		return wait_for_input(map);
	if (more == 1) {
		item->stays = 1;
		item->payload = bytes;
		item->n_bytes = n;
	}
	return more;
}

static void show_failure(struct map *map, uint64_t index, const void *input, size_t n,
                         const char *why)
{
	char quoted[QUOTED_SIZE], reason[QUOTED_SIZE];

	meter_erase(&map->meter);
	(void)fprintf(stderr, "parloop: task %" PRIu64 " (\"%s\"): %s\n", index + 1,
	              quote(input, n, 60, quoted), quote(why, strlen(why), SIZE_MAX, reason));
}

static void fail(struct map *map, const par_outcome *outcome)
{
	char code[64];

	map->failed++;
	if (outcome->status == PAR_EFAILED)
		(void)snprintf(code, sizeof(code), "failed with code %" PRId32, outcome->code);
	else
		(void)snprintf(code, sizeof(code), "%s", par_code_name(outcome->status));
	show_failure(map, outcome->index, outcome->payload, outcome->payload_bytes,
	             outcome->message != NULL ? outcome->message : code);
}

static void show_progress(struct map *map)
{
	struct meter_point point = {
		.taken = input_taken(map->input),
		.taken_all = input_is_over(map->input),
		.done = map->done,
		.failed = map->failed,
	};

	meter_update(&map->meter, &point);
}

static int32_t give(void *user, const par_outcome *outcome)
{
	struct map *map = user;
	int32_t status = 0;

	/* A task that saw the cancellation ends as failed, which is not what became of it. */
	if (signals_caught())
		return -1;
	map->done++;
	if (outcome->status != PAR_OK) {
		fail(map, outcome);
	} else {
		if (map->on_terminal)
			meter_erase(&map->meter);
		status = output_record(map->output, outcome->bytes, outcome->n_bytes);
	}
	input_release(map->input, outcome->index);
	show_progress(map);
	return status;
}

static void on_broken_output(void *user)
{
	struct map *map = user;

	if (map->parallel != NULL)
		par_cancel(map->parallel);
}

static int report_input(struct map *map)
{
	int number = map->watch_error ? map->watch_error : input_error(map->input);
	par_error error = PAR_ERROR_INIT;

	if (number != EFBIG && number != ENOMEM)
		return report_io("cannot read standard input", STDIN_FILENO, number);
	(void)par_fail(&error, PAR_ESOURCE, "it has 4 GiB or more, or does not fit in memory");
	(void)snprintf(error.what, sizeof(error.what), "cannot read line %" PRIu64 " of the input",
	               input_taken(map->input) + 1);
	return report(&error);
}

/* With --fail-fast the task that failed comes as the call's error. */
static int report_task(struct map *map, const par_error *error)
{
	const char *bytes = "";
	size_t n = 0;

	(void)input_find(map->input, (uint64_t)error->task, &bytes, &n);
	show_failure(map, (uint64_t)error->task, bytes, n,
	             error->reason[0] != '\0' ? error->reason : error->what);
	return STATUS_FAILED;
}

static int conclude(struct map *map, const par_error *error)
{
	int number = output_flush(map->output) < 0 ? output_error(map->output) : 0;

	meter_erase(&map->meter);
	if (number == EPIPE)
		return STATUS_PIPE;
	if (number != 0)
		return report_io("cannot write standard output", STDOUT_FILENO, number);
	if (error->code != PAR_OK && signals_caught())
		return 128 + signals_caught();
	if (error->code == PAR_ESOURCE)
		return report_input(map);
	/* Unless --fail-fast kept it from the sink, a failed task was shown when it came. */
	if (error->code == PAR_EFAILED && error->task >= 0)
		return map->failed > 0 ? STATUS_FAILED : report_task(map, error);
	if (error->code != PAR_OK)
		return report(error);
	return map->failed > 0 ? STATUS_FAILED : STATUS_OK;
}

static int prepare(struct map *map)
{
	const struct choices *choices = map->choices;

	if (signals_install() < 0)
		return -1;
	map->input = choices->arguments != NULL
	                     ? input_create_arguments(choices->arguments)
	                     : input_create_lines(STDIN_FILENO, choices->end);
	map->output = output_create(STDOUT_FILENO, choices->end, on_broken_output, map);
	map->watcher = watcher_create(STDIN_FILENO, on_readable, map);
	return map->input != NULL && map->output != NULL && map->watcher != NULL ? 0 : -1;
}

static int run(const struct choices *choices, const par_task *task)
{
	struct map map = {.choices = choices, .on_terminal = isatty(STDOUT_FILENO)};
	par_error error = PAR_ERROR_INIT;
	int status = STATUS_FAILED;

	if (prepare(&map) < 0) {
		status = report_io("cannot begin", -1, errno);
		goto out;
	}
	if (par_open(&map.parallel, &choices->settings, &error) < 0) {
		status = signals_caught() ? 128 + signals_caught() : report(&error);
		goto out;
	}
	signals_watch(map.parallel);
	/* joblib's lines and ours would write over each other. */
	meter_start(&map.meter, choices->progress && choices->verbosity == 0);
	error.code = par_run(map.parallel, task, take, give, &map, NULL, &error);
	status = conclude(&map, &error);
	signals_watch(NULL);
	/* The threads of these may call par_cancel and par_wake: they go before what that needs. */
	output_destroy(map.output);
	watcher_destroy(map.watcher);
	map.output = NULL;
	map.watcher = NULL;
	par_close(map.parallel);
out:
	output_destroy(map.output);
	watcher_destroy(map.watcher);
	input_destroy(map.input);
	return status;
}

int map_main(int argc, char **argv)
{
	struct choices choices = {
		.settings = {.size = sizeof(par_settings), .on_error = PAR_COLLECT,
		             .n_jobs = PAR_SET(-1)},
		.end = '\n',
		.progress = 1,
	};
	const par_task *task;
	int status;

	choices.options = calloc((size_t)argc + 1, sizeof(*choices.options));
	if (choices.options == NULL)
		return report_io("cannot begin", -1, errno);
	choices.settings.options = choices.options;
	status = parse(&choices, argc, argv);
	if (status != GO_ON)
		goto out;
	status = use_config(choices.config);
	if (status != STATUS_OK)
		goto out;
	status = find_task(&choices, &task);
	if (status == STATUS_OK)
		status = run(&choices, task);
out:
	free(choices.options);
	return status;
}
