#include "inner_threads.h"

#include "error.h"
#include "forked.h"

#include <dlfcn.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { OPENMP, OPENBLAS, MKL, BLIS };

static const struct {
	const char *name;
	const char *variable; /* that it reads when it is loaded */
} kinds[] = {
	[OPENMP] = {"openmp", "OMP_NUM_THREADS"},
	[OPENBLAS] = {"openblas", "OPENBLAS_NUM_THREADS"},
	[MKL] = {"mkl", "MKL_NUM_THREADS"},
	[BLIS] = {"blis", "BLIS_NUM_THREADS"},
};

/* A function of a library's, by its type. */
union entry {
	void *symbol;
	int (*get)(void);
	int64_t (*get_dim)(void); /* BLIS's, of 64 bits or of 32, as it was built */
	void (*set)(int);
	void (*set_dim)(int64_t);
	int (*exchange)(int); /* MKL's: returns what it was, 0: the process's number counts */
	int (*pause)(int);
};

struct library {
	enum kind kind;
	char *file;
	union entry set, get;
	union entry pause; /* of gcc's OpenMP: see inner_threads_before_fork() */
	int follows;       /* it is an OpenBLAS that does as OpenMP does, whose get this is */

	/* under the lock, where the number is the process's: before the first limit */
	int is_limited;
	int32_t before;
};

static struct {
	pthread_mutex_t lock;
	/* under lock; but what was found is never changed, so those below n may be read by all */
	struct library libraries[INNER_LIBRARIES];
	_Atomic int n;
	_Atomic unsigned long long loads; /* how often something was loaded when we looked; 0: never */
	struct inner_limit *limits;       /* all that are in force */
} inner = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(inner.lock);

/* The innermost of this thread. */
static _Thread_local struct inner_limit *innermost;

/* --- their functions -------------------------------------------------------------------------- */

static int is_per_thread(const struct library *library)
{
	return library->kind == OPENMP || library->kind == MKL;
}

static int32_t get(const struct library *library)
{
	return library->kind == BLIS ? (int32_t)library->get.get_dim() : library->get.get();
}

/* Returns what it was before. */
static int32_t set(const struct library *library, int32_t n)
{
	int32_t before;

	if (library->kind == MKL)
		return library->set.exchange(n);
	before = get(library);
	if (before == n)
		return before;
	if (library->kind == BLIS)
		library->set.set_dim(n);
	else
		library->set.set(n);
	return before;
}

/* --- which there are -------------------------------------------------------------------------- */

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

static int begins_with(const char *text, const char *start)
{
	return strncmp(text, start, strlen(start)) == 0;
}

/* A file of such a name may be one of them; its symbols decide. */
static int is_candidate(const char *path)
{
	static const char *const starts[] = {"libgomp", "libomp", "libiomp", "libopenblas",
	                                     "libscipy_openblas", "libmkl_rt", "libblis", "libblas"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (begins_with(name_of(path), starts[i]))
			return 1;
	return 0;
}

/* One that is loaded, and where it begins. */
struct object {
	char *path;
	void *handle;
	uintptr_t start;
};

/* Its own symbol, not one of a library that it needs. */
static void *own_symbol(const struct object *object, const char *name)
{
	void *symbol = dlsym(object->handle, name);
	Dl_info info;

	if (symbol == NULL || dladdr(symbol, &info) == 0 || (uintptr_t)info.dli_fbase != object->start)
		return NULL;
	return symbol;
}

/* Those who build it give its symbols other names, so that several can be in one process. */
static void *openblas_symbol(const struct object *object, const char *name)
{
	static const char *const starts[] = {"", "scipy_"}, *const ends[] = {"", "64_", "_64"};
	char full[64];
	void *symbol;

	for (int i = 0; i < 6; i++) {
		(void)snprintf(full, sizeof(full), "%sopenblas_%s%s", starts[i / 3], name, ends[i % 3]);
		symbol = own_symbol(object, full);
		if (symbol != NULL)
			return symbol;
	}
	return NULL;
}

static int has_both(const struct library *library)
{
	return library->set.symbol != NULL && library->get.symbol != NULL;
}

static int is_openmp(const struct object *object, struct library *library)
{
	*library = (struct library){.kind = OPENMP};
	library->set.symbol = own_symbol(object, "omp_set_num_threads");
	library->get.symbol = own_symbol(object, "omp_get_max_threads");
	if (begins_with(name_of(object->path), "libgomp"))
		library->pause.symbol = own_symbol(object, "omp_pause_resource_all");
	return has_both(library);
}

static int is_openblas(const struct object *object, struct library *library)
{
	enum { BY_OPENMP = 2 };
	const union entry parallel = {openblas_symbol(object, "get_parallel")};
	const union entry openmp = {dlsym(object->handle, "omp_get_max_threads")};

	*library = (struct library){.kind = OPENBLAS};
	library->set.symbol = openblas_symbol(object, "set_num_threads");
	library->get.symbol = openblas_symbol(object, "get_num_threads");
	library->follows = parallel.symbol != NULL && parallel.get() == BY_OPENMP && openmp.symbol != NULL;
	if (library->follows)
		library->get = openmp;
	return has_both(library);
}

static int is_mkl(const struct object *object, struct library *library)
{
	*library = (struct library){.kind = MKL};
	library->set.symbol = own_symbol(object, "MKL_Set_Num_Threads_Local");
	library->get.symbol = own_symbol(object, "MKL_Get_Max_Threads");
	return has_both(library);
}

static int is_blis(const struct object *object, struct library *library)
{
	*library = (struct library){.kind = BLIS};
	library->set.symbol = own_symbol(object, "bli_thread_set_num_threads");
	library->get.symbol = own_symbol(object, "bli_thread_get_num_threads");
	return has_both(library);
}

/* 1: it is one of them, and what it has is filled in. */
static int recognize(const struct object *object, struct library *library)
{
	return is_openmp(object, library) || is_openblas(object, library) || is_mkl(object, library) ||
	       is_blis(object, library);
}

static int is_known(const struct library *library)
{
	for (int i = 0; i < inner.n; i++)
		if (inner.libraries[i].set.symbol == library->set.symbol)
			return 1;
	return 0;
}

/* The loader is asked without the lock: who waits for the lock may hold the loader.  With the
 * handle that it is known by a library stays loaded. */
static void add(struct object *object)
{
	struct library library;
	int is_new, n;

	object->handle = dlopen(object->path, RTLD_LAZY | RTLD_NOLOAD);
	if (object->handle == NULL)
		return;
	is_new = recognize(object, &library) && (library.file = strdup(object->path)) != NULL;
	pthread_mutex_lock(&inner.lock);
	n = atomic_load_explicit(&inner.n, memory_order_relaxed);
	is_new = is_new && n < INNER_LIBRARIES && !is_known(&library);
	if (is_new) {
		inner.libraries[n] = library;
		atomic_store_explicit(&inner.n, n + 1, memory_order_release);
	}
	pthread_mutex_unlock(&inner.lock);
	if (is_new)
		return;
	free(library.file);
	(void)dlclose(object->handle);
}

/* What the loader shows us while it is held; it may be asked about it only afterwards. */
struct seen {
	unsigned long long loads;
	struct object objects[INNER_LIBRARIES];
	int n;
};

/* As dladdr() says it. */
static uintptr_t start_of(const struct dl_phdr_info *info)
{
	for (int i = 0; i < info->dlpi_phnum; i++)
		if (info->dlpi_phdr[i].p_type == PT_LOAD)
			return info->dlpi_addr + (info->dlpi_phdr[i].p_vaddr & -info->dlpi_phdr[i].p_align);
	return info->dlpi_addr;
}

static int see(struct dl_phdr_info *info, size_t size, void *arg)
{
	struct seen *seen = arg;

	(void)size;
	seen->loads = info->dlpi_adds;
	if (seen->n < INNER_LIBRARIES && is_candidate(info->dlpi_name) &&
	    (seen->objects[seen->n].path = strdup(info->dlpi_name)) != NULL)
		seen->objects[seen->n++].start = start_of(info);
	return 0;
}

static int count(struct dl_phdr_info *info, size_t size, void *loads)
{
	(void)size;
	*(unsigned long long *)loads = info->dlpi_adds;
	return 1;
}

/* How many there are, for those who find something loaded since it was looked at last. */
static int look(void)
{
	unsigned long long loads = 0;
	struct seen seen = {.n = 0};

	(void)dl_iterate_phdr(count, &loads);
	if (loads == atomic_load_explicit(&inner.loads, memory_order_acquire))
		return atomic_load_explicit(&inner.n, memory_order_acquire);
	(void)dl_iterate_phdr(see, &seen);
	for (int i = 0; i < seen.n; i++) {
		add(&seen.objects[i]);
		free(seen.objects[i].path);
	}
	atomic_store_explicit(&inner.loads, seen.loads, memory_order_release);
	return atomic_load_explicit(&inner.n, memory_order_acquire);
}

/* --- the process's numbers -------------------------------------------------------------------- */

/* Under the lock: 0: there is no limit. */
static int32_t least(void)
{
	int32_t n_threads = 0;

	for (const struct inner_limit *limit = inner.limits; limit != NULL; limit = limit->next)
		if (n_threads == 0 || limit->n_threads < n_threads)
			n_threads = limit->n_threads;
	return n_threads;
}

/* Likewise: make them what they are to be. */
static void settle(void)
{
	int32_t n_threads = least();

	for (int i = 0; i < inner.n; i++) {
		struct library *library = &inner.libraries[i];

		if (is_per_thread(library) || library->follows)
			continue;
		if (n_threads > 0 && !library->is_limited)
			library->before = set(library, n_threads);
		else if (n_threads > 0 || library->is_limited)
			(void)set(library, n_threads > 0 ? n_threads : library->before);
		library->is_limited = n_threads > 0;
	}
}

/* --- fork ------------------------------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&inner.lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&inner.lock);
}

/* The other threads are not here, and so are their limits not. */
static void in_child(void)
{
	inner.limits = NULL;
	for (struct inner_limit *limit = innermost; limit != NULL; limit = limit->outer) {
		limit->previous = NULL;
		limit->next = inner.limits;
		if (inner.limits != NULL)
			inner.limits->previous = limit;
		inner.limits = limit;
	}
	pthread_mutex_unlock(&inner.lock);
}

static void prepare(void)
{
	(void)pthread_atfork(before_fork, after_fork, in_child);
}

void inner_threads_before_fork(void)
{
	enum { SOFTLY = 1 };

	for (int i = 0, n = look(); i < n; i++)
		if (inner.libraries[i].pause.symbol != NULL)
			(void)inner.libraries[i].pause.pause(SOFTLY);
}

/* As the library itself reads it: "4" or, of OpenMP, "4,2".  0: it says nothing. */
static int32_t environment_says(enum kind kind)
{
	const char *text = getenv(kinds[kind].variable);
	long n = text != NULL ? strtol(text, NULL, 10) : 0;

	return n > 0 && n <= INT32_MAX ? (int32_t)n : 0;
}

void inner_threads_in_worker(void)
{
	int n = look();

	innermost = NULL;
	pthread_mutex_lock(&inner.lock);
	inner.limits = NULL;
	settle();
	pthread_mutex_unlock(&inner.lock);
	for (int i = 0; i < n; i++) {
		const struct library *library = &inner.libraries[i];
		int32_t most = environment_says(library->kind);

		if (!library->follows && most > 0 && get(library) > most)
			(void)set(library, most);
	}
}

/* --- limits ----------------------------------------------------------------------------------- */

/* Of this thread: what was found since, for the outer ones first. */
static void catch_up(struct inner_limit *limit, int n)
{
	if (limit == NULL || limit->n_known == n)
		return;
	catch_up(limit->outer, n);
	for (int i = limit->n_known; i < n; i++)
		if (is_per_thread(&inner.libraries[i]))
			limit->before[i] = set(&inner.libraries[i], limit->n_threads);
	limit->n_known = n;
}

void inner_threads_enter(struct inner_limit *limit, int32_t n_threads)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	int n = look();

	pthread_once(&once, prepare);
	limit->n_threads = n_threads;
	limit->n_known = 0;
	limit->outer = innermost;
	limit->previous = NULL;
	pthread_mutex_lock(&inner.lock);
	limit->next = inner.limits;
	if (inner.limits != NULL)
		inner.limits->previous = limit;
	inner.limits = limit;
	settle();
	pthread_mutex_unlock(&inner.lock);
	innermost = limit;
	catch_up(limit, n);
}

void inner_threads_look(struct inner_limit *limit)
{
	int n = look();

	if (limit->n_known == n)
		return;
	pthread_mutex_lock(&inner.lock);
	settle();
	pthread_mutex_unlock(&inner.lock);
	catch_up(limit, n);
}

void inner_threads_leave(struct inner_limit *limit)
{
	for (int i = limit->n_known; i-- > 0;)
		if (is_per_thread(&inner.libraries[i]))
			(void)set(&inner.libraries[i], limit->before[i]);
	innermost = limit->outer;
	pthread_mutex_lock(&inner.lock);
	if (limit->next != NULL)
		limit->next->previous = limit->previous;
	if (limit->previous != NULL)
		limit->previous->next = limit->next;
	else
		inner.limits = limit->next;
	settle();
	pthread_mutex_unlock(&inner.lock);
}

/* --- reading back ----------------------------------------------------------------------------- */

int32_t par_each_library(int32_t (*fn)(void *user, const par_library *library), void *user,
                         par_error *error)
{
	int n;

	if (fn == NULL) {
		error_set(error, PAR_EINVAL, "cannot list libraries");
		error_reason(error, "fn is NULL");
		return PAR_EINVAL;
	}
	n = look();
	for (int i = 0; i < n; i++) {
		const struct library *library = &inner.libraries[i];
		int32_t n_threads = get(library); /* BLIS's, below 1: never set, so it has one */
		const par_library shown = {
			.size = sizeof(shown),
			.n_threads = n_threads > 0 ? n_threads : 1,
			.per_thread = is_per_thread(library) || library->follows,
			.kind = kinds[library->kind].name,
			.file = library->file,
		};

		if (fn(user, &shown) != 0)
			break;
	}
	return PAR_OK;
}
