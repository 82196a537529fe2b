/* clock.h - a clock that stands still until that has happened which is to come before a deadline,
 * however slow the machine.  The test says
 *
 *	link: -Wl,--wrap=clock_gettime
 *
 * and what is awaited is counted up by a task, a source or a sink. */
#ifndef TESTS_CLOCK_H
#define TESTS_CLOCK_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

static struct {
	pthread_mutex_t lock;
	_Atomic int *counter; /* NULL: it goes */
	int until;
	int64_t stands_ns, lost_ns;
} wall = {.lock = PTHREAD_MUTEX_INITIALIZER};

int __real_clock_gettime(clockid_t id, struct timespec *time);
int __wrap_clock_gettime(clockid_t id, struct timespec *time);
int __wrap_clock_gettime(clockid_t id, struct timespec *time)
{
	int64_t now_ns;

	if (id != CLOCK_MONOTONIC)
		return __real_clock_gettime(id, time);
	pthread_mutex_lock(&wall.lock);
	(void)__real_clock_gettime(id, time);
	now_ns = (int64_t)time->tv_sec * 1000000000 + time->tv_nsec;
	if (wall.counter != NULL)
		wall.lost_ns = now_ns - wall.stands_ns;
	if (wall.counter != NULL && *wall.counter >= wall.until)
		wall.counter = NULL;
	now_ns -= wall.lost_ns;
	pthread_mutex_unlock(&wall.lock);
	time->tv_sec = now_ns / 1000000000;
	time->tv_nsec = now_ns % 1000000000;
	return 0;
}

/* From now on, until the counter is so high. */
static void clock_stands_until(_Atomic int *counter, int until)
{
	struct timespec now;

	(void)__wrap_clock_gettime(CLOCK_MONOTONIC, &now);
	pthread_mutex_lock(&wall.lock);
	wall.stands_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
	wall.counter = counter;
	wall.until = until;
	pthread_mutex_unlock(&wall.lock);
}

/* What a task may take: long enough for one that is not stuck, on a machine with much to do, where
 * it may be taken off its processor in the middle. */
__attribute__((unused)) static double clock_short_s(void)
{
#ifdef __SANITIZE_THREAD__
	return 0.3;
#else
	return getenv("UNDER_VALGRIND") != NULL ? 0.3 : 0.1;
#endif
}

#endif
