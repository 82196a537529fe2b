/* output.h - what the tasks of one worker print: its standard output and standard error.
 *
 * Two pipes, read on the loop of whoever has the worker.  Lines are put together and passed on
 * whole, so that those of several workers never mix; the end of what was printed is kept for
 * the error, should the worker die.  A line longer than LINE_ROOM is passed in pieces of that
 * size, a line each. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include "settings.h"

enum { TAIL_ROOM = 2048, LINE_ROOM = 65536 };

/* One of the two. */
struct stream {
	struct output *output;
	par_watch *watch;
	char *line; /* one that has no end yet; LINE_ROOM */
	size_t used;
	int fd;  /* -1: none */
	int end; /* the worker's, until it has it; -1: none */
	int target; /* 1 or 2: the number it has in the worker, and where its lines go */
};

struct output {
	enum output_mode mode;
	int slot;
	const par_ext_fd *watcher; /* that has the watches */
	struct stream streams[2];
	char *tail; /* 2 * TAIL_ROOM */
	size_t tail_used;
};

/* The pipes; ends[] are what the worker is to have as 1 and 2, -1: its parent's.  The worker
 * has them: ours of its ends are closed. */
int32_t output_open(struct output *output, enum output_mode mode, int slot, par_error *error);
void output_ends(const struct output *output, int ends[2]);
void output_started(struct output *output);

/* Read what comes, on the loop of that host; no more.  Without a watch tasks that print much
 * wait until there is one. */
int32_t output_watch(struct output *output, const par_host *host, const par_ext_fd *watcher);
void output_unwatch(struct output *output);

/* Pass on what has come by now; and, as there will be no more for a while, what has no end yet. */
void output_drain(struct output *output);
void output_finish(struct output *output);

/* The last of what was printed, at most TAIL_ROOM bytes; "": nothing.  Valid until more
 * comes. */
const char *output_tail(struct output *output);

/* NULL-safe in all its parts: may follow a failed output_open(). */
void output_close(struct output *output);

#endif
