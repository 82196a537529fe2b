#include "events.h"

#include <stdlib.h>
#include <string.h>

struct kept_event {
	struct kept_event *next;
	par_event event;
	char message[];
};

void events_init(struct events *events)
{
	memset(events, 0, sizeof(*events));
	pthread_mutex_init(&events->lock, NULL);
	events->last = &events->first;
}

static struct kept_event *take_all(struct events *events)
{
	struct kept_event *first;

	pthread_mutex_lock(&events->lock);
	first = events->first;
	events->first = NULL;
	events->last = &events->first;
	atomic_store_explicit(&events->has_some, 0, memory_order_relaxed);
	pthread_mutex_unlock(&events->lock);
	return first;
}

static void drop_all(struct events *events)
{
	struct kept_event *kept = take_all(events), *next;

	for (; kept != NULL; kept = next) {
		next = kept->next;
		free(kept);
	}
}

void events_finish(struct events *events)
{
	drop_all(events);
	pthread_mutex_destroy(&events->lock);
}

void events_begin(struct events *events, par_event_fn on_event, void *watcher)
{
	drop_all(events);
	events->on_event = on_event;
	events->watcher = watcher;
}

void events_add(struct events *events, const par_event *event)
{
	size_t length = event->message != NULL ? strlen(event->message) + 1 : 0;
	struct kept_event *kept = malloc(sizeof(*kept) + length);

	if (kept == NULL)
		return;
	kept->next = NULL;
	kept->event = *event;
	if (length > 0)
		kept->event.message = memcpy(kept->message, event->message, length);
	pthread_mutex_lock(&events->lock);
	*events->last = kept;
	events->last = &kept->next;
	atomic_store_explicit(&events->has_some, 1, memory_order_release);
	pthread_mutex_unlock(&events->lock);
}

void events_hand_out(struct events *events)
{
	struct kept_event *kept, *next;

	if (!events_has_some(events) || events->is_handing_out)
		return;
	events->is_handing_out = 1;
	for (kept = take_all(events); kept != NULL; kept = next) {
		next = kept->next;
		events->on_event(events->watcher, &kept->event);
		free(kept);
	}
	events->is_handing_out = 0;
}
