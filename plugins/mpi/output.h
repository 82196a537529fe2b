/* output.h - what the job prints: the lines of its tasks, and the launcher's own.
 *
 * They are passed on as whole lines.  The end is kept, for the error if the job cannot start or
 * dies; and the first line in which our own relay complains, however much others say after it. */
#ifndef OUTPUT_H
#define OUTPUT_H

#include <parloop/backend.h>

#include <stddef.h>

enum { TAIL_ROOM = 2048, LINE_ROOM = 8192, COMPLAINT_ROOM = 240 };

struct stream {
	struct output *output;
	par_watch *watch;
	int fd, target;
	size_t used;
	char line[LINE_ROOM];
};

struct output {
	const par_ext_fd *watcher;
	struct stream streams[2]; /* of standard output, of standard error */
	int is_quiet;             /* only the end is kept */
	size_t tail_used;
	char tail[2 * TAIL_ROOM + 1];
	char complaint[COMPLAINT_ROOM];
};

/* Two pipes; ends[] are for the job, and the caller's. */
int32_t output_open(struct output *output, int ends[2], par_error *error);
int32_t output_watch(struct output *output, const par_host *host, const par_ext_fd *watcher);
void output_unwatch(struct output *output);
void output_drain(struct output *output);
void output_close(struct output *output);

/* The last of what was printed, without what ends it. */
const char *output_tail(struct output *output);

/* "parloop-mpi-relay: ..."; "": it has not complained. */
const char *output_complaint(const struct output *output);

#endif
