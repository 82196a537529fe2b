/* acceptance.c - tasks of the behaviours (tests/acceptance/).  In a module, so that backends in
 * other processes can run them too.  Those that make calls of their own find par_map and the
 * like in whoever loads the module. */
#include "acceptance.h"

#include <parloop/parloop.h>

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int square(const uint64_t *in, uint64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, uint64_t, uint64_t)

/* Every value becomes the number of tasks that were run together with it: not what a
 * macro makes of a function, but a range by hand. */
static int32_t range_together(par_env *env, const void *in, void *out, uint64_t n, uint64_t *at)
{
	(void)env, (void)in, (void)at;
	for (uint64_t i = 0; i < n; i++)
		((uint64_t *)out)[i] = n;
	return 0;
}
PAR__TASK_DEFINE(together, PAR_TASK_TYPED, sizeof(uint64_t), sizeof(uint64_t), 0, range_together,
                 NULL)

/* The value ACCEPTANCE_BAD fails, with a type and words. */
static int fail_at_seven(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	if (*in == ACCEPTANCE_BAD)
		return par_fail_task_as(env, ACCEPTANCE_CODE, "SevenError", "%d is not liked",
		                        ACCEPTANCE_BAD);
	return 0;
}
PAR_TASK_ENV(fail_at_seven, uint64_t, uint64_t)

/* A file beside those of the others says that the task has run: the call shares its folder. */
static int leave_mark(par_env *env, const uint64_t *in, uint64_t *out)
{
	char path[4096];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/mark-%llu", (const char *)env->shared,
	               (unsigned long long)*in);
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return par_fail_task(env, 1, "no file %s", path);
	close(fd);
	*out = *in;
	return 0;
}
PAR_TASK_ENV(leave_mark, uint64_t, uint64_t)

/* Ctrl-C, typed while this task runs: the call shares the process that gets it. */
static int interrupt(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};
	pid_t who;

	*out = *in;
	if (*in != 0)
		return 0;
	memcpy(&who, env->shared, sizeof(who));
	kill(who, SIGINT);
	for (int i = 0; i < 20000 && !par_cancelled(env); i++)
		nanosleep(&moment, NULL);
	return 0;
}
PAR_TASK_ENV(interrupt, uint64_t, uint64_t)

/* Value 0 fails at once; the others would take ten seconds. */
static int fail_or_linger(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};

	*out = *in;
	if (*in == 0)
		return par_fail_task(env, 1, "the first fails");
	for (int i = 0; i < 10000 && !par_cancelled(env); i++)
		nanosleep(&moment, NULL);
	return 0;
}
PAR_TASK_ENV(fail_or_linger, uint64_t, uint64_t)

/* A loop in a loop: it fails as its own call does, and says no more. */
static int loop_to_seven(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t inner_in[10], inner_out[10];

	(void)env;
	for (uint64_t i = 0; i < 10; i++)
		inner_in[i] = *in == 3 ? i : 0;
	*out = *in;
	return par_map(NULL, &par_task_fail_at_seven, inner_in, inner_out, 10,
	               PAR_SETTINGS(.n_jobs = PAR_SET(2)), NULL) == PAR_OK ? 0 : ACCEPTANCE_CODE;
}
PAR_TASK_ENV(loop_to_seven, uint64_t, uint64_t)

/* All that many tasks are here at once, or none ends: the call shares a word that each of them may
 * write to. */
static int meet(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint32_t *met = (uint32_t *)(uintptr_t)env->shared;
	struct timespec moment = {.tv_nsec = 100000};

	*out = (uint64_t)getpid();
	(void)__atomic_fetch_add(met, 1, __ATOMIC_SEQ_CST);
	for (int i = 0; i < 100000 && !par_cancelled(env); i++) {
		if (__atomic_load_n(met, __ATOMIC_SEQ_CST) >= *in)
			return 0;
		nanosleep(&moment, NULL);
	}
	return par_fail_task(env, 1, "only %u have come", __atomic_load_n(met, __ATOMIC_SEQ_CST));
}
PAR_TASK_ENV(meet, uint64_t, uint64_t)

static char remembered[64];
static pid_t remembered_by;

/* An initializer, and who looks whether it has run with what the call shares. */
static int remember(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	remembered_by = getpid();
	(void)snprintf(remembered, sizeof(remembered), "%.*s", (int)size, (const char *)payload);
	return 0;
}
PAR_TASK_OF_BYTES(remember)

static int recall(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	if (strcmp(remembered, env->shared) != 0)
		return par_fail_task(env, 1, "\"%s\" was remembered", remembered);
	return 0;
}
PAR_TASK_ENV(recall, uint64_t, uint64_t)

/* Take so many bytes, and keep them. */
static int leak(const uint64_t *in, uint64_t *out)
{
	char *memory = malloc(*in > 0 ? *in : 1);

	if (memory == NULL)
		return 1;
	for (uint64_t i = 0; i < *in; i += 4096)
		((volatile char *)memory)[i] = 1;
	*out = (uint64_t)getpid();
	return 0;
}
PAR_TASK(leak, uint64_t, uint64_t)

/* End the worker, unless the value is 0. */
static int end(par_env *env, const uint64_t *in, uint64_t *out)
{
	(void)env;
	*out = (uint64_t)getpid();
	if (*in >= ACCEPTANCE_EXIT)
		_exit((int)(*in - ACCEPTANCE_EXIT));
	if (*in > 0) {
		/* A sanitizer would make an exit of it. */
		(void)signal((int)*in, SIG_DFL);
		kill(getpid(), (int)*in);
	}
	return 0;
}
PAR_TASK_ENV(end, uint64_t, uint64_t)

static int write_file(par_env *env, const char *name, int number)
{
	char path[4096], new[4104];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", (const char *)env->shared, name);
	(void)snprintf(new, sizeof(new), "%s.new", path);
	file = fopen(new, "w");
	if (file == NULL || fprintf(file, "%d\n", number) < 0 || fclose(file) != 0 || rename(new, path) != 0)
		return par_fail_task(env, 1, "no file %s", path);
	return 0;
}

/* 0: it is not there yet. */
static int read_file(par_env *env, const char *name)
{
	char path[4096];
	int number = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", (const char *)env->shared, name);
	file = fopen(path, "r");
	if (file == NULL)
		return 0;
	if (fscanf(file, "%d", &number) != 1)
		number = 0;
	fclose(file);
	return number;
}

/* Task 0 waits to be killed by task 1, which finds its process in a file; when it is run again, it
 * says that it was.  Others do nothing. */
static int end_another(par_env *env, const uint64_t *in, uint64_t *out)
{
	struct timespec moment = {.tv_nsec = 1000000};
	int pid = read_file(env, "victim");

	*out = *in;
	if (*in == 0 && pid > 0)
		return write_file(env, "saved", pid);
	if (*in == 0 && write_file(env, "victim", (int)getpid()) != 0)
		return 1;
	for (int i = 0; *in < 2 && i < 20000 && (*in == 0 || pid == 0); i++) {
		nanosleep(&moment, NULL);
		pid = read_file(env, "victim");
	}
	if (*in == 0)
		return par_fail_task(env, 1, "nobody has killed me");
	if (*in == 1)
		kill(pid, SIGKILL);
	return 0;
}
PAR_TASK_ENV(end_another, uint64_t, uint64_t)

/* --- processes of processes ------------------------------------------------------------------- */

static int be_present(par_env *env)
{
	const struct acceptance_nest *nest = env->shared;
	char path[512];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/here-%d", nest->folder, (int)getpid());
	fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	if (fd < 0)
		return par_fail_task(env, 1, "no file %s", path);
	close(fd);
	return 0;
}

/* For a minute, whatever anybody says. */
static void stay_here(void)
{
	struct timespec minute = {.tv_sec = 60};

	while (nanosleep(&minute, &minute) != 0)
		;
}

static int stay(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	if (be_present(env) != 0)
		return 1;
	stay_here();
	return 0;
}
PAR_TASK_ENV(stay, uint64_t, uint64_t)

static const char *backend_below(const par_env *env)
{
	const struct acceptance_nest *nest = env->shared;

	return nest->backend[0] != '\0' ? nest->backend : NULL;
}

/* On the backend that is named, if one is, with what this task shares, and as many workers as are
 * asked for. */
#define BELOW(env, n)                                                                           \
	PAR_SETTINGS(.backend = backend_below(env),                                             \
	             .n_jobs = PAR_SET(n), .shared = (env)->shared,                             \
	             .shared_size = (env)->shared_size, .batch_size = PAR_SET(1),               \
	             .oversubscribe = PAR_SET(1))

static int stay_below(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t inner_in[2] = {0}, inner_out[2];

	*out = *in;
	if (be_present(env) != 0)
		return 1;
	return par_map(NULL, &par_task_stay, inner_in, inner_out, 2, BELOW(env, 2), NULL);
}
PAR_TASK_ENV(stay_below, uint64_t, uint64_t)

/* So many processes, each a child of the last. */
static int generations(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t n = *in;

	*out = n;
	if (n == 0)
		return 0;
	while (be_present(env) == 0 && n-- > 0 && fork() == 0)
		;
	stay_here();
	return 0;
}
PAR_TASK_ENV(generations, uint64_t, uint64_t)

/* A call in a call, so many deep; the result is how many. */
static int dig(par_env *env, const uint64_t *in, uint64_t *out);
extern const par_task par_task_dig;

static int dig(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t below = *in - 1, depth = 0;
	int32_t code = be_present(env);

	if (code == 0 && below > 0)
		code = par_map(NULL, &par_task_dig, &below, &depth, 1, BELOW(env, 1), NULL);
	*out = depth + 1;
	return code;
}
PAR_TASK_ENV(dig, uint64_t, uint64_t)

static int dig_and_stay(par_env *env, const uint64_t *in, uint64_t *out);
extern const par_task par_task_dig_and_stay;

static int dig_and_stay(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t below = *in - 1;

	if (be_present(env) != 0)
		return 1;
	if (below == 0)
		stay_here();
	return par_map(NULL, &par_task_dig_and_stay, &below, out, 1, BELOW(env, 1), NULL);
}
PAR_TASK_ENV(dig_and_stay, uint64_t, uint64_t)

static int present(par_env *env, const uint64_t *in, uint64_t *out)
{
	*out = *in;
	return be_present(env);
}
PAR_TASK_ENV(present, uint64_t, uint64_t)

/* A pool that nobody closes. */
static int leave_open(par_env *env, const uint64_t *in, uint64_t *out)
{
	static par_parallel *pool;
	uint64_t inner_in[2] = {0}, inner_out[2];
	int32_t code = par_open(&pool, BELOW(env, 2), NULL);

	*out = *in;
	if (code == PAR_OK)
		code = par_map(pool, &par_task_present, inner_in, inner_out, 2, NULL, NULL);
	return code;
}
PAR_TASK_ENV(leave_open, uint64_t, uint64_t)

/* --- calls in calls --------------------------------------------------------------------------- */

/* The warnings of a call that is about to be made, in the whole process. */
static struct {
	pthread_mutex_t lock;
	int n;
	char words[256];
} heard = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(void *user, int32_t level, const char *line)
{
	(void)user, (void)level;
	pthread_mutex_lock(&heard.lock);
	if (strstr(line, "-backed parallel loops cannot be ") != NULL && heard.n++ == 0)
		(void)snprintf(heard.words, sizeof(heard.words), "%s", line);
	pthread_mutex_unlock(&heard.lock);
}

static int count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	int n = -2;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	if (dir != NULL)
		closedir(dir);
	return n;
}

/* "loky:2 - sequential" names the backends of calls in calls, and how many workers they are to have;
 * - is whatever there is where nobody says. */
static const char *next_word(const char *path, char *backend, size_t size, par_settings *settings)
{
	const size_t length = strcspn(path, " "), name = strcspn(path, ": ");

	(void)snprintf(backend, size, "%.*s", (int)name, path);
	if (strcmp(backend, "-") != 0)
		settings->backend = backend;
	if (path[name] == ':') {
		settings->n_jobs = (par_int)PAR_SET(atoi(path + name + 1));
		settings->oversubscribe = (par_int)PAR_SET(1);
	}
	return path + length + (path[length] == ' ');
}

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

extern const par_task par_task_look_down;

/* What the tasks below have seen is put behind what this one has. */
static int32_t call_below(struct acceptance_sight *sight, const char *path, par_outcome ***below,
                          uint64_t *n)
{
	par_settings settings = {.size = sizeof(settings)};
	par_error error = PAR_ERROR_INIT;
	par_parallel *pool = NULL;
	char backend[64];
	int32_t code;

	path = next_word(path, backend, sizeof(backend), &settings);
	heard.n = 0;
	par_set_log(hear, NULL);
	code = par_open(&pool, &settings, &error);
	par_set_log(NULL, NULL);
	(void)snprintf(sight->backend, sizeof(sight->backend), "%.47s", backend);
	sight->warnings = heard.n;
	(void)snprintf(sight->words, sizeof(sight->words), "%s", heard.n > 0 ? heard.words : "");
	if (code == PAR_OK) {
		(void)snprintf(sight->backend, sizeof(sight->backend), "%s", par_backend_name(pool));
		sight->n_jobs = par_n_jobs(pool);
		code = par_list(pool, &par_task_look_down, give_path, &path, NULL, below, n, &error);
	}
	if (code != PAR_OK)
		(void)par_error_text(&error, 0, sight->words, sizeof(sight->words));
	par_close(pool);
	return code;
}

static int look_down(par_env *env, const void *payload, uint64_t size)
{
	struct acceptance_sight sights[24] = {{.level = env->level, .pid = (int32_t)getpid()}};
	par_outcome **below = NULL;
	uint64_t n = 0, n_bytes = 0;

	if (size > 1) {
		sights[0].code = call_below(sights, payload, &below, &n);
		sights[0].n_threads = count_threads();
	}
	if (n == 1 && below[0]->status == PAR_OK && below[0]->n_bytes <= sizeof(sights) - sizeof(sights[0])) {
		n_bytes = below[0]->n_bytes;
		memcpy(sights + 1, below[0]->bytes, n_bytes);
	}
	par_list_free(below);
	return par_reply(env, sights, sizeof(sights[0]) + n_bytes);
}
PAR_TASK_OF_BYTES(look_down)

/* Four values in a call below, by twos: the sum of what they become. */
static int sum_below(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t values[4], squares[4] = {0};
	int32_t code;

	for (uint64_t i = 0; i < 4; i++)
		values[i] = *in + i;
	code = par_map(NULL, &par_task_square, values, squares, 4, BELOW(env, 2), NULL);
	*out = squares[0] + squares[1] + squares[2] + squares[3];
	return code;
}
PAR_TASK_ENV(sum_below, uint64_t, uint64_t)

/* The most threads that a task below has found in this process. */
static _Atomic int most_threads;

static int threads_found(const uint64_t *in, uint64_t *out)
{
	(void)in;
	*out = (uint64_t)most_threads;
	return 0;
}
PAR_TASK(threads_found, uint64_t, uint64_t)

/* Calls in calls that do not say on what, so many: in how many of their tasks the worker's own
 * initializer has run. */
static int recall_below(par_env *env, const uint64_t *in, uint64_t *out);
extern const par_task par_task_recall_below;

static int recall_below(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t below = *in - 1, n_recalled = 0;
	int32_t code = PAR_OK;

	(void)env;
	if (*in > 0)
		code = par_map(NULL, &par_task_recall_below, &below, &n_recalled, 1, NULL, NULL);
	*out = n_recalled + (remembered_by == getpid());
	return code;
}
PAR_TASK_ENV(recall_below, uint64_t, uint64_t)

/* Two calls of itself in each, without end. */
static int fall(par_env *env, const uint64_t *in, uint64_t *out);
extern const par_task par_task_fall;

static int fall(par_env *env, const uint64_t *in, uint64_t *out)
{
	uint64_t below[2] = {*in + 1, *in + 1}, deepest[2] = {0};
	int n_threads = count_threads(), most = most_threads;
	int32_t code = be_present(env);

	while (n_threads > most && !atomic_compare_exchange_weak(&most_threads, &most, n_threads))
		;
	if (code == 0)
		code = par_map(NULL, &par_task_fall, below, deepest, 2,
		               PAR_SETTINGS(.backend = backend_below(env), .n_jobs = PAR_SET(2),
		                            .shared = env->shared, .shared_size = env->shared_size),
		               NULL);
	*out = deepest[0];
	return code;
}
PAR_TASK_ENV(fall, uint64_t, uint64_t)

/* --- what tasks are given --------------------------------------------------------------------- */

static int is_shared(const void *bytes)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned long from, to, at = (unsigned long)(uintptr_t)bytes;
	char line[4096];
	int found = 0;

	while (maps != NULL && !found && fgets(line, sizeof(line), maps) != NULL)
		found = sscanf(line, "%lx-%lx", &from, &to) == 2 && from <= at && at < to &&
		        strstr(line, "parloop-shared") != NULL;
	if (maps != NULL)
		fclose(maps);
	return found;
}

/* How long the payload is, how it begins and ends, what all of it makes, and whether it lies in
 * memory that is shared. */
static int weigh(par_env *env, const void *payload, uint64_t size)
{
	const unsigned char *bytes = payload;
	struct acceptance_weight weight = {
		.size = size,
		.sum = acceptance_sum(bytes, size < ACCEPTANCE_WEIGHED ? size : ACCEPTANCE_WEIGHED),
		.first = size > 0 ? bytes[0] : 0,
		.last = size > 0 ? bytes[size - 1] : 0,
		.is_shared = is_shared(payload),
	};

	return par_reply(env, &weight, sizeof(weight));
}
PAR_TASK_OF_BYTES(weigh)

/* Twice the value, and one more if it lies in memory that is shared; a range by hand, since to look
 * takes longer than the rest. */
static int32_t range_shared(par_env *env, const void *in, void *out, uint64_t n, uint64_t *at)
{
	const uint64_t more = (uint64_t)is_shared(in);

	(void)env, (void)at;
	for (uint64_t i = 0; i < n; i++)
		((uint64_t *)out)[i] = 2 * ((const uint64_t *)in)[i] + more;
	return 0;
}
PAR__TASK_DEFINE(is_shared_value, PAR_TASK_TYPED, sizeof(uint64_t), sizeof(uint64_t), 0, range_shared,
                 NULL)

/* The payload is a name. */
static int variable(par_env *env, const void *payload, uint64_t size)
{
	const char *value = size > 0 ? getenv(payload) : NULL;

	return par_reply(env, value != NULL ? value : "(unset)", value != NULL ? strlen(value) : 7);
}
PAR_TASK_OF_BYTES(variable)

/* A child reads what it finds on its standard input. */
static int child_reads(par_env *env, const void *payload, uint64_t size)
{
	FILE *child = popen("wc -c", "re");
	char text[32] = "";

	(void)payload, (void)size;
	if (child == NULL || fgets(text, sizeof(text), child) == NULL || pclose(child) != 0)
		return par_fail_task(env, 1, "a child cannot read");
	return par_reply(env, text, strlen(text));
}
PAR_TASK_OF_BYTES(child_reads)

/* --- threads of OpenMP, as a compiler would begin them ----------------------------------------- */

static void count_in(void *n)
{
	(void)__atomic_fetch_add((int *)n, 1, __ATOMIC_SEQ_CST);
}

static int openmp(par_env *env, const uint64_t *in, uint64_t *out)
{
	void *library = dlopen("libgomp.so.1", RTLD_NOW);
	void (*parallel)(void (*fn)(void *), void *data, unsigned n, unsigned flags) = NULL;
	int n = 0;

	if (library != NULL)
		*(void **)&parallel = dlsym(library, "GOMP_parallel");
	if (parallel == NULL)
		return par_fail_task(env, 1, "no OpenMP here");
	parallel(count_in, &n, (unsigned)*in, 0);
	*out = (uint64_t)n;
	return 0;
}
PAR_TASK_ENV(openmp, uint64_t, uint64_t)
