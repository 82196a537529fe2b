/* The program parloop-worker, and this one as its own worker, over a socket. */
#include "module.h"
#include "serve.h"
#include "wire_answer.h"
#include "wire_batch.h"

#include <parloop/worker.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEMO   PAR_BUILD "/tasks/demo.so"
#define WORKER PAR_BUILD "/parloop-worker"
#define SELF   PAR_BUILD "/tests/test_worker"

enum { ITS_FD = 5, MOST_MS = 20000 };

/* A task of this program. */
static int triple(const int64_t *in, int64_t *out)
{
	*out = 3 * *in;
	return 0;
}
PAR_TASK(triple, int64_t, int64_t)

/* What a worker is like: group, parent's signal, SIGINT, what it may read, what is open. */
struct state {
	int32_t pid, group, death_signal, sigint_ignored, stdin_bytes, variable, n_open;
};
static int count_inheritable(void)
{
	int n = 0;

	for (int i = 3; i < 200; i++)
		n += fcntl(i, F_GETFD) >= 0 && (fcntl(i, F_GETFD) & FD_CLOEXEC) == 0;
	return n;
}

static int describe(par_env *env, const void *payload, uint64_t size)
{
	struct state state = {.pid = getpid(), .group = getpgrp()};
	struct sigaction action;
	char byte;

	(void)payload, (void)size;
	(void)prctl(PR_GET_PDEATHSIG, &state.death_signal);
	(void)sigaction(SIGINT, NULL, &action);
	state.sigint_ignored = action.sa_handler == SIG_IGN;
	state.stdin_bytes = (int32_t)read(STDIN_FILENO, &byte, 1);
	state.variable = getenv(PAR_WORKER_VARIABLE) != NULL;
	state.n_open = count_inheritable();
	return par_reply(env, &state, sizeof(state));
}
PAR_TASK_OF_BYTES(describe)

/* --- a worker ------------------------------------------------------------------------------------ */

static pid_t worker;
static int fd = -1;
static struct wire_reader reader;
static char received[1 << 16];
static struct wire_batch batch;
static struct wire_writer request;

static char *number(int value)
{
	static char text[4][16];
	static int next;

	next = (next + 1) % 4;
	(void)snprintf(text[next], sizeof(text[0]), "%d", value);
	return text[next];
}

/* The descriptor is its 5; ours is closed there, as that of any other. */
static pid_t start(char *const argv[], char *const env[], int *ours)
{
	posix_spawn_file_actions_t actions;
	int pair[2], refused;
	pid_t pid;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pair[1], ITS_FD);
	refused = posix_spawn(&pid, argv[0], &actions, NULL, argv, env);
	ck_assert_msg(refused == 0, "%s: %s", argv[0], strerror(refused));
	posix_spawn_file_actions_destroy(&actions);
	close(pair[1]);
	*ours = pair[0];
	return pid;
}

static void start_worker(void)
{
	char *const argv[] = {(char *)(uintptr_t)WORKER, (char *)(uintptr_t)"--fd", number(ITS_FD),
	                      (char *)(uintptr_t)"--worker", number(2),
	                      (char *)(uintptr_t)"--parent", number(getpid()), NULL};

	worker = start(argv, environ, &fd);
}

/* This program, as a backend would execute it once more. */
static void start_self(void)
{
	char *const argv[] = {(char *)(uintptr_t)SELF, NULL};
	char variable[64];

	(void)snprintf(variable, sizeof(variable), "%d:%d:2:%d", ITS_FD, ITS_FD, (int)getpid());
	setenv(PAR_WORKER_VARIABLE, variable, 1);
	worker = start(argv, environ, &fd);
	unsetenv(PAR_WORKER_VARIABLE);
}

static void begin(void)
{
	worker = 0;
	wire_reader_init(&reader, 0);
	wire_writer_init(&request, 0);
	wire_batch_init(&batch);
	batch.batch = 9;
	batch.head.level = batch.head.depth = 1;
}

static void end(void)
{
	if (fd >= 0)
		close(fd);
	fd = -1;
	if (worker > 0) {
		kill(worker, SIGKILL);
		ck_assert_int_eq(waitpid(worker, NULL, 0), worker);
	}
	wire_reader_finish(&reader);
	wire_writer_finish(&request);
}

/* How the worker ended, once it has. */
static int ended(void)
{
	int status = -1;

	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	worker = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void send_bytes(const void *bytes, size_t n)
{
	ck_assert_int_eq(send(fd, bytes, n, MSG_NOSIGNAL), (ssize_t)n);
}

static void send_request(void)
{
	ck_assert(!request.failed);
	send_bytes(request.bytes, request.used);
	wire_writer_clear(&request);
}

/* Its next frame, which is valid until the next is asked for; 0: its end. */
static int next_frame(struct wire_frame *frame)
{
	par_error error = PAR_ERROR_INIT;
	int32_t status;

	while ((status = wire_next(&reader, frame, &error)) == 0) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		ssize_t n;

		ck_assert_int_eq(poll(&ready, 1, MOST_MS), 1);
		n = recv(fd, received, sizeof(received), 0);
		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return 0;
		ck_assert_int_gt(n, 0);
		wire_reader_lend(&reader, received, (size_t)n);
	}
	ck_assert_msg(status == 1, "%s: %s", error.what, error.reason);
	return 1;
}

static void expect(struct wire_frame *frame, enum wire_kind kind)
{
	ck_assert(next_frame(frame));
	ck_assert_int_eq(frame->kind, kind);
}

static void expect_hello(void)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;
	struct wire_hello hello;

	expect(&frame, WIRE_HELLO);
	ck_assert_int_eq(wire_get_hello(&frame, &hello, &error), PAR_OK);
	ck_assert_int_eq(hello.pid, worker);
	ck_assert_str_eq(hello.version, PAR_VERSION_STRING);
	ck_assert_ptr_nonnull(hello.host);
}

static void expect_finished(uint64_t ran)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_finished finished;
	struct wire_frame frame;

	expect(&frame, WIRE_FINISHED);
	ck_assert_uint_eq(frame.batch, 9);
	ck_assert_int_eq(wire_get_finished(&frame, &finished, &error), PAR_OK);
	ck_assert_uint_eq(finished.ran, ran);
}

static void expect_cannot(int32_t code, const char *reason)
{
	par_error error = PAR_ERROR_INIT, why = PAR_ERROR_INIT;
	struct wire_frame frame;

	expect(&frame, WIRE_CANNOT);
	ck_assert_int_eq(wire_get_cannot(&frame, &why, &error), PAR_OK);
	ck_assert_int_eq(why.code, code);
	ck_assert_msg(strstr(why.reason, reason) != NULL, "%s", why.reason);
}

/* The one outcome of the next frame. */
static void expect_outcome(struct wire_outcome *outcome)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_cursor body;
	struct wire_frame frame;

	expect(&frame, WIRE_OUTCOMES);
	body = wire_body(&frame);
	ck_assert_int_eq(wire_next_outcome(&body, outcome, &error), 1);
}

static void name_of(const char *path, const char *task_name, int32_t kind, uint32_t size)
{
	struct wire_module module = {.path = path};
	struct wire_task task = {task_name, 0, kind, size, size};
	par_error error = PAR_ERROR_INIT;
	par_module *opened;

	if (path == NULL) {
		ck_assert_int_eq(module_of_program(&opened, &error), PAR_OK);
		module.path = module_path(opened);
		module.is_program = 1;
		module.id = *module_id(opened);
	} else if (par_module_open(&opened, path, &error) == PAR_OK) {
		module.id = *module_id(opened);
	}
	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &task);
}

static void ask(const char *path, const char *task_name, const char *payload)
{
	name_of(path, task_name, PAR_TASK_BYTES, 0);
	wire_begin_list(&request, &batch);
	wire_put_item(&request, 4, 0, 0, payload, (uint32_t)strlen(payload));
	wire_end_list(&request, 1);
	send_request();
}

/* --- batches -------------------------------------------------------------------------------------------- */

START_TEST(runs_a_bytes_task)
{
	struct wire_outcome outcome;

	start_worker();
	expect_hello();
	ask(DEMO, "upper", "some words");
	expect_outcome(&outcome);
	ck_assert_uint_eq(outcome.head.index, 4);
	ck_assert_uint_eq(outcome.head.size, 10);
	ck_assert_mem_eq(outcome.reply, "SOME WORDS", 10);
	expect_finished(1);
}
END_TEST

START_TEST(tells_why_a_task_failed)
{
	struct wire_outcome outcome;

	start_worker();
	expect_hello();
	ask(DEMO, "picky", "bad");
	expect_outcome(&outcome);
	ck_assert(outcome.head.failed);
	ck_assert_int_eq(outcome.code, 7);
	ck_assert_str_eq(outcome.text, "this input is bad");
	ck_assert_ptr_nonnull(strstr(outcome.where, "demo.c:"));
	expect_finished(1);
}
END_TEST

START_TEST(runs_a_range_of_values)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;
	struct wire_chunk chunk;
	int64_t in[1000], square;
	uint64_t next = 0;

	start_worker();
	expect_hello();
	for (int i = 0; i < 1000; i++)
		in[i] = i;
	name_of(DEMO, "square", PAR_TASK_TYPED, sizeof(int64_t));
	batch.head.n = 1000;
	batch.in = in;
	batch.range.in_size = batch.range.out_size = sizeof(int64_t);
	wire_put_range(&request, &batch);
	send_request();
	while (next < 1000) {
		expect(&frame, WIRE_CHUNK);
		ck_assert_int_eq(wire_get_chunk(&frame, &chunk, &error), PAR_OK);
		ck_assert_uint_eq(chunk.head.first, next);
		for (uint64_t i = 0; i < chunk.head.n; i++, next++) {
			memcpy(&square, (const char *)chunk.values + 8 * i, 8);
			ck_assert_int_eq(square, (int64_t)(next * next));
		}
	}
	expect_finished(1000);
}
END_TEST

/* A memfd, and it goes with the frame. */
static int64_t *share(uint64_t id, uint64_t bytes, int memfd)
{
	par_attachment attachment = {.size = sizeof(attachment), .kind = PAR_ATTACH_ARRAY, .id = id,
	                             .bytes = bytes, .fd = memfd, .writable = 1};
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(sizeof(int))];
	} control = {.bytes = {0}};
	struct iovec piece;
	struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
	                         .msg_controllen = sizeof(control)};
	struct cmsghdr *part = CMSG_FIRSTHDR(&message);
	int64_t *address = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);

	ck_assert_ptr_ne(address, MAP_FAILED);
	part->cmsg_level = SOL_SOCKET;
	part->cmsg_type = SCM_RIGHTS;
	part->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(part), &memfd, sizeof(memfd));
	wire_put_attach(&request, &attachment, WIRE_PASSED);
	piece = (struct iovec){request.bytes, request.used};
	ck_assert_int_eq(sendmsg(fd, &message, 0), (ssize_t)request.used);
	wire_writer_clear(&request);
	return address;
}

static int new_memfd(off_t bytes)
{
	int memfd = memfd_create("test", MFD_CLOEXEC);

	ck_assert_int_ge(memfd, 0);
	ck_assert_int_eq(ftruncate(memfd, bytes), 0);
	return memfd;
}

START_TEST(runs_a_range_in_shared_memory)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;
	struct wire_chunk chunk;
	int in_fd = new_memfd(8000), out_fd = new_memfd(8000);
	int64_t *in, *out;

	start_worker();
	expect_hello();
	in = share(1, 8000, in_fd);
	out = share(2, 8000, out_fd);
	for (int i = 0; i < 1000; i++)
		in[i] = i;
	name_of(DEMO, "square", PAR_TASK_TYPED, sizeof(int64_t));
	batch.head.n = 1000;
	batch.range.in = (struct wire_ref){1, 0};
	batch.range.out = (struct wire_ref){2, 0};
	batch.range.in_size = batch.range.out_size = sizeof(int64_t);
	wire_put_range(&request, &batch);
	send_request();
	expect(&frame, WIRE_CHUNK);
	ck_assert_int_eq(wire_get_chunk(&frame, &chunk, &error), PAR_OK);
	ck_assert_uint_eq(chunk.head.n, 1000);
	expect_finished(1000);
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(out[i], (int64_t)i * i);
	munmap(in, 8000);
	munmap(out, 8000);
	close(in_fd);
	close(out_fd);
}
END_TEST

START_TEST(says_that_a_module_is_missing)
{
	start_worker();
	expect_hello();
	ask("/nowhere/some.so", "echo", "x");
	expect_cannot(PAR_ENOTFOUND, "No such file");
	wire_batch_init(&batch);
	batch.batch = 9;
	ask(DEMO, "silent", "x");
	expect(&(struct wire_frame){0}, WIRE_OUTCOMES);
	expect_finished(1);
}
END_TEST

START_TEST(says_that_a_module_is_another)
{
	start_worker();
	expect_hello();
	name_of(DEMO, "echo", PAR_TASK_BYTES, 0);
	batch.modules[0].id.bytes[0] ^= 1;
	wire_begin_list(&request, &batch);
	wire_end_list(&request, 0);
	send_request();
	expect_cannot(PAR_EUNAVAIL, "its build id is ");
}
END_TEST

START_TEST(says_whose_a_programs_tasks_are)
{
	start_worker();
	expect_hello();
	ask(NULL, "describe", "");
	expect_cannot(PAR_EUNAVAIL, "this worker is " WORKER);
}
END_TEST

START_TEST(a_program_is_its_own_worker)
{
	struct wire_outcome outcome;
	struct state state;

	start_self();
	expect_hello();
	ask(NULL, "describe", "");
	expect_outcome(&outcome);
	ck_assert_uint_eq(outcome.head.size, sizeof(state));
	memcpy(&state, outcome.reply, sizeof(state));
	ck_assert_int_eq(state.pid, worker);
	ck_assert_int_eq(state.group, worker);
	ck_assert_int_eq(state.death_signal, SIGKILL);
	ck_assert_int_eq(state.sigint_ignored, 1);
	ck_assert_int_eq(state.stdin_bytes, 0);
	ck_assert_int_eq(state.variable, 0);
	/* what we have inherited ourselves, and nothing of the worker's */
	ck_assert_int_eq(state.n_open, count_inheritable());
	expect_finished(1);
}
END_TEST

/* --- its end ------------------------------------------------------------------------------------------------ */

START_TEST(ends_well_with_its_descriptor)
{
	start_worker();
	expect_hello();
	close(fd);
	fd = -1;
	ck_assert_int_eq(ended(), EXIT_SUCCESS);
}
END_TEST

START_TEST(a_program_ends_well_as_its_own_worker)
{
	start_self();
	expect_hello();
	close(fd);
	fd = -1;
	ck_assert_int_eq(ended(), EXIT_SUCCESS);
}
END_TEST

START_TEST(ends_after_bytes_that_make_no_sense)
{
	start_worker();
	expect_hello();
	send_bytes("GET / HTTP/1.0\r\n\r\n123456789", 27);
	expect_cannot(PAR_EINVAL, "begins with 47 45");
	ck_assert(!next_frame(&(struct wire_frame){0}));
	ck_assert_int_eq(ended(), EXIT_FAILURE);
}
END_TEST

START_TEST(an_attachment_is_not_longer_than_its_file)
{
	int memfd = new_memfd(100);

	start_worker();
	expect_hello();
	(void)share(1, 101, memfd);
	expect_cannot(PAR_EINVAL, "has 100 bytes, and says 101");
	ck_assert_int_eq(ended(), EXIT_FAILURE);
	close(memfd);
}
END_TEST

START_TEST(an_interrupt_is_for_the_parent)
{
	start_worker();
	expect_hello();
	ck_assert_int_eq(kill(worker, SIGINT), 0);
	ask(DEMO, "silent", "x");
	expect(&(struct wire_frame){0}, WIRE_OUTCOMES);
	expect_finished(1);
}
END_TEST

START_TEST(refuses_to_serve_a_parent_that_is_not_its_own)
{
	char *const argv[] = {(char *)(uintptr_t)WORKER, (char *)(uintptr_t)"--fd", number(ITS_FD),
	                      (char *)(uintptr_t)"--parent", number(1), NULL};

	ck_assert_int_ne(getpid(), 1);
	worker = start(argv, environ, &fd);
	ck_assert(!next_frame(&(struct wire_frame){0}));
	ck_assert_int_eq(ended(), EXIT_FAILURE);
}
END_TEST

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* A process that starts a worker, gives it a task, and then waits for ever with the descriptor
 * open. */
static pid_t start_parent(const char *payload)
{
	int told[2];
	pid_t parent;

	ck_assert_int_eq(pipe2(told, O_CLOEXEC), 0);
	parent = fork();
	ck_assert_int_ge(parent, 0);
	if (parent == 0) {
		start_worker();
		expect_hello();
		ask(DEMO, "stubborn", payload);
		if (strcmp(payload, "stuck") != 0) {
			expect(&(struct wire_frame){0}, WIRE_OUTCOMES);
			expect_finished(1);
		}
		(void)!write(told[1], &worker, sizeof(worker));
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(told[0], &worker, sizeof(worker)), sizeof(worker));
	close(told[0]);
	close(told[1]);
	return parent;
}

/* Its parent is killed; it is gone soon after, and becomes our child for that. */
static void dies_with_its_parent(const char *payload)
{
	int64_t begin_ms;
	pid_t parent;

	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	parent = start_parent(payload);
	ck_assert_int_eq(kill(worker, 0), 0);
	begin_ms = now_ms();
	ck_assert_int_eq(kill(parent, SIGKILL), 0);
	ck_assert_int_eq(waitpid(parent, NULL, 0), parent);
	(void)ended();
	if (getenv("UNDER_VALGRIND") == NULL)
		ck_assert_int_le(now_ms() - begin_ms, 100);
	/* A sanitizer that was just looking for leaks in it did so from a process of its own. */
	while (waitpid(-1, NULL, 0) > 0)
		;
}

START_TEST(a_busy_worker_dies_with_its_parent)
{
	dies_with_its_parent("stuck");
}
END_TEST

START_TEST(an_idle_worker_dies_with_its_parent)
{
	dies_with_its_parent("well");
}
END_TEST

/* --- who becomes one ------------------------------------------------------------------------------------------- */

START_TEST(a_worker_on_its_way_to_being_the_program_is_stopped)
{
	par_error error = PAR_ERROR_INIT;

	ck_assert_int_eq(serve_guard(&error), PAR_OK);
	setenv(PAR_WORKER_VARIABLE, "5:5:0:1", 1);
	ck_assert_int_eq(serve_guard(&error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.what, "without protecting your main()"));
	ck_assert_ptr_nonnull(strstr(error.remedy, "par_worker_main(argc, argv) first"));
}
END_TEST

START_TEST(a_program_that_can_be_its_own_worker_has_said_so)
{
	ck_assert(serve_program_can());
}
END_TEST

START_TEST(what_nobody_meant_is_refused)
{
	const par_serving half = {.size = 8};
	const struct {
		par_serving known;
		int32_t later;
	} newer = {{.size = sizeof(newer), .in = 0, .out = 1}, 1};
	const par_serving closed = {.size = sizeof(closed), .in = 300, .out = 300};
	par_error error = PAR_ERROR_INIT;

	ck_assert_int_eq(par_worker_serve(NULL, &error), PAR_EINVAL);
	ck_assert_int_eq(par_worker_serve(&half, &error), PAR_EINVAL);
	ck_assert_int_eq(par_worker_serve(&newer.known, &error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.reason, "later than parloop " PAR_VERSION_STRING));
	ck_assert_int_eq(par_worker_serve(&closed, &error), PAR_EINVAL);
	ck_assert_str_eq(error.what, "cannot serve descriptor 300");
}
END_TEST

static int says(const char *arguments, const char *words)
{
	char command[512];

	(void)snprintf(command, sizeof(command), WORKER " %s 2>&1 | grep -qF -- '%s'", arguments,
	               words);
	return system(command) == 0;
}

static int status_of(const char *arguments)
{
	char command[512];

	(void)snprintf(command, sizeof(command), WORKER " %s >/dev/null 2>&1", arguments);
	return WEXITSTATUS(system(command));
}

START_TEST(its_command_line_is_explained)
{
	ck_assert(says("--help", "usage: parloop-worker --fd N"));
	ck_assert(says("--version", "parloop-worker " PAR_VERSION_STRING));
	ck_assert(says("", "no descriptor: --fd is missing"));
	ck_assert(says("--fd x", "--fd needs a number from 0, not \"x\""));
	ck_assert(says("--fd", "--fd needs a number"));
	ck_assert(says("--df 5", "unknown option \"--df\""));
	ck_assert(says("--fd 300", "cannot serve descriptor 300: Bad file descriptor"));
	ck_assert_int_eq(status_of("--help"), 0);
	ck_assert_int_eq(status_of("--df 5"), 2);
	ck_assert_int_eq(status_of("--fd 300"), 1);
}
END_TEST

START_TEST(serves_two_pipes)
{
	ck_assert_int_eq(system("exec 6</dev/null; " WORKER " --fd 6 --out 1 | head -c 2 | "
	                        "grep -qx pw"), 0);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		runs_a_bytes_task,
		tells_why_a_task_failed,
		runs_a_range_of_values,
		runs_a_range_in_shared_memory,
		says_that_a_module_is_missing,
		says_that_a_module_is_another,
		says_whose_a_programs_tasks_are,
		a_program_is_its_own_worker,
		ends_well_with_its_descriptor,
		a_program_ends_well_as_its_own_worker,
		ends_after_bytes_that_make_no_sense,
		an_attachment_is_not_longer_than_its_file,
		an_interrupt_is_for_the_parent,
		refuses_to_serve_a_parent_that_is_not_its_own,
		a_busy_worker_dies_with_its_parent,
		an_idle_worker_dies_with_its_parent,
		a_worker_on_its_way_to_being_the_program_is_stopped,
		a_program_that_can_be_its_own_worker_has_said_so,
		what_nobody_meant_is_refused,
		its_command_line_is_explained,
		serves_two_pipes,
	};
	Suite *suite;
	TCase *tcase;
	SRunner *runner;
	int failed;

	par_worker_main(argc, argv);
	suite = suite_create("worker");
	tcase = tcase_create("worker");
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
