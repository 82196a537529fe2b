/* bridge.h - the process that speaks Python, and the messages by which it is spoken to.
 *
 * One serves one instance at a time.  When that is gone it is kept for the next with equal options,
 * since it takes an engine a second or two to let somebody in; it ends by itself if nobody comes for
 * a while.  Whatever happens to the program, its socket ends, and so does the bridge. */
#ifndef ENGINES_BRIDGE_H
#define ENGINES_BRIDGE_H

#include <parloop/backend.h>

#include <stddef.h>
#include <sys/uio.h>

struct bridge;

/* From it: as in parloop_bridge.py. */
enum { BRIDGE_WORKERS = 16, BRIDGE_REFUSE, BRIDGE_ANSWER, BRIDGE_DONE, BRIDGE_RUNS_AT };
/* To it. */
enum {
	BRIDGE_OPEN = 1, BRIDGE_LEASE, BRIDGE_RELEASE, BRIDGE_BLOB, BRIDGE_DROP, BRIDGE_SUBMIT,
	BRIDGE_KILL, BRIDGE_ABORT
};

struct message {
	uint32_t kind;
	int32_t n;
	uint64_t id;
	uint64_t size;
	const char *body; /* until the next is asked for */
};

/* How one is started. */
struct bridge_start {
	const char *python, *script;
	const char *options; /* "key=value", each with its NUL: what OPEN has */
	size_t n_options;
};

/* One that is idle and was started so, or a new one; it was told to OPEN, or of the LEASE.
 * *is_new: it may yet turn out that it cannot start. */
int32_t bridge_take(struct bridge **bridge, const struct bridge_start *start, int *is_new,
                    par_error *error);

/* It is idle from now on; or, if it is of no use any more, it ends. */
void bridge_give(struct bridge *bridge, int is_usable);

/* Nothing more comes from us: it ends, and so does its socket.  0, or -1: it has ended. */
int bridge_finish(struct bridge *bridge);

int bridge_fd(const struct bridge *bridge);

/* Has it this attachment, of a module, for good?  1; else it will be from now on. */
int bridge_knows(struct bridge *bridge, uint64_t id);

/* Queue a message: head and parts are copied, but for the last, which must stay until it was sent.
 * 0, or -1: no memory. */
int bridge_send(struct bridge *bridge, uint32_t kind, int32_t n, uint64_t id,
                const struct iovec *parts, int n_parts);

/* Send what can be sent without waiting: 1, there is more; 0, that was all; -1: it has ended. */
int bridge_flush(struct bridge *bridge);

/* Read what came, and then the messages in it, one by one: 1; 0: no more; -1: it has ended. */
int bridge_read(struct bridge *bridge);
int bridge_next(struct bridge *bridge, struct message *message);

#endif
