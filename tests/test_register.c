#include "scratch.h"

#include "own_backend.h"
#include "registry.h"

static par_error error = PAR_ERROR_INIT;

static void begin(void)
{
	scratch_begin();
	ck_assert_int_eq(par_configure(NULL, &error), PAR_OK);
}

static void configure(const char *lines)
{
	scratch_write("plugins.conf", lines, strlen(lines));
	ck_assert_int_eq(par_configure(scratch_path("plugins.conf"), &error), PAR_OK);
}

static int32_t register_own(const char *name, int32_t make_default)
{
	return par_register_backend(name, own_factory, OWN_NOTE, make_default, &error);
}

#define ON(name) PAR_SETTINGS(.backend = (name), .n_jobs = PAR_SET(2))

/* --- factories ----------------------------------------------------------------------------- */

START_TEST(b07_a_registered_backend_can_be_named_at_once)
{
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_ENOTFOUND);
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_str_eq(par_default_backend(), "threading");
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_gt(own.batches, 0);
	ck_assert_int_eq(own.factory_calls, 1);
}
END_TEST

START_TEST(b07_make_default_changes_the_default_until_it_is_restored)
{
	ck_assert_int_eq(register_own("custom", 1), PAR_OK);
	ck_assert_str_eq(par_default_backend(), "custom");
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_int_eq(own.creates, 1);
	ck_assert_int_eq(par_set_default(NULL, &error), PAR_OK);
	ck_assert_str_eq(par_default_backend(), "threading");
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_int_eq(own.creates, 1);
}
END_TEST

START_TEST(without_a_note_it_shares_memory_and_has_no_options)
{
	const char *const options[] = {"endpoint=here", NULL};
	const struct provider *provider;

	ck_assert_int_eq(par_register_backend("plain", own_factory, NULL, 0, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("plain"), &error), PAR_OK);
	ck_assert_int_gt(own.batches, 0);
	ck_assert_int_eq(registry_find("plain", &provider, &error), PAR_OK);
	ck_assert_uint_eq(provider->capabilities, PAR_SHARES_MEMORY);
	ck_assert_ptr_null(provider->file);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "plain", .options = options), &error),
	                 PAR_ECONFIG);
	assert_contains(error.what, "unknown option \"endpoint\"");
}
END_TEST

START_TEST(a_note_may_be_whole)
{
	ck_assert_int_eq(par_register_backend("custom", own_factory,
	                                      PAR__NOTE PAR_VERSION("2.5") PAR_BACKEND("custom", "mine")
	                                      PAR_CAPABILITIES("shares_memory"), 0, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("other", own_factory, PAR_BACKEND("custom", "mine"), 0,
	                                      &error), PAR_EINVAL);
	assert_contains(error.what, "cannot register backend \"other\"");
	assert_contains(error.reason, "its note describes \"custom\", not \"other\"");
	ck_assert_int_eq(par_register_backend("other", own_factory, "abi 9.0\nbackend other x\n", 0,
	                                      &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "needs ABI 9.0");
}
END_TEST

START_TEST(names_that_cannot_be_are_refused)
{
	static const char *const names[] = {"Upper", "", "a b", "../x", "new\nline", NULL};

	for (size_t i = 0; i == 0 || names[i - 1] != NULL; i++) {
		ck_assert_int_eq(register_own(names[i], 0), PAR_EINVAL);
		assert_contains(error.reason, "a backend's name is");
		ck_assert_ptr_null(strchr(error.what, '\n'));
	}
	ck_assert_int_eq(register_own("nested-custom", 0), PAR_EINVAL);
	assert_contains(error.reason, "nested- are the core's own");
	ck_assert_int_eq(par_register_external("nested-custom", NULL, NULL, &error), PAR_EINVAL);
	ck_assert_int_eq(par_register_backend("custom", NULL, NULL, 0, &error), PAR_EINVAL);
	assert_contains(error.reason, "no function");
}
END_TEST

START_TEST(it_comes_before_plugins_of_the_same_name)
{
	ck_assert_int_eq(own_squares(ON("sequential"), &error), PAR_OK);
	ck_assert_int_eq(own.batches, 0);
	ck_assert_int_eq(register_own("sequential", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("sequential"), &error), PAR_OK);
	ck_assert_int_gt(own.batches, 0);
}
END_TEST

static const par_backend_ops *no_factory(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return NULL;
}

static const par_backend_ops *bad_factory(const par_host *host, const char *name)
{
	static const par_backend_ops ops = {.size = sizeof(ops), .abi = PAR_ABI, .create = own_create};

	(void)host, (void)name;
	return &ops;
}

START_TEST(what_a_factory_returns_is_checked_and_can_be_replaced)
{
	ck_assert_int_eq(par_register_backend("custom", no_factory, NULL, 0, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "cannot load backend \"custom\"");
	assert_contains(error.reason, "answers NULL");
	ck_assert_str_eq(error.file, "");
	ck_assert_int_eq(par_register_backend("custom", bad_factory, NULL, 0, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_EUNAVAIL);
	assert_contains(error.reason, "has no destroy");
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
}
END_TEST

START_TEST(its_section_is_checked_when_the_name_is_asked_for)
{
	configure("[backend custom]\nendpoint = here\n[backend other]\nendpint = here\n");
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_ENOTFOUND);
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "here");
	ck_assert_int_eq(register_own("other", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("other"), &error), PAR_ECONFIG);
	assert_contains(error.what, "plugins.conf:4: [backend other] unknown option \"endpint\"");
}
END_TEST

START_TEST(b110_its_nested_name_is_there_at_once_and_follows_it)
{
	const struct provider *first, *second;

	ck_assert_int_eq(own_squares(ON("nested-custom"), &error), PAR_ENOTFOUND);
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("nested-custom"), &error), PAR_OK);
	ck_assert_int_gt(own.batches, 0);
	ck_assert_int_eq(own.call.is_nested, 1);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_eq(own.call.is_nested, 0);
	ck_assert_int_eq(own.factory_calls, 1);
	ck_assert_int_eq(registry_find("nested-custom", &first, &error), PAR_OK);
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(registry_find("nested-custom", &second, &error), PAR_OK);
	ck_assert_ptr_ne(second, first);
	ck_assert_int_eq(own.factory_calls, 2);
}
END_TEST

START_TEST(its_section_and_options_are_its_nested_names_too)
{
	const char *const wrong[] = {"endpint=there", NULL}, *const right[] = {"endpoint=there", NULL};

	configure("[backend custom]\nendpoint = here\n");
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(own_squares(ON("nested-custom"), &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "here");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "nested-custom", .options = right), &error),
	                 PAR_OK);
	ck_assert_str_eq(own.endpoint, "there");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "nested-custom", .options = wrong), &error),
	                 PAR_ECONFIG);
	assert_contains(error.what, "backend \"nested-custom\": unknown option \"endpint\"");
}
END_TEST

/* --- loaders ------------------------------------------------------------------------------- */

static _Atomic int loader_calls;

static int32_t load_custom(const char *name, par_error *why)
{
	loader_calls++;
	return par_register_backend(name, own_factory, OWN_NOTE, 0, why);
}

START_TEST(b12_a_loader_is_run_at_the_first_use_in_a_context)
{
	par_context *context;

	ck_assert_int_eq(par_register_external("custom", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 0);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custom"), &context, &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 1);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_int_gt(own.batches, 0);
	ck_assert_int_eq(par_context_pop(context, &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 1);
}
END_TEST

START_TEST(b12_and_from_every_other_entry_point)
{
	ck_assert_int_eq(par_register_external("one", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_external("two", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_external("three", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("one"), &error), PAR_OK);
	ck_assert_int_eq(par_effective_n_jobs("two", 3, &error), 3);
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = "three"), &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 3);
}
END_TEST

START_TEST(b12_a_loader_is_run_for_the_nested_name_as_well)
{
	ck_assert_int_eq(par_register_external("custom", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("nested-custom"), &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 1);
}
END_TEST

START_TEST(what_is_registered_already_needs_no_loader)
{
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(par_register_external("custom", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 0);
}
END_TEST

static int32_t load_nothing(const char *name, par_error *why)
{
	(void)name, (void)why;
	loader_calls++;
	return PAR_OK;
}

START_TEST(a_loader_that_registers_nothing_is_told_of)
{
	ck_assert_int_eq(par_register_external("custom", load_nothing, "install it", &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "cannot load backend \"custom\"");
	ck_assert_str_eq(error.reason, "its loader returned without having registered it");
	ck_assert_str_eq(error.remedy, "install it");
}
END_TEST

static int32_t load_not(const char *name, par_error *why)
{
	(void)name;
	if (loader_calls++ == 0)
		return par_fail(why, PAR_EUNAVAIL, "no libcustom.so.1");
	return load_custom(name, why);
}

START_TEST(b25_what_is_not_installed_says_how_to_install_it)
{
	const char *hint = "apt-get install libcustom1";

	ck_assert_int_eq(par_register_external("custom", load_not, hint, &error), PAR_OK);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custom"), NULL, &error),
	                 PAR_EUNAVAIL);
	ck_assert_str_eq(error.reason, "no libcustom.so.1");
	ck_assert_str_eq(error.remedy, hint);
	ck_assert_int_eq(par_context_pop(NULL, &error), PAR_EINVAL);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
}
END_TEST

static int32_t load_by_using(const char *name, par_error *why)
{
	int32_t code = own_squares(ON(name), why);

	loader_calls++;
	ck_assert_int_eq(code, PAR_EUNAVAIL);
	assert_contains(why->reason, "asks for it itself");
	return par_register_backend(name, own_factory, OWN_NOTE, 0, why);
}

START_TEST(a_loader_that_uses_its_own_name_is_refused_that)
{
	ck_assert_int_eq(par_register_external("custom", load_by_using, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custom"), &error), PAR_OK);
	ck_assert_int_eq(loader_calls, 1);
}
END_TEST

static pthread_barrier_t both;

static int32_t load_by_the_other(const char *name, par_error *why)
{
	const struct provider *provider;

	pthread_barrier_wait(&both);
	(void)registry_find(name[0] == 'a' ? "b" : "a", &provider, why);
	return par_register_backend(name, own_factory, OWN_NOTE, 0, why);
}

static void *find_in_thread(void *name)
{
	const struct provider *provider;

	ck_assert_int_eq(registry_find(name, &provider, NULL), PAR_OK);
	return NULL;
}

START_TEST(two_loaders_that_wait_for_one_another_do_not_hang)
{
	pthread_t thread;

	pthread_barrier_init(&both, NULL, 2);
	ck_assert_int_eq(par_register_external("a", load_by_the_other, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_external("b", load_by_the_other, NULL, &error), PAR_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, find_in_thread, (void *)"a"), 0);
	find_in_thread((void *)"b");
	pthread_join(thread, NULL);
	pthread_barrier_destroy(&both);
}
END_TEST

static pthread_barrier_t start;

static void *race(void *unused)
{
	(void)unused;
	pthread_barrier_wait(&start);
	ck_assert_int_eq(par_effective_n_jobs("custom", 2, NULL), 2);
	return NULL;
}

START_TEST(concurrent_first_uses_wait_for_one_loader)
{
	pthread_t threads[8];

	ck_assert_int_eq(par_register_external("custom", load_custom, NULL, &error), PAR_OK);
	pthread_barrier_init(&start, NULL, 8);
	for (int i = 0; i < 8; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, race, NULL), 0);
	for (int i = 0; i < 8; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&start);
	ck_assert_int_eq(loader_calls, 1);
	ck_assert_int_eq(own.factory_calls, 1);
}
END_TEST

/* --- lists --------------------------------------------------------------------------------- */

static char listed[4000];

static int32_t list_one(void *user, const par_backend_info *info)
{
	size_t used = strlen(listed);

	(void)user;
	(void)snprintf(listed + used, sizeof(listed) - used, "%s:%d:%s:%s:%u:%s\n", info->name,
	               info->state, info->summary, info->capabilities, info->n_options, info->remedy);
	return 0;
}

START_TEST(they_are_listed_and_shown)
{
	configure("[backend custom]\nendpoint = here\n[lazy]\ncustom = nowhere.so\n");
	ck_assert_int_eq(register_own("custom", 1), PAR_OK);
	ck_assert_int_eq(par_register_external("later", load_custom, "install it", &error), PAR_OK);
	ck_assert_int_eq(par_each_backend(list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "custom:4:linked into the program:"
	                        "shares_memory uses_threads limits_threads:2:\n");
	assert_contains(listed, "later:2:::0:install it\n");
	ck_assert_ptr_null(strstr(listed, "custom:2"));
	listed[0] = '\0';
	ck_assert_int_eq(par_show_backend(NULL, list_one, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_show_backend("later", list_one, NULL, &error), PAR_OK);
	ck_assert_int_eq(par_show_backend("nested-custom", list_one, NULL, &error), PAR_OK);
	assert_contains(listed, "\nnested-custom:4:linked into the program:"
	                        "shares_memory uses_threads limits_threads:2:\n");
	ck_assert_int_eq(strncmp(listed, "custom:4:", 9), 0);
	assert_contains(listed, "later:2:");
	ck_assert_int_eq(loader_calls, 0);
}
END_TEST

START_TEST(b06_an_unknown_name_lists_them_too)
{
	ck_assert_int_eq(register_own("custom", 0), PAR_OK);
	ck_assert_int_eq(par_register_external("later", load_custom, NULL, &error), PAR_OK);
	ck_assert_int_eq(own_squares(ON("custon"), &error), PAR_ENOTFOUND);
	assert_contains(error.what, "Invalid backend: custon, expected one of ['custom', ");
	assert_contains(error.what, ", 'later', ");
	ck_assert_str_eq(error.remedy, "did you mean \"custom\"?");
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custon"), NULL, &error),
	                 PAR_ENOTFOUND);
	assert_contains(error.what, "Invalid backend: custon");
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = "custon"), &error), PAR_ENOTFOUND);
	ck_assert_int_eq(par_effective_n_jobs("custon", 2, &error), 0);
	assert_contains(error.what, "Invalid backend: custon");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("register");
	TCase *tests = tcase_create("register");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, b07_a_registered_backend_can_be_named_at_once);
	tcase_add_test(tests, b07_make_default_changes_the_default_until_it_is_restored);
	tcase_add_test(tests, without_a_note_it_shares_memory_and_has_no_options);
	tcase_add_test(tests, a_note_may_be_whole);
	tcase_add_test(tests, names_that_cannot_be_are_refused);
	tcase_add_test(tests, it_comes_before_plugins_of_the_same_name);
	tcase_add_test(tests, what_a_factory_returns_is_checked_and_can_be_replaced);
	tcase_add_test(tests, its_section_is_checked_when_the_name_is_asked_for);
	tcase_add_test(tests, b110_its_nested_name_is_there_at_once_and_follows_it);
	tcase_add_test(tests, its_section_and_options_are_its_nested_names_too);
	tcase_add_test(tests, b12_a_loader_is_run_at_the_first_use_in_a_context);
	tcase_add_test(tests, b12_and_from_every_other_entry_point);
	tcase_add_test(tests, b12_a_loader_is_run_for_the_nested_name_as_well);
	tcase_add_test(tests, what_is_registered_already_needs_no_loader);
	tcase_add_test(tests, a_loader_that_registers_nothing_is_told_of);
	tcase_add_test(tests, b25_what_is_not_installed_says_how_to_install_it);
	tcase_add_test(tests, a_loader_that_uses_its_own_name_is_refused_that);
	tcase_add_test(tests, two_loaders_that_wait_for_one_another_do_not_hang);
	tcase_add_test(tests, concurrent_first_uses_wait_for_one_loader);
	tcase_add_test(tests, they_are_listed_and_shown);
	tcase_add_test(tests, b06_an_unknown_name_lists_them_too);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
