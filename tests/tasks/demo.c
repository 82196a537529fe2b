/* demo.c - small tasks, each for one behaviour that a test wants to see. */
#include <parloop/task.h>

#include <ctype.h>
#include <time.h>

/* Replies with its payload. */
static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}

/* Replies with its payload in capitals. */
static int upper(par_env *env, const void *payload, uint64_t size)
{
	const unsigned char *from = payload;
	char *to = par_reply_room(env, size);

	if (to == NULL)
		return par_fail_task(env, 1, "no memory");
	for (uint64_t i = 0; i < size; i++)
		to[i] = (char)toupper(from[i]);
	return 0;
}

static int begins_with(const void *payload, uint64_t size, const char *word)
{
	return size >= strlen(word) && memcmp(payload, word, strlen(word)) == 0;
}

/* Fails for a payload that begins with "bad", in words, with "say", in those that follow, or
 * with "mute", without; else an echo. */
static int picky(par_env *env, const void *payload, uint64_t size)
{
	if (begins_with(payload, size, "bad"))
		return par_fail_task(env, 7, "this input is bad");
	if (begins_with(payload, size, "say"))
		return par_fail_task(env, 8, "%.*s", (int)(size - 3), (const char *)payload + 3);
	if (begins_with(payload, size, "mute"))
		return 9;
	return par_reply(env, payload, size);
}

/* Never replies. */
static int silent(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}

/* Replies with 100 MB of the payload's first byte. */
static int huge(par_env *env, const void *payload, uint64_t size)
{
	const uint64_t reply_size = 100 * 1000 * 1000;
	void *room = par_reply_room(env, reply_size);

	if (room == NULL)
		return par_fail_task(env, 1, "no memory");
	memset(room, size > 0 ? *(const char *)payload : 'x', (size_t)reply_size);
	return 0;
}

/* Replies with the payload's length. */
static int length(par_env *env, const void *payload, uint64_t size)
{
	char reply[32];
	int n = snprintf(reply, sizeof(reply), "%llu", (unsigned long long)size);

	(void)payload;
	return par_reply(env, reply, (uint64_t)n);
}

/* A millisecond: so long a task that the thread of the loop leaves the others to the
 * workers, and stays free to deliver. */
static void nap(void)
{
	const struct timespec millisecond = {.tv_nsec = 1000 * 1000};

	(void)nanosleep(&millisecond, NULL);
}

/* For the payload "wait" sleeps until the call is cancelled, for "bad" fails; else a slow
 * echo. */
static int snail(par_env *env, const void *payload, uint64_t size)
{
	nap();
	if (begins_with(payload, size, "bad"))
		return par_fail_task(env, 7, "this input is bad");
	if (!begins_with(payload, size, "wait"))
		return par_reply(env, payload, size);
	while (!par_cancelled(env))
		nap();
	return par_fail_task(env, 1, "cancelled");
}

/* For the payload "stuck" sleeps for ever, cancelled or not; else a slow echo. */
static int stubborn(par_env *env, const void *payload, uint64_t size)
{
	nap();
	while (begins_with(payload, size, "stuck"))
		nap();
	return par_reply(env, payload, size);
}

/* Fails as often as its payload says, then replies with how often it was tried. */
static int flaky(par_env *env, const void *payload, uint64_t size)
{
	int failures = size > 0 ? *(const char *)payload - '0' : 0;
	char reply[16];

	if (env->attempt < failures)
		return par_fail_task_as(env, 3, "Hiccup", "not this time");
	return par_reply(env, reply, (uint64_t)snprintf(reply, sizeof(reply), "%d", env->attempt + 1));
}

/* Replies with the number that its random numbers begin with. */
static int seed(par_env *env, const void *payload, uint64_t size)
{
	char reply[32];

	(void)payload, (void)size;
	return par_reply(env, reply,
	                 (uint64_t)snprintf(reply, sizeof(reply), "%llx",
	                                    (unsigned long long)par_seed(env)));
}

static int square(const int64_t *in, int64_t *out)
{
	*out = *in * *in;
	return 0;
}

PAR_TASK_OF_BYTES(echo)
PAR_TASK_OF_BYTES(upper)
PAR_TASK_OF_BYTES(picky)
PAR_TASK_OF_BYTES(silent)
PAR_TASK_OF_BYTES(huge)
PAR_TASK_OF_BYTES(length)
PAR_TASK_OF_BYTES(snail)
PAR_TASK_OF_BYTES(stubborn)
PAR_TASK_OF_BYTES(flaky)
PAR_TASK_OF_BYTES(seed)
PAR_TASK(square, int64_t, int64_t)
