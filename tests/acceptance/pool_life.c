/* pool_life.c - workers that stay, come and go: B64 to B70, B77 to B80 and B84.
 *
 * Where all workers of a pool are asked who they are, they wait for each other: see meet_workers(). */
#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

enum { MOST = 64 };

#define MODULE PAR_BUILD "/tasks/acceptance.so"

BEHAVIOUR(64, STARTING_PROCESSES,
          "a pool has the same workers in each call, and calls without one work after it")
{
	uint64_t first[2], then[2], in[20] = {0}, out[20];
	par_parallel *pool = open_n(2);

	meet_workers(pool, 2, first);
	for (int i = 0; i < 3; i++) {
		expect_usable(pool);
		meet_workers(pool, 2, then);
		EXPECT_INT(2, n_among(then, 2, first, 2));
	}
	par_close(pool);
	for (int i = 0; i < 3; i++) {
		MUST(par_map(NULL, task("mix"), in, out, 20, ON(.n_jobs = PAR_SET(2)), &error));
		expect_mixed(in, out, 20);
	}
}

BEHAVIOUR(65, KEEPING_WORKERS,
          "ten calls in a row that have no pool have the same workers, 2, 4 or one for each core")
{
	static const int asked[] = {2, 4, -1};
	uint64_t first[MOST], then[MOST];

	for (int i = 0; i < 3; i++) {
		int n = par_effective_n_jobs(backend, asked[i], &error);

		n = n < MOST ? n : MOST;
		meet_workers_of_call(n, NULL, first);
		for (int k = 1; k < 10; k++) {
			meet_workers_of_call(n, NULL, then);
			EXPECT_INT(n, n_among(then, n, first, n));
		}
	}
}

/* --- an initializer ----------------------------------------------------------------------------- */

#define INITIALIZER "initializer=" MODULE ":remember"
static const char *const milk[] = {INITIALIZER, "initarg=milk", NULL};
static const char *const eggs[] = {INITIALIZER, "initarg=eggs", NULL};

/* Those who remember something else fail. */
static void expect_remembered(const char *const *options, const char *what)
{
	par_parallel *pool = open_with(2, options);
	uint64_t in[20] = {0}, out[20];

	MUST(par_map(pool, task("recall"), in, out, 20,
	             PAR_SETTINGS(.shared = what, .shared_size = strlen(what) + 1,
	                          .batch_size = PAR_SET(1)), &error));
	par_close(pool);
}

BEHAVIOUR(66, STARTING_PROCESSES, "an initializer runs in each worker before any task, and those "
                                  "that are kept are kept by it")
{
	uint64_t first[2], then[2];

	expect_remembered(milk, "milk");
	expect_remembered(eggs, "eggs");
	if (!is_backend(KEEPING_WORKERS))
		return;
	meet_workers_of_call(2, milk, first);
	for (int i = 0; i < 3; i++) {
		meet_workers_of_call(2, milk, then);
		EXPECT_INT(2, n_among(then, 2, first, 2));
	}
	meet_workers_of_call(2, eggs, then);
	EXPECT_INT(0, n_among(then, 2, first, 2));
}

/* --- more and fewer ----------------------------------------------------------------------------- */

BEHAVIOUR(67, KEEPING_WORKERS, "fewer workers are some of those there were, as many the same, and "
                               "more only some more (ours: at once, since no pool waits for another)")
{
	uint64_t four[4], fewer[2], same[2], more[5];

	meet_workers_of_call(4, NULL, four);
	meet_workers_of_call(2, NULL, fewer);
	EXPECT_INT(2, n_among(fewer, 2, four, 4));
	meet_workers_of_call(2, NULL, same);
	EXPECT_INT(2, n_among(same, 2, fewer, 2));
	meet_workers_of_call(5, NULL, more);
	EXPECT_INT(4, n_among(more, 5, four, 4));
	EXPECT_TEXT("", printed());
}

static const int sizes[] = {12, 2, 1, 12, 6, 1, 8, 5};
enum { SIZES = 8, PENDING = 50 };

struct pending {
	par_parallel *pool;
	uint64_t in[PENDING], out[PENDING];
};
static int n_pending;

static void pending_done(void *user, int32_t status, const par_error *why)
{
	struct pending *pending = user;

	EXPECT(status == PAR_OK, "%s: %s", why->what, why->reason);
	expect_mixed(pending->in, pending->out, PENDING);
	par_close_on(pending->pool, NULL, NULL);
	n_pending--;
}

/* All at once: each has its workers while the others have theirs. */
static void resize_while_pending(void)
{
	static struct pending pending[SIZES];
	uv_loop_t loop;

	EXPECT_INT(0, uv_loop_init(&loop));
	n_pending = SIZES;
	for (int i = 0; i < SIZES; i++) {
		for (uint64_t k = 0; k < PENDING; k++)
			pending[i].in[k] = k;
		MUST(par_open_on(&pending[i].pool, &loop, ON(.n_jobs = PAR_SET(sizes[i])), NULL, NULL,
		                 &error));
		MUST(par_start_map(pending[i].pool, task("mix"), pending[i].in, pending[i].out, PENDING,
		                   PAR_SETTINGS(.batch_size = PAR_SET(1)), pending_done, &pending[i],
		                   &error));
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&loop));
	EXPECT_INT(0, n_pending);
}

BEHAVIOUR(68, STARTING_PROCESSES,
          "12, 2, 1, 12, 6, 1, 8 and 5 workers, while calls are pending and after: nothing stops")
{
	uint64_t pids[12];

	resize_while_pending();
	for (int i = 0; i < SIZES; i++)
		meet_workers_of_call(sizes[i], NULL, pids);
}

BEHAVIOUR(69, STARTING_PROCESSES, "workers that are killed while their number changes, or after "
                                  "that, are replaced")
{
	uint64_t pids[6];
	par_parallel *pool;

	for (int i = 0; i < 3; i++) {
		pool = open_n(2 + 2 * i);

		meet_workers(pool, 2 + 2 * i, pids);
		kill((pid_t)pids[0], SIGKILL);
		expect_usable(pool);
		meet_workers(pool, 2 + 2 * i, pids);
		kill((pid_t)pids[1], SIGKILL);
		par_close(pool);
		pool = open_n(3);
		meet_workers(pool, 3, pids);
		par_close(pool);
		for (int k = 0; k < 3; k++)
			kill((pid_t)pids[k], SIGKILL);
	}
	pool = open_n(2);
	expect_usable(pool);
	par_close(pool);
}

BEHAVIOUR(70, STARTING_PROCESSES, "no workers at all are refused, and so are more than can be "
                                  "(ours: -1 is one for each core)")
{
	par_parallel *pool;

	MUST_BE(PAR_EINVAL, par_open(&pool, ON(.n_jobs = PAR_SET(0)), &error));
	EXPECT_CONTAINS("has no meaning", error.what);
	MUST_BE(PAR_EINVAL, par_open(&pool, ON(.n_jobs = PAR_SET(1000000)), &error));
	EXPECT_CONTAINS("ulimit -n", error.remedy);
	pool = open_n(-1);
	EXPECT_INT(par_effective_n_jobs(backend, -1, &error), par_n_jobs(pool));
	expect_usable(pool);
	par_close(pool);
}

/* --- idle --------------------------------------------------------------------------------------- */

/* A millisecond, while the source takes two for each payload. */
static int32_t give_slowly(void *user, par_item *item)
{
	for (int i = 0; i < 4; i++)
		pass_time();
	return give_count(user, item);
}

BEHAVIOUR(77, KEEPING_WORKERS, "idle workers end after their time-out and are started again for the "
                               "next call; one of a millisecond never stalls anything")
{
	static const char *const ten_ms[] = {"idle_worker_timeout=10ms", NULL};
	static const char *const one_ms[] = {"idle_worker_timeout=1ms", NULL};

	for (int i = 0; i < 5; i++) {
		uint64_t pids[4];

		meet_workers_of_call(4, ten_ms, pids);
		for (int k = 0; k < 4; k++)
			await_end(pids[k]);
	}
	for (int i = 0; i < 20; i++) {
		struct count count = {.n = 10};

		MUST(par_run(NULL, task("mix"), give_slowly, NULL, &count,
		             ON(.options = one_ms, .n_jobs = PAR_SET(2)), &error));
	}
}

/* Found before there are threads. */
static const par_task *mix, *end;

static void *open_and_close(void *arg)
{
	const char *options[] = {arg, NULL};

	for (int i = 0; i < 30; i++) {
		par_parallel *pool = NULL;
		uint64_t in = (uint64_t)i, out = 0;
		int32_t code = par_open(&pool, ON(.options = options, .n_jobs = PAR_SET(1 + i % 3)), NULL);

		if (code == PAR_OK && i % 2)
			code = par_map(pool, mix, &in, &out, 1, NULL, NULL);
		EXPECT(code == PAR_OK, "%s", par_code_name(code));
		par_close(pool);
	}
	return NULL;
}

BEHAVIOUR(78, KEEPING_WORKERS, "workers whose time is up while pools are closed are no deadlock")
{
	static char options[4][32] = {"idle_worker_timeout=0s", "idle_worker_timeout=1ms",
	                              "idle_worker_timeout=2ms", "idle_worker_timeout=5ms"};
	pthread_t threads[4];

	mix = task("mix");
	for (int i = 0; i < 4; i++)
		EXPECT_INT(0, pthread_create(&threads[i], NULL, open_and_close, options[i]));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

/* --- memory ------------------------------------------------------------------------------------- */

enum { LEAK = 30 << 20, LEAKS = 4 };

BEHAVIOUR(79, STARTING_PROCESSES, "a worker whose memory grows is replaced between two tasks, with "
                                  "a warning, and no task is lost")
{
	static const char *const options[] = {"max_growth=40M", NULL};
	par_parallel *pool = open_with(1, options);
	uint64_t none = 0, leak = LEAK, pid, first;
	int n = 0;

	MUST(par_map(pool, task("leak"), &none, &first, 1, NULL, &error));
	pid = first;
	/* Its memory is looked at once a second. */
	for (int64_t until_ms = now_ms() + 10000; pid == first && now_ms() < until_ms; n++) {
		MUST(par_map(pool, task("leak"), n < LEAKS ? &leak : &none, &pid, 1, NULL, &error));
		for (int i = 0; i < 200; i++)
			pass_time();
	}
	EXPECT(pid != first, "process %d has not been replaced", (int)first);
	await_end(first);
	EXPECT_CONTAINS("A worker stopped while some jobs were given to the executor", printed());
	expect_usable(pool);
	par_close(pool);
}

BEHAVIOUR(80, STARTING_PROCESSES, "two workers for each core and two more are all at work at once")
{
	int n = 2 * par_effective_n_jobs(backend, -1, &error) + 2;
	uint64_t pids[MOST];

	meet_workers_of_call(n < MOST ? n : MOST, NULL, pids);
}

/* --- many callers ------------------------------------------------------------------------------- */

struct caller {
	pthread_t thread;
	int number;
};

static void call_well(int i, const char *const *options)
{
	uint64_t in[30], out[30];
	int32_t code;

	for (uint64_t k = 0; k < 30; k++)
		in[k] = k * (uint64_t)i;
	code = par_map(NULL, mix, in, out, 30,
	               ON(.options = options, .n_jobs = PAR_SET(1 + i % 3)), NULL);
	EXPECT(code == PAR_OK, "a call: %s", par_code_name(code));
	expect_mixed(in, out, 30);
}

static void call_badly(void)
{
	uint64_t in[10] = {0, 0, 0, SIGSEGV}, out[10];
	par_error why = PAR_ERROR_INIT;

	EXPECT_INT(PAR_ELOST, par_map(NULL, end, in, out, 10, ON(.n_jobs = PAR_SET(2)), &why));
	EXPECT_INT(3, why.task);
}

static void call_and_cancel(void)
{
	struct count count = {.n = 100};
	const par_outcome *outcome;
	par_thrown thrown = {.size = sizeof(thrown)};
	par_iter *iter = NULL;
	int32_t code = par_iter_open(&iter, NULL, mix, give_count, &count,
	                             ON(.n_jobs = PAR_SET(2)), NULL);

	EXPECT(code == PAR_OK, "an iterator: %s", par_code_name(code));
	EXPECT_INT(1, par_iter_next(iter, &outcome, NULL));
	par_iter_close(iter, &thrown);
}

static void *be_caller(void *arg)
{
	const struct caller *caller = arg;
	char variable[32];
	const char *options[] = {variable, NULL};

	(void)snprintf(variable, sizeof(variable), "env=CALLER=%d", caller->number);
	for (int i = 0; i < 6; i++) {
		if (caller->number == 0)
			call_badly();
		else if (caller->number == 1)
			call_and_cancel();
		else
			call_well(i, caller->number % 2 ? options : NULL);
	}
	return NULL;
}

static void break_idle_workers(void)
{
	uint64_t pids[3];

	meet_workers_of_call(3, NULL, pids);
	for (int i = 0; i < 3; i++)
		kill((pid_t)pids[i], SIGKILL);
}

/* Who is forked while another thread has a lock of AddressSanitizer's allocator waits for it for ever;
 * glibc's own is safe. */
static void leave_out_if_forks_hang(void)
{
#ifdef __SANITIZE_ADDRESS__
	if (start_method != NULL && strcmp(start_method, "fork") == 0)
		leave_out("not with fork: AddressSanitizer's allocator may be locked for ever in the fork "
		          "of a process with threads");
#endif
}

BEHAVIOUR(84, STARTING_PROCESSES, "ten threads that call, crash and cancel at once do not notice "
                                  "each other (ours: joblib's share their failures)")
{
	struct caller callers[10];

	leave_out_if_forks_hang();
	mix = task("mix");
	end = task("end");
	break_idle_workers();
	for (int i = 0; i < 10; i++) {
		callers[i].number = i;
		EXPECT_INT(0, pthread_create(&callers[i].thread, NULL, be_caller, &callers[i]));
	}
	for (int i = 0; i < 10; i++)
		pthread_join(callers[i].thread, NULL);
}
