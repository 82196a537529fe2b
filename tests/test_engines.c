/* Clusters, through the public API alone.  As it is, with an engine that stands in for one: all of the
 * bridge, but for what Dask and Ray do.  tests/test_dask.sh and test_ray.sh run it on those:
 * $TEST_ENGINE is the backend, $TEST_ENGINE_CONF its section of plugins.conf. */
#include "scratch.h"
#include "shared.h"
#include "tasks/processes.h"

#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <dirent.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#define DEMO      PAR_BUILD "/tasks/demo.so"
#define PROCESSES PAR_BUILD "/tasks/processes.so"
#define BRIDGE    PAR_CHECKOUT "/plugins/engines/parloop_bridge.py"

enum { N = 20000 };

static par_error error = PAR_ERROR_INIT;
static int64_t in[N], out[N];
static int32_t statuses[N];
static const char *engine = "standin";

/* --- tasks of this program --------------------------------------------------------------------- */

static int twice(const int64_t *value, int64_t *result)
{
	*result = 2 * *value;
	return 0;
}
PAR_TASK(twice, int64_t, int64_t)

static void sleep_ms(int64_t ms)
{
	struct timespec left = {ms / 1000, ms % 1000 * 1000000};

	while (nanosleep(&left, &left) != 0)
		;
}

static int nap(const int64_t *ms, int64_t *result)
{
	sleep_ms(*ms);
	*result = *ms;
	return 0;
}
PAR_TASK(nap, int64_t, int64_t)

/* When it began. */
static int nap_from(const int64_t *ms, int64_t *result)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	sleep_ms(*ms);
	*result = (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
	return 0;
}
PAR_TASK(nap_from, int64_t, int64_t)

static int picky(par_env *env, const int64_t *value, int64_t *result)
{
	if (*value == 7)
		return par_fail_task_as(env, 3, "Seven", "%d is bad", (int)*value);
	*result = *value;
	return 0;
}
PAR_TASK_ENV(picky, int64_t, int64_t)

static int now(const int64_t *value, int64_t *result)
{
	struct timespec time;

	(void)value;
	clock_gettime(CLOCK_MONOTONIC, &time);
	*result = (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
	return 0;
}
PAR_TASK(now, int64_t, int64_t)

/* The engine's worker: what started us. */
static int whose(const int64_t *value, int64_t *result)
{
	(void)value;
	*result = getppid();
	return 0;
}
PAR_TASK(whose, int64_t, int64_t)

/* What all share, and what is of this task alone. */
static int add_shared(par_env *env, const int64_t *value, int64_t *result)
{
	const int64_t *shared = env->shared;
	int64_t sum = *value;

	for (uint64_t i = 0; i < env->shared_size / sizeof(*shared); i++)
		sum += shared[i];
	*result = sum;
	return 0;
}
PAR_TASK_ENV(add_shared, int64_t, int64_t)

static int nested(par_env *env, const int64_t *value, int64_t *result)
{
	int64_t values[8], results[8];
	par_error why = PAR_ERROR_INIT;

	for (int i = 0; i < 8; i++)
		values[i] = *value + i;
	*result = 0;
	if (par_map(NULL, &par_task_twice, values, results, 8, NULL, &why) < 0)
		return par_fail_task(env, 1, "%s: %s; %s", why.what, why.reason, why.remedy);
	for (int i = 0; i < 8; i++)
		*result += results[i];
	return 0;
}
PAR_TASK_ENV(nested, int64_t, int64_t)

static int which(const int64_t *value, int64_t *result)
{
	(void)value;
	*result = getpid();
	return 0;
}
PAR_TASK(which, int64_t, int64_t)

/* How many of eight tasks of a call inside ran in this very process. */
static int nested_here(par_env *env, const int64_t *value, int64_t *result)
{
	int64_t values[8] = {*value}, results[8];
	par_error why = PAR_ERROR_INIT;

	if (par_map(NULL, &par_task_which, values, results, 8, NULL, &why) < 0)
		return par_fail_task(env, 1, "%s: %s; %s", why.what, why.reason, why.remedy);
	*result = 0;
	for (int i = 0; i < 8; i++)
		*result += results[i] == getpid();
	return 0;
}
PAR_TASK_ENV(nested_here, int64_t, int64_t)

/* --- how they are run ------------------------------------------------------------------------------ */

static const char *error_line(void)
{
	static char text[4096];

	return par_error_text(&error, 1, text, sizeof(text));
}

#define MUST_BE(expected, call)                                                                 \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == (expected), "%s: %s, expected %s; %s", #call,        \
		              par_code_name(must_code), par_code_name(expected), error_line()); \
	} while (0)
#define MUST(call) MUST_BE(PAR_OK, call)

static int is_stand_in(void)
{
	return strcmp(engine, "standin") == 0;
}

static void begin(void)
{
	static const char stand_in[] = "[backend standin]\n"
	                               "path = " PLUGIN("standin") "\n"
	                               "bridge = " BRIDGE "\n"
	                               "keep = 0s\n";
	const char *conf = getenv("TEST_ENGINE_CONF");

	scratch_begin();
	error = (par_error)PAR_ERROR_INIT;
	setenv("PARLOOP_CACHE", scratch_path("cache"), 1);
	if (conf == NULL)
		conf = scratch_write("plugins.conf", stand_in, sizeof(stand_in) - 1);
	ck_assert_int_eq(chmod(conf, 0600), 0);
	setenv("PARLOOP_CONF", conf, 1);
	for (int i = 0; i < N; i++)
		in[i] = i;
	memset(out, 0, sizeof(out));
}

static const par_task *task_of(const char *path, const char *name)
{
	par_module *module;
	const par_task *task;

	MUST(par_module_open(&module, path, &error));
	MUST(par_module_task(module, name, &task, &error));
	return task;
}

static int64_t now_ms(void)
{
	int64_t ns;

	(void)now(NULL, &ns);
	return ns / 1000000;
}

/* --- results ------------------------------------------------------------------------------------------ */

START_TEST(results_come_in_order)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
	for (int round = 0; round < 2; round++) {
		MUST(par_map(pool, round == 0 ? &par_task_twice : task_of(DEMO, "square"), in, out, N, NULL,
		             &error));
		for (int64_t i = 0; i < N; i++)
			ck_assert_int_eq(out[i], round == 0 ? 2 * i : i * i);
	}
	par_close(pool);
}
END_TEST

struct words {
	int given, taken;
};

static int32_t next_word(void *user, par_item *item)
{
	struct words *words = user;

	if (words->given == 500)
		return 0;
	item->payload = "a word of some";
	item->n_bytes = (uint64_t)(++words->given % 14);
	return 1;
}

static int32_t take_word(void *user, const par_outcome *outcome)
{
	struct words *words = user;

	ck_assert_int_eq((int)outcome->index, words->taken++);
	ck_assert_uint_eq(outcome->n_bytes, (uint64_t)(words->taken % 14));
	ck_assert_int_eq(memcmp(outcome->bytes, "A WORD OF SOME", outcome->n_bytes), 0);
	return 0;
}

START_TEST(a_stream_comes_in_order)
{
	struct words words = {0, 0};

	MUST(par_run(NULL, task_of(DEMO, "upper"), next_word, take_word, &words,
	             PAR_SETTINGS(.backend = engine), &error));
	ck_assert_int_eq(words.taken, 500);
}
END_TEST

/* Nothing is taken to be a function of its input alone. */
START_TEST(the_same_call_runs_twice)
{
	par_parallel *pool;
	int64_t first;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
	MUST(par_map(pool, &par_task_now, in, out, 1, NULL, &error));
	first = out[0];
	MUST(par_map(pool, &par_task_now, in, out, 1, NULL, &error));
	ck_assert_int_ne(out[0], first);
	par_close(pool);
}
END_TEST

/* Of one size and in one place, and yet other bytes. */
START_TEST(what_is_shared_is_of_its_call)
{
	enum { LARGE = 300000 };
	int64_t *shared = calloc(LARGE, sizeof(*shared));
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
	for (int64_t round = 1; round < 4; round++) {
		shared[0] = shared[LARGE - 1] = round;
		MUST(par_map(pool, &par_task_add_shared, in, out, 100,
		             PAR_SETTINGS(.shared = shared, .shared_size = LARGE * sizeof(*shared)), &error));
		for (int64_t i = 0; i < 100; i++)
			ck_assert_int_eq(out[i], i + 2 * round);
	}
	par_close(pool);
	free(shared);
	shared_shrink();
}
END_TEST

/* One large text for all of a stream's tasks; what it begins with changes once. */
enum { TEXT = 1600000, TEXTS = 40 };

struct texts {
	char *text;
	int given, taken;
};

static int32_t next_text(void *user, par_item *item)
{
	struct texts *texts = user;

	if (texts->given == TEXTS)
		return 0;
	texts->text[0] = texts->given < TEXTS / 2 ? 'a' : 'b';
	texts->given++;
	item->payload = texts->text;
	item->n_bytes = TEXT;
	return 1;
}

static int32_t take_text(void *user, const par_outcome *outcome)
{
	struct texts *texts = user;
	const char *text = outcome->bytes;

	ck_assert_uint_eq(outcome->n_bytes, TEXT);
	ck_assert_int_eq(text[0], texts->taken < TEXTS / 2 ? 'A' : 'B');
	ck_assert_int_eq(text[TEXT - 1], 'Z');
	texts->taken++;
	return 0;
}

START_TEST(a_large_input_goes_once)
{
	struct texts texts = {.text = malloc(TEXT)};

	memset(texts.text, 'z', TEXT);
	MUST(par_run(NULL, task_of(DEMO, "upper"), next_text, take_text, &texts,
	             PAR_SETTINGS(.backend = engine), &error));
	ck_assert_int_eq(texts.taken, TEXTS);
	free(texts.text);
	shared_shrink();
}
END_TEST

START_TEST(large_arrays_go_once)
{
	enum { LARGE = 400000 };
	int64_t *values = par_shared_alloc(LARGE * sizeof(*values), &error);
	int64_t *results = par_shared_alloc(LARGE * sizeof(*results), &error);

	for (int64_t round = 0; round < 2; round++) {
		for (int64_t i = 0; i < LARGE; i++)
			values[i] = i + round;
		MUST(par_map(NULL, &par_task_twice, values, results, LARGE,
		             PAR_SETTINGS(.backend = engine, .max_nbytes = PAR_SET(1000)), &error));
		for (int64_t i = 0; i < LARGE; i++)
			ck_assert_int_eq(results[i], 2 * (i + round));
	}
	par_shared_free(values);
	par_shared_free(results);
}
END_TEST

/* --- failures ------------------------------------------------------------------------------------------- */

static void assert_host(void)
{
	char host[HOST_NAME_MAX + 1] = "";

	(void)gethostname(host, sizeof(host));
	ck_assert_str_eq(error.host, host);
}

START_TEST(a_failure_says_where_and_the_next_call_works)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
	MUST_BE(PAR_EFAILED, par_map(pool, &par_task_picky, in, out, 100, NULL, &error));
	assert_contains(error.what, "task 7");
	ck_assert_str_eq(error.type, "Seven");
	ck_assert_str_eq(error.reason, "7 is bad");
	assert_host();
	ck_assert_int_ge(error.worker, 0);
	MUST(par_map(pool, &par_task_twice, in, out, 100, NULL, &error));
	ck_assert_int_eq(out[99], 198);
	par_close(pool);
}
END_TEST

/* It is named, and costs no worker of the engine's. */
START_TEST(a_crash_costs_its_task)
{
	in[5] = DIE_SEGV;
	for (int i = 0; i < 40; i++)
		in[i] = i == 5 ? DIE_SEGV : DIE_NOT;
	MUST_BE(PAR_EFAILED, par_map(NULL, task_of(PROCESSES, "die"), in, out, 40,
	                             PAR_SETTINGS(.backend = engine, .on_error = PAR_COLLECT,
	                                          .statuses = statuses),
	                             &error));
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(statuses[i], i == 5 ? PAR_ELOST : PAR_OK);
	assert_contains(error.what, "task 5");
	ck_assert_int_eq(error.signal, SIGSEGV);
	ck_assert_int_gt(error.pid, 0);
	assert_host();
}
END_TEST

START_TEST(a_task_over_its_time_is_killed)
{
	int64_t began = now_ms();

	for (int i = 0; i < 10; i++)
		in[i] = i == 3 ? 60000 : 1;
	MUST_BE(PAR_EFAILED, par_map(NULL, &par_task_nap, in, out, 10,
	                             PAR_SETTINGS(.backend = engine, .on_error = PAR_COLLECT,
	                                          .statuses = statuses, .task_timeout = PAR_SET(1)),
	                             &error));
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(statuses[i], i == 3 ? PAR_ETIMEOUT : PAR_OK);
	ck_assert_int_lt(now_ms() - began, 30000);
}
END_TEST

START_TEST(a_call_over_its_time_ends_and_the_next_one_works)
{
	int64_t began = now_ms();
	par_parallel *pool;

	in[0] = in[1] = in[2] = in[3] = 60000;
	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
	/* Also while the processes that are to run it are only being started. */
	for (int i = 0; i < 4; i++)
		MUST_BE(PAR_ETIMEOUT, par_map(pool, &par_task_nap, in, out, 4,
		                              PAR_SETTINGS(.call_timeout = PAR_SET(i == 3 ? 1 : 0.005 + 0.01 * i)), &error));
	in[0] = 5;
	MUST(par_map(pool, &par_task_twice, in, out, 1, NULL, &error));
	ck_assert_int_eq(out[0], 10);
	par_close(pool);
	ck_assert_int_lt(now_ms() - began, 30000);
}
END_TEST

/* Naps of so long, until there were enough. */
struct naps {
	par_parallel *pool;
	int64_t ms;
	int given, enough, taken, cancel_at;
};

static int32_t next_nap(void *user, par_item *item)
{
	struct naps *naps = user;

	if (naps->given == naps->enough)
		return 0;
	naps->given++;
	item->payload = &naps->ms;
	item->n_bytes = sizeof(naps->ms);
	return 1;
}

static int32_t take_nap(void *user, const par_outcome *outcome)
{
	struct naps *naps = user;

	ck_assert_int_eq((int)outcome->index, naps->taken++);
	ck_assert_int_eq(*(const int64_t *)outcome->bytes, naps->ms);
	if (naps->taken == naps->cancel_at)
		par_cancel(naps->pool);
	return 0;
}

/* What runs by then is not waited for. */
START_TEST(a_call_that_is_cancelled_ends_and_the_next_one_works)
{
	struct naps naps = {.ms = 1, .enough = 100000, .cancel_at = 10};
	par_thrown thrown = {.size = sizeof(thrown)};
	const par_outcome *outcome;
	par_iter *iter;

	MUST(par_open(&naps.pool, PAR_SETTINGS(.backend = engine), &error));
	MUST_BE(PAR_ECANCELED, par_run(naps.pool, &par_task_nap, next_nap, take_nap, &naps, NULL, &error));
	ck_assert_int_lt(naps.taken, naps.enough);
	naps = (struct naps){.pool = naps.pool, .ms = 1, .enough = 100000};
	MUST(par_iter_open(&iter, naps.pool, &par_task_nap, next_nap, &naps, NULL, &error));
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	naps.ms = 60000;
	ck_assert_int_eq(par_iter_next(iter, &outcome, &error), 1);
	par_iter_close(iter, &thrown);
	ck_assert_int_gt((int)thrown.cancelled, 0);
	MUST(par_map(naps.pool, &par_task_twice, in, out, 100, NULL, &error));
	ck_assert_int_eq(out[99], 198);
	par_close(naps.pool);
}
END_TEST

static struct {
	uint64_t done;
	int n_between, n_begun, n_ended;
} seen;

static void on_progress(void *watcher, const par_progress *progress)
{
	(void)watcher;
	ck_assert_uint_ge(progress->done, seen.done);
	ck_assert_uint_eq(progress->total, 20);
	seen.done = progress->done;
	seen.n_between += progress->done > 0 && progress->done < progress->total;
}

static void on_event(void *watcher, const par_event *event)
{
	(void)watcher;
	seen.n_begun += event->kind == PAR_EVENT_STARTED;
	seen.n_ended += event->kind == PAR_EVENT_DONE;
	ck_assert_int_ge(seen.n_begun, seen.n_ended);
}

START_TEST(progress_is_told_while_a_call_runs)
{
	memset(&seen, 0, sizeof(seen));
	for (int i = 0; i < 20; i++)
		in[i] = 50;
	MUST(par_map(NULL, &par_task_nap, in, out, 20,
	             PAR_SETTINGS(.backend = engine, .on_progress = on_progress, .on_event = on_event),
	             &error));
	ck_assert_uint_eq(seen.done, 20);
	ck_assert_int_gt(seen.n_between, 0);
	ck_assert_int_eq(seen.n_begun, 20);
	ck_assert_int_eq(seen.n_ended, 20);
}
END_TEST

/* What $TEST_ENGINE_GROW and $TEST_ENGINE_SHRINK do to the cluster. */
static void change(const char *variable)
{
	ck_assert_ptr_nonnull(getenv(variable));
	ck_assert_int_eq(system(getenv(variable)), 0);
}

/* A third worker is started when there were some naps.  When three have been at once, it is stopped, and
 * there are some more. */
enum { CLUSTER_NAP_MS = 100, MOST_NAPS = 400 };
struct cluster {
	struct naps naps;
	int64_t began[MOST_NAPS];
	int most;
};

static int32_t take_began(void *user, const par_outcome *outcome)
{
	struct cluster *cluster = user;
	int64_t began = *(const int64_t *)outcome->bytes;
	int together = 0, before = cluster->most;

	ck_assert_int_eq((int)outcome->index, cluster->naps.taken);
	cluster->began[cluster->naps.taken++] = began;
	for (int i = cluster->naps.taken - 1; i >= 0 && i > cluster->naps.taken - 8; i--)
		together += cluster->began[i] > began - CLUSTER_NAP_MS && cluster->began[i] <= began;
	cluster->most = together > before ? together : before;
	if (cluster->naps.taken == 4)
		change("TEST_ENGINE_GROW");
	if (before < 3 && cluster->most == 3) {
		change("TEST_ENGINE_SHRINK");
		cluster->naps.cancel_at = cluster->naps.taken + 20;
	}
	if (cluster->naps.taken == cluster->naps.cancel_at)
		par_cancel(cluster->naps.pool);
	return 0;
}

START_TEST(it_follows_a_cluster_that_grows_and_shrinks)
{
	const char *option[] = {"window=1", NULL}; /* so no more are out than there are workers */
	struct cluster cluster = {.naps = {.ms = CLUSTER_NAP_MS, .enough = MOST_NAPS}};

	ck_assert_int_eq(par_effective_n_jobs(engine, PAR_UNSET, &error), 2);
	MUST(par_open(&cluster.naps.pool, PAR_SETTINGS(.backend = engine, .options = option), &error));
	MUST_BE(PAR_ECANCELED, par_run(cluster.naps.pool, &par_task_nap_from, next_nap, take_began, &cluster,
	                               PAR_SETTINGS(.batch_size = PAR_SET(1)), &error));
	par_close(cluster.naps.pool);
	ck_assert_int_eq(cluster.most, 3);
	for (int i = 0; i < 200 && par_effective_n_jobs(engine, PAR_UNSET, &error) != 2; i++)
		sleep_ms(100);
	ck_assert_int_eq(par_effective_n_jobs(engine, PAR_UNSET, &error), 2);
}
END_TEST

/* Who had to wait for the next look of a bridge that looks twice a second would not come to an end
 * here. */
START_TEST(a_kept_connection_is_there_at_once)
{
	par_parallel *pool;

	for (int i = 0; i < 400; i++) {
		MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
		par_close(pool);
	}
}
END_TEST

/* The engine's own worker dies, and its tasks run elsewhere. */
START_TEST(an_engines_worker_is_killed)
{
	struct naps naps = {.ms = 10, .enough = 200};
	pid_t killer;
	int status;

	MUST(par_open(&naps.pool, PAR_SETTINGS(.backend = engine), &error));
	MUST(par_map(naps.pool, &par_task_whose, in, out, 1, NULL, &error));
	killer = fork();
	if (killer == 0) {
		sleep_ms(500);
		_exit(kill((pid_t)out[0], SIGKILL) != 0);
	}
	MUST(par_run(naps.pool, &par_task_nap, next_nap, take_nap, &naps, NULL, &error));
	ck_assert_int_eq(naps.taken, naps.enough);
	ck_assert_int_eq(waitpid(killer, &status, 0), killer);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	par_close(naps.pool);
}
END_TEST

/* --- calls inside ----------------------------------------------------------------------------------------- */

START_TEST(calls_inside_tasks)
{
	for (int i = 0; i < 4; i++)
		in[i] = i;
	MUST(par_map(NULL, &par_task_nested, in, out, 4, PAR_SETTINGS(.backend = engine), &error));
	for (int64_t i = 0; i < 4; i++)
		ck_assert_int_eq(out[i], 2 * (8 * i + 28));
}
END_TEST

/* On all workers there are tasks that wait for others, which need a worker too. */
START_TEST(calls_inside_tasks_on_the_same_engine)
{
	const char *options[] = {"retries=5", "resources=spot=2", NULL, NULL};
	char name[32], bridge[300];

	/* Those inside have these options as well: the bridge notes it. */
	(void)snprintf(name, sizeof(name), "nested-%s", engine);
	(void)snprintf(bridge, sizeof(bridge), "bridge=%s", getenv("TEST_ENGINE_BRIDGE"));
	options[2] = getenv("TEST_ENGINE_BRIDGE") != NULL ? bridge : NULL;
	MUST(par_map(NULL, &par_task_nested_here, in, out, 4,
	             PAR_SETTINGS(.backend = name, .options = options), &error));
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(out[i], 0);
}
END_TEST

/* --- what is not there -------------------------------------------------------------------------------------- */

/* Where it runs there is no such folder. */
START_TEST(a_module_travels)
{
	const char *option[] = {NULL, NULL};
	struct dirent *entry;
	char script[600], text[300];
	int n = 0;
	DIR *cache;

	if (geteuid() != 0) {
		puts("SKIP a_module_travels: only root can hide a folder from the stand-in");
		return;
	}
	(void)snprintf(script, sizeof(script), "#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs none %s && "
	               "exec python3 \"$@\"' sh \"$@\"\n", scratch_path("hidden"));
	(void)snprintf(text, sizeof(text), "python=%s", scratch_write("elsewhere", script, strlen(script)));
	ck_assert_int_eq(chmod(scratch_path("elsewhere"), 0700), 0);
	ck_assert_int_eq(mkdir(scratch_path("hidden"), 0700), 0);
	option[0] = text;
	MUST(par_map(NULL, task_of(scratch_copy(DEMO, "hidden/travels.so"), "square"), in, out, 10,
	             PAR_SETTINGS(.backend = engine, .options = option), &error));
	ck_assert_int_eq(out[9], 81);
	cache = opendir(scratch_path("cache"));
	ck_assert_ptr_nonnull(cache);
	while ((entry = readdir(cache)) != NULL)
		n += strstr(entry->d_name, ".so") != NULL;
	closedir(cache);
	ck_assert_int_eq(n, 1);
}
END_TEST

START_TEST(it_says_that_there_is_no_python)
{
	const char *option[] = {"python=/nowhere/python", NULL};

	MUST_BE(PAR_EUNAVAIL, par_map(NULL, &par_task_twice, in, out, 1,
	                              PAR_SETTINGS(.backend = "standin", .options = option), &error));
	assert_contains(error_line(), "/nowhere/python");
	assert_contains(error.remedy, "$PARLOOP_PYTHON");
}
END_TEST

/* Of the shipped ones, which are lazy. */
START_TEST(it_says_what_python_lacks)
{
	const char script[] = "#!/bin/sh\nexec /usr/bin/python3 -I -S \"$@\"\n";
	const char *bare = scratch_write("bare", script, sizeof(script) - 1);
	char text[500];

	ck_assert_int_eq(chmod(bare, 0700), 0);
	(void)snprintf(text, sizeof(text), "[lazy]\ndask = %s/engines.so\nray = %s/engines.so\n", PAR_PLUGINS,
	               PAR_PLUGINS);
	setenv("PARLOOP_CONF", scratch_write("lazy.conf", text, strlen(text)), 1);
	ck_assert_int_eq(chmod(getenv("PARLOOP_CONF"), 0600), 0);
	setenv("PARLOOP_PYTHON", bare, 1);
	for (int i = 0; i < 2; i++) {
		MUST_BE(PAR_EUNAVAIL, par_map(NULL, &par_task_twice, in, out, 1,
		                              PAR_SETTINGS(.backend = i == 0 ? "dask" : "ray"), &error));
		assert_contains(error.reason, i == 0 ? "cannot import distributed" : "cannot import ray");
		assert_contains(error.remedy, i == 0 ? "install distributed" : "install ray");
	}
}
END_TEST

static void have_workers(int n)
{
	char text[16];

	(void)snprintf(text, sizeof(text), "%d", n);
	ck_assert_int_eq(rename(scratch_write("workers.new", text, strlen(text)), scratch_path("workers")), 0);
	setenv("PARLOOP_STAND_IN_WORKERS", scratch_path("workers"), 1);
}

START_TEST(no_worker_is_an_error_in_time)
{
	const char *option[] = {"wait_for_workers=500ms", NULL};
	par_parallel *pool;
	pid_t child;

	have_workers(0);
	MUST_BE(PAR_EUNAVAIL, par_map(NULL, &par_task_twice, in, out, 1,
	                              PAR_SETTINGS(.backend = engine, .options = option), &error));
	assert_contains(error.reason, "no worker for 0.5 s");
	assert_contains(error.remedy, "wait_for_workers");
	have_workers(2);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine, .options = option), &error));
	child = fork();
	if (child == 0) {
		sleep_ms(300);
		have_workers(0);
		_exit(0);
	}
	in[0] = in[1] = 60000;
	ck_assert_int_lt(par_map(pool, &par_task_nap, in, out, 2, NULL, &error), 0);
	assert_contains(error.reason, "no worker for 0.5 s");
	par_close(pool);
	waitpid(child, NULL, 0);
}
END_TEST

static int by_time(const void *a, const void *b)
{
	return *(const int64_t *)a < *(const int64_t *)b ? -1 : 1;
}

/* Also while a call is under way. */
START_TEST(it_follows_the_cluster)
{
	enum { NAPS = 40, NAP_MS = 200 };
	const char *option[] = {"window=1", NULL}; /* so no more are out than there are workers */
	par_parallel *pool;
	int most = 0;

	have_workers(3);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine, .options = option), &error));
	ck_assert_int_eq(par_effective_n_jobs(engine, PAR_UNSET, &error), 3);
	have_workers(6);
	for (int i = 0; i < NAPS; i++)
		in[i] = NAP_MS;
	MUST(par_map(pool, &par_task_nap_from, in, out, NAPS, NULL, &error));
	qsort(out, NAPS, sizeof(out[0]), by_time);
	for (int i = 0; i < NAPS; i++) {
		int together = 1;

		while (i + together < NAPS && out[i + together] < out[i] + NAP_MS)
			together++;
		most = together > most ? together : most;
	}
	ck_assert_int_gt(most, 3);
	have_workers(1);
	MUST(par_map(pool, &par_task_nap_from, in, out, 4, NULL, &error));
	qsort(out, 4, sizeof(out[0]), by_time);
	for (int i = 1; i < 4; i++)
		ck_assert_int_ge(out[i], out[i - 1] + NAP_MS);
	par_close(pool);
}
END_TEST

/* --- nothing is left ------------------------------------------------------------------------------------------ */

/* Processes whose command line has such a word and such another; a moment is given them. */
static int processes(const char *word, const char *other)
{
	struct dirent *entry;
	DIR *all = opendir("/proc");
	int found = 0;

	while ((entry = readdir(all)) != NULL) {
		char path[300], line[4096] = "";
		FILE *file;
		size_t n;

		(void)snprintf(path, sizeof(path), "/proc/%s/cmdline", entry->d_name);
		file = fopen(path, "r");
		if (file == NULL)
			continue;
		n = fread(line, 1, sizeof(line) - 1, file);
		fclose(file);
		for (size_t i = 0; i < n; i++)
			if (line[i] == '\0')
				line[i] = ' ';
		found += strstr(line, word) != NULL && strstr(line, other) != NULL;
	}
	closedir(all);
	return found;
}

START_TEST(a_program_that_is_killed_takes_all_along)
{
	char parent[32];
	int ready[2];
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (child == 0) {
		par_parallel *pool;

		MUST(par_open(&pool, PAR_SETTINGS(.backend = engine), &error));
		MUST(par_map(pool, &par_task_twice, in, out, 10, NULL, &error));
		(void)!write(ready[1], "x", 1);
		in[0] = in[1] = 60000;
		(void)par_map(pool, &par_task_nap, in, out, 2, NULL, &error);
		_exit(1);
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	sleep_ms(300);
	(void)snprintf(parent, sizeof(parent), "bridge.py %d ", (int)child);
	ck_assert_int_eq(processes(parent, "bridge"), 1);
	ck_assert_int_eq(kill(child, SIGKILL), 0);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	for (int i = 0; i < 100 && processes(parent, "bridge") > 0; i++)
		sleep_ms(100);
	ck_assert_int_eq(processes(parent, "bridge"), 0);
}
END_TEST

/* On a real engine it is in the names of files that plugins.conf has. */
START_TEST(secrets_are_not_shown)
{
	char word[40] = "sesame", address[60];
	const char *option[] = {is_stand_in() ? address : NULL, NULL};
	par_parallel *pool;

	/* Others on this machine may run the same test. */
	if (is_stand_in())
		(void)snprintf(word, sizeof(word), "sesame-%d-", (int)getpid());
	(void)snprintf(address, sizeof(address), "address=%s", word);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = engine, .options = option), &error));
	MUST(par_map(pool, &par_task_twice, in, out, 10, NULL, &error));
	ck_assert_int_eq(processes(word, ""), 0);
	par_close(pool);
}
END_TEST

static void add(TCase *tcase, const TTest *const *tests)
{
	for (; *tests != NULL; tests++)
		if (getenv("TEST_ONLY") == NULL || strcmp(getenv("TEST_ONLY"), (*tests)->name) == 0)
			tcase_add_test(tcase, *tests);
}

int main(int argc, char **argv)
{
	const TTest *const everywhere[] = {
		results_come_in_order,
		a_stream_comes_in_order,
		the_same_call_runs_twice,
		what_is_shared_is_of_its_call,
		a_large_input_goes_once,
		large_arrays_go_once,
		a_failure_says_where_and_the_next_call_works,
		a_crash_costs_its_task,
		a_task_over_its_time_is_killed,
		a_call_over_its_time_ends_and_the_next_one_works,
		calls_inside_tasks,
		a_call_that_is_cancelled_ends_and_the_next_one_works,
		progress_is_told_while_a_call_runs,
		calls_inside_tasks_on_the_same_engine,
		secrets_are_not_shown,
		a_program_that_is_killed_takes_all_along,
		NULL,
	};
	/* The stand-in's workers are the bridge. */
	const TTest *const on_real_ones[] = {
		a_kept_connection_is_there_at_once,
		it_follows_a_cluster_that_grows_and_shrinks,
		an_engines_worker_is_killed,
		NULL,
	};
	const TTest *const on_the_stand_in[] = {
		a_module_travels,
		it_says_that_there_is_no_python,
		it_says_what_python_lacks,
		no_worker_is_an_error_in_time,
		it_follows_the_cluster,
		NULL,
	};
	Suite *suite;
	TCase *tcase;
	SRunner *runner;
	int failed;

	par_worker_main(argc, argv);
	if (getenv("TEST_ENGINE") != NULL)
		engine = getenv("TEST_ENGINE");
	suite = suite_create(engine);
	tcase = tcase_create("engines");
	tcase_add_checked_fixture(tcase, begin, scratch_end);
	tcase_set_timeout(tcase, 60);
	add(tcase, everywhere);
	add(tcase, is_stand_in() ? on_the_stand_in : on_real_ones);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	/* To be let in takes a real one seconds: one bridge serves all tests. */
	if (getenv("TEST_ENGINE") != NULL) {
		srunner_set_fork_status(runner, CK_NOFORK);
		setenv("PARLOOP_CONF", getenv("TEST_ENGINE_CONF"), 1);
		if (par_map(NULL, &par_task_twice, in, out, 1, PAR_SETTINGS(.backend = engine), &error) < 0)
			return puts(error_line()), 1;
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
