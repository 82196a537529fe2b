/* Both ends of a channel: worker processes that were forked, and that were executed. */
#include "channel.h"
#include "channel_memory.h"
#include "module.h"
#include "shared.h"
#include "wire_answer.h"

#include "fuzz/read_frames.h"

#include <parloop/worker.h>

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEMO     PAR_BUILD "/tasks/demo.so"
#define STATEFUL PAR_BUILD "/tasks/stateful.so"

enum { SOCKET = 10, MEMORY = 11, MOST_MS = 20000 };

/* A sanitizer has more address space than any limit, and handles faults itself. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

extern char **environ;

/* --- tasks of this program -------------------------------------------------------------------- */

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

/* Replies with its worker's number. */
static int tell(par_env *env, const void *payload, uint64_t size)
{
	char reply[16];
	int n = snprintf(reply, sizeof(reply), "%u", (unsigned)env->worker);

	(void)payload, (void)size;
	return par_reply(env, reply, (uint64_t)n);
}
PAR_TASK_OF_BYTES(tell)

/* Dies in the way that its payload names. */
static volatile int goes_on = 1;

__attribute__((noinline)) static int go_deeper(volatile char *above)
{
	volatile char room[4096];

	room[0] = above != NULL ? above[0] : 1;
	return goes_on ? go_deeper(room) + room[0] : 0;
}

static int die(par_env *env, const void *payload, uint64_t size)
{
	static int *volatile nowhere = (int *)(uintptr_t)0x10;
	char how[16];

	(void)env;
	(void)snprintf(how, sizeof(how), "%.*s", (int)size, (const char *)payload);
	if (strcmp(how, "abort") == 0)
		abort();
	if (strcmp(how, "deep") == 0)
		return go_deeper(NULL);
	if (strcmp(how, "thread") == 0)
		pthread_exit(NULL);
	*nowhere = 1;
	return 0;
}
PAR_TASK_OF_BYTES(die)

/* What a worker is like. */
struct state {
	int32_t pid, parent, group, interrupt_ignored, pipe_default, any_blocked, stdin_bytes, variable;
	int32_t n_open, cpus, first_cpu;
	uint64_t memory, cpu_s;
};

static int count_open(void)
{
	int n = 0;

	for (int i = 3; i < 1024; i++)
		n += fcntl(i, F_GETFD) >= 0;
	return n;
}

static int is_any_blocked(void)
{
	sigset_t blocked;
	int n = 0;

	(void)sigprocmask(SIG_BLOCK, NULL, &blocked);
	for (int i = 1; i < NSIG; i++)
		n += sigismember(&blocked, i) == 1;
	return n > 0;
}

static void look_at_limits(struct state *state)
{
	struct rlimit limit;
	cpu_set_t cpus;

	(void)getrlimit(RLIMIT_AS, &limit);
	state->memory = limit.rlim_cur;
	(void)getrlimit(RLIMIT_CPU, &limit);
	state->cpu_s = limit.rlim_cur;
	(void)sched_getaffinity(0, sizeof(cpus), &cpus);
	state->cpus = CPU_COUNT(&cpus);
	while (state->first_cpu < CPU_SETSIZE && !CPU_ISSET((size_t)state->first_cpu, &cpus))
		state->first_cpu++;
}

static int describe(par_env *env, const void *payload, uint64_t size)
{
	struct state state = {.pid = getpid(), .parent = getppid(), .group = getpgrp()};
	struct sigaction action;
	char byte;

	(void)payload, (void)size;
	(void)sigaction(SIGINT, NULL, &action);
	state.interrupt_ignored = action.sa_handler == SIG_IGN;
	(void)sigaction(SIGPIPE, NULL, &action);
	state.pipe_default = action.sa_handler == SIG_DFL;
	state.any_blocked = is_any_blocked();
	state.stdin_bytes = (int32_t)read(STDIN_FILENO, &byte, 1);
	state.variable = getenv(PAR_WORKER_VARIABLE) != NULL;
	state.n_open = count_open();
	look_at_limits(&state);
	return par_reply(env, &state, sizeof(state));
}
PAR_TASK_OF_BYTES(describe)

/* Starts a process that stays in the worker's group, and writes its id and the worker's into the file
 * that its payload names after a word.  If that is not "idle" it never ends, with all signals
 * blocked, and stops the whole group if it is "stop". */
static int beget(par_env *env, const void *payload, uint64_t size)
{
	const struct timespec moment = {.tv_nsec = 1000000};
	char word[5] = "", path[64] = "";
	pid_t pids[2];
	sigset_t all;
	int fd;

	(void)env;
	(void)snprintf(word, sizeof(word), "%.4s", (const char *)payload);
	(void)snprintf(path, sizeof(path), "%.*s", (int)size - 5, (const char *)payload + 5);
	pids[0] = getpid();
	pids[1] = fork();
	while (pids[1] == 0)
		pause();
	fd = open(path, O_WRONLY | O_CLOEXEC);
	(void)!write(fd, pids, sizeof(pids));
	close(fd);
	(void)sigfillset(&all);
	if (strcmp(word, "idle") != 0)
		(void)sigprocmask(SIG_BLOCK, &all, NULL);
	if (strcmp(word, "stop") == 0)
		(void)kill(0, SIGSTOP);
	while (strcmp(word, "idle") != 0)
		nanosleep(&moment, NULL);
	return 0;
}
PAR_TASK_OF_BYTES(beget)

/* --- a worker --------------------------------------------------------------------------------- */

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
static void name(const char *path, const char *task_name)
{
	struct wire_task task = {.name = task_name, .kind = PAR_TASK_BYTES};
	struct wire_module module = {.path = path};

	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &task);
}

static void name_demo(const char *task_name)
{
	name(DEMO, task_name);
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

/* --- there and back --------------------------------------------------------------------------- */

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
	ck_assert_int_eq(channel_is_ready(channel), 2);
}
END_TEST

START_TEST(runs_tasks_of_this_program)
{
	start();
	name_own(&par_task_tell);
	send(9, "");
	expect_echo(9, "2");
}
END_TEST

START_TEST(a_batch_may_be_sent_before_the_worker_is_there)
{
	start();
	name_demo("echo");
	for (uint64_t i = 1; i <= 100; i++)
		send(i, "early");
	ck_assert_int_eq(channel_is_ready(channel), 0);
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

/* --- its end ---------------------------------------------------------------------------------- */

START_TEST(a_worker_ends_when_it_has_run_what_it_was_sent)
{
	start();
	name_demo("snail");
	for (uint64_t i = 1; i <= 10; i++)
		send(i, "x");
	channel_close(channel);
	channel = NULL;
	ck_assert_int_eq(ended(), EXIT_SUCCESS);
}
END_TEST

/* A plugin that is newer than we are, and one that has forgotten its size. */
START_TEST(no_worker_is_what_we_do_not_know)
{
	struct {
		par_worker_setup known;
		int64_t later;
	} newer = {.known = setup, .later = 1};
	const par_worker_setup none = {.parent = getpid()}, *setups[] = {&newer.known, &none};
	const int32_t its[2] = {SOCKET, MEMORY};
	par_error error = PAR_ERROR_INIT;

	newer.known.size = sizeof(newer);
	ck_assert_int_eq(channel_open(kind, &channel, &error), PAR_OK);
	for (int i = 0; i < 2; i++) {
		ck_assert_ptr_null(channel_describe(channel, its, setups[i]));
		worker = fork();
		if (worker == 0)
			channel_serve(channel, setups[i]);
		ck_assert_int_eq(ended(), EXIT_FAILURE);
	}
	newer.later = 0;
	ck_assert_ptr_nonnull(channel_describe(channel, its, &newer.known));
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

static char state_of(pid_t pid)
{
	char path[64], state = 0;
	FILE *file;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fscanf(file, "%*d (%*[^)]) %c", &state), 1);
	fclose(file);
	return state;
}

/* Who does not begin is called over to the core that is about to be free, and may run where it
 * might before. */
START_TEST(who_does_not_begin_is_not_waited_for)
{
	cpu_set_t before, after;

	start();
	name_demo("echo");
	send(1, "x");
	expect_echo(1, "x");
	/* Until then it may be about to go to another core by itself. */
	while (state_of(worker) != 'S')
		sched_yield();
	ck_assert_int_eq(sched_getaffinity(worker, sizeof(before), &before), 0);
	ck_assert_int_eq(kill(worker, SIGSTOP), 0);
	while (state_of(worker) != 'T')
		sched_yield();
	send(2, "y");
	while (channel_sleeps(channel, 1))
		(void)channel_sleeps(channel, 0);
	ck_assert_int_eq(sched_getaffinity(worker, sizeof(after), &after), 0);
	ck_assert(CPU_EQUAL(&before, &after));
	ck_assert_int_eq(kill(worker, SIGCONT), 0);
	expect_echo(2, "y");
}
END_TEST

/* --- attachments ------------------------------------------------------------------------------ */

/* A memfd with that many numbers, each one more than its place, as an attachment. */
static par_attachment numbers(uint64_t id, size_t n, int32_t writable)
{
	par_attachment attachment = {.size = sizeof(attachment), .kind = PAR_ATTACH_MODULE, .id = id,
	                             .bytes = 8 * n, .writable = writable};
	int64_t number;

	attachment.fd = memfd_create("numbers", MFD_CLOEXEC);
	ck_assert_int_ge(attachment.fd, 0);
	for (size_t i = 0; i < n; i++) {
		number = (int64_t)i + 1;
		ck_assert_int_eq(write(attachment.fd, &number, 8), 8);
	}
	return attachment;
}

static int64_t number_at(const par_attachment *attachment, size_t i)
{
	int64_t number = -1;

	ck_assert_int_eq(pread(attachment->fd, &number, 8, (off_t)(8 * i)), 8);
	return number;
}

static void attach(const par_attachment *attachment)
{
	par_error error = PAR_ERROR_INIT;

	ck_assert_msg(channel_attach(channel, attachment, &error) == PAR_OK, "%s: %s", error.what,
	              error.reason);
}

static void send_range(uint64_t id, uint64_t in, uint64_t out, uint64_t n)
{
	const struct wire_task square = {.name = "square", .kind = PAR_TASK_TYPED, .in_size = 8,
	                                 .out_size = 8};
	const struct wire_module module = {.path = DEMO};
	par_error error = PAR_ERROR_INIT;

	wire_batch_init(&batch);
	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &square);
	batch.batch = id;
	batch.head.n = n;
	batch.range = (struct wire_range){.in = {in, 0}, .out = {out, 0}, .in_size = 8, .out_size = 8};
	wire_put_range(channel_begin(channel), &batch);
	ck_assert_int_eq(channel_commit(channel, id, &error), PAR_OK);
}

START_TEST(a_range_lies_in_shared_memory)
{
	par_attachment in = numbers(1, 100, PAR_ATTACH_READ), out = numbers(2, 100, PAR_ATTACH_WRITE);
	struct wire_frame frame;

	start();
	for (uint64_t i = 1; i <= 3; i++) {
		attach(&in);
		attach(&out);
		send_range(i, 1, 2, 100);
		do
			ck_assert_int_eq(next(&frame, NULL), 1);
		while (frame.kind == WIRE_CHUNK);
		ck_assert_int_eq(frame.kind, WIRE_FINISHED);
		ck_assert_uint_eq(channel_over(channel), i);
	}
	ck_assert_int_eq(number_at(&out, 99), 10000);
	close(in.fd);
	close(out.fd);
}
END_TEST

START_TEST(what_a_worker_writes_to_its_own_pages_stays_there)
{
	par_attachment in = numbers(1, 100, PAR_ATTACH_PRIVATE);
	struct wire_outcome outcome;

	start();
	attach(&in);
	name(STATEFUL, "spoil");
	batch.head.flags = WIRE_HAS_SHARED;
	batch.head.shared = (struct wire_ref){1, 0};
	batch.head.shared_size = 800;
	send(1, "");
	outcome = expect_outcome();
	ck_assert_int_eq(*(const char *)outcome.reply, 77);
	expect_finished(1);
	ck_assert_int_eq(number_at(&in, 0), 1);
	close(in.fd);
}
END_TEST

START_TEST(an_attachment_without_a_descriptor_goes_with_its_bytes)
{
	static int64_t values[100000] = {5};
	const par_attachment in = {.size = sizeof(in), .kind = PAR_ATTACH_MODULE, .id = 8, .fd = -1,
	                           .bytes = sizeof(values), .address = values};
	struct wire_chunk chunk;
	struct wire_frame frame;
	int64_t first;

	start();
	attach(&in);
	send_range(1, 8, 0, 10);
	expect(&frame, WIRE_CHUNK);
	ck_assert_int_eq(wire_get_chunk(&frame, &chunk, NULL), PAR_OK);
	memcpy(&first, chunk.values, 8);
	ck_assert_int_eq(first, 25);
	while (frame.kind != WIRE_FINISHED)
		ck_assert_int_eq(next(&frame, NULL), 1);
}
END_TEST

/* More descriptors than its socket takes while nobody reads it. */
START_TEST(more_attachments_than_a_socket_holds)
{
	enum { MANY = 1000 };
	par_attachment in = numbers(1, 10, PAR_ATTACH_READ);
	struct wire_frame frame;

	start();
	name_demo("snail");
	send(1, "wait");
	(void)wait_for_task();
	for (in.id = 1; in.id <= MANY; in.id++)
		attach(&in);
	send_range(2, MANY, 0, 10);
	channel_stop(channel);
	(void)expect_outcome();
	expect_finished(1);
	do
		ck_assert_int_eq(next(&frame, NULL), 1);
	while (frame.kind != WIRE_FINISHED);
	ck_assert_uint_eq(channel_over(channel), 2);
	close(in.fd);
}
END_TEST

START_TEST(an_attachment_of_nothing_is_refused)
{
	const par_attachment none = {.size = sizeof(none), .id = 1, .bytes = 8, .fd = -1};
	par_error error = PAR_ERROR_INIT;

	start();
	ck_assert_int_eq(channel_attach(channel, &none, &error), PAR_EINVAL);
	name_demo("echo");
	send(1, "x");
	expect_echo(1, "x");
}
END_TEST

/* What has ended and is given anew, as another thing, is not the old one. */
START_TEST(what_has_ended_is_let_go)
{
	int64_t *buffer = NULL;
	const par_attachment *attachment;
	par_error error = PAR_ERROR_INIT;
	uint64_t old;
	struct wire_frame frame;
	struct wire_ref ref;

	start();
	buffer = par_shared_alloc(4096, &error);
	ck_assert_ptr_nonnull(buffer);
	ck_assert(shared_find(buffer, 800, &ref, &attachment));
	old = attachment->id;
	attach(attachment);
	par_shared_free(buffer);
	buffer = par_shared_alloc(4096, &error);
	ck_assert_ptr_nonnull(buffer);
	ck_assert(shared_find(buffer, 800, &ref, &attachment));
	attach(attachment);
	send_range(1, old, 0, 10);
	expect(&frame, WIRE_CANNOT);
	ck_assert_uint_eq(channel_over(channel), 1);
	send_range(2, ref.id, 0, 1);
	expect(&frame, WIRE_CHUNK);
	expect_finished(2);
	par_shared_free(buffer);
}
END_TEST

/* --- what tasks print ------------------------------------------------------------------------- */

START_TEST(what_a_task_has_printed_is_there_before_its_outcome)
{
	char text[32] = "";
	int out = dup(STDOUT_FILENO), pipe[2];

	ck_assert_int_eq(pipe2(pipe, O_CLOEXEC), 0);
	(void)printf("the parent's");
	ck_assert_int_eq(dup2(pipe[1], STDOUT_FILENO), STDOUT_FILENO);
	start();
	name(STATEFUL, "print");
	send(1, "some words");
	(void)expect_outcome();
	expect_finished(1);
	ck_assert_int_eq(read(pipe[0], text, sizeof(text)), 10);
	ck_assert_str_eq(text, "some words");
	ck_assert_int_eq(dup2(out, STDOUT_FILENO), STDOUT_FILENO);
	(void)puts(" own");
	(void)fflush(stdout);
	close(out);
	close(pipe[0]);
	close(pipe[1]);
}
END_TEST

/* --- one that lies ---------------------------------------------------------------------------- */

/* No process, but what one might do to the memory. */
static struct channel_memory its;

static void pretend(void)
{
	par_error error = PAR_ERROR_INIT;
	int32_t ends[2];

	ck_assert_int_eq(channel_open(kind, &channel, &error), PAR_OK);
	channel_ends(channel, ends);
	ck_assert_int_eq(channel_memory_map(&its, ends[1], &error), PAR_OK);
	name_demo("echo");
}

static void say(struct wire_writer *writer)
{
	struct ring ring;
	uint64_t room;
	char *at;

	ring_init(&ring, &its.words->from_worker, its.from_worker, CHANNEL_FROM_WORKER);
	ring.here = its.words->from_worker.put;
	ck_assert_int_eq(ring_room(&ring, writer->used, &at, &room), 0);
	memcpy(at, writer->bytes, writer->used);
	(void)ring_put(&ring, writer->used);
	wire_writer_finish(writer);
}

static par_error heard(int32_t code)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;

	ck_assert_int_eq(channel_next(channel, &frame, &error), code);
	channel_memory_unmap(&its);
	return error;
}

START_TEST(a_worker_of_another_version_is_refused)
{
	struct wire_writer writer;
	par_error error;

	pretend();
	wire_writer_init(&writer, 0);
	wire_put_hello(&writer, 5, "9.9.9", "here");
	say(&writer);
	error = heard(PAR_EUNAVAIL);
	ck_assert_str_eq(error.reason, "it is of version 9.9.9, this one of " PAR_VERSION_STRING);
	ck_assert_str_eq(error.remedy, "install the same parloop on both sides");
}
END_TEST

START_TEST(an_answer_to_a_batch_that_is_not_out_is_refused)
{
	const struct wire_finished finished = {0};
	struct wire_writer writer;

	pretend();
	send(3, "x");
	send(4, "x");
	wire_writer_init(&writer, 0);
	wire_put_finished(&writer, 4, &finished);
	say(&writer);
	ck_assert_str_eq(heard(PAR_EINVAL).reason,
	                 "it is about batch 4, the oldest that is out is 3");
}
END_TEST

START_TEST(a_place_in_the_ring_that_is_none_is_refused)
{
	pretend();
	its.words->from_worker.put = UINT64_C(1) << 40;
	ck_assert_str_eq(heard(PAR_EINVAL).reason, "the worker's place in the ring makes no sense");
}
END_TEST

static unsigned short seed[3] = {7, 7, 7};

static void scribble(void)
{
	uint64_t *words = (uint64_t *)its.words;
	uint64_t value = (uint64_t)jrand48(seed) << 32 ^ (uint64_t)(uint32_t)jrand48(seed);
	size_t place = (size_t)nrand48(seed) % (sizeof(struct channel_words) / 8);

	/* Often something that is nearly right. */
	if (nrand48(seed) % 2 == 0)
		value &= 0xfffff8;
	__atomic_store_n(&words[place], value, __ATOMIC_RELAXED);
	words = (uint64_t *)its.from_worker;
	place = (size_t)nrand48(seed) % (nrand48(seed) % 8 == 0 ? CHANNEL_FROM_WORKER / 8 : 64);
	__atomic_store_n(&words[place], value, __ATOMIC_RELAXED);
}

/* All that a parent does with a channel. */
static void use(const char *payload, uint32_t n)
{
	struct wire_writer *writer = channel_begin(channel);
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;
	struct wire_now now;

	batch.batch = 3;
	wire_begin_list(writer, &batch);
	wire_put_item(writer, 4, 0, 0, payload, n);
	wire_end_list(writer, 1);
	if (channel_commit(channel, 3, &error) < 0)
		return;
	for (int i = 0; i < 10 && channel_next(channel, &frame, &error) > 0; i++)
		look_at_frame(&frame);
	channel_stop(channel);
	channel_now(channel, &now);
	(void)channel_sleeps(channel, 1);
	(void)channel_sleeps(channel, 0);
	(void)channel_last_words(channel);
	while (channel_over(channel) != 0)
		;
}

static void put_answers(void)
{
	struct wire_writer writer;
	const struct wire_finished finished = {0};

	wire_writer_init(&writer, 0);
	for (int i = 0; i < 4; i++) {
		wire_begin(&writer, WIRE_OUTCOMES, 3);
		wire_put_failure(&writer, 4, 0, &(struct wire_outcome){.code = 3, .text = "why"});
		wire_end(&writer);
		wire_put_finished(&writer, 3, &finished);
	}
	its.words->from_worker.base = its.words->from_worker.put;
	memcpy(its.from_worker, writer.bytes, writer.used);
	its.words->from_worker.put += writer.used;
	wire_writer_finish(&writer);
}

/* A frame that an earlier one of the same channel has spoilt is refused at once, so there are
 * many channels. */
static void use_after_scribbles(int times, void (*also)(void))
{
	static char payload[300000];

	for (int i = 0; i < times; i++) {
		pretend();
		put_answers();
		for (int k = 0; k < 20; k++) {
			also();
			use(payload, (uint32_t)((size_t)nrand48(seed) % (k % 5 == 0 ? sizeof(payload) : 64)));
		}
		channel_memory_unmap(&its);
		channel_close(channel);
		channel = NULL;
		wire_batch_init(&batch);
	}
}

START_TEST(a_worker_that_scribbles_does_no_harm)
{
	use_after_scribbles(getenv("UNDER_VALGRIND") != NULL ? 20 : 500, scribble);
}
END_TEST

static pid_t scribbler;

static void start_scribbler(void)
{
	par_error error = PAR_ERROR_INIT;
	int32_t ends[2];

	if (scribbler > 0)
		return;
	channel_ends(channel, ends);
	scribbler = fork();
	ck_assert_int_ge(scribbler, 0);
	if (scribbler > 0)
		return;
	if (channel_memory_map(&its, ends[1], &error) < 0)
		_exit(1);
	for (;;)
		scribble();
}

/* While the parent looks. */
START_TEST(a_worker_that_scribbles_meanwhile_does_no_harm)
{
	for (int i = 0; i < 50; i++) {
		scribbler = 0;
		use_after_scribbles(1, start_scribbler);
		kill(scribbler, SIGKILL);
		ck_assert_int_eq(waitpid(scribbler, NULL, 0), scribbler);
		(void)nrand48(seed);
	}
}
END_TEST

/* --- opening ---------------------------------------------------------------------------------- */

START_TEST(a_limit_on_files_is_an_error_and_no_signal)
{
	struct rlimit before, small;
	par_error error = PAR_ERROR_INIT;

	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
	small = before;
	small.rlim_cur = 1 << 20;
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	ck_assert_int_eq(channel_open(kind, &channel, &error), PAR_ENOMEM);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
	ck_assert_ptr_null(channel);
	ck_assert_str_eq(error.remedy, "allow longer files (ulimit -f)");
}
END_TEST

/* With any number of descriptors that is too small. */
START_TEST(a_limit_on_descriptors_is_an_error)
{
	struct rlimit before, small;
	par_error error = PAR_ERROR_INIT;
	int32_t status = PAR_ENOMEM;
	int next_fd = dup(STDOUT_FILENO);

	close(next_fd);
	if (getenv("UNDER_VALGRIND") != NULL)
		return;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	small = before;
	for (int n = 0; n < 3; n++) {
		small.rlim_cur = (rlim_t)(next_fd + n);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &small), 0);
		status = channel_open(kind, &channel, &error);
		ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
		ck_assert_int_eq(status, PAR_ENOMEM);
		ck_assert_ptr_null(channel);
	}
}
END_TEST

START_TEST(a_channel_in_a_child_of_fork_keeps_no_worker)
{
	int pipe[2];
	pid_t copy;

	start();
	name_demo("echo");
	send(1, "x");
	expect_echo(1, "x");
	ck_assert_int_eq(pipe2(pipe, O_CLOEXEC), 0);
	copy = fork();
	ck_assert_int_ge(copy, 0);
	if (copy == 0) {
		char end;

		close(pipe[1]);
		(void)!read(pipe[0], &end, 1);
		_exit(0);
	}
	channel_close(channel);
	channel = NULL;
	ck_assert_int_eq(ended(), EXIT_SUCCESS);
	close(pipe[0]);
	close(pipe[1]);
	ck_assert_int_eq(waitpid(copy, NULL, 0), copy);
}
END_TEST

/* Valgrind knows no descriptors of processes, keeps limits of descriptors to itself, and has stacks
 * of its own.  A worker that was executed does not run in it. */
static int is_in_valgrind(void)
{
	return getenv("UNDER_VALGRIND") != NULL && kind == PAR_CHANNEL_FORKED;
}

/* --- what a worker is to be ------------------------------------------------------------------- */

static struct state state_of_worker(void)
{
	struct wire_outcome outcome;
	struct state state;

	name_own(&par_task_describe);
	send(1, "");
	outcome = expect_outcome();
	ck_assert_uint_eq(outcome.head.size, sizeof(state));
	memcpy(&state, outcome.reply, sizeof(state));
	expect_finished(1);
	return state;
}

START_TEST(a_worker_is_nothing_else)
{
	struct state state;
	sigset_t some, before;

	(void)sigemptyset(&some);
	(void)sigaddset(&some, SIGTERM);
	(void)sigprocmask(SIG_BLOCK, &some, &before);
	(void)signal(SIGPIPE, SIG_IGN);
	start();
	(void)signal(SIGPIPE, SIG_DFL);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	state = state_of_worker();
	ck_assert_int_eq(state.pid, worker);
	ck_assert_int_eq(state.parent, getpid());
	ck_assert_int_eq(state.group, worker);
	ck_assert_int_eq(state.interrupt_ignored, 1);
	ck_assert_int_eq(state.pipe_default, 1);
	ck_assert_int_eq(state.any_blocked, 0);
	ck_assert_int_eq(state.stdin_bytes, 0);
	ck_assert_int_eq(state.variable, 0);
}
END_TEST

/* Its two ends, and what tells it that the parent has died. */
START_TEST(a_forked_worker_has_no_descriptors_of_its_parent)
{
	const int fds[] = {open("/dev/null", O_RDONLY), dup(STDOUT_FILENO), dup2(STDOUT_FILENO, 700)};

	if (kind == PAR_CHANNEL_FORKED) {
		start();
		ck_assert_int_eq(state_of_worker().n_open, is_in_valgrind() ? 2 : 3);
	}
	for (size_t i = 0; i < 3; i++)
		close(fds[i]);
}
END_TEST

START_TEST(a_worker_takes_its_core)
{
	struct state state;
	cpu_set_t cpus;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(cpus), &cpus), 0);
	setup.cpu = 0;
	while (!CPU_ISSET((size_t)setup.cpu, &cpus))
		setup.cpu++;
	start();
	state = state_of_worker();
	ck_assert_int_eq(state.cpus, 1);
	ck_assert_int_eq(state.first_cpu, setup.cpu);
}
END_TEST

START_TEST(a_worker_takes_its_limits)
{
	struct state state;

	if (!SANITIZED)
		setup.memory = INT64_C(1) << 42;
	setup.cpu_time_ns = 99 * INT64_C(1000000000) + 1;
	start();
	state = state_of_worker();
	if (setup.memory != 0)
		ck_assert_uint_eq(state.memory, UINT64_C(1) << 42);
	ck_assert_uint_eq(state.cpu_s, 100);
}
END_TEST

static par_error expect_refusal(int32_t code)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;

	ck_assert_int_eq(next(&frame, &error), code);
	ck_assert_int_eq(ended(), EXIT_FAILURE);
	return error;
}

START_TEST(a_core_that_is_not_there_is_refused)
{
	par_error error;

	setup.cpu = 1023;
	start();
	error = expect_refusal(PAR_EUNAVAIL);
	ck_assert_str_eq(error.what, "cannot become a worker");
	ck_assert_ptr_nonnull(strstr(error.reason, "core 1023: "));
}
END_TEST

START_TEST(an_initializer_runs_before_all_tasks)
{
	setup.initializer = STATEFUL ":keep";
	setup.initarg = "what I was told";
	start();
	name(STATEFUL, "tell");
	send(1, "");
	expect_echo(1, "what I was told");
}
END_TEST

START_TEST(an_initializer_that_fails_is_quoted)
{
	par_error error;

	setup.initializer = STATEFUL ":keep";
	setup.initarg = "bad";
	start();
	error = expect_refusal(PAR_EFAILED);
	ck_assert_ptr_nonnull(strstr(error.what, "stateful.so:keep\": it failed"));
	ck_assert_str_eq(error.reason, "this is bad");
	ck_assert(!channel_is_ready(channel));
}
END_TEST

START_TEST(an_initializer_that_is_not_there_is_named)
{
	par_error error;

	setup.initializer = "/nowhere/some.so:task";
	start();
	error = expect_refusal(PAR_ENOTFOUND);
	ck_assert_ptr_nonnull(strstr(error.what, "/nowhere/some.so:task"));
	ck_assert_ptr_nonnull(strstr(error.reason, "No such file"));
}
END_TEST

START_TEST(an_initializer_without_a_task_is_refused)
{
	setup.initializer = "some.so";
	start();
	ck_assert_str_eq(expect_refusal(PAR_EINVAL).reason, "it is not MODULE.so:TASK");
}
END_TEST

/* --- last words ------------------------------------------------------------------------------- */

static const char *words_of_death(const char *how, int signal)
{
	const char *words;

	start();
	name_own(&par_task_die);
	send(1, how);
	ck_assert_int_eq(ended(), -signal);
	ck_assert_int_eq(channel_next(channel, &(struct wire_frame){0}, NULL), 0);
	words = channel_last_words(channel);
	return words != NULL ? words : "";
}

START_TEST(a_fault_is_described)
{
	const char *words = words_of_death("fault", SIGSEGV);

	ck_assert_msg(strstr(words, "SIGSEGV at address 0x10\n  test_channel+0x") == words, "%s", words);
}
END_TEST

START_TEST(an_abort_is_described)
{
	const char *words = words_of_death("abort", SIGABRT);

	ck_assert_msg(strstr(words, "SIGABRT\n  libc.so") == words, "%s", words);
	ck_assert_msg(strstr(words, "test_channel+0x") != NULL, "%s", words);
}
END_TEST

START_TEST(a_stack_that_is_used_up_is_described)
{
	const char *words = is_in_valgrind() ? "" : words_of_death("deep", SIGSEGV);

	if (is_in_valgrind())
		return;
	ck_assert_msg(strstr(words, "SIGSEGV at address 0x7") == words, "%s", words);
	ck_assert_msg(strstr(words, "\n  test_channel+0x") != NULL, "%s", words);
}
END_TEST

START_TEST(a_worker_whose_thread_ends_is_over)
{
#if !defined(__SANITIZE_THREAD__) /* which has a thread of its own, that goes on */
	if (!is_in_valgrind())
		ck_assert_str_eq(words_of_death("thread", 0), "");
#endif
}
END_TEST

/* --- the parent's death ----------------------------------------------------------------------- */

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void moment(void)
{
	const struct timespec millisecond = {.tv_nsec = 1000000};

	nanosleep(&millisecond, NULL);
}

/* A process with a worker whose task has a child; ids of those are written into that pipe. */
static pid_t start_parent(const char *word, const int pipe[2])
{
	char payload[64];
	pid_t parent = fork();

	ck_assert_int_ge(parent, 0);
	if (parent > 0)
		return parent;
	(void)snprintf(payload, sizeof(payload), "%s /proc/%d/fd/%d", word, (int)getpid(), pipe[1]);
	setup.parent = getpid();
	start();
	name_own(&par_task_beget);
	send(1, payload);
	for (;;)
		wait_for_more();
}

/* All of them become our children then, and are gone soon. */
static void all_die_with_the_parent(const char *word)
{
	int64_t begin_ms;
	pid_t parent, pids[2];
	int pipe[2];

	if (is_in_valgrind())
		return;
	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	ck_assert_int_eq(pipe2(pipe, O_CLOEXEC), 0);
	parent = start_parent(word, pipe);
	ck_assert_int_eq(read(pipe[0], pids, sizeof(pids)), sizeof(pids));
	while (strcmp(word, "stop") == 0 && state_of(pids[0]) != 'T')
		moment();
	begin_ms = now_ms();
	ck_assert_int_eq(kill(parent, SIGKILL), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	ck_assert_int_eq(kill(pids[0], 0), -1);
	ck_assert_int_eq(kill(pids[1], 0), -1);
	if (getenv("UNDER_VALGRIND") == NULL)
		ck_assert_int_le(now_ms() - begin_ms, 100);
	close(pipe[0]);
	close(pipe[1]);
}

START_TEST(an_idle_workers_group_dies_with_its_parent)
{
	all_die_with_the_parent("idle");
}
END_TEST

START_TEST(a_busy_workers_group_dies_with_its_parent)
{
	all_die_with_the_parent("busy");
}
END_TEST

START_TEST(a_stopped_workers_group_dies_with_its_parent)
{
	all_die_with_the_parent("stop");
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
		no_worker_is_what_we_do_not_know,
		what_a_dead_worker_has_sent_counts,
		a_descriptor_at_its_end_is_quiet_once_it_was_heard,
		who_does_not_begin_is_not_waited_for,
		a_range_lies_in_shared_memory,
		what_a_worker_writes_to_its_own_pages_stays_there,
		an_attachment_without_a_descriptor_goes_with_its_bytes,
		more_attachments_than_a_socket_holds,
		an_attachment_of_nothing_is_refused,
		what_has_ended_is_let_go,
		what_a_task_has_printed_is_there_before_its_outcome,
		a_worker_of_another_version_is_refused,
		an_answer_to_a_batch_that_is_not_out_is_refused,
		a_place_in_the_ring_that_is_none_is_refused,
		a_worker_that_scribbles_does_no_harm,
		a_worker_that_scribbles_meanwhile_does_no_harm,
		a_limit_on_files_is_an_error_and_no_signal,
		a_limit_on_descriptors_is_an_error,
		a_channel_in_a_child_of_fork_keeps_no_worker,
		a_worker_is_nothing_else,
		a_forked_worker_has_no_descriptors_of_its_parent,
		a_worker_takes_its_core,
		a_worker_takes_its_limits,
		a_core_that_is_not_there_is_refused,
		an_initializer_runs_before_all_tasks,
		an_initializer_that_fails_is_quoted,
		an_initializer_that_is_not_there_is_named,
		an_initializer_without_a_task_is_refused,
		an_abort_is_described,
		a_worker_whose_thread_ends_is_over,
		an_idle_workers_group_dies_with_its_parent,
		a_busy_workers_group_dies_with_its_parent,
		a_stopped_workers_group_dies_with_its_parent,
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
		if (!SANITIZED) {
			tcase_add_test(tcase, a_fault_is_described);
			tcase_add_test(tcase, a_stack_that_is_used_up_is_described);
		}
		suite_add_tcase(suite, tcase);
	}
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}
