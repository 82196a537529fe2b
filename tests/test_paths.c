#include "scratch.h"

#include "paths.h"

static void is_text(char *made, const char *expected)
{
	ck_assert_str_eq(made, expected);
	free(made);
}

START_TEST(files_are_relative_to_the_file_that_names_them)
{
	ck_assert_int_eq(setenv("HOME", "/home/ann", 1), 0);
	is_text(paths_resolve("/etc/parloop", "gpu.so"), "/etc/parloop/gpu.so");
	is_text(paths_resolve("/etc/parloop", "./gpu.so"), "/etc/parloop/gpu.so");
	is_text(paths_resolve("/etc/parloop", "../gpu.so"), "/etc/parloop/../gpu.so");
	is_text(paths_resolve("/etc/parloop", "/opt/gpu.so"), "/opt/gpu.so");
	is_text(paths_resolve("/etc/parloop", "~/gpu.so"), "/home/ann/gpu.so");
	is_text(paths_resolve("/etc/parloop", "."), "/etc/parloop");
	is_text(paths_resolve("/etc/parloop", ""), "/etc/parloop");
}
END_TEST

START_TEST(a_path_has_a_folder_and_a_stem)
{
	ck_assert_int_eq(chdir("/usr"), 0);
	is_text(paths_folder("/etc/plugins.conf"), "/etc");
	is_text(paths_folder("/plugins.conf"), "/");
	is_text(paths_folder("plugins.conf"), "/usr");
	is_text(paths_stem("/usr/lib/gpu.so"), "gpu");
	is_text(paths_stem("gpu"), "gpu");
	is_text(paths_stem("/x/.so"), ".so");
	is_text(paths_absolute("lib"), "/usr/lib");
	is_text(paths_absolute("/lib"), "/lib");
}
END_TEST

static void finds(const char *expected)
{
	char *found;

	ck_assert_int_eq(paths_find_conf(&found, NULL), PAR_OK);
	ck_assert_str_eq(found, expected);
	free(found);
}

START_TEST(a_configuration_is_looked_for_in_order)
{
	char *none;

	unsetenv("XDG_CONFIG_HOME");
	ck_assert_int_eq(setenv("HOME", scratch_dir, 1), 0);
	finds(paths_system_conf());
	ck_assert_int_eq(mkdir(scratch_path(".config"), 0755), 0);
	ck_assert_int_eq(mkdir(scratch_path(".config/parloop"), 0755), 0);
	scratch_write(".config/parloop/plugins.conf", "", 0);
	finds(scratch_path(".config/parloop/plugins.conf"));
	ck_assert_int_eq(setenv("XDG_CONFIG_HOME", "relative", 1), 0);
	finds(scratch_path(".config/parloop/plugins.conf"));
	ck_assert_int_eq(setenv("PARLOOP_CONF", "", 1), 0);
	finds(scratch_path(".config/parloop/plugins.conf"));
	ck_assert_int_eq(setenv("PARLOOP_CONF", "/dev/null", 1), 0);
	ck_assert_int_eq(paths_find_conf(&none, NULL), PAR_OK);
	ck_assert_ptr_null(none);
	ck_assert_int_eq(setenv("PARLOOP_CONF", "/does/not/exist", 1), 0);
	finds("/does/not/exist");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("paths");
	TCase *tests = tcase_create("paths");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, files_are_relative_to_the_file_that_names_them);
	tcase_add_test(tests, a_path_has_a_folder_and_a_stem);
	tcase_add_test(tests, a_configuration_is_looked_for_in_order);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
