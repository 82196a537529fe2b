/* errors.c - what fails, takes too long or is interrupted, and what is left then: B44 to B54, B58,
 * B59, B62 and B63. */
#include "acceptance.h"

#include "../tasks/acceptance.h"
#include "../tasks/conformance.h"

#include <check.h>
#include <signal.h>
#include <stdlib.h>
#include <uv.h>

/* leaks.h asserts as check's tests do, which needs a runner of check's. */
#undef ck_assert_ptr_nonnull
#undef ck_assert_int_eq
#define ck_assert_ptr_nonnull(pointer) EXPECT((pointer) != NULL, "%s is NULL", #pointer)
#define ck_assert_int_eq(actual, expected) EXPECT_INT(expected, actual)
#include "leaks.h"

/* --- too long --------------------------------------------------------------------------------- */

static const uint64_t ten_seconds[4] = {10000, 10000, 10000, 10000};

static int32_t give_ten_seconds(void *user, par_item *item)
{
	struct count *count = user;
	int32_t got = give_count(count, item);

	count->value = ten_seconds[0];
	return got;
}

static void expect_iterator_out_of_time(int32_t order)
{
	struct count count = {.n = 4};
	const par_outcome *outcome;
	par_iter *iter;

	MUST(par_iter_open(&iter, NULL, task("wait_for"), give_ten_seconds, &count,
	                   ON(.n_jobs = PAR_SET(2), .timeout = PAR_SET(0.01),
	                      .order = order), &error));
	MUST_BE(PAR_ETIMEOUT, par_iter_next(iter, &outcome, &error));
	MUST_BE(PAR_ETIMEOUT, par_iter_next(iter, &outcome, &error));
	par_iter_close(iter, NULL);
}

BEHAVIOUR(44, EVERY_BACKEND,
          "a time-out lets fast tasks pass, and ends what takes ten seconds, iterators too")
{
	uint64_t in[10] = {0}, out[10];
	int64_t began_ms = now_ms();

	MUST(par_map(NULL, task("mix"), in, out, 10, ON(.n_jobs = PAR_SET(2),
	                                                .timeout = PAR_SET(10)), &error));
	expect_mixed(in, out, 10);
	MUST_BE(PAR_ETIMEOUT, par_map(NULL, task("wait_for"), ten_seconds, out, 4,
	                              ON(.n_jobs = PAR_SET(2), .timeout = PAR_SET(0.01)), &error));
	expect_iterator_out_of_time(PAR_ORDERED);
	expect_iterator_out_of_time(PAR_UNORDERED);
	EXPECT_BETWEEN(0, 9999, now_ms() - began_ms);
}

BEHAVIOUR(45, EVERY_BACKEND, "n_jobs 1 has time-outs too (ours: joblib warns and goes on)")
{
	uint64_t out[4];
	int64_t began_ms = now_ms();

	MUST_BE(PAR_ETIMEOUT, par_map(NULL, task("wait_for"), ten_seconds, out, 4,
	                              ON(.n_jobs = PAR_SET(1), .timeout = PAR_SET(0.01)), &error));
	EXPECT_BETWEEN(10, 9999, now_ms() - began_ms);
}

/* --- failures --------------------------------------------------------------------------------- */

static const uint64_t zero_to_nine[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9};

static int32_t look_at_failure(void *user, const par_outcome *outcome)
{
	if (outcome->status == PAR_OK)
		return 0;
	(*(int *)user)++;
	EXPECT_INT(ACCEPTANCE_BAD, outcome->index);
	EXPECT_INT(PAR_EFAILED, outcome->status);
	EXPECT_INT(ACCEPTANCE_CODE, outcome->code);
	EXPECT_TEXT("SevenError", outcome->type);
	EXPECT_TEXT("7 is not liked", outcome->message);
	return 0;
}

static struct count ten;

static int32_t give_ten(void *user, par_item *item)
{
	(void)user;
	return give_count(&ten, item);
}

BEHAVIOUR(46, EVERY_BACKEND,
          "a failure keeps its code, its type and its words, wherever it happened")
{
	uint64_t out[10];
	int failures = 0;

	MUST_BE(PAR_EFAILED, par_map(NULL, task("fail_at_seven"), zero_to_nine, out, 10,
	                             ON(.n_jobs = PAR_SET(2)), &error));
	EXPECT_INT(ACCEPTANCE_BAD, error.task);
	EXPECT_INT(ACCEPTANCE_CODE, error.task_code);
	EXPECT_TEXT("SevenError", error.type);
	EXPECT_CONTAINS("7 is not liked", error.reason);
	ten = (struct count){.n = 10};
	MUST_BE(PAR_EFAILED, par_run(NULL, task("fail_at_seven"), give_ten, look_at_failure,
	                             &failures,
	                             ON(.n_jobs = PAR_SET(2), .on_error = PAR_COLLECT), &error));
	EXPECT_INT(1, failures);
}

static void expect_nothing_left(struct leaks *leaks)
{
	char report[1024];

	leaks_report(leaks, 5000, report, sizeof(report));
	leaks_forget(leaks);
	EXPECT(report[0] == '\0', "%s", report);
}

BEHAVIOUR(47, EVERY_BACKEND, "after a failure the pool goes on, and after the pool nothing of it "
                             "is left (ours: same workers)")
{
	uint64_t out[10];
	par_parallel *pool;
	struct leaks leaks;

	(void)task("mix");
	par_close(open_with(2, not_keeping()));
	leaks_begin(&leaks);
	pool = open_with(2, not_keeping());
	for (int i = 0; i < 3; i++) {
		MUST_BE(PAR_EFAILED, par_map(pool, task("fail_at_seven"), zero_to_nine, out, 10,
		                             NULL, &error));
		expect_usable(pool);
	}
	par_close(pool);
	expect_nothing_left(&leaks);
}

static par_parallel *interrupted;

static void on_interrupt(int number)
{
	(void)number;
	par_cancel(interrupted);
}

BEHAVIOUR(48, EVERY_BACKEND, "an interrupt during a task is reported as one, and the pool goes on")
{
	struct sigaction action = {.sa_handler = on_interrupt};
	pid_t who = getpid();
	uint64_t out[10];

	interrupted = open_n(2);
	sigaction(SIGINT, &action, NULL);
	MUST_BE(PAR_ECANCELED, par_map(interrupted, task("interrupt"), zero_to_nine, out, 10,
	                               PAR_SETTINGS(.shared = &who, .shared_size = sizeof(who)),
	                               &error));
	expect_usable(interrupted);
	par_close(interrupted);
}

BEHAVIOUR(49, EVERY_BACKEND,
          "a first task that fails does not wait for a hundred others of ten seconds")
{
	uint64_t in[101], out[101];
	int64_t began_ms = now_ms();

	for (uint64_t i = 0; i < 101; i++)
		in[i] = i;
	MUST_BE(PAR_EFAILED, par_map(NULL, task("fail_or_linger"), in, out, 101,
	                             ON(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1)), &error));
	EXPECT_INT(0, error.task);
	EXPECT_CONTAINS("the first fails", error.reason);
	EXPECT_BETWEEN(0, 9999, now_ms() - began_ms);
}

static void fail_in_nested_loop(void)
{
	uint64_t out[10];

	MUST_BE(PAR_EFAILED, par_map(NULL, task("loop_to_seven"), zero_to_nine, out, 10,
	                             ON(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1)), &error));
	EXPECT_INT(3, error.task);
}

BEHAVIOUR(51, EVERY_BACKEND, "a failure in a loop in a loop names both levels")
{
	fail_in_nested_loop();
	EXPECT_CONTAINS("task 3", error.what);
	EXPECT_CONTAINS("caused by: ", error.trace);
	EXPECT_CONTAINS("7 is not liked", error.trace);
}

BEHAVIOUR(52, EVERY_BACKEND, "a loop in a loop in which one task fails returns that failure")
{
	fail_in_nested_loop();
}

/* A typed task takes a payload of its own size, so there is no way to send this. */
static int32_t give_wrong_at_five(void *user, par_item *item)
{
	struct count *count = user;
	int32_t got = give_count(count, item);

	item->n_bytes -= count->given == 5;
	return got;
}

BEHAVIOUR(53, EVERY_BACKEND, "a payload that cannot be sent fails that call only, and is named")
{
	par_parallel *pool = open_n(2);
	struct count count = {.n = 10};

	MUST_BE(PAR_EINVAL, par_run(pool, task("mix"), give_wrong_at_five, NULL, &count, NULL,
	                            &error));
	EXPECT_CONTAINS("payload 4", error.what);
	EXPECT_CONTAINS("7", error.reason);
	EXPECT_CONTAINS("8", error.reason);
	expect_usable(pool);
	par_close(pool);
}

/* The line of a source that "...file.c:123..." names. */
static const char *line_named(const char *trace, char *line, size_t size)
{
	const char *at = strstr(trace, "tests/tasks/acceptance.c:");
	int wanted = at != NULL ? atoi(strchr(at, ':') + 1) : 0;
	FILE *file = fopen(PAR_CHECKOUT "/tests/tasks/acceptance.c", "r");

	EXPECT(file != NULL && wanted > 0, "no line is named in \"%s\"", trace);
	for (int i = 0; i < wanted; i++)
		EXPECT(fgets(line, (int)size, file) != NULL, "line %d is not there", wanted);
	fclose(file);
	return line;
}

BEHAVIOUR(54, EVERY_BACKEND, "a failure names the line of the source where the task gave up")
{
	char line[256];
	uint64_t out[10];

	MUST_BE(PAR_EFAILED, par_map(NULL, task("fail_at_seven"), zero_to_nine, out, 10,
	                             ON(.n_jobs = PAR_SET(2)), &error));
	EXPECT_CONTAINS("SevenError", line_named(error.trace, line, sizeof(line)));
}

/* --- calls out of callbacks ------------------------------------------------------------------- */

struct chain {
	par_parallel *pool;
	int left;
	uint64_t in[10], out[10];
};

static void next_link(void *user, int32_t status, const par_error *why)
{
	struct chain *chain = user;

	EXPECT(status == PAR_OK, "a link of the chain: %s: %s", why->what, why->reason);
	if (chain->left-- == 0)
		par_close_on(chain->pool, NULL, NULL);
	else
		MUST(par_start_map(chain->pool, task("mix"), chain->in, chain->out, 10, NULL,
		                   next_link, chain, &error));
}

static void after_crash(void *user, int32_t status, const par_error *why)
{
	struct chain *chain = user;

	EXPECT(status == PAR_ELOST, "expected PAR_ELOST, got %s (%s)", par_code_name(status),
	       why->what);
	chain->in[0] = 0;
	next_link(user, PAR_OK, NULL);
}

static void go_on_after_a_crash(void)
{
	struct chain chain = {.left = 10, .in = {SIGKILL}};
	uv_loop_t loop;

	EXPECT_INT(0, uv_loop_init(&loop));
	MUST(par_open_on(&chain.pool, &loop, ON(.n_jobs = PAR_SET(2)), NULL, NULL, &error));
	MUST(par_start_map(chain.pool, task("end"), chain.in, chain.out, 10, NULL, after_crash,
	                   &chain, &error));
	uv_run(&loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&loop));
	EXPECT_INT(-1, chain.left);
	expect_mixed(chain.in, chain.out, 10);
}

BEHAVIOUR(58, EVERY_BACKEND,
          "the end of a call may start the next: chains of 100, 50 and 60 on one loop, and one "
          "after a crash")
{
	static struct chain chains[3] = {{.left = 100}, {.left = 50}, {.left = 60}};
	uv_loop_t loop;

	EXPECT_INT(0, uv_loop_init(&loop));
	for (int i = 0; i < 3; i++) {
		memcpy(chains[i].in, zero_to_nine, sizeof(zero_to_nine));
		MUST(par_open_on(&chains[i].pool, &loop, ON(.n_jobs = PAR_SET(2)), NULL, NULL,
		                 &error));
		next_link(&chains[i], PAR_OK, NULL);
	}
	uv_run(&loop, UV_RUN_DEFAULT);
	EXPECT_INT(0, uv_loop_close(&loop));
	for (int i = 0; i < 3; i++) {
		EXPECT_INT(-1, chains[i].left);
		expect_mixed(chains[i].in, chains[i].out, 10);
	}
	if (is_backend(SURVIVING_CRASHES))
		go_on_after_a_crash();
	else
		but("not after a crash on %s, which survives none", backend);
}

static int32_t stop_at_once(void *user, const par_outcome *outcome)
{
	(void)outcome;
	(*(int *)user)++;
	return -1;
}

BEHAVIOUR(59, EVERY_BACKEND, "a sink that fails ends its call, and the pool goes on")
{
	par_parallel *pool = open_n(2);
	int calls = 0;

	ten = (struct count){.n = 10};
	MUST_BE(PAR_ECANCELED, par_run(pool, task("mix"), give_ten, stop_at_once, &calls, NULL,
	                               &error));
	EXPECT_INT(1, calls);
	expect_usable(pool);
	par_close(pool);
}

/* --- many failures ---------------------------------------------------------------------------- */

struct tally {
	uint64_t given, good, bad, value;
};

/* Every other one asks for a reply of 64 kB, the others are a byte short. */
static int32_t give_good_and_bad(void *user, par_item *item)
{
	struct tally *tally = user;

	if (tally->given == 200)
		return 0;
	tally->value = 65536;
	item->payload = &tally->value;
	item->n_bytes = sizeof(tally->value) - tally->given++ % 2;
	return 1;
}

static int32_t tally_up(void *user, const par_outcome *outcome)
{
	struct tally *tally = user;

	EXPECT_INT(outcome->index % 2 ? PAR_EFAILED : PAR_OK, outcome->status);
	EXPECT_INT(outcome->status == PAR_OK ? 65536 : 0, outcome->n_bytes);
	tally->good += outcome->status == PAR_OK;
	tally->bad += outcome->status != PAR_OK;
	return 0;
}

BEHAVIOUR(62, EVERY_BACKEND, "a hundred failures among a hundred large results clog nothing")
{
	struct tally tally = {0};

	MUST_BE(PAR_EFAILED, par_run(NULL, task("fill"), give_good_and_bad, tally_up, &tally,
	                             ON(.n_jobs = PAR_SET(2), .on_error = PAR_COLLECT), &error));
	EXPECT_INT(100, tally.good);
	EXPECT_INT(100, tally.bad);
}

BEHAVIOUR(63, EVERY_BACKEND, "a failure leaves no file behind, and prints nothing")
{
	uint64_t out[10];
	struct leaks leaks;

	(void)task("mix");
	par_close(open_with(2, not_keeping()));
	leaks_begin(&leaks);
	MUST_BE(PAR_EFAILED, par_map(NULL, task("fail_at_seven"), zero_to_nine, out, 10,
	                             ON(.n_jobs = PAR_SET(2), .options = not_keeping()), &error));
	expect_nothing_left(&leaks);
	EXPECT_TEXT("", printed());
}
