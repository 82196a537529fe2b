#include "arena.h"

#include <check.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static struct arena arena;

START_TEST(pieces_are_aligned_and_do_not_overlap)
{
	static const size_t sizes[] = {0, 1, 15, 16, 17, 100, 4000, 16384, 16385, 70000, 1000000};
	enum { N = sizeof(sizes) / sizeof(sizes[0]) };
	unsigned char *pieces[N];

	arena_init(&arena);
	for (int i = 0; i < N; i++) {
		pieces[i] = arena_alloc(&arena, sizes[i]);
		ck_assert_ptr_nonnull(pieces[i]);
		ck_assert_uint_eq((uintptr_t)pieces[i] % 16, 0);
		memset(pieces[i], i, sizes[i]);
	}
	for (int i = 0; i < N; i++)
		for (size_t k = 0; k < sizes[i]; k++)
			ck_assert(pieces[i][k] == i);
	arena_finish(&arena);
	for (int i = 0; i < N; i++)
		arena_release(pieces[i]);
}
END_TEST

START_TEST(even_an_empty_piece_has_an_address_of_its_own)
{
	const void *one, *two;

	arena_init(&arena);
	one = arena_alloc(&arena, 0);
	two = arena_alloc(&arena, 0);
	ck_assert_ptr_ne(one, two);
	arena_release(one);
	arena_release(two);
	arena_finish(&arena);
}
END_TEST

START_TEST(a_piece_outlives_its_arena)
{
	char *piece;

	arena_init(&arena);
	piece = arena_alloc(&arena, 10);
	strcpy(piece, "still");
	arena_finish(&arena);
	ck_assert_str_eq(piece, "still");
	arena_release(piece);
}
END_TEST

START_TEST(a_piece_may_have_several_holders)
{
	char *piece, *large;

	arena_init(&arena);
	piece = arena_alloc(&arena, 10);
	large = arena_alloc(&arena, 50000);
	strcpy(piece, "held");
	strcpy(large, "held");
	arena_hold(piece);
	arena_hold(large);
	arena_release(piece);
	arena_release(large);
	arena_finish(&arena);
	ck_assert_str_eq(piece, "held");
	ck_assert_str_eq(large, "held");
	arena_release(piece);
	arena_release(large);
	arena_hold(NULL);
	arena_release(NULL);
}
END_TEST

START_TEST(released_pieces_may_all_be_gone_before_the_arena_is_left)
{
	arena_init(&arena);
	for (int i = 0; i < 100000; i++)
		arena_release(arena_alloc(&arena, 100));
	arena_finish(&arena);
	arena_finish(&arena);
}
END_TEST

START_TEST(a_size_that_no_memory_has_is_refused)
{
	const void *piece;

	arena_init(&arena);
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX));
	ck_assert_ptr_null(arena_alloc(&arena, SIZE_MAX - 100));
	/* It goes on serving what there is. */
	piece = arena_alloc(&arena, 1);
	ck_assert_ptr_nonnull(piece);
	arena_release(piece);
	arena_finish(&arena);
}
END_TEST

/* --- real threads -------------------------------------------------------------------------- */

enum { MOST = 20000 };
static _Atomic(unsigned *) handed[MOST];
static int n_pieces = MOST;

static void *release_them(void *arg)
{
	for (int i = 0; i < n_pieces; i++) {
		unsigned *piece;

		while ((piece = atomic_load(&handed[i])) == NULL)
			;
		if (*piece != (unsigned)i)
			abort();
		arena_release(piece);
	}
	return arg;
}

START_TEST(another_thread_may_release_while_one_allocates)
{
	pthread_t thread;

	/* valgrind runs one thread at a time, of which one looks out for the other for its whole turn. */
	if (getenv("UNDER_VALGRIND") != NULL)
		n_pieces = MOST / 20;
	arena_init(&arena);
	ck_assert_int_eq(pthread_create(&thread, NULL, release_them, NULL), 0);
	for (int i = 0; i < n_pieces; i++) {
		unsigned *piece = arena_alloc(&arena, i % 50 == 0 ? 20000 : 60);

		ck_assert_ptr_nonnull(piece);
		*piece = (unsigned)i;
		atomic_store(&handed[i], piece);
	}
	arena_finish(&arena);
	pthread_join(thread, NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("arena");
	TCase *tests = tcase_create("arena");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, pieces_are_aligned_and_do_not_overlap);
	tcase_add_test(tests, even_an_empty_piece_has_an_address_of_its_own);
	tcase_add_test(tests, a_piece_outlives_its_arena);
	tcase_add_test(tests, a_piece_may_have_several_holders);
	tcase_add_test(tests, released_pieces_may_all_be_gone_before_the_arena_is_left);
	tcase_add_test(tests, a_size_that_no_memory_has_is_refused);
	tcase_add_test(tests, another_thread_may_release_while_one_allocates);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
