/* tree.h - a tree of calls inside tasks of calls, on any backends, in any processes, of which each
 * leaf sees how many of them run at once; and a machine with as many cores as a test likes.
 *
 * The program calls par_worker_main() first in main(), so that its tasks can run in processes that are
 * executed; what they count is in memory that all of them map. */
#ifndef TESTS_TREE_H
#define TESTS_TREE_H

#include "cpu.h"
#include "scratch.h"

#include <parloop/parloop.h>

#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

/* --- so many cores ------------------------------------------------------------------------- */

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set);
int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *set)
{
	const char *cores = getenv("TREE_CORES");

	if (cores == NULL)
		return syscall(SYS_sched_getaffinity, pid, size, set) < 0 ? -1 : 0;
	CPU_ZERO_S(size, set);
	for (int i = 0; i < atoi(cores); i++)
		CPU_SET_S((size_t)i, size, set);
	return 0;
}

/* The linker puts it in place of cgroup_visit(), which may know of fewer. */
void __wrap_cgroup_visit(const char *root, const char *controller,
                         void (*visit)(void *user, const char *folder), void *user);
void __wrap_cgroup_visit(const char *root, const char *controller,
                         void (*visit)(void *user, const char *folder), void *user)
{
	(void)root, (void)controller, (void)visit, (void)user;
}

/* --- what is counted ----------------------------------------------------------------------- */

enum { TREE_DEEP = 12 };

static struct tree_counts {
	_Atomic int running, most;   /* leaves */
	_Atomic int expected;        /* so many meet; then all may go.  0: nobody meets anybody */
	_Atomic int met;
	_Atomic int threads;         /* of the process of the leaf that came last, ... */
	_Atomic int callers, here;   /* ... of which those wait for a call, and are leaves */
	_Atomic int n_jobs[TREE_DEEP]; /* par_n_jobs() of the calls of that depth; -1: not always the same */
	_Atomic int leaves;
	_Atomic int most_threads;    /* that a process had, as its leaves saw */
} *tree;

static struct {
	pid_t pid;
	int others; /* threads that are neither a caller nor a leaf: a sanitizer's */
	_Atomic int callers, leaves;
} tree_process;

/* Its folder has a link for each.  No descriptor is opened for that: ThreadSanitizer does not see libuv
 * close those whose number it would get (sanitizers.c). */
static int tree_count_threads(void)
{
	struct stat folder;

	return stat("/proc/self/task", &folder) == 0 ? (int)folder.st_nlink - 2 : 0;
}

/* Of a process that has one thread of ours yet. */
static void tree_map_counts(void)
{
	const char *path = getenv("TREE_COUNTS");
	int fd = path != NULL ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *map = mmap(NULL, sizeof(*tree), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	(void)close(fd);
	tree = map != MAP_FAILED ? map : NULL;
	tree_process.pid = getpid();
	tree_process.others = tree_count_threads() - 1;
	tree_process.callers = tree_process.leaves = 0;
}

/* A fixture. */
UNUSED static void tree_begin(void)
{
	const char *path;

	scratch_begin();
	ck_assert_int_eq(par_configure(NULL, NULL), PAR_OK);
	path = scratch_write("counts", "", 0);
	ck_assert_int_eq(truncate(path, sizeof(*tree)), 0);
	setenv("TREE_COUNTS", path, 1);
	unsetenv("PARLOOP_MAX_CPU_COUNT");
	setenv("PARLOOP_LOG", "error", 1); /* in workers, of who may not be nested */
	tree_map_counts();
	ck_assert_ptr_nonnull(tree);
}

UNUSED static void tree_have_cores(int cores)
{
	char text[20];

	(void)snprintf(text, sizeof(text), "%d", cores);
	setenv("TREE_CORES", text, 1);
	ck_assert_int_eq(cpu_affinity(), cores);
}

/* --- the tree ------------------------------------------------------------------------------ */

/* How each depth makes its call; none after the last. */
struct tree_call {
	char backend[28]; /* empty: it does not say */
	char option[36];
	int32_t n_jobs;   /* 0: it does not say */
	int32_t n;        /* tasks */
	int32_t oversubscribe; /* 0: it does not say, 1, or -1: not */
};

struct tree_node {
	int32_t depth;
	int32_t value;
	struct tree_call calls[TREE_DEEP];
};

/* Every leaf counts 1. */
struct tree_sum {
	int64_t leaves;
};

static void tree_note_n_jobs(int depth, int n_jobs)
{
	int before = 0;

	if (!atomic_compare_exchange_strong(&tree->n_jobs[depth], &before, n_jobs) && before != n_jobs)
		atomic_store(&tree->n_jobs[depth], -1);
}

static void tree_raise(_Atomic int *most, int n)
{
	int before = atomic_load(most);

	while (n > before && !atomic_compare_exchange_weak(most, &before, n))
		;
}

/* Stays until as many are here as are expected, and a little longer, lest more of them come. */
static void tree_leaf(void)
{
	const struct timespec while_ = {.tv_nsec = 200000}, longer = {.tv_nsec = 2000000};
	int here;

	atomic_fetch_add(&tree_process.leaves, 1);
	here = atomic_fetch_add(&tree->running, 1) + 1;
	tree_raise(&tree->most, here);
	tree_raise(&tree->most_threads, tree_count_threads() - tree_process.others);
	atomic_fetch_add(&tree->leaves, 1);
	if (atomic_load(&tree->expected) == 0) {
		atomic_fetch_sub(&tree->running, 1);
		atomic_fetch_sub(&tree_process.leaves, 1);
		return;
	}
	if (here == atomic_load(&tree->expected) && !atomic_load(&tree->met)) {
		atomic_store(&tree->threads, tree_count_threads() - tree_process.others);
		atomic_store(&tree->callers, tree_process.callers);
		atomic_store(&tree->here, tree_process.leaves);
		atomic_store(&tree->met, 1);
	}
	while (!atomic_load(&tree->met))
		nanosleep(&while_, NULL);
	nanosleep(&longer, NULL);
	atomic_fetch_sub(&tree->running, 1);
	atomic_fetch_sub(&tree_process.leaves, 1);
}

/* ThreadSanitizer lets a fork of a process with threads have none of its own. */
static const char *tree_option(const struct tree_node *node)
{
	const char *option = node->calls[node->depth].option;

#ifdef __SANITIZE_THREAD__
	if (node->depth > 0 && strcmp(option, "start_method=fork") == 0)
		option = "start_method=spawn";
#endif
	return option[0] != '\0' ? option : NULL;
}

extern const par_task par_task_tree_task;

/* A call of that depth; how many leaves there were below it, or why there were not. */
static int64_t tree_call(const struct tree_node *node, par_error *error)
{
	const struct tree_call *call = &node->calls[node->depth];
	const char *options[] = {tree_option(node), NULL};
	par_settings settings = {.size = sizeof(settings), .batch_size = PAR_SET(1)};
	struct tree_node *in = calloc((size_t)call->n, sizeof(*in));
	struct tree_sum *out = calloc((size_t)call->n, sizeof(*out));
	par_parallel *pool = NULL;
	int64_t sum = 0;
	int32_t code;

	if (call->backend[0] != '\0')
		settings.backend = call->backend;
	if (call->backend[0] != '\0' && options[0] != NULL)
		settings.options = options;
	if (call->n_jobs != 0)
		settings.n_jobs = (par_int)PAR_SET(call->n_jobs);
	if (call->oversubscribe != 0)
		settings.oversubscribe = (par_int)PAR_SET(call->oversubscribe > 0);
	atomic_fetch_add(&tree_process.callers, 1);
	code = in == NULL || out == NULL ? PAR_ENOMEM : par_open(&pool, &settings, error);
	for (int i = 0; code == PAR_OK && i < call->n; i++) {
		in[i] = *node;
		in[i].depth++;
	}
	if (code == PAR_OK) {
		tree_note_n_jobs(node->depth, par_n_jobs(pool));
		code = par_map(pool, &par_task_tree_task, in, out, (uint64_t)call->n, NULL, error);
	}
	par_close(pool);
	atomic_fetch_sub(&tree_process.callers, 1);
	for (int i = 0; code == PAR_OK && i < call->n; i++)
		sum += out[i].leaves;
	free(in);
	free(out);
	return code == PAR_OK ? sum : code;
}

static int tree_task(par_env *env, const struct tree_node *node, struct tree_sum *sum)
{
	par_error error = PAR_ERROR_INIT;
	char text[1000];

	if (tree == NULL || tree_process.pid != getpid())
		tree_map_counts();
	if (tree == NULL)
		return par_fail_task(env, 8, "there is nothing to count in");
	if (node->depth == TREE_DEEP || node->calls[node->depth].n == 0) {
		sum->leaves = 1;
		tree_leaf();
		return 0;
	}
	sum->leaves = tree_call(node, &error);
	if (sum->leaves >= 0)
		return 0;
	return par_fail_task(env, 7, "at depth %d: %s", node->depth,
	                     par_error_text(&error, 0, text, sizeof(text)));
}
PAR_TASK_ENV(tree_task, struct tree_node, struct tree_sum)

/* Grow it, from here on: expected of its leaves are to run at once, and never more, and every other
 * thread is one that waits for a call of its own.  0: nobody waits for others. */
UNUSED static void tree_grow(const struct tree_call *calls, int n, int expected)
{
	struct tree_node node = {.depth = 0};
	par_error error = PAR_ERROR_INIT;
	int64_t leaves, all = 1;
	char text[2000];

	memset(tree, 0, sizeof(*tree));
	for (int i = 0; i < n; i++) {
		node.calls[i] = calls[i];
		all *= calls[i].n;
	}
	tree->expected = expected;
	leaves = tree_call(&node, &error);
	ck_assert_msg(leaves == all, "%lld of %lld leaves: %s", (long long)leaves, (long long)all,
	              par_error_text(&error, 1, text, sizeof(text)));
	ck_assert_int_eq(tree->leaves, all);
	ck_assert_int_eq(tree->running, 0);
	if (expected == 0)
		return;
	ck_assert_int_eq(tree->most, expected);
	ck_assert_int_le(tree->threads, tree->callers + tree->here);
}

#endif
