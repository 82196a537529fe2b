/* events.h - what becomes of tasks, on its way to who watches the call.
 *
 * Workers add, the loop's thread hands out: to settings.on_event, in the order in which they
 * were added.  A worker that is the loop's thread hands out what it adds at once.  Only
 * calls that somebody watches have any. */
#ifndef CORE_EVENTS_H
#define CORE_EVENTS_H

#include <parloop/parloop.h>

#include <pthread.h>
#include <stdatomic.h>

struct events {
	par_event_fn on_event; /* NULL: nobody watches */
	void *watcher;
	_Atomic int32_t has_some;
	int is_handing_out; /* [loop] */
	pthread_mutex_t lock;
	/* under lock */
	struct kept_event *first, **last;
};

void events_init(struct events *events);
void events_finish(struct events *events);

/* Watched by this one from now on; what was not handed out is dropped. [loop] */
void events_begin(struct events *events, par_event_fn on_event, void *watcher);

/* Keep an event and a copy of its message; dropped if there is no memory. [any] */
void events_add(struct events *events, const par_event *event);

/* Hand out what came. [loop] */
void events_hand_out(struct events *events);

static inline int events_has_some(const struct events *events)
{
	return atomic_load_explicit(&events->has_some, memory_order_acquire);
}

#endif
