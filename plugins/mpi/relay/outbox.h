/* outbox.h - records on their way to one rank, as MPI messages, one under way at a time. */
#ifndef OUTBOX_H
#define OUTBOX_H

#include "bells.h"

#include "../protocol.h"

#include <stddef.h>

/* Bytes that several ranks are sent, and that are kept meanwhile. */
struct kept {
	struct kept *next;
	uint64_t id;
	int refs;
	uint64_t n;
	char bytes[]; /* a whole record */
};

struct message {
	struct message *next;
	struct kept *kept; /* NULL: bytes of its own */
	size_t n, room, sent;
	char *bytes;
};

struct outbox {
	struct bells *bells;
	int rank;
	struct message *first, *last; /* the first may be under way */
	struct message *spare;
	MPI_Request request;
	int is_under_way, is_awaited; /* its rank rings when it takes it */
	size_t under_way;
};

void outbox_init(struct outbox *outbox, struct bells *bells, int rank);

/* Room for n more bytes, padded, behind a head.  NULL: no memory. */
char *outbox_record(struct outbox *outbox, const struct record *record);

/* The whole of that record, without a copy. 0, or -1. */
int outbox_kept(struct outbox *outbox, struct kept *kept);
void kept_release(struct kept *kept);

/* Send what can be sent without waiting; 1: something went, or has arrived. */
int outbox_flush(struct outbox *outbox);

/* Is a message on its way for which one has to look again and again: to a rank that does not ring, or
 * that has, and is taking it? */
int outbox_takes_turns(const struct outbox *outbox);

static inline int outbox_is_empty(const struct outbox *outbox)
{
	return outbox->first == NULL;
}

#endif
