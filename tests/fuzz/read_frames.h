/* read_frames.h - look at every byte that a reader of frames is shown, so that a sanitizer
 * sees one that is not there; for the fuzzer and the test. */
#ifndef TESTS_FUZZ_READ_FRAMES_H
#define TESTS_FUZZ_READ_FRAMES_H

#include "wire_answer.h"
#include "wire_batch.h"

#include <stdlib.h>

static uint64_t read_frames_sum;

static inline void look_at(const void *bytes, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		read_frames_sum += ((const unsigned char *)bytes)[i];
}

static inline void look_at_text(const char *text)
{
	if (text != NULL)
		look_at(text, strlen(text) + 1);
}

static inline void look_at_batch(const struct wire_frame *frame)
{
	static struct wire_batch batch;
	struct wire_item item;
	par_error error = PAR_ERROR_INIT;
	uint64_t n = 0;

	if (wire_get_batch(frame, &batch, &error) < 0)
		return;
	look_at_text(batch.backend);
	for (int i = 0; batch.options[i] != NULL; i++)
		look_at_text(batch.options[i]);
	for (int i = 0; i < batch.head.n_modules; i++)
		look_at_text(batch.modules[i].path);
	for (int i = 0; i < batch.head.n_tasks_known; i++)
		look_at_text(batch.tasks[i].name);
	if (batch.shared != NULL)
		look_at(batch.shared, batch.head.shared_size);
	if (batch.in != NULL)
		look_at(batch.in, batch.head.n * batch.range.in_size);
	if (batch.head.flags & WIRE_IS_RANGE)
		return;
	for (; wire_next_item(&batch, &item); n++)
		if (item.payload != NULL)
			look_at(item.payload, item.head.size);
	if (n != batch.head.n)
		__builtin_trap();
}

static inline void look_at_outcomes(const struct wire_frame *frame)
{
	struct wire_cursor body = wire_body(frame);
	struct wire_outcome outcome;
	par_error error = PAR_ERROR_INIT;

	while (wire_next_outcome(&body, &outcome, &error) > 0) {
		if (!outcome.head.failed) {
			look_at(outcome.reply, outcome.head.size);
			continue;
		}
		look_at_text(outcome.type);
		look_at_text(outcome.where);
		look_at_text(outcome.text);
		look_at_text(outcome.trace);
	}
}

static inline void look_at_answer(const struct wire_frame *frame)
{
	par_error error = PAR_ERROR_INIT, cannot = PAR_ERROR_INIT;
	struct wire_hello hello;
	struct wire_started started;
	struct wire_finished finished;
	struct wire_chunk chunk;

	if (wire_get_hello(frame, &hello, &error) == PAR_OK) {
		look_at_text(hello.version);
		look_at_text(hello.host);
	}
	(void)wire_get_started(frame, &started, &error);
	(void)wire_get_finished(frame, &finished, &error);
	(void)wire_get_cannot(frame, &cannot, &error);
	if (wire_get_chunk(frame, &chunk, &error) == PAR_OK && chunk.values != NULL)
		look_at(chunk.values, chunk.head.n * chunk.head.out_size);
}

/* By every reader, whatever its kind says. */
static inline void look_at_frame(const struct wire_frame *frame)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_attach attach;
	par_worker_setup setup;
	const void *bytes;
	uint64_t id;

	look_at(frame->body, frame->size);
	look_at_batch(frame);
	look_at_outcomes(frame);
	look_at_answer(frame);
	if (wire_get_attach(frame, &attach, &bytes, &error) == PAR_OK && bytes != NULL)
		look_at(bytes, attach.bytes);
	(void)wire_get_detach(frame, &id, &error);
	if (wire_get_setup(frame, &setup, &error) == PAR_OK) {
		look_at_text(setup.initializer);
		look_at_text(setup.initarg);
	}
}

/* Read all of it, in pieces of that size, each in memory of its own; returns how many frames
 * there were. */
static inline uint64_t read_frames(const void *bytes, size_t n, size_t piece)
{
	struct wire_reader reader;
	struct wire_frame frame;
	par_error error = PAR_ERROR_INIT;
	uint64_t frames = 0;
	int32_t status = 0;

	wire_reader_init(&reader, 1 << 20);
	for (size_t at = 0; at < n && status >= 0; at += piece) {
		size_t part = n - at < piece ? n - at : piece;
		char *copy = malloc(part);

		if (copy == NULL)
			break;
		memcpy(copy, (const char *)bytes + at, part);
		wire_reader_lend(&reader, copy, part);
		while ((status = wire_next(&reader, &frame, &error)) > 0) {
			frames++;
			look_at_frame(&frame);
		}
		free(copy);
	}
	wire_reader_finish(&reader);
	return frames;
}

#endif
