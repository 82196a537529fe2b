/* watcher.h - waits until there is something to read, so that the thread that delivers
 * results need not.
 *
 * Its thread starts when there is something to wait for: most inputs are files. */
#ifndef CLI_WATCHER_H
#define CLI_WATCHER_H

struct watcher;

/* readable(user) will be called on the watcher's thread.  NULL: no memory or descriptor. */
struct watcher *watcher_create(int fd, void (*readable)(void *user), void *user);

/* Afterwards readable() is not called any more. */
void watcher_destroy(struct watcher *watcher);

/* Have readable() called when the descriptor is readable, or at its end; perhaps once too
 * often.  0, or an errno if there can be no thread. */
int watcher_watch(struct watcher *watcher);

#endif
