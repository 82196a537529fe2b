/* endings.c - pools and programs that end while there is work: B71 to B76, B85 to B87.
 *
 * joblib's pools may be asked to finish what is pending.  Here who wants results waits for them, in a
 * call or on a loop, and a pool that ends takes along what it was at. */
#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uv.h>

#undef B75 /* of terminals: a speed */

enum { MOST = 64, TASKS = 100 };

/* --- tasks that stay, and those who run them ---------------------------------------------------- */

/* Where they leave the numbers of their processes, and on which backend they make calls: the same,
 * by the name that may have workers in its workers. */
static const struct acceptance_nest *nest(void)
{
	static struct acceptance_nest nest;

	(void)snprintf(nest.backend, sizeof(nest.backend), "nested-%.56s", backend);
	(void)snprintf(nest.folder, sizeof(nest.folder), "%s", getenv("TMPDIR"));
	return &nest;
}

#define NEST .shared = nest(), .shared_size = sizeof(struct acceptance_nest), .batch_size = PAR_SET(1)

/* Processes that have said that they are there. */
static int find_present(uint64_t *pids)
{
	DIR *dir = opendir(getenv("TMPDIR"));
	struct dirent *entry;
	int n = 0;

	EXPECT(dir != NULL, "no folder");
	while ((entry = readdir(dir)) != NULL)
		if (strncmp(entry->d_name, "here-", 5) == 0 && n < MOST)
			pids[n++] = strtoull(entry->d_name + 5, NULL, 10);
	closedir(dir);
	return n;
}

static void await_present(int n, uint64_t *pids)
{
	int64_t until_ms = now_ms() + 20000;
	int found;

	while ((found = find_present(pids)) < n) {
		EXPECT(now_ms() < until_ms, "only %d of %d processes are there", found, n);
		pass_time();
	}
}

static void await_ends(const uint64_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		await_end(pids[i]);
}

/* --- a pool on a loop --------------------------------------------------------------------------- */

static struct pending {
	uv_loop_t loop;
	uv_timer_t watch;
	par_parallel *pool;
	uint64_t in[TASKS], out[TASKS];
	int n_awaited; /* processes, before it is closed */
	uint64_t pids[MOST];
	int n_done, n_closed;
	int32_t status;
} pending;

static void when_done(void *user, int32_t status, const par_error *why)
{
	(void)user, (void)why;
	pending.n_done++;
	pending.status = status;
}

static void when_closed(void *user)
{
	(void)user;
	pending.n_closed++;
}

static void open_pending(void)
{
	EXPECT_INT(0, uv_loop_init(&pending.loop));
	MUST(par_open_on(&pending.pool, &pending.loop, ON(.n_jobs = PAR_SET(2), .options = not_keeping()),
	                 NULL, NULL, &error));
}

static void start_pending(const char *name, uint64_t n)
{
	MUST(par_start_map(pending.pool, task(name), pending.in, pending.out, n, PAR_SETTINGS(NEST),
	                   when_done, NULL, &error));
}

static void close_pending(uv_timer_t *timer)
{
	if (find_present(pending.pids) < pending.n_awaited)
		return;
	uv_close((uv_handle_t *)timer, NULL);
	par_close_on(pending.pool, when_closed, NULL);
}

/* Close it once so many processes are there; nothing of it is left. */
static void run_pending(int n_awaited)
{
	pending.n_awaited = n_awaited;
	EXPECT_INT(0, uv_timer_init(&pending.loop, &pending.watch));
	EXPECT_INT(0, uv_timer_start(&pending.watch, close_pending, 0, 1));
	uv_run(&pending.loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&pending.loop));
	EXPECT_INT(1, pending.n_done);
	EXPECT_INT(1, pending.n_closed);
}

BEHAVIOUR(71, STARTING_PROCESSES, "closing a pool ends a hundred tasks that would take a minute, at "
                                  "once, and the workers of pools in them")
{
	int64_t began_ms = now_ms();

	open_pending();
	start_pending("stay", TASKS);
	run_pending(2);
	EXPECT_INT(PAR_ECANCELED, pending.status);
	await_ends(pending.pids, 2);
	for (int i = 0; i < 2; i++)
		(void)remove(path_of(i == 0 ? "here-0" : "here-1"));
	pending.n_done = pending.n_closed = 0;
	open_pending();
	start_pending("stay_below", 1);
	run_pending(2 + 3); /* those of before, a worker, and its two */
	EXPECT_INT(PAR_ECANCELED, pending.status);
	await_ends(pending.pids, 5);
	EXPECT_BETWEEN(0, 4999, now_ms() - began_ms);
}

BEHAVIOUR(72, STARTING_PROCESSES, "a pool that is being closed refuses new calls, and tells who "
                                  "waits (ours: what is pending is cancelled)")
{
	uint64_t in = 0, out;

	open_pending();
	start_pending("stay", TASKS);
	par_close_on(pending.pool, when_closed, NULL);
	MUST_BE(PAR_EINVAL, par_start_map(pending.pool, task("mix"), &in, &out, 1, NULL, when_done, NULL,
	                                  &error));
	EXPECT_CONTAINS("is being closed", error.what);
	uv_run(&pending.loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&pending.loop));
	EXPECT_INT(1, pending.n_done);
	EXPECT_INT(PAR_ECANCELED, pending.status);
	EXPECT_INT(1, pending.n_closed);
}

/* A byte short. */
static int32_t give_wrong(void *user, par_item *item)
{
	int32_t got = give_count(user, item);

	item->n_bytes -= got == 1 && ((struct count *)user)->given == 20;
	return got;
}

BEHAVIOUR(73, STARTING_PROCESSES, "closing a pool while a payload cannot be sent is no deadlock")
{
	for (int i = 0; i < 5; i++) {
		struct count count = {.n = 100};

		pending.n_done = pending.n_closed = 0;
		open_pending();
		MUST(par_start_run(pending.pool, task("mix"), give_wrong, NULL, NULL, when_done, &count,
		                   &error));
		for (int k = 0; k < i; k++)
			uv_run(&pending.loop, UV_RUN_NOWAIT);
		par_close_on(pending.pool, when_closed, NULL);
		uv_run(&pending.loop, UV_RUN_DEFAULT);
		EXPECT_INT(0, uv_loop_close(&pending.loop));
		EXPECT_INT(1, pending.n_done);
		EXPECT(pending.status == PAR_ECANCELED || pending.status == PAR_EINVAL, "it ended with %s",
		       par_code_name(pending.status));
		EXPECT_INT(1, pending.n_closed);
	}
}

BEHAVIOUR(75, STARTING_PROCESSES,
          "workers end after their pool, and one that crashes meanwhile holds nobody up")
{
	static const uint64_t ways[3] = {0, SIGSEGV, SIGKILL};

	for (int i = 0; i < 3; i++) {
		uint64_t pids[2];

		pending.n_done = pending.n_closed = 0;
		for (int k = 0; k < TASKS; k++)
			pending.in[k] = ways[i];
		open_pending();
		start_pending("end", TASKS);
		par_close_on(pending.pool, when_closed, NULL);
		uv_run(&pending.loop, UV_RUN_DEFAULT);
		EXPECT_INT(0, uv_loop_close(&pending.loop));
		EXPECT_INT(1, pending.n_done);
		EXPECT_INT(PAR_ECANCELED, pending.status);
		meet_workers_of_call(2, not_keeping(), pids);
		await_ends(pids, 2);
	}
}

/* --- the program ends --------------------------------------------------------------------------- */

/* In a process of its own: as many processes as that are there, before it ends in this way; they
 * must then be gone. */
static void end_program(void (*run)(void), int n_present, int signal)
{
	uint64_t pids[MOST];
	int64_t began_ms;
	int status;
	pid_t pid = fork();

	if (pid == 0) {
		run();
		for (;;)
			pass_time();
	}
	EXPECT(pid > 0, "no process");
	await_present(n_present, pids);
	n_present = find_present(pids);
	began_ms = now_ms();
	if (signal != 0)
		kill(pid, signal);
	EXPECT(waitpid(pid, &status, 0) == pid, "no child");
	if (signal != 0)
		EXPECT(WIFSIGNALED(status) && WTERMSIG(status) == signal, "it ended otherwise");
	else
		EXPECT(WIFEXITED(status) && WEXITSTATUS(status) == 0, "it did not end well");
	await_ends(pids, n_present);
	EXPECT_BETWEEN(0, 1999, now_ms() - began_ms);
	for (int i = 0; i < n_present; i++) {
		char name[32];

		(void)snprintf(name, sizeof(name), "here-%llu", (unsigned long long)pids[i]);
		(void)remove(path_of(name));
	}
}

/* Tasks that stay in workers, workers of those, and a pool that is idle. */
static void be_busy(void)
{
	uint64_t pids[2];

	meet_workers(open_n(2), 2, pids);
	open_pending();
	start_pending("stay_below", 2);
	uv_run(&pending.loop, UV_RUN_DEFAULT);
}

static void exit_when_present(uv_timer_t *timer)
{
	(void)timer;
	if (find_present(pending.pids) >= 2)
		exit(0);
}

static void be_busy_and_exit(void)
{
	open_pending();
	start_pending("stay", TASKS);
	EXPECT_INT(0, uv_timer_init(&pending.loop, &pending.watch));
	EXPECT_INT(0, uv_timer_start(&pending.watch, exit_when_present, 0, 1));
	uv_run(&pending.loop, UV_RUN_DEFAULT);
}

BEHAVIOUR(74, STARTING_PROCESSES, "a program that exits with tasks under way does so at once, "
                                  "silently, and takes them along (ours: joblib waits for them)")
{
	end_program(be_busy_and_exit, 2, 0);
	EXPECT_TEXT("", printed());
}

BEHAVIOUR(76, STARTING_PROCESSES, "of a program that is killed no worker is left, nor any of a pool "
                                  "in a task (ours: at once)")
{
	end_program(be_busy, 2 + 4, SIGKILL);
	end_program(be_busy, 2 + 4, SIGTERM);
}

/* --- processes of processes --------------------------------------------------------------------- */

/* Of those, the one whose parent is none of them. */
static pid_t root_of(const uint64_t *pids, int n)
{
	for (int i = 0; i < n; i++) {
		char path[64];
		int parent = 0;
		FILE *file;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pids[i]);
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fscanf(file, "%*d (%*[^)]) %*c %d", &parent) != 1)
			parent = 0;
		fclose(file);
		if (parent != 0 && !is_among((uint64_t)parent, pids, n))
			return (pid_t)pids[i];
	}
	not_met(__FILE__, __LINE__, "nobody is the first of them");
}

enum { FAMILY = 1 + 5 };

/* The worker of a family is killed; its task is run again, elsewhere, and has another. */
static void kill_first_family(uv_timer_t *timer)
{
	static uint64_t pids[MOST];
	static int is_killed;

	if (!is_killed && find_present(pids) == FAMILY)
		is_killed = kill(root_of(pids, FAMILY), SIGKILL) == 0;
	if (!is_killed)
		return;
	for (int i = 0; i < FAMILY; i++)
		if (is_alive(pids[i]))
			return;
	pending.n_awaited = 2 * FAMILY;
	EXPECT_INT(0, uv_timer_start(timer, close_pending, 0, 1));
}

static void forget_present(void)
{
	uint64_t pids[MOST];

	for (int i = find_present(pids); i-- > 0;) {
		char name[32];

		(void)snprintf(name, sizeof(name), "here-%llu", (unsigned long long)pids[i]);
		(void)remove(path_of(name));
	}
}

BEHAVIOUR(85, STARTING_PROCESSES, "five generations of processes below a task end with its worker, "
                                  "whoever kills it, and with its pool (ours: those that stay in its "
                                  "group)")
{
	uint64_t pids[MOST], in[2] = {0}, out[2];
	int32_t seen[2];
	par_parallel *pool = open_n(2);

	in[0] = 5;
	MUST_BE(PAR_EFAILED, par_map(pool, task("generations"), in, out, 2,
	                             PAR_SETTINGS(NEST, .task_timeout = PAR_SET(0.3), .statuses = seen,
	                                          .on_error = PAR_COLLECT), &error));
	EXPECT_INT(PAR_ETIMEOUT, seen[0]);
	EXPECT_INT(PAR_OK, seen[1]);
	EXPECT_INT(FAMILY, find_present(pids));
	await_ends(pids, FAMILY);
	expect_usable(pool);
	par_close(pool);
	forget_present();

	open_pending();
	pending.in[0] = 5;
	start_pending("generations", 1);
	EXPECT_INT(0, uv_timer_init(&pending.loop, &pending.watch));
	EXPECT_INT(0, uv_timer_start(&pending.watch, kill_first_family, 0, 1));
	uv_run(&pending.loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&pending.loop));
	EXPECT_INT(PAR_ECANCELED, pending.status);
	EXPECT_INT(2 * FAMILY, find_present(pids));
	await_ends(pids, 2 * FAMILY);
}

static void dig(uint64_t depth, int32_t expected)
{
	uint64_t out = 0;

	MUST_BE(expected, par_map(NULL, task("dig"), &depth, &out, 1, ON(NEST, .n_jobs = PAR_SET(1)),
	                          &error));
	if (expected == PAR_OK)
		EXPECT_INT(depth, out);
	else
		EXPECT_CONTAINS("nested too deep", error.trace);
}

BEHAVIOUR(86, STARTING_PROCESSES, "pools in tasks of pools work ten deep, or PARLOOP_MAX_DEPTH, and "
                                  "the eleventh is an error that names them; all can be killed")
{
	uint64_t pids[MOST];
	char chain[128];

	dig(10, PAR_OK);
	EXPECT_INT(10, find_present(pids));
	dig(11, PAR_EFAILED);
	(void)snprintf(chain, sizeof(chain), "it is inside %s > nested-%s (9 times)", backend, backend);
	EXPECT_CONTAINS(chain, error.trace);
	EXPECT_CONTAINS("PARLOOP_MAX_DEPTH is 10", error.trace);
	setenv("PARLOOP_MAX_DEPTH", "3", 1);
	dig(3, PAR_OK);
	dig(4, PAR_EFAILED);
	EXPECT_CONTAINS("PARLOOP_MAX_DEPTH is 3", error.trace);
	setenv("PARLOOP_MAX_DEPTH", "11", 1);
	dig(11, PAR_OK);
	/* The innermost stays, until the outermost pool is closed. */
	forget_present();
	open_pending();
	pending.in[0] = 11;
	start_pending("dig_and_stay", 1);
	run_pending(11);
	EXPECT_INT(PAR_ECANCELED, pending.status);
	await_ends(pending.pids, 11);
}

BEHAVIOUR(87, STARTING_PROCESSES, "a pool that a task has left open is no deadlock when its worker "
                                  "ends, nor when the program does")
{
	static par_parallel *left_open;
	par_parallel *pool = open_with(2, not_keeping());
	uint64_t pids[MOST], in[2] = {0}, out[2];
	int n;

	MUST(par_map(pool, task("leave_open"), in, out, 2, PAR_SETTINGS(NEST), &error));
	n = find_present(pids);
	EXPECT_BETWEEN(2, 8, n);
	par_close(pool);
	await_ends(pids, n);
	/* And once more, in workers that are still there when this process ends. */
	left_open = open_n(2);
	MUST(par_map(left_open, task("leave_open"), in, out, 2, PAR_SETTINGS(NEST), &error));
}
