#include "serve.h"

#include "abi.h"
#include "context.h"
#include "error.h"
#include "fork_server.h"
#include "runner.h"
#include "serve_attached.h"
#include "serve_plain.h"
#include "serve_process.h"
#include "wire_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_BYTES = 256 * 1024 };

/* A connection, and what came by it. */
struct server {
	struct par_serving serving;
	struct runner *runner;
	struct wire_reader reader;
	struct attachments attachments;
	int is_pipe;
	char *bytes; /* READ_BYTES */
};

static _Atomic int program_can, is_worker;

int serve_program_can(void)
{
	return atomic_load_explicit(&program_can, memory_order_relaxed);
}

int serve_is_worker(void)
{
	return atomic_load_explicit(&is_worker, memory_order_relaxed);
}

/* --- one batch -------------------------------------------------------------------------------- */

static int32_t check_work(const par_work *work, par_error *error)
{
	const char *wrong = NULL;

	if (work == NULL || !PAR_HAS(work, is_last))
		wrong = "work is NULL, or its size is not set";
	else if (work->reserved != 0 || abi_wants_more(work, sizeof(*work)))
		wrong = "something is set that is later than parloop " PAR_VERSION_STRING;
	else if (work->bytes == NULL || work->send == NULL)
		wrong = "bytes or send is NULL";
	else if (work->n_attachments > 0 && work->attachments == NULL)
		wrong = "attachments is NULL";
	if (wrong == NULL)
		return PAR_OK;
	error_set(error, PAR_EINVAL, "cannot run a batch");
	error_reason(error, "%s", wrong);
	return PAR_EINVAL;
}

/* Whatever the version, that much of a head is always so. */
static uint64_t batch_of(const par_work *work)
{
	uint64_t batch = 0;

	if (work->n_bytes >= sizeof(struct wire_head) && memcmp(work->bytes, "pw", 2) == 0)
		memcpy(&batch, (const char *)work->bytes + offsetof(struct wire_head, batch),
		       sizeof(batch));
	return batch;
}

static int32_t run_work(struct runner *runner, const par_work *work, par_error *error)
{
	const struct runner_work how = {
		.worker = work->worker > 0 ? (uint32_t)work->worker : 0,
		.n_attachments = work->n_attachments,
		.attachments = work->attachments,
		.stopping = work->stopping,
		.send = work->send,
		.user = work->user,
		.is_last = work->is_last,
	};
	par_error why = PAR_ERROR_INIT;
	struct wire_frame frame;
	int32_t status = wire_whole(work->bytes, (size_t)work->n_bytes, &frame, &why);

	if (status == PAR_OK && frame.kind != WIRE_BATCH)
		status = wire_refuse(&why, "it is of kind %d, not a batch", (int)frame.kind);
	if (status == PAR_OK)
		return runner_run(runner, &frame, &how, error);
	(void)runner_cannot(runner, batch_of(work), &how, &why);
	if (error != NULL)
		error_copy(error, &why);
	return status;
}

static struct context_employer employer_of(const par_work *work)
{
	return (struct context_employer){.tell = work->waits, .arg = work->user};
}

int32_t par_worker_run(const par_work *work, par_error *error)
{
	int32_t status = check_work(work, error);
	struct context_employer before;
	struct runner *runner;

	if (status < 0)
		return status;
	runner = runner_take();
	if (runner == NULL)
		return error_memory(error, "running a batch");
	before = context_employ(employer_of(work));
	status = run_work(runner, work, error);
	(void)context_employ(before);
	runner_give(runner);
	return status;
}

/* --- the descriptor --------------------------------------------------------------------------- */

static int32_t cannot_read(int why, par_error *error)
{
	error_set(error, PAR_ELOST, "cannot read batches");
	error_reason(error, "%s", strerror(why));
	return PAR_ELOST;
}

static ssize_t receive(struct server *server)
{
	ssize_t n;

	if (server->is_pipe)
		return read(server->serving.in, server->bytes, READ_BYTES);
	n = attachments_receive(&server->attachments, server->serving.in, server->bytes, READ_BYTES);
	if (n < 0 && errno == ENOTSOCK) {
		server->is_pipe = 1;
		return read(server->serving.in, server->bytes, READ_BYTES);
	}
	return n;
}

/* All of it: 0, or -1, nobody reads it any more.  A pipe without reader is to be an error, not a
 * signal: whoever serves one ignores SIGPIPE, or dies of it. */
static int32_t send_all(void *user, const void *bytes, uint64_t n_bytes)
{
	const struct server *server = user;
	const char *at = bytes;

	while (n_bytes > 0) {
		ssize_t n = send(server->serving.out, at, (size_t)n_bytes, MSG_NOSIGNAL);

		if (n < 0 && errno == ENOTSOCK)
			n = write(server->serving.out, at, (size_t)n_bytes);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -1;
		at += n;
		n_bytes -= (uint64_t)n;
	}
	return 0;
}

static struct runner_work work_of(struct server *server)
{
	return (struct runner_work){
		.worker = (uint32_t)server->serving.worker,
		.n_attachments = (uint32_t)server->attachments.n,
		.attachments = server->attachments.list,
		.send = send_all,
		.user = server,
	};
}

static int32_t say_hello(struct server *server, par_error *error)
{
	const struct runner_work work = work_of(server);

	if (runner_greet(server->runner, &work) == 0)
		return PAR_OK;
	error_set(error, PAR_ELOST, "cannot greet who started this worker");
	error_reason(error, "%s", strerror(errno));
	return PAR_ELOST;
}

static int32_t serve_frame(struct server *server, const struct wire_frame *frame,
                           par_error *error)
{
	const struct runner_work work = work_of(server);
	struct wire_attach attach;
	const void *bytes;
	uint64_t id;
	int32_t status;

	switch (frame->kind) {
	case WIRE_BATCH:
		return runner_run(server->runner, frame, &work, error);
	case WIRE_ATTACH:
		status = wire_get_attach(frame, &attach, &bytes, error);
		return status < 0 ? status
		                  : attachments_add(&server->attachments, &attach, bytes, error);
	case WIRE_DETACH:
		status = wire_get_detach(frame, &id, error);
		if (status == PAR_OK)
			attachments_remove(&server->attachments, id);
		return status;
	default:
		return wire_refuse(error, "a worker was sent a frame of kind %d", (int)frame->kind);
	}
}

static int32_t serve_bytes(struct server *server, size_t n, par_error *error)
{
	struct wire_frame frame;
	int32_t status;

	wire_reader_lend(&server->reader, server->bytes, n);
	while ((status = wire_next(&server->reader, &frame, error)) > 0) {
		status = serve_frame(server, &frame, error);
		if (status < 0)
			break;
	}
	return status;
}

/* Until its end. */
static int32_t serve(struct server *server, par_error *error)
{
	int32_t status = say_hello(server, error);

	while (status == PAR_OK) {
		ssize_t n = receive(server);

		if (n > 0)
			status = serve_bytes(server, (size_t)n, error);
		else if (n == 0 && wire_reader_waits(&server->reader))
			return wire_refuse(error, "the descriptor ends in the middle of it");
		else if (n == 0)
			return PAR_OK;
		else if (errno == ECONNRESET)
			return PAR_OK;
		else if (errno != EINTR)
			return cannot_read(errno, error);
	}
	return status;
}

static void server_finish(struct server *server)
{
	attachments_finish(&server->attachments);
	free(server->bytes);
	wire_reader_finish(&server->reader);
	runner_destroy(server->runner);
}

/* --- the process ------------------------------------------------------------------------------ */

static int32_t check_descriptor(int fd, par_error *error)
{
	int flags = fcntl(fd, F_GETFD);

	if (flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0) {
		error_set(error, PAR_EINVAL, "cannot serve descriptor %d", fd);
		error_reason(error, "%s", strerror(errno));
		error_remedy(error, "workers are started by a backend, not by hand");
		return PAR_EINVAL;
	}
	return PAR_OK;
}

int32_t par_worker_serve(const par_serving *serving, par_error *error)
{
	struct server server = {0};
	int32_t ends[2], status;

	if (serving == NULL || !PAR_HAS(serving, reserved) || serving->worker < 0 ||
	    serving->reserved != 0 || abi_wants_more(serving, sizeof(*serving))) {
		error_set(error, PAR_EINVAL, "cannot serve");
		error_reason(error, "serving is NULL, its size is not set, worker is below 0, or something is "
		                    "set that is later than parloop " PAR_VERSION_STRING);
		return PAR_EINVAL;
	}
	/* It is a worker now, and so its tasks may open what pools they like. */
	if (getenv(PAR_WORKER_VARIABLE) != NULL)
		unsetenv(PAR_WORKER_VARIABLE);
	server.serving = (par_serving){.worker = serving->worker, .in = serving->in, .out = serving->out};
	ends[0] = serving->in;
	ends[1] = serving->out;
	status = check_descriptor(serving->in, error);
	if (status == PAR_OK)
		status = check_descriptor(serving->out, error);
	if (status == PAR_OK && serving->parent > 0)
		status = process_settle(serving->parent, ends, error);
	if (status < 0)
		return status;
	server.runner = runner_create();
	server.bytes = malloc(READ_BYTES);
	wire_reader_init(&server.reader, 0);
	if (server.runner == NULL || server.bytes == NULL)
		status = error_memory(error, "starting a worker");
	else
		status = serve(&server, error);
	if (status < 0 && status != PAR_ELOST && server.runner != NULL && error != NULL) {
		const struct runner_work work = work_of(&server);

		(void)runner_cannot(server.runner, 0, &work, error);
	}
	server_finish(&server);
	return status;
}

/* --- the program as its own worker ------------------------------------------------------------ */

enum speech { SPEAKS_FRAMES, SPEAKS_CHANNEL, SPEAKS_PLAIN };

static int parse(const char *text, par_serving *serving, enum speech *speech)
{
	int end = 0;

	*serving = (par_serving){.size = sizeof(*serving)};
	if (sscanf(text, "%d:%d:%d:%d%n", &serving->in, &serving->out, &serving->worker,
	           &serving->parent, &end) != 4)
		return -1;
	*speech = strcmp(text + end, ":channel") == 0 ? SPEAKS_CHANNEL
	          : strcmp(text + end, ":plain") == 0 ? SPEAKS_PLAIN
	                                              : SPEAKS_FRAMES;
	return *speech != SPEAKS_FRAMES || text[end] == '\0' ? 0 : -1;
}

static int32_t be_worker(const par_serving *serving, enum speech speech, par_error *error)
{
	const par_worker_setup setup = {.size = sizeof(setup), .parent = serving->parent,
	                                .worker = serving->worker, .cpu = -1};
	const int32_t ends[2] = {serving->in, serving->out};
	int32_t status;

	if (speech == SPEAKS_FRAMES)
		return par_worker_serve(serving, error);
	unsetenv(PAR_WORKER_VARIABLE);
	status = check_descriptor(ends[0], error);
	if (status == PAR_OK)
		status = check_descriptor(ends[1], error);
	if (status < 0)
		return status;
	return speech == SPEAKS_PLAIN ? serve_plain(serving, error) : serve_channel(ends, &setup, 0, error);
}

void par_worker_main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	par_serving serving;
	const char *text;
	char words[1200];
	int32_t status;
	enum speech speech = SPEAKS_FRAMES;

	(void)argc, (void)argv;
	fork_server_run();
	text = secure_getenv(PAR_WORKER_VARIABLE);
	atomic_store_explicit(&program_can, 1, memory_order_relaxed);
	if (text == NULL)
		return;
	atomic_store_explicit(&is_worker, 1, memory_order_relaxed);
	if (parse(text, &serving, &speech) < 0) {
		error_set(&error, PAR_EINVAL, "cannot become a worker");
		error_reason(&error, "$" PAR_WORKER_VARIABLE " is \"%.100s\", not IN:OUT:WORKER:PARENT",
		             text);
		error_remedy(&error, "unset it: it is for backends to set");
		status = PAR_EINVAL;
	} else {
		status = be_worker(&serving, speech, &error);
	}
	if (status < 0 && status != PAR_ELOST)
		(void)fprintf(stderr, "[parloop] %s\n", par_error_text(&error, 0, words, sizeof(words)));
	/* What the program registered with atexit is about a run that never began; what tasks have
	 * printed is not. */
	(void)fflush(NULL);
	_exit(status < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

int32_t serve_guard(par_error *error)
{
	if (secure_getenv(PAR_WORKER_VARIABLE) == NULL)
		return PAR_OK;
	error_set(error, PAR_EINVAL,
	          "[parloop] Attempting to do parallel computing without protecting your main(): "
	          "this process is a worker, and is about to run the program once more");
	error_reason(error, "it was started with $" PAR_WORKER_VARIABLE " and has not called "
	                    "par_worker_main()");
	error_remedy(error, "call par_worker_main(argc, argv) first in main, before any pool is opened");
	return PAR_EINVAL;
}
