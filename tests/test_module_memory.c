/* link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=reallocarray */
/* link: -Wl,--wrap=strdup,--wrap=realpath */
#include "module.h"

#include <check.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Every allocation on the way to a task module fails once, and from then on for ever: no
 * crash, no leak, and PAR_ENOMEM with words. */

static int countdown = -1; /* allocations until one fails; -1: none does */
static int for_ever, failed_one;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *block, size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_realpath(const char *path, char *resolved);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *block, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_realpath(const char *path, char *resolved);

static char folder[] = "/tmp/parloop-memory-XXXXXX";

static void begin(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
}

static void end(void)
{
	char command[64];

	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static int fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return 0;
	failed_one = 1;
	if (for_ever)
		countdown = 0;
	errno = ENOMEM;
	return 1;
}

void *__wrap_malloc(size_t size)
{
	return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return fails() ? NULL : __real_calloc(n, size);
}

void *__wrap_reallocarray(void *block, size_t n, size_t size)
{
	return fails() ? NULL : __real_reallocarray(block, n, size);
}

char *__wrap_strdup(const char *text)
{
	return fails() ? NULL : __real_strdup(text);
}

char *__wrap_realpath(const char *path, char *resolved)
{
	return fails() ? NULL : __real_realpath(path, resolved);
}

/* A copy that nobody has opened, since an open module is only looked up. */
static const char *new_copy(int number)
{
	static char path[64];
	char command[PATH_MAX + 100];

	(void)snprintf(path, sizeof(path), "%s/%d.so", folder, number);
	(void)snprintf(command, sizeof(command), "cp '%s' %s", PAR_BUILD "/tasks/demo.so", path);
	ck_assert_int_eq(system(command), 0);
	return path;
}

/* Open one with each allocation failing in turn, until none is left to fail.  One that
 * only makes it faster may fail without anybody's noticing. */
static void open_without_memory(int ever)
{
	par_error error;
	par_module *module;
	const char *path;
	int32_t status = PAR_ENOMEM;
	int refused = 0;

	for (int n = 0; n < 1000; n++) {
		path = new_copy(n);
		error = (par_error)PAR_ERROR_INIT;
		countdown = n;
		for_ever = ever;
		failed_one = 0;
		status = par_module_open(&module, path, &error);
		countdown = -1;
		if (!failed_one)
			break;
		if (status == PAR_OK && !ever)
			continue;
		ck_assert_msg(status == PAR_ENOMEM, "allocation %d: %d: %s", n, status, error.what);
		ck_assert_ptr_null(module);
		ck_assert_str_ne(error.what, "");
		refused++;
	}
	/* It allocates for each of its tasks at least. */
	ck_assert_int_gt(refused, 8);
	ck_assert_int_eq(status, PAR_OK);
	ck_assert_ptr_nonnull(module);
}

START_TEST(no_memory_once)
{
	open_without_memory(0);
}
END_TEST

START_TEST(no_memory_any_more)
{
	open_without_memory(1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("module_memory");
	TCase *tcase = tcase_create("module_memory");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(tcase, begin, end);
	tcase_add_test(tcase, no_memory_once);
	tcase_add_test(tcase, no_memory_any_more);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
