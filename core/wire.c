#include "wire.h"

#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

/* A frame whose head says that it is long gets so much at first, and more as it comes. */
enum { FIRST_ROOM = 4096, KEPT_ROOM = 1 << 20 /* the room of longer ones is given back */ };

/* --- writing ------------------------------------------------------------------------------- */

void wire_writer_init(struct wire_writer *writer, size_t stays)
{
	*writer = (struct wire_writer){.stays = stays};
}

void wire_writer_finish(struct wire_writer *writer)
{
	if (!writer->lent)
		free(writer->bytes);
	free(writer->pieces);
	wire_writer_init(writer, writer->stays);
}

void wire_writer_lend(struct wire_writer *writer, void *bytes, size_t room)
{
	if (!writer->lent)
		free(writer->bytes);
	writer->bytes = bytes;
	writer->room = room;
	writer->lent = 1;
}

void wire_writer_shrink(struct wire_writer *writer, size_t room)
{
	char *bytes = NULL;

	if (writer->used == 0 && room < writer->room && !writer->lent)
		bytes = realloc(writer->bytes, room);
	if (bytes == NULL)
		return;
	writer->bytes = bytes;
	writer->room = room;
}

/* To so many bytes of our own, with what was written. */
static char *move(struct wire_writer *writer, size_t room)
{
	char *bytes;

	if (!writer->lent)
		return realloc(writer->bytes, room);
	bytes = malloc(room);
	if (bytes == NULL)
		return NULL;
	if (writer->used > 0)
		memcpy(bytes, writer->bytes, writer->used);
	writer->lent = 0;
	return bytes;
}

char *wire_grow(struct wire_writer *writer, size_t n)
{
	size_t room = writer->room > FIRST_ROOM ? writer->room : FIRST_ROOM;
	char *bytes;

	if (n > SIZE_MAX / 4 - writer->used) {
		writer->failed = 1;
		return NULL;
	}
	while (room - writer->used < n)
		room *= 2;
	if (room > writer->room) {
		bytes = move(writer, room);
		if (bytes == NULL) {
			writer->failed = 1;
			return NULL;
		}
		writer->bytes = bytes;
		writer->room = room;
	}
	writer->used += n;
	return writer->bytes + writer->used - n;
}

void wire_begin(struct wire_writer *writer, enum wire_kind kind, uint64_t batch)
{
	struct wire_head head = {{'p', 'w'}, WIRE_VERSION, (uint8_t)kind, 0, 0, batch};

	writer->frame = writer->used;
	writer->frame_apart = writer->apart;
	wire_put(writer, &head, sizeof(head));
}

void wire_end(struct wire_writer *writer)
{
	uint64_t size = writer->used - writer->frame - sizeof(struct wire_head) + writer->apart -
	                writer->frame_apart;

	if (!writer->failed)
		memcpy(writer->bytes + writer->frame + offsetof(struct wire_head, size), &size,
		       sizeof(size));
}

void wire_put(struct wire_writer *writer, const void *bytes, size_t n)
{
	char *room = wire_room(writer, n);

	if (room != NULL)
		memcpy(room, bytes, n);
}

/* Zeros up to a multiple of 8. */
static void pad(struct wire_writer *writer, size_t n)
{
	size_t missing = (size_t)(wire_padded(n) - n);
	char *room = missing > 0 ? wire_room(writer, missing) : NULL;

	if (room != NULL)
		memset(room, 0, missing);
}

static int add_piece(struct wire_writer *writer, const void *bytes, size_t n)
{
	size_t room = writer->pieces_room > 0 ? 2 * writer->pieces_room : 16;
	struct wire_piece *pieces;

	if (writer->n_pieces == writer->pieces_room) {
		pieces = reallocarray(writer->pieces, room, sizeof(*pieces));
		if (pieces == NULL)
			return -1;
		writer->pieces = pieces;
		writer->pieces_room = room;
	}
	writer->pieces[writer->n_pieces++] = (struct wire_piece){writer->used, bytes, n};
	writer->apart += n;
	return 0;
}

void wire_put_bytes(struct wire_writer *writer, const void *bytes, size_t n)
{
	if (n > 0 && writer->stays > 0 && n >= writer->stays) {
		if (add_piece(writer, bytes, n) < 0)
			writer->failed = 1;
	} else if (n > 0) {
		wire_put(writer, bytes, n);
	}
	pad(writer, n);
}

void wire_put_text(struct wire_writer *writer, const char *text)
{
	size_t length = text != NULL ? strlen(text) + 1 : 0;
	uint32_t said = (uint32_t)length;

	if (length > UINT32_MAX) {
		writer->failed = 1;
		return;
	}
	wire_put(writer, &said, sizeof(said));
	if (length > 0)
		wire_put(writer, text, length);
	pad(writer, sizeof(said) + length);
}

/* Leave out what offset skips of these bytes, and keep the rest if there is any. */
static int keep_piece(const char *bytes, size_t n, uint64_t *offset, struct iovec *piece)
{
	size_t skip = *offset < n ? (size_t)*offset : n;

	*offset -= skip;
	if (skip == n)
		return 0;
	*piece = (struct iovec){(void *)(uintptr_t)(bytes + skip), n - skip};
	return 1;
}

int wire_writer_pieces(const struct wire_writer *writer, uint64_t offset, struct iovec *pieces,
                       int n)
{
	size_t at = 0;
	int kept = 0;

	for (size_t i = 0; i < writer->n_pieces && kept < n; i++) {
		const struct wire_piece *piece = &writer->pieces[i];

		kept += keep_piece(writer->bytes + at, piece->at - at, &offset, &pieces[kept]);
		at = piece->at;
		if (kept < n)
			kept += keep_piece(piece->bytes, piece->n, &offset, &pieces[kept]);
		else
			return kept;
	}
	if (kept < n && writer->used > at)
		kept += keep_piece(writer->bytes + at, writer->used - at, &offset, &pieces[kept]);
	return kept;
}

/* --- reading -------------------------------------------------------------------------------- */

int32_t wire_refuse(par_error *error, const char *format, ...)
{
	char reason[sizeof(error->reason)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	error_set(error, PAR_EINVAL, "a frame makes no sense");
	error_reason(error, "%s", reason);
	return PAR_EINVAL;
}

void wire_reader_init(struct wire_reader *reader, uint64_t limit)
{
	*reader = (struct wire_reader){.limit = limit};
}

void wire_reader_finish(struct wire_reader *reader)
{
	free(reader->partial);
	wire_reader_init(reader, reader->limit);
}

void wire_reader_lend(struct wire_reader *reader, const void *bytes, size_t n)
{
	reader->lent = bytes;
	reader->n_lent = n;
}

static int32_t refuse_version(const struct wire_head *head, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "the other side is of another parloop");
	error_reason(error, "it speaks version %u of the frames, this one version %d", head->version,
	             WIRE_VERSION);
	error_remedy(error, "install the same parloop on both sides");
	return PAR_EUNAVAIL;
}

static int32_t check_head(const struct wire_reader *reader, const struct wire_head *head,
                          par_error *error)
{
	if (head->mark[0] != 'p' || head->mark[1] != 'w')
		return wire_refuse(error, "it begins with %02x %02x, not with \"pw\"", head->mark[0],
		                   head->mark[1]);
	if (head->version != WIRE_VERSION)
		return refuse_version(head, error);
	if (head->reserved != 0)
		return wire_refuse(error, "its reserved field is %u, not 0", (unsigned)head->reserved);
	if (head->size % 8 != 0)
		return wire_refuse(error, "its body has %llu bytes, not a multiple of 8",
		                   (unsigned long long)head->size);
	if (head->size > SIZE_MAX / 4 || (reader->limit > 0 && head->size > reader->limit))
		return wire_refuse(error, "its body has %llu bytes, at most %llu are taken",
		                   (unsigned long long)head->size, (unsigned long long)reader->limit);
	return PAR_OK;
}

static int32_t fail(struct wire_reader *reader, int32_t status)
{
	reader->lost = 1;
	reader->n_lent = reader->used = 0;
	return status;
}

/* Keep what came of a frame, up to so many bytes of it.  The room grows with what came, by
 * doubling, whatever its head says. */
static int keep(struct wire_reader *reader, size_t wanted)
{
	size_t n = wanted - reader->used;
	size_t room = reader->room > 0 ? reader->room : FIRST_ROOM;
	char *partial;

	n = n < reader->n_lent ? n : reader->n_lent;
	while (room - reader->used < n)
		room *= 2;
	if (room > reader->room) {
		partial = realloc(reader->partial, room);
		if (partial == NULL)
			return -1;
		reader->partial = partial;
		reader->room = room;
	}
	memcpy(reader->partial + reader->used, reader->lent, n);
	reader->used += n;
	reader->lent += n;
	reader->n_lent -= n;
	return 0;
}

static void show(struct wire_frame *frame, const struct wire_head *head, const char *bytes)
{
	*frame = (struct wire_frame){
		.kind = head->kind,
		.batch = head->batch,
		.body = bytes + sizeof(*head),
		.size = head->size,
	};
}

/* The frame whose begin was kept: it takes what it lacks from what came. */
static int32_t next_kept(struct wire_reader *reader, struct wire_frame *frame, par_error *error)
{
	struct wire_head head;
	int32_t status;

	if (reader->used == 0 && reader->room > KEPT_ROOM) {
		free(reader->partial);
		reader->partial = NULL;
		reader->room = 0;
	}
	if (reader->used < sizeof(head) && keep(reader, sizeof(head)) < 0)
		return fail(reader, error_memory(error, "reading a frame"));
	if (reader->used < sizeof(head))
		return 0;
	memcpy(&head, reader->partial, sizeof(head));
	status = check_head(reader, &head, error);
	if (status < 0)
		return fail(reader, status);
	if (keep(reader, sizeof(head) + head.size) < 0)
		return fail(reader, error_memory(error, "reading a frame"));
	if (reader->used < sizeof(head) + head.size)
		return 0;
	show(frame, &head, reader->partial);
	reader->used = 0; /* it stays there until the next is asked for */
	return 1;
}

int32_t wire_next(struct wire_reader *reader, struct wire_frame *frame, par_error *error)
{
	struct wire_head head;
	int32_t status;

	if (reader->lost)
		return wire_refuse(error, "it comes after one that made none");
	if (reader->used > 0 || reader->n_lent < sizeof(head))
		return reader->n_lent > 0 ? next_kept(reader, frame, error) : 0;
	memcpy(&head, reader->lent, sizeof(head));
	status = check_head(reader, &head, error);
	if (status < 0)
		return fail(reader, status);
	if (reader->n_lent - sizeof(head) < head.size)
		return next_kept(reader, frame, error);
	show(frame, &head, reader->lent);
	reader->lent += sizeof(head) + head.size;
	reader->n_lent -= sizeof(head) + head.size;
	return 1;
}

int32_t wire_whole(const void *bytes, size_t n, struct wire_frame *frame, par_error *error)
{
	const struct wire_reader any = {.limit = 0};
	struct wire_head head;
	int32_t status;

	if (n < sizeof(head))
		return wire_refuse(error, "it has %zu bytes, its head alone has %zu", n, sizeof(head));
	memcpy(&head, bytes, sizeof(head));
	status = check_head(&any, &head, error);
	if (status < 0)
		return status;
	if (head.size != n - sizeof(head))
		return wire_refuse(error, "its body has %llu bytes, and %zu came",
		                   (unsigned long long)head.size, n - sizeof(head));
	show(frame, &head, bytes);
	return PAR_OK;
}

int wire_get_text(struct wire_cursor *cursor, const char **text)
{
	struct wire_cursor before = *cursor;
	uint32_t length;

	*text = NULL;
	if (cursor->left < sizeof(length))
		return -1;
	memcpy(&length, cursor->at, sizeof(length));
	if (wire_take(cursor, sizeof(length) + (uint64_t)length) == NULL)
		return -1;
	if (length == 0)
		return 0;
	*text = before.at + sizeof(length);
	return (*text)[length - 1] == '\0' ? 0 : -1;
}

/* --- what travels beside ---------------------------------------------------------------------- */

void wire_put_attach(struct wire_writer *writer, const par_attachment *attachment, int how)
{
	struct wire_attach attach = {
		.id = attachment->id,
		.bytes = attachment->bytes,
		.kind = attachment->kind,
		.writable = (uint8_t)attachment->writable,
		.how = (uint8_t)how,
	};

	memcpy(attach.sha256, attachment->sha256, sizeof(attach.sha256));
	wire_begin(writer, WIRE_ATTACH, 0);
	wire_put(writer, &attach, sizeof(attach));
	if (how == WIRE_INLINE)
		wire_put_bytes(writer, attachment->address, (size_t)attachment->bytes);
	wire_end(writer);
}

void wire_put_detach(struct wire_writer *writer, uint64_t id)
{
	wire_begin(writer, WIRE_DETACH, 0);
	wire_put(writer, &id, sizeof(id));
	wire_end(writer);
}

int32_t wire_get_attach(const struct wire_frame *frame, struct wire_attach *attach,
                        const void **bytes, par_error *error)
{
	struct wire_cursor body = wire_body(frame);

	*bytes = NULL;
	if (wire_get(&body, attach, sizeof(*attach)) < 0)
		return wire_refuse(error, "an attachment is cut");
	if (attach->id == 0)
		return wire_refuse(error, "an attachment has no id");
	if (attach->how != WIRE_INLINE && attach->how != WIRE_PASSED)
		return wire_refuse(error, "attachment %llu comes in way %u",
		                   (unsigned long long)attach->id, attach->how);
	if (attach->writable > PAR_ATTACH_PRIVATE)
		return wire_refuse(error, "attachment %llu is to be seen in way %u",
		                   (unsigned long long)attach->id, attach->writable);
	if (attach->how == WIRE_INLINE) {
		*bytes = wire_take(&body, attach->bytes);
		if (*bytes == NULL)
			return wire_refuse(error, "attachment %llu of %llu bytes is cut",
			                   (unsigned long long)attach->id,
			                   (unsigned long long)attach->bytes);
	}
	if (body.left > 0)
		return wire_refuse(error, "%zu bytes are left after an attachment", body.left);
	return PAR_OK;
}

int32_t wire_get_detach(const struct wire_frame *frame, uint64_t *id, par_error *error)
{
	struct wire_cursor body = wire_body(frame);

	if (wire_get(&body, id, sizeof(*id)) < 0 || body.left > 0)
		return wire_refuse(error, "%zu bytes to detach something, not %zu", frame->size,
		                   sizeof(*id));
	return PAR_OK;
}

void wire_put_setup(struct wire_writer *writer, const par_worker_setup *setup)
{
	const struct wire_setup head = {setup->memory, setup->cpu_time_ns, setup->worker,
	                                setup->parent, setup->cpu, 0};

	wire_begin(writer, WIRE_SETUP, 0);
	wire_put(writer, &head, sizeof(head));
	wire_put_text(writer, setup->initializer);
	wire_put_text(writer, setup->initarg);
	wire_end(writer);
}

int32_t wire_get_setup(const struct wire_frame *frame, par_worker_setup *setup, par_error *error)
{
	struct wire_cursor body = wire_body(frame);
	struct wire_setup head;

	*setup = (par_worker_setup){.size = sizeof(*setup)};
	if (wire_get(&body, &head, sizeof(head)) < 0 || wire_get_text(&body, &setup->initializer) < 0 ||
	    wire_get_text(&body, &setup->initarg) < 0)
		return wire_refuse(error, "what a worker is to be is cut");
	if (body.left > 0)
		return wire_refuse(error, "%zu bytes are left after what a worker is to be", body.left);
	setup->memory = head.memory;
	setup->cpu_time_ns = head.cpu_time_ns;
	setup->worker = head.worker;
	setup->parent = head.parent;
	setup->cpu = head.cpu;
	return PAR_OK;
}
