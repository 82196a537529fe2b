/* instance.h - one backend at work for one par_parallel: its life, and its host.
 *
 * The life of backend.h as a machine that instance_step() moves towards up or
 * down; a plugin that answers PAR_PENDING makes it wait where it is, and
 * host->ready() moves it on.  [loop], except what the host table marks. */
#ifndef CORE_INSTANCE_H
#define CORE_INSTANCE_H

#include "batch.h"
#include "loop.h"
#include "registry.h"
#include "remote.h"
#include "retriever.h"
#include "ticket.h"

enum instance_state {
	INSTANCE_NONE,
	INSTANCE_CREATING,
	INSTANCE_CREATED,
	INSTANCE_CONFIGURING,
	INSTANCE_CONFIGURED,
	INSTANCE_TERMINATING,
};

struct instance {
	par_host host; /* first: the plugin's pointer to it is our way back */
	_Atomic(struct loop *) loop;
	_Atomic int32_t notifying; /* threads that are about to tell the loop something */
	struct call *call;
	const struct provider *provider;
	par_backend *backend;
	par_options *options;
	const char *const *settings; /* "key=value", the caller's, until it is up */
	struct par_call wants;
	int32_t most; /* batches that this call may have out, if it has fewer cores than the pool */
	int n_jobs_is_set; /* else the backend's default counts, if it has one */
	struct par_answer answer;
	enum instance_state state;
	int32_t status; /* why it did not come up */
	par_error error;
	int fallbacks;
	const struct provider *next; /* on which it falls back, while it is terminated */
	struct batch_table batches;
	int has_batches;
	struct remote remote; /* of batches that leave this address space */
	int has_remote;
	struct retriever *retriever;

	_Atomic int32_t ready; /* 0 pending; else 1, with what host->ready() said */
	int32_t ready_status;
	par_error ready_error;
	par_error unrun; /* for the batch that is retired, if it was not run */
	_Atomic int32_t workers, holds; /* host->capacity(); -1: never told */
};

/* Which backend, and what for; nothing of it runs yet. */
void instance_init(struct instance *instance, struct loop *loop, struct call *call,
                   const struct provider *provider, const char *const *settings,
                   const struct par_call *wants);

/* Tell its loop that something was queued.  [any] */
void instance_notify(struct instance *instance);

/* From now on it is driven by another loop; when this returns nobody is left who tells the
 * old one.  Nothing of the plugin's may be watched on it. */
void instance_move(struct instance *instance, struct loop *loop);

enum instance_goal { INSTANCE_GONE, INSTANCE_UP, INSTANCE_MADE };

/* Go on towards being configured (UP), created only (MADE), or gone.  PAR_OK: there; PAR_PENDING:
 * the loop will be notified; else why it cannot come up, and then it is gone. */
int32_t instance_step(struct instance *instance, enum instance_goal goal, par_error *error);

/* Once it is made: what it makes of the n_jobs it is to have, or of its own default. */
int32_t instance_effective_n_jobs(struct instance *instance);

/* What is true of it, once configured. */
static inline int instance_can(const struct instance *instance, uint32_t capability)
{
	return (instance->answer.capabilities & capability) != 0;
}

/* Something was said that instance_step() waits for. */
static inline int instance_is_ready(const struct instance *instance)
{
	return atomic_load_explicit(&instance->ready, memory_order_acquire);
}

/* It is in the middle of something that host->ready() is to end. */
static inline int instance_is_pending(const struct instance *instance)
{
	return instance->state == INSTANCE_CREATING || instance->state == INSTANCE_CONFIGURING ||
	       instance->state == INSTANCE_TERMINATING;
}

/* A call begins: no more than so many of its workers are to have a batch at once. */
void instance_limit(struct instance *instance, int32_t most);

/* Workers that may have one. */
int32_t instance_n_jobs(const struct instance *instance);

/* Batches that may be out at once, as the backend told last; 0: it has no worker. */
uint32_t instance_holds(const struct instance *instance);

/* Send a batch of that quota.  PAR_OK, or why not. */
int32_t instance_submit(struct instance *instance, uint64_t quota, par_error *error);

/* The same for workers in another address space: send a batch of at most that many of the
 * tasks that wait.  PAR_PENDING: none do. */
int32_t instance_send(struct instance *instance, uint64_t most, int is_fixed, par_error *error);

/* What came without waiting; 1: something.  sleeps: the loop is about to sleep. */
int instance_poll(struct instance *instance, int32_t sleeps);

/* Kill what is over its time; when to look again. */
int64_t instance_expire(struct instance *instance, int64_t now_ns);

/* Of backend.h, for workers in another address space. */
const par_ext_channel *instance_channels(void);
const par_ext_encode *instance_encoding(void);

/* After a batch came back: let the backend look at it, and close it. */
int32_t instance_retire(struct instance *instance, struct batch *batch, par_error *error);

#endif
