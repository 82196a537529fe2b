/* fork_server.h - a process that forks workers for the process that executed it: small, with no
 * thread but its first, and the modules loaded that they need.
 *
 * $PARLOOP_FORK_SERVER, "SOCKET:PARENT", makes a program one that calls par_worker_main();
 * $PARLOOP_PRELOAD names modules, parted by colons.  A message on the socket is the wish for
 * a worker: its descriptors, and variables to be set ("NAME=value", each with its NUL).  The
 * answer is an int32_t: its process id, or an errno, negated.  That id stands before the worker
 * runs in the int32_t with which the memory begins that is descriptor 4 of the server: so it is
 * known also if the server is killed before it can answer.
 *
 * The worker is a child of that process, not of this one, and so tells its end there. */
#ifndef CORE_FORK_SERVER_H
#define CORE_FORK_SERVER_H

/* Of a worker's descriptors the first two become these, the next its standard output and
 * error. */
enum { FORK_SERVER_FIRST = 3, FORK_SERVER_SECOND = 4 };

/* If this process is to be one: serve until the socket ends, and exit.  Returns in each worker,
 * where everything is as if it had been executed; and at once, if it is not to be one. */
void fork_server_run(void);

#endif
