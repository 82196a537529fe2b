/* results.c - results when they are asked for, and several calls at once: B36 to B42. */
#include "acceptance.h"

#include "../tasks/conformance.h"

#include <dirent.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static par_iter *open_iter(par_parallel *pool, const char *name, par_source_fn source, void *user,
                           const par_settings *settings)
{
	par_iter *iter = NULL;

	MUST(par_iter_open(&iter, pool, task(name), source, user, settings, &error));
	EXPECT(iter != NULL, "no iterator");
	return iter;
}

static const par_outcome *next_of(par_iter *iter)
{
	const par_outcome *outcome = NULL;
	int32_t code = par_iter_next(iter, &outcome, &error);

	EXPECT(code == 1, "expected a result, got %d (%s: %s)", code, error.what, error.reason);
	EXPECT_INT(PAR_OK, outcome->status);
	return outcome;
}

/* The results of squaring count's values from that index on, in order, and then no more. */
static void expect_squares(par_iter *iter, uint64_t from, uint64_t until)
{
	for (uint64_t i = from; i < until; i++) {
		const par_outcome *outcome = next_of(iter);
		uint64_t square;

		EXPECT_INT(i, outcome->index);
		EXPECT_INT(sizeof(square), outcome->n_bytes);
		memcpy(&square, outcome->bytes, sizeof(square));
		EXPECT_INT(i * i, square);
	}
}

static void expect_end(par_iter *iter)
{
	const par_outcome *outcome;

	for (int i = 0; i < 2; i++)
		EXPECT_INT(0, par_iter_next(iter, &outcome, &error));
}

BEHAVIOUR(36, EVERY_BACKEND, "an ordered iterator keeps the order, for n_jobs 1, 2 and 4")
{
	static const int n_jobs[] = {1, 2, 4};

	for (int i = 0; i < 3; i++) {
		struct count count = {.n = 100};
		par_iter *iter = open_iter(NULL, "square", give_count, &count,
		                           ON(.n_jobs = PAR_SET(n_jobs[i])));

		expect_squares(iter, 0, 100);
		expect_end(iter);
		par_iter_close(iter, NULL);
	}
	EXPECT_TEXT("", printed());
}

/* How many milliseconds to wait: half a minute the first, the others not at all. */
static int32_t give_slow_first(void *user, par_item *item)
{
	struct count *count = user;
	int32_t got = give_count(count, item);

	count->value = count->given == 1 ? 30000 : 0;
	return got;
}

BEHAVIOUR(37, WITH_WORKERS, "unordered, nine fast results come before one that takes half a minute")
{
	struct count count = {.n = 10};
	par_thrown thrown = {.size = sizeof(thrown)};
	int64_t began_ms = now_ms();
	par_iter *iter = open_iter(NULL, "wait_for", give_slow_first, &count,
	                           ON(.n_jobs = PAR_SET(2), .order = PAR_UNORDERED,
	                              .batch_size = PAR_SET(1)));

	for (int i = 0; i < 9; i++)
		EXPECT_BETWEEN(1, 9, next_of(iter)->index);
	par_iter_close(iter, &thrown);
	EXPECT_INT(0, thrown.unused);
	EXPECT_INT(1, thrown.cancelled);
	EXPECT_BETWEEN(0, 20000, now_ms() - began_ms);
}

/* The task fill replies with as many bytes as it is told: a megabyte. */
static int32_t give_large(void *user, par_item *item)
{
	struct count *count = user;
	int32_t got = give_count(count, item);

	count->value = 1 << 20;
	return got;
}

BEHAVIOUR(38, EVERY_BACKEND, "closing an iterator early, with large results under way, ends at "
                             "once and says what is lost")
{
	for (int i = 0; i < 5; i++) {
		struct count count = {.n = 200};
		par_thrown thrown = {.size = sizeof(thrown)};
		par_iter *iter = open_iter(NULL, "fill", give_large, &count,
		                           ON(.n_jobs = PAR_SET(2)));

		for (int k = 0; k < i; k++)
			EXPECT_INT(1 << 20, next_of(iter)->n_bytes);
		par_iter_close(iter, &thrown);
		EXPECT_INT(count.given, (uint64_t)i + thrown.unused + thrown.cancelled);
	}
}

/* --- one call at a time, and several pools ---------------------------------------------------- */

static par_parallel *busy;

static void expect_busy(void)
{
	struct count count = {.n = 1};
	uint64_t in = 0, out;
	int64_t began_ms = now_ms();

	MUST_BE(PAR_EBUSY, par_map(busy, task("mix"), &in, &out, 1, NULL, &error));
	EXPECT_CONTAINS("already running", error.what);
	MUST_BE(PAR_EBUSY, par_run(busy, task("mix"), give_count, NULL, &count, NULL, &error));
	EXPECT_INT(0, count.given);
	EXPECT_BETWEEN(0, 1999, now_ms() - began_ms);
}

static int32_t give_and_call(void *user, par_item *item)
{
	struct count *count = user;

	if (count->given == 0)
		expect_busy();
	return give_count(count, item);
}

BEHAVIOUR(39, EVERY_BACKEND,
          "a second call on a busy pool is refused at once: it is already running")
{
	struct count count = {.n = 3}, open = {.n = 3};
	par_iter *iter;

	busy = open_n(2);
	MUST(par_run(busy, task("mix"), give_and_call, NULL, &count, NULL, &error));
	EXPECT_INT(3, count.given);
	iter = open_iter(busy, "square", give_count, &open, NULL);
	expect_busy();
	expect_squares(iter, 0, 3);
	par_iter_close(iter, NULL);
	expect_usable(busy);
	par_close(busy);
}

BEHAVIOUR(40, EVERY_BACKEND,
          "two open iterators have pools of their own, and both give what they should")
{
	struct count counts[2] = {{.n = 50}, {.n = 50}};
	par_iter *iters[2];

	for (int i = 0; i < 2; i++)
		iters[i] = open_iter(NULL, "square", give_count, &counts[i],
		                     ON(.n_jobs = PAR_SET(2)));
	for (uint64_t k = 0; k < 50; k++)
		for (int i = 0; i < 2; i++)
			expect_squares(iters[i], k, k + 1);
	for (int i = 0; i < 2; i++) {
		expect_end(iters[i]);
		par_iter_close(iters[i], NULL);
	}
}

BEHAVIOUR(41, EVERY_BACKEND, "dropping one iterator leaves another of the same backend alone "
                             "(ours: joblib's loky fails it)")
{
	struct count counts[2] = {{.n = 100}, {.n = 100}};
	par_thrown thrown = {.size = sizeof(thrown)};
	par_iter *iters[2];
	int64_t began_ms = now_ms();

	for (int i = 0; i < 2; i++)
		iters[i] = open_iter(NULL, "square", give_count, &counts[i],
		                     ON(.n_jobs = PAR_SET(2)));
	expect_squares(iters[0], 0, 1);
	expect_squares(iters[1], 0, 1);
	par_iter_close(iters[0], &thrown);
	expect_squares(iters[1], 1, 100);
	expect_end(iters[1]);
	par_iter_close(iters[1], NULL);
	EXPECT_BETWEEN(0, 4999, now_ms() - began_ms);
}

BEHAVIOUR(42, WITH_WORKERS,
          "the call begins when the iterator is opened, not when its first result is asked for")
{
	const char *folder = getenv("TMPDIR");
	struct count count = {.n = 2};
	struct timespec moment = {.tv_nsec = 1000000};
	par_iter *iter = open_iter(NULL, "leave_mark", give_count, &count,
	                           ON(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                              .shared = folder, .shared_size = strlen(folder) + 1));

	/* Nothing but time passes; the limit of this process ends it. */
	while (access(path_of("mark-0"), F_OK) != 0 || access(path_of("mark-1"), F_OK) != 0)
		nanosleep(&moment, NULL);
	EXPECT_INT(0, next_of(iter)->index);
	EXPECT_INT(1, next_of(iter)->index);
	expect_end(iter);
	par_iter_close(iter, NULL);
}
