/* parloop/parloop.h - run a loop in parallel, on the backend of the user's choice.
 *
 *	par_map(NULL, &par_task_root, in, out, n, NULL, &error);
 *
 * calls the task root (task.h) once for each of n values, on the backend that
 * plugins.conf names, and returns when out[] is filled.  Nothing in it says
 * threads, processes or cluster: that is a name in a setting or in plugins.conf.
 * The semantics are those of joblib.Parallel; where they differ, the comment
 * says so.  Its parameters, and those of parallel_config:
 *
 *	n_jobs, verbose, timeout, pre_dispatch, batch_size, prefer, require,
 *	inner_max_num_threads   the setting of that name
 *	backend                 .backend; its backend_params: .options
 *	return_as               "list": par_map(), par_list(); "generator": par_iter_open(),
 *	                        with .order = PAR_UNORDERED "generator_unordered"
 *	max_nbytes, mmap_mode   the setting of that name, for backends with worker processes;
 *	                        tasks in this process read the caller's arrays in place
 *	temp_folder             none: what is shared is memory without a name
 *
 * delayed() is an item that names its task, parallel_config a PAR_CONTEXT().
 *
 * Threads.  A par_parallel belongs to the thread that opened it: call it from
 * there only, except where a comment says [any].  Different threads use
 * different ones, at the same time if they like.  The library installs no
 * signal handler, makes no process or thread before a backend does, and in a
 * forked child every open par_parallel refuses with PAR_EINVAL.
 *
 * Memory.  What is passed in stays the caller's, and is not kept after the call
 * returns, unless the comment says otherwise.
 */
#ifndef PARLOOP_PARLOOP_H
#define PARLOOP_PARLOOP_H

#include <stddef.h>
#include <stdint.h>

#include <parloop/error.h>
#include <parloop/task.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAR_VERSION_STRING "1.0.0"
#define PAR_API            __attribute__((visibility("default")))

/* The version of the library in use. [any] */
PAR_API const char *par_version(void);

/* --- settings ------------------------------------------------------------------------------ */

/* A setting is unset, or set to any value: {0} or PAR_SET(value). */
typedef struct par_int {
	int64_t set;
	int64_t value;
} par_int;
typedef struct par_real {
	int64_t set;
	double value;
} par_real;
#define PAR_SET(value) {1, (value)}

#define PAR_AUTO  (-1000000)   /* for batch_size: measure and choose (the default) */
#define PAR_UNSET INT32_MIN    /* for n_jobs: the backend's default, whatever is around */

enum { PAR_ORDERED = 1, PAR_UNORDERED = 2 };                 /* for order; 0: unset    */
enum { PAR_FAIL_FAST = 1, PAR_COLLECT = 2, PAR_IGNORE = 3 }; /* for on_error; 0: unset */

/* for retry_on, or-ed: the task failed, its worker died, it took too long */
enum { PAR_ON_ERROR = 1, PAR_ON_CRASH = 2, PAR_ON_TIMEOUT = 4 };

/* How far a call is, for on_progress. */
typedef struct par_progress {
	uint32_t size;
	int32_t reserved;
	uint64_t done;      /* tasks that are over, failed ones too                     */
	uint64_t failed;    /* those of them that failed                                */
	uint64_t running;   /* tasks that run now, or are about to on some worker       */
	uint64_t total;     /* UINT64_MAX while nobody knows                            */
	double elapsed_s;   /* since the call began                                     */
	double remaining_s; /* at the pace so far; -1 while nobody knows                */
} par_progress;

/* May not call the same par_parallel, but for par_cancel().  [loop] */
typedef void (*par_progress_fn)(void *watcher, const par_progress *progress);

/* What becomes of a task, for on_event. */
enum {
	PAR_EVENT_STARTED = 1, /* a worker begins it                                    */
	PAR_EVENT_DONE = 2,    /* it succeeded                                          */
	PAR_EVENT_FAILED = 3,  /* it failed for good; status says how                   */
	PAR_EVENT_RETRY = 4,   /* it failed, and will be tried again                    */
	PAR_EVENT_TIMEOUT = 5  /* it is over its task_timeout, or running when the call */
	                       /* ran out of time; the worker may go on a while         */
};

typedef struct par_event {
	uint32_t size;
	int32_t kind;
	uint64_t index;      /* of the task                                             */
	int64_t at_ns;       /* monotonic clock                                         */
	int32_t worker;      /* 0 .. n_jobs-1, or -1                                    */
	int32_t attempt;     /* 0, or how often it was tried before                     */
	int32_t status;      /* PAR_OK, PAR_EFAILED, PAR_ELOST, PAR_ETIMEOUT             */
	int32_t code;        /* what a task that failed returned                        */
	const char *message; /* why it failed; NULL: nothing was said.  Until it returns */
} par_event;

typedef void (*par_event_fn)(void *watcher, const par_event *event); /* as par_progress_fn */

/* How a call is to be run; zero is unset everywhere, so PAR_SETTINGS() is a good
 * start:
 *
 *	par_parallel *pool;
 *	par_open(&pool, PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)), &error);
 *
 * Of an open par_parallel the backend and what is asked of it (options, n_jobs, prefer,
 * require, inner_max_num_threads, close_timeout, oversubscribe) are fixed; its calls may set
 * the others anew.  Unset takes what the par_parallel was opened with, then the contexts of the
 * thread that opened it, the process-wide default (par_set_default), [parloop] of plugins.conf,
 * and the default named here. */
typedef struct par_settings {
	uint32_t size;

	/* how results come (par_run): PAR_ORDERED (default) as the source gave the
	 * tasks, PAR_UNORDERED as they complete */
	int32_t order;

	/* PAR_FAIL_FAST (default): the first task that fails ends the call, and of
	 * those that failed until then the first in order is reported.  par_run's sink
	 * still gets what was over by then, in its order, failures too.
	 * PAR_COLLECT: every task runs, par_run's sink sees each failure, and the call returns
	 * PAR_EFAILED if there was one.
	 * PAR_IGNORE: every task runs, failed ones are left out of par_run's results, and the
	 * call returns PAR_OK. */
	int32_t on_error;
	int32_t reserved;

	/* name of the backend; NULL: plugins.conf's default, which is threading.  nested-NAME:
	 * that backend, and with the same options for calls inside the tasks that name none */
	const char *backend;

	/* "key=value" options of that backend, NULL at the end; NULL: none.  They win
	 * over a context's for the same backend, and those over plugins.conf. */
	const char *const *options;

	/* how many workers: 1, 2, ...; -1 all cores, -2 all but one; unset: the
	 * backend's default, which is 1 (as in joblib).  PAR_SET(PAR_UNSET) is unset here,
	 * but in a context it hides what those around it say, and plugins.conf. */
	par_int n_jobs;

	/* tasks taken from the source before the first has completed: "all", a
	 * number, or arithmetic in n_jobs; NULL: "2 * n_jobs".  Afterwards what is out
	 * is bounded by what the backend can hold, and what is not yet delivered
	 * by a window, so that a slow sink slows the workers down. */
	const char *pre_dispatch;

	/* tasks that travel together: PAR_AUTO (default) or 1, 2, ...  In shared memory
	 * it is how many a worker takes at a time from what all share. */
	par_int batch_size;

	/* seconds to wait for the next result (joblib's timeout) before the call ends
	 * with PAR_ETIMEOUT; unset: for ever.  See also task_timeout and call_timeout. */
	par_real timeout;

	/* lines on stderr about the call, joblib's thinning: 0 (default) none, 1 few,
	 * 10 many, 11 all; from 50 on stdout */
	par_int verbose;

	/* handed to every task as env->shared: read-only, valid until the call returns, or
	 * until par_close() if given to par_open() */
	const void *shared;
	uint64_t shared_size;

	/* soft hint where nobody names a backend: "threads" or "processes", which the next
	 * best serves if nothing else is installed; hard constraint: "sharedmem", tasks need
	 * this address space, which overrules a context's backend (threading serves instead)
	 * and refuses one that the call names.  NULL: unset.  Unlike joblib, neither loses
	 * the context's n_jobs. */
	const char *prefer;
	const char *require;

	/* threads that OpenMP, OpenBLAS, MKL and BLIS use inside each worker, on every backend:
	 * 1, 2, ...; unset: those of worker processes have as many as there are cores for each
	 * worker, unless their variable (OMP_NUM_THREADS, ...) is set here, and those of this
	 * process are left alone.  See par_each_library(). */
	par_int inner_max_num_threads;

	/* par_map: room for n values, which become the status of each task: PAR_OK, PAR_EFAILED,
	 * PAR_ETIMEOUT, PAR_ELOST, or PAR_EABORTED where none ran to its end.  NULL: not wanted. */
	int32_t *statuses;

	/* seconds, unset: for ever.  task_timeout counts from the start of each task's run and
	 * charges that task alone, as if it had failed with PAR_ETIMEOUT: on_error and retries
	 * decide what follows.  A backend that can kill ends its worker, and starts another.
	 * Elsewhere the task sees par_cancelled() if the call ends, and runs on: its worker and
	 * its payload are its own as long as it does, and a retry waits for it.
	 * call_timeout counts from the beginning of the call, and ends it.
	 * A call that ran out of time says so at once (on_event, a warning), and returns at once
	 * if all memory that its tasks see is parloop's: payloads that were copied, no .shared.
	 * par_map, and calls with the caller's memory, return when their tasks have left it.
	 * close_timeout (30 s if unset; 0: not at all) is how long par_close() waits for tasks that
	 * were left running; then the backend is given up, with its workers, and a warning says so. */
	par_real task_timeout;
	par_real call_timeout;
	par_real close_timeout;

	/* how often a task that failed is tried again (default 0), after how many seconds
	 * (retry_delay, default 0; doubled for each further try), and for what (retry_on, default
	 * all three).  Only the last try counts for on_error. */
	par_int retries;
	par_real retry_delay;
	par_int retry_on;

	/* of the tasks' random numbers: see par_seed() in task.h.  Unset: another one each call */
	par_int seed;

	/* par_run: how many tasks the source will give, where that is known beforehand, for
	 * progress alone (joblib's len()) */
	par_int n_tasks;

	/* called on the thread of source and sink, NULL: not.  on_progress when a call begins,
	 * ends, and in between at most ten times a second, if something changed; on_event for
	 * each event, in the order in which a task's own events were. */
	par_progress_fn on_progress;
	par_event_fn on_event;
	void *watcher;

	/* for backends with worker processes: an array, .shared or a payload of more bytes than
	 * max_nbytes (unset: 1 MiB, joblib's; 0: whatever the size; -1: never, joblib's None) is
	 * copied once into memory that all workers map, and does not travel with each batch.
	 * mmap_mode says how they see that copy: "r" (default) read-only; "r+", and "w+",
	 * writable, and seen by all of them; "c" writable, and what a worker wrote only it sees.
	 * The caller's own array is written to by none of them.  What lies in par_shared_alloc()
	 * is not copied, and is read-only. */
	par_int max_nbytes;
	const char *mmap_mode;

	/* for calls inside tasks.  Such a call has a share of the cores: those of the call around it,
	 * divided by that call's workers, and at least 1.  n_jobs counts from that if negative, and is
	 * no more than that; a line in the log (info) says so, par_n_jobs() what it is.  So a tree of
	 * calls runs no more tasks at once than its outermost call has cores, or n_jobs if those are
	 * more.  1: n_jobs above the share is had nevertheless.  0 (default): it is not.  Calls inside
	 * the tasks inherit it, at any depth; so given to an outermost call, which has all cores and
	 * as many n_jobs as it likes, it is for those inside.  Backends whose workers are not on
	 * this machine's cores are not limited. */
	par_int oversubscribe;
} par_settings;

/* In C; C++ sets the fields of a par_settings{} one by one, size first. */
#define PAR_SETTINGS(...) (&(const par_settings){.size = sizeof(par_settings), __VA_ARGS__})

/* --- contexts ------------------------------------------------------------------------------ */

/* Settings for calls that somebody else makes: joblib's parallel_config.  A library that
 * calls par_map() and names no backend runs on the one that its caller has pushed:
 *
 *	PAR_CONTEXT(context, &error, .backend = "threading", .n_jobs = PAR_SET(4));
 *	if (context == NULL)
 *		return error.code;
 *	solve(matrix);
 *
 * to the end of the block.  A context is of the thread that pushed it, and nobody else's:
 * tasks on other threads get backend and n_jobs from the call around them, and nothing
 * else.  It inherits what it leaves unset from the one around it; options and
 * inner_max_num_threads only if that is about the same backend.  A call's own settings win
 * over it.  A par_parallel takes what it needs when it is opened. */
typedef struct par_context par_context;

/* Begin one; the settings are copied.  The backend is loaded and its options are checked; prefer,
 * require and n_jobs are not before a call.  Refused are options or inner_max_num_threads
 * without a backend, and what is for single calls: order, on_error, shared.
 * context may be NULL, as when it is to hold for the rest of the thread. */
PAR_API int32_t par_context_push(const par_settings *settings, par_context **context,
                                 par_error *error);

/* End it: the innermost of this thread, else PAR_EINVAL, and it stays.  NULL: whichever is
 * the innermost.  A task pops what it pushed. */
PAR_API int32_t par_context_pop(par_context *context, par_error *error);

/* Push, and pop at the end of the block; name is NULL if it could not be pushed. */
#define PAR_CONTEXT(name, error, ...)                                                           \
	__attribute__((cleanup(par_context_end))) par_context *name =                           \
		par_context_begin(PAR_SETTINGS(__VA_ARGS__), error)
PAR_API par_context *par_context_begin(const par_settings *settings, par_error *error);
PAR_API void par_context_end(par_context **context);

/* What outermost calls of all threads take where their thread has pushed nothing, instead
 * of plugins.conf; replaces what was set before, and what par_register_backend() made
 * the default.  Settings as above, NULL: none.  [any] */
PAR_API int32_t par_set_default(const par_settings *settings, par_error *error);

/* --- the life of a pool -------------------------------------------------------------------- */

typedef struct par_parallel par_parallel;

/* Make a pool: the backend is loaded and configured once, and its workers serve
 * every call until par_close(); joblib's "with Parallel(...)".  settings may be
 * NULL. */
PAR_API int32_t par_open(par_parallel **parallel, const par_settings *settings,
                         par_error *error);

/* End it and its workers.  NULL is allowed. */
PAR_API void par_close(par_parallel *parallel);

/* How many tasks will run at once (0 while a backend on the caller's loop is not ready); the
 * backend's name; the file it came from (NULL if linked in).  The texts live until par_close().
 * A pool that was opened in a task has no more workers than its share of the cores (see
 * oversubscribe); of one that was opened outside, a call in a task uses no more than that. */
PAR_API int32_t par_n_jobs(const par_parallel *parallel);
PAR_API const char *par_backend_name(const par_parallel *parallel);
PAR_API const char *par_backend_file(const par_parallel *parallel);

/* --- arrays of fixed-size values ----------------------------------------------------------- */

/* out[i] = task(in[i]) for i below n, in place: no copy, no allocation per task.
 * in and out have n values of the task's in_size and out_size, and may be
 * the same array if those are equal.  parallel NULL: a pool for this call alone.
 * On a backend of threads the calling thread is one of the n_jobs workers as long as tasks
 * take less than some 500 us, unless a deadline is set or somebody watches.
 * Returns PAR_OK, or the code of what ended the call; a task that failed is
 * PAR_EFAILED with error->task, and then out[] is filled only where tasks ran.
 * settings may be NULL. */
PAR_API int32_t par_map(par_parallel *parallel, const par_task *task, const void *in, void *out,
                        uint64_t n, const par_settings *settings, par_error *error);

/* --- streams of payloads ------------------------------------------------------------------- */

/* One task's input, as the source gives it. */
typedef struct par_item {
	uint32_t size;
	/* 0: payload is copied before the source is called again.  1: it stays valid and
	 * unchanged until the task's outcome was delivered, and is not copied (it is if there is a
	 * task_timeout, after which a task may still read it). */
	int32_t stays;
	const void *payload;
	uint64_t n_bytes;     /* below 4 GiB; a typed task's in_size                  */
	const par_task *task; /* NULL: the call's; else this one (joblib's delayed)   */
} par_item;

/* One task's result, as the sink gets it. */
typedef struct par_outcome {
	uint32_t size;
	int32_t status;     /* PAR_OK, PAR_EFAILED, PAR_ETIMEOUT, PAR_ELOST           */
	uint64_t index;     /* of the task, from 0, as the source gave it             */
	const void *bytes;  /* the reply; valid until the sink returns, or is kept    */
	uint64_t n_bytes;
	int32_t code;       /* what a failed task returned                            */
	int32_t attempts;   /* how often a failed task was tried; else 0              */
	const char *message; /* why it failed; NULL if it did not say                 */
	const void *payload; /* its input; valid until the sink returns               */
	uint64_t payload_bytes;

	/* of a failed task, as in par_error; the texts are valid as long as message  */
	const char *type;   /* never NULL if it failed                                */
	const char *trace;  /* NULL: unknown                                          */
	const char *host;   /* NULL: this machine                                     */
	int32_t worker;     /* -1: unknown                                            */
	int32_t pid;
	int32_t signal;
	int32_t exit_code;  /* -1: unknown                                            */
	int64_t peak_memory;
} par_outcome;

/* What a source returns that has no task at the moment. */
#define PAR_NONE_YET 2

/* The next task: fill the item and return 1; 0 when there are no more; PAR_NONE_YET
 * if one may come later, and then par_wake() has the source called again; negative
 * to end the call with PAR_ESOURCE.  Called on the calling thread (or the loop's),
 * when there is room for another task.  It may block, and then nothing is sent or
 * delivered meanwhile.  May not call the same par_parallel. */
typedef int32_t (*par_source_fn)(void *user, par_item *item);

/* A result: return 0 to go on, anything else to end the call with
 * PAR_ECANCELED.  Called on the same thread as the source.  May not call the
 * same par_parallel. */
typedef int32_t (*par_sink_fn)(void *user, const par_outcome *outcome);

/* Run the task on each payload of the source and give each result to the sink.
 * task may be NULL if every item names its own.  sink may be NULL. */
PAR_API int32_t par_run(par_parallel *parallel, const par_task *task, par_source_fn source,
                        par_sink_fn sink, void *user, const par_settings *settings,
                        par_error *error);

/* joblib's return_as="list": every outcome, kept, in the order of the source (or as they came,
 * if order says so).  The array has *n of them and ends in NULL; it and they are the caller's
 * until par_list_free().  If the call fails, *outcomes is what was delivered until then: nothing
 * is lost, and it is to be freed too. */
PAR_API int32_t par_list(par_parallel *parallel, const par_task *task, par_source_fn source,
                         void *user, const par_settings *settings, par_outcome ***outcomes,
                         uint64_t *n, par_error *error);
PAR_API void par_list_free(par_outcome **outcomes); /* [any]; NULL is allowed */

/* joblib's return_as="generator", or "generator_unordered" if order says so: results when the
 * caller asks for them.  The call begins here: workers have their first tasks when this returns.
 * From then on the source is called by par_iter_next() alone, and results that nobody has asked
 * for are bounded as they are for a slow sink.  The par_parallel (NULL: one for this alone) is
 * busy until par_iter_close(), so several open iterators need one each; iterators belong to the
 * thread that opened them. */
typedef struct par_iter par_iter;
PAR_API int32_t par_iter_open(par_iter **iter, par_parallel *parallel, const par_task *task,
                              par_source_fn source, void *user, const par_settings *settings,
                              par_error *error);

/* 1: the next result, valid until the next call of this, or par_iter_close(); 0: there are no
 * more; else why the call ended, and it says so again if asked again.  Waits. */
PAR_API int32_t par_iter_next(par_iter *iter, const par_outcome **outcome, par_error *error);

/* What closing an iterator early threw away. */
typedef struct par_thrown {
	uint32_t size;
	int32_t reserved;
	uint64_t unused;    /* tasks that ran to their end, whose results nobody took */
	uint64_t cancelled; /* tasks that were taken from the source and did not      */
} par_thrown;

/* End it, and the call if there is more: what runs is not waited for if all its memory is
 * parloop's, as after a time-out.  thrown (sized; may be NULL) tells what was thrown away;
 * without it a warning does, if anything was.  NULL is allowed. */
PAR_API void par_iter_close(par_iter *iter, par_thrown *thrown);

/* Keep an outcome beyond its sink, with its bytes but not its payload; NULL: no
 * memory.  Valid until par_release(), which may be called from any thread and
 * after par_close(). */
PAR_API par_outcome *par_keep(const par_outcome *outcome);
PAR_API void par_release(par_outcome *kept); /* [any]; NULL is allowed */

/* --- cancelling ---------------------------------------------------------------------------- */

/* End the call that is running, soon, with PAR_ECANCELED: tasks not begun are
 * dropped, running ones see par_cancelled().  Does nothing if none is running.
 * Async-signal-safe. [any] */
PAR_API void par_cancel(par_parallel *parallel);

/* Call the source again that had PAR_NONE_YET; that may be just about to say so.  Does
 * nothing if no call is running.  Async-signal-safe. [any] */
PAR_API void par_wake(par_parallel *parallel);

/* --- on a uv loop of your own -------------------------------------------------------------- */

/* A libuv program never blocks: open on its loop, start calls, close; all on the
 * loop's thread.  Every par_parallel has handles of its own there, so several
 * may run at once.  par_map and par_run refuse such an object with PAR_EINVAL. */
struct uv_loop_s;

/* How a started call ended; error is valid until it returns.  May start the next
 * call, or close. */
typedef void (*par_done_fn)(void *user, int32_t status, const par_error *error);

/* As par_open; ready (may be NULL) is called, from the loop, when the backend is
 * configured or failed to be; calls may be started before that. */
PAR_API int32_t par_open_on(par_parallel **parallel, struct uv_loop_s *loop,
                            const par_settings *settings, par_done_fn ready, void *user,
                            par_error *error);

/* As par_map and par_run, but they return at once; what they are given must stay
 * valid until done() is called, from the loop, exactly once, if they returned
 * PAR_OK. */
PAR_API int32_t par_start_map(par_parallel *parallel, const par_task *task, const void *in,
                              void *out, uint64_t n, const par_settings *settings,
                              par_done_fn done, void *user, par_error *error);
PAR_API int32_t par_start_run(par_parallel *parallel, const par_task *task,
                              par_source_fn source, par_sink_fn sink,
                              const par_settings *settings, par_done_fn done, void *user,
                              par_error *error);

/* As par_close; a call under way is cancelled first.  closed (may be NULL) is
 * called from the loop when nothing of the object is left there. */
PAR_API void par_close_on(par_parallel *parallel, void (*closed)(void *user), void *user);

/* --- backends by name ---------------------------------------------------------------------- */

/* Read this plugins.conf and no other, from now on; before the first use of any
 * backend.  Without it: $PARLOOP_CONF (/dev/null: none), the user's, the system's.  Never one in
 * the current directory.  NULL: the built-in settings only. [any] */
PAR_API int32_t par_configure(const char *plugins_conf, par_error *error);

/* Which plugins.conf is in use, or NULL for the built-in settings; the directories
 * where plugins are looked for, ending in NULL.  Static. [any] */
PAR_API const char *par_config_file(void);
PAR_API const char *const *par_plugin_dirs(void);

/* The backend that a call uses if it names none, and no context does. [any] */
PAR_API const char *par_default_backend(void);

/* n_jobs as this backend would have it (NULL: the one that a call of this thread would get), in a
 * task by its share of the cores; PAR_UNSET: of a call that does not say.  0 and an error if it cannot be had. [any] */
PAR_API int32_t par_effective_n_jobs(const char *backend, int32_t n_jobs, par_error *error);

/* joblib's cpu_count: cores that this process may use, at least 1.  The least of those that are
 * online, the calling thread's affinity, the quotas (rounded up) and cpusets of the cgroups that
 * the process is in and of those above them, and $PARLOOP_MAX_CPU_COUNT, which can only lower it;
 * what is no whole number there is ignored, with a warning.  Cgroups are read once.
 * only_physical_cores: of a machine of which all may be used, those that are not merely threads
 * of another; else the same, and so, with one warning, where the system does not tell. [any] */
PAR_API int32_t par_cpu_count(int32_t only_physical_cores);

enum {
	PAR_STATE_AVAILABLE = 0, /* its note was read; nothing of it has run  */
	PAR_STATE_LOADED = 1,    /* its code is in this process               */
	PAR_STATE_LAZY = 2,      /* in [lazy], or with a loader: not looked at before */
	                         /* it is asked for                              */
	PAR_STATE_BROKEN = 3,    /* cannot be loaded; reason and remedy say why */
	PAR_STATE_LINKED = 4     /* linked in: registered by the program        */
};

typedef struct par_option_info {
	uint32_t size;
	int32_t required;
	int32_t secret;
	int32_t reserved;
	const char *key;
	const char *type;     /* "int", "size", "time", "bool", "choice", "text"  */
	const char *fallback; /* the default, as it would be written               */
	const char *range;    /* "1..64", "a|b", "yes|no"; empty for text          */
	const char *help;
	const char *value;    /* what plugins.conf sets; NULL: nothing; never a secret's */
} par_option_info;

typedef struct par_backend_info {
	uint32_t size;
	int32_t state;
	const char *name;
	const char *file;         /* NULL: linked in       */
	const char *version;      /* empty: unknown        */
	const char *summary;
	const char *capabilities; /* the note's words      */
	const char *abi;          /* "1.0"                 */
	const char *reason;       /* PAR_STATE_BROKEN: why */
	const char *remedy;
	uint32_t n_options;
	uint32_t reserved;
	const par_option_info *const *options; /* each by a pointer, since it may grow */
} par_backend_info;

/* Every backend that can be named, by name; fn returns 0 to go on.  What it is
 * given is valid until it returns.  Runs no code of a plugin.  Each can be named
 * nested-NAME as well, which is not listed. [any] */
PAR_API int32_t par_each_backend(int32_t (*fn)(void *user, const par_backend_info *info),
                                 void *user, par_error *error);

/* One of them, or its nested-NAME (NULL: the default); a name in [lazy] is opened for
 * it, but nothing of it is run.  fn is called once, or an error returned. [any] */
PAR_API int32_t par_show_backend(const char *name,
                                 int32_t (*fn)(void *user, const par_backend_info *info),
                                 void *user, par_error *error);

/* --- backends of the program's own --------------------------------------------------------- */

/* One lookup serves every entry point, the command and plugins.conf alike: what the program
 * registered, by a factory and then by a loader; [backend NAME] with a path; [lazy]; the
 * plugins in the folders.  A [backend NAME] section gives a registered backend its options
 * too; it is checked when the name is asked for. */

struct par_host;
struct par_backend_ops;

/* As a plugin's parloop_backend_v1 (backend.h), but linked into the program: the table of
 * that backend, which outlives the process.  Called at the first use of the name, never two
 * at once. */
typedef const struct par_backend_ops *(*par_factory_fn)(const struct par_host *host,
                                                        const char *name);

/* Let calls name a backend of the program's.  note says what a plugin's note would, in the
 * same words, which are copied; what is left out of its head is added:
 *
 *	par_register_backend("custom", factory,
 *	                     PAR_CAPABILITIES("shares_memory uses_threads")
 *	                     PAR_OPTION_TEXT("required endpoint", "", "where it listens"),
 *	                     0, &error);
 *
 * NULL: no options, and of the capabilities shares_memory alone, which host->run() needs.
 * A name that was taken is replaced, for those who ask from now on, and so is nested-NAME, which
 * cannot be registered itself.  make_default: calls that name none use it, until
 * par_set_default().  [any] */
PAR_API int32_t par_register_backend(const char *name, par_factory_fn factory, const char *note,
                                     int32_t make_default, par_error *error);

/* Registers the backend of that name with par_register_backend(), or says why it cannot. */
typedef int32_t (*par_loader_fn)(const char *name, par_error *error);

/* Let calls name a backend that nobody has registered yet: the loader is called at the first
 * use of the name, wherever that is, and must register it; joblib's EXTERNAL_BACKENDS.  Others
 * who ask meanwhile wait; if it fails, it is called again the next time.  hint (copied; may be
 * NULL) is the remedy of an error that has none, such as what to install.  [any] */
PAR_API int32_t par_register_external(const char *name, par_loader_fn loader, const char *hint,
                                      par_error *error);

/* --- memory that workers share ------------------------------------------------------------------ */

#define PAR_HAS_SHARED 1

/* Memory that workers in other processes of this machine see as well: arrays, payloads and .shared
 * that lie in it are passed by reference, and par_map() writes results there in place, with no copy
 * in between.  Zeros, aligned to a page, its pages reserved: NULL and PAR_ENOMEM if there are not
 * enough.  Each takes a descriptor, so a few large ones are better than many.  The caller's until
 * par_shared_free(), which must not come before the end of the calls that use it; it has no name
 * in any file system, and ends with the process, however that ends.  Workers may write to what
 * par_map() has for out, and only read the rest.  After fork() parent and child see the same
 * memory, and each frees it for itself; to the child's calls it is memory like any other.  [any] */
PAR_API void *par_shared_alloc(uint64_t n_bytes, par_error *error);

/* NULL is allowed.  What is none of them, or was freed, is left alone with a warning.  [any] */
PAR_API void par_shared_free(void *shared);

/* --- task modules -------------------------------------------------------------------------- */

/* A .so with tasks in it.  Opened once per process and never unloaded. */
typedef struct par_module par_module;

PAR_API int32_t par_module_open(par_module **module, const char *path, par_error *error); /* [any] */

/* Its task of that name; an unknown one lists those it has. [any] */
PAR_API int32_t par_module_task(par_module *module, const char *name, const par_task **task,
                                par_error *error);

/* --- threads inside tasks -------------------------------------------------------------------- */

#define PAR_HAS_LIBRARIES 1

/* A library in this process that makes threads of its own when it is called. */
typedef struct par_library {
	uint32_t size;
	int32_t n_threads;  /* that it would use now, were it called by this thread           */
	int32_t per_thread; /* 1: that number is this thread's; 0: it is the process's        */
	int32_t reserved;
	const char *kind;   /* "openmp" (of gcc, LLVM or Intel), "openblas", "mkl" or "blis"  */
	const char *file;   /* that it was loaded from; static                                */
} par_library;

/* Those that are loaded, for fn, which returns 0 to go on.  Inside a task of a call with
 * inner_max_num_threads, and in all that it calls, the number of one that keeps it for each thread
 * is that limit.  Of one that keeps it for the process (OpenBLAS with threads of its own, BLIS)
 * it is the least of all limits that are in force, for who has none too; when none is left
 * it is again what it was.  What a task loads itself has the limit from the next task on,
 * and where tasks run in batches from the next batch or piece of one.  In a worker process it
 * tells of that.  A library that was seen here or by a call with a limit stays loaded.  [any] */
PAR_API int32_t par_each_library(int32_t (*fn)(void *user, const par_library *library), void *user,
                                 par_error *error);

/* --- messages ------------------------------------------------------------------------------ */

/* An error as text: one line ("what: reason; remedy"), or with lines nonzero the
 * four slots, a line each.  Returns buffer. [any] */
PAR_API char *par_error_text(const par_error *error, int32_t lines, char *buffer, size_t size);

/* The name of a code: "PAR_EINVAL". [any] */
PAR_API const char *par_code_name(int32_t code);

/* Where warnings go: level 0 debug, 1 info, 2 warning, 3 error.  NULL: stderr, from
 * warnings up, or as $PARLOOP_LOG says (debug, info, warning, error, none).
 * Called on any thread. [any] */
PAR_API void par_set_log(void (*log)(void *user, int32_t level, const char *line), void *user);

#ifdef __cplusplus
}
#endif
#endif
