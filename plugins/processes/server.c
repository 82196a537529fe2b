#include "server.h"

#include "environment.h"
#include "start.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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
	pid_t pid; /* 0: it does not run */
	int fd;
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
static int stop(struct server *server)
{
	int status = 0;

	if (server->pid == 0)
		return 0;
	(void)kill(server->pid, SIGKILL);
	while (waitpid(server->pid, &status, 0) < 0 && errno == EINTR)
		;
	close(server->fd);
	server->pid = 0;
	server->fd = -1;
	return !WIFSIGNALED(status) || (WTERMSIG(status) != SIGKILL && WTERMSIG(status) != SIGTERM);
}

void server_destroy(struct server *server)
{
	if (server == NULL)
		return;
	(void)stop(server);
	free(server);
}

/* --- its start -------------------------------------------------------------------------------- */

static int32_t execute(struct server *server, int fd, char *preload, par_error *error)
{
	static const int outputs[2] = {-1, -1};
	char number[64];
	char *lines[] = {number, preload, NULL};
	char **env;
	int32_t status;

	(void)snprintf(number, sizeof(number), "PARLOOP_FORK_SERVER=%d:%d", FIRST_END, (int)getpid());
	env = environment_make(server->env, NULL, 0, lines);
	if (env == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	status = start_program(server->program, env, &fd, 1, outputs, &server->pid, error);
	free(env);
	return status;
}

int32_t server_start(struct server *server, par_error *error)
{
	char *preload = NULL;
	int ends[2];
	int32_t status;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return start_failed(error, "no socket for the fork server", errno);
	if (server->preload != NULL && asprintf(&preload, "PARLOOP_PRELOAD=%s", server->preload) < 0)
		status = par_fail(error, PAR_ENOMEM, "no memory");
	else
		status = execute(server, ends[1], preload, error);
	free(preload);
	close(ends[1]);
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

static int ask(const struct server *server, void *packed, size_t n_bytes, const int *fds, size_t n_fds)
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

/* Of one that somebody has killed another try is no worse. */
static int32_t was_lost(struct server *server, par_error *error)
{
	if (stop(server))
		return par_fail(error, PAR_EUNAVAIL, "the fork server ends by itself");
	return par_fail(error, PAR_ELOST, "the fork server was killed");
}

/* Ask it, or another if it was lost. */
static int32_t reach(struct server *server, void *packed, size_t n_bytes, const int *fds,
                     size_t n_fds, par_error *error)
{
	int32_t status = server->pid == 0 ? server_start(server, error) : PAR_OK;

	if (status == PAR_OK && ask(server, packed, n_bytes, fds, n_fds) != 0)
		status = was_lost(server, error);
	return status;
}

/* Once it was asked, a worker may be there that nobody knows of.  It has the descriptors, so these are
 * of no use for another. */
int32_t server_fork(struct server *server, char *const *variables, const int ends[2],
                    const int outputs[2], pid_t *pid, par_error *error)
{
	const int fds[MOST_PASSED] = {ends[0], ends[1], outputs[0], outputs[1]};
	size_t n_bytes;
	char *packed = pack(variables, &n_bytes);
	int32_t status, answer;

	if (packed == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	status = reach(server, packed, n_bytes, fds, outputs[0] >= 0 ? 4 : 2, error);
	free(packed);
	if (status < 0)
		return status;
	answer = hear(server);
	if (answer > 0) {
		*pid = answer;
		return PAR_OK;
	}
	if (answer == -ESRCH)
		return was_lost(server, error);
	if (answer == -ETIME)
		(void)stop(server);
	return start_failed(error, "the fork server cannot fork", -answer);
}
