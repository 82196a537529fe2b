/* inner.c - tasks that use libraries with threads of their own, and tell how many there are. */
#include "inner.h"

#include <parloop/parloop.h>
#include <parloop/task.h>

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* They are as if this module had been linked with them. */
__attribute__((constructor)) static void bring_along(void)
{
	const char *text = getenv(INNER_VARIABLE);
	char *paths = text != NULL ? strdup(text) : NULL, *rest = NULL;

	for (char *path = paths != NULL ? strtok_r(paths, ":", &rest) : NULL; path != NULL;
	     path = strtok_r(NULL, ":", &rest))
		if (dlopen(path, RTLD_NOW | RTLD_LOCAL) == NULL)
			(void)fprintf(stderr, "inner: %s\n", dlerror());
	free(paths);
}

/* --- a library, by its file ------------------------------------------------------------------- */

union function {
	void *symbol;
	int (*get)(void);
	int64_t (*get_dim)(void);
	void (*parallel)(void (*fn)(void *), void *data, unsigned n, unsigned flags);
	void (*dgemm)(int order, int trans_a, int trans_b, int m, int n, int k, double alpha,
	              const double *a, int lda, const double *b, int ldb, double beta, double *c,
	              int ldc);
};

static union function function(const char *file, const char *name)
{
	void *library = dlopen(file, RTLD_NOW | RTLD_NOLOAD);
	union function function = {library != NULL ? dlsym(library, name) : NULL};

	if (library != NULL)
		(void)dlclose(library);
	return function;
}

static int32_t ask(const char *file)
{
	static const char *const names[] = {"MKL_Get_Max_Threads", "openblas_get_num_threads",
	                                    "omp_get_max_threads"};
	union function get = function(file, "bli_thread_get_num_threads");

	if (get.symbol != NULL)
		return (int32_t)get.get_dim();
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		get = function(file, names[i]);
		if (get.symbol != NULL)
			return get.get();
	}
	return 0;
}

struct search {
	const char *file;
	int32_t n_threads;
};

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int32_t compare(void *user, const par_library *library)
{
	struct search *search = user;

	if (strcmp(name_of(library->file), name_of(search->file)) == 0)
		search->n_threads = library->n_threads;
	return 0;
}

static int32_t look_up(const char *file)
{
	struct search search = {file, 0};

	return par_each_library(compare, &search, NULL) == PAR_OK ? search.n_threads : -1;
}

/* --- threads at work -------------------------------------------------------------------------- */

static int64_t time_of(clockid_t clock)
{
	struct timespec time;

	(void)clock_gettime(clock, &time);
	return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

enum { SIZE = 500, TIMES = 4 };

static int multiply(union function gemm)
{
	double *a = malloc(3 * sizeof(double) * SIZE * SIZE), *b = a + SIZE * SIZE, *c = b + SIZE * SIZE;
	int is_right = a != NULL;

	for (int i = 0; a != NULL && i < SIZE * SIZE; i++)
		a[i] = b[i] = 1;
	for (int i = 0; a != NULL && i < TIMES; i++) {
		gemm.dgemm(101, 111, 111, SIZE, SIZE, SIZE, 1, a, SIZE, b, SIZE, 0, c, SIZE);
		is_right = is_right && c[0] == SIZE && c[SIZE * SIZE - 1] == SIZE;
	}
	free(a);
	return is_right;
}

static void count_in(void *n)
{
	(void)__atomic_fetch_add((int32_t *)n, 1, __ATOMIC_SEQ_CST);
}

/* Threads that a library has at work when it is used, of BLAS 2 for 2 or more; -1: it is wrong; 0: it
 * cannot be used. */
static int32_t use(const char *file)
{
	union function gemm = function(file, "cblas_dgemm");
	union function parallel = function(file, "GOMP_parallel");
	int64_t ours, all;
	int32_t n = 0;

	if (gemm.symbol != NULL) {
		ours = -time_of(CLOCK_THREAD_CPUTIME_ID);
		all = -time_of(CLOCK_PROCESS_CPUTIME_ID);
		if (!multiply(gemm))
			return -1;
		all += time_of(CLOCK_PROCESS_CPUTIME_ID);
		ours += time_of(CLOCK_THREAD_CPUTIME_ID);
		return all - ours > ours / 20 ? 2 : 1;
	}
	/* As a compiler would begin it, with as many threads as it likes. */
	if (parallel.symbol != NULL)
		parallel.parallel(count_in, &n, 0, 0);
	return __atomic_load_n(&n, __ATOMIC_SEQ_CST);
}

/* --- tasks ------------------------------------------------------------------------------------ */

static int tell(par_env *env, const void *payload, uint64_t size, int uses)
{
	struct inner_seen seen = {.limit = env->inner_max_num_threads, .pid = (int32_t)getpid()};
	char file[512];

	(void)snprintf(file, sizeof(file), "%.*s", (int)size, (const char *)payload);
	seen.used = uses ? use(file) : 0;
	seen.asked = ask(file);
	seen.told = look_up(file);
	inner_tidy();
	return par_reply(env, &seen, sizeof(seen));
}

/* The payload is the library's file: what there is of it; and the same after it was used. */
static int inner_look(par_env *env, const void *payload, uint64_t size)
{
	return tell(env, payload, size, 0);
}
PAR_TASK_OF_BYTES(inner_look)

static int inner_use(par_env *env, const void *payload, uint64_t size)
{
	return tell(env, payload, size, 1);
}
PAR_TASK_OF_BYTES(inner_use)

/* A call inside of it, with so many threads inside its tasks; 0: it does not say. */
static int limit_of(par_env *env, const int32_t *in, int32_t *out)
{
	(void)in;
	*out = env->inner_max_num_threads;
	return 0;
}
PAR_TASK_ENV(limit_of, int32_t, int32_t)

static int nest(const int32_t *in, int32_t *out)
{
	int32_t inputs[2] = {0, 0}, outputs[2] = {-1, -1};
	const par_int limit = {*in > 0, *in};
	int32_t status = par_map(NULL, &par_task_limit_of, inputs, outputs, 2,
	                         PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2),
	                                      .inner_max_num_threads = limit),
	                         NULL);

	*out = outputs[0] == outputs[1] ? outputs[0] : -1;
	return status;
}
PAR_TASK(nest, int32_t, int32_t)
