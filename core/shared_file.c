#include "shared_file.h"

#include "budget.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

/* Of Linux 6.3: nobody can execute it; where the system wants that, nothing else is allowed. */
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U
#endif
#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

enum {
	RESERVE_BYTES = 1 << 20,   /* at a time */
	BUDGET_BYTES = 8 << 20,    /* for less it is not worth the time to ask */
	WRITE_BYTES = 1 << 30
};

/* --- making one ------------------------------------------------------------------------------- */

static uint64_t limit_of(int resource)
{
	struct rlimit limit;

	if (getrlimit(resource, &limit) < 0 || limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}

static int make_file(void)
{
	int fd = memfd_create("parloop-shared", MFD_CLOEXEC | MFD_NOEXEC_SEAL);

	if (fd < 0 && errno == EINVAL)
		fd = memfd_create("parloop-shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	return fd;
}

/* Refused here is what the kernel would answer by a signal, or by the end of some process. */
int shared_file_check(uint64_t room)
{
	if (room > INT64_MAX || room > limit_of(RLIMIT_FSIZE))
		return EFBIG;
	return room >= BUDGET_BYTES && room > budget_left() ? ENOMEM : 0;
}

int shared_file_create(struct shared_file *file, uint64_t room)
{
	void *address;
	int why;

	*file = (struct shared_file){.fd = -1, .room = room};
	file->fd = make_file();
	if (file->fd < 0)
		return errno;
	if (ftruncate(file->fd, (off_t)room) < 0)
		goto fail;
	address = mmap(NULL, (size_t)room, PROT_READ | PROT_WRITE, MAP_SHARED, file->fd, 0);
	if (address == MAP_FAILED)
		goto fail;
	file->address = address;
	return 0;
fail:
	why = errno;
	shared_file_close(file);
	return why;
}

/* In pieces, since a kernel that is interrupted by a signal gives back what it had so far. */
int shared_file_reserve(struct shared_file *file, uint64_t from)
{
	while (from < file->room) {
		uint64_t n = file->room - from < RESERVE_BYTES ? file->room - from : RESERVE_BYTES;

		if (fallocate(file->fd, 0, (off_t)from, (off_t)n) == 0)
			from += n;
		else if (errno != EINTR)
			return errno;
	}
	return 0;
}

/* Pages that are written whole need no zeros before, and no mapping. */
int shared_file_write(struct shared_file *file, const void *bytes, uint64_t n)
{
	uint64_t at = 0;

	while (at < n) {
		size_t some = n - at < WRITE_BYTES ? (size_t)(n - at) : WRITE_BYTES;
		ssize_t done = pwrite(file->fd, (const char *)bytes + at, some, (off_t)at);

		if (done > 0)
			at += (uint64_t)done;
		else if (done == 0 || errno != EINTR)
			return done == 0 ? ENOSPC : errno;
	}
	return 0;
}

int shared_file_seal(struct shared_file *file, int read_only)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	if (read_only && fcntl(file->fd, F_ADD_SEALS, seals | F_SEAL_FUTURE_WRITE) == 0)
		return 0;
	return fcntl(file->fd, F_ADD_SEALS, seals) == 0 ? 0 : errno;
}

/* Where it is not known (before 5.14), the pages come one by one. */
void shared_file_populate(struct shared_file *file)
{
	(void)madvise(file->address, (size_t)file->room, MADV_POPULATE_WRITE);
}

void shared_file_close(struct shared_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

void shared_file_unmap(struct shared_file *file)
{
	if (file->address != NULL)
		munmap(file->address, (size_t)file->room);
	file->address = NULL;
}

/* --- why it could not be made ----------------------------------------------------------------- */

static const char *size_text(uint64_t n, char text[32])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double size = (double)n;
	int unit = 0;

	while (size >= 1024 && unit < 6) {
		size /= 1024;
		unit++;
	}
	(void)snprintf(text, 32, "%.4g %s", size, units[unit]);
	return text;
}

static void tell_too_large(par_error *error)
{
	const uint64_t limit = limit_of(RLIMIT_FSIZE);
	char text[32];

	if (limit == UINT64_MAX) {
		error_reason(error, "the system has no file of that size");
		error_remedy(error, "share less at a time");
		return;
	}
	error_reason(error, "a file of this process, as which memory is shared, may have %s at most",
	             size_text(limit, text));
	error_remedy(error, "raise that limit (ulimit -f), or share less at a time");
}

static void tell_no_memory(par_error *error, uint64_t n, int why)
{
	const uint64_t left = budget_left(), limit = limit_of(RLIMIT_AS);
	char text[32];

	if (left >= n && limit != UINT64_MAX) {
		error_reason(error, "this process may have %s of address space", size_text(limit, text));
		error_remedy(error, "raise that limit (ulimit -v), or share less at a time");
		return;
	}
	if (left < n)
		error_reason(error, "%s of memory are left", size_text(left, text));
	else
		error_reason(error, "%s", strerror(why));
	error_remedy(error, "free what is shared and not needed, or share less at a time");
}

static void tell_no_descriptor(par_error *error)
{
	error_reason(error, "each piece of shared memory takes a descriptor, and all %llu are in use",
	             (unsigned long long)limit_of(RLIMIT_NOFILE));
	error_remedy(error, "raise that limit (ulimit -n), or share fewer and larger pieces");
}

static int32_t code_of(int why)
{
	switch (why) {
	case EFAULT:
		return PAR_EINVAL;
	case ENOSYS:
	case EPERM:
	case EACCES:
		return PAR_EUNAVAIL;
	default:
		return PAR_ENOMEM;
	}
}

int32_t shared_file_refuse(par_error *error, uint64_t n, int why)
{
	char text[32];

	error_set(error, code_of(why), "cannot share %s of memory", size_text(n, text));
	if (why == EFBIG || why == EINVAL || why == EOVERFLOW)
		tell_too_large(error);
	else if (why == ENOMEM || why == ENOSPC || why == EDQUOT)
		tell_no_memory(error, n, why);
	else if (why == EMFILE)
		tell_no_descriptor(error);
	else
		error_reason(error, "%s", strerror(why));
	return code_of(why);
}
