/* processes.h - how the tasks of processes.c end their worker; shared with the tests. */
#ifndef TESTS_TASKS_PROCESSES_H
#define TESTS_TASKS_PROCESSES_H

enum {
	DIE_NOT,
	DIE_SEGV,
	DIE_KILL,
	DIE_ABORT,
	DIE_EXIT_0,
	DIE_EXIT_42,
	DIE_STACK,
	DIE_OF_OLD_AGE, /* sleeps for a minute */
	DIE_DEAF,       /* closes every descriptor, and goes on */
	DIE_WORDS       /* prints some, and aborts */
};

#endif
