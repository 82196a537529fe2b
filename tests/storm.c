/* storm.c - a million tasks, while a random worker is killed every few milliseconds, and some of
 * the tasks kill the worker that runs them.
 *
 *	storm --backend loky --tasks 1000000 --kill-ms 1 --poison 20 --turns 800
 *
 * Afterwards each task must have been delivered once, with the right value; exactly the poisonous
 * ones must have failed, as what they are; and nothing may be left: no process, no descriptor.
 * It ends with check's line, and with the seed that repeats it as far as the kernel lets it. */
#include "tasks/storm.h"

#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <dirent.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct {
	const char *backend;
	const char *options[8];
	int n_options;
	uint64_t n;
	double kill_ms; /* 0: nobody is killed */
	uint64_t poison;
	uint32_t turns;
	uint64_t seed;
	int is_stream;
} wants = {.backend = "loky", .n = 1000000, .kill_ms = 5, .turns = 800, .seed = 1};

static struct storm_in *in;
static uint64_t *out;
static int32_t *statuses;
static uint8_t *times; /* how often it was delivered */
static unsigned long long checks, failures;
static struct {
	_Atomic uint64_t kills;
} *told; /* by the killer */

__attribute__((format(printf, 2, 3))) static void check(int holds, const char *format, ...)
{
	va_list args;

	checks++;
	if (holds || failures++ > 20)
		return;
	va_start(args, format);
	fputs("F: ", stdout);
	vprintf(format, args);
	putchar('\n');
	va_end(args);
}

static uint64_t next_random(uint64_t *state)
{
	*state += UINT64_C(0x9e3779b97f4a7c15);
	return storm_mix(*state);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- the killer ---------------------------------------------------------------------------------- */

/* The children of a process, of whatever thread. */
static int children(pid_t parent, pid_t *pids, int most)
{
	char path[64];
	DIR *threads;
	struct dirent *entry;
	int n = 0, pid;

	(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)parent);
	threads = opendir(path);
	while (threads != NULL && (entry = readdir(threads)) != NULL) {
		FILE *list;

		(void)snprintf(path, sizeof(path), "/proc/%d/task/%.20s/children", (int)parent, entry->d_name);
		list = fopen(path, "re");
		while (list != NULL && n < most && fscanf(list, "%d", &pid) == 1)
			if (pid != getpid())
				pids[n++] = pid;
		if (list != NULL)
			fclose(list);
	}
	if (threads != NULL)
		closedir(threads);
	return n;
}

static void wait_until(double due)
{
	double left = due - now_s();
	struct timespec pause = {.tv_sec = (time_t)left};

	if (left <= 0)
		return;
	pause.tv_nsec = (long)((left - (double)pause.tv_sec) * 1e9);
	nanosleep(&pause, NULL);
}

/* A process of its own, so that the program has no thread but its first, as most have. */
static pid_t start_killer(void)
{
	pid_t parent = getpid(), killer = fork(), pids[64];
	uint64_t state = wants.seed;
	double due = now_s();

	if (killer != 0)
		return killer;
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (getppid() == parent) {
		int n;

		due += wants.kill_ms / 1e3;
		wait_until(due);
		n = children(parent, pids, 64);
		if (n > 0 && kill(pids[next_random(&state) % (uint64_t)n], SIGKILL) == 0)
			told->kills++;
	}
	_exit(0);
}

static void end_killer(pid_t killer)
{
	(void)kill(killer, SIGKILL);
	(void)waitpid(killer, NULL, 0);
}

/* --- the call ------------------------------------------------------------------------------------ */

static uint64_t given;

static int32_t give(void *user, par_item *item)
{
	(void)user;
	if (given == wants.n)
		return 0;
	item->payload = &in[given++];
	item->n_bytes = sizeof(*in);
	item->stays = 1;
	return 1;
}

static int32_t take(void *user, const par_outcome *outcome)
{
	(void)user;
	statuses[outcome->index] = outcome->status;
	times[outcome->index]++;
	if (outcome->status == PAR_OK)
		memcpy(&out[outcome->index], outcome->bytes, sizeof(*out));
	return 0;
}


static void run(const par_task *task)
{
	par_error error = PAR_ERROR_INIT;
	char text[4096];
	int32_t status;

	if (wants.is_stream)
		status = par_run(NULL, task, give, take, NULL,
		                 PAR_SETTINGS(.backend = wants.backend, .options = wants.options,
		                              .n_jobs = PAR_SET(2), .on_error = PAR_COLLECT),
		                 &error);
	else
		status = par_map(NULL, task, in, out, wants.n,
		                 PAR_SETTINGS(.backend = wants.backend, .options = wants.options,
		                              .n_jobs = PAR_SET(2), .on_error = PAR_COLLECT,
		                              .statuses = statuses),
		                 &error);
	check(status == (wants.poison > 0 ? PAR_EFAILED : PAR_OK), "the call ended with %s: %s",
	      par_code_name(status), par_error_text(&error, 0, text, sizeof(text)));
}

static void verify(void)
{
	uint64_t wrong = 0, lost = 0, twice = 0, condemned = 0, spared = 0;

	for (uint64_t i = 0; i < wants.n; i++) {
		int is_poison = in[i].kind != STORM_GOOD;

		lost += statuses[i] == PAR_EABORTED;
		twice += wants.is_stream && times[i] > 1;
		condemned += !is_poison && statuses[i] == PAR_ELOST;
		spared += is_poison && statuses[i] != PAR_ELOST;
		wrong += !is_poison && statuses[i] == PAR_OK && out[i] != storm_mix(in[i].value);
	}
	check(lost == 0, "%llu tasks were lost", (unsigned long long)lost);
	check(twice == 0, "%llu tasks were delivered twice", (unsigned long long)twice);
	check(wrong == 0, "%llu results are wrong", (unsigned long long)wrong);
	check(condemned == 0, "%llu innocent tasks were condemned", (unsigned long long)condemned);
	check(spared == 0, "%llu poisonous tasks did not fail", (unsigned long long)spared);
}

/* --- what is left --------------------------------------------------------------------------------- */

/* Pages that are kept for copies to come are not left behind. */
static int is_kept(const char *name)
{
	char path[64], target[256] = "";

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%.20s", name);
	return readlink(path, target, sizeof(target) - 1) > 0 && strstr(target, "memfd:parloop-shared") != NULL;
}

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int n = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		n += !is_kept(entry->d_name);
	if (dir != NULL)
		closedir(dir);
	return n;
}

/* Workers that serve the next call are no leftovers; here there is none. */
static void see_nothing_left(int descriptors_before)
{
	double until = now_s() + 5;
	pid_t pids[64];
	int n;

	while ((n = children(getpid(), pids, 64)) > 0 && now_s() < until)
		usleep(1000);
	check(n == 0, "%d processes are left", n);
	check(descriptors() <= descriptors_before, "%d descriptors, %d before", descriptors(),
	      descriptors_before);
}

/* --- the program ---------------------------------------------------------------------------------- */

static void prepare(void)
{
	uint64_t state = wants.seed + 77;

	in = calloc(wants.n, sizeof(*in));
	out = calloc(wants.n, sizeof(*out));
	statuses = malloc(wants.n * sizeof(*statuses));
	times = calloc(wants.n, 1);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (told == MAP_FAILED || in == NULL || out == NULL || statuses == NULL || times == NULL)
		exit(2);
	for (uint64_t i = 0; i < wants.n; i++) {
		in[i] = (struct storm_in){next_random(&state), STORM_GOOD, wants.turns};
		statuses[i] = PAR_EABORTED;
	}
	for (uint64_t i = 0; i < wants.poison && i < wants.n;) {
		struct storm_in *one = &in[next_random(&state) % wants.n];

		if (one->kind == STORM_GOOD)
			one->kind = 1 + (uint32_t)(i++ % (STORM_KINDS - 1));
	}
}

/* libuv's first loop in a process makes descriptors that stay. */
static void warm_up(const par_task *task)
{
	const struct storm_in one = {.value = 1};
	uint64_t ignored;

	(void)par_map(NULL, task, &one, &ignored, 1, PAR_SETTINGS(.backend = "sequential"), NULL);
}

static int usage(void)
{
	fputs("usage: storm [--backend NAME] [--option KEY=VALUE]... [--tasks N] [--kill-ms MS]\n"
	      "             [--poison N] [--turns N] [--seed N] [--stream]\n",
	      stderr);
	return 2;
}

static int read_argument(const char *name, const char *value)
{
	if (strcmp(name, "--backend") == 0)
		wants.backend = value;
	else if (strcmp(name, "--option") == 0 && wants.n_options < 7)
		wants.options[wants.n_options++] = value;
	else if (strcmp(name, "--tasks") == 0)
		wants.n = strtoull(value, NULL, 10);
	else if (strcmp(name, "--kill-ms") == 0)
		wants.kill_ms = strtod(value, NULL);
	else if (strcmp(name, "--poison") == 0)
		wants.poison = strtoull(value, NULL, 10);
	else if (strcmp(name, "--turns") == 0)
		wants.turns = (uint32_t)strtoul(value, NULL, 10);
	else if (strcmp(name, "--seed") == 0)
		wants.seed = strtoull(value, NULL, 10);
	else
		return -1;
	return 0;
}

static int read_arguments(char **argv)
{
	while (*++argv != NULL) {
		if (strcmp(*argv, "--stream") == 0)
			wants.is_stream = 1;
		else if (argv[1] == NULL || read_argument(argv[0], argv[1]) < 0)
			return usage();
		else
			argv++;
	}
	return wants.n > 0 ? 0 : usage();
}

int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task;
	par_module *module;
	pid_t killer = 0;
	int before;
	double begin;

	par_worker_main(argc, argv);
	if (read_arguments(argv) != 0)
		return 2;
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (par_module_open(&module, PAR_BUILD "/tasks/storm.so", &error) != PAR_OK ||
	    par_module_task(module, "weather", &task, &error) != PAR_OK) {
		fprintf(stderr, "storm: %s\n", error.reason);
		return 2;
	}
	prepare();
	warm_up(task);
	before = descriptors();
	begin = now_s();
	if (wants.kill_ms > 0)
		killer = start_killer();
	run(task);
	if (wants.kill_ms > 0)
		end_killer(killer);
	printf("%s%s%s: %llu tasks in %.2f s, %llu workers killed, %llu poisonous tasks, seed %llu\n",
	       wants.backend, wants.n_options > 0 ? " " : "", wants.n_options > 0 ? wants.options[0] : "",
	       (unsigned long long)wants.n, now_s() - begin, (unsigned long long)told->kills,
	       (unsigned long long)wants.poison, (unsigned long long)wants.seed);
	verify();
	see_nothing_left(before);
	printf("%llu%%: Checks: %llu, Failures: %llu, Errors: 0\n", 100 * (checks - failures) / checks,
	       checks, failures);
	return failures > 0;
}
