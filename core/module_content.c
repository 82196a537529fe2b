#include "module_content.h"

#include "error.h"
#include "forked.h"

#include <errno.h>
#include <pthread.h>
#include <sha256.h>
#include <stdlib.h>
#include <unistd.h>

struct content {
	struct content *next;
	const par_module *module;
	par_attachment attachment;
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct content *first;
	uint64_t last_id;
} contents = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(contents.lock);

void module_digest(const void *bytes, uint64_t n, uint8_t digest[32])
{
	SHA2_CTX state;

	SHA256Init(&state);
	SHA256Update(&state, bytes, n);
	SHA256Final(digest, &state);
}

static int32_t refuse(const par_module *module, const char *reason, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "cannot send the task module to workers");
	error_file(error, "%s", module_path(module));
	error_reason(error, "%s", reason);
	error_remedy(error, "start the program anew");
	return PAR_EUNAVAIL;
}

/* All of a file that is open, or NULL, with errno 0 if it ends before that. */
static void *read_whole(int fd, uint64_t n)
{
	char *bytes = malloc(n);
	uint64_t at = 0;
	ssize_t got = 1;

	while (bytes != NULL && at < n && got != 0) {
		got = pread(fd, bytes + at, n - at, (off_t)at);
		if (got > 0)
			at += (uint64_t)got;
		else if (got < 0 && errno != EINTR)
			break;
	}
	if (at == n)
		return bytes;
	if (got == 0)
		errno = 0;
	free(bytes);
	return NULL;
}

static int32_t read_content(struct content *content, const struct elf *elf, par_error *error)
{
	par_attachment *attachment = &content->attachment;
	struct elf_id id;
	int32_t status = elf_identify(elf, &id, error);

	if (status < 0)
		return status;
	if (!elf_id_is(&id, module_id(content->module)))
		return refuse(content->module, "the file was replaced since it was loaded", error);
	attachment->bytes = (uint64_t)elf->stat.st_size;
	attachment->address = read_whole(elf->fd, attachment->bytes);
	if (attachment->address == NULL && errno == ENOMEM)
		return error_memory(error, "reading a task module");
	if (attachment->address == NULL)
		return refuse(content->module, errno == 0 ? "the file was cut while it was read"
		                                          : "the file cannot be read", error);
	module_digest(attachment->address, attachment->bytes, attachment->sha256);
	return PAR_OK;
}

static int32_t create(struct content **out, const par_module *module, par_error *error)
{
	struct content *content = calloc(1, sizeof(*content));
	struct elf elf;
	int32_t status;

	if (content == NULL)
		return error_memory(error, "reading a task module");
	content->module = module;
	content->attachment.size = sizeof(content->attachment);
	content->attachment.kind = PAR_ATTACH_MODULE;
	content->attachment.fd = -1;
	status = elf_open(&elf, module_path(module), error);
	if (status == PAR_OK) {
		status = read_content(content, &elf, error);
		elf_close(&elf);
	}
	if (status < 0)
		free(content);
	else
		*out = content;
	return status;
}

int32_t module_attachment(const par_module *module, const par_attachment **attachment,
                          par_error *error)
{
	struct content *content;
	int32_t status = PAR_OK;

	pthread_mutex_lock(&contents.lock);
	content = contents.first;
	while (content != NULL && content->module != module)
		content = content->next;
	if (content == NULL)
		status = create(&content, module, error);
	if (status == PAR_OK && content->attachment.id == 0) {
		content->attachment.id = ++contents.last_id;
		content->next = contents.first;
		contents.first = content;
	}
	pthread_mutex_unlock(&contents.lock);
	if (status == PAR_OK)
		*attachment = &content->attachment;
	else if (error != NULL && error->what[0] == '\0')
		error_prefix(error, "cannot send the task module to workers");
	return status;
}
