/* link: -Wl,--wrap=malloc,--wrap=calloc,--wrap=reallocarray */
/* link: -Wl,--wrap=strdup,--wrap=strndup,--wrap=asprintf */
#include "scratch.h"

#include "plugins/stub.h"
#include "registry.h"

#include <stdarg.h>
#include <sys/wait.h>

/* Every allocation between a name and a checked table fails once, and from then on
 * for ever: no crash, no leak, and PAR_ENOMEM with words. */

static int countdown = -1; /* allocations until one fails; -1: none does */
static int for_ever, failed_one;

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_reallocarray(void *block, size_t n, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t n);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_reallocarray(void *block, size_t n, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t n);
int __wrap_asprintf(char **out, const char *format, ...);

static int fails(void)
{
	if (countdown < 0 || countdown-- > 0)
		return 0;
	failed_one = 1;
	if (for_ever)
		countdown = 0;
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

char *__wrap_strndup(const char *text, size_t n)
{
	return fails() ? NULL : __real_strndup(text, n);
}

int __wrap_asprintf(char **out, const char *format, ...)
{
	va_list args;
	int length;

	if (fails())
		return -1;
	va_start(args, format);
	length = vasprintf(out, format, args);
	va_end(args);
	return length;
}

static int32_t ignore_one(void *user, const par_backend_info *info)
{
	(void)user, (void)info;
	return 0;
}

/* All that this layer does; the first failure's code. */
static const par_backend_ops *factory(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}

static int32_t load_own(const char *name, par_error *error)
{
	return par_register_backend(name, factory, PAR_OPTION_INT("count", 3, 1, 10, "")
	                            PAR_OPTION_TEXT("token", "", ""), 1, error);
}

/* What the program brings itself: registered, and chosen in all ways. */
static int32_t use_own(const char *const *settings, par_error *error)
{
	const par_settings *chosen = PAR_SETTINGS(.backend = "own", .options = settings,
	                                          .pre_dispatch = "all", .prefer = "threads");
	const struct provider *provider;
	par_context *context;
	int32_t status = par_register_external("own", load_own, "hint", error);

	if (status == PAR_OK)
		status = registry_find("own", &provider, error);
	if (status == PAR_OK)
		status = par_set_default(chosen, error);
	if (status == PAR_OK)
		status = par_context_push(chosen, &context, error);
	if (status == PAR_OK)
		status = par_context_push(chosen, NULL, error);
	if (status == PAR_OK)
		status = par_context_pop(NULL, error);
	return status == PAR_OK ? par_context_pop(context, error) : status;
}

static int32_t do_everything(const char *conf, par_error *error)
{
	static const char *const settings[] = {"count=4", "token=x", NULL};
	const struct provider *provider;
	struct par_options *options;
	int32_t status;

	status = par_configure(conf, error);
	if (status < 0)
		return status;
	status = par_each_backend(ignore_one, NULL, error);
	if (status == PAR_OK)
		status = par_show_backend("slow", ignore_one, NULL, error);
	if (status == PAR_OK)
		status = registry_find("good", &provider, error);
	if (status < 0)
		return status;
	status = registry_options(provider, settings, &options, error);
	if (status == PAR_OK)
		options_destroy(options);
	return status == PAR_OK ? use_own(settings, error) : status;
}

/* Not what a sanitizer exits with. */
enum { FAILED_WELL = 71, FAILED_BADLY = 72 };

/* In a child, since what is loaded stays so.  0: no allocation failed. */
static int fail_one(const char *conf, int n)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	countdown = n;
	status = do_everything(conf, &error);
	countdown = -1;
	if (!failed_one)
		return status == PAR_OK ? 0 : FAILED_BADLY;
	if (status == PAR_OK && !for_ever)
		return FAILED_WELL; /* what failed was not needed, as a line in the log */
	if (status == PAR_ENOMEM && error.code == PAR_ENOMEM && error.what[0] != '\0')
		return FAILED_WELL;
	fprintf(stderr, "allocation %d: %d %s: %s\n", n, status, error.what, error.reason);
	return FAILED_BADLY;
}

static void fail_each(void)
{
	static const char text[] = "[parloop]\nplugin_dir = .\ndefault = good\npre_dispatch = all\n"
	                           "[backend good]\npath = good.so\ncount = 3\n"
	                           "[lazy]\nslow = ./slow.so\n[backend tables]\n";
	const char *conf = scratch_write("plugins.conf", text, sizeof(text) - 1);
	int status, n = 0;

	scratch_copy(PLUGIN("good"), "good.so");
	scratch_copy(PLUGIN("slow"), "slow.so");
	scratch_write("broken.so", "text", 4);
	do {
		pid_t child = fork();

		ck_assert_int_ge(child, 0);
		if (child == 0)
			exit(fail_one(conf, n));
		ck_assert_int_eq(waitpid(child, &status, 0), child);
		ck_assert_msg(status == 0 || (WIFEXITED(status) &&
		                              WEXITSTATUS(status) == FAILED_WELL),
		              "allocation %d: status %x", n, (unsigned)status);
		n++;
	} while (status != 0);
	ck_assert_int_gt(n, 50);
}

START_TEST(each_allocation_may_fail_once)
{
	fail_each();
}
END_TEST

START_TEST(each_allocation_may_fail_for_ever)
{
	for_ever = 1;
	fail_each();
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("registry_memory");
	TCase *tests = tcase_create("registry_memory");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 120);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, each_allocation_may_fail_once);
	tcase_add_test(tests, each_allocation_may_fail_for_ever);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
