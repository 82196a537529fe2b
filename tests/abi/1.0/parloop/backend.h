/* parloop/backend.h - what a backend plugin and the parloop core promise each other.
 *
 * ABI 1.0, for good: what later versions may add says error.h.  A plugin
 * includes this file and nothing else of parloop, links against nothing of
 * parloop, and exports one symbol, parloop_backend_v1.  It
 * says what it is in an ELF note (PAR_PLUGIN, below), which the core reads
 * without running any of its code.  It is never unloaded.
 *
 * A plugin runs batches.  What is in a batch, how large it is, when it is sent,
 * in which order results are handed out, time-outs, retries and blame are the
 * core's business.  plugins/README.md shows how to write one, in order.
 *
 * Words.  A task is one call of a function; a batch is some tasks that travel
 * together; an instance (par_backend) serves one call or one managed block; an
 * executor is what a plugin may keep between instances, process-wide and under
 * a lock of its own: workers, a connection.
 *
 * Threads.  Every function carries one of these marks:
 *   [loop]    on the thread that runs the instance's event loop; never two at
 *             once for one instance; must return soon
 *   [any]     from any thread, also several at once; never waits for the loop
 *   [worker]  on a thread that runs batches
 * Threads that a plugin makes block all signals.  Other instances may be in use
 * on other threads at the same time.
 *
 * Memory.  Whoever allocates, frees; no block changes owner.  A pointer passed
 * in is valid until the call returns, unless its comment says otherwise.  Text
 * is UTF-8 and ends in NUL.
 *
 * The life of an instance; [x] is optional, * means any number of times:
 *
 *   create -> ( configure -> ( start_call -> submit* -> stop_call )* -> terminate )* -> destroy
 *
 *   effective_n_jobs, default_n_jobs   at any time after create
 *   run, done                          from submit until the batch is given back
 *   poll                               while batches are out
 *   batch_waits                        while a batch is in run()
 *   kill                               for a batch that is out
 *   abort_everything                   between start_call and stop_call, at most once a call
 *   stop_call                          when every batch was given back
 *   terminate                          also when configure failed or answered n_jobs 1,
 *                                      and possibly twice
 *   destroy                            after terminate, if it was ever configured, when
 *                                      every post() was delivered
 *
 * create, configure and terminate may answer PAR_PENDING; then nothing else is
 * called, except [any] functions, until host->ready() ends that one.
 *
 * The semantics are those of joblib's ParallelBackendBase, and NULL in the
 * table means what its base class does.
 */
#ifndef PARLOOP_BACKEND_H
#define PARLOOP_BACKEND_H

#include <stddef.h>
#include <stdint.h>

#include <parloop/error.h>

#ifdef __cplusplus
extern "C" {
#endif

#define PAR_ABI_MAJOR 1
#define PAR_ABI_MINOR 0
#define PAR_ABI       ((uint32_t)PAR_ABI_MAJOR << 16 | PAR_ABI_MINOR)

/* The oldest core a plugin can live with; define it before including this. */
#ifndef PAR_NEEDS_MINOR
#define PAR_NEEDS_MINOR 0
#endif

typedef struct par_host par_host;       /* the core, as one instance sees it         */
typedef struct par_backend par_backend; /* an instance; its layout is the plugin's   */
typedef struct par_options par_options; /* the checked options of one instance       */

/* A batch that is out: a number, never a pointer.  A number that was given back
 * is never used again, so a late or a second done() does no harm. */
typedef uint64_t par_batch;

/* Capabilities: promised by the note, under the names in the comments;
 * configure() may remove some for its instance, and may not add any. */
enum {
	PAR_SHARES_MEMORY = 1 << 0,  /* shares_memory    runs batches in this address space       */
	PAR_USES_THREADS = 1 << 1,   /* uses_threads     its workers are threads of this process, */
	                             /*                  of which the caller's may be one         */
	PAR_RUNS_INLINE = 1 << 2,    /* runs_inline      calls run() inside submit()              */
	PAR_SURVIVES_CRASH = 1 << 3, /* survives_crash   a task that crashes costs only its worker */
	PAR_CAN_KILL = 1 << 4,       /* can_kill         kill() ends a running batch              */
	PAR_LIMITS_THREADS = 1 << 5, /* limits_threads   its workers begin with                   */
	                             /* inner_max_num_threads, as by parloop.worker-env/1;       */
	                             /* what is loaded the core limits, on every backend         */
	PAR_RERUNS = 1 << 6,         /* reruns           may run a batch again by itself          */
	PAR_SHIPS_MODULES = 1 << 7,  /* ships_modules    has task modules among the attachments    */
	PAR_AUTO_BATCHES = 1 << 8,   /* auto_batches     wants the core's auto-batching           */
	PAR_ELSEWHERE = 1 << 9       /* elsewhere        its workers do not use this machine's cores */
};

/* What a call wants, for configure().  Fields are appended. */
typedef struct par_call {
	uint32_t size;
	int32_t n_jobs;                /* as asked, never 0; negative counts from all cores.  What    */
	                               /* becomes of that is in the answer                       */
	int32_t level;                 /* of nesting: 0 for an outermost call                 */
	int32_t inner_max_num_threads; /* for each worker; 0: unset                           */
	int32_t core_share;            /* of a nested call: cores it may use; 0: host->cores()  */
	int32_t verbose;               /* joblib's verbose - 50, at least 0                   */
	int32_t prefer_threads;        /* 1 threads, -1 processes, 0 no preference            */
	int32_t require_sharedmem;     /* 1 if the tasks need this address space              */
	int32_t may_block;             /* 0: submit() may not run tasks (time-outs, foreign loop) */
	int32_t oversubscribe;         /* 1: n_jobs may be more than core_share               */
	const par_options *options;    /* the call's merged over the constructor's            */
	const char *around;            /* backend whose worker makes this call, without its   */
	                               /* nested-; NULL: an outermost call                    */
	int32_t below_threads;         /* 1: that worker is a thread of a process that has others */
	int32_t is_nested;             /* 1: asked for as nested-NAME: mean it, at every level */
} par_call;

/* What configure() answers.  The core sets size and the defaults (what
 * effective_n_jobs says, the note's capabilities) and owns it; with PAR_PENDING
 * it stays valid until host->ready(). */
typedef struct par_answer {
	uint32_t size;
	int32_t n_jobs;       /* batches that run at once; 0: no worker, which is an error    */
	uint32_t capabilities;
	int32_t holds;        /* batches out at once that serve a purpose; 0: n_jobs          */
	const char *fallback; /* name of the backend to use instead (joblib's                 */
	                      /* FallbackToBackend), static; NULL: this one                   */
} par_answer;

/* Who ran a batch, and how that ended.  Zero where unknown. */
typedef struct par_how {
	uint32_t size;
	int32_t worker;         /* 0 .. n_jobs-1, or -1                       */
	int32_t pid;
	int32_t signal;         /* that killed the worker                     */
	int32_t exit_code;      /* of a worker that ended by itself, or -1    */
	int32_t reserved;
	int64_t peak_memory;    /* bytes                                      */
	const char *host;       /* name of the machine; NULL: this one        */
	const char *text;       /* words of the engine's; NULL: none          */
} par_how;

/* What get_nested_backend() answers: for calls inside this one's tasks. */
typedef struct par_nested {
	uint32_t size;
	int32_t level;               /* of the nested calls; the core sets this call's + 1   */
	int32_t n_jobs;              /* their n_jobs if unset there; 0: leave it unset       */
	int32_t myself;              /* 1: this backend again, with these options            */
	const char *name;            /* else that one; static; NULL: the core's rule         */
	const char *const *options;  /* "key=value", ends in NULL; static; NULL: none, or,   */
	                             /* with myself, those that this call was given          */
} par_nested;

/* --- what the core does for a plugin ---------------------------------------------------- */

/* One for each instance, valid until destroy() returns.  The one that the
 * factory gets offers log and extension only; its other functions refuse. */
struct par_host {
	uint32_t size;
	uint32_t abi;
	const char *version; /* of the core, for messages only */

	/* Write one line to the log.  level: 0 debug, 1 info, 2 warning, 3 error. [any] */
	void (*log)(const par_host *host, int32_t level, const char *line);

	/* Run the tasks of a batch, here and now, and return the status for done().
	 * Only in this address space; from within submit() only if the note says
	 * runs_inline.  What a task does wrong is in the batch, not in the status. [worker] */
	int32_t (*run)(const par_host *host, par_batch batch);

	/* Give a batch back: exactly once for each submit() that returned PAR_OK,
	 * whether it succeeded, failed or was aborted.  Status: what run() returned,
	 * PAR_EABORTED, PAR_ELOST if its worker died, or PAR_EFAILED.  how may be
	 * NULL.  Only queues; may be called from within submit(). [any] */
	void (*done)(const par_host *host, par_batch batch, int32_t status, const par_how *how);

	/* 1 if the call is ending early, so that a batch not yet begun may be given
	 * back as PAR_EABORTED without running it. [any] */
	int32_t (*stopping)(const par_host *host, par_batch batch);

	/* Have fn(arg) called on the loop's thread soon; arg is the plugin's until then.
	 * Posts are drained before destroy(). [any] */
	int32_t (*post)(const par_host *host, void (*fn)(void *arg), void *arg);

	/* End a create, configure or terminate that answered PAR_PENDING: with PAR_OK,
	 * or a code and an error (copied; may be NULL). [any] */
	void (*ready)(const par_host *host, int32_t status, const par_error *error);

	/* The number of workers changed, and of batches that it makes sense to have out
	 * (0: as many; never more than configure() answered).  0 workers start the
	 * no-workers deadline. [any] */
	void (*capacity)(const par_host *host, int32_t workers, int32_t batches);

	/* Cores of this machine that the instance may count on: affinity, cgroups and the
	 * share of a nested call considered; at least 1. [any] */
	int32_t (*cores)(const par_host *host);

	/* Read an option that the note declares for this backend.  It has been checked, so
	 * these cannot fail; an undeclared key, or one of another type, is logged and
	 * reads 0 or "".  option_int: int; size in bytes; time in nanoseconds; bool 0
	 * or 1; choice as its place, from 0.  option_text: text and choice; valid until
	 * destroy() returns.  option_is_set: 1 if anybody set it, 0 if it is the
	 * default. [any] */
	int64_t (*option_int)(const par_options *options, const char *key);
	const char *(*option_text)(const par_options *options, const char *key);
	int32_t (*option_is_set)(const par_options *options, const char *key);

	/* A further service by its id, below; NULL if this core has none.  The struct
	 * begins with its size and is valid as long as the host. [any] */
	const void *(*extension)(const par_host *host, const char *id);
};

/* --- what a plugin does for the core ---------------------------------------------------- */

/* NULL takes what the comment names as default, except where it says required.
 * The core copies the table once, so it may be longer or shorter than ours. */
typedef struct par_backend_ops {
	uint32_t size;
	uint32_t abi;

	/* Make an instance.  If it fails at once it leaves nothing behind; one that answered
	 * PAR_PENDING and fails later is destroyed, if it set *backend.  level is the nesting
	 * level, inner_max_num_threads is 0 if unset.  host and options' texts stay
	 * valid until destroy() returns, options itself until create() does.
	 * PAR_OK, PAR_PENDING or an error.  Required. [loop] */
	int32_t (*create)(const par_host *host, const par_options *options, int32_t level,
	                  int32_t inner_max_num_threads, par_backend **backend,
	                  par_error *error);

	/* End it: join what runs, free it.  Required. [loop] */
	void (*destroy)(par_backend *backend);

	/* How many batches would run at once if n_jobs were asked for: negative counts
	 * from all cores (-1 all, -2 all but one), and at least 1; 0 if there are no
	 * workers.  Never blocks, needs no configure.  Required. [any] */
	int32_t (*effective_n_jobs)(par_backend *backend, int32_t n_jobs);

	/* n_jobs where nobody says.  Default: 1. [any] */
	int32_t (*default_n_jobs)(par_backend *backend);

	/* Get ready for calls: make or lease workers.  Fill what differs in the answer.
	 * PAR_OK, PAR_PENDING or an error.  Default: nothing to do. [loop] */
	int32_t (*configure)(par_backend *backend, const par_call *call, par_answer *answer,
	                     par_error *error);

	/* A call begins, a call is over.  Default: nothing. [loop] */
	int32_t (*start_call)(par_backend *backend, par_error *error);
	void (*stop_call)(par_backend *backend);

	/* Take a batch and return at once; host->done() gives it back.  It is lent
	 * only if this returns PAR_OK.  *future, NULL at first, is the plugin's to set
	 * until it returns, and comes back in retrieve_result and kill.  Required. [loop] */
	int32_t (*submit)(par_backend *backend, par_batch batch, void **future, par_error *error);

	/* After done(status, ...), before the core looks at the batch: fetch or unpack
	 * what came (host extension parloop.encode/1).  Returns the status to go on
	 * with.  Default: status as it is. [loop] */
	int32_t (*retrieve_result_callback)(par_backend *backend, par_batch batch, void *future,
	                                    int32_t status, par_error *error);

	/* For engines that cannot call back: wait at most timeout_ns for this batch and
	 * return its status; PAR_ETIMEOUT to be asked again.  Set it, and the core
	 * asks, oldest batch first, on a thread of its own, and calls done().  Default:
	 * the backend calls done(). [worker] */
	int32_t (*retrieve_result)(par_backend *backend, par_batch batch, void *future,
	                           int64_t timeout_ns, par_error *error);

	/* End a batch that runs, for one of its tasks is over its time; done() follows with
	 * PAR_ELOST, as for every batch that its worker had.  Default: cannot. [loop] */
	int32_t (*kill)(par_backend *backend, par_batch batch, void *future);

	/* Tasks for the next batch, at least 1, and how long a batch of that size took,
	 * in nanoseconds of the worker's monotonic clock.  Default: the core's
	 * auto-batching if the note says auto_batches, else 1. [loop] */
	int32_t (*compute_batch_size)(par_backend *backend);
	void (*batch_completed)(par_backend *backend, int64_t size, int64_t nanoseconds);

	/* Give every batch of this instance back soon, as PAR_EABORTED where it did not
	 * run; kill what can be killed.  With ensure_ready the instance must afterwards
	 * be as configure() left it.  Default: nothing; batches end by themselves, which
	 * in another address space they do not know that they should. [loop] */
	void (*abort_everything)(par_backend *backend, int32_t ensure_ready);

	/* The core begins and ends to wait for results, on behalf of a caller that may
	 * itself be a worker of this backend (joblib's retrieval_context: a slot can be
	 * given back meanwhile).  Default: nothing. [loop] */
	void (*retrieval_enter)(par_backend *backend);
	void (*retrieval_exit)(par_backend *backend);

	/* The backend for calls inside this one's tasks.  Not asked where this one was named
	 * nested-NAME: then they run on it, too.  Default: threading at level 1, sequential
	 * below it. [any] */
	int32_t (*get_nested_backend)(par_backend *backend, par_nested *nested);

	/* Free what configure() made.  May answer PAR_PENDING.  Default: nothing. [loop] */
	int32_t (*terminate)(par_backend *backend, par_error *error);

	/* A further interface by id; NULL if there is none.  Default: none. [any] */
	const void *(*extension)(par_backend *backend, const char *id);

	/* Take what came back, without waiting, and give batches back that are over.  For
	 * backends that share memory with their workers (as channels do), so that nobody needs a
	 * system call to be heard: it is called in every turn of the loop with batches out, and
	 * while the loop's thread looks out before it sleeps.  sleeps: it is about to sleep; from
	 * now on whatever comes must make a descriptor ready that is watched (parloop.fd/1), until
	 * this is called again or takes what came.  Returns 1 if anything came; then the loop does
	 * not sleep.  Default: nothing comes this way. [loop] */
	int32_t (*poll)(par_backend *backend, int32_t sleeps);

	/* A task of this batch begins to wait for a call of its own (1), whichever backend serves
	 * that, or goes on (0): never twice the same, and on the thread that called run().  For pools
	 * of a fixed size, which would be full of workers that wait for one another: meanwhile its
	 * slot is free for another batch, and with 0 it may wait for one.  (retrieval_enter is told
	 * of a call by its own instance, and not at all if the call is another backend's.)  A task that
	 * turns a loop of its own (par_open_on) waits without a word.  Default: nothing. [worker] */
	void (*batch_waits)(par_backend *backend, par_batch batch, int32_t waits);
} par_backend_ops;

/* The one symbol of a plugin: the operations of the backend of that name, or
 * NULL.  They must outlive the process.  Does no work; may be called again,
 * and from any thread, but never two at once. */
#if defined(__GNUC__)
__attribute__((visibility("default")))
#endif
const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name);

/* --- services by id: an id never changes, its struct only grows -------------------------- */

#define PAR_EXT_FD         "parloop.fd/1"
#define PAR_EXT_TIMER      "parloop.timer/1"
#define PAR_EXT_WORKER_ENV "parloop.worker-env/1"
#define PAR_EXT_ENCODE     "parloop.encode/1"
#define PAR_EXT_CHANNEL    "parloop.channel/1"

typedef struct par_watch par_watch; /* the core's, from watch() to unwatch() */

enum { PAR_READABLE = 1, PAR_WRITABLE = 2 };

/* Be called when a descriptor is ready, as long as it is. */
typedef struct par_ext_fd {
	uint32_t size;
	uint32_t reserved;
	/* events as above; also called with error < 0 (an errno, negated).  The
	 * descriptor stays the plugin's, but is made non-blocking: unwatch first, then
	 * close; both may be done in on_ready().  What is left at destroy() is unwatched.
	 * PAR_OK, or an error without words. [loop] */
	int32_t (*watch)(const par_host *host, int32_t fd, int32_t events,
	                 void (*on_ready)(void *arg, int32_t events, int32_t error), void *arg,
	                 par_watch **watch);
	void (*unwatch)(par_watch *watch);
} par_ext_fd;

/* Be called after a time; every_ns 0: once.  stop() also ends one that fired. */
typedef struct par_ext_timer {
	uint32_t size;
	uint32_t reserved;
	int32_t (*start)(const par_host *host, int64_t after_ns, int64_t every_ns,
	                 void (*on_time)(void *arg), void *arg, par_watch **watch); /* [loop] */
	void (*stop)(par_watch *watch);                                             /* [loop] */
} par_ext_timer;

/* The environment for n workers that are about to be started: the caller's,
 * with thread limits added as joblib does (OMP_NUM_THREADS and its six
 * relatives), and with the plugins.conf in force as $PARLOOP_CONF, since
 * tasks may make calls of their own. */
typedef struct par_ext_worker_env {
	uint32_t size;
	uint32_t reserved;
	/* Ends in NULL; to be given back with free_env.  NULL: no memory. [any] */
	char **(*make_env)(const par_host *host, int32_t n_workers);
	void (*free_env)(char **env);
} par_ext_worker_env;

/* What travels beside the bytes of a batch: each once per worker, moved in the
 * engine's own way, and there before the first batch that names it. */
enum { PAR_ATTACH_ARRAY = 1, PAR_ATTACH_BROADCAST = 2, PAR_ATTACH_MODULE = 3 };

/* How a worker maps one that has a descriptor. */
enum {
	PAR_ATTACH_READ = 0,   /* read-only; nothing else is possible                   */
	PAR_ATTACH_WRITE = 1,  /* shared and writable: results go there, and every      */
	                       /* worker sees what one wrote                            */
	PAR_ATTACH_PRIVATE = 2 /* writable, and its own pages where it has written      */
};

typedef struct par_attachment {
	uint32_t size;
	int32_t kind;
	uint64_t id;          /* equal ids are the same memory, within the process; if */
	                      /* it has no descriptor, they are the same bytes.  What  */
	                      /* can be mapped may change from one batch to the next   */
	uint64_t bytes;
	const void *address;  /* or NULL                                         */
	int32_t fd;           /* a sealed memfd, or -1                           */
	int32_t writable;     /* PAR_ATTACH_READ, ...                            */
	uint8_t sha256[32];   /* of a module, whose bytes are those of its file; else zero */
} par_attachment;

typedef struct par_encoded {
	uint32_t size;
	uint32_t n_attachments;
	const void *bytes;    /* never looked into; valid until done()           */
	uint64_t n_bytes;
	const par_attachment *const *attachments; /* as long as bytes; each by a    */
	                                          /* pointer, since it may grow     */
	const char *name;     /* of the task of the batch, or of its first one; and how     */
	uint64_t n_tasks;     /* many there are: for people, on the engine's dashboard      */
} par_encoded;

/* Batches as bytes, for workers in another address space, which run them by par_worker_run()
 * (worker.h).  What all tasks of a call share is an attachment, if it is not small, and so are
 * modules; all else, also of memory that processes of this machine could share, is in the bytes.
 * For those processes parloop.channel/1 does the moving too. */
typedef struct par_ext_encode {
	uint32_t size;
	uint32_t reserved;
	/* The bytes of a batch that was submitted; size of encoded is set.  Once, and within
	 * submit().  An error (of the caller's task, say, that cannot leave this process) is for
	 * submit() to return. [loop] */
	int32_t (*encode)(const par_host *host, par_batch batch, par_encoded *encoded,
	                  par_error *error);
	/* What par_worker_run() sent there, in its order, cut anywhere; before done(), and never
	 * two at once for one batch.  An error, which was logged: it makes no sense, and the
	 * worker is not to be asked again. [any] */
	int32_t (*receive)(const par_host *host, par_batch batch, const void *bytes,
	                   uint64_t n_bytes);
	/* Who runs it, for errors and events: worker as in par_how; machine NULL: this one (it is
	 * copied).  Before the first receive() of what that worker sent, and again if another has
	 * it.  Left out, it is worker 0 of this machine. [any] */
	void (*runs_at)(const par_host *host, par_batch batch, int32_t worker, const char *machine);
} par_ext_encode;

/* The way to one worker process of this machine: a socket, and shared memory by which batches
 * go and answers come without a system call.  The plugin's, from open() to close(); it may outlive
 * the instance and serve one after the other, but not two at once. */
typedef struct par_channel par_channel;

enum {
	PAR_CHANNEL_FORKED = 1,  /* its worker is a fork() of this process: it has its memory   */
	PAR_CHANNEL_EXECUTED = 2 /* it is a program: program(), or one that calls               */
	                      /* par_worker_main() (worker.h)                                */
};

/* What a worker process does to itself before it serves. */
typedef struct par_worker_setup {
	uint32_t size;
	int32_t worker;          /* 0 .. n_jobs-1: what its tasks see as env->worker         */
	int32_t parent;          /* process id; the worker ends with that process (while it   */
	                         /* starts, with the thread that started it), and takes along */
	                         /* what is in its process group                             */
	int32_t cpu;             /* run on that core only; -1: on any                        */
	int64_t memory;          /* bytes of address space it may have; 0: as many as it likes */
	int64_t cpu_time_ns;     /* of processor it may use; 0: any                          */
	const char *initializer; /* "MODULE.so:TASK", a task of bytes to be run first;       */
	                         /* NULL: none.  If it fails, the worker cannot start        */
	const char *initarg;     /* its payload; NULL: empty                                 */
} par_worker_setup;

/* Worker processes for a backend that starts, watches and ends them:
 *
 *	open(), start a process that has ends(), started();
 *	per batch send(), and next() until it is over; done() is the backend's;
 *	when the process has died: next() until nothing is left, then lost() for each
 *	batch that it had; close(); wait for the process.
 *
 * next() is to be called in the operation poll, and when fd() is readable.  This table is the
 * same for all instances, and outlives them, as what is kept for the next one needs it. */
typedef struct par_ext_channel {
	uint32_t size;
	uint32_t reserved;

	/* kind: PAR_CHANNEL_FORKED, whose worker can run any task that this process knew when it
	 * was forked, or PAR_CHANNEL_EXECUTED, whose worker finds them by file and name.  [any], but
	 * of a fork by the thread that is about to fork it: OpenMP's threads that wait for it end
	 * here, for in its worker, where they are not, it would wait for them. */
	int32_t (*open)(int32_t kind, par_channel **channel, par_error *error);

	/* NULL is allowed.  Its worker, if it lives, sees the end of its socket, and ends by itself
	 * when it has run what it was sent, and so does what is left in its process group; never
	 * mind with what status.  Unwatch fd() first. [any] */
	void (*close)(par_channel *channel);

	/* The two descriptors (close-on-exec) that the worker is to have, under any numbers; ours
	 * until started(). [any] */
	void (*ends)(const par_channel *channel, int32_t ends[2]);

	/* The environment variables ("NAME=value", ends in NULL), to be added to others, that make
	 * a program with those descriptors open, under the numbers in ends, the worker; valid until
	 * started().  What else setup says goes by the channel.  NULL: no memory, or setup
	 * wants what this parloop does not know, as the log says. [any] */
	char *const *(*describe)(par_channel *channel, const int32_t ends[2],
	                         const par_worker_setup *setup);

	/* What to execute as a worker, absolute: this program, if it has called
	 * par_worker_main(), since then tasks of its own can be run too; else parloop-worker.
	 * Static.  NULL: there is none, and the error says where it was looked for. [any] */
	const char *(*program)(par_error *error);

	/* In the child of fork(): be the worker, and never return.  Of what the parent had, only
	 * memory, standard output and error, and the channel's descriptors stay; the others are
	 * closed, and signals are reset. */
	void (*serve)(par_channel *channel, const par_worker_setup *setup);

	/* The worker has its ends, or there will be none: ours of them are closed. [any] */
	void (*started)(par_channel *channel);

	/* Readable when something came while poll() had been told that the loop sleeps: to be
	 * watched by who has the channel.  Also at the end of the worker, as a hint. [any] */
	int32_t (*fd)(const par_channel *channel);

	/* 1: the worker has said that it is there.  2: it has begun a task as well; while it goes
	 * from one to the next it may be 1 again for a moment.  0: neither. [loop] */
	int32_t (*is_ready)(const par_channel *channel);

	/* Encode that batch and send it, within submit(); worker as in par_how.  It never waits:
	 * what does not fit yet goes with the next next().  A worker may have several batches, and
	 * runs one after the other.  Anything but PAR_OK: it was not sent, for submit() to return;
	 * the channel is as it was. [loop] */
	int32_t (*send)(const par_host *host, par_channel *channel, int32_t worker, par_batch batch,
	                par_error *error);

	/* Take what came, and be awake.  PAR_OK: *batch is over, and is to be given back with
	 * done(PAR_OK); ask again.  PAR_PENDING: nothing more is there at the moment.  Else an
	 * error: what came makes no sense, or the worker says that it cannot go on (it does not
	 * know a task, is of another version, its initializer failed), or, PAR_ELOST, has closed
	 * its end: it is of no use any more. [loop] */
	int32_t (*next)(const par_host *host, par_channel *channel, par_batch *batch, par_error *error);

	/* The loop is about to sleep (1): what comes from now on makes fd() readable.  Or it is
	 * awake (0), as after next().  Returns 1 if something is there already. [loop] */
	int32_t (*sleeps)(par_channel *channel, int32_t sleeps);

	/* Its tasks see that the call ends, and what was sent and has not begun comes back without
	 * having run; until it has no batch left. [any] */
	void (*stop)(par_channel *channel);

	/* Batches that were sent, and that neither next() nor lost() has named. [loop] */
	int32_t (*out)(const par_channel *channel);

	/* The worker is dead: the next of its batches, in the order in which they were sent, to be
	 * given back with done(PAR_ELOST, how); 0: it had no more.  The core finds out which task
	 * ran. [loop] */
	par_batch (*lost)(const par_host *host, par_channel *channel);

	/* What a worker that died of a signal could still write about it: where it was.  NULL:
	 * nothing.  Valid until close(). [loop] */
	const char *(*last_words)(const par_channel *channel);
} par_ext_channel;

/* --- the note: what can be known of a plugin without running any of it -------------------- */

/*	PAR_PLUGIN(
 *		PAR_VERSION("1.2.0")
 *		PAR_BACKEND("gpu", "batches on the graphics card")
 *		PAR_CAPABILITIES("shares_memory auto_batches")
 *		PAR_OPTION_INT("device", 0, 0, 15, "which card")
 *		PAR_OPTION_TEXT("required secret key", "", "licence key"))
 *
 * In the source that defines parloop_backend_v1, once.  Options and
 * capabilities belong to the backend named before them.  An option's key may
 * be preceded by "required" (somebody must set it) and "secret" (its value is
 * never shown).  Times are written 500us, 20ms, 1.5s, 2min; sizes 64k, 1M.
 * `readelf -p .note.parloop FILE` prints it.  Each of the macros is a text, and what
 * follows PAR_BACKEND() is what par_register_backend() (parloop.h) takes. */
#define PAR_PLUGIN(text)                                                                        \
	__attribute__((section(".note.parloop"), used, aligned(4))) static const struct {       \
		uint32_t name_size, text_size, type;                                            \
		char name[8], body[(sizeof(PAR__NOTE text) + 3) / 4 * 4];                       \
	} par__note = {8, sizeof(PAR__NOTE text), 0x504c0001, "parloop", PAR__NOTE text};
#define PAR__NOTE                 "abi " PAR__STR(PAR_ABI_MAJOR) "." PAR__STR(PAR_NEEDS_MINOR) "\n"
#define PAR_VERSION(version)      "version " version "\n"
#define PAR_BACKEND(name, summary) "backend " name " " summary "\n"
#define PAR_CAPABILITIES(words)   "capabilities " words "\n"
/* auto-batching aims between these times, in place of the core's own */
#define PAR_BATCH_TIMES(shortest, longest) "batch_times " shortest " " longest "\n"
#define PAR_OPTION_INT(key, def, lo, hi, help)                                                  \
	"int " key " " PAR__STR(def) " " PAR__STR(lo) ".." PAR__STR(hi) " " help "\n"
#define PAR_OPTION_SIZE(key, def, lo, hi, help) "size " key " " def " " lo ".." hi " " help "\n"
#define PAR_OPTION_TIME(key, def, lo, hi, help) "time " key " " def " " lo ".." hi " " help "\n"
#define PAR_OPTION_BOOL(key, def, help)         "bool " key " " def " " help "\n" /* "yes", "no" */
#define PAR_OPTION_CHOICE(key, def, all, help)  "choice " key " " def " " all " " help "\n" /* "a|b" */
#define PAR_OPTION_TEXT(key, def, help)         "text " key " \"" def "\" " help "\n"
#define PAR__STR(x)  PAR__STR_(x)
#define PAR__STR_(x) #x

#ifdef __cplusplus
}
#endif
#endif
