/* start.h - three ways to start a worker process: fork(), an exec'd program, and a fork of
 * an exec'd program that waits for nothing else (server.h). */
#ifndef START_H
#define START_H

#include "server.h"

#include <sys/types.h>

/* Under these numbers a program finds what connects it; below are its input and output. */
enum { FIRST_END = 3, SECOND_END = 4 };

struct start {
	const par_ext_channel *channels;
	par_channel *channel;
	const par_worker_setup *setup;
	const char *program;   /* executed */
	char *const *env;      /* all of it; of a fork server's workers what differs from its own */
	struct server *server;
	int ends[2];           /* of the channel */
	int outputs[2];        /* standard output and error; -1: as they are */
};

/* PAR_OK: *pid is a child of this process, in a process group of its own.  PAR_ENOMEM: there
 * is no room for one more; PAR_EUNAVAIL: there cannot be one. */
int32_t start_by_fork(const struct start *start, pid_t *pid, par_error *error);
int32_t start_by_exec(const struct start *start, pid_t *pid, par_error *error);
int32_t start_by_server(const struct start *start, pid_t *pid, par_error *error);

/* Execute a program with these descriptors: fds[i] becomes first + i, outputs[] 1 and 2 where
 * they are not -1, and every other is closed. */
enum { MOST_FDS = 2 };
int32_t start_program(const char *program, char *const *env, const int *fds, int n_fds,
                      const int outputs[2], pid_t *pid, par_error *error);

/* What went wrong as a code, and in words. */
int32_t start_failed(par_error *error, const char *what, int why);

#endif
