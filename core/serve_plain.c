#include "serve_plain.h"

#include "error.h"
#include "serve_process.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct plain {
	const par_serving *serving;
	par_attachment **attachments; /* all that there are */
	size_t n_attachments;
	char *body; /* of the message that came last */
	size_t room;
};

/* --- messages --------------------------------------------------------------------------------- */

/* 1; 0: it ends here; -1: in the middle, or it cannot be read. */
static int read_whole(int fd, void *to, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t got = read(fd, (char *)to + at, n - at);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got == 0 && at == 0 ? 0 : -1;
		at += (size_t)got;
	}
	return 1;
}

static int write_whole(int fd, const void *from, size_t n)
{
	size_t at = 0;

	while (at < n) {
		ssize_t done = write(fd, (const char *)from + at, n - at);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		at += (size_t)done;
	}
	return 0;
}

static int say(const struct plain *plain, uint32_t kind, int32_t n, const void *body, uint64_t size)
{
	const par_plain head = {kind, n, size};

	if (write_whole(plain->serving->out, &head, sizeof(head)) < 0)
		return -1;
	return write_whole(plain->serving->out, body, size);
}

static int32_t refuse(par_error *error, const char *reason)
{
	error_set(error, PAR_EINVAL, "a worker cannot read what it is sent");
	error_reason(error, "%s", reason);
	return PAR_EINVAL;
}

/* --- attachments -------------------------------------------------------------------------------- */

static size_t place_of(const struct plain *plain, uint64_t id)
{
	size_t i = 0;

	while (i < plain->n_attachments && plain->attachments[i]->id != id)
		i++;
	return i;
}

static void detach(struct plain *plain, uint64_t id)
{
	size_t place = place_of(plain, id);
	par_attachment *attachment;

	if (place == plain->n_attachments)
		return;
	attachment = plain->attachments[place];
	if (attachment->bytes > 0)
		munmap((void *)(uintptr_t)attachment->address, attachment->bytes);
	free(attachment);
	plain->attachments[place] = plain->attachments[--plain->n_attachments];
}

/* Whatever a task writes there is seen by this worker alone. */
static int32_t map(par_attachment *attachment, const char *path, par_error *error)
{
	const int can_write = attachment->writable != PAR_ATTACH_READ;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat file;
	void *address = MAP_FAILED;

	if (fd >= 0 && fstat(fd, &file) == 0 && (uint64_t)file.st_size < attachment->bytes)
		errno = ENODATA;
	else if (fd >= 0 && attachment->bytes > 0)
		address = mmap(NULL, attachment->bytes, PROT_READ | (can_write ? PROT_WRITE : 0),
		               MAP_PRIVATE, fd, 0);
	else if (fd >= 0)
		address = (void *)(uintptr_t)"";
	if (address == MAP_FAILED) {
		error_set(error, PAR_EUNAVAIL, "a worker cannot map an attachment");
		error_file(error, "%s", path);
		error_reason(error, "%s", strerror(errno));
	}
	if (fd >= 0)
		close(fd);
	attachment->address = address;
	return address == MAP_FAILED ? PAR_EUNAVAIL : PAR_OK;
}

static int32_t attach(struct plain *plain, const par_plain *head, par_error *error)
{
	const par_plain_attachment *said = (const par_plain_attachment *)(const void *)plain->body;
	par_attachment **attachments, *attachment;
	int32_t status;

	if (head->size <= sizeof(*said) || plain->body[head->size - 1] != '\0')
		return refuse(error, "an attachment is cut");
	detach(plain, said->id);
	attachments = reallocarray(plain->attachments, plain->n_attachments + 1, sizeof(*attachments));
	if (attachments == NULL)
		return error_memory(error, "taking an attachment");
	plain->attachments = attachments;
	attachment = calloc(1, sizeof(*attachment));
	if (attachment == NULL)
		return error_memory(error, "taking an attachment");
	*attachment = (par_attachment){.size = sizeof(*attachment), .kind = said->kind, .id = said->id,
	                               .bytes = said->bytes, .fd = -1, .writable = said->writable};
	memcpy(attachment->sha256, said->sha256, sizeof(attachment->sha256));
	status = map(attachment, plain->body + sizeof(*said), error);
	if (status < 0)
		free(attachment);
	else
		attachments[plain->n_attachments++] = attachment;
	return status;
}

/* --- a batch -------------------------------------------------------------------------------------- */

static int32_t answer(void *user, const void *bytes, uint64_t n_bytes)
{
	return say(user, PAR_PLAIN_ANSWER, 0, bytes, n_bytes);
}

static int32_t run(struct plain *plain, const par_plain *head, par_error *error)
{
	par_error why = PAR_ERROR_INIT;
	const par_work work = {
		.size = sizeof(work),
		.worker = plain->serving->worker,
		.bytes = plain->body,
		.n_bytes = head->size,
		.attachments = (const par_attachment *const *)plain->attachments,
		.n_attachments = (uint32_t)plain->n_attachments,
		.send = answer,
		.user = plain,
	};
	char text[1200] = "";
	int32_t status;

	status = par_worker_run(&work, &why);
	if (status < 0)
		(void)par_error_text(&why, 0, text, sizeof(text));
	(void)fflush(NULL);
	if (say(plain, PAR_PLAIN_END, status, text, strlen(text)) == 0)
		return PAR_OK;
	error_set(error, PAR_ELOST, "nobody takes the answer of a batch");
	return PAR_ELOST;
}

static int32_t take(struct plain *plain, const par_plain *head, par_error *error)
{
	uint64_t id;

	switch (head->kind) {
	case PAR_PLAIN_ATTACH:
		return attach(plain, head, error);
	case PAR_PLAIN_DETACH:
		if (head->size != sizeof(id))
			return refuse(error, "an id is cut");
		memcpy(&id, plain->body, sizeof(id));
		detach(plain, id);
		return PAR_OK;
	case PAR_PLAIN_RUN:
		return run(plain, head, error);
	default:
		return refuse(error, "a message is of no known kind");
	}
}

/* --- all of them ------------------------------------------------------------------------------------ */

static int make_room(struct plain *plain, uint64_t size)
{
	char *body;

	if (size <= plain->room)
		return 0;
	body = size > SSIZE_MAX ? NULL : malloc(size);
	if (body == NULL)
		return -1;
	free(plain->body);
	plain->body = body;
	plain->room = size;
	return 0;
}

static int32_t serve(struct plain *plain, par_error *error)
{
	int32_t status = PAR_OK;
	par_plain head;
	int got;

	if (say(plain, PAR_PLAIN_READY, 0, PAR_VERSION_STRING, strlen(PAR_VERSION_STRING)) < 0)
		return PAR_OK;
	while (status == PAR_OK && (got = read_whole(plain->serving->in, &head, sizeof(head))) != 0) {
		if (got < 0)
			return refuse(error, "it ends in the middle of a message");
		if (make_room(plain, head.size) < 0)
			return error_memory(error, "taking a message");
		if (head.size > 0 && read_whole(plain->serving->in, plain->body, head.size) <= 0)
			return refuse(error, "it ends in the middle of a message");
		status = take(plain, &head, error);
	}
	return status;
}

int32_t serve_plain(const par_serving *serving, par_error *error)
{
	struct plain plain = {.serving = serving};
	const int32_t ends[2] = {serving->in, serving->out};
	int32_t status = PAR_OK;

	if (serving->parent > 0) {
		status = process_settle(serving->parent, ends, error);
		if (status < 0)
			return status;
		process_watch_parent(serving->parent);
		process_end_group_at_exit(serving->parent);
	}
	status = serve(&plain, error);
	while (plain.n_attachments > 0)
		detach(&plain, plain.attachments[0]->id);
	free(plain.attachments);
	free(plain.body);
	if (serving->parent > 0)
		process_end_group();
	return status == PAR_ELOST ? PAR_OK : status;
}
