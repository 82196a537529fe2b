/* processes.c - tasks that show in which process they run, and that treat it badly. */
#include "processes.h"

#include <parloop/task.h>

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void sleep_ms(uint64_t ms)
{
	struct timespec time = {
		.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};

	while (nanosleep(&time, &time) != 0)
		;
}

/* Who runs it, after so many milliseconds. */
static int pid(const uint64_t *in, uint64_t *out)
{
	if (*in > 0)
		sleep_ms(*in);
	*out = (uint64_t)getpid();
	return 0;
}
PAR_TASK(pid, uint64_t, uint64_t)

/* Deeper than any stack is. */
__attribute__((noinline)) static int overflow(uint64_t depth)
{
	volatile char room[4096];

	room[0] = (char)depth;
	return depth == 0 ? 0 : overflow(depth - 1) + room[0];
}

/* They make an exit of a crash. */
static void die_as_without_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	(void)signal(SIGSEGV, SIG_DFL);
	(void)signal(SIGABRT, SIG_DFL);
#endif
}

/* Wildly, which is the point. */
__attribute__((no_sanitize("undefined"))) static int die(const uint64_t *in, uint64_t *out)
{
	volatile int *nowhere = NULL;

	die_as_without_sanitizer();
	switch (*in) {
	case DIE_SEGV:
		*nowhere = 1;
		break;
	case DIE_KILL:
		(void)kill(getpid(), SIGKILL);
		break;
	case DIE_ABORT:
		abort();
	case DIE_EXIT_0:
		exit(0);
	case DIE_EXIT_42:
		exit(42);
	case DIE_STACK:
		return overflow(UINT64_MAX);
	case DIE_OF_OLD_AGE:
		sleep_ms(60000);
		break;
	case DIE_DEAF:
		(void)close_range(3, ~0U, 0);
		break;
	case DIE_WORDS:
		(void)printf("these are its famous words\n");
		abort();
	default:
		break;
	}
	*out = *in;
	return 0;
}
PAR_TASK(die, uint64_t, uint64_t)

static int reply_text(par_env *env, const char *text)
{
	return par_reply(env, text, strlen(text));
}

/* The payload is a name. */
static int variable(par_env *env, const void *payload, uint64_t size)
{
	char name[64];
	const char *value;

	(void)snprintf(name, sizeof(name), "%.*s", (int)size, (const char *)payload);
	value = getenv(name);
	return reply_text(env, value != NULL ? value : "(unset)");
}
PAR_TASK_OF_BYTES(variable)

static int print(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	return fwrite(payload, 1, size, stdout) == size ? 0 : 1;
}
PAR_TASK_OF_BYTES(print)

static int complain(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	return fwrite(payload, 1, size, stderr) == size ? 0 : 1;
}
PAR_TASK_OF_BYTES(complain)

/* So many lines of a hundred bytes. */
static int flood(const uint64_t *in, uint64_t *out)
{
	for (uint64_t i = 0; i < *in; i++)
		(void)printf("%099d\n", (int)getpid());
	*out = *in;
	return 0;
}
PAR_TASK(flood, uint64_t, uint64_t)

/* A process that stays. */
static int grandchild(const uint64_t *in, uint64_t *out)
{
	pid_t child = fork();

	(void)in;
	if (child == 0)
		for (;;)
			pause();
	*out = (uint64_t)child;
	return child > 0 ? 0 : 1;
}
PAR_TASK(grandchild, uint64_t, uint64_t)

/* A process that looks at what this task was given, and ends with its first byte as its status; or
 * that crashes, if there is none. */
static int ask_child(par_env *env, const void *payload, uint64_t size)
{
	volatile int *nowhere = NULL;
	pid_t child = fork();
	char text[32];
	int status;

	if (child == 0 && size == 0)
		*nowhere = 1;
	if (child == 0)
		_exit(*(const unsigned char *)payload);
	if (waitpid(child, &status, 0) != child)
		return par_fail_task(env, 1, "no child");
	(void)snprintf(text, sizeof(text), "%s %d", WIFEXITED(status) ? "exit" : "signal",
	               WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status));
	return reply_text(env, text);
}
PAR_TASK_OF_BYTES(ask_child)

static char remembered[64] = "nothing";

/* Three that may be initializers. */
static int remember(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	(void)snprintf(remembered, sizeof(remembered), "%.*s", (int)size, (const char *)payload);
	return 0;
}
PAR_TASK_OF_BYTES(remember)

static int refuse(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	return par_fail_task(env, 3, "it does not want to");
}
PAR_TASK_OF_BYTES(refuse)

/* For ever, if that file cannot be, or is not there yet: the next does not. */
static int hang(par_env *env, const void *payload, uint64_t size)
{
	char path[256];
	int fd;

	(void)env;
	(void)snprintf(path, sizeof(path), "%.*s", (int)size, (const char *)payload);
	fd = open(path, O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0 && errno == EEXIST)
		return 0;
	for (;;)
		(void)pause();
}
PAR_TASK_OF_BYTES(hang)

static int recall(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	return reply_text(env, remembered);
}
PAR_TASK_OF_BYTES(recall)

/* Takes so many bytes, and keeps them. */
static int leak(const uint64_t *in, uint64_t *out)
{
	char *memory = malloc(*in > 0 ? *in : 1);

	if (memory == NULL)
		return 1;
	for (uint64_t i = 0; i < *in; i += 4096)
		((volatile char *)memory)[i] = 1;
	*out = (uint64_t)getpid();
	return 0;
}
PAR_TASK(leak, uint64_t, uint64_t)

static int compute(const uint64_t *in, uint64_t *out)
{
	volatile uint64_t turns = 0;

	while (turns < *in)
		turns = turns + 1;
	*out = turns;
	return 0;
}
PAR_TASK(compute, uint64_t, uint64_t)

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 3; fd < 1024; fd++)
		n += dup2(fd, fd) == fd;
	return n;
}

/* What is around it. */
static int look_around(par_env *env, const void *payload, uint64_t size)
{
	struct sigaction interrupt;
	cpu_set_t cpus;
	char text[200], byte;

	(void)payload, (void)size;
	(void)sigaction(SIGINT, NULL, &interrupt);
	(void)sched_getaffinity(0, sizeof(cpus), &cpus);
	(void)snprintf(text, sizeof(text),
	               "descriptors %d, input %d, group %s, interrupt %s, cores %d", count_descriptors(), (int)read(0, &byte, 1),
	               getpgrp() == getpid() ? "own" : "other",
	               interrupt.sa_handler == SIG_IGN ? "ignored" : "not", CPU_COUNT(&cpus));
	return reply_text(env, text);
}
PAR_TASK_OF_BYTES(look_around)
