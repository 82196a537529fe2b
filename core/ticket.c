#include "ticket.h"

#include "error.h"
#include "inner_threads.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>

/* A piece should be long enough to hide the cost of taking it and of reading the clock,
 * and so short that nobody minds waiting for it. */
#define PIECE_NS 20000

/* Tasks of a stream below this time take less than it costs to move them to another core:
 * the loop's thread runs them by itself, and a ticket only watches that it gets on. */
#define TINY_TASK_NS 80
#define WATCH_NS     20000

/* So many tiny tasks are taken at a time, even where one is asked for: together they are
 * shorter than what it takes anybody to notice. */
enum { TINY_PIECE = 8 };

/* A longer piece than before only by this factor: what was measured once may not hold. */
#define PIECE_GROWTH 8

/* Why a task fails, in its own words. */
struct story {
	int is_told;
	char type[48], where[160];
	char text[sizeof(((par_error *)0)->reason)];
};


/* One who sits: the env that tasks see, and what it needs behind it. */
struct sitter {
	par_env env;
	struct call *call;
	struct duty *duty;
	struct inner_limit *limit; /* of threads inside its tasks; NULL: none */
	struct slot *slot; /* stream: of the task that runs */
	void *reply;       /* a piece of the arena; NULL: it lies in the slot */
	uint32_t reply_size;
	struct story story;
};

static struct sitter *sitter_of(par_env *env)
{
	return (struct sitter *)((char *)env - offsetof(struct sitter, env));
}

/* --- what a running task may call ---------------------------------------------------- */

static void drop_reply(struct sitter *sitter)
{
	if (sitter->reply != NULL) {
		call_drop_reply(sitter->call, sitter->reply_size);
		arena_release(sitter->reply);
	}
	sitter->reply = NULL;
	sitter->reply_size = 0;
}

static void copy(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text != NULL ? text : "");
}

static void explain(par_env *env, const char *type, const char *where, const char *text)
{
	struct story *story = &sitter_of(env)->story;

	story->is_told = 1;
	copy(story->type, sizeof(story->type), type);
	copy(story->where, sizeof(story->where), where);
	copy(story->text, sizeof(story->text), text);
}

/* Small ones lie in the slot, which nobody else looks at before the task is over; all the
 * rest is put there only then. */
static void *make_reply(struct sitter *sitter, uint64_t size)
{
	struct call *call = sitter->call;

	drop_reply(sitter);
	if (size > UINT32_MAX) {
		explain(&sitter->env, NULL, NULL, "its reply is larger than 4 GiB");
		return NULL;
	}
	if (size <= SLOT_INLINE) {
		sitter->reply_size = (uint32_t)size;
		return &sitter->slot->out;
	}
	sitter->reply = arena_alloc(&call->arenas[sitter->env.worker], (size_t)size);
	if (sitter->reply == NULL) {
		explain(&sitter->env, NULL, NULL, "no memory for its reply");
		return NULL;
	}
	sitter->reply_size = (uint32_t)size;
	call_add_reply(call, size);
	return sitter->reply;
}

static void *reply(par_env *env, uint64_t size)
{
	struct sitter *sitter = sitter_of(env);

	/* A typed task has its out value to write to. */
	if (sitter->slot == NULL || sitter->call->tasks[sitter->slot->task]->kind != PAR_TASK_BYTES)
		return NULL;
	return make_reply(sitter, size);
}

static void tell_event(struct sitter *sitter, int32_t kind, uint64_t index,
                       const struct call_failure *failure)
{
	if (__builtin_expect(sitter->call->events.on_event != NULL, 0))
		call_add_event(sitter->call, kind, index, sitter->env.worker, sitter->env.attempt, failure);
}

static void tell_story(struct sitter *sitter, uint64_t index, int32_t code,
                       struct call_failure *failure)
{
	const struct story *story = &sitter->story;
	const char *cause = context_take_note(index);
	size_t used;

	failure->index = index;
	failure->status = PAR_EFAILED;
	failure->code = code;
	failure->attempts = sitter->env.attempt + 1;
	failure->worker = (int32_t)sitter->env.worker;
	failure->pid = failure->signal = 0;
	failure->exit_code = -1;
	failure->peak_memory = 0;
	failure->host[0] = '\0';
	copy(failure->type, sizeof(failure->type), story->is_told ? story->type : NULL);
	copy(failure->text, sizeof(failure->text), story->is_told ? story->text : NULL);
	copy(failure->trace, sizeof(failure->trace), story->is_told ? story->where : NULL);
	used = strlen(failure->trace);
	if (cause != NULL)
		(void)snprintf(failure->trace + used, sizeof(failure->trace) - used, "%scaused by: %s",
		               used > 0 ? "\n" : "", cause);
	failure->input[0] = '\0';
}

static int is_tried_again(struct sitter *sitter, uint64_t index, int32_t code,
                          struct call_failure *failure)
{
	tell_story(sitter, index, code, failure);
	/* Told before it is there to be taken. */
	if (call_has_other_try(sitter->call, sitter->env.attempt, PAR_ON_ERROR)) {
		tell_event(sitter, PAR_EVENT_RETRY, index, failure);
		if (call_try_again(sitter->call, index, sitter->env.attempt))
			return 1;
	}
	tell_event(sitter, PAR_EVENT_FAILED, index, failure);
	return 0;
}

static void fail_slot(struct sitter *sitter, const struct call_failure *failure)
{
	drop_reply(sitter);
	call_fail_slot(sitter->slot, &sitter->call->arenas[sitter->env.worker], failure);
}

/* --- tasks that are timed ------------------------------------------------------------------ */

static void begin_duty(struct sitter *sitter, uint64_t index)
{
	struct duty *duty = sitter->duty;
	uint64_t word = atomic_load_explicit(&duty->word, memory_order_relaxed) / DUTY_STATES + 1;

	atomic_store_explicit(&duty->index, index, memory_order_relaxed);
	atomic_store_explicit(&duty->attempt, sitter->env.attempt, memory_order_relaxed);
	atomic_store_explicit(&duty->since_ns, sitter->call->clock(), memory_order_relaxed);
	atomic_store_explicit(&duty->word, word * DUTY_STATES + DUTY_RUNS, memory_order_release);
}

/* DUTY_NOTHING: it was in time. */
static enum duty_state end_duty(struct sitter *sitter)
{
	struct duty *duty = sitter->duty;
	uint64_t word = atomic_load_explicit(&duty->word, memory_order_relaxed);
	enum duty_state state;

	for (;;) {
		state = (enum duty_state)(word % DUTY_STATES);
		/* That it is over its time comes before what becomes of it. */
		if (state == DUTY_TOLD) {
			sched_yield();
			word = atomic_load_explicit(&duty->word, memory_order_relaxed);
		} else if (atomic_compare_exchange_weak_explicit(&duty->word, &word, word - state,
		                                                 memory_order_acq_rel,
		                                                 memory_order_relaxed)) {
			return state == DUTY_RUNS ? DUTY_NOTHING : state;
		}
	}
}

/* It was to be tried again, but cannot be: it has failed after all. */
static void fail_late(struct sitter *sitter, uint64_t index)
{
	struct call *call = sitter->call;
	struct call_failure failure = {
		.index = index,
		.status = PAR_ETIMEOUT,
		.attempts = sitter->env.attempt + 1,
		.worker = (int32_t)sitter->env.worker,
		.exit_code = -1,
	};

	copy(failure.text, sizeof(failure.text), "it was over its time, and is not tried again");
	tell_event(sitter, PAR_EVENT_FAILED, index, &failure);
	if (call->statuses != NULL)
		call->statuses[index] = PAR_ETIMEOUT;
	if (sitter->slot != NULL) {
		fail_slot(sitter, &failure);
		call_charge(call, &failure);
		atomic_store_explicit(&sitter->slot->state, SLOT_DONE, memory_order_release);
		if (call->unordered)
			call_list_done(call, index, 1);
	} else {
		call_charge(call, &failure);
	}
}

/* The loop has delivered it, or is about to: whoever of the two comes last frees the slot. */
static void leave_slot(struct slot *slot)
{
	for (;;) {
		uint8_t was = atomic_load_explicit(&slot->state, memory_order_acquire);

		if (was == SLOT_GONE) {
			slot_clear(slot);
			return;
		}
		/* READY: the loop is between two words. */
		if (was == SLOT_READY)
			sched_yield();
		else if (atomic_compare_exchange_weak_explicit(&slot->state, &was, SLOT_LEFT,
		                                               memory_order_acq_rel,
		                                               memory_order_relaxed))
			return;
	}
}

/* The worker comes back with a task that was over its time: what it brings is thrown away. */
static void come_back_late(struct sitter *sitter, uint64_t index, enum duty_state state)
{
	struct call *call = sitter->call;

	(void)context_take_note(index);
	cursor_set_stuck(&call->cursor, sitter->env.worker, 0);
	if (sitter->slot != NULL)
		drop_reply(sitter);
	if (state == DUTY_AGAIN && call_has_other_try(call, sitter->env.attempt, PAR_ON_TIMEOUT)) {
		tell_event(sitter, PAR_EVENT_RETRY, index, NULL);
		if (call_try_again(call, index, sitter->env.attempt))
			return;
	}
	if (state == DUTY_AGAIN)
		fail_late(sitter, index);
	else if (sitter->slot != NULL)
		leave_slot(sitter->slot);
	call->wake(call->wake_arg);
}

/* --- running -------------------------------------------------------------------------- */

static void succeed(struct sitter *sitter, uint64_t first, uint64_t last)
{
	struct call *call = sitter->call;

	if (call->statuses != NULL && last > first)
		memset(&call->statuses[first], PAR_OK, (last - first) * sizeof(*call->statuses));
	if (call->is_single && last > first)
		tell_event(sitter, PAR_EVENT_DONE, first, NULL);
}

/* The tasks of a range of the arrays, up to the first that fails; returns where to go on. */
static uint64_t run_range(struct sitter *sitter, uint64_t first, uint64_t last)
{
	struct call *call = sitter->call;
	const par_task *task = call->tasks[0];
	struct call_failure failure;
	enum duty_state state;
	uint64_t at = 0;
	int32_t code;

	sitter->env.index = first;
	sitter->story.is_told = 0;
	if (__builtin_expect(call->is_single, 0)) {
		tell_event(sitter, PAR_EVENT_STARTED, first, NULL);
		begin_duty(sitter, first);
	}
	code = task->range(&sitter->env, (const char *)call->in + first * task->in_size,
	                   (char *)call->out + first * task->out_size, last - first, &at);
	if (__builtin_expect(call->is_single, 0) && (state = end_duty(sitter)) != DUTY_NOTHING) {
		come_back_late(sitter, first, state);
		return last;
	}
	if (__builtin_expect(code == 0, 1)) {
		succeed(sitter, first, last);
		return last;
	}
	succeed(sitter, first, first + at);
	if (sitter->env.saw_stopping)
		return last;
	if (!is_tried_again(sitter, first + at, code, &failure)) {
		if (call->statuses != NULL)
			call->statuses[first + at] = failure.status;
		call_charge(call, &failure);
	}
	return first + at + 1;
}

/* Units of the arrays; a range stops for nothing, so it is as short as is measured. */
static void run_array(struct sitter *sitter, uint64_t first, uint64_t n, uint32_t measure)
{
	struct call *call = sitter->call;
	uint64_t i = first * call->unit, last = (first + n) * call->unit;
	uint64_t most = call->is_single ? 1 : measure * call->unit;

	last = last < call->n_tasks ? last : call->n_tasks;
	while (i < last) {
		if (__builtin_expect(atomic_load_explicit(&call->nests, memory_order_relaxed), 0))
			most = 1;
		i = run_range(sitter, i, last - i > most ? i + most : last);
		if (i < last && call_is_stopping(call))
			return;
	}
}

static int32_t run_typed(struct sitter *sitter, const par_task *task, const void *payload)
{
	void *out = &sitter->slot->out;
	uint64_t at;

	if (task->out_size <= SLOT_INLINE)
		sitter->reply_size = task->out_size;
	else if ((out = make_reply(sitter, task->out_size)) == NULL)
		return PAR_ENOMEM;
	return task->range(&sitter->env, payload, out, 1, &at);
}

static void put_reply(struct sitter *sitter)
{
	struct slot *slot = sitter->slot;

	slot->out_size = sitter->reply_size;
	if (sitter->reply != NULL) {
		slot->out.pointer = sitter->reply;
		slot->flags |= SLOT_OUT_ARENA;
		sitter->reply = NULL;
	}
}

/* 1: it is over; 0: it is not, or not in the usual way. */
static int run_slot(struct sitter *sitter, uint64_t index)
{
	struct call *call = sitter->call;
	struct slot *slot = slots_at(&call->slots, index);
	const par_task *task = call->tasks[slot->task];
	struct call_failure failure;
	enum duty_state state;
	int32_t code;

	sitter->slot = slot;
	sitter->reply_size = 0;
	sitter->env.index = index;
	sitter->story.is_told = 0;
	if (__builtin_expect(call->is_single, 0)) {
		tell_event(sitter, PAR_EVENT_STARTED, index, NULL);
		begin_duty(sitter, index);
	}
	if (task->kind == PAR_TASK_TYPED)
		code = run_typed(sitter, task, slot_payload(slot));
	else
		code = task->bytes(&sitter->env, slot_payload(slot), slot->in_size);
	if (__builtin_expect(call->is_single, 0) && (state = end_duty(sitter)) != DUTY_NOTHING) {
		come_back_late(sitter, index, state);
		return 0;
	}
	if (__builtin_expect(code == 0, 1)) {
		put_reply(sitter);
		if (__builtin_expect(call->is_single, 0))
			tell_event(sitter, PAR_EVENT_DONE, index, NULL);
	} else {
		if (sitter->env.saw_stopping || is_tried_again(sitter, index, code, &failure)) {
			drop_reply(sitter);
			return 0;
		}
		fail_slot(sitter, &failure);
		call_charge(call, &failure);
	}
	atomic_store_explicit(&slot->state, SLOT_DONE, memory_order_release);
	return 1;
}

static void run_stream(struct sitter *sitter, uint64_t first, uint64_t n)
{
	struct call *call = sitter->call;
	uint64_t i, listed = first;

	for (i = first; i < first + n && (i == first || !call_is_stopping(call)); i++) {
		if (__builtin_expect(run_slot(sitter, i), 1))
			continue;
		if (call->unordered && i > listed)
			call_list_done(call, listed, i - listed);
		listed = i + 1;
	}
	if (call->unordered && i > listed)
		call_list_done(call, listed, i - listed);
}

/* One that failed before, if its time has come; 1: it was run. */
static int run_again(struct sitter *sitter)
{
	struct call *call = sitter->call;
	struct redo_task task;

	if (redo_is_empty(&call->redo) || !redo_take(&call->redo, call->clock(), &task))
		return 0;
	sitter->env.attempt = task.attempt;
	if (call->is_stream)
		run_stream(sitter, task.index, 1);
	else
		(void)run_range(sitter, task.index, task.index + 1);
	sitter->env.attempt = 0;
	return 1;
}

/* --- the seat ------------------------------------------------------------------------- */

static int32_t sit_down(struct call *call)
{
	uint32_t seated = atomic_load_explicit(&call->seated, memory_order_relaxed);

	do {
		if (seated >= call->n_jobs)
			return -1;
	} while (!atomic_compare_exchange_weak_explicit(&call->seated, &seated, seated + 1,
	                                                memory_order_acq_rel, memory_order_relaxed));
	return cursor_sit(&call->cursor);
}

static void get_up(struct call *call, uint32_t seat)
{
	cursor_leave(&call->cursor, seat);
	atomic_fetch_sub_explicit(&call->seated, 1, memory_order_acq_rel);
}

/* After a result was made known.  swapped: a compare-and-swap on the cursor came after
 * that, which on x86 orders the two; elsewhere, and without it, the look is a
 * read-modify-write itself, so that of it and the loop's exchange one sees the other. */
static void wake_if_hungry(struct call *call, int swapped)
{
#if !defined(__x86_64__) && !defined(__i386__)
	swapped = 0;
#endif
	if (swapped && !atomic_load_explicit(&call->hungry, memory_order_relaxed))
		return;
	if (atomic_exchange_explicit(&call->hungry, 0, memory_order_acq_rel))
		call->wake(call->wake_arg);
}

static void pause_briefly(void)
{
	for (int i = 0; i < 8; i++)
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#else
		atomic_signal_fence(memory_order_seq_cst);
#endif
}

/* Without work in a stream that goes on: look out a while, since to sleep and be woken
 * costs more.  1: there is some. */
static int look_out(struct call *call)
{
	int64_t until;

	if (call->spin_ns == 0 || !atomic_load_explicit(&call->open, memory_order_relaxed))
		return 0;
	until = call->clock() + call->spin_ns;
	do {
		for (int i = 0; i < 32; i++) {
			if (cursor_unclaimed(&call->cursor) > 0)
				return 1;
			if (call_is_stopping(call) ||
			    !atomic_load_explicit(&call->open, memory_order_relaxed) ||
			    atomic_load_explicit(&call->yield, memory_order_relaxed))
				return 0;
			pause_briefly();
		}
	} while (call->clock() < until);
	return 0;
}

static int asked_to_leave(struct call *call)
{
	int32_t asked = 1;

	return atomic_load_explicit(&call->yield, memory_order_relaxed) &&
	       atomic_compare_exchange_strong_explicit(&call->yield, &asked, 0, memory_order_acq_rel,
	                                               memory_order_relaxed);
}

static int is_tiny(const struct call *call)
{
	return call->is_stream && atomic_load_explicit(&call->helping, memory_order_relaxed) &&
	       atomic_load_explicit(&call->task_ns, memory_order_relaxed) < TINY_TASK_NS;
}

/* Leave tiny tasks to the loop's thread, as long as it gets on with them: if one of them
 * turns out to be long, the others are not to wait for it; and where there are none, this is
 * a look-out like any other. */
static void watch(struct call *call)
{
	uint64_t seen = UINT64_MAX, next;
	int64_t since = 0, now;

	while (is_tiny(call) && !call_is_stopping(call) &&
	       atomic_load_explicit(&call->open, memory_order_relaxed) &&
	       !atomic_load_explicit(&call->yield, memory_order_relaxed)) {
		next = atomic_load_explicit(&call->cursor.next, memory_order_relaxed);
		now = call->clock();
		if (next != seen)
			since = now;
		else if (now - since >= (cursor_unclaimed(&call->cursor) > 0 ? WATCH_NS : call->spin_ns))
			return;
		seen = next;
		for (int i = 0; i < 4; i++)
			pause_briefly();
	}
}

/* How many units last about PIECE_NS, going by what some took. */
static uint32_t next_piece(uint64_t units, int64_t ns)
{
	uint64_t most = units * PIECE_GROWTH;
	uint64_t fit = ns > 0 ? units * PIECE_NS / (uint64_t)ns : most;

	fit = fit < most ? fit : most;
	return fit < 1 ? 1 : fit > UINT32_MAX / 2 ? UINT32_MAX / 2 : (uint32_t)fit;
}

static uint32_t first_piece(const struct call *call)
{
	int64_t task_ns = atomic_load_explicit(&call->task_ns, memory_order_relaxed);

	return task_ns > 0 ? next_piece(PIECE_NS, task_ns * PIECE_NS * (int64_t)call->unit) : 1;
}

/* While the loop's thread takes part it may be late with the next batch, so a ticket goes
 * on beyond its quota. */
static int quota_counts(const struct call *call, uint64_t quota)
{
	return quota > 0 && !atomic_load_explicit(&call->helping, memory_order_relaxed);
}

/* Units to take now: the fixed piece or a measured one, and no more than the quota. */
static uint32_t want(const struct call *call, uint32_t measure, uint64_t quota, uint64_t ran)
{
	uint32_t piece = call->piece == 0                             ? measure
	                 : call->piece < TINY_PIECE && is_tiny(call) ? TINY_PIECE
	                                                              : call->piece;
	uint64_t left = quota > ran ? (quota - ran) / call->unit : 0;

	/* Nobody else can do what is in a piece with one that is stuck. */
	if (call->task_timeout_ns > 0)
		return 1;
	if (!quota_counts(call, quota) || left >= piece)
		return piece;
	return left > 0 ? (uint32_t)left : 1;
}

static void sitter_init(struct sitter *sitter, struct call *call, uint32_t seat)
{
	sitter->env = (par_env){
		.size = sizeof(par_env),
		.worker = seat,
		.shared = call->shared,
		.shared_size = call->shared_size,
		.stopping = (const int32_t *)&call->stopping,
		.level = call->context.depth,
		.inner_max_num_threads = call->context.inner_max_num_threads,
		.reply = reply,
		.explain = explain,
		.call_seed = call->seed,
	};
	sitter->call = call;
	sitter->duty = &call->duties[seat];
	sitter->limit = NULL;
	sitter->slot = NULL;
	sitter->reply = NULL;
}

static void take_part(struct sitter *sitter, uint64_t quota, int64_t budget_ns,
                      struct ticket_report *report)
{
	struct call *call = sitter->call;
	const int64_t begin = call->clock();
	int64_t mark = begin, now;
	uint64_t first, units = 0; /* since mark */
	uint32_t measure = first_piece(call), piece, n;

	while (!call_is_stopping(call)) {
		if (__builtin_expect(sitter->limit != NULL, 0))
			inner_threads_look(sitter->limit);
		if (__builtin_expect(!redo_is_empty(&call->redo), 0) && run_again(sitter)) {
			now = call->clock();
			call_tell(call, units * call->unit + 1, now - mark);
			report->ran += units * call->unit + 1;
			units = 0;
			mark = now;
			if (call->is_stream)
				wake_if_hungry(call, 0);
			if ((budget_ns > 0 && now - begin >= budget_ns) ||
			    (quota_counts(call, quota) && report->ran >= quota))
				break;
			continue;
		}
		if (budget_ns == 0 && is_tiny(call))
			watch(call);
		piece = want(call, measure, quota, report->ran + units * call->unit);
		/* The loop's thread has more to do than a large piece. */
		if (budget_ns > 0 && piece > TINY_PIECE && piece > measure)
			piece = measure;
		n = cursor_take(&call->cursor, sitter->env.worker, piece, &first);
		if (call->is_stream)
			wake_if_hungry(call, n > 0);
		if (n == 0) {
			if (budget_ns == 0 && look_out(call))
				continue;
			break;
		}
		if (call->is_stream)
			run_stream(sitter, first, n);
		else
			run_array(sitter, first, n, measure);
		units += n;
		if (units >= measure) {
			now = call->clock();
			call_tell(call, units * call->unit, now - mark);
			report->ran += units * call->unit;
			measure = next_piece(units, now - mark);
			mark = now;
			units = 0;
			if (budget_ns > 0 && now - begin >= budget_ns)
				break;
		}
		if (budget_ns == 0 && asked_to_leave(call))
			break;
		if (quota_counts(call, quota) && report->ran + units * call->unit >= quota)
			break;
	}
	now = call->clock();
	if (units > 0) {
		call_tell(call, units * call->unit, now - mark);
		report->ran += units * call->unit;
	}
	report->ns = now - begin;
}

/* Whoever sits here later than the call waits for it has the limit until it gets up. */
static void take_part_limited(struct sitter *sitter, uint64_t quota, int64_t budget_ns,
                              struct ticket_report *report)
{
	struct inner_limit limit;

	inner_threads_enter(&limit, sitter->env.inner_max_num_threads);
	sitter->limit = &limit;
	take_part(sitter, quota, budget_ns, report);
	inner_threads_leave(&limit);
}

void ticket_run(struct call *call, uint64_t quota, int64_t budget_ns, struct ticket_report *report)
{
	struct sitter sitter;
	struct context_outside outside;
	struct context context = call->context;
	int32_t seat = sit_down(call);

	*report = (struct ticket_report){0, 0};
	if (seat < 0)
		return;
	sitter_init(&sitter, call, (uint32_t)seat);
	context.task = &sitter.env.index;
	context.nests = &call->nests;
	outside = context_enter(&context);
	if (__builtin_expect(context.inner_max_num_threads > 0, 0))
		take_part_limited(&sitter, quota, budget_ns, report);
	else
		take_part(&sitter, quota, budget_ns, report);
	context_leave(&outside);
	get_up(call, (uint32_t)seat);
	if (call->is_stream)
		wake_if_hungry(call, 0);
}
