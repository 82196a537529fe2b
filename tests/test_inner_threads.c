/* link: -rdynamic
 *
 * How many threads real libraries use inside tasks, on every backend: gcc's and LLVM's OpenMP,
 * OpenBLAS with threads of its own and with those of OpenMP, BLIS; and one that stands in for MKL.
 * A library that is not here is said to be skipped. */
#include "inner_threads.h"

#include "leaks.h"
#include "scratch.h"
#include "tasks/inner.h"

#include <parloop/worker.h>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

#define MODULE PAR_BUILD "/tasks/inner.so"
#define MKL    PAR_BUILD "/tests/libs/libmkl_rt.so"

static par_error error = PAR_ERROR_INIT;

#define MUST(call)                                                                              \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == PAR_OK, "%s: %s, %s: %s", #call,                     \
		              par_code_name(must_code), error.what, error.reason);              \
	} while (0)

/* --- the libraries ---------------------------------------------------------------------------- */

enum which { GOMP, OMP, OPENBLAS, OPENBLAS_OPENMP, BLIS, MKL_LIKE, N_LIBRARIES };

static const struct {
	const char *name;
	const char *files[3]; /* where Debian has it, in the loader's words and in full */
	int is_per_thread;
	int works; /* it can be used, and not only asked */
} libraries[N_LIBRARIES] = {
	[GOMP] = {"gcc's OpenMP", {"libgomp.so.1"}, 1, 1},
	[OMP] = {"LLVM's OpenMP", {"libomp.so.5"}, 1, 1},
	[OPENBLAS] = {"OpenBLAS with its own threads",
	              {"/usr/lib/x86_64-linux-gnu/openblas-pthread/libopenblas.so.0",
	               "/usr/lib/aarch64-linux-gnu/openblas-pthread/libopenblas.so.0"}, 0, 1},
	[OPENBLAS_OPENMP] = {"OpenBLAS with OpenMP's threads",
	                     {"/usr/lib/x86_64-linux-gnu/openblas-openmp/libopenblas.so.0",
	                      "/usr/lib/aarch64-linux-gnu/openblas-openmp/libopenblas.so.0"}, 1, 1},
	[BLIS] = {"BLIS", {"/usr/lib/x86_64-linux-gnu/blis-pthread/libblis.so.4",
	                   "/usr/lib/aarch64-linux-gnu/blis-pthread/libblis.so.4"}, 0, 1},
	[MKL_LIKE] = {"what stands in for MKL", {MKL}, 1, 0},
};

/* Its file, where it is; NULL: it is not here.  Asked in a process of its own, since to look is
 * to load. */
static const char *file_of(enum which which)
{
	for (const char *const *file = libraries[which].files; *file != NULL; file++) {
		pid_t child = fork();
		int status = 0;

		if (child == 0)
			_exit(dlopen(*file, RTLD_LAZY) == NULL);
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		if (status == 0)
			return *file;
	}
	return NULL;
}

static int has_libraries, has_llvm;

/* LLVM's OpenMP forgets some memory, and its threads are in LeakSanitizer's way. */
__attribute__((visibility("default"))) int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return has_llvm;
}

/* 1: it is not here, which is said; else tasks of the module have it. */
static int is_missing(enum which which, const char **file)
{
	*file = file_of(which);
	if (*file != NULL) {
		has_libraries = 1;
		has_llvm |= which == OMP;
		setenv(INNER_VARIABLE, *file, 1);
		return 0;
	}
	(void)printf("SKIP test_inner_threads: %s is not installed\n", libraries[which].name);
	(void)fflush(stdout);
	return 1;
}

static int has_one_core(void)
{
	if (sysconf(_SC_NPROCESSORS_ONLN) > 1)
		return 0;
	(void)printf("SKIP test_inner_threads: there is one core, and so one thread in any case\n");
	(void)fflush(stdout);
	return 1;
}

static int cannot_be_used(void)
{
#ifdef __SANITIZE_THREAD__
	(void)printf("SKIP test_inner_threads: ThreadSanitizer does not see how their threads wait for "
	             "one another\n");
	(void)fflush(stdout);
	return 1;
#else
	return 0;
#endif
}

static void *load(const char *file)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);

	ck_assert_msg(library != NULL, "%s", dlerror());
	return library;
}

union function {
	void *symbol;
	int (*get)(void);
	int64_t (*get_dim)(void);
	void (*parallel)(void (*fn)(void *), void *data, unsigned n, unsigned flags);
};

/* What the library says itself, in this process. */
static int32_t ask(enum which which, const char *file)
{
	static const char *const names[N_LIBRARIES] = {
		"omp_get_max_threads", "omp_get_max_threads", "openblas_get_num_threads",
		"omp_get_max_threads", "bli_thread_get_num_threads", "MKL_Get_Max_Threads"};

	union function function = {dlsym(load(file), names[which])};

	ck_assert_ptr_nonnull(function.symbol);
	return which == BLIS ? (int32_t)function.get_dim() : function.get();
}

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

struct listed {
	char text[2048];
	int n;
};

static int32_t list(void *user, const par_library *library)
{
	struct listed *listed = user;
	size_t used = strlen(listed->text);

	ck_assert_uint_eq(library->size, sizeof(*library));
	(void)snprintf(listed->text + used, sizeof(listed->text) - used, "%s %s %d %d\n", library->kind,
	               name_of(library->file), (int)library->n_threads, (int)library->per_thread);
	listed->n++;
	return 0;
}

/* "kind file threads per_thread", a line each. */
static const char *list_all(void)
{
	static struct listed listed;

	listed = (struct listed){.n = 0};
	MUST(par_each_library(list, &listed, &error));
	return listed.text;
}

/* --- backends --------------------------------------------------------------------------------- */

static const struct way {
	const char *backend, *option;
	int is_here; /* tasks run in this process */
} ways[] = {
	{"sequential", NULL, 1},
	{"threading", NULL, 1},
	{"multiprocessing", "start_method=fork", 0},
	{"multiprocessing", "start_method=forkserver", 0},
	{"multiprocessing", "start_method=spawn", 0},
	{"loky", "idle_worker_timeout=0s", 0},
};
enum { N_WAYS = sizeof(ways) / sizeof(ways[0]), FORK = 2, FIRST_PROCESS = 2 };

static const par_task *task(const char *name)
{
	const par_task *found;
	par_module *module;

	MUST(par_module_open(&module, MODULE, &error));
	MUST(par_module_task(module, name, &found, &error));
	return found;
}

static par_parallel *open_way(int way, int n_jobs, int limit)
{
	const char *options[] = {ways[way].option, NULL};
	const par_int inner = {limit > 0, limit};
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = ways[way].backend, .n_jobs = PAR_SET(n_jobs),
	                                  .options = options, .inner_max_num_threads = inner),
	              &error));
	return pool;
}

/* A number of tasks with the same payload, and what came of them. */
struct errand {
	const char *payload;
	int left, n;
	struct inner_seen seen[64];
	char text[256]; /* the last one's reply */
};

static int32_t next(void *user, par_item *item)
{
	struct errand *errand = user;

	if (errand->left == 0)
		return 0;
	errand->left--;
	item->payload = errand->payload;
	item->n_bytes = strlen(errand->payload);
	return 1;
}

static int32_t take(void *user, const par_outcome *outcome)
{
	struct errand *errand = user;

	if (outcome->n_bytes == sizeof(errand->seen[0]))
		memcpy(&errand->seen[errand->n], outcome->bytes, sizeof(errand->seen[0]));
	(void)snprintf(errand->text, sizeof(errand->text), "%.*s", (int)outcome->n_bytes,
	               (const char *)outcome->bytes);
	errand->n++;
	return 0;
}

static struct errand send_out(par_parallel *pool, const par_task *what, const char *payload, int n)
{
	struct errand errand = {.payload = payload, .left = n};

	MUST(par_run(pool, what, next, take, &errand, PAR_SETTINGS(.batch_size = PAR_SET(1)), &error));
	ck_assert_int_eq(errand.n, n);
	return errand;
}

/* --- a limit, where tasks run ----------------------------------------------------------------- */

enum { ALL = N_WAYS * N_LIBRARIES };

static void expect_limit(const struct inner_seen *seen, int limit, enum which which)
{
	ck_assert_int_eq(seen->limit, limit);
	ck_assert_int_eq(seen->told, limit);
	/* OpenBLAS that follows OpenMP says itself what it was told when it was used last. */
	if (which != OPENBLAS_OPENMP)
		ck_assert_int_eq(seen->asked, limit);
}

START_TEST(a_task_sees_its_limit_and_finds_it_kept)
{
	const enum which which = _i % N_LIBRARIES;
	const int way = _i / N_LIBRARIES;
	int32_t before = 0;
	const char *file;

	if (is_missing(which, &file))
		return;
	if (ways[way].is_here)
		before = ask(which, file);
	for (int limit = 1; limit <= 3; limit += 2) {
		par_parallel *pool = open_way(way, 2, limit);
		struct errand errand = send_out(pool, task("inner_look"), file, 20);

		for (int i = 0; i < errand.n; i++) {
			expect_limit(&errand.seen[i], limit, which);
			ck_assert_int_eq(errand.seen[i].pid == getpid(), ways[way].is_here);
		}
		par_close(pool);
	}
	if (ways[way].is_here)
		ck_assert_int_eq(ask(which, file), before);
}
END_TEST

/* By the kernel's account of the whole process, so one task at a time. */
START_TEST(a_task_has_as_many_threads_at_work_as_it_may)
{
	const enum which which = _i % N_LIBRARIES;
	const int way = _i / N_LIBRARIES;
	const char *file;

	if (!libraries[which].works || cannot_be_used() || is_missing(which, &file) || has_one_core())
		return;
	/* They look out for more to do when they have none. */
	setenv("OMP_WAIT_POLICY", "passive", 1);
	setenv("KMP_BLOCKTIME", "0", 1);
	setenv("OPENBLAS_THREAD_TIMEOUT", "4", 1);
	for (int limit = 2; limit >= 1; limit--) {
		par_parallel *pool = open_way(way, 1, limit);
		struct errand errand = send_out(pool, task("inner_use"), file, 3);

		for (int i = 0; i < errand.n; i++) {
			expect_limit(&errand.seen[i], limit, which);
			ck_assert_int_eq(errand.seen[i].used, limit);
		}
		par_close(pool);
	}
}
END_TEST

/* --- several limits at once ------------------------------------------------------------------- */

static pthread_barrier_t together;
static const char *together_file;
static enum which together_which;

static int look_together(const int32_t *in, int32_t *out)
{
	(void)in;
	pthread_barrier_wait(&together);
	*out = ask(together_which, together_file);
	pthread_barrier_wait(&together);
	return 0;
}
PAR_TASK(look_together, int32_t, int32_t)

struct caller {
	pthread_t thread;
	int limit;
	int32_t in[2], out[2];
	par_error error;
};

static void *call(void *arg)
{
	struct caller *caller = arg;
	const par_int limit = {caller->limit > 0, caller->limit};

	caller->error = (par_error)PAR_ERROR_INIT;
	(void)par_map(NULL, &par_task_look_together, caller->in, caller->out, 2,
	              PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2),
	                           .batch_size = PAR_SET(1), .inner_max_num_threads = limit),
	              &caller->error);
	return NULL;
}

/* Of six tasks of three calls on six threads, all at the same time. */
START_TEST(calls_with_different_limits_go_on_at_once)
{
	const enum which which = _i;
	const int per_thread = libraries[which].is_per_thread;
	struct caller callers[3] = {{.limit = 2}, {.limit = 3}, {.limit = 0}};
	int32_t before;

	together_which = which;
	if (is_missing(which, &together_file))
		return;
	before = ask(which, together_file);
	(void)pthread_barrier_init(&together, NULL, 6);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&callers[i].thread, NULL, call, &callers[i]), 0);
	for (int i = 0; i < 3; i++) {
		(void)pthread_join(callers[i].thread, NULL);
		ck_assert_msg(callers[i].error.code == PAR_OK, "%s", callers[i].error.what);
		for (int k = 0; k < 2; k++)
			ck_assert_int_eq(callers[i].out[k], !per_thread            ? 2
			                                    : callers[i].limit > 0 ? callers[i].limit
			                                                           : before);
	}
	ck_assert_int_eq(ask(which, together_file), before);
	(void)pthread_barrier_destroy(&together);
}
END_TEST

/* --- libraries that come late ----------------------------------------------------------------- */

static int nothing(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}
PAR_TASK_OF_BYTES(nothing)

struct late {
	const char *file;
	int given;
	struct inner_seen seen;
};

/* The module is opened when a task has run, in the midst of the call. */
static int32_t next_late(void *user, par_item *item)
{
	struct late *late = user;

	if (late->given == 2)
		return 0;
	if (late->given == 1)
		item->task = task("inner_look");
	late->given++;
	item->payload = late->file;
	item->n_bytes = strlen(late->file);
	return 1;
}

static int32_t take_late(void *user, const par_outcome *outcome)
{
	struct late *late = user;

	if (outcome->index == 1)
		memcpy(&late->seen, outcome->bytes, sizeof(late->seen));
	return 0;
}

START_TEST(a_library_that_comes_in_the_midst_of_a_call_has_its_limit)
{
	const int way = _i / N_LIBRARIES;
	const enum which which = _i % N_LIBRARIES;
	const char *options[] = {ways[way].option, NULL};
	struct late late = {.given = 0};

	if (is_missing(which, &late.file))
		return;
	MUST(par_run(NULL, &par_task_nothing, next_late, take_late, &late,
	             PAR_SETTINGS(.backend = ways[way].backend, .options = options, .n_jobs = PAR_SET(1),
	                          .pre_dispatch = "1", .batch_size = PAR_SET(1),
	                          .inner_max_num_threads = PAR_SET(1)),
	             &error));
	expect_limit(&late.seen, 1, which);
}
END_TEST

/* On one thread: the outer limit holds again for what came under the inner one. */
START_TEST(what_comes_under_an_inner_limit_has_the_outer_one_after_it)
{
	struct inner_limit outer, within;
	const char *file;
	int32_t before;

	if (is_missing(_i, &file))
		return;
	inner_threads_enter(&outer, 2);
	inner_threads_enter(&within, 3);
	(void)load(file);
	inner_threads_look(&within);
	ck_assert_int_eq(ask(_i, file), libraries[_i].is_per_thread ? 3 : 2);
	inner_threads_leave(&within);
	ck_assert_int_eq(ask(_i, file), 2);
	inner_threads_leave(&outer);
	before = ask(_i, file);
	inner_threads_enter(&outer, 1);
	inner_threads_look(&outer);
	ck_assert_int_eq(ask(_i, file), 1);
	inner_threads_leave(&outer);
	ck_assert_int_eq(ask(_i, file), before);
}
END_TEST

static _Atomic int is_done;

static void *come_and_go(void *arg)
{
	struct inner_limit outer, within;
	unsigned seed = (unsigned)(uintptr_t)arg;

	while (!is_done) {
		int n = 1 + rand_r(&seed) % 3, m = 1 + rand_r(&seed) % 3;

		inner_threads_enter(&outer, n);
		inner_threads_enter(&within, m);
		inner_threads_look(&within);
		inner_threads_leave(&within);
		inner_threads_leave(&outer);
	}
	return NULL;
}

START_TEST(threads_come_and_go_while_libraries_do)
{
	const char *file = file_of(OPENBLAS);
	pthread_t threads[4];
	void *library;
	int32_t before;

	has_libraries = 1;
	before = file != NULL ? ask(OPENBLAS, file) : 0;
	for (uintptr_t i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, come_and_go, (void *)i), 0);
	for (int i = 0; i < 300; i++) {
		library = load(PAR_BUILD "/tasks/demo.so");
		if (i == 100)
			(void)load(MKL);
		(void)dlclose(library);
	}
	is_done = 1;
	for (int i = 0; i < 4; i++)
		(void)pthread_join(threads[i], NULL);
	ck_assert_int_eq(ask(MKL_LIKE, MKL), 6);
	if (file != NULL)
		ck_assert_int_eq(ask(OPENBLAS, file), before);
}
END_TEST

/* --- tasks that are late ---------------------------------------------------------------------- */

static _Atomic int may_end, has_ended;

static int be_late(par_env *env, const void *payload, uint64_t size)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	int32_t of_process = ask(OPENBLAS, together_file), of_thread = ask(MKL_LIKE, MKL);

	(void)env, (void)payload, (void)size;
	while (!may_end)
		(void)nanosleep(&moment, NULL);
	has_ended = of_process == 1 && ask(OPENBLAS, together_file) == 1 && of_thread == 1 &&
	            ask(MKL_LIKE, MKL) == 1 ? 1 : -1;
	return 0;
}
PAR_TASK_OF_BYTES(be_late)

/* The call is over, but not for its worker, nor for what belongs to the process. */
START_TEST(a_late_task_keeps_its_limit_until_it_ends)
{
	struct errand errand = {.payload = "late", .left = 1};
	par_parallel *pool;
	int32_t before;

	if (is_missing(OPENBLAS, &together_file) || has_one_core())
		return;
	(void)load(MKL);
	before = ask(OPENBLAS, together_file);
	ck_assert_int_gt(before, 1);
	pool = open_way(1, 2, 1);
	ck_assert_int_eq(par_run(pool, &par_task_be_late, next, take, &errand,
	                         PAR_SETTINGS(.task_timeout = PAR_SET(0.05)), &error), PAR_ETIMEOUT);
	ck_assert_int_eq(ask(OPENBLAS, together_file), 1);
	ck_assert_int_eq(has_ended, 0);
	may_end = 1;
	par_close(pool);
	ck_assert_int_eq(has_ended, 1);
	ck_assert_int_eq(ask(OPENBLAS, together_file), before);
}
END_TEST

/* --- calls inside ----------------------------------------------------------------------------- */

START_TEST(a_call_inside_has_the_limit_around_it_unless_it_says)
{
	const int32_t in[2] = {0, 5};
	par_parallel *pool = open_way(_i, 2, 3);
	int32_t out[2];

	MUST(par_map(pool, task("nest"), in, out, 2, PAR_SETTINGS(.batch_size = PAR_SET(1)), &error));
	ck_assert_int_eq(out[0], 3);
	ck_assert_int_eq(out[1], 5);
	par_close(pool);
	pool = open_way(_i, 2, 0);
	MUST(par_map(pool, task("nest"), in, out, 2, PAR_SETTINGS(.batch_size = PAR_SET(1)), &error));
	ck_assert_int_eq(out[0], 0);
	ck_assert_int_eq(out[1], 5);
	par_close(pool);
}
END_TEST

/* --- worker processes ------------------------------------------------------------------------- */

static const char *const variables[] = {
	"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
	"VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
};
enum { N_VARIABLES = sizeof(variables) / sizeof(variables[0]) };

static const par_task *task_variable(void)
{
	const par_task *found;
	par_module *module;

	MUST(par_module_open(&module, PAR_BUILD "/tasks/processes.so", &error));
	MUST(par_module_task(module, "variable", &found, &error));
	return found;
}

static void expect_variables(par_parallel *pool, const char *value, const char *ipc)
{
	for (int i = 0; i < N_VARIABLES; i++) {
		struct errand errand = send_out(pool, task_variable(), variables[i], 1);

		ck_assert_msg(strcmp(errand.text, value) == 0, "%s is %s, not %s", variables[i],
		              errand.text, value);
	}
	ck_assert_str_eq(send_out(pool, task_variable(), "ENABLE_IPC", 1).text, ipc);
}

START_TEST(b99_workers_have_their_share_of_the_cores)
{
	const int cores = par_effective_n_jobs("threading", -1, &error);
	char each[16];

	for (int n_jobs = 1; n_jobs <= 3; n_jobs++) {
		par_parallel *pool = open_way(_i, n_jobs, 0);

		(void)snprintf(each, sizeof(each), "%d", cores / n_jobs > 1 ? cores / n_jobs : 1);
		expect_variables(pool, each, "1");
		par_close(pool);
	}
}
END_TEST

START_TEST(b99_what_the_user_set_goes_before_the_share)
{
	par_parallel *pool;

	for (int i = 0; i < N_VARIABLES; i++)
		setenv(variables[i], "7", 1);
	setenv("ENABLE_IPC", "0", 1);
	pool = open_way(_i, 2, 0);
	expect_variables(pool, "7", "0");
	par_close(pool);
	setenv("MKL_NUM_THREADS", "", 1);
	pool = open_way(_i, 2, 0);
	ck_assert_str_eq(send_out(pool, task_variable(), "MKL_NUM_THREADS", 1).text, "");
	par_close(pool);
}
END_TEST

START_TEST(b99_a_limit_goes_before_both)
{
	par_parallel *pool;

	for (int i = 0; i < N_VARIABLES; i++)
		setenv(variables[i], "7", 1);
	pool = open_way(_i, 2, 3);
	expect_variables(pool, "3", "1");
	par_close(pool);
	pool = open_way(_i, 2, 0);
	expect_variables(pool, "7", "1");
	par_close(pool);
	ck_assert_str_eq(getenv("OMP_NUM_THREADS"), "7");
}
END_TEST

/* A fork has them as they were in the program. */
START_TEST(libraries_that_were_loaded_before_have_what_the_variables_say)
{
	const enum which which = _i % N_LIBRARIES;
	const int way = FIRST_PROCESS + _i / N_LIBRARIES;
	const int is_fork = way == FORK;
	par_parallel *pool;
	const char *file;
	struct errand errand;

	/* That one reads no variable. */
	if (which == MKL_LIKE || is_missing(which, &file) || has_one_core())
		return;
	setenv("PARLOOP_MAX_CPU_COUNT", "1", 1);
	for (int i = 0; i < N_VARIABLES; i++)
		setenv(variables[i], "2", 1);
	if (is_fork)
		(void)task("inner_look");
	pool = open_way(way, 1, 0);
	errand = send_out(pool, task("inner_look"), file, 1);
	ck_assert_int_eq(errand.seen[0].told, 2);
	ck_assert_int_eq(errand.seen[0].limit, 0);
	par_close(pool);
	for (int i = 0; i < N_VARIABLES; i++)
		unsetenv(variables[i]);
	pool = open_way(way, 1, 0);
	errand = send_out(pool, task("inner_look"), file, 1);
	ck_assert_int_eq(errand.seen[0].told, 1);
	par_close(pool);
}
END_TEST

START_TEST(a_limit_of_the_next_call_is_another_one_for_kept_workers)
{
	static const char *const options[] = {"idle_worker_timeout=1s", NULL};
	const char *file;

	if (is_missing(_i, &file))
		return;
	for (int i = 0; i < 6; i++) {
		const int limit = 1 + i % 3;
		struct errand errand = {.payload = file, .left = 4};

		MUST(par_run(NULL, task("inner_look"), next, take, &errand,
		             PAR_SETTINGS(.backend = "loky", .options = options, .n_jobs = PAR_SET(2),
		                          .inner_max_num_threads = PAR_SET(limit)),
		             &error));
		for (int k = 0; k < errand.n; k++)
			expect_limit(&errand.seen[k], limit, _i);
	}
}
END_TEST

/* --- what was used before the workers start ----------------------------------------------------- */

static void count_in(void *n)
{
	(void)__atomic_fetch_add((int *)n, 1, __ATOMIC_SEQ_CST);
}

static int count_team(const char *file)
{
	union function function = {dlsym(load(file), "GOMP_parallel")};
	int n = 0;

	ck_assert_ptr_nonnull(function.symbol);
	function.parallel(count_in, &n, 3, 0);
	return __atomic_load_n(&n, __ATOMIC_SEQ_CST);
}

START_TEST(b88_what_the_program_has_used_freezes_no_worker)
{
	const enum which which = _i % N_LIBRARIES;
	const int way = FIRST_PROCESS + _i / N_LIBRARIES;
	const char *file;

	if (!libraries[which].works || cannot_be_used() || is_missing(which, &file))
		return;
	for (int round = 0; round < 2; round++) {
		struct errand errand = {.payload = file, .left = 1};
		par_parallel *pool;

		/* In this thread, which is the one that forks. */
		if (which == GOMP || which == OMP)
			ck_assert_int_eq(count_team(file), 3);
		MUST(par_run(NULL, task("inner_use"), next, take, &errand,
		             PAR_SETTINGS(.backend = "sequential", .inner_max_num_threads = PAR_SET(2)),
		             &error));
		pool = open_way(way, 1, 2);
		errand = send_out(pool, task("inner_use"), file, 2);
		for (int i = 0; i < errand.n; i++) {
			expect_limit(&errand.seen[i], 2, which);
			ck_assert_int_ge(errand.seen[i].used, 1);
			if (which == GOMP || which == OMP)
				ck_assert_int_eq(errand.seen[i].used, 2);
		}
		par_close(pool);
	}
}
END_TEST

/* What was loaded before the forks has made its threads there. */
START_TEST(b88_what_a_fork_server_has_loaded_freezes_no_worker)
{
	const char *options[] = {"start_method=forkserver", "preload=" MODULE, NULL};
	struct errand errand;
	par_parallel *pool;
	const char *file;

	if (!libraries[_i].works || cannot_be_used() || is_missing(_i, &file) || has_one_core())
		return;
	setenv("OMP_WAIT_POLICY", "passive", 1);
	for (int i = 0; i < N_VARIABLES; i++)
		setenv(variables[i], "2", 1);
	for (int limit = 0; limit <= 2; limit++) {
		const par_int inner = {limit > 0, limit};

		MUST(par_open(&pool, PAR_SETTINGS(.backend = "multiprocessing", .options = options,
		                                  .n_jobs = PAR_SET(1), .inner_max_num_threads = inner),
		              &error));
		errand = send_out(pool, task("inner_use"), file, 2);
		for (int i = 0; i < errand.n; i++) {
			ck_assert_int_eq(errand.seen[i].told, limit > 0 ? limit : 2);
			ck_assert_int_eq(errand.seen[i].used, limit > 0 ? limit : 2);
		}
		par_close(pool);
	}
}
END_TEST

/* --- reading back ----------------------------------------------------------------------------- */

START_TEST(a_process_without_such_libraries_lists_none)
{
	ck_assert_str_eq(list_all(), "");
	ck_assert_int_eq(par_each_library(NULL, NULL, &error), PAR_EINVAL);
	ck_assert_str_eq(error.reason, "fn is NULL");
}
END_TEST

static int32_t stop_at_once(void *user, const par_library *library)
{
	(void)library;
	++*(int *)user;
	return 1;
}

START_TEST(libraries_are_listed_with_their_threads)
{
	static const char *const kinds[N_LIBRARIES] = {"openmp",   "openmp", "openblas",
	                                               "openblas", "blis",   "mkl"};
	struct inner_limit limit;
	char expected[512];
	const char *file;
	int n = 0;

	if (is_missing(_i, &file))
		return;
	(void)load(file);
	inner_threads_enter(&limit, 5);
	(void)snprintf(expected, sizeof(expected), "%s ", kinds[_i]);
	ck_assert_ptr_nonnull(strstr(list_all(), expected));
	(void)snprintf(expected, sizeof(expected), " 5 %d\n", libraries[_i].is_per_thread);
	ck_assert_ptr_nonnull(strstr(list_all(), expected));
	inner_threads_leave(&limit);
	ck_assert_ptr_null(strstr(list_all(), expected));
	MUST(par_each_library(stop_at_once, &n, &error));
	ck_assert_int_eq(n, 1);
}
END_TEST

/* Their threads come and go as they like. */
static void end(void)
{
	scratch_end();
	inner_tidy();
	if (has_libraries)
		leaks_begin_again();
}

static void begin(void)
{
	scratch_begin();
	for (int i = 0; i < N_VARIABLES; i++)
		unsetenv(variables[i]);
	unsetenv("ENABLE_IPC");
	unsetenv("PARLOOP_START_METHOD");
	unsetenv(INNER_VARIABLE);
}

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	par_worker_main(argc, argv);
	suite = suite_create("inner_threads");
	tests = tcase_create("inner_threads");
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_loop_test(tests, a_task_sees_its_limit_and_finds_it_kept, 0, ALL);
	tcase_add_loop_test(tests, a_task_has_as_many_threads_at_work_as_it_may, 0, ALL);
	tcase_add_loop_test(tests, calls_with_different_limits_go_on_at_once, 0, N_LIBRARIES);
	tcase_add_loop_test(tests, a_library_that_comes_in_the_midst_of_a_call_has_its_limit, 0, ALL);
	tcase_add_loop_test(tests, what_comes_under_an_inner_limit_has_the_outer_one_after_it, 0,
	                    N_LIBRARIES);
	tcase_add_test(tests, threads_come_and_go_while_libraries_do);
	tcase_add_test(tests, a_late_task_keeps_its_limit_until_it_ends);
	tcase_add_loop_test(tests, a_call_inside_has_the_limit_around_it_unless_it_says, 0, N_WAYS);
	tcase_add_loop_test(tests, b99_workers_have_their_share_of_the_cores, FIRST_PROCESS, N_WAYS);
	tcase_add_loop_test(tests, b99_what_the_user_set_goes_before_the_share, FIRST_PROCESS, N_WAYS);
	tcase_add_loop_test(tests, b99_a_limit_goes_before_both, FIRST_PROCESS, N_WAYS);
	tcase_add_loop_test(tests, libraries_that_were_loaded_before_have_what_the_variables_say, 0,
	                    (N_WAYS - FIRST_PROCESS) * N_LIBRARIES);
	tcase_add_loop_test(tests, a_limit_of_the_next_call_is_another_one_for_kept_workers, 0,
	                    N_LIBRARIES);
	tcase_add_loop_test(tests, b88_what_the_program_has_used_freezes_no_worker, 0,
	                    (N_WAYS - FIRST_PROCESS) * N_LIBRARIES);
	tcase_add_loop_test(tests, b88_what_a_fork_server_has_loaded_freezes_no_worker, 0, N_LIBRARIES);
	tcase_add_test(tests, a_process_without_such_libraries_lists_none);
	tcase_add_loop_test(tests, libraries_are_listed_with_their_threads, 0, N_LIBRARIES);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
