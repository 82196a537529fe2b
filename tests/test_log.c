#include "scratch.h"

#include "log.h"

#include <pthread.h>

static char heard[400];

static void hear(void *user, int32_t level, const char *line)
{
	size_t used = strlen(heard);

	ck_assert_ptr_eq(user, heard);
	(void)snprintf(heard + used, sizeof(heard) - used, "%d %.100s\n", level, line);
}

/* What went to stderr. */
static const char *written(void (*log)(void))
{
	static char text[4000];
	FILE *file = tmpfile();
	int before = dup(2);
	size_t n;

	ck_assert_ptr_nonnull(file);
	(void)dup2(fileno(file), 2);
	log();
	(void)dup2(before, 2);
	close(before);
	rewind(file);
	n = fread(text, 1, sizeof(text) - 1, file);
	text[n] = '\0';
	(void)fclose(file);
	return text;
}

static void log_all(void)
{
	log_line(LOG_DEBUG, "one %d", 1);
	log_line(LOG_INFO, "two");
	log_line(LOG_WARNING, "three");
	log_line(LOG_ERROR, "four");
}

START_TEST(stderr_hears_of_warnings_and_errors)
{
	unsetenv("PARLOOP_LOG");
	ck_assert_str_eq(written(log_all), "parloop: warning: three\nparloop: error: four\n");
}
END_TEST

START_TEST(the_environment_says_from_which_level_on)
{
	setenv("PARLOOP_LOG", "info", 1);
	ck_assert_str_eq(written(log_all), "parloop: info: two\nparloop: warning: three\nparloop: error: four\n");
	setenv("PARLOOP_LOG", "debug", 1);
	ck_assert_int_eq(strncmp(written(log_all), "parloop: debug: one 1\n", 22), 0);
	setenv("PARLOOP_LOG", "none", 1);
	ck_assert_str_eq(written(log_all), "");
	setenv("PARLOOP_LOG", "nonsense", 1);
	ck_assert_str_eq(written(log_all), "parloop: warning: three\nparloop: error: four\n");
}
END_TEST

START_TEST(who_asked_for_the_log_hears_all_of_it)
{
	par_set_log(hear, heard);
	setenv("PARLOOP_LOG", "none", 1);
	ck_assert_str_eq(written(log_all), "");
	ck_assert_str_eq(heard, "0 one 1\n1 two\n2 three\n3 four\n");
	par_set_log(NULL, NULL);
	unsetenv("PARLOOP_LOG");
	ck_assert_str_eq(written(log_all), "parloop: warning: three\nparloop: error: four\n");
}
END_TEST

START_TEST(a_level_beyond_the_last_is_the_last)
{
	par_set_log(hear, heard);
	log_line(99, "high");
	log_line(-99, "low");
	ck_assert_str_eq(heard, "3 high\n0 low\n");
}
END_TEST

START_TEST(a_line_stays_one_and_does_nothing_to_a_terminal)
{
	par_set_log(hear, heard);
	log_line(LOG_ERROR, "of \x1b[31mred\nfile");
	ck_assert_str_eq(heard, "3 of \\x1b[31mred\\x0afile\n");
}
END_TEST

static size_t longest;

static void measure(void *user, int32_t level, const char *line)
{
	(void)user, (void)level;
	longest = strlen(line);
}

START_TEST(a_long_line_is_cut)
{
	char line[5000];

	memset(line, 'x', sizeof(line) - 1);
	line[sizeof(line) - 1] = '\0';
	par_set_log(measure, NULL);
	log_line(LOG_ERROR, "%s", line);
	ck_assert_uint_ge(longest, 2000);
	ck_assert_uint_lt(longest, sizeof(line) - 1);
}
END_TEST

static _Atomic int counted;

static void count(void *user, int32_t level, const char *line)
{
	(void)user, (void)level, (void)line;
	counted++;
}

static void *log_much(void *arg)
{
	for (int i = 0; i < 1000; i++)
		log_line(LOG_ERROR, "line %d", i);
	return arg;
}

START_TEST(threads_may_log_while_the_log_is_set)
{
	pthread_t threads[3];

	par_set_log(count, NULL);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, log_much, NULL), 0);
	for (int i = 0; i < 1000; i++)
		par_set_log(count, NULL);
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	ck_assert_int_eq(counted, 3000);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("log");
	TCase *tests = tcase_create("log");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, stderr_hears_of_warnings_and_errors);
	tcase_add_test(tests, the_environment_says_from_which_level_on);
	tcase_add_test(tests, who_asked_for_the_log_hears_all_of_it);
	tcase_add_test(tests, a_level_beyond_the_last_is_the_last);
	tcase_add_test(tests, a_line_stays_one_and_does_nothing_to_a_terminal);
	tcase_add_test(tests, a_long_line_is_cut);
	tcase_add_test(tests, threads_may_log_while_the_log_is_set);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
