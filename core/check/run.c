#include "run.h"

#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Tests say themselves what they wait for.  Who cannot, or goes on for ever, is ended. */
enum { LIMITS = 20, GRACE_MS = 3000 };

/* --- the child -------------------------------------------------------------------------------- */

static int tell_fd;
static int limit;

static void tell(const struct finding *finding)
{
	(void)fflush(NULL);
	/* Less than a pipe takes at once. */
	(void)!write(tell_fd, finding, sizeof(*finding));
}

/* A slow machine is no hang: it counts from when something moved last. */
static void *wait_for_end(void *unused)
{
	enum { TICK_MS = 100 };
	long moves = guard_moves();

	for (int idle_ms = 0; idle_ms < limit * 1000; idle_ms += TICK_MS) {
		(void)nanosleep(&(struct timespec){.tv_nsec = TICK_MS * 1000000L}, NULL);
		if (guard_moves() != moves)
			idle_ms = 0;
		moves = guard_moves();
	}
	guard_explain_hang(limit);
	return unused;
}

static void start_watch(void)
{
	sigset_t all, before;
	pthread_t thread;

	sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, wait_for_end, NULL) != 0)
		skipped("there is no thread to be had");
	(void)pthread_detach(thread);
	(void)pthread_sigmask(SIG_SETMASK, &before, NULL);
}

__attribute__((noreturn)) static void be_child(void (*test)(void), const char *rule, pid_t parent,
                                               int output)
{
	const struct rlimit none = {0, 0};
	int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)setpgid(0, 0);
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(EXIT_FAILURE);
	(void)setrlimit(RLIMIT_CORE, &none);
	(void)dup2(nothing, STDIN_FILENO);
	(void)dup2(output, STDOUT_FILENO);
	(void)dup2(output, STDERR_FILENO);
	(void)close(nothing);
	(void)close(output);
	verdict_begin(rule, tell);
	start_watch();
	test();
	verdict_end();
}

/* --- the parent ------------------------------------------------------------------------------- */

/* 1: it has ended by itself. */
static int await(pid_t pid, int limit_s)
{
	struct pollfd ended = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int n;

	while ((n = poll(&ended, 1, limit_s * 1000 * LIMITS + GRACE_MS)) < 0 && errno == EINTR)
		;
	if (ended.fd >= 0)
		(void)close(ended.fd);
	return n > 0;
}

__attribute__((format(printf, 3, 4))) static void
find(struct finding *finding, enum verdict verdict, const char *format, ...)
{
	va_list args;

	finding->verdict = verdict;
	va_start(args, format);
	(void)vsnprintf(finding->words, sizeof(finding->words), format, args);
	va_end(args);
}

static void judge(struct finding *finding, int status, int has_ended, int limit_s)
{
	if (!has_ended)
		find(finding, VERDICT_HANG, "it has not come to an end after %d s", limit_s * LIMITS);
	else if (WIFSIGNALED(status))
		find(finding, VERDICT_CRASH, "it crashes: SIG%s", sigabbrev_np(WTERMSIG(status)));
	else
		find(finding, VERDICT_CRASH, "it ends the process, with status %d", WEXITSTATUS(status));
}

/* The last of what was printed. */
static void read_output(int file, char *text, size_t size)
{
	off_t end = lseek(file, 0, SEEK_END);
	off_t from = end > (off_t)size - 1 ? end - (off_t)(size - 1) : 0;
	ssize_t n = pread(file, text, size - 1, from);

	text[n > 0 ? n : 0] = '\0';
}

static void watch_child(pid_t pid, int from, int limit_s, struct finding *finding)
{
	int has_ended = await(pid, limit_s), status = 0;

	if (!has_ended)
		(void)kill(-pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	(void)kill(-pid, SIGKILL); /* what it left behind */
	if (read(from, finding, sizeof(*finding)) != (ssize_t)sizeof(*finding))
		judge(finding, status, has_ended, limit_s);
}

void run_in_child(void (*test)(void), const char *rule, int limit_s, struct finding *finding,
                  char said[RUN_OUTPUT])
{
	int fds[2] = {-1, -1}, output = memfd_create("output", MFD_CLOEXEC);
	pid_t parent = getpid(), pid = -1;

	*finding = (struct finding){.verdict = VERDICT_SKIP};
	said[0] = '\0';
	(void)fflush(NULL);
	if (output >= 0 && pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0) {
		tell_fd = fds[1];
		limit = limit_s;
		pid = fork();
	}
	if (pid == 0)
		be_child(test, rule, parent, output);
	if (pid > 0) {
		watch_child(pid, fds[0], limit_s, finding);
		read_output(output, said, RUN_OUTPUT);
	} else {
		find(finding, VERDICT_SKIP, "there is no process to be had: %s", strerror(errno));
	}
	if (finding->rule[0] == '\0')
		(void)snprintf(finding->rule, sizeof(finding->rule), "%s", rule != NULL ? rule : "");
	(void)close(fds[0]);
	(void)close(fds[1]);
	(void)close(output);
}

void run_here(void (*test)(void), const char *rule,
              void (*said)(const struct finding *finding))
{
	verdict_begin(rule, said);
	test();
	verdict_end();
}
