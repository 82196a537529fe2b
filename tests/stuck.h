/* stuck.h - tasks that stay where they are until the test lets them go, and streams of
 * numbers to give to them.
 *
 * A negative number is one whose task is stuck; every other is doubled. */
#ifndef TESTS_STUCK_H
#define TESTS_STUCK_H

#include <parloop/parloop.h>

#include <check.h>
#include <errno.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>

#define STUCK_UNUSED __attribute__((unused)) static

static struct {
	sem_t inside, gate;   /* one is in it; one may go on */
	_Atomic int n_inside; /* now */
	_Atomic int n_in_all, n_run;
} stuck;

STUCK_UNUSED void stuck_begin(void)
{
	ck_assert_int_eq(sem_init(&stuck.inside, 0, 0), 0);
	ck_assert_int_eq(sem_init(&stuck.gate, 0, 0), 0);
	stuck.n_inside = stuck.n_in_all = stuck.n_run = 0;
}

STUCK_UNUSED void stuck_take(sem_t *semaphore)
{
	while (sem_wait(semaphore) != 0)
		ck_assert_int_eq(errno, EINTR);
}

/* Wait until so many have got stuck; let so many go. */
STUCK_UNUSED void stuck_await(int n)
{
	while (n-- > 0)
		stuck_take(&stuck.inside);
}

STUCK_UNUSED void stuck_release(int n)
{
	while (n-- > 0)
		sem_post(&stuck.gate);
}

STUCK_UNUSED void stuck_stay(void)
{
	stuck.n_inside++;
	stuck.n_in_all++;
	sem_post(&stuck.inside);
	while (sem_wait(&stuck.gate) != 0)
		;
	stuck.n_inside--;
}

static int stuck_double(const int64_t *in, int64_t *out)
{
	stuck.n_run++;
	if (*in < 0)
		stuck_stay();
	*out = 2 * *in;
	return 0;
}
PAR_TASK(stuck_double, int64_t, int64_t)

/* The same for a payload that begins with such a number, with a reply of its size, which is
 * asked for before it gets stuck. */
static int stuck_echo(par_env *env, const void *payload, uint64_t size)
{
	char *room = par_reply_room(env, size);
	int64_t number;

	if (room == NULL)
		return 1;
	memcpy(&number, payload, sizeof(number));
	if (number < 0)
		stuck_stay();
	memcpy(room, payload, size);
	return 0;
}
PAR_TASK_OF_BYTES(stuck_echo)

/* --- streams ------------------------------------------------------------------------------- */

enum { STUCK_MOST = 64 };

/* The numbers to give, and what became of them. */
struct numbers {
	int64_t numbers[STUCK_MOST];
	int n, given, got, failed;
	uint64_t size; /* of each payload; 0: that of a number */
	int stays;
	int32_t status[STUCK_MOST]; /* of each; PAR_PENDING: it has not come */
	uint64_t order[STUCK_MOST]; /* in which they came */
	par_outcome last_failed;    /* its texts are gone */
	char message[256];
	char payload[4096];
};

#define NUMBERS(...) numbers_of((const int64_t[]){__VA_ARGS__}, sizeof((const int64_t[]){__VA_ARGS__}) / 8)

STUCK_UNUSED struct numbers numbers_of(const int64_t *of, size_t n)
{
	struct numbers numbers = {.n = (int)n};

	memcpy(numbers.numbers, of, n * sizeof(*of));
	for (size_t i = 0; i < STUCK_MOST; i++)
		numbers.status[i] = PAR_PENDING;
	return numbers;
}

STUCK_UNUSED int32_t give_number(void *user, par_item *item)
{
	struct numbers *numbers = user;

	if (numbers->given == numbers->n)
		return 0;
	item->payload = &numbers->numbers[numbers->given];
	item->n_bytes = sizeof(int64_t);
	item->stays = numbers->stays;
	if (numbers->size > 0) {
		memset(numbers->payload, 'x', sizeof(numbers->payload));
		memcpy(numbers->payload, item->payload, sizeof(int64_t));
		item->payload = numbers->payload;
		item->n_bytes = numbers->size;
	}
	numbers->given++;
	return 1;
}

STUCK_UNUSED int32_t get_number(void *user, const par_outcome *outcome)
{
	struct numbers *numbers = user;
	int64_t number;

	ck_assert_uint_lt(outcome->index, (uint64_t)numbers->given);
	ck_assert_int_eq(numbers->status[outcome->index], PAR_PENDING);
	numbers->status[outcome->index] = outcome->status;
	numbers->order[numbers->got++] = outcome->index;
	if (outcome->status != PAR_OK) {
		numbers->failed++;
		numbers->last_failed = *outcome;
		(void)snprintf(numbers->message, sizeof(numbers->message), "%s",
		               outcome->message != NULL ? outcome->message : "");
		return 0;
	}
	memcpy(&number, outcome->bytes, sizeof(number));
	ck_assert_int_eq(number, numbers->numbers[outcome->index] * (numbers->size > 0 ? 1 : 2));
	return 0;
}

#endif
