/* Calls inside the tasks of calls: on what they run, with which options, how deep, and what is said
 * about it; nested-NAME; on threads and in worker processes, however those were started.
 *
 * How many workers an inner call gets depends on the cores; these tests do not, so they ask for the
 * name that it has and for the process that it runs in. */
#include "scratch.h"

#include "context.h"
#include "own_backend.h"
#include "registry.h"

#include <parloop/worker.h>

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>

enum { MOST = 12, LIMIT_MS = 60000 };

static par_error error = PAR_ERROR_INIT;

static const char *error_line(void)
{
	static char text[4096];

	return par_error_text(&error, 1, text, sizeof(text));
}

#define MUST(call)                                                                              \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == PAR_OK, "%s: %s, %s\n%s", #call,                     \
		              par_code_name(must_code), error_line(), error.trace);             \
	} while (0)

/* The ways to have workers.  loky's are not kept, so that none of them is left when a test ends. */
static const struct way {
	const char *name, *option;
	int is_process;
} ways[] = {
	{"threading", "spin=0us", 0},
	{"multiprocessing", "start_method=fork", 1},
	{"multiprocessing", "start_method=forkserver", 1},
	{"multiprocessing", "start_method=spawn", 1},
	{"loky", "idle_worker_timeout=0s", 1},
};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]), THREADS = 0, FORKED = 1, SPAWNED = 3, LOKY = 4 };

static const char *nested(const char *name)
{
	static char names[4][40];
	static int next;
	char *whole = names[next++ % 4];

	(void)snprintf(whole, sizeof(names[0]), "nested-%s", name);
	return whole;
}

/* --- a task that makes a call, and what it sees ---------------------------------------------- */

/* What one of them is to do, and where it stood. */
struct ask {
	int left;         /* calls that are to be made, one in the other                    */
	int n_jobs;       /* of each, 0: unset                                              */
	char backend[40]; /* of each; empty: unset                                          */
	char option[40];  /* likewise                                                       */
	int pushes;       /* a context, with this n_jobs                                    */
	int leaf_sleeps;  /* for ever, once it has told its number                          */
};

struct seen {
	int levels;               /* as many as follow */
	int pids[MOST], level[MOST], n_options[MOST], n_jobs[MOST];
	char backend[MOST][40];   /* that a call which names none would get   */
	char option[MOST][40];    /* the last                                 */
	char runs_on[MOST][40];   /* what served the call that was made there */
	char chain[MOST][160], around[MOST][40];
	char log[400];            /* warnings, of them all */
	char config[200];
	char failed[600];
};

static char heard[400];

static void hear(void *user, int32_t level, const char *line)
{
	size_t used = strlen(heard);

	(void)user;
	if (level >= 2)
		(void)snprintf(heard + used, sizeof(heard) - used, "%s\n", line);
}

#define KEEP(slot, text) (void)snprintf(slot, sizeof(slot), "%s", (text) != NULL ? (text) : "")

static void look(struct seen *seen)
{
	const struct context *context = context_current();
	int n = 0;

	while (context->options != NULL && context->options[n] != NULL)
		n++;
	seen->pids[0] = (int)getpid();
	seen->level[0] = context->level;
	seen->n_options[0] = n;
	seen->n_jobs[0] = context->n_jobs;
	KEEP(seen->backend[0], context->backend);
	KEEP(seen->option[0], n > 0 ? context->options[n - 1] : NULL);
	KEEP(seen->chain[0], context->chain);
	KEEP(seen->around[0], context->around);
	KEEP(seen->config, par_config_file());
	seen->levels = 1;
}

static void append_levels(struct seen *seen, const struct seen *below)
{
	int n = below->levels < MOST - 1 ? below->levels : MOST - 1;
	size_t used = strlen(seen->log);

#define APPEND(field) memcpy(&seen->field[1], below->field, (size_t)n * sizeof(below->field[0]))
	APPEND(pids);
	APPEND(level);
	APPEND(n_options);
	APPEND(n_jobs);
	APPEND(backend);
	APPEND(option);
	APPEND(runs_on);
	APPEND(chain);
	APPEND(around);
	KEEP(seen->config, below->config);
	KEEP(seen->failed, below->failed);
	(void)snprintf(seen->log + used, sizeof(seen->log) - used, "%s", below->log);
	seen->levels += n;
}

static void tell_pid(void)
{
	FILE *file = fopen(getenv("NESTING_PIDS"), "a");

	if (file == NULL)
		abort();
	(void)fprintf(file, "%d\n", (int)getpid());
	(void)fclose(file);
}

static int stand(const struct ask *ask, struct seen *seen);
PAR_TASK(stand, struct ask, struct seen)

static int32_t call_below(const struct ask *ask, struct seen *seen, par_error *why)
{
	const char *const options[] = {ask->option, NULL};
	struct ask next = *ask;
	struct seen *below = calloc(1, sizeof(*below));
	par_parallel *pool = NULL;
	par_context *context = NULL;
	int32_t code = PAR_OK;

	next.left--;
	if (ask->pushes > 0)
		code = par_context_push(PAR_SETTINGS(.n_jobs = PAR_SET(ask->pushes)), &context, why);
	if (code == PAR_OK)
		code = par_open(&pool, PAR_SETTINGS(.backend = ask->backend[0] ? ask->backend : NULL,
		                                    .options = ask->option[0] ? options : NULL,
		                                    .n_jobs = {ask->n_jobs != 0, ask->n_jobs}), why);
	if (code == PAR_OK) {
		KEEP(seen->runs_on[0], par_backend_name(pool));
		seen->n_jobs[0] = par_n_jobs(pool);
		code = par_map(pool, &par_task_stand, &next, below, 1, NULL, why);
		append_levels(seen, below);
	}
	par_close(pool);
	if (context != NULL)
		(void)par_context_pop(context, NULL);
	free(below);
	return code;
}

static int stand(const struct ask *ask, struct seen *seen)
{
	par_error why = PAR_ERROR_INIT;
	char text[1000];

	memset(seen, 0, sizeof(*seen));
	look(seen);
	heard[0] = '\0';
	if (ask->leaf_sleeps) {
		tell_pid();
		while (ask->left == 0)
			pause();
	}
	if (ask->left == 0)
		return 0;
	/* The test itself hears what threads of its own process say. */
	if (getenv("NESTING_TEST") != NULL && atoi(getenv("NESTING_TEST")) != getpid())
		par_set_log(hear, NULL);
	if (call_below(ask, seen, &why) < 0)
		KEEP(seen->failed, par_error_text(&why, 0, text, sizeof(text)));
	(void)snprintf(text, sizeof(text), "%s%s", heard, seen->log);
	(void)snprintf(seen->log, sizeof(seen->log), "%.*s", (int)sizeof(seen->log) - 1, text);
	return 0;
}

static struct seen seen;

static void call_on(const char *backend, const char *option, int n_jobs, const struct ask *ask)
{
	const char *const options[] = {option, NULL};

	MUST(par_map(NULL, &par_task_stand, ask, &seen, 1,
	             PAR_SETTINGS(.backend = backend, .options = option != NULL ? options : NULL,
	                          .n_jobs = {n_jobs != 0, n_jobs}), &error));
}

static void begin(void)
{
	char pid[20];

	scratch_begin();
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	setenv("NESTING_TEST", pid, 1);
	MUST(par_configure(NULL, &error));
}

/* --- nested-NAME ------------------------------------------------------------------------------- */

START_TEST(b110_nested_is_that_backend_at_every_level_with_its_options)
{
	const struct way *way = &ways[_i];
	const char *name = nested(way->name);
	char chain[160] = "";

	call_on(name, way->option, 2, &(struct ask){.left = 3, .n_jobs = 2});
	ck_assert_str_eq(seen.failed, "");
	ck_assert_int_eq(seen.levels, 4);
	for (int i = 0; i < seen.levels; i++) {
		ck_assert_str_eq(seen.backend[i], name);
		ck_assert_str_eq(seen.option[i], way->option);
		ck_assert_int_eq(seen.n_options[i], 1);
		ck_assert_int_eq(seen.pids[i] != (i > 0 ? seen.pids[i - 1] : getpid()), way->is_process);
		ck_assert_str_eq(seen.around[i], way->name);
		if (!way->is_process)
			continue;
		(void)snprintf(chain + strlen(chain), sizeof(chain) - strlen(chain), "%s%s",
		               i > 0 ? " > " : "", name);
		ck_assert_str_eq(seen.chain[i], chain);
		ck_assert_int_eq(seen.level[i], i + 1);
	}
	ck_assert_ptr_null(strstr(seen.log, "setting n_jobs=1"));
	ck_assert_ptr_null(strstr(scratch_log, "setting n_jobs=1"));
}
END_TEST

START_TEST(b110_so_it_is_as_the_default_of_plugins_conf_a_program_or_a_context)
{
	static const char conf[] = "[parloop]\ndefault = nested-loky\n"
	                           "[backend loky]\nidle_worker_timeout = 0s\n";
	const struct ask ask = {.left = 2};

	if (_i == 0)
		MUST(par_configure(scratch_write("conf", conf, strlen(conf)), &error));
	if (_i == 1)
		MUST(par_set_default(PAR_SETTINGS(.backend = "nested-multiprocessing"), &error));
	if (_i == 2)
		MUST(par_context_push(PAR_SETTINGS(.backend = "nested-multiprocessing"), NULL, &error));
	call_on(NULL, NULL, 2, &ask);
	ck_assert_str_eq(seen.failed, "");
	ck_assert_int_eq(seen.levels, 3);
	for (int i = 0; i < 2; i++) {
		ck_assert_str_eq(seen.runs_on[i], _i == 0 ? "nested-loky" : "nested-multiprocessing");
		ck_assert_int_ne(seen.pids[i], seen.pids[i + 1]);
	}
	if (_i == 2)
		MUST(par_context_pop(NULL, &error));
}
END_TEST

START_TEST(the_last_of_each_option_is_kept)
{
	call_on("nested-threading", "stack=1M", 2,
	        &(struct ask){.left = 4, .n_jobs = 2, .backend = "nested-threading", .option = "stack=2M"});
	ck_assert_str_eq(seen.failed, "");
	ck_assert_str_eq(seen.option[0], "stack=1M");
	for (int i = 1; i < seen.levels; i++) {
		ck_assert_str_eq(seen.option[i], "stack=2M");
		ck_assert_int_eq(seen.n_options[i], 1);
	}
}
END_TEST

/* --- n_jobs=1 changes nothing inside --------------------------------------------------------- */

START_TEST(b95_a_nested_backend_with_one_job_overrules_backends_that_were_pushed_and_no_more)
{
	MUST(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error));
	MUST(par_context_push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), NULL, &error));
	call_on("nested-threading", "stack=1M", 1, &(struct ask){.left = 1});
	ck_assert_str_eq(seen.backend[0], "nested-threading");
	ck_assert_str_eq(seen.option[0], "stack=1M");
	ck_assert_int_eq(seen.level[0], 0);
	ck_assert_str_eq(seen.chain[0], "");
	ck_assert_str_eq(seen.runs_on[0], "nested-threading");
	ck_assert_int_eq(seen.n_jobs[0], 3);
	ck_assert_int_eq(own.creates, 0);
	ck_assert_str_eq(seen.backend[1], "nested-threading");
	ck_assert_str_eq(seen.option[1], "stack=1M");
	/* What the task pushes is its own, and stands in all this. */
	call_on("nested-threading", "stack=1M", 1, &(struct ask){.left = 1, .pushes = 2});
	ck_assert_str_eq(seen.runs_on[0], "nested-threading");
	ck_assert_int_eq(seen.n_jobs[0], 2);
	ck_assert_str_eq(seen.option[1], "stack=1M");
	ck_assert_int_eq(seen.n_options[1], 1);
	/* One that is plain says nothing, and lets the other be. */
	call_on("nested-threading", NULL, 1,
	        &(struct ask){.left = 2, .n_jobs = 1, .backend = "threading"});
	ck_assert_str_eq(seen.runs_on[1], "sequential");
	ck_assert_str_eq(seen.backend[2], "nested-threading");
	call_on("threading", NULL, 1, &(struct ask){.left = 1});
	ck_assert_str_eq(seen.runs_on[0], "custom");
	ck_assert_int_eq(seen.n_jobs[0], 3);
	MUST(par_context_pop(NULL, &error));
}
END_TEST

START_TEST(nested_sequential_stays_on_the_callers_thread_whatever_was_pushed)
{
	MUST(par_context_push(PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(4)), NULL, &error));
	call_on("nested-sequential", NULL, 2, &(struct ask){.left = 3});
	for (int i = 0; i < 3; i++)
		ck_assert_str_eq(seen.runs_on[i], "nested-sequential");
	MUST(par_context_pop(NULL, &error));
}
END_TEST

/* --- what a backend answers -------------------------------------------------------------------- */

static par_nested answers; /* what get_nested_backend() says */
static const char *leaves_to;
static char was_around[40]; /* the last configure() */

static int32_t answer_nested(par_backend *backend, par_nested *out)
{
	(void)backend;
	out->level = answers.level != 0 ? answers.level : out->level;
	out->n_jobs = answers.n_jobs;
	out->myself = answers.myself;
	out->name = answers.name;
	out->options = answers.options;
	return PAR_OK;
}

static int32_t configure_or_leave(par_backend *backend, const par_call *call, par_answer *answer,
                                  par_error *why)
{
	KEEP(was_around, call->around);
	if (call->around == NULL)
		answer->fallback = leaves_to;
	return own_configure(backend, call, answer, why);
}

static const par_backend_ops *answering_factory(const par_host *host, const char *name)
{
	static par_backend_ops ops;

	ops = *own_factory(host, name);
	ops.get_nested_backend = answer_nested;
	ops.configure = configure_or_leave;
	return &ops;
}

static void call_answering(const char *name, const par_nested *answer)
{
	answers = *answer;
	MUST(par_register_backend("custom", answering_factory, OWN_NOTE, 0, &error));
	call_on(name, "endpoint=here", 2, &(struct ask){.left = 1});
	ck_assert_str_eq(seen.failed, "");
}

START_TEST(an_answer_is_honoured)
{
	static const char *const loky[] = {"idle_worker_timeout=0s", NULL};
	static const char *const there[] = {"endpoint=there", NULL};

	call_answering("custom", &(par_nested){.name = "multiprocessing"});
	ck_assert_str_eq(seen.runs_on[0], "multiprocessing");
	ck_assert_int_eq(seen.n_options[0], 0);
	call_answering("custom", &(par_nested){.name = "nested-loky", .options = loky, .n_jobs = 2});
	ck_assert_str_eq(seen.runs_on[0], "nested-loky");
	ck_assert_str_eq(seen.backend[1], "nested-loky");
	ck_assert_str_eq(seen.option[1], "idle_worker_timeout=0s");
	ck_assert_int_ne(seen.pids[1], getpid());
	call_answering("custom", &(par_nested){.myself = 1, .options = there});
	ck_assert_str_eq(seen.runs_on[0], "custom");
	ck_assert_str_eq(own.endpoint, "there");
	call_answering("custom", &(par_nested){.myself = 1});
	ck_assert_str_eq(own.endpoint, "here");
}
END_TEST

START_TEST(an_answer_without_a_name_leaves_it_to_the_rule)
{
	MUST(par_set_default(PAR_SETTINGS(.backend = "nested-multiprocessing"), &error));
	call_answering("custom", &(par_nested){.level = 5});
	ck_assert_str_eq(seen.backend[0], "threading");
	ck_assert_int_eq(seen.level[0], 5);
	call_answering("custom", &(par_nested){.level = -7});
	ck_assert_int_eq(seen.level[0], 0);
}
END_TEST

START_TEST(nested_says_more_than_an_answer)
{
	call_answering("nested-custom", &(par_nested){.name = "threading"});
	ck_assert_str_eq(seen.runs_on[0], "nested-custom");
	ck_assert_str_eq(own.endpoint, "here");
	ck_assert_int_eq(own.call.is_nested, 1);
	ck_assert_str_eq(was_around, "custom");
}
END_TEST

START_TEST(a_backend_that_leaves_a_call_to_another_keeps_its_options_from_it)
{
	leaves_to = "threading";
	call_answering("nested-custom", &(par_nested){.myself = 1});
	ck_assert_str_eq(seen.chain[0], "threading");
	ck_assert_str_eq(seen.runs_on[0], "nested-custom");
	ck_assert_str_eq(seen.option[0], "endpoint=here");
	leaves_to = "nested-multiprocessing";
	call_answering("custom", &(par_nested){.myself = 1});
	ck_assert_str_eq(seen.chain[0], "nested-multiprocessing");
	ck_assert_str_eq(seen.runs_on[0], "nested-multiprocessing");
	ck_assert_int_eq(seen.n_options[0], 0);
}
END_TEST

/* --- names in workers -------------------------------------------------------------------------- */

/* "early" was registered before par_worker_main(), see main(). */
START_TEST(a_worker_knows_what_was_registered_before_it_became_one)
{
	const struct way *way = &ways[_i];
	const struct ask early = {.left = 1, .n_jobs = 2, .backend = "nested-early"};
	const struct ask late = {.left = 1, .n_jobs = 2, .backend = "late"};

	MUST(par_register_backend("late", own_factory, OWN_NOTE, 0, &error));
	call_on(way->name, way->option, 2, &early);
	ck_assert_str_eq(seen.failed, "");
	ck_assert_str_eq(seen.runs_on[0], "nested-early");
	ck_assert_str_eq(seen.backend[1], "nested-early");
	call_on(way->name, way->option, 2, &late);
	if (_i <= FORKED) {
		ck_assert_str_eq(seen.failed, "");
		ck_assert_str_eq(seen.runs_on[0], "late");
	} else {
		assert_contains(seen.failed, "Invalid backend: late, expected one of [");
		assert_contains(seen.failed, "what the program registers is there if that comes before "
		                             "par_worker_main(); else ");
	}
}
END_TEST

/* The user's file, which is not in force. */
static void have_other_conf(void)
{
	static const char other[] = "[parloop]\nn_jobs = 1\n";

	ck_assert_int_eq(mkdir(scratch_path("parloop"), 0755), 0);
	scratch_write("parloop/plugins.conf", other, strlen(other));
}

START_TEST(a_worker_has_the_plugins_conf_in_force)
{
	static const char conf[] = "[parloop]\nplugin_dir = .\n";
	const struct way *way = &ways[_i];

	have_other_conf();
	scratch_copy(PLUGIN("good"), "good.so");
	MUST(par_configure(scratch_write("conf", conf, strlen(conf)), &error));
	call_on(way->name, way->option, 2, &(struct ask){.left = 2, .backend = "nested-good"});
	ck_assert_str_eq(seen.failed, "");
	ck_assert_str_eq(seen.config, scratch_path("conf"));
	ck_assert_str_eq(seen.runs_on[1], "nested-good");
}
END_TEST

START_TEST(or_none_if_there_is_none_in_force)
{
	have_other_conf();
	call_on(ways[_i].name, ways[_i].option, 2, &(struct ask){.left = 0});
	ck_assert_str_eq(seen.config, "");
}
END_TEST

/* --- who may have workers inside ---------------------------------------------------------------- */

static const struct row {
	int outer;
	const char *inner, *warning; /* NULL: none */
} rows[] = {
	{LOKY, "multiprocessing", "Multiprocessing-backed parallel loops cannot be nested below loky"},
	{LOKY, "loky", NULL},
	{FORKED, "multiprocessing", "Multiprocessing-backed parallel loops cannot be nested,"},
	{SPAWNED, "multiprocessing", "Multiprocessing-backed parallel loops cannot be nested,"},
	{FORKED, "loky", "Loky-backed parallel loops cannot be called in a multiprocessing"},
	{SPAWNED, "loky", "Loky-backed parallel loops cannot be called in a multiprocessing"},
	{THREADS, "multiprocessing", "Multiprocessing-backed parallel loops cannot be nested below threads"},
	{THREADS, "loky", "Loky-backed parallel loops cannot be nested below threads"},
	{FORKED, "threading", NULL},
	{LOKY, "threading", NULL},
	{THREADS, "threading", NULL},
};
enum { N_ROWS = sizeof(rows) / sizeof(rows[0]) };

/* All that was said, here and in workers. */
static const char *said(void)
{
	static char all[sizeof(scratch_log) + sizeof(seen.log)];

	(void)snprintf(all, sizeof(all), "%s%s", scratch_log, seen.log);
	return all;
}

static int has_warned(void)
{
	return strstr(said(), "setting n_jobs=1") != NULL;
}

START_TEST(b91_joblibs_table)
{
	const struct row *row = &rows[_i];
	const struct way *outer = &ways[row->outer];
	struct ask ask = {.left = 1, .n_jobs = 2};

	KEEP(ask.backend, row->inner);
	if (strcmp(row->inner, "loky") == 0)
		KEEP(ask.option, "idle_worker_timeout=0s");
	call_on(outer->name, outer->option, 2, &ask);
	ck_assert_str_eq(seen.failed, "");
	ck_assert_int_eq(has_warned(), row->warning != NULL);
	if (row->warning != NULL) {
		assert_contains(said(), row->warning);
		assert_contains(said(), nested(row->inner));
		ck_assert_str_eq(seen.runs_on[0], row->inner);
		ck_assert_int_eq(seen.n_jobs[0], 1);
	}
	/* Of one job, and where nobody says how many, there is nothing to say. */
	scratch_log[0] = '\0';
	for (ask.n_jobs = 0; ask.n_jobs < 2; ask.n_jobs++) {
		call_on(outer->name, outer->option, 2, &ask);
		ck_assert_str_eq(seen.failed, "");
		ck_assert_int_eq(has_warned(), 0);
	}
	/* Who says nested- has its workers. */
	ask.n_jobs = 2;
	KEEP(ask.backend, nested(row->inner));
	call_on(outer->name, outer->option, 2, &ask);
	ck_assert_str_eq(seen.failed, "");
	ck_assert_int_eq(has_warned(), 0);
	if (strcmp(row->inner, "threading") != 0)
		ck_assert_int_ne(seen.pids[1], seen.pids[0]);
}
END_TEST

static void *call_from_thread(void *backend)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2)), &error));
	ck_assert_int_eq(par_n_jobs(pool), 2);
	par_close(pool);
	return NULL;
}

START_TEST(b92_a_thread_of_the_programs_own_may_have_worker_processes)
{
	static const char *const names[] = {"multiprocessing", "loky"};
	pthread_t thread;

	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(pthread_create(&thread, NULL, call_from_thread, (void *)(uintptr_t)names[i]), 0);
		pthread_join(thread, NULL);
	}
	ck_assert_int_eq(has_warned(), 0);
}
END_TEST

/* --- how deep ------------------------------------------------------------------------------------ */

START_TEST(b86_ten_calls_deep_works_and_the_eleventh_says_in_what_it_is)
{
	/* Of one job threading would leave it to its caller's thread; "early" starts another. */
	static const char *const names[] = {"nested-loky", "nested-multiprocessing", "nested-early"};
	static const char *const options[] = {"idle_worker_timeout=0s", "start_method=fork", "endpoint=x"};
	struct ask ask = {.left = 9};
	char chain[80];

	call_on(names[_i], options[_i], 2, &ask);
	ck_assert_str_eq(seen.failed, "");
	ck_assert_int_eq(seen.levels, 10);
	ask.left = 10;
	call_on(names[_i], options[_i], 2, &ask);
	assert_contains(seen.failed, "calls are nested too deep: 10 of them have workers, and this one, on ");
	(void)snprintf(chain, sizeof(chain), "it is inside %s (10 times); PARLOOP_MAX_DEPTH is 10", names[_i]);
	assert_contains(seen.failed, chain);
}
END_TEST

START_TEST(the_depth_may_be_set_and_mixes)
{
	setenv("PARLOOP_MAX_DEPTH", "3", 1);
	MUST(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error));
	call_on("custom", NULL, 2, &(struct ask){.left = 4, .n_jobs = 2, .backend = "nested-multiprocessing"});
	assert_contains(seen.failed, "3 of them have workers, and this one, on nested-multiprocessing,");
	assert_contains(seen.failed, "it is inside custom > nested-multiprocessing (2 times); "
	                             "PARLOOP_MAX_DEPTH is 3");
	setenv("PARLOOP_MAX_DEPTH", "many", 1);
	call_on("custom", NULL, 2, &(struct ask){.left = 4, .n_jobs = 2, .backend = "nested-multiprocessing"});
	ck_assert_str_eq(seen.failed, "");
	assert_contains(said(), "PARLOOP_MAX_DEPTH=\"many\" is not a whole number above 0; it is 10");
}
END_TEST

static int recurse(const int *in, int *out);
PAR_TASK(recurse, int, int)
static int recurse(const int *in, int *out)
{
	int both[2] = {*in + 1, *in + 1}, deepest[2] = {0};
	int32_t code = par_map(NULL, &par_task_recurse, both, deepest, 2, NULL, NULL);

	*out = deepest[0];
	return code < 0;
}

START_TEST(b97_recursion_without_end_is_an_error_and_no_bomb)
{
	static const char *const names[] = {"sequential", "threading", "multiprocessing", "loky",
	                                    "nested-threading", "nested-sequential"};
	const char *const options[] = {ways[LOKY].option, NULL};
	int in[2] = {0}, out[2];

	MUST(par_context_push(PAR_SETTINGS(.backend = names[_i], .n_jobs = PAR_SET(2),
	                                   .options = strcmp(names[_i], "loky") == 0 ? options : NULL),
	                      NULL, &error));
	ck_assert_int_eq(par_map(NULL, &par_task_recurse, in, out, 2, NULL, &error), PAR_EFAILED);
	assert_contains(error.trace, "caused by: calls are nested too deep: ");
	MUST(par_context_pop(NULL, &error));
}
END_TEST

/* What a task says of its call's failure is handed up, and so is that failure itself. */
START_TEST(an_error_comes_up_through_worker_processes_as_it_was)
{
	int in[2] = {0}, out[2];

	MUST(par_context_push(PAR_SETTINGS(.backend = "nested-multiprocessing", .n_jobs = PAR_SET(1)),
	                      NULL, &error));
	ck_assert_int_eq(par_map(NULL, &par_task_recurse, in, out, 2, NULL, &error), PAR_EFAILED);
	ck_assert_str_eq(error.what, "task 0 failed");
	ck_assert_int_eq(strncmp(error.trace, "caused by: task 0 failed: it returned 1\n", 40), 0);
	assert_contains(error.trace, "\ncaused by: calls are nested too deep: 10 of them have workers, and "
	                             "this one, on nested-multiprocessing, would be another; ");
	assert_contains(error.trace, ": it is inside nested-multiprocessing (10 times); PARLOOP_MAX_DEPTH is 10; "
	                             "look for a task that makes a call of itself, or run it on the backend "
	                             "sequential there");
	MUST(par_context_pop(NULL, &error));
}
END_TEST

/* --- and how they end ---------------------------------------------------------------------------- */

static int read_pids(const char *path, int pids[MOST])
{
	FILE *file = fopen(path, "r");
	int n = 0;

	while (file != NULL && n < MOST && fscanf(file, "%d", &pids[n]) == 1)
		n++;
	if (file != NULL)
		(void)fclose(file);
	return n;
}

START_TEST(b85_five_generations_die_with_the_root)
{
	const char *path = scratch_path("pids");
	const struct way *way = &ways[_i];
	int pids[MOST], fds[MOST], n = 0, status;
	pid_t root;

	setenv("NESTING_PIDS", path, 1);
	root = fork();
	if (root == 0) {
		struct ask ask = {.left = 4, .leaf_sleeps = 1, .n_jobs = 2};

		call_on(nested(way->name), way->option, 2, &ask);
		_exit(1);
	}
	for (int waited = 0; n < 5; waited += 10) {
		ck_assert_int_lt(waited, LIMIT_MS);
		(void)poll(NULL, 0, 10);
		n = read_pids(path, pids);
	}
	for (int i = 0; i < n; i++) {
		fds[i] = (int)syscall(SYS_pidfd_open, pids[i], 0);
		ck_assert_msg(fds[i] >= 0, "process %d of %d is gone already", i, n);
	}
	ck_assert_int_eq(kill(root, SIGKILL), 0);
	ck_assert_int_eq(waitpid(root, &status, 0), root);
	for (int i = 0; i < n; i++) {
		struct pollfd end = {.fd = fds[i], .events = POLLIN};

		ck_assert_msg(poll(&end, 1, LIMIT_MS) == 1, "generation %d lives", i + 1);
		close(fds[i]);
	}
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	if (par_register_backend("early", own_factory, OWN_NOTE, 0, &error) < 0)
		return EXIT_FAILURE;
	par_worker_main(argc, argv);
	suite = suite_create("nesting");
	tests = tcase_create("nesting");
	runner = srunner_create(suite);
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_set_timeout(tests, 60);
	tcase_add_loop_test(tests, b110_nested_is_that_backend_at_every_level_with_its_options, 0, N_WAYS);
	tcase_add_loop_test(tests, b110_so_it_is_as_the_default_of_plugins_conf_a_program_or_a_context, 0, 3);
	tcase_add_test(tests, the_last_of_each_option_is_kept);
	tcase_add_test(tests, b95_a_nested_backend_with_one_job_overrules_backends_that_were_pushed_and_no_more);
	tcase_add_test(tests, nested_sequential_stays_on_the_callers_thread_whatever_was_pushed);
	tcase_add_test(tests, an_answer_is_honoured);
	tcase_add_test(tests, an_answer_without_a_name_leaves_it_to_the_rule);
	tcase_add_test(tests, nested_says_more_than_an_answer);
	tcase_add_test(tests, a_backend_that_leaves_a_call_to_another_keeps_its_options_from_it);
	tcase_add_loop_test(tests, a_worker_knows_what_was_registered_before_it_became_one, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_has_the_plugins_conf_in_force, 0, N_WAYS);
	tcase_add_loop_test(tests, or_none_if_there_is_none_in_force, 0, N_WAYS);
	tcase_add_loop_test(tests, b91_joblibs_table, 0, N_ROWS);
	tcase_add_test(tests, b92_a_thread_of_the_programs_own_may_have_worker_processes);
	tcase_add_loop_test(tests, b86_ten_calls_deep_works_and_the_eleventh_says_in_what_it_is, 0, 3);
	tcase_add_test(tests, the_depth_may_be_set_and_mixes);
	tcase_add_loop_test(tests, b97_recursion_without_end_is_an_error_and_no_bomb, 0, 6);
	tcase_add_test(tests, an_error_comes_up_through_worker_processes_as_it_was);
	tcase_add_loop_test(tests, b85_five_generations_die_with_the_root, FORKED, N_WAYS);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
