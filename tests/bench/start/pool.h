/* pool.h - two workers, a task for each, and their end. */
#ifndef START_POOL_H
#define START_POOL_H

#include <sys/wait.h>

#include "served.h"

static inline int pool(int (*start)(pid_t *pid, int *fd))
{
	static const uint64_t in[2] = {1, 2};
	uint64_t out[2];
	pid_t pids[2];
	int fds[2], i;

	for (i = 0; i < 2; i++)
		if (start(&pids[i], &fds[i]) != 0 || asked(fds[i], in[i]) != 0)
			return 2;
	for (i = 0; i < 2; i++)
		if (answered(fds[i], &out[i]) != 0)
			return 2;
	/* A forked worker holds the sockets of those before it, so the last ends first. */
	for (i = 1; i >= 0; i--)
		close(fds[i]);
	for (i = 0; i < 2; i++)
		waitpid(pids[i], NULL, 0);
	return wrong(in, out);
}

#endif
