#include "choices.h"

#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char map_help[] =
	"usage: parloop map [OPTION]... MODULE.so:TASK [::: ARGUMENT...]\n"
	"\n"
	"Run a task once for each line of standard input, or for each ARGUMENT, and print\n"
	"its replies, a line each, in the order of the input.  A task that fails is reported\n"
	"on standard error with its number, from 1, its input, and what is known of why.\n"
	"MODULE.so is a file with tasks in it (PAR_TASK_OF_BYTES of parloop/task.h).\n"
	"\n"
	"  -b, --backend NAME       what runs the tasks (parloop backends lists them), and\n"
	"                           with nested- before it, the loops inside of them as well;\n"
	"                           default: the one that plugins.conf names\n"
	"  -j, --n-jobs N           how many workers; -1 (default) all cores, -2 all but one\n"
	"      --oversubscribe      calls inside tasks have the n_jobs that they ask for; without\n"
	"                           it no more than their share of the cores\n"
	"      --inner-max-num-threads N\n"
	"                           threads that OpenMP, BLAS and the like use in each worker\n"
	"  -o, --option KEY=VALUE   an option of that backend (parloop show NAME)\n"
	"      --config FILE        the plugins.conf to use\n"
	"      --pre-dispatch EXPR  tasks read before the first has ended: all, a number, or\n"
	"                           arithmetic in n_jobs; default: 2 * n_jobs\n"
	"      --batch-size N       tasks that travel together; default: auto\n"
	"      --unordered          print results as they come\n"
	"  -0, --null               inputs and replies end in NUL, not in a newline\n"
	"      --seed N             of the tasks' random numbers; default: another each time\n"
	"\n"
	"when a task fails:\n"
	"  -k, --keep-going         the others go on (default)\n"
	"      --fail-fast          it ends the call; what was over before is printed\n"
	"      --retries N          try it again, up to N times; default: 0\n"
	"      --retry-delay SECONDS\n"
	"                           wait before that, each time twice as long; default: 0\n"
	"      --task-timeout SECONDS\n"
	"                           it fails if it runs for longer\n"
	"      --call-timeout SECONDS\n"
	"                           end the call after so long\n"
	"      --timeout SECONDS    end the call when no result comes for so long\n"
	"  A task that cannot be stopped is given a second once the call has ended.\n"
	"\n"
	"  -v, --verbose            say how far it is, in lines; -vv more often, -vvv always\n"
	"  -q, --no-progress        no progress line on a terminal\n"
	"  -h, --help               this text\n"
	"\n"
	"Exit status: 0 all tasks succeeded, 1 a task failed, the time was up or a file could\n"
	"not be read or written, 2 wrong usage or configuration, 3 the backend is not\n"
	"available, 130 and 143 interrupted, 141 nobody reads the results any more.\n";

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

	if (end == text || *end != '\0' || !isfinite(number) || number < 0)
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

static int choose_timeout(const char *option, const char *value, par_real *timeout)
{
	if (parse_seconds(value, timeout) < 0 || timeout->value == 0)
		return refuse_value(option, value, "a number of seconds above 0");
	return GO_ON;
}

/* getopt's answers for options that have no letter. */
enum {
	OPT_CONFIG = 256,
	OPT_PRE_DISPATCH,
	OPT_BATCH_SIZE,
	OPT_UNORDERED,
	OPT_OVERSUBSCRIBE,
	OPT_SEED,
	OPT_FAIL_FAST,
	OPT_RETRIES,
	OPT_RETRY_DELAY,
	OPT_INNER,
	OPT_TASK_TIMEOUT,
	OPT_CALL_TIMEOUT,
	OPT_TIMEOUT
};

static const struct option long_options[] = {
	{"backend", required_argument, NULL, 'b'},
	{"n-jobs", required_argument, NULL, 'j'},
	{"inner-max-num-threads", required_argument, NULL, OPT_INNER},
	{"option", required_argument, NULL, 'o'},
	{"config", required_argument, NULL, OPT_CONFIG},
	{"pre-dispatch", required_argument, NULL, OPT_PRE_DISPATCH},
	{"batch-size", required_argument, NULL, OPT_BATCH_SIZE},
	{"unordered", no_argument, NULL, OPT_UNORDERED},
	{"oversubscribe", no_argument, NULL, OPT_OVERSUBSCRIBE},
	{"null", no_argument, NULL, '0'},
	{"seed", required_argument, NULL, OPT_SEED},
	{"keep-going", no_argument, NULL, 'k'},
	{"fail-fast", no_argument, NULL, OPT_FAIL_FAST},
	{"retries", required_argument, NULL, OPT_RETRIES},
	{"retry-delay", required_argument, NULL, OPT_RETRY_DELAY},
	{"task-timeout", required_argument, NULL, OPT_TASK_TIMEOUT},
	{"call-timeout", required_argument, NULL, OPT_CALL_TIMEOUT},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"verbose", no_argument, NULL, 'v'},
	{"no-progress", no_argument, NULL, 'q'},
	{"help", no_argument, NULL, 'h'},
	{NULL, 0, NULL, 0},
};

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
	case OPT_INNER:
		if (parse_int(value, &settings->inner_max_num_threads) < 0)
			return refuse_value("--inner-max-num-threads", value, "a whole number");
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
	case OPT_UNORDERED:
		settings->order = PAR_UNORDERED;
		return GO_ON;
	case OPT_OVERSUBSCRIBE:
		settings->oversubscribe = (par_int)PAR_SET(1);
		return GO_ON;
	case OPT_SEED:
		if (parse_int(value, &settings->seed) < 0)
			return refuse_value("--seed", value, "a whole number");
		return GO_ON;
	case 'k':
		settings->on_error = PAR_COLLECT;
		return GO_ON;
	case OPT_FAIL_FAST:
		settings->on_error = PAR_FAIL_FAST;
		return GO_ON;
	case OPT_RETRIES:
		if (parse_int(value, &settings->retries) < 0)
			return refuse_value("--retries", value, "a whole number");
		return GO_ON;
	case OPT_RETRY_DELAY:
		if (parse_seconds(value, &settings->retry_delay) < 0)
			return refuse_value("--retry-delay", value, "a number of seconds");
		return GO_ON;
	case OPT_TASK_TIMEOUT:
		return choose_timeout("--task-timeout", value, &settings->task_timeout);
	case OPT_CALL_TIMEOUT:
		return choose_timeout("--call-timeout", value, &settings->call_timeout);
	case OPT_TIMEOUT:
		return choose_timeout("--timeout", value, &settings->timeout);
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

/* What the settings follow from, once all is known. */
static void settle(struct choices *choices)
{
	static const int32_t joblib_verbose[] = {0, 1, 10, 11};
	par_settings *settings = &choices->settings;

	if (choices->verbosity > 3)
		choices->verbosity = 3;
	if (choices->verbosity > 0)
		settings->verbose = (par_int)PAR_SET(joblib_verbose[choices->verbosity]);
	choices->has_deadline =
		settings->task_timeout.set || settings->call_timeout.set || settings->timeout.set;
	/* Whoever set one does not want to wait for tasks that never end. */
	if (choices->has_deadline)
		settings->close_timeout = (par_real)PAR_SET(1);
}

int choices_parse(struct choices *choices, int argc, char **argv)
{
	int option, status;

	*choices = (struct choices){
		.settings = {.size = sizeof(par_settings), .on_error = PAR_COLLECT,
		             .n_jobs = PAR_SET(-1)},
		.end = '\n',
		.progress = 1,
	};
	choices->options = calloc((size_t)argc + 1, sizeof(*choices->options));
	if (choices->options == NULL)
		return report_io("cannot begin", -1, errno);
	choices->settings.options = choices->options;
	argc = cut_arguments(choices, argc, argv);
	opterr = 0;
	while ((option = getopt_long(argc, argv, ":b:j:o:0kvqh", long_options, NULL)) != -1) {
		status = choose(choices, option, optarg, argv);
		if (status != GO_ON)
			return status;
	}
	settle(choices);
	return choose_task(choices, argv + optind, argc - optind);
}

void choices_finish(struct choices *choices)
{
	free(choices->options);
}
