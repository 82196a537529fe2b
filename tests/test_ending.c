/* How a call ends while some of its tasks still run. */
/* link: -Wl,--wrap=clock_gettime */
#include "clock.h"

#include <parloop/parloop.h>

#include <check.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static par_error error;
static _Atomic int running, freed;

static void begin(void)
{
	error = (par_error)PAR_ERROR_INIT;
	running = freed = 0;
}

static void wait_for_two(void)
{
	atomic_fetch_add(&running, 1);
	while (atomic_load(&running) < 2)
		sched_yield();
}

/* Task 1 fails at once; task 0 does as well, but only because it was told to stop. */
static int one_fails(par_env *env, const int *in, int *out)
{
	*out = *in;
	wait_for_two();
	if (*in == 1)
		return par_fail_task(env, 2, "on its own account");
	while (!par_cancelled(env))
		sched_yield();
	return par_fail_task(env, 3, "told to stop");
}
PAR_TASK_ENV(one_fails, int, int)

static int given;
static int numbers[] = {0, 1};

static int32_t give_two(void *user, par_item *item)
{
	(void)user;
	if (given == 2)
		return 0;
	item->payload = &numbers[given++];
	item->n_bytes = sizeof(numbers[0]);
	return 1;
}

static int32_t count_failures(void *user, const par_outcome *outcome)
{
	*(int *)user += outcome->status != PAR_OK;
	ck_assert_uint_eq(outcome->index, 1);
	return 0;
}

START_TEST(who_fails_because_the_call_ends_is_not_to_blame)
{
	int out[2], statuses[2], failures = 0;

	ck_assert_int_eq(par_map(NULL, &par_task_one_fails, numbers, out, 2,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                                      .statuses = statuses),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 1);
	ck_assert_str_eq(error.reason, "on its own account");
	ck_assert_int_eq(statuses[0], PAR_EABORTED);
	ck_assert_int_eq(statuses[1], PAR_EFAILED);

	running = given = 0;
	ck_assert_int_eq(par_run(NULL, &par_task_one_fails, give_two, count_failures, &failures,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                                      .order = PAR_UNORDERED),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 1);
	ck_assert_int_eq(failures, 1);
}
END_TEST

/* Goes on until the call ends. */
static int stays(par_env *env, const int *in, int *out)
{
	*out = *in;
	atomic_fetch_add(&running, 1);
	while (*in == 1 && !par_cancelled(env))
		sched_yield();
	return 0;
}
PAR_TASK_ENV(stays, int, int)

START_TEST(a_late_task_is_told_when_all_others_are_over)
{
	int in[20], out[20], statuses[20];

	for (int i = 0; i < 20; i++)
		in[i] = i;
	clock_stands_until(&running, 20);
	ck_assert_int_eq(par_map(NULL, &par_task_stays, in, out, 20,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .task_timeout = PAR_SET(clock_short_s()),
	                                      .on_error = PAR_COLLECT, .statuses = statuses),
	                         &error),
	                 PAR_EFAILED);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(statuses[i], i == 1 ? PAR_ETIMEOUT : PAR_OK);
}
END_TEST

/* --- a payload of the caller's ---------------------------------------------------------------- */

static sem_t may_look, has_looked;
static char seen[32];

static int reads_late(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	sem_wait(&may_look);
	memcpy(seen, payload, (size_t)size);
	sem_post(&has_looked);
	return 0;
}
PAR_TASK_OF_BYTES(reads_late)

static char theirs[32];

static int32_t give_theirs(void *user, par_item *item)
{
	(void)user;
	if (given++ > 0)
		return 0;
	item->payload = strcpy(theirs, "as long as the task needs it");
	item->n_bytes = sizeof(theirs);
	item->stays = 1;
	return 1;
}

static int32_t spoil(void *user, const par_outcome *outcome)
{
	(void)user;
	ck_assert_int_eq(outcome->status, PAR_ETIMEOUT);
	memset(theirs, 'x', sizeof(theirs));
	sem_post(&may_look);
	return 0;
}

START_TEST(a_late_task_has_a_payload_of_its_own)
{
	given = 0;
	sem_init(&may_look, 0, 0);
	sem_init(&has_looked, 0, 0);
	ck_assert_int_eq(par_run(NULL, &par_task_reads_late, give_theirs, spoil, NULL,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .task_timeout = PAR_SET(0.01),
	                                      .on_error = PAR_COLLECT),
	                         &error),
	                 PAR_EFAILED);
	sem_wait(&has_looked);
	ck_assert_str_eq(seen, "as long as the task needs it");
}
END_TEST

/* --- a failure, and somebody who does not hear of it ------------------------------------------- */

static sem_t let_go;

static int is_deaf(par_env *env, const int *in, int *out)
{
	*out = *in;
	wait_for_two();
	if (*in == 1)
		return par_fail_task(env, 2, "on its own account");
	sem_wait(&let_go);
	sem_post(&has_looked);
	return 0;
}
PAR_TASK_ENV(is_deaf, int, int)

static int32_t count_failed(void *user, const par_outcome *outcome)
{
	*(_Atomic int *)user += outcome->status != PAR_OK;
	return 0;
}

START_TEST(a_call_that_ends_by_a_failure_keeps_its_call_timeout)
{
	_Atomic int failed = 0;

	given = 0;
	sem_init(&let_go, 0, 0);
	sem_init(&has_looked, 0, 0);
	clock_stands_until(&failed, 1);
	ck_assert_int_eq(par_run(NULL, &par_task_is_deaf, give_two, count_failed, &failed,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(1),
	                                      .order = PAR_UNORDERED, .call_timeout = PAR_SET(0.05)),
	                         &error),
	                 PAR_EFAILED);
	ck_assert_int_eq(error.task, 1);
	sem_post(&let_go);
	sem_wait(&has_looked);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("ending");
	TCase *tests = tcase_create("ending");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, NULL);
	tcase_add_test(tests, who_fails_because_the_call_ends_is_not_to_blame);
	tcase_add_test(tests, a_late_task_is_told_when_all_others_are_over);
	tcase_add_test(tests, a_late_task_has_a_payload_of_its_own);
	tcase_add_test(tests, a_call_that_ends_by_a_failure_keeps_its_call_timeout);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
