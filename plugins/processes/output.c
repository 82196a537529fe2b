#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
	READ_ROOM = 16384,
	READS_AT_ONCE = 16, /* then others have their turn */
	PATIENCE_MS = 1000  /* for whoever reads our own standard output, if it does not block */
};

/* --- to this process's own ------------------------------------------------------------------ */

static void write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, text, n);

		if (written < 0 && errno == EINTR)
			continue;
		if (written < 0 && errno == EAGAIN) {
			struct pollfd room = {.fd = fd, .events = POLLOUT};

			if (poll(&room, 1, PATIENCE_MS) > 0)
				continue;
		}
		if (written <= 0)
			return;
		text += written;
		n -= (size_t)written;
	}
}

/* After what the program has printed, and not in the middle of it. */
static void show(int target, const char *text, size_t n)
{
	FILE *file = target == STDOUT_FILENO ? stdout : stderr;

	flockfile(file);
	(void)fflush(file);
	write_all(target, text, n);
	funlockfile(file);
}

/* Whole lines, each of which begins with who printed it. */
static void show_prefixed(const struct stream *stream, const char *text, size_t n)
{
	char *lines = NULL;
	size_t size = 0;
	FILE *list = open_memstream(&lines, &size);

	if (list == NULL)
		return;
	while (n > 0) {
		const char *end = memchr(text, '\n', n);
		size_t length = end != NULL ? (size_t)(end - text) + 1 : n;

		(void)fprintf(list, "[worker %d] ", stream->output->slot);
		(void)fwrite(text, 1, length, list);
		text += length;
		n -= length;
	}
	if (fclose(list) == 0)
		show(stream->target, lines, size);
	free(lines);
}

static void pass(const struct stream *stream, const char *text, size_t n)
{
	switch (stream->output->mode) {
	case OUTPUT_PASS:
		show(stream->target, text, n);
		break;
	case OUTPUT_PREFIX:
		show_prefixed(stream, text, n);
		break;
	case OUTPUT_CAPTURE:
	case OUTPUT_INHERIT:
		break;
	}
}

/* --- lines ------------------------------------------------------------------------------------ */

static void keep_tail(struct output *output, const char *text, size_t n)
{
	if (output->tail == NULL)
		output->tail = malloc(2 * TAIL_ROOM + 1);
	if (output->tail == NULL)
		return;
	if (n > TAIL_ROOM) {
		text += n - TAIL_ROOM;
		n = TAIL_ROOM;
	}
	if (output->tail_used + n > 2 * TAIL_ROOM) {
		memmove(output->tail, output->tail + output->tail_used - TAIL_ROOM, TAIL_ROOM);
		output->tail_used = TAIL_ROOM;
	}
	memcpy(output->tail + output->tail_used, text, n);
	output->tail_used += n;
}

const char *output_tail(struct output *output)
{
	size_t skipped = output->tail_used > TAIL_ROOM ? output->tail_used - TAIL_ROOM : 0;

	if (output->tail == NULL)
		return "";
	output->tail[output->tail_used] = '\0';
	return output->tail + skipped;
}

/* What has no end gets one. */
static void end_line(struct stream *stream)
{
	if (stream->used == 0)
		return;
	stream->line[stream->used++] = '\n';
	pass(stream, stream->line, stream->used);
	stream->used = 0;
}

static void add_to_line(struct stream *stream, const char *text, size_t n)
{
	while (n > 0) {
		size_t room = LINE_ROOM - 1 - stream->used, part = n < room ? n : room;

		memcpy(stream->line + stream->used, text, part);
		stream->used += part;
		text += part;
		n -= part;
		if (n > 0)
			end_line(stream);
	}
}

static void take(struct stream *stream, const char *text, size_t n)
{
	const char *last = memrchr(text, '\n', n);
	size_t whole = last != NULL ? (size_t)(last - text) + 1 : 0;

	keep_tail(stream->output, text, n);
	if (stream->output->mode == OUTPUT_CAPTURE)
		return;
	if (stream->line == NULL && whole < n)
		stream->line = malloc(LINE_ROOM);
	if (whole > 0 && stream->used > 0) {
		const char *first = memchr(text, '\n', n);
		size_t rest = (size_t)(first - text);

		add_to_line(stream, text, rest);
		end_line(stream);
		text += rest + 1;
		n -= rest + 1;
		whole -= rest + 1;
	}
	if (whole > 0)
		pass(stream, text, whole);
	if (whole == n)
		return;
	if (stream->line != NULL)
		add_to_line(stream, text + whole, n - whole);
	else
		pass(stream, text + whole, n - whole);
}

/* --- the pipes -------------------------------------------------------------------------------- */

static void unwatch(struct stream *stream)
{
	if (stream->watch != NULL)
		stream->output->watcher->unwatch(stream->watch);
	stream->watch = NULL;
}

static void close_stream(struct stream *stream)
{
	unwatch(stream);
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

/* What is there, but not for ever: a flood must not keep the loop from everything else. */
static void read_stream(struct stream *stream)
{
	char text[READ_ROOM];

	for (int i = 0; i < READS_AT_ONCE && stream->fd >= 0; i++) {
		ssize_t n = read(stream->fd, text, sizeof(text));

		if (n > 0)
			take(stream, text, (size_t)n);
		else if (n == 0 || (errno != EAGAIN && errno != EINTR))
			close_stream(stream);
		if (n < (ssize_t)sizeof(text))
			return;
	}
}

static void on_ready(void *arg, int32_t events, int32_t error)
{
	(void)events, (void)error;
	read_stream(arg);
}

static void forget(struct output *output)
{
	memset(output, 0, sizeof(*output));
	for (int i = 0; i < 2; i++)
		output->streams[i] = (struct stream){
			.output = output, .fd = -1, .end = -1, .target = STDOUT_FILENO + i};
}

int32_t output_open(struct output *output, enum output_mode mode, int slot, par_error *error)
{
	int ends[2];

	forget(output);
	output->mode = mode;
	output->slot = slot;
	for (int i = 0; i < 2 && mode != OUTPUT_INHERIT; i++) {
		if (pipe2(ends, O_CLOEXEC) < 0)
			return par_fail(error, PAR_ENOMEM, "no pipe for what it prints: %s",
			                strerror(errno));
		output->streams[i].fd = ends[0];
		output->streams[i].end = ends[1];
		(void)fcntl(ends[0], F_SETFL, O_NONBLOCK);
	}
	return PAR_OK;
}

void output_ends(const struct output *output, int ends[2])
{
	for (int i = 0; i < 2; i++)
		ends[i] = output->streams[i].end;
}

void output_started(struct output *output)
{
	for (int i = 0; i < 2; i++) {
		if (output->streams[i].end >= 0)
			close(output->streams[i].end);
		output->streams[i].end = -1;
	}
}

int32_t output_watch(struct output *output, const par_host *host, const par_ext_fd *watcher)
{
	int32_t status = PAR_OK;

	output->watcher = watcher;
	for (int i = 0; i < 2 && status == PAR_OK; i++) {
		struct stream *stream = &output->streams[i];

		if (stream->fd >= 0)
			status = watcher->watch(host, stream->fd, PAR_READABLE, on_ready, stream,
			                        &stream->watch);
	}
	return status;
}

void output_unwatch(struct output *output)
{
	for (int i = 0; i < 2; i++)
		unwatch(&output->streams[i]);
}

void output_drain(struct output *output)
{
	for (int i = 0; i < 2; i++)
		if (output->streams[i].fd >= 0)
			read_stream(&output->streams[i]);
}

void output_finish(struct output *output)
{
	output_drain(output);
	for (int i = 0; i < 2; i++)
		end_line(&output->streams[i]);
}

void output_close(struct output *output)
{
	output_started(output);
	for (int i = 0; i < 2; i++) {
		close_stream(&output->streams[i]);
		free(output->streams[i].line);
	}
	free(output->tail);
	forget(output);
}
