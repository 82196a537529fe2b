/* Worker processes, through the public API alone: who runs a task, what becomes of it when its
 * worker dies, what workers are like, and that nothing is left of them. */
#include "scratch.h"
#include "tasks/processes.h"

#include <parloop/parloop.h>

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__)
enum { HAS_ASAN = 1, HAS_TSAN = 0 };
#elif defined(__SANITIZE_THREAD__)
enum { HAS_ASAN = 0, HAS_TSAN = 1 };
#else
enum { HAS_ASAN = 0, HAS_TSAN = 0 };
#endif

enum { MOST = 200 };

#define MODULE PAR_BUILD "/tasks/processes.so"

static par_error error = PAR_ERROR_INIT;
static uint64_t in[MOST], out[MOST];
static int32_t statuses[MOST];

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static const char *error_line(void)
{
	static char text[4096];

	return par_error_text(&error, 1, text, sizeof(text));
}

#define MUST(call)                                                                              \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == PAR_OK, "%s: %s, %s", #call,                         \
		              par_code_name(must_code), error_line());                          \
	} while (0)

#define MUST_BE(expected, call)                                                                 \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == (expected), "%s: %s, expected %s; %s", #call,        \
		              par_code_name(must_code), par_code_name(expected), error_line()); \
	} while (0)

/* The ways to have worker processes.  loky's are not kept, so that none of them is left when a
 * test ends. */
static const struct way {
	const char *backend, *option;
} ways[] = {
	{"multiprocessing", "start_method=fork"},
	{"multiprocessing", "start_method=forkserver"},
	{"multiprocessing", "start_method=spawn"},
	{"loky", "idle_worker_timeout=0s"},
};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]) };

static const par_task *task(const char *name)
{
	par_module *module;
	const par_task *found;

	MUST(par_module_open(&module, MODULE, &error));
	MUST(par_module_task(module, name, &found, &error));
	return found;
}

/* With up to three options besides that of its way; NULL where there is none. */
static int32_t try_open_with(par_parallel **pool, int way, int n_jobs, const char *first,
                             const char *second, const char *third)
{
	const char *options[] = {ways[way].option, first, second, third, NULL};

	return par_open(pool, PAR_SETTINGS(.backend = ways[way].backend, .options = options,
	                                   .n_jobs = PAR_SET(n_jobs)),
	                &error);
}

static par_parallel *open_with(int way, int n_jobs, const char *first, const char *second,
                               const char *third)
{
	par_parallel *pool;

	MUST(try_open_with(&pool, way, n_jobs, first, second, third));
	return pool;
}

static par_parallel *open_way(int way, int n_jobs)
{
	return open_with(way, n_jobs, NULL, NULL, NULL);
}

/* One task at a time. */
static int32_t map(par_parallel *pool, const char *name, uint64_t n)
{
	memset(out, 0, sizeof(out));
	return par_map(pool, task(name), in, out, n,
	               PAR_SETTINGS(.batch_size = PAR_SET(1), .on_error = PAR_COLLECT,
	                            .statuses = statuses),
	               &error);
}

static void expect_usable(par_parallel *pool)
{
	for (uint64_t i = 0; i < 20; i++)
		in[i] = 0;
	MUST(map(pool, "pid", 20));
	for (uint64_t i = 0; i < 20; i++)
		ck_assert_uint_ne(out[i], (uint64_t)getpid());
}

/* The processes of a pool, in no order: each runs for a while, so that all take part. */
static int pids_of(par_parallel *pool, int n_jobs, uint64_t pids[])
{
	int n = 0;

	for (int i = 0; i < 4 * n_jobs; i++)
		in[i] = 30;
	MUST(map(pool, "pid", 4 * (uint64_t)n_jobs));
	for (int i = 0; i < 4 * n_jobs; i++) {
		int k = 0;

		while (k < n && pids[k] != out[i])
			k++;
		if (k == n)
			pids[n++] = out[i];
	}
	return n;
}

static int has(const uint64_t pids[], int n, uint64_t pid)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return 1;
	return 0;
}

/* A call of one task of bytes; its reply, as a text. */
struct question {
	const char *payload;
	int given;
	char reply[512];
};

static int32_t give(void *user, par_item *item)
{
	struct question *question = user;

	if (question->given++ > 0)
		return 0;
	item->payload = question->payload;
	item->n_bytes = strlen(question->payload);
	return 1;
}

static int32_t take(void *user, const par_outcome *outcome)
{
	struct question *question = user;

	(void)snprintf(question->reply, sizeof(question->reply), "%.*s", (int)outcome->n_bytes,
	               outcome->bytes != NULL ? (const char *)outcome->bytes : "");
	return 0;
}

static const char *ask(par_parallel *pool, const char *name, const char *payload)
{
	static struct question question;

	question = (struct question){.payload = payload};
	MUST(par_run(pool, task(name), give, take, &question, NULL, &error));
	return question.reply;
}

/* One that has died is gone, also while its new parent, which may be the system's first process, has
 * not heard of it. */
static int is_alive(uint64_t pid)
{
	char path[40], state = 'Z';
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = 'Z';
	fclose(file);
	return state != 'Z' && state != 'X';
}

static void wait_until_gone(uint64_t pid)
{
	int64_t until = now_ms() + 10000;

	while (is_alive(pid) && now_ms() < until)
		usleep(1000);
	ck_assert_msg(!is_alive(pid), "process %d is still there", (int)pid);
}

/* --- who runs a task -------------------------------------------------------------------------- */

START_TEST(tasks_run_in_other_processes)
{
	par_parallel *pool = open_way(_i, 2);
	uint64_t pids[2 * 4];

	ck_assert_int_eq(par_n_jobs(pool), 2);
	ck_assert_int_eq(pids_of(pool, 2, pids), 2);
	ck_assert(!has(pids, 2, (uint64_t)getpid()));
	par_close(pool);
	wait_until_gone(pids[0]);
	wait_until_gone(pids[1]);
}
END_TEST

START_TEST(one_worker_is_a_process_too)
{
	par_parallel *pool = open_way(_i, 1);

	ck_assert_int_eq(par_n_jobs(pool), 1);
	ck_assert_str_eq(par_backend_name(pool), ways[_i].backend);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

START_TEST(a_pool_has_the_same_workers_in_each_call)
{
	par_parallel *pool = open_way(_i, 2);
	uint64_t first[8], then[8];

	ck_assert_int_eq(pids_of(pool, 2, first), 2);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(pids_of(pool, 2, then), 2);
		ck_assert(has(first, 2, then[0]) && has(first, 2, then[1]));
	}
	par_close(pool);
}
END_TEST

START_TEST(many_workers_are_all_at_work)
{
	par_parallel *pool = open_way(_i, 6);
	uint64_t pids[4 * 6];

	ck_assert_int_eq(pids_of(pool, 6, pids), 6);
	par_close(pool);
}
END_TEST

START_TEST(prefer_processes_means_loky)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.prefer = "processes", .n_jobs = PAR_SET(2)), &error));
	ck_assert_str_eq(par_backend_name(pool), "loky");
	par_close(pool);
}
END_TEST

static uint64_t in_memory = 1;

static int look(const uint64_t *given, uint64_t *found)
{
	*found = in_memory + *given;
	return 0;
}
PAR_TASK(look, uint64_t, uint64_t)

/* This program has not called par_worker_main(), so nobody else finds its tasks. */
START_TEST(a_fork_has_the_programs_memory)
{
	par_parallel *pool;

	in_memory = 41;
	pool = open_way(0, 2);
	in_memory = 0;
	in[0] = 1;
	MUST(par_map(pool, &par_task_look, in, out, 1, NULL, &error));
	ck_assert_uint_eq(out[0], 42);
	par_close(pool);
}
END_TEST

START_TEST(other_workers_refuse_tasks_of_this_program)
{
	par_parallel *pool = open_way(_i, 2);

	ck_assert_int_lt(par_map(pool, &par_task_look, in, out, 1, NULL, &error), 0);
	ck_assert_msg(strstr(error.remedy, "par_worker_main") != NULL, "%s", error_line());
	expect_usable(pool);
	par_close(pool);
}
END_TEST

/* --- how they are started --------------------------------------------------------------------- */

static void *pass_time(void *arg)
{
	usleep(200000);
	return arg;
}

static void expect_log(const char *words)
{
	ck_assert_msg(strstr(scratch_log, words) != NULL, "the log is: %s", scratch_log);
}

START_TEST(auto_is_fork_without_threads_and_forkserver_with_them)
{
	const char *options[] = {NULL};
	par_parallel *pool;
	pthread_t thread;

	setenv("PARLOOP_LOG", "info", 1);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing", .options = options),
	              &error));
	par_close(pool);
	/* ThreadSanitizer has a thread of its own. */
	if (!HAS_TSAN)
		expect_log("start_method=auto: fork,");
	ck_assert_int_eq(pthread_create(&thread, NULL, pass_time, NULL), 0);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing", .options = options),
	              &error));
	par_close(pool);
	expect_log("start_method=auto: forkserver,");
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing",
	                                  .options = (const char *[]){"start_method=fork", NULL}),
	              &error));
	par_close(pool);
	expect_log("start_method=fork with ");
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(the_start_method_may_come_from_the_environment)
{
	par_parallel *pool;

	setenv("PARLOOP_START_METHOD", "telepathy", 1);
	MUST_BE(PAR_ECONFIG, par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing"), &error));
	ck_assert_msg(strstr(error.reason, "auto, fork, forkserver, spawn") != NULL, "%s",
	              error_line());
	/* What the call says comes first. */
	pool = open_way(2, 1);
	par_close(pool);
	setenv("PARLOOP_START_METHOD", "spawn", 1);
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing"), &error));
	expect_usable(pool);
	par_close(pool);
}
END_TEST

/* --- deaths ----------------------------------------------------------------------------------- */

static void expect_victim(uint64_t index, int32_t signal, int32_t exit_code)
{
	for (uint64_t i = 0; i < 40; i++) {
		if (i != index)
			ck_assert_uint_eq(out[i], DIE_NOT);
		ck_assert_int_eq(statuses[i], i == index ? PAR_ELOST : PAR_OK);
	}
	ck_assert_int_eq(error.task, (int64_t)index);
	ck_assert_int_eq(error.signal, signal);
	ck_assert_int_eq(error.exit_code, exit_code);
	ck_assert_int_gt(error.pid, 0);
}

static void expect_death(int way, uint64_t how, int32_t signal, int32_t exit_code)
{
	par_parallel *pool = open_way(way, 2);

	for (uint64_t i = 0; i < 40; i++)
		in[i] = i == 17 ? how : DIE_NOT;
	MUST_BE(PAR_EFAILED, map(pool, "die", 40));
	expect_victim(17, signal, exit_code);
	expect_usable(pool);
	/* Neither does it matter in which batch it was. */
	for (uint64_t i = 0; i < 40; i++)
		in[i] = i == 17 ? how : DIE_NOT;
	memset(out, 0, sizeof(out));
	MUST_BE(PAR_EFAILED, par_map(pool, task("die"), in, out, 40,
	                             PAR_SETTINGS(.batch_size = PAR_SET(10), .on_error = PAR_COLLECT,
	                                          .statuses = statuses),
	                             &error));
	expect_victim(17, signal, exit_code);
	par_close(pool);
}

START_TEST(a_crash_costs_one_task)
{
	expect_death(_i, DIE_SEGV, SIGSEGV, -1);
}
END_TEST

START_TEST(so_does_a_kill)
{
	expect_death(_i, DIE_KILL, SIGKILL, -1);
}
END_TEST

START_TEST(so_does_an_abort)
{
	expect_death(_i, DIE_ABORT, SIGABRT, -1);
}
END_TEST

START_TEST(so_does_an_exit_without_fault)
{
	expect_death(_i, DIE_EXIT_0, 0, 0);
}
END_TEST

START_TEST(so_does_an_exit_with_one)
{
	expect_death(_i, DIE_EXIT_42, 0, 42);
}
END_TEST

START_TEST(so_does_a_stack_without_end)
{
	expect_death(_i, DIE_STACK, SIGSEGV, -1);
}
END_TEST

START_TEST(a_worker_that_closes_its_channel_is_replaced)
{
	par_parallel *pool = open_way(_i, 2);

	for (uint64_t i = 0; i < 10; i++)
		in[i] = i == 3 ? DIE_DEAF : DIE_NOT;
	/* Its answer may still have come. */
	(void)map(pool, "die", 10);
	for (uint64_t i = 0; i < 10; i++)
		if (i != 3)
			ck_assert_int_eq(statuses[i], PAR_OK);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

START_TEST(an_error_has_what_the_worker_printed_last)
{
	par_parallel *pool = open_with(_i, 2, "output=capture", NULL, NULL);

	in[0] = DIE_WORDS;
	MUST_BE(PAR_EFAILED, map(pool, "die", 1));
	ck_assert_msg(strstr(error.trace, "famous words") != NULL, "%s", error_line());
	par_close(pool);
}
END_TEST

START_TEST(idle_workers_that_are_killed_are_replaced)
{
	par_parallel *pool = open_way(_i, 2);
	uint64_t first[8], then[8];

	ck_assert_int_eq(pids_of(pool, 2, first), 2);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill((pid_t)first[i], SIGKILL), 0);
	ck_assert_int_eq(pids_of(pool, 2, then), 2);
	for (int i = 0; i < 2; i++)
		ck_assert(!has(first, 2, then[i]));
	par_close(pool);
}
END_TEST

/* The children of this process that are there now. */
static int children(uint64_t pids[], int most)
{
	FILE *list = fopen("/proc/thread-self/children", "re");
	unsigned long long pid;
	int n = 0;

	if (list == NULL)
		return 0;
	while (n < most && fscanf(list, "%llu", &pid) == 1)
		pids[n++] = pid;
	fclose(list);
	return n;
}

START_TEST(after_a_death_another_worker_stands_by)
{
	par_parallel *pool = open_way(_i, 2);
	uint64_t before[16], first[8], then[8];
	int n;

	ck_assert_int_eq(pids_of(pool, 2, first), 2);
	in[0] = DIE_SEGV;
	MUST_BE(PAR_EFAILED, map(pool, "die", 1));
	ck_assert_int_eq(pids_of(pool, 2, first), 2);
	n = children(before, 16);
	ck_assert_int_eq(kill((pid_t)first[0], SIGKILL), 0);
	ck_assert_int_eq(pids_of(pool, 2, then), 2);
	/* Where the kernel tells. */
	if (n > 0)
		ck_assert(has(before, n, then[0]) && has(before, n, then[1]));
	par_close(pool);
}
END_TEST

/* Somebody who waits for all children must not make us wait for ever. */
static void *steal(void *arg)
{
	int64_t until = now_ms() + 1500;

	while (now_ms() < until)
		if (waitpid(-1, NULL, WNOHANG) <= 0)
			usleep(100);
	return arg;
}

START_TEST(a_thief_of_exit_statuses_does_no_harm)
{
	par_parallel *pool = open_way(_i, 2);
	pthread_t thief;

	ck_assert_int_eq(pthread_create(&thief, NULL, steal, NULL), 0);
	for (int round = 0; round < 5; round++) {
		for (uint64_t i = 0; i < 10; i++)
			in[i] = i == 3 ? DIE_SEGV : DIE_NOT;
		MUST_BE(PAR_EFAILED, map(pool, "die", 10));
	}
	expect_usable(pool);
	pthread_join(thief, NULL);
	par_close(pool);
}
END_TEST

/* Then the system waits for them. */
START_TEST(a_program_may_ignore_the_end_of_its_children)
{
	par_parallel *pool;

	(void)signal(SIGCHLD, SIG_IGN);
	pool = open_way(_i, 2);
	for (int round = 0; round < 3; round++) {
		for (uint64_t i = 0; i < 10; i++)
			in[i] = i == 3 ? DIE_SEGV : DIE_NOT;
		MUST_BE(PAR_EFAILED, map(pool, "die", 10));
	}
	expect_usable(pool);
	par_close(pool);
	(void)signal(SIGCHLD, SIG_DFL);
}
END_TEST

START_TEST(a_time_out_kills_that_task_alone)
{
	par_parallel *pool = open_way(_i, 2);
	int64_t began = now_ms();

	for (uint64_t i = 0; i < 20; i++)
		in[i] = i == 5 ? DIE_OF_OLD_AGE : DIE_NOT;
	MUST_BE(PAR_EFAILED, par_map(pool, task("die"), in, out, 20,
	                             PAR_SETTINGS(.batch_size = PAR_SET(1), .on_error = PAR_COLLECT,
	                                          .statuses = statuses, .task_timeout = PAR_SET(0.2)),
	                             &error));
	for (uint64_t i = 0; i < 20; i++)
		ck_assert_int_eq(statuses[i], i == 5 ? PAR_ETIMEOUT : PAR_OK);
	ck_assert_int_lt(now_ms() - began, 20000);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

START_TEST(a_call_that_ends_early_leaves_no_task)
{
	par_parallel *pool = open_way(_i, 2);
	int64_t began = now_ms();

	for (uint64_t i = 0; i < 20; i++)
		in[i] = DIE_OF_OLD_AGE;
	MUST_BE(PAR_ETIMEOUT, par_map(pool, task("die"), in, out, 20,
	                              PAR_SETTINGS(.call_timeout = PAR_SET(0.2)), &error));
	ck_assert_int_lt(now_ms() - began, 20000);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

START_TEST(what_a_killed_worker_has_started_dies_with_it)
{
	par_parallel *pool = open_way(_i, 1);
	uint64_t grandchild;

	in[0] = 0;
	MUST(map(pool, "grandchild", 1));
	grandchild = out[0];
	ck_assert(is_alive(grandchild));
	in[0] = DIE_SEGV;
	MUST_BE(PAR_EFAILED, map(pool, "die", 1));
	wait_until_gone(grandchild);
	par_close(pool);
}
END_TEST

START_TEST(what_a_task_has_forked_sees_what_the_task_was_given)
{
	par_parallel *pool = open_way(_i, 1);

	ck_assert_str_eq(ask(pool, "ask_child", "A"), "exit 65");
	par_close(pool);
}
END_TEST

/* Nor is what it says when it crashes taken for its worker's last words. */
START_TEST(a_crash_of_what_a_task_has_forked_is_its_own_business)
{
	par_parallel *pool = open_way(_i, 1);
	const char *end = ask(pool, "ask_child", "");

	/* Sanitizers make an exit of it. */
	if (!HAS_ASAN && !HAS_TSAN)
		ck_assert_str_eq(end, "signal 11");
	in[0] = DIE_KILL;
	MUST_BE(PAR_EFAILED, map(pool, "die", 1));
	ck_assert_msg(strstr(error.trace, "SIGSEGV") == NULL, "%s", error.trace);
	par_close(pool);
}
END_TEST

/* --- workers that cannot start ---------------------------------------------------------------- */

START_TEST(an_initializer_runs_before_any_task)
{
	par_parallel *pool =
		open_with(_i, 2, "initializer=" MODULE ":remember", "initarg=milk", NULL);

	ck_assert_str_eq(ask(pool, "recall", ""), "milk");
	par_close(pool);
}
END_TEST

static void expect_no_start(int way, const char *option, const char *words)
{
	par_parallel *pool = NULL;
	int64_t began = now_ms();
	int32_t code = try_open_with(&pool, way, 2, option, NULL, NULL);

	if (code == PAR_OK)
		code = map(pool, "pid", 10);
	ck_assert_msg(code == PAR_EUNAVAIL, "%s, %s", par_code_name(code), error_line());
	ck_assert_msg(strstr(error_line(), words) != NULL, "%s", error_line());
	ck_assert_int_lt(now_ms() - began, 20000);
	par_close(pool);
}

START_TEST(one_that_fails_is_an_error_of_its_own)
{
	expect_no_start(_i, "initializer=" MODULE ":refuse", "does not want to");
}
END_TEST

START_TEST(one_that_is_not_there_is_too)
{
	expect_no_start(_i, "initializer=/nowhere.so:refuse", "/nowhere.so");
}
END_TEST

START_TEST(a_worker_that_ends_before_it_is_ready_is_not_started_for_ever)
{
	setenv("STILLBORN", "1", 1);
	expect_no_start(_i, "initializer=" PAR_BUILD "/tasks/stillborn.so:nothing", "no, not here");
	expect_no_start(_i, "initializer=" PAR_BUILD "/tasks/stillborn.so:nothing", "status 7");
}
END_TEST

/* Longer than a start takes, also on a machine that has much else to do. */
enum { START_MS = HAS_ASAN || HAS_TSAN ? 4000 : 1000 };

static const char *start_timeout(void)
{
	static char option[40];

	(void)snprintf(option, sizeof(option), "start_timeout=%dms", START_MS);
	return option;
}

START_TEST(a_worker_that_hangs_before_it_is_ready_is_replaced)
{
	char once[200];
	par_parallel *pool;

	(void)snprintf(once, sizeof(once), "initarg=%s/once", scratch_dir);
	pool = open_with(_i, 1, "initializer=" MODULE ":hang", once, start_timeout());
	expect_usable(pool);
	expect_log("was not ready after");
	par_close(pool);
}
END_TEST

START_TEST(those_that_all_do_are_not_started_for_ever)
{
	par_parallel *pool = open_with(_i, 2, "initializer=" MODULE ":hang", "initarg=/nowhere/once",
	                               "start_timeout=100ms");

	MUST_BE(PAR_EUNAVAIL, map(pool, "pid", 10));
	ck_assert_msg(strstr(error_line(), "worker processes cannot start") != NULL, "%s",
	              error_line());
	ck_assert_msg(strstr(error_line(), "was not ready after 0.1 s") != NULL, "%s", error_line());
	ck_assert_msg(strstr(error.remedy, "start_timeout") != NULL, "%s", error_line());
	par_close(pool);
}
END_TEST

/* A fork has that module already. */
START_TEST(nor_are_those_that_hang_as_they_open_a_module)
{
	par_parallel *pool = open_with(_i, 1, "env=HANGS=1", start_timeout(), NULL);
	struct question question = {.payload = ""};
	const par_task *nothing;
	par_module *module;

	MUST(par_module_open(&module, PAR_BUILD "/tasks/stillborn.so", &error));
	MUST(par_module_task(module, "nothing", &nothing, &error));
	MUST_BE(PAR_EUNAVAIL, par_run(pool, nothing, give, take, &question, NULL, &error));
	ck_assert_msg(strstr(error_line(), "had not begun its first task") != NULL, "%s",
	              error_line());
	par_close(pool);
}
END_TEST

START_TEST(a_first_task_may_take_longer_than_a_start)
{
	par_parallel *pool = open_with(_i, 1, start_timeout(), NULL, NULL);

	in[0] = 2 * START_MS;
	MUST(map(pool, "pid", 1));
	ck_assert_str_eq(scratch_log, "");
	par_close(pool);
}
END_TEST

START_TEST(more_workers_than_descriptors_are_refused)
{
	par_parallel *pool;

	MUST_BE(PAR_EINVAL, try_open_with(&pool, _i, 100000, NULL, NULL, NULL));
	ck_assert_msg(strstr(error.remedy, "ulimit -n") != NULL, "%s", error_line());
}
END_TEST

START_TEST(without_room_for_all_workers_some_do)
{
	struct rlimit limit;
	par_parallel *pool;
	int fds[1000], n = 0;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 200;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	pool = open_way(_i, 8);
	while (n < 1000 && (fds[n] = dup(0)) >= 0)
		n++;
	/* Of these many are closed again. */
	for (int i = 0; i < 30 && n > 0; i++)
		close(fds[--n]);
	expect_usable(pool);
	while (n > 0)
		close(fds[--n]);
	expect_usable(pool);
	par_close(pool);
}
END_TEST

/* --- what workers are like -------------------------------------------------------------------- */

START_TEST(a_worker_has_nothing_but_what_it_is_to_have)
{
	int fds[2];
	par_parallel *pool;

	/* Not close-on-exec, as a program's may be. */
	ck_assert_int_eq(pipe(fds), 0);
	pool = open_way(_i, 1);
	ck_assert_str_eq(ask(pool, "look_around", ""),
	                 "descriptors 3, input 0, group own, interrupt ignored, cores 2");
	par_close(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(a_worker_may_be_pinned)
{
	par_parallel *pool = open_with(_i, 1, "pin=yes", NULL, NULL);

	ck_assert_msg(strstr(ask(pool, "look_around", ""), "cores 1") != NULL, "%s",
	              ask(pool, "look_around", ""));
	par_close(pool);
}
END_TEST

START_TEST(its_environment_may_depend_on_its_number)
{
	par_parallel *pool =
		open_with(_i, 1, "env=CARD={slot}{slot} WORDS='two words' HOME=/", NULL, NULL);

	ck_assert_str_eq(ask(pool, "variable", "CARD"), "00");
	ck_assert_str_eq(ask(pool, "variable", "WORDS"), "two words");
	ck_assert_str_eq(ask(pool, "variable", "HOME"), "/");
	ck_assert_str_ne(ask(pool, "variable", "PATH"), "(unset)");
	ck_assert_str_eq(ask(pool, "variable", "PARLOOP_WORKER"), "(unset)");
	ck_assert_str_eq(ask(pool, "variable", "PARLOOP_FORK_SERVER"), "(unset)");
	par_close(pool);
}
END_TEST

START_TEST(an_environment_that_is_none_is_refused)
{
	par_parallel *pool;

	MUST_BE(PAR_ECONFIG, try_open_with(&pool, _i, 1, "env=CARD", NULL, NULL));
	MUST_BE(PAR_ECONFIG, try_open_with(&pool, _i, 1, "env=A=1 B='open", NULL, NULL));
}
END_TEST

START_TEST(its_libraries_get_their_share_of_threads)
{
	par_parallel *pool;
	const char *options[] = {ways[_i].option, NULL};

	MUST(par_open(&pool, PAR_SETTINGS(.backend = ways[_i].backend, .options = options,
	                                  .n_jobs = PAR_SET(2), .inner_max_num_threads = PAR_SET(3)),
	              &error));
	ck_assert_str_eq(ask(pool, "variable", "OMP_NUM_THREADS"), "3");
	par_close(pool);
}
END_TEST

START_TEST(a_worker_that_takes_too_much_memory_is_told)
{
	par_parallel *pool;

	/* Sanitizers take all address space there is. */
	if (HAS_ASAN || HAS_TSAN)
		return;
	pool = open_with(_i, 1, "memory_limit=1G", NULL, NULL);
	in[0] = (uint64_t)4 << 30;
	MUST_BE(PAR_EFAILED, map(pool, "leak", 1));
	expect_usable(pool);
	par_close(pool);
}
END_TEST

START_TEST(a_worker_that_computes_for_too_long_dies)
{
	par_parallel *pool = open_with(_i, 1, "cpu_limit=1s", NULL, NULL);

	in[0] = UINT64_MAX;
	MUST_BE(PAR_ELOST, par_map(pool, task("compute"), in, out, 1, NULL, &error));
	ck_assert_int_eq(error.signal, SIGXCPU);
	par_close(pool);
}
END_TEST

START_TEST(a_worker_that_grows_is_replaced)
{
	par_parallel *pool = open_with(_i, 1, "max_growth=20M", NULL, NULL);
	uint64_t first;

	in[0] = 0;
	MUST(map(pool, "leak", 1));
	first = out[0];
	in[0] = 50 << 20;
	MUST(map(pool, "leak", 1));
	ck_assert_uint_eq(out[0], first);
	usleep(1100000);
	in[0] = 0;
	MUST(map(pool, "leak", 1));
	MUST(map(pool, "leak", 1));
	ck_assert_uint_ne(out[0], first);
	expect_log("A worker stopped while some jobs were given to the executor");
	par_close(pool);
	wait_until_gone(first);
}
END_TEST

/* --- what they print -------------------------------------------------------------------------- */

/* Our own standard output, as a file. */
static int saved_stdout;

static void begin_listening(int target)
{
	char path[200];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/printed", scratch_dir);
	(void)fflush(NULL);
	fd = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND, 0600);
	ck_assert_int_ge(fd, 0);
	saved_stdout = dup(target);
	ck_assert_int_ge(dup2(fd, target), 0);
	close(fd);
}

static char *end_listening(int target, size_t *n)
{
	static char text[1 << 22];
	char path[200];
	FILE *file;

	(void)fflush(NULL);
	ck_assert_int_ge(dup2(saved_stdout, target), 0);
	close(saved_stdout);
	(void)snprintf(path, sizeof(path), "%s/printed", scratch_dir);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	*n = fread(text, 1, sizeof(text) - 1, file);
	text[*n] = '\0';
	fclose(file);
	return text;
}

static void expect_printed(int way, const char *option, int target, const char *printed,
                           const char *expected)
{
	par_parallel *pool;
	const char *text;
	size_t n;

	begin_listening(target);
	pool = open_with(way, 1, option, NULL, NULL);
	(void)ask(pool, target == STDOUT_FILENO ? "print" : "complain", printed);
	par_close(pool);
	text = end_listening(target, &n);
	ck_assert_str_eq(text, expected);
}

START_TEST(what_tasks_print_is_passed_on)
{
	expect_printed(_i, "output=pass", STDOUT_FILENO, "one\ntwo\n", "one\ntwo\n");
	expect_printed(_i, "output=pass", STDERR_FILENO, "one\ntwo\n", "one\ntwo\n");
}
END_TEST

START_TEST(with_the_number_of_its_worker)
{
	expect_printed(_i, "output=prefix", STDOUT_FILENO, "one\ntwo\n",
	               "[worker 0] one\n[worker 0] two\n");
}
END_TEST

START_TEST(or_not_at_all)
{
	expect_printed(_i, "output=capture", STDOUT_FILENO, "one\n", "");
}
END_TEST

START_TEST(or_by_the_worker_itself)
{
	expect_printed(_i, "output=inherit", STDOUT_FILENO, "one\n", "one\n");
}
END_TEST

START_TEST(a_flood_of_lines_comes_whole)
{
	par_parallel *pool;
	const char *text;
	size_t n;

	begin_listening(STDOUT_FILENO);
	pool = open_way(_i, 2);
	for (int i = 0; i < 4; i++)
		in[i] = 5000;
	MUST(map(pool, "flood", 4));
	par_close(pool);
	text = end_listening(STDOUT_FILENO, &n);
	ck_assert_uint_eq(n, 4 * 5000 * 100);
	for (size_t i = 0; i < n; i += 100) {
		ck_assert_int_eq(text[i], '0');
		ck_assert_int_eq(text[i + 99], '\n');
		ck_assert_ptr_null(memchr(text + i, '\n', 99));
	}
}
END_TEST

/* --- loky keeps them -------------------------------------------------------------------------- */

enum { KEEP_MS = 1000 };
#define KEPT "idle_worker_timeout=1s"

static int pids_of_call(int n_jobs, const char *option, uint64_t pids[])
{
	const char *options[] = {KEPT, option, NULL};
	par_parallel *pool;
	int n;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = "loky", .options = options,
	                                  .n_jobs = PAR_SET(n_jobs), .inner_max_num_threads = PAR_SET(1)),
	              &error));
	n = pids_of(pool, n_jobs, pids);
	par_close(pool);
	return n;
}

START_TEST(a_call_has_the_workers_of_the_last_one)
{
	uint64_t first[8], then[8];

	ck_assert_int_eq(pids_of_call(2, NULL, first), 2);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
		ck_assert(has(first, 2, then[0]) && has(first, 2, then[1]));
	}
	wait_until_gone(first[0]);
	wait_until_gone(first[1]);
}
END_TEST

START_TEST(workers_of_other_options_are_others)
{
	uint64_t first[8], then[8];

	ck_assert_int_eq(pids_of_call(2, NULL, first), 2);
	ck_assert_int_eq(pids_of_call(2, "env=A=1", then), 2);
	ck_assert(!has(first, 2, then[0]) && !has(first, 2, then[1]));
	setenv("SOMETHING", "else", 1);
	ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
	ck_assert(!has(first, 2, then[0]) && !has(first, 2, then[1]));
	unsetenv("SOMETHING");
	ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
	ck_assert(has(first, 2, then[0]) && has(first, 2, then[1]));
}
END_TEST

/* For each call another environment. */
START_TEST(workers_of_options_long_gone_do_not_pile_up)
{
	uint64_t pids[400];
	char option[64];
	int n;

	for (int i = 0; i < 80; i++) {
		const char *options[] = {"idle_worker_timeout=20s", option, NULL};

		(void)snprintf(option, sizeof(option), "env=COUNT=%d", i);
		in[0] = 0;
		MUST(par_map(NULL, task("pid"), in, out, 1,
		             PAR_SETTINGS(.backend = "loky", .options = options), &error));
	}
	/* Some may be about to end. */
	for (int i = 0; i < 1000 && (n = children(pids, 400)) > 70; i++)
		usleep(1000);
	ck_assert_int_le(n, 70);
	for (int i = 0; i < n; i++)
		kill((pid_t)pids[i], SIGKILL);
}
END_TEST

START_TEST(fewer_workers_are_some_of_them_and_more_only_some_more)
{
	uint64_t first[16], fewer[16], more[20];

	ck_assert_int_eq(pids_of_call(4, NULL, first), 4);
	ck_assert_int_eq(pids_of_call(2, NULL, fewer), 2);
	ck_assert(has(first, 4, fewer[0]) && has(first, 4, fewer[1]));
	ck_assert_int_eq(pids_of_call(5, NULL, more), 5);
	for (int i = 0; i < 4; i++)
		ck_assert(has(more, 5, first[i]));
}
END_TEST

START_TEST(one_that_died_meanwhile_is_noticed)
{
	uint64_t first[8], then[8];

	ck_assert_int_eq(pids_of_call(2, NULL, first), 2);
	ck_assert_int_eq(kill((pid_t)first[0], SIGKILL), 0);
	ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
	ck_assert(!has(then, 2, first[0]));
	ck_assert(has(then, 2, first[1]));
}
END_TEST

START_TEST(an_idle_worker_ends_though_the_program_does_nothing)
{
	uint64_t pids[8];
	int64_t began;

	ck_assert_int_eq(pids_of_call(2, NULL, pids), 2);
	began = now_ms();
	wait_until_gone(pids[0]);
	wait_until_gone(pids[1]);
	ck_assert_int_ge(now_ms() - began, KEEP_MS / 2);
	ck_assert_int_eq(pids_of_call(2, NULL, pids), 2);
}
END_TEST

static void *call_often(void *arg)
{
	const char *options[] = {KEPT, NULL};
	const par_task *which = arg;
	par_error why = PAR_ERROR_INIT;
	uint64_t given[20] = {0}, found[20];

	for (int i = 0; i < 5; i++) {
		int32_t code = par_map(NULL, which, given, found, 20,
		                       PAR_SETTINGS(.backend = "loky", .options = options,
		                                    .n_jobs = PAR_SET(1 + i % 3)),
		                       &why);
		char text[2000];

		ck_assert_msg(code == PAR_OK, "%s", par_error_text(&why, 1, text, sizeof(text)));
	}
	return NULL;
}

START_TEST(ten_threads_share_them)
{
	pthread_t threads[10];
	const par_task *which = task("pid");

	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, call_often,
		                                (void *)(uintptr_t)which),
		                 0);
	for (int i = 0; i < 10; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

/* A thread that ends does not take along the workers that it had started. */
static uint64_t its_pids[8];

static void *call_once(void *arg)
{
	*(int *)arg = pids_of_call(2, NULL, its_pids);
	return NULL;
}

START_TEST(workers_outlive_the_thread_that_wanted_them)
{
	uint64_t then[8];
	pthread_t thread;
	int n = 0;

	ck_assert_int_eq(pthread_create(&thread, NULL, call_once, &n), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(n, 2);
	usleep(50000);
	ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
	ck_assert(has(its_pids, 2, then[0]) && has(its_pids, 2, then[1]));
}
END_TEST

START_TEST(a_fork_of_the_program_has_workers_of_its_own)
{
	uint64_t first[8], then[8];
	int status;
	pid_t child;

	/* It lets no fork of a process with threads have any, and loky has one. */
	if (HAS_TSAN)
		return;
	ck_assert_int_eq(pids_of_call(2, NULL, first), 2);
	child = fork();
	if (child == 0) {
		int n = pids_of_call(2, NULL, then);

		_exit(n == 2 && !has(first, 2, then[0]) && !has(first, 2, then[1]) ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(pids_of_call(2, NULL, then), 2);
	ck_assert(has(first, 2, then[0]) && has(first, 2, then[1]));
}
END_TEST

/* --- nobody is left behind -------------------------------------------------------------------- */

/* Runs tasks that start processes, until it is killed; says who they are. */
static void be_parent(int way, int fd)
{
	par_parallel *pool = open_way(way, 2);

	for (;;) {
		for (int i = 0; i < 4; i++)
			in[i] = (uint64_t)i;
		MUST(map(pool, "pid", 4));
		(void)!write(fd, out, 4 * sizeof(out[0]));
		MUST(map(pool, "grandchild", 1));
		(void)!write(fd, out, sizeof(out[0]));
	}
}

START_TEST(nobody_outlives_a_killed_parent)
{
	uint64_t pids[10000];
	int fds[2];
	size_t n = 0;
	ssize_t got;
	pid_t parent;

	ck_assert_int_eq(pipe(fds), 0);
	parent = fork();
	if (parent == 0) {
		close(fds[0]);
		be_parent(_i % N_WAYS, fds[1]);
	}
	close(fds[1]);
	usleep((useconds_t)(10000 + 7919 * _i % 60000));
	ck_assert_int_eq(kill(parent, SIGKILL), 0);
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	while (n < sizeof(pids) - sizeof(pids[0]) &&
	       (got = read(fds[0], (char *)pids + n, sizeof(pids) - n)) > 0)
		n += (size_t)got;
	close(fds[0]);
	for (size_t i = 0; i < n / sizeof(pids[0]); i++)
		wait_until_gone(pids[i]);
}
END_TEST

static void add_ways(TCase *tests)
{
	tcase_add_loop_test(tests, tasks_run_in_other_processes, 0, N_WAYS);
	tcase_add_loop_test(tests, one_worker_is_a_process_too, 0, N_WAYS);
	tcase_add_loop_test(tests, a_pool_has_the_same_workers_in_each_call, 0, N_WAYS);
	tcase_add_loop_test(tests, many_workers_are_all_at_work, 0, N_WAYS);
	tcase_add_test(tests, prefer_processes_means_loky);
	tcase_add_test(tests, a_fork_has_the_programs_memory);
	tcase_add_loop_test(tests, other_workers_refuse_tasks_of_this_program, 1, N_WAYS);
	tcase_add_test(tests, auto_is_fork_without_threads_and_forkserver_with_them);
	tcase_add_test(tests, the_start_method_may_come_from_the_environment);
}

static void add_deaths(TCase *tests)
{
	tcase_add_loop_test(tests, a_crash_costs_one_task, 0, N_WAYS);
	tcase_add_loop_test(tests, so_does_a_kill, 0, N_WAYS);
	tcase_add_loop_test(tests, so_does_an_abort, 0, N_WAYS);
	tcase_add_loop_test(tests, so_does_an_exit_without_fault, 0, N_WAYS);
	tcase_add_loop_test(tests, so_does_an_exit_with_one, 0, N_WAYS);
	tcase_add_loop_test(tests, so_does_a_stack_without_end, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_closes_its_channel_is_replaced, 0, N_WAYS);
	tcase_add_loop_test(tests, an_error_has_what_the_worker_printed_last, 0, N_WAYS);
	tcase_add_loop_test(tests, idle_workers_that_are_killed_are_replaced, 0, N_WAYS);
	tcase_add_loop_test(tests, after_a_death_another_worker_stands_by, 0, N_WAYS);
	tcase_add_loop_test(tests, a_thief_of_exit_statuses_does_no_harm, 0, N_WAYS);
	tcase_add_loop_test(tests, a_program_may_ignore_the_end_of_its_children, 0, N_WAYS);
	tcase_add_loop_test(tests, a_time_out_kills_that_task_alone, 0, N_WAYS);
	tcase_add_loop_test(tests, a_call_that_ends_early_leaves_no_task, 0, N_WAYS);
	tcase_add_loop_test(tests, what_a_killed_worker_has_started_dies_with_it, 0, N_WAYS);
	tcase_add_loop_test(tests, what_a_task_has_forked_sees_what_the_task_was_given, 0, N_WAYS);
	tcase_add_loop_test(tests, a_crash_of_what_a_task_has_forked_is_its_own_business, 0, N_WAYS);
}

static void add_starts(TCase *tests)
{
	tcase_add_loop_test(tests, an_initializer_runs_before_any_task, 0, N_WAYS);
	tcase_add_loop_test(tests, one_that_fails_is_an_error_of_its_own, 0, N_WAYS);
	tcase_add_loop_test(tests, one_that_is_not_there_is_too, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_ends_before_it_is_ready_is_not_started_for_ever, 0,
	                    N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_hangs_before_it_is_ready_is_replaced, 0, N_WAYS);
	tcase_add_loop_test(tests, those_that_all_do_are_not_started_for_ever, 0, N_WAYS);
	tcase_add_loop_test(tests, nor_are_those_that_hang_as_they_open_a_module, 1, N_WAYS);
	tcase_add_loop_test(tests, a_first_task_may_take_longer_than_a_start, 2, N_WAYS);
	tcase_add_loop_test(tests, more_workers_than_descriptors_are_refused, 0, N_WAYS);
	tcase_add_loop_test(tests, without_room_for_all_workers_some_do, 0, N_WAYS);
}

static void add_care(TCase *tests)
{
	tcase_add_loop_test(tests, a_worker_has_nothing_but_what_it_is_to_have, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_may_be_pinned, 0, N_WAYS);
	tcase_add_loop_test(tests, its_environment_may_depend_on_its_number, 0, N_WAYS);
	tcase_add_loop_test(tests, an_environment_that_is_none_is_refused, 0, N_WAYS);
	tcase_add_loop_test(tests, its_libraries_get_their_share_of_threads, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_takes_too_much_memory_is_told, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_computes_for_too_long_dies, 0, N_WAYS);
	tcase_add_loop_test(tests, a_worker_that_grows_is_replaced, 0, N_WAYS);
}

static void add_output(TCase *tests)
{
	tcase_add_loop_test(tests, what_tasks_print_is_passed_on, 0, N_WAYS);
	tcase_add_loop_test(tests, with_the_number_of_its_worker, 0, N_WAYS);
	tcase_add_loop_test(tests, or_not_at_all, 0, N_WAYS);
	tcase_add_loop_test(tests, or_by_the_worker_itself, 0, N_WAYS);
	tcase_add_loop_test(tests, a_flood_of_lines_comes_whole, 0, N_WAYS);
}

static void add_loky(TCase *tests)
{
	tcase_add_test(tests, a_call_has_the_workers_of_the_last_one);
	tcase_add_test(tests, workers_of_other_options_are_others);
	tcase_add_test(tests, workers_of_options_long_gone_do_not_pile_up);
	tcase_add_test(tests, fewer_workers_are_some_of_them_and_more_only_some_more);
	tcase_add_test(tests, one_that_died_meanwhile_is_noticed);
	tcase_add_test(tests, an_idle_worker_ends_though_the_program_does_nothing);
	tcase_add_test(tests, ten_threads_share_them);
	tcase_add_test(tests, workers_outlive_the_thread_that_wanted_them);
	tcase_add_test(tests, a_fork_of_the_program_has_workers_of_its_own);
}

static void add_ends(TCase *tests)
{
	tcase_add_loop_test(tests, nobody_outlives_a_killed_parent, 0, 5 * N_WAYS);
}

int main(void)
{
	static void (*const add[])(TCase *tests) = {add_ways, add_deaths, add_starts, add_care,
	                                            add_output, add_loky, add_ends};
	static const char *const names[] = {"who", "deaths", "starts", "care",
	                                    "output", "loky", "ends"};
	Suite *suite = suite_create("processes");
	SRunner *runner;
	int failed;

	for (size_t i = 0; i < sizeof(add) / sizeof(add[0]); i++) {
		TCase *tests = tcase_create(names[i]);

		tcase_add_checked_fixture(tests, scratch_begin, scratch_remove);
		if (getenv("CK_DEFAULT_TIMEOUT") == NULL)
			tcase_set_timeout(tests, 30);
		add[i](tests);
		suite_add_tcase(suite, tests);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
