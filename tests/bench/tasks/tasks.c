/* tasks.c - the tasks of workers in other processes, which open this module.  work() and
 * sum_words() are in it from the same object as everybody's. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <unistd.h>

#include <parloop/task.h>

#include "crash.h"
#include "payload.h"

static int turn(const uint64_t *in, uint64_t *out)
{
	*out = work(*in);
	return 0;
}
PAR_TASK(turn, uint64_t, uint64_t)

static int echo(par_env *env, const void *payload, uint64_t size)
{
	return par_reply(env, payload, size);
}
PAR_TASK_OF_BYTES(echo)

static int total(par_env *env, const void *payload, uint64_t size)
{
	uint64_t sum = sum_words(payload, size / sizeof(sum));

	return par_reply(env, &sum, sizeof(sum));
}
PAR_TASK_OF_BYTES(total)

/* Long enough that each of the workers gets some. */
static int where(const uint64_t *in, uint64_t *out)
{
	(void)in;
	usleep(20000);
	*out = (uint64_t)getpid();
	return 0;
}
PAR_TASK(where, uint64_t, uint64_t)

/* --- a worker that dies -------------------------------------------------------------------- */

static uint64_t word_at(int fd, size_t offset)
{
	uint64_t word = 0;

	return pread(fd, &word, sizeof(word), (off_t)offset) == sizeof(word) ? word : 0;
}

static int set_word(int fd, size_t offset, uint64_t word)
{
	return pwrite(fd, &word, sizeof(word), (off_t)offset) == sizeof(word) ? 0 : errno;
}

/* The bound is for a backend that gives both tasks to one worker. */
static int await_word(int fd, size_t offset)
{
	int waited;

	for (waited = 0; waited < 4000; waited++) {
		if (word_at(fd, offset) != 0)
			return 0;
		usleep(500);
	}
	return ETIMEDOUT;
}

static int stand_by(int fd)
{
	int error = set_word(fd, offsetof(struct crash_file, standing), 1);

	return error != 0 ? error : await_word(fd, offsetof(struct crash_file, over));
}

/* Only once the other worker is busy, which would run this again else. */
static int die_once(int fd)
{
	int error;

	if (word_at(fd, offsetof(struct crash_file, died_ns)) != 0)
		return 0;
	error = await_word(fd, offsetof(struct crash_file, standing));
	if (error == 0)
		error = set_word(fd, offsetof(struct crash_file, died_ns), (uint64_t)now_ns());
	if (error == 0)
		kill(getpid(), SIGKILL);
	return error;
}

static int crash(par_env *env, const void *payload, uint64_t size)
{
	const struct crash_order *order = payload;
	uint64_t pid = (uint64_t)getpid();
	int fd = open(order->path, O_RDWR | O_CLOEXEC), error;

	(void)size;
	if (fd < 0)
		return par_fail_task(env, errno, "cannot open %s", order->path);
	error = order->stands_by ? stand_by(fd) : die_once(fd);
	close(fd);
	if (error != 0)
		return par_fail_task(env, error, "the other worker did not do its part");
	return par_reply(env, &pid, sizeof(pid));
}
PAR_TASK_OF_BYTES(crash)
