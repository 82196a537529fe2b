/* rules_contract.c - what a plugin and the core promise each other, call by call. */
#include "rules.h"
#include "scene.h"
#include "state.h"
#include "verdict.h"

#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void knows_its_names(void)
{
	static const char *const others[] = {"nonesuch", "", "parloop_backend_v1"};
	const par_host *host = scene_factory_host();
	char longer[64];

	scene_load();
	(void)snprintf(longer, sizeof(longer), "%.50sx", subject.backend);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (subject.plugin->factory(host, others[i]) != NULL)
			failed("its factory has an answer for \"%s\", which its note does not name", others[i]);
	if (subject.plugin->factory(host, longer) != NULL)
		failed("its factory has an answer for \"%s\", which its note does not name", longer);
}

static void answers_the_same(void)
{
	const par_host *host = scene_factory_host();
	const par_backend_ops *first, *again;
	par_backend_ops before;

	scene_load();
	first = subject.plugin->factory(host, subject.backend);
	if (first == NULL)
		skipped("its factory has no answer");
	before = *first;
	again = subject.plugin->factory(host, subject.backend);
	if (again != first || memcmp(&before, again, sizeof(before)) != 0)
		failed("its factory answers another table the second time");
}

static void counts_its_jobs(void)
{
	static const int32_t wanted[] = {1, 2, 3, -1, -2, -1000, 1000000, INT_MAX, INT_MIN};
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	if (guard_seen.last == NULL)
		skipped("another backend stands in for it");
	for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
		int32_t first = guard_effective_n_jobs(wanted[i]), again = guard_effective_n_jobs(wanted[i]);

		if (first != again)
			failed("effective_n_jobs(%d) is %d, and then %d", wanted[i], first, again);
	}
	par_close(pool);
}

static void knows_its_extensions(void)
{
	par_parallel *pool;

	scene_begin();
	pool = scene_open(2);
	if (guard_seen.last == NULL)
		skipped("another backend stands in for it");
	if (guard_extension("com.example.nonesuch/1") != NULL || guard_extension("") != NULL)
		failed("extension() has an answer for \"com.example.nonesuch/1\", which nobody has defined");
	par_close(pool);
}

/* --- options at their ends -------------------------------------------------------------------- */

struct values {
	char *settings[100]; /* "key=value" */
	int n;
};

static void add_value(struct values *values, const char *key, const char *value, size_t length)
{
	if (values->n < 100 &&
	    asprintf(&values->settings[values->n], "%s=%.*s", key, (int)length, value) >= 0)
		values->n++;
}

static int32_t collect(void *user, const par_backend_info *info)
{
	for (uint32_t i = 0; i < info->n_options; i++) {
		const par_option_info *option = info->options[i];
		const char *range = option->range, *dots = strstr(range, "..");

		if (dots != NULL) {
			add_value(user, option->key, range, (size_t)(dots - range));
			add_value(user, option->key, dots + 2, strlen(dots + 2));
			continue;
		}
		while (*range != '\0') {
			size_t length = strcspn(range, "|");

			add_value(user, option->key, range, length);
			range += length + (range[length] == '|');
		}
	}
	return 0;
}

/* Either it works, or it says why not: a worker with a byte of memory cannot start. */
static void try_value(const char *setting)
{
	par_error error;
	par_parallel *pool = scene_try(2, setting, &error);

	if (pool == NULL && error.reason[0] == '\0')
		failed("with %s it does not come up, and does not say why", setting);
	if (pool != NULL && scene_run(pool, &error) < 0 && error.reason[0] == '\0')
		failed("with %s a map fails, and nobody says why", setting);
	par_close(pool);
}

static void bears_each_option(void)
{
	struct values values = {.n = 0};
	par_error error = PAR_ERROR_INIT;

	scene_begin();
	par_close(scene_open(2));
	if (par_show_backend(subject.backend, collect, &values, &error) < 0)
		failed("%s; %s", error.what, error.reason);
	if (values.n == 0)
		skipped("it has no options with a range");
	for (int i = 0; i < values.n; i++)
		try_value(values.settings[i]);
}

/* --- what is left of it ----------------------------------------------------------------------- */

static void make_one(void)
{
	par_error error = PAR_ERROR_INIT;

	if (par_effective_n_jobs(NULL, 2, &error) < 0)
		unavailable("it cannot be had here: %s; %s", error.what, error.reason);
}

static void leaves_no_memory(void)
{
	enum { FIRST = 50, MORE = 200, LEAST = 16 }; /* bytes of an allocation */
	size_t before, after, n = 0;

	scene_begin();
	scene_as_default();
	for (int i = 0; scene_goes_on(i, 10, FIRST); i++)
		make_one();
	before = mallinfo2().uordblks;
	for (; scene_goes_on((int)n, 100, MORE); n++)
		make_one();
	after = mallinfo2().uordblks;
	if (after >= before + n * LEAST)
		failed("%zu instances that were made and destroyed have left %zu bytes", n, after - before);
	scene_no_growth(make_one);
}

static void fail_to_come_up(void)
{
	par_error error;
	par_parallel *pool = scene_try(2, NULL, &error);

	if (pool == NULL && error.reason[0] == '\0')
		failed("where the core has no %s it does not come up, and does not say why",
		       *guard_plan.lacks != '\0' ? guard_plan.lacks : "services");
	par_close(pool);
}

/* A map may fail as well: some are asked for by the first batch alone. */
static void come_up_or_say_why(const char *lacks)
{
	par_parallel *pool;
	par_error error;

	guard_plan.lacks = lacks;
	pool = scene_try(2, NULL, &error);
	if (pool == NULL)
		fail_to_come_up();
	else if (scene_run(pool, &error) < 0 && error.reason[0] == '\0')
		failed("where the core has no %s a map fails, and nobody says why", lacks);
	par_close(pool);
}

/* Older cores have fewer; each of them may be the one that is missing. */
static void does_without_services(void)
{
	static const char *const services[] = {PAR_EXT_FD, PAR_EXT_TIMER, PAR_EXT_WORKER_ENV,
	                                       PAR_EXT_ENCODE, PAR_EXT_CHANNEL};
	par_parallel *pool;
	par_error error;

	scene_begin();
	par_close(scene_open(2));
	for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++)
		come_up_or_say_why(services[i]);
	guard_plan.lacks = "";
	pool = scene_try(2, NULL, &error);
	if (pool != NULL)
		scene_map(pool, 100, PAR_AUTO);
	else
		scene_no_growth(fail_to_come_up);
	par_close(pool);
}

const struct rule rules_contract[] = {
	{"C1", "its factory knows the names of its note, and no others", knows_its_names},
	{"C2", "its factory gives the same answer each time", answers_the_same},
	{"C3", "effective_n_jobs() is a number of jobs, and the same each time", counts_its_jobs},
	{"C4", "extension() has no answer for what it does not know", knows_its_extensions},
	{"C5", "it reads the options that it declares, as what they are", scene_all_of_it},
	{"C6", "it works with each option at both ends, or says why not", bears_each_option},
	{"C7", "it reads no struct beyond its size", scene_all_of_it},
	{"C8", "it keeps no pointer for longer than it is lent", scene_all_of_it},
	{"C9", "an instance that is destroyed leaves no memory behind", leaves_no_memory},
	{"C10", "where a service is missing it says so", does_without_services},
	{"C11", "what it answers makes sense, and errors have words", scene_all_of_it},
	{NULL, NULL, NULL},
};
