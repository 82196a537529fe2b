#include "channel.h"

#include "abi.h"
#include "channel_memory.h"
#include "error.h"
#include "forked.h"
#include "inner_threads.h"
#include "log.h"
#include "paths.h"
#include "serve.h"
#include "shared.h"
#include "wire_answer.h"

#include <parloop/parloop.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Room in the ring that a frame may count on before it is known how long it is. */
enum { SMALL_FRAME = 64 * 1024 };

/* So long a worker takes to begin at most, where there is a core for it; and between two that are
 * called over. */
enum { SLOW_NS = 100000, CALL_OVER_NS = 1000000 };

/* A frame that the ring had no room for. */
struct waiting {
	struct waiting *next;
	char *bytes;
	size_t n, sent;
};

/* What the worker has, by its id: a table with room for twice as many, the next free place after
 * the one that the id says. */
struct given {
	uint64_t id; /* 0: none */
	int can_end;
};

struct par_channel {
	int32_t kind;
	pid_t pid; /* of who opened it */
	int is_program;
	int socket;
	int32_t ends[2]; /* the worker's socket and memory; -1 once it is started */
	struct channel_memory memory;

	/* to it */
	struct ring to;
	struct wire_writer writer; /* lent the ring's room, if the frame begins there */
	struct waiting *first_waiting, **last_waiting;
	int *passing; /* descriptors that the socket had no room for */
	size_t n_passing;
	struct given *given;
	size_t n_given, given_room;
	uint64_t ended; /* when we last looked for attachments that ended */

	/* from it */
	struct ring from;
	struct wire_reader reader;
	uint64_t n_lent; /* bytes of the ring that are being read */
	int is_ready, is_deaf;
	int is_armed; /* it was told to wake us */
	int32_t core; /* as in the words */
	pid_t worker; /* as it says; 0: not yet */
	int64_t sent_ns; /* when it had got a batch, and had none, as we know; 0: it just did ... */
	uint64_t taken_before; /* ... and what it had taken of the ring then */

	/* batches that are out, in a ring of their own */
	uint64_t *out;
	size_t first_out, n_out, out_room;

	char variable[96], *variables[2];
	char last_words[CHANNEL_STORY + 1];
};

/* --- its life --------------------------------------------------------------------------------- */

static int32_t make_ends(par_channel *channel, par_error *error)
{
	int pair[2];

	channel->ends[1] = channel_memory_create(error);
	if (channel->ends[1] < 0)
		return PAR_ENOMEM;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
		error_set(error, PAR_ENOMEM, "cannot open a channel to a worker");
		error_reason(error, "socketpair: %s", strerror(errno));
		return PAR_ENOMEM;
	}
	channel->socket = pair[0];
	channel->ends[0] = pair[1];
	return channel_memory_map(&channel->memory, channel->ends[1], error);
}

int32_t channel_open(int32_t kind, par_channel **out, par_error *error)
{
	par_channel *channel = calloc(1, sizeof(*channel));
	int32_t status;

	*out = NULL;
	if (channel == NULL)
		return error_memory(error, "opening a channel to a worker");
	if (kind == PAR_CHANNEL_FORKED)
		inner_threads_before_fork();
	channel->kind = kind;
	channel->pid = getpid();
	channel->is_program = kind == PAR_CHANNEL_EXECUTED && serve_program_can();
	channel->socket = channel->ends[0] = channel->ends[1] = -1;
	channel->last_waiting = &channel->first_waiting;
	status = make_ends(channel, error);
	if (status < 0) {
		channel_close(channel);
		return status;
	}
	ring_init(&channel->to, &channel->memory.words->to_worker, channel->memory.to_worker,
	          CHANNEL_TO_WORKER);
	ring_init(&channel->from, &channel->memory.words->from_worker, channel->memory.from_worker,
	          CHANNEL_FROM_WORKER);
	*out = channel;
	return PAR_OK;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

void channel_started(par_channel *channel)
{
	close_if_open(channel->ends[0]);
	close_if_open(channel->ends[1]);
	channel->ends[0] = channel->ends[1] = -1;
}

static void waiting_destroy(struct waiting *waiting)
{
	if (waiting != NULL)
		free(waiting->bytes);
	free(waiting);
}

static void forget_waiting(par_channel *channel)
{
	struct waiting *waiting = channel->first_waiting;

	channel->first_waiting = waiting->next;
	if (channel->first_waiting == NULL)
		channel->last_waiting = &channel->first_waiting;
	waiting_destroy(waiting);
}

/* A child of fork() may have its copy of the socket, and the worker is to see the end of it all the
 * same; but only if it is the parent that does not want it any more. */
static void end_socket(const par_channel *channel)
{
	if (channel->socket >= 0 && channel->pid == getpid())
		(void)shutdown(channel->socket, SHUT_RDWR);
	close_if_open(channel->socket);
}

void channel_close(par_channel *channel)
{
	if (channel == NULL)
		return;
	while (channel->first_waiting != NULL)
		forget_waiting(channel);
	for (size_t i = 0; i < channel->n_passing; i++)
		close(channel->passing[i]);
	channel_started(channel);
	end_socket(channel);
	channel_memory_unmap(&channel->memory);
	wire_writer_finish(&channel->writer);
	wire_reader_finish(&channel->reader);
	free(channel->passing);
	free(channel->given);
	free(channel->out);
	free(channel);
}

void channel_ends(const par_channel *channel, int32_t ends[2])
{
	ends[0] = channel->ends[0];
	ends[1] = channel->ends[1];
}

int32_t channel_fd(const par_channel *channel)
{
	return channel->socket;
}

int32_t channel_is_ready(const par_channel *channel)
{
	const struct wire_now *now = &channel->memory.words->now;

	return channel->is_ready ? 1 + (__atomic_load_n(&now->begin_ns, __ATOMIC_RELAXED) != 0) : 0;
}

int channel_is_forked(const par_channel *channel)
{
	return channel->kind == PAR_CHANNEL_FORKED;
}

int channel_is_program(const par_channel *channel)
{
	return channel->is_program;
}

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- sending ---------------------------------------------------------------------------------- */

/* If its socket is full it has enough to wake up by. */
static void wake(const par_channel *channel)
{
	(void)send(channel->socket, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static int32_t refuse_position(par_error *error)
{
	return wire_refuse(error, "the worker's place in the ring makes no sense");
}

/* As much of it as there is room for.  1: all of it; 0; or an error. */
static int32_t pump_frame(par_channel *channel, struct waiting *waiting, par_error *error)
{
	while (waiting->sent < waiting->n) {
		uint64_t n = waiting->n - waiting->sent, room;
		char *at;

		if (ring_room(&channel->to, n, &at, &room) < 0)
			return refuse_position(error);
		if (room == 0)
			return 0;
		n = n < room ? n : room;
		memcpy(at, waiting->bytes + waiting->sent, n);
		waiting->sent += n;
		if (ring_put(&channel->to, n))
			wake(channel);
	}
	return 1;
}

/* 1: it went; 0: the socket has no room for it; it is no use any more if nobody is there. */
static int pass(const par_channel *channel, int fd)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec piece = {(void *)(uintptr_t)"", 1};
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);

	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &fd, sizeof(fd));
	return sendmsg(channel->socket, &message, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0 ||
	       (errno != EAGAIN && errno != ETOOMANYREFS && errno != ENOBUFS && errno != ENOMEM);
}

static void pump_descriptors(par_channel *channel)
{
	size_t n = 0;

	while (n < channel->n_passing && pass(channel, channel->passing[n]))
		close(channel->passing[n++]);
	channel->n_passing -= n;
	memmove(channel->passing, channel->passing + n, channel->n_passing * sizeof(int));
}

static int waits(const par_channel *channel)
{
	return channel->first_waiting != NULL || channel->n_passing > 0;
}

/* What did not fit before. */
static int32_t pump(par_channel *channel, par_error *error)
{
	int32_t status;

	if (channel->n_passing > 0)
		pump_descriptors(channel);
	while (channel->first_waiting != NULL) {
		status = pump_frame(channel, channel->first_waiting, error);
		if (status <= 0)
			return status;
		forget_waiting(channel);
	}
	return PAR_OK;
}

/* A frame begins in the ring, unless another waits before it, and moves away from there if it turns
 * out to be too long. */
static void begin_frame(par_channel *channel)
{
	uint64_t room = 0;
	char *at = NULL;

	if (channel->first_waiting == NULL && ring_room(&channel->to, SMALL_FRAME, &at, &room) < 0)
		room = 0; /* the next channel_next() says why */
	wire_writer_finish(&channel->writer);
	if (room > 0)
		wire_writer_lend(&channel->writer, at, (size_t)room);
}

static int32_t keep_frame(par_channel *channel, par_error *error)
{
	struct wire_writer *writer = &channel->writer;
	struct waiting *waiting = malloc(sizeof(*waiting));

	if (waiting == NULL)
		return error_memory(error, "sending to a worker");
	*waiting = (struct waiting){NULL, writer->bytes, writer->used, 0};
	*channel->last_waiting = waiting;
	channel->last_waiting = &waiting->next;
	wire_writer_init(writer, 0);
	return PAR_OK;
}

/* What the writer holds.  What is wrong with the worker is for channel_next() to say. */
static int32_t send_frame(par_channel *channel, par_error *error)
{
	struct wire_writer *writer = &channel->writer;
	int32_t status = PAR_OK;

	if (writer->failed) {
		status = error_memory(error, "sending to a worker");
	} else if (!writer->lent) {
		status = keep_frame(channel, error);
		if (status == PAR_OK)
			(void)pump(channel, NULL);
	} else if (ring_put(&channel->to, writer->used)) {
		wake(channel);
	}
	wire_writer_finish(writer);
	return status;
}

/* --- batches ---------------------------------------------------------------------------------- */

static int grow_out(par_channel *channel)
{
	size_t room = channel->out_room > 0 ? 2 * channel->out_room : 16;
	uint64_t *out = malloc(room * sizeof(*out));

	if (out == NULL)
		return -1;
	for (size_t i = 0; i < channel->n_out; i++)
		out[i] = channel->out[(channel->first_out + i) % channel->out_room];
	free(channel->out);
	channel->out = out;
	channel->first_out = 0;
	channel->out_room = room;
	return 0;
}

struct wire_writer *channel_begin(par_channel *channel)
{
	begin_frame(channel);
	return &channel->writer;
}

void channel_withdraw(par_channel *channel)
{
	wire_writer_finish(&channel->writer);
}

int32_t channel_commit(par_channel *channel, uint64_t batch, par_error *error)
{
	int32_t *stopping = &channel->memory.words->stopping;
	int32_t status;

	if (channel->n_out == channel->out_room && grow_out(channel) < 0) {
		channel_withdraw(channel);
		return error_memory(error, "sending to a worker");
	}
	if (channel->n_out == 0 && __atomic_load_n(stopping, __ATOMIC_RELAXED) != 0)
		__atomic_store_n(stopping, 0, __ATOMIC_RELAXED);
	if (channel->n_out == 0) {
		channel->sent_ns = 0;
		channel->taken_before =
			__atomic_load_n(&channel->memory.words->to_worker.taken, __ATOMIC_RELAXED);
	}
	status = send_frame(channel, error);
	if (status < 0)
		return status;
	channel->out[(channel->first_out + channel->n_out) % channel->out_room] = batch;
	channel->n_out++;
	return PAR_OK;
}

int32_t channel_out(const par_channel *channel)
{
	return (int32_t)channel->n_out;
}

uint64_t channel_over(par_channel *channel)
{
	uint64_t batch;

	if (channel->n_out == 0)
		return 0;
	batch = channel->out[channel->first_out];
	channel->first_out = (channel->first_out + 1) % channel->out_room;
	channel->n_out--;
	return batch;
}

void channel_stop(par_channel *channel)
{
	__atomic_store_n(&channel->memory.words->stopping, 1, __ATOMIC_RELAXED);
}

/* --- what travels beside them ----------------------------------------------------------------- */

/* Where it is, or would be. */
static struct given *find_given(const struct given *table, size_t room, uint64_t id)
{
	size_t i = (size_t)(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (room - 1);

	while (table[i].id != 0 && table[i].id != id)
		i = (i + 1) & (room - 1);
	return (struct given *)(uintptr_t)&table[i];
}

/* Another table, with those that are still there; the worker may let go of the others. */
static int renew_given(par_channel *channel, size_t room, int look)
{
	struct given *given = calloc(room, sizeof(*given));

	if (given == NULL)
		return -1;
	channel->n_given = 0;
	for (size_t i = 0; i < channel->given_room; i++) {
		const struct given *old = &channel->given[i];

		if (old->id == 0)
			continue;
		if (look && old->can_end && !shared_is_there(old->id)) {
			begin_frame(channel);
			wire_put_detach(&channel->writer, old->id);
			(void)send_frame(channel, NULL); /* without memory it keeps it */
			continue;
		}
		*find_given(given, room, old->id) = *old;
		channel->n_given++;
	}
	free(channel->given);
	channel->given = given;
	channel->given_room = room;
	return 0;
}

static void look_for_ended(par_channel *channel)
{
	uint64_t ended = shared_ended();

	if (ended != channel->ended && channel->given_room > 0 &&
	    renew_given(channel, channel->given_room, 1) < 0)
		return;
	channel->ended = ended;
}

static int make_place(par_channel *channel)
{
	size_t room = channel->given_room > 0 ? channel->given_room : 8;

	if (2 * (channel->n_given + 1) <= channel->given_room)
		return 0;
	return renew_given(channel, 2 * room, 0);
}

/* By the socket; or, if that is full, later: then by a number of our own, as its owner may close
 * the other. */
static int32_t pass_descriptor(par_channel *channel, int fd, par_error *error)
{
	int *passing;

	if (channel->n_passing == 0 && pass(channel, fd))
		return PAR_OK;
	passing = reallocarray(channel->passing, channel->n_passing + 1, sizeof(*passing));
	if (passing == NULL)
		return error_memory(error, "passing an attachment to a worker");
	channel->passing = passing;
	passing[channel->n_passing] = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (passing[channel->n_passing] < 0) {
		error_set(error, PAR_ENOMEM, "cannot pass an attachment to a worker");
		error_reason(error, "%s", strerror(errno));
		return PAR_ENOMEM;
	}
	channel->n_passing++;
	return PAR_OK;
}

/* Its frame goes last, so that one that cannot be passed is not expected; a descriptor that is
 * there before its frame waits for it. */
static int32_t give(par_channel *channel, const par_attachment *attachment, par_error *error)
{
	const int how = attachment->fd >= 0 ? WIRE_PASSED : WIRE_INLINE;
	int32_t status = PAR_OK;

	begin_frame(channel);
	wire_put_attach(&channel->writer, attachment, how);
	if (channel->writer.failed)
		status = error_memory(error, "passing an attachment to a worker");
	else if (how == WIRE_PASSED)
		status = pass_descriptor(channel, attachment->fd, error);
	if (status == PAR_OK)
		return send_frame(channel, error);
	channel_withdraw(channel);
	return status;
}

int32_t channel_attach(par_channel *channel, const par_attachment *attachment, par_error *error)
{
	struct given *given;
	int32_t status;

	look_for_ended(channel);
	if (make_place(channel) < 0)
		return error_memory(error, "passing an attachment to a worker");
	given = find_given(channel->given, channel->given_room, attachment->id);
	if (given->id != 0)
		return PAR_OK;
	if (attachment->fd < 0 && attachment->address == NULL)
		return error_set(error, PAR_EINVAL, "attachment %llu has no descriptor, and no address",
		                 (unsigned long long)attachment->id);
	status = give(channel, attachment, error);
	if (status < 0)
		return status;
	*given = (struct given){attachment->id, attachment->kind != PAR_ATTACH_MODULE};
	channel->n_given++;
	return PAR_OK;
}

/* --- receiving -------------------------------------------------------------------------------- */

/* Its worker is gone, or about to be, and the socket would be readable for ever: one that never is
 * takes its number, which somebody watches. */
static void become_deaf(par_channel *channel)
{
	int silent = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	channel->is_deaf = 1;
	if (silent < 0)
		return;
	(void)dup3(silent, channel->socket, O_CLOEXEC);
	close(silent);
}

/* The bytes that woke us say nothing else. */
static void hear(par_channel *channel)
{
	char bytes[256];
	ssize_t n = 0;

	for (int i = 0; !channel->is_deaf && i < 16; i++) {
		n = recv(channel->socket, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			become_deaf(channel);
		else if (n < (ssize_t)sizeof(bytes))
			return;
	}
}

/* What was read of the ring is not looked at any more. */
static void give_back(par_channel *channel)
{
	uint64_t n = channel->n_lent - channel->reader.n_lent;

	if (n > 0 && ring_take(&channel->from, n))
		wake(channel);
	channel->n_lent -= n;
}

static void move_here(pid_t worker)
{
	int core = sched_getcpu();
	cpu_set_t all, here;

	if (core < 0 || core >= CPU_SETSIZE || sched_getaffinity(worker, sizeof(all), &all) < 0 ||
	    !CPU_ISSET(core, &all) || CPU_COUNT(&all) < 2)
		return;
	CPU_ZERO(&here);
	CPU_SET(core, &here);
	if (sched_setaffinity(worker, sizeof(here), &here) == 0)
		(void)sched_setaffinity(worker, sizeof(all), &all);
}

/* It has work, and does not run: some kernels put it behind another worker, where it waits for the
 * end of that one's slice, even though a core is about to be free: ours, since we are about to
 * sleep.  Have it run here now; afterwards it may run where it might before.  Who is slow to wake
 * since its core was asleep would do it there, so only one at a time is called over. */
static void call_over(const par_channel *channel, int64_t now_ns)
{
	static _Atomic int64_t last_ns;
	struct channel_words *words = channel->memory.words;
	int64_t before_ns = atomic_load_explicit(&last_ns, memory_order_relaxed);

	if (channel->worker <= 1 || now_ns - before_ns < CALL_OVER_NS)
		return;
	atomic_store_explicit(&last_ns, now_ns, memory_order_relaxed);
	/* Its tasks are not to see that, nor what they set themselves to be lost: either it sees that
	 * it is moved before it begins, or we see that it has begun. */
	(void)__atomic_exchange_n(&words->moves, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&words->serves, __ATOMIC_SEQ_CST) == 0)
		move_here(channel->worker);
	__atomic_store_n(&words->moves, 0, __ATOMIC_RELEASE);
}

/* Of what it got when it had nothing to do it has begun nothing. */
static int has_not_begun(const par_channel *channel)
{
	const struct channel_words *words = channel->memory.words;

	return channel->n_out > 0 &&
	       __atomic_load_n(&words->to_worker.taken, __ATOMIC_RELAXED) == channel->taken_before &&
	       __atomic_load_n(&words->serves, __ATOMIC_RELAXED) == 0;
}

/* Is it worth to stay awake until it begins?  Meanwhile whoever is to run here may. */
static int is_to_begin_soon(par_channel *channel)
{
	int64_t now_ns = clock_ns();

	if (channel->sent_ns == 0)
		channel->sent_ns = now_ns;
	if (now_ns - channel->sent_ns >= SLOW_NS) {
		call_over(channel, now_ns);
		return 0;
	}
	sched_yield();
	return 1;
}

static void awake(par_channel *channel)
{
	if (!channel->is_armed)
		return;
	channel->is_armed = 0;
	(void)ring_sleep(&channel->from, 0);
	if (waits(channel))
		(void)ring_wait(&channel->to, 0);
	hear(channel);
}

int32_t channel_sleeps(par_channel *channel, int32_t sleeps)
{
	int is_there;

	if (!sleeps) {
		awake(channel);
		return 0;
	}
	channel->is_armed = 1;
	give_back(channel);
	is_there = ring_sleep(&channel->from, 1);
	if (waits(channel))
		is_there |= ring_wait(&channel->to, 1);
	/* If there is no room, the worker has more to receive, and looks then whether we wait. */
	if (channel->n_passing > 0)
		pump_descriptors(channel);
	return is_there || (has_not_begun(channel) && is_to_begin_soon(channel));
}

static int32_t take_hello(par_channel *channel, const struct wire_frame *frame, par_error *error)
{
	struct wire_hello hello;
	int32_t status = wire_get_hello(frame, &hello, error);

	if (status < 0)
		return status;
	if (channel->is_ready)
		return wire_refuse(error, "a worker says hello once more");
	if (strcmp(hello.version, PAR_VERSION_STRING) != 0) {
		error_set(error, PAR_EUNAVAIL, "the worker is of another parloop");
		error_reason(error, "it is of version %.60s, this one of " PAR_VERSION_STRING,
		             hello.version);
		error_remedy(error, "install the same parloop on both sides");
		return PAR_EUNAVAIL;
	}
	channel->is_ready = 1;
	channel->worker = hello.pid;
	return 0;
}

/* The worker's own words of why it cannot go on. */
static int32_t take_cannot(const struct wire_frame *frame, par_error *error)
{
	par_error why = PAR_ERROR_INIT;
	int32_t status = wire_get_cannot(frame, &why, error);

	if (status < 0)
		return status;
	if (error != NULL)
		error_copy(error, &why);
	return why.code < 0 ? why.code : PAR_EFAILED;
}

/* 1: it is for the caller; 0: it was for us; or an error. */
static int32_t take_frame(par_channel *channel, const struct wire_frame *frame, par_error *error)
{
	if (frame->kind == WIRE_HELLO)
		return take_hello(channel, frame, error);
	if (frame->kind == WIRE_CANNOT && frame->batch == 0)
		return take_cannot(frame, error);
	if (channel->n_out > 0 && frame->batch == channel->out[channel->first_out])
		return 1;
	return wire_refuse(error, "it is about batch %llu, the oldest that is out is %llu",
	                   (unsigned long long)frame->batch,
	                   channel->n_out > 0 ? (unsigned long long)channel->out[channel->first_out]
	                                      : 0ULL);
}

/* Tell the worker on which core it is waited for, which it is not to take. */
static void show_core(par_channel *channel)
{
	int32_t core = sched_getcpu() + 1;

	if (core == channel->core)
		return;
	channel->core = core;
	__atomic_store_n(&channel->memory.words->core, core, __ATOMIC_RELAXED);
}

/* It has died, or its task has closed what was open: it cannot be woken any more. */
static int32_t refuse_deaf(par_error *error)
{
	error_set(error, PAR_ELOST, "the worker cannot be reached any more");
	error_reason(error, "it has closed its end of the socket");
	return PAR_ELOST;
}

/* Give back what was read of the ring, and see what else there is.  1; 0: nothing, or an error. */
static int32_t look_further(par_channel *channel, par_error *error)
{
	char *at;

	give_back(channel);
	if (ring_look(&channel->from, &at, &channel->n_lent) < 0) {
		channel->n_lent = 0;
		return refuse_position(error);
	}
	if (channel->n_lent == 0) {
		show_core(channel);
		return 0;
	}
	wire_reader_lend(&channel->reader, at, (size_t)channel->n_lent);
	return 1;
}

int32_t channel_next(par_channel *channel, struct wire_frame *frame, par_error *error)
{
	int32_t status = PAR_OK;

	awake(channel);
	if (waits(channel))
		status = pump(channel, error);
	while (status == 0) {
		status = wire_next(&channel->reader, frame, error);
		if (status == 1)
			status = take_frame(channel, frame, error);
		else if (status == 0 && (status = look_further(channel, error)) == 0)
			return channel->is_deaf ? refuse_deaf(error) : 0;
		else if (status == 1)
			status = 0;
	}
	return status;
}

void channel_now(const par_channel *channel, struct wire_now *now)
{
	const struct wire_now *its = &channel->memory.words->now;

	now->begin_ns = __atomic_load_n(&its->begin_ns, __ATOMIC_ACQUIRE);
	now->batch = __atomic_load_n(&its->batch, __ATOMIC_ACQUIRE);
	now->n = __atomic_load_n(&its->n, __ATOMIC_ACQUIRE);
	now->index = __atomic_load_n(&its->index, __ATOMIC_ACQUIRE);
	now->peak_memory = __atomic_load_n(&its->peak_memory, __ATOMIC_RELAXED);
	/* Who is writing it now has made that 0 before. */
	if (__atomic_load_n(&its->begin_ns, __ATOMIC_RELAXED) != now->begin_ns)
		now->begin_ns = 0;
}

const char *channel_last_words(const par_channel *channel)
{
	const struct channel_words *words = channel->memory.words;
	char *text = (char *)(uintptr_t)channel->last_words;
	uint32_t n = __atomic_load_n(&words->n_story, __ATOMIC_ACQUIRE);

	n = n < CHANNEL_STORY ? n : CHANNEL_STORY;
	for (uint32_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)words->story[i];

		text[i] = (char)(c == '\n' || isprint(c) ? c : '?');
	}
	text[n] = '\0';
	return text[0] != '\0' ? text : NULL;
}

/* --- what the worker is to be ----------------------------------------------------------------- */

/* How it is to be set up goes as its first frame, which may be as long as it likes, and is not
 * seen by whoever lists processes with their environment.  Said again, since another program is
 * tried, it is the only one all the same. */
static int32_t put_setup(par_channel *channel, const par_worker_setup *setup)
{
	while (channel->first_waiting != NULL)
		forget_waiting(channel);
	ring_init(&channel->to, channel->to.words, channel->to.bytes, channel->to.size);
	__atomic_store_n(&channel->to.words->put, 0, __ATOMIC_RELAXED);
	__atomic_store_n(&channel->to.words->base, 0, __ATOMIC_RELAXED);
	begin_frame(channel);
	wire_put_setup(&channel->writer, setup);
	return send_frame(channel, NULL);
}

/* 0, and a copy of ours; or -1. */
static int copy_setup(par_worker_setup *own, const par_worker_setup *setup)
{
	*own = (par_worker_setup){.size = 0};
	memcpy(own, setup, setup->size < sizeof(*own) ? setup->size : sizeof(*own));
	if (PAR_HAS(setup, initarg) && !abi_wants_more(setup, sizeof(*own)))
		return 0;
	log_line(LOG_ERROR, "a plugin gives a par_worker_setup of size %u, of which parloop "
	                    PAR_VERSION_STRING " knows %zu; no worker can be that", setup->size,
	         sizeof(*setup));
	return -1;
}

char *const *channel_describe(par_channel *channel, const int32_t ends[2],
                              const par_worker_setup *setup)
{
	par_worker_setup own;

	if (copy_setup(&own, setup) < 0)
		return NULL;
	(void)snprintf(channel->variable, sizeof(channel->variable),
	               PAR_WORKER_VARIABLE "=%d:%d:%d:%d:channel", (int)ends[0], (int)ends[1],
	               (int)own.worker, (int)own.parent);
	channel->variables[0] = channel->variable;
	return put_setup(channel, &own) < 0 ? NULL : channel->variables;
}

void channel_serve(par_channel *channel, const par_worker_setup *setup)
{
	par_worker_setup own;

	if (copy_setup(&own, setup) < 0)
		_exit(EXIT_FAILURE);
	serve_forked(channel->ends, &own);
}

/* --- which program ---------------------------------------------------------------------------- */

static const char *cannot_execute(const char *path, par_error *error)
{
	int why = errno;

	error_set(error, PAR_EUNAVAIL, "there is no program to execute as a worker");
	error_file(error, "%s", path);
	error_reason(error, "%s", strerror(why));
	error_remedy(error, "install parloop-worker there, or call par_worker_main(argc, argv) first "
	                    "in main");
	return NULL;
}

static struct {
	pthread_mutex_t lock;
	char path[PATH_MAX];
} program = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(program.lock);

const char *channel_program(par_error *error)
{
	char now[PATH_MAX];
	ssize_t n;

	if (!serve_program_can())
		return access(paths_worker(), X_OK) == 0 ? paths_worker()
		                                         : cannot_execute(paths_worker(), error);
	n = readlink("/proc/self/exe", now, sizeof(now) - 1);
	now[n > 0 ? n : 0] = '\0';
	if (n <= 0 || access(now, X_OK) < 0)
		return cannot_execute(n > 0 ? now : "/proc/self/exe", error);
	/* Whoever has asked before reads it still, and it is the same. */
	pthread_mutex_lock(&program.lock);
	if (strcmp(program.path, now) != 0)
		memcpy(program.path, now, (size_t)n + 1);
	pthread_mutex_unlock(&program.lock);
	return program.path;
}
