#include "elf_file.h"

#include "elf_file_layout.h"
#include "error.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#if defined(__x86_64__)
enum { OUR_MACHINE = EM_X86_64 };
#elif defined(__aarch64__)
enum { OUR_MACHINE = EM_AARCH64 };
#elif defined(__riscv)
enum { OUR_MACHINE = EM_RISCV };
#elif defined(__powerpc64__)
enum { OUR_MACHINE = EM_PPC64 };
#elif defined(__s390x__)
enum { OUR_MACHINE = EM_S390 };
#else
#error "name this machine's EM_ constant here"
#endif

enum {
	LONGEST_NOTE = 4096,      /* text of ours */
	LONGEST_NOTES = 64 << 10, /* a whole segment or section of notes */
	MOST_ENTRIES = 4096       /* of a dynamic section */
};

/* Refuse with a reason; what was being done is the caller's to say. */
__attribute__((format(printf, 3, 4))) static int32_t
refuse(const struct elf *elf, par_error *error, const char *format, ...)
{
	char reason[sizeof(error->reason)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	error_set(error, PAR_EUNAVAIL, "%s", "");
	error_file(error, "%s", elf->path);
	error_reason(error, "%s", reason);
	return PAR_EUNAVAIL;
}

static int32_t no_memory(const struct elf *elf, par_error *error)
{
	refuse(elf, error, "no memory to read it");
	return error_set(error, PAR_ENOMEM, "reading %s: no memory", elf->path);
}

static uint64_t file_size(const struct elf *elf)
{
	return (uint64_t)elf->stat.st_size;
}

static int is_inside(const struct elf *elf, uint64_t offset, uint64_t n)
{
	return offset <= file_size(elf) && n <= file_size(elf) - offset;
}

enum { WINDOW = 4096 };

struct elf_window {
	uint64_t offset;
	size_t n;
	char bytes[WINDOW];
};

/* Have at least n bytes from offset on in the window; -1: there are not as many. */
static int look_at(const struct elf *elf, size_t n, uint64_t offset)
{
	struct elf_window *window = elf->window;
	ssize_t got;

	if (offset >= window->offset && offset - window->offset + n <= window->n)
		return 0;
	do
		got = pread(elf->fd, window->bytes, WINDOW, (off_t)offset);
	while (got < 0 && errno == EINTR);
	window->offset = offset;
	window->n = got > 0 ? (size_t)got : 0;
	return window->n >= n ? 0 : -1;
}

/* Exactly n bytes, or -1: outside the file, or the file shrank meanwhile. */
static int read_at(const struct elf *elf, void *buffer, size_t n, uint64_t offset)
{
	char *at = buffer;

	if (!is_inside(elf, offset, n))
		return -1;
	if (elf->window != NULL && n <= WINDOW) {
		if (look_at(elf, n, offset) < 0)
			return -1;
		memcpy(buffer, elf->window->bytes + (offset - elf->window->offset), n);
		return 0;
	}
	while (n > 0) {
		ssize_t got = pread(elf->fd, at, n, (off_t)offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return -1;
		at += got;
		offset += (uint64_t)got;
		n -= (size_t)got;
	}
	return 0;
}

/* --- opening ------------------------------------------------------------------------------- */

static int32_t cannot_open(const struct elf *elf, int why, par_error *error)
{
	char target[PATH_MAX];
	ssize_t length = readlink(elf->path, target, sizeof(target) - 1);
	struct stat stat_buffer;

	if (why == ENOENT && length >= 0) {
		target[length] = '\0';
		refuse(elf, error, "a symbolic link to %s, which does not exist", target);
	} else if (why == EACCES && stat(elf->path, &stat_buffer) == 0) {
		refuse(elf, error, "%s (mode %04o, owner %u)", strerror(why),
		       stat_buffer.st_mode & 07777u, stat_buffer.st_uid);
	} else {
		refuse(elf, error, "%s", strerror(why));
	}
	if (why != ENOENT && why != ENOTDIR)
		return PAR_EUNAVAIL;
	if (error != NULL)
		error->code = PAR_ENOTFOUND;
	return PAR_ENOTFOUND;
}

/* O_NONBLOCK: opening a FIFO that nobody writes to would wait for ever. */
static int32_t open_regular(struct elf *elf, par_error *error)
{
	elf->fd = open(elf->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (elf->fd < 0)
		return cannot_open(elf, errno, error);
	if (fstat(elf->fd, &elf->stat) < 0)
		return refuse(elf, error, "%s", strerror(errno));
	if (S_ISDIR(elf->stat.st_mode))
		return refuse(elf, error, "is a directory");
	if (!S_ISREG(elf->stat.st_mode))
		return refuse(elf, error, "not a regular file");
	if (elf->stat.st_size == 0)
		return refuse(elf, error, "empty file");
	return PAR_OK;
}

/* --- the header ---------------------------------------------------------------------------- */

static const char *machine_name(unsigned machine, char *buffer, size_t size)
{
	/* clang-format off */
	static const struct { unsigned machine; const char *name; } names[] = {
		{EM_X86_64, "x86-64"}, {EM_386, "x86 (32-bit)"}, {EM_AARCH64, "aarch64"},
		{EM_ARM, "arm"}, {EM_RISCV, "riscv"}, {EM_PPC64, "ppc64"}, {EM_PPC, "ppc"},
		{EM_S390, "s390x"}, {EM_MIPS, "mips"}, {EM_SPARCV9, "sparc64"},
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].machine == machine)
			return names[i].name;
	(void)snprintf(buffer, size, "machine %u", machine);
	return buffer;
}

/* Says what it starts with instead, up to the end of its first line. */
static int32_t not_elf(const struct elf *elf, par_error *error)
{
	char start[40], shown[160];
	size_t n = file_size(elf) < sizeof(start) ? (size_t)file_size(elf) : sizeof(start);
	size_t line = 0;

	if (read_at(elf, start, n, 0) < 0)
		return refuse(elf, error, "cannot be read");
	while (line < n && start[line] != '\n')
		line++;
	error_escape(start, line, shown, sizeof(shown));
	refuse(elf, error, "not an ELF file (starts with \"%s\")", shown);
	if (memmem(start, n, "GNU ld script", 13) != NULL)
		error_remedy(error, "this is a linker script: name the library that it points to");
	return PAR_EUNAVAIL;
}

static int32_t check_kind(const struct elf *elf, par_error *error)
{
	if (elf->any_kind)
		return PAR_OK;
	switch (elf->header.e_type) {
	case ET_DYN:
		return PAR_OK;
	case ET_REL:
		refuse(elf, error, "an object file, not a shared object; link with -shared");
		break;
	case ET_EXEC:
		refuse(elf, error, "a program, not a shared object; link with -shared");
		break;
	case ET_CORE:
		return refuse(elf, error, "a core dump, not a shared object");
	default:
		return refuse(elf, error, "not a shared object (ELF type %u)", elf->header.e_type);
	}
	error_remedy(error, "build it with cc -shared -fPIC");
	return PAR_EUNAVAIL;
}

static int32_t check_header(struct elf *elf, par_error *error)
{
	const unsigned char *ident = elf->header.e_ident;
	char theirs[32], ours[32];

	if (file_size(elf) < SELFMAG || read_at(elf, &elf->header, SELFMAG, 0) < 0 ||
	    memcmp(ident, ELFMAG, SELFMAG) != 0)
		return not_elf(elf, error);
	if (read_at(elf, &elf->header, EI_NIDENT, 0) < 0)
		return refuse(elf, error, "truncated: inside the ELF header");
	if (ident[EI_CLASS] == ELFCLASS32)
		return refuse(elf, error, "32-bit, this parloop is 64-bit");
	if (ident[EI_CLASS] != ELFCLASS64)
		return refuse(elf, error, "damaged ELF file: class %u", ident[EI_CLASS]);
	if (ident[EI_DATA] != ELFDATA2LSB)
		return refuse(elf, error, "big-endian, this parloop is little-endian");
	if (read_at(elf, &elf->header, sizeof(elf->header), 0) < 0)
		return refuse(elf, error, "truncated: inside the ELF header");
	if (elf->header.e_machine != OUR_MACHINE)
		return refuse(elf, error, "built for %s, this is %s",
		              machine_name(elf->header.e_machine, theirs, sizeof(theirs)),
		              machine_name(OUR_MACHINE, ours, sizeof(ours)));
	return check_kind(elf, error);
}

int32_t elf_check_bytes(const void *bytes, uint64_t n, const char *path, par_error *error)
{
	struct elf_window window = {.n = n < WINDOW ? (size_t)n : WINDOW};
	struct elf elf = {.path = path, .fd = -1, .window = &window, .stat.st_size = (off_t)n};

	memcpy(window.bytes, bytes, window.n);
	return check_header(&elf, error);
}

/* --- the segments -------------------------------------------------------------------------- */

static int32_t read_segments(struct elf *elf, par_error *error)
{
	const Elf64_Ehdr *header = &elf->header;
	size_t bytes = (size_t)header->e_phnum * sizeof(*elf->segments);

	if (header->e_phnum == 0 || header->e_phnum == PN_XNUM ||
	    header->e_phentsize != sizeof(*elf->segments))
		return refuse(elf, error, "damaged ELF file: no program headers of our kind");
	if (!is_inside(elf, header->e_phoff, bytes))
		return refuse(elf, error, "truncated: program headers outside the file");
	elf->segments = malloc(bytes);
	if (elf->segments == NULL)
		return no_memory(elf, error);
	if (read_at(elf, elf->segments, bytes, header->e_phoff) < 0)
		return refuse(elf, error, "truncated while it was read");
	return PAR_OK;
}

static const Elf64_Phdr *find_segment(const struct elf *elf, uint32_t type)
{
	for (unsigned i = 0; i < elf->header.e_phnum; i++)
		if (elf->segments[i].p_type == type)
			return &elf->segments[i];
	return NULL;
}

static int32_t check_segment(const struct elf *elf, const Elf64_Phdr *segment, par_error *error)
{
	uint64_t end;

	if (segment->p_type != PT_LOAD && segment->p_type != PT_DYNAMIC)
		return PAR_OK;
	if (__builtin_add_overflow(segment->p_offset, segment->p_filesz, &end) ||
	    segment->p_filesz > segment->p_memsz)
		return refuse(elf, error, "damaged ELF file: a segment of impossible size");
	if (end > file_size(elf))
		return refuse(elf, error, "truncated: a segment ends at %llu, the file has %llu",
		              (unsigned long long)end, (unsigned long long)file_size(elf));
	return PAR_OK;
}

/* A file that does not say gets what its machine had before one could say. */
static int wants_executable_stack(const struct elf *elf)
{
	const Elf64_Phdr *stack = find_segment(elf, PT_GNU_STACK);

	return stack == NULL ? OUR_MACHINE == EM_X86_64 : (stack->p_flags & PF_X) != 0;
}

static int32_t check_layout(const struct elf *elf, par_error *error)
{
	const Elf64_Phdr *segment = find_segment(elf, PT_DYNAMIC);
	const size_t n = (size_t)(segment->p_filesz / sizeof(Elf64_Dyn));
	const char *fault;
	Elf64_Dyn *entries;

	if (n > MOST_ENTRIES)
		return refuse(elf, error, "damaged ELF file: %zu entries in its dynamic section", n);
	entries = calloc(n + 1, sizeof(*entries));
	if (entries == NULL)
		return no_memory(elf, error);
	if (read_at(elf, entries, n * sizeof(*entries), segment->p_offset) < 0)
		fault = "truncated while it was read";
	else
		fault = elf_layout_fault(elf, entries, n);
	free(entries);
	return fault == NULL ? PAR_OK : refuse(elf, error, "damaged ELF file: %s", fault);
}

static int32_t check_segments(const struct elf *elf, par_error *error)
{
	int32_t status = PAR_OK;

	for (unsigned i = 0; status == PAR_OK && i < elf->header.e_phnum; i++)
		status = check_segment(elf, &elf->segments[i], error);
	if (status < 0)
		return status;
	if (find_segment(elf, PT_LOAD) == NULL)
		return refuse(elf, error, "damaged ELF file: nothing to load");
	if (elf->any_kind)
		return PAR_OK;
	if (find_segment(elf, PT_DYNAMIC) == NULL)
		return refuse(elf, error, "damaged ELF file: no dynamic section");
	status = check_layout(elf, error);
	if (status < 0)
		return status;
	if (!wants_executable_stack(elf))
		return PAR_OK;
	refuse(elf, error, "wants an executable stack, and would make this program's so");
	error_remedy(error, "build it with -Wl,-z,noexecstack");
	return PAR_EUNAVAIL;
}

static int32_t open_any(struct elf *elf, const char *path, int any_kind, par_error *error)
{
	int32_t status;

	*elf = (struct elf){.path = path, .fd = -1, .any_kind = any_kind,
	                    .window = calloc(1, sizeof(*elf->window))};
	status = open_regular(elf, error);
	if (status == PAR_OK)
		status = check_header(elf, error);
	if (status == PAR_OK)
		status = read_segments(elf, error);
	if (status == PAR_OK)
		status = check_segments(elf, error);
	if (status < 0)
		elf_close(elf);
	return status;
}

int32_t elf_open(struct elf *elf, const char *path, par_error *error)
{
	return open_any(elf, path, 0, error);
}

int32_t elf_open_program(struct elf *elf, const char *path, par_error *error)
{
	return open_any(elf, path, 1, error);
}

void elf_close(struct elf *elf)
{
	free(elf->segments);
	if (elf->fd >= 0)
		close(elf->fd);
	elf->segments = NULL;
	elf->fd = -1;
	free(elf->window);
	elf->window = NULL;
}

int elf_is_program(const struct elf *elf)
{
	return find_segment(elf, PT_INTERP) != NULL;
}

/* --- notes --------------------------------------------------------------------------------- */

/* A search for one note through several segments or sections. */
struct note_search {
	const struct elf *elf;
	const char *owner;
	uint32_t type;
	int is_binary; /* not a text, and the first of several counts */
	par_error *error;
	struct elf_note found; /* text NULL: not yet */
};

static uint64_t round_up(uint64_t n, uint64_t align)
{
	return (n + align - 1) / align * align;
}

static int32_t take_note(struct note_search *search, const char *text, size_t size,
                         uint64_t address)
{
	const struct elf *elf = search->elf;

	if (search->found.text != NULL && search->is_binary)
		return PAR_OK;
	if (search->found.text != NULL) {
		refuse(elf, search->error, "has two notes: two of its sources have PAR_PLUGIN");
		error_remedy(search->error, "keep the one beside parloop_backend_v1");
		return PAR_EUNAVAIL;
	}
	if (size > LONGEST_NOTE)
		return refuse(elf, search->error, "its note has %zu bytes, at most %d are allowed",
		              size, LONGEST_NOTE);
	if (!search->is_binary && (size == 0 || memchr(text, '\0', size) != text + size - 1))
		return refuse(elf, search->error, "its note does not end in NUL");
	search->found.text = malloc(size > 0 ? size : 1);
	if (search->found.text == NULL)
		return no_memory(elf, search->error);
	memcpy(search->found.text, text, size);
	search->found.size = size;
	search->found.address = address;
	return PAR_OK;
}

/* Walk the notes in n bytes; sizes are theirs, so sums are made in 64 bits. */
static int32_t walk_notes(struct note_search *search, const char *bytes, size_t n,
                          uint64_t align, uint64_t address)
{
	size_t owner_size = strlen(search->owner) + 1;
	Elf64_Nhdr note;

	for (uint64_t at = 0; at + sizeof(note) <= n;) {
		uint64_t name = at + sizeof(note), text, end;
		int32_t status;

		memcpy(&note, bytes + at, sizeof(note));
		text = round_up(name + note.n_namesz, align);
		end = text + note.n_descsz;
		if (end > n)
			return refuse(search->elf, search->error,
			              "damaged ELF file: a note ends outside its segment");
		at = round_up(end, align);
		if (note.n_type != search->type || note.n_namesz != owner_size ||
		    memcmp(bytes + name, search->owner, owner_size) != 0)
			continue;
		status = take_note(search, bytes + text, note.n_descsz,
		                   address == 0 ? 0 : address + text);
		if (status < 0)
			return status;
	}
	return PAR_OK;
}

static int32_t walk_notes_at(struct note_search *search, uint64_t offset, uint64_t n,
                             uint64_t align, uint64_t address)
{
	int32_t status;
	char *bytes;

	if (!is_inside(search->elf, offset, n))
		return refuse(search->elf, search->error,
			      "truncated: a note lies outside the file");
	if (n > LONGEST_NOTES)
		return refuse(search->elf, search->error, "damaged ELF file: %llu bytes of notes",
		              (unsigned long long)n);
	bytes = malloc(n + 1);
	if (bytes == NULL)
		return no_memory(search->elf, search->error);
	if (read_at(search->elf, bytes, n, offset) == 0)
		status = walk_notes(search, bytes, n, align == 8 ? 8 : 4, address);
	else
		status = refuse(search->elf, search->error, "truncated while it was read");
	free(bytes);
	return status;
}

static int32_t search_segments(struct note_search *search)
{
	const struct elf *elf = search->elf;
	int32_t status = PAR_OK;

	for (unsigned i = 0; status == PAR_OK && i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_NOTE)
			status = walk_notes_at(search, segment->p_offset, segment->p_filesz,
			                       segment->p_align, segment->p_vaddr);
	}
	return status;
}

/* The section headers, to be freed; *n is 0 without them.  Only the program headers matter
 * to the loader: a file whose section headers are cut off or nonsense is as good as one
 * without. */
static int32_t read_sections(const struct elf *elf, Elf64_Shdr **sections, unsigned *n,
                             par_error *error)
{
	const Elf64_Ehdr *header = &elf->header;
	size_t bytes = (size_t)header->e_shnum * sizeof(**sections);

	*sections = NULL;
	*n = 0;
	if (header->e_shnum == 0 || header->e_shentsize != sizeof(**sections) ||
	    !is_inside(elf, header->e_shoff, bytes))
		return PAR_OK;
	*sections = malloc(bytes);
	if (*sections == NULL)
		return no_memory(elf, error);
	if (read_at(elf, *sections, bytes, header->e_shoff) == 0)
		*n = header->e_shnum;
	return PAR_OK;
}

static int32_t search_sections(struct note_search *search)
{
	Elf64_Shdr *sections;
	unsigned n;
	int32_t status = read_sections(search->elf, &sections, &n, search->error);

	for (unsigned i = 0; status == PAR_OK && i < n; i++)
		if (sections[i].sh_type == SHT_NOTE)
			status = walk_notes_at(search, sections[i].sh_offset, sections[i].sh_size,
			                       sections[i].sh_addralign, sections[i].sh_addr);
	free(sections);
	return status;
}

int32_t elf_find_note(const struct elf *elf, const char *owner, uint32_t type,
                      struct elf_note *note, par_error *error)
{
	struct note_search search = {.elf = elf, .owner = owner, .type = type, .error = error};
	int32_t status = search_segments(&search);

	if (status == PAR_OK && search.found.text == NULL)
		status = search_sections(&search);
	if (status < 0) {
		free(search.found.text);
		return status;
	}
	if (search.found.text == NULL) {
		refuse(elf, error, "has no note of %s", owner);
		if (error != NULL)
			error->code = PAR_ENOTFOUND;
		return PAR_ENOTFOUND;
	}
	*note = search.found;
	return PAR_OK;
}

/* --- which file it is ----------------------------------------------------------------------- */

enum { CHECKSUM_BLOCK = 16384 };

/* FNV-1a, over what the file is: for those whose linker wrote no build id. */
static int checksum(const struct elf *elf, uint64_t *sum)
{
	unsigned char block[CHECKSUM_BLOCK];

	*sum = UINT64_C(0xcbf29ce484222325);
	for (uint64_t at = 0, n; at < file_size(elf); at += n) {
		n = file_size(elf) - at < sizeof(block) ? file_size(elf) - at : sizeof(block);
		if (read_at(elf, block, (size_t)n, at) < 0)
			return -1;
		for (uint64_t i = 0; i < n; i++)
			*sum = (*sum ^ block[i]) * UINT64_C(0x100000001b3);
	}
	return 0;
}

static int32_t id_of_contents(const struct elf *elf, struct elf_id *id, par_error *error)
{
	uint64_t both[2] = {file_size(elf), 0};

	if (checksum(elf, &both[1]) < 0)
		return refuse(elf, error, "truncated while it was read");
	id->size = sizeof(both);
	memcpy(id->bytes, both, sizeof(both));
	return PAR_OK;
}

int32_t elf_identify(const struct elf *elf, struct elf_id *id, par_error *error)
{
	struct note_search search = {.elf = elf, .owner = "GNU", .type = NT_GNU_BUILD_ID,
	                             .is_binary = 1, .error = error};
	int32_t status = search_segments(&search);

	*id = (struct elf_id){0};
	if (status == PAR_OK && search.found.text == NULL)
		status = search_sections(&search);
	if (status == PAR_OK && (search.found.text == NULL || search.found.size == 0)) {
		status = id_of_contents(elf, id, error);
	} else if (status == PAR_OK) {
		id->size = (uint32_t)(search.found.size < ELF_ID ? search.found.size : ELF_ID);
		memcpy(id->bytes, search.found.text, id->size);
	}
	free(search.found.text);
	return status;
}

char *elf_id_text(const struct elf_id *id, char buffer[ELF_ID_TEXT])
{
	buffer[0] = '\0';
	for (uint32_t i = 0; i < id->size && i < ELF_ID; i++)
		(void)snprintf(buffer + 2 * i, 3, "%02x", id->bytes[i]);
	return buffer;
}

/* --- sections by name ------------------------------------------------------------------------ */

static int is_named(const struct elf *elf, const Elf64_Shdr *names, const Elf64_Shdr *section,
                    const char *name)
{
	char found[64];
	size_t size = strlen(name) + 1;

	return size <= sizeof(found) && section->sh_name < names->sh_size &&
	       size <= names->sh_size - section->sh_name &&
	       read_at(elf, found, size, names->sh_offset + section->sh_name) == 0 &&
	       memcmp(found, name, size) == 0;
}

int32_t elf_find_section(const struct elf *elf, const char *name, uint64_t *address,
                         uint64_t *size, par_error *error)
{
	Elf64_Shdr *sections;
	unsigned n;
	int32_t status = read_sections(elf, &sections, &n, error);

	if (status == PAR_OK)
		status = PAR_ENOTFOUND;
	for (unsigned i = 0; status == PAR_ENOTFOUND && elf->header.e_shstrndx < n && i < n; i++) {
		if ((sections[i].sh_flags & SHF_ALLOC) == 0 ||
		    !is_named(elf, &sections[elf->header.e_shstrndx], &sections[i], name))
			continue;
		*address = sections[i].sh_addr;
		*size = sections[i].sh_size;
		status = PAR_OK;
	}
	free(sections);
	if (status == PAR_ENOTFOUND) {
		(void)refuse(elf, error, "has no section %s", name);
		if (error != NULL)
			error->code = PAR_ENOTFOUND;
	}
	return status;
}

/* --- dynamic symbols ----------------------------------------------------------------------- */

/* What PT_DYNAMIC says of the symbols, as addresses; 0: not said. */
struct dynamic {
	uint64_t symbols, strings, strings_size, hash, gnu_hash;
	uint64_t versions, needed, defined; /* of each symbol; of other libraries; of this one */
	struct relocations {
		uint64_t address, size;
	} relocations[2]; /* of data, and of calls */
};

/* Tables of the file, in memory. */
struct tables {
	Elf64_Sym *symbols;
	uint64_t n_symbols;
	char *strings;
	uint64_t strings_size;
};

/* Where n bytes of memory come from in the file, or -1. */
static int to_offset(const struct elf *elf, uint64_t address, uint64_t n, uint64_t *offset)
{
	for (unsigned i = 0; i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		uint64_t inside = address - segment->p_vaddr;

		if (segment->p_type != PT_LOAD || address < segment->p_vaddr ||
		    inside > segment->p_filesz || n > segment->p_filesz - inside)
			continue;
		*offset = segment->p_offset + inside;
		return 0;
	}
	return -1;
}

static int read_address(const struct elf *elf, void *buffer, size_t n, uint64_t address)
{
	uint64_t offset;

	return to_offset(elf, address, n, &offset) < 0 ? -1 : read_at(elf, buffer, n, offset);
}

static int read_dynamic(const struct elf *elf, struct dynamic *dynamic)
{
	const Elf64_Phdr *segment = find_segment(elf, PT_DYNAMIC);
	Elf64_Dyn entry;

	*dynamic = (struct dynamic){0};
	if (segment == NULL)
		return -1;
	for (uint64_t at = 0; at + sizeof(entry) <= segment->p_filesz; at += sizeof(entry)) {
		if (read_at(elf, &entry, sizeof(entry), segment->p_offset + at) < 0)
			return -1;
		switch (entry.d_tag) {
		case DT_NULL:
			return 0;
		case DT_SYMTAB:
			dynamic->symbols = entry.d_un.d_ptr;
			break;
		case DT_STRTAB:
			dynamic->strings = entry.d_un.d_ptr;
			break;
		case DT_STRSZ:
			dynamic->strings_size = entry.d_un.d_val;
			break;
		case DT_HASH:
			dynamic->hash = entry.d_un.d_ptr;
			break;
		case DT_GNU_HASH:
			dynamic->gnu_hash = entry.d_un.d_ptr;
			break;
		case DT_RELA:
			dynamic->relocations[0].address = entry.d_un.d_ptr;
			break;
		case DT_RELASZ:
			dynamic->relocations[0].size = entry.d_un.d_val;
			break;
		case DT_JMPREL:
			dynamic->relocations[1].address = entry.d_un.d_ptr;
			break;
		case DT_PLTRELSZ:
			dynamic->relocations[1].size = entry.d_un.d_val;
			break;
		case DT_VERSYM:
			dynamic->versions = entry.d_un.d_ptr;
			break;
		case DT_VERNEED:
			dynamic->needed = entry.d_un.d_ptr;
			break;
		case DT_VERDEF:
			dynamic->defined = entry.d_un.d_ptr;
			break;
		default:
			break;
		}
	}
	return 0;
}

/* The GNU table does not say how many symbols there are: the last is where the
 * highest chain ends. */
static int count_gnu_hash(const struct elf *elf, uint64_t table, uint64_t *n)
{
	uint32_t head[4]; /* number of buckets, first symbol, bloom words, a shift */
	uint32_t bucket, link, last = 0;
	uint64_t buckets, chains;

	if (read_address(elf, head, sizeof(head), table) < 0)
		return -1;
	buckets = table + sizeof(head) + (uint64_t)head[2] * 8;
	chains = buckets + (uint64_t)head[0] * 4;
	for (uint32_t i = 0; i < head[0]; i++) {
		if (read_address(elf, &bucket, sizeof(bucket), buckets + (uint64_t)i * 4) < 0)
			return -1;
		last = bucket > last ? bucket : last;
	}
	*n = head[1];
	if (last < head[1])
		return 0;
	do {
		if (read_address(elf, &link, sizeof(link),
				 chains + (uint64_t)(last - head[1]) * 4) < 0)
			return -1;
		*n = (uint64_t)last + 1;
		last++;
	} while ((link & 1) == 0);
	return 0;
}

static int count_symbols(const struct elf *elf, const struct dynamic *dynamic, uint64_t *n)
{
	uint32_t head[2]; /* buckets, chains: as many as symbols */

	if (dynamic->hash == 0)
		return dynamic->gnu_hash == 0 ? -1 : count_gnu_hash(elf, dynamic->gnu_hash, n);
	if (read_address(elf, head, sizeof(head), dynamic->hash) < 0)
		return -1;
	*n = head[1];
	return 0;
}

/* The versions that the file tells of, by number; each list's entries say where the next is. */
static int find_highest_needed(const struct elf *elf, uint64_t address, unsigned *highest)
{
	Elf64_Verneed need;
	Elf64_Vernaux version;
	int left = MOST_ENTRIES;

	for (; address != 0; address = need.vn_next == 0 ? 0 : address + need.vn_next) {
		uint64_t at;

		if (read_address(elf, &need, sizeof(need), address) < 0)
			return -1;
		at = need.vn_cnt == 0 ? 0 : address + need.vn_aux;
		for (; at != 0; at = version.vna_next == 0 ? 0 : at + version.vna_next) {
			if (left-- == 0 || read_address(elf, &version, sizeof(version), at) < 0)
				return -1;
			if ((version.vna_other & 0x7fffu) > *highest)
				*highest = version.vna_other & 0x7fffu;
		}
		if (left-- == 0)
			return -1;
	}
	return 0;
}

static int find_highest_defined(const struct elf *elf, uint64_t address, unsigned *highest)
{
	Elf64_Verdef version;

	for (int left = MOST_ENTRIES; address != 0; left--) {
		if (left == 0 || read_address(elf, &version, sizeof(version), address) < 0)
			return -1;
		if ((version.vd_ndx & 0x7fffu) > *highest)
			*highest = version.vd_ndx & 0x7fffu;
		address = version.vd_next == 0 ? 0 : address + version.vd_next;
	}
	return 0;
}

/* The loader writes where they say, for the symbol that they name: *n is more than its number. */
static int check_relocations(const struct elf *elf, const struct relocations *all, uint64_t *n)
{
	Elf64_Rela one;

	for (uint64_t at = 0; all->address != 0 && at + sizeof(one) <= all->size; at += sizeof(one)) {
		if (read_address(elf, &one, sizeof(one), all->address + at) < 0 ||
		    !elf_layout_has(elf, one.r_offset, 1, 0))
			return -1;
		if (ELF64_R_SYM(one.r_info) >= *n)
			*n = ELF64_R_SYM(one.r_info) + 1;
	}
	return 0;
}

static int check_names(const struct elf *elf, const struct dynamic *dynamic, uint64_t n)
{
	Elf64_Sym symbol;

	for (uint64_t i = 0; i < n; i++)
		if (read_address(elf, &symbol, sizeof(symbol), dynamic->symbols + i * sizeof(symbol)) < 0 ||
		    symbol.st_name >= dynamic->strings_size)
			return -1;
	return 0;
}

/* The loader has a list of them that is as long as the highest of which it is told. */
static int check_versions(const struct elf *elf, const struct dynamic *dynamic, uint64_t n)
{
	unsigned highest = 1; /* that and 0 are always there */
	Elf64_Half version;

	if (find_highest_needed(elf, dynamic->needed, &highest) < 0 ||
	    find_highest_defined(elf, dynamic->defined, &highest) < 0)
		return -1;
	for (uint64_t i = 0; dynamic->versions != 0 && i < n; i++)
		if (read_address(elf, &version, sizeof(version), dynamic->versions + i * sizeof(version)) < 0 ||
		    (version & 0x7fffu) > highest)
			return -1;
	return 0;
}

/* What is looked up, here or elsewhere: n symbols, of which the GNU table tells those that are
 * exported, and those that relocations name. */
static int check_lookups(const struct elf *elf, const struct dynamic *dynamic, uint64_t n)
{
	if (check_relocations(elf, &dynamic->relocations[0], &n) < 0 ||
	    check_relocations(elf, &dynamic->relocations[1], &n) < 0)
		return -1;
	return check_names(elf, dynamic, n) < 0 ? -1 : check_versions(elf, dynamic, n);
}

/* Both tables lie inside the file, so its size bounds what is allocated.  0, -1:
 * damaged, -2: no memory. */
static int read_tables(const struct elf *elf, const struct dynamic *dynamic, struct tables *tables)
{
	uint64_t bytes, offset;

	if (count_symbols(elf, dynamic, &tables->n_symbols) < 0 ||
	    check_lookups(elf, dynamic, tables->n_symbols) < 0)
		return -1;
	bytes = tables->n_symbols * sizeof(*tables->symbols);
	tables->strings_size = dynamic->strings_size;
	if (to_offset(elf, dynamic->symbols, bytes, &offset) < 0 ||
	    !is_inside(elf, offset, bytes) ||
	    to_offset(elf, dynamic->strings, tables->strings_size, &offset) < 0 ||
	    !is_inside(elf, offset, tables->strings_size))
		return -1;
	tables->symbols = malloc(bytes + 1);
	tables->strings = malloc(tables->strings_size + 1);
	if (tables->symbols == NULL || tables->strings == NULL)
		return -2;
	tables->strings[tables->strings_size] = '\0';
	if (read_address(elf, tables->symbols, bytes, dynamic->symbols) < 0 ||
	    read_at(elf, tables->strings, tables->strings_size, offset) < 0)
		return -1;
	return tables->strings_size > 0 && tables->strings[tables->strings_size - 1] == '\0' ? 0 : -1;
}

static void visit_symbols(const struct tables *tables, const char *prefix,
                          int (*fn)(void *user, const char *name, unsigned type), void *user)
{
	size_t length = strlen(prefix);

	for (uint64_t i = 1; i < tables->n_symbols; i++) {
		const Elf64_Sym *symbol = &tables->symbols[i];

		if (symbol->st_shndx == SHN_UNDEF ||
		    ELF64_ST_BIND(symbol->st_info) == STB_LOCAL ||
		    strncmp(tables->strings + symbol->st_name, prefix, length) != 0)
			continue;
		if (fn(user, tables->strings + symbol->st_name,
		       ELF64_ST_TYPE(symbol->st_info)) != 0)
			return;
	}
}

int32_t elf_symbols(const struct elf *elf, const char *prefix,
                    int (*fn)(void *user, const char *name, unsigned type), void *user,
                    par_error *error)
{
	struct tables tables = {0};
	struct dynamic dynamic;
	int32_t status = PAR_OK;
	int result = read_dynamic(elf, &dynamic);

	if (result == 0)
		result = read_tables(elf, &dynamic, &tables);
	if (result == 0)
		visit_symbols(&tables, prefix, fn, user);
	else if (result == -2)
		status = no_memory(elf, error);
	else
		status = refuse(elf, error, "damaged ELF file: its symbol table cannot be read");
	free(tables.symbols);
	free(tables.strings);
	return status;
}
