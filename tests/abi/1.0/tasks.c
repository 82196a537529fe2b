/* tasks.c - a task module, with all that task.h has. */
#include <parloop/task.h>

static int root(const double *in, double *out)
{
	*out = *in * *in;
	return 0;
}
PAR_TASK(root, double, double)

static int picky(par_env *env, const int *in, int *out)
{
	*out = par_cancelled(env) ? -1 : *in + (par_seed(env) == 0);
	return *in == 70 ? par_fail_task_as(env, 3, "Picky", "not %d", *in) : 0;
}
PAR_TASK_ENV(picky, int, int)

static int shout(par_env *env, const void *payload, uint64_t size)
{
	char *reply = (char *)par_reply_room(env, size + 1);

	if (reply == NULL)
		return par_fail_task(env, 1, "no room");
	memcpy(reply, payload, size);
	reply[size] = '!';
	return 0;
}
PAR_TASK_OF_BYTES(shout)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)
