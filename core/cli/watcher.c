#include "watcher.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

struct watcher {
	int fd;
	int commands; /* an eventfd: watch, or leave */
	atomic_int leave;
	void (*readable)(void *user);
	void *user;
	int has_thread;
	pthread_t thread;
};

struct watcher *watcher_create(int fd, void (*readable)(void *user), void *user)
{
	struct watcher *watcher = calloc(1, sizeof(*watcher));

	if (watcher == NULL)
		return NULL;
	*watcher = (struct watcher){.fd = fd, .readable = readable, .user = user};
	watcher->commands = eventfd(0, EFD_CLOEXEC);
	if (watcher->commands < 0) {
		free(watcher);
		return NULL;
	}
	return watcher;
}

void watcher_destroy(struct watcher *watcher)
{
	if (watcher == NULL)
		return;
	if (watcher->has_thread) {
		atomic_store(&watcher->leave, 1);
		(void)eventfd_write(watcher->commands, 1);
		pthread_join(watcher->thread, NULL);
	}
	(void)close(watcher->commands);
	free(watcher);
}

static void *watch(void *argument)
{
	struct watcher *watcher = argument;
	struct pollfd fds[] = {{.fd = watcher->commands, .events = POLLIN},
	                       {.fd = watcher->fd, .events = POLLIN}};
	eventfd_t commands;

	for (;;) {
		(void)eventfd_read(watcher->commands, &commands);
		if (atomic_load(&watcher->leave))
			return NULL;
		/* Another command ends the wait too, and is looked at first. */
		if (poll(fds, 2, -1) > 0 && fds[1].revents != 0)
			watcher->readable(watcher->user);
	}
}

int watcher_watch(struct watcher *watcher)
{
	sigset_t all, before;
	int failed = 0;

	if (!watcher->has_thread) {
		sigfillset(&all);
		pthread_sigmask(SIG_SETMASK, &all, &before);
		failed = pthread_create(&watcher->thread, NULL, watch, watcher);
		pthread_sigmask(SIG_SETMASK, &before, NULL);
		watcher->has_thread = !failed;
	}
	if (failed)
		return failed;
	(void)eventfd_write(watcher->commands, 1);
	return 0;
}
