/* elf_file.h - what an ELF file says, read without running or mapping it.  (Not
 * elf.h, which would hide the system's.)
 *
 * For files that may be anything: every offset is checked against the file's
 * length, and everything is read with pread, since a mapped file that shrinks
 * kills its reader.  The errors name the file and the reason; what was being
 * done is the caller's to put in front (error_prefix). */
#ifndef CORE_ELF_FILE_H
#define CORE_ELF_FILE_H

#include <parloop/error.h>

#include <elf.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>

struct elf_window; /* what was read last, for the many small reads nearby */

struct elf {
	const char *path; /* the caller's, kept until elf_close */
	int fd;
	int any_kind; /* programs too */
	struct elf_window *window; /* NULL: do without */
	struct stat stat;
	Elf64_Ehdr header;
	Elf64_Phdr *segments; /* header.e_phnum of them */
};

/* Open a file and check that it is a shared object that this machine can load: a
 * regular file, whole, of our class and machine, laid out as the dynamic loader takes for
 * granted, without executable stack.
 * Directories, FIFOs and devices are refused without waiting.  PAR_ENOTFOUND if
 * it does not exist, PAR_EUNAVAIL if it will not do.  Must be closed if PAR_OK. */
int32_t elf_open(struct elf *elf, const char *path, par_error *error);
void elf_close(struct elf *elf);

/* The same, but a program of any kind will do, too. */
int32_t elf_open_program(struct elf *elf, const char *path, par_error *error);

/* The beginning of that, of a file that came as bytes: is it ELF, and for this machine?  path is for
 * the error alone. */
int32_t elf_check_bytes(const void *bytes, uint64_t n, const char *path, par_error *error);

/* Where a note's text was found. */
struct elf_note {
	char *text;       /* of malloc; ends in NUL, and has no other */
	size_t size;      /* with that NUL                            */
	uint64_t address; /* of its first byte, relative to the load address; 0: not loaded */
};

/* Find the one note of that owner and type, in the segments or else in the
 * sections.  PAR_ENOTFOUND if there is none, PAR_EUNAVAIL if there are two, or
 * its text is longer than 4 KiB or does not end in NUL. */
int32_t elf_find_note(const struct elf *elf, const char *owner, uint32_t type,
                      struct elf_note *note, par_error *error);

/* Which file it is, wherever it lies and whatever it is called: its build id, as much of it
 * as there is room for, or where the linker wrote none its size and a checksum. */
enum { ELF_ID = 32, ELF_ID_TEXT = 2 * ELF_ID + 1 };
struct elf_id {
	uint32_t size;
	unsigned char bytes[ELF_ID]; /* zero beyond size */
};
int32_t elf_identify(const struct elf *elf, struct elf_id *id, par_error *error);
char *elf_id_text(const struct elf_id *id, char buffer[ELF_ID_TEXT]); /* returns buffer */

static inline int elf_id_is(const struct elf_id *id, const struct elf_id *other)
{
	return id->size == other->size && memcmp(id->bytes, other->bytes, sizeof(id->bytes)) == 0;
}

/* Where a loaded section of that name lies, relative to the load address.  PAR_ENOTFOUND if
 * there is none, or the file has no section headers. */
int32_t elf_find_section(const struct elf *elf, const char *name, uint64_t *address,
                         uint64_t *size, par_error *error);

/* Is it a program (it names its own loader), so that dlopen would refuse it? */
int elf_is_program(const struct elf *elf);

/* Call fn for each defined dynamic symbol whose name begins with prefix, until it
 * returns nonzero.  type is STT_FUNC, STT_OBJECT...  Needs no section headers.  PAR_EUNAVAIL: what
 * the loader would look up in those tables leads out of them. */
int32_t elf_symbols(const struct elf *elf, const char *prefix,
                    int (*fn)(void *user, const char *name, unsigned type), void *user,
                    par_error *error);

#endif
