#include "module_cache.h"

#include "module_content.h"
#include "scratch.h"

#include <elf.h>
#include <fcntl.h>
#include <sys/wait.h>

#define DEMO PAR_BUILD "/tasks/demo.so"

static char cache[64];
static par_attachment sent;
static par_error error;

/* What a worker is given that has no file of it. */
static void begin(void)
{
	const par_attachment *content;
	par_module *module;
	void *bytes;

	scratch_begin();
	(void)snprintf(cache, sizeof(cache), "%s/cache", scratch_dir);
	setenv("PARLOOP_CACHE", cache, 1);
	error = (par_error)PAR_ERROR_INIT;
	ck_assert_int_eq(par_module_open(&module, DEMO, NULL), PAR_OK);
	ck_assert_int_eq(module_attachment(module, &content, &error), PAR_OK);
	sent = *content;
	bytes = malloc(sent.bytes);
	sent.address = memcpy(bytes, content->address, sent.bytes);
}

static void end(void)
{
	free((void *)(uintptr_t)sent.address);
	scratch_remove();
}

static const char *path_in_cache(void)
{
	static char path[200];
	int n = snprintf(path, sizeof(path), "%s/", cache);

	for (int i = 0; i < 32; i++)
		n += snprintf(path + n, sizeof(path) - (size_t)n, "%02x", sent.sha256[i]);
	(void)strcpy(path + n, ".so");
	return path;
}

static int files_in_cache(void)
{
	char command[100];
	int n = -1;
	FILE *list;

	(void)snprintf(command, sizeof(command), "ls -A %s 2>/dev/null | wc -l", cache);
	list = popen(command, "r");
	ck_assert_int_eq(fscanf(list, "%d", &n), 1);
	pclose(list);
	return n;
}

static void make_old(const char *path, uint64_t bytes)
{
	const struct timespec times[2] = {{1000000000, 0}, {1000000000, 0}};
	int fd = open(path, O_WRONLY | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)bytes), 0);
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
}

static par_module *opens(void)
{
	par_module *module;

	ck_assert_msg(module_cache_open(&module, &sent, &error) == PAR_OK, "%s: %s", error.what,
	              error.reason);
	return module;
}

static void refuses(const char *reason)
{
	par_module *module;

	ck_assert_int_eq(module_cache_open(&module, &sent, &error), PAR_EUNAVAIL);
	ck_assert_msg(strstr(error.reason, reason) != NULL, "%s", error.reason);
	ck_assert_str_ne(error.what, "");
	ck_assert_str_ne(error.remedy, "");
}

START_TEST(known_digest)
{
	static const uint8_t abc[] = {0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea};
	uint8_t digest[32];

	module_digest("abc", 3, digest);
	ck_assert_mem_eq(digest, abc, sizeof(abc));
}
END_TEST

START_TEST(opened_from_its_bytes)
{
	par_module *module = opens();
	const par_task *task;
	struct stat file;

	ck_assert_str_eq(module_path(module), path_in_cache());
	ck_assert_int_eq(par_module_task(module, "upper", &task, &error), PAR_OK);
	ck_assert_int_eq(stat(cache, &file), 0);
	ck_assert_uint_eq(file.st_mode & 07777, 0700);
	ck_assert_int_eq(files_in_cache(), 1);
	ck_assert_ptr_eq(opens(), module);
	ck_assert_int_eq(files_in_cache(), 1);
}
END_TEST

START_TEST(same_id_once_a_module)
{
	const par_attachment *once, *twice;
	par_module *module;

	ck_assert_int_eq(par_module_open(&module, DEMO, NULL), PAR_OK);
	ck_assert_int_eq(module_attachment(module, &once, &error), PAR_OK);
	ck_assert_int_eq(module_attachment(module, &twice, &error), PAR_OK);
	ck_assert_ptr_eq(once, twice);
	ck_assert_uint_gt(once->id, 0);
	ck_assert_int_eq(once->kind, PAR_ATTACH_MODULE);
}
END_TEST

START_TEST(damaged_on_the_way)
{
	((char *)(uintptr_t)sent.address)[sent.bytes - 1] ^= 1;
	refuses("damaged on the way");
	ck_assert_int_eq(files_in_cache(), 0);
}
END_TEST

START_TEST(for_another_machine)
{
	((Elf64_Ehdr *)(uintptr_t)sent.address)->e_machine = EM_SPARCV9;
	refuses("built for sparc64, this is");
	((char *)(uintptr_t)sent.address)[0] = 'x';
	refuses("not an ELF file");
	ck_assert_int_eq(files_in_cache(), 0);
}
END_TEST

START_TEST(nothing_of_it)
{
	sent.bytes = 0;
	refuses("not an ELF file");
	free((void *)(uintptr_t)sent.address);
	sent.address = NULL;
	refuses("not in this worker's memory");
	sent.kind = PAR_ATTACH_ARRAY;
	refuses("something else");
}
END_TEST

/* Whatever lies there under its name is not it. */
START_TEST(damaged_in_the_folder)
{
	ck_assert_int_eq(mkdir(cache, 0700), 0);
	make_old(path_in_cache(), sent.bytes);
	opens();
	ck_assert_int_eq(files_in_cache(), 1);
}
END_TEST

START_TEST(folder_of_everybody)
{
	ck_assert_int_eq(mkdir(cache, 0700), 0);
	ck_assert_int_eq(chmod(cache, 0755), 0);
	refuses("read or written by others");
	ck_assert(strstr(error.remedy, "$PARLOOP_CACHE") != NULL);
	ck_assert_int_eq(files_in_cache(), 0);
	ck_assert_int_eq(rmdir(cache), 0);
	ck_assert_int_eq(symlink("/tmp", cache), 0);
	refuses("");
}
END_TEST

START_TEST(room_is_made)
{
	char path[100];

	ck_assert_int_eq(mkdir(cache, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/old.so", cache);
	make_old(path, MODULE_CACHE_BYTES);
	(void)snprintf(path, sizeof(path), "%s/.part-1-1-killed", cache);
	make_old(path, 10);
	opens();
	ck_assert_int_eq(files_in_cache(), 1);
}
END_TEST

/* What is open stays so, whatever becomes of its file. */
START_TEST(removed_while_in_use)
{
	par_module *module = opens();

	ck_assert_int_eq(unlink(path_in_cache()), 0);
	ck_assert_ptr_eq(opens(), module);
	ck_assert_int_eq(files_in_cache(), 0);
}
END_TEST

/* Processes that come at once all get it, whole. */
START_TEST(several_at_once)
{
	pid_t children[8];
	int status;

	for (int i = 0; i < 8; i++) {
		children[i] = fork();
		if (children[i] == 0) {
			par_module *module;

			_exit(module_cache_open(&module, &sent, NULL) != PAR_OK);
		}
	}
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(waitpid(children[i], &status, 0), children[i]);
		ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	}
	opens();
	ck_assert_int_eq(files_in_cache(), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("module_cache");
	TCase *tests = tcase_create("module_cache");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, known_digest);
	tcase_add_test(tests, opened_from_its_bytes);
	tcase_add_test(tests, same_id_once_a_module);
	tcase_add_test(tests, damaged_on_the_way);
	tcase_add_test(tests, for_another_machine);
	tcase_add_test(tests, nothing_of_it);
	tcase_add_test(tests, damaged_in_the_folder);
	tcase_add_test(tests, folder_of_everybody);
	tcase_add_test(tests, room_is_made);
	tcase_add_test(tests, removed_while_in_use);
	tcase_add_test(tests, several_at_once);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
