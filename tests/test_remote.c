/* A backend that shares no memory with its workers, as far as the core can tell: it has its
 * batches as bytes, runs them by par_worker_run() on a thread, and hands back the answer.  Its
 * workers can be made to die, and to lie. */
#include "scratch.h"
#include "shared.h"

#include <parloop/backend.h>
#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <pthread.h>
#include <signal.h>

enum { N = 5000 };

static par_error error = PAR_ERROR_INIT;
static par_module *module;
static int64_t in[N], out[N];
static int32_t statuses[N];

/* --- the backend ------------------------------------------------------------------------------- */

struct par_backend {
	const par_host *host;
	const par_ext_encode *ext;
};

/* What its workers do wrong. */
static struct {
	int64_t dies_at;     /* the task that kills its worker, whenever it begins; -1: none     */
	int signal;
	int dies_silently;   /* ... of whose batch nothing is heard, unless it says what begins  */
	int gives_back;      /* all batches, as all right, and runs none                         */
	int lost_unstarted;  /* so many batches are lost before they begin                       */
	int cut_after;       /* of the first batch, only so many bytes arrive; 0: all            */
	int lies;            /* every answer comes twice                                         */
	_Atomic int batches, deaths;
} worker;

/* What is there of attachments, as whoever moves bytes would have it: each id once. */
enum { MOST_MOVED = 2000 };
static struct {
	par_attachment attachments[MOST_MOVED];
	int n, n_named;
} moved;

struct work {
	par_backend *backend;
	par_batch batch;
	par_encoded encoded;
	const par_attachment **attachments;
	pthread_t thread;
	int32_t status;
	int32_t is_last;
	int is_dead;
	uint64_t sent, most;
};

static const par_attachment *move_attachment(const par_attachment *attachment)
{
	par_attachment *copy = &moved.attachments[moved.n];
	void *bytes;

	moved.n_named++;
	for (int i = 0; i < moved.n; i++)
		if (moved.attachments[i].id == attachment->id)
			return &moved.attachments[i];
	ck_assert_int_lt(moved.n, MOST_MOVED);
	ck_assert_int_eq(attachment->fd, -1);
	ck_assert_int_eq(attachment->writable, PAR_ATTACH_READ);
	*copy = *attachment;
	bytes = malloc(attachment->bytes);
	memcpy(bytes, attachment->address, attachment->bytes);
	copy->address = bytes;
	moved.n++;
	return copy;
}

static void end(void)
{
	while (moved.n > 0)
		free((void *)(uintptr_t)moved.attachments[--moved.n].address);
	moved.n_named = 0;
	shared_shrink();
	scratch_end();
}

static int32_t create(const par_host *host, const par_options *options, int32_t level, int32_t inner,
                      par_backend **backend, par_error *why)
{
	(void)options, (void)level, (void)inner, (void)why;
	*backend = calloc(1, sizeof(**backend));
	(*backend)->host = host;
	(*backend)->ext = host->extension(host, PAR_EXT_ENCODE);
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	(void)backend;
	return n_jobs > 0 ? n_jobs : 2;
}

/* Is the start of that task among these frames?  A head is 24 bytes, its size at 8. */
static int has_start_of(const unsigned char *bytes, uint64_t n, int64_t task)
{
	uint64_t at = 0, size;
	int64_t index;

	for (; task >= 0 && at + 32 <= n; at += 24 + size) {
		memcpy(&size, bytes + at + 8, sizeof(size));
		memcpy(&index, bytes + at + 24, sizeof(index));
		if (bytes[at + 3] == 17 && index == task)
			return 1;
	}
	return 0;
}

/* Or its value: a chunk, from one task on, of so many. */
static int has_value_of(const unsigned char *bytes, uint64_t n, int64_t task)
{
	uint64_t at = 0, size;
	int64_t range[2];

	for (; task >= 0 && at + 40 <= n; at += 24 + size) {
		memcpy(&size, bytes + at + 8, sizeof(size));
		memcpy(range, bytes + at + 24, sizeof(range));
		if (bytes[at + 3] == 19 && task >= range[0] && task - range[0] < range[1])
			return 1;
	}
	return 0;
}

/* The frame that ends a batch. */
static int has_end(const unsigned char *bytes, uint64_t n)
{
	uint64_t at = 0, size;

	for (; at + 24 <= n; at += 24 + size) {
		memcpy(&size, bytes + at + 8, sizeof(size));
		if (bytes[at + 3] == 20)
			return 1;
	}
	return 0;
}

static int32_t take_answer(void *user, const void *bytes, uint64_t n)
{
	struct work *work = user;
	par_backend *backend = work->backend;

	ck_assert_int_eq(work->is_last, has_end(bytes, n));
	if (work->is_dead)
		return -1;
	if (worker.dies_silently && has_value_of(bytes, n, worker.dies_at)) {
		work->is_dead = 1;
		return -1;
	}
	if (work->most > 0 && work->sent + n > work->most)
		n = work->most - work->sent;
	work->sent += n;
	if (n > 0)
		work->status = backend->ext->receive(backend->host, work->batch, bytes, n);
	if (worker.lies && work->status == PAR_OK)
		work->status = backend->ext->receive(backend->host, work->batch, bytes, n);
	work->is_dead = has_start_of(bytes, n, worker.dies_at) ||
	                (work->most > 0 && work->sent == work->most) || work->status < 0;
	return work->is_dead ? -1 : 0;
}

static void *run(void *arg)
{
	struct work *work = arg;
	const par_host *host = work->backend->host;
	const par_work wanted = {
		.size = sizeof(wanted),
		.bytes = work->encoded.bytes,
		.n_bytes = work->encoded.n_bytes,
		.attachments = work->attachments,
		.n_attachments = work->encoded.n_attachments,
		.send = take_answer,
		.user = work,
		.is_last = &work->is_last,
	};
	const par_how how = {
		.size = sizeof(how),
		.worker = 1,
		.pid = 4711,
		.signal = worker.signal,
		.exit_code = worker.signal == 0 ? 42 : -1,
		.peak_memory = 12345,
		.text = "last words",
	};

	work->backend->ext->runs_at(host, work->batch, 1, "elsewhere.example");
	if (!work->is_dead && !worker.gives_back)
		(void)par_worker_run(&wanted, NULL);
	if (work->is_dead)
		worker.deaths++;
	host->done(host, work->batch, work->is_dead ? PAR_ELOST : PAR_OK, work->is_dead ? &how : NULL);
	return NULL;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *why)
{
	struct work *work = calloc(1, sizeof(*work));
	int32_t status;

	*work = (struct work){.backend = backend, .batch = batch, .encoded.size = sizeof(par_encoded)};
	status = backend->ext->encode(backend->host, batch, &work->encoded, why);
	if (status < 0) {
		free(work);
		return status;
	}
	work->attachments = calloc(work->encoded.n_attachments + 1, sizeof(const par_attachment *));
	for (uint32_t i = 0; i < work->encoded.n_attachments; i++)
		work->attachments[i] = move_attachment(work->encoded.attachments[i]);
	if (worker.lost_unstarted > 0) {
		worker.lost_unstarted--;
		work->is_dead = 1;
	}
	if (worker.batches++ == 0)
		work->most = (uint64_t)worker.cut_after;
	*future = work;
	ck_assert_int_eq(pthread_create(&work->thread, NULL, run, work), 0);
	return PAR_OK;
}

static int32_t retrieve(par_backend *backend, par_batch batch, void *future, int32_t status,
                        par_error *why)
{
	struct work *work = future;

	(void)backend, (void)batch, (void)why;
	pthread_join(work->thread, NULL);
	free(work->attachments);
	free(work);
	return status;
}

static const par_backend_ops ops = {
	.size = sizeof(ops),
	.abi = PAR_ABI,
	.create = create,
	.destroy = destroy,
	.effective_n_jobs = effective_n_jobs,
	.submit = submit,
	.retrieve_result_callback = retrieve,
};

static const par_backend_ops *factory(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &ops;
}

/* --- a test's surroundings ------------------------------------------------------------------------ */

static void begin(void)
{
	scratch_begin();
	memset(&worker, 0, sizeof(worker));
	worker.dies_at = -1;
	worker.signal = SIGSEGV;
	for (int64_t i = 0; i < N; i++) {
		in[i] = i;
		out[i] = -1;
	}
	ck_assert_int_eq(par_module_open(&module, PAR_BUILD "/tasks/remote.so", &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("elsewhere", factory,
	                                      PAR_CAPABILITIES("auto_batches survives_crash"), 1, &error),
	                 PAR_OK);
}

static const par_task *task(const char *name)
{
	const par_task *found;

	ck_assert_int_eq(par_module_task(module, name, &found, &error), PAR_OK);
	return found;
}

static void nothing(void *watcher, const par_event *event)
{
	(void)watcher, (void)event;
}

/* --- tests ------------------------------------------------------------------------------------------ */

START_TEST(arrays_go_there_and_back)
{
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, N, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < N; i++)
		ck_assert_int_eq(out[i], 3 * i);
	ck_assert_int_lt(worker.batches, N / 2);
}
END_TEST

START_TEST(a_batch_has_as_many_as_are_asked_for)
{
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, 100,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(10)), &error),
	                 PAR_OK);
	ck_assert_int_eq(worker.batches, 10);
	worker.batches = 0;
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, 2000,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1)), &error),
	                 PAR_OK);
	ck_assert_int_eq(worker.batches, 2000);
}
END_TEST

/* Where a batch costs much, as the backend says, none of the last has less than a share of what is
 * over: with single ones at the end it would be 59. */
START_TEST(the_last_batches_are_worth_sending)
{
	const char *const capabilities = PAR_CAPABILITIES("auto_batches") PAR_BATCH_TIMES("1h", "1h");

	ck_assert_int_eq(par_register_backend("costly", factory, capabilities, 0, &error), PAR_OK);
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, 1000,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .backend = "costly"), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < 1000; i++)
		ck_assert_int_eq(out[i], 3 * i);
	ck_assert_int_le(worker.batches, 36);
}
END_TEST

static uint64_t given, taken;
static int in_order;

static int32_t give(void *user, par_item *item)
{
	static char payload[200];

	(void)user;
	if (given == 1000)
		return 0;
	memset(payload, (int)(given % 251), sizeof(payload));
	item->payload = payload;
	item->n_bytes = given % sizeof(payload);
	given++;
	return 1;
}

static int32_t take(void *user, const par_outcome *outcome)
{
	(void)user;
	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, outcome->index % 200);
	for (uint64_t i = 0; i < outcome->n_bytes; i++)
		ck_assert_uint_eq(((const unsigned char *)outcome->bytes)[i], outcome->index % 251);
	in_order &= outcome->index == taken;
	taken++;
	return 0;
}

START_TEST(streams_go_there_and_back)
{
	given = taken = 0;
	in_order = 1;
	ck_assert_int_eq(par_run(NULL, task("echo"), give, take, NULL,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .order = _i ? PAR_UNORDERED : PAR_ORDERED),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(taken, 1000);
	ck_assert(in_order || _i);
}
END_TEST

START_TEST(a_failure_comes_with_its_story)
{
	ck_assert_int_eq(par_map(NULL, task("picky"), in, out, 10,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .retries = PAR_SET(1),
	                                      .statuses = statuses, .on_error = PAR_COLLECT),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 7);
	ck_assert_int_eq(error.task_code, 4);
	ck_assert_int_eq(error.attempts, 2);
	ck_assert_int_eq(error.worker, 1);
	ck_assert_str_eq(error.host, "elsewhere.example");
	ck_assert_str_eq(error.type, "TooHigh");
	ck_assert_str_eq(error.reason, "7 is too high");
	ck_assert_ptr_nonnull(strstr(error.trace, "tasks/remote.c:"));
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(statuses[i], i < 7 ? PAR_OK : PAR_EFAILED);
	ck_assert_int_eq(out[3], 3);
}
END_TEST

START_TEST(the_first_failure_ends_the_call)
{
	ck_assert_int_eq(par_map(NULL, task("picky"), in, out, N, PAR_SETTINGS(.n_jobs = PAR_SET(1)), &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 3);
	ck_assert_int_eq(out[N - 1], -1);
}
END_TEST

START_TEST(the_shared_value_travels)
{
	const int64_t shared = 7;

	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 10,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .shared = &shared,
	                                      .shared_size = sizeof(shared)),
	                         &error),
	                 PAR_OK);
	for (int64_t i = 0; i < 10; i++)
		ck_assert_int_eq(out[i], i * 100 + 7);
}
END_TEST

START_TEST(what_tasks_share_goes_once_a_call)
{
	static int64_t shared[1000];

	for (int call = 1; call <= 2; call++) {
		shared[0] = call;
		worker.batches = 0;
		ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 100,
		                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(10),
		                                      .shared = shared, .shared_size = sizeof(shared)),
		                         &error),
		                 PAR_OK);
		for (int64_t i = 0; i < 100; i++)
			ck_assert_int_eq(out[i], i * 100 + call);
		ck_assert_int_eq(worker.batches, 10);
		ck_assert_int_eq(moved.n, call);
		ck_assert_int_eq(moved.n_named, 10 * call);
		ck_assert_int_eq(moved.attachments[call - 1].kind, PAR_ATTACH_BROADCAST);
		ck_assert_uint_eq(moved.attachments[call - 1].bytes, sizeof(shared));
	}
}
END_TEST

/* Nobody there sees the caller's memory, shared with processes of this machine or not. */
START_TEST(arrays_in_shared_memory_go_there_and_back_too)
{
	int64_t *ours = par_shared_alloc(2 * sizeof(in), &error);

	memcpy(ours, in, sizeof(in));
	ck_assert_int_eq(par_map(NULL, task("triple"), ours, ours + N, N,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .max_nbytes = PAR_SET(100)), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < N; i++)
		ck_assert_int_eq(ours[N + i], 3 * i);
	ck_assert_int_eq(moved.n_named, 0);
	par_shared_free(ours);
}
END_TEST

START_TEST(of_large_payloads_that_are_all_different_a_few_are_kept)
{
	given = taken = 0;
	ck_assert_int_eq(par_run(NULL, task("echo"), give, take, NULL,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .order = PAR_ORDERED,
	                                      .max_nbytes = PAR_SET(100)),
	                         &error),
	                 PAR_OK);
	ck_assert_uint_eq(taken, 1000);
	ck_assert_int_eq(moved.n, 16);
}
END_TEST

/* Two large ones in turn, and now and then a small one. */
static struct {
	int64_t first[200], second[200], buffer[200];
	int stays;
	int64_t n;
} matrices;

static int32_t give_matrix(void *user, par_item *item)
{
	int64_t *which = matrices.n % 2 == 0 ? matrices.first : matrices.second;

	(void)user;
	if (matrices.n == 60)
		return 0;
	if (!matrices.stays)
		which = memcpy(matrices.buffer, which, sizeof(matrices.buffer));
	item->stays = matrices.stays;
	item->payload = which;
	item->n_bytes = matrices.n % 10 == 7 ? 80 : sizeof(matrices.buffer);
	matrices.n++;
	return 1;
}

static int32_t take_matrix(void *user, const par_outcome *outcome)
{
	const int64_t *expected = outcome->index % 2 == 0 ? matrices.first : matrices.second;

	(void)user;
	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, outcome->index % 10 == 7 ? 80 : sizeof(matrices.buffer));
	ck_assert_mem_eq(outcome->bytes, expected, outcome->n_bytes);
	taken++;
	return 0;
}

/* Whether the caller has it where it was, or not; in another call again. */
START_TEST(the_same_large_payload_goes_once_a_call)
{
	matrices.stays = _i;
	for (int call = 1; call <= 2; call++) {
		matrices.n = 0;
		taken = 0;
		matrices.first[199] = 10 * call;
		matrices.second[199] = 10 * call + 1;
		ck_assert_int_eq(par_run(NULL, task("echo"), give_matrix, take_matrix, NULL,
		                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .max_nbytes = PAR_SET(1000)), &error),
		                 PAR_OK);
		ck_assert_uint_eq(taken, 60);
		ck_assert_int_eq(moved.n, 2 * call);
		ck_assert_int_eq(moved.attachments[2 * call - 1].kind, PAR_ATTACH_BROADCAST);
		ck_assert_uint_eq(moved.attachments[2 * call - 1].bytes, sizeof(matrices.buffer));
	}
}
END_TEST

START_TEST(what_was_lost_before_it_began_is_sent_again)
{
	worker.lost_unstarted = 20;
	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 1000, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < 1000; i++)
		ck_assert_int_eq(out[i], i * 100);
}
END_TEST

START_TEST(what_came_before_the_end_of_a_worker_counts)
{
	worker.cut_after = 100 + _i;
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, 1000,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(1), .batch_size = PAR_SET(100)), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < 1000; i++)
		ck_assert_int_eq(out[i], 3 * i);
}
END_TEST

START_TEST(a_task_that_kills_three_workers_is_condemned)
{
	worker.dies_at = 13;
	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 100,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .on_event = nothing,
	                                      .statuses = statuses, .on_error = PAR_COLLECT),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 13);
	ck_assert_int_eq(worker.deaths, 3);
	ck_assert_int_eq(error.attempts, 3);
	ck_assert_int_eq(error.signal, SIGSEGV);
	ck_assert_int_eq(error.pid, 4711);
	ck_assert_int_eq(error.worker, 1);
	ck_assert_int_eq(error.peak_memory, 12345);
	ck_assert_str_eq(error.type, "SIGSEGV");
	ck_assert_ptr_nonnull(strstr(error.trace, "task tell of /"));
	ck_assert_ptr_nonnull(strstr(error.trace, "/tasks/remote.so\nlast words"));
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(statuses[i], i == 13 ? PAR_ELOST : PAR_OK);
		ck_assert(i == 13 || out[i] == i * 100);
	}
}
END_TEST

START_TEST(the_task_that_kills_is_found_where_nobody_watches)
{
	worker.dies_at = 13;
	worker.dies_silently = 1;
	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 100,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(20),
	                                      .statuses = statuses, .on_error = PAR_COLLECT),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 13);
	ck_assert_int_eq(error.attempts, 3);
	ck_assert_int_le(worker.deaths, 4);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(statuses[i], i == 13 ? PAR_ELOST : PAR_OK);
		ck_assert(i == 13 || out[i] == i * 100);
	}
}
END_TEST

START_TEST(a_backend_that_runs_nothing_is_given_up)
{
	worker.gives_back = 1;
	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 10, PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error),
	                 PAR_EFAILED);
	ck_assert_ptr_nonnull(strstr(error.what, "batches in a row back without running them"));
}
END_TEST

START_TEST(more_tries_for_crashes_can_be_asked_for)
{
	worker.dies_at = 0;
	worker.signal = 0;
	ck_assert_int_eq(par_map(NULL, task("tell"), in, out, 2,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(1), .on_event = nothing,
	                                      .retries = PAR_SET(5), .retry_on = PAR_SET(PAR_ON_CRASH)),
	                         &error),
	                 PAR_ELOST);
	ck_assert_int_eq(worker.deaths, 6);
	ck_assert_str_eq(error.type, "EXIT(42)");
}
END_TEST

START_TEST(an_answer_that_comes_twice_is_refused)
{
	worker.lies = 1;
	ck_assert_int_eq(par_map(NULL, task("triple"), in, out, 10, PAR_SETTINGS(.n_jobs = PAR_SET(1)), &error),
	                 PAR_OK);
	for (int64_t i = 0; i < 10; i++)
		ck_assert_int_eq(out[i], 3 * i);
	ck_assert_int_gt(worker.deaths, 0);
}
END_TEST

/* Where input and output are the same, it would be the input of the next try. */
START_TEST(what_a_late_task_brings_is_not_kept)
{
	in[0] = 5;
	ck_assert_int_eq(par_map(NULL, task("dawdle"), in, in, 1,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(1), .task_timeout = PAR_SET(0.01),
	                                      .retries = PAR_SET(1)),
	                         &error),
	                 PAR_OK);
	ck_assert_int_eq(in[0], 15);
}
END_TEST

static int here(const int64_t *from, int64_t *to)
{
	*to = *from;
	return 0;
}
PAR_TASK(here, int64_t, int64_t)

START_TEST(a_task_of_the_program_needs_a_program_that_can)
{
	ck_assert_int_eq(par_map(NULL, &par_task_here, in, out, 10, NULL, &error), PAR_EINVAL);
	ck_assert_ptr_nonnull(strstr(error.what, "\"here\" cannot leave this process"));
	ck_assert_ptr_nonnull(strstr(error.remedy, "par_worker_main(argc, argv)"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("remote");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, arrays_go_there_and_back);
	tcase_add_test(tests, a_batch_has_as_many_as_are_asked_for);
	tcase_add_test(tests, the_last_batches_are_worth_sending);
	tcase_add_loop_test(tests, streams_go_there_and_back, 0, 2);
	tcase_add_test(tests, a_failure_comes_with_its_story);
	tcase_add_test(tests, the_first_failure_ends_the_call);
	tcase_add_test(tests, the_shared_value_travels);
	tcase_add_test(tests, what_tasks_share_goes_once_a_call);
	tcase_add_test(tests, arrays_in_shared_memory_go_there_and_back_too);
	tcase_add_test(tests, of_large_payloads_that_are_all_different_a_few_are_kept);
	tcase_add_loop_test(tests, the_same_large_payload_goes_once_a_call, 0, 2);
	tcase_add_test(tests, what_was_lost_before_it_began_is_sent_again);
	tcase_add_loop_test(tests, what_came_before_the_end_of_a_worker_counts, 0, 40);
	tcase_add_test(tests, a_task_that_kills_three_workers_is_condemned);
	tcase_add_test(tests, the_task_that_kills_is_found_where_nobody_watches);
	tcase_add_test(tests, a_backend_that_runs_nothing_is_given_up);
	tcase_add_test(tests, more_tries_for_crashes_can_be_asked_for);
	tcase_add_test(tests, an_answer_that_comes_twice_is_refused);
	tcase_add_test(tests, what_a_late_task_brings_is_not_kept);
	tcase_add_test(tests, a_task_of_the_program_needs_a_program_that_can);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
