/* server.h - a small process that forks workers: a program that was executed, has no thread
 * but its first, and has loaded what workers need.
 *
 * What it forks is a child of ours, not of its own.  It belongs to one pool, and ends with it;
 * if it dies, its workers live on, and another is started when the next one is wanted.
 *
 * The other end of it is in the program, behind par_worker_main() (worker.h): with
 * $PARLOOP_FORK_SERVER it is one. */
#ifndef SERVER_H
#define SERVER_H

#include <parloop/backend.h>

#include <sys/types.h>

struct server;

/* What it is given stays the caller's until destroy; preload may be NULL.  NULL: no memory.  It
 * starts when told so, or with the first worker. */
struct server *server_create(const char *program, char *const *env, const char *preload);
int32_t server_start(struct server *server, par_error *error);

/* A worker with these descriptors and, besides what the server has, these variables.  Waits
 * for it: a fork takes little time. */
int32_t server_fork(struct server *server, char *const *variables, const int ends[2],
                    const int outputs[2], pid_t *pid, par_error *error);

void server_destroy(struct server *server); /* NULL is allowed */

#endif
