#include "leaks.h"

#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { SHORT_MS = 50 };

static struct leaks leaks;
static char report[4096];

static const char *left(void)
{
	return leaks_report(&leaks, SHORT_MS, report, sizeof(report));
}

START_TEST(finds_nothing_where_nothing_is)
{
	leaks_begin(&leaks);
	ck_assert_str_eq(left(), "");
	leaks_end(&leaks);
}
END_TEST

START_TEST(finds_a_descriptor)
{
	int fd;

	leaks_begin(&leaks);
	fd = open("/dev/zero", O_RDONLY);
	ck_assert_ptr_nonnull(strstr(left(), "/dev/zero"));
	close(fd);
	leaks_end(&leaks);
}
END_TEST

START_TEST(finds_a_descriptor_that_is_gone)
{
	int fd = open("/dev/zero", O_RDONLY);

	leaks_begin(&leaks);
	close(fd);
	ck_assert_ptr_nonnull(strstr(left(), "gone: descriptor"));
	leaks_forget(&leaks);
}
END_TEST

static void *until_told(void *arg)
{
	int *fds = arg;
	char byte;

	ck_assert_int_eq((int)read(fds[0], &byte, 1), 0);
	return NULL;
}

START_TEST(finds_a_thread)
{
	int fds[2];
	pthread_t thread;

	ck_assert_int_eq(pipe(fds), 0);
	leaks_begin(&leaks);
	ck_assert_int_eq(pthread_create(&thread, NULL, until_told, fds), 0);
	ck_assert_ptr_nonnull(strstr(left(), "left: thread"));
	close(fds[1]);
	pthread_join(thread, NULL);
	ck_assert_ptr_null(strstr(left(), "left: thread"));
	close(fds[0]);
	leaks_forget(&leaks);
}
END_TEST

START_TEST(finds_a_child_even_a_dead_one)
{
	pid_t pid;

	leaks_begin(&leaks);
	pid = fork();
	if (pid == 0)
		_exit(0);
	ck_assert_ptr_nonnull(strstr(left(), "left: child"));
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	leaks_end(&leaks);
}
END_TEST

START_TEST(finds_a_temporary_file)
{
	char path[PATH_MAX];
	int fd;

	leaks_begin(&leaks);
	(void)snprintf(path, sizeof(path), "%.4000s/a-file", leaks_tmpdir());
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	close(fd);
	ck_assert_ptr_nonnull(strstr(left(), "a-file"));
	unlink(path);
	leaks_end(&leaks);
}
END_TEST

START_TEST(finds_shared_memory)
{
	char name[64];

	(void)snprintf(name, sizeof(name), "/parloop-leaks-%d", (int)getpid());
	leaks_begin(&leaks);
	close(shm_open(name, O_CREAT | O_RDWR, 0600));
	ck_assert_ptr_nonnull(strstr(left(), "parloop-leaks"));
	shm_unlink(name);
	leaks_end(&leaks);
}
END_TEST

START_TEST(finds_a_signal_handler_and_a_mask)
{
	sigset_t mask;

	leaks_begin(&leaks);
	signal(SIGUSR2, SIG_IGN);
	ck_assert_ptr_nonnull(strstr(left(), "left: signal 12 handled"));
	signal(SIGUSR2, SIG_DFL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &mask, NULL);
	ck_assert_ptr_nonnull(strstr(left(), "left: signal 12 blocked"));
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	leaks_end(&leaks);
}
END_TEST

static void nothing(void)
{
}

static void make_descriptor(void)
{
	ck_assert_int_ge(open("/dev/zero", O_RDONLY), 0);
}

START_TEST(does_nothing)
{
}
END_TEST

/* How many tests fail in a suite of one, between such fixtures. */
static int failures_between(SFun before, SFun after)
{
	Suite *suite = suite_create("inner");
	TCase *tests = tcase_create("inner");
	SRunner *runner = srunner_create(suite);
	int failed;

	setenv("LEAKS_WAIT_MS", "50", 1);
	tcase_add_checked_fixture(tests, before, after);
	tcase_add_test(tests, does_nothing);
	suite_add_tcase(suite, tests);
	srunner_run_all(runner, CK_SILENT);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed;
}

START_TEST(is_around_every_test_and_its_fixtures)
{
	ck_assert_int_eq(failures_between(nothing, nothing), 0);
	ck_assert_int_eq(failures_between(make_descriptor, nothing), 1);
	ck_assert_int_eq(failures_between(nothing, make_descriptor), 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("leaks");
	TCase *tests = tcase_create("leaks");
	SRunner *runner;
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, finds_nothing_where_nothing_is);
	tcase_add_test(tests, finds_a_descriptor);
	tcase_add_test(tests, finds_a_descriptor_that_is_gone);
	tcase_add_test(tests, finds_a_thread);
	tcase_add_test(tests, finds_a_child_even_a_dead_one);
	tcase_add_test(tests, finds_a_temporary_file);
	tcase_add_test(tests, finds_shared_memory);
	tcase_add_test(tests, finds_a_signal_handler_and_a_mask);
	tcase_add_test(tests, is_around_every_test_and_its_fixtures);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
