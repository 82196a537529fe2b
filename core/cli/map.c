/* map.c - parloop map: a task module's task over lines or arguments. */
#include "choices.h"
#include "cli.h"
#include "failure.h"
#include "input.h"
#include "meter.h"
#include "output.h"
#include "signals.h"
#include "watcher.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A call under way. */
struct map {
	const struct choices *choices;
	par_parallel *parallel;
	struct input *input;
	struct watcher *watcher; /* of the input */
	struct output *output;
	struct meter meter;
	uint64_t first_failed; /* of those that were shown */
	int has_failed;
	int watch_error; /* errno */
	int on_terminal; /* stdout, which then shares the screen with the meter */
};

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
		/* With a copy, tasks that are over their time need not be waited for. */
		item->stays = !map->choices->has_deadline;
		item->payload = bytes;
		item->n_bytes = n;
	}
	return more;
}

/* Results come in any order if so asked. */
static void fail(struct map *map, const par_outcome *outcome)
{
	if (!map->has_failed || outcome->index < map->first_failed)
		map->first_failed = outcome->index;
	map->has_failed = 1;
	meter_erase(&map->meter);
	failure_show(outcome);
}

static void on_progress(void *user, const par_progress *progress)
{
	struct map *map = user;

	/* A call that is cancelled tells its end, too. */
	if (!signals_caught())
		meter_draw(&map->meter, progress);
}

static int32_t give(void *user, const par_outcome *outcome)
{
	struct map *map = user;
	int32_t status = 0;

	/* A task that saw the cancellation ends as failed, which is not what became of it. */
	if (signals_caught())
		return -1;
	if (outcome->status != PAR_OK) {
		fail(map, outcome);
	} else {
		if (map->on_terminal)
			meter_erase(&map->meter);
		status = output_record(map->output, outcome->bytes, outcome->n_bytes);
	}
	/* Its task may be reading it still. */
	if (outcome->status != PAR_ETIMEOUT)
		input_release(map->input, outcome->index);
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

/* With --fail-fast the task that ended the call may not have come as an outcome, if others
 * before it were not over. */
static int conclude_failed(struct map *map, const par_error *error)
{
	uint64_t index = (uint64_t)error->task;
	const char *bytes = "";
	size_t n = 0;

	if (map->has_failed && map->first_failed <= index)
		return STATUS_FAILED;
	(void)input_find(map->input, index, &bytes, &n);
	failure_show_error(error, bytes, n);
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
	if (error->code != PAR_OK && error->task >= 0)
		return conclude_failed(map, error);
	if (error->code != PAR_OK)
		return report(error);
	return map->has_failed ? STATUS_FAILED : STATUS_OK;
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

static int64_t count(char **arguments)
{
	int64_t n = 0;

	while (arguments[n] != NULL)
		n++;
	return n;
}

static int32_t call(struct map *map, const par_task *task, par_error *error)
{
	par_settings settings = {
		.size = sizeof(settings),
		.on_progress = map->meter.on ? on_progress : NULL,
		.watcher = map,
	};

	if (map->choices->arguments != NULL)
		settings.n_tasks = (par_int)PAR_SET(count(map->choices->arguments));
	return par_run(map->parallel, task, take, give, map, &settings, error);
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
	error.code = call(&map, task, &error);
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
	struct choices choices;
	const par_task *task;
	int status = choices_parse(&choices, argc, argv);

	if (status != GO_ON)
		goto out;
	status = use_config(choices.config);
	if (status == STATUS_OK)
		status = find_task(&choices, &task);
	if (status == STATUS_OK)
		status = run(&choices, task);
out:
	choices_finish(&choices);
	return status;
}
