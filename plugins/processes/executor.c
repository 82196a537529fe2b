#include "executor.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Idle workers of other configurations, at most: somebody may have another one for each call, with
 * a variable that counts them, say. */
enum { MOST_OTHERS = 64 };

#define LEAVE_NS ((int64_t)1000000000) /* then who was asked to end is killed */

static struct executor {
	pthread_mutex_t lock;
	/* under lock */
	struct worker *idle;    /* most recently used first */
	struct worker *leaving; /* asked to end */
	int keeper_runs;
	int wake_fd;            /* an eventfd, while it does */
	uint64_t turn;          /* of the keeper: it looks at workers that are polled in it */
	int64_t until_ns;       /* when it ends by itself */
} executor = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake_fd = -1,
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- forks of the program --------------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&executor.lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&executor.lock);
}

static void destroy_all(struct worker *worker)
{
	while (worker != NULL) {
		struct worker *next = worker->next;

		worker_destroy(worker);
		worker = next;
	}
}

/* Our workers are our parent's, and its keeper is not here. */
static void in_child(void)
{
	struct worker *idle = executor.idle, *leaving = executor.leaving;

	if (executor.wake_fd >= 0)
		close(executor.wake_fd);
	executor.idle = executor.leaving = NULL;
	executor.keeper_runs = 0;
	executor.wake_fd = -1;
	after_fork();
	destroy_all(idle);
	destroy_all(leaving);
}

static void prepare(void)
{
	(void)pthread_atfork(before_fork, after_fork, in_child);
}

static void have_prepared(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, prepare);
}

/* --- the keeper, under the lock except where it says so ---------------------------------------- */

static void dismiss(struct worker *worker)
{
	worker_dismiss(worker);
	worker->idle_until_ns = now_ns() + LEAVE_NS;
	worker->next = executor.leaving;
	executor.leaving = worker;
}

/* Take those that are dead off a list. */
static void sweep_dead(struct worker **list)
{
	struct worker **place = list, *worker;
	struct death death;

	while ((worker = *place) != NULL) {
		if (!worker_reap(worker, &death)) {
			place = &worker->next;
			continue;
		}
		*place = worker->next;
		worker_destroy(worker);
	}
}

static void sweep_late(int64_t now)
{
	struct worker **place = &executor.idle, *worker;

	while ((worker = *place) != NULL) {
		if (worker->idle_until_ns > now) {
			place = &worker->next;
			continue;
		}
		*place = worker->next;
		dismiss(worker);
	}
	for (worker = executor.leaving; worker != NULL; worker = worker->next) {
		if (worker->idle_until_ns > now)
			continue;
		worker_kill(worker);
		worker->idle_until_ns = now + LEAVE_NS;
	}
}

static size_t add_polled(struct pollfd *fds, size_t n, struct worker *worker, int64_t *until)
{
	for (; worker != NULL; worker = worker->next) {
		fds[n++] = (struct pollfd){.fd = worker->pidfd, .events = POLLIN};
		worker->polled_in = executor.turn;
		if (worker->idle_until_ns < *until)
			*until = worker->idle_until_ns;
	}
	return n;
}

static int to_ms(int64_t until, int64_t now)
{
	int64_t ms = until <= now ? 0 : (until - now + 999999) / 1000000;

	return ms > INT_MAX ? INT_MAX : (int)ms;
}

/* Without memory for all of them it looks again soon. */
static void wait_for_something(void)
{
	struct pollfd only_wake[1], *fds, *polled;
	size_t n_workers = 0, n = 1;
	int64_t until = INT64_MAX, count;
	int timeout;

	for (struct worker *worker = executor.idle; worker != NULL; worker = worker->next)
		n_workers++;
	for (struct worker *worker = executor.leaving; worker != NULL; worker = worker->next)
		n_workers++;
	executor.turn++;
	fds = malloc((n_workers + 1) * sizeof(*fds));
	if (fds != NULL) {
		n = add_polled(fds, n, executor.idle, &until);
		n = add_polled(fds, n, executor.leaving, &until);
	}
	timeout = fds == NULL ? 100 : until == INT64_MAX ? -1 : to_ms(until, now_ns());
	executor.until_ns = until;
	polled = fds != NULL ? fds : only_wake;
	polled[0] = (struct pollfd){.fd = executor.wake_fd, .events = POLLIN};
	pthread_mutex_unlock(&executor.lock);
	(void)poll(polled, n, timeout);
	free(fds);
	pthread_mutex_lock(&executor.lock);
	(void)!read(executor.wake_fd, &count, sizeof(count));
}

static void *keep(void *unused)
{
	(void)unused;
	pthread_mutex_lock(&executor.lock);
	for (;;) {
		sweep_dead(&executor.idle);
		sweep_dead(&executor.leaving);
		sweep_late(now_ns());
		if (executor.idle == NULL && executor.leaving == NULL)
			break;
		wait_for_something();
	}
	close(executor.wake_fd);
	executor.wake_fd = -1;
	executor.keeper_runs = 0;
	pthread_mutex_unlock(&executor.lock);
	return NULL;
}

static void wake_keeper(void)
{
	static const uint64_t one = 1;

	(void)!write(executor.wake_fd, &one, sizeof(one));
}

/* 0, or an errno. */
static int start_keeper(void)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int code;

	if (executor.keeper_runs)
		return 0;
	executor.wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (executor.wake_fd < 0)
		return errno;
	(void)pthread_attr_init(&attributes);
	(void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	/* Signals are the program's affair, and reach its own threads. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&thread, &attributes, keep, NULL);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	executor.keeper_runs = code == 0;
	if (code != 0) {
		close(executor.wake_fd);
		executor.wake_fd = -1;
	}
	return code;
}

/* --- which workers are alike ------------------------------------------------------------------ */

static uint64_t hash_text(uint64_t hash, const char *text)
{
	do
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	while (*text++ != '\0');
	return hash;
}

/* The module in "MODULE.so:TASK": another file under the same name is another module. */
static void put_file(FILE *key, const char *initializer)
{
	const char *end = initializer != NULL ? strrchr(initializer, ':') : NULL;
	char path[PATH_MAX];
	struct stat file;

	if (end == NULL || (size_t)(end - initializer) >= sizeof(path))
		return;
	(void)snprintf(path, sizeof(path), "%.*s", (int)(end - initializer), initializer);
	if (stat(path, &file) == 0)
		(void)fprintf(key, "%lld %lld.%ld\n", (long long)file.st_ino,
		              (long long)file.st_mtim.tv_sec, file.st_mtim.tv_nsec);
}

static void put_text(FILE *key, const char *text)
{
	(void)fprintf(key, "%s\n", text != NULL ? text : "");
}

char *executor_key(const struct recipe *recipe)
{
	const struct settings *settings = recipe->settings;
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char folder[PATH_MAX], *key = NULL;
	size_t size;
	FILE *text = open_memstream(&key, &size);

	if (text == NULL)
		return NULL;
	for (char **variable = recipe->env; *variable != NULL; variable++)
		hash = hash_text(hash, *variable);
	put_text(text, recipe->program);
	put_text(text, getcwd(folder, sizeof(folder)));
	put_text(text, settings->initializer);
	put_text(text, settings->initarg);
	put_text(text, settings->variables);
	put_file(text, settings->initializer);
	(void)fprintf(text, "%d %d %lld %lld %016llx", settings->pins, (int)settings->output,
	              (long long)settings->memory_limit, (long long)settings->cpu_limit_ns,
	              (unsigned long long)hash);
	if (fclose(text) == 0)
		return key;
	free(key);
	return NULL;
}

/* --- from a pool to the next ------------------------------------------------------------------ */

static struct worker *take_idle(const char *key, int slot)
{
	for (struct worker **place = &executor.idle; *place != NULL; place = &(*place)->next) {
		struct worker *worker = *place;

		if (worker->slot != slot || strcmp(worker->key, key) != 0)
			continue;
		*place = worker->next;
		return worker;
	}
	return NULL;
}

struct worker *executor_lease(const char *key, int slot)
{
	struct worker *worker;
	struct death death;

	pthread_mutex_lock(&executor.lock);
	while ((worker = take_idle(key, slot)) != NULL && worker_reap(worker, &death))
		worker_destroy(worker);
	pthread_mutex_unlock(&executor.lock);
	return worker;
}

int32_t executor_start(const struct recipe *recipe, const char *key, int slot,
                       struct worker **worker, par_error *error)
{
	char *copy = strdup(key);
	int32_t status;

	if (copy == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	have_prepared();
	status = worker_start(recipe, slot, worker, error);
	if (status == PAR_OK)
		(*worker)->key = copy;
	else
		free(copy);
	return status;
}

/* The one that was idle for longest is dismissed, if there are too many. */
static void dismiss_other(const char *key)
{
	struct worker **oldest = NULL, *worker;
	int n = 0;

	for (struct worker **place = &executor.idle; *place != NULL; place = &(*place)->next) {
		if (strcmp((*place)->key, key) == 0)
			continue;
		oldest = place;
		n++;
	}
	if (n <= MOST_OTHERS)
		return;
	worker = *oldest;
	*oldest = worker->next;
	dismiss(worker);
}

/* The keeper need not be told of one that it looks at anyway, and long enough. */
void executor_give(struct worker *worker, int64_t idle_timeout_ns)
{
	worker->pool = NULL;
	pthread_mutex_lock(&executor.lock);
	worker->idle_until_ns = now_ns() + idle_timeout_ns;
	worker->next = executor.idle;
	executor.idle = worker;
	dismiss_other(worker->key);
	if (start_keeper() != 0) {
		executor.idle = worker->next;
		dismiss(worker);
	} else if (worker->polled_in != executor.turn ||
	           worker->idle_until_ns < executor.until_ns) {
		wake_keeper();
	}
	pthread_mutex_unlock(&executor.lock);
}
