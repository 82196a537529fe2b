#include "runner.h"

#include "context.h"
#include "module_content.h"
#include "wire_answer.h"

#include <parloop/worker.h>

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#define DEMO PAR_BUILD "/tasks/demo.so"

/* --- tasks of this program --------------------------------------------------------------------- */

static int half(par_env *env, const int64_t *in, double *out)
{
	if (*in % 100 == 99)
		return par_fail_task_as(env, 7, "BadValue", "the value %lld is bad", (long long)*in);
	*out = (double)*in / 2;
	return 0;
}
PAR_TASK_ENV(half, int64_t, double)

static int plain(const int64_t *in, double *out)
{
	*out = (double)*in / 2;
	return 0;
}
PAR_TASK(plain, int64_t, double)

/* One whose address matters. */
struct wide {
	_Alignas(64) char bytes[64];
};
static int widen(const struct wide *in, struct wide *out)
{
	if ((uintptr_t)in % 64 != 0 || (uintptr_t)out % 64 != 0)
		return 1;
	*out = *in;
	out->bytes[0]++;
	return 0;
}
PAR_TASK(widen, struct wide, struct wide)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	if (size >= 3 && memcmp(payload, "bad", 3) == 0)
		return par_fail_task(env, 9, "this is bad");
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

static int change_mind(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	(void)par_reply(env, "a first reply, longer than the second", 37);
	(void)par_reply_room(env, UINT64_C(1) << 40);
	return par_reply(env, "second", 6);
}
PAR_TASK_OF_BYTES(change_mind)

static int too_long(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	(void)par_reply(env, "forgotten", 9);
	(void)par_reply_room(env, UINT64_C(1) << 40);
	return 0;
}
PAR_TASK_OF_BYTES(too_long)

static int large(par_env *env, const void *payload, uint64_t size)
{
	char *room = par_reply_room(env, 3000000);

	(void)payload, (void)size;
	if (room == NULL)
		return 1;
	memset(room, 'x', 3000000);
	return 0;
}
PAR_TASK_OF_BYTES(large)

/* What a task and the calls inside it see. */
struct seen {
	uint64_t index, seed;
	int32_t worker, level, attempt, nested_level, nested_n_jobs, cancelled;
	char backend[16], option[16], shared[16];
};
static int look(par_env *env, const void *payload, uint64_t size)
{
	const struct context *context = context_current();
	struct seen seen = {
		.index = env->index,
		.seed = env->call_seed,
		.worker = (int32_t)env->worker,
		.level = env->level,
		.attempt = env->attempt,
		.nested_level = context->level,
		.nested_n_jobs = context->n_jobs,
		.cancelled = par_cancelled(env),
	};

	(void)payload, (void)size;
	(void)snprintf(seen.backend, sizeof(seen.backend), "%s", context->backend);
	(void)snprintf(seen.option, sizeof(seen.option), "%s", context->options[0]);
	(void)snprintf(seen.shared, sizeof(seen.shared), "%.*s", (int)env->shared_size,
	               (const char *)env->shared);
	return par_reply(env, &seen, sizeof(seen));
}
PAR_TASK_OF_BYTES(look)

static int32_t stop_word;
static int stop_at_third(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	if (env->index == 2)
		__atomic_store_n(&stop_word, 1, __ATOMIC_RELAXED);
	return 0;
}
PAR_TASK_OF_BYTES(stop_at_third)

/* --- a batch, and what comes back ---------------------------------------------------------------- */

static struct wire_batch batch;
static struct wire_writer request;
static char *answer;
static size_t answer_size;
static int sends, refuse_sends;
static const par_attachment *attachments[4];
static uint32_t n_attachments;

static int32_t keep(void *user, const void *bytes, uint64_t n)
{
	(void)user;
	sends++;
	if (refuse_sends)
		return -1;
	answer = realloc(answer, answer_size + n);
	ck_assert_ptr_nonnull(answer);
	memcpy(answer + answer_size, bytes, n);
	answer_size += n;
	return 0;
}

static void begin(void)
{
	wire_writer_init(&request, 0);
	answer_size = 0;
	sends = refuse_sends = 0;
	n_attachments = 0;
	stop_word = 0;
	wire_batch_init(&batch);
	batch.batch = 5;
	batch.head.level = batch.head.depth = 1;
}

static void end(void)
{
	wire_writer_finish(&request);
	free(answer);
	answer = NULL;
}

static void name(const par_task *task)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_module module = {.is_program = 1};
	struct wire_task known = {task->name, 0, task->kind, task->in_size, task->out_size};
	par_module *from;

	ck_assert_int_eq(module_of_task(&from, task, &error), PAR_OK);
	module.path = module_path(from);
	module.id = *module_id(from);
	module.is_program = module_is_program(from);
	known.module = (uint32_t)wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &known);
}

static void attach(uint64_t id, void *address, uint64_t bytes, int writable)
{
	static par_attachment made[4];

	made[n_attachments] = (par_attachment){.size = sizeof(par_attachment), .id = id,
	                                       .bytes = bytes, .address = address, .fd = -1,
	                                       .writable = writable};
	attachments[n_attachments] = &made[n_attachments];
	n_attachments++;
}

static int32_t run(par_error *error)
{
	const par_work work = {
		.size = sizeof(work),
		.worker = 3,
		.bytes = request.bytes,
		.n_bytes = request.used,
		.attachments = attachments,
		.n_attachments = n_attachments,
		.stopping = NULL,
		.send = keep,
	};

	ck_assert(!request.failed);
	return par_worker_run(&work, error);
}

static void runs(void)
{
	par_error error = PAR_ERROR_INIT;

	ck_assert_msg(run(&error) == PAR_OK, "%s: %s", error.what, error.reason);
}

/* What the answer says, all in all. */
static struct {
	double values[2000];
	int has[2000], failed[2000], code[2000];
	char text[2000][64], type[2000][16];
	const char *reply[2000];
	uint32_t size[2000];
	int n_started, n_chunks, n_finished, n_cannot, n_after_end;
	struct wire_finished finished;
	par_error cannot;
} said;

static void read_outcomes(const struct wire_frame *frame)
{
	struct wire_cursor body = wire_body(frame);
	par_error error = PAR_ERROR_INIT;
	struct wire_outcome outcome;
	int32_t status;

	while ((status = wire_next_outcome(&body, &outcome, &error)) > 0) {
		uint64_t i = outcome.head.index;

		ck_assert_uint_lt(i, 2000);
		ck_assert_int_eq(said.has[i]++, 0);
		said.failed[i] = outcome.head.failed;
		said.code[i] = outcome.code;
		said.reply[i] = outcome.reply;
		said.size[i] = outcome.head.size;
		if (!outcome.head.failed)
			continue;
		(void)snprintf(said.text[i], sizeof(said.text[i]), "%s", outcome.text);
		(void)snprintf(said.type[i], sizeof(said.type[i]), "%s",
		               outcome.type != NULL ? outcome.type : "");
	}
	ck_assert_int_eq(status, 0);
}

static void read_chunk(const struct wire_frame *frame)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_chunk chunk;

	ck_assert_int_eq(wire_get_chunk(frame, &chunk, &error), PAR_OK);
	for (uint64_t i = chunk.head.first; i < chunk.head.first + chunk.head.n; i++)
		ck_assert_int_eq(said.has[i]++, 0);
	if (chunk.head.out_size == sizeof(double))
		memcpy(said.values + chunk.head.first, chunk.values, chunk.head.n * sizeof(double));
	said.n_chunks++;
}

static void read_frame(const struct wire_frame *frame)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_started started;

	ck_assert_uint_eq(frame->batch, 5);
	said.n_after_end += said.n_finished + said.n_cannot > 0;
	switch (frame->kind) {
	case WIRE_OUTCOMES:
		read_outcomes(frame);
		break;
	case WIRE_CHUNK:
		read_chunk(frame);
		break;
	case WIRE_STARTED:
		ck_assert_int_eq(wire_get_started(frame, &started, &error), PAR_OK);
		said.n_started++;
		break;
	case WIRE_FINISHED:
		ck_assert_int_eq(wire_get_finished(frame, &said.finished, &error), PAR_OK);
		said.n_finished++;
		break;
	default:
		ck_assert_int_eq(frame->kind, WIRE_CANNOT);
		said.cannot.size = sizeof(said.cannot);
		ck_assert_int_eq(wire_get_cannot(frame, &said.cannot, &error), PAR_OK);
		said.n_cannot++;
		break;
	}
}

static void read_answer(void)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_reader reader;
	struct wire_frame frame;

	memset(&said, 0, sizeof(said));
	wire_reader_init(&reader, 0);
	wire_reader_lend(&reader, answer, answer_size);
	while (wire_next(&reader, &frame, &error) > 0)
		read_frame(&frame);
	ck_assert(!wire_reader_waits(&reader) && !reader.lost);
	ck_assert_int_eq(said.n_finished + said.n_cannot, 1);
	ck_assert_int_eq(said.n_after_end, 0);
	wire_reader_finish(&reader);
}

/* The program's task on the payloads, which end in NULL. */
static void list(const par_task *task, const char *const *payloads)
{
	uint64_t n = 0;

	name(task);
	wire_begin_list(&request, &batch);
	for (; payloads[n] != NULL; n++)
		wire_put_item(&request, n, 0, 0, payloads[n], (uint32_t)strlen(payloads[n]));
	wire_end_list(&request, n);
}

static int64_t numbers[2000];

static void range(const par_task *task, uint64_t first, uint64_t n)
{
	for (int i = 0; i < 2000; i++)
		numbers[i] = i;
	name(task);
	batch.range.first = first;
	batch.range.in_size = task->in_size;
	batch.range.out_size = task->out_size;
	batch.head.n = n;
	batch.in = numbers + first;
	wire_put_range(&request, &batch);
}

static void cannot(int32_t code, const char *what, const char *reason, const char *remedy)
{
	read_answer();
	ck_assert_int_eq(said.n_cannot, 1);
	ck_assert_int_eq(said.cannot.code, code);
	ck_assert_msg(strstr(said.cannot.what, what) != NULL, "%s", said.cannot.what);
	ck_assert_msg(strstr(said.cannot.reason, reason) != NULL, "%s", said.cannot.reason);
	ck_assert_msg(strstr(said.cannot.remedy, remedy) != NULL, "%s", said.cannot.remedy);
}

/* --- ranges ------------------------------------------------------------------------------------------ */

START_TEST(a_range_comes_back_in_chunks)
{
	range(&par_task_plain, 100, 1000);
	runs();
	read_answer();
	for (int i = 0; i < 2000; i++) {
		ck_assert_int_eq(said.has[i], i >= 100 && i < 1100);
		ck_assert(said.values[i] == (said.has[i] ? i / 2.0 : 0));
	}
	ck_assert_uint_eq(said.finished.ran, 1000);
	ck_assert_uint_eq(said.finished.stopped, 0);
	ck_assert_int_gt(said.finished.ns, 0);
	ck_assert_int_gt(said.finished.peak_memory, 0);
}
END_TEST

START_TEST(a_range_goes_on_after_those_that_fail)
{
	range(&par_task_half, 0, 1000);
	runs();
	read_answer();
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(said.has[i], 1);
		ck_assert_int_eq(said.failed[i], i % 100 == 99);
	}
	ck_assert_int_eq(said.code[99], 7);
	ck_assert_str_eq(said.text[199], "the value 199 is bad");
	ck_assert_str_eq(said.type[199], "BadValue");
	ck_assert(said.values[998] == 499);
}
END_TEST

START_TEST(a_range_goes_into_an_attachment)
{
	static double out[1010];

	attach(8, numbers, sizeof(numbers), 0);
	attach(9, out, sizeof(out), 1);
	batch.range.in = (struct wire_ref){8, 100 * sizeof(int64_t)};
	batch.range.out = (struct wire_ref){9, 10 * sizeof(double)};
	range(&par_task_half, 100, 1000);
	runs();
	read_answer();
	for (int i = 100; i < 1100; i++) {
		ck_assert_int_eq(said.has[i], 1);
		ck_assert_int_eq(said.failed[i], i % 100 == 99);
		ck_assert(i % 100 == 99 || out[i - 90] == i / 2.0);
	}
}
END_TEST

START_TEST(a_range_without_failures_is_told_in_few_words)
{
	static double out[2000];

	attach(9, out, sizeof(out), 1);
	batch.range.out = (struct wire_ref){9, 0};
	range(&par_task_plain, 0, 2000);
	runs();
	read_answer();
	ck_assert_int_le(said.n_chunks, 2);
	ck_assert(out[1999] == 1999 / 2.0);
}
END_TEST

START_TEST(a_range_ends_at_its_first_failure_if_it_is_to)
{
	batch.head.flags = WIRE_STOP_AT_FAILURE;
	range(&par_task_half, 0, 1000);
	runs();
	read_answer();
	ck_assert_int_eq(said.has[98], 1);
	ck_assert_int_eq(said.failed[99], 1);
	ck_assert_int_eq(said.has[100], 0);
	ck_assert_uint_eq(said.finished.ran, 100);
	ck_assert_uint_eq(said.finished.stopped, 1);
}
END_TEST

START_TEST(a_range_of_fixed_pieces_says_when_each_begins)
{
	batch.head.flags = WIRE_SAY_STARTS;
	batch.range.piece = 10;
	range(&par_task_plain, 0, 95);
	runs();
	read_answer();
	ck_assert_int_eq(said.n_started, 10);
	ck_assert_int_eq(said.n_chunks, 10);
	ck_assert_int_ge(sends, 10);
}
END_TEST

START_TEST(values_lie_where_their_type_may)
{
	static struct wide in[20];
	static const char zero[sizeof(in)];

	name(&par_task_widen);
	ck_assert(memcmp(in, zero, sizeof(in)) == 0);
	batch.range.in_size = batch.range.out_size = sizeof(struct wide);
	batch.head.n = 20;
	batch.in = in;
	wire_put_range(&request, &batch);
	runs();
	read_answer();
	ck_assert_uint_eq(said.finished.ran, 20);
	for (int i = 0; i < 20; i++)
		ck_assert(said.has[i] && !said.failed[i]);
}
END_TEST

/* --- lists -------------------------------------------------------------------------------------------- */

START_TEST(replies_come_with_their_index)
{
	list(&par_task_echo, (const char *const[]){"one", "", "three and more", "bad", "12345678", NULL});
	runs();
	read_answer();
	ck_assert_uint_eq(said.size[0], 3);
	ck_assert_mem_eq(said.reply[0], "one", 3);
	ck_assert_uint_eq(said.size[1], 0);
	ck_assert_mem_eq(said.reply[2], "three and more", 14);
	ck_assert_int_eq(said.failed[3], 1);
	ck_assert_int_eq(said.code[3], 9);
	ck_assert_str_eq(said.text[3], "this is bad");
	ck_assert_mem_eq(said.reply[4], "12345678", 8);
	ck_assert_uint_eq(said.finished.ran, 5);
}
END_TEST

START_TEST(the_last_reply_counts)
{
	list(&par_task_change_mind, (const char *const[]){"x", "x", NULL});
	runs();
	read_answer();
	ck_assert_uint_eq(said.size[1], 6);
	ck_assert_mem_eq(said.reply[1], "second", 6);
}
END_TEST

START_TEST(a_reply_that_cannot_be_is_none)
{
	list(&par_task_too_long, (const char *const[]){"x", "x", NULL});
	runs();
	read_answer();
	ck_assert_int_eq(said.failed[1], 0);
	ck_assert_uint_eq(said.size[1], 0);
}
END_TEST

START_TEST(large_replies_come_whole)
{
	list(&par_task_large, (const char *const[]){"x", "x", "x", NULL});
	runs();
	read_answer();
	for (int i = 0; i < 3; i++) {
		ck_assert_uint_eq(said.size[i], 3000000);
		ck_assert_int_eq(said.reply[i][2999999], 'x');
	}
	ck_assert_int_ge(sends, 3);
}
END_TEST

START_TEST(a_payload_may_lie_in_an_attachment)
{
	const struct wire_item item = {{0, 5, 0, 0, 0}, NULL, {8, 2}};
	const struct wire_item beyond = {{1, 5, 0, 0, 0}, NULL, {8, 9}};
	char text[] = "--there-----";

	attach(8, text, 12, 0);
	name(&par_task_echo);
	wire_begin_list(&request, &batch);
	wire_put_attached(&request, &item);
	wire_put_attached(&request, &beyond);
	wire_end_list(&request, 2);
	runs();
	read_answer();
	ck_assert_mem_eq(said.reply[0], "there", 5);
	ck_assert_int_eq(said.failed[1], 1);
	ck_assert_str_eq(said.text[1], "what the batch names of it lies beyond its end");
}
END_TEST

START_TEST(typed_tasks_run_in_lists_too)
{
	int64_t value = 5, bad = 99;
	double half_of_it;

	name(&par_task_half);
	wire_begin_list(&request, &batch);
	wire_put_item(&request, 0, 0, 0, &value, sizeof(value));
	wire_put_item(&request, 1, 0, 0, &bad, sizeof(bad));
	wire_end_list(&request, 2);
	runs();
	read_answer();
	ck_assert_uint_eq(said.size[0], sizeof(double));
	memcpy(&half_of_it, said.reply[0], sizeof(double));
	ck_assert(half_of_it == 2.5);
	ck_assert_int_eq(said.failed[1], 1);
}
END_TEST

START_TEST(a_list_mixes_tasks_and_modules)
{
	par_error error = PAR_ERROR_INIT;
	const par_task *upper;
	par_module *demo;

	ck_assert_int_eq(par_module_open(&demo, DEMO, &error), PAR_OK);
	ck_assert_int_eq(par_module_task(demo, "upper", &upper, &error), PAR_OK);
	name(&par_task_echo);
	name(upper);
	wire_begin_list(&request, &batch);
	wire_put_item(&request, 0, 0, 0, "one", 3);
	wire_put_item(&request, 1, 1, 0, "two", 3);
	wire_end_list(&request, 2);
	runs();
	read_answer();
	ck_assert_mem_eq(said.reply[0], "one", 3);
	ck_assert_mem_eq(said.reply[1], "TWO", 3);
}
END_TEST

/* --- what tasks see -------------------------------------------------------------------------------------- */

START_TEST(tasks_see_the_context_of_the_call)
{
	struct wire_now now = {0};
	struct seen seen;

	batch.head.seed = 42;
	batch.head.level = 2;
	batch.head.depth = 3;
	batch.head.nested_n_jobs = 4;
	batch.head.flags = WIRE_HAS_SHARED;
	batch.head.shared_size = 5;
	batch.shared = "large";
	batch.backend = "some";
	attach(7, &now, sizeof(now), 1);
	batch.head.now = (struct wire_ref){7, 0};
	wire_batch_option(&batch, "a=b");
	name(&par_task_look);
	wire_begin_list(&request, &batch);
	wire_put_item(&request, 77, 0, 6, "", 0);
	wire_end_list(&request, 1);
	runs();
	read_answer();
	ck_assert_uint_eq(said.size[77], sizeof(seen));
	memcpy(&seen, said.reply[77], sizeof(seen));
	ck_assert_uint_eq(seen.index, 77);
	ck_assert_uint_eq(seen.seed, 42);
	ck_assert_int_eq(seen.worker, 3);
	ck_assert_int_eq(seen.level, 3);
	ck_assert_int_eq(seen.attempt, 6);
	ck_assert_int_eq(seen.nested_level, 2);
	ck_assert_int_eq(seen.nested_n_jobs, 4);
	ck_assert_int_eq(seen.cancelled, 0);
	ck_assert_str_eq(seen.backend, "some");
	ck_assert_str_eq(seen.option, "a=b");
	ck_assert_str_eq(seen.shared, "large");
	ck_assert_uint_eq(now.index, 77);
	ck_assert_int_gt(now.begin_ns, 0);
	ck_assert_uint_eq(now.batch, 0);
	ck_assert_int_eq(context_current()->level, 0);
}
END_TEST

START_TEST(a_word_in_an_attachment_ends_it_early)
{
	attach(7, &stop_word, sizeof(stop_word), 0);
	batch.head.stopping = (struct wire_ref){7, 0};
	list(&par_task_stop_at_third, (const char *const[]){"", "", "", "", "", NULL});
	runs();
	read_answer();
	ck_assert_uint_eq(said.finished.ran, 3);
	ck_assert_uint_eq(said.finished.stopped, 1);
}
END_TEST

START_TEST(starts_are_told_before_each_task)
{
	batch.head.flags = WIRE_SAY_STARTS;
	list(&par_task_echo, (const char *const[]){"one", "two", "three", NULL});
	runs();
	read_answer();
	ck_assert_int_eq(said.n_started, 3);
	ck_assert_int_ge(sends, 4);
}
END_TEST

START_TEST(tiny_tasks_are_answered_together)
{
	const char *payloads[501];

	for (int i = 0; i < 500; i++)
		payloads[i] = "x";
	payloads[500] = NULL;
	list(&par_task_echo, payloads);
	runs();
	read_answer();
	ck_assert_uint_eq(said.finished.ran, 500);
	ck_assert_int_le(sends, 10);
}
END_TEST

/* --- what cannot be ------------------------------------------------------------------------------------------ */

static void from_module(const char *path, const char *task_name, int32_t kind, unsigned char id)
{
	const struct wire_module module = {.path = path, .id = {.size = id != 0, .bytes = {id}}};
	const struct wire_task task = {task_name, 0, kind, 8, 8};

	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &task);
	wire_begin_list(&request, &batch);
	wire_end_list(&request, 0);
	runs();
}

START_TEST(says_that_a_module_is_missing)
{
	from_module("/nowhere/some.so", "echo", PAR_TASK_BYTES, 0);
	cannot(PAR_ENOTFOUND, "cannot open the task module", "No such file", "check the path");
}
END_TEST

START_TEST(says_that_a_task_is_missing)
{
	from_module(DEMO, "ehco", PAR_TASK_BYTES, 0);
	cannot(PAR_ENOTFOUND, "there is no task \"ehco\"", "the module has: echo", "did you mean");
}
END_TEST

START_TEST(says_that_a_module_is_another)
{
	from_module(DEMO, "echo", PAR_TASK_BYTES, 0xab);
	cannot(PAR_EUNAVAIL, "the task module is not the caller's", "the caller's is ab",
	       "the same file on both sides");
}
END_TEST

START_TEST(says_that_a_task_is_another)
{
	from_module(DEMO, "echo", PAR_TASK_TYPED, 0);
	cannot(PAR_EUNAVAIL, "task \"echo\" is not the caller's", "kind 2", "the same file");
}
END_TEST

START_TEST(says_that_a_program_is_another)
{
	struct wire_module module = {.path = "/bin/theirs", .is_program = 1, .id = {1, {7}}};
	const struct wire_task task = {"echo", 0, PAR_TASK_BYTES, 0, 0};

	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &task);
	wire_begin_list(&request, &batch);
	wire_end_list(&request, 0);
	runs();
	cannot(PAR_EUNAVAIL, "run in its own workers only", "test_runner",
	       "call par_worker_main(argc, argv) first in its main");
	ck_assert_str_eq(said.cannot.file, "/bin/theirs");
}
END_TEST

START_TEST(says_that_an_attachment_is_missing)
{
	batch.range.out = (struct wire_ref){9, 0};
	range(&par_task_plain, 0, 10);
	runs();
	cannot(PAR_EINVAL, "attachment 9", "this worker was not given it", "");
}
END_TEST

START_TEST(says_that_an_attachment_is_too_short_or_not_to_be_written)
{
	static double out[10];

	attach(9, out, sizeof(out), 1);
	batch.range.out = (struct wire_ref){9, 8};
	range(&par_task_plain, 0, 10);
	runs();
	cannot(PAR_EINVAL, "attachment 9", "beyond its end", "");
	end();
	begin();
	attach(9, out, sizeof(out), 0);
	batch.range.out = (struct wire_ref){9, 0};
	range(&par_task_plain, 0, 10);
	runs();
	cannot(PAR_EINVAL, "attachment 9", "may not be written to", "");
	end();
	begin();
	attach(9, out, sizeof(out), PAR_ATTACH_PRIVATE);
	batch.range.out = (struct wire_ref){9, 0};
	range(&par_task_plain, 0, 10);
	runs();
	cannot(PAR_EINVAL, "attachment 9", "may not be written to", "");
}
END_TEST

START_TEST(says_that_bytes_are_no_batch)
{
	par_error error = PAR_ERROR_INIT;

	list(&par_task_echo, (const char *const[]){"one", NULL});
	request.bytes[2] = 9;
	ck_assert_int_eq(run(&error), PAR_EUNAVAIL);
	cannot(PAR_EUNAVAIL, "another parloop", "version 9", "same parloop");
	ck_assert_ptr_nonnull(strstr(error.reason, "version 9"));
}
END_TEST

START_TEST(ends_when_nobody_takes_the_answer)
{
	par_error error = PAR_ERROR_INIT;

	refuse_sends = 1;
	batch.head.flags = WIRE_SAY_STARTS;
	list(&par_task_echo, (const char *const[]){"one", "two", NULL});
	ck_assert_int_eq(run(&error), PAR_ELOST);
	ck_assert_int_eq(sends, 1);
}
END_TEST

START_TEST(refuses_work_that_is_none)
{
	par_work work = {.size = sizeof(work), .send = keep};
	par_error error = PAR_ERROR_INIT;

	ck_assert_int_eq(par_worker_run(NULL, &error), PAR_EINVAL);
	ck_assert_int_eq(par_worker_run(&work, &error), PAR_EINVAL);
	work.bytes = "";
	ck_assert_int_eq(par_worker_run(&work, &error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.reason, "it has 0 bytes"));
}
END_TEST

/* --- several at once ------------------------------------------------------------------------------------------- */

static int32_t count_bytes(void *user, const void *bytes, uint64_t n)
{
	(void)bytes;
	*(uint64_t *)user += n;
	return 0;
}

static void *run_often(void *arg)
{
	const par_work *work = arg;
	uint64_t bytes = 0;
	par_work mine = *work;

	mine.send = count_bytes;
	mine.user = &bytes;
	for (int i = 0; i < 200; i++)
		if (par_worker_run(&mine, NULL) != PAR_OK)
			return NULL;
	return bytes > 0 ? arg : NULL;
}

START_TEST(threads_run_batches_at_once)
{
	pthread_t threads[4];
	par_work work = {.size = sizeof(work)};
	void *ok;

	range(&par_task_plain, 0, 1000);
	work.bytes = request.bytes;
	work.n_bytes = request.used;
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_often, &work), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert_int_eq(pthread_join(threads[i], &ok), 0);
		ck_assert_ptr_nonnull(ok);
	}
}
END_TEST

/* A module whose file is not here comes along; without that it is said where it should be. */
START_TEST(a_module_is_sent_along)
{
	struct wire_module module = {.path = "/nowhere/demo.so", .attachment = 77};
	char folder[] = "/tmp/parloop-runner-XXXXXX", command[64];
	struct wire_task known = {.name = "upper", .kind = PAR_TASK_BYTES};
	par_error error = PAR_ERROR_INIT;
	const par_attachment *content;
	par_module *demo;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	setenv("PARLOOP_CACHE", folder, 1);
	ck_assert_int_eq(par_module_open(&demo, DEMO, &error), PAR_OK);
	ck_assert_int_eq(module_attachment(demo, &content, &error), PAR_OK);
	module.id = *module_id(demo);
	wire_batch_module(&batch, &module);
	wire_batch_task(&batch, &known);
	wire_begin_list(&request, &batch);
	wire_put_item(&request, 0, 0, 0, "sent", 4);
	wire_end_list(&request, 1);
	runs();
	read_answer();
	ck_assert_int_eq(said.n_cannot, 1);
	ck_assert(strstr(said.cannot.reason, "was not sent along") != NULL);
	ck_assert_str_eq(said.cannot.file, "/nowhere/demo.so");

	answer_size = 0;
	attach(77, (void *)(uintptr_t)content->address, content->bytes, PAR_ATTACH_READ);
	((par_attachment *)(uintptr_t)attachments[0])->kind = PAR_ATTACH_MODULE;
	memcpy(((par_attachment *)(uintptr_t)attachments[0])->sha256, content->sha256, 32);
	runs();
	read_answer();
	ck_assert_int_eq(said.n_finished, 1);
	ck_assert_mem_eq(said.reply[0], "SENT", 4);
	(void)snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_range_comes_back_in_chunks,
		a_range_goes_on_after_those_that_fail,
		a_range_goes_into_an_attachment,
		a_range_without_failures_is_told_in_few_words,
		a_range_ends_at_its_first_failure_if_it_is_to,
		a_range_of_fixed_pieces_says_when_each_begins,
		values_lie_where_their_type_may,
		replies_come_with_their_index,
		the_last_reply_counts,
		a_reply_that_cannot_be_is_none,
		large_replies_come_whole,
		a_payload_may_lie_in_an_attachment,
		typed_tasks_run_in_lists_too,
		a_list_mixes_tasks_and_modules,
		tasks_see_the_context_of_the_call,
		a_word_in_an_attachment_ends_it_early,
		starts_are_told_before_each_task,
		tiny_tasks_are_answered_together,
		a_module_is_sent_along,
		says_that_a_module_is_missing,
		says_that_a_task_is_missing,
		says_that_a_module_is_another,
		says_that_a_task_is_another,
		says_that_a_program_is_another,
		says_that_an_attachment_is_missing,
		says_that_an_attachment_is_too_short_or_not_to_be_written,
		says_that_bytes_are_no_batch,
		ends_when_nobody_takes_the_answer,
		refuses_work_that_is_none,
		threads_run_batches_at_once,
	};
	Suite *suite = suite_create("runner");
	TCase *tcase = tcase_create("runner");
	SRunner *runner;
	int failed;

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
