#include "events.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static struct events events;

static struct {
	int n, again;
	uint64_t index[8];
	char message[32];
	void *watcher;
} seen;

static void on_event(void *watcher, const par_event *event)
{
	seen.watcher = watcher;
	if (seen.n < 8)
		seen.index[seen.n] = event->index;
	seen.n++;
	if (event->message != NULL)
		(void)snprintf(seen.message, sizeof(seen.message), "%s", event->message);
	if (seen.again) {
		/* Within another: its turn comes later. */
		seen.again = 0;
		events_add(&events, &(par_event){.size = sizeof(par_event), .index = 77});
		events_hand_out(&events);
		ck_assert_int_eq(seen.n, 1);
	}
}

static void begin(void)
{
	events_init(&events);
	events_begin(&events, on_event, &seen);
	memset(&seen, 0, sizeof(seen));
}

static void end(void)
{
	events_finish(&events);
}

static void add(uint64_t index, const char *message)
{
	events_add(&events, &(par_event){.size = sizeof(par_event), .index = index, .message = message});
}

START_TEST(nothing_is_handed_out_before_it_was_added)
{
	ck_assert(!events_has_some(&events));
	events_hand_out(&events);
	ck_assert_int_eq(seen.n, 0);
}
END_TEST

START_TEST(they_are_handed_out_once_in_the_order_in_which_they_were_added)
{
	for (uint64_t i = 0; i < 5; i++)
		add(i, NULL);
	ck_assert(events_has_some(&events));
	ck_assert_int_eq(seen.n, 0);
	events_hand_out(&events);
	events_hand_out(&events);
	ck_assert_int_eq(seen.n, 5);
	for (uint64_t i = 0; i < 5; i++)
		ck_assert_uint_eq(seen.index[i], i);
	ck_assert_ptr_eq(seen.watcher, &seen);
	ck_assert(!events_has_some(&events));
}
END_TEST

START_TEST(a_message_is_copied)
{
	char message[] = "no such file";

	add(1, message);
	memset(message, 'x', sizeof(message) - 1);
	events_hand_out(&events);
	ck_assert_str_eq(seen.message, "no such file");
}
END_TEST

START_TEST(what_comes_while_one_is_handed_out_comes_after_it)
{
	seen.again = 1;
	add(1, NULL);
	events_hand_out(&events);
	events_hand_out(&events);
	ck_assert_int_eq(seen.n, 2);
	ck_assert_uint_eq(seen.index[1], 77);
}
END_TEST

START_TEST(those_of_the_last_call_are_dropped_when_the_next_begins)
{
	add(1, "late");
	events_begin(&events, on_event, &seen);
	ck_assert(!events_has_some(&events));
	events_hand_out(&events);
	ck_assert_int_eq(seen.n, 0);
	/* And at the end. */
	add(2, "later");
}
END_TEST

enum { THREADS = 3, EACH = 1000 };
static uint64_t next_of[THREADS];

static void check_order(void *watcher, const par_event *event)
{
	(void)watcher;
	ck_assert_uint_eq(event->index, next_of[event->worker]);
	next_of[event->worker]++;
}

static void *add_many(void *arg)
{
	for (uint64_t i = 0; i < EACH; i++)
		events_add(&events, &(par_event){.size = sizeof(par_event),
		                                 .index = i,
		                                 .worker = (int32_t)(size_t)arg,
		                                 .message = "many"});
	return NULL;
}

START_TEST(each_thread_s_own_keep_their_order)
{
	pthread_t threads[THREADS];
	uint64_t n = 0;

	events_begin(&events, check_order, NULL);
	for (size_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, add_many, (void *)i), 0);
	while (n < THREADS * EACH) {
		events_hand_out(&events);
		for (int i = n = 0; i < THREADS; i++)
			n += next_of[i];
	}
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("events");
	TCase *tests = tcase_create("events");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, nothing_is_handed_out_before_it_was_added);
	tcase_add_test(tests, they_are_handed_out_once_in_the_order_in_which_they_were_added);
	tcase_add_test(tests, a_message_is_copied);
	tcase_add_test(tests, what_comes_while_one_is_handed_out_comes_after_it);
	tcase_add_test(tests, those_of_the_last_call_are_dropped_when_the_next_begins);
	tcase_add_test(tests, each_thread_s_own_keep_their_order);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
