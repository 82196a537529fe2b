#include "server.h"

#include "environment.h"
#include "start.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
	PATIENCE_MS = 30000, /* at first it has modules to load */
	MOST_PASSED = 4
};

struct server {
	const char *program, *preload;
	char *const *env;
	pid_t pid; /* 0: it was not started, -1: it has ended */
	int fd;
	int32_t *started; /* shared with it: the worker that it has forked last */
};

struct server *server_create(const char *program, char *const *env, const char *preload)
{
	struct server *server = calloc(1, sizeof(*server));

	if (server == NULL)
		return NULL;
	server->program = program;
	server->env = env;
	server->preload = preload;
	server->fd = -1;
	return server;
}

/* Waited for, since it has nothing to clean up.  Returns 1 if it had ended by itself before. */
static int end(struct server *server)
{
	int status = 0;

	if (server->pid <= 0)
		return 0;
	(void)kill(server->pid, SIGKILL);
	while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
		;
	server->pid = -1;
	return !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM);
}

static void stop(struct server *server)
{
	if (server->pid == 0)
		return;
	(void)end(server);
	close(server->fd);
	(void)munmap(server->started, sizeof(*server->started));
	server->started = NULL;
	server->pid = 0;
	server->fd = -1;
}

void server_destroy(struct server *server)
{
	if (server == NULL)
		return;
	(void)stop(server);
	free(server);
}

/* --- its start -------------------------------------------------------------------------------- */

static int32_t execute(struct server *server, const int fds[2], char *preload, par_error *error)
{
	static const int outputs[2] = {-1, -1};
	char number[64];
	char *lines[] = {number, preload, NULL};
	char **env;
	int32_t status;

	(void)snprintf(number, sizeof(number), "PARLOOP_FORK_SERVER=%d:%d", FIRST_END,
	               (int)getpid());
	env = environment_make(server->env, NULL, 0, lines);
	if (env == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	status = start_program(server->program, env, fds, 2, outputs, &server->pid, error);
	free(env);
	return status;
}

static int32_t start_with(struct server *server, const int fds[2], par_error *error)
{
	char *preload = NULL;
	int32_t status;

	server->started = mmap(NULL, sizeof(*server->started), PROT_READ | PROT_WRITE, MAP_SHARED,
	                       fds[1], 0);
	if (server->started == MAP_FAILED)
		return start_failed(error, "no memory for the fork server", errno);
	if (server->preload != NULL &&
	    asprintf(&preload, "PARLOOP_PRELOAD=%s", server->preload) < 0)
		status = par_fail(error, PAR_ENOMEM, "no memory");
	else
		status = execute(server, fds, preload, error);
	free(preload);
	if (status < 0)
		(void)munmap(server->started, sizeof(*server->started));
	return status;
}

/* A word that both see; its size is the page's. */
static int shared_word(void)
{
	int fd = memfd_create("parloop-fork-server", MFD_CLOEXEC);

	if (fd >= 0 && ftruncate(fd, sizeof(int32_t)) < 0) {
		close(fd);
		fd = -1;
	}
	return fd;
}

int32_t server_start(struct server *server, par_error *error)
{
	int ends[2], theirs[2];
	int32_t status;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return start_failed(error, "no socket for the fork server", errno);
	theirs[0] = ends[1];
	theirs[1] = shared_word();
	if (theirs[1] < 0)
		status = start_failed(error, "no memory for the fork server", errno);
	else
		status = start_with(server, theirs, error);
	close(ends[1]);
	if (theirs[1] >= 0)
		close(theirs[1]);
	if (status == PAR_OK)
		server->fd = ends[0];
	else
		close(ends[0]);
	return status;
}

/* --- a worker --------------------------------------------------------------------------------- */

/* The variables, one after the other, each with its NUL. */
static char *pack(char *const *variables, size_t *n_bytes)
{
	size_t n = 0;
	char *packed, *to;

	for (char *const *variable = variables; *variable != NULL; variable++)
		n += strlen(*variable) + 1;
	packed = malloc(n + 1);
	if (packed == NULL)
		return NULL;
	to = packed;
	for (char *const *variable = variables; *variable != NULL; variable++)
		to = stpcpy(to, *variable) + 1;
	*n_bytes = n;
	return packed;
}

static int ask(const struct server *server, void *packed, size_t n_bytes, const int *fds,
               size_t n_fds)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MOST_PASSED)];
	} control;
	struct iovec piece = {packed, n_bytes};
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds),
	};
	struct cmsghdr *head = CMSG_FIRSTHDR(&message);
	ssize_t sent;

	memset(&control, 0, sizeof(control));
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
	memcpy(CMSG_DATA(head), fds, sizeof(int) * n_fds);
	do
		sent = sendmsg(server->fd, &message, MSG_NOSIGNAL);
	while (sent < 0 && errno == EINTR);
	return sent < 0 ? errno : 0;
}

/* The process id, or why not, negated; ESRCH: it is not there any more. */
static int32_t hear(const struct server *server)
{
	struct pollfd answered = {.fd = server->fd, .events = POLLIN};
	int32_t answer;
	ssize_t n;
	int ready;

	do
		ready = poll(&answered, 1, PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0)
		return -ETIME;
	do
		n = recv(server->fd, &answer, sizeof(answer), 0);
	while (n < 0 && errno == EINTR);
	return n == sizeof(answer) && answer != 0 ? answer : -ESRCH;
}

/* The next worker starts another; one that was killed is no reason to give up. */
static int32_t was_lost(struct server *server, int by_itself, par_error *error)
{
	stop(server);
	if (by_itself)
		return par_fail(error, PAR_EUNAVAIL, "the fork server ends by itself");
	return par_fail(error, PAR_ELOST, "the fork server was killed");
}

static int32_t reach(struct server *server, void *packed, size_t n_bytes, const int *fds,
                     size_t n_fds, par_error *error)
{
	int32_t status = server->pid == 0 ? server_start(server, error) : PAR_OK;

	if (status < 0)
		return status;
	__atomic_store_n(server->started, 0, __ATOMIC_RELAXED);
	if (ask(server, packed, n_bytes, fds, n_fds) != 0)
		return was_lost(server, end(server), error);
	return PAR_OK;
}

/* If the server is killed before it answers, the worker may be there nevertheless, and is ours to
 * look after.  If it is not, the descriptors that were sent are of no use for another. */
int32_t server_fork(struct server *server, char *const *variables, const int ends[2],
                    const int outputs[2], pid_t *pid, par_error *error)
{
	const int fds[MOST_PASSED] = {ends[0], ends[1], outputs[0], outputs[1]};
	size_t n_bytes;
	char *packed = pack(variables, &n_bytes);
	int32_t status, answer, started = 0;
	int by_itself = 0;

	if (packed == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	status = reach(server, packed, n_bytes, fds, outputs[0] >= 0 ? 4 : 2, error);
	free(packed);
	if (status < 0)
		return status;
	answer = hear(server);
	if (answer == -ESRCH || answer == -ETIME) {
		by_itself = end(server);
		started = __atomic_load_n(server->started, __ATOMIC_RELAXED);
		stop(server);
	}
	if (answer > 0 || started > 0) {
		*pid = answer > 0 ? answer : started;
		return PAR_OK;
	}
	return answer == -ESRCH ? was_lost(server, by_itself, error)
	                        : start_failed(error, "the fork server cannot fork", -answer);
}
