#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { READ_ROOM = 16384, READS_AT_ONCE = 16, PATIENCE_MS = 1000 };

static void write_all(int fd, const char *text, size_t n)
{
	while (n > 0) {
		ssize_t written = write(fd, text, n);
		struct pollfd room = {.fd = fd, .events = POLLOUT};

		if (written < 0 && (errno == EINTR || (errno == EAGAIN && poll(&room, 1, PATIENCE_MS) > 0)))
			continue;
		if (written <= 0)
			return;
		text += written;
		n -= (size_t)written;
	}
}

/* After what the program has printed, and not in the middle of it. */
static void show(const struct stream *stream, const char *text, size_t n)
{
	FILE *file = stream->target == STDOUT_FILENO ? stdout : stderr;

	if (stream->output->is_quiet || n == 0)
		return;
	flockfile(file);
	(void)fflush(file);
	write_all(stream->target, text, n);
	funlockfile(file);
}

static void keep_tail(struct output *output, const char *text, size_t n)
{
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

	while (output->tail_used > skipped && strchr("\n \t-=", output->tail[output->tail_used - 1]))
		output->tail_used--;
	output->tail[output->tail_used] = '\0';
	return output->tail + skipped;
}

const char *output_complaint(const struct output *output)
{
	return output->complaint;
}

/* Launchers may put something before it. */
static void look_for_complaint(struct output *output, const char *line, size_t n)
{
	static const char who[] = "parloop-mpi-relay: ";
	const char *at = memmem(line, n, who, strlen(who));

	n -= n > 0 && line[n - 1] == '\n';
	if (at != NULL && output->complaint[0] == '\0')
		(void)snprintf(output->complaint, sizeof(output->complaint), "%.*s",
		               (int)(line + n - at), at);
}

static void end_line(struct stream *stream)
{
	look_for_complaint(stream->output, stream->line, stream->used);
	show(stream, stream->line, stream->used);
	stream->used = 0;
}

/* A line that is too long goes in pieces. */
static void take(struct stream *stream, const char *text, size_t n)
{
	keep_tail(stream->output, text, n);
	while (n > 0) {
		const char *end = memchr(text, '\n', n);
		size_t part = end != NULL ? (size_t)(end - text) + 1 : n;

		if (part > LINE_ROOM - stream->used)
			part = LINE_ROOM - stream->used;
		memcpy(stream->line + stream->used, text, part);
		stream->used += part;
		text += part;
		n -= part;
		if (stream->line[stream->used - 1] == '\n' || stream->used == LINE_ROOM)
			end_line(stream);
	}
}

static void close_stream(struct stream *stream)
{
	if (stream->watch != NULL)
		stream->output->watcher->unwatch(stream->watch);
	stream->watch = NULL;
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

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

int32_t output_open(struct output *output, int ends[2], par_error *error)
{
	memset(output, 0, sizeof(*output));
	ends[0] = ends[1] = -1;
	for (int i = 0; i < 2; i++)
		output->streams[i] =
			(struct stream){.output = output, .fd = -1, .target = STDOUT_FILENO + i};
	for (int i = 0; i < 2; i++) {
		int fds[2];

		if (pipe2(fds, O_CLOEXEC) < 0)
			return par_fail(error, PAR_ENOMEM, "no pipe for what the job prints: %s",
			                strerror(errno));
		output->streams[i].fd = fds[0];
		ends[i] = fds[1];
		(void)fcntl(fds[0], F_SETFL, O_NONBLOCK);
	}
	return PAR_OK;
}

int32_t output_watch(struct output *output, const par_host *host, const par_ext_fd *watcher)
{
	int32_t status = PAR_OK;

	output->watcher = watcher;
	for (int i = 0; i < 2 && status == PAR_OK; i++)
		if (output->streams[i].fd >= 0)
			status = watcher->watch(host, output->streams[i].fd, PAR_READABLE, on_ready,
			                        &output->streams[i], &output->streams[i].watch);
	return status;
}

void output_unwatch(struct output *output)
{
	for (int i = 0; i < 2; i++) {
		if (output->streams[i].watch != NULL)
			output->watcher->unwatch(output->streams[i].watch);
		output->streams[i].watch = NULL;
	}
}

void output_drain(struct output *output)
{
	for (int i = 0; i < 2; i++)
		read_stream(&output->streams[i]);
}

void output_close(struct output *output)
{
	for (int i = 0; i < 2; i++) {
		struct stream *stream = &output->streams[i];

		if (stream->used > 0)
			show(stream, stream->line, stream->used);
		stream->used = 0;
		close_stream(stream);
	}
}
