/* Plugins that come, change and go while a program runs.  The program is this one, executed once
 * more: it prints what it is told, and uses the backends that are named on its standard input. */
#include "scratch.h"

#include <poll.h>
#include <semaphore.h>
#include <sys/wait.h>

enum { MOST_MS = 20000 };

static const char *self;
static pid_t program;
static int to, from;
static char said[16384];

/* --- the program ---------------------------------------------------------------------------- */

static int one(const int *in, int *out)
{
	*out = *in + 1;
	return 0;
}
PAR_TASK(one, int, int)

/* Who watches is held up after a warning that it tells, until "go on". */
static sem_t go_on;
static _Atomic int holds;

static void print_log(void *user, int32_t level, const char *line)
{
	char whole[2000];
	int n = snprintf(whole, sizeof(whole), "%d %s\n", level, line);

	(void)user;
	(void)!write(STDOUT_FILENO, whole, (size_t)n);
	if (level == 2 && holds)
		sem_wait(&go_on);
}

static void use(par_parallel *pool, const char *name)
{
	par_error error = PAR_ERROR_INIT;
	int in = 41, out = 0;
	int32_t status = par_map(pool, &par_task_one, &in, &out, 1,
	                         pool != NULL ? NULL : PAR_SETTINGS(.backend = name), &error);

	print_log(NULL, 9, status == PAR_OK && out == 42 ? "used" : error.what);
}

static int run_program(void)
{
	par_parallel *pool = NULL;
	par_error error = PAR_ERROR_INIT;
	char line[200];

	sem_init(&go_on, 0, 0);
	par_set_log(print_log, NULL);
	if (par_open(&pool, NULL, &error) < 0)
		print_log(NULL, 9, error.what);
	print_log(NULL, 9, "runs");
	while (fgets(line, sizeof(line), stdin) != NULL) {
		line[strcspn(line, "\n")] = '\0';
		if (strcmp(line, "hold") == 0) {
			holds = 1;
			print_log(NULL, 9, "holds");
		} else if (strcmp(line, "go on") == 0) {
			holds = 0;
			sem_post(&go_on);
		} else if (strncmp(line, "open ", 5) == 0) {
			par_close(pool);
			pool = NULL;
			print_log(NULL, 9, par_open(&pool, PAR_SETTINGS(.backend = line + 5), &error) == PAR_OK
			                           ? "opened"
			                           : error.what);
		} else {
			use(strcmp(line, "pool") == 0 ? pool : NULL, line);
		}
	}
	par_close(pool);
	return 0;
}

/* --- and who drops files ---------------------------------------------------------------------- */

static void begin(void)
{
	scratch_begin();
	said[0] = '\0';
}

static void start(const char *lines)
{
	int in[2], out[2];
	char text[1000];

	ck_assert_int_eq(mkdir(scratch_path("drop"), 0755), 0);
	(void)snprintf(text, sizeof(text), "[parloop]\nplugin_dir = drop\ndefault = threading\n%s", lines);
	setenv("PARLOOP_CONF", scratch_write("plugins.conf", text, strlen(text)), 1);
	setenv("PARLOOP_PLUGIN_DIR", PAR_PLUGINS, 1);
	ck_assert_int_eq(pipe2(in, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(out, O_CLOEXEC), 0);
	program = fork();
	if (program == 0) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(self, self, "program", (char *)NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	to = in[1];
	from = out[0];
}

static void end(void)
{
	int status;

	close(to);
	ck_assert_int_eq(waitpid(program, &status, 0), program);
	close(from);
	ck_assert_int_eq(status, 0);
	scratch_end();
}

/* More of what the program says. */
static void hear(const char *words)
{
	struct pollfd ready = {.fd = from, .events = POLLIN};
	size_t used = strlen(said);
	ssize_t n;

	ck_assert_msg(poll(&ready, 1, MOST_MS) == 1, "not \"%s\", but \"%s\"", words, said);
	n = read(from, said + used, sizeof(said) - used - 1);
	ck_assert_msg(n > 0, "it ended after \"%s\", without \"%s\"", said, words);
	said[used + (size_t)n] = '\0';
}

static void drop_to(const char *at)
{
	memmove(said, at, strlen(at) + 1);
}

/* Until the program has said that; of what it said before nothing is looked at again. */
static void expect(const char *words)
{
	char *at;

	while ((at = strstr(said, words)) == NULL)
		hear(words);
	drop_to(strchr(at, '\n') != NULL ? strchr(at, '\n') + 1 : said + strlen(said));
}

/* The very next line that it says begins so. */
static void expect_next(const char *words)
{
	char *end;

	while ((end = strchr(said, '\n')) == NULL)
		hear(words);
	ck_assert_msg(strncmp(said, words, strlen(words)) == 0, "not \"%s\", but \"%s\"", words, said);
	drop_to(end + 1);
}

static void tell(const char *line)
{
	ck_assert_int_eq(dprintf(to, "%s\n", line), (int)strlen(line) + 1);
}

START_TEST(who_is_renamed_to_its_place_is_told_of_and_used)
{
	start("watch = yes\n");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/dropped.so");
	expect("1 backend \"good\" is available: ");
	tell("good");
	expect("9 used");
}
END_TEST

START_TEST(who_is_copied_slowly_is_told_of_when_it_is_whole)
{
	size_t n;
	char *bytes = scratch_read(PLUGIN("good"), &n);
	int fd;

	start("watch = yes\n");
	expect("9 runs");
	fd = open(scratch_path("drop/slow.so"), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ck_assert_int_ge(fd, 0);
	for (size_t at = 0, piece; at < n; at += piece) {
		piece = n - at < 4000 ? n - at : 4000;
		ck_assert_int_eq(write(fd, bytes + at, piece), (ssize_t)piece);
		/* Were it told of what there is so far, it would be before this. */
		tell("threading");
		ck_assert_ptr_null(strstr(said, "slow.so"));
		expect("9 used");
	}
	close(fd);
	free(bytes);
	expect("1 backend \"good\" is available: ");
	tell("good");
	expect("9 used");
}
END_TEST

START_TEST(who_is_replaced_stays_until_the_program_is_started_again)
{
	start("watch = yes\n");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	expect("9 runs");
	tell("open good");
	expect("9 opened");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	expect("was replaced; what is loaded stays in use until this program is started again");
	tell("pool");
	expect("9 used");
}
END_TEST

START_TEST(who_is_removed_is_gone_for_others)
{
	start("watch = yes\n");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	expect("1 backend \"good\" is available: ");
	ck_assert_int_eq(unlink(scratch_path("drop/good.so")), 0);
	expect("1 backend \"good\" is gone: ");
	tell("good");
	expect("9 Invalid backend: good");
}
END_TEST

START_TEST(who_is_removed_stays_for_its_users)
{
	start("watch = yes\n");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	tell("open good");
	expect("9 opened");
	ck_assert_int_eq(unlink(scratch_path("drop/good.so")), 0);
	expect("what is loaded stays in use until this program ends");
	tell("pool");
	expect("9 used");
}
END_TEST

/* Who watches is busy with another file meanwhile. */
START_TEST(who_was_used_and_removed_before_it_was_looked_at_is_gone_and_stays)
{
	start("watch = yes\n");
	expect("9 runs");
	tell("hold");
	expect("9 holds");
	scratch_write("drop/text.so", "no plugin", 9);
	expect("text.so cannot be used");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	tell("open good");
	expect("9 opened");
	ck_assert_int_eq(unlink(scratch_path("drop/good.so")), 0);
	tell("go on");
	expect_next("1 backend \"good\" is gone: ");
	tell("pool");
	expect_next("9 used");
}
END_TEST

START_TEST(who_came_and_went_unseen_is_not_worth_a_word)
{
	start("watch = yes\n");
	expect("9 runs");
	tell("hold");
	expect("9 holds");
	scratch_write("drop/text.so", "no plugin", 9);
	expect("text.so cannot be used");
	scratch_copy(PLUGIN("good"), "drop/brief.so");
	ck_assert_int_eq(unlink(scratch_path("drop/brief.so")), 0);
	ck_assert_int_eq(unlink(scratch_path("drop/text.so")), 0);
	scratch_copy(PLUGIN("good"), "drop/good.so");
	tell("go on");
	expect_next("1 backend \"good\" is available: ");
}
END_TEST

START_TEST(a_link_to_nothing_is_told_of)
{
	start("watch = yes\n");
	expect("9 runs");
	ck_assert_int_eq(symlink("nowhere.so", scratch_path("drop/link.so")), 0);
	expect_next("2 ");
}
END_TEST

START_TEST(who_cannot_be_used_is_told_of_with_the_reason)
{
	start("watch = yes\n");
	expect("9 runs");
	scratch_write("drop/notes.txt", "x", 1);
	scratch_write("drop/text.so", "no plugin", 9);
	expect("2 ");
	ck_assert_msg(strstr(said, "notes.txt") == NULL, "%s", said);
	scratch_copy(PLUGIN("no_factory"), "drop/none.so");
	expect("none.so cannot be used");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	expect("1 backend \"good\" is available: ");
}
END_TEST

START_TEST(links_are_plugins_too)
{
	start("watch = yes\n");
	expect("9 runs");
	ck_assert_int_eq(symlink(PLUGIN("good"), scratch_path("drop/link.so")), 0);
	expect("1 backend \"good\" is available: ");
}
END_TEST

START_TEST(a_second_one_of_that_name_is_not_used)
{
	start("watch = yes\n");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/b.so");
	expect("1 backend \"good\" is available: ");
	scratch_copy(PLUGIN("good"), "drop/c.so");
	expect("1 backend \"good\" of ");
}
END_TEST

START_TEST(nobody_is_told_of_what_nobody_watches)
{
	start("");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	tell("good");
	expect("9 used");
	ck_assert_str_eq(said, "");
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_a_warning)
{
	start("watch = yes\nplugin_dir = nowhere\n");
	expect("2 watch: the plugin folder ");
	expect("9 runs");
	scratch_copy(PLUGIN("good"), "drop/good.so");
	expect("1 backend \"good\" is available: ");
	ck_assert_int_eq(rename(scratch_path("drop"), scratch_path("away")), 0);
	expect("is gone, and not watched any more");
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		who_is_renamed_to_its_place_is_told_of_and_used,
		who_is_copied_slowly_is_told_of_when_it_is_whole,
		who_is_replaced_stays_until_the_program_is_started_again,
		who_is_removed_is_gone_for_others,
		who_is_removed_stays_for_its_users,
		who_was_used_and_removed_before_it_was_looked_at_is_gone_and_stays,
		who_came_and_went_unseen_is_not_worth_a_word,
		a_link_to_nothing_is_told_of,
		who_cannot_be_used_is_told_of_with_the_reason,
		links_are_plugins_too,
		a_second_one_of_that_name_is_not_used,
		nobody_is_told_of_what_nobody_watches,
		a_folder_that_is_not_there_is_a_warning,
	};
	Suite *suite;
	TCase *cases;
	SRunner *runner;
	int failed;

	if (argc == 2 && strcmp(argv[1], "program") == 0)
		return run_program();
	suite = suite_create("watch");
	cases = tcase_create("watch");
	runner = srunner_create(suite);
	self = argv[0];
	suite_add_tcase(suite, cases);
	tcase_add_checked_fixture(cases, begin, end);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(cases, tests[i]);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
