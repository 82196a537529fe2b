#include "elf_file_layout.h"

#include <unistd.h>

/* --- segments ------------------------------------------------------------------------------- */

/* In the order of their addresses, and none over another. */
static int are_in_order(const struct elf *elf)
{
	uint64_t end = 0;

	for (unsigned i = 0; i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];

		if (segment->p_type == PT_LOAD &&
		    (segment->p_vaddr < end ||
		     __builtin_add_overflow(segment->p_vaddr, segment->p_memsz, &end)))
			return 0;
	}
	return 1;
}

/* What is loaded is whole pages. */
int elf_layout_has(const struct elf *elf, uint64_t address, uint64_t n, uint32_t flags)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	for (unsigned i = 0; i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		uint64_t inside = address - segment->p_vaddr;
		uint64_t room = (segment->p_vaddr + segment->p_memsz + page - 1) / page * page - segment->p_vaddr;

		if (segment->p_type == PT_LOAD && (segment->p_flags & flags) == flags &&
		    address >= segment->p_vaddr && inside < room && n <= room - inside)
			return 1;
	}
	return 0;
}

/* Is what the file has at that offset loaded to that address? */
static int is_loaded_from(const struct elf *elf, const Elf64_Phdr *part)
{
	for (unsigned i = 0; i < elf->header.e_phnum; i++) {
		const Elf64_Phdr *segment = &elf->segments[i];
		uint64_t inside = part->p_vaddr - segment->p_vaddr;

		if (segment->p_type == PT_LOAD && part->p_vaddr >= segment->p_vaddr &&
		    inside <= segment->p_filesz && part->p_filesz <= segment->p_filesz - inside &&
		    part->p_offset == segment->p_offset + inside)
			return 1;
	}
	return 0;
}

static int is_part_in_place(const struct elf *elf, const Elf64_Phdr *part)
{
	switch (part->p_type) {
	case PT_GNU_RELRO: /* made read-only; it may go on where the file ends */
		return elf_layout_has(elf, part->p_vaddr, part->p_memsz, PF_R | PF_W);
	case PT_TLS:
		return part->p_filesz <= part->p_memsz &&
		       (part->p_filesz == 0 || is_loaded_from(elf, part));
	case PT_DYNAMIC:
	case PT_PHDR:
	case PT_GNU_EH_FRAME:
		return is_loaded_from(elf, part);
	default:
		return 1;
	}
}

/* Of two dynamic sections the loader would take another than we. */
static int are_parts_in_place(const struct elf *elf)
{
	int n_dynamic = 0;

	for (unsigned i = 0; i < elf->header.e_phnum; i++) {
		n_dynamic += elf->segments[i].p_type == PT_DYNAMIC;
		if (!is_part_in_place(elf, &elf->segments[i]))
			return 0;
	}
	return n_dynamic <= 1;
}

/* --- the dynamic section -------------------------------------------------------------------- */

/* What it points to: where, and how many bytes if it says so. */
static const struct {
	int64_t address, size;
	uint32_t flags;
} tables[] = {
	{DT_STRTAB, DT_STRSZ, PF_R},
	{DT_SYMTAB, 0, PF_R},
	{DT_HASH, 0, PF_R},
	{DT_GNU_HASH, 0, PF_R},
	{DT_RELA, DT_RELASZ, PF_R},
	{DT_REL, DT_RELSZ, PF_R},
	{DT_JMPREL, DT_PLTRELSZ, PF_R},
	{DT_PLTGOT, 0, PF_R},
	{DT_VERSYM, 0, PF_R},
	{DT_VERNEED, 0, PF_R},
	{DT_VERDEF, 0, PF_R},
	{DT_INIT_ARRAY, DT_INIT_ARRAYSZ, PF_R},
	{DT_FINI_ARRAY, DT_FINI_ARRAYSZ, PF_R},
	{DT_INIT, 0, PF_X},
	{DT_FINI, 0, PF_X},
};

/* The last counts, as it does for the loader; absent: that. */
static uint64_t value_of(const Elf64_Dyn *entries, size_t n, int64_t tag, uint64_t absent)
{
	for (size_t i = 0; i < n && entries[i].d_tag != DT_NULL; i++)
		if (entries[i].d_tag == tag)
			absent = entries[i].d_un.d_val;
	return absent;
}

static int has_end(const Elf64_Dyn *entries, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (entries[i].d_tag == DT_NULL)
			return 1;
	return 0;
}

static int are_tables_in_place(const struct elf *elf, const Elf64_Dyn *entries, size_t n)
{
	for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		uint64_t address = value_of(entries, n, tables[i].address, 0);
		uint64_t size = tables[i].size == 0 ? 1 : value_of(entries, n, tables[i].size, 0);

		if (address != 0 && !elf_layout_has(elf, address, size, tables[i].flags))
			return 0;
	}
	return 1;
}

/* Names of libraries and folders, as places among the strings. */
static int is_name(int64_t tag)
{
	return tag == DT_NEEDED || tag == DT_SONAME || tag == DT_RPATH || tag == DT_RUNPATH;
}

static int are_names_inside(const Elf64_Dyn *entries, size_t n)
{
	const uint64_t size = value_of(entries, n, DT_STRSZ, 0);

	for (size_t i = 0; i < n && entries[i].d_tag != DT_NULL; i++)
		if (is_name(entries[i].d_tag) && entries[i].d_un.d_val >= size)
			return 0;
	return 1;
}

/* Those that need no name are applied without a look at what they are. */
static int is_count_right(const Elf64_Dyn *entries, size_t n)
{
	return value_of(entries, n, DT_RELACOUNT, 0) <=
	       value_of(entries, n, DT_RELASZ, 0) / sizeof(Elf64_Rela);
}

const char *elf_layout_fault(const struct elf *elf, const Elf64_Dyn *entries, size_t n)
{
	if (!are_in_order(elf))
		return "its segments lie over each other, or out of order";
	if (!are_parts_in_place(elf))
		return "a part of it lies outside of what is loaded";
	if (!has_end(entries, n))
		return "its dynamic section has no end";
	if (!are_tables_in_place(elf, entries, n) || !are_names_inside(entries, n) ||
	    !is_count_right(entries, n))
		return "its dynamic section points outside of what is loaded";
	return NULL;
}
