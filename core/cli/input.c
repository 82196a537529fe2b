#include "input.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { CHUNK_SIZE = 256 * 1024 };

/* What was read, and which lines lie in it: the first begins at its first byte.  Only the
 * newest chunk is still being filled. */
struct chunk {
	struct chunk *next; /* newer */
	uint64_t first;     /* index of its first line         */
	uint64_t given;     /* lines handed out of it          */
	uint64_t live;      /* of those, not yet released      */
	size_t size, used;  /* bytes                           */
	size_t line;        /* where the next line begins      */
	size_t searched;    /* no end of that line before here */
	char bytes[];
};

struct input {
	char **arguments; /* NULL: lines */
	int fd;
	char end;
	int over, error;
	uint64_t taken;
	struct chunk *oldest, *newest;
	/* Chunks that nobody needs any more since the last input_next(). */
	struct chunk *idle;
};

static struct chunk *chunk_create(size_t size)
{
	struct chunk *chunk = malloc(sizeof(*chunk) + size);

	if (chunk != NULL)
		*chunk = (struct chunk){.size = size};
	return chunk;
}

static void destroy_all(struct chunk *chunk)
{
	struct chunk *next;

	for (; chunk != NULL; chunk = next) {
		next = chunk->next;
		free(chunk);
	}
}

struct input *input_create_lines(int fd, char end)
{
	struct input *input = calloc(1, sizeof(*input));

	if (input == NULL)
		return NULL;
	*input = (struct input){.fd = fd, .end = end};
	input->oldest = input->newest = chunk_create(CHUNK_SIZE);
	if (input->newest == NULL) {
		free(input);
		return NULL;
	}
	return input;
}

struct input *input_create_arguments(char **arguments)
{
	struct input *input = calloc(1, sizeof(*input));

	if (input != NULL)
		*input = (struct input){.fd = -1, .arguments = arguments};
	return input;
}

void input_destroy(struct input *input)
{
	if (input == NULL)
		return;
	destroy_all(input->oldest);
	destroy_all(input->idle);
	free(input);
}

int input_error(const struct input *input)
{
	return input->error;
}

uint64_t input_taken(const struct input *input)
{
	return input->taken;
}

static int fail(struct input *input, int error)
{
	input->error = error;
	return -1;
}

static struct chunk *take_idle(struct input *input, size_t size)
{
	struct chunk *chunk = input->idle;

	if (chunk == NULL || chunk->size < size)
		return chunk_create(size);
	input->idle = chunk->next;
	*chunk = (struct chunk){.size = chunk->size};
	return chunk;
}

/* Keep one of the usual size for the next need, give the others back. */
static void trim_idle(struct input *input)
{
	struct chunk **at = &input->idle, *chunk;
	int kept = 0;

	while ((chunk = *at) != NULL) {
		if (chunk->size == CHUNK_SIZE && !kept++) {
			at = &chunk->next;
			continue;
		}
		*at = chunk->next;
		free(chunk);
	}
}

/* Nobody looks at what is in the newest chunk: its room can be used again, or grow. */
static int reuse(struct input *input)
{
	struct chunk *chunk = input->newest, *grown, **at;

	if (chunk->line > 0) {
		chunk->used -= chunk->line;
		chunk->searched -= chunk->line;
		memmove(chunk->bytes, chunk->bytes + chunk->line, chunk->used);
		chunk->line = 0;
		chunk->given = 0;
		chunk->first = input->taken;
		return 0;
	}
	for (at = &input->oldest; *at != chunk; at = &(*at)->next)
		;
	grown = realloc(chunk, sizeof(*chunk) + chunk->size * 2);
	if (grown == NULL)
		return -1;
	grown->size *= 2;
	*at = input->newest = grown;
	return 0;
}

/* The newest chunk is full: go on in another, with the line that began here. */
static int continue_in_another(struct input *input)
{
	struct chunk *old = input->newest, *chunk;
	size_t begun = old->used - old->line, size = CHUNK_SIZE;

	while (size < begun * 2)
		size *= 2;
	chunk = take_idle(input, size);
	if (chunk == NULL)
		return -1;
	memcpy(chunk->bytes, old->bytes + old->line, begun);
	chunk->used = begun;
	chunk->searched = old->searched - old->line;
	chunk->first = input->taken;
	old->used = old->line;
	old->next = chunk;
	input->newest = chunk;
	return 0;
}

static int make_room(struct input *input)
{
	struct chunk *chunk = input->newest;

	if (chunk->used < chunk->size)
		return 0;
	if ((chunk->live == 0 ? reuse(input) : continue_in_another(input)) == 0)
		return 0;
	return fail(input, ENOMEM);
}

/* More bytes: 1; 0 at the end of the file; INPUT_NOT_YET if to read would mean to wait. */
static int fill(struct input *input)
{
	struct pollfd readable = {.fd = input->fd, .events = POLLIN};
	struct chunk *chunk;
	ssize_t n;

	if (make_room(input) < 0)
		return -1;
	chunk = input->newest;
	if (poll(&readable, 1, 0) == 0)
		return INPUT_NOT_YET;
	n = read(input->fd, chunk->bytes + chunk->used, chunk->size - chunk->used);
	if (n < 0)
		return errno == EINTR || errno == EAGAIN ? INPUT_NOT_YET : fail(input, errno);
	chunk->used += (size_t)n;
	return n > 0;
}

static int hand_out(struct input *input, size_t n, size_t skip, const char **bytes, size_t *n_bytes)
{
	struct chunk *chunk = input->newest;

	if (n > UINT32_MAX)
		return fail(input, EFBIG);
	*bytes = chunk->bytes + chunk->line;
	*n_bytes = n;
	chunk->line += n + skip;
	chunk->searched = chunk->line;
	chunk->given++;
	chunk->live++;
	input->taken++;
	return 1;
}

static int next_line(struct input *input, const char **bytes, size_t *n)
{
	struct chunk *chunk;
	const char *line, *end;
	int more;

	for (;;) {
		chunk = input->newest;
		end = memchr(chunk->bytes + chunk->searched, input->end,
		             chunk->used - chunk->searched);
		if (end != NULL) {
			line = chunk->bytes + chunk->line;
			return hand_out(input, (size_t)(end - line), 1, bytes, n);
		}
		chunk->searched = chunk->used;
		if (chunk->used - chunk->line > UINT32_MAX)
			return fail(input, EFBIG);
		more = fill(input);
		if (more == 1)
			continue;
		if (more != 0)
			return more;
		input->over = 1;
		chunk = input->newest;
		if (chunk->used == chunk->line)
			return 0;
		return hand_out(input, chunk->used - chunk->line, 0, bytes, n);
	}
}

int input_next(struct input *input, const char **bytes, size_t *n)
{
	trim_idle(input);
	if (input->arguments == NULL)
		return input->over ? 0 : next_line(input, bytes, n);
	*bytes = input->arguments[input->taken];
	if (*bytes == NULL)
		return 0;
	*n = strlen(*bytes);
	input->taken++;
	input->over = input->arguments[input->taken] == NULL;
	return 1;
}

static int holds(const struct chunk *chunk, uint64_t index)
{
	return index >= chunk->first && index < chunk->first + chunk->given;
}

void input_release(struct input *input, uint64_t index)
{
	struct chunk **at = &input->oldest, *chunk;

	while ((chunk = *at) != NULL && !holds(chunk, index))
		at = &chunk->next;
	if (chunk == NULL || --chunk->live > 0 || chunk == input->newest)
		return;
	*at = chunk->next;
	chunk->next = input->idle;
	input->idle = chunk;
}

int input_find(const struct input *input, uint64_t index, const char **bytes, size_t *n)
{
	const struct chunk *chunk;
	const char *line, *end;

	if (input->arguments != NULL) {
		if (index >= input->taken)
			return -1;
		*bytes = input->arguments[index];
		*n = strlen(*bytes);
		return 0;
	}
	for (chunk = input->oldest; chunk != NULL && !holds(chunk, index); chunk = chunk->next)
		;
	if (chunk == NULL)
		return -1;
	line = chunk->bytes;
	for (uint64_t i = chunk->first;; i++) {
		end = memchr(line, input->end, chunk->line - (size_t)(line - chunk->bytes));
		if (end == NULL)
			end = chunk->bytes + chunk->line;
		if (i == index)
			break;
		line = end + 1;
	}
	*bytes = line;
	*n = (size_t)(end - line);
	return 0;
}
