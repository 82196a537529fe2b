#include "worker.h"

#include "environment.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- its start -------------------------------------------------------------------------------- */

/* The n-th core that this thread may run on, over and over; -1: unknown. */
static int choose_cpu(int slot)
{
	cpu_set_t may;
	int left;

	if (sched_getaffinity(0, sizeof(may), &may) < 0 || CPU_COUNT(&may) == 0)
		return -1;
	left = slot % CPU_COUNT(&may);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &may) && left-- == 0)
			return cpu;
	return -1;
}

static par_worker_setup describe(const struct settings *settings, int slot)
{
	return (par_worker_setup){
		.size = sizeof(par_worker_setup),
		.worker = slot,
		.parent = getpid(),
		.cpu = settings->pins ? choose_cpu(slot) : -1,
		.memory = settings->memory_limit,
		.cpu_time_ns = settings->cpu_limit_ns,
		.initializer = settings->initializer,
		.initarg = settings->initarg,
	};
}

/* All its variables; of a fork server's only those that the server has not. */
static char **make_env(const struct recipe *recipe, par_channel *channel,
                       const par_worker_setup *setup)
{
	static const int32_t ends[2] = {FIRST_END, SECOND_END};
	char *const *base = recipe->method == METHOD_FORKSERVER ? NULL : recipe->env;
	char *const *lines = NULL;

	if (recipe->method != METHOD_FORK) {
		lines = recipe->channels->describe(channel, ends, setup);
		if (lines == NULL)
			return NULL;
	}
	return environment_make(base, recipe->settings->variables, setup->worker, lines);
}

static int32_t start_process(const struct recipe *recipe, const struct start *start, pid_t *pid,
                             par_error *error)
{
	switch (recipe->method) {
	case METHOD_FORK:
		return start_by_fork(start, pid, error);
	case METHOD_FORKSERVER:
		return start_by_server(start, pid, error);
	case METHOD_AUTO:
	case METHOD_SPAWN:
		break;
	}
	return start_by_exec(start, pid, error);
}

static int32_t start_worker(const struct recipe *recipe, struct worker *worker, par_error *error)
{
	const par_worker_setup setup = describe(recipe->settings, worker->slot);
	struct start start = {
		.channels = recipe->channels,
		.channel = worker->channel,
		.setup = &setup,
		.program = recipe->program,
		.server = recipe->server,
	};
	char **env = make_env(recipe, worker->channel, &setup);
	int32_t status, ends[2];

	if (env == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	start.env = env;
	recipe->channels->ends(worker->channel, ends);
	memcpy(start.ends, ends, sizeof(ends));
	output_ends(&worker->output, start.outputs);
	status = start_process(recipe, &start, &worker->pid, error);
	free(env);
	return status;
}

/* What the kernel counts as the memory of an executed process begins with that of who
 * executed it. */
static int64_t own_peak(const struct recipe *recipe)
{
	struct rusage usage;

	if (recipe->method == METHOD_FORK || getrusage(RUSAGE_SELF, &usage) < 0)
		return 0;
	return (int64_t)usage.ru_maxrss * 1024;
}

int32_t worker_start(const struct recipe *recipe, int slot, struct worker **out, par_error *error)
{
	int kind = recipe->method == METHOD_FORK ? PAR_CHANNEL_FORKED : PAR_CHANNEL_EXECUTED;
	struct worker *worker = calloc(1, sizeof(*worker));
	int32_t status;

	if (worker == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	worker->channels = recipe->channels;
	worker->slot = slot;
	worker->why = (par_error)PAR_ERROR_INIT;
	worker->pidfd = -1;
	worker->own_peak = own_peak(recipe);
	status = output_open(&worker->output, recipe->settings->output, slot, error);
	if (status == PAR_OK)
		status = recipe->channels->open(kind, &worker->channel, error);
	if (status == PAR_OK)
		status = start_worker(recipe, worker, error);
	if (status < 0)
		goto fail;
	/* As long as nobody has waited for it, the number is its own. */
	worker->pidfd = (int)syscall(SYS_pidfd_open, worker->pid, 0);
	if (worker->pidfd < 0) {
		worker->is_gone = errno == ESRCH;
		status = start_failed(error, "no descriptor for a process", errno);
		worker_kill(worker);
		if (!worker->is_gone)
			(void)waitpid(worker->pid, NULL, 0);
		goto fail;
	}
	recipe->channels->started(worker->channel);
	output_started(&worker->output);
	*out = worker;
	return PAR_OK;
fail:
	worker_destroy(worker);
	return status;
}

/* --- its end ---------------------------------------------------------------------------------- */

void worker_kill(struct worker *worker)
{
	if (worker->is_gone)
		return;
	worker->was_killed = 1;
	/* While nobody has waited for it, both numbers are its own; it may not yet have made the
	 * group. */
	(void)kill(-worker->pid, SIGKILL);
	(void)kill(worker->pid, SIGKILL);
}

int worker_is_dead(const struct worker *worker)
{
	struct pollfd death = {.fd = worker->pidfd, .events = POLLIN};

	return poll(&death, 1, 0) > 0;
}

/* The kernel remembers how a process ended although somebody else has waited for it: since Linux
 * 6.15, of which our headers may not know. */
struct exit_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t status;
};
#define EXIT_INFO      _IOWR(0xFF, 11, struct exit_info)
#define EXIT_INFO_EXIT (UINT64_C(1) << 3)

static int ask_pidfd(const struct worker *worker, int *status)
{
	struct exit_info info = {.mask = EXIT_INFO_EXIT};

	if (ioctl(worker->pidfd, EXIT_INFO, &info) < 0 || (info.mask & EXIT_INFO_EXIT) == 0)
		return -1;
	*status = info.status;
	return 0;
}

static int64_t peak_of(const struct worker *worker, const struct rusage *usage)
{
	int64_t peak = (int64_t)usage->ru_maxrss * 1024;

	return peak > worker->own_peak ? peak : 0;
}

int worker_reap(struct worker *worker, struct death *death)
{
	struct rusage usage = {0};
	int status;
	pid_t pid;

	*death = (struct death){.exit_code = -1};
	if (!worker_is_dead(worker))
		return 0;
	/* First: then its number cannot have become that of another group. */
	(void)kill(-worker->pid, SIGKILL);
	do
		pid = wait4(worker->pid, &status, WNOHANG, &usage);
	while (pid < 0 && errno == EINTR);
	if (pid == 0)
		return 0;
	worker->is_gone = 1;
	if (pid < 0 && ask_pidfd(worker, &status) < 0)
		return 1;
	death->is_known = 1;
	if (WIFSIGNALED(status))
		death->signal = WTERMSIG(status);
	else
		death->exit_code = WEXITSTATUS(status);
	if (pid > 0)
		death->peak_memory = peak_of(worker, &usage);
	return 1;
}

void worker_dismiss(struct worker *worker)
{
	worker->is_leaving = 1;
	worker->channels->close(worker->channel);
	worker->channel = NULL;
}

void worker_destroy(struct worker *worker)
{
	output_close(&worker->output);
	worker->channels->close(worker->channel);
	if (worker->pidfd >= 0)
		close(worker->pidfd);
	free(worker->key);
	free(worker);
}

int64_t worker_rss(const struct worker *worker)
{
	char path[64], text[128];
	long long pages = 0;
	ssize_t n;
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)worker->pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	if (sscanf(text, "%*d %lld", &pages) != 1)
		return 0;
	return (int64_t)pages * sysconf(_SC_PAGESIZE);
}
