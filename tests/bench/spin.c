/* spin.c - the floors of two processes: one asks, the other answers, and both watch a line of
 * shared memory all the time, each on a core of its own.  No sleep, no errors, no queue. */
#include <signal.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cpus.h"
#include "payload.h"

enum { LINE = 64 };

/* What the two share.  The number of the last question stands beside what was asked, so that
 * the core fetches both at once. */
struct lines {
	alignas(2 * LINE) _Atomic uint64_t asked;
	alignas(LINE) struct echo there;
	alignas(2 * LINE) _Atomic uint64_t answered;
	uint64_t sum;
	alignas(LINE) struct echo back;
};

struct pair {
	struct lines *lines;
	pid_t other;
	uint64_t turn;
	uint64_t *shared; /* large payloads: where the other reads; n_words of them */
	uint64_t *own;    /* and where they are copied from; NULL: they are there    */
	uint64_t n_words;
};

static void await(const _Atomic uint64_t *word, uint64_t turn)
{
	while (atomic_load_explicit(word, memory_order_acquire) != turn)
		relax();
}

/* In the other process, until it is killed. */
static void answer(const struct pair *pair)
{
	struct lines *lines = pair->lines;
	uint64_t turn;

	for (turn = 1;; turn++) {
		await(&lines->asked, turn);
		if (pair->shared != NULL)
			lines->sum = sum_words(pair->shared, pair->n_words);
		else
			lines->back = lines->there;
		atomic_store_explicit(&lines->answered, turn, memory_order_release);
	}
}

static void ask(struct pair *pair)
{
	atomic_store_explicit(&pair->lines->asked, ++pair->turn, memory_order_release);
	await(&pair->lines->answered, pair->turn);
}

static int echo_once(void *arg, const struct load *load)
{
	struct pair *pair = arg;
	struct echo echo = {{0}};
	uint64_t i;

	for (i = 0; i < load->n; i++) {
		echo.words[0] = load->in[i];
		pair->lines->there = echo;
		ask(pair);
		echo = pair->lines->back;
		load->out[i] = work(echo.words[0]);
	}
	return 0;
}

static int sum_once(void *arg, const struct load *load)
{
	struct pair *pair = arg;
	uint64_t *words = pair->own != NULL ? pair->own : pair->shared, i;

	for (i = 0; i < load->n; i++) {
		words[0] = load->in[i];
		if (pair->own != NULL)
			memcpy(pair->shared, words, pair->n_words * sizeof(*words));
		ask(pair);
		load->out[i] = work(pair->lines->sum);
	}
	return 0;
}

/* Unpinned, the two would begin on one core, and each spin for a slice of the other's time. */
static int pair_fork(struct pair *pair, struct sample *sample)
{
	cpu_set_t cpus[2];

	if (cpus_choose(cpus) != 0)
		return sample_fail(sample, "needs two cores");
	pair->lines = payload_shared(sizeof(*pair->lines));
	if (pair->lines == NULL)
		return sample_fail(sample, "no memory");
	pair->other = fork();
	if (pair->other < 0)
		return sample_fail(sample, "cannot fork");
	if (pair->other == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		sched_setaffinity(0, sizeof(cpus[1]), &cpus[1]);
		answer(pair);
	}
	sched_setaffinity(0, sizeof(cpus[0]), &cpus[0]);
	return 0;
}

static int pair_cell(const struct load *load, struct sample *sample, struct pair *pair,
		     int (*once)(void *arg, const struct load *load))
{
	int result;

	if (pair_fork(pair, sample) != 0)
		return -1;
	result = sample_tasks(sample, load, once, pair);
	kill(pair->other, SIGKILL);
	waitpid(pair->other, NULL, 0);
	return result;
}

static int echo_cell(const struct load *load, struct sample *sample)
{
	struct pair pair = {.turn = 0};

	return pair_cell(load, sample, &pair, echo_once);
}

static int sum_cell(const struct load *load, struct sample *sample, uint64_t size, int copies)
{
	struct pair pair = {.n_words = size / sizeof(uint64_t)};

	pair.shared = payload_shared(size);
	/* Private in fact: the other process never looks at it. */
	pair.own = copies ? payload_shared(size) : NULL;
	if (pair.shared == NULL || (copies && pair.own == NULL))
		return sample_fail(sample, "no memory");
	payload_fill(copies ? pair.own : pair.shared, pair.n_words);
	return pair_cell(load, sample, &pair, sum_once);
}

static int copied_1m_cell(const struct load *load, struct sample *sample)
{
	return sum_cell(load, sample, MIB, 1);
}

static int shared_1m_cell(const struct load *load, struct sample *sample)
{
	return sum_cell(load, sample, MIB, 0);
}

static int copied_64m_cell(const struct load *load, struct sample *sample)
{
	return sum_cell(load, sample, 64 * MIB, 1);
}

static int shared_64m_cell(const struct load *load, struct sample *sample)
{
	return sum_cell(load, sample, 64 * MIB, 0);
}

const struct cell cells_spin[] = {
	{"W5-one", "two processes that spin", LIMIT, echo_cell},
	{"W5-1M", "one copy", LIMIT, copied_1m_cell},
	{"W5-1M", "no copy", LIMIT, shared_1m_cell},
	{"W5-64M", "one copy", LIMIT, copied_64m_cell},
	{"W5-64M", "no copy", LIMIT, shared_64m_cell},
	{NULL, NULL, LIMIT, NULL},
};
