#include "scratch.h"

#include "error.h"

static par_error error;
static char text[2000];

START_TEST(setting_starts_over)
{
	error = (par_error)PAR_ERROR_INIT;
	error_remedy(&error, "an old one");
	error.task = 7;
	ck_assert_int_eq(error_set(&error, PAR_EINVAL, "cannot %s", "fly"), PAR_EINVAL);
	ck_assert_str_eq(error.what, "cannot fly");
	ck_assert_str_eq(error.remedy, "");
	ck_assert_int_eq(error.task, -1);
	ck_assert_int_eq(error.code, PAR_EINVAL);
	ck_assert_uint_eq(error.size, sizeof(error));
}
END_TEST

START_TEST(one_of_an_older_version_is_not_overrun)
{
	struct {
		par_error error;
		char after[8];
	} older;
	const uint32_t size = offsetof(par_error, worker);

	memset(&older, 0x55, sizeof(older));
	older.error.size = size;
	error_set(&older.error, PAR_EINVAL, "x");
	error_set(&error, PAR_EBUSY, "y");
	error_copy(&older.error, &error);
	ck_assert_int_eq(older.error.code, PAR_EBUSY);
	ck_assert_uint_eq(older.error.size, size);
	ck_assert_int_eq(older.error.worker, 0x55555555);
	ck_assert_int_eq(older.error.trace[sizeof(older.error.trace) - 1], 0x55);
}
END_TEST

START_TEST(nobody_has_to_want_the_words)
{
	ck_assert_int_eq(error_set(NULL, PAR_EBUSY, "x"), PAR_EBUSY);
	ck_assert_int_eq(error_memory(NULL, "x"), PAR_ENOMEM);
	error_file(NULL, "x");
	error_reason(NULL, "x");
	error_remedy(NULL, "x");
	error_prefix(NULL, "x");
	ck_assert_int_eq(par_fail(NULL, PAR_ELOST, "x"), PAR_ELOST);
	par_remedy(NULL, "x");
}
END_TEST

START_TEST(a_prefix_stands_in_front_or_alone)
{
	error_set(&error, PAR_EINVAL, "bad value");
	error_prefix(&error, "plugins.conf:%d: ", 7);
	ck_assert_str_eq(error.what, "plugins.conf:7: bad value");
	(void)error_set(&error, PAR_EINVAL, "%s", "");
	error_prefix(&error, "cannot create");
	ck_assert_str_eq(error.what, "cannot create");
}
END_TEST

START_TEST(texts_too_long_are_cut)
{
	char long_text[3000];

	memset(long_text, 'x', sizeof(long_text) - 1);
	long_text[sizeof(long_text) - 1] = '\0';
	error_set(&error, PAR_EINVAL, "%s", long_text);
	error_reason(&error, "%s", long_text);
	error_remedy(&error, "%s", long_text);
	error_prefix(&error, "%s", long_text);
	ck_assert_uint_eq(strlen(error.what), sizeof(error.what) - 1);
	ck_assert_uint_eq(strlen(error.reason), sizeof(error.reason) - 1);
	ck_assert_uint_eq(strlen(error.remedy), sizeof(error.remedy) - 1);
}
END_TEST

START_TEST(of_a_long_path_the_end_is_kept)
{
	char path[1000];

	memset(path, 'd', sizeof(path));
	strcpy(path + sizeof(path) - 9, "/file.so");
	error_set(&error, PAR_EINVAL, "x");
	error_file(&error, "%s", path);
	ck_assert_uint_eq(strlen(error.file), sizeof(error.file) - 1);
	ck_assert_int_eq(strncmp(error.file, "...d", 4), 0);
	ck_assert_str_eq(error.file + strlen(error.file) - 8, "/file.so");
	error_file(&error, "/short");
	ck_assert_str_eq(error.file, "/short");
}
END_TEST

START_TEST(control_characters_are_escaped)
{
	char small[8];

	ck_assert_str_eq(error_escape("a\nb\x7f\0c", 6, text, sizeof(text)), "a\\x0ab\\x7f\\x00c");
	ck_assert_str_eq(error_escape("\xc3\xbc", 2, text, sizeof(text)), "\xc3\xbc");
	error_escape("abcdefghijkl", 12, small, sizeof(small));
	ck_assert_uint_lt(strlen(small), sizeof(small));
	error_escape("\n\n\n\n", 4, small, sizeof(small));
	ck_assert_str_eq(small, "\\x0a");
}
END_TEST

START_TEST(as_text_it_is_one_line_or_four)
{
	error_set(&error, PAR_EUNAVAIL, "what");
	error_file(&error, "file");
	error_reason(&error, "reason");
	error_remedy(&error, "remedy");
	ck_assert_str_eq(par_error_text(&error, 0, text, sizeof(text)), "what; file: reason; remedy");
	ck_assert_str_eq(par_error_text(&error, 1, text, sizeof(text)),
	                 "what\n    file    file\n    reason  reason\n    remedy  remedy");
	error_set(&error, PAR_EUNAVAIL, "%s", "");
	ck_assert_str_eq(par_error_text(&error, 0, text, sizeof(text)), "PAR_EUNAVAIL");
}
END_TEST

START_TEST(as_text_it_is_fit_for_a_terminal)
{
	error_set(&error, PAR_EUNAVAIL, "w\x1b[31mhat");
	error_file(&error, "a\nfile");
	error_reason(&error, "\r");
	ck_assert_str_eq(par_error_text(&error, 0, text, sizeof(text)),
	                 "w\\x1b[31mhat; a\\x0afile: \\x0d");
	ck_assert_str_eq(par_error_text(&error, 1, text, sizeof(text)),
	                 "w\\x1b[31mhat\n    file    a\\x0afile\n    reason  \\x0d");
}
END_TEST

START_TEST(as_text_it_is_cut_to_what_there_is_room_for)
{
	char small[10];

	error_set(&error, PAR_EUNAVAIL, "what went wrong");
	error_reason(&error, "reason");
	ck_assert_str_eq(par_error_text(&error, 1, small, sizeof(small)), "what went");
	ck_assert_str_eq(par_error_text(&error, 0, small, 1), "");
	ck_assert_ptr_eq(par_error_text(&error, 0, small, 0), small);
}
END_TEST

START_TEST(every_code_has_its_name)
{
	ck_assert_str_eq(par_code_name(PAR_OK), "PAR_OK");
	ck_assert_str_eq(par_code_name(PAR_PENDING), "PAR_PENDING");
	for (int32_t code = PAR_ESOURCE; code <= PAR_EINVAL; code++)
		ck_assert_int_eq(strncmp(par_code_name(code), "PAR_E", 5), 0);
	ck_assert_str_eq(par_code_name(PAR_ESOURCE), "PAR_ESOURCE");
	ck_assert_str_eq(par_code_name(-1000), "unknown code");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("error");
	TCase *tests = tcase_create("error");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, setting_starts_over);
	tcase_add_test(tests, nobody_has_to_want_the_words);
	tcase_add_test(tests, a_prefix_stands_in_front_or_alone);
	tcase_add_test(tests, texts_too_long_are_cut);
	tcase_add_test(tests, of_a_long_path_the_end_is_kept);
	tcase_add_test(tests, control_characters_are_escaped);
	tcase_add_test(tests, as_text_it_is_one_line_or_four);
	tcase_add_test(tests, as_text_it_is_fit_for_a_terminal);
	tcase_add_test(tests, as_text_it_is_cut_to_what_there_is_room_for);
	tcase_add_test(tests, every_code_has_its_name);
	tcase_add_test(tests, one_of_an_older_version_is_not_overrun);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
