#include "worker.h"

#include "outbox.h"

#include <parloop/worker.h>

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* After it had something to do a worker looks around for so long, before it sleeps. */
#define LOOK_NS 30000

/* So long answers of batches that are over wait for those of the next; and so long it sleeps at
 * most. */
#define TOGETHER_NS 20000
#define WAIT_NS     200000000

enum { MOST_ATTACHED = 4096 };

/* A message, from at to n. */
struct inbox {
	char *bytes;
	size_t at, n, room;
};

struct worker {
	struct bells *bells;
	struct outbox outbox;
	struct inbox inbox;
	pid_t parent;
	int is_leaving;
	int64_t since_ns; /* nothing was to be done */
	int64_t unsent_ns; /* when the first batch began whose answer was not sent; 0: none */
	uint64_t n_begun, stop_until; /* batches */
	int32_t far_stopping;
	par_attachment *attached[MOST_ATTACHED];
	const par_attachment *named[MOST_ATTACHED];
	int n_attached;

	/* of the batch that runs */
	uint64_t batch;
	int32_t is_last;
};

static void fail(const char *why)
{
	(void)fprintf(stderr, "parloop-mpi-relay: %s\n", why);
	MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
	abort();
}

/* --- answers ------------------------------------------------------------------------------------- */

static void flush(struct worker *worker)
{
	worker->unsent_ns = 0;
	(void)outbox_flush(&worker->outbox);
}

/* The hub takes what comes, so this ends. */
static void flush_all(struct worker *worker)
{
	for (int64_t begin = bells_now(); !outbox_is_empty(&worker->outbox);) {
		if (outbox_flush(&worker->outbox))
			continue;
		bells_ring(worker->bells, 0);
		if (bells_now() - begin > LOOK_NS)
			(void)usleep(20);
		else
			(void)sched_yield();
	}
	worker->unsent_ns = 0;
}

static void put(struct worker *worker, uint32_t kind, const char *bytes, uint64_t n)
{
	const struct record record = {.kind = kind, .rank = worker->bells->rank,
	                              .batch = worker->batch, .n_bytes = n};
	char *room = outbox_record(&worker->outbox, &record);

	if (room == NULL)
		fail("no memory for an answer");
	else if (n > 0)
		memcpy(room, bytes, (size_t)n);
}

/* Of another machine the hub tells so by a message of its own. */
static void look_for_stop(struct worker *worker)
{
	int is_there;

	if (worker->bells->words[0] != NULL)
		return;
	for (;;) {
		MPI_Iprobe(0, 1, MPI_COMM_WORLD, &is_there, MPI_STATUS_IGNORE);
		if (!is_there)
			break;
		MPI_Recv(&worker->stop_until, 1, MPI_UINT64_T, 0, 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	}
	worker->far_stopping = worker->n_begun <= worker->stop_until;
}

static int32_t take_answer(void *user, const void *bytes, uint64_t n_bytes)
{
	struct worker *worker = user;
	const char *at = bytes;

	for (; n_bytes > PIECE_BYTES; at += PIECE_BYTES, n_bytes -= PIECE_BYTES) {
		put(worker, RECORD_ANSWER, at, PIECE_BYTES);
		flush_all(worker);
	}
	put(worker, worker->is_last ? RECORD_LAST : RECORD_ANSWER, at, n_bytes);
	if (!worker->is_last)
		flush_all(worker);
	look_for_stop(worker);
	return 0;
}

/* --- attachments ----------------------------------------------------------------------------------- */

static int find(const struct worker *worker, uint64_t id)
{
	int i = 0;

	while (i < worker->n_attached && worker->attached[i]->id != id)
		i++;
	return i;
}

static void forget(struct worker *worker, uint64_t id)
{
	int i = find(worker, id);

	if (i == worker->n_attached)
		return;
	free(worker->attached[i]);
	worker->attached[i] = worker->attached[--worker->n_attached];
}

/* One block: what it is, and its bytes, aligned for anything. */
static void attach(struct worker *worker, const struct record *record, const char *bytes)
{
	const uint64_t first = (sizeof(par_attachment) + 63) & ~UINT64_C(63);
	struct keep_head head;
	par_attachment *attachment;
	uint64_t n = record->n_bytes - sizeof(head);

	if (record->n_bytes < sizeof(head) || worker->n_attached == MOST_ATTACHED ||
	    (attachment = aligned_alloc(64, (size_t)((first + n + 63) & ~UINT64_C(63)))) == NULL) {
		fail("no memory for what is shared");
		return;
	}
	memcpy(&head, bytes, sizeof(head));
	memcpy((char *)attachment + first, bytes + sizeof(head), (size_t)n);
	*attachment = (par_attachment){
		.size = sizeof(*attachment),
		.kind = head.kind,
		.id = record->batch,
		.bytes = n,
		.address = (char *)attachment + first,
		.fd = -1,
	};
	memcpy(attachment->sha256, head.sha256, sizeof(head.sha256));
	forget(worker, record->batch);
	worker->attached[worker->n_attached++] = attachment;
}

/* --- batches ---------------------------------------------------------------------------------------- */

/* Those that it names, if they are here: one that is missed is told of in the answer. */
static uint32_t list_attached(struct worker *worker, const char *ids, uint32_t n_ids)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < n_ids && n < MOST_ATTACHED; i++) {
		uint64_t id;
		int place;

		memcpy(&id, ids + i * sizeof(id), sizeof(id));
		place = find(worker, id);
		if (place < worker->n_attached)
			worker->named[n++] = worker->attached[place];
	}
	return n;
}

/* Answers wait for a short while for those of the next batch, if there is one. */
static void run(struct worker *worker, const struct record *record, const char *bytes)
{
	struct bell_words *words = worker->bells->words[worker->bells->rank];
	int is_near = worker->bells->words[0] != NULL;
	struct batch_head head;

	if (worker->unsent_ns == 0)
		worker->unsent_ns = bells_now();
	memcpy(&head, bytes, sizeof(head));
	bytes += sizeof(head);
	worker->batch = record->batch;
	worker->is_last = 0;
	worker->n_begun++;
	look_for_stop(worker);
	const par_work work = {
		.size = sizeof(work),
		.worker = worker->bells->rank - 1,
		.bytes = bytes + head.n_ids * sizeof(uint64_t),
		.n_bytes = record->n_bytes - sizeof(head) - head.n_ids * sizeof(uint64_t),
		.attachments = worker->named,
		.n_attachments = list_attached(worker, bytes, head.n_ids),
		.stopping = is_near ? &words->stopping : &worker->far_stopping,
		.send = take_answer,
		.user = worker,
		.is_last = &worker->is_last,
	};
	int32_t status = par_worker_run(&work, NULL);

	/* One that cannot be run is answered without a last piece. */
	if (!worker->is_last)
		put(worker, status == PAR_OK ? RECORD_LAST : RECORD_FAILED, NULL, 0);
	if (bells_now() - worker->unsent_ns >= TOGETHER_NS)
		flush(worker);
}

static void set_variables(const char *at, uint64_t n)
{
	for (const char *end = at + n; at < end; at += strlen(at) + 1) {
		char *entry = strdup(at), *value = entry != NULL ? strchr(entry, '=') : NULL;

		if (value != NULL) {
			*value++ = '\0';
			(void)setenv(entry, value, 1);
		}
		free(entry);
	}
}

static void obey(struct worker *worker, const struct record *record, const char *bytes)
{
	switch (record->kind) {
	case RECORD_BATCH:
		run(worker, record, bytes);
		break;
	case RECORD_KEEP:
		attach(worker, record, bytes);
		break;
	case RECORD_FORGET:
		forget(worker, record->batch);
		break;
	case RECORD_ENV:
		set_variables(bytes, record->n_bytes);
		break;
	case RECORD_LEAVE:
		worker->is_leaving = 1;
		break;
	default:
		fail("a record that is not for a worker");
	}
}

/* --- messages --------------------------------------------------------------------------------------- */

static char *room_in(struct inbox *inbox, size_t n)
{
	if (n > inbox->room) {
		char *bytes = realloc(inbox->bytes, n);

		if (bytes == NULL)
			fail("no memory for a batch");
		inbox->bytes = bytes;
		inbox->room = n;
	}
	return inbox->bytes;
}

static void take(struct worker *worker, const MPI_Status *status)
{
	struct inbox *inbox = &worker->inbox;
	int n, was_told;

	MPI_Get_count(status, MPI_BYTE, &n);
	(void)room_in(inbox, inbox->n + (size_t)n);
	/* It may take both to move it. */
	was_told = bells_tell_taken(worker->bells, 0);
	MPI_Recv(inbox->bytes + inbox->n, n, MPI_BYTE, 0, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
	inbox->n += (size_t)n;
	if (!bells_tell_taken(worker->bells, 0) && was_told)
		bells_ring(worker->bells, 0);
}

/* A record that is longer than a message comes in several. */
static void take_rest(struct worker *worker)
{
	struct inbox *inbox = &worker->inbox;
	struct record record;
	uint64_t n;

	memcpy(&record, inbox->bytes, sizeof(record));
	n = sizeof(record) + padded(record.n_bytes);
	if (n <= inbox->n)
		return;
	(void)room_in(inbox, (size_t)n);
	while (inbox->n < n) {
		MPI_Status status;

		while (!bells_probe(0, &status))
			(void)sched_yield();
		take(worker, &status);
	}
}

/* 1: a message came. */
static int hear(struct worker *worker)
{
	struct inbox *inbox = &worker->inbox;
	MPI_Status status;

	if (!bells_probe(0, &status))
		return 0;
	inbox->at = inbox->n = 0;
	take(worker, &status);
	take_rest(worker);
	return 1;
}

static void serve_message(struct worker *worker)
{
	struct inbox *inbox = &worker->inbox;
	struct record record;

	while (inbox->n - inbox->at >= sizeof(record)) {
		const char *at = inbox->bytes + inbox->at;

		memcpy(&record, at, sizeof(record));
		obey(worker, &record, at + sizeof(record));
		inbox->at += sizeof(record) + (size_t)padded(record.n_bytes);
	}
	/* What was large is not kept. */
	if (inbox->room > PIECE_BYTES) {
		free(inbox->bytes);
		*inbox = (struct inbox){0};
	}
}

/* --- the loop --------------------------------------------------------------------------------------- */

static void rest(struct worker *worker)
{
	int64_t now = bells_now(), ns = WAIT_NS;

	if (now - worker->since_ns < LOOK_NS) {
		sched_yield();
		return;
	}
	if (getppid() != worker->parent)
		_exit(EXIT_FAILURE);
	if (worker->bells->words[0] == NULL || !outbox_is_empty(&worker->outbox))
		ns = bells_patience(worker->since_ns, now);
	bells_lie_down(worker->bells);
	if (hear(worker)) {
		bells_get_up(worker->bells);
		serve_message(worker);
		worker->since_ns = bells_now();
		return;
	}
	bells_sleep(worker->bells, NULL, ns);
	bells_get_up(worker->bells);
}

int worker_run(struct bells *bells)
{
	static struct worker worker;

	worker = (struct worker){.bells = bells, .parent = getppid(), .since_ns = bells_now()};
	outbox_init(&worker.outbox, bells, 0);
	while (!worker.is_leaving) {
		if (hear(&worker)) {
			serve_message(&worker);
			worker.since_ns = bells_now();
			continue;
		}
		if (!outbox_is_empty(&worker.outbox))
			flush(&worker);
		rest(&worker);
	}
	flush_all(&worker);
	(void)fflush(NULL);
	return EXIT_SUCCESS;
}
