/* sim_elsewhere.h - the part of tests/sim_backend.h whose workers share no memory with the
 * core: batches go to them as bytes (parloop.encode/1), par_worker_run() runs these on a
 * worker's fiber, and what it answers comes back in pieces, later, or not at all.
 *
 * Workers die before they begin, at any time while they run, in the middle of an answer, and
 * after the last of it; some tasks kill every worker.  One that is dead goes on as a ghost
 * until its task notices: nobody hears of it any more.
 *
 * The bytes that the core gets are read here too, a moment earlier, so that simulation.c knows
 * what the core can know: which tasks began, and what became of them. */
#ifndef TESTS_SIM_ELSEWHERE_H
#define TESTS_SIM_ELSEWHERE_H

#include "runner.h"
#include "wire_answer.h"

#include <parloop/worker.h>

/* A batch on its way to a worker, there, and back. */
struct errand {
	struct par_backend *backend;
	par_batch batch;
	enum fate fate;
	int call, may_be_left; /* as simulation.c numbers them                        */
	int refs;              /* who still looks at it: its fiber, events, the core   */
	int seat;              /* of its worker; -1: none runs it                     */
	int is_piped;          /* its answer comes by itself, behind the worker's back */
	int is_dead, is_over, is_receiving, is_cut, is_spoiled, was_killed, pumps, has_begun,
		has_sent;
	int32_t stopping;
	par_how how;
	char *bytes, *answer;  /* its own, which stay for the next */
	uint64_t room, answer_room, n_bytes, sent, came, read;
	uint64_t most;         /* of the answer come so many bytes, and then its worker dies */
	uint64_t first, n, over; /* its tasks, and how many are answered                    */
	uint64_t now, now_n;   /* what was said to begin last; now_n 0: nothing            */
	uint64_t runs;         /* the task that runs there; UINT64_MAX: none               */
	int64_t transit;       /* tasks whose answer the core is looking at                */
};

enum { ERRANDS = 256, MOST_STRIKES = 50 };
static struct errand errands[ERRANDS];

/* What a worker answers by, which simulation.c keeps the books of. */
static void tell_sent(struct errand *errand);
static void tell_started(const struct errand *errand, uint64_t index);
static void tell_answered(const struct errand *errand, uint64_t index, int32_t attempt, int failed);
static void tell_taken(const struct errand *errand, uint64_t index);
static void tell_lost(const struct errand *errand, int32_t status);
static void tell_killed(const struct errand *errand);
static void tell_gone(const struct errand *errand, uint64_t index);

static int is_elsewhere(const struct par_backend *backend)
{
	return !(backend->traits->capabilities & PAR_SHARES_MEMORY);
}

/* Its memory is none of the core's. */
static char *room_for(char *bytes, uint64_t *room, uint64_t n)
{
	if (n <= *room)
		return bytes;
	*room = 2 * n;
	bytes = __real_realloc(bytes, (size_t)*room);
	must(bytes != NULL, "no memory");
	return bytes;
}

static struct errand *errand_take(struct par_backend *backend, par_batch batch)
{
	for (int i = 0; i < ERRANDS; i++) {
		struct errand *errand = &errands[i];

		if (errand->refs > 0)
			continue;
		*errand = (struct errand){
			.backend = backend,
			.batch = batch,
			.refs = 2,
			.seat = -1,
			.is_piped = rarely(2),
			.how = {.size = sizeof(par_how), .worker = -1, .exit_code = -1},
			.bytes = errand->bytes,
			.answer = errand->answer,
			.room = errand->room,
			.answer_room = errand->answer_room,
			.most = UINT64_MAX,
			.runs = UINT64_MAX,
		};
		return errand;
	}
	broken("more batches than anybody can have");
}

static void errand_put(struct errand *errand)
{
	must(errand->refs > 0, "nobody looks at a batch any more");
	errand->refs--;
	user_leaves(errand->backend);
}

static void errand_at(int64_t after, void (*happen)(void *errand, uint64_t value), struct errand *errand,
                      uint64_t value)
{
	errand->refs++;
	errand->backend->users++;
	happens(after, happen, errand, value);
}

/* --- how it goes out ------------------------------------------------------------------------- */

static int32_t errand_encode(struct errand *errand, par_error *error)
{
	const par_ext_encode *ext = errand->backend->host->extension(errand->backend->host, PAR_EXT_ENCODE);
	static struct wire_batch batch;
	par_encoded encoded = {.size = sizeof(encoded)};
	struct wire_frame frame;
	struct wire_item item;
	int32_t status;

	in_core(1);
	status = ext->encode(errand->backend->host, errand->batch, &encoded, error);
	if (status == PAR_OK && rarely(16))
		status = ext->encode(errand->backend->host, errand->batch, &encoded, error);
	in_core(-1);
	must(status == PAR_OK || memory.refused, "a batch cannot be encoded: %d %s", status, error->what);
	if (status < 0)
		return status;
	errand->bytes = room_for(errand->bytes, &errand->room, encoded.n_bytes);
	errand->n_bytes = encoded.n_bytes;
	memcpy(errand->bytes, encoded.bytes, encoded.n_bytes);
	must(wire_whole(errand->bytes, errand->n_bytes, &frame, NULL) == PAR_OK &&
	             wire_get_batch(&frame, &batch, NULL) == PAR_OK && frame.batch == errand->batch,
	     "what was encoded is no batch");
	errand->n = batch.head.n;
	errand->first = batch.range.first;
	if (!(batch.head.flags & WIRE_IS_RANGE) && wire_next_item(&batch, &item))
		errand->first = item.head.index;
	tell_sent(errand);
	trace("encoded %llx: %llu tasks from %llu on", (unsigned long long)errand->batch,
	      (unsigned long long)errand->n, (unsigned long long)errand->first);
	return PAR_OK;
}

/* --- how it ends ----------------------------------------------------------------------------- */

static void leave_seat(struct errand *errand)
{
	if (errand->seat >= 0)
		errand->backend->seats &= ~((uint64_t)1 << errand->seat);
	errand->seat = -1;
}

static void errand_end(struct errand *errand, int32_t status)
{
	if (errand->is_over)
		return;
	errand->is_over = 1;
	tell_lost(errand, status);
	give_how(errand->backend, errand->batch, status, &errand->how);
	errand->refs--;
}

static int errand_flow(struct errand *errand, uint64_t n);

/* Whoever hears that a worker is gone may have heard the rest of what it said before. */
static void bury(void *arg, uint64_t value)
{
	struct errand *errand = arg;

	(void)value;
	if (errand->is_receiving) {
		errand_at(US, bury, errand, 0);
		errand_put(errand);
		return;
	}
	if (!errand->is_over && errand->is_piped && !errand->is_cut && !rarely(3))
		(void)errand_flow(errand, errand->sent - errand->came);
	errand_end(errand, errand->was_killed || !rarely(50) ? PAR_ELOST : PAR_EABORTED);
	errand_put(errand);
}

static void draw_end(par_how *how)
{
	static const int32_t signals[] = {SIGSEGV, SIGKILL, SIGTERM, 0};

	how->signal = signals[below(4)];
	how->exit_code = how->signal == 0 ? 3 : -1;
}

/* The worker of it dies, as errand->how says. */
static void die(struct errand *errand)
{
	if (errand->is_dead || errand->is_over)
		return;
	trace("the worker of %llx dies: signal %d", (unsigned long long)errand->batch, errand->how.signal);
	errand->is_dead = 1;
	if (errand->runs != UINT64_MAX)
		tell_gone(errand, errand->runs);
	errand->runs = UINT64_MAX;
	leave_seat(errand);
	errand_at(rarely(2) ? 0 : between(0, 100 * US), bury, errand, 0);
}

static void die_event(void *arg, uint64_t value)
{
	struct errand *errand = arg;

	(void)value;
	if (!errand->is_dead && !errand->is_over) {
		draw_end(&errand->how);
		die(errand);
	}
	errand_put(errand);
}

static void kill_event(void *arg, uint64_t value)
{
	struct errand *errand = arg;

	(void)value;
	if (!errand->is_dead && !errand->is_over) {
		errand->how.signal = SIGKILL;
		die(errand);
	}
	errand_put(errand);
}

static int32_t sim_kill(par_backend *backend, par_batch batch, void *future)
{
	struct errand *errand = future;

	enter(backend, "kill", UP, IN_CALL);
	trace("kill(%llx)", (unsigned long long)batch);
	must(errand->backend == backend && errand->batch == batch && !errand->is_over,
	     "kill() for a batch that is not out");
	tell_killed(errand);
	errand->was_killed = 1;
	errand_at(rarely(2) ? 0 : between(0, MS), kill_event, errand, 0);
	return PAR_OK;
}

/* --- how the answer comes -------------------------------------------------------------------- */

static void read_outcomes(struct errand *errand, const struct wire_frame *frame)
{
	struct wire_cursor cursor = wire_body(frame);
	struct wire_outcome outcome;

	while (wire_next_outcome(&cursor, &outcome, NULL) > 0) {
		must(outcome.head.index == errand->first + errand->over, "a worker's answers are out of order");
		errand->over++;
		errand->transit++;
		tell_answered(errand, outcome.head.index, outcome.head.attempt, outcome.head.failed);
	}
}

static void read_chunk(struct errand *errand, const struct wire_frame *frame)
{
	struct wire_chunk chunk;

	must(wire_get_chunk(frame, &chunk, NULL) == PAR_OK && chunk.head.first == errand->first + errand->over,
	     "a worker's values are out of order");
	for (uint64_t i = 0; i < chunk.head.n; i++)
		tell_answered(errand, chunk.head.first + i, (int32_t)chunk.head.attempt, 0);
	errand->over += chunk.head.n;
	errand->transit += (int64_t)chunk.head.n;
}

static void read_frame(struct errand *errand, const struct wire_frame *frame)
{
	struct wire_started started;

	if (frame->kind == WIRE_OUTCOMES)
		read_outcomes(errand, frame);
	if (frame->kind == WIRE_CHUNK)
		read_chunk(errand, frame);
	must(frame->kind != WIRE_CANNOT || memory.refused, "a worker cannot run a batch");
	if (frame->kind != WIRE_STARTED || wire_get_started(frame, &started, NULL) < 0)
		return;
	errand->now = started.index;
	errand->now_n = started.n;
	for (uint64_t i = 0; i < started.n; i++)
		tell_started(errand, started.index + i);
}

/* Those whose end is there once n more bytes came. */
static void read_frames(struct errand *errand, uint64_t n)
{
	struct wire_head head;

	errand->transit = 0;
	while (errand->came + n - errand->read >= sizeof(head)) {
		const char *at = errand->answer + errand->read;
		struct wire_frame frame;

		memcpy(&head, at, sizeof(head));
		if (errand->came + n - errand->read < sizeof(head) + head.size)
			return;
		frame = (struct wire_frame){head.kind, head.batch, at + sizeof(head), head.size};
		errand->read += sizeof(head) + head.size;
		read_frame(errand, &frame);
	}
}

/* A head that no core may believe, where it is the next that comes. */
static int spoil(struct errand *errand, uint64_t n, char *bytes)
{
	struct wire_head head;

	if (errand->fate != RUNS_ON || errand->came != errand->read || n < sizeof(head) || rarely(2))
		return 0;
	memcpy(&head, bytes, sizeof(head));
	switch (below(5)) {
	case 0:
		head.mark[0] = 'q';
		break;
	case 1:
		head.version++;
		break;
	case 2:
		head.kind = 200;
		head.size = 0;
		break;
	case 3:
		head.size++;
		break;
	default:
		head.batch += (uint64_t)1 << 32;
		head.size = 0;
	}
	memcpy(bytes, &head, sizeof(head));
	trace("the answer about %llx is spoilt", (unsigned long long)errand->batch);
	return errand->is_spoiled = 1;
}

static int32_t receive_spoiled(struct errand *errand, const par_ext_encode *ext, uint64_t n)
{
	char bytes[64];
	int32_t status;

	n = n < sizeof(bytes) ? n : sizeof(bytes);
	if (n > 0)
		memcpy(bytes, errand->answer + errand->came, n);
	if (!spoil(errand, n, bytes))
		return PAR_OK;
	status = ext->receive(errand->backend->host, errand->batch, bytes, n);
	must(status < 0, "an answer that makes no sense is taken");
	return status;
}

/* So many bytes reach the core; 0, or -1: there will be no more. */
static int errand_flow(struct errand *errand, uint64_t n)
{
	const par_ext_encode *ext = errand->backend->host->extension(errand->backend->host, PAR_EXT_ENCODE);
	uint64_t last = errand->first + errand->over;
	int elsewhere = running->is_elsewhere;
	int32_t status;

	if (errand->is_over || errand->is_cut)
		return -1;
	if (n > errand->most - errand->came)
		n = errand->most - errand->came;
	errand->is_receiving = 1;
	running->is_elsewhere = 0;
	in_core(1);
	running->takes = 1;
	status = receive_spoiled(errand, ext, n);
	if (status == PAR_OK && n > 0) {
		read_frames(errand, n);
		status = ext->receive(errand->backend->host, errand->batch, errand->answer + errand->came, n);
		must(status == PAR_OK || memory.refused, "an answer is refused: %d", status);
		for (int64_t i = 0; i < errand->transit; i++)
			tell_taken(errand, last + (uint64_t)i);
	}
	running->takes = 0;
	in_core(-1);
	running->is_elsewhere = elsewhere;
	errand->is_receiving = 0;
	errand->came += n;
	if (status == PAR_OK && errand->came < errand->most)
		return 0;
	errand->is_cut = 1;
	if (!errand->is_dead)
		draw_end(&errand->how);
	die(errand);
	return -1;
}

static uint64_t draw_piece(uint64_t n)
{
	return n == 0 || !rarely(3) ? n : 1 + draw() % n;
}

/* By itself, until there is no more. */
static void pump(void *arg, uint64_t value)
{
	struct errand *errand = arg;
	uint64_t left = errand->sent - errand->came;

	(void)value;
	errand->pumps = 0;
	if (!errand->is_dead && left > 0)
		(void)errand_flow(errand, draw_piece(left));
	if (!errand->is_dead && !errand->is_over && !errand->is_cut && errand->sent > errand->came && !errand->pumps) {
		errand->pumps = 1;
		errand_at(rarely(4) ? between(0, 200 * US) : 0, pump, errand, 0);
	}
	if (!errand->is_dead && errand->has_sent && errand->sent == errand->came)
		errand_end(errand, PAR_OK);
	errand_put(errand);
}

static void call_pump(struct errand *errand)
{
	if (errand->pumps || errand->is_receiving)
		return;
	errand->pumps = 1;
	errand_at(rarely(3) ? between(0, 300 * US) : 0, pump, errand, 0);
}

static int32_t take_answer(void *user, const void *bytes, uint64_t n)
{
	struct errand *errand = user;

	if (errand->is_dead || errand->is_over)
		return -1;
	/* Nobody may look at it while it moves. */
	while (errand->is_receiving)
		pass(US);
	errand->answer = room_for(errand->answer, &errand->answer_room, errand->sent + n);
	memcpy(errand->answer + errand->sent, bytes, n);
	errand->sent += n;
	if (errand->is_piped) {
		call_pump(errand);
		point();
		return errand->is_dead ? -1 : 0;
	}
	while (!errand->is_dead && !errand->is_over && errand->came < errand->sent) {
		if (errand_flow(errand, draw_piece(errand->sent - errand->came)) < 0)
			return -1;
		point();
	}
	return errand->is_dead || errand->is_over ? -1 : 0;
}

/* --- the worker ------------------------------------------------------------------------------ */

/* The place of a worker; -1: all are taken. */
static int take_seat(struct par_backend *backend)
{
	for (int i = 0; i < backend->n_jobs && i < 64; i++)
		if (!(backend->seats >> i & 1)) {
			backend->seats |= (uint64_t)1 << i;
			return i;
		}
	return -1;
}

static void errand_run(struct errand *errand)
{
	const par_work work = {
		.size = sizeof(work),
		.worker = errand->seat,
		.bytes = errand->bytes,
		.n_bytes = errand->n_bytes,
		.stopping = &errand->stopping,
		.send = take_answer,
		.user = errand,
	};

	running->is_elsewhere = 1;
	running->errand = errand;
	(void)par_worker_run(&work, NULL);
	running->errand = NULL;
	running->is_elsewhere = 0;
}

static void stale_receive(struct errand *errand)
{
	const par_ext_encode *ext = errand->backend->host->extension(errand->backend->host, PAR_EXT_ENCODE);

	must(ext->receive(errand->backend->host, errand->batch, errand->answer, errand->sent) < 0,
	     "an answer about a batch that was given back is taken");
}

static void plan_death(struct errand *errand)
{
	if (errand->fate == EARLY)
		errand_at(between(0, rarely(2) ? 20 * US : 500 * US), die_event, errand, 0);
	if (errand->fate == RUNS_ON)
		errand->most = rarely(2) ? draw() % 200 : draw() % 3000;
}

static void serve_unrun_elsewhere(struct errand *errand)
{
	static const int32_t statuses[] = {PAR_ELOST, PAR_EABORTED, PAR_OK};
	uint32_t same = errand->backend->traits->unrun_as;
	int32_t status = statuses[same < 3 ? same : below(3)];

	draw_end(&errand->how);
	errand_end(errand, status);
}

static void serve_elsewhere(struct errand *errand)
{
	struct par_backend *backend = errand->backend;

	linger(backend->traits->dispatch_ns);
	while (!errand->is_dead && !errand->is_over && (errand->seat = take_seat(backend)) < 0)
		pass(20 * US);
	if (errand->is_dead || errand->is_over)
		return;
	if (errand->stopping && rarely(2)) {
		errand_end(errand, PAR_EABORTED);
		return;
	}
	if (errand->fate == UNRUN) {
		serve_unrun_elsewhere(errand);
		return;
	}
	errand->how.worker = errand->seat;
	errand->how.pid = 4000 + errand->seat;
	plan_death(errand);
	errand->has_begun = 1;
	errand_run(errand);
	if (errand->is_dead)
		return;
	errand->has_sent = 1;
	if (errand->is_piped) {
		call_pump(errand);
		return;
	}
	linger(backend->traits->return_ns);
	if (!errand->is_dead)
		errand_end(errand, PAR_OK);
}

static void finish_elsewhere(struct errand *errand)
{
	leave_seat(errand);
	if (errand->fate != TWICE || !errand->is_over || errand->is_receiving)
		return;
	stale_receive(errand);
	give_after(errand->backend, errand->batch, rarely(2) ? 0 : between(0, 50 * MS));
}

/* Those that nobody has begun come back as such; the others are killed, or end by themselves. */
static void abort_elsewhere(struct par_backend *backend)
{
	for (int i = 0; i < ERRANDS; i++) {
		struct errand *errand = &errands[i];

		if (errand->refs == 0 || errand->backend != backend || errand->is_over)
			continue;
		errand->stopping = 1;
		if (backend->traits->aborts_unrun == 0)
			continue;
		if (!errand->has_begun && !errand->is_dead)
			errand_end(errand, PAR_EABORTED);
		else if (rarely(2))
			errand_at(between(0, 50 * US), kill_event, errand, 0);
	}
}

#endif
