#include "ticket.h"

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

/* Replies from this size on are counted, so that a slow sink bounds their memory. */
#define LARGE_REPLY 16384

/* One who sits: the env that tasks see, and what it needs behind it. */
struct sitter {
	par_env env;
	struct call *call;
	struct slot *slot; /* stream: of the task that runs */
	int explained;
	char text[sizeof(((struct call *)0)->failure_text)];
};

static struct sitter *sitter_of(par_env *env)
{
	return (struct sitter *)((char *)env - offsetof(struct sitter, env));
}

/* --- what a running task may call ---------------------------------------------------- */

void ticket_forget(struct call *call, const struct slot *slot)
{
	if ((slot->flags & SLOT_OUT_ARENA) && slot->out_size >= LARGE_REPLY)
		atomic_fetch_sub_explicit(&call->reply_bytes, slot->out_size, memory_order_relaxed);
}

static void drop_reply(struct call *call, struct slot *slot)
{
	ticket_forget(call, slot);
	if (slot->flags & SLOT_OUT_ARENA)
		arena_release(slot->out.pointer);
	slot->flags &= (uint8_t)~SLOT_OUT_ARENA;
	slot->out_size = 0;
}

static void explain(par_env *env, const char *type, const char *where, const char *text)
{
	struct sitter *sitter = sitter_of(env);

	(void)type, (void)where;
	sitter->explained = 1;
	(void)snprintf(sitter->text, sizeof(sitter->text), "%s", text);
}

static void *reply_in_slot(struct sitter *sitter, uint64_t size)
{
	struct slot *slot = sitter->slot;
	struct arena *arena = &sitter->call->arenas[sitter->env.worker];
	void *piece = &slot->out;

	if (slot->flags & SLOT_OUT_ARENA)
		drop_reply(sitter->call, slot);
	if (size > UINT32_MAX) {
		explain(&sitter->env, NULL, NULL, "its reply is larger than 4 GiB");
		return NULL;
	}
	if (size > SLOT_INLINE) {
		piece = arena_alloc(arena, (size_t)size);
		if (piece == NULL) {
			explain(&sitter->env, NULL, NULL, "no memory for its reply");
			return NULL;
		}
		slot->out.pointer = piece;
		slot->flags |= SLOT_OUT_ARENA;
		if (size >= LARGE_REPLY)
			atomic_fetch_add_explicit(&sitter->call->reply_bytes, (int64_t)size,
			                          memory_order_relaxed);
	}
	slot->out_size = (uint32_t)size;
	return piece;
}

static void *reply(par_env *env, uint64_t size)
{
	struct sitter *sitter = sitter_of(env);

	/* A typed task has its out value to write to. */
	if (sitter->slot == NULL || sitter->call->tasks[sitter->slot->task]->kind != PAR_TASK_BYTES)
		return NULL;
	return reply_in_slot(sitter, size);
}

/* --- failures ------------------------------------------------------------------------- */

void call_failed(struct call *call, uint64_t index, int32_t code, const char *text)
{
	atomic_fetch_add_explicit(&call->failed, 1, memory_order_relaxed);
	pthread_mutex_lock(&call->lock);
	if (!call->have_failure || index < call->failure_index) {
		call->have_failure = 1;
		call->failure_index = index;
		call->failure_code = code;
		(void)snprintf(call->failure_text, sizeof(call->failure_text), "%s",
		               text != NULL ? text : "");
	}
	pthread_mutex_unlock(&call->lock);
	if (call->collect)
		return;
	call_stop(call);
	call->wake(call->wake_arg);
}

static void fail_task(struct sitter *sitter, uint64_t index, int32_t code)
{
	call_failed(sitter->call, index, code, sitter->explained ? sitter->text : NULL);
}

/* In place of its reply: the code, with the words if there are any. */
static void fail_slot(struct sitter *sitter, int32_t code)
{
	struct slot *slot = sitter->slot;
	size_t length = sitter->explained ? strlen(sitter->text) + 1 : 0;
	struct slot_failure *failure = NULL;

	drop_reply(sitter->call, slot);
	if (length > 0)
		failure = arena_alloc(&sitter->call->arenas[sitter->env.worker], sizeof(*failure) + length);
	slot->flags |= SLOT_FAILED;
	slot->out.inside = (uint32_t)code;
	if (failure != NULL) {
		failure->code = code;
		memcpy(failure->text, sitter->text, length);
		slot->out.pointer = failure;
		slot->flags |= SLOT_OUT_ARENA;
	}
}

/* --- running -------------------------------------------------------------------------- */

/* Units of the arrays; a range stops for nothing, so it is as short as is measured. */
static void run_array(struct sitter *sitter, uint64_t first, uint64_t n, uint32_t measure)
{
	struct call *call = sitter->call;
	const par_task *task = call->tasks[0];
	uint64_t i = first * call->unit, last = (first + n) * call->unit;

	last = last < call->n_tasks ? last : call->n_tasks;
	while (i < last) {
		uint64_t end = last - i > measure * call->unit ? i + measure * call->unit : last;
		uint64_t at = 0;
		int32_t code;

		sitter->env.index = i;
		sitter->explained = 0;
		code = task->range(&sitter->env, (const char *)call->in + i * task->in_size,
		                   (char *)call->out + i * task->out_size, end - i, &at);
		if (code != 0)
			fail_task(sitter, i + at, code);
		i = code == 0 ? end : i + at + 1;
		if (i < last && call_is_stopping(call))
			return;
	}
}

static int32_t run_typed(struct sitter *sitter, const par_task *task, const void *payload)
{
	void *out = reply_in_slot(sitter, task->out_size);
	uint64_t at;

	return out == NULL ? PAR_ENOMEM : task->range(&sitter->env, payload, out, 1, &at);
}

static void run_slot(struct sitter *sitter, uint64_t index)
{
	struct call *call = sitter->call;
	struct slot *slot = slots_at(&call->slots, index);
	const par_task *task = call->tasks[slot->task];
	int32_t code;

	sitter->slot = slot;
	sitter->env.index = index;
	sitter->explained = 0;
	slot->out_size = 0;
	if (task->kind == PAR_TASK_TYPED)
		code = run_typed(sitter, task, slot_payload(slot));
	else
		code = task->bytes(&sitter->env, slot_payload(slot), slot->in_size);
	if (__builtin_expect(code != 0, 0)) {
		fail_slot(sitter, code);
		fail_task(sitter, index, code);
	}
	atomic_store_explicit(&slot->state, SLOT_DONE, memory_order_release);
}

uint64_t call_take_done(struct call *call)
{
	if (atomic_load_explicit(&call->done_list, memory_order_relaxed) == 0)
		return 0;
	return atomic_exchange_explicit(&call->done_list, 0, memory_order_acquire);
}

/* Put a piece's tasks on the list of those that are over, linked among themselves. */
static void list_done(struct call *call, uint64_t first, uint64_t n)
{
	struct slot *last = slots_at(&call->slots, first);
	uint64_t head = atomic_load_explicit(&call->done_list, memory_order_relaxed);

	for (uint64_t i = first + 1; i < first + n; i++) {
		struct slot *slot = slots_at(&call->slots, i);

		slot->link = (uint32_t)(i - 1);
		slot->flags |= SLOT_CHAINED;
	}
	do {
		last->link = (uint32_t)(head - 1);
		last->flags = (uint8_t)(head > 0 ? last->flags | SLOT_CHAINED : last->flags & ~SLOT_CHAINED);
	} while (!atomic_compare_exchange_weak_explicit(&call->done_list, &head, first + n,
	                                                memory_order_release, memory_order_relaxed));
}

static void run_stream(struct sitter *sitter, uint64_t first, uint64_t n)
{
	struct call *call = sitter->call;
	uint64_t i;

	for (i = first; i < first + n && (i == first || !call_is_stopping(call)); i++)
		run_slot(sitter, i);
	if (call->unordered)
		list_done(call, first, i - first);
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
		.reply = reply,
		.explain = explain,
	};
	sitter->call = call;
	sitter->slot = NULL;
	sitter->explained = 0;
}

static void tell(struct call *call, uint64_t tasks, int64_t ns)
{
	int64_t before = atomic_load_explicit(&call->task_ns, memory_order_relaxed);
	int64_t each = ns / (int64_t)(tasks > 0 ? tasks : 1);

	/* One long task among short ones changes little; many do.  That two who tell at once
	 * may forget one another does no harm. */
	if (before > 0) {
		each = each < 4 * SHORT_TASK_NS ? each : 4 * SHORT_TASK_NS;
		each = before + (each - before) / 4;
	}
	atomic_store_explicit(&call->task_ns, each > 0 ? each : 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&call->finished, tasks, memory_order_relaxed);
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
			tell(call, units * call->unit, now - mark);
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
		tell(call, units * call->unit, now - mark);
		report->ran += units * call->unit;
	}
	report->ns = now - begin;
}

void ticket_run(struct call *call, uint64_t quota, int64_t budget_ns, struct ticket_report *report)
{
	struct sitter sitter;
	struct context_outside outside;
	int32_t seat = sit_down(call);

	*report = (struct ticket_report){0, 0};
	if (seat < 0)
		return;
	sitter_init(&sitter, call, (uint32_t)seat);
	outside = context_enter(&call->context);
	take_part(&sitter, quota, budget_ns, report);
	context_leave(&outside);
	get_up(call, (uint32_t)seat);
	if (call->is_stream)
		wake_if_hungry(call, 0);
}
