#include "tending.h"

#include "executor.h"
#include "failing.h"

#include <sched.h>
#include <string.h>
#include <time.h>

enum {
	LOOKS = 4, /* at one that starts, in its time */
	WORDS_ROOM = 4096,
	WORDS_EACH = 340 /* of its own, and of what it printed */
};

#define LOOK_NS  ((int64_t)1000000000) /* its memory is looked at so often */
#define LEAVE_NS ((int64_t)1000000000) /* then who was asked to end is killed */

/* --- those that leave ------------------------------------------------------------------------- */

void tending_let_go(struct worker *worker)
{
	struct pool *pool = worker->pool;

	output_unwatch(&worker->output);
	if (worker->death != NULL)
		pool->watcher->unwatch(worker->death);
	if (worker->news != NULL)
		pool->watcher->unwatch(worker->news);
	worker->death = worker->news = NULL;
}

static void unlink_leaving(struct worker *worker)
{
	struct worker **place = &worker->pool->leaving;

	while (*place != NULL && *place != worker)
		place = &(*place)->next;
	if (*place != NULL)
		*place = worker->next;
}

static void on_impatience(void *arg)
{
	struct pool *pool = arg;

	pool->timer->stop(pool->impatience);
	pool->impatience = NULL;
	for (struct worker *worker = pool->leaving; worker != NULL; worker = worker->next)
		worker_kill(worker);
}

static void leave_place(const struct worker *worker)
{
	struct pool *pool = worker->pool;

	if (worker == pool->spare)
		pool->spare = NULL;
	else
		pool->workers[worker->slot] = NULL;
}

void tending_dismiss(struct worker *worker)
{
	struct pool *pool = worker->pool;

	leave_place(worker);
	if (worker->news != NULL)
		pool->watcher->unwatch(worker->news);
	worker->news = NULL;
	worker_dismiss(worker);
	worker->next = pool->leaving;
	pool->leaving = worker;
	failing_tell_capacity(pool);
	if (pool->impatience == NULL &&
	    pool->timer->start(pool->host, LEAVE_NS, 0, on_impatience, pool, &pool->impatience) < 0)
		worker_kill(worker);
}

static void has_left(struct worker *worker)
{
	struct pool *pool = worker->pool;

	unlink_leaving(worker);
	worker_destroy(worker);
	if (pool->leaving != NULL)
		return;
	if (pool->impatience != NULL)
		pool->timer->stop(pool->impatience);
	pool->impatience = NULL;
	if (pool->is_terminating)
		pool->host->ready(pool->host, PAR_OK, NULL);
	pool->is_terminating = 0;
}

void tending_finish(struct pool *pool)
{
	struct worker *worker;
	struct death death;

	while ((worker = pool->leaving) != NULL) {
		worker_kill(worker);
		while (!worker_reap(worker, &death))
			sched_yield();
		tending_let_go(worker);
		pool->is_terminating = 0;
		has_left(worker);
	}
}

/* --- what comes from it ----------------------------------------------------------------------- */

static int64_t coarse_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* joblib's guard against tasks that leak: a worker that has grown too much is replaced between
 * two tasks. */
static void look_at_memory(struct worker *worker)
{
	struct pool *pool = worker->pool;
	int64_t now = coarse_now(), rss, growth;

	if (now - worker->looked_ns < LOOK_NS || worker->retires)
		return;
	worker->looked_ns = now;
	rss = worker_rss(worker);
	if (worker->first_rss == 0)
		worker->first_rss = rss;
	growth = rss - worker->first_rss;
	if (growth <= pool->settings.max_growth)
		return;
	worker->retires = 1;
	failing_tell_capacity(pool);
	failing_warn(pool,
	             "A worker stopped while some jobs were given to the executor. This can be "
	             "caused by a memory leak: worker %d (process %d) grew by %lld MB, more than "
	             "max_growth",
	             worker->slot, (int)worker->pid, (long long)growth / 1000000);
}

/* It has shown that workers can start. */
static void note_ready(struct worker *worker)
{
	worker->was_ready = 1;
	worker->pool->n_failed = worker->pool->n_shot = 0;
}

static void give_back(struct worker *worker, par_batch batch)
{
	struct pool *pool = worker->pool;

	pool->host->done(pool->host, batch, PAR_OK, NULL);
	worker->n_out--;
	worker->heard = ++pool->n_over;
	worker->is_proven = 1;
	if (!worker->was_ready)
		note_ready(worker);
	if (worker->slot + 1 == pool->spare_after)
		pool->has_answered = 1;
	if (pool->settings.max_growth > 0)
		look_at_memory(worker);
	if (worker->retires && worker->n_out == 0)
		tending_dismiss(worker);
}

/* A worker that has said that it cannot go on is killed, and its end is then like any other. */
int tending_hear(struct worker *worker)
{
	struct pool *pool = worker->pool;
	par_batch batch;
	int n = 0;

	while (worker->channel != NULL) {
		/* What it said first counts. */
		par_error *why = worker->why.code == PAR_OK ? &worker->why : NULL;
		int32_t status = worker->channels->next(pool->host, worker->channel, &batch, why);

		if (status == PAR_PENDING)
			return n;
		if (status < 0) {
			/* That it is at its end tells its pidfd better. */
			if (status == PAR_ELOST && why != NULL)
				*why = (par_error)PAR_ERROR_INIT;
			worker_kill(worker);
			return n;
		}
		give_back(worker, batch);
		n++;
	}
	return n;
}

static void on_news(void *arg, int32_t events, int32_t error)
{
	(void)events, (void)error;
	(void)tending_hear(arg);
}

/* --- its start -------------------------------------------------------------------------------- */

/* A fork may find a lock locked for ever; and a module may hang when it is opened. */
static int is_starting(const struct worker *worker)
{
	return !worker->was_ready &&
	       worker->channels->is_ready(worker->channel) < (worker->n_out > 0 ? 2 : 1);
}

static void give_up(struct worker *worker)
{
	const struct pool *pool = worker->pool;
	int is_ready = worker->channels->is_ready(worker->channel);

	worker->is_late = 1;
	(void)par_fail(&worker->why, PAR_EUNAVAIL, "worker %d (process %d) %s after %g s",
	               worker->slot, (int)worker->pid,
	               is_ready ? "had not begun its first task" : "was not ready",
	               (double)pool->settings.start_timeout_ns / 1e9);
	par_remedy(&worker->why, "%s",
	           pool->recipe.method == METHOD_FORK
	                   ? "a lock that another thread holds at a fork is locked for ever in the "
	                     "worker: try start_method=forkserver or spawn; or raise start_timeout"
	                   : "raise start_timeout, if it needs as long as that");
	failing_warn(pool, "%s: it is killed", worker->why.reason);
	worker_kill(worker);
}

/* 1: it is worth another look. */
static int look_at_start(struct worker *worker)
{
	if (worker == NULL)
		return 0;
	(void)tending_hear(worker);
	if (worker->was_killed || !is_starting(worker))
		return 0;
	if (worker->n_looks++ < LOOKS)
		return 1;
	give_up(worker);
	return 0;
}

/* Several looks, so that none is killed because this process was stopped, or did not come to turn
 * its loop, while a worker had what it needs to begin only from here. */
static void on_look(void *arg)
{
	struct pool *pool = arg;
	int n = look_at_start(pool->spare);

	for (int i = 0; i < pool->n_jobs; i++)
		n += look_at_start(pool->workers[i]);
	if (n == 0)
		tending_look_away(pool);
}

void tending_look_after(struct worker *worker)
{
	struct pool *pool = worker->pool;
	int64_t every_ns = pool->settings.start_timeout_ns / LOOKS;

	worker->n_looks = 0;
	/* Without memory for a timer it may take as long as it likes. */
	if (every_ns > 0 && !worker->was_ready && pool->looks == NULL)
		(void)pool->timer->start(pool->host, every_ns, every_ns, on_look, pool, &pool->looks);
}

void tending_look_away(struct pool *pool)
{
	if (pool->looks != NULL)
		pool->timer->stop(pool->looks);
	pool->looks = NULL;
}

static void on_death(void *arg, int32_t events, int32_t error);

static int32_t watch(struct pool *pool, struct worker *worker)
{
	int32_t status;

	worker->pool = pool;
	status = pool->watcher->watch(pool->host, worker->pidfd, PAR_READABLE, on_death, worker,
	                              &worker->death);
	if (status == PAR_OK)
		status = pool->watcher->watch(pool->host, worker->channels->fd(worker->channel),
		                              PAR_READABLE, on_news, worker, &worker->news);
	if (status == PAR_OK)
		status = output_watch(&worker->output, pool->host, pool->watcher);
	if (status < 0)
		tending_let_go(worker);
	else
		tending_look_after(worker);
	return status;
}

int32_t tending_adopt(struct pool *pool, struct worker *worker)
{
	int32_t status = watch(pool, worker);

	if (status == PAR_OK)
		pool->workers[worker->slot] = worker;
	return status;
}

/* Nobody could hear of its end. */
static void discard(struct worker *worker)
{
	struct death death;

	worker_kill(worker);
	while (!worker_reap(worker, &death))
		sched_yield();
	worker_destroy(worker);
}

static int32_t try_start(struct pool *pool, int slot, struct worker **worker, par_error *error)
{
	int32_t status = PAR_OK;

	*worker = pool->keeps ? executor_lease(pool->key, slot) : NULL;
	if (*worker == NULL)
		status = pool->keeps ? executor_start(&pool->recipe, pool->key, slot, worker, error)
		                     : worker_start(&pool->recipe, slot, worker, error);
	if (status < 0 || watch(pool, *worker) == PAR_OK)
		return status;
	discard(*worker);
	return par_fail(error, PAR_ENOMEM, "no room to watch a worker");
}

/* NULL: it cannot be, and the pool is stuck. */
static struct worker *start(struct pool *pool, int slot)
{
	while (!pool->is_stuck) {
		par_error why = PAR_ERROR_INIT;
		struct worker *worker;
		int32_t status = try_start(pool, slot, &worker, &why);

		if (status == PAR_OK)
			return worker;
		failing_note_start(pool, status, &why);
	}
	return NULL;
}

struct worker *tending_start(struct pool *pool, int slot)
{
	struct worker *worker = pool->spare;

	pool->spare = NULL;
	if (worker == NULL)
		worker = start(pool, slot);
	if (worker == NULL)
		return NULL;
	worker->slot = worker->output.slot = slot;
	pool->workers[slot] = worker;
	return worker;
}

/* --- the spare -------------------------------------------------------------------------------- */

/* One whose place is taken by the spare has to be like it. */
static void want_spare(struct pool *pool, int slot)
{
	const struct settings *settings = &pool->settings;

	if (settings->pins || (settings->variables != NULL && strchr(settings->variables, '{') != NULL))
		return;
	pool->spare_after = slot + 1;
	pool->has_answered = 0;
}

void tending_keep_spare(struct pool *pool)
{
	if (pool->spare_after == 0)
		return;
	if (pool->spare == NULL)
		pool->spare = start(pool, 0);
	pool->spare_after = pool->has_answered = 0;
}


/* --- its death -------------------------------------------------------------------------------- */

/* What it said itself, or could write about its death, and the last that it printed.  There is
 * little room in an error, and it is for both. */
static void put_words(struct worker *worker, char *words, size_t room)
{
	const char *last = worker->channels->last_words(worker->channel);
	const char *tail = output_tail(&worker->output);
	size_t length = strlen(tail), most = last != NULL ? WORDS_EACH : 2 * WORDS_EACH;

	if (worker->why.code < 0)
		last = worker->why.reason;
	if (*tail == '\0')
		(void)snprintf(words, room, "%s", last != NULL ? last : "");
	else
		(void)snprintf(words, room, "%.*s%sit printed last:\n%s", WORDS_EACH,
		               last != NULL ? last : "", last != NULL ? "\n" : "",
		               length > most ? tail + length - most : tail);
}

static void give_back_lost(struct worker *worker, const struct death *death, const char *words)
{
	struct pool *pool = worker->pool;
	const par_how how = {
		.size = sizeof(how),
		.worker = worker->slot,
		.pid = worker->pid,
		.signal = death->signal,
		.exit_code = death->exit_code,
		.peak_memory = death->peak_memory,
		.text = *words != '\0' ? words : NULL,
	};
	int32_t status = pool->aborts ? PAR_EABORTED : PAR_ELOST;
	par_batch batch;

	while ((batch = worker->channels->lost(pool->host, worker->channel)) != 0)
		pool->host->done(pool->host, batch, status, &how);
	worker->n_out = 0;
}

static void has_died(struct worker *worker, const struct death *death)
{
	struct pool *pool = worker->pool;
	int was_spare;
	char words[WORDS_ROOM];

	output_finish(&worker->output);
	/* Sent before its death, it counts. */
	(void)tending_hear(worker);
	tending_let_go(worker);
	if (worker->is_leaving) {
		has_left(worker);
		return;
	}
	was_spare = worker == pool->spare;
	leave_place(worker);
	put_words(worker, words, sizeof(words));
	if (!worker->was_ready && (worker->is_late || !worker->channels->is_ready(worker->channel)))
		failing_note_death(worker, death, words);
	/* First, since that takes longest; as long as there may be work for it. */
	if (pool->in_call && !pool->aborts && !was_spare) {
		(void)tending_start(pool, worker->slot);
		want_spare(pool, worker->slot);
	}
	give_back_lost(worker, death, words);
	worker_destroy(worker);
	failing_tell_capacity(pool);
}

static void on_death(void *arg, int32_t events, int32_t error)
{
	struct worker *worker = arg;
	struct death death;

	(void)events, (void)error;
	if (worker_reap(worker, &death))
		has_died(worker, &death);
}
