#include "redo.h"

#include <stdlib.h>
#include <string.h>

void redo_init(struct redo *redo)
{
	memset(redo, 0, sizeof(*redo));
	pthread_mutex_init(&redo->lock, NULL);
}

void redo_finish(struct redo *redo)
{
	pthread_mutex_destroy(&redo->lock);
	free(redo->tasks);
}

void redo_clear(struct redo *redo)
{
	pthread_mutex_lock(&redo->lock);
	atomic_store_explicit(&redo->n, 0, memory_order_relaxed);
	pthread_mutex_unlock(&redo->lock);
}

/* Under the lock.  Due at the same time, the first in order goes first. */
static int is_before(const struct redo_task *a, const struct redo_task *b)
{
	return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->index < b->index;
}

static void rise(struct redo_task *tasks, uint64_t i, struct redo_task task)
{
	for (; i > 0 && is_before(&task, &tasks[(i - 1) / 2]); i = (i - 1) / 2)
		tasks[i] = tasks[(i - 1) / 2];
	tasks[i] = task;
}

static void sink(struct redo_task *tasks, uint64_t n, struct redo_task task)
{
	uint64_t i = 0, child;

	while ((child = 2 * i + 1) < n) {
		if (child + 1 < n && is_before(&tasks[child + 1], &tasks[child]))
			child++;
		if (!is_before(&tasks[child], &task))
			break;
		tasks[i] = tasks[child];
		i = child;
	}
	tasks[i] = task;
}

static int have_room(struct redo *redo, uint64_t n)
{
	uint64_t capacity = redo->capacity > 0 ? 2 * redo->capacity : 16;
	struct redo_task *more;

	if (n < redo->capacity)
		return 1;
	more = realloc(redo->tasks, capacity * sizeof(*more));
	if (more == NULL)
		return 0;
	redo->tasks = more;
	redo->capacity = capacity;
	return 1;
}

int redo_add(struct redo *redo, struct redo_task task)
{
	uint64_t n;
	int result = -1;

	pthread_mutex_lock(&redo->lock);
	n = atomic_load_explicit(&redo->n, memory_order_relaxed);
	if (have_room(redo, n)) {
		rise(redo->tasks, n, task);
		atomic_store_explicit(&redo->n, n + 1, memory_order_release);
		result = 0;
	}
	pthread_mutex_unlock(&redo->lock);
	return result;
}

int redo_take(struct redo *redo, int64_t now_ns, struct redo_task *task)
{
	uint64_t n;
	int taken;

	if (redo_is_empty(redo))
		return 0;
	pthread_mutex_lock(&redo->lock);
	n = atomic_load_explicit(&redo->n, memory_order_relaxed);
	taken = n > 0 && redo->tasks[0].due_ns <= now_ns;
	if (taken) {
		*task = redo->tasks[0];
		if (--n > 0)
			sink(redo->tasks, n, redo->tasks[n]);
		atomic_store_explicit(&redo->n, n, memory_order_release);
	}
	pthread_mutex_unlock(&redo->lock);
	return taken;
}

int64_t redo_first_due(struct redo *redo)
{
	int64_t due = INT64_MAX;

	if (redo_is_empty(redo))
		return due;
	pthread_mutex_lock(&redo->lock);
	if (atomic_load_explicit(&redo->n, memory_order_relaxed) > 0)
		due = redo->tasks[0].due_ns;
	pthread_mutex_unlock(&redo->lock);
	return due;
}

uint32_t redo_due(struct redo *redo, int64_t now_ns, uint32_t most)
{
	uint64_t n;
	uint32_t due = 0;

	if (redo_is_empty(redo))
		return 0;
	pthread_mutex_lock(&redo->lock);
	n = atomic_load_explicit(&redo->n, memory_order_relaxed);
	for (uint64_t i = 0; i < n && due < most; i++)
		due += redo->tasks[i].due_ns <= now_ns;
	pthread_mutex_unlock(&redo->lock);
	return due;
}
