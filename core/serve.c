#include "serve.h"

#include "error.h"
#include "runner.h"
#include "wire_answer.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	READ_BYTES = 256 * 1024,
	PASSED = 253,          /* descriptors that one message can bring */
	MOST_ATTACHMENTS = 65536,
};

/* Something that came once and is there for the batches that name it. */
struct attached {
	par_attachment attachment; /* its address is ours to give back */
	int is_mapped;
};

/* A connection, and what came by it. */
struct server {
	struct par_serving serving;
	struct runner *runner;
	struct wire_reader reader;
	struct attached **attached;
	const par_attachment **attachments; /* of these, for the runner */
	size_t n_attached, room;
	int passed[PASSED]; /* descriptors that came, whose frames are yet to be read */
	int n_passed;
	int is_pipe;
	char *bytes; /* READ_BYTES */
};

static _Atomic int program_can;

int serve_program_can(void)
{
	return atomic_load_explicit(&program_can, memory_order_relaxed);
}

/* --- one batch --------------------------------------------------------------------------------- */

static int32_t check_work(const par_work *work, par_error *error)
{
	const char *wrong = NULL;

	if (work == NULL || work->size < sizeof(*work))
		wrong = "work is NULL, or its size is not set";
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

int32_t par_worker_run(const par_work *work, par_error *error)
{
	int32_t status = check_work(work, error);
	struct runner *runner;

	if (status < 0)
		return status;
	runner = runner_take();
	if (runner == NULL)
		return error_memory(error, "running a batch");
	status = run_work(runner, work, error);
	runner_give(runner);
	return status;
}

/* --- what came once ------------------------------------------------------------------------------ */

static void attached_destroy(struct attached *attached)
{
	void *address;

	if (attached == NULL)
		return;
	address = (void *)(uintptr_t)attached->attachment.address;
	if (attached->is_mapped && address != NULL)
		munmap(address, (size_t)attached->attachment.bytes);
	else if (!attached->is_mapped)
		free(address);
	free(attached);
}

static void detach(struct server *server, uint64_t id)
{
	for (size_t i = 0; i < server->n_attached; i++) {
		if (server->attached[i]->attachment.id != id)
			continue;
		attached_destroy(server->attached[i]);
		server->n_attached--;
		server->attached[i] = server->attached[server->n_attached];
		server->attachments[i] = server->attachments[server->n_attached];
		return;
	}
}

static int grow_table(struct server *server)
{
	size_t room = server->room > 0 ? 2 * server->room : 16;
	struct attached **attached = reallocarray(server->attached, room, sizeof(*attached));
	const par_attachment **attachments;

	if (attached == NULL)
		return -1;
	server->attached = attached;
	attachments = reallocarray(server->attachments, room, sizeof(*attachments));
	if (attachments == NULL)
		return -1;
	server->attachments = attachments;
	server->room = room;
	return 0;
}

static int take_passed(struct server *server)
{
	int fd = server->n_passed > 0 ? server->passed[0] : -1;

	if (server->n_passed > 0) {
		server->n_passed--;
		memmove(server->passed, server->passed + 1,
		        (size_t)server->n_passed * sizeof(server->passed[0]));
	}
	return fd;
}

/* Beyond the end of its file memory is there to die of. */
static int32_t map(struct attached *attached, int fd, par_error *error)
{
	par_attachment *attachment = &attached->attachment;
	int protection = attachment->writable ? PROT_READ | PROT_WRITE : PROT_READ;
	struct stat file;
	void *address;

	if (fd < 0)
		return wire_refuse(error, "no descriptor came with attachment %llu",
		                   (unsigned long long)attachment->id);
	if (fstat(fd, &file) < 0 || file.st_size < 0 || (uint64_t)file.st_size < attachment->bytes)
		return wire_refuse(error, "attachment %llu has %llu bytes, and says %llu",
		                   (unsigned long long)attachment->id,
		                   (unsigned long long)file.st_size,
		                   (unsigned long long)attachment->bytes);
	attached->is_mapped = 1;
	if (attachment->bytes == 0)
		return PAR_OK;
	address = mmap(NULL, (size_t)attachment->bytes, protection, MAP_SHARED, fd, 0);
	if (address == MAP_FAILED) {
		error_set(error, PAR_ENOMEM, "cannot map attachment %llu",
		          (unsigned long long)attachment->id);
		error_reason(error, "%s", strerror(errno));
		return PAR_ENOMEM;
	}
	attachment->address = address;
	return PAR_OK;
}

static int32_t copy(struct attached *attached, const void *bytes, par_error *error)
{
	size_t n = (size_t)attached->attachment.bytes;
	void *room = NULL;

	if (posix_memalign(&room, 64, n > 0 ? n : 1) != 0)
		return error_memory(error, "keeping an attachment");
	memcpy(room, bytes, n);
	attached->attachment.address = room;
	return PAR_OK;
}

static int32_t attach(struct server *server, const struct wire_frame *frame, par_error *error)
{
	struct attached *attached = NULL;
	struct wire_attach head;
	const void *bytes;
	int32_t status = wire_get_attach(frame, &head, &bytes, error);
	int fd = status == PAR_OK && head.how == WIRE_PASSED ? take_passed(server) : -1;

	if (status == PAR_OK && server->n_attached >= MOST_ATTACHMENTS)
		status = wire_refuse(error, "more than %d attachments at once", MOST_ATTACHMENTS);
	if (status < 0)
		goto out;
	detach(server, head.id);
	attached = calloc(1, sizeof(*attached));
	if (attached == NULL || (server->n_attached == server->room && grow_table(server) < 0)) {
		status = error_memory(error, "keeping an attachment");
		goto out;
	}
	attached->attachment = (par_attachment){
		.size = sizeof(par_attachment),
		.kind = head.kind,
		.id = head.id,
		.bytes = head.bytes,
		.fd = -1,
		.writable = head.writable,
	};
	memcpy(attached->attachment.sha256, head.sha256, sizeof(head.sha256));
	status = head.how == WIRE_PASSED ? map(attached, fd, error) : copy(attached, bytes, error);
	if (status < 0)
		goto out;
	server->attachments[server->n_attached] = &attached->attachment;
	server->attached[server->n_attached++] = attached;
	attached = NULL;
out:
	attached_destroy(attached);
	if (fd >= 0)
		close(fd);
	return status;
}

/* --- the descriptor -------------------------------------------------------------------------------- */

static int32_t cannot_read(int why, par_error *error)
{
	error_set(error, PAR_ELOST, "cannot read batches");
	error_reason(error, "%s", strerror(why));
	return PAR_ELOST;
}

/* Keep the descriptors of a message; what there is no place for is closed. */
static void keep_passed(struct server *server, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
	     part = CMSG_NXTHDR(message, part)) {
		size_t n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			if (server->n_passed < PASSED)
				server->passed[server->n_passed++] = fd;
			else
				close(fd);
		}
	}
}

static ssize_t receive(struct server *server)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * PASSED)];
	} control;
	struct iovec piece = {server->bytes, READ_BYTES};
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	if (server->is_pipe)
		return read(server->serving.in, server->bytes, READ_BYTES);
	n = recvmsg(server->serving.in, &message, MSG_CMSG_CLOEXEC);
	if (n < 0 && errno == ENOTSOCK) {
		server->is_pipe = 1;
		return read(server->serving.in, server->bytes, READ_BYTES);
	}
	if (n >= 0)
		keep_passed(server, &message);
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

static int32_t say_hello(struct server *server, par_error *error)
{
	char host[HOST_NAME_MAX + 1] = "";
	struct wire_writer writer;
	int32_t status = -1;

	(void)gethostname(host, sizeof(host) - 1);
	wire_writer_init(&writer, 0);
	wire_put_hello(&writer, getpid(), PAR_VERSION_STRING, host);
	if (!writer.failed)
		status = send_all(server, writer.bytes, writer.used);
	wire_writer_finish(&writer);
	if (status == 0)
		return PAR_OK;
	error_set(error, PAR_ELOST, "cannot greet who started this worker");
	error_reason(error, "%s", strerror(errno));
	return PAR_ELOST;
}

static struct runner_work work_of(struct server *server)
{
	return (struct runner_work){
		.worker = (uint32_t)server->serving.worker,
		.n_attachments = (uint32_t)server->n_attached,
		.attachments = server->attachments,
		.send = send_all,
		.user = server,
	};
}

static int32_t serve_frame(struct server *server, const struct wire_frame *frame,
                           par_error *error)
{
	const struct runner_work work = work_of(server);
	uint64_t id;
	int32_t status;

	switch (frame->kind) {
	case WIRE_BATCH:
		return runner_run(server->runner, frame, &work, error);
	case WIRE_ATTACH:
		return attach(server, frame, error);
	case WIRE_DETACH:
		status = wire_get_detach(frame, &id, error);
		if (status == PAR_OK)
			detach(server, id);
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
	for (size_t i = 0; i < server->n_attached; i++)
		attached_destroy(server->attached[i]);
	for (int i = 0; i < server->n_passed; i++)
		close(server->passed[i]);
	free(server->attached);
	free(server->attachments);
	free(server->bytes);
	wire_reader_finish(&server->reader);
	runner_destroy(server->runner);
}

/* --- the process ---------------------------------------------------------------------------------- */

static int32_t cannot_settle(const char *what, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "cannot become a worker");
	error_reason(error, "%s: %s", what, strerror(errno));
	return PAR_EUNAVAIL;
}

/* Standard input is nobody's: a task that reads it finds its end, and does not take what is
 * meant for the program. */
static int32_t close_stdin(const struct par_serving *serving, par_error *error)
{
	int fd;

	if (serving->in == STDIN_FILENO || serving->out == STDIN_FILENO)
		return PAR_OK;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
		return cannot_settle("/dev/null", error);
	if (fd != STDIN_FILENO)
		close(fd);
	return PAR_OK;
}

/* The parent may have died before it could be a reason to die. */
static int32_t settle(const struct par_serving *serving, par_error *error)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return cannot_settle("PR_SET_PDEATHSIG", error);
	if (getppid() != serving->parent) {
		error_set(error, PAR_ELOST, "the parent is gone");
		error_reason(error, "process %d started this worker, its parent is %d",
		             (int)serving->parent, (int)getppid());
		return PAR_ELOST;
	}
	/* One that leads a session has a group of its own. */
	if (setpgid(0, 0) < 0 && getpgrp() != getpid())
		return cannot_settle("setpgid", error);
	(void)signal(SIGINT, SIG_IGN);
	return close_stdin(serving, error);
}

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
	int32_t status;

	if (serving == NULL || serving->size < sizeof(*serving) || serving->worker < 0) {
		error_set(error, PAR_EINVAL, "cannot serve");
		error_reason(error, "serving is NULL, its size is not set, or worker is below 0");
		return PAR_EINVAL;
	}
	/* It is a worker now, and so its tasks may open what pools they like. */
	if (getenv(PAR_WORKER_VARIABLE) != NULL)
		unsetenv(PAR_WORKER_VARIABLE);
	server.serving = *serving;
	status = check_descriptor(serving->in, error);
	if (status == PAR_OK)
		status = check_descriptor(serving->out, error);
	if (status == PAR_OK && serving->parent > 0)
		status = settle(serving, error);
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

/* --- the program as its own worker ------------------------------------------------------------------ */

static int parse(const char *text, par_serving *serving)
{
	char end;

	*serving = (par_serving){.size = sizeof(*serving)};
	return sscanf(text, "%d:%d:%d:%d%c", &serving->in, &serving->out, &serving->worker,
	              &serving->parent, &end) == 4 ? 0 : -1;
}

void par_worker_main(int argc, char **argv)
{
	const char *text = secure_getenv(PAR_WORKER_VARIABLE);
	par_error error = PAR_ERROR_INIT;
	par_serving serving;
	char words[1200];
	int32_t status;

	(void)argc, (void)argv;
	atomic_store_explicit(&program_can, 1, memory_order_relaxed);
	if (text == NULL)
		return;
	if (parse(text, &serving) < 0) {
		error_set(&error, PAR_EINVAL, "cannot become a worker");
		error_reason(&error, "$" PAR_WORKER_VARIABLE " is \"%.100s\", not IN:OUT:WORKER:PARENT",
		             text);
		error_remedy(&error, "unset it: it is for backends to set");
		status = PAR_EINVAL;
	} else {
		status = par_worker_serve(&serving, &error);
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
