/* sim_backend.h - the backend of tests/simulation.c: keeps to backend.h where the core has
 * to be held to it, and otherwise does what the worst of plugins do.
 *
 * It asserts the state machine of an instance, and that the core asks for nothing
 * that it may not.  What it does itself is drawn from the seed, by its traits:
 * batches late, given back unrun, twice, while they run, or under numbers that
 * nobody lent; a submit() that fails; workers that go and come; anything that may
 * be PENDING so, and failing. */
#ifndef TESTS_SIM_BACKEND_H
#define TESTS_SIM_BACKEND_H

#include "sim_world.h"

#include "parallel.h"

#include <parloop/backend.h>

enum life { NOT_MADE, MAKING, MADE, CONFIGURING, UP, IN_CALL, TERMINATING, DOWN, GONE };
enum manner { AT_ONCE, LATER, NOT, NOT_LATER }; /* how a thing that may be PENDING ends */

enum fate {
	SOUND,
	UNRUN,   /* given back as lost, aborted or all right, and was none of it */
	TWICE,   /* done() again, at once or much later */
	EARLY,   /* done() by somebody else while it runs, or before, or after */
	RUNS_ON, /* run() again, at the same time or after it was given back */
	FATES
};

struct traits {
	uint32_t capabilities;
	int32_t default_n_jobs, holds, staff;
	enum manner create, configure, terminate;
	const char *fallback;
	int no_jobs;
	uint32_t start_fails; /* one start_call in so many */
	uint32_t odd[FATES]; /* of 256 batches, how many have that fate */
	uint32_t unrun_as;   /* elsewhere: always lost, aborted, or all right; or any of them */
	int aborts_unrun;    /* 0: abort_everything leaves batches to run; 1: gives them back; 2: later */
	int inline_later;    /* runs inline, and calls done() some time after */
	int submit_fails_at; /* which submit; 0: none */
	int32_t submit_code;
	int submit_lies;     /* it gives that batch back nevertheless: 1 at once, 2 later */
	uint32_t posts, strangers; /* of 256 batches: posts, numbers nobody lent */
	int64_t dispatch_ns, return_ns; /* at most, before it runs and after */
	int changes;         /* of capacity, in a call */
	int may_vanish;      /* and then all workers may go for good */
};

struct lent {
	par_batch batch;
	enum fate fate;
	struct errand *errand; /* for workers elsewhere */
};

enum { QUEUE = 64, PLACES = 64, MOST_BACKENDS = 16 };

struct par_backend {
	const par_host *host;
	const struct traits *traits;
	enum life life;
	int is_abort, in_retrieval, users, busy_staff;
	int32_t n_jobs;
	struct lent queue[QUEUE];
	int n_queued;
	uint64_t lent, accepted; /* batches; those whose done() was the first */
	uint64_t dones, runs_refused, posts, posted, submits;
	int64_t no_worker_since; /* NEVER: there are some */
	int64_t came_at, before; /* when some came, and since when there had been none */
	int capacity_told;
	int32_t batch_size; /* as it said last */
	uint64_t seats; /* workers elsewhere that have something to do */
	uint64_t given[PLACES]; /* of each place, the last generation whose done() was called */
};

/* The one that was made last, of those that there are, and whose call it is. */
static struct par_backend backends[MOST_BACKENDS], *live, *serving;
static int n_backends, joining;

/* What it did in this call that may end one. */
static struct {
	int submit_failed, unpack_failed, up_failed, no_worker, unrun, lost_elsewhere, lost_in_a_row, most_lost_in_a_row;
	int32_t submit_code;
	int aborts;
} did;

static struct instance *instance_of_sim(const struct par_backend *backend)
{
	return (struct instance *)(uintptr_t)backend->host;
}

static par_parallel *parallel_of_sim(const struct par_backend *backend)
{
	struct loop *loop = atomic_load(&instance_of_sim(backend)->loop);

	return (par_parallel *)(void *)((char *)loop - offsetof(par_parallel, loop));
}

static void in_core(int change)
{
	world.looks = 0;
	running->in_core += change;
}

/* --- users: fibers and events that still use a backend --------------------------------------- */

static void user_leaves(struct par_backend *backend)
{
	if (--backend->users == 0 && joining)
		wake_fiber(&fibers[CALLER]);
}

/* As joining threads: the caller's fiber waits. */
static void join(struct par_backend *backend)
{
	must(running == &fibers[CALLER], "the core ends a backend on a thread that is not the loop's");
	joining = 1;
	while (backend->users > 0)
		sleep_until_woken();
	joining = 0;
}

static void count_unrun(int32_t status)
{
	did.unrun++;
	did.lost_in_a_row = status == PAR_OK ? did.lost_in_a_row : did.lost_in_a_row + 1;
	if (did.lost_in_a_row > did.most_lost_in_a_row)
		did.most_lost_in_a_row = did.lost_in_a_row;
}

/* --- giving back ----------------------------------------------------------------------------- */

/* The generation is in the upper half of the number, and only grows. */
static int was_given(const struct par_backend *backend, par_batch batch)
{
	uint32_t place = (uint32_t)batch;

	return place >= PLACES || batch >> 32 <= backend->given[place];
}

static void give_how(struct par_backend *backend, par_batch batch, int32_t status, const par_how *how)
{
	backend->dones++;
	if (!was_given(backend, batch)) {
		backend->accepted++;
		backend->given[(uint32_t)batch] = batch >> 32;
	}
	trace("done(%llx, %d)", (unsigned long long)batch, status);
	in_core(1);
	backend->host->done(backend->host, batch, status, how);
	in_core(-1);
}

static void give(struct par_backend *backend, par_batch batch, int32_t status)
{
	const par_how how = {.size = sizeof(how), .pid = 42, .exit_code = -1};

	give_how(backend, batch, status, rarely(2) ? &how : NULL);
}

static void give_event(void *arg, uint64_t batch)
{
	static const int32_t statuses[] = {PAR_OK, PAR_EABORTED, PAR_ELOST, PAR_EFAILED};
	struct par_backend *backend = arg;

	give(backend, batch, statuses[below(4)]);
	user_leaves(backend);
}

static void give_after(struct par_backend *backend, par_batch batch, int64_t time)
{
	backend->users++;
	happens(time, give_event, backend, batch);
}

static int32_t run_batch(struct par_backend *backend, par_batch batch)
{
	int was_over = was_given(backend, batch);
	int32_t status;

	trace("run(%llx)", (unsigned long long)batch);
	in_core(1);
	status = backend->host->run(backend->host, batch);
	in_core(-1);
	must(status == PAR_OK || status == PAR_EINVAL, "run() returned %d", status);
	must(status == PAR_EINVAL || !was_over, "run() of a batch that was given back");
	backend->runs_refused += status == PAR_EINVAL;
	return status;
}

static void run_event(void *arg, uint64_t batch)
{
	(void)run_batch(arg, batch);
	user_leaves(arg);
}

static void on_post(void *arg)
{
	struct par_backend *backend = arg;

	must(running == &fibers[CALLER], "a post runs on a thread that is not the loop's");
	must(backend->life < GONE, "a post runs after destroy()");
	backend->posted++;
}

static void post_something(struct par_backend *backend)
{
	/* Without terminate() its workers are joined by destroy(), which is too late. */
	if (instance_of_sim(backend)->provider->ops.terminate == NULL)
		return;
	in_core(1);
	if (backend->host->post(backend->host, on_post, backend) == PAR_OK)
		backend->posts++;
	in_core(-1);
}

static void enter(struct par_backend *backend, const char *what, enum life from, enum life last)
{
	world.looks = 0;
	trace("%s", what);
	must(running == &fibers[CALLER], "%s on a thread that is not the loop's", what);
	must(backend->life >= from && backend->life <= last,
	     "%s in state %d of the backend, which allows it from %d to %d", what, backend->life, from,
	     last);
}

static void linger(int64_t most)
{
	if (most > 0 && rarely(2))
		pass(between(0, most));
	else
		point();
}

#include "sim_elsewhere.h"

/* --- workers --------------------------------------------------------------------------------- */

static void serve_unrun(struct par_backend *backend, par_batch batch)
{
	static const int32_t statuses[] = {PAR_ELOST, PAR_EABORTED, PAR_OK, PAR_EFAILED};
	int32_t status = statuses[below(4)];

	if (!was_given(backend, batch))
		count_unrun(status);
	give(backend, batch, status);
}

static void serve(struct par_backend *backend, struct lent lent)
{
	const struct traits *traits = backend->traits;
	int32_t status;

	linger(traits->dispatch_ns);
	if (backend->host->stopping(backend->host, lent.batch) && rarely(2)) {
		give(backend, lent.batch, PAR_EABORTED);
		return;
	}
	if (lent.fate == UNRUN) {
		serve_unrun(backend, lent.batch);
		return;
	}
	if (lent.fate == EARLY) {
		count_unrun(PAR_ELOST); /* it may be, if that is earlier than run() */
		give_after(backend, lent.batch, between(0, 200 * US));
	}
	if (lent.fate == RUNS_ON) {
		backend->users++;
		happens(between(0, 50 * US), run_event, backend, lent.batch);
	}
	status = run_batch(backend, lent.batch);
	linger(traits->return_ns);
	if (below(256) < traits->posts)
		post_something(backend);
	/* What it says of a batch that ran does not count; it may not have, for want of a seat. */
	if (rarely(8))
		count_unrun(status = PAR_ELOST);
	give(backend, lent.batch, status);
	if (lent.fate == TWICE)
		give_after(backend, lent.batch, rarely(2) ? 0 : between(0, 50 * MS));
	if (below(256) < traits->strangers)
		give(backend, rarely(2) ? 0 : draw(), PAR_OK);
}

/* Whose work is there to be done; NULL: nobody's. */
static struct par_backend *find_work(void)
{
	for (int i = n_backends - 1; i >= 0; i--)
		if (backends[i].n_queued > 0 && backends[i].busy_staff < backends[i].traits->staff)
			return &backends[i];
	return NULL;
}

static void worker_body(void)
{
	for (;;) {
		struct par_backend *backend = find_work();
		struct lent lent;
		int at;

		if (backend == NULL) {
			sleep_until_woken();
			continue;
		}
		/* First come, first served, mostly. */
		at = rarely(4) ? (int)below((uint32_t)backend->n_queued) : 0;
		lent = backend->queue[at];
		memmove(&backend->queue[at], &backend->queue[at + 1],
		        (size_t)(--backend->n_queued - at) * sizeof(lent));
		backend->busy_staff++;
		if (lent.errand != NULL)
			serve_elsewhere(lent.errand), finish_elsewhere(lent.errand);
		else
			serve(backend, lent);
		backend->busy_staff--;
		if (lent.errand != NULL)
			errand_put(lent.errand);
		else
			user_leaves(backend);
	}
}

static void call_workers(void)
{
	for (int i = WORKER; i < FIBERS; i++)
		wake_fiber(&fibers[i]);
}

/* --- the life of an instance ----------------------------------------------------------------- */

static void ready_event(void *arg, uint64_t failed)
{
	struct par_backend *backend = arg;
	par_error error = PAR_ERROR_INIT;

	must(backend->life == MAKING || backend->life == CONFIGURING || backend->life == TERMINATING,
	     "the core went on before ready()");
	backend->life = backend->life == MAKING ? MADE : backend->life == CONFIGURING ? UP : DOWN;
	trace("ready(%s)", failed ? "failed" : "ok");
	if (failed)
		(void)par_fail(&error, PAR_EUNAVAIL, "it could not, after all");
	in_core(1);
	backend->host->ready(backend->host, failed ? PAR_EUNAVAIL : PAR_OK, failed ? &error : NULL);
	in_core(-1);
}

static int32_t end_as(struct par_backend *backend, enum manner manner, enum life now, enum life later,
                      par_error *error)
{
	backend->life = now;
	if (manner == LATER || manner == NOT_LATER) {
		backend->life = later;
		did.up_failed |= manner == NOT_LATER;
		happens(rarely(3) ? 0 : between(0, 10 * MS), ready_event, backend, manner == NOT_LATER);
		return PAR_PENDING;
	}
	if (manner == AT_ONCE)
		return PAR_OK;
	did.up_failed = 1;
	return par_fail(error, PAR_EUNAVAIL, "it cannot");
}

static const struct traits *traits_of(const par_host *host); /* of simulation.c */

static int32_t sim_create(const par_host *host, const par_options *options, int32_t level,
                          int32_t inner_max_num_threads, par_backend **out, par_error *error)
{
	struct par_backend *backend = &backends[n_backends];
	int32_t status;

	(void)options, (void)inner_max_num_threads;
	must(n_backends < MOST_BACKENDS, "the core makes more and more backends");
	must(level == 0, "an outermost call has level %d", level);
	*backend = (struct par_backend){.host = host, .traits = traits_of(host), .no_worker_since = NEVER};
	enter(backend, "create", NOT_MADE, NOT_MADE);
	status = end_as(backend, backend->traits->create, MADE, MAKING, error);
	if (status < 0)
		return status;
	n_backends++;
	live = *out = backend;
	return status;
}

static void sim_destroy(par_backend *backend)
{
	const struct instance *instance = instance_of_sim(backend);
	uint64_t refused;

	enter(backend, "destroy", MADE, DOWN);
	must(backend->life != CONFIGURING && backend->life != TERMINATING && backend->life != IN_CALL,
	     "destroy while it is pending, or in a call");
	join(backend);
	refused = atomic_load(&instance->batches.refused);
	must(backend->life == DOWN || backend->life == MADE || instance->provider->ops.terminate == NULL,
	     "destroy without terminate");
	must(backend->posted == backend->posts, "destroy, and %llu posts were not run",
	     (unsigned long long)(backend->posts - backend->posted));
	must(instance->batches.n_out == 0, "destroy, and %u batches are out", instance->batches.n_out);
	/* A table that was never made counts nothing. */
	must(!instance->has_batches || refused == backend->dones - backend->lent + backend->runs_refused,
	     "%llu completions and runs were refused, where %llu should have been",
	     (unsigned long long)refused,
	     (unsigned long long)(backend->dones - backend->lent + backend->runs_refused));
	backend->life = GONE;
	live = NULL;
	for (int i = 0; i < n_backends; i++)
		if (backends[i].life != GONE)
			live = &backends[i];
}

static int32_t sim_effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	must(backend->life >= MADE && backend->life < GONE, "effective_n_jobs of what is not there");
	n_jobs = n_jobs < 0 ? cores + 1 + n_jobs : n_jobs;
	if (backend->traits->capabilities & PAR_RUNS_INLINE)
		n_jobs = 1;
	return n_jobs < 1 ? 1 : n_jobs;
}

static int32_t sim_default_n_jobs(par_backend *backend)
{
	return backend->traits->default_n_jobs;
}

static int32_t sim_configure(par_backend *backend, const par_call *call, par_answer *answer,
                             par_error *error)
{
	const struct traits *traits = backend->traits;

	enter(backend, "configure", MADE, MADE);
	must(call->n_jobs != 0, "configure for n_jobs 0");
	if (traits->no_jobs)
		answer->n_jobs = 0;
	answer->capabilities |= PAR_CAN_KILL; /* which the note did not promise */
	answer->fallback = traits->fallback;
	answer->holds = traits->holds;
	did.up_failed |= traits->no_jobs || traits->fallback != NULL;
	backend->n_jobs = answer->n_jobs;
	return end_as(backend, traits->configure, UP, CONFIGURING, error);
}

static int32_t sim_terminate(par_backend *backend, par_error *error)
{
	enter(backend, "terminate", MADE, DOWN);
	must(backend->life == MADE || backend->life == UP || backend->life == DOWN,
	     "terminate while it is pending, or in a call");
	join(backend);
	return end_as(backend, backend->traits->terminate, DOWN, TERMINATING, error);
}

/* --- a call ---------------------------------------------------------------------------------- */

/* Some that leave again at once, or while the loop runs a long task, it may never see. */
static void note_workers(struct par_backend *backend, int there_are)
{
	int had_some = backend->no_worker_since == NEVER;

	if (there_are && !had_some) {
		backend->before = backend->no_worker_since;
		backend->came_at = world.now;
		backend->no_worker_since = NEVER;
	} else if (!there_are && had_some) {
		backend->no_worker_since = backend->came_at > 0 && world.now - backend->came_at < 15 * S
		                                   ? backend->before
		                                   : world.now;
	}
}

static void capacity_event(void *arg, uint64_t workers)
{
	struct par_backend *backend = arg;
	int32_t batches = rarely(2) ? 0 : (int32_t)below(10);

	backend->capacity_told = 1;
	if (workers == 0)
		batches = 0;
	trace("capacity(%d, %d)", (int)workers, batches);
	note_workers(backend, workers > 0);
	in_core(1);
	backend->host->capacity(backend->host, (int32_t)workers, batches);
	in_core(-1);
	user_leaves(backend);
}

static void plan_capacity(struct par_backend *backend)
{
	int64_t after = 0;

	for (int i = 0; i < backend->traits->changes; i++) {
		int last = i == backend->traits->changes - 1 && !backend->traits->may_vanish;
		uint64_t workers = last ? 1 + below(5) : rarely(2) ? 0 : below(5);

		after += rarely(8) ? between(0, 40 * S) : between(0, 2 * MS);
		backend->users++;
		happens(after, capacity_event, backend, workers);
	}
}

static int32_t sim_start_call(par_backend *backend, par_error *error)
{
	enter(backend, "start_call", UP, UP);
	if (rarely(backend->traits->start_fails)) {
		did.up_failed = 1;
		return par_fail(error, PAR_EUNAVAIL, "it cannot begin a call");
	}
	backend->life = IN_CALL;
	serving = backend;
	backend->is_abort = 0;
	plan_capacity(backend);
	return PAR_OK;
}

/* For 30 s, less a moment. */
static int lacks_workers(const struct par_backend *backend)
{
	return backend->no_worker_since != NEVER && world.now - backend->no_worker_since >= 29 * S;
}

static void sim_stop_call(par_backend *backend)
{
	enter(backend, "stop_call", IN_CALL, IN_CALL);
	must(instance_of_sim(backend)->batches.n_out == 0 && backend->accepted == backend->lent,
	     "stop_call, and %u batches are out", instance_of_sim(backend)->batches.n_out);
	must(!backend->in_retrieval, "stop_call before retrieval_exit");
	did.no_worker |= lacks_workers(backend);
	backend->life = UP;
}

static void sim_retrieval_enter(par_backend *backend)
{
	enter(backend, "retrieval_enter", UP, IN_CALL);
	must(!backend->in_retrieval++, "retrieval_enter twice");
}

static void sim_retrieval_exit(par_backend *backend)
{
	enter(backend, "retrieval_exit", UP, IN_CALL);
	must(backend->in_retrieval--, "retrieval_exit, and it was not entered");
}

static int fails_submit(struct par_backend *backend)
{
	backend->submits++;
	return (int)backend->submits == backend->traits->submit_fails_at;
}

static int32_t refuse_batch(struct par_backend *backend, par_batch batch, par_error *error)
{
	did.submit_failed = 1;
	did.submit_code = backend->traits->submit_code;
	/* One that lies gives it back nevertheless: at once, when it still can, or later. */
	if (backend->traits->submit_lies == 1) {
		backend->lent++;
		give(backend, batch, PAR_OK);
	} else if (backend->traits->submit_lies == 2) {
		backend->given[(uint32_t)batch] = batch >> 32;
		give_after(backend, batch, between(0, MS));
	}
	return par_fail(error, backend->traits->submit_code, "it cannot take one more");
}

static enum fate draw_fate(const struct traits *traits)
{
	for (int fate = SOUND + 1; fate < FATES; fate++)
		if (below(256) < traits->odd[fate])
			return (enum fate)fate;
	return SOUND;
}

static void submit_inline(struct par_backend *backend, par_batch batch)
{
	int32_t status;

	must(backend->lent - backend->accepted == 1, "%d batches of one that runs inline are out",
	     (int)(backend->lent - backend->accepted));
	status = run_batch(backend, batch);
	if (backend->traits->inline_later)
		give_after(backend, batch, between(0, MS));
	else
		give(backend, batch, status);
}

static void enqueue(struct par_backend *backend, struct lent lent)
{
	must(backend->n_queued < QUEUE, "submit without end");
	backend->queue[backend->n_queued++] = lent;
	backend->users++;
	call_workers();
	point();
}

static int32_t submit_elsewhere(struct par_backend *backend, par_batch batch, void **future, par_error *error)
{
	struct errand *errand = errand_take(backend, batch);
	int32_t status = errand_encode(errand, error);
	int fails = fails_submit(backend);

	*future = errand;
	if (status < 0 || fails)
		errand->refs = 0;
	if (status < 0)
		return status;
	if (fails)
		return refuse_batch(backend, batch, error);
	backend->lent++;
	must(!was_given(backend, batch), "the number of a batch is used again");
	errand->fate = draw_fate(backend->traits);
	enqueue(backend, (struct lent){batch, errand->fate, errand});
	return PAR_OK;
}

static int32_t sim_submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	const struct traits *traits = backend->traits;
	uint64_t out = backend->lent - backend->accepted;
	int32_t holds = traits->holds > 0 ? traits->holds : backend->n_jobs;

	enter(backend, "submit", UP, IN_CALL);
	trace("submit(%llx)", (unsigned long long)batch);
	must(!backend->is_abort, "submit after abort_everything");
	must(backend->capacity_told || out < (uint64_t)holds, "submit of batch %d to one that holds %d",
	     (int)out + 1, holds);
	must(*future == NULL, "the future of a new batch is not NULL");
	if (is_elsewhere(backend))
		return submit_elsewhere(backend, batch, future, error);
	*future = backend;
	if (fails_submit(backend))
		return refuse_batch(backend, batch, error);
	backend->lent++;
	must(!was_given(backend, batch), "the number of a batch is used again");
	if (traits->capabilities & PAR_RUNS_INLINE) {
		submit_inline(backend, batch);
		return PAR_OK;
	}
	enqueue(backend, (struct lent){batch, draw_fate(traits), NULL});
	return PAR_OK;
}

static int32_t sim_retrieve_callback(par_backend *backend, par_batch batch, void *future,
                                     int32_t status, par_error *error)
{
	enter(backend, "retrieve_result_callback", UP, IN_CALL);
	must(was_given(backend, batch), "retrieve_result_callback for a batch that was not given back");
	must(future == backend || is_elsewhere(backend), "retrieve_result_callback without the future");
	if (status != PAR_OK || !rarely(is_elsewhere(backend) ? 500 : 16))
		return status;
	did.unpack_failed = 1;
	count_unrun(PAR_EFAILED);
	return par_fail(error, PAR_EFAILED, "what came makes no sense");
}

static int32_t sim_compute_batch_size(par_backend *backend)
{
	/* The simulation asks too, by turn_is_idle(). */
	if (world.frozen)
		return backend->batch_size;
	enter(backend, "compute_batch_size", UP, IN_CALL);
	return backend->batch_size = (int32_t)below(9) - 1;
}

static void sim_batch_completed(par_backend *backend, int64_t size, int64_t ns)
{
	enter(backend, "batch_completed", UP, IN_CALL);
	must(size >= 0 && ns >= 0, "batch_completed(%lld, %lld)", (long long)size, (long long)ns);
}

static void sim_abort(par_backend *backend, int32_t ensure_ready)
{
	(void)ensure_ready;
	enter(backend, "abort_everything", UP, IN_CALL);
	must(!backend->is_abort, "abort_everything twice in a call");
	backend->is_abort = 1;
	did.aborts++;
	if (is_elsewhere(backend)) {
		abort_elsewhere(backend);
		return;
	}
	while (backend->traits->aborts_unrun && backend->n_queued > 0) {
		par_batch batch = backend->queue[--backend->n_queued].batch;

		if (backend->traits->aborts_unrun == 1)
			give(backend, batch, PAR_EABORTED);
		else
			give_after(backend, batch, between(0, MS));
		user_leaves(backend);
	}
}

static int32_t sim_get_nested(par_backend *backend, par_nested *nested)
{
	enter(backend, "get_nested_backend", UP, UP);
	nested->n_jobs = 3;
	nested->name = "other";
	return PAR_OK;
}

static const par_backend_ops sim_ops = {
	.size = sizeof(sim_ops),
	.abi = PAR_ABI,
	.create = sim_create,
	.destroy = sim_destroy,
	.effective_n_jobs = sim_effective_n_jobs,
	.default_n_jobs = sim_default_n_jobs,
	.configure = sim_configure,
	.start_call = sim_start_call,
	.stop_call = sim_stop_call,
	.submit = sim_submit,
	.retrieve_result_callback = sim_retrieve_callback,
	.compute_batch_size = sim_compute_batch_size,
	.batch_completed = sim_batch_completed,
	.abort_everything = sim_abort,
	.retrieval_enter = sim_retrieval_enter,
	.retrieval_exit = sim_retrieval_exit,
	.get_nested_backend = sim_get_nested,
	.terminate = sim_terminate,
	.kill = sim_kill,
};

/* What a plugin need not have, it has in three of four cases. */
static void draw_ops(par_backend_ops *ops)
{
	*ops = sim_ops;
	if (rarely(4))
		ops->default_n_jobs = NULL;
	if (rarely(4))
		ops->retrieve_result_callback = NULL;
	if (rarely(2))
		ops->compute_batch_size = NULL;
	if (rarely(4))
		ops->batch_completed = NULL;
	if (rarely(4))
		ops->abort_everything = NULL;
	if (rarely(4))
		ops->retrieval_enter = NULL, ops->retrieval_exit = NULL;
	if (rarely(4))
		ops->get_nested_backend = NULL;
	if (rarely(8))
		ops->terminate = NULL;
	if (rarely(2))
		ops->kill = NULL;
}

/* --- what it is like ------------------------------------------------------------------------- */

static enum manner draw_manner(uint32_t sound)
{
	return !rarely(sound) ? (rarely(4) ? LATER : AT_ONCE) : rarely(2) ? NOT : NOT_LATER;
}

static int64_t draw_time(void)
{
	static const int64_t times[] = {0, 0, US, 30 * US, MS, 30 * MS};

	return times[below(6)];
}

static void draw_odds(struct traits *traits)
{
	static const uint32_t odds[] = {0, 0, 0, 0, 5, 30, 80, 255};

	if (rarely(2))
		return;
	for (int fate = SOUND + 1; fate < FATES; fate++)
		traits->odd[fate] = odds[below(fate == UNRUN ? 8 : 7)];
	traits->posts = odds[below(8)];
	traits->strangers = odds[below(7)];
}

/* Its workers have memory of their own. */
static void put_elsewhere(struct traits *traits)
{
	traits->capabilities &= ~(uint32_t)(PAR_SHARES_MEMORY | PAR_RUNS_INLINE | PAR_USES_THREADS);
	traits->unrun_as = below(5);
	traits->capabilities |= PAR_SURVIVES_CRASH | (rarely(2) ? PAR_CAN_KILL : 0);
	/* Where nothing is ever run, that is the same all over again, a thousand times. */
	for (int fate = SOUND + 1; fate < FATES; fate++)
		if (traits->odd[fate] > 80)
			traits->odd[fate] = rarely(20) ? 256 : 80;
}

static void draw_traits(struct traits *traits, int n_jobs)
{
	*traits = (struct traits){
		.capabilities = PAR_SHARES_MEMORY | (rarely(2) ? PAR_USES_THREADS : 0) |
		                (rarely(2) ? PAR_AUTO_BATCHES : 0) |
		                (rarely(6) ? PAR_RUNS_INLINE : 0),
		.default_n_jobs = rarely(4) ? -1 : (int32_t)below(4) + 1,
		.holds = rarely(3) ? (int32_t)below(10) : 0,
		.staff = rarely(3) ? WORKERS : n_jobs > 0 && n_jobs < WORKERS ? n_jobs : WORKERS,
		.create = draw_manner(64),
		.configure = draw_manner(64),
		.terminate = draw_manner(64),
		.no_jobs = rarely(128),
		.start_fails = rarely(64) ? 2 : 1 << 30,
		.aborts_unrun = (int)below(3),
		.inline_later = rarely(3),
		.submit_fails_at = rarely(12) ? 1 + (int)below(6) : 0,
		.submit_code = rarely(2) ? PAR_EUNAVAIL : PAR_ENOMEM,
		.submit_lies = (int)below(4),
		.dispatch_ns = draw_time(),
		.return_ns = draw_time(),
		.changes = rarely(10) ? 1 + (int)below(4) : 0,
		.may_vanish = rarely(4),
	};
	draw_odds(traits);
	if (rarely(3))
		put_elsewhere(traits);
}

#endif
