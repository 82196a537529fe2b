#include "scratch.h"

#include "loader.h"

#include <fenv.h>
#include <float.h>

static par_error error = PAR_ERROR_INIT;
static par_backend_ops ops;

static int32_t load(const char *path, const char *name)
{
	struct note *note;
	int32_t status;

	memset(&ops, 0xa5, sizeof(ops));
	status = note_read(&note, path, &error);
	if (status < 0)
		return status;
	status = loader_load(path, note, name, &ops, &error);
	note_destroy(note);
	return status;
}

static void refuses(const char *path, const char *name, const char *reason)
{
	ck_assert_int_eq(load(path, name), PAR_EUNAVAIL);
	ck_assert_str_eq(error.file, path);
	assert_contains(error.reason, reason);
}

START_TEST(loads_a_good_plugin_twice)
{
	ck_assert_int_eq(load(PLUGIN("good"), "good"), PAR_OK);
	ck_assert_uint_eq(ops.size, sizeof(ops));
	ck_assert(ops.create != NULL && ops.destroy != NULL && ops.submit != NULL);
	ck_assert(ops.kill == NULL && ops.extension == NULL);
	ck_assert_int_eq(load(PLUGIN("good"), "good"), PAR_OK);
}
END_TEST

START_TEST(refuses_a_file_without_factory)
{
	refuses(PLUGIN("no_factory"), "bad", "exports no parloop_backend_v1");
	assert_contains(error.remedy, "define it");
}
END_TEST

START_TEST(names_the_factory_of_another_abi)
{
	refuses(PLUGIN("other_factory"), "bad", "has parloop_backend_v2: built for another");
}
END_TEST

START_TEST(refuses_a_factory_that_is_data)
{
	refuses(PLUGIN("data_factory"), "bad", "is not a function");
}
END_TEST

START_TEST(refuses_a_factory_that_is_chosen_at_load)
{
	refuses(PLUGIN("ifunc_factory"), "bad", "is not a function");
}
END_TEST

START_TEST(refuses_a_factory_that_denies_what_the_note_has)
{
	refuses(PLUGIN("counts_and_denies"), "good", "note and code disagree");
}
END_TEST

START_TEST(refuses_tables_of_impossible_size)
{
	refuses(PLUGIN("tables"), "size-0", "size 0, which is none: ABI 1.0 has 176");
	refuses(PLUGIN("tables"), "size-24", "size 24,");
	refuses(PLUGIN("tables"), "size-181", "size 181,");
	refuses(PLUGIN("tables"), "size-huge", "size 2147483647,");
}
END_TEST

START_TEST(refuses_another_abi)
{
	refuses(PLUGIN("tables"), "abi-0", "ABI 0.0, this parloop offers 1.0");
	refuses(PLUGIN("tables"), "abi-2", "ABI 2.0, this parloop offers 1.0");
	refuses(PLUGIN("newer_abi"), "bad",
	        "needs ABI 1.9, this parloop " PAR_VERSION_STRING " offers 1.0");
}
END_TEST

START_TEST(ignores_the_tail_of_a_newer_table)
{
	ck_assert_int_eq(load(PLUGIN("tables"), "newer"), PAR_OK);
	ck_assert_uint_eq(ops.size, sizeof(ops) + 4 * sizeof(void *));
	ck_assert(ops.submit != NULL && ops.extension == NULL);
}
END_TEST

START_TEST(names_the_required_function_that_is_missing)
{
	refuses(PLUGIN("lacks"), "no-create", "has no create,");
	refuses(PLUGIN("lacks"), "no-destroy", "has no destroy,");
	refuses(PLUGIN("lacks"), "no-jobs", "has no effective_n_jobs,");
	refuses(PLUGIN("lacks"), "no-submit", "has no submit,");
}
END_TEST

START_TEST(refuses_what_is_not_linked_at_load_not_at_the_call)
{
	refuses(PLUGIN("undefined"), "bad", "undefined symbol: nobody_defines_this");
	ck_assert_ptr_null(strstr(error.reason, PLUGIN("undefined")));
}
END_TEST

START_TEST(refuses_two_notes)
{
	refuses(PLUGIN("two_notes"), "bad", "two notes");
}
END_TEST

START_TEST(refuses_an_executable_stack)
{
	refuses(PLUGIN("exec_stack"), "bad", "executable stack");
	assert_contains(error.remedy, "noexecstack");
}
END_TEST

START_TEST(passes_on_what_dlopen_says)
{
	refuses(PLUGIN("nodlopen"), "bad", "cannot be dlopen()ed");
	refuses(PLUGIN("big_tls"), "bad", "static TLS");
	assert_contains(error.remedy, "-ftls-model");
}
END_TEST

START_TEST(undoes_a_change_of_rounding_and_says_so)
{
#if defined(__x86_64__)
	volatile double smallest = DBL_MIN;

	if (getenv("UNDER_VALGRIND") != NULL) {
		fprintf(stderr, "SKIP %s: valgrind rounds in one way only\n", __func__);
		return;
	}
	ck_assert_int_eq(load(PLUGIN("fast_math"), "fast"), PAR_OK);
	assert_contains(scratch_log, "-ffast-math");
	ck_assert(smallest / 2 != 0); /* subnormal numbers are still there */
#else
	fprintf(stderr, "SKIP %s: -ffast-math changes nothing on this machine\n", __func__);
#endif
}
END_TEST

START_TEST(a_factory_gets_log_and_nothing_else)
{
	static const char *const refused[] = {"run", "done", "stopping", "post", "ready",
	                                      "capacity", "cores", "option_int",
	                                      "option_text", "option_is_set"};
	char line[40];

	ck_assert_int_eq(load(PLUGIN("nosy"), "nosy"), PAR_OK);
	assert_contains(scratch_log, "1 hello from the factory");
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		(void)snprintf(line, sizeof(line), "calls host->%s,", refused[i]);
		assert_contains(scratch_log, line);
	}
}
END_TEST

START_TEST(an_older_version_in_use_is_not_taken_for_the_new_one)
{
	const char *path = scratch_copy(PLUGIN("good"), "x.so");

	ck_assert_int_eq(load(path, "good"), PAR_OK);
	scratch_copy(PLUGIN("slow"), "x.so");
	refuses(path, "slow", "another version of it is in use");
	ck_assert_str_eq(error.remedy, "restart the program");
}
END_TEST

START_TEST(a_file_that_was_replaced_after_it_was_looked_at_is_not_taken_for_it)
{
	const char *path = scratch_copy(PLUGIN("good"), "x.so");
	par_backend_ops table;
	struct note *seen;

	ck_assert_int_eq(note_read(&seen, path, &error), PAR_OK);
	scratch_copy(PLUGIN("slow"), "x.so");
	ck_assert_int_eq(loader_load(path, seen, "good", &table, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "or it was replaced just now");
	note_destroy(seen);
}
END_TEST

START_TEST(refuses_a_path_that_dlopen_would_change)
{
	struct note *note;

	ck_assert_int_eq(note_read(&note, PLUGIN("good"), &error), PAR_OK);
	ck_assert_int_eq(loader_load("good.so", note, "good", &ops, &error), PAR_EUNAVAIL);
	ck_assert_int_eq(loader_load("/$ORIGIN/good.so", note, "good", &ops, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "absolute path");
	note_destroy(note);
}
END_TEST

/* --- plugins that only a linker in the test can make --------------------------------------- */

static void compile(const char *source, const char *out, const char *more)
{
	char command[1000];

	scratch_write("source.c", source, strlen(source));
	(void)snprintf(command, sizeof(command),
		       "cd %s && ${CC:-cc} -shared -fPIC -I'%s/include' -I'%s/tests/plugins' "
		       "-o %s source.c %s",
	               scratch_dir, PAR_CHECKOUT, PAR_CHECKOUT, out, more);
	ck_assert_int_eq(system(command), 0);
}

START_TEST(refuses_a_factory_in_a_library_that_it_links)
{
	compile("#include \"stub.h\"\nconst par_backend_ops *parloop_backend_v1(const par_host *h, "
	        "const char *n) { return h && n ? &stub_ops : 0; }\n",
	        "libowner.so", "-Wl,-soname,libowner.so");
	compile("#include \"stub.h\"\nPAR_PLUGIN(PAR_BACKEND(\"bad\", \"\"))\n"
	        "__attribute__((visibility(\"default\"))) const void *use(void)"
	        "{ return (const void *)parloop_backend_v1(0, 0); }\n",
	        "borrower.so", "-L. -lowner -Wl,-rpath,'$ORIGIN'");
	refuses(scratch_path("borrower.so"), "bad", "exports no parloop_backend_v1");
}
END_TEST

START_TEST(names_the_library_that_is_missing)
{
	compile("int f(void) { return 1; }\n", "libneeded.so", "-Wl,-soname,libneeded.so");
	compile("#include \"stub.h\"\nPAR_PLUGIN(PAR_BACKEND(\"bad\", \"\"))\nint f(void);\n"
	        "const par_backend_ops *parloop_backend_v1(const par_host *h, const char *n)"
	        "{ return f() && h && n ? &stub_ops : 0; }\n",
	        "needy.so", "-L. -lneeded");
	refuses(scratch_path("needy.so"), "bad", "needs libneeded.so, which is not installed");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("loader");
	TCase *tests = tcase_create("loader");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 30);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, loads_a_good_plugin_twice);
	tcase_add_test(tests, refuses_a_file_without_factory);
	tcase_add_test(tests, names_the_factory_of_another_abi);
	tcase_add_test(tests, refuses_a_factory_that_is_data);
	tcase_add_test(tests, refuses_a_factory_that_is_chosen_at_load);
	tcase_add_test(tests, refuses_a_factory_that_denies_what_the_note_has);
	tcase_add_test(tests, refuses_tables_of_impossible_size);
	tcase_add_test(tests, refuses_another_abi);
	tcase_add_test(tests, ignores_the_tail_of_a_newer_table);
	tcase_add_test(tests, names_the_required_function_that_is_missing);
	tcase_add_test(tests, refuses_what_is_not_linked_at_load_not_at_the_call);
	tcase_add_test(tests, refuses_two_notes);
	tcase_add_test(tests, refuses_an_executable_stack);
	tcase_add_test(tests, passes_on_what_dlopen_says);
	tcase_add_test(tests, undoes_a_change_of_rounding_and_says_so);
	tcase_add_test(tests, a_factory_gets_log_and_nothing_else);
	tcase_add_test(tests, an_older_version_in_use_is_not_taken_for_the_new_one);
	tcase_add_test(tests, a_file_that_was_replaced_after_it_was_looked_at_is_not_taken_for_it);
	tcase_add_test(tests, refuses_a_path_that_dlopen_would_change);
	tcase_add_test(tests, refuses_a_factory_in_a_library_that_it_links);
	tcase_add_test(tests, names_the_library_that_is_missing);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
