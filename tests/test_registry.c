#include "scratch.h"

#include "registry.h"

#include <pthread.h>

static par_error error = PAR_ERROR_INIT;
static const char *self;

/* A configuration with plugin_dir = the scratch folder, and these lines. */
static void configure(const char *lines)
{
	char text[2000];

	(void)snprintf(text, sizeof(text), "[parloop]\nplugin_dir = .\n%s", lines);
	scratch_write("plugins.conf", text, strlen(text));
	ck_assert_int_eq(par_configure(scratch_path("plugins.conf"), &error), PAR_OK);
}

START_TEST(finds_a_file_that_was_just_dropped)
{
	const struct provider *provider, *again;

	configure("");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_ENOTFOUND);
	scratch_copy(PLUGIN("good"), "anything.so");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_str_eq(provider->file, scratch_path("anything.so"));
	ck_assert(provider->ops.submit != NULL);
	ck_assert(provider->ops.kill == NULL);
	ck_assert_uint_eq(provider->capabilities, PAR_SHARES_MEMORY | PAR_RUNS_INLINE);
	ck_assert_int_eq(provider->batch_shortest_ns, 100000);
	ck_assert_int_eq(provider->batch_longest_ns, 1000000);
	ck_assert_int_eq(registry_find("good", &again, &error), PAR_OK);
	ck_assert_ptr_eq(again, provider);
}
END_TEST

START_TEST(an_unknown_name_lists_what_exists_and_the_nearest)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[lazy]\nlater = later.so\n");
	ck_assert_int_eq(registry_find("goood", &provider, &error), PAR_ENOTFOUND);
	assert_contains(error.what, "Invalid backend: goood, expected one of [");
	assert_contains(error.what, "'good'");
	assert_contains(error.what, "'later'");
	assert_contains(error.reason, scratch_dir);
	ck_assert_str_eq(error.remedy, "did you mean \"good\"?");
}
END_TEST

START_TEST(a_name_that_cannot_be_one_is_escaped)
{
	static const char *const names[] = {"../evil", "/abs", "", "Upper", "new\nline",
	                                    "abcdefghijklmnopqrstuvwxyzabcdefg", "nested-",
	                                    "nested-Upper"};
	const struct provider *provider;

	configure("");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ck_assert_int_eq(registry_find(names[i], &provider, &error), PAR_ENOTFOUND);
		ck_assert_ptr_null(strchr(error.what, '\n'));
		assert_contains(error.reason, "a backend's name is");
	}
}
END_TEST

START_TEST(each_has_a_second_name_for_every_level)
{
	const struct provider *plain, *nested, *again;
	struct par_options *options;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[backend good]\ncount = 7\n");
	ck_assert_ptr_null(registry_loaded("nested-good"));
	ck_assert_int_eq(registry_find("nested-good", &nested, &error), PAR_OK);
	ck_assert_int_eq(registry_find("good", &plain, &error), PAR_OK);
	ck_assert_ptr_null(plain->base);
	ck_assert_ptr_eq(nested->base, plain);
	ck_assert_str_eq(nested->name, "nested-good");
	ck_assert_ptr_eq(nested->file, plain->file);
	ck_assert_ptr_eq(nested->schema, plain->schema);
	ck_assert_uint_eq(nested->capabilities, plain->capabilities);
	ck_assert_int_eq(memcmp(&nested->ops, &plain->ops, sizeof(plain->ops)), 0);
	ck_assert_int_eq(registry_find("nested-good", &again, &error), PAR_OK);
	ck_assert_ptr_eq(again, nested);
	ck_assert_ptr_eq(registry_loaded("nested-good"), nested);
	ck_assert_int_eq(registry_options(nested, NULL, &options, &error), PAR_OK);
	ck_assert_int_eq(options_int(options, "count"), 7);
	options_destroy(options);
}
END_TEST

START_TEST(of_a_second_name_that_is_unknown_the_nearest_is_said)
{
	static const char *const wrong[] = {"nested-goood", "nested_good", "nestedgood",
	                                    "nested-nested-good"};
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[lazy]\nlater = later.so\n");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		ck_assert_int_eq(registry_find(wrong[i], &provider, &error), PAR_ENOTFOUND);
		assert_contains(error.what, wrong[i]);
		assert_contains(error.what, "'nested-good', 'nested-later', ");
		ck_assert_str_eq(error.remedy, "did you mean \"nested-good\"?");
	}
	ck_assert_str_eq(error.reason, "nested- stands there once, and means every level already");
	ck_assert_int_eq(registry_find("nested-what", &provider, &error), PAR_ENOTFOUND);
	assert_contains(error.reason, "no plugin offers what in ");
	ck_assert_int_eq(registry_find("nested-later", &provider, &error), PAR_EUNAVAIL);
	assert_contains(error.what, "\"later\" is known but not installed");
}
END_TEST

START_TEST(a_known_backend_says_how_to_get_it)
{
	const struct provider *provider;

	configure("[lazy]\nelsewhere = missing.so\nabsolute = /nowhere/missing.so\n");
	ck_assert_int_eq(registry_find("elsewhere", &provider, &error), PAR_EUNAVAIL);
	assert_contains(error.what, "\"elsewhere\" is known but not installed");
	assert_contains(error.file, "plugins.conf:4");
	assert_contains(error.remedy, "put missing.so there");
	ck_assert_int_eq(registry_find("absolute", &provider, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "plugins.conf:5");
	ck_assert_str_eq(error.file, "/nowhere/missing.so");
}
END_TEST

START_TEST(a_lazy_file_must_have_the_name)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[lazy]\nbetter = good.so\ngood = good.so\n");
	ck_assert_int_eq(registry_find("better", &provider, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "the file offers \"good\", not \"better\"");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
}
END_TEST

START_TEST(a_path_wins_over_dropped_files)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "aaa.so");
	ck_assert_int_eq(mkdir(scratch_path("sub"), 0755), 0);
	scratch_copy(PLUGIN("good"), "sub/mine.so");
	configure("[backend good]\npath = sub/mine.so\ncount = 7\n");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_str_eq(provider->file, scratch_path("sub/mine.so"));
}
END_TEST

START_TEST(of_two_files_the_first_wins_and_the_other_is_told_once)
{
	const struct provider *provider;
	char *first;

	scratch_copy(PLUGIN("good"), "b.so");
	scratch_copy(PLUGIN("good"), "a.so");
	ck_assert_int_eq(symlink(scratch_path("a.so"), scratch_path("c.so")), 0);
	configure("");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_int_eq(registry_find("unheard", &provider, &error), PAR_ENOTFOUND);
	first = strstr(scratch_log, "b.so, which is not used");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + strlen("b.so, which"), "which is not used"));
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_str_eq(provider->file, scratch_path("a.so"));
}
END_TEST

START_TEST(a_broken_file_is_told_only_to_who_asks_for_it)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	scratch_write("broken.so", "#!/bin/sh\nexit 1\n", 17);
	configure("");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_ptr_null(strstr(scratch_log, "2 "));
	ck_assert_int_eq(registry_find("broken", &provider, &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "cannot load backend \"broken\"");
	ck_assert_str_eq(error.file, scratch_path("broken.so"));
	ck_assert_str_eq(error.reason, "not an ELF file (starts with \"#!/bin/sh\")");
}
END_TEST

START_TEST(a_failure_is_remembered_until_the_file_changes)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("counts_and_denies"), "good.so");
	configure("");
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(registry_find("good", &provider, &error), PAR_EUNAVAIL);
		assert_contains(error.reason, "note and code disagree");
	}
	assert_contains(scratch_log, "factory call 1");
	ck_assert_ptr_null(strstr(scratch_log, "factory call 2"));
	ck_assert_int_eq(unlink(scratch_path("good.so")), 0);
	scratch_copy(PLUGIN("good"), "good2.so");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
}
END_TEST

START_TEST(a_file_that_anybody_may_write_is_not_run)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	ck_assert_int_eq(chmod(scratch_path("good.so"), 0666), 0);
	configure("");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "cannot load backend \"good\"");
	ck_assert_str_eq(error.reason, "may be written by everybody");
	assert_contains(error.remedy, "chmod o-w /");
	ck_assert_int_eq(chmod(scratch_path("good.so"), 0644), 0);
	ck_assert_int_eq(chmod(scratch_dir, 0777), 0);
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "its folder ");
	ck_assert_int_eq(setenv("PARLOOP_ALLOW_WORLD_WRITABLE", "yes", 1), 0);
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
}
END_TEST

START_TEST(who_else_could_change_a_file_is_told_once)
{
	const struct provider *provider;
	char *first;

	if (geteuid() != 0)
		return;
	scratch_copy(PLUGIN("good"), "good.so");
	ck_assert_int_eq(chown(scratch_path("good.so"), 12345, 0), 0);
	configure("");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	first = strstr(scratch_log, "good.so is user 12345's, who can have this program run");
	ck_assert_ptr_nonnull(first);
	ck_assert_ptr_null(strstr(first + strlen("good.so is"), "is user 12345's"));

	scratch_copy(PLUGIN("keyed"), "keyed.so");
	ck_assert_int_eq(chown(scratch_path("keyed.so"), 0, 12345), 0);
	ck_assert_int_eq(chmod(scratch_path("keyed.so"), 0664), 0);
	(void)registry_find("keyed", &provider, &error);
	assert_contains(scratch_log, "keyed.so may be written by group 12345, who can have root run");
}
END_TEST

struct racer {
	pthread_barrier_t *start;
	const struct provider *provider;
	int32_t status;
};

static void *race(void *arg)
{
	struct racer *racer = arg;

	pthread_barrier_wait(racer->start);
	racer->status = registry_find("slow", &racer->provider, NULL);
	return NULL;
}

/* The plugin's factory counts its calls; the others must wait for the first. */
START_TEST(threads_that_race_load_it_once)
{
	struct racer racers[8];
	pthread_t threads[8];
	pthread_barrier_t start;

	scratch_copy(PLUGIN("slow"), "slow.so");
	configure("");
	pthread_barrier_init(&start, NULL, 8);
	for (int i = 0; i < 8; i++) {
		racers[i] = (struct racer){.start = &start};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	for (int i = 0; i < 8; i++) {
		ck_assert_int_eq(racers[i].status, PAR_OK);
		ck_assert_ptr_eq(racers[i].provider, racers[0].provider);
	}
	assert_contains(scratch_log, "factory call 1");
	ck_assert_ptr_null(strstr(scratch_log, "factory call 2"));
}
END_TEST

START_TEST(options_merge_defaults_configuration_and_call)
{
	static const char *const settings[] = {"mode=fast", NULL};
	static const char *const bad[] = {"count=11", NULL}, *const no_key[] = {"count", NULL};
	const struct provider *provider;
	struct par_options *options;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[backend good]\ncount = 5\n");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_int_eq(registry_options(provider, settings, &options, &error), PAR_OK);
	ck_assert_int_eq(options_int(options, "count"), 5);
	ck_assert_int_eq(options_int(options, "mode"), 1);
	ck_assert_int_eq(options_int(options, "pause"), 20000000);
	options_destroy(options);
	ck_assert_int_eq(registry_options(provider, bad, &options, &error), PAR_ECONFIG);
	assert_contains(error.reason, "11 is not in 1..10");
	ck_assert_int_eq(registry_options(provider, no_key, &options, &error), PAR_ECONFIG);
	assert_contains(error.reason, "key=value");
}
END_TEST

START_TEST(a_lazy_backends_options_are_checked_when_it_is_asked_for)
{
	const struct provider *provider;
	struct par_options *options;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[lazy]\ngood = good.so\n[backend good]\ncount = 5\nmodd = fast\n");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_int_eq(registry_options(provider, NULL, &options, &error), PAR_ECONFIG);
	assert_contains(error.what, "plugins.conf:7: [backend good] unknown option \"modd\"");
	assert_contains(error.remedy, "mode");
}
END_TEST

START_TEST(configuring_comes_first)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("default = good\n");
	configure("default = good\n");
	ck_assert_str_eq(par_default_backend(), "good");
	ck_assert_str_eq(par_config_file(), scratch_path("plugins.conf"));
	ck_assert_str_eq(par_plugin_dirs()[0], scratch_dir);
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_int_eq(par_configure(NULL, &error), PAR_EINVAL);
}
END_TEST

/* --- listing ------------------------------------------------------------------------------- */

static char listed[4096];

static int32_t list_one(void *user, const par_backend_info *info)
{
	size_t used = strlen(listed);

	(void)user;
	(void)snprintf(listed + used, sizeof(listed) - used, "%s:%d:%s:%s\n", info->name,
	               info->state, info->version, info->reason);
	return 0;
}

START_TEST(every_backend_is_listed_with_its_state)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "good.so");
	scratch_copy(PLUGIN("slow"), "slow.so");
	scratch_write("text.so", "hello\n", 6);
	configure("[lazy]\nlater = later.so\n");
	ck_assert_int_eq(registry_find("slow", &provider, &error), PAR_OK);
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "good:0:1.2.3:\n");
	assert_contains(listed, "later:2::\n");
	assert_contains(listed, "slow:1:");
	assert_contains(listed, "text:3::not an ELF file (starts with \"hello\")\n");
	ck_assert(strstr(listed, "good:") < strstr(listed, "later:"));
}
END_TEST

START_TEST(what_could_not_be_loaded_is_listed_as_broken)
{
	scratch_copy(PLUGIN("good"), "good.so");
	scratch_copy(PLUGIN("no_factory"), "bad.so");
	ck_assert_int_eq(chmod(scratch_path("good.so"), 0666), 0);
	configure("");
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "bad:3::exports no parloop_backend_v1\n");
	assert_contains(listed, "good:3:1.2.3:may be written by everybody\n");
	listed[0] = '\0';
	(void)unlink(scratch_path("good.so"));
	configure("[backend bad]\npath = bad.so\n");
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "bad:3::exports no parloop_backend_v1\n");
}
END_TEST

static int32_t show_one(void *user, const par_backend_info *info)
{
	*(int *)user += 1;
	ck_assert_str_eq(info->name, "good");
	ck_assert_str_eq(info->summary, "runs inline, for tests");
	ck_assert_str_eq(info->capabilities, "shares_memory runs_inline");
	ck_assert_str_eq(info->abi, "1.0");
	ck_assert_uint_eq(info->n_options, 4);
	ck_assert_str_eq(info->options[0]->key, "count");
	ck_assert_str_eq(info->options[0]->type, "int");
	ck_assert_str_eq(info->options[0]->value, "4");
	ck_assert_str_eq(info->options[1]->fallback, "20ms");
	ck_assert_str_eq(info->options[2]->range, "slow|fast");
	ck_assert_int_eq(info->options[3]->secret, 1);
	ck_assert_ptr_null(info->options[3]->value);
	return 0;
}

START_TEST(a_lazy_backend_is_listed_as_loaded_once_it_is)
{
	const struct provider *provider;

	scratch_copy(PLUGIN("good"), "lazy-good.so");
	configure("[lazy]\ngood = ./lazy-good.so\n");
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "good:2::\n");
	ck_assert_int_eq(registry_find("good", &provider, &error), PAR_OK);
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "good:1:1.2.3:\n");
}
END_TEST

START_TEST(a_backend_is_shown_without_running_it_and_without_secrets)
{
	int calls = 0;

	scratch_copy(PLUGIN("good"), "good.so");
	configure("[backend good]\ncount = 4\ntoken = hush\n");
	ck_assert_int_eq(par_show_backend("good", show_one, &calls, &error), PAR_OK);
	ck_assert_int_eq(calls, 1);
	ck_assert_ptr_null(registry_loaded("good"));
	ck_assert_int_eq(par_show_backend("gooood", show_one, &calls, &error), PAR_ENOTFOUND);
	ck_assert_int_eq(calls, 1);
}
END_TEST

/* --- a program of its own, to be watched --------------------------------------------------- */

static int32_t ignore_one(void *user, const par_backend_info *info)
{
	(void)user, (void)info;
	return 0;
}

/* Uses one backend and lists all, and only then asks for the one in [lazy]; the file
 * "asked" in the trace stands between. */
static int use_lazy_last(const char *conf, const char *asked)
{
	const struct provider *provider;

	if (par_configure(conf, NULL) < 0 || registry_find("good", &provider, NULL) < 0 ||
	    par_each_backend(ignore_one, NULL, NULL) < 0)
		return EXIT_FAILURE;
	(void)access(asked, F_OK);
	return registry_find("slow", &provider, NULL) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

START_TEST(a_lazy_file_is_not_opened_before_its_name_is_asked_for)
{
	char command[1500], *trace, *asked, *lazy;
	size_t n;

	/* The leak checker cannot work while somebody else traces. */
	setenv("ASAN_OPTIONS", "detect_leaks=0", 1);
	setenv("PARLOOP_LOG", "none", 1);
	if (system("strace -o /dev/null true 2>/dev/null") != 0) {
		fprintf(stderr, "SKIPPED: no strace to watch that [lazy] is not opened\n");
		return;
	}
	ck_assert_int_eq(mkdir(scratch_path("lazily"), 0755), 0);
	scratch_copy(PLUGIN("good"), "good.so");
	scratch_copy(PLUGIN("slow"), "lazily/slow.so");
	configure("[lazy]\nslow = lazily/slow.so\n[backend slow]\n");
	(void)snprintf(command, sizeof(command), "strace -f -e trace=file -o %s %s %s %s",
	               scratch_path("trace"), self, scratch_path("plugins.conf"),
	               scratch_path("asked"));
	ck_assert_int_eq(system(command), 0);
	trace = scratch_read(scratch_path("trace"), &n);
	trace[n] = '\0';
	asked = strstr(trace, "/asked\"");
	lazy = strstr(trace, "lazily/slow.so");
	ck_assert(strstr(trace, "/good.so") != NULL && asked != NULL && lazy != NULL);
	ck_assert_msg(lazy > asked, "%.200s", lazy);
	free(trace);
}
END_TEST

int main(int argc, char **argv)
{
	Suite *suite;
	TCase *tests;
	SRunner *runner;
	int failed;

	if (argc == 3)
		return use_lazy_last(argv[1], argv[2]);
	suite = suite_create("registry");
	tests = tcase_create("registry");
	runner = srunner_create(suite);
	self = argv[0];
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, finds_a_file_that_was_just_dropped);
	tcase_add_test(tests, an_unknown_name_lists_what_exists_and_the_nearest);
	tcase_add_test(tests, a_name_that_cannot_be_one_is_escaped);
	tcase_add_test(tests, each_has_a_second_name_for_every_level);
	tcase_add_test(tests, of_a_second_name_that_is_unknown_the_nearest_is_said);
	tcase_add_test(tests, a_known_backend_says_how_to_get_it);
	tcase_add_test(tests, a_lazy_file_must_have_the_name);
	tcase_add_test(tests, a_path_wins_over_dropped_files);
	tcase_add_test(tests, of_two_files_the_first_wins_and_the_other_is_told_once);
	tcase_add_test(tests, a_broken_file_is_told_only_to_who_asks_for_it);
	tcase_add_test(tests, a_failure_is_remembered_until_the_file_changes);
	tcase_add_test(tests, a_file_that_anybody_may_write_is_not_run);
	tcase_add_test(tests, who_else_could_change_a_file_is_told_once);
	tcase_add_test(tests, threads_that_race_load_it_once);
	tcase_add_test(tests, a_lazy_file_is_not_opened_before_its_name_is_asked_for);
	tcase_add_test(tests, options_merge_defaults_configuration_and_call);
	tcase_add_test(tests, a_lazy_backends_options_are_checked_when_it_is_asked_for);
	tcase_add_test(tests, configuring_comes_first);
	tcase_add_test(tests, every_backend_is_listed_with_its_state);
	tcase_add_test(tests, what_could_not_be_loaded_is_listed_as_broken);
	tcase_add_test(tests, a_lazy_backend_is_listed_as_loaded_once_it_is);
	tcase_add_test(tests, a_backend_is_shown_without_running_it_and_without_secrets);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
