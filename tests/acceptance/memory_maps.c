/* memory_maps.c - what tasks in other processes are given, and how: B81 to B83, B88 to B90 and B101 to
 * B106.
 *
 * joblib writes large arrays into files, in folders, and has a process that looks after them.  Here
 * they are copied once into memory without a name, so there is nothing to look after. */
#include "acceptance.h"

#include "../tasks/acceptance.h"

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

static unsigned char byte_of(uint64_t task, uint64_t i)
{
	return (unsigned char)(task * 37 + i * 7 + i / 4096);
}

/* --- what is around a task ---------------------------------------------------------------------- */

BEHAVIOUR(81, STARTING_PROCESSES, "a worker has the variables that it is to have, and what its "
                                  "children read is at its end")
{
	static const char *const options[] = {"env=COLOUR=blue WORDS='two words'", NULL};
	par_parallel *pool;

	/* Ours has something to read. */
	EXPECT(freopen(write_file("input", "what is not for workers\n"), "r", stdin) != NULL, "no input");
	setenv("COLOUR", "red", 1);
	setenv("TASTE", "sweet", 1);
	pool = open_with(1, options);
	EXPECT_TEXT("blue", ask_task(pool, "variable", "COLOUR"));
	EXPECT_TEXT("two words", ask_task(pool, "variable", "WORDS"));
	EXPECT_TEXT("sweet", ask_task(pool, "variable", "TASTE"));
	EXPECT_TEXT("0\n", ask_task(pool, "child_reads", ""));
	par_close(pool);
	EXPECT_TEXT("red", getenv("COLOUR"));
}

BEHAVIOUR(88, STARTING_PROCESSES, "threads of OpenMP and OpenBLAS in the program freeze no worker, "
                                  "whose tasks may use them too (ours: a fork that is asked for "
                                  "warns where there are threads)")
{
	uint64_t in[8] = {2, 2, 2, 2, 2, 2, 2, 2}, out[8];

	if (library_file(OPENMP) == NULL)
		leave_out("no OpenMP here");
#ifdef __SANITIZE_THREAD__
	leave_out("ThreadSanitizer does not see how OpenMP's threads wait for each other");
#endif
	MUST(par_map(NULL, task("openmp"), in, out, 8, PAR_SETTINGS(.backend = "sequential"), &error));
	if (start_method != NULL && strcmp(start_method, "fork") == 0) {
		par_close(open_n(2));
		EXPECT_CONTAINS("start_method=fork with", printed());
	}
	for (int i = 0; i < 3; i++) {
		memset(out, 0, sizeof(out));
		MUST(par_map(NULL, task("openmp"), in, out, 8,
		             ON(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1)), &error));
		for (int k = 0; k < 8; k++)
			EXPECT_INT(2, out[k]);
	}
	if (library_file(OPENBLAS) == NULL) {
		but("OpenBLAS is not installed");
		return;
	}
	(void)ask_library(1, PAR_SETTINGS(.backend = "sequential", .inner_max_num_threads = PAR_SET(2)));
	EXPECT_BETWEEN(1, 2, ask_library(1, ON(.n_jobs = PAR_SET(2))).used);
}

static int of_the_program(const int64_t *in, int64_t *out)
{
	*out = *in - (int64_t)getpid();
	return 0;
}
PAR_TASK(of_the_program, int64_t, int64_t)

BEHAVIOUR(89, STARTING_PROCESSES, "tasks of the program itself run in workers, without a module "
                                  "(ours: par_worker_main() comes first in main)")
{
	int64_t in[20], out[20];

	for (int i = 0; i < 20; i++)
		in[i] = getpid();
	MUST(par_map(NULL, &par_task_of_the_program, in, out, 20, ON(.n_jobs = PAR_SET(2)), &error));
	for (int i = 0; i < 20; i++)
		EXPECT(out[i] != 0, "task %d was run by the program", i);
}

static uint64_t changing;

static int see_changes(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t brought;

	memcpy(&brought, env->shared, sizeof(brought));
	*out = *in + 100 * brought + 10000 * changing;
	return 0;
}
PAR_TASK_ENV(see_changes, uint64_t, uint64_t)

BEHAVIOUR(90, STARTING_PROCESSES, "workers see at the next call what it brings anew: payloads and "
                                  ".shared (ours: and no variables of the program's)")
{
	par_parallel *pool = open_n(2);

	for (uint64_t round = 1; round <= 3; round++) {
		uint64_t in[20], out[20];

		for (uint64_t i = 0; i < 20; i++)
			in[i] = i * round;
		MUST(par_map(pool, &par_task_see_changes, in, out, 20,
		             PAR_SETTINGS(.shared = &round, .shared_size = sizeof(round)), &error));
		for (uint64_t i = 0; i < 20; i++)
			EXPECT_INT(i * round + 100 * round, out[i]);
		changing = round;
	}
	par_close(pool);
}

/* --- payloads ----------------------------------------------------------------------------------- */

struct payloads {
	uint64_t n, given, got;
	uint64_t size;        /* of the first; each other is a byte longer than the one before */
	unsigned char *bytes; /* of the last, in place for all of them if keeps is 0           */
	unsigned char *kept[200];
	int keeps;            /* each has its own, which is taken away when its result is there */
	int is_shared;        /* as tasks should see them */
};

static unsigned char *take_pages(uint64_t n)
{
	void *pages = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	EXPECT(pages != MAP_FAILED, "no memory");
	return pages;
}

static int32_t give_payload(void *user, par_item *item)
{
	struct payloads *payloads = user;
	uint64_t size = payloads->size + payloads->given;

	if (payloads->given == payloads->n)
		return 0;
	if (payloads->keeps)
		payloads->bytes = payloads->kept[payloads->given] = take_pages(size);
	for (uint64_t i = 0; i < size; i++)
		payloads->bytes[i] = byte_of(payloads->given, i);
	payloads->given++;
	item->payload = payloads->bytes;
	item->n_bytes = size;
	item->stays = payloads->keeps;
	return 1;
}

static uint64_t sum_of(uint64_t task, uint64_t size)
{
	uint64_t sum = 0;

	size = size < ACCEPTANCE_WEIGHED ? size : ACCEPTANCE_WEIGHED;
	for (uint64_t i = 0; i < size; i++)
		sum += (i % 251 + 1) * byte_of(task, i);
	return sum;
}

static int32_t take_weight(void *user, const par_outcome *outcome)
{
	struct payloads *payloads = user;
	uint64_t size = payloads->size + outcome->index;
	struct acceptance_weight weight;

	EXPECT_INT(sizeof(weight), outcome->n_bytes);
	memcpy(&weight, outcome->bytes, sizeof(weight));
	EXPECT_INT(size, weight.size);
	EXPECT_INT(byte_of(outcome->index, 0), weight.first);
	EXPECT_INT(byte_of(outcome->index, size - 1), weight.last);
	EXPECT_INT(sum_of(outcome->index, size), weight.sum);
	EXPECT_INT(payloads->is_shared, weight.is_shared);
	if (payloads->keeps)
		EXPECT_INT(0, munmap(payloads->kept[outcome->index], size));
	payloads->got++;
	return 0;
}

static void run_payloads(par_parallel *pool, struct payloads *payloads, const par_settings *settings)
{
	if (!payloads->keeps)
		payloads->bytes = take_pages(payloads->size + payloads->n);
	MUST(par_run(pool, task("weigh"), give_payload, take_weight, payloads, settings, &error));
	EXPECT_INT(payloads->n, payloads->got);
	if (!payloads->keeps)
		munmap(payloads->bytes, payloads->size + payloads->n);
}

#define LARGE ((uint64_t)2200 * 1000 * 1000)

static int32_t give_large(void *user, par_item *item)
{
	static int given;

	item->payload = user;
	item->n_bytes = LARGE;
	item->stays = 1;
	return given++ == 0;
}

static int32_t take_large(void *user, const par_outcome *outcome)
{
	struct acceptance_weight weight;

	(void)user;
	memcpy(&weight, outcome->bytes, sizeof(weight));
	EXPECT_INT(LARGE, weight.size);
	EXPECT_INT(1, weight.first);
	EXPECT_INT(2, weight.last);
	return 0;
}

static long long available_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	char line[256];
	long long kib = 0;

	while (file != NULL && fgets(line, sizeof(line), file) != NULL)
		if (sscanf(line, "MemAvailable: %lld", &kib) == 1)
			break;
	if (file != NULL)
		fclose(file);
	return kib * 1024;
}

/* It takes seconds, and no way to start processes would tell anything else. */
BEHAVIOUR(82, KEEPING_WORKERS, "a payload of 2.2 GB arrives")
{
	unsigned char *bytes;

	if (available_memory() < 2 * (long long)LARGE)
		leave_out("there is too little memory");
	bytes = par_shared_alloc(LARGE, &error);
	if (bytes == NULL)
		leave_out("%s: %s", error.what, error.reason);
	bytes[0] = 1;
	bytes[LARGE - 1] = 2;
	MUST(par_run(NULL, task("weigh"), give_large, take_large, bytes, ON(.n_jobs = PAR_SET(2)), &error));
	par_shared_free(bytes);
}

BEHAVIOUR(83, STARTING_PROCESSES, "of a payload whose result is there nothing is looked at any more")
{
	struct payloads large = {.n = 20, .size = 2 * MIB, .keeps = 1, .is_shared = 1};
	struct payloads small = {.n = 100, .size = 5000, .keeps = 1};

	run_payloads(NULL, &large, ON(.n_jobs = PAR_SET(2)));
	run_payloads(NULL, &small, ON(.n_jobs = PAR_SET(2)));
}

/* --- memory that is mapped ---------------------------------------------------------------------- */

BEHAVIOUR(101, STARTING_PROCESSES, "what is longer than max_nbytes arrives mapped, a hundred of them "
                                   "in a row, and what is not travels")
{
	struct payloads more = {.n = 100, .size = MIB / 8, .is_shared = 1};
	struct payloads exact = {.n = 1, .size = MIB}, longer = {.n = 1, .size = MIB + 1, .is_shared = 1};
	struct payloads never = {.n = 3, .size = 3 * MIB};
	par_parallel *pool = open_n(2);

	run_payloads(pool, &exact, NULL);
	run_payloads(pool, &longer, NULL);
	run_payloads(pool, &more, PAR_SETTINGS(.max_nbytes = PAR_SET(100000)));
	run_payloads(pool, &never, PAR_SETTINGS(.max_nbytes = PAR_SET(-1)));
	par_close(pool);
	/* The next has more workers. */
	more.given = more.got = 0;
	run_payloads(NULL, &more, ON(.n_jobs = PAR_SET(4), .max_nbytes = PAR_SET(100000)));
}

/* Names in that folder; those of a behaviour's own are none of ours. */
static int n_names(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.' && strstr(entry->d_name, path) == NULL;
	if (dir != NULL)
		closedir(dir);
	return n;
}

static int is_ours_in_shm(void)
{
	DIR *dir = opendir("/dev/shm");
	struct dirent *entry;
	int found = 0;

	while (dir != NULL && (entry = readdir(dir)) != NULL)
		found |= strstr(entry->d_name, "parloop") != NULL || strstr(entry->d_name, "joblib") != NULL;
	if (dir != NULL)
		closedir(dir);
	return found;
}

static void expect_no_file(void)
{
	EXPECT_INT(0, n_names(getenv("TMPDIR")));
	EXPECT(!is_ours_in_shm(), "something of ours is in /dev/shm");
}

static int32_t take_and_look(void *user, const par_outcome *outcome)
{
	expect_no_file();
	return take_weight(user, outcome);
}

BEHAVIOUR(102, STARTING_PROCESSES, "large arguments leave no file in any folder, neither while they "
                                   "are used nor after (ours: memory without a name)")
{
	struct payloads payloads = {.n = 10, .size = 2 * MIB, .keeps = 1, .is_shared = 1};
	par_parallel *pool = open_n(2);

	MUST(par_run(pool, task("weigh"), give_payload, take_and_look, &payloads, NULL, &error));
	EXPECT_INT(10, payloads.got);
	par_close(pool);
	expect_no_file();
}

static const par_task *shared_value;

/* The same place each time, with something else in it. */
static void *map_at_one_place(void *arg)
{
	enum { N = 200000 };
	static uint64_t at_main[N], at_other[N];
	uint64_t *in = arg == NULL ? at_main : at_other, *out = malloc(N * sizeof(*out));

	EXPECT(out != NULL, "no memory");
	for (uint64_t round = 0; round < 3; round++) {
		int32_t code;

		for (uint64_t i = 0; i < N; i++)
			in[i] = i * (round + 1) + (arg != NULL);
		code = par_map(NULL, shared_value, in, out, N, ON(.n_jobs = PAR_SET(2)), NULL);
		EXPECT(code == PAR_OK, "a call: %s", par_code_name(code));
		for (uint64_t i = 0; i < N; i++)
			EXPECT(out[i] == 2 * in[i] + 1, "round %d, out[%d]", (int)round, (int)i);
	}
	free(out);
	return NULL;
}

BEHAVIOUR(103, STARTING_PROCESSES, "calls and threads have copies of their own, also of an array that "
                                   "is the same place (ours: no folders that could be shared)")
{
	pthread_t other;
	int mark = 0;

	shared_value = task("is_shared_value");
	EXPECT_INT(0, pthread_create(&other, NULL, map_at_one_place, &mark));
	map_at_one_place(NULL);
	pthread_join(other, NULL);
	expect_no_file();
}

BEHAVIOUR(104, STARTING_PROCESSES, "where there is no room for a copy its bytes travel instead (ours: "
                                   "/dev/shm is not asked how much it has)")
{
	struct payloads payloads = {.n = 4, .size = 8 * MIB};
	const struct rlimit limit = {6 * MIB, 6 * MIB};

	/* Memory without a name counts as a file.  Channels are smaller. */
	EXPECT_INT(0, setrlimit(RLIMIT_FSIZE, &limit));
	run_payloads(NULL, &payloads, ON(.n_jobs = PAR_SET(2)));
	payloads = (struct payloads){.n = 2, .size = 5 * MIB, .is_shared = 1};
	run_payloads(NULL, &payloads, ON(.n_jobs = PAR_SET(2)));
}

/* Of arrays that begin anywhere in shared memory, the values of one place become those of another. */
static void expect_view(par_parallel *pool, uint64_t *in, uint64_t *out, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		in[i] = i * i + n;
	out[-1] = out[n] = 4711;
	MUST(par_map(pool, task("is_shared_value"), in, out, n, NULL, &error));
	for (uint64_t i = 0; i < n; i++)
		EXPECT(out[i] == 2 * (i * i + n) + 1, "of %d, out[%d] is %llu", (int)n, (int)i,
		       (unsigned long long)out[i]);
	EXPECT_INT(4711, out[-1]);
	EXPECT_INT(4711, out[n]);
}

BEHAVIOUR(105, STARTING_PROCESSES, "arrays that begin and end anywhere in shared memory are seen as "
                                   "they are, and written in place")
{
	static const uint64_t starts[] = {1, 2, 3, 511, 512, 513, 10001};
	uint64_t *from = par_shared_alloc(MIB, &error), *to = par_shared_alloc(MIB, &error);
	par_parallel *pool = open_n(2);

	EXPECT(from != NULL && to != NULL, "no memory: %s", error.reason);
	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++) {
		expect_view(pool, from + starts[i], to + starts[6 - i], 1000);
		expect_view(pool, from + starts[i], to + starts[i], 77777);
	}
	/* And one that is both. */
	for (uint64_t i = 0; i < 1000; i++)
		from[i] = i;
	MUST(par_map(pool, task("is_shared_value"), from + 100, from + 100, 800, NULL, &error));
	for (uint64_t i = 0; i < 1000; i++)
		EXPECT_INT(i < 100 || i >= 900 ? i : 2 * i + 1, from[i]);
	par_close(pool);
	par_shared_free(from);
	par_shared_free(to);
}

/* Children of this process, and whether one is neither a worker nor what forks them. */
static int n_children(void)
{
	char path[64];
	FILE *file;
	int n = 0, pid;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	file = fopen(path, "re");
	while (file != NULL && fscanf(file, "%d", &pid) == 1)
		n++;
	if (file != NULL)
		fclose(file);
	else
		leave_out("this kernel does not list children");
	return n;
}

BEHAVIOUR(106, STARTING_PROCESSES, "no process looks after what is shared, and nothing of it is left "
                                   "when workers and program are killed (ours: no tracker)")
{
	struct payloads payloads = {.n = 4, .size = 2 * MIB, .keeps = 1, .is_shared = 1};
	uint64_t pids[2];
	par_parallel *pool = open_n(2);
	int status, has_server = start_method != NULL && strcmp(start_method, "forkserver") == 0;
	pid_t child;

	run_payloads(pool, &payloads, NULL);
	meet_workers(pool, 2, pids);
	EXPECT_BETWEEN(0, 2 + has_server, n_children());
	for (int i = 0; i < 2; i++)
		kill((pid_t)pids[i], SIGKILL);
	payloads.given = payloads.got = 0;
	run_payloads(pool, &payloads, NULL);
	child = fork();
	if (child == 0) {
		payloads.given = payloads.got = 0;
		run_payloads(open_n(2), &payloads, NULL);
		kill(getpid(), SIGKILL);
	}
	EXPECT(waitpid(child, &status, 0) == child && WIFSIGNALED(status), "it lives");
	expect_no_file();
	payloads.given = payloads.got = 0;
	run_payloads(pool, &payloads, NULL);
	par_close(pool);
}
