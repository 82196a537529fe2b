/* note.c - bytes as the file of a plugin, given to all that looks at one before it is loaded. */
#include "elf_file.h"
#include "loader.h"
#include "note.h"
#include "promise.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static const char *as_file(const uint8_t *bytes, size_t n)
{
	static char path[40];
	static int fd;

	if (path[0] == '\0') {
		fd = memfd_create("plugin.so", MFD_CLOEXEC);
		(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		par_set_log(promise_log, NULL);
	}
	promise(ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
	return path;
}

static void check_option(const struct schema *schema, const struct option *option)
{
	promise(schema_find(schema, option->key) == option);
	if (option->required || option->type == OPTION_TEXT)
		return;
	if (option->type == OPTION_BOOL || option->type == OPTION_CHOICE)
		promise(option->value >= 0 && option->value < 4096);
	else
		promise(option->lowest <= option->value && option->value <= option->highest);
}

static void check_backend(const struct note *note, const struct note_backend *backend)
{
	promise(note_is_name(backend->name));
	promise(note_find(note, backend->name) == backend);
	promise(strpbrk(backend->words, "\n\x1b\x7f") == NULL);
	promise(backend->batch_shortest_ns <= backend->batch_longest_ns);
	for (size_t i = 0; i < backend->schema.n_options; i++)
		check_option(&backend->schema, &backend->schema.options[i]);
}

static void check_note(const struct note *note)
{
	struct note *again;
	par_error error = PAR_ERROR_INIT;

	promise(note->abi_major == PAR_ABI_MAJOR && note->abi_minor <= PAR_ABI_MINOR);
	promise(note->n_backends > 0 && note->size == strlen(note->text) + 1);
	for (size_t i = 0; i < note->n_backends; i++)
		check_backend(note, &note->backends[i]);
	promise(note_parse(&again, note->text, note->size, &error) == PAR_OK);
	promise(again->n_backends == note->n_backends);
	note_destroy(again);
}

static int look_at_symbol(void *user, const char *name, unsigned type)
{
	*(size_t *)user += strlen(name) + type;
	return 0;
}

/* All that is asked of any ELF file here and there, of a program's as well. */
static void read_elf(const char *path)
{
	struct elf elf;
	struct elf_id id;
	char text[ELF_ID_TEXT];
	par_error error = PAR_ERROR_INIT;
	uint64_t address, size;
	size_t sum = 0;
	int32_t status = elf_open_program(&elf, path, &error);

	if (status < 0) {
		promise_error(&error, status);
		return;
	}
	status = elf_identify(&elf, &id, &error);
	if (status < 0)
		promise_error(&error, status);
	else
		promise(id.size > 0 && strlen(elf_id_text(&id, text)) == 2 * (size_t)id.size);
	(void)elf_find_section(&elf, ".note.parloop", &address, &size, &error);
	(void)elf_symbols(&elf, "", look_at_symbol, &sum, &error);
	elf_close(&elf);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	const char *path = as_file(bytes, n);
	const int fd = promise_fd();
	par_error error = PAR_ERROR_INIT;
	struct note *note;
	int32_t status = note_read(&note, path, &error);

	if (status == PAR_OK) {
		check_note(note);
		note_destroy(note);
	} else {
		promise_error(&error, status);
		promise(strcmp(error.file, path) == 0);
	}
	status = loader_check(path, &error);
	if (status < 0)
		promise_error(&error, status);
	status = elf_check_bytes(bytes, n, path, &error);
	if (status < 0)
		promise_error(&error, status);
	read_elf(path);
	promise(promise_fd() == fd);
	return 0;
}

#include "corpus.h"
