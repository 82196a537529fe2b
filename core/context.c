#include "context.h"

#include "log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>

static _Thread_local struct {
	struct context context;
	struct par_context *pushed;
	struct par_context *floor; /* the outermost tasks may not pop: their caller's */
	struct context_employer employer;

	/* how a call inside a task failed */
	const uint64_t *noted_by; /* the task's own pointer to its index; NULL: none did */
	uint64_t noted_in;
	char note[600];
} thread;

static struct {
	pthread_once_t once;
	pthread_key_t key; /* only for its destructor, when a thread ends */
	int failed;
} leftovers = {.once = PTHREAD_ONCE_INIT};

const struct context *context_current(void)
{
	return &thread.context;
}

struct par_context *context_pushed(void)
{
	return thread.pushed;
}

struct context_outside context_enter(const struct context *context)
{
	struct context_outside outside = {thread.context, thread.pushed, thread.floor};

	thread.context = *context;
	if (!context->is_transparent)
		thread.pushed = NULL;
	thread.floor = thread.pushed;
	return outside;
}

struct context_employer context_employ(struct context_employer employer)
{
	struct context_employer before = thread.employer;

	thread.employer = employer;
	return before;
}

int context_is_employed(void)
{
	return thread.employer.tell != NULL;
}

void context_wait(void)
{
	if (thread.employer.waits++ == 0 && thread.employer.tell != NULL)
		thread.employer.tell(thread.employer.arg, 1);
}

void context_go_on(void)
{
	if (--thread.employer.waits == 0 && thread.employer.tell != NULL)
		thread.employer.tell(thread.employer.arg, 0);
}

void context_nest(void)
{
	if (thread.context.nests != NULL)
		atomic_store_explicit(thread.context.nests, 1, memory_order_relaxed);
}

/* The first line, and as many of the last as there is room for: what is wrong stands there, if
 * calls are nested. */
static void keep_note(const char *text)
{
	static const char gap[] = "\n...\n";
	const size_t room = sizeof(thread.note), length = strlen(text);
	size_t head = strcspn(text, "\n");
	const char *tail;

	if (length < room) {
		memcpy(thread.note, text, length + 1);
		return;
	}
	head = head < room / 4 ? head : room / 4;
	tail = text + length - (room - head - sizeof(gap));
	if (strchr(tail, '\n') != NULL)
		tail = strchr(tail, '\n') + 1;
	while (strncmp(tail, gap + 1, sizeof(gap) - 2) == 0)
		tail += sizeof(gap) - 2;
	memcpy(thread.note, text, head);
	memcpy(thread.note + head, gap, sizeof(gap) - 1);
	memcpy(thread.note + head + sizeof(gap) - 1, tail, strlen(tail) + 1);
}

void context_note(const char *text)
{
	const uint64_t *task = thread.context.task;

	if (task == NULL)
		return;
	keep_note(text);
	thread.noted_by = task;
	thread.noted_in = *task;
}

const char *context_take_note(uint64_t task)
{
	if (thread.noted_by == NULL || thread.noted_by != thread.context.task || thread.noted_in != task)
		return NULL;
	thread.noted_by = NULL;
	return thread.note;
}

static int end_pushed(void)
{
	struct par_context *context;
	int n = 0;

	for (; (context = context_pop()) != NULL; n++)
		context->end(context);
	return n;
}

void context_leave(const struct context_outside *outside)
{
	int n = thread.pushed == thread.floor ? 0 : end_pushed();

	if (n > 0)
		log_line(LOG_WARNING, "contexts that tasks have pushed and not popped (%d) end "
		                      "with their batch", n);
	if (thread.noted_by == thread.context.task)
		thread.noted_by = NULL;
	thread.context = outside->context;
	thread.pushed = outside->pushed;
	thread.floor = outside->floor;
}

static void end_all(void *unused)
{
	(void)unused;
	thread.floor = NULL;
	end_pushed();
}

static void make_key(void)
{
	leftovers.failed = pthread_key_create(&leftovers.key, end_all) != 0;
}

int context_push(struct par_context *context)
{
	pthread_once(&leftovers.once, make_key);
	if (leftovers.failed || pthread_setspecific(leftovers.key, &leftovers) != 0)
		return -1;
	context->outer = thread.pushed;
	thread.pushed = context;
	return 0;
}

struct par_context *context_pop(void)
{
	struct par_context *innermost = thread.pushed;

	if (innermost == thread.floor)
		return NULL;
	thread.pushed = innermost->outer;
	return innermost;
}
