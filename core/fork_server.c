#include "fork_server.h"

#include "inner_threads.h"

#include <parloop/parloop.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define SERVER_VARIABLE  "PARLOOP_FORK_SERVER"
#define PRELOAD_VARIABLE "PARLOOP_PRELOAD"

enum { MOST_FDS = 4, MESSAGE_ROOM = 256 * 1024, OUT_OF_THE_WAY = 10 };

struct wish {
	int fds[MOST_FDS];
	int n_fds;
	char *variables; /* n_bytes, with a NUL at the end */
	size_t n_bytes;
};

/* --- a fork ----------------------------------------------------------------------------------- */

/* As fork() does it for a process without threads, but for whose child it is.  What libc knows of
 * the thread by its number is to be right in the worker too. */
static pid_t fork_sibling(int32_t *started)
{
	struct clone_args args = {
		.flags = CLONE_PARENT | CLONE_PARENT_SETTID,
		.parent_tid = (uint64_t)(uintptr_t)started,
	};
	void *robust = NULL;
	size_t size = 0;
	int *tid = NULL;
	long pid;

	(void)syscall(SYS_get_robust_list, 0, &robust, &size);
	if (prctl(PR_GET_TID_ADDRESS, &tid) == 0 && tid != NULL) {
		args.flags |= CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID;
		args.child_tid = (uint64_t)(uintptr_t)tid;
	}
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0 && robust != NULL)
		(void)syscall(SYS_set_robust_list, robust, size);
	return (pid_t)pid;
}

/* --- wishes ----------------------------------------------------------------------------------- */

static void close_all(struct wish *wish)
{
	while (wish->n_fds > 0)
		close(wish->fds[--wish->n_fds]);
}

static void keep_passed(struct wish *wish, struct msghdr *message)
{
	struct cmsghdr *part = CMSG_FIRSTHDR(message);

	if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
		return;
	wish->n_fds = (int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
	memcpy(wish->fds, CMSG_DATA(part), (size_t)wish->n_fds * sizeof(int));
}

/* 1; 0: there will be none. */
static int receive(int fd, struct wish *wish)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * MOST_FDS)];
	} control;
	struct iovec piece = {wish->variables, MESSAGE_ROOM};
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t n;

	do
		n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n <= 0)
		return 0;
	wish->n_fds = 0;
	keep_passed(wish, &message);
	wish->n_bytes = (size_t)n;
	wish->variables[n] = '\0';
	return 1;
}

static int put_in_place(const struct wish *wish)
{
	static const int places[MOST_FDS] = {FORK_SERVER_FIRST, FORK_SERVER_SECOND, STDOUT_FILENO,
	                                     STDERR_FILENO};
	int fds[MOST_FDS];

	for (int i = 0; i < wish->n_fds; i++) {
		fds[i] = fcntl(wish->fds[i], F_DUPFD_CLOEXEC, OUT_OF_THE_WAY);
		if (fds[i] < 0)
			return -1;
		close(wish->fds[i]);
	}
	for (int i = 0; i < wish->n_fds; i++) {
		if (dup2(fds[i], places[i]) < 0)
			return -1;
		close(fds[i]);
	}
	return 0;
}

static void become_worker(const struct wish *wish)
{
	/* The texts stay where they are, since this process has them to itself. */
	for (char *at = wish->variables; at < wish->variables + wish->n_bytes; at += strlen(at) + 1)
		if (*at != '\0')
			(void)putenv(at);
	if (put_in_place(wish) < 0)
		_exit(EXIT_FAILURE);
}

/* Returns in the worker. */
static void serve(int fd, int32_t *started, struct wish *wish)
{
	while (receive(fd, wish)) {
		int32_t answer = wish->n_fds >= 2 ? fork_sibling(started) : -EINVAL;

		if (answer == 0) {
			(void)munmap(started, sizeof(*started));
			become_worker(wish);
			return;
		}
		if (answer == -1)
			answer = -errno;
		close_all(wish);
		(void)send(fd, &answer, sizeof(answer), MSG_NOSIGNAL);
	}
	_exit(EXIT_SUCCESS);
}

/* --- its beginning ---------------------------------------------------------------------------- */

static void preload(const char *paths)
{
	par_error error = PAR_ERROR_INIT;
	char *copy = paths != NULL ? strdup(paths) : NULL, *rest = NULL, text[1200];
	par_module *module;

	for (char *path = copy != NULL ? strtok_r(copy, ":", &rest) : NULL; path != NULL;
	     path = strtok_r(NULL, ":", &rest))
		if (par_module_open(&module, path, &error) < 0)
			(void)fprintf(stderr, "[parloop] fork server: %s\n",
			              par_error_text(&error, 0, text, sizeof(text)));
	free(copy);
}

/* A folder has a link for each folder in it, and two of its own. */
static int has_threads(void)
{
	struct stat tasks;

	return stat("/proc/self/task", &tasks) == 0 && tasks.st_nlink > 3;
}

/* A library that has made threads when it was loaded, as OpenBLAS does, ends them when it is told of
 * a fork, and makes others when they are wanted.  Workers come by a call that tells nobody. */
static void put_threads_away(void)
{
	pid_t child;

	if (!has_threads())
		return;
	inner_threads_before_fork();
	child = fork();
	if (child == 0)
		_exit(EXIT_SUCCESS);
	while (child > 0 && waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

/* It is nothing else: it dies with its parent, and has what a worker would have.  What a module
 * opens does not get the numbers that are a worker's. */
static void settle(int parent)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	(void)setpgid(0, 0);
	(void)signal(SIGINT, SIG_IGN);
	(void)dup2(fd, STDIN_FILENO);
	(void)dup2(fd, FORK_SERVER_SECOND);
	if (fd > FORK_SERVER_SECOND)
		close(fd);
}

void fork_server_run(void)
{
	const char *text = secure_getenv(SERVER_VARIABLE);
	char *paths = getenv(PRELOAD_VARIABLE);
	struct wish wish = {.n_fds = 0};
	int32_t *started;
	int fd, parent;
	char end;

	if (text == NULL)
		return;
	if (sscanf(text, "%d:%d%c", &fd, &parent, &end) != 2)
		_exit(EXIT_FAILURE);
	paths = paths != NULL ? strdup(paths) : NULL;
	/* Nothing that is started from here is one as well. */
	(void)unsetenv(SERVER_VARIABLE);
	(void)unsetenv(PRELOAD_VARIABLE);
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	started = mmap(NULL, sizeof(*started), PROT_READ | PROT_WRITE, MAP_SHARED,
	               FORK_SERVER_SECOND, 0);
	if (started == MAP_FAILED)
		_exit(EXIT_FAILURE);
	settle(parent);
	preload(paths);
	free(paths);
	put_threads_away();
	wish.variables = malloc(MESSAGE_ROOM + 1);
	if (wish.variables == NULL)
		_exit(EXIT_FAILURE);
	serve(fd, started, &wish);
}
