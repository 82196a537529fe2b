/* pools.c - pools of two processes as any C programmer would first write them, and what it
 * costs to have a worker, and to lose one. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "payload.h"
#include "start/spawned.h"

enum { FLIGHT = 4 }; /* what a worker of the pool over pipes is kept busy with */

/* --- echoes over pipes --------------------------------------------------------------------- */

struct pipes {
	pid_t pids[JOBS];
	int to[JOBS];
	struct pollfd from[JOBS];
	uint64_t sent, done;
	uint64_t flight; /* how many each worker may have */
	const struct load *load;
};

/* Below PIPE_BUF a message is written whole, and whole messages are read. */
static void echo_all(int in, int out)
{
	struct echo echo;

	while (read(in, &echo, sizeof(echo)) == sizeof(echo))
		if (write(out, &echo, sizeof(echo)) != sizeof(echo))
			return;
}

static int fork_echo(struct pipes *pipes, int who)
{
	int there[2], back[2];

	if (pipe(there) != 0 || pipe(back) != 0)
		return -1;
	pipes->pids[who] = fork();
	if (pipes->pids[who] == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(there[1]);
		close(back[0]);
		echo_all(there[0], back[1]);
		_exit(0);
	}
	close(there[0]);
	close(back[1]);
	pipes->to[who] = there[1];
	pipes->from[who] = (struct pollfd){.fd = back[0], .events = POLLIN};
	return pipes->pids[who] < 0 ? -1 : 0;
}

static int send_echo(struct pipes *pipes, int who)
{
	struct echo echo = {{0}};

	if (pipes->sent == pipes->load->n)
		return 0;
	echo.words[0] = pipes->load->in[pipes->sent++];
	return write(pipes->to[who], &echo, sizeof(echo)) == sizeof(echo) ? 0 : -1;
}

/* The upper half of a value is its place. */
static int receive_echo(struct pipes *pipes, int who)
{
	struct echo echo;

	if (read(pipes->from[who].fd, &echo, sizeof(echo)) != sizeof(echo))
		return -1;
	pipes->load->out[echo.words[0] >> 32] = work(echo.words[0]);
	pipes->done++;
	return 0;
}

static int pipes_once(void *arg, const struct load *load)
{
	struct pipes *pipes = arg;
	uint64_t i;
	int who;

	pipes->load = load;
	pipes->sent = pipes->done = 0;
	for (i = 0; i < pipes->flight; i++)
		for (who = 0; who < JOBS; who++)
			if (send_echo(pipes, who) != 0)
				return -1;
	while (pipes->done < load->n) {
		if (poll(pipes->from, JOBS, -1) < 0)
			return -1;
		for (who = 0; who < JOBS; who++)
			if (pipes->from[who].revents != 0 &&
			    (receive_echo(pipes, who) != 0 || send_echo(pipes, who) != 0))
				return -1;
	}
	return 0;
}

static int pipe_trips_once(void *arg, const struct load *load)
{
	struct pipes *pipes = arg;

	pipes->load = load;
	pipes->sent = pipes->done = 0;
	while (pipes->done < load->n)
		if (send_echo(pipes, 0) != 0 || receive_echo(pipes, 0) != 0)
			return -1;
	return 0;
}

static int pipes_cell(const struct load *load, struct sample *sample,
		      int (*once)(void *arg, const struct load *load))
{
	struct pipes pipes = {.flight = FLIGHT};
	int result, who;

	for (who = 0; who < JOBS; who++)
		if (fork_echo(&pipes, who) != 0)
			return sample_fail(sample, "cannot start a worker");
	result = sample_tasks(sample, load, once, &pipes);
	if (result != 0)
		sample_fail(sample, "a worker is gone");
	for (who = 0; who < JOBS; who++)
		kill(pipes.pids[who], SIGKILL);
	for (who = 0; who < JOBS; who++)
		waitpid(pipes.pids[who], NULL, 0);
	return result;
}

static int full_cell(const struct load *load, struct sample *sample)
{
	return pipes_cell(load, sample, pipes_once);
}

static int one_cell(const struct load *load, struct sample *sample)
{
	return pipes_cell(load, sample, pipe_trips_once);
}

/* --- workers of either kind ---------------------------------------------------------------- */

static int start_spawned(pid_t *pid, int *fd)
{
	char helper[PATH_MAX];

	return spawn_worker(built_path(helper, "start-helper"), pid, fd);
}

struct worker {
	int (*start)(pid_t *pid, int *fd);
	struct sample *sample;
	pid_t pid;
	int fd;
};

static int worker_start(struct worker *worker)
{
	if (worker->start(&worker->pid, &worker->fd) != 0)
		return sample_fail(worker->sample, "cannot start a worker: %s", strerror(errno));
	return 0;
}

/* --- from its death to the answer of its replacement ----------------------------------------- */

static int await_death(pid_t pid)
{
	struct pollfd death = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
	int result = -1;

	if (death.fd < 0)
		return -1;
	if (poll(&death, 1, -1) == 1 && waitpid(pid, NULL, 0) == pid)
		result = 0;
	close(death.fd);
	return result;
}

static int replace_once(void *arg, double *took)
{
	struct worker *worker = arg;
	uint64_t died_ns, answer;

	if (asked(worker->fd, DIE) != 0 || await_death(worker->pid) != 0 ||
	    answered(worker->fd, &died_ns) != 0)
		return sample_fail(worker->sample, "a worker did not die: %s", strerror(errno));
	close(worker->fd);
	if (worker_start(worker) != 0)
		return -1;
	if (asked(worker->fd, 1) != 0 || answered(worker->fd, &answer) != 0)
		return sample_fail(worker->sample, "a worker does not answer");
	*took = (double)((uint64_t)now_ns() - died_ns);
	return 0;
}

static int replace_cell(struct sample *sample, int (*start)(pid_t *pid, int *fd))
{
	struct worker worker = {.start = start, .sample = sample};

	if (worker_start(&worker) != 0)
		return -1;
	return sample_own(sample, replace_once, &worker);
}

static int refork_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return replace_cell(sample, fork_worker);
}

static int respawn_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return replace_cell(sample, start_spawned);
}

/* --- what an idle one has to itself ---------------------------------------------------------- */

static int idle_cell(struct sample *sample, int (*start)(pid_t *pid, int *fd))
{
	struct worker workers[JOBS];
	int64_t kb, most_kb = 0;
	uint64_t answer;
	int i;

	for (i = 0; i < JOBS; i++) {
		workers[i] = (struct worker){.start = start, .sample = sample};
		if (worker_start(&workers[i]) != 0)
			return -1;
		if (asked(workers[i].fd, 1) != 0 || answered(workers[i].fd, &answer) != 0)
			return sample_fail(sample, "a worker does not answer");
	}
	for (i = 0; i < JOBS; i++) {
		kb = memory_own_kb(workers[i].pid);
		if (kb < 0)
			return sample_fail(sample, "cannot read smaps_rollup of a worker");
		most_kb = kb > most_kb ? kb : most_kb;
	}
	sample->value = sample->least = (double)most_kb * 1024 / 1e6;
	return 0;
}

static int idle_forked_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return idle_cell(sample, fork_worker);
}

static int idle_spawned_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return idle_cell(sample, start_spawned);
}

/* --- from nothing to the end ----------------------------------------------------------------- */

static int start_forked_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "forked");
}

static int start_spawned_cell(const struct load *load, struct sample *sample)
{
	(void)load;
	return sample_start_of(sample, "spawned");
}

const struct cell cells_pools[] = {
	{"W5-full", "C pool over pipes", PEER, full_cell},
	{"W5-one", "C pool over pipes", PEER, one_cell},
	{"W6-processes", "C fork pool", LIMIT, start_forked_cell},
	{"W6-processes", "C exec'd pool", LIMIT, start_spawned_cell},
	{"W6b", "re-fork", LIMIT, refork_cell},
	{"W6b", "re-spawn", LIMIT, respawn_cell},
	{"W9-workers", "C fork pool", LIMIT, idle_forked_cell},
	{"W9-workers", "C exec'd pool", LIMIT, idle_spawned_cell},
	{NULL, NULL, LIMIT, NULL},
};
