/* stateful.c - an initializer, and a task that sees what it did. */
#include <parloop/task.h>

static char kept[256];

/* Keeps its payload; fails if it is "bad". */
static int keep(par_env *env, const void *payload, uint64_t size)
{
	(void)snprintf(kept, sizeof(kept), "%.*s", (int)size, (const char *)payload);
	return strcmp(kept, "bad") == 0 ? par_fail_task(env, 3, "this is bad") : 0;
}

/* Replies with what was kept. */
static int tell(par_env *env, const void *payload, uint64_t size)
{
	(void)payload, (void)size;
	return par_reply(env, kept, strlen(kept));
}

/* Prints its payload, without a newline. */
static int print(par_env *env, const void *payload, uint64_t size)
{
	(void)env;
	(void)printf("%.*s", (int)size, (const char *)payload);
	return 0;
}

/* Writes to the call's shared value, and replies with what is there then. */
static int spoil(par_env *env, const void *payload, uint64_t size)
{
	char *shared = (char *)(uintptr_t)env->shared;

	(void)payload, (void)size;
	shared[0] = 77;
	return par_reply(env, shared, 1);
}

PAR_TASK_OF_BYTES(print)
PAR_TASK_OF_BYTES(spoil)
PAR_TASK_OF_BYTES(keep)
PAR_TASK_OF_BYTES(tell)
