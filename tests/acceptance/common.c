/* common.c - what many behaviours need. */
#include "acceptance.h"

#include "../tasks/conformance.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

const par_task *task(const char *name)
{
	static const char *const files[] = {PAR_BUILD "/tasks/acceptance.so",
	                                    PAR_BUILD "/tasks/conformance.so",
	                                    PAR_BUILD "/tasks/inner.so"};
	par_module *module;
	const par_task *found;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		MUST(par_module_open(&module, files[i], &error));
		if (par_module_task(module, name, &found, &error) == PAR_OK)
			return found;
	}
	not_met(__FILE__, __LINE__, "%s", error.what);
}

par_parallel *open_n(int64_t n_jobs)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = backend, .n_jobs = {1, n_jobs}), &error));
	return pool;
}

par_parallel *open_with(int64_t n_jobs, const char *const *options)
{
	par_parallel *pool;

	MUST(par_open(&pool, ON(.options = options, .n_jobs = {1, n_jobs}), &error));
	return pool;
}

const char *const *not_keeping(void)
{
	static const char *const options[] = {"idle_worker_timeout=20ms", NULL};

	return is_backend(KEEPING_WORKERS) ? options : NULL;
}

/* --- processes ---------------------------------------------------------------------------------- */

/* --- libraries with threads of their own --------------------------------------------------------- */

const char *library_file(enum library library)
{
	static const char *const files[] = {"libgomp.so.1", "libopenblas.so.0"};

	setenv(INNER_VARIABLE, files[library], 1);
	return dlopen(files[library], RTLD_NOW) != NULL ? files[library] : NULL;
}

static int32_t take_seen(void *user, const par_outcome *outcome)
{
	if (outcome->n_bytes == sizeof(struct inner_seen))
		memcpy(user, outcome->bytes, sizeof(struct inner_seen));
	return 0;
}

static int32_t give_file(void *user, par_item *item)
{
	struct inner_seen *seen = user;

	if (seen->pid != 0)
		return 0;
	seen->pid = -1;
	item->payload = getenv(INNER_VARIABLE);
	item->n_bytes = strlen(item->payload);
	return 1;
}

struct inner_seen ask_library(int use, const par_settings *settings)
{
	struct inner_seen seen = {0};

	MUST(par_run(NULL, task(use ? "inner_use" : "inner_look"), give_file, take_seen, &seen, settings, &error));
	return seen;
}

/* A word that all workers write to: see meet in ../tasks/acceptance.c. */
#define MEETING(n_met) .shared = (n_met), .shared_size = sizeof(*(n_met)), .max_nbytes = PAR_SET(0), \
                       .mmap_mode = "r+", .batch_size = PAR_SET(1)

void meet_workers(par_parallel *pool, int n, uint64_t *pids)
{
	uint64_t in[64];
	const uint32_t n_met = 0;

	EXPECT_BETWEEN(1, 64, n);
	for (int i = 0; i < n; i++)
		in[i] = (uint64_t)n;
	MUST(par_map(pool, task("meet"), in, pids, (uint64_t)n, PAR_SETTINGS(MEETING(&n_met)), &error));
	for (int i = 0; i < n; i++)
		EXPECT(!is_among(pids[i], pids, i) && pids[i] != (uint64_t)getpid(),
		       "process %d has run two tasks at once", (int)pids[i]);
}

/* Limits of threads shape a worker too, and depend on how many there are, unless they are set. */
void meet_workers_of_call(int n, const char *const *options, uint64_t *pids)
{
	par_parallel *pool;

	MUST(par_open(&pool, ON(.options = options, .n_jobs = PAR_SET(n),
	                        .inner_max_num_threads = PAR_SET(1)), &error));
	meet_workers(pool, n, pids);
	par_close(pool);
}

int is_among(uint64_t pid, const uint64_t *pids, int n)
{
	for (int i = 0; i < n; i++)
		if (pids[i] == pid)
			return 1;
	return 0;
}

int n_among(const uint64_t *some, int n_some, const uint64_t *pids, int n)
{
	int found = 0;

	for (int i = 0; i < n_some; i++)
		found += is_among(some[i], pids, n);
	return found;
}

void pass_time(void)
{
	struct timespec moment = {.tv_nsec = 500000};

	nanosleep(&moment, NULL);
}

/* One that has ended may be there until its parent, which may be anybody by now, takes note. */
int is_alive(uint64_t pid)
{
	char path[64], text[512];
	const char *close;
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%llu/stat", (unsigned long long)pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	close = strrchr(text, ')');
	return close != NULL && close[1] == ' ' && close[2] != 'Z' && close[2] != 'X';
}

void await_end(uint64_t pid)
{
	for (int64_t until_ms = now_ms() + 10000; is_alive(pid); pass_time())
		EXPECT(now_ms() < until_ms, "process %d does not end", (int)pid);
}

void await_file(const char *path)
{
	for (int64_t until_ms = now_ms() + 10000; access(path, F_OK) != 0; pass_time())
		EXPECT(now_ms() < until_ms, "%s does not come", path);
}

struct question {
	const char *payload;
	int given;
	char reply[4096];
};

static int32_t give_question(void *user, par_item *item)
{
	struct question *question = user;

	item->payload = question->payload;
	item->n_bytes = strlen(question->payload) + 1;
	return question->given++ == 0;
}

static int32_t take_reply(void *user, const par_outcome *outcome)
{
	struct question *question = user;

	(void)snprintf(question->reply, sizeof(question->reply), "%.*s", (int)outcome->n_bytes,
	               outcome->bytes != NULL ? (const char *)outcome->bytes : "");
	return 0;
}

const char *ask_task(par_parallel *pool, const char *name, const char *payload)
{
	static struct question question;

	question = (struct question){.payload = payload};
	MUST(par_run(pool, task(name), give_question, take_reply, &question, NULL, &error));
	return question.reply;
}

/* --- sources and sinks -------------------------------------------------------------------------- */

int32_t give_count(void *user, par_item *item)
{
	struct count *count = user;

	if (count->given == count->n)
		return 0;
	count->value = count->first + count->given++;
	item->payload = &count->value;
	item->n_bytes = sizeof(count->value);
	return 1;
}

void expect_mixed(const uint64_t *in, const uint64_t *out, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		EXPECT(out[i] == conformance_mix(in[i]), "out[%llu]: expected %llu, got %llu",
		       (unsigned long long)i, (unsigned long long)conformance_mix(in[i]),
		       (unsigned long long)out[i]);
}

static int32_t take_mixed(void *user, const par_outcome *outcome)
{
	uint64_t *got = user, value;

	EXPECT_INT(*got, outcome->index);
	EXPECT_INT(sizeof(value), outcome->n_bytes);
	memcpy(&value, outcome->bytes, sizeof(value));
	expect_mixed(got, &value, 1);
	(*got)++;
	return 0;
}

/* The source and the sink share what they are given. */
static struct count twenty;

static int32_t give_twenty(void *got, par_item *item)
{
	(void)got;
	return give_count(&twenty, item);
}

void expect_usable(par_parallel *pool)
{
	uint64_t in[20], out[20], got = 0;

	twenty = (struct count){.n = 20};
	MUST(par_run(pool, task("mix"), give_twenty, take_mixed, &got, NULL, &error));
	EXPECT_INT(20, got);
	for (uint64_t i = 0; i < 20; i++)
		in[i] = i;
	MUST(par_map(pool, task("mix"), in, out, 20, NULL, &error));
	expect_mixed(in, out, 20);
}
