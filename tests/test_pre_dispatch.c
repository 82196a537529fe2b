#include "pre_dispatch.h"

#include <check.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint64_t untouched = 4711;

static uint64_t tasks(const char *expression, int32_t n_jobs)
{
	par_error error = PAR_ERROR_INIT;
	uint64_t n = untouched;

	ck_assert_msg(pre_dispatch_tasks(expression, n_jobs, &n, &error) == PAR_OK, "\"%s\": %s",
	              expression, error.reason);
	return n;
}

static par_error refused(const char *expression, int32_t n_jobs)
{
	par_error error = PAR_ERROR_INIT;
	uint64_t n = untouched;

	ck_assert_msg(pre_dispatch_tasks(expression, n_jobs, &n, &error) == PAR_ECONFIG,
	              "\"%s\" gave %llu", expression, (unsigned long long)n);
	ck_assert_uint_eq(n, untouched);
	ck_assert_int_eq(error.code, PAR_ECONFIG);
	ck_assert_ptr_nonnull(strstr(error.what, "pre_dispatch"));
	ck_assert_int_ne(error.reason[0], '\0');
	ck_assert_int_ne(error.remedy[0], '\0');
	return error;
}

START_TEST(takes_all_and_numbers)
{
	ck_assert_uint_eq(tasks("all", 2), UINT64_MAX);
	ck_assert_uint_eq(tasks("1", 2), 1);
	ck_assert_uint_eq(tasks("1000000", 2), 1000000);
	ck_assert_uint_eq(tasks(NULL, 3), 6);
	ck_assert_uint_eq(tasks("n_jobs", 3), 3);
}
END_TEST

/* Each as joblib's eval_expr answers it, with n_jobs 2. */
START_TEST(computes_as_joblib_does)
{
	static const struct {
		const char *expression;
		uint64_t tasks;
	} vectors[] = {
		{"2*6", 12}, {"2**6", 64}, {"2*n_jobs", 4}, {"2 * n_jobs", 4}, {"1.5*n_jobs", 3},
		{"n_jobs**n_jobs", 4}, {"(((((3)))))", 3}, {"2 ** 3 ** 2", 512}, {"--3", 3},
		{"-2**2+9", 5}, {"2**-1*8", 4}, {"7//2", 3}, {"-7//2+9", 5}, {"-7%3", 2},
		{"7%-3+9", 7}, {"7.5//2", 3}, {"-7.5//2+9", 5}, {"7/2", 3}, {"-7/2+9", 5},
		{"1e3", 1000}, {"1E+3", 1000}, {".5*8", 4}, {"5.", 5}, {"0.1*30", 3},
		{"1e6", 1000000}, {"200 - 3**(4) / (6 + -7)", 281}, {"10-2-3", 5}, {"100/5/2", 10},
		{"2+3*4", 14},
		{"n_jobsn_jobs", 22}, {"1n_jobs", 12}, {"0**0", 1}, {"-1**2+5", 4},
		{"(-1)**999", 0}, {"1**999999", 1}, {"2\t*\t3", 6},
	};

	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		if (vectors[i].tasks == 0)
			refused(vectors[i].expression, 2);
		else
			ck_assert_msg(tasks(vectors[i].expression, 2) == vectors[i].tasks,
			              "\"%s\" is not %llu", vectors[i].expression,
			              (unsigned long long)vectors[i].tasks);
	}
}
END_TEST

START_TEST(refuses_what_is_not_arithmetic)
{
	static const char *const texts[] = {
		"", " ", "ALL", "all ", "auto", "2*", "*2", "2* *3", "2 3", "2//", "(2", "2)", "()",
		"2^3", "'2'", "\"a\"", "f(2)", "__import__('os')", "n_job", "1,2", "1 if 1 else 2",
		"+3", "~1", "2@3", "1=1", "1<2", "007", "1j", "1e", "1e+", ".", "1.5.2", "2;3",
		"[2]", "2\n", "\xff\xfe", "1_000", "0x10", "nan", "inf", "(-8)**0.5",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_ptr_nonnull(strstr(refused(texts[i], 2).reason, "arithmetic"));
}
END_TEST

START_TEST(refuses_a_division_by_zero)
{
	static const char *const texts[] = {"1/0", "1//0", "1%0", "1/0.0", "1.5//0", "1.5%0",
	                                    "0**-1", "1/(n_jobs-2)"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_ptr_nonnull(strstr(refused(texts[i], 2).reason, "zero"));
}
END_TEST

START_TEST(refuses_values_beyond_a_million)
{
	static const char *const texts[] = {
		"1000001", "1e7", "10**7", "9**9**9", "999999**999999", "10**7-10**7+1",
		"1000001-1000000", "1e999", "99999999999999999999999999999", "(-10)**7+1",
		"1000*1001", "1000000+1", "1/1e-7", "2*n_jobs*99999999999",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_ptr_nonnull(strstr(refused(texts[i], 2).reason, "large"));
}
END_TEST

START_TEST(refuses_more_than_thirty_characters)
{
	ck_assert_uint_eq(tasks("1+1+1+1+1+1+1+1+1+1+1+1+1+1+ 1", 2), 15);
	ck_assert_ptr_nonnull(strstr(refused("1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1", 2).reason, "long"));
	/* n_jobs counts as long as its value is. */
	ck_assert_uint_eq(tasks("n_jobs+n_jobs+n_jobs+n_jobs+n_jobs", 2), 10);
	ck_assert_ptr_nonnull(
		strstr(refused("n_jobs+n_jobs+n_jobs+n_jobs", 1000000).reason, "long"));
}
END_TEST

START_TEST(refuses_less_than_one)
{
	static const char *const texts[] = {"0", "-1", "0.99", "n_jobs-2", "-n_jobs", "0*5", "1//2",
	                                    "-0.5", "2**-1"};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		ck_assert_ptr_nonnull(strstr(refused(texts[i], 2).reason,
		                             "must be 'all' or a positive number"));
}
END_TEST

START_TEST(repeats_a_hostile_text_harmlessly)
{
	static char text[100000];
	par_error error;

	memset(text, '(', sizeof(text) - 1);
	text[0] = '\x1b';
	error = refused(text, 2);
	ck_assert_ptr_nonnull(strstr(error.what, "\\x1b(((("));
	ck_assert_ptr_null(strchr(error.what, '\x1b'));
	memset(text, '-', sizeof(text) - 1);
	refused(text, 2);
}
END_TEST

START_TEST(needs_no_error_to_write_to)
{
	uint64_t n = untouched;

	ck_assert_int_eq(pre_dispatch_tasks("1/0", 2, &n, NULL), PAR_ECONFIG);
	ck_assert_uint_eq(n, untouched);
}
END_TEST

START_TEST(a_locale_with_commas_changes_nothing)
{
	const char *was = setlocale(LC_NUMERIC, "de_DE.UTF-8");

	ck_assert_uint_eq(tasks("1.5*n_jobs", 2), 3);
	refused("1,5*n_jobs", 2);
	if (was == NULL)
		puts("note: no locale with commas installed; only C was tried");
	setlocale(LC_NUMERIC, "C");
}
END_TEST

/* A text of pieces that are nearly arithmetic, so that all paths are walked. */
static void make_text(unsigned *seed, char *text, size_t size)
{
	static const char *const pieces[] = {
		"n_jobs", "1", "7", "0", "10", "2.5", ".5", "1e3", "**", "*", "//", "/",
		"%", "+", "-", "(", ")", " ", "e", ".", "999999", "\xc3", "all",
	};
	enum { N_PIECES = sizeof(pieces) / sizeof(pieces[0]) };
	int n = rand_r(seed) % 14;

	text[0] = '\0';
	for (int i = 0; i < n; i++) {
		const char *piece = pieces[rand_r(seed) % N_PIECES];

		if (strlen(text) + strlen(piece) + 1 < size)
			strcat(text, piece);
	}
	if (rand_r(seed) % 4 == 0 && text[0] != '\0')
		text[(size_t)rand_r(seed) % strlen(text)] = (char)(rand_r(seed) % 255 + 1);
}

START_TEST(any_text_is_a_number_or_refused)
{
	const char *given = getenv("PARLOOP_TEST_SEED");
	unsigned seed = given != NULL ? (unsigned)atoi(given) : 20261120;
	int sound = 0;
	char text[64];

	for (int i = 0; i < 200000; i++) {
		uint64_t n = untouched;
		par_error error = PAR_ERROR_INIT;
		int32_t n_jobs = rand_r(&seed) % 64 + 1;
		int32_t code;

		make_text(&seed, text, sizeof(text));
		code = pre_dispatch_tasks(text, n_jobs, &n, &error);
		sound += code == PAR_OK;
		if (code == PAR_OK)
			ck_assert_msg(n == UINT64_MAX || (n >= 1 && n <= 1000000), "\"%s\"", text);
		else
			ck_assert_msg(code == PAR_ECONFIG && n == untouched, "\"%s\"", text);
	}
	ck_assert_int_gt(sound, 1000);
}
END_TEST

START_TEST(the_default_is_twice_the_workers_however_many)
{
	uint64_t tasks;

	ck_assert_int_eq(pre_dispatch_tasks(NULL, 1000000, &tasks, NULL), PAR_OK);
	ck_assert_uint_eq(tasks, 2000000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("pre_dispatch");
	TCase *tests = tcase_create("pre_dispatch");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, takes_all_and_numbers);
	tcase_add_test(tests, computes_as_joblib_does);
	tcase_add_test(tests, refuses_what_is_not_arithmetic);
	tcase_add_test(tests, refuses_a_division_by_zero);
	tcase_add_test(tests, refuses_values_beyond_a_million);
	tcase_add_test(tests, refuses_more_than_thirty_characters);
	tcase_add_test(tests, refuses_less_than_one);
	tcase_add_test(tests, repeats_a_hostile_text_harmlessly);
	tcase_add_test(tests, needs_no_error_to_write_to);
	tcase_add_test(tests, a_locale_with_commas_changes_nothing);
	tcase_add_test(tests, any_text_is_a_number_or_refused);
	tcase_add_test(tests, the_default_is_twice_the_workers_however_many);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
