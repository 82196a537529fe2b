#include "arena.h"
#include "error.h"
#include "slots.h"

#include <parloop/parloop.h>

#include <stdlib.h>
#include <string.h>

/* --- kept by who got it in a sink ---------------------------------------------------------- */

static size_t text_size(const char *text)
{
	return text != NULL ? strlen(text) + 1 : 0;
}

static const char *keep_text(const char *text, char **room)
{
	size_t size = text_size(text);
	char *kept = *room;

	if (size == 0)
		return NULL;
	*room += size;
	return memcpy(kept, text, size);
}

par_outcome *par_keep(const par_outcome *outcome)
{
	size_t texts = text_size(outcome->message) + text_size(outcome->type) +
	               text_size(outcome->trace) + text_size(outcome->host);
	size_t inside = outcome->n_bytes <= SLOT_INLINE ? (size_t)outcome->n_bytes : 0;
	par_outcome *kept = malloc(sizeof(*kept) + inside + texts);
	char *room = (char *)(kept + 1);

	if (kept == NULL)
		return NULL;
	*kept = *outcome;
	kept->payload = NULL;
	kept->payload_bytes = 0;
	if (inside == outcome->n_bytes) {
		if (inside > 0)
			memcpy(room, outcome->bytes, inside);
		kept->bytes = room;
		room += inside;
	} else {
		arena_hold(outcome->bytes);
	}
	kept->message = keep_text(outcome->message, &room);
	kept->type = keep_text(outcome->type, &room);
	kept->trace = keep_text(outcome->trace, &room);
	kept->host = keep_text(outcome->host, &room);
	return kept;
}

void par_release(par_outcome *kept)
{
	if (kept == NULL)
		return;
	if (kept->n_bytes > SLOT_INLINE)
		arena_release(kept->bytes);
	free(kept);
}

/* --- all of them ----------------------------------------------------------------------------- */

struct list {
	par_source_fn source;
	void *user;
	par_outcome **outcomes; /* one place more than capacity, for the NULL */
	uint64_t n, capacity;
	int no_memory;
};

static int32_t ask_source(void *arg, par_item *item)
{
	struct list *list = arg;

	return list->source(list->user, item);
}

static int have_room(struct list *list)
{
	uint64_t capacity = list->capacity > 0 ? 2 * list->capacity : 64;
	par_outcome **more;

	if (list->n < list->capacity)
		return 1;
	more = realloc(list->outcomes, (capacity + 1) * sizeof(*more));
	if (more == NULL)
		return 0;
	list->outcomes = more;
	list->capacity = capacity;
	return 1;
}

static int32_t add(void *arg, const par_outcome *outcome)
{
	struct list *list = arg;

	if (!have_room(list) || (list->outcomes[list->n] = par_keep(outcome)) == NULL) {
		list->no_memory = 1;
		return 1;
	}
	list->n++;
	return 0;
}

int32_t par_list(par_parallel *parallel, const par_task *task, par_source_fn source, void *user,
                 const par_settings *settings, par_outcome ***outcomes, uint64_t *n,
                 par_error *error)
{
	struct list list = {.source = source, .user = user};
	int32_t code;

	*outcomes = NULL;
	*n = 0;
	if (!have_room(&list))
		return error_memory(error, "cannot keep the results");
	code = par_run(parallel, task, source != NULL ? ask_source : NULL, add, &list, settings, error);
	if (list.no_memory)
		code = error_memory(error, "cannot keep the results");
	list.outcomes[list.n] = NULL;
	*outcomes = list.outcomes;
	*n = list.n;
	return code;
}

void par_list_free(par_outcome **outcomes)
{
	if (outcomes == NULL)
		return;
	for (size_t i = 0; outcomes[i] != NULL; i++)
		par_release(outcomes[i]);
	free(outcomes);
}
