#include "serve_process.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static int32_t cannot_settle(const char *what, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "cannot become a worker");
	error_reason(error, "%s: %s", what, strerror(errno));
	return PAR_EUNAVAIL;
}

/* --- signals ---------------------------------------------------------------------------------- */

/* Some are set for a signal by who runs here first. */
static int is_sanitizers(int signal)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return signal == SIGSEGV || signal == SIGBUS || signal == SIGFPE || signal == SIGILL ||
	       signal == SIGABRT;
#else
	(void)signal;
	return 0;
#endif
}

/* Of what was inherited nothing is meant for a worker: a parent's handlers look for the parent's
 * state, and what ignores SIGPIPE ran on purpose.  An interrupt is for the parent to act on.  So is
 * the end of a terminal; and if a worker is stopped when its parent dies, that may come with the
 * signal that lets it go on, and should not end it before the rest of its group. */
static void reset_signals(void)
{
	struct sigaction action, plain = {.sa_handler = SIG_DFL};
	sigset_t none;

	for (int i = 1; i < NSIG; i++) {
		if (i == SIGINT || i == SIGHUP || is_sanitizers(i) || sigaction(i, NULL, &action) < 0)
			continue;
		if (action.sa_handler != SIG_DFL)
			(void)sigaction(i, &plain, NULL);
	}
	(void)signal(SIGINT, SIG_IGN);
	(void)signal(SIGHUP, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* --- settling --------------------------------------------------------------------------------- */

/* Standard input is nobody's: a task that reads it finds its end, and does not take what is
 * meant for the program. */
static int32_t close_stdin(const int32_t ends[2], par_error *error)
{
	int fd;

	if (ends[0] == STDIN_FILENO || ends[1] == STDIN_FILENO)
		return PAR_OK;
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || dup2(fd, STDIN_FILENO) < 0)
		return cannot_settle("/dev/null", error);
	if (fd != STDIN_FILENO)
		close(fd);
	return PAR_OK;
}

int32_t process_settle(int32_t parent, const int32_t ends[2], par_error *error)
{
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0)
		return cannot_settle("PR_SET_PDEATHSIG", error);
	/* It may have died before it could be a reason to die. */
	if (getppid() != parent) {
		error_set(error, PAR_ELOST, "the parent is gone");
		error_reason(error, "process %d started this worker, its parent is %d", (int)parent,
		             (int)getppid());
		return PAR_ELOST;
	}
	/* One that leads a session has a group of its own. */
	if (setpgid(0, 0) < 0 && getpgrp() != getpid())
		return cannot_settle("setpgid", error);
	reset_signals();
	return close_stdin(ends, error);
}

/* --- limits ----------------------------------------------------------------------------------- */

/* A task cannot have more than hard; what it may have is no more than it might before. */
static int limit(__rlimit_resource_t resource, uint64_t soft, uint64_t hard)
{
	struct rlimit now;

	if (getrlimit(resource, &now) < 0)
		return -1;
	now.rlim_max = hard < now.rlim_max ? hard : now.rlim_max;
	now.rlim_cur = soft < now.rlim_max ? soft : now.rlim_max;
	return setrlimit(resource, &now);
}

static int32_t pin(int32_t cpu, par_error *error)
{
	char what[32];
	cpu_set_t set;

	CPU_ZERO(&set);
	if (cpu < CPU_SETSIZE)
		CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set) == 0)
		return PAR_OK;
	(void)snprintf(what, sizeof(what), "core %d", (int)cpu);
	return cannot_settle(what, error);
}

int32_t process_limit(const par_worker_setup *setup, par_error *error)
{
	const uint64_t memory = setup->memory > 0 ? (uint64_t)setup->memory : 0;
	const uint64_t seconds = setup->cpu_time_ns > 0
	                                 ? ((uint64_t)setup->cpu_time_ns + 999999999) / 1000000000
	                                 : 0;

	if (setup->cpu >= 0 && pin(setup->cpu, error) < 0)
		return PAR_EUNAVAIL;
	if (memory > 0 && limit(RLIMIT_AS, memory, memory) < 0)
		return cannot_settle("the limit of its memory", error);
	/* First comes a signal that says why, and then one that cannot be ignored. */
	if (seconds > 0 && limit(RLIMIT_CPU, seconds, seconds + 1) < 0)
		return cannot_settle("the limit of its processor time", error);
	return PAR_OK;
}

void process_offer_memory(void)
{
	char text[16];
	int fd = open("/proc/self/oom_score_adj", O_RDWR | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
	int adjustment;

	if (n > 0) {
		text[n] = '\0';
		adjustment = atoi(text) + 200;
		n = snprintf(text, sizeof(text), "%d", adjustment < 1000 ? adjustment : 1000);
		(void)!pwrite(fd, text, (size_t)n, 0);
	}
	if (fd >= 0)
		close(fd);
}

/* --- its end ---------------------------------------------------------------------------------- */

static pid_t ended_with; /* the parent */

/* It goes over to the group of its parent, since it is to end by itself, or by another signal;
 * where it cannot, it ends with the others if the parent is dead, and else leaves them to that. */
void process_end_group(void)
{
	if (getpgrp() == getpid() && setpgid(0, getpgid(ended_with)) < 0 && getppid() == ended_with)
		return;
	(void)kill(-getpid(), SIGKILL);
}

static void on_end(int status, void *unused)
{
	(void)unused;
	(void)fflush(stdout);
	(void)fflush(stderr);
	process_end_group();
	_exit(status);
}

void process_end_group_at_exit(int32_t parent)
{
	ended_with = parent;
	(void)on_exit(on_end, NULL);
}

/* --- the parent's death ----------------------------------------------------------------------- */

static struct {
	long parent;
	int fd; /* becomes readable when the parent is dead */
	_Alignas(64) char stack[16 * 1024];
} watcher;

/* Of the group that has our number nobody else can be the leader; but we may not be in it. */
#define BY_ITSELF __attribute__((no_sanitize("address", "thread", "undefined")))
BY_ITSELF static void end_group(void)
{
	long self = syscall(SYS_getpid);

	syscall(SYS_kill, -self, SIGKILL);
	syscall(SYS_kill, self, SIGKILL);
}

/* On a thread that libc does not know of, so that for it, and for who asks it, this process has the
 * threads that its tasks made.  It shares what libc keeps for the first thread: so it calls nothing
 * that looks there.  A task that closes whatever is open may have closed the descriptor. */
BY_ITSELF static int watch(void *unused)
{
	static const struct timespec moment = {.tv_nsec = 10000000};
	struct pollfd parent = {.fd = watcher.fd, .events = POLLIN};

	(void)unused;
	for (;;) {
		syscall(SYS_ppoll, &parent, 1, parent.fd >= 0 ? NULL : &moment, NULL, 0);
		if (syscall(SYS_getppid) != watcher.parent)
			end_group();
		else
			parent.fd = (int)syscall(SYS_pidfd_open, watcher.parent, 0);
	}
	return 0;
}

/* clone() by its other name: ThreadSanitizer puts one in its place that is for new processes. */
extern int __clone(int (*run)(void *arg), void *stack, int flags, void *arg, ...);

static int start_watcher(void)
{
	const int flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM;
	sigset_t all, before;
	int tid;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_BLOCK, &all, &before);
	tid = __clone(watch, watcher.stack + sizeof(watcher.stack), flags, NULL);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	return tid;
}

/* Until the thread watches, the signal kills this process, which has no children yet.  Afterwards
 * it lets it go on if it is stopped, so that the thread can do what it has to. */
void process_watch_parent(int32_t parent)
{
	if (parent <= 0)
		return;
	watcher.parent = parent;
	watcher.fd = (int)syscall(SYS_pidfd_open, watcher.parent, 0);
	if (watcher.fd < 0)
		return;
	/* If that process is another by now, ours is dead, and its signal under way. */
	if (syscall(SYS_getppid) == parent && start_watcher() >= 0)
		(void)prctl(PR_SET_PDEATHSIG, SIGCONT);
	else
		close(watcher.fd);
}
