/* around.c - what is around every test; linked with each program of check.
 *
 * The linker puts the function below in place of tcase_create() (see the Makefile), so that no
 * test can forget the leak check. */
#include "leaks.h"

#include <uv.h>

TCase *__real_tcase_create(const char *name);
TCase *__wrap_tcase_create(const char *name);

struct leaks leaks_of_test;

static char folder[PATH_MAX];
static pid_t owner;

static void remove_folder(void)
{
	if (owner == getpid())
		(void)rmdir(folder);
}

/* libuv's first loop in a process makes descriptors that stay. */
static void have_had_a_loop(void)
{
	uv_loop_t loop;

	if (uv_loop_init(&loop) == 0)
		(void)uv_loop_close(&loop);
}

static void before(void)
{
	leaks_begin_again();
}

/* What a cluster's engine has on this machine comes and goes as it likes. */
static void after(void)
{
	if (getenv("TEST_ENGINE") == NULL)
		leaks_end(&leaks_of_test);
}

/* Its fixture comes first, so it begins before the test's own and ends after them. */
TCase *__wrap_tcase_create(const char *name)
{
	TCase *tcase = __real_tcase_create(name);

	if (owner == 0) {
		owner = getpid();
		leaks_own_tmpdir(folder);
		atexit(remove_folder);
		have_had_a_loop();
	}
	tcase_add_checked_fixture(tcase, before, after);
	return tcase;
}
