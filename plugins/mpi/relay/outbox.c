#include "outbox.h"

#include <stdlib.h>
#include <string.h>

/* Records are put together up to that, for who is slow to take them. */
enum { TOGETHER = 64 * 1024, KEPT_ROOM = 1 << 20 };

/* What is longer may take both sides to move it. */
enum { EAGER = 4096 };

void outbox_init(struct outbox *outbox, struct bells *bells, int rank)
{
	memset(outbox, 0, sizeof(*outbox));
	outbox->bells = bells;
	outbox->rank = rank;
}

void kept_release(struct kept *kept)
{
	if (--kept->refs == 0)
		free(kept);
}

static void append(struct outbox *outbox, struct message *message)
{
	message->next = NULL;
	if (outbox->last != NULL)
		outbox->last->next = message;
	else
		outbox->first = message;
	outbox->last = message;
}

static struct message *new_message(struct outbox *outbox)
{
	struct message *message = outbox->spare;

	if (message != NULL)
		outbox->spare = message->next;
	else
		message = calloc(1, sizeof(*message));
	if (message == NULL)
		return NULL;
	message->kept = NULL;
	message->n = message->sent = 0;
	append(outbox, message);
	return message;
}

/* One that can take so many bytes more. */
static struct message *open_message(struct outbox *outbox, size_t n)
{
	struct message *message = outbox->last;
	size_t room;
	char *bytes;

	if (message == NULL || message->kept != NULL || message->n + n > TOGETHER ||
	    (message == outbox->first && outbox->is_under_way))
		message = new_message(outbox);
	if (message == NULL || message->n + n <= message->room)
		return message;
	room = message->n + n > TOGETHER ? message->n + n : TOGETHER;
	bytes = realloc(message->bytes, room);
	if (bytes == NULL)
		return NULL;
	message->bytes = bytes;
	message->room = room;
	return message;
}

char *outbox_record(struct outbox *outbox, const struct record *record)
{
	size_t n = sizeof(*record) + (size_t)padded(record->n_bytes);
	struct message *message = open_message(outbox, n);
	char *at;

	if (message == NULL)
		return NULL;
	at = message->bytes + message->n;
	message->n += n;
	memcpy(at, record, sizeof(*record));
	if (record->n_bytes % 8 != 0)
		memset(at + n - 8, 0, 8);
	return at + sizeof(*record);
}

int outbox_kept(struct outbox *outbox, struct kept *kept)
{
	struct message *message = new_message(outbox);

	if (message == NULL)
		return -1;
	message->kept = kept;
	message->n = (size_t)kept->n;
	kept->refs++;
	return 0;
}

static void end_first(struct outbox *outbox)
{
	struct message *message = outbox->first;

	outbox->first = message->next;
	if (outbox->first == NULL)
		outbox->last = NULL;
	if (message->kept != NULL)
		kept_release(message->kept);
	if (outbox->spare == NULL && message->room <= KEPT_ROOM) {
		message->next = NULL;
		outbox->spare = message;
		return;
	}
	free(message->bytes);
	free(message);
}

static int has_arrived(struct outbox *outbox)
{
	int arrived;

	MPI_Test(&outbox->request, &arrived, MPI_STATUS_IGNORE);
	if (!arrived)
		return 0;
	outbox->is_under_way = outbox->is_awaited = 0;
	outbox->first->sent += outbox->under_way;
	if (outbox->first->sent == outbox->first->n)
		end_first(outbox);
	return 1;
}

int outbox_flush(struct outbox *outbox)
{
	int did = 0;

	for (;;) {
		const struct message *message = outbox->first;

		if (outbox->is_under_way && !has_arrived(outbox)) {
			if (!outbox->is_awaited && (message->next != NULL || outbox->under_way > EAGER)) {
				bells_await(outbox->bells, outbox->rank);
				outbox->is_awaited = 1;
			}
			return did;
		}
		message = outbox->first;
		if (message == NULL)
			return did;
		outbox->under_way = message->n - message->sent;
		if (outbox->under_way > MESSAGE_BYTES)
			outbox->under_way = MESSAGE_BYTES;
		MPI_Isend((message->kept != NULL ? message->kept->bytes : message->bytes) + message->sent,
		          (int)outbox->under_way, MPI_BYTE, outbox->rank, 0, MPI_COMM_WORLD,
		          &outbox->request);
		outbox->is_under_way = 1;
		did = 1;
		bells_ring(outbox->bells, outbox->rank);
	}
}

int outbox_takes_turns(const struct outbox *outbox)
{
	return outbox->first != NULL && (!bells_rings(outbox->bells, outbox->rank) ||
	                                 (outbox->is_awaited && !bells_awaits(outbox->bells, outbox->rank)));
}
