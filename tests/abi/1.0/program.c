/* program.c - a program that uses what a program can: BACKEND MODULE. */
#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <stdlib.h>

static par_error error = PAR_ERROR_INIT;
static int events, progresses, results, backends;

#define HOLDS(fact)                                                                             \
	do {                                                                                    \
		if (!(fact)) {                                                                  \
			fprintf(stderr, "%s:%d: %s; %s: %s\n", __FILE__, __LINE__, #fact, error.what, \
			        error.reason);                                                  \
			exit(1);                                                                \
		}                                                                               \
	} while (0)

static int twice(const int *in, int *out)
{
	*out = 2 * *in;
	return 0;
}
PAR_TASK(twice, int, int)

static int32_t source(void *user, par_item *item)
{
	int *next = user;

	if (*next == 100)
		return 0;
	++*next;
	item->payload = next;
	item->n_bytes = sizeof(*next);
	return 1;
}

static int32_t sink(void *user, const par_outcome *outcome)
{
	(void)user;
	results += outcome->status == PAR_OK && outcome->n_bytes == sizeof(int);
	return 0;
}

static void on_event(void *watcher, const par_event *event)
{
	(void)watcher;
	events += event->kind == PAR_EVENT_DONE;
}

static void on_progress(void *watcher, const par_progress *progress)
{
	(void)watcher;
	progresses += progress->done <= 100;
}

static int32_t each(void *user, const par_backend_info *info)
{
	(void)user;
	backends += info->name != NULL && info->n_options < 1000;
	return 0;
}

static int32_t each_library(void *user, const par_library *library)
{
	(void)user;
	return library->n_threads < 0;
}

static void map(par_parallel *pool)
{
	int *shared = par_shared_alloc(4096, &error), out[100];

	HOLDS(shared != NULL);
	for (int i = 0; i < 100; i++)
		shared[i] = i;
	HOLDS(par_map(pool, &par_task_twice, shared, out, 100, PAR_SETTINGS(.batch_size = PAR_SET(7),
	              .timeout = PAR_SET(60.0), .on_event = on_event, .on_progress = on_progress), &error) == PAR_OK);
	for (int i = 0; i < 100; i++)
		HOLDS(out[i] == 2 * i);
	HOLDS(events == 100 && progresses >= 2);
	par_shared_free(shared);
}

static void stream(par_parallel *pool)
{
	par_thrown thrown = {.size = sizeof(thrown)};
	const par_outcome *outcome;
	par_outcome **list;
	par_iter *iter;
	uint64_t n;
	int next = 0;

	HOLDS(par_run(pool, &par_task_twice, source, sink, &next, NULL, &error) == PAR_OK);
	HOLDS(results == 100);
	next = 0;
	HOLDS(par_list(pool, &par_task_twice, source, &next, PAR_SETTINGS(.order = PAR_ORDERED), &list, &n,
	               &error) == PAR_OK);
	HOLDS(n == 100 && list[99]->index == 99 && *(const int *)list[99]->bytes == 200);
	par_list_free(list);
	next = 0;
	HOLDS(par_iter_open(&iter, pool, &par_task_twice, source, &next, NULL, &error) == PAR_OK);
	HOLDS(par_iter_next(iter, &outcome, &error) == 1 && *(const int *)outcome->bytes == 2);
	par_iter_close(iter, &thrown);
	HOLDS(thrown.size == sizeof(thrown) && thrown.unused + thrown.cancelled < 100);
}

static void modules(par_parallel *pool, const char *path)
{
	const par_task *picky, *square;
	double numbers[] = {1, 2, 3};
	int in[100], out[100], statuses[100];
	par_module *module;
	char text[2048];

	for (int i = 0; i < 100; i++)
		in[i] = i;
	HOLDS(par_module_open(&module, path, &error) == PAR_OK);
	HOLDS(par_module_task(module, "picky", &picky, &error) == PAR_OK);
	HOLDS(par_module_task(module, "root", &square, &error) == PAR_OK);
	HOLDS(par_map(pool, square, numbers, numbers, 3, NULL, &error) == PAR_OK && numbers[2] == 9);
	HOLDS(par_map(pool, picky, in, out, 100, PAR_SETTINGS(.on_error = PAR_COLLECT, .statuses = statuses,
	              .retries = PAR_SET(1)), &error) == PAR_EFAILED);
	HOLDS(error.size == sizeof(error) && error.task == 70 && error.task_code == 3 && error.attempts == 2);
	HOLDS(strcmp(error.type, "Picky") == 0 && strcmp(error.reason, "not 70") == 0);
	HOLDS(statuses[69] == PAR_OK && statuses[70] == PAR_EFAILED);
	HOLDS(strstr(par_error_text(&error, 0, text, sizeof(text)), "not 70") != NULL);
}

int main(int argc, char **argv)
{
	par_parallel *pool;

	par_worker_main(argc, argv);
	HOLDS(argc == 3);
	PAR_CONTEXT(context, &error, .backend = argv[1], .n_jobs = PAR_SET(2));
	HOLDS(context != NULL);
	HOLDS(par_open(&pool, NULL, &error) == PAR_OK);
	HOLDS(strcmp(par_backend_name(pool), argv[1]) == 0);
	map(pool);
	stream(pool);
	modules(pool, argv[2]);
	par_close(pool);
	HOLDS(par_each_backend(each, NULL, &error) == PAR_OK && backends >= 2);
	HOLDS(par_each_library(each_library, NULL, &error) == PAR_OK);
	HOLDS(strcmp(par_code_name(PAR_ELOST), "PAR_ELOST") == 0);
	printf("%s is served by parloop %s\n", PAR_VERSION_STRING, par_version());
	return 0;
}
