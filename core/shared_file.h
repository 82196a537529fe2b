/* shared_file.h - a part of shared: memory that is a file without a name, so that other processes
 * can map it, and that ends with the last of them.
 *
 * Its pages are there before anybody writes to them.  Sealed, it cannot shrink; so nobody dies of
 * SIGBUS.  What fails returns an errno, which shared_file_refuse() puts into words. */
#ifndef CORE_SHARED_FILE_H
#define CORE_SHARED_FILE_H

#include <parloop/error.h>

#include <stdint.h>

struct shared_file {
	int fd;
	uint64_t room; /* bytes, whole pages */
	char *address; /* mapped, to be read and written; its pages may not be there yet */
};

/* Is there so much?  To be asked before, without a lock: it may take a while. */
int shared_file_check(uint64_t room);

/* Mapped, but without pages.  Takes some 30 us, whatever the size. */
int shared_file_create(struct shared_file *file, uint64_t room);

/* Have the pages from there to the end, of zeros.  Or first: write these bytes. */
int shared_file_reserve(struct shared_file *file, uint64_t from);
int shared_file_write(struct shared_file *file, const void *bytes, uint64_t n);

/* Nobody can change its size any more.  And if it is to be read only, write to it by any other way
 * than the address that we have already; where the kernel (before 5.1) cannot do that, not. */
int shared_file_seal(struct shared_file *file, int read_only);

/* Map its pages all at once, which takes less time than one after the other as they are
 * touched. */
void shared_file_populate(struct shared_file *file);

/* Let the descriptor go, which takes no time; then the memory, which does. */
void shared_file_close(struct shared_file *file);
void shared_file_unmap(struct shared_file *file);

/* Set the error: so many bytes cannot be shared, why, and what would help.  Returns its code. */
int32_t shared_file_refuse(par_error *error, uint64_t n, int why);

#endif
