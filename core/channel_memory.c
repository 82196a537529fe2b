#include "channel_memory.h"

#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define MARK "parloop"

/* In the file, and in memory. */
enum {
	FILE_TO = CHANNEL_WORDS,
	FILE_FROM = FILE_TO + CHANNEL_TO_WORKER,
	FILE_BYTES = FILE_FROM + CHANNEL_FROM_WORKER,
	ZEROS = CHANNEL_WORDS,
	AT_TO = CHANNEL_WORDS,
	AT_FROM = AT_TO + 2 * CHANNEL_TO_WORKER + ZEROS,
	MAPPED = AT_FROM + 2 * CHANNEL_FROM_WORKER + ZEROS
};

static int32_t cannot_open(const char *what, par_error *error)
{
	int why = errno;

	error_set(error, PAR_ENOMEM, "cannot open a channel to a worker");
	error_reason(error, "%s: %s", what, strerror(why));
	if (why == EMFILE || why == ENFILE)
		error_remedy(error, "allow more open files (ulimit -n)");
	return PAR_ENOMEM;
}

/* Making a file longer than is allowed is answered with a signal. */
static int32_t check_limit(par_error *error)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_FSIZE, &limit) < 0 || limit.rlim_cur >= FILE_BYTES)
		return PAR_OK;
	error_set(error, PAR_ENOMEM, "cannot open a channel to a worker");
	error_reason(error, "shared memory counts as a file, which may have %llu bytes here, and this "
	                    "one has %d", (unsigned long long)limit.rlim_cur, FILE_BYTES);
	error_remedy(error, "allow longer files (ulimit -f)");
	return PAR_ENOMEM;
}

static int write_mark(int fd)
{
	const struct channel_words words = {.mark = MARK, .layout = CHANNEL_LAYOUT};
	const size_t n = offsetof(struct channel_words, reserved);

	return pwrite(fd, &words, n, 0) == (ssize_t)n ? 0 : -1;
}

int channel_memory_create(par_error *error)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd;

	if (check_limit(error) < 0)
		return -1;
	fd = memfd_create("parloop-channel", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0) {
		cannot_open("memfd_create", error);
		return -1;
	}
	if (ftruncate(fd, FILE_BYTES) == 0 && fcntl(fd, F_ADD_SEALS, seals) == 0 && write_mark(fd) == 0)
		return fd;
	cannot_open("its shared memory", error);
	close(fd);
	return -1;
}

/* Over what was reserved. */
static int map(char *at, size_t n, int fd, off_t from)
{
	return mmap(at, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, from) == at ? 0 : -1;
}

static int map_twice(char *at, size_t n, int fd, off_t from)
{
	return map(at, n, fd, from) < 0 || map(at + n, n, fd, from) < 0 ? -1 : 0;
}

static int map_all(char *at, int fd)
{
	if (map(at, CHANNEL_WORDS, fd, 0) < 0 ||
	    map_twice(at + AT_TO, CHANNEL_TO_WORKER, fd, FILE_TO) < 0 ||
	    map_twice(at + AT_FROM, CHANNEL_FROM_WORKER, fd, FILE_FROM) < 0)
		return -1;
	return madvise(at, MAPPED, MADV_DONTFORK);
}

/* A file that is shorter than it should be would be no error, but a signal. */
static int has_its_length(int fd)
{
	return lseek(fd, 0, SEEK_END) == FILE_BYTES;
}

int32_t channel_memory_map(struct channel_memory *memory, int fd, par_error *error)
{
	char *at;

	*memory = (struct channel_memory){NULL, NULL, NULL};
	if (!has_its_length(fd)) {
		error_set(error, PAR_EUNAVAIL, "cannot serve a channel");
		error_reason(error, "descriptor %d is not its memory, or of another parloop's", fd);
		error_remedy(error, "install the same parloop on both sides");
		return PAR_EUNAVAIL;
	}
	at = mmap(NULL, MAPPED, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at == MAP_FAILED)
		return cannot_open("its address space", error);
	memory->words = (struct channel_words *)at;
	if (map_all(at, fd) < 0) {
		cannot_open("its address space", error);
		channel_memory_unmap(memory);
		return PAR_ENOMEM;
	}
	memory->to_worker = at + AT_TO;
	memory->from_worker = at + AT_FROM;
	return PAR_OK;
}

void channel_memory_inherit(const struct channel_memory *memory)
{
	(void)madvise(memory->words, MAPPED, MADV_DOFORK);
}

int32_t channel_memory_check(const struct channel_memory *memory, par_error *error)
{
	const struct channel_words *words = memory->words;

	if (memcmp(words->mark, MARK, sizeof(words->mark)) == 0 && words->layout == CHANNEL_LAYOUT)
		return PAR_OK;
	error_set(error, PAR_EUNAVAIL, "the other side is of another parloop");
	error_reason(error, "its memory has layout %u, this one's is %d", (unsigned)words->layout,
	             CHANNEL_LAYOUT);
	error_remedy(error, "install the same parloop on both sides");
	return PAR_EUNAVAIL;
}

void channel_memory_unmap(struct channel_memory *memory)
{
	if (memory->words != NULL)
		munmap(memory->words, MAPPED);
	*memory = (struct channel_memory){NULL, NULL, NULL};
}
