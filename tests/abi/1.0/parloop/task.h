/* parloop/task.h - how a function becomes a task.
 *
 * A task is a function and a static description of it, made by one macro:
 *
 *	static int root(const double *in, double *out)
 *	{
 *		*out = sqrt(*in);
 *		return 0;
 *	}
 *	PAR_TASK(root, double, double)
 *
 * In the same program it is called &par_task_root; in a task module (any .so
 * built with this header, linked against nothing of parloop) it is found by its
 * name, "root".  The descriptions stand in the ELF section par_tasks and are
 * exported as par_task_NAME, so a module's tasks can be listed without running
 * any of it.
 *
 * A typed task maps one value of a fixed size to another.  A bytes task takes a
 * payload of any length and replies with bytes of any length.  Both return 0,
 * or a code of their own choice that makes the task fail.
 *
 * Tasks run on threads or in processes of the backend's, several at once; one
 * task is one call of the function.  What a task is handed is valid until it
 * returns.
 */
#ifndef PARLOOP_TASK_H
#define PARLOOP_TASK_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAR_TASK_ABI 1

enum {
	PAR_TASK_TYPED = 1, /* in_size bytes in, out_size bytes out           */
	PAR_TASK_BYTES = 2  /* a payload in, replies by par_reply()           */
};

/* What a running task can ask and say: made by the worker, one per worker,
 * valid while the task runs, for its own thread only.  Use the functions
 * below; fields are appended, never changed. */
typedef struct par_env par_env;
struct par_env {
	uint32_t size;
	uint32_t worker;         /* 0 .. n_jobs-1: where it runs                       */
	uint64_t index;          /* of this task in its call, from 0                   */
	const void *shared;      /* the call's .shared; read-only, may be NULL         */
	uint64_t shared_size;    /* bytes                                              */
	const int32_t *stopping; /* non-zero once the call ends early                  */
	int32_t level;           /* of nesting: 1 in the tasks of an outermost call    */
	int32_t inner_max_num_threads; /* that a task is to use itself; 0: nobody said */
	void *(*reply)(par_env *env, uint64_t size); /* room for the reply, or NULL    */
	/* why the task fails; type and where may be NULL                              */
	void (*explain)(par_env *env, const char *type, const char *where, const char *text);
	uint64_t call_seed;      /* the call's .seed: use par_seed()                   */
	int32_t attempt;         /* 0, or how often this task was tried before         */
	int32_t saw_stopping;    /* written by par_cancelled(): this task was told     */
};

/* Was the call cancelled, timed out or aborted?  A long task asks now and then
 * and returns early; once it was told so, a failure of it is nobody's. */
static inline int
par_cancelled(const par_env *env)
{
	if (__atomic_load_n(env->stopping, __ATOMIC_RELAXED) == 0)
		return 0;
	/* The worker's own, and never const. */
	((par_env *)(uintptr_t)env)->saw_stopping = 1;
	return 1;
}

/* Room for a reply of that many bytes, in the arena of the batch: write it
 * before returning.  The last call counts, and ends the room that earlier ones gave.
 * NULL: no memory. */
static inline void *
par_reply_room(par_env *env, uint64_t size)
{
	return env->reply(env, size);
}

/* Reply with a copy of these bytes.  0, or -1 if there is no memory for them.
 * A bytes task that never replies has an empty reply. */
static inline int
par_reply(par_env *env, const void *bytes, uint64_t size)
{
	void *room = env->reply(env, size);

	if (room == NULL)
		return -1;
	if (size > 0)
		memcpy(room, bytes, (size_t)size);
	return 0;
}

/* A number to begin this task's random numbers with: it depends on the call's seed and the
 * task's index alone, so a call repeats itself whatever the backend, the number of
 * workers, the size of batches and the retries.  Unlike joblib, which leaves seeds to the
 * caller. */
static inline uint64_t
par_seed(const par_env *env)
{
	/* splitmix64: neighbours have nothing in common */
	uint64_t z = env->call_seed + (env->index + 1) * UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

#if defined(__GNUC__)
__attribute__((format(printf, 5, 6), unused))
#endif
static inline int
par__fail(par_env *env, int code, const char *type, const char *where, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	env->explain(env, type, where, text);
	return code;
}

/* Say why the task fails, printf-like, and return the code; the error tells this source
 * line too.  The second also names the kind of failure, for programs to look at:
 *	return par_fail_task(env, 2, "no such file: %s", path);
 *	return par_fail_task_as(env, 2, "FileNotFound", "no such file: %s", path); */
#define par_fail_task(env, code, ...) par_fail_task_as(env, code, NULL, __VA_ARGS__)
#define par_fail_task_as(env, code, type, ...)                                                  \
	par__fail(env, code, type, __FILE__ ":" PAR__TEXT(__LINE__), __VA_ARGS__)
#define PAR__TEXT(x)  PAR__TEXT_(x)
#define PAR__TEXT_(x) #x

/* The description of a task.  Static; never written. */
typedef struct par_task {
	uint32_t size;
	uint32_t abi;
	const char *name;
	int32_t kind;
	uint32_t in_size;  /* typed: sizeof what goes in      */
	uint32_t out_size; /* typed: sizeof what comes out    */
	uint32_t reserved;

	/* Typed: run the task on in[0..n), into out[0..n).  Returns 0, or the code
	 * of the first that failed, whose offset it leaves in *at. */
	int32_t (*range)(par_env *env, const void *in, void *out, uint64_t n, uint64_t *at);

	/* Bytes: run it on one payload. */
	int32_t (*bytes)(par_env *env, const void *payload, uint64_t size);
} par_task;

#ifdef __cplusplus
#define PAR__TASK_BEGIN extern "C" {
#define PAR__TASK_END }
#else
#define PAR__TASK_BEGIN
#define PAR__TASK_END
#endif
#define PAR__TASK_DEFINE(function, ...)                                                         \
	PAR__TASK_BEGIN                                                                         \
	__attribute__((visibility("default"))) extern const par_task par_task_##function;       \
	__attribute__((section("par_tasks"), used, aligned(8))) const par_task                  \
	par_task_##function = {sizeof(par_task), PAR_TASK_ABI, #function, __VA_ARGS__};         \
	PAR__TASK_END

/* The loop is here, not in the core, so that the compiler inlines the function
 * into it: a range of tiny tasks costs what a plain loop over them costs. */
#define PAR__TASK_RANGE(function, In, Out, call)                                                \
	static int32_t par__range_##function(par_env *par__env, const void *par__from,          \
	                                     void *par__to, uint64_t par__n, uint64_t *par__at) \
	{                                                                                       \
		const In *par__in = (const In *)par__from;                                      \
		Out *par__out = (Out *)par__to;                                                 \
		uint64_t par__i, par__first = par__env->index;                                  \
		for (par__i = 0; par__i < par__n; par__i++) {                                   \
			int32_t par__code = (call);                                             \
			if (__builtin_expect(par__code != 0, 0)) {                              \
				*par__at = par__i;                                              \
				return par__code;                                               \
			}                                                                       \
		}                                                                               \
		(void)par__first;                                                               \
		return 0;                                                                       \
	}                                                                                       \
	PAR__TASK_DEFINE(function, PAR_TASK_TYPED, sizeof(In), sizeof(Out), 0,                  \
	                 par__range_##function, NULL)

/* int function(const In *in, Out *out) */
#define PAR_TASK(function, In, Out)                                                             \
	PAR__TASK_RANGE(function, In, Out, function(par__in + par__i, par__out + par__i))

/* int function(par_env *env, const In *in, Out *out): one that asks or explains */
#define PAR_TASK_ENV(function, In, Out)                                                         \
	PAR__TASK_RANGE(function, In, Out,                                                      \
	                (par__env->index = par__first + par__i,                                 \
	                 function(par__env, par__in + par__i, par__out + par__i)))

/* int function(par_env *env, const void *payload, uint64_t size) */
#define PAR_TASK_OF_BYTES(function)                                                             \
	static int32_t par__bytes_##function(par_env *par__env, const void *par__payload,       \
	                                     uint64_t par__size)                                \
	{                                                                                       \
		return function(par__env, par__payload, par__size);                             \
	}                                                                                       \
	PAR__TASK_DEFINE(function, PAR_TASK_BYTES, 0, 0, 0, NULL, par__bytes_##function)

#ifdef __cplusplus
}
#endif
#endif
