#include <pthread.h>

#include "task.h"

static const uint64_t in[2] = {1, 2};
static uint64_t out[2];

static void *run(void *arg)
{
	uint64_t i = (uint64_t)(uintptr_t)arg;

	out[i] = task(in[i]);
	return NULL;
}

int main(void)
{
	pthread_t threads[2];
	uintptr_t i;

	for (i = 0; i < 2; i++)
		if (pthread_create(&threads[i], NULL, run, (void *)i) != 0)
			return 2;
	for (i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	return wrong(in, out);
}
