/* serve_attached.h - what a worker was given once, and has for the batches that name it. */
#ifndef CORE_SERVE_ATTACHED_H
#define CORE_SERVE_ATTACHED_H

#include "wire.h"

#include <sys/types.h>

struct attached;

struct attachments {
	struct attached **attached;
	const par_attachment **list; /* of these, for the runner */
	size_t n, room;
	int *passed; /* descriptors that came, whose frames are yet to be read; -1: one was lost */
	size_t n_passed, passed_room;
};

/* From a socket: bytes, as read() says it, and descriptors that are kept.  A descriptor that is no
 * socket: ENOTSOCK. */
ssize_t attachments_receive(struct attachments *attachments, int socket, void *bytes, size_t n);

/* What such a frame says.  A descriptor that it names is the next one that came; passed[0] is to be
 * there. */
int32_t attachments_add(struct attachments *attachments, const struct wire_attach *attach,
                        const void *bytes, par_error *error);
void attachments_remove(struct attachments *attachments, uint64_t id);

void attachments_finish(struct attachments *attachments);

#endif
