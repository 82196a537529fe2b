#include "scratch.h"

#include "conf.h"

#include <ini.h>

static par_error error = PAR_ERROR_INIT;

static struct conf *conf;

static int32_t read_text(const char *text)
{
	return conf_read(&conf, scratch_write("plugins.conf", text, strlen(text)), &error);
}

/* what begins with the file and line. */
static void refuses(const char *text, int line, const char *part)
{
	char start[40], whole[1200];

	(void)snprintf(start, sizeof(start), "plugins.conf:%d: ", line);
	ck_assert_msg(read_text(text) == PAR_ECONFIG, "%s", text);
	ck_assert_int_eq(error.code, PAR_ECONFIG);
	ck_assert_msg(strncmp(error.what, start, strlen(start)) == 0, "%s: %s", text, error.what);
	ck_assert_str_ne(error.file, "");
	assert_contains(par_error_text(&error, 0, whole, sizeof(whole)), part);
}

START_TEST(without_a_file_the_built_in_settings_serve)
{
	ck_assert_int_eq(conf_read(&conf, NULL, &error), PAR_OK);
	ck_assert_ptr_null(conf->file);
	ck_assert_str_eq(conf->default_backend, "threading");
	ck_assert_str_eq(conf->plugin_dirs[0], PAR_PLUGINS);
	ck_assert_int_eq(conf->n_jobs.set, 0);
	conf_destroy(conf);
	conf_destroy(NULL);
}
END_TEST

START_TEST(reads_every_setting)
{
	ck_assert_int_eq(read_text("# all\n[parloop]\ndefault = sequential\nn_jobs = -2\n"
	                           "pre_dispatch = 3 * n_jobs\nbatch_size = 7\ntimeout = 2.5\n"
	                           "verbose = 11\nbatch_shortest = 200us\nbatch_longest = 2ms\n"
	                           "plugin_dir = .\nplugin_dir = /\n; more\n[lazy]\n"
				   "mpi = mpi.so\n[backend unheard]\nx = 1\ny =\n"),
			 PAR_OK);
	ck_assert_str_eq(conf->default_backend, "sequential");
	ck_assert(conf->n_jobs.set && conf->n_jobs.value == -2);
	ck_assert_str_eq(conf->pre_dispatch, "3 * n_jobs");
	ck_assert(conf->batch_size.set && conf->batch_size.value == 7);
	ck_assert(conf->timeout.set && conf->timeout.value == 2.5);
	ck_assert(conf->verbose.set && conf->verbose.value == 11);
	ck_assert_int_eq(conf->batch_shortest_ns, 200000);
	ck_assert_int_eq(conf->batch_longest_ns, 2000000);
	ck_assert_str_eq(conf->plugin_dirs[0], scratch_dir);
	ck_assert_str_eq(conf->plugin_dirs[1], "/");
	ck_assert_str_eq(conf->plugin_dirs[2], PAR_PLUGINS);
	ck_assert_ptr_null(conf->plugin_dirs[3]);
	ck_assert_int_eq(conf_find_lazy(conf, "mpi")->line, 15);
	ck_assert_uint_eq(conf_find_backend(conf, "unheard")->n_options, 2);
	ck_assert_str_eq(conf_find_backend(conf, "unheard")->options[1].value, "");
	conf_destroy(conf);
}
END_TEST

START_TEST(reads_deadlines_and_retries)
{
	ck_assert_int_eq(read_text("[parloop]\ntask_timeout = 0.25\ncall_timeout = 3e2\n"
	                           "close_timeout = 500ms\nretries = 3\n"),
	                 PAR_OK);
	ck_assert(conf->task_timeout.set && conf->task_timeout.value == 0.25);
	ck_assert(conf->call_timeout.set && conf->call_timeout.value == 300);
	ck_assert(conf->close_timeout.set && conf->close_timeout.value == 0.5);
	ck_assert(conf->retries.set && conf->retries.value == 3);
	ck_assert_int_eq(conf->timeout.set, 0);
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[parloop]\nretries = 0\ntimeout = 2ms\n"), PAR_OK);
	ck_assert(conf->retries.set && conf->retries.value == 0);
	ck_assert(conf->timeout.set && conf->timeout.value == 0.002);
	ck_assert_int_eq(conf->task_timeout.set, 0);
	ck_assert_int_eq(conf->call_timeout.set, 0);
	ck_assert_int_eq(conf->close_timeout.set, 0);
	conf_destroy(conf);
}
END_TEST

START_TEST(the_default_may_be_one_for_every_level)
{
	ck_assert_int_eq(read_text("[parloop]\ndefault = nested-loky\n"), PAR_OK);
	ck_assert_str_eq(conf->default_backend, "nested-loky");
	conf_destroy(conf);
	refuses("[parloop]\ndefault = nested-\n", 2, "\"nested-\" is not a backend's name");
	refuses("[parloop]\ndefault = nested-nested-loky\n", 2, "is not a backend's name");
	refuses("[parloop]\n[backend nested-loky]\noutput = pass\n", 2,
	        "write [backend loky], which holds for both");
	refuses("[lazy]\nnested-mpi = mpi.so\n", 2, "write mpi = FILE, which holds for both");
	refuses("[backend nested-Upper]\n", 1, "a backend's name is");
}
END_TEST

START_TEST(the_checkouts_own_file_is_right)
{
	ck_assert_msg(conf_read(&conf, PAR_CHECKOUT "/plugins.conf", &error) == PAR_OK, "%s %s",
	              error.what, error.reason);
	ck_assert_str_eq(conf->default_backend, "threading");
	conf_destroy(conf);
	ck_assert_ptr_null(strstr(scratch_log, "plugins.conf"));
}
END_TEST

START_TEST(takes_files_as_editors_leave_them)
{
	ck_assert_int_eq(read_text("\xef\xbb\xbf[parloop]\r\n\r\n  n_jobs=3\r\n\tverbose : 1"),
			 PAR_OK);
	ck_assert_int_eq(conf->n_jobs.value, 3);
	ck_assert_int_eq(conf->verbose.value, 1);
	conf_destroy(conf);
	ck_assert_int_eq(read_text(""), PAR_OK);
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[ parloop ] # a comment\nbatch_size = auto"), PAR_OK);
	ck_assert_int_eq(conf->batch_size.value, PAR_AUTO);
	conf_destroy(conf);
}
END_TEST

START_TEST(a_value_may_be_long_and_have_semicolons)
{
	char text[3000] = "[lazy]\nlong = /";
	size_t used = strlen(text);

	memset(text + used, 'x', 2000);
	(void)strcpy(text + used + 2000, " ; no comment\nnext = after.so\n");
	ck_assert_int_eq(read_text(text), PAR_OK);
	ck_assert_uint_eq(strlen(conf->lazy[0].file), 2001 + strlen(" ; no comment"));
	ck_assert_int_eq(conf->lazy[1].line, 3);
	conf_destroy(conf);
	ck_assert_int_eq(ini_max_line, INI_MAX_LINE);
	ck_assert_int_eq(ini_allow_inline_comments, INI_ALLOW_INLINE_COMMENTS);
}
END_TEST

START_TEST(refuses_unknown_sections_and_keys_with_the_nearest)
{
	refuses("\n[parlop]\nn_jobs = 1\n", 2, "did you mean [parloop]?");
	refuses("[threading]\n", 1, "write [backend threading]");
	refuses("[parloop]\n\nn_job = 1\n", 3, "unknown key \"n_job\" in [parloop]");
	ck_assert_str_eq(error.remedy, "did you mean \"n_jobs\"?");
	refuses("n_jobs = 1\n[parloop]\n", 1, "before any section");
	refuses("[backend Bad/Name]\n", 1, "a backend's name is");
	refuses("[backend]\n", 1, "a backend's name is");
	refuses("[lazy]\n../x = y.so\n", 2, "a backend's name is");
}
END_TEST

START_TEST(reads_what_is_shared)
{
	ck_assert_int_eq(read_text("[parloop]\nmax_nbytes = 64k\nmmap_mode = w+\n"), PAR_OK);
	ck_assert(conf->max_nbytes.set && conf->max_nbytes.value == 65536);
	ck_assert_str_eq(conf->mmap_mode, "w+");
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[parloop]\nmax_nbytes = 0\n"), PAR_OK);
	ck_assert(conf->max_nbytes.set && conf->max_nbytes.value == 0);
	ck_assert_ptr_null(conf->mmap_mode);
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[parloop]\nmax_nbytes = none\n"), PAR_OK);
	ck_assert(conf->max_nbytes.set && conf->max_nbytes.value == -1);
	conf_destroy(conf);
}
END_TEST

START_TEST(oversubscribe_is_yes_or_no)
{
	ck_assert_int_eq(read_text("[parloop]\noversubscribe = yes\n"), PAR_OK);
	ck_assert(conf->oversubscribe.set && conf->oversubscribe.value == 1);
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[parloop]\noversubscribe = no\n"), PAR_OK);
	ck_assert(conf->oversubscribe.set && conf->oversubscribe.value == 0);
	conf_destroy(conf);
	refuses("[parloop]\noversubscribe = 1\n", 2, "is not yes or no");
}
END_TEST

START_TEST(refuses_to_share_in_ways_that_mean_nothing)
{
	static const char *const sizes[] = {"-1", "", "None", "1.5M", "much", "9223372036854775808", "9T T"};
	static const char *const modes[] = {"", "w", "r+ ;", "rw", "none"};
	char text[100];

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		(void)snprintf(text, sizeof(text), "[parloop]\nmax_nbytes = %s\n", sizes[i]);
		refuses(text, 2, "is not a size such as 1M, or none");
	}
	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		(void)snprintf(text, sizeof(text), "[parloop]\nmmap_mode = %s\n", modes[i]);
		refuses(text, 2, "is not r, r+, w+ or c");
	}
	assert_contains(error.what, "mmap_mode in [parloop]");
}
END_TEST

START_TEST(refuses_values_of_wrong_type_or_range)
{
	refuses("[parloop]\nn_jobs = 0\n", 2, "0 has no meaning");
	refuses("[parloop]\nn_jobs = many\n", 2, "\"many\" is not a whole number");
	refuses("[parloop]\nn_jobs = 2 ; two\n", 2, "a comment needs a line of its own");
	refuses("[parloop]\nbatch_size = 0\n", 2, "auto or a whole number from 1");
	refuses("[parloop]\nbatch_size = -1\n", 2, "auto or a whole number from 1");
	refuses("[parloop]\ntimeout = 0\n", 2, "seconds above 0");
	refuses("[parloop]\ntimeout = nan\n", 2, "seconds above 0");
	refuses("[parloop]\ntimeout = soon\n", 2, "seconds above 0");
	refuses("[parloop]\nverbose = -1\n", 2, "from 0");
	refuses("[parloop]\ndefault = Not A Name\n", 2, "a backend's name");
	refuses("[parloop]\nbatch_longest = 2\n", 2, "a time with its unit");
	refuses("[parloop]\nbatch_longest = 1ms\nbatch_shortest = 2ms\n", 3, "longer than");
	refuses("[parloop]\npre_dispatch =\n", 2, "arithmetic");
	refuses("[lazy]\nmpi =\n", 2, "stands the file");
	refuses("[lazy]\nmpi = $ORIGIN/mpi.so\n", 2, "without \"$\"");
	scratch_write("file", "x", 1);
	refuses("[parloop]\nplugin_dir = file\n", 2, "is not a directory");
}
END_TEST

START_TEST(refuses_deadlines_and_retries_that_are_none)
{
	static const char *const keys[] = {"timeout", "task_timeout", "call_timeout", "close_timeout"};
	static const char *const values[] = {"-1", "0.0", "nan", "inf", "1e9", "soon", "0ms", "1 s", ""};
	char text[100], part[100];

	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		for (size_t j = 0; j < sizeof(values) / sizeof(values[0]); j++) {
			(void)snprintf(text, sizeof(text), "[parloop]\n\n%s = %s\n", keys[i], values[j]);
			(void)snprintf(part, sizeof(part), "\"%s\" is not a number of seconds %s 0",
			               values[j], i == 3 ? "from" : "above");
			refuses(text, 3, part);
			assert_contains(error.what, keys[i]);
		}
	refuses("[parloop]\ntimeout = 0\n", 2, "is not a number of seconds above 0");
	refuses("[parloop]\nretries = -1\n", 2, "\"-1\" is not a whole number from 0 to 1000");
	refuses("[parloop]\nretries = 1001\n", 2, "from 0 to 1000");
	refuses("[parloop]\nretries = 1.5\n", 2, "from 0 to 1000");
	refuses("[parloop]\nretries = twice\n", 2, "from 0 to 1000");
	refuses("[parloop]\nretry = 1\n", 2, "did you mean \"retries\"?");
	refuses("[parloop]\ntask_time = 1\n", 2, "did you mean \"task_timeout\"?");
	refuses("[parloop]\nretries = 1\nretries = 2\n", 3, "line 2 already");
	refuses("[parloop]\ncall_timeout = 1\n\ncall_timeout = 2\n", 4, "line 2 already");
}
END_TEST

START_TEST(refuses_what_stands_twice_and_says_where)
{
	refuses("[parloop]\nn_jobs = 1\nn_jobs = 2\n", 3, "line 2 already");
	refuses("[parloop]\n[lazy]\n[parloop]\n", 3, "line 1 already");
	refuses("[backend x]\n[backend x]\n", 2, "[backend x] stands here again");
	refuses("[backend x]\na = 1\nb = 1\na = 1\n", 4, "line 2 already");
	refuses("[lazy]\na = 1\na = 1\n", 3, "line 2 already");
	refuses("[backend good]\npath = a\npath = b\n", 3, "line 2 already");
}
END_TEST

START_TEST(refuses_lines_that_are_none)
{
	char line[5000] = "[parloop]\n";

	refuses("[parloop]\nn_jobs\n", 2, "is neither [section] nor key = value");
	refuses("[parloop\nn_jobs = 1\n", 1, "ends in \"]\"");
	refuses("[parloop] n_jobs = 1\n", 1, "after \"]\" the line ends");
	memset(line + 10, 'x', 4500);
	refuses(line, 2, "longer than 4000 bytes");
	scratch_write("plugins.conf", "[parloop]\nn\0x = 1\n", 19);
	ck_assert_int_eq(conf_read(&conf, scratch_path("plugins.conf"), &error), PAR_ECONFIG);
	assert_contains(error.what, "plugins.conf:2: ");
	assert_contains(error.reason, "NUL byte");
}
END_TEST

START_TEST(tells_every_error_at_once)
{
	refuses("[parloop]\nn_job = 1\nverbose = x\n[what]\n[lazy]\nb = $\n", 2, "(and 3 more)");
	assert_contains(scratch_log, "plugins.conf:3: verbose");
	assert_contains(scratch_log, "plugins.conf:4: unknown section [what]");
	assert_contains(scratch_log, "plugins.conf:6: ");
}
END_TEST

START_TEST(refuses_files_that_are_none)
{
	ck_assert_int_eq(mkfifo(scratch_path("fifo"), 0600), 0);
	ck_assert_int_eq(conf_read(&conf, scratch_path("missing"), &error), PAR_ECONFIG);
	assert_contains(error.reason, "No such file");
	ck_assert_str_eq(error.file, scratch_path("missing"));
	ck_assert_int_eq(conf_read(&conf, scratch_path("fifo"), &error), PAR_ECONFIG);
	assert_contains(error.reason, "not a regular file");
	ck_assert_int_eq(conf_read(&conf, scratch_dir, &error), PAR_ECONFIG);
	assert_contains(error.reason, "is a directory");
	scratch_write("secret", "", 0);
	ck_assert_int_eq(chmod(scratch_path("secret"), 0), 0);
	ck_assert_int_eq(chmod(scratch_dir, 0755), 0);
	if (geteuid() == 0)
		ck_assert_int_eq(seteuid(65534), 0);
	ck_assert_int_eq(conf_read(&conf, scratch_path("secret"), &error), PAR_ECONFIG);
	assert_contains(error.reason, "Permission denied");
	ck_assert_int_eq(seteuid(getuid()), 0);
}
END_TEST

START_TEST(a_file_that_anybody_may_write_is_not_used)
{
	scratch_write("plugins.conf", "[parloop]\n", 10);
	ck_assert_int_eq(chmod(scratch_path("plugins.conf"), 0666), 0);
	ck_assert_int_eq(conf_read(&conf, scratch_path("plugins.conf"), &error), PAR_ECONFIG);
	ck_assert_int_eq(error.code, PAR_ECONFIG);
	ck_assert_str_eq(error.what, "cannot use the configuration");
	ck_assert_str_eq(error.reason, "may be written by everybody");
	ck_assert_int_eq(setenv("PARLOOP_ALLOW_WORLD_WRITABLE", "yes", 1), 0);
	ck_assert_int_eq(conf_read(&conf, scratch_path("plugins.conf"), &error), PAR_OK);
	conf_destroy(conf);
}
END_TEST

/* --- paths and options, checked against notes ---------------------------------------------- */

START_TEST(a_path_is_relative_to_the_file_and_checked)
{
	scratch_copy(PLUGIN("good"), "mine.so");
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(read_text("[backend good]\npath = mine.so\ncount = 4\n"), PAR_OK);
	ck_assert_str_eq(conf->backends[0].path, scratch_path("mine.so"));
	ck_assert_uint_eq(conf->backends[0].n_options, 1);
	conf_destroy(conf);
	refuses("[backend good]\n\npath = absent.so\n", 3, "No such file");
	ck_assert_str_eq(error.file, scratch_path("absent.so"));
	refuses("[backend better]\npath = mine.so\n", 2, "it offers \"good\", not \"better\"");
	refuses("[backend good]\npath = plugins.conf\n", 2, "not an ELF file");
	refuses("[backend good]\npath = .\n", 2, "is a directory");
	refuses("[backend good]\npath = $ORIGIN/mine.so\n", 2, "has a \"$\"");
}
END_TEST

START_TEST(options_are_checked_against_the_note_with_their_lines)
{
	scratch_copy(PLUGIN("good"), "good.so");
	refuses("[parloop]\nplugin_dir = .\n[backend good]\ncoumt = 1\n", 4,
	        "did you mean \"count\"?");
	refuses("[parloop]\nplugin_dir = .\n[backend good]\ncount = 1\nmode = x\n", 5,
	        "x is not in slow|fast");
	refuses("[backend good]\npath = good.so\ncount = 99\npause = 5\n", 3, "(and 1 more)");
	assert_contains(scratch_log, "plugins.conf:4: [backend good] option \"pause\"");
}
END_TEST

START_TEST(a_section_for_what_is_not_installed_does_no_harm)
{
	scratch_copy(PLUGIN("good"), "good.so");
	ck_assert_int_eq(read_text("[parloop]\nplugin_dir = .\n[backend absent]\nx = 1\n"), PAR_OK);
	ck_assert_ptr_null(strstr(scratch_log, "\"absent\""));
	conf_destroy(conf);
	ck_assert_int_eq(read_text("[parloop]\nplugin_dir = .\n[backend godo]\nx = 1\n"), PAR_OK);
	assert_contains(scratch_log, "did you mean \"good\"?");
	conf_destroy(conf);
}
END_TEST

/* --- which file ---------------------------------------------------------------------------- */

START_TEST(the_environment_names_the_file_then_the_user_then_the_checkout)
{
	scratch_write("named.conf", "[parloop]\ndefault = named\n", 26);
	ck_assert_int_eq(mkdir(scratch_path("parloop"), 0755), 0);
	scratch_write("parloop/plugins.conf", "[parloop]\ndefault = users\n", 26);
	ck_assert_int_eq(setenv("PARLOOP_CONF", scratch_path("named.conf"), 1), 0);
	ck_assert_str_eq(conf_get(&error)->default_backend, "named");
}
END_TEST

START_TEST(the_users_file_comes_before_the_checkouts)
{
	ck_assert_int_eq(mkdir(scratch_path("parloop"), 0755), 0);
	scratch_write("parloop/plugins.conf", "[parloop]\ndefault = users\n", 26);
	ck_assert_str_eq(conf_get(&error)->default_backend, "users");
	ck_assert_str_eq(conf_file(), scratch_path("parloop/plugins.conf"));
	ck_assert_ptr_eq(conf_get(&error), conf_get(&error));
}
END_TEST

START_TEST(one_in_the_current_directory_is_not_read)
{
	scratch_write("plugins.conf", "[parloop]\ndefault = lurking\n", 28);
	ck_assert_int_eq(chdir(scratch_dir), 0);
	ck_assert_str_eq(conf_get(&error)->default_backend, "threading");
	ck_assert_str_eq(conf_file(), PAR_CHECKOUT "/plugins.conf");
}
END_TEST

START_TEST(a_named_file_must_exist_and_a_wrong_one_is_read_again)
{
	ck_assert_int_eq(setenv("PARLOOP_CONF", scratch_path("named.conf"), 1), 0);
	ck_assert_ptr_null(conf_get(&error));
	ck_assert_int_eq(error.code, PAR_ECONFIG);
	ck_assert_str_eq(conf_file(), scratch_path("named.conf"));
	scratch_write("named.conf", "[parloop]\ndefault = named\n", 26);
	ck_assert_str_eq(conf_get(&error)->default_backend, "named");
}
END_TEST

START_TEST(the_environment_adds_plugin_directories_in_front)
{
	char both[600];

	(void)snprintf(both, sizeof(both), "%s::/usr", scratch_dir);
	ck_assert_int_eq(setenv("PARLOOP_PLUGIN_DIR", both, 1), 0);
	ck_assert_int_eq(conf_read(&conf, NULL, &error), PAR_OK);
	ck_assert_str_eq(conf->plugin_dirs[0], scratch_dir);
	ck_assert_str_eq(conf->plugin_dirs[1], "/usr");
	ck_assert_str_eq(conf->plugin_dirs[2], PAR_PLUGINS);
	conf_destroy(conf);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("conf");
	TCase *tests = tcase_create("conf");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, scratch_begin, scratch_end);
	tcase_add_test(tests, without_a_file_the_built_in_settings_serve);
	tcase_add_test(tests, reads_every_setting);
	tcase_add_test(tests, reads_deadlines_and_retries);
	tcase_add_test(tests, the_default_may_be_one_for_every_level);
	tcase_add_test(tests, the_checkouts_own_file_is_right);
	tcase_add_test(tests, takes_files_as_editors_leave_them);
	tcase_add_test(tests, a_value_may_be_long_and_have_semicolons);
	tcase_add_test(tests, refuses_unknown_sections_and_keys_with_the_nearest);
	tcase_add_test(tests, reads_what_is_shared);
	tcase_add_test(tests, oversubscribe_is_yes_or_no);
	tcase_add_test(tests, refuses_to_share_in_ways_that_mean_nothing);
	tcase_add_test(tests, refuses_values_of_wrong_type_or_range);
	tcase_add_test(tests, refuses_deadlines_and_retries_that_are_none);
	tcase_add_test(tests, refuses_what_stands_twice_and_says_where);
	tcase_add_test(tests, refuses_lines_that_are_none);
	tcase_add_test(tests, tells_every_error_at_once);
	tcase_add_test(tests, refuses_files_that_are_none);
	tcase_add_test(tests, a_file_that_anybody_may_write_is_not_used);
	tcase_add_test(tests, a_path_is_relative_to_the_file_and_checked);
	tcase_add_test(tests, options_are_checked_against_the_note_with_their_lines);
	tcase_add_test(tests, a_section_for_what_is_not_installed_does_no_harm);
	tcase_add_test(tests, the_environment_names_the_file_then_the_user_then_the_checkout);
	tcase_add_test(tests, the_users_file_comes_before_the_checkouts);
	tcase_add_test(tests, one_in_the_current_directory_is_not_read);
	tcase_add_test(tests, a_named_file_must_exist_and_a_wrong_one_is_read_again);
	tcase_add_test(tests, the_environment_adds_plugin_directories_in_front);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
