#include "note.h"

#include "elf_file.h"
#include "error.h"

#include <parloop/parloop.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *word;
	uint32_t bit;
} capabilities[] = {
	{"shares_memory", PAR_SHARES_MEMORY},
	{"uses_threads", PAR_USES_THREADS},
	{"runs_inline", PAR_RUNS_INLINE},
	{"survives_crash", PAR_SURVIVES_CRASH},
	{"can_kill", PAR_CAN_KILL},
	{"limits_threads", PAR_LIMITS_THREADS},
	{"reruns", PAR_RERUNS},
	{"ships_modules", PAR_SHIPS_MODULES},
	{"auto_batches", PAR_AUTO_BATCHES},
	{"elsewhere", PAR_ELSEWHERE},
};

enum { NOTE_TYPE = 0x504c0001 };

int note_is_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t length = strlen(name);

	return length >= 1 && length <= 32 && strspn(name, letters) == length &&
	       name[0] >= 'a' && note_plain_name(name) == name;
}

const char *note_plain_name(const char *name)
{
	const size_t length = strlen(NOTE_NESTED);

	return strncmp(name, NOTE_NESTED, length) == 0 ? name + length : name;
}

__attribute__((format(printf, 2, 3))) static int32_t
refuse(par_error *error, const char *format, ...)
{
	char reason[sizeof(error->reason)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	error_set(error, PAR_EUNAVAIL, "%s", "");
	error_reason(error, "%s", reason);
	return PAR_EUNAVAIL;
}

/* Cut a line into its first word and the rest; returns the rest. */
static char *split_word(char *line)
{
	line += strcspn(line, " ");
	if (*line != '\0')
		*line++ = '\0';
	return line + strspn(line, " ");
}

/* --- a line of each kind ------------------------------------------------------------------- */

static int32_t parse_abi(struct note *note, char *rest, par_error *error)
{
	int end = 0;

	if (sscanf(rest, "%5d.%5d%n", &note->abi_major, &note->abi_minor, &end) != 2 ||
	    rest[end] != '\0' || note->abi_major < 0 || note->abi_minor < 0)
		return refuse(error, "its note has \"abi %.40s\", which is no version", rest);
	if (note->abi_major == PAR_ABI_MAJOR && note->abi_minor <= PAR_ABI_MINOR)
		return PAR_OK;
	refuse(error, "needs ABI %d.%d, this parloop " PAR_VERSION_STRING " offers %d.%d",
	       note->abi_major, note->abi_minor, PAR_ABI_MAJOR, PAR_ABI_MINOR);
	if (note->abi_major < PAR_ABI_MAJOR)
		error_remedy(error, "build it again with this parloop's headers");
	else
		error_remedy(error, "update parloop, or install a version of it for ABI %d.%d",
		             PAR_ABI_MAJOR, PAR_ABI_MINOR);
	return PAR_EUNAVAIL;
}

static int32_t parse_version(struct note *note, char *rest, par_error *error)
{
	free(note->version);
	note->version = strdup(rest);
	return note->version == NULL ? error_memory(error, "reading a note") : PAR_OK;
}

static int32_t parse_backend(struct note *note, char *name, par_error *error)
{
	struct note_backend *backend, *grown;
	char *summary = split_word(name);

	if (!note_is_name(name))
		return refuse(error, "its note has backend \"%.40s\", but a name is "
				     "[a-z][a-z0-9_-]*, at most 32 letters, not nested-",
			      name);
	if (note_find(note, name) != NULL)
		return refuse(error, "its note has backend \"%s\" twice", name);
	grown = reallocarray(note->backends, note->n_backends + 1, sizeof(*grown));
	if (grown == NULL)
		return error_memory(error, "reading a note");
	note->backends = grown;
	backend = memset(&grown[note->n_backends++], 0, sizeof(*backend));
	backend->name = strdup(name);
	backend->summary = strdup(summary);
	backend->words = strdup("");
	if (backend->name == NULL || backend->summary == NULL || backend->words == NULL)
		return error_memory(error, "reading a note");
	return PAR_OK;
}

/* Unknown words are a later parloop's, and promise what this one cannot use. */
static int32_t parse_capabilities(struct note_backend *backend, char *rest, par_error *error)
{
	char *words = strdup(rest);

	if (words == NULL)
		return error_memory(error, "reading a note");
	free(backend->words);
	backend->words = words;
	while (*rest != '\0') {
		char *word = rest;

		rest = split_word(rest);
		for (size_t i = 0; i < sizeof(capabilities) / sizeof(capabilities[0]); i++)
			if (strcmp(word, capabilities[i].word) == 0)
				backend->capabilities |= capabilities[i].bit;
	}
	return PAR_OK;
}

static int32_t parse_batch_times(struct note_backend *backend, char *shortest, par_error *error)
{
	char *longest = split_word(shortest);

	if (options_parse_time(shortest, &backend->batch_shortest_ns) < 0 ||
	    options_parse_time(longest, &backend->batch_longest_ns) < 0 ||
	    backend->batch_shortest_ns > backend->batch_longest_ns)
		return refuse(error, "its note has batch_times \"%.40s\" \"%.40s\", which are no "
				     "two times, the shorter first",
			      shortest, longest);
	return PAR_OK;
}

static int is_option(const char *kind)
{
	static const char *const kinds[] = {"int", "size", "time", "bool", "choice", "text"};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (strcmp(kind, kinds[i]) == 0)
			return 1;
	return 0;
}

/* line is cut up; whole is the same, for the options' parser. */
static int32_t parse_line(struct note *note, char *line, const char *whole, par_error *error)
{
	struct note_backend *last;
	char *rest = split_word(line);
	int is_of_backend = strcmp(line, "capabilities") == 0 || strcmp(line, "batch_times") == 0 ||
	                    is_option(line);

	if (strcmp(line, "abi") == 0)
		return parse_abi(note, rest, error);
	if (strcmp(line, "version") == 0)
		return parse_version(note, rest, error);
	if (strcmp(line, "backend") == 0)
		return parse_backend(note, rest, error);
	if (!is_of_backend)
		return PAR_OK;
	if (note->n_backends == 0)
		return refuse(error, "its note has \"%.60s\" before any backend", whole);
	last = &note->backends[note->n_backends - 1];
	if (strcmp(line, "capabilities") == 0)
		return parse_capabilities(last, rest, error);
	if (strcmp(line, "batch_times") == 0)
		return parse_batch_times(last, rest, error);
	return schema_add(&last->schema, whole, error);
}

/* --- the whole ----------------------------------------------------------------------------- */

static int32_t parse_lines(struct note *note, par_error *error)
{
	char line[4096 + 1], whole[4096 + 1];
	int has_abi = 0;

	for (const char *at = note->text; *at != '\0';) {
		size_t length = strcspn(at, "\n");
		int32_t status;

		if (length >= sizeof(line))
			return refuse(error, "its note has a line of %zu bytes", length);
		memcpy(line, at, length);
		line[length] = '\0';
		memcpy(whole, line, length + 1);
		at += length + (at[length] == '\n');
		/* The ABI comes first: what follows may mean something else in another. */
		if (!has_abi && strncmp(line, "abi ", 4) != 0)
			return refuse(error, "its note does not begin with the line abi");
		has_abi = 1;
		status = parse_line(note, line, whole, error);
		if (status < 0)
			return status;
	}
	if (note->n_backends == 0)
		return refuse(error, "its note names no backend");
	return PAR_OK;
}

static int32_t check_text(const char *text, size_t size, par_error *error)
{
	if (size == 0 || strnlen(text, size) != size - 1)
		return refuse(error, "its note does not end in NUL");
	for (const char *at = text; *at != '\0'; at++)
		if (((unsigned char)*at < 0x20 && *at != '\n' && *at != '\t') || *at == 0x7f)
			return refuse(error, "its note has the control character \\x%02x",
			              (unsigned char)*at);
	return PAR_OK;
}

int32_t note_parse(struct note **out, const char *text, size_t size, par_error *error)
{
	int32_t status = check_text(text, size, error);
	struct note *note;

	if (status < 0)
		return status;
	note = calloc(1, sizeof(*note));
	if (note == NULL)
		return error_memory(error, "reading a note");
	note->size = size;
	note->text = strdup(text);
	note->version = strdup("");
	if (note->text == NULL || note->version == NULL)
		status = error_memory(error, "reading a note");
	else
		status = parse_lines(note, error);
	if (status < 0)
		note_destroy(note);
	else
		*out = note;
	return status;
}

void note_destroy(struct note *note)
{
	if (note == NULL)
		return;
	for (size_t i = 0; i < note->n_backends; i++) {
		schema_finish(&note->backends[i].schema);
		free(note->backends[i].name);
		free(note->backends[i].summary);
		free(note->backends[i].words);
	}
	free(note->backends);
	free(note->version);
	free(note->text);
	free(note);
}

static int32_t no_note(const struct elf *elf, par_error *error)
{
	if (elf_is_program(elf)) {
		refuse(error, "a program, not a plugin");
	} else {
		refuse(error, "not a parloop plugin: it has no note");
		error_remedy(error, "a plugin says what it is with PAR_PLUGIN() of backend.h");
	}
	error_file(error, "%s", elf->path);
	return PAR_EUNAVAIL;
}

int32_t note_read(struct note **out, const char *path, par_error *error)
{
	struct elf_note found;
	struct elf elf;
	int32_t status = elf_open(&elf, path, error);

	if (status < 0)
		return status;
	status = elf_find_note(&elf, "parloop", NOTE_TYPE, &found, error);
	if (status == PAR_ENOTFOUND)
		status = no_note(&elf, error);
	elf_close(&elf);
	if (status < 0)
		return status;
	status = note_parse(out, found.text, found.size, error);
	if (status == PAR_OK)
		(*out)->address = found.address;
	else
		error_file(error, "%s", path);
	free(found.text);
	return status;
}

const struct note_backend *note_find(const struct note *note, const char *name)
{
	for (size_t i = 0; i < note->n_backends; i++)
		if (strcmp(note->backends[i].name, name) == 0)
			return &note->backends[i];
	return NULL;
}
