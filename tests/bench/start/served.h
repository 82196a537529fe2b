/* served.h - a worker of the C pools: it answers numbers that come over a socket, one by one. */
#ifndef START_SERVED_H
#define START_SERVED_H

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "task.h"

#define DIE UINT64_MAX /* not a number: the worker is to be killed by a signal */

/* When it died is said last, and can still be read when it has. */
static inline void die(int fd)
{
	struct timespec now;
	uint64_t ns;

	clock_gettime(CLOCK_MONOTONIC, &now);
	ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	if (write(fd, &ns, sizeof(ns)) == sizeof(ns))
		kill(getpid(), SIGKILL);
	abort();
}

/* Until the other side hangs up. */
static inline void serve(int fd)
{
	uint64_t in, out;

	while (read(fd, &in, sizeof(in)) == sizeof(in)) {
		if (in == DIE)
			die(fd);
		out = task(in);
		if (write(fd, &out, sizeof(out)) != sizeof(out))
			return;
	}
}

/* Start a worker: 0, and its process and the socket to it, or -1. */
static inline int fork_worker(pid_t *pid, int *fd)
{
	int sockets[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0)
		return -1;
	*pid = fork();
	if (*pid == 0) {
		close(sockets[0]);
		serve(sockets[1]);
		_exit(0);
	}
	close(sockets[1]);
	*fd = sockets[0];
	return *pid < 0 ? -1 : 0;
}

static inline int asked(int fd, uint64_t in)
{
	return write(fd, &in, sizeof(in)) == sizeof(in) ? 0 : -1;
}

static inline int answered(int fd, uint64_t *out)
{
	return read(fd, out, sizeof(*out)) == sizeof(*out) ? 0 : -1;
}

#endif
