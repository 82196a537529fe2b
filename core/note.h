/* note.h - what a plugin says of itself in its note, read without running it. */
#ifndef CORE_NOTE_H
#define CORE_NOTE_H

#include "options.h"

#include <parloop/backend.h>

#include <stddef.h>

struct note_backend {
	char *name;
	char *summary;
	char *words; /* of its capabilities, as written; empty: none */
	uint32_t capabilities;
	int64_t batch_shortest_ns, batch_longest_ns; /* 0: the core's */
	struct schema schema;
};

struct note {
	char *text; /* as in the file, with its NUL: the loader looks for it in memory */
	size_t size;
	uint64_t address; /* there, relative to the load address; 0: not loaded */

	char *version; /* empty: unknown */
	int abi_major, abi_minor;
	struct note_backend *backends;
	size_t n_backends;
};

/* Parse the text of a note, of size bytes with its NUL.  Lines of unknown kind are
 * ignored: a later parloop may know them.  PAR_EUNAVAIL says which line is wrong, or
 * which ABI is needed; the note must be destroyed if PAR_OK. */
int32_t note_parse(struct note **out, const char *text, size_t size, par_error *error);
void note_destroy(struct note *note); /* NULL is allowed */

/* Check the ELF file of a plugin, and read its note. */
int32_t note_read(struct note **out, const char *path, par_error *error);

/* The backend of that name in it, or NULL. */
const struct note_backend *note_find(const struct note *note, const char *name);

/* Is it a name that a backend may have?  [a-z][a-z0-9_-]*, at most 32 letters, and
 * not "nested-...". */
int note_is_name(const char *name);

/* What may stand before a backend's name, and means that backend at every level; and the name
 * without it. */
#define NOTE_NESTED "nested-"
const char *note_plain_name(const char *name);

#endif
