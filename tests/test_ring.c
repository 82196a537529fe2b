#include "ring.h"

#include <check.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SIZE = 64 * 1024 };

static struct ring_words words;
static struct ring in, out; /* who takes out, who puts in */
static char *bytes;

static void begin(void)
{
	int fd = memfd_create("ring", MFD_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, SIZE), 0);
	bytes = mmap(NULL, 2 * SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(bytes, MAP_FAILED);
	for (int i = 0; i < 2; i++)
		ck_assert_ptr_ne(mmap(bytes + i * SIZE, SIZE, PROT_READ | PROT_WRITE,
		                      MAP_SHARED | MAP_FIXED, fd, 0), MAP_FAILED);
	close(fd);
	memset(&words, 0, sizeof(words));
	ring_init(&out, &words, bytes, SIZE);
	ring_init(&in, &words, bytes, SIZE);
}

static void end(void)
{
	munmap(bytes, 2 * SIZE);
}

/* n bytes of that value, all at once; what ring_put() says. */
static int put(int value, uint64_t n)
{
	uint64_t room;
	char *at;

	ck_assert_int_eq(ring_room(&out, n, &at, &room), 0);
	ck_assert_uint_ge(room, n);
	memset(at, value, n);
	return ring_put(&out, n);
}

static char *look(uint64_t n)
{
	uint64_t there;
	char *at;

	ck_assert_int_eq(ring_look(&in, &at, &there), 0);
	ck_assert_uint_eq(there, n);
	return at;
}

static int take(int value, uint64_t n)
{
	const char *at = look(n);
	int same = 1;

	for (uint64_t i = 0; i < n; i++)
		same &= at[i] == value;
	ck_assert(same);
	return ring_take(&in, n);
}

START_TEST(an_empty_ring_has_all_its_room)
{
	uint64_t room;
	char *at;

	ck_assert_int_eq(ring_room(&out, 1, &at, &room), 0);
	ck_assert_uint_eq(room, SIZE);
	ck_assert_ptr_eq(at, bytes);
	(void)look(0);
}
END_TEST

START_TEST(what_is_put_in_comes_out)
{
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(put(i % 100, 8 + 8 * (uint64_t)i), 0);
		ck_assert_int_eq(take(i % 100, 8 + 8 * (uint64_t)i), 0);
	}
}
END_TEST

/* Never empty, it goes round, and what lies over its end is in one piece. */
START_TEST(bytes_over_its_end_are_in_one_piece)
{
	(void)put(1, SIZE / 2);
	for (int i = 1; i < 100; i++) {
		(void)put((i + 1) % 100, 24000);
		ck_assert_int_eq(*look((i == 1 ? SIZE / 2 : 24000) + 24000), i % 100);
		(void)ring_take(&in, i == 1 ? SIZE / 2 : 24000);
	}
	(void)take(0, 24000);
}
END_TEST

START_TEST(an_empty_ring_begins_again)
{
	const char *furthest = bytes;
	uint64_t room;
	char *at;

	for (int i = 0; i < 10000; i++) {
		ck_assert_int_eq(ring_room(&out, 1000, &at, &room), 0);
		furthest = at > furthest ? at : furthest;
		(void)ring_put(&out, 1000);
		ck_assert_ptr_eq(look(1000), at);
		(void)ring_take(&in, 1000);
	}
	ck_assert_int_lt(furthest - bytes, 17000);
}
END_TEST

START_TEST(a_full_ring_has_no_room)
{
	uint64_t room;
	char *at;

	(void)put(1, SIZE);
	ck_assert_int_eq(ring_room(&out, 8, &at, &room), 0);
	ck_assert_uint_eq(room, 0);
	(void)take(1, SIZE);
	ck_assert_int_eq(ring_room(&out, 8, &at, &room), 0);
	ck_assert_uint_eq(room, SIZE);
}
END_TEST

START_TEST(who_sleeps_is_woken_once)
{
	ck_assert_int_eq(ring_sleep(&in, 1), 0);
	ck_assert_int_eq(put(1, 8), 1);
	ck_assert_int_eq(put(2, 8), 0);
	ck_assert_int_eq(ring_sleep(&in, 1), 1);
	ck_assert_int_eq(ring_sleep(&in, 0), 1);
	ck_assert_int_eq(put(3, 8), 0);
}
END_TEST

START_TEST(who_waits_for_room_is_woken_once)
{
	ck_assert_int_eq(ring_wait(&out, 1), 1);
	(void)put(1, SIZE);
	ck_assert_int_eq(ring_wait(&out, 1), 0);
	(void)look(SIZE);
	ck_assert_int_eq(ring_take(&in, 8), 1);
	ck_assert_int_eq(ring_take(&in, 8), 0);
	ck_assert_int_eq(ring_wait(&out, 1), 1);
}
END_TEST

/* Whatever the other side says, no byte beyond the ring is named. */
START_TEST(numbers_that_make_no_sense_are_refused)
{
	uint64_t room, there;
	char *at;

	(void)put(1, 800);
	words.put = SIZE + 8;
	ck_assert_int_eq(ring_look(&in, &at, &there), -1);
	words.put = 804;
	ck_assert_int_eq(ring_look(&in, &at, &there), -1);
	words.put = UINT64_MAX - 7;
	ck_assert_int_eq(ring_look(&in, &at, &there), -1);
	words.taken = 808;
	ck_assert_int_eq(ring_room(&out, SIZE, &at, &room), -1);
	words.taken = 4;
	ck_assert_int_eq(ring_room(&out, SIZE, &at, &room), -1);
	words.taken = UINT64_MAX - 7;
	ck_assert_int_eq(ring_room(&out, SIZE, &at, &room), -1);
}
END_TEST

START_TEST(what_was_taken_out_does_not_come_back)
{
	uint64_t room;
	char *at;

	(void)put(1, 800);
	(void)take(1, 800);
	ck_assert_int_eq(ring_room(&out, SIZE, &at, &room), 0);
	words.taken = 400;
	(void)ring_put(&out, 8);
	ck_assert_int_eq(ring_room(&out, SIZE, &at, &room), -1);
}
END_TEST

START_TEST(any_base_is_within_the_ring)
{
	unsigned short seed[3] = {1, 2, 3};
	uint64_t there;
	char *at;

	(void)put(1, 800);
	for (int i = 0; i < 100000; i++) {
		words.base = (uint64_t)jrand48(seed) << 32 ^ (uint64_t)jrand48(seed);
		ck_assert_int_eq(ring_look(&in, &at, &there), 0);
		ck_assert_uint_eq(there, 800);
		ck_assert(at >= bytes && at < bytes + SIZE);
	}
}
END_TEST

/* --- two threads ------------------------------------------------------------------------------ */

enum { NUMBERS = 200000 };

static sem_t to_in, to_out; /* by these they are woken */

static void put_some_numbers(uint64_t *next, uint64_t n)
{
	uint64_t room;
	char *at;

	ck_assert_int_eq(ring_room(&out, 8 * n, &at, &room), 0);
	n = n < room / 8 ? n : room / 8;
	for (uint64_t i = 0; i < n; i++, ++*next)
		memcpy(at + 8 * i, next, 8);
	if (n > 0 && ring_put(&out, 8 * n))
		sem_post(&to_in);
	if (n == 0 && !ring_wait(&out, 1))
		sem_wait(&to_out);
}

static void *put_numbers(void *unused)
{
	unsigned short seed[3] = {1, 2, 3};
	uint64_t next = 0, n;

	while (next < NUMBERS) {
		n = 1 + (uint64_t)nrand48(seed) % 2000;
		put_some_numbers(&next, n < NUMBERS - next ? n : NUMBERS - next);
	}
	return unused;
}

static void take_some_numbers(uint64_t *next)
{
	uint64_t n, number;
	int same = 1;
	char *at;

	ck_assert_int_eq(ring_look(&in, &at, &n), 0);
	for (uint64_t i = 0; i < n; i += 8, ++*next) {
		memcpy(&number, at + i, 8);
		same &= number == *next;
	}
	ck_assert(same);
	if (n > 0 && ring_take(&in, n))
		sem_post(&to_out);
	if (n == 0 && !ring_sleep(&in, 1))
		sem_wait(&to_in);
}

/* Whoever is not woken waits until the test has no time left. */
START_TEST(nobody_sleeps_for_ever)
{
	pthread_t other;
	uint64_t next = 0;

	ck_assert_int_eq(sem_init(&to_in, 0, 0), 0);
	ck_assert_int_eq(sem_init(&to_out, 0, 0), 0);
	ck_assert_int_eq(pthread_create(&other, NULL, put_numbers, NULL), 0);
	while (next < NUMBERS)
		take_some_numbers(&next);
	pthread_join(other, NULL);
	sem_destroy(&to_in);
	sem_destroy(&to_out);
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		an_empty_ring_has_all_its_room,
		what_is_put_in_comes_out,
		bytes_over_its_end_are_in_one_piece,
		an_empty_ring_begins_again,
		a_full_ring_has_no_room,
		who_sleeps_is_woken_once,
		who_waits_for_room_is_woken_once,
		numbers_that_make_no_sense_are_refused,
		what_was_taken_out_does_not_come_back,
		any_base_is_within_the_ring,
		nobody_sleeps_for_ever,
	};
	Suite *suite = suite_create("ring");
	TCase *tcase = tcase_create("ring");
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
