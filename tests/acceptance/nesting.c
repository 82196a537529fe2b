/* nesting.c - calls in the tasks of calls: B91 to B98 and B110.
 *
 * A path such as "loky:2 -" says on which backends the calls of tasks in tasks are made, and with how
 * many workers; - is a call that does not say.  See look_down in ../tasks/acceptance.c. */
#define OWN_WITHOUT_LOOP /* choosing.c has it */
#include "own_backend.h"

#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

enum { MOST_SIGHTS = 24, MOST_NAMES = 64 };

/* --- looking down ------------------------------------------------------------------------------- */

static struct acceptance_sight sights[MOST_SIGHTS];

static int32_t give_path(void *user, par_item *item)
{
	const char **path = user;

	if (*path == NULL)
		return 0;
	item->payload = *path;
	item->n_bytes = strlen(*path) + 1;
	item->stays = 1;
	*path = NULL;
	return 1;
}

static int32_t take_sights(void *user, const par_outcome *outcome)
{
	(void)user;
	if (outcome->status == PAR_OK && outcome->n_bytes <= sizeof(sights))
		memcpy(sights, outcome->bytes, outcome->n_bytes);
	return 0;
}

static const par_task *look_down_task;

static const par_task *look_down_once_found(void)
{
	if (look_down_task == NULL)
		look_down_task = task("look_down");
	return look_down_task;
}

/* What a task of a call with these settings sees, and those of the calls in it. */
static void look_down(const par_settings *settings, const char *path)
{
	memset(sights, 0, sizeof(sights));
	MUST(par_run(NULL, look_down_once_found(), give_path, take_sights, &path, settings, &error));
	EXPECT(sights[0].pid != 0, "the task has not replied");
}

/* Of all calls that were made in tasks, which must have been made. */
static void expect_calls(int n)
{
	for (int i = 0; i < n; i++)
		EXPECT(sights[i].code == PAR_OK && sights[i].backend[0] != '\0',
		       "call %d, on \"%s\": %s: %s", i + 1, sights[i].backend,
		       par_code_name(sights[i].code), sights[i].words);
	EXPECT(sights[n].pid != 0 && sights[n].backend[0] == '\0', "there is another call");
}

static void expect_no_warning(int n)
{
	for (int i = 0; i < n; i++)
		EXPECT(sights[i].warnings == 0, "call %d, on %s, warns: %s", i + 1, sights[i].backend,
		       sights[i].words);
	EXPECT(strstr(printed(), "cannot be") == NULL, "a warning: %s", printed());
}

/* --- those that there are ----------------------------------------------------------------------- */

static char names[MOST_NAMES][64];
static int n_names;

static int32_t add_name(void *user, const par_backend_info *info)
{
	(void)user;
	/* Clusters take seconds to start, and more than a machine to be worth it: they have tests of
	 * their own. */
	if (info->state != PAR_STATE_BROKEN && info->state != PAR_STATE_LAZY && n_names < MOST_NAMES)
		(void)snprintf(names[n_names++], sizeof(names[0]), "%s", info->name);
	return 0;
}

/* What can be had, each by both of its names. */
static void find_names(void)
{
	int n = 0;

	n_names = 0;
	MUST(par_each_backend(add_name, NULL, &error));
	for (int i = 0; i < n_names; i++)
		if (par_effective_n_jobs(names[i], 2, &error) > 0)
			memmove(names[n++], names[i], sizeof(names[0]));
	EXPECT_BETWEEN(1, MOST_NAMES / 2, n);
	for (int i = 0; i < n; i++)
		(void)snprintf(names[n + i], sizeof(names[0]), "nested-%.56s", names[i]);
	n_names = 2 * n;
}

/* joblib's rules are about these. */
static int is_of_joblib(void)
{
	static const char *const known[] = {"sequential", "threading", "multiprocessing", "loky"};

	for (int i = 0; i < 4; i++)
		if (strcmp(backend, known[i]) == 0)
			return 1;
	return 0;
}

/* --- warnings ----------------------------------------------------------------------------------- */

static const char *warning_for(const char *child)
{
	static const struct {
		const char *parent, *child, *words;
	} table[] = {
		{"loky", "multiprocessing", "Multiprocessing-backed parallel loops cannot be nested"},
		{"multiprocessing", "multiprocessing",
		 "Multiprocessing-backed parallel loops cannot be nested"},
		{"multiprocessing", "loky",
		 "Loky-backed parallel loops cannot be called in a multiprocessing"},
		{"threading", "multiprocessing",
		 "Multiprocessing-backed parallel loops cannot be nested below threads"},
		{"threading", "loky", "Loky-backed parallel loops cannot be nested below threads"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (strcmp(table[i].parent, backend) == 0 && strcmp(table[i].child, child) == 0)
			return table[i].words;
	return NULL;
}

static void expect_warning(const char *child, const char *words)
{
	char path[96];

	(void)snprintf(path, sizeof(path), "%s:2", child);
	look_down(ON(.n_jobs = PAR_SET(2)), path);
	expect_calls(1);
	EXPECT(sights[0].warnings == (words != NULL), "%s in %s: %d warnings: \"%s\"", child, backend,
	       sights[0].warnings, sights[0].words);
	if (words != NULL) {
		EXPECT_CONTAINS(words, sights[0].words);
		EXPECT_CONTAINS("setting n_jobs=1", sights[0].words);
		EXPECT_INT(1, sights[0].n_jobs);
	}
	(void)snprintf(path, sizeof(path), "%s:1", child);
	look_down(ON(.n_jobs = PAR_SET(2)), path);
	expect_calls(1);
	expect_no_warning(1);
}

BEHAVIOUR(91, EVERY_BACKEND, "joblib's table: which backend in which warns that it cannot be nested, "
                             "and has one worker; none if one is asked for, or nested-NAME is")
{
	if (!is_of_joblib())
		leave_out("joblib has no rule for others");
	find_names();
	for (int i = 0; i < n_names; i++)
		expect_warning(names[i], warning_for(names[i]));
}

static void *call_apart(void *arg)
{
	uint64_t in[20], out[20] = {0};
	par_parallel *pool = NULL;
	int32_t code = par_open(&pool, ON(.n_jobs = PAR_SET(2)), NULL);

	EXPECT(code == PAR_OK, "cannot open: %s", par_code_name(code));
	EXPECT_INT(2, par_n_jobs(pool));
	EXPECT_TEXT(backend, par_backend_name(pool));
	for (uint64_t i = 0; i < 20; i++)
		in[i] = i;
	code = par_map(pool, arg, in, out, 20, NULL, NULL);
	EXPECT(code == PAR_OK, "cannot map: %s", par_code_name(code));
	expect_mixed(in, out, 20);
	par_close(pool);
	return NULL;
}

BEHAVIOUR(92, WITH_WORKERS, "a thread of the program's, outside of any task, may use processes like "
                            "the first, without a warning")
{
	void *mix = (void *)(uintptr_t)task("mix");
	pthread_t thread;

	EXPECT_INT(0, pthread_create(&thread, NULL, call_apart, mix));
	pthread_join(thread, NULL);
	EXPECT(strstr(printed(), "-backed parallel loops") == NULL, "a warning: %s", printed());
}

/* --- who in whom -------------------------------------------------------------------------------- */

static const struct acceptance_nest *nest_in(const char *child)
{
	static struct acceptance_nest nest;

	(void)snprintf(nest.backend, sizeof(nest.backend), "%s", child);
	(void)snprintf(nest.folder, sizeof(nest.folder), "%s", getenv("TMPDIR"));
	return &nest;
}

#define NEST(child)                                                                             \
	.shared = nest_in(child), .shared_size = sizeof(struct acceptance_nest),                \
	.batch_size = PAR_SET(1)

/* More tasks than workers, and in each of them too. */
static void expect_pair(const char *child)
{
	uint64_t in[4] = {0, 10, 20, 30}, out[4] = {0};

	MUST(par_map(NULL, task("sum_below"), in, out, 4, ON(.n_jobs = PAR_SET(2), NEST(child)), &error));
	for (int i = 0; i < 4; i++) {
		uint64_t sum = 0;

		for (uint64_t k = in[i]; k < in[i] + 4; k++)
			sum += k * k;
		EXPECT(out[i] == sum, "%s in %s: out[%d] is %llu, not %llu", child, backend, i,
		       (unsigned long long)out[i], (unsigned long long)sum);
	}
}

BEHAVIOUR(93, EVERY_BACKEND, "calls on every backend in tasks on every backend come to an end, with "
                             "more tasks than workers in each")
{
	find_names();
	for (int i = 0; i < n_names; i++)
		expect_pair(names[i]);
}

BEHAVIOUR(94, WITH_WORKERS, "a call in a task that does not say is on threads of the same process, "
                            "and has one worker")
{
	if (!is_of_joblib())
		leave_out("others may have an answer of their own");
	look_down(ON(.n_jobs = PAR_SET(2)), "-");
	expect_calls(1);
	EXPECT_INT(1, sights[0].n_jobs);
	EXPECT_INT(sights[0].pid, sights[1].pid);
	expect_no_warning(1);
	/* One thread is sequential; who wants two sees what they are. */
	look_down(ON(.n_jobs = PAR_SET(2)), "-:2");
	expect_calls(1);
	EXPECT_TEXT("threading", sights[0].backend);
	EXPECT_INT(sights[0].pid, sights[1].pid);
}

BEHAVIOUR(95, EVERY_BACKEND, "a call on sequential changes nothing for the calls in it: backend, "
                             "n_jobs, level and warnings are what they were outside")
{
	static struct acceptance_sight outside[2];
	int32_t n_jobs = par_effective_n_jobs(backend, 2, &error);

	MUST(par_context_push(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2)), NULL, &error));
	look_down(NULL, "-");
	memcpy(outside, sights, sizeof(outside));
	look_down(PAR_SETTINGS(.backend = "sequential", .n_jobs = PAR_SET(1)), "- -");
	expect_calls(2);
	EXPECT_INT(getpid(), sights[0].pid);
	EXPECT_TEXT(backend, sights[0].backend);
	EXPECT_INT(n_jobs, sights[0].n_jobs);
	EXPECT_TEXT(outside[0].backend, sights[1].backend);
	EXPECT_INT(outside[0].n_jobs, sights[1].n_jobs);
	expect_no_warning(2);
	MUST(par_context_pop(NULL, &error));
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	look_down(PAR_SETTINGS(.backend = "sequential"), "own");
	EXPECT_INT(0, own.call.level);
}

/* --- levels ------------------------------------------------------------------------------------- */

/* What a call of this thread is told, by a backend of ours. */
static int level_here(void)
{
	look_down(PAR_SETTINGS(.backend = "own"), "");
	return own.call.level;
}

BEHAVIOUR(96, EVERY_BACKEND, "calls are at level 0 at the top, and in tasks X at level 0 is followed "
                             "by threading at 1, and sequential at 2 and below")
{
	static const char *const types[] = {"threading", "sequential", "sequential", "sequential"};

	find_names();
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	EXPECT_INT(0, level_here());
	for (int i = 0; i < n_names; i++) {
		char path[96];

		(void)snprintf(path, sizeof(path), "%.63s:2", names[i]);
		look_down(ON(.n_jobs = PAR_SET(2)), path);
		expect_calls(1);
		EXPECT_INT(1, sights[0].level);
		EXPECT_INT(2, sights[1].level);
	}
	if (!is_of_joblib())
		leave_out("others may have an answer of their own");
	if (!is_backend(WITH_WORKERS))
		return; /* it changes nothing: B95 */
	look_down(ON(.n_jobs = PAR_SET(2)), "-:2 -:2 -:2 -:2");
	expect_calls(4);
	for (int i = 0; i < 4; i++) {
		EXPECT_TEXT(types[i], sights[i].backend);
		EXPECT_INT(i + 1, sights[i].level);
	}
	EXPECT_INT(0, level_here());
}

/* --- without end -------------------------------------------------------------------------------- */

static int n_present(void)
{
	DIR *dir = opendir(getenv("TMPDIR"));
	struct dirent *entry;
	int n = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		n += strncmp(entry->d_name, "here-", 5) == 0;
	if (dir != NULL)
		closedir(dir);
	return n;
}

enum { DEEPEST = 10 };

/* Each task makes two calls of itself, on that backend: it ends, before there are more at each level
 * than there are cores. */
static void expect_fall(const char *child)
{
	const int width = par_cpu_count(0) > 2 ? par_cpu_count(0) : 2, before = n_present();
	uint64_t in[2] = {0}, out[2], none = 0, most;
	char words[sizeof(error.trace) + sizeof(error.reason) + 1];

	MUST_BE(PAR_EFAILED, par_map(NULL, task("fall"), in, out, 2,
	                             ON(.n_jobs = PAR_SET(2), NEST(child)), &error));
	(void)snprintf(words, sizeof(words), "%s %s", error.reason, error.trace);
	EXPECT_CONTAINS("nested too deep", words);
	MUST(par_map(NULL, task("threads_found"), &none, &most, 1,
	             PAR_SETTINGS(.backend = "sequential"), &error));
	EXPECT_BETWEEN(0, (DEEPEST + 1) * width, n_present() - before);
	EXPECT_BETWEEN(0, (DEEPEST + 1) * width, most);
}

BEHAVIOUR(97, EVERY_BACKEND, "calls in calls without end are an error, and no bomb of threads or "
                             "processes, on the backend itself, nested-NAME, or whatever there is")
{
	char nested[96];

	(void)snprintf(nested, sizeof(nested), "nested-%s", backend);
	expect_fall("");
	expect_fall(backend);
	expect_fall(nested);
}

/* --- hooks -------------------------------------------------------------------------------------- */

static int square_by_square(const int64_t *in, int64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square_by_square, int64_t, int64_t)

static int call_others(par_env *env, const int64_t *in, int64_t *out)
{
	const char *names_of_others[] = {"threading", "sequential", NULL};
	int64_t values[4] = {*in, *in + 1, *in + 2, *in + 3}, squares[4];

	for (int i = 0; i < 3; i++) {
		int32_t code = par_map(NULL, &par_task_square_by_square, values, squares, 4,
		                       PAR_SETTINGS(.backend = names_of_others[i], .n_jobs = PAR_SET(2)),
		                       NULL);

		if (code != PAR_OK)
			return par_fail_task(env, 1, "a call on %s: %s",
			                     names_of_others[i] != NULL ? names_of_others[i] : "any",
			                     par_code_name(code));
	}
	*out = squares[3];
	return 0;
}
PAR_TASK_ENV(call_others, int64_t, int64_t)

BEHAVIOUR(98, NO_BACKEND, "a backend hears once a call that results are waited for, and nothing of "
                          "calls on other backends in its tasks")
{
	par_parallel *pool;
	int64_t in[8] = {0, 1, 2, 3, 4, 5, 6, 7}, out[8];

	MUST(par_configure(NULL, &error));
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	MUST(par_map(NULL, &par_task_call_others, in, out, 8,
	             PAR_SETTINGS(.backend = "own", .n_jobs = PAR_SET(2)), &error));
	EXPECT_INT(1, own.enters);
	EXPECT_INT(1, own.exits);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "own", .n_jobs = PAR_SET(2)), &error));
	for (int i = 0; i < 3; i++) {
		EXPECT_INT(1 + i, own.enters);
		MUST(par_map(pool, &par_task_call_others, in, out, 8, NULL, &error));
		EXPECT_INT(2 + i, own.exits);
	}
	par_close(pool);
	EXPECT_INT(4, own.enters);
	EXPECT_INT(4, own.exits);
}

/* --- nested-NAME -------------------------------------------------------------------------------- */

static int32_t has_name(void *name, const par_backend_info *info)
{
	EXPECT_TEXT(name, info->name);
	return 0;
}

/* Somebody who lists backends can say what it is. */
static void expect_shown(const char *name)
{
	MUST(par_show_backend(name, has_name, (void *)(uintptr_t)name, &error));
}

/* Four calls in each other, of which none but the outermost says on what. */
static void expect_it_at_every_level(const char *nested, const par_settings *settings)
{
	/* Two workers, since one thread is sequential. */
	look_down(settings, "-:2 -:2 -:2");
	expect_calls(3);
	expect_no_warning(3);
	for (int i = 0; i < 3; i++)
		EXPECT_TEXT(nested, sights[i].backend);
	for (int i = 1; i < 4; i++)
		if (is_backend(WITH_PROCESSES))
			EXPECT(sights[i].pid != sights[i - 1].pid, "level %d is in the process of the "
			       "one above", i + 1);
		else
			EXPECT_INT(getpid(), sights[i].pid);
}

/* An option of the outermost reaches the workers of those below. */
static void expect_options_kept(const char *nested)
{
	static const char *const options[] = {"initializer=" PAR_BUILD "/tasks/acceptance.so:remember",
	                                      NULL};
	uint64_t in = 3, out = 0;

	MUST(par_map(NULL, task("recall_below"), &in, &out, 1,
	             PAR_SETTINGS(.backend = nested, .options = options, .n_jobs = PAR_SET(1)), &error));
	EXPECT_INT(4, out);
}

static void expect_default_of_file(const char *nested)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "[parloop]\ndefault = %s\n", nested);
	MUST(par_configure(write_file("plugins.conf", text), &error));
	EXPECT_TEXT(nested, par_default_backend());
	expect_it_at_every_level(nested, NULL);
}

static void expect_own_nested(void)
{
	const char *const options[] = {"endpoint=here", NULL};

	EXPECT_INT(0, par_effective_n_jobs("nested-own", 2, &error));
	EXPECT_INT(PAR_ENOTFOUND, error.code);
	MUST(par_register_backend("own", own_factory, OWN_NOTE, 0, &error));
	expect_shown("nested-own");
	look_down(PAR_SETTINGS(.backend = "nested-own", .options = options), "- -");
	expect_calls(2);
	EXPECT_TEXT("nested-own", sights[0].backend);
	EXPECT_TEXT("nested-own", sights[1].backend);
	EXPECT_TEXT("here", own.endpoint);
	EXPECT_INT(3, own.creates);
}

BEHAVIOUR(110, EVERY_BACKEND, "nested-NAME is NAME at every level, with its options, for one that "
                              "was registered just now, and as the default of plugins.conf too")
{
	char nested[96];

	(void)snprintf(nested, sizeof(nested), "nested-%s", backend);
	expect_default_of_file(nested);
	expect_shown(nested);
	expect_it_at_every_level(nested, PAR_SETTINGS(.backend = nested, .n_jobs = PAR_SET(2)));
	if (is_backend(STARTING_PROCESSES))
		expect_options_kept(nested);
	expect_own_nested();
	EXPECT_INT(0, par_effective_n_jobs("nested-nobody", 2, &error));
	EXPECT_INT(PAR_ENOTFOUND, error.code);
	EXPECT_CONTAINS("Invalid backend: nested-nobody, expected one of [", error.what);
	EXPECT_CONTAINS("'nested-threading'", error.what);
}
