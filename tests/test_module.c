#include "module.h"

#include <check.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEMO  PAR_BUILD "/tasks/demo.so"
#define WRONG PAR_BUILD "/tasks/wrong.so"

static char folder[PATH_MAX];

/* Each test has its own folder, which goes with all that is in it. */
static void begin(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/parloop-module-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void end(void)
{
	char command[PATH_MAX + 16];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static const char *in_folder(const char *name)
{
	static char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	return path;
}

static const char *write_file(const char *name, const char *text)
{
	const char *path = in_folder(name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(text, file), 0);
	ck_assert_int_eq(fclose(file), 0);
	return path;
}

static void copy_file(const char *from, const char *to)
{
	char command[3 * PATH_MAX];

	(void)snprintf(command, sizeof(command), "cp '%s' '%s'", from, to);
	ck_assert_int_eq(system(command), 0);
}

static par_module *open_module(const char *path)
{
	par_error error = PAR_ERROR_INIT;
	par_module *module;

	ck_assert_msg(par_module_open(&module, path, &error) == PAR_OK, "%s: %s: %s", error.what,
	              error.file, error.reason);
	return module;
}

/* The path is refused with this code, and these words in reason and remedy. */
static void refuses(const char *path, int32_t code, const char *reason, const char *remedy)
{
	par_error error = PAR_ERROR_INIT;
	par_module *module = (par_module *)folder;
	int32_t status = par_module_open(&module, path, &error);

	ck_assert_int_eq(status, code);
	ck_assert_int_eq(error.code, code);
	ck_assert_ptr_null(module);
	ck_assert_str_eq(error.what, "cannot open the task module");
	ck_assert_msg(strstr(error.reason, reason) != NULL, "reason is \"%s\", not \"%s\"",
	              error.reason, reason);
	ck_assert_msg(strstr(error.remedy, remedy) != NULL, "remedy is \"%s\", not \"%s\"",
	              error.remedy, remedy);
}

static void refuses_task(const char *name, const char *reason)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task = (const par_task *)folder;

	ck_assert_int_eq(par_module_task(open_module(WRONG), name, &task, &error), PAR_EINVAL);
	ck_assert_ptr_null(task);
	ck_assert_ptr_nonnull(strstr(error.what, name));
	ck_assert_str_eq(error.file, WRONG);
	ck_assert_msg(strstr(error.reason, reason) != NULL, "reason is \"%s\", not \"%s\"",
	              error.reason, reason);
	ck_assert_ptr_nonnull(strstr(error.remedy, "headers"));
}

/* Tasks of this program: it exports none of them. */
static int twice(const int64_t *in, int64_t *out)
{
	*out = 2 * *in;
	return 0;
}
PAR_TASK(twice, int64_t, int64_t)

static int quiet(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}
PAR_TASK_OF_BYTES(quiet)

static par_module *program(void)
{
	par_error error = PAR_ERROR_INIT;
	par_module *module;

	ck_assert_msg(module_of_program(&module, &error) == PAR_OK, "%s: %s: %s", error.what,
	              error.file, error.reason);
	return module;
}

START_TEST(the_program_is_a_module)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task;

	ck_assert(module_is_program(program()));
	ck_assert(!module_is_program(open_module(DEMO)));
	ck_assert_int_eq(par_module_task(program(), "twice", &task, &error), PAR_OK);
	ck_assert_ptr_eq(task, &par_task_twice);
	ck_assert_int_eq(par_module_task(program(), "quiet", &task, &error), PAR_OK);
	ck_assert_ptr_eq(task, &par_task_quiet);
	ck_assert_int_eq(par_module_task(program(), "quite", &task, &error), PAR_ENOTFOUND);
	ck_assert_str_eq(error.reason, "the module has: quiet, twice");
}
END_TEST

START_TEST(a_task_knows_where_it_comes_from)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *square;
	par_module *module;

	ck_assert_int_eq(module_of_task(&module, &par_task_twice, &error), PAR_OK);
	ck_assert_ptr_eq(module, program());
	ck_assert_int_eq(par_module_task(open_module(DEMO), "square", &square, &error), PAR_OK);
	ck_assert_int_eq(module_of_task(&module, square, &error), PAR_OK);
	ck_assert_ptr_eq(module, open_module(DEMO));
}
END_TEST

START_TEST(a_task_made_at_run_time_cannot_leave)
{
	par_error error = PAR_ERROR_INIT;
	par_task made = par_task_twice;
	par_module *module;

	ck_assert_int_eq(module_of_task(&module, &made, &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "task \"twice\" cannot leave this process");
}
END_TEST

START_TEST(equal_files_have_equal_ids_and_others_other_ones)
{
	char text[ELF_ID_TEXT];
	const struct elf_id *demo;

	copy_file(DEMO, in_folder("copy.so"));
	demo = module_id(open_module(DEMO));
	ck_assert(elf_id_is(demo, module_id(open_module(in_folder("copy.so")))));
	ck_assert(!elf_id_is(demo, module_id(open_module(WRONG))));
	ck_assert(!elf_id_is(demo, module_id(program())));
	ck_assert_uint_ge(demo->size, 8);
	ck_assert_uint_eq(strlen(elf_id_text(demo, text)), 2 * demo->size);
}
END_TEST

START_TEST(a_file_without_build_id_is_known_by_its_contents)
{
	char command[3 * PATH_MAX];
	const struct elf_id *id;

	(void)snprintf(command, sizeof(command),
	               "objcopy --remove-section .note.gnu.build-id '%s' '%s'", DEMO,
	               in_folder("without.so"));
	ck_assert_int_eq(system(command), 0);
	id = module_id(open_module(in_folder("without.so")));
	ck_assert_uint_eq(id->size, 16);
	ck_assert(!elf_id_is(id, module_id(open_module(DEMO))));
}
END_TEST

START_TEST(finds_a_bytes_task)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task;

	ck_assert_int_eq(par_module_task(open_module(DEMO), "echo", &task, &error), PAR_OK);
	ck_assert_str_eq(task->name, "echo");
	ck_assert_int_eq(task->kind, PAR_TASK_BYTES);
	ck_assert(task->bytes != NULL);
}
END_TEST

START_TEST(finds_a_typed_task_that_runs)
{
	par_error error = PAR_ERROR_INIT;
	int64_t in[] = {3, -4}, out[] = {0, 0};
	const par_task *task;
	par_env env = {.size = sizeof(env)};
	uint64_t at;

	ck_assert_int_eq(par_module_task(open_module(DEMO), "square", &task, &error), PAR_OK);
	ck_assert_uint_eq(task->in_size, sizeof(int64_t));
	ck_assert_int_eq(task->range(&env, in, out, 2, &at), 0);
	ck_assert_int_eq(out[0], 9);
	ck_assert_int_eq(out[1], 16);
}
END_TEST

START_TEST(a_file_is_one_module_under_all_its_names)
{
	char link_path[PATH_MAX + 64], hard[PATH_MAX + 64];
	par_module *module;

	copy_file(DEMO, in_folder("one.so"));
	module = open_module(in_folder("one.so"));
	(void)snprintf(link_path, sizeof(link_path), "%s", in_folder("soft.so"));
	(void)snprintf(hard, sizeof(hard), "%s", in_folder("hard.so"));
	ck_assert_int_eq(symlink("one.so", link_path), 0);
	ck_assert_int_eq(link(in_folder("one.so"), hard), 0);
	ck_assert_ptr_eq(open_module(link_path), module);
	ck_assert_ptr_eq(open_module(hard), module);
	ck_assert_ptr_eq(open_module(in_folder("././one.so")), module);
}
END_TEST

START_TEST(the_path_is_absolute_and_without_links)
{
	char real[PATH_MAX];
	par_module *module;

	copy_file(DEMO, in_folder("real.so"));
	ck_assert_ptr_nonnull(realpath(in_folder("real.so"), real));
	ck_assert_int_eq(symlink("real.so", in_folder("link.so")), 0);
	ck_assert_int_eq(chdir(folder), 0);
	module = open_module("./link.so");
	ck_assert_str_eq(module_path(module), real);
	ck_assert_int_eq(chdir("/"), 0);
}
END_TEST

static void *open_in_thread(void *argument)
{
	par_error error = PAR_ERROR_INIT;
	par_module *module = NULL;

	(void)par_module_open(&module, argument, &error);
	return module;
}

START_TEST(threads_that_open_it_at_once_get_the_same)
{
	enum { N = 8 };
	pthread_t threads[N];
	void *module[N];
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s", in_folder("shared.so"));
	copy_file(DEMO, path);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, open_in_thread, path), 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(pthread_join(threads[i], &module[i]), 0);
	ck_assert_ptr_nonnull(module[0]);
	for (int i = 1; i < N; i++)
		ck_assert_ptr_eq(module[i], module[0]);
}
END_TEST

START_TEST(an_unknown_task_lists_those_it_has)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task;

	ck_assert_int_eq(par_module_task(open_module(DEMO), "ehco", &task, &error), PAR_ENOTFOUND);
	ck_assert_str_eq(error.what, "there is no task \"ehco\"");
	ck_assert_str_eq(error.file, DEMO);
	ck_assert_str_eq(error.reason, "the module has: echo, flaky, huge, length, picky, seed, silent, snail, "
	                               "square, stubborn, upper");
	ck_assert_str_eq(error.remedy, "did you mean \"echo\"?");
}
END_TEST

START_TEST(no_name_and_endless_names_are_unknown_tasks)
{
	par_error error = PAR_ERROR_INIT;
	char endless[5000];
	const par_task *task;

	memset(endless, 'x', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	ck_assert_int_eq(par_module_task(open_module(DEMO), endless, &task, &error), PAR_ENOTFOUND);
	ck_assert_int_eq(par_module_task(open_module(DEMO), "", &task, &error), PAR_ENOTFOUND);
	ck_assert_str_eq(error.remedy, "name one of those");
}
END_TEST

START_TEST(code_is_not_a_task)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *task;

	ck_assert_int_eq(par_module_task(open_module(WRONG), "code", &task, &error), PAR_ENOTFOUND);
	ck_assert_ptr_null(strstr(error.reason, "code"));
}
END_TEST

START_TEST(refuses_a_bare_name)
{
	refuses("demo.so", PAR_EINVAL, "without \"/\"", "write ./demo.so");
}
END_TEST

START_TEST(refuses_paths_that_cannot_be)
{
	char endless[PATH_MAX + 10];

	memset(endless, '/', sizeof(endless) - 1);
	endless[sizeof(endless) - 1] = '\0';
	refuses(endless, PAR_EINVAL, "too long", "");
	refuses("", PAR_EINVAL, "no file is named", "");
	refuses(NULL, PAR_EINVAL, "no file is named", "");
	refuses("/tmp/$ORIGIN/x.so", PAR_EINVAL, "\"$\"", "");
}
END_TEST

START_TEST(refuses_a_missing_file)
{
	refuses(in_folder("none.so"), PAR_ENOTFOUND, "No such file", "check the path");
}
END_TEST

START_TEST(refuses_what_is_no_file)
{
	refuses(folder, PAR_EUNAVAIL, "is a directory", "");
	ck_assert_int_eq(mkfifo(in_folder("fifo.so"), 0600), 0);
	refuses(in_folder("fifo.so"), PAR_EUNAVAIL, "not a regular file", "");
}
END_TEST

START_TEST(refuses_a_file_that_is_not_elf)
{
	refuses(write_file("text.so", "just some text\n"), PAR_EUNAVAIL,
	        "not an ELF file (starts with \"just some text\")", "parloop/task.h");
	refuses(write_file("empty.so", ""), PAR_EUNAVAIL, "empty file", "");
}
END_TEST

START_TEST(refuses_a_truncated_module)
{
	copy_file(DEMO, in_folder("short.so"));
	ck_assert_int_eq(truncate(in_folder("short.so"), 1000), 0);
	refuses(in_folder("short.so"), PAR_EUNAVAIL, "truncated", "");
}
END_TEST

START_TEST(refuses_a_program)
{
	refuses("/proc/self/exe", PAR_EINVAL, "a program", "-shared");
}
END_TEST

START_TEST(refuses_a_library_without_tasks)
{
	refuses(PAR_BUILD "/libparloop.so", PAR_EINVAL, "it has no tasks", "PAR_TASK_OF_BYTES");
}
END_TEST

START_TEST(refuses_a_path_whose_file_was_replaced)
{
	char path[PATH_MAX + 64];

	(void)snprintf(path, sizeof(path), "%s", in_folder("live.so"));
	copy_file(DEMO, path);
	(void)open_module(path);
	copy_file(WRONG, in_folder("new.so"));
	ck_assert_int_eq(rename(in_folder("new.so"), path), 0);
	refuses(path, PAR_EUNAVAIL, "was replaced", "start the program anew");
}
END_TEST

START_TEST(refuses_descriptions_that_do_not_fit)
{
	refuses_task("short_size", "says 16 bytes, not");
	refuses_task("tiny", "has 4 bytes, not");
	refuses_task("other_abi", "task ABI 99, this parloop has 1");
	refuses_task("renamed", "that of \"elsewhere\"");
	refuses_task("nameless", "that of \"\"");
	refuses_task("other_kind", "kind 3");
	refuses_task("no_bytes", "a bytes task without a function");
	refuses_task("no_range", "a typed task without a function");
}
END_TEST

START_TEST(needs_no_error_to_write_to)
{
	const par_task *task;
	par_module *module;

	ck_assert_int_eq(par_module_open(&module, "x", NULL), PAR_EINVAL);
	ck_assert_int_eq(par_module_open(NULL, DEMO, NULL), PAR_EINVAL);
	ck_assert_int_eq(par_module_task(open_module(DEMO), "none", &task, NULL), PAR_ENOTFOUND);
	ck_assert_int_eq(par_module_task(NULL, "none", &task, NULL), PAR_EINVAL);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		the_program_is_a_module,
		a_task_knows_where_it_comes_from,
		a_task_made_at_run_time_cannot_leave,
		equal_files_have_equal_ids_and_others_other_ones,
		a_file_without_build_id_is_known_by_its_contents,
		finds_a_bytes_task,
		finds_a_typed_task_that_runs,
		a_file_is_one_module_under_all_its_names,
		the_path_is_absolute_and_without_links,
		threads_that_open_it_at_once_get_the_same,
		an_unknown_task_lists_those_it_has,
		no_name_and_endless_names_are_unknown_tasks,
		code_is_not_a_task,
		refuses_a_bare_name,
		refuses_paths_that_cannot_be,
		refuses_a_missing_file,
		refuses_what_is_no_file,
		refuses_a_file_that_is_not_elf,
		refuses_a_truncated_module,
		refuses_a_program,
		refuses_a_library_without_tasks,
		refuses_a_path_whose_file_was_replaced,
		refuses_descriptions_that_do_not_fit,
		needs_no_error_to_write_to,
	};
	Suite *suite = suite_create("module");
	TCase *tcase = tcase_create("module");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, begin, end);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
