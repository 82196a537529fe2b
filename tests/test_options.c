#include "scratch.h"

#include "nearest.h"
#include "options.h"

static par_error error = PAR_ERROR_INIT;

static struct schema schema;

static void declare(const char *line)
{
	ck_assert_msg(schema_add(&schema, line, &error) == PAR_OK, "%s: %s", line, error.reason);
}

static void declare_all(void)
{
	declare("int device 0 -1..15 which card");
	declare("size stack 64k 4k..1G of a worker");
	declare("time pause 20ms 0..1min between two");
	declare("bool pin no keep workers on their cores");
	declare("choice mode slow slow|fast|faster how");
	declare("text name \"a b\" a name");
	declare("int required port 0 1..65535 of the server");
	declare("text secret token \"\" of the user");
}

START_TEST(a_declaration_has_all_its_parts)
{
	const struct option *option;

	declare_all();
	option = schema_find(&schema, "device");
	ck_assert_int_eq(option->type, OPTION_INT);
	ck_assert_str_eq(option->fallback, "0");
	ck_assert_str_eq(option->range, "-1..15");
	ck_assert_str_eq(option->help, "which card");
	ck_assert_int_eq(option->lowest, -1);
	ck_assert_int_eq(option->highest, 15);
	ck_assert_int_eq(schema_find(&schema, "port")->required, 1);
	ck_assert_int_eq(schema_find(&schema, "token")->secret, 1);
	ck_assert_str_eq(schema_find(&schema, "pin")->range, "yes|no");
	ck_assert_ptr_null(schema_find(&schema, "nothing"));
	schema_finish(&schema);
}
END_TEST

START_TEST(refuses_declarations_that_are_wrong)
{
	static const char *const lines[] = {
		"", "int", "int n", "int n 3", "int n 3 0-9 x", "int n 3 9..0 x", "int n 10 0..9 x",
		"int N 3 0..9 x", "int path 3 0..9 x", "size s 1x 0..9 x", "time t 5 0..1s x",
		"bool b maybe x", "choice c d a|b x", "choice c a|b a|b x", "text t plain x",
		"text t \"open x", "tuple t 1 x", "int secret",
	};

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		ck_assert_msg(schema_add(&schema, lines[i], &error) == PAR_EUNAVAIL, "%s",
			      lines[i]);
		ck_assert_str_ne(error.reason, "");
	}
	declare("int n 3 0..9 x");
	ck_assert_int_eq(schema_add(&schema, "bool n no x", &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "before");
	schema_finish(&schema);
}
END_TEST

START_TEST(values_are_born_with_the_defaults)
{
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	ck_assert_int_eq(options_int(options, "device"), 0);
	ck_assert_int_eq(options_int(options, "stack"), 65536);
	ck_assert_int_eq(options_int(options, "pause"), 20000000);
	ck_assert_int_eq(options_int(options, "pin"), 0);
	ck_assert_int_eq(options_int(options, "mode"), 0);
	ck_assert_str_eq(options_text(options, "mode"), "slow");
	ck_assert_str_eq(options_text(options, "name"), "a b");
	ck_assert_int_eq(options_is_set(options, "name"), 0);
	options_destroy(options);
	options_destroy(NULL);
	schema_finish(&schema);
}
END_TEST

START_TEST(values_are_set_and_set_again)
{
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	ck_assert_int_eq(options_set(options, "device", "-1", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "stack", "1M", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "pause", "1.5s", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "pin", "Yes", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "mode", "fast", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "mode", "faster", &error), PAR_OK);
	ck_assert_int_eq(options_set(options, "name", "", &error), PAR_OK);
	ck_assert_int_eq(options_int(options, "device"), -1);
	ck_assert_int_eq(options_int(options, "stack"), 1048576);
	ck_assert_int_eq(options_int(options, "pause"), 1500000000);
	ck_assert_int_eq(options_int(options, "pin"), 1);
	ck_assert_int_eq(options_int(options, "mode"), 2);
	ck_assert_str_eq(options_text(options, "mode"), "faster");
	ck_assert_str_eq(options_text(options, "name"), "");
	ck_assert_int_eq(options_is_set(options, "name"), 1);
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(refuses_values_of_wrong_type_or_range)
{
	static const struct {
		const char *key, *value, *reason;
	} cases[] = {
		{"device", "16", "16 is not in -1..15; the default is 0"},
		{"device", "1.5", "1.5 is not a whole number"},
		{"device", "99999999999999999999", "not a whole number"},
		{"device", "", "not a whole number"},
		{"stack", "2G", "not in 4k..1G"},
		{"stack", "99999999999G", "not a size"},
		{"stack", "-4k", "not a size"},
		{"pause", "20", "not a time with its unit"},
		{"pause", "61s", "not in 0..1min"},
		{"pause", "1.s", "not a time"},
		{"pause", "1.2.3s", "not a time"},
		{"pause", "99999999999h", "not a time"},
		{"pin", "maybe", "not yes or no"},
		{"mode", "slo", "slo is not in slow|fast|faster"},
		{"mode", "slow|fast", "is not in"},
	};
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_int_eq(options_set(options, cases[i].key, cases[i].value, &error),
				 PAR_ECONFIG);
		assert_contains(error.reason, cases[i].reason);
		ck_assert_int_eq(options_is_set(options, cases[i].key), 0);
	}
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(an_unknown_key_names_the_nearest)
{
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	ck_assert_int_eq(options_set(options, "devise", "1", &error), PAR_ECONFIG);
	ck_assert_str_eq(error.what, "unknown option \"devise\"");
	ck_assert_str_eq(error.remedy, "did you mean \"device\"?");
	assert_contains(error.reason, "device, stack, pause");
	ck_assert_int_eq(options_set(options, "x\ny", "1", &error), PAR_ECONFIG);
	ck_assert_str_eq(error.what, "unknown option \"x\\x0ay\"");
	ck_assert_str_eq(error.remedy, "");
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(a_required_option_must_be_set_by_somebody)
{
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	ck_assert_int_eq(options_complete(options, "gpu", &error), PAR_ECONFIG);
	ck_assert_str_eq(error.what, "option \"port\" of backend \"gpu\" is required");
	assert_contains(error.remedy, "under [backend gpu]");
	ck_assert_int_eq(options_set(options, "port", "80", &error), PAR_OK);
	ck_assert_int_eq(options_complete(options, "gpu", &error), PAR_OK);
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(a_secret_is_never_repeated)
{
	struct par_options *options;

	declare("int secret pin 0 0..9999 of the card");
	options = options_create(&schema);
	ck_assert_int_eq(options_set(options, "pin", "123456", &error), PAR_ECONFIG);
	ck_assert_ptr_null(strstr(error.reason, "123456"));
	assert_contains(error.reason, "secret");
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(reading_what_was_not_declared_is_logged_and_empty)
{
	struct par_options *options;

	declare_all();
	options = options_create(&schema);
	ck_assert_int_eq(options_int(options, "nothing"), 0);
	ck_assert_str_eq(options_text(options, "device"), "");
	ck_assert_int_eq(options_int(options, "name"), 0);
	ck_assert_int_eq(options_is_set(options, "nothing"), 0);
	assert_contains(scratch_log, "reads option \"nothing\", which its note does not declare");
	assert_contains(scratch_log, "reads option \"device\" as text");
	assert_contains(scratch_log, "reads option \"name\" as a number");
	options_destroy(options);
	schema_finish(&schema);
}
END_TEST

START_TEST(numbers_with_units_are_exact)
{
	int64_t value;

	ck_assert(options_parse_time("1.000000001s", &value) == 0 && value == 1000000001);
	ck_assert(options_parse_time("0.1us", &value) == 0 && value == 100);
	ck_assert(options_parse_time("2min", &value) == 0 && value == INT64_C(120000000000));
	ck_assert(options_parse_time("0", &value) == 0 && value == 0);
	ck_assert_int_eq(options_parse_time("", &value), -1);
	ck_assert_int_eq(options_parse_time("s", &value), -1);
	ck_assert_int_eq(options_parse_time(".5s", &value), -1);
	ck_assert_int_eq(options_parse_time("-1s", &value), -1);
	ck_assert(options_parse_size("8191T", &value) == 0 && value == INT64_C(8191) << 40);
	ck_assert_int_eq(options_parse_size("8388608T", &value), -1);
	ck_assert(options_parse_size("3KiB", &value) == 0 && value == 3072);
	ck_assert_int_eq(options_parse_size("3KB", &value), -1);
	ck_assert(options_parse_int("-9223372036854775808", &value) == 0 && value == INT64_MIN);
	ck_assert_int_eq(options_parse_int("9223372036854775808", &value), -1);
	ck_assert_int_eq(options_parse_int(" 1", &value), -1);
}
END_TEST

START_TEST(nearest_is_the_word_with_fewest_slips)
{
	struct nearest nearest = {.word = "thraeding"};

	nearest_offer(&nearest, "sequential");
	nearest_offer(&nearest, "reading");
	nearest_offer(&nearest, "threading");
	nearest_offer(&nearest, "treading");
	ck_assert_str_eq(nearest.best, "threading");
	ck_assert_uint_eq(nearest_distance("ab", "ba"), 1);
	ck_assert_uint_eq(nearest_distance("", "abc"), 3);
	ck_assert_uint_eq(nearest_distance("kitten", "sitting"), 3);
	nearest = (struct nearest){.word = "zzz"};
	nearest_offer(&nearest, "threading");
	ck_assert_ptr_null(nearest.best);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tests = tcase_create("options");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, a_declaration_has_all_its_parts);
	tcase_add_test(tests, refuses_declarations_that_are_wrong);
	tcase_add_test(tests, values_are_born_with_the_defaults);
	tcase_add_test(tests, values_are_set_and_set_again);
	tcase_add_test(tests, refuses_values_of_wrong_type_or_range);
	tcase_add_test(tests, an_unknown_key_names_the_nearest);
	tcase_add_test(tests, a_required_option_must_be_set_by_somebody);
	tcase_add_test(tests, a_secret_is_never_repeated);
	tcase_add_test(tests, reading_what_was_not_declared_is_logged_and_empty);
	tcase_add_test(tests, numbers_with_units_are_exact);
	tcase_add_test(tests, nearest_is_the_word_with_fewest_slips);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
