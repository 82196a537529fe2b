#include "cursor.h"

#include <check.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static struct cursor cursor;

static void start(uint32_t n_seats, uint64_t from)
{
	ck_assert_int_eq(cursor_init(&cursor, n_seats), 0);
	cursor_reset(&cursor);
	atomic_store(&cursor.next, from);
	cursor_extend(&cursor, from);
}

START_TEST(nothing_is_taken_before_it_is_published)
{
	uint64_t first;

	start(2, 0);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 5, &first), 0);
	ck_assert(cursor_is_dry(&cursor));
	cursor_extend(&cursor, 3);
	ck_assert(!cursor_is_dry(&cursor));
	ck_assert_uint_eq(cursor_unclaimed(&cursor), 3);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 5, &first), 3);
	ck_assert_uint_eq(first, 0);
	ck_assert(cursor_is_dry(&cursor));
	cursor_finish(&cursor);
}
END_TEST

START_TEST(one_seat_takes_all_in_order)
{
	uint64_t first, expected = 0;
	uint32_t n;

	start(1, 0);
	cursor_extend(&cursor, 1000);
	while ((n = cursor_take(&cursor, 0, 7, &first)) > 0) {
		ck_assert_uint_eq(first, expected);
		ck_assert_uint_le(n, 7);
		expected += n;
	}
	ck_assert_uint_eq(expected, 1000);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(what_one_who_is_stuck_has_claimed_waits_for_others)
{
	uint64_t first;
	int32_t seat;

	start(2, 0);
	seat = cursor_sit(&cursor);
	cursor_extend(&cursor, 40);
	ck_assert_uint_eq(cursor_take(&cursor, (uint32_t)seat, 1, &first), 1);
	ck_assert_uint_eq(cursor_waiting(&cursor), 30);
	cursor_set_stuck(&cursor, (uint32_t)seat, 1);
	ck_assert_uint_eq(cursor_waiting(&cursor), 39);
	ck_assert_int_ne(cursor_sit(&cursor), seat);
	cursor_set_stuck(&cursor, (uint32_t)seat, 0);
	ck_assert_uint_eq(cursor_waiting(&cursor), 30);
	cursor_set_stuck(&cursor, (uint32_t)seat, 1);
	cursor_leave(&cursor, (uint32_t)seat);
	ck_assert_int_eq(cursor_sit(&cursor), seat);
	ck_assert_uint_eq(cursor_waiting(&cursor), 30);
	cursor_finish(&cursor);
}
END_TEST

/* Guided: a claim is a share of what is left, so that the last ones are small. */
START_TEST(a_chunk_is_a_share_of_what_is_left)
{
	uint64_t first;

	start(4, 0);
	cursor_extend(&cursor, 800);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 1);
	ck_assert_uint_eq(cursor_unclaimed(&cursor), 700);
	ck_assert_uint_eq(cursor_take(&cursor, 1, 1, &first), 1);
	ck_assert_uint_eq(first, 100);
	ck_assert_uint_eq(cursor_unclaimed(&cursor), 700 - 87);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(who_has_nothing_steals_the_upper_half)
{
	uint64_t first;

	start(2, 0);
	cursor_extend(&cursor, 9);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 1); /* claims 2 */
	while (cursor_unclaimed(&cursor) > 0)
		ck_assert_uint_gt(cursor_take(&cursor, 1, 100, &first), 0);
	ck_assert_uint_eq(cursor_take(&cursor, 1, 100, &first), 1);
	ck_assert_uint_eq(first, 1);
	ck_assert(cursor_is_dry(&cursor));
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 0);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(a_seat_is_taken_once_and_can_be_left)
{
	start(2, 0);
	ck_assert_int_eq(cursor_sit(&cursor), 0);
	ck_assert_int_eq(cursor_sit(&cursor), 1);
	ck_assert_int_eq(cursor_sit(&cursor), -1);
	cursor_leave(&cursor, 0);
	ck_assert_int_eq(cursor_sit(&cursor), 0);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(what_was_left_in_a_seat_is_there_for_the_next)
{
	uint64_t first;

	start(2, 0);
	cursor_extend(&cursor, 40);
	ck_assert_int_eq(cursor_sit(&cursor), 0);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 1);
	cursor_leave(&cursor, 0);
	ck_assert_int_eq(cursor_sit(&cursor), 0);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 100, &first), 9);
	ck_assert_uint_eq(first, 1);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(a_reset_forgets_what_was_left)
{
	uint64_t first;

	start(2, 0);
	cursor_extend(&cursor, 40);
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 1);
	cursor_reset(&cursor);
	ck_assert(cursor_is_dry(&cursor));
	ck_assert_uint_eq(cursor_take(&cursor, 0, 1, &first), 0);
	cursor_extend(&cursor, 1);
	ck_assert_uint_eq(cursor_take(&cursor, 1, 1, &first), 1);
	ck_assert_uint_eq(first, 0);
	cursor_finish(&cursor);
}
END_TEST

/* A seat keeps 32 bits of what it owns. */
START_TEST(numbers_are_whole_where_32_bits_wrap)
{
	const uint64_t from = ((uint64_t)5 << 32) - 50;
	uint64_t first, expected = from;
	uint32_t n;

	start(1, from);
	cursor_extend(&cursor, from + 100);
	while ((n = cursor_take(&cursor, 0, 3, &first)) > 0) {
		ck_assert_uint_eq(first, expected);
		expected += n;
	}
	ck_assert_uint_eq(expected, from + 100);
	cursor_finish(&cursor);
}
END_TEST

START_TEST(stolen_numbers_are_whole_where_32_bits_wrap)
{
	const uint64_t from = ((uint64_t)1 << 32) - 6;
	unsigned char seen[40] = {0};
	uint64_t first;
	uint32_t n, seat = 0;

	start(2, from);
	cursor_extend(&cursor, from + 40);
	/* Seat 0 claims 10 units across the wrap and takes one of them; seat 1 gets the rest. */
	while ((n = cursor_take(&cursor, seat, 1, &first)) > 0) {
		ck_assert_uint_ge(first, from);
		ck_assert_uint_lt(first, from + 40);
		ck_assert_uint_eq(seen[first - from]++, 0);
		seat = 1;
	}
	for (int i = 0; i < 40; i++)
		ck_assert_uint_eq(seen[i], 1);
	cursor_finish(&cursor);
}
END_TEST

/* --- real threads -------------------------------------------------------------------------- */

enum { N = 200000, THREADS = 4 };

static unsigned char taken[N];
static uint64_t base;
static _Atomic uint64_t total;

static void *take_until_all_are(void *arg)
{
	unsigned state = (unsigned)(uintptr_t)arg;
	uint64_t first;

	while (atomic_load(&total) < N) {
		int32_t seat = cursor_sit(&cursor);
		uint32_t n = 1;

		/* Some get up early and leave something in their seat. */
		for (unsigned i = 0; n > 0 && i < 200; i++) {
			n = cursor_take(&cursor, (uint32_t)seat, 1 + rand_r(&state) % 5, &first);
			for (uint32_t k = 0; k < n; k++)
				taken[first - base + k]++;
			atomic_fetch_add(&total, n);
		}
		cursor_leave(&cursor, (uint32_t)seat);
	}
	return NULL;
}

/* From below the wrap to beyond it, published bit by bit. */
START_TEST(threads_take_each_unit_exactly_once)
{
	pthread_t threads[THREADS];

	base = ((uint64_t)3 << 32) - N / 2;
	start(THREADS, base);
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, take_until_all_are, (void *)(i + 1)), 0);
	for (uint64_t limit = 0; limit < N; limit += 500)
		cursor_extend(&cursor, base + limit + 500);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	for (int i = 0; i < N; i++)
		ck_assert_msg(taken[i] == 1, "unit %d was taken %d times", i, taken[i]);
	ck_assert_uint_eq(atomic_load(&total), N);
	ck_assert(cursor_is_dry(&cursor));
	cursor_finish(&cursor);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cursor");
	TCase *tests = tcase_create("cursor");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, nothing_is_taken_before_it_is_published);
	tcase_add_test(tests, one_seat_takes_all_in_order);
	tcase_add_test(tests, what_one_who_is_stuck_has_claimed_waits_for_others);
	tcase_add_test(tests, a_chunk_is_a_share_of_what_is_left);
	tcase_add_test(tests, who_has_nothing_steals_the_upper_half);
	tcase_add_test(tests, a_seat_is_taken_once_and_can_be_left);
	tcase_add_test(tests, what_was_left_in_a_seat_is_there_for_the_next);
	tcase_add_test(tests, a_reset_forgets_what_was_left);
	tcase_add_test(tests, numbers_are_whole_where_32_bits_wrap);
	tcase_add_test(tests, stolen_numbers_are_whole_where_32_bits_wrap);
	tcase_add_test(tests, threads_take_each_unit_exactly_once);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
