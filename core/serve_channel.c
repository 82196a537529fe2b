/* A channel's other end: frames are read where they lie in the ring, and answers written there. */
#include "serve.h"

#include "channel_memory.h"
#include "cpu.h"
#include "error.h"
#include "forked.h"
#include "inner_threads.h"
#include "last_words.h"
#include "runner.h"
#include "serve_attached.h"
#include "serve_process.h"
#include "wire_answer.h"

#include <errno.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Who finds nothing looks out for so long before it sleeps; now and then it lets others have the
 * core, of which there may be fewer than there are of us. */
#define SPIN_NS 200000
#define MOVE_NS 10000000
enum { LOOKS = 64, GIVE_BACK = 64 * 1024 };

struct link {
	int socket;
	struct channel_memory memory;
	struct ring in, out;
	struct wire_reader reader;
	uint64_t n_lent; /* bytes of the ring that are being read */
	struct attachments attachments;
	struct runner *runner;
	par_worker_setup setup;
	int is_forked;
	int is_watched; /* its parent is: see process_watch_parent() */
	int spins;
	int is_over; /* the socket has ended: nothing more comes */
	int64_t moved_ns; /* when we went to another core last */
};

/* --- waiting ---------------------------------------------------------------------------------- */

static void wake_parent(const struct link *link)
{
	(void)send(link->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static inline void pause_core(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#endif
}

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void go_elsewhere(int core)
{
	cpu_set_t all, others;

	if (sched_getaffinity(0, sizeof(all), &all) < 0)
		return;
	others = all;
	CPU_CLR(core, &others);
	if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof(others), &others) == 0)
		(void)sched_setaffinity(0, sizeof(all), &all);
}

/* Some kernels pack those who wake each other onto one core, where the parent that looks out for us
 * and we take turns.  Once in a while we may go elsewhere, where there is a core to go to; where
 * we may run in general stays as it is. */
static void leave_core(struct link *link, int64_t now_ns)
{
	struct channel_words *words = link->memory.words;
	int core = __atomic_load_n(&words->core, __ATOMIC_RELAXED) - 1;
	int32_t before;

	if (core != sched_getcpu() || core < 0 || core >= CPU_SETSIZE || now_ns - link->moved_ns < MOVE_NS)
		return;
	link->moved_ns = now_ns;
	/* The parent may be about to move us itself, and one would put back what the other has set. */
	before = __atomic_exchange_n(&words->serves, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&words->moves, __ATOMIC_SEQ_CST) == 0)
		go_elsewhere(core);
	__atomic_store_n(&words->serves, before, __ATOMIC_RELEASE);
}

/* Until that word is another: 1; 0: it takes longer. */
static int spin(struct link *link, const uint64_t *word, uint64_t value)
{
	int64_t now_ns = link->spins ? clock_ns() : 0, end_ns = now_ns + SPIN_NS;

	while (link->spins) {
		for (int i = 0; i < LOOKS; i++) {
			if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != value)
				return 1;
			pause_core();
		}
		now_ns = clock_ns();
		if (now_ns >= end_ns)
			return 0;
		leave_core(link, now_ns);
		sched_yield();
	}
	return 0;
}

/* Until something comes by the socket, which may be no more than to wake us. */
static void receive(struct link *link)
{
	char bytes[256];
	ssize_t n = attachments_receive(&link->attachments, link->socket, bytes, sizeof(bytes));

	if (n == 0 || (n < 0 && errno != EINTR))
		link->is_over = 1;
}

/* Until there is something to read: 1; 0: nothing will ever come. */
static int wait_for_bytes(struct link *link)
{
	struct channel_words *words = link->memory.words;
	int is_there;

	__atomic_store_n(&words->serves, 0, __ATOMIC_RELEASE);
	is_there = spin(link, &link->in.words->put, link->in.here);
	while (!is_there && !(is_there = ring_sleep(&link->in, 1))) {
		if (link->is_over)
			return 0;
		receive(link);
	}
	/* A full barrier stands between the two. */
	__atomic_store_n(&words->serves, 1, __ATOMIC_RELAXED);
	(void)ring_sleep(&link->in, 0);
	while (__atomic_load_n(&words->moves, __ATOMIC_ACQUIRE) != 0)
		sched_yield();
	return 1;
}

/* Until there is room to write: 1; 0: nobody reads any more. */
static int wait_for_room(struct link *link)
{
	int is_there = spin(link, &link->out.words->taken, link->out.there);

	while (!is_there && !(is_there = ring_wait(&link->out, 1))) {
		if (link->is_over)
			return 0;
		receive(link);
	}
	(void)ring_wait(&link->out, 0);
	return 1;
}

/* Until a descriptor has come.  The parent may wait for the socket to have room for it, and says so
 * in the same way as if it waited for room in the ring. */
static void wait_for_descriptor(struct link *link)
{
	while (link->attachments.n_passed == 0 && !link->is_over) {
		if (ring_take(&link->in, 0))
			wake_parent(link);
		receive(link);
	}
}

/* --- reading and answering -------------------------------------------------------------------- */

/* Of what was lent to the reader: those bytes that it has done with. */
static void give_back(struct link *link)
{
	uint64_t n = link->n_lent - link->reader.n_lent;

	if (n > 0 && ring_take(&link->in, n))
		wake_parent(link);
	link->n_lent -= n;
}

/* 1; 0: the end. */
static int32_t look_further(struct link *link, par_error *error)
{
	char *at;

	give_back(link);
	do {
		if (ring_look(&link->in, &at, &link->n_lent) < 0)
			return wire_refuse(error, "the caller's place in the ring makes no sense");
	} while (link->n_lent == 0 && wait_for_bytes(link));
	if (link->n_lent > 0)
		wire_reader_lend(&link->reader, at, (size_t)link->n_lent);
	else if (wire_reader_waits(&link->reader))
		return wire_refuse(error, "the channel ends in the middle of it");
	return link->n_lent > 0;
}

/* 1; 0: the end.  It is there until the next is asked for. */
static int32_t next_frame(struct link *link, struct wire_frame *frame, par_error *error)
{
	int32_t status;

	/* Whoever waits for room need not wait for the last of many. */
	if (link->n_lent - link->reader.n_lent >= GIVE_BACK)
		give_back(link);
	while ((status = wire_next(&link->reader, frame, error)) == 0) {
		status = look_further(link, error);
		if (status <= 0)
			break;
	}
	return status;
}

static int32_t answer(void *user, const void *bytes, uint64_t n_bytes)
{
	struct link *link = user;
	const char *from = bytes;

	/* What a task has printed is there before its outcome. */
	if (__fpending(stdout) > 0)
		(void)fflush(stdout);
	while (n_bytes > 0) {
		uint64_t n = n_bytes, room;
		char *at;

		if (ring_room(&link->out, n, &at, &room) < 0)
			return -1;
		if (room == 0 && !wait_for_room(link))
			return -1;
		n = n < room ? n : room;
		memcpy(at, from, (size_t)n);
		from += n;
		n_bytes -= n;
		if (n > 0 && ring_put(&link->out, n))
			wake_parent(link);
	}
	return 0;
}

static struct runner_work work_of(struct link *link)
{
	return (struct runner_work){
		.worker = link->setup.worker > 0 ? (uint32_t)link->setup.worker : 0,
		.n_attachments = (uint32_t)link->attachments.n,
		.attachments = link->attachments.list,
		.stopping = &link->memory.words->stopping,
		.now = &link->memory.words->now,
		.knows_addresses = link->is_forked,
		.send = answer,
		.user = link,
	};
}

static int32_t say_hello(struct link *link, par_error *error)
{
	const struct runner_work work = work_of(link);

	return runner_greet(link->runner, &work) == 0
	               ? PAR_OK
	               : error_set(error, PAR_ELOST, "cannot greet who started this worker");
}

/* --- the initializer -------------------------------------------------------------------------- */

/* How it ended, as it is told. */
struct initialization {
	int32_t status;
	par_error *error;
};

static void take_outcomes(struct initialization *how, const struct wire_frame *frame)
{
	struct wire_cursor body = wire_body(frame);
	struct wire_outcome outcome;

	how->status = wire_next_outcome(&body, &outcome, how->error);
	if (how->status <= 0 || !outcome.head.failed)
		return;
	how->status = PAR_EFAILED;
	error_set(how->error, PAR_EFAILED, "it failed");
	error_file(how->error, "%s", outcome.where != NULL ? outcome.where : "");
	if (outcome.text != NULL)
		error_reason(how->error, "%s", outcome.text);
	else
		error_reason(how->error, "it returned %d", (int)outcome.code);
}

static int32_t take_initialization(void *user, const void *bytes, uint64_t n)
{
	struct initialization *how = user;
	struct wire_reader reader;
	struct wire_frame frame;

	wire_reader_init(&reader, 0);
	wire_reader_lend(&reader, bytes, (size_t)n);
	while (wire_next(&reader, &frame, how->error) > 0) {
		if (frame.kind == WIRE_OUTCOMES)
			take_outcomes(how, &frame);
		else if (frame.kind == WIRE_CANNOT &&
		         wire_get_cannot(&frame, how->error, NULL) == PAR_OK)
			how->status = how->error->code < 0 ? how->error->code : PAR_EFAILED;
	}
	wire_reader_finish(&reader);
	return 0;
}

/* Its module and its task, apart. */
static char *split(const char *initializer, const char **task, par_error *error)
{
	const char *colon = strrchr(initializer, ':');
	char *path;

	if (colon == NULL || colon == initializer || colon[1] == '\0') {
		error_set(error, PAR_EINVAL, "it cannot be found");
		error_reason(error, "it is not MODULE.so:TASK");
		return NULL;
	}
	path = strndup(initializer, (size_t)(colon - initializer));
	if (path == NULL)
		error_memory(error, "looking for it");
	*task = colon + 1;
	return path;
}

/* A batch of one task, as any other. */
static int32_t put_initializer(struct wire_writer *writer, const par_worker_setup *setup,
                               par_error *error)
{
	const char *arg = setup->initarg != NULL ? setup->initarg : "";
	const char *name = NULL;
	char *path = split(setup->initializer, &name, error);
	const struct wire_module module = {.path = path};
	const struct wire_task task = {.name = name, .kind = PAR_TASK_BYTES};
	struct wire_batch *batch = path != NULL ? malloc(sizeof(*batch)) : NULL;

	if (batch != NULL) {
		wire_batch_init(batch);
		batch->head.level = batch->head.depth = 1;
		wire_batch_module(batch, &module);
		wire_batch_task(batch, &task);
		wire_begin_list(writer, batch);
		wire_put_item(writer, 0, 0, 0, arg, (uint32_t)strlen(arg));
		wire_end_list(writer, 1);
	}
	free(batch);
	free(path);
	if (path == NULL)
		return PAR_EINVAL;
	return batch == NULL || writer->failed ? error_memory(error, "running it") : PAR_OK;
}

static int32_t run_initializer(struct link *link, par_error *error)
{
	struct initialization how = {PAR_OK, error};
	struct runner_work work = work_of(link);
	struct wire_writer writer;
	struct wire_frame frame;
	int32_t status;

	work.send = take_initialization;
	work.user = &how;
	wire_writer_init(&writer, 0);
	status = put_initializer(&writer, &link->setup, error);
	if (status == PAR_OK)
		status = wire_whole(writer.bytes, writer.used, &frame, error);
	if (status == PAR_OK)
		status = runner_run(link->runner, &frame, &work, error);
	wire_writer_finish(&writer);
	if (status == PAR_OK && how.status < 0)
		status = how.status;
	if (status < 0)
		error_prefix(error, "the initializer \"%.100s\": ", link->setup.initializer);
	return status;
}

/* --- serving ---------------------------------------------------------------------------------- */

/* Once something is to run that may start processes. */
static void watch_parent(struct link *link)
{
	if (!link->is_watched)
		process_watch_parent(link->setup.parent);
	link->is_watched = 1;
}

static int32_t attach(struct link *link, const struct wire_frame *frame, par_error *error)
{
	struct wire_attach attach;
	const void *bytes;
	int32_t status = wire_get_attach(frame, &attach, &bytes, error);

	if (status < 0)
		return status;
	if (attach.how == WIRE_PASSED)
		wait_for_descriptor(link);
	return attachments_add(&link->attachments, &attach, bytes, error);
}

static int32_t serve_frame(struct link *link, const struct wire_frame *frame, par_error *error)
{
	const struct runner_work work = work_of(link);
	uint64_t id;
	int32_t status;

	switch (frame->kind) {
	case WIRE_BATCH:
		watch_parent(link);
		return runner_run(link->runner, frame, &work, error);
	case WIRE_ATTACH:
		return attach(link, frame, error);
	case WIRE_DETACH:
		status = wire_get_detach(frame, &id, error);
		if (status == PAR_OK)
			attachments_remove(&link->attachments, id);
		return status;
	default:
		return wire_refuse(error, "a worker was sent a frame of kind %d", (int)frame->kind);
	}
}

/* A worker that was executed is told by its first frame what it is to be. */
static int32_t take_setup(struct link *link, par_error *error)
{
	struct wire_frame frame;
	par_worker_setup setup;
	int32_t status = next_frame(link, &frame, error);

	if (status == 0)
		return error_set(error, PAR_ELOST, "the parent is gone");
	if (status > 0 && frame.kind != WIRE_SETUP)
		status = wire_refuse(error, "a worker was sent a frame of kind %d first", (int)frame.kind);
	if (status > 0)
		status = wire_get_setup(&frame, &setup, error);
	if (status < 0)
		return status;
	/* Its texts are in use as long as the frame is the last one that was read. */
	setup.parent = link->setup.parent;
	link->setup = setup;
	return PAR_OK;
}

static int32_t begin(struct link *link, par_error *error)
{
	static char line[BUFSIZ];
	struct channel_words *words = link->memory.words;
	int32_t status;

	process_end_group_at_exit(link->setup.parent);
	last_words_begin(words->story, CHANNEL_STORY, &words->n_story, &words->now.peak_memory,
	                 process_end_group);
	link->spins = cpu_affinity() > 1;
	/* What a task prints is worth most if it dies.  Of one that was in use only another buffer
	 * changes the mode. */
	(void)setvbuf(stdout, line, _IOLBF, sizeof(line));
	if (link->is_forked)
		inner_threads_in_worker();
	status = link->is_forked ? PAR_OK : take_setup(link, error);
	if (status == PAR_OK)
		status = process_limit(&link->setup, error);
	if (status == PAR_OK && link->setup.initializer != NULL) {
		watch_parent(link);
		status = run_initializer(link, error);
	}
	if (status == PAR_OK)
		status = say_hello(link, error);
	if (status == PAR_OK)
		process_offer_memory();
	return status;
}

static int32_t serve(struct link *link, par_error *error)
{
	struct wire_frame frame;
	int32_t status = begin(link, error);

	while (status == PAR_OK && (status = next_frame(link, &frame, error)) > 0)
		status = serve_frame(link, &frame, error);
	return status;
}

/* What it takes is given back by the end of the process, which is near when this returns. */
int32_t serve_channel(const int32_t ends[2], const par_worker_setup *setup, int is_forked,
                      par_error *error)
{
	static struct link link;
	int32_t status;

	link = (struct link){.socket = ends[0], .setup = *setup, .is_forked = is_forked};
	status = process_settle(setup->parent, ends, error);
	if (status == PAR_OK)
		status = channel_memory_map(&link.memory, ends[1], error);
	if (status == PAR_OK)
		status = channel_memory_check(&link.memory, error);
	if (status < 0)
		return status;
	/* Until it waits for the first time. */
	__atomic_store_n(&link.memory.words->serves, 1, __ATOMIC_RELAXED);
	channel_memory_inherit(&link.memory);
	ring_init(&link.in, &link.memory.words->to_worker, link.memory.to_worker, CHANNEL_TO_WORKER);
	ring_init(&link.out, &link.memory.words->from_worker, link.memory.from_worker,
	          CHANNEL_FROM_WORKER);
	link.runner = runner_create();
	if (link.runner == NULL)
		return error_memory(error, "starting a worker");
	status = serve(&link, error);
	if (status < 0 && status != PAR_ELOST) {
		const struct runner_work work = work_of(&link);

		(void)runner_cannot(link.runner, 0, &work, error);
	}
	process_end_group();
	return status;
}

/* --- a fork of the parent --------------------------------------------------------------------- */

static void close_all(int first, int last)
{
	if (first > last || close_range((unsigned)first, (unsigned)last, 0) == 0)
		return;
	/* An older kernel. */
	for (int fd = first; fd <= last && fd < 65536; fd++)
		close(fd);
}

static void close_others(const int32_t ends[2])
{
	const int low = ends[0] < ends[1] ? ends[0] : ends[1];
	const int high = ends[0] < ends[1] ? ends[1] : ends[0];

	close_all(STDERR_FILENO + 1, low - 1);
	close_all(low < STDERR_FILENO ? STDERR_FILENO + 1 : low + 1, high - 1);
	close_all(high < STDERR_FILENO ? STDERR_FILENO + 1 : high + 1, INT_MAX);
}

void serve_forked(const int32_t ends[2], const par_worker_setup *setup)
{
	par_error error = PAR_ERROR_INIT;
	char words[1200];
	int32_t status;

	forked_renew_locks();
	close_others(ends);
	/* What the parent is about to print is the parent's; what tasks print is flushed below. */
	__fpurge(stdout);
	__fpurge(stderr);
	status = serve_channel(ends, setup, 1, &error);
	if (status < 0 && status != PAR_ELOST)
		(void)fprintf(stderr, "[parloop] %s\n", par_error_text(&error, 0, words, sizeof(words)));
	(void)fflush(stdout);
	(void)fflush(stderr);
	_exit(status < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
