#include "scratch.h"

#include "elf_file.h"
#include "note.h"

#include <elf.h>

static par_error error = PAR_ERROR_INIT;

static void refuses(const char *path, int32_t code, const char *reason)
{
	struct elf elf;

	ck_assert_int_eq(elf_open(&elf, path, &error), code);
	ck_assert_str_eq(error.file, path);
	assert_contains(error.reason, reason);
}

/* The good plugin with n bytes at offset written over. */
static const char *patched(size_t offset, const void *bytes, size_t n)
{
	const char *path = scratch_copy(PLUGIN("good"), "patched.so");
	int fd = open(path, O_WRONLY);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, bytes, n, (off_t)offset), (ssize_t)n);
	close(fd);
	return path;
}

#define PATCH(field, type, value)                                                               \
	patched(offsetof(Elf64_Ehdr, field), &(type){value}, sizeof(type))

/* Change the type of every program header of that kind, or of every section. */
static const char *retyped(uint32_t from, uint32_t to, int sections)
{
	const char *path;
	size_t n;
	char *bytes = scratch_read(PLUGIN("good"), &n);
	Elf64_Ehdr *header = (Elf64_Ehdr *)bytes;

	for (int i = 0; !sections && i < header->e_phnum; i++) {
		Elf64_Phdr *segment = (Elf64_Phdr *)(bytes + header->e_phoff) + i;

		if (segment->p_type == from)
			segment->p_type = to;
	}
	for (int i = 0; sections && i < header->e_shnum; i++) {
		Elf64_Shdr *section = (Elf64_Shdr *)(bytes + header->e_shoff) + i;

		if (section->sh_type == from)
			section->sh_type = to;
	}
	path = scratch_write("retyped.so", bytes, n);
	free(bytes);
	return path;
}

START_TEST(refuses_what_cannot_be_opened)
{
	ck_assert_int_eq(symlink("/nowhere/at/all", scratch_path("dangling.so")), 0);
	ck_assert_int_eq(symlink("loop.so", scratch_path("loop.so")), 0);
	refuses(scratch_path("missing.so"), PAR_ENOTFOUND, "No such file or directory");
	refuses(scratch_path("dangling.so"), PAR_ENOTFOUND,
	        "a symbolic link to /nowhere/at/all, which does not exist");
	refuses(scratch_path("loop.so"), PAR_EUNAVAIL, "Too many levels of symbolic links");
}
END_TEST

/* Root may read everything, so it is somebody else for a moment. */
START_TEST(refuses_what_may_not_be_read)
{
	scratch_write("secret.so", "x", 1);
	ck_assert_int_eq(chmod(scratch_path("secret.so"), 0), 0);
	ck_assert_int_eq(chmod(scratch_dir, 0755), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	refuses(scratch_path("secret.so"), PAR_EUNAVAIL, "Permission denied (mode 0000, owner");
	ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(refuses_what_is_no_regular_file_without_waiting)
{
	ck_assert_int_eq(mkfifo(scratch_path("fifo.so"), 0600), 0);
	ck_assert_int_eq(symlink("/dev/zero", scratch_path("zero.so")), 0);
	refuses(scratch_dir, PAR_EUNAVAIL, "is a directory");
	refuses(scratch_path("fifo.so"), PAR_EUNAVAIL, "not a regular file");
	refuses(scratch_path("zero.so"), PAR_EUNAVAIL, "not a regular file");
}
END_TEST

START_TEST(refuses_what_is_no_elf_file_and_says_what_it_is)
{
	refuses(scratch_write("empty.so", "", 0), PAR_EUNAVAIL, "empty file");
	refuses(scratch_write("short.so", "ab", 2), PAR_EUNAVAIL, "(starts with \"ab\")");
	refuses(scratch_write("script.so", "#!/bin/sh\necho\n", 15), PAR_EUNAVAIL,
	        "not an ELF file (starts with \"#!/bin/sh\")");
	refuses(scratch_write("ld.so", "/* GNU ld script\n*/ INPUT(x)", 28), PAR_EUNAVAIL,
	        "not an ELF file");
	assert_contains(error.remedy, "linker script");
	refuses(scratch_write("binary.so", "\0\1\2\n", 4), PAR_EUNAVAIL,
	        "(starts with \"\\x00\\x01\\x02\")");
}
END_TEST

START_TEST(refuses_another_machines_files)
{
	refuses(patched(EI_CLASS, "\1", 1), PAR_EUNAVAIL, "32-bit, this parloop is 64-bit");
	refuses(patched(EI_DATA, "\2", 1), PAR_EUNAVAIL,
		"big-endian, this parloop is little-endian");
	refuses(PATCH(e_machine, Elf64_Half, 4242), PAR_EUNAVAIL,
		"built for machine 4242, this is ");
#if defined(__x86_64__)
	refuses(PATCH(e_machine, Elf64_Half, EM_AARCH64), PAR_EUNAVAIL,
	        "built for aarch64, this is x86-64");
#endif
}
END_TEST

START_TEST(refuses_other_kinds_of_elf_files)
{
	refuses(PATCH(e_type, Elf64_Half, ET_REL), PAR_EUNAVAIL,
	        "an object file, not a shared object; link with -shared");
	refuses(PATCH(e_type, Elf64_Half, ET_EXEC), PAR_EUNAVAIL, "a program, not a shared object");
	refuses(PATCH(e_type, Elf64_Half, ET_CORE), PAR_EUNAVAIL, "core dump");
	refuses(retyped(PT_LOAD, PT_NULL, 0), PAR_EUNAVAIL, "nothing to load");
	refuses(retyped(PT_DYNAMIC, PT_NULL, 0), PAR_EUNAVAIL, "no dynamic section");
	refuses(PATCH(e_phnum, Elf64_Half, 0), PAR_EUNAVAIL, "damaged ELF file");
	refuses(PATCH(e_phentsize, Elf64_Half, 57), PAR_EUNAVAIL, "damaged ELF file");
	refuses(PATCH(e_phoff, Elf64_Off, UINT64_MAX - 8), PAR_EUNAVAIL,
	        "truncated: program headers outside the file");
}
END_TEST

/* --- what the dynamic loader would believe ---------------------------------------------------- */

/* Where a field of the first program header of that type lies. */
static size_t segment_field(uint32_t type, size_t field)
{
	size_t n, at;
	char *bytes = scratch_read(PLUGIN("good"), &n);
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;

	at = header->e_phoff;
	while (((const Elf64_Phdr *)(bytes + at))->p_type != type)
		at += sizeof(Elf64_Phdr);
	free(bytes);
	return at + field;
}

/* Where the value of the first entry with that tag lies. */
static size_t dynamic_value(int64_t tag)
{
	size_t n, at = segment_field(PT_DYNAMIC, offsetof(Elf64_Phdr, p_offset));
	char *bytes = scratch_read(PLUGIN("good"), &n);

	at = *(const Elf64_Off *)(bytes + at);
	while (((const Elf64_Dyn *)(bytes + at))->d_tag != tag)
		at += sizeof(Elf64_Dyn);
	free(bytes);
	return at + offsetof(Elf64_Dyn, d_un);
}

START_TEST(refuses_segments_that_the_loader_would_put_anywhere)
{
	static const struct {
		uint32_t type;
		size_t field;
		uint64_t value;
		const char *reason;
	} cases[] = {
		{PT_LOAD, offsetof(Elf64_Phdr, p_vaddr), 1 << 30, "lie over each other"},
		{PT_LOAD, offsetof(Elf64_Phdr, p_memsz), 1 << 30, "lie over each other"},
		{PT_DYNAMIC, offsetof(Elf64_Phdr, p_vaddr), 1 << 30, "outside of what is loaded"},
		{PT_DYNAMIC, offsetof(Elf64_Phdr, p_vaddr), 0, "outside of what is loaded"},
		{PT_GNU_RELRO, offsetof(Elf64_Phdr, p_memsz), 1 << 30, "outside of what is loaded"},
		{PT_GNU_EH_FRAME, offsetof(Elf64_Phdr, p_vaddr), UINT64_MAX, "outside of what is loaded"},
		{PT_DYNAMIC, offsetof(Elf64_Phdr, p_filesz), 16, "has no end"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuses(patched(segment_field(cases[i].type, cases[i].field), &cases[i].value, 8),
		        PAR_EUNAVAIL, cases[i].reason);
}
END_TEST

START_TEST(refuses_a_dynamic_section_that_points_anywhere)
{
	static const struct {
		int64_t tag;
		uint64_t value;
	} cases[] = {
		{DT_STRTAB, 1 << 30}, {DT_STRSZ, 1 << 30}, {DT_SYMTAB, UINT64_MAX}, {DT_GNU_HASH, 1 << 30},
		{DT_RELA, 1 << 30},   {DT_RELASZ, 1 << 30}, {DT_JMPREL, 1 << 30},    {DT_INIT_ARRAY, 1 << 30},
		{DT_INIT, 8},         {DT_NEEDED, 1 << 20}, {DT_RELACOUNT, 1 << 20}, {DT_FINI_ARRAYSZ, 1 << 30},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuses(patched(dynamic_value(cases[i].tag), &cases[i].value, 8), PAR_EUNAVAIL,
		        "its dynamic section points outside of what is loaded");
}
END_TEST

static int ignore_symbol(void *user, const char *name, unsigned type)
{
	(void)user, (void)name, (void)type;
	return 0;
}

/* Each of them inside the file, but no table of that kind. */
START_TEST(refuses_tables_that_name_what_is_not_there)
{
	static const int64_t tags[] = {DT_VERSYM, DT_VERNEED, DT_RELA, DT_JMPREL, DT_SYMTAB};
	size_t at = dynamic_value(DT_STRTAB), n;
	char *bytes = scratch_read(PLUGIN("good"), &n);

	for (size_t i = 0; i < sizeof(tags) / sizeof(tags[0]); i++) {
		const char *path = patched(dynamic_value(tags[i]), bytes + at, 8);
		struct elf elf;

		ck_assert_int_eq(elf_open(&elf, path, &error), PAR_OK);
		ck_assert_int_eq(elf_symbols(&elf, "", ignore_symbol, NULL, &error), PAR_EUNAVAIL);
		assert_contains(error.reason, "its symbol table cannot be read");
		elf_close(&elf);
	}
	free(bytes);
}
END_TEST

START_TEST(says_where_a_file_is_cut)
{
	const char *path = scratch_copy(PLUGIN("good"), "cut.so");

	ck_assert_int_eq(truncate(path, 4096), 0);
	refuses(path, PAR_EUNAVAIL, "truncated: a segment ends at ");
	assert_contains(error.reason, ", the file has 4096");
	ck_assert_int_eq(truncate(path, 64), 0);
	refuses(path, PAR_EUNAVAIL, "truncated: program headers outside the file");
	ck_assert_int_eq(truncate(path, 32), 0);
	refuses(path, PAR_EUNAVAIL, "truncated: inside the ELF header");
}
END_TEST

/* --- notes --------------------------------------------------------------------------------- */

static void finds_note(const char *path)
{
	struct note *note;

	ck_assert_msg(note_read(&note, path, &error) == PAR_OK, "%s", error.reason);
	ck_assert_str_eq(note->backends[0].name, "good");
	note_destroy(note);
}

START_TEST(finds_the_note_by_segments_or_by_sections)
{
	const char *path = scratch_copy(PLUGIN("good"), "cut.so");
	struct stat file;

	finds_note(retyped(PT_NOTE, PT_NULL, 0));
	finds_note(retyped(SHT_NOTE, SHT_NULL, 1));
	finds_note(PATCH(e_shoff, Elf64_Off, 0));
	ck_assert_int_eq(stat(path, &file), 0);
	ck_assert_int_eq(truncate(path, file.st_size - 10), 0);
	finds_note(path);
}
END_TEST

START_TEST(a_file_without_note_is_no_plugin)
{
	struct note *note;
	char command[600];

	ck_assert_int_eq(note_read(&note, "/proc/self/exe", &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "a program, not a");
	scratch_write("empty.c", "int nothing;\n", 13);
	(void)snprintf(command, sizeof(command),
		       "cd %s && ${CC:-cc} -shared -fPIC -o plain.so empty.c", scratch_dir);
	ck_assert_int_eq(system(command), 0);
	ck_assert_int_eq(note_read(&note, scratch_path("plain.so"), &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "not a parloop plugin");
}
END_TEST

/* Where our note begins in the good plugin. */
static size_t find_note_offset(void)
{
	static const char owner[] = "parloop";
	size_t n;
	char *bytes = scratch_read(PLUGIN("good"), &n);
	char *at = bytes;

	while ((at = memmem(at, n - (size_t)(at - bytes), owner, sizeof(owner))) != NULL) {
		Elf64_Nhdr *note = (Elf64_Nhdr *)(void *)(at - sizeof(*note));

		if (memcmp(at + 8, "abi ", 4) == 0)
			break;
		at++;
	}
	ck_assert_ptr_nonnull(at);
	n = (size_t)(at - bytes) - sizeof(Elf64_Nhdr);
	free(bytes);
	return n;
}

START_TEST(refuses_notes_of_impossible_size)
{
	static const struct {
		size_t field;
		uint32_t value;
	} cases[] = {
		{offsetof(Elf64_Nhdr, n_namesz), UINT32_MAX},
		{offsetof(Elf64_Nhdr, n_descsz), UINT32_MAX},
		{offsetof(Elf64_Nhdr, n_descsz), 8},
		{offsetof(Elf64_Nhdr, n_descsz), 0},
		{offsetof(Elf64_Nhdr, n_type), 1},
		{offsetof(Elf64_Nhdr, n_namesz), 0},
	};
	size_t at = find_note_offset();
	struct note *note;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *path = patched(at + cases[i].field, &cases[i].value, 4);

		ck_assert_int_eq(note_read(&note, path, &error), PAR_EUNAVAIL);
		ck_assert_str_ne(error.reason, "");
	}
}
END_TEST

/* --- symbols ------------------------------------------------------------------------------- */

static int count_symbol(void *user, const char *name, unsigned type)
{
	if (strcmp(name, "parloop_backend_v1") == 0 && type == STT_FUNC)
		*(int *)user += 1;
	return 0;
}

static int count_factories(const char *path)
{
	struct elf elf;
	int n = 0;

	ck_assert_int_eq(elf_open(&elf, path, &error), PAR_OK);
	ck_assert_int_eq(elf_symbols(&elf, "parloop_", count_symbol, &n, &error), PAR_OK);
	elf_close(&elf);
	return n;
}

START_TEST(lists_symbols_with_either_hash_and_without_sections)
{
	static const char *const styles[] = {"gnu", "sysv", "both"};
	char command[600], name[20];

	ck_assert_int_eq(count_factories(PLUGIN("good")), 1);
	ck_assert_int_eq(count_factories(PATCH(e_shoff, Elf64_Off, 0)), 1);
	for (int i = 0; i < 3; i++) {
		(void)snprintf(command, sizeof(command),
			       "${CC:-cc} -shared -fPIC -fvisibility=hidden -I'%s/include' "
			       "-o %s/%s.so -Wl,--hash-style=%s '%s/tests/plugins/good.c'",
		               PAR_CHECKOUT, scratch_dir, styles[i], styles[i], PAR_CHECKOUT);
		ck_assert_int_eq(system(command), 0);
		(void)snprintf(name, sizeof(name), "%s.so", styles[i]);
		ck_assert_int_eq(count_factories(scratch_path(name)), 1);
	}
}
END_TEST

/* --- damage -------------------------------------------------------------------------------- */

/* All that is ever read of a file; only must not crash, and explain itself. */
static int read_everything(const char *path)
{
	struct note *note = NULL;
	struct elf elf;
	int n = 0, is_good;

	error.reason[0] = '\0';
	if (elf_open(&elf, path, &error) < 0) {
		ck_assert_str_ne(error.reason, "");
		return 0;
	}
	is_good = elf_symbols(&elf, "", count_symbol, &n, &error) == PAR_OK;
	elf_close(&elf);
	if (note_read(&note, path, &error) < 0)
		is_good = 0;
	note_destroy(note);
	return is_good;
}

START_TEST(survives_a_cut_at_every_length)
{
	const char *path = scratch_copy(PLUGIN("good"), "cut.so");
	int n_good = 0;
	struct stat file;

	ck_assert_int_eq(stat(path, &file), 0);
	/* Beyond the first pages, where every byte matters, every 7th length will do. */
	for (off_t length = file.st_size; length >= 0; length -= length > 4096 ? 7 : 1) {
		ck_assert_int_eq(truncate(path, length), 0);
		n_good += read_everything(path);
	}
	ck_assert_int_ge(n_good, 1);
}
END_TEST

static uint64_t state = 20261120;

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

/* Where a change is likely to matter: header, program headers, dynamic section, note. */
static size_t interesting_offset(const char *bytes, size_t n)
{
	const Elf64_Ehdr *header = (const Elf64_Ehdr *)bytes;
	const Elf64_Phdr *segments = (const Elf64_Phdr *)(bytes + header->e_phoff);
	const Elf64_Phdr *one = &segments[next_random() % header->e_phnum];

	switch (next_random() % 4) {
	case 0:
		return next_random() % sizeof(*header);
	case 1:
		return header->e_phoff + next_random() % (header->e_phnum * sizeof(*one));
	case 2:
		return one->p_filesz == 0 ? 0 : one->p_offset + next_random() % one->p_filesz;
	default:
		return next_random() % n;
	}
}

START_TEST(survives_random_changes)
{
	const char *path = scratch_copy(PLUGIN("good"), "changed.so");
	int fd = open(path, O_WRONLY), n_good = 0;
	size_t n, at[8];
	char *bytes = scratch_read(path, &n);

	for (int round = 0; round < 4000; round++) {
		int changes = 1 + (int)(next_random() % 8);

		for (int i = 0; i < changes; i++) {
			uint8_t byte = next_random() % 3 ? (uint8_t)next_random() : 0xff;

			at[i] = interesting_offset(bytes, n);
			ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)at[i]), 1);
		}
		n_good += read_everything(path);
		for (int i = 0; i < changes; i++)
			ck_assert_int_eq(pwrite(fd, &bytes[at[i]], 1, (off_t)at[i]), 1);
	}
	close(fd);
	free(bytes);
	ck_assert_int_ge(n_good, 1);
	ck_assert_int_lt(n_good, 4000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("elf");
	TCase *tests = tcase_create("elf");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, refuses_what_cannot_be_opened);
	tcase_add_test(tests, refuses_what_may_not_be_read);
	tcase_add_test(tests, refuses_what_is_no_regular_file_without_waiting);
	tcase_add_test(tests, refuses_what_is_no_elf_file_and_says_what_it_is);
	tcase_add_test(tests, refuses_another_machines_files);
	tcase_add_test(tests, refuses_other_kinds_of_elf_files);
	tcase_add_test(tests, refuses_segments_that_the_loader_would_put_anywhere);
	tcase_add_test(tests, refuses_a_dynamic_section_that_points_anywhere);
	tcase_add_test(tests, refuses_tables_that_name_what_is_not_there);
	tcase_add_test(tests, says_where_a_file_is_cut);
	tcase_add_test(tests, finds_the_note_by_segments_or_by_sections);
	tcase_add_test(tests, a_file_without_note_is_no_plugin);
	tcase_add_test(tests, refuses_notes_of_impossible_size);
	tcase_add_test(tests, lists_symbols_with_either_hash_and_without_sections);
	tcase_add_test(tests, survives_a_cut_at_every_length);
	tcase_add_test(tests, survives_random_changes);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
