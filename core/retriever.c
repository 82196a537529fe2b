#include "retriever.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

/* How long to wait for the oldest before looking whether there is anything to stop for. */
#define ASK_NS 1000000000

struct wanted {
	struct wanted *next;
	par_batch batch;
	void *future;
};

struct retriever {
	const par_backend_ops *ops;
	par_backend *backend;
	const par_host *host;
	pthread_t thread;
	struct wanted *spare; /* [loop] */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* under lock */
	struct wanted *first, **last;
	int ending;
};

static struct wanted *next_wanted(struct retriever *retriever)
{
	struct wanted *wanted;

	pthread_mutex_lock(&retriever->lock);
	while (retriever->first == NULL && !retriever->ending)
		pthread_cond_wait(&retriever->changed, &retriever->lock);
	wanted = retriever->first;
	if (wanted != NULL) {
		retriever->first = wanted->next;
		if (retriever->first == NULL)
			retriever->last = &retriever->first;
	}
	pthread_mutex_unlock(&retriever->lock);
	return wanted;
}

static void *retrieve(void *arg)
{
	struct retriever *retriever = arg;
	struct wanted *wanted;
	int32_t status;

	while ((wanted = next_wanted(retriever)) != NULL) {
		do {
			par_error error = PAR_ERROR_INIT;

			status = retriever->ops->retrieve_result(retriever->backend, wanted->batch,
			                                         wanted->future, ASK_NS, &error);
		} while (status == PAR_ETIMEOUT);
		retriever->host->done(retriever->host, wanted->batch, status, NULL);
		free(wanted);
	}
	return NULL;
}

struct retriever *retriever_create(const par_backend_ops *ops, par_backend *backend,
                                   const par_host *host)
{
	struct retriever *retriever = calloc(1, sizeof(*retriever));
	sigset_t all, before;
	int code;

	if (retriever == NULL)
		return NULL;
	retriever->ops = ops;
	retriever->backend = backend;
	retriever->host = host;
	retriever->last = &retriever->first;
	pthread_mutex_init(&retriever->lock, NULL);
	pthread_cond_init(&retriever->changed, NULL);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	code = pthread_create(&retriever->thread, NULL, retrieve, retriever);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (code == 0)
		return retriever;
	pthread_cond_destroy(&retriever->changed);
	pthread_mutex_destroy(&retriever->lock);
	free(retriever);
	return NULL;
}

void retriever_destroy(struct retriever *retriever)
{
	if (retriever == NULL)
		return;
	pthread_mutex_lock(&retriever->lock);
	retriever->ending = 1;
	pthread_cond_signal(&retriever->changed);
	pthread_mutex_unlock(&retriever->lock);
	pthread_join(retriever->thread, NULL);
	free(retriever->spare);
	pthread_cond_destroy(&retriever->changed);
	pthread_mutex_destroy(&retriever->lock);
	free(retriever);
}

int retriever_reserve(struct retriever *retriever)
{
	if (retriever->spare == NULL)
		retriever->spare = malloc(sizeof(*retriever->spare));
	return retriever->spare != NULL ? 0 : -1;
}

void retriever_add(struct retriever *retriever, par_batch batch, void *future)
{
	struct wanted *wanted = retriever->spare;

	retriever->spare = NULL;
	*wanted = (struct wanted){NULL, batch, future};
	pthread_mutex_lock(&retriever->lock);
	*retriever->last = wanted;
	retriever->last = &wanted->next;
	pthread_cond_signal(&retriever->changed);
	pthread_mutex_unlock(&retriever->lock);
}
