/* inner.h - what the tasks of inner.c are asked, and what they have seen. */
#ifndef TESTS_TASKS_INNER_H
#define TESTS_TASKS_INNER_H

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* Libraries that the module brings along: their files, parted by colons, in this variable when it
 * is opened. */
#define INNER_VARIABLE "PARLOOP_TEST_LIBRARIES"

struct inner_seen {
	int32_t limit; /* env->inner_max_num_threads */
	int32_t asked; /* what the library says itself */
	int32_t told;  /* what par_each_library() says of it; 0: nothing */
	int32_t used;  /* threads that it had at work for this task; 0: it was given none */
	int32_t pid;
};

/* LLVM's OpenMP leaves a file for each process that does not end by exit(). */
static inline void inner_tidy(void)
{
	char path[80];

	(void)snprintf(path, sizeof(path), "/dev/shm/__KMP_REGISTERED_LIB_%d_%d", (int)getpid(),
	               (int)getuid());
	(void)unlink(path);
}

#endif
