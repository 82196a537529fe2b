#include "slots.h"

#include "arena.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct slots slots;

START_TEST(a_ring_has_room_for_what_was_asked_and_comes_round)
{
	ck_assert_int_eq(slots_init(&slots, 100, 0), 0);
	ck_assert_uint_eq(slots.base, 128);
	ck_assert_ptr_eq(slots_at(&slots, 0), slots_at(&slots, 128));
	ck_assert_ptr_eq(slots_at(&slots, 127), slots_at(&slots, ((uint64_t)1 << 40) + 127));
	ck_assert_ptr_ne(slots_at(&slots, 0), slots_at(&slots, 127));
	ck_assert_int_eq(slots_reach(&slots, UINT64_MAX), 0);
	ck_assert_uint_eq(slots.capacity, 128);
	slots_finish(&slots);
}
END_TEST

START_TEST(all_are_free_at_first)
{
	ck_assert_int_eq(slots_init(&slots, 1, 0), 0);
	for (uint64_t i = 0; i < slots.base; i++) {
		ck_assert_int_eq(slots_at(&slots, i)->state, SLOT_FREE);
		ck_assert_int_eq(slots_at(&slots, i)->flags, 0);
	}
	slots_finish(&slots);
}
END_TEST

START_TEST(a_list_grows_and_never_moves)
{
	enum { N = 5000 };
	static struct slot *places[N];

	ck_assert_int_eq(slots_init(&slots, 64, 1), 0);
	for (uint64_t i = 0; i < N; i++) {
		ck_assert_int_eq(slots_reach(&slots, i), 0);
		places[i] = slots_at(&slots, i);
		ck_assert_int_eq(places[i]->state, SLOT_FREE);
		places[i]->in.inside = i;
		atomic_store(&places[i]->state, SLOT_READY);
	}
	for (uint64_t i = 0; i < N; i++) {
		ck_assert_ptr_eq(slots_at(&slots, i), places[i]);
		ck_assert_uint_eq(places[i]->in.inside, i);
	}
	slots_finish(&slots);
	ck_assert_ptr_null(slots.segments[0]);
}
END_TEST

START_TEST(a_list_may_be_reached_far_ahead)
{
	ck_assert_int_eq(slots_init(&slots, 64, 1), 0);
	ck_assert_int_eq(slots_reach(&slots, 1000), 0);
	ck_assert_uint_ge(slots.capacity, 1001);
	slots_at(&slots, 1000)->link = 7;
	ck_assert_uint_eq(slots_at(&slots, 1000)->link, 7);
	slots_finish(&slots);
}
END_TEST

START_TEST(a_ring_that_no_memory_has_is_refused)
{
	ck_assert_int_eq(slots_init(&slots, UINT64_MAX, 0), -1);
	slots_finish(&slots);
}
END_TEST

START_TEST(small_values_are_in_the_slot_and_large_ones_where_it_says)
{
	struct slot slot = {.in.inside = 1};

	ck_assert_ptr_eq(slot_payload(&slot), &slot.in);
	ck_assert_ptr_eq(slot_reply(&slot), &slot.out);
	slot.in.pointer = &slots;
	slot.out.pointer = &slots;
	slot.flags = SLOT_IN_STAYS;
	ck_assert_ptr_eq(slot_payload(&slot), &slots);
	ck_assert_ptr_eq(slot_reply(&slot), &slot.out);
	slot.flags = SLOT_IN_ARENA | SLOT_OUT_ARENA;
	ck_assert_ptr_eq(slot_payload(&slot), &slots);
	ck_assert_ptr_eq(slot_reply(&slot), &slots);
}
END_TEST

/* That both pieces are given back is for the leak checkers to say. */
START_TEST(clearing_gives_back_what_it_holds)
{
	struct arena arena;
	struct slot slot = {0};

	arena_init(&arena);
	slot.in.pointer = arena_alloc(&arena, 50000);
	slot.out.pointer = arena_alloc(&arena, 50000);
	slot.flags = SLOT_IN_ARENA | SLOT_OUT_ARENA;
	atomic_store(&slot.state, SLOT_DONE);
	slot_clear(&slot);
	ck_assert_int_eq(slot.flags, 0);
	ck_assert_int_eq(slot.state, SLOT_FREE);
	slot_clear(&slot);
	arena_finish(&arena);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("slots");
	TCase *tests = tcase_create("slots");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, a_ring_has_room_for_what_was_asked_and_comes_round);
	tcase_add_test(tests, all_are_free_at_first);
	tcase_add_test(tests, a_list_grows_and_never_moves);
	tcase_add_test(tests, a_list_may_be_reached_far_ahead);
	tcase_add_test(tests, a_ring_that_no_memory_has_is_refused);
	tcase_add_test(tests, small_values_are_in_the_slot_and_large_ones_where_it_says);
	tcase_add_test(tests, clearing_gives_back_what_it_holds);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
