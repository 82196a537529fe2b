/* test_memory.c - every allocation of the core failing, once and for ever.
 *
 * The linker puts the functions below in place of the allocating ones, for our objects
 * only: libuv, libinih, libc and the plugins get their memory as ever (what libuv
 * aborts on is listed in core/README.md).  A scenario is a whole use of the public
 * API.  It runs with its first allocation failing, then its second, and so on, until
 * it runs to its end without reaching the one that should fail. */
/* link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=reallocarray,--wrap=free */
/* link: -Wl,--wrap=posix_memalign,--wrap=aligned_alloc,--wrap=strdup,--wrap=strndup */
/* link: -Wl,--wrap=asprintf,--wrap=realpath,--wrap=getcwd,--wrap=scandir,--wrap=fopen */
/* link: -Wl,--wrap=pthread_create */
#include "scratch.h"

#include <parloop/parloop.h>

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <uv.h>

/* --- allocations that fail -------------------------------------------------------------------- */

static _Atomic int armed, forever;
static _Atomic long fail_at, asked, failures;
static _Atomic long live; /* blocks that our objects have not freed */

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *old, size_t size);
void *__real_reallocarray(void *old, size_t n, size_t size);
void __real_free(void *block);
int __real_posix_memalign(void **block, size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
char *__real_realpath(const char *path, char *resolved);
char *__real_getcwd(char *buffer, size_t size);
int __real_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **));
FILE *__real_fopen(const char *path, const char *mode);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *old, size_t size);
void *__wrap_reallocarray(void *old, size_t n, size_t size);
void __wrap_free(void *block);
int __wrap_posix_memalign(void **block, size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_asprintf(char **out, const char *format, ...);
char *__wrap_realpath(const char *path, char *resolved);
char *__wrap_getcwd(char *buffer, size_t size);
int __wrap_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **));
FILE *__wrap_fopen(const char *path, const char *mode);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg);

/* Is this the one? */
static int fails(void)
{
	long nth;

	if (!atomic_load(&armed))
		return 0;
	nth = atomic_fetch_add(&asked, 1) + 1;
	if (nth != atomic_load(&fail_at) && !(atomic_load(&forever) && nth > atomic_load(&fail_at)))
		return 0;
	atomic_fetch_add(&failures, 1);
	errno = ENOMEM;
	return 1;
}

static void *counted(void *block)
{
	if (block != NULL)
		atomic_fetch_add(&live, 1);
	return block;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : counted(__real_malloc(size));
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : counted(__real_calloc(n, size));
}

void *__wrap_realloc(void *old, size_t size)
{
	void *grown = fails() ? NULL : __real_realloc(old, size);

	return old == NULL ? counted(grown) : grown;
}

void *__wrap_reallocarray(void *old, size_t n, size_t size)
{
	void *grown = fails() ? NULL : __real_reallocarray(old, n, size);

	return old == NULL ? counted(grown) : grown;
}

void __wrap_free(void *block)
{
	if (block != NULL)
		atomic_fetch_sub(&live, 1);
	__real_free(block);
}

int __wrap_posix_memalign(void **block, size_t alignment, size_t size)
{
	int code = fails() ? ENOMEM : __real_posix_memalign(block, alignment, size);

	if (code == 0)
		(void)counted(*block);
	return code;
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return fails() ? NULL : counted(__real_aligned_alloc(alignment, size));
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : counted(__real_strdup(text));
}

char *__wrap_strndup(const char *text, size_t n)
{
	return fails() ? NULL : counted(__real_strndup(text, n));
}

int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list args;
	int n;

	/* As glibc has it: what *out is afterwards, nobody knows. */
	*out = (char *)1;
	if (fails())
		return -1;
	va_start(args, format);
	n = vasprintf(out, format, args);
	va_end(args);
	if (n >= 0)
		(void)counted(*out);
	return n;
}

char *__wrap_realpath(const char *path, char *resolved)
{
	if (resolved != NULL)
		return __real_realpath(path, resolved);
	return fails() ? NULL : counted(__real_realpath(path, NULL));
}

char *__wrap_getcwd(char *buffer, size_t size)
{
	if (buffer != NULL)
		return __real_getcwd(buffer, size);
	return fails() ? NULL : counted(__real_getcwd(NULL, size));
}

int __wrap_scandir(const char *dir, struct dirent ***list, int (*filter)(const struct dirent *),
                   int (*compare)(const struct dirent **, const struct dirent **))
{
	int n = fails() ? -1 : __real_scandir(dir, list, filter, compare);

	if (n >= 0)
		atomic_fetch_add(&live, n + (*list != NULL));
	return n;
}

FILE *__wrap_fopen(const char *path, const char *mode)
{
	return fails() ? NULL : __real_fopen(path, mode);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *),
                          void *arg)
{
	return fails() ? EAGAIN : __real_pthread_create(thread, attributes, run, arg);
}

/* --- tasks, sources, sinks --------------------------------------------------------------------- */

static int square(const int64_t *in, int64_t *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(square, int64_t, int64_t)

/* Its payload, twice. */
static int twice(par_env *env, const void *payload, uint64_t size)
{
	char *room = par_reply_room(env, 2 * size);

	if (room == NULL)
		return par_fail_task(env, 1, "no memory for %llu bytes", 2 * (unsigned long long)size);
	if (size > 0) {
		memcpy(room, payload, size);
		memcpy(room + size, payload, size);
	}
	return 0;
}
PAR_TASK_OF_BYTES(twice)

/* Every third one fails, in words. */
static int moody(par_env *env, const void *payload, uint64_t size)
{
	if (env->index % 3 == 0)
		return par_fail_task(env, 3, "task %llu did not want to", (unsigned long long)env->index);
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(moody)

/* A call within a task. */
static int nesting(par_env *env, const int64_t *in, int64_t *out)
{
	par_error error = PAR_ERROR_INIT;
	int64_t inner_in[3] = {*in, *in + 1, *in + 2}, inner_out[3];

	if (par_map(NULL, &par_task_square, inner_in, inner_out, 3, NULL, &error) < 0)
		return par_fail_task(env, 1, "%s: %s", error.what, error.reason);
	*out = inner_out[0] + inner_out[1] + inner_out[2];
	return 0;
}
PAR_TASK_ENV(nesting, int64_t, int64_t)

/* Every third one fails, in words, the first two times. */
static int hesitant(par_env *env, const void *payload, uint64_t size)
{
	if (env->index % 3 == 0 && env->attempt < 2)
		return par_fail_task(env, 3, "task %llu did not want to yet", (unsigned long long)env->index);
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(hesitant)

/* Number 3 is there until it is let go, or for so long that a call without memory is not
 * held up by it for ever. */
static _Atomic int let_go, n_lingering;

static int lingering(par_env *env, const void *payload, uint64_t size)
{
	const struct timespec nap = {.tv_nsec = 1000000};
	char *room = par_reply_room(env, size);

	n_lingering++;
	for (int i = 0; env->index == 3 && i < 40 && !let_go; i++)
		(void)nanosleep(&nap, NULL);
	if (room != NULL && size > 0)
		memcpy(room, payload, size);
	n_lingering--;
	return room != NULL ? 0 : par_fail_task(env, 1, "no memory for a reply");
}
PAR_TASK_OF_BYTES(lingering)

enum { N_ITEMS = 40, LARGEST = 30000 };

static const uint64_t sizes[] = {0, 1, 8, 9, 100, 5000, 20000, LARGEST};
enum { N_SIZES = sizeof(sizes) / sizeof(sizes[0]) };

/* A stream of payloads of all sizes, and what became of it. */
struct stream {
	uint64_t given, got, failed, wordless, wrong, unkept;
	int mixed, keeps;
	int64_t number;
	char bytes[LARGEST];
	par_outcome *kept[N_ITEMS];
};

static int32_t source(void *user, par_item *item)
{
	struct stream *stream = user;
	uint64_t i = stream->given;

	if (i == N_ITEMS)
		return 0;
	stream->given++;
	if (stream->mixed && i % 2 == 1) {
		stream->number = (int64_t)i;
		item->task = &par_task_square;
		item->payload = &stream->number;
		item->n_bytes = sizeof(stream->number);
		return 1;
	}
	memset(stream->bytes, 'a' + (int)(i % 26), (size_t)sizes[i % N_SIZES]);
	item->payload = stream->bytes;
	item->n_bytes = sizes[i % N_SIZES];
	if (stream->mixed)
		item->task = &par_task_twice;
	return 1;
}

static int is_run_of(const char *bytes, uint64_t n, char c)
{
	for (uint64_t i = 0; i < n; i++)
		if (bytes[i] != c)
			return 0;
	return 1;
}

static int is_right(const struct stream *stream, const par_outcome *outcome, unsigned times)
{
	uint64_t i = outcome->index;
	int64_t number;

	if (i >= N_ITEMS)
		return 0;
	if (stream->mixed && i % 2 == 1) {
		if (outcome->n_bytes != sizeof(number))
			return 0;
		memcpy(&number, outcome->bytes, sizeof(number));
		return number == (int64_t)(i * i);
	}
	return outcome->n_bytes == times * sizes[i % N_SIZES] &&
	       is_run_of(outcome->bytes, outcome->n_bytes, (char)('a' + (int)(i % 26)));
}

static int32_t sink_twice(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;

	if (outcome->status != PAR_OK)
		stream->failed++;
	else if (!is_right(stream, outcome, 2))
		stream->wrong++;
	if (stream->keeps) {
		stream->kept[stream->got] = par_keep(outcome);
		stream->unkept += stream->kept[stream->got] == NULL;
	}
	stream->got++;
	return 0;
}

static int32_t sink_moody(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;
	char wanted[64];

	stream->got++;
	if (outcome->status == PAR_OK) {
		stream->wrong += outcome->index % 3 == 0 || !is_right(stream, outcome, 1);
		return 0;
	}
	stream->failed++;
	(void)snprintf(wanted, sizeof(wanted), "task %llu did not want to",
	               (unsigned long long)outcome->index);
	if (outcome->message == NULL)
		stream->wordless++;
	else if (outcome->index % 3 == 0)
		stream->wrong += outcome->code != 3 || strcmp(outcome->message, wanted) != 0;
	return 0;
}

/* --- scenarios ----------------------------------------------------------------------------------- */

/* Each returns what the API did, and asserts that what succeeded is right; after calm(),
 * since libcheck, a static library, gets its memory from the same functions. */

static void calm(void)
{
	atomic_store(&armed, 0);
}

static int32_t maps(par_error *error, const char *backend, int n_jobs)
{
	enum { N = 500 };
	static int64_t in[N], out[N];
	const char *const options[] = {NULL};
	par_parallel *pool;
	int32_t code = par_open(&pool, PAR_SETTINGS(.backend = backend, .n_jobs = {1, n_jobs},
	                                            .options = options, .pre_dispatch = "3*n_jobs"),
	                        error);

	if (code != PAR_OK) {
		calm();
		ck_assert_ptr_null(pool);
		return code;
	}
	for (int64_t i = 0; i < N; i++)
		in[i] = i, out[i] = -1;
	for (int round = 0; round < 2 && code == PAR_OK; round++)
		code = par_map(pool, &par_task_square, in, out, N, NULL, error);
	par_close(pool);
	calm();
	for (int64_t i = 0; i < N && code == PAR_OK; i++)
		ck_assert_int_eq(out[i], i * i);
	return code;
}

static int32_t map_on_threads(par_error *error)
{
	return maps(error, "threading", 2);
}

static int32_t map_inline(par_error *error)
{
	return maps(error, "sequential", 1);
}

static int32_t map_by_fallback(par_error *error)
{
	return maps(error, "threading", 1);
}

static int32_t map_without_a_pool(par_error *error)
{
	int64_t in[3] = {1, 2, 3}, out[3] = {0, 0, 0};
	int32_t code = par_map(NULL, &par_task_square, in, out, 3, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);

	calm();
	if (code == PAR_OK)
		ck_assert_int_eq(out[2], 9);
	return code;
}

static int32_t map_nested(par_error *error)
{
	int64_t in[4] = {1, 2, 3, 4}, out[4] = {0, 0, 0, 0};
	int32_t code = par_map(NULL, &par_task_nesting, in, out, 4, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);

	calm();
	if (code == PAR_OK)
		ck_assert_int_eq(out[3], 16 + 25 + 36);
	return code;
}

static int32_t run(struct stream *stream, const par_task *task, par_sink_fn sink,
                   const par_settings *settings, par_error *error)
{
	int32_t code = par_run(NULL, task, source, sink, stream, settings, error);

	calm();
	ck_assert_uint_eq(stream->wrong, 0);
	if (code != PAR_OK)
		return code;
	ck_assert_uint_eq(stream->got, N_ITEMS);
	ck_assert_uint_eq(stream->failed, 0);
	return code;
}

static int32_t run_ordered(par_error *error)
{
	struct stream stream = {0};

	return run(&stream, &par_task_twice, sink_twice, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);
}

static int32_t run_inline(par_error *error)
{
	struct stream stream = {0};

	return run(&stream, &par_task_twice, sink_twice, PAR_SETTINGS(.backend = "sequential"), error);
}

static int32_t run_unordered_all(par_error *error)
{
	struct stream stream = {0};

	return run(&stream, &par_task_twice, sink_twice,
	           PAR_SETTINGS(.n_jobs = PAR_SET(2), .order = PAR_UNORDERED, .pre_dispatch = "all"),
	           error);
}

static int32_t run_mixed(par_error *error)
{
	struct stream stream = {.mixed = 1};

	return run(&stream, NULL, sink_twice, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);
}

/* More than the list of slots begins with. */
static int32_t count_source(void *user, par_item *item)
{
	int64_t *count = user;

	if (*count == 3000)
		return 0;
	++*count;
	item->payload = count;
	item->n_bytes = sizeof(*count);
	return 1;
}

static int32_t run_growing(par_error *error)
{
	int64_t count = 0;

	return par_run(NULL, &par_task_square, count_source, NULL, &count,
	               PAR_SETTINGS(.n_jobs = PAR_SET(2), .pre_dispatch = "all"), error);
}

static int32_t run_failing(par_error *error)
{
	struct stream stream = {0};
	int32_t code = par_run(NULL, &par_task_moody, source, sink_moody, &stream,
	                       PAR_SETTINGS(.n_jobs = PAR_SET(2), .on_error = PAR_COLLECT), error);

	calm();
	ck_assert_uint_eq(stream.wrong, 0);
	if (code != PAR_EFAILED || stream.got < N_ITEMS)
		return code;
	/* That a third of them fails is right; without memory others may, and some words are lost. */
	ck_assert_uint_ge(stream.failed, (N_ITEMS + 2) / 3);
	ck_assert_int_eq(error->task, 0);
	assert_contains(error->reason, "task 0 did not want to");
	if (atomic_load(&failures) == 0) {
		ck_assert_uint_eq(stream.failed, (N_ITEMS + 2) / 3);
		ck_assert_uint_eq(stream.wordless, 0);
	}
	return PAR_OK;
}

static int32_t run_keeping(par_error *error)
{
	struct stream stream = {.keeps = 1};
	int32_t code = run(&stream, &par_task_twice, sink_twice, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);

	for (int i = 0; i < N_ITEMS; i++) {
		if (stream.kept[i] != NULL && stream.kept[i]->status == PAR_OK)
			ck_assert(is_right(&stream, stream.kept[i], 2));
		par_release(stream.kept[i]);
	}
	return code;
}

/* Ends as it does if memory lasts, else by what the lack of it did to some task. */
static int32_t forgive(int32_t code, int32_t usual)
{
	return code == usual || (code == PAR_EFAILED && atomic_load(&failures) > 0) ? PAR_OK : code;
}

static int32_t iterate(struct stream *stream, par_parallel *pool, uint64_t most, const par_settings *settings,
                       par_error *error)
{
	const par_outcome *outcome;
	par_iter *iter;
	par_thrown thrown = {.size = sizeof(thrown)};
	int32_t code = par_iter_open(&iter, pool, &par_task_twice, source, stream, settings, error);

	if (code != PAR_OK)
		return code;
	while (stream->got < most && (code = par_iter_next(iter, &outcome, error)) == 1)
		(void)sink_twice(stream, outcome);
	par_iter_close(iter, &thrown);
	return code < 0 ? code : PAR_OK;
}

static int32_t iterate_to_the_end(par_error *error)
{
	struct stream stream = {0};
	int32_t code = iterate(&stream, NULL, UINT64_MAX, PAR_SETTINGS(.n_jobs = PAR_SET(2)), error);

	calm();
	ck_assert_uint_eq(stream.wrong, 0);
	if (code == PAR_OK)
		ck_assert_uint_eq(stream.got, N_ITEMS);
	return code;
}

static int32_t iterate_and_leave_off(par_error *error)
{
	struct stream stream = {0}, again = {0};
	par_parallel *pool;
	int32_t code = par_open(&pool, PAR_SETTINGS(.n_jobs = PAR_SET(2), .order = PAR_UNORDERED), error);

	if (code == PAR_OK)
		code = iterate(&stream, pool, 5, NULL, error);
	if (code == PAR_OK)
		code = iterate(&again, pool, UINT64_MAX, PAR_SETTINGS(.call_timeout = PAR_SET(1000.0)), error);
	par_close(pool);
	calm();
	ck_assert_uint_eq(stream.wrong + again.wrong, 0);
	if (code == PAR_OK)
		ck_assert_uint_eq(again.got, N_ITEMS);
	return code;
}

static int32_t list_all(par_error *error)
{
	struct stream stream = {0};
	par_outcome **outcomes;
	uint64_t n, wrong = 0;
	int32_t code = par_list(NULL, &par_task_twice, source, &stream, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &outcomes,
	                        &n, error);

	for (uint64_t i = 0; i < n; i++)
		wrong += outcomes[i]->status == PAR_OK && !is_right(&stream, outcomes[i], 2);
	calm();
	ck_assert(n == 0 || outcomes[n] == NULL);
	par_list_free(outcomes);
	ck_assert_uint_eq(wrong, 0);
	if (code == PAR_OK)
		ck_assert_uint_eq(n, N_ITEMS);
	return code;
}

static void count_event(void *watcher, const par_event *event)
{
	++*(int *)watcher;
	(void)event;
}

static int32_t run_again(par_error *error)
{
	struct stream stream = {0};
	int n_events = 0;
	int32_t code = par_run(NULL, &par_task_hesitant, source, sink_moody, &stream,
	                       PAR_SETTINGS(.n_jobs = PAR_SET(2), .retries = PAR_SET(2), .retry_delay = PAR_SET(0.0001),
	                                    .order = PAR_UNORDERED, .on_event = count_event, .watcher = &n_events),
	                       error);

	calm();
	if (code != PAR_OK)
		return forgive(code, PAR_OK);
	ck_assert_uint_eq(stream.got, N_ITEMS);
	ck_assert(atomic_load(&failures) > 0 || n_events == 2 * N_ITEMS + 2 * 2 * ((N_ITEMS + 2) / 3));
	return code;
}

static int32_t run_again_inline(par_error *error)
{
	struct stream stream = {0};
	int32_t code = par_run(NULL, &par_task_hesitant, source, sink_moody, &stream,
	                       PAR_SETTINGS(.retries = PAR_SET(2), .on_error = PAR_COLLECT), error);

	calm();
	return forgive(code, PAR_OK);
}

/* The call leaves the task behind; what it uses is freed when it comes back. */
static int32_t leave_a_task(par_error *error, int n_jobs, const par_settings *settings)
{
	struct stream stream = {0}, again = {0};
	par_parallel *pool;
	int32_t code;

	let_go = 0;
	code = par_open(&pool, PAR_SETTINGS(.n_jobs = {1, n_jobs}), error);
	if (code == PAR_OK)
		code = forgive(par_run(pool, &par_task_lingering, source, NULL, &stream, settings, error), PAR_ETIMEOUT);
	if (code == PAR_OK)
		code = par_run(pool, &par_task_twice, source, sink_twice, &again, NULL, error);
	let_go = 1;
	par_close(pool);
	calm();
	ck_assert_int_eq(n_lingering, 0);
	ck_assert_uint_eq(again.wrong, 0);
	if (code == PAR_OK)
		ck_assert_uint_eq(again.got, N_ITEMS);
	return code;
}

static int32_t leave_a_task_over_its_time(par_error *error)
{
	return leave_a_task(error, 2, PAR_SETTINGS(.task_timeout = PAR_SET(0.002)));
}

static int32_t leave_a_task_and_collect(par_error *error)
{
	return forgive(leave_a_task(error, 2, PAR_SETTINGS(.task_timeout = PAR_SET(0.002), .on_error = PAR_IGNORE)),
	               PAR_OK);
}

static int32_t leave_a_task_of_one_worker(par_error *error)
{
	return leave_a_task(error, 1, PAR_SETTINGS(.call_timeout = PAR_SET(0.002)));
}

static int32_t count_info(void *user, const par_backend_info *info)
{
	*(int *)user += strcmp(info->name, "threading") == 0 || strcmp(info->name, "sequential") == 0;
	return 0;
}

static int32_t list_backends(par_error *error)
{
	int n = 0;
	int32_t code = par_each_backend(count_info, &n, error);

	calm();
	if (code == PAR_OK)
		ck_assert_int_eq(n, 2);
	return code;
}

static int32_t show_backend(par_error *error)
{
	int n = 0;
	int32_t code = par_show_backend("threading", count_info, &n, error);

	calm();
	if (code == PAR_OK)
		ck_assert_int_eq(n, 1);
	return code;
}

static int32_t count_jobs(par_error *error)
{
	int32_t n = par_effective_n_jobs("threading", 3, error);

	return n == 3 ? PAR_OK : error->code;
}

static int32_t open_module(par_error *error)
{
	par_module *module;
	const par_task *task;
	int32_t code = par_module_open(&module, PAR_BUILD "/tasks/demo.so", error);

	if (code == PAR_OK)
		code = par_module_task(module, "square", &task, error);
	calm();
	if (code == PAR_OK)
		ck_assert_str_eq(task->name, "square");
	return code;
}

static int32_t miss_task(par_error *error)
{
	par_module *module;
	const par_task *task;
	int32_t code = par_module_open(&module, PAR_BUILD "/tasks/demo.so", error);

	if (code == PAR_OK)
		code = par_module_task(module, "sqare", &task, error);
	calm();
	ck_assert_int_ne(code, PAR_OK);
	return code == PAR_ENOTFOUND ? PAR_OK : code;
}

static int32_t read_configuration(par_error *error)
{
	int32_t code = par_configure(scratch_path("full.conf"), error);

	calm();
	if (code == PAR_OK) {
		ck_assert_str_eq(par_default_backend(), "sequential");
		ck_assert_str_eq(par_plugin_dirs()[0], scratch_dir);
	}
	return code;
}

static int32_t read_wrong_configuration(par_error *error)
{
	int32_t code = par_configure(scratch_path("wrong.conf"), error);

	calm();
	ck_assert_int_ne(code, PAR_OK);
	if (code != PAR_ECONFIG)
		return code;
	assert_contains(error->what, "wrong.conf:2");
	return PAR_OK;
}

static int32_t name_nobody(par_error *error)
{
	par_parallel *pool;
	int32_t code = par_open(&pool, PAR_SETTINGS(.backend = "treading"), error);

	calm();
	ck_assert_int_ne(code, PAR_OK);
	if (code != PAR_ENOTFOUND)
		return code;
	assert_contains(error->remedy, "threading");
	return PAR_OK;
}

/* On a libuv program's loop. */
struct visit {
	struct stream stream; /* first: source and sink are given a visit */
	par_parallel *pool;
	int64_t in[100], out[100];
	int32_t ready, mapped, ran;
	int n_ready, n_mapped, n_ran, n_closed;
	par_error error;
};

static void note_error(struct visit *visit, const par_error *error)
{
	if (visit->error.code == PAR_OK)
		visit->error = *error;
}

static void on_closed(void *user)
{
	((struct visit *)user)->n_closed++;
}

static void on_ran(void *user, int32_t status, const par_error *error)
{
	struct visit *visit = user;

	visit->n_ran++;
	visit->ran = status;
	if (status != PAR_OK)
		note_error(visit, error);
	par_close_on(visit->pool, on_closed, visit);
}

static void on_mapped(void *user, int32_t status, const par_error *error)
{
	struct visit *visit = user;
	par_error here = PAR_ERROR_INIT;

	visit->n_mapped++;
	visit->mapped = status;
	if (status == PAR_OK)
		status = par_start_run(visit->pool, &par_task_twice, source, sink_twice, NULL, on_ran, visit,
		                       &here);
	else
		here = *error;
	if (status == PAR_OK)
		return;
	note_error(visit, &here);
	par_close_on(visit->pool, on_closed, visit);
}

static void on_ready(void *user, int32_t status, const par_error *error)
{
	struct visit *visit = user;

	visit->n_ready++;
	visit->ready = status;
	if (status != PAR_OK)
		note_error(visit, error);
}

static int32_t visit_a_loop(par_error *error)
{
	struct visit visit = {.error = PAR_ERROR_INIT};
	uv_loop_t loop;
	int32_t opened, code;

	(void)uv_loop_init(&loop);
	for (int i = 0; i < 100; i++)
		visit.in[i] = i;
	opened = code = par_open_on(&visit.pool, &loop, PAR_SETTINGS(.n_jobs = PAR_SET(2)), on_ready,
	                            &visit, error);
	if (opened == PAR_OK)
		code = par_start_map(visit.pool, &par_task_square, visit.in, visit.out, 100, NULL, on_mapped,
		                     &visit, error);
	if (opened == PAR_OK && code != PAR_OK)
		par_close_on(visit.pool, on_closed, &visit);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	calm();
	ck_assert_int_eq(uv_loop_close(&loop), 0);
	ck_assert_int_eq(visit.n_closed, opened == PAR_OK);
	if (code != PAR_OK)
		return code;
	ck_assert_int_eq(visit.n_ready, 1);
	ck_assert_int_eq(visit.n_mapped, 1);
	ck_assert_uint_eq(visit.stream.wrong, 0);
	if (visit.error.code != PAR_OK) {
		*error = visit.error;
		return visit.error.code;
	}
	ck_assert_int_eq(visit.out[99], 99 * 99);
	ck_assert_int_eq(visit.n_ran, 1);
	return PAR_OK;
}

/* More than the tables have room for at first. */
static int32_t share_memory(par_error *error)
{
	enum { N = 20 };
	void *shared[N];
	int n = 0;

	while (n < N && (shared[n] = par_shared_alloc(100, error)) != NULL)
		n++;
	for (int i = 0; i < n; i++)
		par_shared_free(shared[i]);
	calm();
	return n == N ? PAR_OK : error->code;
}

/* --- the sweep ------------------------------------------------------------------------------------ */

static const struct scenario {
	const char *name;
	int32_t (*run)(par_error *error);
} scenarios[] = {
	/* in a process that has used everything before */
	{"map inline", map_inline},
	{"map by fallback", map_by_fallback},
	{"map without a pool", map_without_a_pool},
	{"run ordered", run_ordered},
	{"run inline", run_inline},
	{"run unordered, all", run_unordered_all},
	{"run mixed", run_mixed},
	{"run a growing list", run_growing},
	{"run failing tasks", run_failing},
	{"run and keep", run_keeping},
	{"iterate to the end", iterate_to_the_end},
	{"iterate and leave off", iterate_and_leave_off},
	{"list all", list_all},
	{"run again", run_again},
	{"run again inline", run_again_inline},
	{"leave a task over its time", leave_a_task_over_its_time},
	{"leave a task and collect", leave_a_task_and_collect},
	{"leave a task of one worker", leave_a_task_of_one_worker},
	/* and in a fresh one */
	{"map on threads", map_on_threads},
	{"map nested", map_nested},
	{"list backends", list_backends},
	{"show a backend", show_backend},
	{"count jobs", count_jobs},
	{"open a module", open_module},
	{"miss a task", miss_task},
	{"name nobody", name_nobody},
	{"visit a loop", visit_a_loop},
	{"share memory", share_memory},
	/* in a fresh one only */
	{"read a configuration", read_configuration},
	{"read a wrong configuration", read_wrong_configuration},
};
enum { N_SCENARIOS = sizeof(scenarios) / sizeof(scenarios[0]), WARM_END = N_SCENARIOS - 2, COLD = 18 };

static int entries(const char *path)
{
	DIR *dir = opendir(path);
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* How many threads there are; TSan has one of its own from the first on. */
static int count_threads(void)
{
	const struct timespec nap = {.tv_nsec = 1000000};
	pthread_t thread;
	int n;

	ck_assert_int_eq(__real_pthread_create(&thread, NULL, do_nothing, NULL), 0);
	pthread_join(thread, NULL);
	do {
		n = entries("/proc/self/task");
		(void)nanosleep(&nap, NULL);
	} while (entries("/proc/self/task") < n);
	return n;
}

/* A thread that was joined is on its way out of /proc for a moment still. */
static void await_threads(int n)
{
	const struct timespec nap = {.tv_nsec = 1000000};

	for (int i = 0; i < 5000 && entries("/proc/self/task") > n; i++)
		(void)nanosleep(&nap, NULL);
	ck_assert_int_eq(entries("/proc/self/task"), n);
}

static int32_t last_code; /* of the last attempt */

/* One run with the nth allocation failing: 1 if it was reached. */
static int attempt(const struct scenario *scenario, long n, int for_ever)
{
	par_error error = PAR_ERROR_INIT;
	int32_t code;
	long hit;

	atomic_store(&asked, 0);
	atomic_store(&failures, 0);
	atomic_store(&fail_at, n);
	atomic_store(&forever, for_ever);
	atomic_store(&armed, n > 0);
	last_code = code = scenario->run(&error);
	atomic_store(&armed, 0);
	hit = atomic_load(&failures);
	if (code == PAR_OK)
		return hit > 0;
	ck_assert_msg(hit > 0, "%s: failed without a failure: %s: %s", scenario->name, error.what,
	              error.reason);
	ck_assert_msg(code == PAR_ENOMEM || (code == PAR_EFAILED && strstr(error.reason, "no memory")),
	              "%s, allocation %ld: ended with %s: %s: %s", scenario->name, n, par_code_name(code),
	              error.what, error.reason);
	ck_assert_msg(error.code == code && error.what[0] != '\0', "%s, allocation %ld: %s, but says %s: %s",
	              scenario->name, n, par_code_name(code), par_code_name(error.code), error.what);
	return 1;
}

/* In one process, where everything was used before: nothing more may be held afterwards. */
static void sweep_warm(const struct scenario *scenario, int for_ever)
{
	int threads = count_threads(), descriptors, again = 1;
	long held;

	ck_assert_int_eq(attempt(scenario, 0, 0), 0);
	ck_assert_int_eq(attempt(scenario, 0, 0), 0);
	descriptors = entries("/proc/self/fd");
	held = atomic_load(&live);
	for (long n = 1; again; n++) {
		again = attempt(scenario, n, for_ever);
		ck_assert_msg(atomic_load(&live) == held, "%s, allocation %ld: %ld blocks leaked",
		              scenario->name, n, atomic_load(&live) - held);
		ck_assert_msg(entries("/proc/self/fd") == descriptors, "%s, allocation %ld: %d descriptors leaked",
		              scenario->name, n, entries("/proc/self/fd") - descriptors);
		await_threads(threads);
		ck_assert_int_eq(attempt(scenario, 0, 0), 0);
		ck_assert_int_eq(atomic_load(&live), held);
	}
}

/* What a process of its own found out, in memory that both see. */
struct found {
	int again, hurt;
	long held;
	int descriptors;
};

static void live_cold(const struct scenario *scenario, long n, int for_ever, struct found *found)
{
	int threads = count_threads();

	(void)alarm(60);
	found->again = n > 0 && attempt(scenario, n, for_ever);
	found->hurt = found->again && last_code != PAR_OK;
	ck_assert_int_eq(attempt(scenario, 0, 0), 0);
	await_threads(threads);
	found->held = atomic_load(&live);
	found->descriptors = entries("/proc/self/fd");
	/* No exit handlers: the parent runs them. */
	_exit(0);
}

static struct found run_cold(const struct scenario *scenario, long n, int for_ever)
{
	struct found *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
	                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct found found;
	int status;
	pid_t pid;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		live_cold(scenario, n, for_ever, shared);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(status == 0, "%s, allocation %ld: status %#x", scenario->name, n, (unsigned)status);
	found = *shared;
	ck_assert_int_eq(munmap(shared, sizeof(*shared)), 0);
	return found;
}

/* Each in a process that has used nothing yet; a second try must do, and hold no more than
 * if the first had not been. */
static void sweep_cold(const struct scenario *scenario, int for_ever)
{
	struct found unhurt = run_cold(scenario, 0, 0), found = {.again = 1};
	/* A process takes valgrind half a second, and a sanitizer a tenth; the plain pass leaves none
	 * out, and what has no common divisor leaves out others each time. */
#if defined(__SANITIZE_ADDRESS__)
	long step = 7;
#elif defined(__SANITIZE_THREAD__)
	long step = 23;
#else
	long step = getenv("UNDER_VALGRIND") != NULL ? 41 : 1;
#endif

	for (long n = 1; found.again; n += step) {
		found = run_cold(scenario, n, for_ever);
		if (!found.hurt)
			continue;
		ck_assert_msg(found.held == unhurt.held, "%s, allocation %ld: %ld blocks leaked",
		              scenario->name, n, found.held - unhurt.held);
		ck_assert_msg(found.descriptors == unhurt.descriptors,
		              "%s, allocation %ld: %d descriptors leaked", scenario->name, n,
		              found.descriptors - unhurt.descriptors);
	}
}

START_TEST(any_allocation_may_fail_once)
{
	sweep_warm(&scenarios[_i], 0);
}
END_TEST

START_TEST(all_allocations_from_any_on_may_fail)
{
	sweep_warm(&scenarios[_i], 1);
}
END_TEST

START_TEST(any_allocation_may_fail_once_in_a_fresh_process)
{
	sweep_cold(&scenarios[_i], 0);
}
END_TEST

START_TEST(all_allocations_from_any_on_may_fail_in_a_fresh_process)
{
	sweep_cold(&scenarios[_i], 1);
}
END_TEST

/* --- the files they use ----------------------------------------------------------------------------- */

static void write_files(void)
{
	static const char some[] = "[parloop]\nplugin_dir = .\n[lazy]\nlater = later.so\n"
				   "[backend threading]\nspin = 10us\n";
	static const char full[] = "[parloop]\nplugin_dir = .\ndefault = sequential\n"
				   "pre_dispatch = 3*n_jobs\n[backend threading]\nstack = 1M\n"
				   "spin = 1us\n[backend good]\npath = good.so\ncount = 7\n"
				   "[lazy]\nlater = later.so\nother = other.so\n";
	static const char wrong[] = "[parloop]\nn_jobs = 0\nn_jobs = 1\n[backend threading]\n"
				    "spun = 10us\n[backend good]\npath = missing.so\n"
				    "[backend good]\n[lazy]\nlater = later.so\nlater = later.so\n";

	scratch_begin();
	par_set_log(NULL, NULL);
	setenv("PARLOOP_LOG", "none", 1);
	scratch_write("some.conf", some, sizeof(some) - 1);
	scratch_write("full.conf", full, sizeof(full) - 1);
	scratch_write("wrong.conf", wrong, sizeof(wrong) - 1);
	scratch_copy(PLUGIN("good"), "good.so");
	setenv("PARLOOP_CONF", scratch_path("some.conf"), 1);
}

int main(void)
{
	Suite *suite = suite_create("memory");
	TCase *warm = tcase_create("warm"), *cold = tcase_create("cold");
	SRunner *runner = srunner_create(suite);
	int failed;

	/* Some hundred processes each. */
	tcase_set_timeout(cold, 200);
	suite_add_tcase(suite, warm);
	suite_add_tcase(suite, cold);
	tcase_add_checked_fixture(warm, write_files, scratch_end);
	tcase_add_checked_fixture(cold, write_files, scratch_end);
	tcase_add_loop_test(warm, any_allocation_may_fail_once, 0, WARM_END);
	tcase_add_loop_test(warm, all_allocations_from_any_on_may_fail, 0, WARM_END);
	tcase_add_loop_test(cold, any_allocation_may_fail_once_in_a_fresh_process, COLD, N_SCENARIOS);
	tcase_add_loop_test(cold, all_allocations_from_any_on_may_fail_in_a_fresh_process, COLD, N_SCENARIOS);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
