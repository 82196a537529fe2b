#include "remote.h"

#include "error.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* So many workers have to die of a task before it is condemned, and whoever killed them, no task
 * is worth more than the latter: where all die of the same, each is an excuse for the others. */
enum { STRIKES = 3, MOST_STRIKES = 50 };

/* Where workers are killed by somebody else too: as unlikely has it to be that all of them
 * died of that. */
#define CHANCE 1e-7

/* Values that go with a batch, at most, if it is more than one. */
enum { MOST_BYTES = 1 << 20 };

/* --- its life -------------------------------------------------------------------------------- */

int remote_init(struct remote *remote, struct call *call, uint32_t n_places, int ships_modules)
{
	memset(remote, 0, sizeof(*remote));
	remote->call = call;
	remote->ships_modules = ships_modules;
	remote->parcels = calloc(n_places, sizeof(*remote->parcels));
	remote->batch = malloc(sizeof(*remote->batch));
	if (remote->parcels == NULL || remote->batch == NULL) {
		free(remote->parcels);
		free(remote->batch);
		remote->parcels = NULL;
		return -1;
	}
	remote->n_places = n_places;
	pthread_mutex_init(&remote->lock, NULL);
	return 0;
}

static void release(struct parcel *parcel)
{
	for (uint32_t i = 0; i < parcel->n_copies; i++)
		shared_release(parcel->copies[i]);
	parcel->n_copies = 0;
	if (parcel->carriage == NULL)
		return;
	wire_writer_finish(&parcel->carriage->bytes);
	wire_reader_finish(&parcel->carriage->answer);
	free(parcel->carriage->attachments);
	free(parcel->carriage);
	parcel->carriage = NULL;
}

void remote_finish(struct remote *remote)
{
	if (remote->parcels == NULL)
		return;
	remote_end(remote);
	for (uint32_t i = 0; i < remote->n_places; i++)
		free(remote->parcels[i].copies);
	pthread_mutex_destroy(&remote->lock);
	free(remote->parcels);
	free(remote->batch);
	free(remote->lost);
	free(remote->attachments);
	free(remote->payloads);
	remote->parcels = NULL;
}

void remote_begin(struct remote *remote, uint64_t max_nbytes, enum shared_mode mode,
                  int stops_at_failure, double least_ns)
{
	static _Atomic uint64_t calls;

	remote_end(remote);
	remote->number = atomic_fetch_add_explicit(&calls, 1, memory_order_relaxed) + 1;
	remote->max_nbytes = max_nbytes;
	remote->mode = mode;
	remote->stops_at_failure = stops_at_failure;
	remote->least_ns = least_ns;
	remote->says_starts = remote->call->events.on_event != NULL;
	remote->begun_ns = remote->call->clock();
	remote->n_lost = remote->n_lost_tasks = 0;
	remote->kills = 0;
	remote->unstarted = 0;
	remote->is_refused = 0;
	remote->out_of_memory = NULL;
}

void remote_end(struct remote *remote)
{
	for (uint32_t i = 0; i < remote->n_places; i++)
		release(&remote->parcels[i]);
	shared_release(remote->in_copy);
	shared_release(remote->shared_copy);
	remote->in_copy = remote->shared_copy = NULL;
	repeated_end(&remote->repeated);
	remote->has_looked = 0;
}

int remote_is_in_trouble(struct remote *remote)
{
	int is_so;

	pthread_mutex_lock(&remote->lock);
	is_so = remote->is_refused || remote->out_of_memory != NULL;
	pthread_mutex_unlock(&remote->lock);
	return is_so;
}

/* --- what goes out ------------------------------------------------------------------------------ */

/* Add to those that are to be sent again. */
static void add_lost(struct remote *remote, uint64_t first, uint64_t n, int is_careful)
{
	struct stretch *lost;
	uint64_t room;

	if (n == 0)
		return;
	if (remote->n_lost == remote->room_lost) {
		room = remote->room_lost > 0 ? 2 * remote->room_lost : 16;
		lost = reallocarray(remote->lost, room, sizeof(*lost));
		if (lost == NULL) {
			remote->out_of_memory = "cannot send again what was lost with a worker";
			return;
		}
		remote->lost = lost;
		remote->room_lost = room;
	}
	remote->lost[remote->n_lost++] = (struct stretch){first, n, is_careful};
	remote->n_lost_tasks += n;
}

static int claim_redo(struct remote *remote, struct parcel *parcel)
{
	struct call *call = remote->call;
	struct redo_task task;

	if (redo_is_empty(&call->redo) || !redo_take(&call->redo, call->clock(), &task))
		return 0;
	parcel->first = task.index;
	parcel->n = 1;
	parcel->attempt = task.attempt;
	parcel->strikes = task.strikes;
	parcel->chance = task.chance;
	parcel->is_careful = 1;
	return 1;
}

/* The last that was lost; they are few, and in no order that matters. */
static int claim_lost(struct remote *remote, struct parcel *parcel, uint64_t most)
{
	struct stretch *last;

	if (remote->n_lost == 0)
		return 0;
	last = &remote->lost[remote->n_lost - 1];
	parcel->first = last->first;
	parcel->n = last->n < most ? last->n : most;
	parcel->is_careful = last->is_careful;
	last->first += parcel->n;
	last->n -= parcel->n;
	remote->n_lost_tasks -= parcel->n;
	remote->n_lost -= last->n == 0;
	return 1;
}

/* What is left is shared out: nobody is to have a large batch when the others run dry. */
static uint64_t fair_share(const struct call *call, uint64_t units)
{
	uint64_t share = units / (4 * (uint64_t)call->n_jobs);

	return share > 0 ? share : 1;
}

/* A batch of fewer would cost more than it is worth, though nobody would wait for its end.  That
 * holds as far as the rest is like what this call has had, so it is a share of that at most. */
static uint64_t worth_sending(const struct remote *remote)
{
	const struct call *call = remote->call;
	uint64_t finished = atomic_load_explicit(&call->finished, memory_order_relaxed);
	int64_t busy_ns = atomic_load_explicit(&call->busy_ns, memory_order_relaxed);
	uint64_t share = fair_share(call, finished / call->unit);
	double fills = busy_ns > 0
	                       ? remote->least_ns * (double)finished / (double)busy_ns / (double)call->unit
	                       : 0;

	return fills < (double)share ? (uint64_t)fills : share;
}

/* Tasks of an array whose values are no more than is good for one frame. */
static uint64_t most_bytes(const struct call *call)
{
	const par_task *task = call->tasks[0];
	uint64_t size = (uint64_t)task->in_size + task->out_size;

	return size > 0 ? MOST_BYTES / size : UINT64_MAX;
}

static int claim_next(struct remote *remote, struct parcel *parcel, uint64_t most, int is_fixed)
{
	struct call *call = remote->call;
	uint64_t want = most / call->unit, share, least, first;
	uint32_t n;

	if (!call->is_stream && want > most_bytes(call) / call->unit)
		want = most_bytes(call) / call->unit;
	want = want > 0 ? want : 1;
	share = fair_share(call, cursor_unclaimed(&call->cursor));
	least = worth_sending(remote);
	share = share > least ? share : least;
	if (!is_fixed && want > share)
		want = share;
	n = cursor_take_front(&call->cursor, want < UINT32_MAX ? (uint32_t)want : UINT32_MAX, &first);
	if (n == 0)
		return 0;
	parcel->first = first * call->unit;
	parcel->n = n * call->unit;
	if (!call->is_stream && parcel->n > call->n_tasks - parcel->first)
		parcel->n = call->n_tasks - parcel->first;
	return 1;
}

uint64_t remote_claim(struct remote *remote, uint32_t place, uint64_t most, int is_fixed)
{
	struct parcel *parcel = &remote->parcels[place];

	*parcel = (struct parcel){
		.chance = 1,
		.worker = -1,
		.in_pieces = !remote->call->is_stream,
		.copies = parcel->copies,
		.room_copies = parcel->room_copies,
	};
	if (!claim_redo(remote, parcel) && !claim_lost(remote, parcel, most) &&
	    !claim_next(remote, parcel, most, is_fixed))
		return 0;
	parcel->is_out = 1;
	return parcel->n;
}

/* Nothing of it was run. */
static void put_back(struct remote *remote, struct parcel *parcel)
{
	const struct redo_task task = {
		.index = parcel->first,
		.attempt = parcel->attempt,
		.strikes = parcel->strikes,
		.chance = parcel->chance,
	};

	if (parcel->attempt == 0 && parcel->strikes == 0)
		add_lost(remote, parcel->first + parcel->answered, parcel->n - parcel->answered,
		         parcel->is_careful);
	else if (parcel->answered == 0 && redo_add(&remote->call->redo, task) < 0)
		remote->out_of_memory = "cannot try a task again";
}

void remote_unclaim(struct remote *remote, uint32_t place)
{
	struct parcel *parcel = &remote->parcels[place];

	put_back(remote, parcel);
	release(parcel);
	parcel->is_out = 0;
}

/* --- blame ------------------------------------------------------------------------------------- */

static void fail(struct remote *remote, struct parcel *parcel, uint64_t index,
                 struct call_failure *failure)
{
	struct call *call = remote->call;
	struct slot *slot;

	failure->index = index;
	failure->attempts = parcel->attempt + 1;
	if (call->events.on_event != NULL)
		call_add_event(call, PAR_EVENT_FAILED, index, (uint32_t)failure->worker, parcel->attempt,
		               failure);
	if (call->statuses != NULL)
		call->statuses[index] = failure->status;
	if (!call->is_stream) {
		call_charge(call, failure);
		return;
	}
	slot = slots_at(&call->slots, index);
	call_fail_slot(slot, &call->arenas[0], failure);
	call_charge(call, failure);
	atomic_store_explicit(&slot->state, SLOT_DONE, memory_order_release);
	if (call->unordered)
		call_list_done(call, index, 1);
}

static void copy_text(char *to, size_t size, const char *text)
{
	(void)snprintf(to, size, "%s", text != NULL ? text : "");
}

static struct call_failure failure_of(const struct parcel *parcel, int32_t status, const par_how *how)
{
	struct call_failure failure = {
		.status = status,
		.worker = how != NULL && how->worker >= 0 ? how->worker : parcel->worker,
		.exit_code = -1,
		.peak_memory = parcel->peak_memory,
	};

	if (failure.worker < 0)
		failure.worker = 0;
	if (how == NULL)
		return failure;
	failure.pid = how->pid;
	failure.signal = how->signal;
	failure.exit_code = how->signal != 0 ? -1 : how->exit_code;
	if (how->peak_memory > failure.peak_memory)
		failure.peak_memory = how->peak_memory;
	copy_text(failure.host, sizeof(failure.host), how->host);
	return failure;
}

/* What is known of a task that took its worker along: which it was, and the worker's last words. */
static void tell_trace(struct remote *remote, uint64_t index, const par_how *how,
                       struct call_failure *failure)
{
	const struct call *call = remote->call;
	const par_task *task = call->tasks[call->is_stream ? slots_at(&call->slots, index)->task : 0];
	const char *words = how != NULL && how->text != NULL ? how->text : "";
	par_module *module;

	if (module_of_task(&module, task, NULL) == PAR_OK)
		(void)snprintf(failure->trace, sizeof(failure->trace), "task %.60s of %.300s%s%s", task->name,
		               module_path(module), words[0] != '\0' ? "\n" : "", words);
	else
		copy_text(failure->trace, sizeof(failure->trace), words);
}

/* joblib's words: SIGSEGV, EXIT(42), UNKNOWN. */
static void describe_end(const struct call_failure *failure, char *text, size_t size)
{
	const char *name = failure->signal > 0 ? sigabbrev_np(failure->signal) : NULL;

	if (name != NULL)
		(void)snprintf(text, size, "SIG%s", name);
	else if (failure->signal > 0)
		(void)snprintf(text, size, "signal %d", failure->signal);
	else if (failure->exit_code >= 0)
		(void)snprintf(text, size, "EXIT(%d)", failure->exit_code);
	else
		(void)snprintf(text, size, "UNKNOWN");
}

static void condemn(struct remote *remote, struct parcel *parcel, uint64_t index, uint32_t strikes,
                    const par_how *how)
{
	struct call_failure failure = failure_of(parcel, PAR_ELOST, how);
	char end[40];

	describe_end(&failure, end, sizeof(end));
	if (strikes > 1)
		(void)snprintf(failure.text, sizeof(failure.text),
		               "%u workers died while they ran it, the last, process %d, of %s",
		               strikes, failure.pid, end);
	else
		(void)snprintf(failure.text, sizeof(failure.text),
		               "the worker that ran it, process %d, died: %s", failure.pid, end);
	copy_text(failure.type, sizeof(failure.type), end);
	tell_trace(remote, index, how, &failure);
	atomic_fetch_add_explicit(&remote->call->finished, 1, memory_order_relaxed);
	fail(remote, parcel, index, &failure);
}

/* These signals somebody else may have sent: the system without memory, or whoever stops
 * processes. */
static int is_foreign(const par_how *how)
{
	return how != NULL && (how->signal == SIGKILL || how->signal == SIGTERM);
}

/* How likely it is that the worker was killed by somebody else while it ran this task, going by
 * how many others were.  Where none was, it was the task. */
static double chance_of(const struct remote *remote, const struct parcel *parcel, const par_how *how)
{
	const struct call *call = remote->call;
	int64_t now = call->clock(), ran = now - parcel->now.begin_ns;
	uint64_t others = remote->kills > parcel->strikes ? remote->kills - parcel->strikes : 0;
	double rate, passed = (double)(now - remote->begun_ns + 1) * call->n_jobs;

	if (!is_foreign(how) || others == 0)
		return 0;
	rate = (double)others / passed;
	if (ran < 1000 || parcel->now.begin_ns == 0)
		ran = 1000;
	/* Of more than one, one is as good. */
	return rate * (double)ran < 1 ? rate * (double)ran : 1;
}

/* Its worker died while it ran this task, and no other. */
static void strike(struct remote *remote, struct parcel *parcel, uint64_t index, const par_how *how)
{
	struct call *call = remote->call;
	uint32_t strikes = parcel->strikes + 1, most = STRIKES;
	double chance = parcel->chance * chance_of(remote, parcel, how);
	const struct redo_task again = {
		.index = index,
		.due_ns = call->clock(),
		.attempt = parcel->attempt + 1,
		.strikes = strikes,
		.chance = chance,
	};
	struct call_failure failure;

	if ((call->retry_on & PAR_ON_CRASH) && call->retries + 1 > most)
		most = call->retries + 1;
	remote->kills += is_foreign(how);
	if ((strikes >= most && (chance <= CHANCE || strikes >= MOST_STRIKES)) ||
	    redo_add(&call->redo, again) < 0) {
		condemn(remote, parcel, index, strikes, how);
		return;
	}
	if (call->events.on_event == NULL)
		return;
	failure = failure_of(parcel, PAR_ELOST, how);
	describe_end(&failure, failure.text, sizeof(failure.text));
	call_add_event(call, PAR_EVENT_RETRY, index, (uint32_t)failure.worker, parcel->attempt, &failure);
}

/* --- what is left of a batch ---------------------------------------------------------------------- */

void remote_expire(struct remote *remote, struct parcel *parcel, uint64_t index, const par_how *how)
{
	struct call *call = remote->call;
	struct call_failure failure = failure_of(parcel, PAR_ETIMEOUT, how);

	(void)snprintf(failure.text, sizeof(failure.text), "it ran for more than %g s",
	               (double)call->task_timeout_ns / 1e9);
	tell_trace(remote, index, how, &failure);
	if (call->events.on_event != NULL)
		call_add_event(call, PAR_EVENT_TIMEOUT, index, (uint32_t)failure.worker,
		               parcel->attempt, &failure);
	if (call_has_other_try(call, parcel->attempt, PAR_ON_TIMEOUT)) {
		if (call->events.on_event != NULL)
			call_add_event(call, PAR_EVENT_RETRY, index, (uint32_t)failure.worker,
			               parcel->attempt, &failure);
		if (call_try_again(call, index, parcel->attempt))
			return;
	}
	fail(remote, parcel, index, &failure);
}

void remote_note_lost(struct remote *remote, uint32_t place)
{
	struct parcel *parcel = &remote->parcels[place];

	if (parcel->channel != NULL)
		channel_now(parcel->channel, &parcel->now);
	parcel->channel = NULL;
	if (parcel->now.peak_memory > parcel->peak_memory)
		parcel->peak_memory = parcel->now.peak_memory;
}

/* The task, or piece, that its worker was at: how many tasks, 0: none. */
static uint64_t suspects(const struct parcel *parcel, uint64_t *first)
{
	const struct wire_now *now = &parcel->now;
	uint64_t next = parcel->first + parcel->answered, end = parcel->first + parcel->n, n;

	if (now->batch != parcel->handle || now->index < next || now->index >= end)
		return 0;
	*first = now->index;
	n = parcel->in_pieces && !parcel->is_careful && now->n > 1 ? now->n : 1;
	return n < end - now->index ? n : end - now->index;
}

/* Its worker is gone. */
static void close_lost(struct remote *remote, struct parcel *parcel, const par_how *how)
{
	uint64_t next = parcel->first + parcel->answered, end = parcel->first + parcel->n;
	uint64_t suspect = 0, n = suspects(parcel, &suspect);

	if (n == 0) {
		remote->unstarted += parcel->answered == 0 && !parcel->is_killed;
		remote->kills += is_foreign(how) && !parcel->is_killed;
		/* It may not have been asked to say what it begins. */
		parcel->is_careful |= parcel->carriage != NULL;
		put_back(remote, parcel);
		return;
	}
	remote->unstarted = 0;
	add_lost(remote, next, suspect - next, parcel->is_careful);
	add_lost(remote, suspect + n, end - suspect - n, parcel->is_careful);
	if (parcel->is_late && parcel->late == suspect) {
		atomic_fetch_add_explicit(&remote->call->finished, 1, memory_order_relaxed);
		remote_expire(remote, parcel, suspect, how);
	} else if (parcel->is_killed) {
		/* We killed it for a task that had just ended. */
		add_lost(remote, suspect, n, parcel->is_careful);
	} else if (n == 1) {
		strike(remote, parcel, suspect, how);
	} else {
		remote->kills += is_foreign(how);
		add_lost(remote, suspect, n, 1);
	}
}

void remote_close(struct remote *remote, uint32_t place, int32_t status, const par_how *how)
{
	struct parcel *parcel = &remote->parcels[place];

	/* It was taken back before, as the backend refused it. */
	if (!parcel->is_out)
		return;
	remote_note_lost(remote, place);
	if (parcel->answered > 0)
		remote->unstarted = 0;
	if (parcel->answered < parcel->n && !call_is_stopping(remote->call) &&
	    !remote_is_in_trouble(remote)) {
		if (status == PAR_ELOST) {
			close_lost(remote, parcel, how);
		} else {
			remote->unstarted += parcel->answered == 0;
			put_back(remote, parcel);
		}
	}
	release(parcel);
	parcel->is_out = 0;
}

/* --- deadlines -------------------------------------------------------------------------------------- */

static int64_t since(const struct parcel *parcel, uint64_t *index)
{
	struct wire_now now = parcel->now;

	if (parcel->channel != NULL)
		channel_now(parcel->channel, &now);
	if (!parcel->is_out || now.batch != parcel->handle || now.begin_ns == 0 ||
	    now.index < parcel->first + parcel->answered || now.index >= parcel->first + parcel->n)
		return 0;
	*index = now.index;
	return now.begin_ns;
}

int remote_is_late(struct remote *remote, uint32_t place, int64_t now_ns)
{
	struct parcel *parcel = &remote->parcels[place];
	uint64_t index = 0;
	int64_t begin_ns;
	int is_late;

	pthread_mutex_lock(&remote->lock);
	begin_ns = since(parcel, &index);
	is_late = !parcel->is_late && begin_ns > 0 &&
	          now_ns - begin_ns >= remote->call->task_timeout_ns;
	if (is_late) {
		parcel->is_late = 1;
		parcel->late = index;
	}
	pthread_mutex_unlock(&remote->lock);
	return is_late;
}

void remote_note_killed(struct remote *remote, uint32_t place)
{
	pthread_mutex_lock(&remote->lock);
	remote->parcels[place].is_killed = 1;
	pthread_mutex_unlock(&remote->lock);
}

int64_t remote_next_expiry(struct remote *remote, int64_t now_ns)
{
	int64_t next = now_ns;

	pthread_mutex_lock(&remote->lock);
	for (uint32_t i = 0; i < remote->n_places; i++) {
		uint64_t index;
		int64_t begin_ns = remote->parcels[i].is_late ? 0 : since(&remote->parcels[i], &index);

		if (begin_ns > 0 && begin_ns < next)
			next = begin_ns;
	}
	pthread_mutex_unlock(&remote->lock);
	return next + remote->call->task_timeout_ns;
}
