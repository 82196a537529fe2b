#include "scratch.h"

static par_error error = PAR_ERROR_INIT;

static void begin(void)
{
	scratch_begin();
	error = (par_error)PAR_ERROR_INIT;
}

enum { PICKY_LINE = __LINE__ + 4 };
static int picky(par_env *env, const int64_t *in, int64_t *out)
{
	if (*in == 5)
		return par_fail_task_as(env, 8, "FileNotFound", "no file number %d", (int)*in);
	*out = *in;
	return 0;
}
PAR_TASK_ENV(picky, int64_t, int64_t)

static int mute(const int64_t *in, int64_t *out)
{
	*out = *in;
	return *in == 5 ? 9 : 0;
}
PAR_TASK(mute, int64_t, int64_t)

static int64_t in[20], out[20];

static int32_t map(const par_task *task, const par_settings *settings)
{
	for (int i = 0; i < 20; i++)
		in[i] = i, out[i] = 0;
	return par_map(NULL, task, in, out, 20, settings, &error);
}

static void check_trace(const char *trace, int line)
{
	char wanted[128];

	(void)snprintf(wanted, sizeof(wanted), "test_story.c:%d", line);
	ck_assert_msg(strstr(trace, wanted) != NULL, "\"%s\" is not \"%s\"", trace, wanted);
	ck_assert_ptr_null(strchr(trace, '\n'));
}

START_TEST(an_error_tells_its_story)
{
	ck_assert_int_eq(map(&par_task_picky, PAR_SETTINGS(.n_jobs = {1, _i})), PAR_EFAILED);
	ck_assert_int_eq(error.code, PAR_EFAILED);
	ck_assert_int_eq(error.task, 5);
	ck_assert_str_eq(error.what, "task 5 failed");
	ck_assert_str_eq(error.reason, "no file number 5");
	ck_assert_str_eq(error.type, "FileNotFound");
	ck_assert_int_eq(error.task_code, 8);
	ck_assert_int_eq(error.attempts, 1);
	ck_assert_int_ge(error.worker, 0);
	ck_assert_int_lt(error.worker, _i);
	ck_assert_str_eq(error.host, "");
	ck_assert_int_eq(error.signal, 0);
	ck_assert_int_eq(error.exit_code, -1);
	ck_assert_str_eq(error.input, "05 00 00 00 00 00 00 00");
	check_trace(error.trace, PICKY_LINE);
}
END_TEST

START_TEST(one_that_says_nothing_has_its_code)
{
	ck_assert_int_eq(map(&par_task_mute, PAR_SETTINGS(.n_jobs = {1, _i})), PAR_EFAILED);
	ck_assert_int_eq(error.task, 5);
	ck_assert_int_eq(error.task_code, 9);
	ck_assert_str_eq(error.reason, "it returned 9");
	ck_assert_str_eq(error.type, "PAR_EFAILED");
	ck_assert_str_eq(error.trace, "");
}
END_TEST

START_TEST(an_error_that_is_used_again_forgets_the_last_one)
{
	ck_assert_int_eq(map(&par_task_picky, PAR_SETTINGS(.n_jobs = PAR_SET(2))), PAR_EFAILED);
	ck_assert_int_eq(map(&par_task_mute, PAR_SETTINGS(.n_jobs = PAR_SET(2))), PAR_EFAILED);
	ck_assert_str_eq(error.type, "PAR_EFAILED");
	ck_assert_str_eq(error.trace, "");
	ck_assert_int_eq(map(&par_task_mute, PAR_SETTINGS(.n_jobs = PAR_SET(0))), PAR_EINVAL);
	ck_assert_int_eq(error.task, -1);
	ck_assert_int_eq(error.attempts, 0);
	ck_assert_str_eq(error.input, "");
}
END_TEST

/* As a program that was compiled before par_error had more than four texts. */
START_TEST(a_shorter_error_is_not_written_beyond_its_end)
{
	struct {
		par_error error;
	} old = {PAR_ERROR_INIT};
	const char *bytes = (const char *)&old.error;
	const size_t size = offsetof(par_error, worker);
	char in_bytes[8] = {0}, out_bytes[8];

	old.error.size = (uint32_t)size;
	memset((char *)&old.error + size, 0x55, sizeof(old.error) - size);
	memcpy(in_bytes, &(int64_t){5}, 8);
	ck_assert_int_eq(par_map(NULL, &par_task_picky, in_bytes, out_bytes, 1, NULL, &old.error), PAR_EFAILED);
	ck_assert_str_eq(old.error.reason, "no file number 5");
	for (size_t i = size; i < sizeof(old.error); i++)
		ck_assert_int_eq(bytes[i], 0x55);
}
END_TEST

/* --- outcomes --------------------------------------------------------------------------------- */

struct stream {
	int64_t given, failed, at;
	char type[48], trace[200], message[80];
	par_outcome last;
};

static int32_t give(void *user, par_item *item)
{
	struct stream *stream = user;

	if (stream->given == 20)
		return 0;
	stream->at = stream->given++;
	item->payload = &stream->at;
	item->n_bytes = sizeof(stream->at);
	return 1;
}

static int32_t get(void *user, const par_outcome *outcome)
{
	struct stream *stream = user;

	if (outcome->status == PAR_OK) {
		ck_assert_ptr_null(outcome->type);
		ck_assert_ptr_null(outcome->trace);
		ck_assert_ptr_null(outcome->message);
		ck_assert_int_eq(outcome->worker, -1);
		ck_assert_int_eq(outcome->exit_code, -1);
		ck_assert_int_eq(outcome->attempts, 0);
		ck_assert_int_eq(outcome->code, 0);
		return 0;
	}
	stream->failed++;
	stream->last = *outcome;
	(void)snprintf(stream->type, sizeof(stream->type), "%s", outcome->type);
	(void)snprintf(stream->message, sizeof(stream->message), "%s", outcome->message ? outcome->message : "-");
	(void)snprintf(stream->trace, sizeof(stream->trace), "%s", outcome->trace ? outcome->trace : "-");
	return 0;
}

START_TEST(an_outcome_tells_it_too)
{
	struct stream stream = {0};

	ck_assert_int_eq(par_run(NULL, &par_task_picky, give, get, &stream,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_COLLECT), &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(stream.failed, 1);
	ck_assert_uint_eq(stream.last.index, 5);
	ck_assert_str_eq(stream.type, "FileNotFound");
	ck_assert_str_eq(stream.message, "no file number 5");
	check_trace(stream.trace, PICKY_LINE);
	ck_assert_int_eq(stream.last.code, 8);
	ck_assert_int_eq(stream.last.attempts, 1);
	ck_assert_int_ge(stream.last.worker, 0);
	ck_assert_ptr_null(stream.last.host);
	ck_assert_ptr_null(stream.last.bytes);
}
END_TEST

START_TEST(an_outcome_of_one_that_says_nothing_has_a_type)
{
	struct stream stream = {0};

	ck_assert_int_eq(par_run(NULL, &par_task_mute, give, get, &stream,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .on_error = PAR_COLLECT), &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(stream.failed, 1);
	ck_assert_str_eq(stream.type, "PAR_EFAILED");
	ck_assert_str_eq(stream.message, "-");
	ck_assert_str_eq(stream.trace, "-");
	ck_assert_int_eq(stream.last.code, 9);
}
END_TEST

/* --- its input, made readable --------------------------------------------------------------------- */

static int refuse(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 1;
}
PAR_TASK_OF_BYTES(refuse)

static const char *payload;
static uint64_t payload_size;

static int32_t give_one(void *user, par_item *item)
{
	int *given = user;

	if ((*given)++ > 0)
		return 0;
	item->payload = payload;
	item->n_bytes = payload_size;
	return 1;
}

static const char *shown(const void *bytes, uint64_t size)
{
	int given = 0;

	payload = bytes;
	payload_size = size;
	ck_assert_int_eq(par_run(NULL, &par_task_refuse, give_one, NULL, &given, NULL, &error), PAR_EFAILED);
	ck_assert_uint_lt(strlen(error.input), sizeof(error.input));
	return error.input;
}

START_TEST(a_text_is_shown_as_it_is)
{
	ck_assert_str_eq(shown("a line", 6), "a line");
	ck_assert_str_eq(shown("two\nlines\tand a tab", 19), "two\\x0alines\\x09and a tab");
	ck_assert_str_eq(shown("gr\xc3\xbc\xc3\x9f" "e", 7), "gr\xc3\xbc\xc3\x9f" "e");
	ck_assert_str_eq(shown("", 0), "");
}
END_TEST

START_TEST(of_a_long_text_the_beginning_is_shown)
{
	char text[400], wanted[200];

	memset(text, 'x', sizeof(text));
	shown(text, sizeof(text));
	memset(wanted, 'x', sizeof(wanted));
	ck_assert_uint_gt(strlen(error.input), 100);
	ck_assert_int_eq(strncmp(error.input, wanted, strlen(error.input) - 3), 0);
	ck_assert_str_eq(error.input + strlen(error.input) - 3, "...");
	/* Escaped, it is longer than it was. */
	memset(text, '\n', sizeof(text));
	shown(text, 100);
	ck_assert_str_eq(error.input + strlen(error.input) - 7, "\\x0a...");
}
END_TEST

START_TEST(no_character_is_cut_in_two)
{
	char text[401];

	for (int shift = 0; shift < 3; shift++) {
		size_t length;

		memset(text, 'x', sizeof(text));
		for (int i = shift; i + 3 <= 400; i += 3)
			memcpy(text + i, "\xe2\x82\xac", 3);
		shown(text, 400);
		length = strlen(error.input);
		ck_assert_str_eq(error.input + length - 3, "...");
		ck_assert_int_eq((unsigned char)error.input[length - 4], 0xac);
	}
}
END_TEST

START_TEST(other_bytes_are_shown_as_numbers)
{
	const unsigned char minus_one[8] = {255, 255, 255, 255, 255, 255, 255, 255};
	char bytes[300] = {0};

	ck_assert_str_eq(shown("\0\1\2", 3), "00 01 02");
	/* A negative number is no text, and half a character is none. */
	ck_assert_str_eq(shown(minus_one, 8), "ff ff ff ff ff ff ff ff");
	ck_assert_str_eq(shown("ab\xc3", 3), "61 62 c3");
	ck_assert_str_eq(shown("\xc0\x80", 2), "c0 80");
	shown(bytes, sizeof(bytes));
	ck_assert_str_eq(error.input + strlen(error.input) - 7, " 00 ...");
	/* Bytes behind a text too, if they would be seen. */
	memset(bytes, 'a', 50);
	ck_assert_int_eq(strncmp(shown(bytes, sizeof(bytes)), "61 61 ", 6), 0);
}
END_TEST

/* --- calls within tasks ------------------------------------------------------------------------- */

extern const par_task par_task_deep;

static int deep(par_env *env, const int64_t *from, int64_t *to)
{
	int64_t below = *from - 1;

	*to = 0;
	if (*from == 0)
		return par_fail_task_as(env, 4, "Bottom", "there is nothing below");
	if (par_map(NULL, &par_task_deep, &below, to, 1, NULL, NULL) < 0)
		return par_fail_task(env, 5, "level %d did not get on", (int)*from);
	return 0;
}
PAR_TASK_ENV(deep, int64_t, int64_t)

static const char *after(const char *text, const char *part)
{
	const char *at = text != NULL ? strstr(text, part) : NULL;

	ck_assert_msg(at != NULL, "\"%s\" is missing in: %s", part, error.trace);
	return at + strlen(part);
}

START_TEST(errors_are_chained_through_three_levels)
{
	int64_t top = 3, result;
	const char *at;

	ck_assert_int_eq(par_map(NULL, &par_task_deep, &top, &result, 1, PAR_SETTINGS(.n_jobs = {1, _i}), &error),
	                 PAR_EFAILED);
	ck_assert_str_eq(error.reason, "level 3 did not get on");
	at = after(error.trace, "test_story.c:");
	at = after(at, "\ncaused by: task 0 failed: level 2 did not get on\n");
	at = after(at, "\ncaused by: task 0 failed: level 1 did not get on\n");
	at = after(at, "\ncaused by: task 0 failed: there is nothing below\n");
	(void)after(at, "test_story.c:");
}
END_TEST

static int through_iter(par_env *env, const int64_t *from, int64_t *to)
{
	struct stream stream = {.given = 5};
	const par_outcome *outcome;
	par_iter *iter;

	*to = *from;
	if (par_iter_open(&iter, NULL, &par_task_picky, give, &stream, NULL, NULL) != PAR_OK)
		return par_fail_task(env, 1, "no iterator");
	while (par_iter_next(iter, &outcome, NULL) == 1)
		;
	par_iter_close(iter, NULL);
	return 3;
}
PAR_TASK_ENV(through_iter, int64_t, int64_t)

START_TEST(an_iterator_s_error_is_chained_too)
{
	int64_t result;

	ck_assert_int_eq(par_map(NULL, &par_task_through_iter, in, &result, 1, PAR_SETTINGS(.n_jobs = {1, _i}), &error),
	                 PAR_EFAILED);
	assert_contains(error.trace, "caused by: task 0 failed: no file number 5");
}
END_TEST

/* Those below 10 make a call that fails, and get over it; 15 fails for a reason of its own. */
static int gets_over_it(const int64_t *from, int64_t *to)
{
	int64_t five = 5;

	*to = *from;
	if (*from < 10)
		(void)par_map(NULL, &par_task_mute, &five, to, 1, NULL, NULL);
	return *from == 15 ? 3 : 0;
}
PAR_TASK(gets_over_it, int64_t, int64_t)

static int gets_over_it_env(par_env *env, const int64_t *from, int64_t *to)
{
	(void)env;
	return gets_over_it(from, to);
}
PAR_TASK_ENV(gets_over_it_env, int64_t, int64_t)

START_TEST(what_another_task_got_over_is_not_its_cause)
{
	for (int round = 0; round < 20; round++) {
		ck_assert_int_eq(map(round % 2 ? &par_task_gets_over_it : &par_task_gets_over_it_env,
		                     PAR_SETTINGS(.n_jobs = {1, _i}, .batch_size = {1, 20})),
		                 PAR_EFAILED);
		ck_assert_int_eq(error.task, 15);
		ck_assert_str_eq(error.trace, "");
	}
}
END_TEST

/* A task that is tried again is another one in this. */
static _Atomic int tries;

static int fails_otherwise(par_env *env, const int64_t *from, int64_t *to)
{
	int64_t five = 5;

	*to = *from;
	if (env->attempt == 0)
		(void)par_map(NULL, &par_task_mute, &five, to, 1, NULL, NULL);
	tries++;
	return par_fail_task(env, 3, "on its own");
}
PAR_TASK_ENV(fails_otherwise, int64_t, int64_t)

START_TEST(nor_is_what_its_last_try_got_over)
{
	ck_assert_int_eq(par_map(NULL, &par_task_fails_otherwise, in, out, 1,
	                         PAR_SETTINGS(.n_jobs = {1, _i}, .retries = PAR_SET(1)), &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(tries, 2);
	ck_assert_ptr_null(strstr(error.trace, "caused by"));
}
END_TEST

/* In a range of many, one fails by the call that it makes. */
static int fails_below(const int64_t *from, int64_t *to)
{
	int64_t five = 5;

	*to = *from;
	return par_map(NULL, &par_task_picky, *from == 7 ? &five : from, to, 1, NULL, NULL) < 0 ? 2 : 0;
}
PAR_TASK(fails_below, int64_t, int64_t)

START_TEST(one_of_many_names_its_own_cause)
{
	par_parallel *pool;

	for (int i = 0; i < 20; i++)
		in[i] = i == 5 ? 6 : i;
	ck_assert_int_eq(par_open(&pool, PAR_SETTINGS(.n_jobs = {1, _i}), &error), PAR_OK);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(par_map(pool, &par_task_fails_below, in, out, 20, NULL, &error), PAR_EFAILED);
		ck_assert_int_eq(error.task, 7);
		ck_assert_str_eq(error.reason, "it returned 2");
		assert_contains(error.trace, "caused by: task 0 failed: no file number 5");
	}
	par_close(pool);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("story");
	TCase *tests = tcase_create("story");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_loop_test(tests, an_error_tells_its_story, 1, 4);
	tcase_add_loop_test(tests, one_that_says_nothing_has_its_code, 1, 4);
	tcase_add_test(tests, an_error_that_is_used_again_forgets_the_last_one);
	tcase_add_test(tests, a_shorter_error_is_not_written_beyond_its_end);
	tcase_add_loop_test(tests, an_outcome_tells_it_too, 1, 3);
	tcase_add_loop_test(tests, an_outcome_of_one_that_says_nothing_has_a_type, 1, 3);
	tcase_add_test(tests, a_text_is_shown_as_it_is);
	tcase_add_test(tests, of_a_long_text_the_beginning_is_shown);
	tcase_add_test(tests, no_character_is_cut_in_two);
	tcase_add_test(tests, other_bytes_are_shown_as_numbers);
	tcase_add_loop_test(tests, errors_are_chained_through_three_levels, 1, 3);
	tcase_add_loop_test(tests, an_iterator_s_error_is_chained_too, 1, 3);
	tcase_add_loop_test(tests, what_another_task_got_over_is_not_its_cause, 1, 3);
	tcase_add_loop_test(tests, nor_is_what_its_last_try_got_over, 1, 3);
	tcase_add_loop_test(tests, one_of_many_names_its_own_cause, 1, 3);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
