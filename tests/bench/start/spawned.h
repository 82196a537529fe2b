/* spawned.h - a worker of the C pools that is another program, helper.c. */
#ifndef START_SPAWNED_H
#define START_SPAWNED_H

#include <spawn.h>

#include "served.h"

/* As fork_worker(). */
static inline int spawn_worker(const char *helper, pid_t *pid, int *fd)
{
	char *const argv[] = {(char *)helper, NULL};
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int sockets[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
		return -1;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, sockets[1], STDIN_FILENO);
	error = posix_spawn(pid, helper, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(sockets[1]);
	*fd = sockets[0];
	return error != 0 ? -1 : 0;
}

#endif
