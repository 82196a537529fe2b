#include "wire.h"

#include "fuzz/read_frames.h"

#include <parloop/task.h>

#include <check.h>
#include <stdio.h>

/* --- frames that are as they should be ----------------------------------------------------- */

enum { N_VALUES = 100, N_FRAMES = 12 };

static double values[N_VALUES];
static struct wire_batch sent; /* large */

static void name_task(int32_t kind, uint32_t in_size, uint32_t out_size)
{
	struct wire_module module = {.path = "/tasks/some.so", .id = {20, "0123456789abcdefghi"}};
	struct wire_task task = {"root", 0, kind, in_size, out_size};

	wire_batch_init(&sent);
	ck_assert_int_eq(wire_batch_module(&sent, &module), 0);
	ck_assert_int_eq(wire_batch_task(&sent, &task), 0);
	ck_assert_int_eq(wire_batch_option(&sent, "spin=20us"), 0);
	sent.batch = 77;
	sent.backend = "threading";
	sent.head.call = 5;
	sent.head.seed = 42;
	sent.head.task_timeout_ns = 1000;
	sent.head.level = 1;
	sent.head.depth = 1;
	sent.head.nested_n_jobs = 3;
	sent.head.cores = 4;
	sent.head.sharers = 2;
	sent.chain = "loky > threading";
	sent.around = "threading";
	sent.head.inner_max_num_threads = 4;
}

static void put_range(struct wire_writer *writer)
{
	name_task(PAR_TASK_TYPED, sizeof(double), sizeof(float));
	for (int i = 0; i < N_VALUES; i++)
		values[i] = i;
	sent.head.n = N_VALUES;
	sent.in = values;
	sent.range = (struct wire_range){.first = 1000, .in_size = sizeof(double),
	                                 .out_size = sizeof(float), .piece = 7, .attempt = 2};
	wire_put_range(writer, &sent);
}

static void put_attached_range(struct wire_writer *writer)
{
	name_task(PAR_TASK_TYPED, sizeof(double), sizeof(float));
	sent.head.n = UINT64_C(1) << 40;
	sent.head.flags = WIRE_HAS_SHARED | WIRE_STOP_AT_FAILURE;
	sent.head.shared = (struct wire_ref){3, 8};
	sent.head.shared_size = 12;
	sent.range = (struct wire_range){.in = {1, 64}, .out = {2, 0}, .in_size = sizeof(double),
	                                 .out_size = sizeof(float)};
	wire_put_range(writer, &sent);
}

static const char *const payloads[] = {"", "a", "seven b", "eight by", "a payload of some length"};
enum { N_PAYLOADS = sizeof(payloads) / sizeof(payloads[0]) };

static void put_list(struct wire_writer *writer)
{
	const struct wire_item attached = {{99, 1000, 1, 0, 0}, NULL, {8, 16}};

	name_task(PAR_TASK_BYTES, 0, 0);
	sent.head.flags = WIRE_HAS_SHARED | WIRE_SAY_STARTS;
	sent.shared = "shared";
	sent.head.shared_size = 6;
	wire_begin_list(writer, &sent);
	for (unsigned i = 0; i < N_PAYLOADS; i++)
		wire_put_item(writer, 10 + i, 0, (uint16_t)i, payloads[i], (uint32_t)strlen(payloads[i]));
	wire_put_attached(writer, &attached);
	wire_end_list(writer, N_PAYLOADS + 1);
}

/* To a fork of this process. */
static void put_forked_list(struct wire_writer *writer)
{
	const struct wire_task task = {.name = "local", .kind = PAR_TASK_BYTES, .address = 0x1234560};

	name_task(PAR_TASK_BYTES, 0, 0);
	ck_assert_int_eq(wire_batch_task(&sent, &task), 1);
	wire_begin_list(writer, &sent);
	wire_put_item(writer, 3, 1, 0, "x", 1);
	wire_end_list(writer, 1);
}

static void put_outcomes(struct wire_writer *writer)
{
	const struct wire_outcome_head well = {4, 3, 0, 0};
	const struct wire_outcome failure = {
		.code = 9, .type = "FileNotFound", .where = "some.c:7", .text = "no such file"};

	wire_begin(writer, WIRE_OUTCOMES, 77);
	wire_put(writer, &well, sizeof(well));
	wire_put_bytes(writer, "abc", 3);
	wire_put_failure(writer, 5, 2, &failure);
	wire_end(writer);
}

static void put_chunk(struct wire_writer *writer)
{
	const struct wire_chunk_head head = {1000, 5, sizeof(float), 2};
	char *room = wire_begin_chunk(writer, 77, &head);

	ck_assert_ptr_nonnull(room);
	memset(room, 'x', 5 * sizeof(float));
	wire_end_chunk(writer, &head, 3);
}

static void put_cannot(struct wire_writer *writer)
{
	par_error error = PAR_ERROR_INIT;

	par_fail(&error, PAR_ENOTFOUND, "No such file");
	par_remedy(&error, "build it");
	(void)snprintf(error.what, sizeof(error.what), "cannot open the task module");
	(void)snprintf(error.file, sizeof(error.file), "/tasks/some.so");
	wire_put_cannot(writer, 77, &error);
}

static void put_attach(struct wire_writer *writer)
{
	par_attachment attachment = {.size = sizeof(attachment), .kind = PAR_ATTACH_ARRAY, .id = 6,
	                             .bytes = 13, .address = "thirteen byte", .fd = -1,
	                             .writable = 1, .sha256 = {1, 2, 3}};

	wire_put_attach(writer, &attachment, WIRE_INLINE);
}

static void put_frame(struct wire_writer *writer, int which)
{
	const struct wire_started started = {7, 123456, 10, 1, 0};
	const struct wire_finished finished = {1000, 100, 4096, 1, 0};
	const par_worker_setup setup = {.size = sizeof(setup), .worker = 3, .parent = 17, .cpu = -1,
	                                .memory = 1 << 30, .cpu_time_ns = 5000,
	                                .initializer = "/tasks/some.so:begin"};

	switch (which) {
	case 0:
		wire_put_hello(writer, 1234, "0.1.0", "here");
		break;
	case 1:
		put_range(writer);
		break;
	case 2:
		put_attached_range(writer);
		break;
	case 3:
		put_list(writer);
		break;
	case 4:
		put_outcomes(writer);
		break;
	case 5:
		put_chunk(writer);
		break;
	case 6:
		put_cannot(writer);
		break;
	case 7:
		put_attach(writer);
		break;
	case 8:
		wire_put_started(writer, 77, &started);
		break;
	case 9:
		wire_put_finished(writer, 77, &finished);
		break;
	case 10:
		wire_put_setup(writer, &setup);
		break;
	default:
		put_forked_list(writer);
		break;
	}
}

static struct wire_writer all; /* of them, one after the other */
static size_t begins[N_FRAMES + 1];

static void begin(void)
{
	wire_writer_init(&all, 0);
	for (int i = 0; i < N_FRAMES; i++) {
		begins[i] = all.used;
		put_frame(&all, i);
	}
	begins[N_FRAMES] = all.used;
	ck_assert(!all.failed);
}

static void end(void)
{
	wire_writer_finish(&all);
}

/* As they were, after one was changed. */
static void again(void)
{
	end();
	begin();
}

static struct wire_frame frame_of(int which)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;

	ck_assert_msg(wire_whole(all.bytes + begins[which], begins[which + 1] - begins[which], &frame,
	                         &error) == PAR_OK, "%s: %s", error.what, error.reason);
	return frame;
}

static struct wire_batch got;

static struct wire_batch *batch_of(int which)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame = frame_of(which);

	ck_assert_int_eq(frame.kind, WIRE_BATCH);
	ck_assert_msg(wire_get_batch(&frame, &got, &error) == PAR_OK, "%s: %s", error.what,
	              error.reason);
	return &got;
}

/* --- there and back -------------------------------------------------------------------------- */

START_TEST(a_range_comes_as_it_was_sent)
{
	const struct wire_batch *batch = batch_of(1);

	ck_assert_uint_eq(batch->batch, 77);
	ck_assert_uint_eq(batch->head.call, 5);
	ck_assert_uint_eq(batch->head.seed, 42);
	ck_assert_int_eq(batch->head.task_timeout_ns, 1000);
	ck_assert_uint_eq(batch->head.flags, WIRE_IS_RANGE);
	ck_assert_int_eq(batch->head.nested_n_jobs, 3);
	ck_assert_int_eq(batch->head.cores, 4);
	ck_assert_int_eq(batch->head.sharers, 2);
	ck_assert_str_eq(batch->chain, "loky > threading");
	ck_assert_str_eq(batch->around, "threading");
	ck_assert_int_eq(batch->head.inner_max_num_threads, 4);
	ck_assert_uint_eq(batch->head.n, N_VALUES);
	ck_assert_uint_eq(batch->range.first, 1000);
	ck_assert_uint_eq(batch->range.piece, 7);
	ck_assert_uint_eq(batch->range.attempt, 2);
	ck_assert_mem_eq(batch->in, values, sizeof(values));
	ck_assert_ptr_null(batch->shared);
}
END_TEST

START_TEST(a_batch_brings_the_tables)
{
	const struct wire_batch *batch = batch_of(1);

	ck_assert_str_eq(batch->backend, "threading");
	ck_assert_str_eq(batch->options[0], "spin=20us");
	ck_assert_ptr_null(batch->options[1]);
	ck_assert_uint_eq(batch->head.n_modules, 1);
	ck_assert_str_eq(batch->modules[0].path, "/tasks/some.so");
	ck_assert_uint_eq(batch->modules[0].id.size, 20);
	ck_assert_mem_eq(batch->modules[0].id.bytes, "0123456789abcdefghi", 20);
	ck_assert_uint_eq(batch->head.n_tasks_known, 1);
	ck_assert_str_eq(batch->tasks[0].name, "root");
	ck_assert_uint_eq(batch->tasks[0].in_size, sizeof(double));
}
END_TEST

START_TEST(a_range_may_lie_in_attachments)
{
	const struct wire_batch *batch = batch_of(2);

	ck_assert_ptr_null(batch->in);
	ck_assert_uint_eq(batch->range.in.id, 1);
	ck_assert_uint_eq(batch->range.in.offset, 64);
	ck_assert_uint_eq(batch->range.out.id, 2);
	ck_assert_uint_eq(batch->head.n, UINT64_C(1) << 40);
	ck_assert_uint_eq(batch->head.shared.id, 3);
	ck_assert_uint_eq(batch->head.shared_size, 12);
}
END_TEST

START_TEST(a_list_comes_item_by_item)
{
	struct wire_batch *batch = batch_of(3);
	struct wire_item item;

	ck_assert_mem_eq(batch->shared, "shared", 6);
	for (unsigned i = 0; i < N_PAYLOADS; i++) {
		ck_assert(wire_next_item(batch, &item));
		ck_assert_uint_eq(item.head.index, 10 + i);
		ck_assert_uint_eq(item.head.attempt, i);
		ck_assert_uint_eq(item.head.size, strlen(payloads[i]));
		ck_assert(memcmp(item.payload, payloads[i], strlen(payloads[i])) == 0);
	}
	ck_assert(wire_next_item(batch, &item));
	ck_assert_ptr_null(item.payload);
	ck_assert_uint_eq(item.head.size, 1000);
	ck_assert_uint_eq(item.ref.id, 8);
	ck_assert_uint_eq(item.ref.offset, 16);
	ck_assert(!wire_next_item(batch, &item));
}
END_TEST

START_TEST(outcomes_come_with_their_story)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame = frame_of(4);
	struct wire_cursor body = wire_body(&frame);
	struct wire_outcome outcome;

	ck_assert_int_eq(wire_next_outcome(&body, &outcome, &error), 1);
	ck_assert_uint_eq(outcome.head.index, 4);
	ck_assert(!outcome.head.failed);
	ck_assert_mem_eq(outcome.reply, "abc", 3);
	ck_assert_int_eq(wire_next_outcome(&body, &outcome, &error), 1);
	ck_assert_uint_eq(outcome.head.index, 5);
	ck_assert_uint_eq(outcome.head.attempt, 2);
	ck_assert(outcome.head.failed);
	ck_assert_int_eq(outcome.code, 9);
	ck_assert_str_eq(outcome.type, "FileNotFound");
	ck_assert_str_eq(outcome.where, "some.c:7");
	ck_assert_str_eq(outcome.text, "no such file");
	ck_assert_ptr_null(outcome.trace);
	ck_assert_int_eq(wire_next_outcome(&body, &outcome, &error), 0);
}
END_TEST

START_TEST(a_chunk_ends_where_its_task_failed)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame = frame_of(5);
	struct wire_chunk chunk;

	ck_assert_int_eq(wire_get_chunk(&frame, &chunk, &error), PAR_OK);
	ck_assert_uint_eq(chunk.head.first, 1000);
	ck_assert_uint_eq(chunk.head.n, 3);
	ck_assert_mem_eq(chunk.values, "xxxxxxxxxxxx", 12);
}
END_TEST

START_TEST(a_chunk_of_nothing_is_taken_back)
{
	const struct wire_chunk_head head = {0, 5, 4, 0};
	size_t before = all.used;

	ck_assert_ptr_nonnull(wire_begin_chunk(&all, 77, &head));
	wire_end_chunk(&all, &head, 0);
	ck_assert_uint_eq(all.used, before);
}
END_TEST

START_TEST(small_answers_come_as_they_were_sent)
{
	par_error error = PAR_ERROR_INIT, cannot = PAR_ERROR_INIT;
	struct wire_frame hello = frame_of(0), why = frame_of(6), begun = frame_of(8),
	                  over = frame_of(9);
	struct wire_hello said;
	struct wire_started started;
	struct wire_finished finished;

	ck_assert_int_eq(wire_get_hello(&hello, &said, &error), PAR_OK);
	ck_assert_int_eq(said.pid, 1234);
	ck_assert_str_eq(said.version, "0.1.0");
	ck_assert_str_eq(said.host, "here");
	ck_assert_int_eq(wire_get_cannot(&why, &cannot, &error), PAR_OK);
	ck_assert_int_eq(cannot.code, PAR_ENOTFOUND);
	ck_assert_str_eq(cannot.what, "cannot open the task module");
	ck_assert_str_eq(cannot.file, "/tasks/some.so");
	ck_assert_str_eq(cannot.reason, "No such file");
	ck_assert_str_eq(cannot.remedy, "build it");
	ck_assert_int_eq(wire_get_started(&begun, &started, &error), PAR_OK);
	ck_assert_uint_eq(started.index, 7);
	ck_assert_int_eq(wire_get_finished(&over, &finished, &error), PAR_OK);
	ck_assert_uint_eq(finished.ran, 100);
	ck_assert_int_eq(finished.peak_memory, 4096);
}
END_TEST

START_TEST(a_task_may_be_named_by_its_address)
{
	const struct wire_batch *batch = batch_of(11);

	ck_assert_uint_eq(batch->tasks[0].address, 0);
	ck_assert_str_eq(batch->tasks[1].name, "local");
	ck_assert_uint_eq(batch->tasks[1].address, 0x1234560);
}
END_TEST

START_TEST(a_worker_is_told_what_to_be)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame = frame_of(10);
	par_worker_setup setup;

	ck_assert_int_eq(wire_get_setup(&frame, &setup, &error), PAR_OK);
	ck_assert_uint_eq(setup.size, sizeof(setup));
	ck_assert_int_eq(setup.worker, 3);
	ck_assert_int_eq(setup.parent, 17);
	ck_assert_int_eq(setup.cpu, -1);
	ck_assert_int_eq(setup.memory, 1 << 30);
	ck_assert_int_eq(setup.cpu_time_ns, 5000);
	ck_assert_str_eq(setup.initializer, "/tasks/some.so:begin");
	ck_assert_ptr_null(setup.initarg);
}
END_TEST

START_TEST(an_attachment_comes_with_its_bytes)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame = frame_of(7);
	struct wire_attach attach;
	const void *bytes;

	ck_assert_int_eq(wire_get_attach(&frame, &attach, &bytes, &error), PAR_OK);
	ck_assert_uint_eq(attach.id, 6);
	ck_assert_uint_eq(attach.bytes, 13);
	ck_assert_uint_eq(attach.writable, 1);
	ck_assert_uint_eq(attach.sha256[2], 3);
	ck_assert_mem_eq(bytes, "thirteen byte", 13);
}
END_TEST

/* --- large payloads ---------------------------------------------------------------------------- */

/* All that is to be sent, from an offset on, by pieces of memory. */
static size_t gather(const struct wire_writer *writer, uint64_t offset, int at_a_time, char *to)
{
	struct iovec pieces[8];
	size_t n = 0;
	int k;

	while ((k = wire_writer_pieces(writer, offset + n, pieces, at_a_time)) > 0)
		for (int i = 0; i < k; i++) {
			memcpy(to + n, pieces[i].iov_base, pieces[i].iov_len);
			n += pieces[i].iov_len;
		}
	return n;
}

START_TEST(an_attachment_is_seen_in_one_of_three_ways)
{
	par_attachment attachment = {.size = sizeof(attachment), .kind = PAR_ATTACH_ARRAY, .id = 6, .fd = 3};
	par_error error = PAR_ERROR_INIT;
	struct wire_attach attach;
	struct wire_frame frame;
	const void *bytes;

	for (int32_t writable = 0; writable < 256; writable++) {
		struct wire_writer writer;

		wire_writer_init(&writer, 0);
		attachment.writable = writable;
		wire_put_attach(&writer, &attachment, WIRE_PASSED);
		ck_assert_int_eq(wire_whole(writer.bytes, writer.used, &frame, &error), PAR_OK);
		ck_assert_int_eq(wire_get_attach(&frame, &attach, &bytes, &error),
		                 writable <= PAR_ATTACH_PRIVATE ? PAR_OK : PAR_EINVAL);
		ck_assert_int_eq(attach.writable, writable);
		wire_writer_finish(&writer);
	}
	ck_assert_str_eq(error.reason, "attachment 6 is to be seen in way 255");
}
END_TEST

START_TEST(payloads_that_stay_are_sent_in_their_places)
{
	static char copied[4096], apart[4096];
	struct wire_writer writer;
	size_t n = begins[4] - begins[3];

	wire_writer_init(&writer, 7);
	put_list(&writer);
	ck_assert(!writer.failed);
	ck_assert_uint_eq(writer.n_pieces, 3);
	ck_assert_uint_eq(wire_writer_size(&writer), n);
	memcpy(copied, all.bytes + begins[3], n);
	for (int at_a_time = 1; at_a_time <= 8; at_a_time++)
		for (size_t offset = 0; offset <= n; offset++) {
			ck_assert_uint_eq(gather(&writer, offset, at_a_time, apart), n - offset);
			ck_assert(memcmp(apart, copied + offset, n - offset) == 0);
		}
	wire_writer_finish(&writer);
}
END_TEST

/* --- memory of somebody else's ------------------------------------------------------------------- */

START_TEST(a_frame_is_written_into_lent_memory)
{
	static char room[4096];
	struct wire_writer writer;

	wire_writer_init(&writer, 0);
	wire_writer_lend(&writer, room, sizeof(room));
	put_list(&writer);
	ck_assert(writer.lent && !writer.failed);
	ck_assert_uint_eq(writer.used, begins[4] - begins[3]);
	ck_assert(memcmp(room, all.bytes + begins[3], writer.used) == 0);
	wire_writer_finish(&writer);
}
END_TEST

/* Wherever the memory ends, down to none at all. */
START_TEST(a_frame_moves_away_where_lent_memory_ends)
{
	const size_t n = begins[4] - begins[3];
	char room[2048];
	struct wire_writer writer;

	for (size_t fits = 0; fits < n; fits++) {
		memset(room, '#', sizeof(room));
		wire_writer_init(&writer, 0);
		wire_writer_lend(&writer, room, fits);
		put_list(&writer);
		ck_assert(!writer.lent && !writer.failed);
		ck_assert_uint_eq(writer.used, n);
		ck_assert(memcmp(writer.bytes, all.bytes + begins[3], n) == 0);
		ck_assert_int_eq(room[fits], '#');
		wire_writer_finish(&writer);
	}
}
END_TEST

/* --- in pieces ------------------------------------------------------------------------------------ */

START_TEST(frames_come_in_pieces_of_any_size)
{
	for (size_t piece = 1; piece <= all.used; piece++)
		ck_assert_uint_eq(read_frames(all.bytes, all.used, piece), N_FRAMES);
}
END_TEST

START_TEST(whole_frames_are_not_copied)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_reader reader;
	struct wire_frame frame;

	wire_reader_init(&reader, 0);
	wire_reader_lend(&reader, all.bytes, all.used);
	for (int i = 0; i < N_FRAMES; i++) {
		ck_assert_int_eq(wire_next(&reader, &frame, &error), 1);
		ck_assert_ptr_eq(frame.body, all.bytes + begins[i] + sizeof(struct wire_head));
	}
	ck_assert_int_eq(wire_next(&reader, &frame, &error), 0);
	ck_assert(!wire_reader_waits(&reader));
	ck_assert_uint_eq(reader.room, 0);
	wire_reader_finish(&reader);
}
END_TEST

START_TEST(a_cut_frame_is_seen)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_reader reader;
	struct wire_frame frame;

	wire_reader_init(&reader, 0);
	wire_reader_lend(&reader, all.bytes, all.used - 1);
	while (wire_next(&reader, &frame, &error) > 0)
		;
	ck_assert(wire_reader_waits(&reader));
	wire_reader_finish(&reader);
}
END_TEST

/* --- what makes no sense --------------------------------------------------------------------------- */

/* In memory that ends where the bytes do. */
static uint64_t read_copy(const char *bytes, size_t n)
{
	char *copy = malloc(n > 0 ? n : 1);
	uint64_t frames;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, n);
	frames = read_frames(copy, n, n > 0 ? n : 1);
	free(copy);
	return frames;
}

START_TEST(survives_a_cut_at_every_length)
{
	for (int i = 0; i < N_FRAMES; i++)
		for (size_t n = 0; n < begins[i + 1] - begins[i]; n++)
			ck_assert_uint_eq(read_copy(all.bytes + begins[i], n), 0);
}
END_TEST

/* The head says what there is, so that the body's own readers meet the cut. */
START_TEST(survives_a_body_cut_at_every_length)
{
	for (int i = 0; i < N_FRAMES; i++)
		for (uint64_t size = 0; size < begins[i + 1] - begins[i] - sizeof(struct wire_head);
		     size += 8) {
			char *bytes = all.bytes + begins[i];
			size_t n = sizeof(struct wire_head) + (size_t)size;
			uint64_t before;

			memcpy(&before, bytes + 8, sizeof(before));
			memcpy(bytes + 8, &size, sizeof(size));
			ck_assert_uint_eq(read_copy(bytes, n), 1);
			memcpy(bytes + 8, &before, sizeof(before));
		}
}
END_TEST

static uint64_t next_random(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

static const uint64_t nasty[] = {0, 1, 7, 8, 255, UINT32_MAX, INT64_MAX, UINT64_MAX,
                                 UINT64_MAX - 7, UINT64_C(1) << 61, UINT64_C(1) << 32};

/* A byte, or a number where one may stand, becomes another. */
static void mutate(char *bytes, size_t n, uint64_t *state)
{
	uint64_t value = next_random(state);
	size_t size = (size_t[]){1, 2, 4, 8}[value % 4];
	size_t at = (size_t)(next_random(state) % n) / size * size;

	if (next_random(state) % 2)
		value = nasty[next_random(state) % (sizeof(nasty) / sizeof(nasty[0]))];
	else if (next_random(state) % 2)
		value = next_random(state) % 64;
	if (size <= n - at)
		memcpy(bytes + at, &value, size);
}

START_TEST(survives_random_changes)
{
	const int rounds = getenv("UNDER_VALGRIND") != NULL ? 2000 : 100000;
	uint64_t state = 88172645463325252u;

	for (int round = 0; round < rounds; round++) {
		int i = round % N_FRAMES;
		size_t n = begins[i + 1] - begins[i];
		char *copy = malloc(n);

		ck_assert_ptr_nonnull(copy);
		memcpy(copy, all.bytes + begins[i], n);
		for (uint64_t k = 0; k <= next_random(&state) % 3; k++)
			mutate(copy + (k > 0 ? 0 : sizeof(struct wire_head)),
			       n - (k > 0 ? 0 : sizeof(struct wire_head)), &state);
		(void)read_frames(copy, n, n);
		free(copy);
	}
}
END_TEST

/* The frame, with one number changed, is refused with these words. */
static void refuses(int which, size_t at, uint64_t value, size_t size, const char *reason)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;
	struct wire_chunk chunk;
	char *bytes = all.bytes + begins[which];
	int32_t status;

	memcpy(bytes + at, &value, size);
	status = wire_whole(bytes, begins[which + 1] - begins[which], &frame, &error);
	if (status == PAR_OK && frame.kind == WIRE_BATCH)
		status = wire_get_batch(&frame, &got, &error);
	else if (status == PAR_OK)
		status = wire_get_chunk(&frame, &chunk, &error);
	ck_assert_int_lt(status, 0);
	ck_assert_int_eq(error.code, status);
	ck_assert_msg(strstr(error.reason, reason) != NULL, "reason is \"%s\", not \"%s\"",
	              error.reason, reason);
}

#define IN_HEAD(field)  (sizeof(struct wire_head) + offsetof(struct wire_batch_head, field))
#define IN_CHUNK(field) (sizeof(struct wire_head) + offsetof(struct wire_chunk_head, field))

START_TEST(refuses_counts_of_what_is_not_there)
{
	refuses(1, IN_HEAD(n), 101, 8, "101 values of 8 bytes is cut");
	again();
	refuses(1, IN_HEAD(n), 99, 8, "8 bytes are left after the batch");
	again();
	refuses(1, IN_HEAD(n), UINT64_MAX / 8 + 2, 8, "a range of 2305843009213693953 tasks");
	again();
	refuses(3, IN_HEAD(n), 7, 8, "a list of 7 tasks is cut after 6");
	again();
	refuses(3, IN_HEAD(n), UINT64_MAX, 8, "is cut after 6");
	again();
	refuses(3, IN_HEAD(shared_size), UINT64_MAX, 8, "a shared value of 18446744073709551615");
	again();
	refuses(3, IN_HEAD(n_modules), 65, 2, "65 modules");
	again();
	refuses(3, IN_HEAD(n_options), 2, 2, "is cut");
	again();
	refuses(5, IN_CHUNK(n), 5, 8, "5 values of 4 bytes is");
	again();
	refuses(5, IN_CHUNK(n), UINT64_MAX, 8, "a chunk of 18446744073709551615 values");
}
END_TEST

START_TEST(refuses_unknown_flags)
{
	refuses(1, IN_HEAD(flags), 0x80000001, 4, "unknown flags (0x80000001)");
}
END_TEST

START_TEST(refuses_another_version)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_frame frame;

	all.bytes[2] = 9;
	ck_assert_int_eq(wire_whole(all.bytes, begins[1], &frame, &error), PAR_EUNAVAIL);
	ck_assert_str_eq(error.reason, "it speaks version 9 of the frames, this one version 2");
	ck_assert_str_eq(error.remedy, "install the same parloop on both sides");
}
END_TEST

START_TEST(refuses_what_is_no_frame)
{
	refuses(0, 0, 0x6868, 2, "begins with 68 68");
	again();
	refuses(0, 4, 1, 4, "reserved field is 1");
	again();
	refuses(0, 8, 9, 8, "9 bytes, not a multiple of 8");
	again();
	refuses(0, 8, 8, 8, "8 bytes, and 40 came");
}
END_TEST

START_TEST(takes_no_memory_for_what_a_head_says)
{
	par_error error = PAR_ERROR_INIT;
	struct wire_reader reader;
	struct wire_frame frame;
	const uint64_t size = UINT64_C(1) << 50;

	memcpy(all.bytes + begins[1] + 8, &size, sizeof(size));
	wire_reader_init(&reader, 0);
	wire_reader_lend(&reader, all.bytes + begins[1], begins[2] - begins[1]);
	ck_assert_int_eq(wire_next(&reader, &frame, &error), 0);
	ck_assert_uint_le(reader.room, 4096);
	wire_reader_finish(&reader);
	wire_reader_init(&reader, 1000000);
	wire_reader_lend(&reader, all.bytes + begins[1], begins[2] - begins[1]);
	ck_assert_int_eq(wire_next(&reader, &frame, &error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.reason, "at most 1000000 are taken"));
	ck_assert_int_eq(wire_next(&reader, &frame, &error), PAR_EINVAL);
	wire_reader_finish(&reader);
}
END_TEST

START_TEST(tables_have_their_limits)
{
	struct wire_task task = {"root", 0, PAR_TASK_BYTES, 0, 0};
	struct wire_module module = {.path = "x"};

	name_task(PAR_TASK_BYTES, 0, 0);
	for (int i = 1; i < WIRE_TASKS; i++)
		ck_assert_int_eq(wire_batch_task(&sent, &task), i);
	ck_assert_int_eq(wire_batch_task(&sent, &task), -1);
	for (int i = 1; i < WIRE_MODULES; i++)
		ck_assert_int_eq(wire_batch_module(&sent, &module), i);
	ck_assert_int_eq(wire_batch_module(&sent, &module), -1);
	for (int i = 1; i < WIRE_OPTIONS; i++)
		ck_assert_int_eq(wire_batch_option(&sent, "a=b"), i);
	ck_assert_int_eq(wire_batch_option(&sent, "a=b"), -1);
}
END_TEST

/* The corpus of tests/fuzz/wire.c is these frames.  When the format changes:
 * WIRE_CORPUS=write build/tests/test_wire */
START_TEST(the_corpus_is_of_this_version)
{
	static const char *const names[N_FRAMES] = {
		"hello", "range", "attached", "list", "outcomes",
		"chunk", "cannot", "attach", "started", "finished",
		"setup", "forked",
	};
	const char *mode = getenv("WIRE_CORPUS") != NULL ? "w+e" : "re";
	static char bytes[8192];

	for (int i = 0; i < N_FRAMES; i++) {
		size_t n = begins[i + 1] - begins[i];
		char path[128];
		FILE *file;

		(void)snprintf(path, sizeof(path), "tests/fuzz/wire/%s", names[i]);
		file = fopen(path, mode);
		ck_assert_msg(file != NULL, "%s cannot be opened", path);
		if (mode[0] == 'w') {
			(void)fputc(i, file);
			(void)fwrite(all.bytes + begins[i], 1, n, file);
			rewind(file);
		}
		ck_assert_msg(fread(bytes, 1, sizeof(bytes), file) == n + 1 &&
		                      memcmp(bytes + 1, all.bytes + begins[i], n) == 0,
		              "%s is of another version", path);
		fclose(file);
	}
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		a_range_comes_as_it_was_sent,
		a_batch_brings_the_tables,
		a_range_may_lie_in_attachments,
		a_list_comes_item_by_item,
		outcomes_come_with_their_story,
		a_chunk_ends_where_its_task_failed,
		a_chunk_of_nothing_is_taken_back,
		small_answers_come_as_they_were_sent,
		a_task_may_be_named_by_its_address,
		a_worker_is_told_what_to_be,
		an_attachment_comes_with_its_bytes,
		an_attachment_is_seen_in_one_of_three_ways,
		a_frame_is_written_into_lent_memory,
		a_frame_moves_away_where_lent_memory_ends,
		payloads_that_stay_are_sent_in_their_places,
		frames_come_in_pieces_of_any_size,
		whole_frames_are_not_copied,
		a_cut_frame_is_seen,
		survives_a_cut_at_every_length,
		survives_a_body_cut_at_every_length,
		survives_random_changes,
		refuses_counts_of_what_is_not_there,
		refuses_unknown_flags,
		refuses_another_version,
		refuses_what_is_no_frame,
		takes_no_memory_for_what_a_head_says,
		tables_have_their_limits,
		the_corpus_is_of_this_version,
	};
	Suite *suite = suite_create("wire");
	TCase *tcase = tcase_create("wire");
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
