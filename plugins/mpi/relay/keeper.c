#include "keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { GRACE_MS = 2000, CANNOT_EXECUTE = 127 };

static void stop(const char *what)
{
	(void)fprintf(stderr, "parloop-mpi-relay: %s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

static pid_t start(char **command)
{
	sigset_t none;
	pid_t self = getpid(), pid = fork();

	if (pid != 0)
		return pid;
	(void)prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != self)
		_exit(EXIT_FAILURE);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)execvp(command[0], command);
	(void)fprintf(stderr, "cannot execute %s: %s\n", command[0], strerror(errno));
	_exit(CANNOT_EXECUTE);
}

/* Those that have died; how the launcher has, if it is among them. */
static void reap(pid_t launcher, int *status)
{
	int how;
	pid_t pid;

	while ((pid = waitpid(-1, &how, WNOHANG)) > 0)
		if (pid == launcher)
			*status = how;
}

static void drain(int signals)
{
	struct signalfd_siginfo info;

	while (read(signals, &info, sizeof(info)) > 0)
		;
}

/* Children of this process, and with time theirs, as they become ours. */
static int kill_children(void)
{
	char path[64], text[4096], *at = text;
	ssize_t n;
	int fd, killed = 0;
	long pid;

	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	while ((pid = strtol(at, &at, 10)) > 0)
		killed += kill((pid_t)pid, SIGKILL) == 0;
	return killed;
}

static void kill_all(pid_t launcher, int *status)
{
	while (kill_children() > 0) {
		(void)usleep(1000);
		reap(launcher, status);
	}
}

static int remove_one(const char *path, const struct stat *file, int type, struct FTW *walk)
{
	(void)file, (void)type, (void)walk;
	return remove(path);
}

/* The folder that Open MPI's launcher has for a job, and leaves there if it is killed. */
static void remove_session(pid_t launcher)
{
	const char *base = getenv("TMPDIR");
	char host[64] = "", folder[400];

	if (gethostname(host, sizeof(host) - 1) < 0)
		return;
	(void)snprintf(folder, sizeof(folder), "%.256s/ompi.%.*s.%u/pid.%d",
	               base != NULL && *base != '\0' ? base : "/tmp", (int)strcspn(host, "."), host,
	               (unsigned)geteuid(), (int)launcher);
	if (nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0) {
		*strrchr(folder, '/') = '\0';
		(void)rmdir(folder);
	}
}

/* Until the launcher has ended. */
static void watch(pid_t launcher, int parent, int signals, int *status)
{
	struct pollfd fds[2] = {{.fd = signals, .events = POLLIN}, {.fd = parent, .events = POLLIN}};
	int was_told = 0;

	while (*status < 0) {
		int n = poll(fds, 2, was_told ? GRACE_MS : -1);

		if (n == 0) {
			(void)kill(launcher, SIGKILL);
			was_told = 0;
			continue;
		}
		if (fds[0].revents != 0) {
			struct signalfd_siginfo info;

			if (read(signals, &info, sizeof(info)) == sizeof(info) && info.ssi_signo == SIGTERM)
				was_told = 1, (void)kill(launcher, SIGTERM);
		}
		if (fds[1].revents != 0) {
			fds[1].fd = -1;
			was_told = 1;
			(void)kill(launcher, SIGTERM);
		}
		reap(launcher, status);
	}
	drain(signals);
}

/* As the launcher has: of a signal, too, so that no status of a program is taken for one. */
static void __attribute__((noreturn)) end_as(int how)
{
	const struct rlimit no_core = {0, 0};
	sigset_t set;

	if (!WIFSIGNALED(how))
		exit(WEXITSTATUS(how));
	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)signal(WTERMSIG(how), SIG_DFL);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, WTERMSIG(how));
	(void)sigprocmask(SIG_UNBLOCK, &set, NULL);
	(void)raise(WTERMSIG(how));
	exit(EXIT_FAILURE);
}

void keeper_run(int parent, char **command)
{
	int parent_fd = (int)syscall(SYS_pidfd_open, parent, 0), signals, status = -1;
	sigset_t set;
	pid_t launcher;

	/* If that is another process by now, the program is dead. */
	if (parent_fd < 0 || getppid() != parent)
		exit(EXIT_FAILURE);
	(void)fcntl(parent_fd, F_SETFD, FD_CLOEXEC);
	if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
		stop("PR_SET_CHILD_SUBREAPER");
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGCHLD);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0)
		stop("signalfd");
	launcher = start(command);
	if (launcher < 0)
		stop("fork");
	/* What comes on standard input is the launcher's; and the pipe of what it prints is to end
	 * when it does. */
	close(STDIN_FILENO);
	close(STDOUT_FILENO);
	watch(launcher, parent_fd, signals, &status);
	kill_all(launcher, &status);
	remove_session(launcher);
	end_as(status);
}
