#include "guard.h"

#include "lend.h"
#include "verdict.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* A new operation or service is one more to hand on. */
_Static_assert(sizeof(par_backend_ops) == 176, "each operation is handed on");
_Static_assert(sizeof(par_host) == 112, "each function of the host is handed on");

struct guard_plan guard_plan;
struct guard_seen guard_seen;

enum { REMEMBERED = 1024 };

struct out {
	par_batch batch;
	void *future;
};

/* An instance.  par_backend is what the core has of it. */
struct guard {
	const par_host *core;
	par_host *host;      /* what the plugin has for that; lent */
	par_backend *theirs; /* NULL: create() has set none */
	_Atomic int is_pending; /* create, configure or terminate is to be ended by ready() */
	_Atomic int is_submitting;
	_Atomic pthread_t loop;
	par_answer *answer, *lent_answer; /* while configure() is pending */

	pthread_mutex_t lock;
	/* under lock */
	struct out *out;
	size_t n_out, room;
	par_batch over[REMEMBERED]; /* given back last, a ring */
	unsigned n_over;
	struct guard *next;
};

static struct plugin *plugin;
static const char *backend;
static uint32_t promised;
static par_backend_ops ops;   /* the plugin's */
static par_backend_ops guards; /* what the core has for them */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct guard *all; /* instances that live */

/* --- which function of the plugin's the loop's thread is in, and for how long ---------------- */

static const char *_Atomic inside;

static struct pace {
	const char *function;
	double *ms;
	int n, room;
} paces[32];
static pthread_mutex_t pace_lock = PTHREAD_MUTEX_INITIALIZER;

static double now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

struct visit {
	const char *function, *around;
	double began_ms;
};

static struct visit enter(struct guard *guard, const char *function)
{
	struct visit visit = {function, inside, now_ms()};

	guard->loop = pthread_self();
	inside = function;
	return visit;
}

static void leave(const struct visit *visit)
{
	double ms = now_ms() - visit->began_ms;
	struct pace *pace = paces;

	inside = visit->around;
	pthread_mutex_lock(&pace_lock);
	while (pace->function != NULL && strcmp(pace->function, visit->function) != 0)
		pace++;
	pace->function = visit->function;
	if (pace->n == pace->room) {
		pace->room = pace->room * 2 + 4096; /* what memory a plugin takes is looked at */
		pace->ms = reallocarray(pace->ms, (size_t)pace->room, sizeof(*pace->ms));
	}
	if (pace->ms == NULL)
		abort();
	pace->ms[pace->n++] = ms;
	pthread_mutex_unlock(&pace_lock);
}

static int by_size(const void *left, const void *right)
{
	const double *a = left, *b = right;

	return (*a > *b) - (*a < *b);
}

void guard_each_pace(void (*fn)(const char *function, double typical_ms))
{
	pthread_mutex_lock(&pace_lock);
	for (struct pace *pace = paces; pace->function != NULL; pace++) {
		qsort(pace->ms, (size_t)pace->n, sizeof(*pace->ms), by_size);
		if (pace->n >= 3)
			fn(pace->function, pace->ms[pace->n / 2]);
	}
	pthread_mutex_unlock(&pace_lock);
}

long guard_moves(void)
{
	return (long)guard_seen.creates + guard_seen.configures + guard_seen.submits + guard_seen.runs +
	       guard_seen.dones + guard_seen.kills + guard_seen.aborts + guard_seen.destroys;
}

void guard_explain_hang(int limit_s)
{
	const char *function = inside;

	if (function != NULL)
		broken_fatally(VERDICT_HANG, "T7", "%s() has not returned after %d s", function, limit_s);
	pthread_mutex_lock(&all_lock);
	for (struct guard *guard = all; guard != NULL; guard = guard->next) {
		if (guard->is_pending)
			broken_fatally(VERDICT_HANG, "C11", "it answered PAR_PENDING, and has not called "
			                                    "host->ready() after %d s", limit_s);
		if (guard->n_out > 0)
			broken_fatally(VERDICT_HANG, "B2", "%zu of the batches that were submitted have not "
			                                   "been given back after %d s",
			               guard->n_out, limit_s);
	}
	pthread_mutex_unlock(&all_lock);
	hangs("nothing moves any more after %d s, though no batch is out", limit_s);
}

/* --- batches ------------------------------------------------------------------------------- */

static int find_out(struct guard *guard, par_batch batch)
{
	for (size_t i = 0; i < guard->n_out; i++)
		if (guard->out[i].batch == batch)
			return (int)i;
	return -1;
}

static void add_out(struct guard *guard, par_batch batch)
{
	pthread_mutex_lock(&guard->lock);
	if (guard->n_out == guard->room) {
		guard->room = guard->room * 2 + 16;
		guard->out = reallocarray(guard->out, guard->room, sizeof(*guard->out));
		if (guard->out == NULL)
			abort();
	}
	guard->out[guard->n_out++] = (struct out){batch, NULL};
	pthread_mutex_unlock(&guard->lock);
}

/* 1: it was out. */
static int remove_out(struct guard *guard, par_batch batch)
{
	int i;

	pthread_mutex_lock(&guard->lock);
	i = find_out(guard, batch);
	if (i >= 0) {
		guard->out[i] = guard->out[--guard->n_out];
		guard->over[guard->n_over++ % REMEMBERED] = batch;
	}
	pthread_mutex_unlock(&guard->lock);
	return i >= 0;
}

static int was_out(struct guard *guard, par_batch batch)
{
	int was = 0;

	pthread_mutex_lock(&guard->lock);
	for (int i = 0; i < REMEMBERED; i++)
		was |= guard->over[i] == batch;
	pthread_mutex_unlock(&guard->lock);
	return was;
}

void guard_is_out(struct guard *guard, par_batch batch, const char *function)
{
	int i;

	pthread_mutex_lock(&guard->lock);
	i = find_out(guard, batch);
	pthread_mutex_unlock(&guard->lock);
	if (i < 0)
		broken("B3", "%s gets a batch that is not out", function);
}

/* --- what the plugin calls ----------------------------------------------------------------- */

struct guard *guard_of(const par_host *host)
{
	return ((struct guard *const *)host)[-1];
}

const par_host *guard_core(const struct guard *guard)
{
	return guard->core;
}

void guard_on_loop(const struct guard *guard, const char *function)
{
	if (!pthread_equal(guard->loop, pthread_self()))
		broken_fatally(VERDICT_FAIL, "T1", "it calls %s on another thread than the loop's", function);
}

/* Threads of the plugin's show themselves when they call. */
static void check_mask(const struct guard *guard)
{
	static const int to_block[] = {SIGINT, SIGTERM, SIGHUP, SIGALRM, SIGUSR1, SIGUSR2, SIGCHLD};
	sigset_t mask;

	if (pthread_equal(guard->loop, pthread_self()))
		return;
	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (size_t i = 0; i < sizeof(to_block) / sizeof(to_block[0]); i++)
		if (!sigismember(&mask, to_block[i]))
			broken("T3", "a thread of its own does not block SIG%s", sigabbrev_np(to_block[i]));
}

static void host_log(const par_host *host, int32_t level, const char *line)
{
	struct guard *guard = guard_of(host);

	guard->core->log(guard->core, level, line);
}

static void check_run(struct guard *guard)
{
	int on_loop = pthread_equal(guard->loop, pthread_self());
	int is_inline = on_loop && guard->is_submitting;

	if (!(promised & PAR_SHARES_MEMORY))
		broken("B9", "it calls host->run(), but its note does not say shares_memory");
	else if ((promised & PAR_RUNS_INLINE) && !is_inline)
		broken("B9", "its note says runs_inline, but it calls host->run() outside submit()");
	else if (!(promised & PAR_RUNS_INLINE) && is_inline)
		broken("B9", "it calls host->run() within submit(), but its note does not say runs_inline");
	else if (!(promised & PAR_RUNS_INLINE) && on_loop)
		broken("T2", "it calls host->run() on the loop's thread");
}

static int32_t host_run(const par_host *host, par_batch batch)
{
	struct guard *guard = guard_of(host);

	guard_seen.runs++;
	guard_is_out(guard, batch, "host->run()");
	check_run(guard);
	check_mask(guard);
	return guard->core->run(guard->core, batch);
}

static void host_done(const par_host *host, par_batch batch, int32_t status, const par_how *how)
{
	struct guard *guard = guard_of(host);

	check_mask(guard);
	guard_seen.dones++;
	if (!remove_out(guard, batch)) {
		if (was_out(guard, batch))
			broken("B3", "a batch is given back twice");
		else
			broken("B3", "host->done() gets %#llx, which is no batch that was submitted",
			       (unsigned long long)batch);
	}
	if (status != PAR_OK && status != PAR_EABORTED && status != PAR_ELOST &&
	    status != PAR_EFAILED)
		broken("B4", "host->done() gets the status %d, not PAR_OK, PAR_EABORTED, PAR_ELOST or "
		             "PAR_EFAILED", status);
	if (how != NULL && how->size < sizeof(*how))
		broken("B4", "host->done() gets a par_how whose size is %u, not %zu", how->size, sizeof(*how));
	guard->core->done(guard->core, batch, status, how);
}

static int32_t host_stopping(const par_host *host, par_batch batch)
{
	struct guard *guard = guard_of(host);

	return guard->core->stopping(guard->core, batch);
}

static int32_t host_post(const par_host *host, void (*fn)(void *arg), void *arg)
{
	struct guard *guard = guard_of(host);

	check_mask(guard);
	return guard->core->post(guard->core, fn, arg);
}

static void end_answer(struct guard *guard);

static void host_ready(const par_host *host, int32_t status, const par_error *error)
{
	struct guard *guard = guard_of(host);

	if (!guard->is_pending)
		broken("C11", "it calls host->ready(), but nothing of it is pending");
	if (status < 0 && (error == NULL || error->reason[0] == '\0'))
		broken("C11", "host->ready() gets %s, and no words", par_code_name(status));
	guard->is_pending = 0;
	end_answer(guard);
	guard->core->ready(guard->core, status, error);
}

static void host_capacity(const par_host *host, int32_t workers, int32_t batches)
{
	struct guard *guard = guard_of(host);

	guard->core->capacity(guard->core, workers, batches);
}

static int32_t host_cores(const par_host *host)
{
	struct guard *guard = guard_of(host);

	return guard->core->cores(guard->core);
}

static const void *host_extension(const par_host *host, const char *id)
{
	if (guard_plan.lacks != NULL && (*guard_plan.lacks == '\0' || strcmp(guard_plan.lacks, id) == 0))
		return NULL;
	return guard_service(guard_of(host)->core, id);
}

/* Options that the plugin has for a while are lent: there lies a pointer to the core's. */
struct lent_options {
	const par_options *core;
	const par_host *host;
};

static const struct lent_options *look_up(const par_options *options, const char *key,
                                          const char *function, int as_text)
{
	const struct lent_options *lent = (const void *)options;
	const char *type = plugin_option_type(plugin, backend, key);

	if (type == NULL)
		broken("C5", "%s() asks for \"%s\", which its note does not declare", function, key);
	else if (as_text ? strcmp(type, "text") != 0 && strcmp(type, "choice") != 0
	                 : strcmp(type, "text") == 0)
		broken("C5", "%s() asks for \"%s\", which is declared as %s", function, key, type);
	return lent;
}

static int64_t host_option_int(const par_options *options, const char *key)
{
	const struct lent_options *lent = look_up(options, key, "option_int", 0);

	return lent->host->option_int(lent->core, key);
}

static const char *host_option_text(const par_options *options, const char *key)
{
	const struct lent_options *lent = look_up(options, key, "option_text", 1);

	return lent->host->option_text(lent->core, key);
}

static int32_t host_option_is_set(const par_options *options, const char *key)
{
	const struct lent_options *lent = (const void *)options;

	if (plugin_option_type(plugin, backend, key) == NULL)
		broken("C5", "option_is_set() asks for \"%s\", which its note does not declare", key);
	return lent->host->option_is_set(lent->core, key);
}

static const par_options *lend_options(const par_options *core, const par_host *host,
                                       const char *what, const char *until)
{
	struct lent_options *lent = lend(sizeof(*lent), what, until, "C8");

	*lent = (struct lent_options){core, host};
	return (const void *)lent;
}

static par_host *lend_host(struct guard *guard)
{
	char *lent = lend_rare(16 + sizeof(par_host), "the host of an instance", "its destroy() returned", "T5");
	par_host *host = (void *)(lent + 16);

	((struct guard **)host)[-1] = guard;
	*host = (par_host){
		.size = sizeof(*host),
		.abi = guard->core->abi,
		.version = guard->core->version,
		.log = host_log,
		.run = host_run,
		.done = host_done,
		.stopping = host_stopping,
		.post = host_post,
		.ready = host_ready,
		.capacity = host_capacity,
		.cores = host_cores,
		.option_int = host_option_int,
		.option_text = host_option_text,
		.option_is_set = host_option_is_set,
		.extension = host_extension,
	};
	return host;
}

/* --- what the core calls ------------------------------------------------------------------- */

static struct guard *from(par_backend *instance)
{
	return (struct guard *)instance;
}

static par_error *lend_error(const char *what, const char *until)
{
	par_error *error = lend(sizeof(*error), what, until, "C8");

	*error = (par_error)PAR_ERROR_INIT;
	return error;
}

/* What a function answered, and its words. */
static int32_t check_answer(int32_t status, int may_wait, const char *function, par_error *lent,
                            par_error *error)
{
	if (status > 0 && !(may_wait && status == PAR_PENDING))
		broken("C11", "%s() answers %d, which is neither PAR_OK nor an error", function, status);
	if (status < 0 && strcmp(par_code_name(status), "unknown code") == 0)
		broken("C11", "%s() answers %d, which is no code of error.h", function, status);
	if (status < 0 && lent->reason[0] == '\0')
		broken("C11", "%s() fails with %s, and without a word", function, par_code_name(status));
	if (error != NULL) {
		uint32_t size = error->size;

		*error = *lent;
		error->size = size;
	}
	lend_end(lent);
	return status;
}

static void forget(struct guard *guard)
{
	struct guard **place = &all;

	pthread_mutex_lock(&all_lock);
	while (*place != NULL && *place != guard)
		place = &(*place)->next;
	if (*place != NULL)
		*place = guard->next;
	if (guard_seen.last == guard)
		guard_seen.last = NULL;
	pthread_mutex_unlock(&all_lock);
	lend_end((char *)guard->host - 16);
	pthread_mutex_destroy(&guard->lock);
	free(guard->out);
	free(guard);
}

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **instance, par_error *error)
{
	struct guard *guard = calloc(1, sizeof(*guard));
	par_error *lent = lend_error("the par_error of create()", "create() returned");
	const par_options *lent_options =
		lend_options(options, host, "the options of create()", "create() returned");
	struct visit visit;
	int32_t status;

	if (guard == NULL)
		abort();
	guard->core = host;
	pthread_mutex_init(&guard->lock, NULL);
	guard->host = lend_host(guard);
	pthread_mutex_lock(&all_lock);
	guard->next = all;
	all = guard;
	pthread_mutex_unlock(&all_lock);
	guard_seen.creates++;
	guard->is_pending = 1; /* ready() may come first */
	visit = enter(guard, "create");
	status = ops.create(guard->host, lent_options, level, inner_max_num_threads, &guard->theirs, lent);
	leave(&visit);
	if (status != PAR_PENDING)
		guard->is_pending = 0;
	lend_end((void *)(uintptr_t)lent_options);
	status = check_answer(status, 1, "create", lent, error);
	if (status >= 0 && guard->theirs == NULL && status != PAR_PENDING)
		broken_fatally(VERDICT_FAIL, "C11", "create() answers PAR_OK, and sets no instance");
	if (status < 0) {
		forget(guard);
		return status;
	}
	if (guard->theirs != NULL)
		*instance = (par_backend *)guard;
	pthread_mutex_lock(&all_lock);
	guard_seen.last = guard;
	pthread_mutex_unlock(&all_lock);
	return status;
}

static void destroy(par_backend *instance)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "destroy");

	ops.destroy(guard->theirs);
	leave(&visit);
	guard_seen.destroys++;
	forget(guard);
}

static int32_t check_n_jobs(int32_t answer, int32_t n_jobs)
{
	if (answer < 0)
		broken("C3", "effective_n_jobs(%d) is %d, but at least 1, or 0 if there are no workers", n_jobs,
		       answer);
	return answer;
}

static int32_t effective_n_jobs(par_backend *instance, int32_t n_jobs)
{
	return check_n_jobs(ops.effective_n_jobs(from(instance)->theirs, n_jobs), n_jobs);
}

int32_t guard_effective_n_jobs(int32_t n_jobs)
{
	return check_n_jobs(ops.effective_n_jobs(guard_seen.last->theirs, n_jobs), n_jobs);
}

int guard_has_kill(void)
{
	return ops.kill != NULL;
}

const void *guard_extension(const char *id)
{
	return ops.extension != NULL ? ops.extension(guard_seen.last->theirs, id) : NULL;
}

static int32_t default_n_jobs(par_backend *instance)
{
	return ops.default_n_jobs(from(instance)->theirs);
}

/* What it answered goes to the core, with what is wrong in it. */
static void end_answer(struct guard *guard)
{
	par_answer *lent = guard->lent_answer;

	if (lent == NULL)
		return;
	if (lent->capabilities & ~promised)
		broken("C11", "configure() adds capabilities (%#x) that its note does not promise",
		       lent->capabilities & ~promised);
	if (lent->n_jobs < 0 || lent->holds < 0)
		broken("C11", "configure() answers n_jobs %d, holds %d", lent->n_jobs, lent->holds);
	*guard->answer = *lent;
	guard->lent_answer = NULL;
	lend_end(lent);
}

static int32_t fail_anyhow(int32_t status, par_error *error)
{
	if (status != PAR_OK || !guard_plan.configure_fails)
		return status;
	return par_fail(error, PAR_EUNAVAIL, "the test wants it to fail");
}

static int32_t configure(par_backend *instance, const par_call *call, par_answer *answer,
                         par_error *error)
{
	struct guard *guard = from(instance);
	par_error *lent = lend_error("the par_error of configure()", "configure() returned");
	par_call *lent_call = lend(sizeof(*call), "the par_call of configure()", "configure() returned", "C8");
	struct visit visit;
	int32_t status;

	guard->answer = answer;
	guard->lent_answer = lend(sizeof(*answer), "the par_answer of configure()", "it was ready", "C8");
	*guard->lent_answer = *answer;
	*lent_call = *call;
	lent_call->options =
		lend_options(call->options, guard->core, "the options of configure()", "configure() returned");
	guard_seen.configures++;
	guard->is_pending = 1;
	visit = enter(guard, "configure");
	status = ops.configure(guard->theirs, lent_call, guard->lent_answer, lent);
	leave(&visit);
	if (status != PAR_PENDING) {
		guard->is_pending = 0;
		end_answer(guard);
	}
	lend_end((void *)(uintptr_t)lent_call->options);
	lend_end(lent_call);
	return fail_anyhow(check_answer(status, 1, "configure", lent, error), error);
}

static int32_t start_call(par_backend *instance, par_error *error)
{
	struct guard *guard = from(instance);
	par_error *lent = lend_error("the par_error of start_call()", "start_call() returned");
	struct visit visit = enter(guard, "start_call");
	int32_t status = ops.start_call(guard->theirs, lent);

	leave(&visit);
	return check_answer(status, 0, "start_call", lent, error);
}

static void stop_call(par_backend *instance)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "stop_call");

	ops.stop_call(guard->theirs);
	leave(&visit);
}

/* Its place for a future is lent as well. */
struct lent_submit {
	par_error error;
	void *future;
};

static int32_t submit(par_backend *instance, par_batch batch, void **future, par_error *error)
{
	struct guard *guard = from(instance);
	par_error *lent = lend_error("the par_error of submit()", "submit() returned");
	void **lent_future = lend(sizeof(*lent_future), "the future of submit()", "submit() returned", "C8");
	struct visit visit;
	int32_t status;

	guard_seen.submits++;
	add_out(guard, batch);
	visit = enter(guard, "submit");
	guard->is_submitting++;
	status = ops.submit(guard->theirs, batch, lent_future, lent);
	guard->is_submitting--;
	leave(&visit);
	*future = *lent_future;
	lend_end(lent_future);
	if (status != PAR_OK && !remove_out(guard, batch))
		broken("B4", "submit() fails with %s, but has given the batch back before", par_code_name(status));
	return check_answer(status, 0, "submit", lent, error);
}

static int32_t retrieve_result_callback(par_backend *instance, par_batch batch, void *future,
                                        int32_t status, par_error *error)
{
	struct guard *guard = from(instance);
	par_error *lent = lend_error("the par_error of retrieve_result_callback()", "it returned");
	struct visit visit = enter(guard, "retrieve_result_callback");

	status = ops.retrieve_result_callback(guard->theirs, batch, future, status, lent);
	leave(&visit);
	return check_answer(status, 0, "retrieve_result_callback", lent, error);
}

/* The core gives the batch back once this has answered. */
static int32_t retrieve_result(par_backend *instance, par_batch batch, void *future,
                               int64_t timeout_ns, par_error *error)
{
	struct guard *guard = from(instance);
	par_error *lent = lend_error("the par_error of retrieve_result()", "it returned");
	int32_t status = ops.retrieve_result(guard->theirs, batch, future, timeout_ns, lent);

	if (status == PAR_ETIMEOUT)
		par_fail(lent, status, "not yet");
	else if (!remove_out(guard, batch))
		broken("B3", "a batch is given back by host->done(), and by retrieve_result() as well");
	return check_answer(status, 0, "retrieve_result", lent, error);
}

static int32_t kill_batch(par_backend *instance, par_batch batch, void *future)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "kill");
	int32_t status = ops.kill(guard->theirs, batch, future);

	guard_seen.kills++;
	leave(&visit);
	return status;
}

static int32_t compute_batch_size(par_backend *instance)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "compute_batch_size");
	int32_t size = ops.compute_batch_size(guard->theirs);

	leave(&visit);
	guard_seen.batch_sizes++;
	if (size < 1)
		broken("B15", "compute_batch_size() is %d, but at least 1", size);
	return size;
}

static void batch_completed(par_backend *instance, int64_t size, int64_t nanoseconds)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "batch_completed");

	ops.batch_completed(guard->theirs, size, nanoseconds);
	leave(&visit);
}

static void abort_everything(par_backend *instance, int32_t ensure_ready)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "abort_everything");

	guard_seen.aborts++;
	ops.abort_everything(guard->theirs, ensure_ready);
	leave(&visit);
}

static void retrieval_enter(par_backend *instance)
{
	ops.retrieval_enter(from(instance)->theirs);
}

static void retrieval_exit(par_backend *instance)
{
	ops.retrieval_exit(from(instance)->theirs);
}

static int32_t get_nested_backend(par_backend *instance, par_nested *nested)
{
	return ops.get_nested_backend(from(instance)->theirs, nested);
}

static int32_t terminate_once(struct guard *guard, par_error *error)
{
	par_error *lent = lend_error("the par_error of terminate()", "terminate() returned");
	struct visit visit;
	int32_t status;

	guard->is_pending = 1;
	visit = enter(guard, "terminate");
	status = ops.terminate(guard->theirs, lent);
	leave(&visit);
	if (status != PAR_PENDING)
		guard->is_pending = 0;
	return check_answer(status, 1, "terminate", lent, error);
}

static int32_t terminate(par_backend *instance, par_error *error)
{
	struct guard *guard = from(instance);
	int32_t status = terminate_once(guard, error);

	if (guard_plan.terminates_twice && status == PAR_OK)
		status = terminate_once(guard, error);
	return status;
}

static const void *extension(par_backend *instance, const char *id)
{
	return ops.extension(from(instance)->theirs, id);
}

static int32_t poll(par_backend *instance, int32_t sleeps)
{
	struct guard *guard = from(instance);
	struct visit visit = enter(guard, "poll");
	int32_t came = ops.poll(guard->theirs, sleeps);

	leave(&visit);
	return came;
}

static void batch_waits(par_backend *instance, par_batch batch, int32_t waits)
{
	ops.batch_waits(from(instance)->theirs, batch, waits);
}

/* --- the table ----------------------------------------------------------------------------- */

/* What the plugin has not, the core is not to have. */
static const par_backend_ops *guard_table(const par_backend_ops *theirs)
{
	memset(&ops, 0, sizeof(ops));
	memcpy(&ops, theirs, theirs->size < sizeof(ops) ? theirs->size : sizeof(ops));
	guards = (par_backend_ops){
		.size = sizeof(guards),
		.abi = ops.abi,
		.create = create,
		.destroy = destroy,
		.effective_n_jobs = effective_n_jobs,
		.default_n_jobs = ops.default_n_jobs != NULL ? default_n_jobs : NULL,
		.configure = ops.configure != NULL ? configure : NULL,
		.start_call = ops.start_call != NULL ? start_call : NULL,
		.stop_call = ops.stop_call != NULL ? stop_call : NULL,
		.submit = submit,
		.retrieve_result_callback =
			ops.retrieve_result_callback != NULL ? retrieve_result_callback : NULL,
		.retrieve_result = ops.retrieve_result != NULL ? retrieve_result : NULL,
		.kill = ops.kill != NULL ? kill_batch : NULL,
		.compute_batch_size = ops.compute_batch_size != NULL ? compute_batch_size : NULL,
		.batch_completed = ops.batch_completed != NULL ? batch_completed : NULL,
		.abort_everything = ops.abort_everything != NULL ? abort_everything : NULL,
		.retrieval_enter = ops.retrieval_enter != NULL ? retrieval_enter : NULL,
		.retrieval_exit = ops.retrieval_exit != NULL ? retrieval_exit : NULL,
		.get_nested_backend = ops.get_nested_backend != NULL ? get_nested_backend : NULL,
		.terminate = ops.terminate != NULL ? terminate : NULL,
		.extension = ops.extension != NULL ? extension : NULL,
		.poll = ops.poll != NULL ? poll : NULL,
		.batch_waits = ops.batch_waits != NULL ? batch_waits : NULL,
	};
	return &guards;
}

static const par_backend_ops *factory(const par_host *host, const char *name)
{
	const par_backend_ops *theirs = plugin->factory(host, name);

	guard_seen.factory = host;
	return theirs == NULL ? NULL : guard_table(theirs);
}

static const struct {
	const char *word;
	uint32_t bit;
} capabilities[] = {
	{"shares_memory", PAR_SHARES_MEMORY}, {"uses_threads", PAR_USES_THREADS},
	{"runs_inline", PAR_RUNS_INLINE},     {"survives_crash", PAR_SURVIVES_CRASH},
	{"can_kill", PAR_CAN_KILL},           {"limits_threads", PAR_LIMITS_THREADS},
	{"reruns", PAR_RERUNS},               {"ships_modules", PAR_SHIPS_MODULES},
	{"auto_batches", PAR_AUTO_BATCHES},   {"elsewhere", PAR_ELSEWHERE},
};

int32_t guard_register(struct plugin *checked, const char *name, par_error *error)
{
	plugin = checked;
	backend = name;
	promised = 0;
	for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
		if (plugin_can(plugin, backend, capabilities[i].word))
			promised |= capabilities[i].bit;
	return par_register_backend(name, factory, plugin_backend_note(plugin, name), 0, error);
}
