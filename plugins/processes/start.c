#include "start.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int32_t start_failed(par_error *error, const char *what, int why)
{
	int no_room = why == EAGAIN || why == ENOMEM || why == EMFILE || why == ENFILE;
	int32_t code = no_room ? PAR_ENOMEM : PAR_EUNAVAIL;

	(void)par_fail(error, code, "%s: %s", what, strerror(why));
	if (no_room)
		par_remedy(error, "ask for fewer n_jobs, or see ulimit -u, ulimit -n and the free "
		                  "memory");
	return code;
}

/* --- fork ------------------------------------------------------------------------------------- */

static void become_worker(const struct start *start)
{
	sigset_t none;

	/* Signals that the program blocks in this thread are the worker's to get. */
	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setpgid(0, 0);
	for (int i = 0; i < 2; i++)
		if (start->outputs[i] >= 0)
			(void)dup2(start->outputs[i], STDOUT_FILENO + i);
	environ = (char **)(uintptr_t)start->env;
	start->channels->serve(start->channel, start->setup);
}

int32_t start_by_fork(const struct start *start, pid_t *pid, par_error *error)
{
	*pid = fork();
	if (*pid < 0)
		return start_failed(error, "cannot fork", errno);
	if (*pid == 0) {
		become_worker(start);
		_exit(127);
	}
	return PAR_OK;
}

/* --- exec ------------------------------------------------------------------------------------- */

/* Descriptors that are to be moved, where none of them is in another's way. */
struct moves {
	int from[MOST_FDS + 2], to[MOST_FDS + 2];
	int copies[MOST_FDS + 2]; /* to be closed afterwards */
	int n, n_copies, highest;
};

static int add_move(struct moves *moves, int from, int to, int lowest)
{
	if (from < 0)
		return 0;
	if (from < lowest) {
		from = fcntl(from, F_DUPFD_CLOEXEC, lowest);
		if (from < 0)
			return -1;
		moves->copies[moves->n_copies++] = from;
	}
	moves->from[moves->n] = from;
	moves->to[moves->n++] = to;
	return 0;
}

static void finish_moves(struct moves *moves)
{
	while (moves->n_copies > 0)
		close(moves->copies[--moves->n_copies]);
}

static int begin_moves(struct moves *moves, const int *fds, int n_fds, const int outputs[2])
{
	int lowest = FIRST_END + n_fds;

	*moves = (struct moves){.highest = lowest - 1};
	for (int i = 0; i < n_fds; i++)
		if (add_move(moves, fds[i], FIRST_END + i, lowest) < 0)
			return errno;
	for (int i = 0; i < 2; i++)
		if (add_move(moves, outputs[i], STDOUT_FILENO + i, lowest) < 0)
			return errno;
	return 0;
}

/* As if from a shell: no signal blocked or ignored, a process group of its own, and no
 * descriptor but those it is to have. */
static int spawn(const char *program, char *const *env, const struct moves *moves, pid_t *pid)
{
	char *const argv[] = {(char *)(uintptr_t)program, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int code = posix_spawn_file_actions_init(&files);

	if (code != 0)
		return code;
	for (int i = 0; i < moves->n && code == 0; i++)
		code = posix_spawn_file_actions_adddup2(&files, moves->from[i], moves->to[i]);
	if (code == 0)
		code = posix_spawn_file_actions_addclosefrom_np(&files, moves->highest + 1);
	if (code == 0)
		code = posix_spawnattr_init(&attributes);
	if (code != 0)
		goto out;
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
	                                                    POSIX_SPAWN_SETPGROUP);
	sigemptyset(&signals);
	(void)posix_spawnattr_setsigmask(&attributes, &signals);
	sigfillset(&signals);
	(void)posix_spawnattr_setsigdefault(&attributes, &signals);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	code = posix_spawn(pid, program, &files, &attributes, argv, env);
	(void)posix_spawnattr_destroy(&attributes);
out:
	(void)posix_spawn_file_actions_destroy(&files);
	return code;
}

int32_t start_program(const char *program, char *const *env, const int *fds, int n_fds,
                      const int outputs[2], pid_t *pid, par_error *error)
{
	char what[300];
	struct moves moves;
	int code = begin_moves(&moves, fds, n_fds, outputs);

	if (code == 0)
		code = spawn(program, env, &moves, pid);
	finish_moves(&moves);
	if (code == 0)
		return PAR_OK;
	(void)snprintf(what, sizeof(what), "cannot execute %.250s", program);
	return start_failed(error, what, code);
}

int32_t start_by_exec(const struct start *start, pid_t *pid, par_error *error)
{
	return start_program(start->program, start->env, start->ends, 2, start->outputs, pid,
	                     error);
}

/* --- fork server ------------------------------------------------------------------------------ */

int32_t start_by_server(const struct start *start, pid_t *pid, par_error *error)
{
	return server_fork(start->server, start->env, start->ends, start->outputs, pid, error);
}
