#include "wire_answer.h"

#include "error.h"

#include <stdio.h>

/* --- writing ------------------------------------------------------------------------------- */

void wire_put_hello(struct wire_writer *writer, int32_t pid, const char *version,
                    const char *host)
{
	const int32_t head[2] = {pid, 0};

	wire_begin(writer, WIRE_HELLO, 0);
	wire_put(writer, head, sizeof(head));
	wire_put_text(writer, version);
	wire_put_text(writer, host);
	wire_end(writer);
}

/* A frame that is one struct. */
static void put_struct(struct wire_writer *writer, enum wire_kind kind, uint64_t batch,
                       const void *bytes, size_t n)
{
	wire_begin(writer, kind, batch);
	wire_put(writer, bytes, n);
	wire_end(writer);
}

void wire_put_started(struct wire_writer *writer, uint64_t batch,
                      const struct wire_started *started)
{
	put_struct(writer, WIRE_STARTED, batch, started, sizeof(*started));
}

void wire_put_finished(struct wire_writer *writer, uint64_t batch,
                       const struct wire_finished *finished)
{
	put_struct(writer, WIRE_FINISHED, batch, finished, sizeof(*finished));
}

void wire_put_chunk(struct wire_writer *writer, uint64_t batch,
                    const struct wire_chunk_head *head)
{
	put_struct(writer, WIRE_CHUNK, batch, head, sizeof(*head));
}

char *wire_begin_chunk(struct wire_writer *writer, uint64_t batch,
                       const struct wire_chunk_head *head)
{
	wire_begin(writer, WIRE_CHUNK, batch);
	wire_put(writer, head, sizeof(*head));
	return wire_room(writer, (size_t)wire_padded(head->n * head->out_size));
}

void wire_end_chunk(struct wire_writer *writer, const struct wire_chunk_head *head, uint64_t n)
{
	const size_t values = writer->frame + sizeof(struct wire_head) + sizeof(*head);
	const size_t bytes = (size_t)(n * head->out_size);

	writer->used = n > 0 ? values + (size_t)wire_padded(bytes) : writer->frame;
	if (n == 0)
		return;
	memset(writer->bytes + values + bytes, 0, (size_t)wire_padded(bytes) - bytes);
	memcpy(writer->bytes + writer->frame + sizeof(struct wire_head) +
	               offsetof(struct wire_chunk_head, n), &n, sizeof(n));
	wire_end(writer);
}

void wire_put_cannot(struct wire_writer *writer, uint64_t batch, const par_error *error)
{
	const int32_t head[2] = {error->code, 0};

	wire_begin(writer, WIRE_CANNOT, batch);
	wire_put(writer, head, sizeof(head));
	wire_put_text(writer, error->what);
	wire_put_text(writer, error->file);
	wire_put_text(writer, error->reason);
	wire_put_text(writer, error->remedy);
	wire_end(writer);
}

void wire_put_failure(struct wire_writer *writer, uint64_t index, uint32_t attempt,
                      const struct wire_outcome *failure)
{
	const size_t begin = writer->used;
	struct wire_outcome_head head = {
		.index = index,
		.attempt = (uint16_t)(attempt < UINT16_MAX ? attempt : UINT16_MAX),
		.failed = 1,
	};
	const struct wire_failure_head why = {failure->code, 0};

	wire_put(writer, &head, sizeof(head));
	wire_put(writer, &why, sizeof(why));
	wire_put_text(writer, failure->type);
	wire_put_text(writer, failure->where);
	wire_put_text(writer, failure->text);
	wire_put_text(writer, failure->trace);
	if (writer->failed)
		return;
	head.size = (uint32_t)(writer->used - begin - sizeof(head));
	memcpy(writer->bytes + begin, &head, sizeof(head));
}

/* --- reading -------------------------------------------------------------------------------- */

static int32_t get_struct(const struct wire_frame *frame, void *out, size_t n, const char *name,
                          par_error *error)
{
	struct wire_cursor body = wire_body(frame);

	if (wire_get(&body, out, n) < 0 || body.left > 0)
		return wire_refuse(error, "%s of %zu bytes, not %zu", name, frame->size, n);
	return PAR_OK;
}

int32_t wire_get_started(const struct wire_frame *frame, struct wire_started *started,
                         par_error *error)
{
	return get_struct(frame, started, sizeof(*started), "a start", error);
}

int32_t wire_get_finished(const struct wire_frame *frame, struct wire_finished *finished,
                          par_error *error)
{
	return get_struct(frame, finished, sizeof(*finished), "the end of a batch", error);
}

int32_t wire_get_hello(const struct wire_frame *frame, struct wire_hello *hello, par_error *error)
{
	struct wire_cursor body = wire_body(frame);
	int32_t head[2];

	if (frame->kind != WIRE_HELLO)
		return wire_refuse(error, "a worker begins with a frame of kind %d, not with a hello",
		                   (int)frame->kind);
	if (wire_get(&body, head, sizeof(head)) < 0 || wire_get_text(&body, &hello->version) < 0 ||
	    wire_get_text(&body, &hello->host) < 0 || body.left > 0 || hello->version == NULL)
		return wire_refuse(error, "a hello of %zu bytes is cut", frame->size);
	hello->pid = head[0];
	return PAR_OK;
}

int32_t wire_get_chunk(const struct wire_frame *frame, struct wire_chunk *chunk, par_error *error)
{
	struct wire_cursor body = wire_body(frame);
	const struct wire_chunk_head *head = &chunk->head;
	uint64_t bytes, last;

	chunk->values = NULL;
	if (wire_get(&body, &chunk->head, sizeof(chunk->head)) < 0)
		return wire_refuse(error, "a chunk is cut");
	if (__builtin_mul_overflow(head->n, head->out_size, &bytes) ||
	    __builtin_add_overflow(head->first, head->n, &last))
		return wire_refuse(error, "a chunk of %llu values of %u bytes",
		                   (unsigned long long)head->n, (unsigned)head->out_size);
	if (head->out_size > 0 && (chunk->values = wire_take(&body, bytes)) == NULL)
		return wire_refuse(error, "a chunk of %llu values of %u bytes is cut",
		                   (unsigned long long)head->n, (unsigned)head->out_size);
	if (body.left > 0)
		return wire_refuse(error, "%zu bytes are left after a chunk", body.left);
	return PAR_OK;
}

/* A text of theirs, as much of it as there is room for, fit to print. */
static int get_slot(struct wire_cursor *body, char *slot, size_t size)
{
	const char *text;

	if (wire_get_text(body, &text) < 0)
		return -1;
	(void)error_escape(text != NULL ? text : "", text != NULL ? strlen(text) : 0, slot, size);
	return 0;
}

int32_t wire_get_cannot(const struct wire_frame *frame, par_error *cannot, par_error *error)
{
	struct wire_cursor body = wire_body(frame);
	int32_t head[2];

	error_clear(cannot);
	if (wire_get(&body, head, sizeof(head)) < 0 ||
	    get_slot(&body, cannot->what, sizeof(cannot->what)) < 0 ||
	    get_slot(&body, cannot->file, sizeof(cannot->file)) < 0 ||
	    get_slot(&body, cannot->reason, sizeof(cannot->reason)) < 0 ||
	    get_slot(&body, cannot->remedy, sizeof(cannot->remedy)) < 0 || body.left > 0)
		return wire_refuse(error, "why a worker cannot is cut");
	/* Whatever it says, it is no success. */
	cannot->code = head[0] < 0 ? head[0] : PAR_EFAILED;
	return PAR_OK;
}

static int get_story(struct wire_cursor *story, struct wire_outcome *outcome)
{
	struct wire_failure_head head;

	if (wire_get(story, &head, sizeof(head)) < 0 || wire_get_text(story, &outcome->type) < 0 ||
	    wire_get_text(story, &outcome->where) < 0 || wire_get_text(story, &outcome->text) < 0 ||
	    wire_get_text(story, &outcome->trace) < 0 || story->left > 0)
		return -1;
	outcome->code = head.code;
	return 0;
}

int32_t wire_next_failure(struct wire_cursor *cursor, struct wire_outcome *outcome,
                          par_error *error)
{
	struct wire_cursor story = {.left = outcome->head.size};

	if (outcome->head.failed != 1)
		return wire_refuse(error, "task %llu failed in way %u",
		                   (unsigned long long)outcome->head.index, outcome->head.failed);
	story.at = wire_take(cursor, outcome->head.size);
	outcome->reply = NULL;
	if (story.at == NULL || story.left % 8 != 0 || get_story(&story, outcome) < 0)
		return wire_refuse(error, "why task %llu failed is cut",
		                   (unsigned long long)outcome->head.index);
	return 1;
}
