/* test_command.c - the program parloop as a shell sees it: what it prints, how it ends, and
 * what it leaves behind. */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <parloop/parloop.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARLOOP PAR_BUILD "/parloop"
#define DEMO    PAR_BUILD "/tasks/demo.so"
#define COUNT   PAR_BUILD "/tasks/count.so"
#define NESTED  PAR_BUILD "/tests/libs/nested.so"

#define PROCESSES PAR_BUILD "/tasks/processes.so"

enum { LIMIT_MS = 60 * 1000, N_ARGUMENTS = 64, BIG = 100 * 1000 * 1000 };

static char folder[PATH_MAX];

/* Each test has its own folder, which is the program's home and where it runs. */
static void begin(void)
{
	(void)snprintf(folder, sizeof(folder), "/tmp/parloop-command-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	ck_assert_int_eq(setenv("HOME", folder, 1), 0);
	ck_assert_int_eq(setenv("TMPDIR", folder, 1), 0);
	ck_assert_int_eq(setenv("XDG_CONFIG_HOME", folder, 1), 0);
	ck_assert_int_eq(setenv("TERM", "xterm", 1), 0);
	ck_assert_int_eq(unsetenv("PARLOOP_CONF"), 0);
	ck_assert_int_eq(unsetenv("PARLOOP_LOG"), 0);
}

static void end(void)
{
	char command[PATH_MAX + 16];

	ck_assert_int_eq(chdir("/"), 0);
	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* --- files ---------------------------------------------------------------------------------- */

static void write_file(const char *name, const void *bytes, size_t n)
{
	FILE *file = fopen(name, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
}

/* All of a file, with a NUL behind it; *n may be NULL. */
static char *read_file(const char *name, size_t *n)
{
	struct stat status;
	FILE *file = fopen(name, "r");
	char *bytes;

	ck_assert_msg(file != NULL, "%s: %s", name, strerror(errno));
	ck_assert_int_eq(fstat(fileno(file), &status), 0);
	bytes = malloc((size_t)status.st_size + 1);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_uint_eq(fread(bytes, 1, (size_t)status.st_size, file), (size_t)status.st_size);
	bytes[status.st_size] = '\0';
	ck_assert_int_eq(fclose(file), 0);
	if (n != NULL)
		*n = (size_t)status.st_size;
	return bytes;
}

/* --- running the program ------------------------------------------------------------------- */

/* Standard descriptors of a run: a path, or one of the test's descriptors, or closed. */
struct end {
	const char *path;
	int fd;
	int closed;
};

struct setup {
	struct end in, out, err; /* zero: the files in, out, err */
};

/* How it ended; out and err have a NUL behind them. */
struct result {
	int status;
	char *out, *err;
	size_t out_size;
};

static void add_end(posix_spawn_file_actions_t *actions, const struct end *place, int fd,
                    const char *path)
{
	int flags = fd == 0 ? O_RDONLY : O_WRONLY | O_CREAT | O_TRUNC;

	if (place->closed)
		ck_assert_int_eq(posix_spawn_file_actions_addclose(actions, fd), 0);
	else if (place->fd > 0)
		ck_assert_int_eq(posix_spawn_file_actions_adddup2(actions, place->fd, fd), 0);
	else
		ck_assert_int_eq(posix_spawn_file_actions_addopen(
					 actions, fd, place->path != NULL ? place->path : path,
					 flags, 0600),
		                 0);
}

/* In a process group of its own, which tells what it left behind, and with the
 * signals as a shell would have them. */
static pid_t start(const struct setup *setup, const char *const *arguments)
{
	static const struct setup usual;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	const char *argv[N_ARGUMENTS] = {"parloop"};
	sigset_t all, none;
	pid_t pid;

	for (int i = 0; arguments[i] != NULL; i++)
		argv[i + 1] = arguments[i];
	if (setup == NULL)
		setup = &usual;
	ck_assert_int_eq(posix_spawn_file_actions_init(&actions), 0);
	add_end(&actions, &setup->in, 0, "in");
	add_end(&actions, &setup->out, 1, "out");
	add_end(&actions, &setup->err, 2, "err");
	sigfillset(&all);
	sigemptyset(&none);
	ck_assert_int_eq(posix_spawnattr_init(&attributes), 0);
	posix_spawnattr_setpgroup(&attributes, 0);
	posix_spawnattr_setsigdefault(&attributes, &all);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF |
	                                              POSIX_SPAWN_SETSIGMASK);
	ck_assert_int_eq(posix_spawn(&pid, PARLOOP, &actions, &attributes, (char **)argv, environ),
	                 0);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* Its exit status, or 1000 plus the signal that ended it. */
static int finish(pid_t pid)
{
	struct pollfd ended = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int status;

	ck_assert_int_ge(ended.fd, 0);
	if (poll(&ended, 1, LIMIT_MS) != 1) {
		(void)kill(-pid, SIGKILL);
		ck_abort_msg("not done after %d s", LIMIT_MS / 1000);
	}
	(void)close(ended.fd);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(kill(-pid, 0) < 0 && errno == ESRCH, "it left a process behind");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Neither temporary files nor anything else but what the test put here. */
static void left_no_files(void)
{
	static const char *const ours[] = {".", "..", "in", "out",
	                                   "err", "conf", "text.so", "plugins.conf",
	                                   ".cache" /* of plugins that were tried */};
	DIR *directory = opendir(".");
	struct dirent *entry;

	ck_assert_ptr_nonnull(directory);
	while ((entry = readdir(directory)) != NULL) {
		int known = 0;

		for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
			known |= strcmp(entry->d_name, ours[i]) == 0;
		ck_assert_msg(known, "it left the file %s behind", entry->d_name);
	}
	(void)closedir(directory);
}

static struct result run_with(const struct setup *setup, const void *input, size_t n,
                              const char *const *arguments)
{
	struct result result;

	write_file("in", input, n);
	write_file("out", "", 0);
	write_file("err", "", 0);
	result.status = finish(start(setup, arguments));
	result.out = read_file("out", &result.out_size);
	result.err = read_file("err", NULL);
	left_no_files();
	return result;
}

static void forget(struct result *result)
{
	free(result->out);
	free(result->err);
}

#define ARGUMENTS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* Run it on a text. */
#define run(input, ...) run_with(NULL, input, strlen(input), ARGUMENTS(__VA_ARGS__))

#define assert_status(result, expected)                                                         \
	ck_assert_msg((result).status == (expected), "status is %d, not %d; stderr: %s",        \
	              (result).status, (expected), (result).err)

#define assert_has(text, part)                                                                  \
	ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in: %s", part, text)

/* The run ends with this status, nothing on stdout, and these words on stderr. */
static void refuses(int status, const char *words, const char *remedy,
                    const char *const *arguments)
{
	struct result result = run_with(NULL, "a\n", 2, arguments);

	assert_status(result, status);
	ck_assert_msg(strncmp(result.err, "parloop: ", 9) == 0, "stderr: %s", result.err);
	assert_has(result.err, words);
	assert_has(result.err, remedy);
	ck_assert_str_eq(result.out, "");
	forget(&result);
}

/* The run succeeds quietly and prints that. */
static void prints(struct result result, const char *expected)
{
	assert_status(result, 0);
	ck_assert_str_eq(result.err, "");
	ck_assert_str_eq(result.out, expected);
	forget(&result);
}

/* --- help and usage ------------------------------------------------------------------------ */

static void helps(const char *begin_of_it, const char *const *arguments)
{
	struct result result = run_with(NULL, "", 0, arguments);

	assert_status(result, 0);
	ck_assert_str_eq(result.err, "");
	ck_assert_msg(strncmp(result.out, begin_of_it, strlen(begin_of_it)) == 0, "%s", result.out);
	forget(&result);
}

START_TEST(every_command_has_help)
{
	helps("usage: parloop COMMAND", ARGUMENTS("--help"));
	helps("usage: parloop COMMAND", ARGUMENTS("-h"));
	helps("usage: parloop COMMAND", ARGUMENTS("help"));
	helps("usage: parloop map", ARGUMENTS("map", "--help"));
	helps("usage: parloop map", ARGUMENTS("help", "map"));
	helps("usage: parloop backends", ARGUMENTS("backends", "--help"));
	helps("usage: parloop backends", ARGUMENTS("help", "backends"));
	helps("usage: parloop show", ARGUMENTS("show", "-h"));
	helps("usage: parloop show", ARGUMENTS("help", "show"));
	helps("parloop " PAR_VERSION_STRING, ARGUMENTS("--version"));
}
END_TEST

START_TEST(help_names_every_option_of_map)
{
	static const char *const options[] = {
		"-b, --backend", "-j, --n-jobs", "--oversubscribe", "--inner-max-num-threads",
		"-o, --option", "--config", "--pre-dispatch",
		"--batch-size", "--timeout", "--unordered", "-0, --null", "--fail-fast",
		"-k, --keep-going", "--retries", "--retry-delay", "--task-timeout",
		"--call-timeout", "--seed", "-v, --verbose", "-q, --no-progress", ":::",
	};
	struct result result = run("", "map", "--help");

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		assert_has(result.out, options[i]);
	forget(&result);
}
END_TEST

START_TEST(refuses_a_wrong_command_line)
{
	const char *const nothing[] = {NULL};

	refuses(2, "no command", "parloop --help", nothing);
	refuses(2, "unknown command \"mpa\"", "see parloop --help", ARGUMENTS("mpa"));
	refuses(2, "unknown option \"--mpa\"", "see parloop --help", ARGUMENTS("--mpa"));
	refuses(2, "unknown command \"mpa\"", "see parloop --help", ARGUMENTS("help", "mpa"));
	refuses(2, "unknown option \"--x\"", "see parloop map --help", ARGUMENTS("map", "--x"));
	refuses(2, "unknown option \"-x\"", "see parloop map --help", ARGUMENTS("map", "-x"));
	refuses(2, "option --timeout needs a value", "--help", ARGUMENTS("map", "--timeout"));
	refuses(2, "option -j needs a value", "--help", ARGUMENTS("map", "-j"));
	refuses(2, "option --null takes no value", "--help", ARGUMENTS("map", "--null=1"));
	refuses(2, "no task is named", "map --help", ARGUMENTS("map"));
	refuses(2, "unexpected \"b\"", "map --help", ARGUMENTS("map", DEMO ":echo", "b"));
	refuses(2, "unexpected \"b\"", "backends --help", ARGUMENTS("backends", "b"));
	refuses(2, "no backend is named", "show --help", ARGUMENTS("show"));
	refuses(2, "unexpected \"b\"", "show --help", ARGUMENTS("show", "threading", "b"));
}
END_TEST

START_TEST(refuses_values_that_are_none)
{
	refuses(2, "--n-jobs \"two\": not a whole number", "", ARGUMENTS("map", "-j", "two", "x"));
	refuses(2, "--n-jobs \"1.5\"", "", ARGUMENTS("map", "-j1.5", "x"));
	refuses(2, "--n-jobs \"\"", "", ARGUMENTS("map", "-j", "", "x"));
	refuses(2, "--n-jobs \"99999999999999999999\"", "",
	        ARGUMENTS("map", "-j99999999999999999999", "x"));
	refuses(2, "--inner-max-num-threads \"one\"", "",
	        ARGUMENTS("map", "--inner-max-num-threads=one", "x"));
	refuses(2, "--timeout \"-1\"", "above 0", ARGUMENTS("map", "--timeout=-1", "x"));
	refuses(2, "--timeout \"nan\"", "above 0", ARGUMENTS("map", "--timeout=nan", "x"));
	refuses(2, "--task-timeout \"0\"", "above 0", ARGUMENTS("map", "--task-timeout=0", "x"));
	refuses(2, "--task-timeout \"1s\"", "above 0", ARGUMENTS("map", "--task-timeout=1s", "x"));
	refuses(2, "--call-timeout \"-2\"", "above 0", ARGUMENTS("map", "--call-timeout=-2", "x"));
	refuses(2, "--call-timeout \"\"", "above 0", ARGUMENTS("map", "--call-timeout=", "x"));
	refuses(2, "--retries \"often\": not a whole number", "",
	        ARGUMENTS("map", "--retries", "often", "x"));
	refuses(2, "--retries \"1.5\"", "", ARGUMENTS("map", "--retries=1.5", "x"));
	refuses(2, "--retry-delay \"-1\": not a number of seconds", "",
	        ARGUMENTS("map", "--retry-delay=-1", "x"));
	refuses(2, "--retry-delay \"inf\"", "", ARGUMENTS("map", "--retry-delay=inf", "x"));
	refuses(2, "--seed \"0x1\": not a whole number", "", ARGUMENTS("map", "--seed=0x1", "x"));
	refuses(2, "--seed \"\"", "", ARGUMENTS("map", "--seed=", "x"));
	refuses(2, "--batch-size \"some\"", "or auto", ARGUMENTS("map", "--batch-size=some", "x"));
	refuses(2, "--option \"x\": not KEY=VALUE", "", ARGUMENTS("map", "-ox", "x"));
	refuses(2, "--option \"=x\": not KEY=VALUE", "", ARGUMENTS("map", "-o=x", "x"));
}
END_TEST

/* --- tasks ---------------------------------------------------------------------------------- */

START_TEST(refuses_a_module_that_is_missing_or_none)
{
	write_file("text.so", "some text", 9);
	refuses(2, "none.so: No such file", "check the path", ARGUMENTS("map", "./none.so:x"));
	refuses(2, "not an ELF file", "parloop/task.h", ARGUMENTS("map", "./text.so:x"));
	refuses(2, "is a directory", "", ARGUMENTS("map", "./:x"));
	refuses(2, "demo.so", "write ./demo.so", ARGUMENTS("map", "demo.so:x"));
}
END_TEST

START_TEST(an_unknown_task_lists_those_there_are)
{
	refuses(2, "the module has: echo, flaky, huge, length", "did you mean \"echo\"?",
	        ARGUMENTS("map", DEMO ":ecko"));
	refuses(2, "the module has: echo, flaky, huge, length", "name one of those",
	        ARGUMENTS("map", DEMO));
}
END_TEST

START_TEST(refuses_a_typed_task)
{
	refuses(2, "cannot run task \"square\"", "PAR_TASK_OF_BYTES",
	        ARGUMENTS("map", DEMO ":square"));
	refuses(2, "values of 8 bytes to values of 8 bytes", "par_map",
	        ARGUMENTS("map", DEMO ":square"));
}
END_TEST

/* Is the first line of the text followed by one about where it is in this source? */
static void names_its_source_line(const char *text, const char *source)
{
	const char *next = strchr(text, '\n');
	size_t length = strlen(source);

	ck_assert_ptr_nonnull(next);
	ck_assert_msg(strncmp(next + 1, "    ", 4) == 0 && strncmp(next + 5, source, length) == 0 &&
	                      next[5 + length] == ':' &&
	                      strspn(next + 6 + length, "0123456789") == strcspn(next + 6 + length, "\n"),
	              "%s", text);
}

START_TEST(a_failed_task_costs_only_itself)
{
	struct result result =
		run("one\nbad\x1b \"egg\"\ntwo\nmute\nthree\n", "map", DEMO ":picky");

	assert_status(result, 1);
	ck_assert_str_eq(result.out, "one\ntwo\nthree\n");
	assert_has(result.err, "parloop: task 2 (\"bad\\x1b \\\"egg\\\"\"): this input is bad\n");
	names_its_source_line(result.err, "tests/tasks/demo.c");
	/* Which said nothing, and so nobody knows where. */
	ck_assert_str_eq(strstr(result.err, "parloop: task 4"),
	                 "parloop: task 4 (\"mute\"): failed with code 9\n");
	forget(&result);
}
END_TEST

START_TEST(the_last_word_on_failures_counts)
{
	struct result result = run("bad\na\nb\n", "map", "-j1", "--fail-fast", "-k", DEMO ":picky");

	assert_status(result, 1);
	ck_assert_str_eq(result.out, "a\nb\n");
	forget(&result);
	result = run("bad\na\nb\n", "map", "-j1", "--batch-size=1", "-b", "sequential", "--keep-going",
	             "--fail-fast", DEMO ":picky");
	assert_status(result, 1);
	ck_assert_str_eq(result.out, "");
	forget(&result);
}
END_TEST

START_TEST(tasks_have_the_workers_that_they_ask_for_only_with_oversubscribe)
{
	prints(run("", "map", "-j2", NESTED ":workers", ":::", "x"), "some\n");
	prints(run("", "map", "-j2", "--oversubscribe", NESTED ":workers", ":::", "x"), "all\n");
}
END_TEST

START_TEST(a_failure_tells_its_kind_and_the_failure_inside_it)
{
	static const char first[] = "parloop: task 1 (\"x\"): the outer one\n";
	struct result result = run("x\n", "map", NESTED ":outer");
	const char *cause;

	assert_status(result, 1);
	ck_assert_msg(strncmp(result.err, first, strlen(first)) == 0, "%s", result.err);
	names_its_source_line(result.err, "tests/libs/nested.c");
	cause = strstr(result.err, "\n    caused by: task 1 failed: the inner one\n");
	ck_assert_msg(cause != NULL, "%s", result.err);
	names_its_source_line(cause + 1, "tests/libs/nested.c");
	forget(&result);
	result = run("9\n", "map", DEMO ":flaky");
	assert_has(result.err, "task 1 (\"9\"): Hiccup: not this time\n    tests/tasks/demo.c:");
	forget(&result);
}
END_TEST

START_TEST(a_long_input_is_shortened_where_it_is_shown)
{
	char input[5000], *at;
	struct result result;

	memset(input, 'x', sizeof(input));
	memcpy(input, "bad", 3);
	memcpy(input + sizeof(input) - 6, ".end\n", 6);
	result = run(input, "map", DEMO ":picky");
	assert_status(result, 1);
	assert_has(result.err, "(\"badxxxx");
	assert_has(result.err, "x...x");
	assert_has(result.err, "xxxx.end\"): this input is bad\n");
	at = strchr(result.err, '\n');
	ck_assert_int_lt(at - result.err, 150);
	forget(&result);
}
END_TEST

START_TEST(what_a_task_says_is_shown_whole)
{
	char input[260] = "say", expected[300];
	struct result result;

	memset(input + 3, 'y', 240);
	(void)snprintf(expected, sizeof(expected), "\"): %s\n", input + 3);
	result = run(input, "map", DEMO ":picky");
	assert_status(result, 1);
	assert_has(result.err, expected);
	forget(&result);
	result = run(input, "map", "--fail-fast", DEMO ":picky");
	assert_has(result.err, expected);
	forget(&result);
}
END_TEST

START_TEST(fail_fast_ends_with_the_first_failure)
{
	struct result result = run("ok\nbad egg\nwait\n", "map", "--fail-fast", "-j", "1",
	                           DEMO ":picky");

	assert_status(result, 1);
	assert_has(result.err, "parloop: task 2 (\"bad egg\"): this input is bad\n");
	ck_assert_ptr_null(strstr(result.err + 1, "parloop: "));
	forget(&result);
}
END_TEST

START_TEST(a_task_that_returns_nothing_has_an_empty_line)
{
	prints(run("a\nb\n", "map", DEMO ":silent"), "\n\n");
}
END_TEST

START_TEST(a_reply_of_100_megabytes_arrives)
{
	struct result result = run("q\n", "map", DEMO ":huge");

	assert_status(result, 0);
	ck_assert_uint_eq(result.out_size, BIG + 1);
	ck_assert_uint_eq(strspn(result.out, "q"), BIG);
	ck_assert_int_eq(result.out[BIG], '\n');
	forget(&result);
}
END_TEST

/* --- input ---------------------------------------------------------------------------------- */

START_TEST(each_line_is_a_task_also_an_empty_one)
{
	prints(run("a\n\nb c\n\n", "map", DEMO ":upper"), "A\n\nB C\n\n");
}
END_TEST

START_TEST(the_last_line_needs_no_newline)
{
	prints(run("a\nb", "map", DEMO ":upper"), "A\nB\n");
}
END_TEST

START_TEST(no_input_is_no_task)
{
	prints(run("", "map", DEMO ":upper"), "");
}
END_TEST

START_TEST(bytes_that_are_not_utf8_pass)
{
	static const char input[] = "\xff\xfe\n\xc3\n\x80 \x01\r\n";

	prints(run(input, "map", DEMO ":echo"), input);
}
END_TEST

START_TEST(nul_ends_inputs_and_replies_if_asked)
{
	static const char input[] = "a\nb\0\0c", expected[] = "A\nB\0\0C";
	struct result result = run_with(NULL, input, sizeof(input) - 1,
	                                ARGUMENTS("map", "-0", DEMO ":upper"));

	assert_status(result, 0);
	ck_assert_uint_eq(result.out_size, sizeof(expected));
	ck_assert_int_eq(memcmp(result.out, expected, sizeof(expected)), 0);
	forget(&result);
}
END_TEST

START_TEST(a_nul_in_a_line_passes)
{
	struct result result = run_with(NULL, "a\0b\n", 4, ARGUMENTS("map", DEMO ":upper"));

	assert_status(result, 0);
	ck_assert_uint_eq(result.out_size, 4);
	ck_assert_int_eq(memcmp(result.out, "A\0B\n", 4), 0);
	forget(&result);
}
END_TEST

START_TEST(arguments_are_tasks)
{
	prints(run("not read\n", "map", DEMO ":upper", ":::", "a", "", "-j", ":::", "b c"),
	       "A\n\n-J\n:::\nB C\n");
	prints(run("not read\n", "map", DEMO ":upper", ":::"), "");
}
END_TEST

START_TEST(options_may_follow_the_task)
{
	prints(run("b\n", "map", DEMO ":upper", "-j", "1"), "B\n");
}
END_TEST

START_TEST(a_line_of_100_megabytes_is_a_task)
{
	char *input = malloc(BIG + 3);
	struct result result;

	ck_assert_ptr_nonnull(input);
	memset(input, 'x', BIG);
	memcpy(input + BIG, "\nyz", 3);
	result = run_with(NULL, input, BIG + 3, ARGUMENTS("map", DEMO ":length"));
	assert_status(result, 0);
	ck_assert_str_eq(result.out, "100000000\n2\n");
	free(input);
	forget(&result);
}
END_TEST

/* Lines of all lengths around the size of the program's buffer, so that each way of going on
 * in another one is taken. */
START_TEST(lines_of_all_lengths_arrive_whole)
{
	static const size_t lengths[] = {0, 1, 1000, 262143, 262144, 262145, 7, 600000, 0, 131072,
	                                 131071, 131073, 300000, 2};
	enum { N = sizeof(lengths) / sizeof(lengths[0]), ROUNDS = 3 };
	struct result result;
	size_t n = 0;
	char *input = malloc(ROUNDS * 3 * 1000 * 1000);

	ck_assert_ptr_nonnull(input);
	for (int round = 0; round < ROUNDS; round++)
		for (int i = 0; i < N; i++) {
			for (size_t j = 0; j < lengths[i]; j++)
				input[n + j] = (char)('a' + (j * 7 + (size_t)i) % 26);
			n += lengths[i];
			input[n++] = '\n';
		}
	result = run_with(NULL, input, n, ARGUMENTS("map", DEMO ":echo"));
	assert_status(result, 0);
	ck_assert_uint_eq(result.out_size, n);
	ck_assert_int_eq(memcmp(result.out, input, n), 0);
	free(input);
	forget(&result);
}
END_TEST

START_TEST(input_that_cannot_be_read_is_an_error)
{
	const struct setup closed = {.in = {.closed = 1}}, directory = {.in = {.path = "."}};
	struct result result = run_with(&closed, "", 0, ARGUMENTS("map", DEMO ":echo"));

	assert_status(result, 1);
	assert_has(result.err, "cannot read standard input");
	forget(&result);
	result = run_with(&directory, "", 0, ARGUMENTS("map", DEMO ":echo"));
	assert_status(result, 1);
	assert_has(result.err, "Is a directory");
	assert_has(result.err, folder);
	forget(&result);
}
END_TEST

/* --- order ---------------------------------------------------------------------------------- */

enum { N_LINES = 20000 };

static char *numbers(void)
{
	char *text = malloc(N_LINES * 8), *at = text;

	ck_assert_ptr_nonnull(text);
	for (int i = 0; i < N_LINES; i++)
		at += sprintf(at, "%d\n", i);
	return text;
}

START_TEST(results_come_in_the_order_of_the_input)
{
	char *input = numbers();

	prints(run(input, "map", "-j", "3", DEMO ":echo"), input);
	prints(run(input, "map", "-j", "3", "--batch-size", "1", DEMO ":echo"), input);
	free(input);
}
END_TEST

START_TEST(unordered_results_are_the_same_set)
{
	char *input = numbers(), *seen = calloc(1, N_LINES), *line;
	struct result result =
		run(input, "map", "-j3", "--unordered", "--batch-size=1", DEMO ":echo");
	int n = 0;

	assert_status(result, 0);
	for (line = strtok(result.out, "\n"); line != NULL; line = strtok(NULL, "\n"), n++) {
		ck_assert_int_lt(atoi(line), N_LINES);
		ck_assert_int_eq(seen[atoi(line)]++, 0);
	}
	ck_assert_int_eq(n, N_LINES);
	free(seen);
	free(input);
	forget(&result);
}
END_TEST

/* --- output --------------------------------------------------------------------------------- */

START_TEST(output_that_cannot_be_written_is_an_error)
{
	const struct setup full = {.out = {.path = "/dev/full"}}, closed = {.out = {.closed = 1}};
	struct result result = run_with(&full, "a\n", 2, ARGUMENTS("map", DEMO ":echo"));

	assert_status(result, 1);
	assert_has(result.err, "cannot write standard output");
	assert_has(result.err, "/dev/full");
	assert_has(result.err, "No space left on device");
	forget(&result);
	result = run_with(&closed, "a\n", 2, ARGUMENTS("map", DEMO ":echo"));
	assert_status(result, 1);
	assert_has(result.err, "cannot write standard output");
	forget(&result);
}
END_TEST

START_TEST(help_and_lists_check_their_output_too)
{
	const struct setup full = {.out = {.path = "/dev/full"}};
	struct result result = run_with(&full, "", 0, ARGUMENTS("--help"));

	assert_status(result, 1);
	assert_has(result.err, "No space left on device");
	forget(&result);
	result = run_with(&full, "", 0, ARGUMENTS("backends"));
	assert_status(result, 1);
	forget(&result);
}
END_TEST

/* Reads from a pipe until a newline came; the descriptor stays open. */
static void read_line(int fd, char *line, size_t size)
{
	struct pollfd readable = {.fd = fd, .events = POLLIN};
	size_t n = 0;

	do {
		ck_assert_uint_lt(n + 1, size);
		ck_assert_msg(poll(&readable, 1, LIMIT_MS) == 1, "nothing came");
		ck_assert_int_eq(read(fd, line + n, 1), 1);
	} while (line[n++] != '\n');
	line[n] = '\0';
}

static void make_pipe(int pipe_fds[2])
{
	ck_assert_int_eq(pipe2(pipe_fds, O_CLOEXEC), 0);
}

START_TEST(a_reader_that_leaves_ends_it_quietly)
{
	char *input = numbers(), line[16], *err;
	int out[2];
	pid_t pid;

	write_file("in", input, strlen(input));
	make_pipe(out);
	/* A small pipe, so that the program cannot be done before the reader leaves. */
	ck_assert_int_ge(fcntl(out[1], F_SETPIPE_SZ, 4096), 0);
	pid = start(&(struct setup){.out = {.fd = out[1]}}, ARGUMENTS("map", DEMO ":echo"));
	(void)close(out[1]);
	read_line(out[0], line, sizeof(line));
	ck_assert_str_eq(line, "0\n");
	(void)close(out[0]);
	ck_assert_int_eq(finish(pid), 141);
	err = read_file("err", NULL);
	ck_assert_str_eq(err, "");
	free(err);
	free(input);
}
END_TEST

/* The results that wait in the buffer are not followed by others, so that only the
 * program itself can find out that nobody wants them. */
START_TEST(a_reader_that_left_before_is_noticed)
{
	int out[2];
	pid_t pid;

	write_file("in", "a\nwait\n", 7);
	make_pipe(out);
	(void)close(out[0]);
	pid = start(&(struct setup){.out = {.fd = out[1]}}, ARGUMENTS("map", "-j2", DEMO ":snail"));
	(void)close(out[1]);
	ck_assert_int_eq(finish(pid), 141);
}
END_TEST

/* Waits for a newline on one pipe each time it has written a line to the other. */
static void answers_line_by_line(const char *backend)
{
	char line[16];
	int in[2], out[2];
	pid_t pid;

	make_pipe(in);
	make_pipe(out);
	pid = start(&(struct setup){.in = {.fd = in[0]}, .out = {.fd = out[1]}},
	            ARGUMENTS("map", "-b", backend, DEMO ":upper"));
	(void)close(in[0]);
	(void)close(out[1]);
	ck_assert_int_eq(write(in[1], "a\nb", 3), 3);
	read_line(out[0], line, sizeof(line));
	ck_assert_str_eq(line, "A\n");
	ck_assert_int_eq(write(in[1], "c\n", 2), 2);
	read_line(out[0], line, sizeof(line));
	ck_assert_str_eq(line, "BC\n");
	ck_assert_int_eq(write(in[1], "d", 1), 1);
	(void)close(in[1]);
	read_line(out[0], line, sizeof(line));
	ck_assert_str_eq(line, "D\n");
	ck_assert_int_eq(finish(pid), 0);
	(void)close(out[0]);
}

START_TEST(results_come_while_the_input_pauses)
{
	answers_line_by_line("threading");
	answers_line_by_line("sequential");
}
END_TEST

START_TEST(a_reader_that_leaves_is_noticed_while_the_input_pauses)
{
	int in[2], out[2];
	pid_t pid;

	make_pipe(in);
	make_pipe(out);
	(void)close(out[0]);
	pid = start(&(struct setup){.in = {.fd = in[0]}, .out = {.fd = out[1]}},
	            ARGUMENTS("map", DEMO ":upper"));
	(void)close(in[0]);
	(void)close(out[1]);
	ck_assert_int_eq(write(in[1], "a\n", 2), 2);
	ck_assert_int_eq(finish(pid), 141);
	(void)close(in[1]);
}
END_TEST

/* --- signals -------------------------------------------------------------------------------- */

/* Start it on "a", "wait", and "c", wait for the first result, send the signal: the status. */
static int interrupt(int signal, char *rest, size_t size)
{
	char line[16];
	int out[2];
	pid_t pid;
	ssize_t n;

	write_file("in", "a\nwait\nc\n", 9);
	make_pipe(out);
	pid = start(&(struct setup){.out = {.fd = out[1]}}, ARGUMENTS("map", "-j2", DEMO ":snail"));
	(void)close(out[1]);
	read_line(out[0], line, sizeof(line));
	ck_assert_str_eq(line, "a\n");
	ck_assert_int_eq(kill(pid, signal), 0);
	n = finish(pid);
	size = (size_t)read(out[0], rest, size - 1);
	rest[size] = '\0';
	(void)close(out[0]);
	return (int)n;
}

START_TEST(an_interrupt_ends_it_and_what_was_delivered_stays)
{
	char rest[64], *err;

	ck_assert_int_eq(interrupt(SIGINT, rest, sizeof(rest)), 130);
	ck_assert_str_eq(rest, "");
	err = read_file("err", NULL);
	ck_assert_str_eq(err, "");
	free(err);
}
END_TEST

START_TEST(so_does_a_request_to_terminate)
{
	char rest[64];

	ck_assert_int_eq(interrupt(SIGTERM, rest, sizeof(rest)), 143);
}
END_TEST

/* The value of a mask in /proc/PID/status. */
static uint64_t signal_mask(pid_t pid, const char *name)
{
	char path[64], *text, *at;
	FILE *file;
	uint64_t mask = 0;

	text = calloc(1, 8192);
	(void)snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "r");
	if (file != NULL) {
		(void)fread(text, 1, 8191, file);
		(void)fclose(file);
	}
	at = strstr(text, name);
	if (at != NULL)
		mask = strtoull(at + strlen(name), NULL, 16);
	free(text);
	return mask;
}

/* Wait until SIGINT is in that mask, or is not. */
static void wait_for_mask(pid_t pid, const char *name, int wanted)
{
	uint64_t bit = UINT64_C(1) << (SIGINT - 1);

	for (int waited_ms = 0; waited_ms < LIMIT_MS; waited_ms++) {
		if (((signal_mask(pid, name) & bit) != 0) == wanted)
			return;
		(void)poll(NULL, 0, 1);
	}
	ck_abort_msg("%s of the program never changed", name);
}

START_TEST(an_interrupt_ends_a_read_that_waits)
{
	int in[2];
	pid_t pid;

	write_file("out", "", 0);
	make_pipe(in);
	pid = start(&(struct setup){.in = {.fd = in[0]}}, ARGUMENTS("map", DEMO ":echo"));
	wait_for_mask(pid, "SigCgt:", 1);
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	ck_assert_int_eq(finish(pid), 130);
	(void)close(in[0]);
	(void)close(in[1]);
}
END_TEST

START_TEST(a_second_interrupt_ends_it_at_once)
{
	char line[16];
	int out[2];
	pid_t pid;

	write_file("in", "a\nstuck\n", 8);
	make_pipe(out);
	pid = start(&(struct setup){.out = {.fd = out[1]}},
	            ARGUMENTS("map", "-j2", DEMO ":stubborn"));
	(void)close(out[1]);
	read_line(out[0], line, sizeof(line));
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	/* Two of the same kind that nobody has taken yet would be one. */
	wait_for_mask(pid, "ShdPnd:", 0);
	ck_assert_int_eq(kill(pid, SIGINT), 0);
	ck_assert_int_eq(finish(pid), 130);
	(void)close(out[0]);
}
END_TEST

/* --- the line on a terminal ------------------------------------------------------------------- */

/* Run it on three lines with stderr on a terminal; what came there. */
static char *run_on_terminal(const char *option)
{
	static char shown[8192];
	int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC), slave;
	size_t n = 0;
	ssize_t got;

	ck_assert_int_ge(terminal, 0);
	ck_assert_int_eq(grantpt(terminal), 0);
	ck_assert_int_eq(unlockpt(terminal), 0);
	slave = open(ptsname(terminal), O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(slave, 0);
	write_file("in", "a\nbad\nc\n", 8);
	ck_assert_int_eq(finish(start(&(struct setup){.err = {.fd = slave}},
	                              ARGUMENTS("map", option, DEMO ":picky"))),
	                 1);
	(void)close(slave);
	while ((got = read(terminal, shown + n, sizeof(shown) - 1 - n)) > 0)
		n += (size_t)got;
	shown[n] = '\0';
	(void)close(terminal);
	return shown;
}

START_TEST(shows_progress_on_a_terminal_and_erases_it)
{
	char *shown = run_on_terminal("-j1"), *last;

	assert_has(shown, "\rdone 0");
	assert_has(shown, "failed 0");
	assert_has(shown, "\r\033[Kparloop: task 2 (\"bad\")");
	/* However fast it is, it tells how it ended. */
	assert_has(shown, "\rdone 3 of 3  failed 1  running 0  ");
	assert_has(shown, "  0:00 left\033[K");
	/* Nothing comes behind the last erasure but whole lines. */
	last = strrchr(shown, '\r');
	ck_assert_msg(strcmp(last, "\r\033[K") == 0 || strcmp(last, "\r\n") == 0, "%s", shown);
}
END_TEST

START_TEST(shows_no_progress_if_not_wanted)
{
	ck_assert_ptr_null(strstr(run_on_terminal("-q"), "done"));
	ck_assert_ptr_null(strstr(run_on_terminal("--no-progress"), "done"));
}
END_TEST

/* --- settings and configuration ------------------------------------------------------------- */

START_TEST(refuses_settings_without_meaning)
{
	refuses(2, "n_jobs == 0", "-1 for all cores", ARGUMENTS("map", "-j0", DEMO ":echo"));
	refuses(2, "batch_size", "0", ARGUMENTS("map", "--batch-size=0", DEMO ":echo"));
	refuses(2, "batch_size", "-1", ARGUMENTS("map", "--batch-size=-1", DEMO ":echo"));
	refuses(2, "--batch-size \"-1000000\"", "or auto",
	        ARGUMENTS("map", "--batch-size=-1000000", DEMO ":echo"));
}
END_TEST

START_TEST(refuses_a_pre_dispatch_that_is_no_number_of_tasks)
{
	refuses(2, "pre_dispatch", "2 * n_jobs",
	        ARGUMENTS("map", "--pre-dispatch", "system(1)", DEMO ":echo"));
	refuses(2, "too large", "2 * n_jobs",
	        ARGUMENTS("map", "--pre-dispatch", "9**99", DEMO ":echo"));
	refuses(2, "too long", "2 * n_jobs",
	        ARGUMENTS("map", "--pre-dispatch", "1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1",
	                  DEMO ":echo"));
}
END_TEST

START_TEST(takes_the_settings_that_there_are)
{
	prints(run("a\nb\n", "map", "-b", "threading", "-j", "-1", "-o", "spin=0us",
	           "--pre-dispatch", "3 * n_jobs", "--batch-size", "auto", "--timeout", "60",
	           DEMO ":upper"),
	       "A\nB\n");
	prints(run("a\nb\n", "map", "--backend=sequential", "--n-jobs=2", "--batch-size=7",
	           "--pre-dispatch=all", DEMO ":upper"),
	       "A\nB\n");
	prints(run("OMP_NUM_THREADS\n", "map", "-b", "multiprocessing", "-o", "start_method=spawn", "-j", "1",
	           "--inner-max-num-threads", "3", PROCESSES ":variable"),
	       "3\n");
}
END_TEST

START_TEST(verbose_lines_come_on_stderr)
{
	struct result result = run("a\nb\n", "map", "-vvv", DEMO ":upper");

	assert_status(result, 0);
	ck_assert_str_eq(result.out, "A\nB\n");
	assert_has(result.err, "[Parallel(n_jobs=-1)]");
	forget(&result);
}
END_TEST

START_TEST(a_result_that_never_comes_times_out)
{
	struct result result = run("a\nwait\n", "map", "-j2", "--timeout=0.1", DEMO ":snail");

	assert_status(result, 1);
	ck_assert_str_eq(result.out, "a\n");
	assert_has(result.err, "no result came within 0.1 s");
	forget(&result);
}
END_TEST

/* --- trying again, and time that is up -------------------------------------------------------- */

START_TEST(a_failed_task_is_tried_again_if_asked)
{
	struct result result = run("0\n1\n3\n2\n", "map", "--retries", "2", DEMO ":flaky");

	assert_status(result, 1);
	/* After how many tries. */
	ck_assert_str_eq(result.out, "1\n2\n3\n");
	assert_has(result.err, "parloop: task 3 (\"3\"): Hiccup: not this time (3 attempts)\n");
	ck_assert_ptr_null(strstr(result.err + 1, "parloop: "));
	forget(&result);
	prints(run("2\n", "map", "-b", "sequential", "--retries=2", DEMO ":flaky"), "3\n");
	prints(run("2\n", "map", "--retries=2", "--retry-delay=0", "--fail-fast", DEMO ":flaky"),
	       "3\n");
}
END_TEST

static double now_s(void)
{
	struct timespec now;

	ck_assert_int_eq(clock_gettime(CLOCK_MONOTONIC, &now), 0);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

START_TEST(tries_are_apart_by_the_delay_doubled_each_time)
{
	double since = now_s(), took;

	prints(run("2\n", "map", "--retries=2", "--retry-delay=0.05", DEMO ":flaky"), "3\n");
	took = now_s() - since;
	ck_assert_msg(took >= 0.15, "it took %g s", took);
}
END_TEST

START_TEST(a_task_that_is_over_its_time_fails_alone)
{
	struct result result = run("a\nstuck and on a long line\nc\n", "map", "-j2",
	                           "--task-timeout=0.5", DEMO ":stubborn");

	assert_status(result, 1);
	ck_assert_str_eq(result.out, "a\nc\n");
	assert_has(result.err, "parloop: task 2 (\"stuck and on a long line\"): ");
	assert_has(result.err, "longer than its task_timeout\n");
	forget(&result);
}
END_TEST

START_TEST(a_call_that_is_over_its_time_ends_with_what_it_has)
{
	struct result result =
		run("wait\nc\n", "map", "-j2", "--call-timeout=0.2", DEMO ":snail");

	assert_status(result, 1);
	ck_assert_str_eq(result.out, "");
	ck_assert_str_eq(result.err, "parloop: the call took longer than its call_timeout, 0.2 s; "
	                             "set a longer timeout, or none\n");
	forget(&result);
	result = run("stuck\n", "map", "-j1", "-b", "sequential", "--call-timeout=0.2",
	             DEMO ":stubborn");
	assert_status(result, 1);
	assert_has(result.err, "the call took longer than its call_timeout, 0.2 s");
	forget(&result);
}
END_TEST

START_TEST(enough_time_changes_nothing)
{
	prints(run("a\nb\n", "map", "--task-timeout=600", "--call-timeout=600", "--timeout=600",
	           DEMO ":upper"),
	       "A\nB\n");
	prints(run("", "map", "--task-timeout=600", "--call-timeout=600", DEMO ":upper", ":::",
	           "some longer arguments", "of which there are two"),
	       "SOME LONGER ARGUMENTS\nOF WHICH THERE ARE TWO\n");
}
END_TEST

START_TEST(refuses_numbers_of_retries_beyond_reason)
{
	refuses(2, "retries must be 0 to 1000, got: -1", "", ARGUMENTS("map", "--retries=-1", DEMO ":echo"));
	refuses(2, "retries must be 0 to 1000, got: 1001", "",
	        ARGUMENTS("map", "--retries=1001", DEMO ":echo"));
	refuses(2, "retry_delay must be a number of seconds", "",
	        ARGUMENTS("map", "--retry-delay=1e300", DEMO ":echo"));
}
END_TEST

START_TEST(a_seed_repeats_the_random_numbers)
{
	struct result one = run("a\nb\nc\n", "map", "-j2", "--seed=42", DEMO ":seed");
	struct result two = run("a\nb\nc\n", "map", "-b", "sequential", "--seed=42", DEMO ":seed");
	struct result other = run("a\nb\nc\n", "map", "--seed=-43", DEMO ":seed");
	struct result none = run("a\nb\nc\n", "map", DEMO ":seed");

	assert_status(one, 0);
	ck_assert_str_eq(one.out, two.out);
	ck_assert_str_ne(one.out, other.out);
	ck_assert_str_ne(one.out, none.out);
	forget(&one);
	forget(&two);
	forget(&other);
	forget(&none);
}
END_TEST

START_TEST(refuses_an_unknown_backend)
{
	refuses(2, "nope", "threading", ARGUMENTS("map", "-b", "nope", DEMO ":echo"));
	refuses(2, "threadin", "did you mean \"threading\"?",
	        ARGUMENTS("map", "-b", "threadin", DEMO ":echo"));
	refuses(2, "../evil", "", ARGUMENTS("map", "-b", "../evil", DEMO ":echo"));
	refuses(2, "threadin", "did you mean \"threading\"?", ARGUMENTS("show", "threadin"));
	refuses(2, "nested-threadin", "did you mean \"nested-threading\"?",
	        ARGUMENTS("map", "-b", "nested-threadin", DEMO ":echo"));
}
END_TEST

START_TEST(refuses_an_option_that_the_backend_has_not)
{
	refuses(2, "unknown option \"spim\"", "spin", ARGUMENTS("map", "-ospim=1ms", DEMO ":echo"));
	refuses(2, "1h is not in", "spin", ARGUMENTS("map", "-ospin=1h", DEMO ":echo"));
	refuses(2, "long is not a time", "spin", ARGUMENTS("map", "-ospin=long", DEMO ":echo"));
}
END_TEST

/* This text as configuration is refused, with these words. */
static void refuses_conf(const char *text, const char *words, const char *more)
{
	write_file("conf", text, strlen(text));
	refuses(2, words, more, ARGUMENTS("map", "--config", "conf", DEMO ":echo"));
	refuses(2, words, more, ARGUMENTS("backends", "--config", "conf"));
	refuses(2, words, more, ARGUMENTS("show", "--config", "conf", "threading"));
}

START_TEST(each_backend_has_a_name_for_every_level)
{
	struct result result = run("", "backends"), plain;

	assert_status(result, 0);
	assert_has(result.out, "\n# nested: nested-dask, nested-loky, ");
	assert_has(result.out, ", nested-sequential, nested-threading\n");
	ck_assert_ptr_null(strstr(result.out, "\nnested-"));
	forget(&result);
	result = run("", "show", "nested-loky");
	plain = run("", "show", "loky");
	assert_status(result, 0);
	assert_has(result.out, "nested-loky - runs tasks in processes that are kept for the next call\n"
	                       "  levels        all: ");
	ck_assert_str_eq(strstr(result.out, "  version"), strstr(plain.out, "  version"));
	forget(&result);
	forget(&plain);
	result = run("a\n", "map", "-v", "-b", "nested-threading", "-j2", DEMO ":upper");
	assert_status(result, 0);
	ck_assert_str_eq(result.out, "A\n");
	assert_has(result.err, "Using backend nested-threading with 2 concurrent workers");
	forget(&result);
	write_file("conf", "[parloop]\ndefault = nested-threading\n", 37);
	result = run("a\n", "map", "-v", "--config=conf", "-j2", DEMO ":upper");
	assert_has(result.err, "Using backend nested-threading with 2 concurrent workers");
	forget(&result);
	refuses_conf("[backend nested-loky]\n", "conf:1: ", "[backend loky]");
}
END_TEST

START_TEST(refuses_a_configuration_that_is_wrong)
{
	refuses_conf("no section\n", "conf:1: ", "");
	refuses_conf("[parloop]\ndefalt = x\n", "conf:2: unknown key \"defalt\"",
	             "did you mean \"default\"?");
	refuses_conf("[parloop]\n\nn_jobs = many\n", "conf:3: n_jobs", "\"many\" is not");
	refuses_conf("[parlop]\n", "conf:1: unknown section", "did you mean [parloop]?");
	refuses_conf("[backend threading]\nspim = 1ms\n", "conf:2: ", "spim");
	refuses_conf("[backend threading]\nspin = 1h\n", "conf:2: ", "1h is not in");
	refuses_conf("[backend mine]\npath = ./none.so\n", "conf:2: ", "none.so");
}
END_TEST

START_TEST(refuses_a_configuration_that_cannot_be_read)
{
	refuses(2, "none", "No such file", ARGUMENTS("map", "--config", "none", DEMO ":echo"));
	refuses(2, "is a directory", "", ARGUMENTS("map", "--config", ".", DEMO ":echo"));
	refuses(2, "none", "No such file", ARGUMENTS("backends", "--config=none"));
}
END_TEST

START_TEST(a_backend_that_cannot_be_had_is_another_status)
{
	static const char conf[] = "[lazy]\ngpu = ./text.so\ncloud = ./none.so\n";

	write_file("conf", conf, strlen(conf));
	write_file("text.so", "some text", 9);
	refuses(3, "text.so: not an ELF file", "",
	        ARGUMENTS("map", "--config=conf", "-b", "gpu", DEMO ":echo"));
	refuses(3, "known but not installed", "put the plugin there",
	        ARGUMENTS("map", "--config=conf", "-b", "cloud", DEMO ":echo"));
	refuses(3, "text.so: not an ELF file", "", ARGUMENTS("show", "--config=conf", "gpu"));
	/* Nobody asked for those. */
	prints(run("a\n", "map", "--config=conf", DEMO ":upper"), "A\n");
}
END_TEST

START_TEST(backends_are_listed_with_tabs_for_programs)
{
	static const char conf[] = "[parloop]\ndefault = sequential\n[lazy]\ngpu = ./text.so\n";
	struct result result;

	write_file("conf", conf, strlen(conf));
	result = run("", "backends", "--config=conf");
	assert_status(result, 0);
	ck_assert_str_eq(result.err, "");
	assert_has(result.out, "# name\tstate\tversion\tfile\tsummary\n");
	assert_has(result.out, "\nsequential\tavailable\t1.0.0\t" PAR_PLUGINS "/sequential.so\t");
	assert_has(result.out, "\nthreading\tavailable\t1.0.0\t" PAR_PLUGINS "/threading.so\t");
	assert_has(result.out, "\ngpu\tlazy\t-\t");
	assert_has(result.out, "\n# default: sequential\n# plugins.conf: ");
	assert_has(result.out, "/conf; plugins in: " PAR_PLUGINS "\n");
	forget(&result);
}
END_TEST

START_TEST(a_broken_plugin_is_listed_with_its_reason)
{
	static const char conf[] = "[parloop]\nplugin_dir = .\n";
	struct result result;

	write_file("conf", conf, strlen(conf));
	write_file("text.so", "some text", 9);
	result = run("", "backends", "--config=conf");
	assert_status(result, 0);
	assert_has(result.out, "\tbroken\t-\t");
	assert_has(result.out, "/text.so\tnot an ELF file");
	forget(&result);
}
END_TEST

START_TEST(the_environment_names_a_configuration_too)
{
	static const char conf[] = "[parloop]\ndefault = sequential\n";
	struct result result;

	write_file("conf", conf, strlen(conf));
	ck_assert_int_eq(setenv("PARLOOP_CONF", "./conf", 1), 0);
	result = run("", "backends");
	assert_has(result.out, "\n# default: sequential\n# plugins.conf: ");
	forget(&result);
	ck_assert_int_eq(unsetenv("PARLOOP_CONF"), 0);
}
END_TEST

START_TEST(a_configuration_that_lies_in_the_way_is_not_used)
{
	struct result result;

	write_file("plugins.conf", "nonsense\n", 9);
	result = run("", "backends");
	assert_status(result, 0);
	ck_assert_str_eq(result.err, "");
	forget(&result);
}
END_TEST

START_TEST(show_tells_the_options)
{
	static const char conf[] = "[backend threading]\nspin = 7us\n";
	struct result result;

	write_file("conf", conf, strlen(conf));
	result = run("", "show", "--config=conf", "threading");
	assert_status(result, 0);
	ck_assert_str_eq(result.err, "");
	ck_assert_msg(strncmp(result.out, "threading - ", 12) == 0, "%s", result.out);
	assert_has(result.out, PAR_PLUGINS "/threading.so");
	assert_has(result.out, "\n  spin\n    ");
	assert_has(result.out, "type time, 0us..10ms, default 50us\n");
	assert_has(result.out, "plugins.conf sets it to 7us\n");
	forget(&result);
}
END_TEST

START_TEST(show_says_what_is_required_and_keeps_what_is_secret)
{
	static const char conf[] = "[lazy]\nkeyed = " PAR_BUILD "/tests/plugins/keyed.so\n"
				   "[backend keyed]\nendpoint = here\npassword = hunter2\n";
	struct result result;

	write_file("conf", conf, strlen(conf));
	result = run("", "show", "--config=conf", "keyed");
	assert_status(result, 0);
	assert_has(result.out, "\n  endpoint\n    where it listens\n    type text, required\n"
			       "    plugins.conf sets it to here\n");
	assert_has(result.out, "\n  password\n    who we are\n    type text, required, secret\n");
	ck_assert_ptr_null(strstr(result.out, "hunter2"));
	forget(&result);
}
END_TEST

START_TEST(what_is_required_must_be_set)
{
	static const char conf[] = "[lazy]\nkeyed = " PAR_BUILD "/tests/plugins/keyed.so\n";

	write_file("conf", conf, strlen(conf));
	refuses(2, "endpoint", "[backend keyed]",
	        ARGUMENTS("map", "--config=conf", "-b", "keyed", DEMO ":echo"));
	refuses(2, "password", "[backend keyed]",
	        ARGUMENTS("map", "--config=conf", "-b", "keyed", "-oendpoint=x", DEMO ":echo"));
	/* Both set, it is asked itself. */
	refuses(3, "for the loader's tests only", "",
	        ARGUMENTS("map", "--config=conf", "-b", "keyed", "-oendpoint=x", "-opassword=hunter2",
	                  DEMO ":echo"));
}
END_TEST

/* --- all of them ------------------------------------------------------------------------------ */

int main(void)
{
	const TTest *const tests[] = {
		every_command_has_help,
		help_names_every_option_of_map,
		refuses_a_wrong_command_line,
		refuses_values_that_are_none,
		refuses_a_module_that_is_missing_or_none,
		an_unknown_task_lists_those_there_are,
		refuses_a_typed_task,
		a_failed_task_costs_only_itself,
		a_long_input_is_shortened_where_it_is_shown,
		what_a_task_says_is_shown_whole,
		fail_fast_ends_with_the_first_failure,
		the_last_word_on_failures_counts,
		tasks_have_the_workers_that_they_ask_for_only_with_oversubscribe,
		a_failure_tells_its_kind_and_the_failure_inside_it,
		a_task_that_returns_nothing_has_an_empty_line,
		a_reply_of_100_megabytes_arrives,
		each_line_is_a_task_also_an_empty_one,
		the_last_line_needs_no_newline,
		no_input_is_no_task,
		bytes_that_are_not_utf8_pass,
		nul_ends_inputs_and_replies_if_asked,
		a_nul_in_a_line_passes,
		arguments_are_tasks,
		options_may_follow_the_task,
		a_line_of_100_megabytes_is_a_task,
		lines_of_all_lengths_arrive_whole,
		input_that_cannot_be_read_is_an_error,
		results_come_in_the_order_of_the_input,
		unordered_results_are_the_same_set,
		output_that_cannot_be_written_is_an_error,
		help_and_lists_check_their_output_too,
		a_reader_that_leaves_ends_it_quietly,
		a_reader_that_left_before_is_noticed,
		results_come_while_the_input_pauses,
		a_reader_that_leaves_is_noticed_while_the_input_pauses,
		an_interrupt_ends_it_and_what_was_delivered_stays,
		so_does_a_request_to_terminate,
		an_interrupt_ends_a_read_that_waits,
		a_second_interrupt_ends_it_at_once,
		shows_progress_on_a_terminal_and_erases_it,
		shows_no_progress_if_not_wanted,
		refuses_settings_without_meaning,
		refuses_a_pre_dispatch_that_is_no_number_of_tasks,
		takes_the_settings_that_there_are,
		verbose_lines_come_on_stderr,
		a_result_that_never_comes_times_out,
		a_failed_task_is_tried_again_if_asked,
		tries_are_apart_by_the_delay_doubled_each_time,
		a_task_that_is_over_its_time_fails_alone,
		a_call_that_is_over_its_time_ends_with_what_it_has,
		enough_time_changes_nothing,
		refuses_numbers_of_retries_beyond_reason,
		a_seed_repeats_the_random_numbers,
		refuses_an_unknown_backend,
		each_backend_has_a_name_for_every_level,
		refuses_an_option_that_the_backend_has_not,
		refuses_a_configuration_that_is_wrong,
		refuses_a_configuration_that_cannot_be_read,
		a_backend_that_cannot_be_had_is_another_status,
		backends_are_listed_with_tabs_for_programs,
		a_broken_plugin_is_listed_with_its_reason,
		the_environment_names_a_configuration_too,
		a_configuration_that_lies_in_the_way_is_not_used,
		show_tells_the_options,
		show_says_what_is_required_and_keeps_what_is_secret,
		what_is_required_must_be_set,
	};
	Suite *suite = suite_create("command");
	TCase *tcase = tcase_create("command");
	SRunner *runner;
	int failed;

	tcase_set_timeout(tcase, 2.0 * LIMIT_MS / 1000);
	tcase_add_checked_fixture(tcase, begin, end);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	suite_add_tcase(suite, tcase);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
