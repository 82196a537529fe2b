#include "plugin.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NOTE_TYPE = 0x504c0001 };

/* --- the file: each access is checked, as it may be anything ------------------------------- */

static const void *at(const struct plugin *plugin, uint64_t offset, uint64_t size)
{
	if (offset > plugin->size || size > plugin->size - offset)
		return NULL;
	return plugin->bytes + offset;
}

static const Elf64_Phdr *segment(const struct plugin *plugin, uint32_t type, int n)
{
	const Elf64_Ehdr *header = at(plugin, 0, sizeof(*header));
	const Elf64_Phdr *segments =
		header == NULL ? NULL
		               : at(plugin, header->e_phoff, header->e_phnum * sizeof(*segments));

	for (int i = 0; segments != NULL && i < header->e_phnum; i++)
		if (segments[i].p_type == type && n-- == 0)
			return &segments[i];
	return NULL;
}

/* Where in the file lies what is loaded at that address?  Up to the end of its segment. */
static const char *loaded(const struct plugin *plugin, uint64_t address, uint64_t *left)
{
	const Elf64_Phdr *load;

	for (int n = 0; (load = segment(plugin, PT_LOAD, n)) != NULL; n++) {
		if (address < load->p_vaddr || address - load->p_vaddr >= load->p_filesz)
			continue;
		*left = load->p_filesz - (address - load->p_vaddr);
		return at(plugin, load->p_offset + (address - load->p_vaddr), *left);
	}
	return NULL;
}

static const Elf64_Dyn *dynamic(const struct plugin *plugin, int64_t tag, int n)
{
	const Elf64_Phdr *place = segment(plugin, PT_DYNAMIC, 0);
	const Elf64_Dyn *entries = place == NULL ? NULL : at(plugin, place->p_offset, place->p_filesz);

	for (size_t i = 0; entries != NULL && i < place->p_filesz / sizeof(*entries); i++)
		if (entries[i].d_tag == tag && n-- == 0)
			return &entries[i];
	return NULL;
}

int64_t plugin_tag(const struct plugin *plugin, int64_t tag)
{
	const Elf64_Dyn *entry = dynamic(plugin, tag, 0);

	return entry == NULL ? -1 : (int64_t)entry->d_un.d_val;
}

/* Of the table of strings. */
static const char *string(const struct plugin *plugin, uint64_t offset)
{
	const Elf64_Dyn *strings = dynamic(plugin, DT_STRTAB, 0);
	uint64_t left;
	const char *text = strings == NULL ? NULL : loaded(plugin, strings->d_un.d_ptr, &left);

	if (text == NULL || offset >= left || memchr(text + offset, '\0', left - offset) == NULL)
		return NULL;
	return text + offset;
}

const char *plugin_text(const struct plugin *plugin, int64_t tag, int n)
{
	const Elf64_Dyn *entry = dynamic(plugin, tag, n);

	return entry == NULL ? NULL : string(plugin, entry->d_un.d_val);
}

/* The table has no length of its own: the sections know it, if they are there. */
void plugin_exports(const struct plugin *plugin, void (*fn)(void *user, const char *name), void *user)
{
	const Elf64_Ehdr *header = at(plugin, 0, sizeof(*header));
	const Elf64_Shdr *sections = at(plugin, header->e_shoff, header->e_shnum * sizeof(*sections));

	for (int i = 0; sections != NULL && i < header->e_shnum; i++) {
		const Elf64_Sym *symbols = at(plugin, sections[i].sh_offset, sections[i].sh_size);

		if (sections[i].sh_type != SHT_DYNSYM || symbols == NULL)
			continue;
		for (size_t k = 1; k < sections[i].sh_size / sizeof(*symbols); k++) {
			const char *name = string(plugin, symbols[k].st_name);

			if (symbols[k].st_shndx != SHN_UNDEF && symbols[k].st_shndx != SHN_ABS &&
			    ELF64_ST_BIND(symbols[k].st_info) == STB_GLOBAL &&
			    ELF64_ST_VISIBILITY(symbols[k].st_other) == STV_DEFAULT && name != NULL)
				fn(user, name);
		}
	}
}

/* --- the note ------------------------------------------------------------------------------ */

static char *find_note_in(const char *notes, size_t size)
{
	while (notes != NULL && size >= sizeof(Elf64_Nhdr)) {
		const Elf64_Nhdr *note = (const void *)notes;
		size_t name = (note->n_namesz + 3ul) / 4 * 4, text = (note->n_descsz + 3ul) / 4 * 4;

		size -= sizeof(*note);
		if (name > size || text > size - name)
			return NULL;
		notes += sizeof(*note) + name;
		if (note->n_type == NOTE_TYPE && note->n_namesz == 8 && note->n_descsz > 0 &&
		    memcmp(notes - name, "parloop", 8) == 0)
			return strndup(notes, note->n_descsz);
		notes += text;
		size -= name + text;
	}
	return NULL;
}

static char *find_note(const struct plugin *plugin)
{
	const Elf64_Phdr *place;
	char *note = NULL;

	for (int n = 0; note == NULL && (place = segment(plugin, PT_NOTE, n)) != NULL; n++)
		if (place->p_offset % 4 == 0)
			note = find_note_in(at(plugin, place->p_offset, place->p_filesz), place->p_filesz);
	return note;
}

static const char *next_line(const char *line)
{
	line += strcspn(line, "\n");
	return *line == '\n' ? line + 1 : line;
}

/* Is that the n-th word of the line, from 0?  Without it: the length of the word. */
static size_t word(const char **line, int n)
{
	while (n-- > 0) {
		*line += strcspn(*line, " \n");
		*line += strspn(*line, " ");
	}
	return strcspn(*line, " \n");
}

static int is_word(const char *line, int n, const char *wanted)
{
	size_t length = word(&line, n);

	return length == strlen(wanted) && strncmp(line, wanted, length) == 0;
}

static void find_names(struct plugin *plugin)
{
	for (const char *line = plugin->note; *line != '\0'; line = next_line(line)) {
		const char *name = line;

		if (is_word(line, 0, "backend") && plugin->n_names < PLUGIN_BACKENDS) {
			size_t length = word(&name, 1);

			plugin->names[plugin->n_names++] = strndup(name, length);
		}
	}
}

/* The line after that backend's. */
static const char *lines_of(const struct plugin *plugin, const char *backend)
{
	for (const char *line = plugin->note; *line != '\0'; line = next_line(line))
		if (is_word(line, 0, "backend") && is_word(line, 1, backend))
			return next_line(line);
	return "";
}

const char *plugin_backend_note(const struct plugin *plugin, const char *backend)
{
	const char *line = lines_of(plugin, backend), *end = line;

	while (*end != '\0' && !is_word(end, 0, "backend"))
		end = next_line(end);
	return strndup(line, (size_t)(end - line));
}

int plugin_can(const struct plugin *plugin, const char *backend, const char *capability)
{
	const char *line = lines_of(plugin, backend);

	for (; *line != '\0' && !is_word(line, 0, "backend"); line = next_line(line))
		for (int n = 1; is_word(line, 0, "capabilities") && !is_word(line, n, ""); n++)
			if (is_word(line, n, capability))
				return 1;
	return 0;
}

const char *plugin_option_type(const struct plugin *plugin, const char *backend, const char *key)
{
	static const char *const types[] = {"int", "size", "time", "bool", "choice", "text"};
	const char *line = lines_of(plugin, backend);

	for (; *line != '\0' && !is_word(line, 0, "backend"); line = next_line(line)) {
		int n = 1;

		while (is_word(line, n, "required") || is_word(line, n, "secret"))
			n++;
		for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
			if (is_word(line, 0, types[i]) && is_word(line, n, key))
				return types[i];
	}
	return NULL;
}

/* --- the whole ----------------------------------------------------------------------------- */

static int read_all(struct plugin *plugin, int fd)
{
	struct stat stat;
	ssize_t n = 0;

	if (fstat(fd, &stat) < 0)
		return -1;
	if (!S_ISREG(stat.st_mode))
		return 0;
	plugin->bytes = calloc(1, (size_t)stat.st_size + 1);
	while (plugin->bytes != NULL && plugin->size < (size_t)stat.st_size && n >= 0) {
		n = read(fd, plugin->bytes + plugin->size, (size_t)stat.st_size - plugin->size);
		if (n == 0)
			break;
		plugin->size += n > 0 ? (size_t)n : 0;
	}
	return plugin->bytes == NULL || n < 0 ? -1 : 0;
}

int plugin_read(struct plugin *plugin, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	int status;

	*plugin = (struct plugin){.path = path};
	if (fd < 0)
		return -1;
	status = read_all(plugin, fd);
	(void)close(fd);
	if (status < 0 || plugin->size < sizeof(Elf64_Ehdr) ||
	    memcmp(plugin->bytes, ELFMAG, SELFMAG) != 0 ||
	    plugin->bytes[EI_CLASS] != ELFCLASS64)
		return status;
	plugin->note = find_note(plugin);
	if (plugin->note != NULL)
		find_names(plugin);
	return 0;
}

const char *plugin_load(struct plugin *plugin)
{
	void *handle = dlopen(plugin->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	void *symbol = handle == NULL ? NULL : dlsym(handle, "parloop_backend_v1");

	if (symbol == NULL)
		return dlerror();
	memcpy(&plugin->factory, &symbol, sizeof(symbol));
	return NULL;
}
