#include "scratch.h"

#include "note.h"

static par_error error = PAR_ERROR_INIT;

static struct note *note;

static int32_t parse(const char *text)
{
	return note_parse(&note, text, strlen(text) + 1, &error);
}

static void refuses(const char *text, const char *reason)
{
	ck_assert_int_eq(parse(text), PAR_EUNAVAIL);
	ck_assert_msg(strstr(error.reason, reason) != NULL, "%s: %s", text, error.reason);
}

START_TEST(reads_every_kind_of_line)
{
	const struct note_backend *one, *two;

	ck_assert_int_eq(parse("abi 1.0\nversion 1.2.3\nbackend one the first of two\n"
	                       "capabilities shares_memory auto_batches\nbatch_times 1ms 2s\n"
	                       "int n 3 0..9 how many\nbackend two\ntext t \"a b\" a text\n"),
	                 PAR_OK);
	ck_assert_str_eq(note->version, "1.2.3");
	ck_assert_int_eq(note->abi_major, 1);
	ck_assert_uint_eq(note->n_backends, 2);
	one = note_find(note, "one");
	two = note_find(note, "two");
	ck_assert_ptr_null(note_find(note, "three"));
	ck_assert_str_eq(one->summary, "the first of two");
	ck_assert_str_eq(one->words, "shares_memory auto_batches");
	ck_assert_uint_eq(one->capabilities, PAR_SHARES_MEMORY | PAR_AUTO_BATCHES);
	ck_assert_int_eq(one->batch_shortest_ns, 1000000);
	ck_assert_int_eq(one->batch_longest_ns, 2000000000);
	ck_assert_uint_eq(one->schema.n_options, 1);
	ck_assert_str_eq(two->summary, "");
	ck_assert_str_eq(schema_find(&two->schema, "t")->fallback, "a b");
	note_destroy(note);
}
END_TEST

START_TEST(ignores_what_a_later_parloop_may_say)
{
	ck_assert_int_eq(parse("abi 1.0\nlicence free\nbackend one\ntuple t 1,2 later\n"
			       "capabilities teleports uses_threads"),
			 PAR_OK);
	ck_assert_uint_eq(note->backends[0].capabilities, PAR_USES_THREADS);
	ck_assert_uint_eq(note->backends[0].schema.n_options, 0);
	note_destroy(note);
}
END_TEST

START_TEST(refuses_another_abi_and_names_both)
{
	refuses("abi 1.3\nbackend one\n", "needs ABI 1.3, this parloop " PAR_VERSION_STRING
	        " offers 1.0");
	assert_contains(error.remedy, "update parloop");
	refuses("abi 0.9\nbackend one\n", "needs ABI 0.9");
	assert_contains(error.remedy, "build it again");
	refuses("abi 2.0\nsomething of abi 2\n", "needs ABI 2.0");
	refuses("abi one\nbackend one\n", "no version");
	refuses("abi 1.0.0\nbackend one\n", "no version");
	refuses("abi -1.0\nbackend one\n", "no version");
	refuses("backend one\nabi 1.0\n", "begin with the line abi");
}
END_TEST

START_TEST(refuses_names_that_are_none)
{
	refuses("abi 1.0\nbackend One\n", "backend \"One\"");
	refuses("abi 1.0\nbackend 1one\n", "a name is");
	refuses("abi 1.0\nbackend ../one\n", "a name is");
	refuses("abi 1.0\nbackend\n", "backend \"\"");
	refuses("abi 1.0\nbackend nested-one\n", "not nested-");
	refuses("abi 1.0\nbackend abcdefghijklmnopqrstuvwxyzabcdefg\n", "at most 32");
	refuses("abi 1.0\nbackend one\nbackend one\n", "twice");
	refuses("abi 1.0\nversion 2\n", "names no backend");
}
END_TEST

START_TEST(refuses_lines_that_are_wrong)
{
	refuses("abi 1.0\nint n 3 0..9 x\nbackend one\n", "before any backend");
	refuses("abi 1.0\nbackend one\nbatch_times 2ms 1ms\n", "batch_times");
	refuses("abi 1.0\nbackend one\nbatch_times 2ms\n", "batch_times");
	refuses("abi 1.0\nbackend one\nint n 30 0..9 x\n", "default");
	refuses("abi 1.0\nbackend o\x1bne\n", "control character \\x1b");
	refuses("abi 1.0\nbackend one\x7f\n", "control character \\x7f");
}
END_TEST

START_TEST(refuses_a_text_without_its_end)
{
	ck_assert_int_eq(note_parse(&note, "abi 1.0", 7, &error), PAR_EUNAVAIL);
	ck_assert_int_eq(note_parse(&note, "abi\0 1.0", 9, &error), PAR_EUNAVAIL);
	ck_assert_int_eq(note_parse(&note, "", 0, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "NUL");
}
END_TEST

START_TEST(reads_what_the_macros_of_the_header_write)
{
	ck_assert_int_eq(note_read(&note, PLUGIN("good"), &error), PAR_OK);
	ck_assert_uint_eq(note->n_backends, 1);
	ck_assert_uint_eq(note->backends[0].schema.n_options, 4);
	ck_assert_int_eq(schema_find(&note->backends[0].schema, "token")->secret, 1);
	ck_assert_uint_ne(note->address, 0);
	note_destroy(note);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("note");
	TCase *tests = tcase_create("note");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, reads_every_kind_of_line);
	tcase_add_test(tests, ignores_what_a_later_parloop_may_say);
	tcase_add_test(tests, refuses_another_abi_and_names_both);
	tcase_add_test(tests, refuses_names_that_are_none);
	tcase_add_test(tests, refuses_lines_that_are_wrong);
	tcase_add_test(tests, refuses_a_text_without_its_end);
	tcase_add_test(tests, reads_what_the_macros_of_the_header_write);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
