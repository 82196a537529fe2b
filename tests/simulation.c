/* simulation.c - the whole ring, from par_open() to par_close(), on a virtual clock, with a
 * backend that is simulated: schedule after schedule, each made from a 64-bit seed.
 *
 * The core is the one that ships, all of it; only what it stands on is replaced
 * (sim_world.h): threads, clock, locks, libuv and malloc, by --wrap below and by
 * definitions of libuv's functions here.  sim_backend.h is the backend, and the
 * guard of backend.h's state machine; in a third of the schedules its workers share no
 * memory with us (sim_elsewhere.h), and die.  This file draws calls, makes them, and
 * checks what came of them.
 *
 *	build/tests/simulation [--seed N] [--schedules N] [--verbose]
 *
 * begins with seed N and runs that many; with --seed alone, that one.  A million take
 * about a minute of one core.
 *
 * link: -Wl,--wrap=clock_gettime,--wrap=pthread_mutex_lock,--wrap=pthread_mutex_unlock
 * link: -Wl,--wrap=context_current,--wrap=context_enter,--wrap=context_leave
 * link: -Wl,--wrap=open,--wrap=cpu_count,--wrap=fputs,--wrap=sched_yield
 * link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=aligned_alloc,--wrap=posix_memalign
 * link: -Wl,--wrap=pthread_create,--wrap=pthread_detach,--wrap=realloc,--wrap=reallocarray
 * link: -Wl,--wrap=strdup,--wrap=free,--wrap=registry_find,--wrap=registry_options
 */
#include "sim_backend.h"

#include "module.h"

#include <malloc.h>

enum { DEFAULT_SCHEDULES = SIM_SANITIZED ? 1500 : 150000 };

enum { MOST_TASKS = 2048, LONGEST = 24000 };

enum how { MANAGED, UNMANAGED, ON_CALLERS_LOOP };

/* --- a call that is drawn -------------------------------------------------------------------- */

static struct {
	enum how how;
	int calls;
	int opened_settings; /* the settings are given to par_open(), not to the call */
	par_settings open;
	int64_t close_after; /* on the caller's loop: from the beginning, or NEVER */
} schedule;

static struct {
	uint32_t poisons;       /* of 256 tasks, how many kill a worker elsewhere */
	int is_map, is_iter, names_tasks, unordered, collect, ignore, shares;
	int64_t task_timeout, call_timeout; /* ns; 0: none */
	uint32_t retries, retry_on;
	par_settings settings;
	uint64_t pre_dispatch;  /* as it comes to, where n_jobs is known; 0: "2 * n_jobs" */
	int pre_dispatch_times; /* ... n_jobs */
	uint64_t n;             /* tasks that there are */
	uint64_t source_fails, bad_item, sink_stops, long_one, stuck_one; /* at which task; NEVER */
	uint64_t salt;
	uint32_t fails;         /* of 256 tasks */
	uint32_t explains;      /* of 256 that fail */
	uint32_t large;         /* of 256 payloads and replies */
	int64_t task_ns, source_ns, sink_ns; /* at most */
	int64_t cancel_after;   /* NEVER */
	uint32_t cancels;       /* of 256 tasks, sinks or sources, one that cancels */
	uint32_t waits;         /* of 256 times, that the source has none yet */
	uint32_t keeps;         /* of 256 outcomes, that the sink keeps */
} call;

/* --- and what came of it --------------------------------------------------------------------- */

/* A task that FAILED did so for good.  MAYBE: it failed, and is to be tried again unless the
 * call ends before.  LATE: it ran for longer than its time, which the core may have noticed.
 * LOST: so many workers died of it that it may be condemned.  Of a task elsewhere these are what
 * the core was told: it RUNS from when it was heard to until its answer was taken. */
enum { BEGAN = 1, ENDED = 2, FAILED = 4, DELIVERED = 8, RUNS = 16, MAYBE = 32, LATE = 64, LOST = 128 };

static struct {
	par_parallel *parallel;
	int busy, over, in_callback;
	int id; /* of this call among all */
	uint64_t taken, began, ended, delivered, failed, first_failed, next;
	int is_asking, dropped; /* its iterator: is used just now, was closed early */
	uint8_t seats[WORKERS + 16];
	uint32_t seated;
	int exhausted, source_failed, bad, stopped, cancelled;
	int none_yet; /* the source said so: 1, 2 once somebody called par_wake() */
	int64_t begun_at, result_at;
	int finished; /* on the caller's loop: done() was called */
	int32_t status;
	par_error error;
} seen;

static uint8_t marks[MOST_TASKS + 1]; /* of each task */
static uint8_t tries[MOST_TASKS + 1], retries_told[MOST_TASKS + 1], states[MOST_TASKS + 1];
static uint8_t bad_tries[MOST_TASKS + 1]; /* a bit for each that failed */
static struct elsewhere {
	uint8_t runs, ran, may_again;     /* on a worker that lives; its answer was lost     */
	uint8_t restarts;                 /* it was said to begin, and may be once more      */
	uint8_t least, most;              /* tries that are over, for sure or by the core's count */
	uint8_t strikes, may_strikes;     /* likewise, workers that died of it               */
	uint8_t foreign;                  /* one of them by somebody else, it may be         */
	uint8_t is_overdue;               /* its last answer came long after its time        */
} elsewhere[MOST_TASKS + 1];
static int64_t began_at[MOST_TASKS + 1];
static int32_t statuses[MOST_TASKS + 1];
static uint64_t array_in[MOST_TASKS], array_out[MOST_TASKS];
static unsigned char payload_bytes[LONGEST];

enum { MOST_KEPT = 8 };
static par_outcome *kept[MOST_KEPT];
static int n_kept;

extern const par_task par_task_value, par_task_bytes, par_task_triple;

/* What is fixed for a task of this call, whoever asks and when. */
static uint64_t fact(uint64_t index, unsigned which)
{
	return mix(call.salt + index * 16 + which);
}

static int fact_in(uint64_t index, unsigned which, uint32_t of_256)
{
	return (fact(index, which) & 255) < of_256;
}

static int does_fail(uint64_t index, int32_t attempt)
{
	return fact_in(index, 0, call.fails) && (attempt == 0 || fact(index, 0) / 256 % 3 >= (uint64_t)attempt);
}

/* A worker that comes back while the loop tells that the call is out of time waits for that. */
static int64_t told_meanwhile(void)
{
	int is_told = call.settings.on_event != NULL && (call.call_timeout > 0 || call.settings.timeout.set);

	return is_told ? 500 * US : 0;
}

/* Is it over its time by now, or was it? */
static int is_late(uint64_t index)
{
	return (marks[index] & LATE) ||
	       ((marks[index] & RUNS) && call.task_timeout > 0 &&
	        world.now - began_at[index] + told_meanwhile() >= call.task_timeout);
}

/* May it be what ended the call, or is counted as failed? */
static int may_have_failed(uint64_t index)
{
	return (marks[index] & (FAILED | MAYBE | LOST)) || is_late(index);
}

static uint64_t count_tasks(int (*is_such)(uint64_t index))
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < call.n; i++)
		n += is_such(i) != 0;
	return n;
}

static uint64_t size_of(uint64_t index, unsigned which)
{
	uint64_t fate = fact(index, which);

	if (fact_in(index, which + 1, call.large))
		return 16000 + fate % (LONGEST - 16000);
	return fate % 4 == 0 ? 0 : fate % 4 == 1 ? 8 : fate % 4 == 2 ? fate / 4 % 64 : 8 + fate / 4 % 300;
}

static const par_task *task_of(uint64_t index)
{
	static const par_task *const tasks[] = {&par_task_value, &par_task_bytes, &par_task_triple};

	return call.is_map ? &par_task_value : tasks[call.names_tasks ? fact(index, 5) % 3 : call.salt % 3];
}

static uint64_t payload_size(uint64_t index)
{
	return task_of(index)->kind == PAR_TASK_TYPED ? task_of(index)->in_size : size_of(index, 6);
}

static uint64_t reply_size(uint64_t index)
{
	return task_of(index)->kind == PAR_TASK_TYPED ? task_of(index)->out_size : size_of(index, 8);
}

static unsigned char byte_of(uint64_t index, unsigned which)
{
	return (unsigned char)fact(index, which);
}

static int is_served_elsewhere(void)
{
	return serving != NULL && is_elsewhere(serving);
}

/* --- cancelling ------------------------------------------------------------------------------ */

/* Of a call without a pool, which nobody else knows, too. */
static par_parallel *parallel_of_call(void)
{
	if (seen.parallel != NULL || live == NULL)
		return seen.parallel;
	return parallel_of_sim(live);
}

static void cancel(void)
{
	if (parallel_of_call() == NULL || !seen.busy)
		return;
	seen.cancelled = 1;
	trace("par_cancel");
	in_core(1);
	par_cancel(parallel_of_call());
	in_core(-1);
}

static void cancel_event(void *arg, uint64_t value)
{
	(void)arg, (void)value;
	cancel();
}

static void cancel_at_times(uint64_t index, unsigned which)
{
	if (fact_in(index, which, call.cancels))
		cancel();
}

/* --- the tasks ------------------------------------------------------------------------------- */

/* One run of a task, which may go on when its call, and others, are over. */
struct run {
	int id, may_be_left, is_left;
	int is_ghost; /* its worker is dead, or its call over before it began */
	int32_t attempt;
};

static uint32_t most_strikes(void)
{
	return (call.retry_on & PAR_ON_CRASH) && call.retries + 1 > 3 ? call.retries + 1 : 3;
}

/* Of the tasks elsewhere: those that kill their worker. */
static uint64_t poison_of(uint64_t index)
{
	uint64_t fate = mix(call.salt ^ ((index + 1) << 32));

	return (fate & 255) < call.poisons ? fate >> 8 | 1 : 0;
}

static int is_of_call(const struct errand *errand)
{
	return errand->call == seen.id && seen.busy && !seen.over;
}

static void begin_elsewhere(const par_env *env, uint64_t index, struct run *run)
{
	struct elsewhere *other = &elsewhere[index];
	struct errand *errand = running->errand;

	*run = (struct run){errand->call, errand->may_be_left, 0, 0, env->attempt};
	run->is_ghost = errand->is_dead || !is_of_call(errand);
	must(errand->is_dead || is_of_call(errand) || errand->may_be_left,
	     "task %llu begins elsewhere when its call is over", (unsigned long long)index);
	if (run->is_ghost)
		return;
	trace("task %llu begins elsewhere on seat %u", (unsigned long long)index, env->worker);
	must(index < call.n && index >= errand->first && index < errand->first + errand->n, "task %llu is nobody's",
	     (unsigned long long)index);
	must(!other->runs, "task %llu runs twice at once", (unsigned long long)index);
	must(!other->ran || (marks[index] & (MAYBE | LATE)) || other->may_again || memory.refused,
	     "task %llu runs twice", (unsigned long long)index);
	must((env->attempt >= other->least && env->attempt <= other->most) || memory.refused,
	     "try %d of task %llu is told to be %d", other->least, (unsigned long long)index, env->attempt);
	must(!(marks[index] & DELIVERED), "task %llu runs after it was delivered", (unsigned long long)index);
	must(other->strikes < (other->foreign ? MOST_STRIKES : most_strikes()), "task %llu has killed %d workers",
	     (unsigned long long)index, other->strikes);
	must((int)env->worker == errand->seat && !seen.seats[env->worker], "two tasks at once on seat %u", env->worker);
	must((env->shared != NULL) == call.shares && (!call.shares || memcmp(env->shared, &call, sizeof(call)) == 0),
	     "not what the tasks share");
	must(env->call_seed == call.salt || !call.settings.seed.set, "not the call's seed");
	other->runs = other->ran = 1;
	other->may_again = 0;
	other->least = other->most = (uint8_t)env->attempt;
	if (marks[index] & (MAYBE | LATE))
		marks[index] &= (uint8_t)~(ENDED | MAYBE);
	marks[index] |= BEGAN;
	errand->runs = index;
	world.looks = 0;
	seen.began++;
	seen.seats[env->worker] = 1;
}

static void begin_task(const par_env *env, uint64_t index, struct run *run)
{
	if (running->is_elsewhere) {
		begin_elsewhere(env, index, run);
		return;
	}
	trace("task %llu begins on seat %u", (unsigned long long)index, env->worker);
	must(seen.busy && !seen.over, "task %llu runs when its call is over", (unsigned long long)index);
	must(index < call.n, "task %llu of %llu", (unsigned long long)index, (unsigned long long)call.n);
	must(env->index == index, "task %llu is told that it is task %llu", (unsigned long long)index,
	     (unsigned long long)env->index);
	must(!(marks[index] & RUNS), "task %llu runs twice at once", (unsigned long long)index);
	must(!(marks[index] & BEGAN) || (marks[index] & (MAYBE | LATE)) || memory.refused, "task %llu runs twice",
	     (unsigned long long)index);
	/* One without room for its reply has failed, and did not run. */
	if (memory.refused)
		tries[index] = (uint8_t)env->attempt;
	must(env->attempt == tries[index] && tries[index] <= call.retries, "try %d of task %llu is told to be %d",
	     tries[index], (unsigned long long)index, env->attempt);
	must(!(marks[index] & DELIVERED), "task %llu runs after it was delivered", (unsigned long long)index);
	must(env->worker < (uint32_t)instance_of_sim(serving)->answer.n_jobs, "a task on seat %u", env->worker);
	must(!seen.seats[env->worker], "two tasks at once on seat %u", env->worker);
	must(env->shared == (call.shares ? &call : NULL), "not what the tasks share");
	must(env->call_seed == call.salt || !call.settings.seed.set, "not the call's seed");
	marks[index] = (uint8_t)((marks[index] & ~(ENDED | MAYBE)) | BEGAN | RUNS);
	tries[index]++;
	began_at[index] = world.now;
	*run = (struct run){seen.id, !call.shares && !call.is_map, 0, 0, env->attempt};
	world.looks = 0;
	seen.began++;
	seen.seats[env->worker] = 1;
}

static void note_end(uint64_t index, int32_t attempt, int fails)
{
	int late = is_late(index);
	int again = fails && attempt < (int32_t)call.retries && (call.retry_on & PAR_ON_ERROR);

	if (fails && attempt < 8)
		bad_tries[index] |= (uint8_t)(1 << attempt);
	marks[index] |= late ? LATE | ENDED : again ? MAYBE : ENDED;
	if (late && fails)
		marks[index] |= MAYBE;
	if (!fails || late || again)
		return;
	marks[index] |= FAILED;
	seen.failed++;
	if (index < seen.first_failed)
		seen.first_failed = index;
}

/* Its worker has died meanwhile. */
static int is_ghost(void)
{
	return running->is_elsewhere && running->errand->is_dead;
}

/* RUNS until that is noted, since it may be late. */
static void marks_end(uint64_t index, int32_t attempt, int fails)
{
	note_end(index, attempt, fails);
	marks[index] &= (uint8_t)~RUNS;
}

/* 1: its worker died, before its end or by it. */
static int end_elsewhere(uint64_t index)
{
	struct errand *errand = running->errand;
	uint64_t poison = poison_of(index);

	if (errand->is_dead)
		return 1;
	if (poison) {
		errand->how.signal = poison / 2 % 3 == 0 ? SIGKILL : poison / 2 % 3 == 1 ? SIGSEGV : 0;
		errand->how.exit_code = errand->how.signal == 0 ? 42 : -1;
		die(errand);
		return 1;
	}
	tell_gone(errand, index);
	errand->runs = UINT64_MAX;
	return 0;
}

static int end_task(par_env *env, uint64_t index, struct run *run)
{
	int64_t longest = index == call.stuck_one ? 3 * S : index == call.long_one ? 100 * MS : call.task_ns;
	int fails = does_fail(index, run->attempt);

	if (run->is_ghost)
		return 0;
	if (longest > 0)
		pass((int64_t)(fact(index, 1) % (uint64_t)longest));
	else
		point();
	if (is_ghost())
		return 0;
	if (run->id == seen.id && !seen.over)
		cancel_at_times(index, 2);
	if (is_ghost())
		return 0;
	run->is_left = run->id != seen.id || seen.over;
	if (run->is_left) {
		must(run->may_be_left, "a call is over, and its task %llu is not", (unsigned long long)index);
		trace("task %llu of a call that is over ends", (unsigned long long)index);
		return fails ? par_fail_task(env, 7, "it is late") : 0;
	}
	if (running->is_elsewhere) {
		if (end_elsewhere(index))
			return 0;
	} else {
		seen.seats[env->worker] = 0;
		seen.ended++;
		marks_end(index, run->attempt, fails);
	}
	trace("task %llu ends", (unsigned long long)index);
	if (!fails)
		return 0;
	if (fact_in(index, 3, call.explains))
		return par_fail_task(env, 7, "task %llu would not", (unsigned long long)index);
	return 7;
}

static int value(par_env *env, const uint64_t *from, uint64_t *to)
{
	uint64_t index = env->index, payload = *from;
	struct run run;
	int code;

	begin_task(env, index, &run);
	must(run.is_ghost || payload == fact(index, 10), "task %llu got another's payload", (unsigned long long)index);
	*to = fact(index, 11);
	code = end_task(env, index, &run);
	must(*from == payload, "the payload of task %llu has changed", (unsigned long long)index);
	return code;
}

struct triple {
	uint64_t values[3];
};

static int triple(par_env *env, const struct triple *from, struct triple *to)
{
	uint64_t index = env->index;
	struct triple payload = *from;
	struct run run;
	int code;

	begin_task(env, index, &run);
	for (unsigned i = 0; i < 3; i++) {
		must(run.is_ghost || from->values[i] == fact(index, 10), "task %llu got another's payload",
		     (unsigned long long)index);
		to->values[i] = fact(index, 11);
	}
	code = end_task(env, index, &run);
	must(memcmp(from, &payload, sizeof(payload)) == 0, "the payload of task %llu has changed",
	     (unsigned long long)index);
	to->values[2] = to->values[0];
	return code;
}

static int bytes(par_env *env, const void *payload, uint64_t size)
{
	uint64_t index = env->index;
	const unsigned char *from = payload;
	unsigned char first = size > 0 ? *from : 0;
	struct run run;
	char *room;
	int code;

	begin_task(env, index, &run);
	if (run.is_ghost)
		return 0;
	must(size == payload_size(index) &&
	             (size == 0 || (from[0] == byte_of(index, 10) && from[size - 1] == from[0])),
	     "task %llu got another's payload", (unsigned long long)index);
	/* Whoever replies twice means the last. */
	if (fact(index, 4) % 8 == 0)
		(void)par_reply(env, "not this", 9);
	room = par_reply_room(env, reply_size(index));
	if (room != NULL)
		memset(room, byte_of(index, 11), (size_t)reply_size(index));
	must(room != NULL || memory.refused, "no room for a reply");
	code = end_task(env, index, &run);
	must(size == 0 || (from[0] == first && from[size - 1] == first), "the payload of task %llu has changed",
	     (unsigned long long)index);
	/* The room is there as long as it runs. */
	if (run.is_left && room != NULL)
		(void)par_reply(env, "too late for this one", 21);
	return code ? 7 : room == NULL ? 9 : 0;
}

PAR_TASK_ENV(value, uint64_t, uint64_t)
PAR_TASK_ENV(triple, struct triple, struct triple)
PAR_TASK_OF_BYTES(bytes)

/* --- tasks elsewhere, as the core is told of them ---------------------------------------------- */

static void tell_gone(const struct errand *errand, uint64_t index)
{
	if (!is_of_call(errand))
		return;
	elsewhere[index].runs = 0;
	seen.seats[errand->seat] = 0;
	seen.ended++;
}

static void tell_sent(struct errand *errand)
{
	errand->call = seen.id;
	errand->may_be_left = !call.shares && !call.is_map;
}

static void tell_started(const struct errand *errand, uint64_t index)
{
	if (!is_of_call(errand))
		return;
	if (is_late(index))
		marks[index] |= LATE;
	marks[index] |= BEGAN | RUNS;
	began_at[index] = world.now;
}

static void tell_answered(const struct errand *errand, uint64_t index, int32_t attempt, int failed)
{
	struct elsewhere *other = &elsewhere[index];

	if (!is_of_call(errand))
		return;
	must(!poison_of(index), "a task that kills its worker is answered");
	must(attempt == other->least && !failed == !does_fail(index, attempt), "task %llu has another's answer",
	     (unsigned long long)index);
	other->is_overdue = (marks[index] & RUNS) && call.task_timeout > 0 &&
	                    world.now - began_at[index] > call.task_timeout + 500 * MS;
	note_end(index, attempt, failed);
	if (failed || is_late(index))
		other->strikes = other->may_strikes = 0;
	other->least = other->most = (uint8_t)(attempt + 1);
}

/* It may have been late while the core looked at its answer. */
static void tell_taken(const struct errand *errand, uint64_t index)
{
	if (!is_of_call(errand))
		return;
	if (is_late(index) && (marks[index] & FAILED)) {
		marks[index] = (uint8_t)((marks[index] & ~FAILED) | MAYBE);
		seen.failed--;
	}
	if (is_late(index))
		marks[index] |= LATE;
	marks[index] &= (uint8_t)~RUNS;
}

static void tell_killed(const struct errand *errand)
{
	uint64_t n = 0;

	for (uint64_t i = errand->first; is_of_call(errand) && i < errand->first + errand->n; i++)
		n += is_late(i) != 0;
	must(!is_of_call(errand) || n > 0 || memory.refused, "a worker is killed, and its tasks are in time");
}

/* Its worker died while it ran it, and no other. */
static void blame(const struct errand *errand, uint64_t index)
{
	struct elsewhere *other = &elsewhere[index];
	int is_foreign = errand->how.signal == SIGKILL || errand->how.signal == SIGTERM;

	if (errand->was_killed && !is_late(index))
		return;
	trace("task %llu is blamed", (unsigned long long)index);
	/* Or the core finds that it is late, by the time that it looks. */
	other->strikes = (uint8_t)(call.task_timeout > 0 ? 0 : other->strikes + 1);
	other->least = (uint8_t)(other->least + (call.task_timeout == 0));
	other->most++;
	other->may_strikes++;
	other->foreign |= (uint8_t)is_foreign;
	if (other->most <= 8)
		bad_tries[index] |= (uint8_t)(1 << (other->most - 1));
	if (other->may_strikes >= most_strikes())
		marks[index] |= LOST;
}

static void tell_lost(const struct errand *errand, int32_t status)
{
	uint64_t next = errand->first + errand->over, end = errand->first + errand->n;
	int began = errand->now_n > 0 && errand->now >= next && errand->now < end;

	did.lost_elsewhere += errand->over == 0 && !began;
	if (!is_of_call(errand))
		return;
	for (uint64_t i = next; i < end; i++) {
		elsewhere[i].may_again = 1;
		elsewhere[i].restarts |= (marks[i] & RUNS) != 0;
		if (call.task_timeout == 0)
			marks[i] &= (uint8_t)~RUNS;
	}
	if (status == PAR_ELOST && began && errand->now_n == 1)
		blame(errand, errand->now);
}

/* --- source and sink ------------------------------------------------------------------------- */

static uint64_t bound_of_pre_dispatch(void)
{
	uint64_t n_jobs = (uint64_t)instance_of_sim(serving)->answer.n_jobs;

	if (instance_can(instance_of_sim(serving), PAR_RUNS_INLINE))
		return call.settings.batch_size.set ? (uint64_t)call.settings.batch_size.value : 1;
	return call.pre_dispatch_times > 0 ? (uint64_t)call.pre_dispatch_times * n_jobs : call.pre_dispatch;
}

/* The window of parloop.h: what it holds must be a matter of the settings alone. */
static uint64_t bound_of_window(void)
{
	uint64_t piece = call.settings.batch_size.set ? (uint64_t)call.settings.batch_size.value : 1;
	uint64_t window = 1024 * piece * (uint64_t)instance_of_sim(serving)->answer.n_jobs;
	uint64_t pre_dispatch = bound_of_pre_dispatch();

	return pre_dispatch > window ? pre_dispatch : window;
}

static void check_bounds(void)
{
	must(seen.taken < bound_of_pre_dispatch() || seen.ended > 0 || seen.delivered > 0 || call.ignore ||
	             memory.refused,
	     "task %llu is taken before any has completed, where pre_dispatch is %llu",
	     (unsigned long long)seen.taken, (unsigned long long)bound_of_pre_dispatch());
	must(seen.taken - seen.delivered < bound_of_window() || call.ignore, "%llu tasks are taken and not delivered",
	     (unsigned long long)(seen.taken - seen.delivered));
}

static void begin_callback(const char *what)
{
	must(running == &fibers[CALLER], "the %s is called on a thread that is not the loop's", what);
	must(seen.busy && !seen.over, "the %s is called when the call is over", what);
	must(!seen.in_callback, "the %s is called within another callback", what);
	must(!seen.stopped, "the %s is called after the sink stopped", what);
	seen.in_callback = 1;
	world.looks = 0;
}

static void end_callback(uint64_t index, unsigned which, int64_t longest)
{
	if (longest > 0 && rarely(4))
		pass(between(0, longest));
	else
		point();
	cancel_at_times(index, which);
	seen.in_callback = 0;
}

static void fill(par_item *item, uint64_t index)
{
	static struct triple values;
	uint64_t size = payload_size(index);

	item->n_bytes = size;
	item->payload = &values;
	for (unsigned i = 0; i < 3; i++)
		values.values[i] = fact(index, 10);
	if (task_of(index)->kind == PAR_TASK_BYTES) {
		memset(payload_bytes, byte_of(index, 10), (size_t)size);
		item->payload = size > 0 ? payload_bytes : NULL;
	}
	if (task_of(index) == &par_task_value && fact(index, 12) % 2 == 0) {
		array_in[index] = fact(index, 10);
		item->payload = &array_in[index];
		item->stays = 1;
	}
	if (call.names_tasks)
		item->task = task_of(index);
}

static void wake_event(void *arg, uint64_t value)
{
	(void)arg, (void)value;
	seen.none_yet = 2;
	trace("par_wake");
	in_core(1);
	par_wake(parallel_of_call());
	in_core(-1);
}

/* Nothing at the moment; who wakes may be faster than who says so. */
static void none_yet(void)
{
	seen.none_yet = 1;
	trace("source: none yet");
	if (rarely(3))
		wake_event(NULL, 0);
	else
		happens(between(0, 3 * MS), wake_event, NULL, 0);
}

static int32_t source(void *user, par_item *item)
{
	uint64_t index = seen.taken;

	(void)user;
	begin_callback("source");
	must(!call.is_iter || seen.is_asking, "the source is called, and nobody asks the iterator");
	must(!seen.exhausted && !seen.source_failed && !seen.bad, "the source is called after its end");
	must(seen.none_yet != 1, "the source that has none yet is called before anybody woke it");
	check_bounds();
	end_callback(index, 13, call.source_ns);
	if (!seen.none_yet && fact_in(index, 9, call.waits)) {
		none_yet();
		return PAR_NONE_YET;
	}
	seen.none_yet = 0;
	if (index == call.n) {
		seen.exhausted = 1;
		trace("source: the end");
		return 0;
	}
	if (index == call.source_fails) {
		seen.source_failed = 1;
		trace("source: fails");
		return -5;
	}
	fill(item, index);
	if (index == call.bad_item) {
		seen.bad = 1;
		item->n_bytes = (uint64_t)1 << 33;
		trace("source: a bad item");
		return 1;
	}
	seen.taken++;
	trace("source: task %llu", (unsigned long long)index);
	return 1;
}

static void check_reply(const par_outcome *outcome)
{
	const unsigned char *reply = outcome->bytes;
	uint64_t index = outcome->index, value_of = fact(index, 11), size = reply_size(index);

	if (outcome->status != PAR_OK)
		return;
	must(outcome->n_bytes == size, "the reply of task %llu has %llu bytes", (unsigned long long)index,
	     (unsigned long long)outcome->n_bytes);
	if (size == 0)
		return;
	if (task_of(index)->kind == PAR_TASK_BYTES)
		must(reply[0] == byte_of(index, 11) && reply[size - 1] == reply[0],
		     "task %llu has another's reply", (unsigned long long)index);
	else
		must(memcmp(reply, &value_of, 8) == 0 && memcmp(reply + size - 8, &value_of, 8) == 0,
		     "task %llu has another's reply", (unsigned long long)index);
}

static void check_failure(const par_outcome *outcome)
{
	uint64_t index = outcome->index;
	char text[64];

	must(outcome->n_bytes == 0, "a failed task has a reply");
	if (memory.refused)
		return;
	if (is_served_elsewhere())
		must(outcome->attempts >= elsewhere[index].least && outcome->attempts <= elsewhere[index].most,
		     "task %llu was tried %d times, it says %d", (unsigned long long)index, elsewhere[index].least,
		     outcome->attempts);
	else
		must(outcome->attempts == tries[index], "task %llu was tried %d times, it says %d",
		     (unsigned long long)index, tries[index], outcome->attempts);
	if (outcome->status == PAR_ETIMEOUT) {
		must(is_late(index), "task %llu was in time", (unsigned long long)index);
		return;
	}
	if (outcome->status == PAR_ELOST) {
		must(marks[index] & LOST, "task %llu has killed no workers", (unsigned long long)index);
		return;
	}
	must(outcome->status == PAR_EFAILED, "a task's status is %d", outcome->status);
	must(outcome->code == 7, "task %llu failed with %d", (unsigned long long)index, outcome->code);
	must((outcome->message != NULL) == fact_in(index, 3, call.explains), "a failed task's message");
	(void)snprintf(text, sizeof(text), "task %llu would not", (unsigned long long)index);
	must(outcome->message == NULL || strcmp(outcome->message, text) == 0, "another's message");
}

static void check_outcome(const par_outcome *outcome)
{
	uint64_t index = outcome->index;
	const unsigned char *payload = outcome->payload;

	/* One that had no room for its reply has failed, and did not run. */
	must(index < seen.taken && ((marks[index] & (ENDED | MAYBE | LOST)) || outcome->status == PAR_ETIMEOUT ||
	                            (memory.refused && outcome->status != PAR_OK)),
	     "task %llu is delivered before it is over", (unsigned long long)index);
	must(!(marks[index] & RUNS) || outcome->status == PAR_ETIMEOUT || is_served_elsewhere(), "task %llu is delivered while it runs",
	     (unsigned long long)index);
	must(!(marks[index] & DELIVERED), "task %llu is delivered twice", (unsigned long long)index);
	must(call.unordered || index == seen.next || (call.ignore && index > seen.next),
	     "task %llu is delivered where %llu is next", (unsigned long long)index,
	     (unsigned long long)seen.next);
	seen.next = index + 1;
	must(outcome->status == PAR_OK ? !(marks[index] & (FAILED | MAYBE)) : may_have_failed(index) || memory.refused,
	     "task %llu has status %d", (unsigned long long)index, outcome->status);
	must(!call.ignore || outcome->status == PAR_OK, "a failed task is handed out");
	must(outcome->status != PAR_OK || !elsewhere[index].is_overdue, "task %llu was late, and nobody saw it",
	     (unsigned long long)index);
	must(call.settings.on_event == NULL || memory.refused ||
	             states[index] == (outcome->status == PAR_OK ? PAR_EVENT_DONE : PAR_EVENT_FAILED),
	     "the outcome of task %llu comes before its event", (unsigned long long)index);
	must(outcome->payload_bytes == payload_size(index), "the payload of task %llu has changed",
	     (unsigned long long)index);
	if (task_of(index)->kind == PAR_TASK_BYTES && outcome->payload_bytes > 0)
		must(payload[outcome->payload_bytes - 1] == byte_of(index, 10), "another's payload");
	if (outcome->status == PAR_OK)
		check_reply(outcome);
	else
		check_failure(outcome);
}

static void take(const par_outcome *outcome)
{
	world.looks = 0;
	trace("task %llu is delivered", (unsigned long long)outcome->index);
	check_outcome(outcome);
	marks[outcome->index] |= DELIVERED;
	seen.result_at = world.now;
	if (fact_in(outcome->index, 14, call.keeps) && n_kept < MOST_KEPT) {
		kept[n_kept] = par_keep(outcome);
		n_kept += kept[n_kept] != NULL;
	}
}

static int32_t sink(void *user, const par_outcome *outcome)
{
	(void)user;
	begin_callback("sink");
	take(outcome);
	end_callback(outcome->index, 15, call.sink_ns);
	/* As the core counts it, its sink included. */
	if (seen.delivered++ != call.sink_stops)
		return 0;
	trace("sink: stops");
	seen.stopped = 1;
	return 1;
}

static void check_kept(void)
{
	for (; n_kept > 0; n_kept--) {
		check_reply(kept[n_kept - 1]);
		par_release(kept[n_kept - 1]);
	}
}

/* --- who watches ------------------------------------------------------------------------------ */

static void check_event(const par_event *event)
{
	uint64_t index = event->index;
	int state = states[index];

	must(index < call.n && event->worker >= 0 && event->attempt == retries_told[index],
	     "an event of try %d of task %llu, which is at %d", event->attempt, (unsigned long long)index,
	     retries_told[index]);
	switch (event->kind) {
	case PAR_EVENT_STARTED:
		must(state == 0 || state == PAR_EVENT_RETRY || elsewhere[index].restarts, "task %llu begins after event %d", (unsigned long long)index,
		     state);
		break;
	case PAR_EVENT_TIMEOUT:
		must(is_late(index) || call.settings.timeout.set || call.call_timeout > 0, "task %llu was in time",
		     (unsigned long long)index);
		return;
	case PAR_EVENT_DONE:
		must(state == PAR_EVENT_STARTED && (marks[index] & (ENDED | FAILED | MAYBE)) == ENDED,
		     "task %llu is said to be done", (unsigned long long)index);
		break;
	case PAR_EVENT_FAILED:
		must(state == PAR_EVENT_STARTED && may_have_failed(index), "task %llu is said to have failed",
		     (unsigned long long)index);
		must(event->status == PAR_EFAILED || (event->status == PAR_ETIMEOUT && is_late(index)) ||
		             (event->status == PAR_ELOST && (marks[index] & LOST)),
		     "task %llu failed with %d", (unsigned long long)index, event->status);
		break;
	default:
		must(event->kind == PAR_EVENT_RETRY && state == PAR_EVENT_STARTED &&
		             (event->attempt > 7 || (bad_tries[index] >> event->attempt & 1) || is_late(index)) &&
		             (event->attempt < (int32_t)call.retries || event->status == PAR_ELOST),
		     "task %llu is said to be tried again", (unsigned long long)index);
		retries_told[index]++;
	}
	states[index] = (uint8_t)event->kind;
}

static void on_event(void *watcher, const par_event *event)
{
	must(watcher == &seen && running == &fibers[CALLER] && seen.busy && !seen.over, "an event out of its time");
	world.looks = 0;
	trace("event %d of task %llu", event->kind, (unsigned long long)event->index);
	/* Without memory some are lost. */
	if (!memory.refused)
		check_event(event);
	point();
	cancel_at_times(event->index, 1);
}

static void on_progress(void *watcher, const par_progress *progress)
{
	static par_progress last;
	static int id;

	must(watcher == &seen && running == &fibers[CALLER] && seen.busy && !seen.over, "progress out of its time");
	must(id == seen.id || progress->done == 0, "progress begins with %llu", (unsigned long long)progress->done);
	must(id != seen.id || progress->done >= last.done, "progress goes back");
	must(progress->failed <= progress->done && progress->done <= progress->total && progress->done <= call.n,
	     "progress: %llu of %llu, %llu failed", (unsigned long long)progress->done,
	     (unsigned long long)progress->total, (unsigned long long)progress->failed);
	last = *progress;
	id = seen.id;
	point();
}

/* --- what must be true when it is over ------------------------------------------------------- */

static int is_late_call(void)
{
	return call.call_timeout > 0 && world.now - seen.begun_at >= call.call_timeout;
}

/* It need not be handed out. */
static int is_left_out(uint64_t index)
{
	return call.ignore && (may_have_failed(index) || memory.refused);
}

static int is_well(uint64_t index)
{
	if (!call.is_map)
		return (marks[index] & DELIVERED) || is_left_out(index);
	return (marks[index] & (ENDED | FAILED | MAYBE)) == ENDED || is_left_out(index);
}

static int is_lost(uint64_t index)
{
	return (marks[index] & LOST) != 0;
}

static int may_end_by_backend(int32_t status)
{
	if (did.up_failed && (status == PAR_EUNAVAIL || status == PAR_ENOTFOUND))
		return 1;
	if (did.submit_failed && status == did.submit_code)
		return 1;
	if (did.most_lost_in_a_row > 3 && (status == PAR_ELOST || status == PAR_EABORTED || status == PAR_EFAILED))
		return 1;
	if (did.unrun > 1000 && status == PAR_EFAILED)
		return 1;
	if (did.lost_elsewhere > 1000 && (status == PAR_ELOST || status == PAR_EFAILED))
		return 1;
	if (did.unpack_failed && is_served_elsewhere() && status == PAR_EFAILED)
		return 1;
	/* One that was left has its stop_call() yet to come. */
	return status == PAR_EUNAVAIL && (did.no_worker || (serving != NULL && lacks_workers(serving)));
}

static int may_end(int32_t status)
{
	if (memory.refused && (status == PAR_ENOMEM || status == PAR_EFAILED || status == PAR_ELOST))
		return 1;
	if (may_end_by_backend(status))
		return 1;
	switch (status) {
	case PAR_OK:
		return count_tasks(is_well) == call.n && (seen.failed == 0 || call.ignore) && !seen.stopped &&
		       !did.submit_failed && (call.is_map || seen.exhausted);
	case PAR_ELOST:
		return !call.collect && count_tasks(is_lost) > 0;
	case PAR_EFAILED:
		return seen.failed > 0 || count_tasks(may_have_failed) > 0;
	case PAR_ECANCELED:
		return seen.cancelled || seen.stopped || seen.dropped;
	case PAR_ESOURCE:
		return seen.source_failed;
	case PAR_EINVAL:
		return seen.bad;
	case PAR_ETIMEOUT:
		if (is_late_call())
			return 1;
		if (!call.collect && call.task_timeout > 0 && count_tasks(is_late) > 0)
			return 1;
		return call.settings.timeout.set &&
		       (call.is_map ||
		        (double)(world.now - seen.result_at) >= call.settings.timeout.value * 1e9);
	default:
		return 0;
	}
}

static void check_delivered(int32_t status)
{
	uint64_t n = 0;

	/* After a cancel nothing more is handed out. */
	if (call.is_map || (status != PAR_EFAILED && status != PAR_OK) || seen.stopped || seen.cancelled)
		return;
	if (memory.refused || did.submit_failed || did.most_lost_in_a_row > 3 || did.unrun > 1000)
		return;
	if (is_served_elsewhere())
		return;
	/* Who has failed, and when, only the core knows; and one that was left may have ended since. */
	if (call.ignore || call.task_timeout > 0 || call.retries > 0 || is_late_call())
		return;
	/* What was over before the call failed is handed out: in order up to a gap, else all. */
	for (uint64_t i = 0; i < seen.taken; i++)
		if (marks[i] & ENDED)
			n++;
		else if (!call.unordered)
			break;
	must(seen.delivered == n, "%llu of %llu results were delivered", (unsigned long long)seen.delivered,
	     (unsigned long long)n);
}

/* What it brings from elsewhere is kept or not: that it was late is found out when it is looked
 * for, and it may have ended by then. */
static int may_be_thrown_away(uint64_t index)
{
	return is_served_elsewhere() &&
	       ((marks[index] & MAYBE) || is_late(index) || elsewhere[index].is_overdue);
}

static void check_arrays_filled(void)
{
	for (uint64_t i = 0; call.is_map && i < call.n; i++)
		if ((marks[i] & (ENDED | FAILED)) == ENDED && may_be_thrown_away(i))
			must(array_out[i] == fact(i, 11) ||
			             (array_out[i] == 0 && (call.settings.statuses == NULL || statuses[i] != PAR_OK)),
			     "out[%llu] is what nobody brought", (unsigned long long)i);
		else if ((marks[i] & (ENDED | FAILED)) == ENDED)
			must(array_out[i] == fact(i, 11), "out[%llu] is wrong", (unsigned long long)i);
		else if (!(marks[i] & (is_served_elsewhere() ? ENDED | FAILED | MAYBE | LATE : BEGAN)))
			must(array_out[i] == 0, "out[%llu] was written to", (unsigned long long)i);
}

static void check_statuses(void)
{
	for (uint64_t i = 0; call.settings.statuses != NULL && !memory.refused && i < call.n; i++) {
		int well = (marks[i] & (ENDED | FAILED | MAYBE)) == ENDED;

		must(statuses[i] == PAR_OK         ? well
		     : statuses[i] == PAR_EFAILED  ? (marks[i] & (FAILED | MAYBE)) != 0
		     : statuses[i] == PAR_ETIMEOUT ? is_late(i)
		     : statuses[i] == PAR_ELOST    ? is_lost(i)
		                                   : statuses[i] == PAR_EABORTED && (!well || is_late(i)) &&
		                                             !(marks[i] & FAILED),
		     "the status of task %llu is %d", (unsigned long long)i, statuses[i]);
		must(statuses[i] != PAR_OK || !elsewhere[i].is_overdue || seen.cancelled || is_late_call() ||
		             call.settings.timeout.set,
		     "task %llu was late, and nobody saw it", (unsigned long long)i);
	}
}

static void check_events_over(int32_t status)
{
	for (uint64_t i = 0; call.settings.on_event != NULL && !memory.refused && status == PAR_OK && i < call.n; i++)
		must(states[i] == PAR_EVENT_DONE || (call.ignore && states[i] == PAR_EVENT_FAILED),
		     "all is well, and the last event of task %llu is %d", (unsigned long long)i, states[i]);
}

static void check_error(int32_t status, const par_error *error)
{
	if (status == PAR_OK || seen.dropped)
		return;
	must(error->code == status, "error.code is %d, the status %d", error->code, status);
	must(error->what[0] != '\0', "the error %d says nothing", status);
	if (status != PAR_EFAILED || memory.refused)
		return;
	if (call.task_timeout > 0 || call.retries > 0 || is_late_call() ||
	    (is_served_elsewhere())) {
		must(error->task == -1 ? may_end_by_backend(status) : may_have_failed((uint64_t)error->task),
		     "task %lld is said to have failed", (long long)error->task);
		return;
	}
	if (seen.failed == 0)
		return;
	must(error->task == (int64_t)seen.first_failed || (error->task == -1 && may_end_by_backend(status)),
	     "task %lld is said to have failed, it was %llu", (long long)error->task,
	     (unsigned long long)seen.first_failed);
}

static int is_accounted(uint64_t index)
{
	return (marks[index] & (ENDED | LOST)) || is_late(index);
}

static void check_end(int32_t status, const par_error *error)
{
	seen.over = 1;
	seen.busy = 0;
	trace("the call ends with %d: %s: %s", status, error->what, error->reason);
	must(may_end(status), "the call ended with %d (%s: %s)", status, error->what, error->reason);
	/* What it may leave behind it does only if it is out of time, or not wanted any more. */
	must(seen.began == seen.ended ||
	             (!call.shares && !call.is_map &&
	              (status == PAR_ETIMEOUT || count_tasks(is_late) > 0 || is_late_call() || seen.dropped ||
	               seen.cancelled)),
	     "a task is under way when its call is over");
	must(!call.collect || (status != PAR_OK && status != PAR_EFAILED) || count_tasks(is_accounted) == call.n ||
	             may_end_by_backend(status) || memory.refused,
	     "on_error is PAR_COLLECT, and %llu tasks of %llu ran", (unsigned long long)count_tasks(is_accounted),
	     (unsigned long long)call.n);
	check_delivered(status);
	check_arrays_filled();
	check_statuses();
	check_events_over(status);
	check_error(status, error);
}

/* Tasks are over their time only if some are out. */
static int has_deadline(const par_parallel *parallel)
{
	const struct plan *plan = &parallel->plan;

	return plan->timeout_ns > 0 || plan->call_timeout_ns > 0 ||
	       (plan->task_timeout_ns > 0 && parallel->engine->instance.batches.n_out > 0);
}

/* The caller's fiber sleeps, nobody is within the core, and time goes on: then there must be
 * nothing to do. */
static void check_sleep(int64_t until)
{
	par_parallel *parallel;

	(void)until;
	if (!uv.waiting || live == NULL)
		return;
	for (int i = 0; i < FIBERS; i++)
		if (fibers[i].in_core)
			return;
	if (uv_waits_until() <= world.now)
		return;
	parallel = parallel_of_sim(live);
	/* It brings a backend up, and has no eye for what was left behind. */
	if (parallel->phase == PHASE_IDLE && parallel->loop.is_own)
		return;
	/* A seat was just left with work in it, by one whose done() will tell. */
	if (parallel->phase == PHASE_RUNNING && cursor_unclaimed(&parallel->engine->call.cursor) == 0 &&
	    cursor_waiting(&parallel->engine->call.cursor) > 0)
		return;
	/* A timer of libuv's goes by milliseconds: a task may be due for a new try a little longer. */
	if (parallel->phase == PHASE_RUNNING && !redo_is_empty(&parallel->engine->call.redo) &&
	    uv_waits_until() <= world.now + 2 * MS)
		return;
	world.frozen = 1;
	must(turn_is_idle(parallel), "the loop sleeps, and there is something to do");
	world.frozen = 0;
	must(!atomic_load(&parallel->loop.has_posts), "the loop sleeps, and there are posts");
	must(parallel->phase != PHASE_RUNNING || !has_deadline(parallel) || parallel->aborted ||
	             uv_waits_until() < NEVER,
	     "the loop sleeps for ever in a call with a time-out");
}

/* --- providers ------------------------------------------------------------------------------- */

enum { PROVIDERS = 3 };
static struct provider providers[PROVIDERS];
static struct traits traits[PROVIDERS];
static const char *const names[PROVIDERS] = {"sim", "other", "threading"};

static const struct traits *traits_of(const par_host *host)
{
	const struct instance *instance = (const struct instance *)(const void *)host;

	return &traits[instance->provider - providers];
}

int32_t __wrap_registry_find(const char *name, const struct provider **found, par_error *error);
int32_t __wrap_registry_find(const char *name, const struct provider **found, par_error *error)
{
	for (int i = 0; i < PROVIDERS; i++)
		if (strcmp(names[i], name) == 0) {
			*found = &providers[i];
			return PAR_OK;
		}
	(void)snprintf(error->what, sizeof(error->what), "no backend \"%s\"", name);
	return par_fail(error, PAR_ENOTFOUND, "the simulation has none of that name");
}

int32_t __wrap_registry_options(const struct provider *provider, const char *const *settings,
                                struct par_options **options, par_error *error);
int32_t __wrap_registry_options(const struct provider *provider, const char *const *settings,
                                struct par_options **options, par_error *error)
{
	(void)provider, (void)settings, (void)error;
	*options = NULL;
	return PAR_OK;
}

static void draw_providers(int n_jobs)
{
	for (int i = 0; i < PROVIDERS; i++) {
		draw_traits(&traits[i], n_jobs);
		providers[i] = (struct provider){.name = names[i]};
		draw_ops(&providers[i].ops);
	}
	/* The core falls back on threading where tasks may not run inside submit(). */
	traits[2].capabilities = (traits[2].capabilities | PAR_USES_THREADS) & ~(uint32_t)PAR_RUNS_INLINE;
	if (is_elsewhere(&(struct par_backend){.traits = &traits[2]}))
		traits[2].capabilities &= ~(uint32_t)PAR_USES_THREADS;
	for (int i = 0; i < PROVIDERS; i++)
		providers[i].capabilities = traits[i].capabilities;
	if (rarely(10))
		traits[0].fallback = rarely(8) ? "nowhere" : "other";
	if (rarely(10))
		traits[1].fallback = rarely(8) ? "sim" : "threading";
}

/* --- drawing --------------------------------------------------------------------------------- */

static int64_t rarely_at(uint32_t n, uint64_t among)
{
	return rarely(n) ? (int64_t)(draw() % (among + 1)) : NEVER;
}

static void draw_pre_dispatch(void)
{
	static char number[8];

	call.pre_dispatch_times = 2;
	switch (below(6)) {
	case 0:
		call.settings.pre_dispatch = "all";
		call.pre_dispatch_times = 0;
		call.pre_dispatch = UINT64_MAX;
		break;
	case 1:
		call.pre_dispatch = 1 + below(20);
		call.pre_dispatch_times = 0;
		(void)snprintf(number, sizeof(number), "%d", (int)call.pre_dispatch);
		call.settings.pre_dispatch = number;
		break;
	case 2:
		call.settings.pre_dispatch = "3 * n_jobs";
		call.pre_dispatch_times = 3;
		break;
	case 3:
		call.settings.pre_dispatch = "n_jobs";
		call.pre_dispatch_times = 1;
		break;
	default:
		break;
	}
}

/* Of us, or ms. */
static int64_t draw_deadline(par_real *setting, uint32_t seldom)
{
	int64_t ns = rarely(3) ? (1 + below(100)) * US : (1 + below(rarely(2) ? 20 : 500)) * MS;

	if (!rarely(seldom))
		return 0;
	*setting = (par_real)PAR_SET((double)ns / 1e9);
	return ns;
}

static void draw_deadlines(void)
{
	call.task_timeout = draw_deadline(&call.settings.task_timeout, 4);
	call.call_timeout = draw_deadline(&call.settings.call_timeout, 8);
}

static void draw_retries(void)
{
	call.retry_on = PAR_ON_ERROR | PAR_ON_CRASH | PAR_ON_TIMEOUT;
	if (!rarely(4))
		return;
	call.retries = 1 + below(3);
	call.settings.retries = (par_int)PAR_SET((int64_t)call.retries);
	if (rarely(2))
		call.settings.retry_delay = (par_real)PAR_SET((double)below(5000) / 1e6);
	if (!rarely(3))
		return;
	call.retry_on = below(8);
	call.settings.retry_on = (par_int)PAR_SET((int64_t)call.retry_on);
}

static void draw_settings(void)
{
	call.settings = (par_settings){.size = sizeof(call.settings)};
	call.shares = rarely(2);
	if (call.shares) {
		call.settings.shared = &call;
		call.settings.shared_size = sizeof(call);
	}
	call.unordered = rarely(3);
	call.collect = rarely(3);
	if (call.unordered || rarely(2))
		call.settings.order = call.unordered ? PAR_UNORDERED : PAR_ORDERED;
	call.ignore = call.collect && rarely(3);
	if (call.collect || rarely(2))
		call.settings.on_error = call.ignore ? PAR_IGNORE : call.collect ? PAR_COLLECT : PAR_FAIL_FAST;
	draw_pre_dispatch();
	if (rarely(3))
		call.settings.batch_size = (par_int)PAR_SET(rarely(4) ? 1 + below(100) : 1 + below(5));
	if (rarely(8))
		call.settings.timeout = (par_real)PAR_SET((double)(1 + below(rarely(2) ? 20 : 500)) * 1e-3);
	draw_deadlines();
	draw_retries();
	if (rarely(2))
		call.settings.seed = (par_int)PAR_SET((int64_t)call.salt);
	if (call.is_map && rarely(3))
		call.settings.statuses = statuses;
	call.settings.watcher = &seen;
	if (rarely(3))
		call.settings.on_event = on_event;
	if (rarely(8))
		call.settings.on_progress = on_progress;
	if (rarely(32))
		call.settings.verbose = (par_int)PAR_SET(1 + below(60));
}

static void draw_call(void)
{
	static const uint32_t rates[] = {0, 0, 0, 3, 30, 120};

	memset(&call, 0, sizeof(call));
	call.salt = draw();
	call.is_map = rarely(3);
	call.is_iter = !call.is_map && schedule.how != ON_CALLERS_LOOP && rarely(3);
	call.names_tasks = rarely(3);
	call.n = rarely(256) ? below(MOST_TASKS) : rarely(4) ? below(60) : below(12);
	call.source_fails = (uint64_t)rarely_at(12, call.n);
	call.bad_item = (uint64_t)rarely_at(40, call.n);
	call.sink_stops = (uint64_t)rarely_at(12, call.n);
	call.long_one = (uint64_t)rarely_at(8, call.n);
	call.stuck_one = (uint64_t)rarely_at(8, call.n);
	call.fails = rarely(3) ? rates[below(6)] : 0;
	call.poisons = rarely(3) ? rates[below(6)] : 0;
	call.explains = below(256);
	call.large = rarely(8) ? rates[below(6)] : 0;
	call.task_ns = draw_time();
	if (call.n > 100 && call.task_ns > MS)
		call.task_ns = MS;
	call.source_ns = rarely(4) ? draw_time() : 0;
	call.sink_ns = rarely(4) ? draw_time() : 0;
	call.cancel_after = rarely(8) ? between(0, rarely(2) ? 100 * US : 30 * MS) : NEVER;
	call.cancels = rarely(16) ? 10 : 0;
	call.waits = rarely(8) ? rates[below(6)] : 0;
	call.keeps = rarely(16) ? 60 : 0;
	draw_settings();
}

static void draw_schedule(void)
{
	static const uint32_t preempts[] = {0, 8, 40, 128, 240};
	static const int64_t ticks[] = {1, 20, 300, 5 * US};
	int n_jobs = (int)below(6);

	/* Where there are cores to spare the core spins, which takes time of ours. */
	cores = rarely(16) ? 1 + (int)below(6) : 1;
	world.preempt = preempts[below(5)];
	world.tick = ticks[below(4)];
	schedule.how = rarely(4) ? ON_CALLERS_LOOP : rarely(4) ? UNMANAGED : MANAGED;
	schedule.calls = rarely(3) ? 2 + (int)below(2) : 1;
	schedule.close_after = rarely(6) ? between(0, 20 * MS) : NEVER;
	schedule.open = (par_settings){.size = sizeof(schedule.open),
	                                .backend = "sim",
	                                .close_timeout = {1, rarely(4) ? (double)below(20) / 1e3 : 1e9}};
	if (n_jobs > 0)
		schedule.open.n_jobs = (par_int)PAR_SET(rarely(8) ? -n_jobs : n_jobs);
	draw_providers(n_jobs);
	memory.fail_at = rarely(32) ? 1 + below(60) : 0;
}

/* --- making calls ---------------------------------------------------------------------------- */

static int n_calls;

static void begin_call(par_parallel *parallel)
{
	check_kept();
	draw_call();
	memset(&seen, 0, sizeof(seen));
	memset(marks, 0, (size_t)call.n + 1);
	memset(tries, 0, (size_t)call.n + 1);
	memset(elsewhere, 0, sizeof(elsewhere[0]) * ((size_t)call.n + 1));
	memset(states, 0, (size_t)call.n + 1);
	memset(bad_tries, 0, (size_t)call.n + 1);
	memset(retries_told, 0, (size_t)call.n + 1);
	memset(statuses, 77, sizeof(statuses[0]) * ((size_t)call.n + 1));
	seen.id = ++n_calls;
	serving = NULL;
	seen.parallel = parallel;
	seen.busy = 1;
	seen.first_failed = UINT64_MAX;
	seen.begun_at = seen.result_at = world.now;
	seen.error = (par_error)PAR_ERROR_INIT;
	did.unpack_failed = did.lost_elsewhere = 0;
	did.submit_failed = did.no_worker = did.unrun = did.lost_in_a_row = did.most_lost_in_a_row = 0;
	if (parallel == NULL)
		did.up_failed = 0;
	for (uint64_t i = 0; call.is_map && i < call.n; i++) {
		array_in[i] = fact(i, 10);
		array_out[i] = 0;
	}
	if (call.cancel_after < NEVER)
		happens(call.cancel_after, cancel_event, NULL, 0);
	trace("--- %s of %llu tasks", call.is_map ? "par_map" : "par_run", (unsigned long long)call.n);
}

/* Events of the last call that have not come to pass never will. */
static void forget_events(void)
{
	for (int i = planned.n - 1; i >= 0; i--)
		if (planned.all[i].happen == cancel_event || planned.all[i].happen == wake_event)
			planned.all[i] = planned.all[--planned.n];
}

/* 1: there is one. */
static int32_t ask(par_iter *iter)
{
	const par_outcome *outcome;
	int32_t status;

	seen.is_asking = 1;
	status = par_iter_next(iter, &outcome, &seen.error);
	seen.is_asking = 0;
	must((status == 1) == (outcome != NULL), "par_iter_next() says %d", status);
	if (status == 1)
		take(outcome);
	return status;
}

static void drop(par_iter *iter)
{
	par_thrown thrown = {.size = sizeof(thrown)};
	uint64_t undelivered = seen.taken - seen.delivered;

	trace("the iterator is closed early");
	seen.dropped = 1;
	par_iter_close(iter, &thrown);
	trace("%llu unused, %llu cancelled", (unsigned long long)thrown.unused, (unsigned long long)thrown.cancelled);
	/* One that was on its way to us when the call was cancelled counts for neither. */
	must(thrown.unused + thrown.cancelled == undelivered || call.ignore || memory.refused ||
	             (seen.cancelled && thrown.unused + thrown.cancelled + 1 == undelivered),
	     "%llu + %llu were thrown away, of %llu", (unsigned long long)thrown.unused,
	     (unsigned long long)thrown.cancelled, (unsigned long long)undelivered);
}

static int32_t iterate(par_parallel *parallel, const par_task *task)
{
	par_iter *iter;
	int32_t status;

	seen.is_asking = 1;
	status = par_iter_open(&iter, parallel, task, source, NULL, &call.settings, &seen.error);
	seen.is_asking = 0;
	if (status != PAR_OK)
		return status;
	while (seen.delivered != call.sink_stops && (status = ask(iter)) == 1) {
		seen.delivered++;
		if (rarely(4))
			pass(between(0, call.sink_ns));
	}
	if (seen.delivered == call.sink_stops) {
		drop(iter);
		return PAR_ECANCELED;
	}
	must(ask(iter) == status, "an iterator ends with %d, and then with something else", status);
	par_iter_close(iter, NULL);
	return status;
}

static void call_blocking(par_parallel *parallel)
{
	const par_task *task;
	int32_t status;

	begin_call(parallel);
	task = call.names_tasks && !call.is_map && rarely(2) ? NULL : task_of(0);
	if (call.names_tasks == 0 || call.is_map)
		task = task_of(0);
	if (parallel == NULL) {
		call.settings.backend = schedule.open.backend;
		call.settings.n_jobs = schedule.open.n_jobs;
		call.settings.close_timeout = schedule.open.close_timeout;
	}
	if (call.is_map)
		status = par_map(parallel, task, array_in, array_out, call.n, &call.settings, &seen.error);
	else if (call.is_iter)
		status = iterate(parallel, task);
	else
		status = par_run(parallel, task, source, sink, NULL, &call.settings, &seen.error);
	check_end(status, &seen.error);
	forget_events();
}

static void run_managed(void)
{
	par_error error = PAR_ERROR_INIT;
	par_parallel *parallel;
	int32_t status = par_open(&parallel, &schedule.open, &error);

	trace("par_open: %d %s: %s", status, error.what, error.reason);
	if (status != PAR_OK) {
		must(parallel == NULL && (memory.refused || did.up_failed), "par_open failed: %d %s: %s", status,
		     error.what, error.reason);
		must(error.what[0] != '\0' && error.code == status, "par_open failed, and does not say why");
		return;
	}
	for (int i = 0; i < schedule.calls; i++)
		call_blocking(parallel);
	par_close(parallel);
}

static void run_unmanaged(void)
{
	for (int i = 0; i < schedule.calls; i++) {
		call_blocking(NULL);
		must(live == NULL, "a call without a pool left its backend");
	}
}

/* --- on the caller's loop -------------------------------------------------------------------- */

static struct {
	uv_loop_t loop;
	uv_timer_t timer;
	par_parallel *parallel;
	int calls, readies, closing, closed;
} mine;

static void on_closed(void *user)
{
	(void)user;
	trace("closed");
	must(mine.closing && !mine.closed, "closed is called twice, or for nothing");
	mine.closed = 1;
	must(!seen.busy, "closed is called in a call");
}

static void close_mine(void)
{
	if (mine.closing)
		return;
	trace("par_close_on");
	mine.closing = 1;
	/* A call under way is cancelled. */
	seen.cancelled = 1;
	par_close_on(mine.parallel, on_closed, NULL);
}

static void on_done(void *user, int32_t status, const par_error *error);

static void start_mine(void)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	begin_call(mine.parallel);
	/* Time-outs of a call need a backend that runs nothing in submit(). */
	if (call.is_map)
		status = par_start_map(mine.parallel, task_of(0), array_in, array_out, call.n, &call.settings, on_done,
		                       NULL, &error);
	else
		status = par_start_run(mine.parallel, task_of(0), source, sink, &call.settings, on_done, NULL,
		                       &error);
	if (status == PAR_ENOMEM && memory.refused) {
		seen.busy = 0;
		forget_events();
		return;
	}
	must(status == PAR_OK, "a call could not be started: %d %s", status, error.what);
	mine.calls++;
	status = par_start_map(mine.parallel, &par_task_value, array_in, array_out, 1, NULL, NULL, NULL, &error);
	must(status == PAR_EBUSY, "a second call at the same time: %d", status);
}

static void on_done(void *user, int32_t status, const par_error *error)
{
	(void)user;
	must(seen.busy, "a call is done twice");
	check_end(status, error);
	forget_events();
	if (mine.closing)
		return;
	if (mine.calls < schedule.calls && status != PAR_EUNAVAIL && rarely(2))
		start_mine();
	else if (rarely(2))
		close_mine();
}

static void on_ready(void *user, int32_t status, const par_error *error)
{
	(void)user;
	trace("ready: %d %s", status, error->what);
	must(!mine.readies++, "ready is called twice");
	must(status == PAR_OK || memory.refused || did.up_failed, "it did not come up: %d %s: %s", status,
	     error->what, error->reason);
	if (mine.calls == 0 && status == PAR_OK && !mine.closing && rarely(2))
		start_mine();
}

static void on_my_timer(uv_timer_t *timer)
{
	(void)timer;
	close_mine();
}

static void run_on_loop(void)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	memset(&mine, 0, sizeof(mine));
	memset(&seen, 0, sizeof(seen));
	status = par_open_on(&mine.parallel, &mine.loop, &schedule.open, on_ready, NULL, &error);
	must(status == PAR_OK || memory.refused, "par_open_on: %d %s", status, error.what);
	if (status != PAR_OK)
		return;
	if (schedule.close_after < NEVER) {
		uv_timer_init(&mine.loop, &mine.timer);
		uv_timer_start(&mine.timer, on_my_timer, (uint64_t)(schedule.close_after / MS), 0);
	}
	if (rarely(2))
		start_mine();
	uv_run(&mine.loop, UV_RUN_DEFAULT);
	must(!seen.busy, "the loop has nothing more to do, and a call is under way");
	must(mine.readies == 1 || mine.closing, "the loop has nothing more to do, and ready was not called");
	close_mine();
	uv_run(&mine.loop, UV_RUN_DEFAULT);
	must(mine.closed, "the loop has nothing more to do, and closed was not called");
	if (schedule.close_after < NEVER)
		uv_close((uv_handle_t *)&mine.timer, NULL);
	uv_run(&mine.loop, UV_RUN_DEFAULT);
}

/* --- a schedule ------------------------------------------------------------------------------ */

static void begin_world(uint64_t seed)
{
	world.seed = seed;
	world.random = mix(seed + 0x1234567);
	world.now = S;
	world.switches = 0;
	live = serving = NULL;
	n_backends = 0;
	memset(&did, 0, sizeof(did));
	memory.refused = 0;
	draw_schedule();
	trace("=== seed %llu", (unsigned long long)seed);
}

static void run_schedule(uint64_t seed)
{
	int64_t blocks;

	begin_world(seed);
	blocks = memory.blocks;
	if (schedule.how == MANAGED)
		run_managed();
	else if (schedule.how == UNMANAGED)
		run_unmanaged();
	else
		run_on_loop();
	check_kept();
	memory.fail_at = 0;
	must(live == NULL, "a backend is left behind");
	must(uv.n == 0, "a handle of libuv's is left behind");
	must(planned.n == 0, "somebody still waits for something");
	must(locks_held == 0, "a lock is held");
	must(memory.blocks == blocks, "%lld blocks of memory are left behind",
	     (long long)(memory.blocks - blocks));
	schedules_done++;
}

/* What workers elsewhere keep from batch to batch is none of a schedule's. */
static void keep_runners(void)
{
	static const par_task *const tasks[] = {&par_task_value, &par_task_bytes, &par_task_triple};
	struct runner *runners[WORKERS];
	const par_task *found;
	par_module *program;

	for (int i = 0; i < WORKERS; i++)
		must((runners[i] = runner_take()) != NULL, "no memory");
	for (int i = 0; i < WORKERS; i++)
		runner_give(runners[i]);
	must(module_of_program(&program, NULL) == PAR_OK, "the program has no tasks");
	for (int i = 0; i < 3; i++)
		must(par_module_task(program, tasks[i]->name, &found, NULL) == PAR_OK && found == tasks[i],
		     "the program's tasks are not found");
}

/* --- the program ----------------------------------------------------------------------------- */

static void on_crash(int number)
{
	static const char *const texts[] = {"crashed", "aborted"};

	signal(number, SIG_DFL);
	broken("the core %s (signal %d)", texts[number == SIGABRT], number);
}

static void catch_crashes(void)
{
	static char stack[65536];
	stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
	struct sigaction action = {.sa_handler = on_crash, .sa_flags = SA_ONSTACK};

	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
	sigaction(SIGABRT, &action, NULL);
}

static void no_log(void *user, int32_t level, const char *line)
{
	(void)user;
	trace("log %d: %s", level, line);
}

static int usage(void)
{
	printf("usage: %s [--seed N] [--schedules N] [--verbose]\n", world.program);
	return 2;
}

/* The arguments; 0, or what to exit with. */
static int read_arguments(char **argv, uint64_t *seed, uint64_t *n)
{
	world.program = *argv;
	*seed = 1;
	*n = DEFAULT_SCHEDULES;
	while (*++argv != NULL) {
		if (strcmp(*argv, "--verbose") == 0)
			world.verbose = 1;
		else if (strcmp(*argv, "--seed") == 0 && argv[1] != NULL)
			*seed = strtoull(*++argv, NULL, 10), *n = *n == DEFAULT_SCHEDULES ? 1 : *n;
		else if (strcmp(*argv, "--schedules") == 0 && argv[1] != NULL)
			*n = strtoull(*++argv, NULL, 10);
		else
			return usage();
	}
	return 0;
}

int main(int argc, char **argv)
{
	uint64_t seed, n;
	struct timespec begin, end;

	par_worker_main(argc, argv);
	if (read_arguments(argv, &seed, &n) != 0)
		return 2;
	/* A ring of a million places is mapped, and not cleared. */
	(void)mallopt(M_MMAP_THRESHOLD, 256 * 1024);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!SIM_SANITIZED)
		catch_crashes();
	par_set_log(no_log, NULL);
	if (par_configure(NULL, NULL) != PAR_OK)
		return 2;
	fibers_create(worker_body);
	keep_runners();
	__real_clock_gettime(CLOCK_MONOTONIC, &begin);
	for (uint64_t i = 0; i < n; i++)
		run_schedule(seed + i);
	__real_clock_gettime(CLOCK_MONOTONIC, &end);
	printf("%llu schedules, %.0f a minute\n", (unsigned long long)n,
	       60.0 * (double)n / ((double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9));
	printf("100%%: Checks: %llu, Failures: 0, Errors: 0\n", (unsigned long long)schedules_done);
	return 0;
}
