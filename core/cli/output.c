#include "output.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER_SIZE = 64 * 1024, HELD_MS = 20 };

struct output {
	int fd, is_terminal;
	char end;
	void (*broken)(void *user);
	void *user;
	int has_flusher;
	pthread_t flusher;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	int error, leave, flusher_sleeps;
	size_t used;
	char bytes[BUFFER_SIZE];
};

struct output *output_create(int fd, char end, void (*broken)(void *user), void *user)
{
	struct output *output = malloc(sizeof(*output));
	pthread_condattr_t attributes;

	if (output == NULL)
		return NULL;
	memset(output, 0, offsetof(struct output, bytes));
	output->fd = fd;
	output->end = end;
	output->broken = broken;
	output->user = user;
	output->is_terminal = isatty(fd);
	pthread_mutex_init(&output->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&output->changed, &attributes);
	pthread_condattr_destroy(&attributes);
	return output;
}

void output_destroy(struct output *output)
{
	if (output == NULL)
		return;
	if (output->has_flusher) {
		pthread_mutex_lock(&output->lock);
		output->leave = 1;
		pthread_cond_signal(&output->changed);
		pthread_mutex_unlock(&output->lock);
		pthread_join(output->flusher, NULL);
	}
	pthread_cond_destroy(&output->changed);
	pthread_mutex_destroy(&output->lock);
	free(output);
}

/* The descriptor may be somebody's who made it non-blocking. */
static void wait_writable(int fd)
{
	struct pollfd writable = {.fd = fd, .events = POLLOUT};

	(void)poll(&writable, 1, -1);
}

static int write_all(struct output *output, const char *bytes, size_t n)
{
	ssize_t written;

	while (n > 0 && output->error == 0) {
		written = write(output->fd, bytes, n);
		if (written >= 0) {
			bytes += written;
			n -= (size_t)written;
		} else if (errno == EAGAIN) {
			wait_writable(output->fd);
		} else if (errno != EINTR) {
			output->error = errno;
			output->broken(output->user);
		}
	}
	return output->error == 0 ? 0 : -1;
}

static int flush_locked(struct output *output)
{
	size_t n = output->used;

	output->used = 0;
	return write_all(output, output->bytes, n);
}

static int append(struct output *output, const char *bytes, size_t n)
{
	if (output->used + n > BUFFER_SIZE && flush_locked(output) < 0)
		return -1;
	if (n > BUFFER_SIZE)
		return write_all(output, bytes, n);
	if (n > 0)
		memcpy(output->bytes + output->used, bytes, n);
	output->used += n;
	return 0;
}

static void wait_a_moment(struct output *output)
{
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += HELD_MS * 1000000L;
	until.tv_sec += until.tv_nsec / 1000000000L;
	until.tv_nsec %= 1000000000L;
	while (!output->leave &&
	       pthread_cond_timedwait(&output->changed, &output->lock, &until) != ETIMEDOUT)
		;
}

static void *flusher(void *argument)
{
	struct output *output = argument;

	pthread_mutex_lock(&output->lock);
	while (!output->leave) {
		if (output->used == 0) {
			output->flusher_sleeps = 1;
			pthread_cond_wait(&output->changed, &output->lock);
			output->flusher_sleeps = 0;
			continue;
		}
		wait_a_moment(output);
		if (!output->leave)
			(void)flush_locked(output);
	}
	pthread_mutex_unlock(&output->lock);
	return NULL;
}

/* Somebody has to flush what is left in the buffer: the thread, or if there can be none,
 * whoever asks. */
static int flush_later(struct output *output)
{
	sigset_t all, before;

	if (!output->has_flusher) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		output->has_flusher = pthread_create(&output->flusher, NULL, flusher, output) == 0;
		pthread_sigmask(SIG_SETMASK, &before, NULL);
	}
	if (!output->has_flusher)
		return flush_locked(output);
	if (output->flusher_sleeps)
		pthread_cond_signal(&output->changed);
	return 0;
}

int output_record(struct output *output, const void *bytes, size_t n)
{
	int status;

	pthread_mutex_lock(&output->lock);
	status = append(output, bytes, n);
	if (status == 0)
		status = append(output, &output->end, 1);
	if (status == 0)
		status = output->is_terminal ? flush_locked(output) : flush_later(output);
	if (output->error != 0)
		status = -1;
	pthread_mutex_unlock(&output->lock);
	return status;
}

int output_flush(struct output *output)
{
	int status;

	pthread_mutex_lock(&output->lock);
	status = flush_locked(output);
	pthread_mutex_unlock(&output->lock);
	return status;
}

int output_error(struct output *output)
{
	int error;

	pthread_mutex_lock(&output->lock);
	error = output->error;
	pthread_mutex_unlock(&output->lock);
	return error;
}
