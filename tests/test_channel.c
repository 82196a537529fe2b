/* Both ends of a channel: worker processes that were forked, and that were executed. */
#include "channel.h"
#include "module.h"
#include "wire_answer.h"

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
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEMO PAR_BUILD "/tasks/demo.so"

enum { SOCKET = 10, MEMORY = 11, MOST_MS = 20000 };

extern char **environ;

/* --- tasks of this program --------------------------------------------------------------------- */

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

/* Replies with its worker's number, and what the initializer kept. */
static char kept[64];

static int keep(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	(void)snprintf(kept, sizeof(kept), "%.*s", (int)size, (const char *)payload);
	return strcmp(kept, "bad") == 0 ? par_fail_task(env, 3, "this is bad") : 0;
}
PAR_TASK_OF_BYTES(keep)

static int tell(par_env *env, const void *payload, uint64_t size)
{
	char reply[128];
	int n = snprintf(reply, sizeof(reply), "%u %s", (unsigned)env->worker, kept);

	(void)payload, (void)size;
	return par_reply(env, reply, (uint64_t)n);
}
PAR_TASK_OF_BYTES(tell)

/* --- a worker ---------------------------------------------------------------------------------- */

static par_channel *channel;
static pid_t worker;
static par_worker_setup setup;
static struct wire_batch batch;
static int kind;

static pid_t execute(void)
{
	par_error error = PAR_ERROR_INIT;
	const int32_t its[2] = {SOCKET, MEMORY};
	const char *program = channel_program(&error);
	char *argv[] = {(char *)(uintptr_t)program, NULL}, *env[256];
	posix_spawn_file_actions_t actions;
	char *const *variables;
	int32_t ends[2];
	size_t n = 0;
	pid_t pid;

	ck_assert_msg(program != NULL, "%s: %s", error.file, error.reason);
	channel_ends(channel, ends);
	variables = channel_describe(channel, its, &setup);
	ck_assert_ptr_nonnull(variables);
	while (environ[n] != NULL && n < 250)
		env[n] = environ[n], n++;
	for (; *variables != NULL; variables++)
		env[n++] = *variables;
	env[n] = NULL;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[0], SOCKET);
	posix_spawn_file_actions_adddup2(&actions, ends[1], MEMORY);
	ck_assert_int_eq(posix_spawn(&pid, program, &actions, NULL, argv, env), 0);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

static pid_t start_forked(void)
{
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		channel_serve(channel, &setup);
	return pid;
}

static void start(void)
{
	par_error error = PAR_ERROR_INIT;

	ck_assert_msg(channel_open(kind, &channel, &error) == PAR_OK, "%s", error.reason);
	worker = kind == PAR_CHANNEL_FORKED ? start_forked() : execute();
	channel_started(channel);
}

static void begin(void)
{
	channel = NULL;
	worker = 0;
	setup = (par_worker_setup){.size = sizeof(setup), .worker = 2, .parent = getpid(), .cpu = -1};
	wire_batch_init(&batch);
	batch.head.level = batch.head.depth = 1;
}

static void begin_forked(void)
{
	kind = PAR_CHANNEL_FORKED;
	begin();
}

static void begin_executed(void)
{
	kind = PAR_CHANNEL_EXECUTED;
	begin();
}

static void end(void)
{
	channel_close(channel);
	if (worker > 0) {
		kill(-worker, SIGKILL);
		kill(worker, SIGKILL);
		ck_assert_int_eq(waitpid(worker, NULL, 0), worker);
	}
}

/* How the worker ended, once it has. */
static int ended(void)
{
	int status = -1;

	ck_assert_int_eq(waitpid(worker, &status, 0), worker);
	worker = 0;
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* As a loop does it: sleep only if nothing is there, and be woken. */
static void wait_for_more(void)
{
	struct pollfd ready = {.fd = channel_fd(channel), .events = POLLIN};

	if (!channel_sleeps(channel, 1))
		ck_assert_int_eq(poll(&ready, 1, MOST_MS), 1);
	(void)channel_sleeps(channel, 0);
}

/* 1, or an error. */
static int32_t next(struct wire_frame *frame, par_error *error)
{
	int32_t status;

	while ((status = channel_next(channel, frame, error)) == 0)
		wait_for_more();
	return status;
}

static void expect(struct wire_frame *frame, enum wire_kind wanted)
{
	par_error error = PAR_ERROR_INIT, why = PAR_ERROR_INIT;
	int32_t status = next(frame, &error);

	ck_assert_msg(status == 1, "%s: %s: %s", error.what, error.file, error.reason);
	if (frame->kind == WIRE_CANNOT && wanted != WIRE_CANNOT)
		(void)wire_get_cannot(frame, &why, &error);
	ck_assert_msg(frame->kind == wanted, "%d: %s: %s", (int)frame->kind, why.what, why.reason);
}

static void expect_finished(uint64_t id)
{
	struct wire_frame frame;

	expect(&frame, WIRE_FINISHED);
	ck_assert_uint_eq(frame.batch, id);
	ck_assert_uint_eq(channel_over(channel), id);
}

/* The one outcome of the next frame. */
static struct wire_outcome expect_outcome(void)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_outcome outcome;
	struct wire_cursor body;
	struct wire_frame frame;

	expect(&frame, WIRE_OUTCOMES);
	body = wire_body(&frame);
	ck_assert_int_eq(wire_next_outcome(&body, &outcome, &error), 1);
	return outcome;
}

/* A task of demo.so, of this program, or, in a fork of it, wherever it is. */
static void name_demo(const char *name)
{
	struct wire_task task = {.name = name, .kind = PAR_TASK_BYTES};
	struct wire_module module = {.path = DEMO};

	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &task);
}

static void name_own(const par_task *own)
{
	struct wire_task task = {.name = own->name, .kind = PAR_TASK_BYTES};
	struct wire_module module = {.is_program = 1};
	par_error error = PAR_ERROR_INIT;
	par_module *program;

	if (kind == PAR_CHANNEL_FORKED) {
		task.address = (uintptr_t)own;
	} else {
		ck_assert_int_eq(module_of_program(&program, &error), PAR_OK);
		module.path = module_path(program);
		module.id = *module_id(program);
		wire_batch_module(&batch, &module);
	}
	wire_batch_task(&batch, &task);
}

static void send_bytes(uint64_t id, const void *payload, size_t n)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_writer *writer = channel_begin(channel);

	batch.batch = id;
	wire_begin_list(writer, &batch);
	wire_put_item(writer, 4, 0, 0, payload, (uint32_t)n);
	wire_end_list(writer, 1);
	ck_assert_msg(channel_commit(channel, id, &error) == PAR_OK, "%s", error.what);
}

static void send(uint64_t id, const char *payload)
{
	send_bytes(id, payload, strlen(payload));
}

/* --- there and back ------------------------------------------------------------------------------ */

static void expect_echo(uint64_t id, const char *payload)
{
	struct wire_outcome outcome = expect_outcome();

	ck_assert_uint_eq(outcome.head.index, 4);
	ck_assert_uint_eq(outcome.head.size, strlen(payload));
	ck_assert_mem_eq(outcome.reply, payload, strlen(payload));
	expect_finished(id);
}

START_TEST(runs_tasks_of_a_module)
{
	start();
	name_demo("echo");
	send(9, "some words");
	ck_assert_int_eq(channel_out(channel), 1);
	expect_echo(9, "some words");
	ck_assert_int_eq(channel_out(channel), 0);
	ck_assert(channel_is_ready(channel));
}
END_TEST

START_TEST(runs_tasks_of_this_program)
{
	start();
	name_own(&par_task_tell);
	send(9, "");
	expect_echo(9, "2 ");
}
END_TEST

START_TEST(a_batch_may_be_sent_before_the_worker_is_there)
{
	start();
	name_demo("echo");
	for (uint64_t i = 1; i <= 100; i++)
		send(i, "early");
	ck_assert(!channel_is_ready(channel));
	ck_assert_int_eq(channel_out(channel), 100);
	for (uint64_t i = 1; i <= 100; i++)
		expect_echo(i, "early");
}
END_TEST

/* Frames that fit, that do not fit beside others, and that fit nowhere, in both directions. */
START_TEST(frames_of_any_size_come_in_their_order)
{
	static const size_t sizes[] = {0, 1, 4000, 100000, 900000, 1048576, 3000000, 4194304, 20000000};
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	char *bytes = malloc(sizes[N - 1]);

	ck_assert_ptr_nonnull(bytes);
	for (size_t i = 0; i < sizes[N - 1]; i++)
		bytes[i] = (char)(i * 7 + i / 1000);
	start();
	name_demo("echo");
	for (uint64_t i = 0; i < 3 * N; i++)
		send_bytes(1 + i, bytes, sizes[i % N]);
	for (uint64_t i = 0; i < 3 * N; i++) {
		struct wire_outcome outcome = expect_outcome();

		ck_assert_uint_eq(outcome.head.size, sizes[i % N]);
		ck_assert(memcmp(outcome.reply, bytes, sizes[i % N]) == 0);
		expect_finished(1 + i);
	}
	free(bytes);
}
END_TEST

START_TEST(what_was_withdrawn_was_not_sent)
{
	start();
	name_demo("echo");
	for (uint64_t i = 1; i <= 1000; i++) {
		struct wire_writer *writer = channel_begin(channel);

		wire_begin_list(writer, &batch);
		channel_withdraw(channel);
		ck_assert_int_eq(channel_out(channel), 0);
		send(i, "this");
		expect_echo(i, "this");
	}
}
END_TEST

/* Until one runs. */
static struct wire_now wait_for_task(void)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	struct wire_now now;

	for (;;) {
		channel_now(channel, &now);
		if (now.batch != 0 && now.begin_ns != 0)
			return now;
		nanosleep(&moment, NULL);
	}
}

START_TEST(a_task_sees_that_the_call_ends)
{
	struct wire_outcome outcome;

	start();
	name_demo("snail");
	send(1, "wait");
	wait_for_task();
	channel_stop(channel);
	outcome = expect_outcome();
	ck_assert(outcome.head.failed);
	ck_assert_str_eq(outcome.text, "cancelled");
	expect_finished(1);
	send(2, "on");
	expect_echo(2, "on");
}
END_TEST

START_TEST(it_is_seen_which_task_runs)
{
	struct wire_now now;

	start();
	name_demo("snail");
	send(7, "wait");
	now = wait_for_task();
	ck_assert_uint_eq(now.batch, 7);
	ck_assert_uint_eq(now.index, 4);
	ck_assert_uint_eq(now.n, 1);
	channel_stop(channel);
	(void)expect_outcome();
	expect_finished(7);
	channel_now(channel, &now);
	ck_assert_uint_eq(now.batch, 0);
}
END_TEST

/* --- its end -------------------------------------------------------------------------------------- */

START_TEST(a_worker_ends_when_it_has_run_what_it_was_sent)
{
	start();
	name_demo("snail");
	for (uint64_t i = 1; i <= 10; i++)
		send(i, "x");
	channel_close(channel);
	channel = NULL;
	/* By its own hand, as are all in its group. */
	ck_assert_int_eq(ended(), -SIGKILL);
}
END_TEST

START_TEST(what_a_dead_worker_has_sent_counts)
{
	start();
	name_demo("snail");
	send(1, "x");
	send(2, "wait");
	expect_echo(1, "x");
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert_int_eq(ended(), -SIGKILL);
	ck_assert_int_eq(channel_next(channel, &(struct wire_frame){0}, NULL), 0);
	ck_assert_int_eq(channel_out(channel), 1);
	ck_assert_uint_eq(channel_over(channel), 2);
	ck_assert_uint_eq(channel_over(channel), 0);
}
END_TEST

/* Of what was not sent whole nothing counts. */
START_TEST(a_descriptor_at_its_end_is_quiet_once_it_was_heard)
{
	struct pollfd ready;

	start();
	name_demo("echo");
	send(1, "x");
	expect_echo(1, "x");
	ck_assert_int_eq(channel_sleeps(channel, 1), 0);
	ck_assert_int_eq(kill(worker, SIGKILL), 0);
	ck_assert_int_eq(ended(), -SIGKILL);
	ready = (struct pollfd){.fd = channel_fd(channel), .events = POLLIN};
	ck_assert_int_eq(poll(&ready, 1, 0), 1);
	(void)channel_sleeps(channel, 0);
	ck_assert_int_eq(poll(&ready, 1, 0), 0);
}
END_TEST

int main(int argc, char **argv)
{
	const TTest *const tests[] = {
		runs_tasks_of_a_module,
		runs_tasks_of_this_program,
		a_batch_may_be_sent_before_the_worker_is_there,
		frames_of_any_size_come_in_their_order,
		what_was_withdrawn_was_not_sent,
		a_task_sees_that_the_call_ends,
		it_is_seen_which_task_runs,
		a_worker_ends_when_it_has_run_what_it_was_sent,
		what_a_dead_worker_has_sent_counts,
		a_descriptor_at_its_end_is_quiet_once_it_was_heard,
	};
	Suite *suite;
	SRunner *runner;
	int failed;

	par_worker_main(argc, argv);
	suite = suite_create("channel");
	for (int k = 0; k < 2; k++) {
		TCase *tcase = tcase_create(k == 0 ? "forked" : "executed");

		tcase_add_checked_fixture(tcase, k == 0 ? begin_forked : begin_executed, end);
		for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
			tcase_add_test(tcase, tests[i]);
		suite_add_tcase(suite, tcase);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
