#include "serve_attached.h"

#include "error.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	PASSED = 253, /* descriptors that one message can bring */
	MOST_ATTACHMENTS = 65536,
};

/* Something that came once and is there for the batches that name it. */
struct attached {
	par_attachment attachment; /* its address is ours to give back */
	int is_mapped;
};

static void attached_destroy(struct attached *attached)
{
	void *address;

	if (attached == NULL)
		return;
	address = (void *)(uintptr_t)attached->attachment.address;
	if (attached->is_mapped && address != NULL)
		munmap(address, (size_t)attached->attachment.bytes);
	else if (!attached->is_mapped)
		free(address);
	free(attached);
}

/* --- descriptors ------------------------------------------------------------------------------ */

/* One that there is no place for is closed, and missed later. */
static void keep_passed(struct attachments *attachments, int fd)
{
	size_t room = attachments->passed_room > 0 ? 2 * attachments->passed_room : 16;
	int *passed;

	if (attachments->n_passed == attachments->passed_room) {
		passed = attachments->n_passed < MOST_ATTACHMENTS
		                 ? reallocarray(attachments->passed, room, sizeof(*passed))
		                 : NULL;
		if (passed == NULL) {
			if (fd >= 0)
				close(fd);
			return;
		}
		attachments->passed = passed;
		attachments->passed_room = room;
	}
	attachments->passed[attachments->n_passed++] = fd;
}

static void keep_all_passed(struct attachments *attachments, struct msghdr *message)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part != NULL;
	     part = CMSG_NXTHDR(message, part)) {
		size_t n = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < n; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			keep_passed(attachments, fd);
		}
	}
	/* This process has as many open as it may. */
	if (message->msg_flags & MSG_CTRUNC)
		keep_passed(attachments, -1);
}

ssize_t attachments_receive(struct attachments *attachments, int socket, void *bytes, size_t n)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int) * PASSED)];
	} control;
	struct iovec piece = {bytes, n};
	struct msghdr message = {
		.msg_iov = &piece,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof(control),
	};
	ssize_t came = recvmsg(socket, &message, MSG_CMSG_CLOEXEC);

	if (came >= 0)
		keep_all_passed(attachments, &message);
	return came;
}

static int take_passed(struct attachments *attachments)
{
	int fd = attachments->n_passed > 0 ? attachments->passed[0] : -1;

	if (attachments->n_passed > 0) {
		attachments->n_passed--;
		memmove(attachments->passed, attachments->passed + 1,
		        attachments->n_passed * sizeof(attachments->passed[0]));
	}
	return fd;
}

/* --- attachments ------------------------------------------------------------------------------ */

void attachments_remove(struct attachments *attachments, uint64_t id)
{
	for (size_t i = 0; i < attachments->n; i++) {
		if (attachments->attached[i]->attachment.id != id)
			continue;
		attached_destroy(attachments->attached[i]);
		attachments->n--;
		attachments->attached[i] = attachments->attached[attachments->n];
		attachments->list[i] = attachments->list[attachments->n];
		return;
	}
}

static int grow_table(struct attachments *attachments)
{
	size_t room = attachments->room > 0 ? 2 * attachments->room : 16;
	struct attached **attached = reallocarray(attachments->attached, room, sizeof(*attached));
	const par_attachment **list;

	if (attached == NULL)
		return -1;
	attachments->attached = attached;
	list = reallocarray(attachments->list, room, sizeof(*list));
	if (list == NULL)
		return -1;
	attachments->list = list;
	attachments->room = room;
	return 0;
}

static int32_t map(struct attached *attached, int fd, par_error *error)
{
	par_attachment *attachment = &attached->attachment;
	const int protection = attachment->writable != PAR_ATTACH_READ ? PROT_READ | PROT_WRITE
	                                                               : PROT_READ;
	const int sharing = attachment->writable == PAR_ATTACH_PRIVATE ? MAP_PRIVATE : MAP_SHARED;
	struct stat file;
	void *address;

	if (fd < 0)
		return wire_refuse(error, "no descriptor came with attachment %llu",
		                   (unsigned long long)attachment->id);
	if (fstat(fd, &file) < 0 || file.st_size < 0 || (uint64_t)file.st_size < attachment->bytes)
		return wire_refuse(error, "attachment %llu has %llu bytes, and says %llu",
		                   (unsigned long long)attachment->id,
		                   (unsigned long long)file.st_size,
		                   (unsigned long long)attachment->bytes);
	attached->is_mapped = 1;
	if (attachment->bytes == 0)
		return PAR_OK;
	address = mmap(NULL, (size_t)attachment->bytes, protection, sharing, fd, 0);
	if (address == MAP_FAILED) {
		error_set(error, PAR_ENOMEM, "cannot map attachment %llu",
		          (unsigned long long)attachment->id);
		error_reason(error, "%s", strerror(errno));
		return PAR_ENOMEM;
	}
	attachment->address = address;
	return PAR_OK;
}

static int32_t copy(struct attached *attached, const void *bytes, par_error *error)
{
	size_t n = (size_t)attached->attachment.bytes;
	void *room = NULL;

	if (posix_memalign(&room, 64, n > 0 ? n : 1) != 0)
		return error_memory(error, "keeping an attachment");
	memcpy(room, bytes, n);
	attached->attachment.address = room;
	return PAR_OK;
}

static void describe(par_attachment *attachment, const struct wire_attach *attach)
{
	*attachment = (par_attachment){
		.size = sizeof(*attachment),
		.kind = attach->kind,
		.id = attach->id,
		.bytes = attach->bytes,
		.fd = -1,
		.writable = attach->writable,
	};
	memcpy(attachment->sha256, attach->sha256, sizeof(attachment->sha256));
}

static int32_t add(struct attachments *attachments, const struct wire_attach *attach,
                   const void *bytes, int fd, par_error *error)
{
	struct attached *attached;
	int32_t status;

	if (attachments->n >= MOST_ATTACHMENTS)
		return wire_refuse(error, "more than %d attachments at once", MOST_ATTACHMENTS);
	attachments_remove(attachments, attach->id);
	attached = calloc(1, sizeof(*attached));
	if (attached == NULL || (attachments->n == attachments->room && grow_table(attachments) < 0)) {
		free(attached);
		return error_memory(error, "keeping an attachment");
	}
	describe(&attached->attachment, attach);
	status = attach->how == WIRE_PASSED ? map(attached, fd, error) : copy(attached, bytes, error);
	if (status < 0) {
		attached_destroy(attached);
		return status;
	}
	attachments->list[attachments->n] = &attached->attachment;
	attachments->attached[attachments->n++] = attached;
	return PAR_OK;
}

int32_t attachments_add(struct attachments *attachments, const struct wire_attach *attach,
                        const void *bytes, par_error *error)
{
	int fd = attach->how == WIRE_PASSED ? take_passed(attachments) : -1;
	int32_t status = add(attachments, attach, bytes, fd, error);

	if (fd >= 0)
		close(fd);
	return status;
}

void attachments_finish(struct attachments *attachments)
{
	for (size_t i = 0; i < attachments->n; i++)
		attached_destroy(attachments->attached[i]);
	for (size_t i = 0; i < attachments->n_passed; i++)
		if (attachments->passed[i] >= 0)
			close(attachments->passed[i]);
	free(attachments->passed);
	free(attachments->attached);
	free(attachments->list);
	*attachments = (struct attachments){0};
}
