/* stillborn.c - a module whose loading ends the process, or does not end itself. */
#include <parloop/task.h>

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__attribute__((constructor)) static void end(void)
{
	while (getenv("HANGS") != NULL)
		(void)pause();
	if (getenv("STILLBORN") == NULL)
		return;
	(void)fputs("no, not here\n", stderr);
	_exit(7);
}

static int nothing(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}
PAR_TASK_OF_BYTES(nothing)
