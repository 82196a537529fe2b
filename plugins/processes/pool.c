#include "pool.h"

#include "executor.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

enum {
	HOLDS_EACH = 64,     /* batches that a worker may have; the core sends as many as make sense */
	MOST_HELD = 65536,
	MOST_FAILED = 3,     /* workers in a row that ended by themselves before they were ready */
	MOST_SHOT = 50,      /* that somebody killed then, and for so long: see SHOT_NS          */
	PATIENCE = 16,       /* batches of others, for each worker, until one is behind */
	FDS_EACH = 7,        /* descriptors of a worker at most, while it starts */
	WORDS_ROOM = 4096,
	WORDS_EACH = 340     /* of its own, and of what it printed */
};

#define LOOK_NS  ((int64_t)1000000000) /* its memory is looked at so often */
#define SHOT_NS  ((int64_t)10000000000) /* a storm of kills is over sometime */
#define LEAVE_NS ((int64_t)1000000000) /* then who was asked to end is killed */

int32_t pool_holds(int32_t n_workers)
{
	if (n_workers > MOST_HELD / HOLDS_EACH)
		return n_workers > MOST_HELD ? n_workers : MOST_HELD;
	return n_workers * HOLDS_EACH;
}

__attribute__((format(printf, 3, 4))) static void tell(const struct pool *pool, int32_t level,
                                                       const char *format, ...)
{
	char line[1200];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	pool->host->log(pool->host, level, line);
}

static int count_workers(const struct pool *pool)
{
	int n = 0;

	for (int i = 0; i < pool->n_jobs; i++)
		n += pool->workers[i] != NULL;
	return n;
}

/* Workers that take batches, and places for which one can be started.  It is said only while there
 * is one: where there is none a batch is refused, which says why. */
static void tell_capacity(struct pool *pool)
{
	int n = 0;

	for (int i = 0; i < pool->n_jobs; i++)
		n += pool->workers[i] != NULL ? !pool->workers[i]->retires : !pool->is_stuck;
	if (n == pool->n_told || (n == 0 && count_workers(pool) == 0))
		return;
	pool->n_told = n;
	pool->host->capacity(pool->host, n, pool_holds(n));
}

/* --- what comes from a worker ----------------------------------------------------------------- */

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
	int64_t now = coarse_now(), rss;

	if (now - worker->looked_ns < LOOK_NS || worker->retires)
		return;
	worker->looked_ns = now;
	rss = worker_rss(worker);
	if (worker->first_rss == 0)
		worker->first_rss = rss;
	if (rss - worker->first_rss <= pool->settings.max_growth)
		return;
	worker->retires = 1;
	tell_capacity(pool);
	tell(pool, 2,
	     "A worker stopped while some jobs were given to the executor. This can be caused by a "
	     "memory leak: worker %d (process %d) grew by %lld MB, more than max_growth",
	     worker->slot, (int)worker->pid, (long long)(rss - worker->first_rss) / 1000000);
}

/* It has shown that workers can start. */
static void note_ready(struct worker *worker)
{
	worker->was_ready = 1;
	worker->pool->n_failed = worker->pool->n_shot = 0;
}

static void leave(struct worker *worker);

static void give_back(struct worker *worker, par_batch batch)
{
	struct pool *pool = worker->pool;

	pool->host->done(pool->host, batch, PAR_OK, NULL);
	worker->n_out--;
	worker->heard = ++pool->n_over;
	worker->is_proven = 1;
	if (!worker->was_ready)
		note_ready(worker);
	if (pool->settings.max_growth > 0)
		look_at_memory(worker);
	if (worker->retires && worker->n_out == 0)
		leave(worker);
}

/* Returns how many batches it gave back.  A worker that has said that it cannot go on is
 * killed, and its end is then like any other. */
static int hear(struct worker *worker)
{
	struct pool *pool = worker->pool;
	par_batch batch;
	int n = 0;

	while (worker->channel != NULL) {
		par_error error = PAR_ERROR_INIT;
		int32_t status = worker->channels->next(pool->host, worker->channel, &batch, &error);

		if (status == PAR_PENDING)
			return n;
		if (status < 0) {
			/* One that is at its end says nothing. */
			if (status != PAR_ELOST)
				worker->why = error;
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
	(void)hear(arg);
}

/* To hear what came is to be awake, so it comes first. */
int32_t pool_poll(struct pool *pool, int32_t sleeps)
{
	int came = 0;

	for (int i = 0; i < pool->n_jobs; i++) {
		struct worker *worker = pool->workers[i];

		if (worker == NULL || worker->n_out == 0)
			continue;
		came |= hear(worker) > 0;
		if (sleeps && worker->n_out > 0)
			came |= worker->channels->sleeps(worker->channel, 1);
	}
	return came;
}

/* --- having a worker -------------------------------------------------------------------------- */

static void on_death(void *arg, int32_t events, int32_t error);

static void let_go(struct worker *worker)
{
	struct pool *pool = worker->pool;

	output_unwatch(&worker->output);
	if (worker->death != NULL)
		pool->watcher->unwatch(worker->death);
	if (worker->news != NULL)
		pool->watcher->unwatch(worker->news);
	worker->death = worker->news = NULL;
}

static int32_t adopt(struct pool *pool, struct worker *worker)
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
		let_go(worker);
	else
		pool->workers[worker->slot] = worker;
	return status;
}

/* No more of them in this call. */
static void get_stuck(struct pool *pool, const par_error *why)
{
	int n = count_workers(pool);
	char words[800];

	if (pool->is_stuck)
		return;
	pool->is_stuck = 1;
	pool->why = *why;
	(void)snprintf(words, sizeof(words), "%s%s%s", why->what, why->what[0] != '\0' ? ": " : "", why->reason);
	if (n == 0)
		return;
	tell(pool, 2, "%s; going on with %d of %d workers", words, n, pool->n_jobs);
	tell_capacity(pool);
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
	int32_t status = pool->keeps ? executor_start(&pool->recipe, pool->key, slot, worker, error)
	                             : worker_start(&pool->recipe, slot, worker, error);

	if (status < 0 || adopt(pool, *worker) == PAR_OK)
		return status;
	discard(*worker);
	return par_fail(error, PAR_ENOMEM, "no room to watch a worker");
}

/* One more was killed before it was ready: is it time to give up? */
static int is_shot_always(struct pool *pool)
{
	if (pool->n_shot++ == 0)
		pool->shot_since_ns = coarse_now();
	return pool->n_shot >= MOST_SHOT && coarse_now() - pool->shot_since_ns >= SHOT_NS;
}

/* In that slot; NULL: it cannot be, and the pool is stuck. */
static struct worker *start_worker(struct pool *pool, int slot)
{
	while (!pool->is_stuck) {
		par_error why = PAR_ERROR_INIT;
		struct worker *worker;
		int32_t status = try_start(pool, slot, &worker, &why);

		if (status == PAR_OK)
			return worker;
		why.code = status == PAR_ELOST ? PAR_EUNAVAIL : status;
		if (status == PAR_ELOST ? is_shot_always(pool)
		                        : status == PAR_ENOMEM || ++pool->n_failed >= MOST_FAILED)
			get_stuck(pool, &why);
	}
	return NULL;
}

/* --- the end of a worker ----------------------------------------------------------------------- */

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

/* Ask it to end.  Its slot is free at once. */
static void leave(struct worker *worker)
{
	struct pool *pool = worker->pool;

	pool->workers[worker->slot] = NULL;
	if (worker->news != NULL)
		pool->watcher->unwatch(worker->news);
	worker->news = NULL;
	worker_dismiss(worker);
	worker->next = pool->leaving;
	pool->leaving = worker;
	tell_capacity(pool);
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
		(void)snprintf(words, room, "%.*s%sit printed last:\n%s", WORDS_EACH, last != NULL ? last : "",
		               last != NULL ? "\n" : "", length > most ? tail + length - most : tail);
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

static void describe_death(const struct death *death, char *text, size_t room)
{
	if (!death->is_known)
		(void)snprintf(text, room, "ended, and somebody else has taken note how");
	else if (death->signal != 0)
		(void)snprintf(text, room, "was killed by signal %d (%s)", death->signal, strsignal(death->signal));
	else
		(void)snprintf(text, room, "ended with status %d", death->exit_code);
}

/* It never was ready.  Somebody who kills workers may hit one that just starts; one that ends by
 * itself will do so again. */
static void note_failure(struct worker *worker, const struct death *death, const char *words)
{
	struct pool *pool = worker->pool;
	int was_shot = death->signal == SIGKILL || death->signal == SIGTERM;
	par_error why = PAR_ERROR_INIT;
	char how[120];

	if (pool->aborts)
		return;
	was_shot = was_shot && worker->why.code == PAR_OK;
	if (was_shot ? !is_shot_always(pool) : ++pool->n_failed < MOST_FAILED)
		return;
	describe_death(death, how, sizeof(how));
	why = worker->why;
	(void)snprintf(why.what, sizeof(why.what), "worker processes cannot start");
	if (why.code == PAR_OK)
		(void)par_fail(&why, PAR_EUNAVAIL, "the last of %d in a row %s before it was ready%s%.150s",
		               was_shot ? pool->n_shot : pool->n_failed, how, *words != '\0' ? ": " : "", words);
	why.code = PAR_EUNAVAIL;
	get_stuck(pool, &why);
}

static void has_died(struct worker *worker, const struct death *death)
{
	struct pool *pool = worker->pool;
	int slot = worker->slot;
	char words[WORDS_ROOM];

	output_finish(&worker->output);
	/* Sent before its death, it counts. */
	(void)hear(worker);
	let_go(worker);
	if (worker->is_leaving) {
		has_left(worker);
		return;
	}
	pool->workers[worker->slot] = NULL;
	put_words(worker, words, sizeof(words));
	if (!worker->was_ready && !worker->channels->is_ready(worker->channel))
		note_failure(worker, death, words);
	give_back_lost(worker, death, words);
	worker_destroy(worker);
	/* At once, as long as there may be work for it. */
	if (pool->in_call && !pool->aborts && pool->workers[slot] == NULL)
		(void)start_worker(pool, slot);
	tell_capacity(pool);
}

static void on_death(void *arg, int32_t events, int32_t error)
{
	struct worker *worker = arg;
	struct death death;

	(void)events, (void)error;
	if (worker_reap(worker, &death))
		has_died(worker, &death);
}

/* --- batches ---------------------------------------------------------------------------------- */

/* One that is about to end gives back what it has not begun; where there is no other that is
 * good enough. */
static int is_ending(const struct worker *worker)
{
	return worker->retires || worker->was_killed;
}

/* One that has not answered while others did is at a long task, or still starts, and what were
 * sent to it would wait for that. */
static int is_behind(const struct worker *worker)
{
	const struct pool *pool = worker->pool;

	return worker->n_out > 0 &&
	       (!worker->is_proven || pool->n_over - worker->heard > (uint64_t)pool->n_jobs * PATIENCE);
}

static int is_better(const struct worker *worker, const struct worker *other)
{
	if (other == NULL || is_ending(worker) != is_ending(other))
		return other == NULL || is_ending(other);
	if (is_behind(worker) != is_behind(other))
		return is_behind(other);
	if (worker->n_out != other->n_out)
		return worker->n_out < other->n_out;
	return worker->last_used > other->last_used;
}

/* One that is idle, a new one, or the one with the fewest batches; NULL: there is none. */
static struct worker *choose(struct pool *pool)
{
	struct worker *best = NULL, *fresh;
	int empty = -1;

	for (int i = pool->n_jobs - 1; i >= 0; i--) {
		struct worker *worker = pool->workers[i];

		if (worker == NULL)
			empty = i;
		else if (is_better(worker, best))
			best = worker;
	}
	if ((best != NULL && best->n_out == 0 && !is_ending(best)) || empty < 0)
		return best;
	fresh = start_worker(pool, empty);
	return fresh != NULL ? fresh : best;
}

static int32_t refuse(const struct pool *pool, par_error *error)
{
	if (error != NULL)
		*error = pool->why;
	return pool->why.code;
}

int32_t pool_submit(struct pool *pool, par_batch batch, void **future, par_error *error)
{
	struct worker *worker = choose(pool);
	int32_t status;

	if (worker == NULL)
		return refuse(pool, error);
	status = worker->channels->send(pool->host, worker->channel, worker->slot, batch, error);
	if (status != PAR_OK)
		return status;
	if (worker->n_out++ == 0)
		worker->heard = pool->n_over;
	worker->last_used = ++pool->n_sent;
	*future = worker;
	return PAR_OK;
}

int32_t pool_kill(void *future)
{
	worker_kill(future);
	return PAR_OK;
}

static void on_grace(void *arg)
{
	struct pool *pool = arg;

	pool->timer->stop(pool->grace);
	pool->grace = NULL;
	for (int i = 0; i < pool->n_jobs; i++)
		if (pool->workers[i] != NULL && pool->workers[i]->n_out > 0)
			worker_kill(pool->workers[i]);
}

/* Tasks are told, and given a moment. */
void pool_abort(struct pool *pool)
{
	int n = 0;

	pool->aborts = 1;
	for (int i = 0; i < pool->n_jobs; i++) {
		struct worker *worker = pool->workers[i];

		if (worker == NULL || worker->n_out == 0)
			continue;
		worker->channels->stop(worker->channel);
		n++;
	}
	if (n > 0 && pool->grace == NULL &&
	    pool->timer->start(pool->host, pool->settings.abort_grace_ns, 0, on_grace, pool, &pool->grace) < 0)
		on_grace(pool);
}

/* --- calls ------------------------------------------------------------------------------------ */

void pool_begin_call(struct pool *pool)
{
	pool->in_call = 1;
	pool->aborts = 0;
	pool->n_failed = pool->n_shot = 0;
	for (int i = 0; i < pool->n_jobs; i++)
		if (pool->workers[i] != NULL)
			pool->workers[i]->is_proven = 0;
	pool->is_stuck = 0;
	tell_capacity(pool);
}

void pool_end_call(struct pool *pool)
{
	pool->in_call = 0;
	pool->aborts = 0;
	if (pool->grace != NULL)
		pool->timer->stop(pool->grace);
	pool->grace = NULL;
	for (int i = 0; i < pool->n_jobs; i++)
		if (pool->workers[i] != NULL)
			output_drain(&pool->workers[i]->output);
}

/* --- its life --------------------------------------------------------------------------------- */

int32_t pool_init(struct pool *pool, const par_host *host, par_error *error)
{
	pool->host = host;
	pool->watcher = host->extension(host, PAR_EXT_FD);
	pool->timer = host->extension(host, PAR_EXT_TIMER);
	pool->recipe.channels = host->extension(host, PAR_EXT_CHANNEL);
	pool->recipe.settings = &pool->settings;
	if (pool->watcher != NULL && pool->timer != NULL && pool->recipe.channels != NULL &&
	    host->extension(host, PAR_EXT_WORKER_ENV) != NULL)
		return PAR_OK;
	return par_fail(error, PAR_EUNAVAIL, "this parloop has no worker processes");
}

/* Better now than with some hundred of them running. */
static int32_t check_room(int n_jobs, par_error *error)
{
	struct rlimit files;

	if (getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur == RLIM_INFINITY ||
	    (rlim_t)n_jobs * FDS_EACH < files.rlim_cur)
		return PAR_OK;
	(void)par_fail(error, PAR_EINVAL,
	               "%d workers take %lld descriptors, and this process may have %lld open", n_jobs,
	               (long long)n_jobs * FDS_EACH, (long long)files.rlim_cur);
	par_remedy(error, "ask for fewer n_jobs, or raise the limit: ulimit -n");
	return PAR_EINVAL;
}

static int32_t make_recipe(struct pool *pool, enum method method, par_error *error)
{
	const par_ext_worker_env *maker = pool->host->extension(pool->host, PAR_EXT_WORKER_ENV);
	struct recipe *recipe = &pool->recipe;

	recipe->method = method;
	recipe->program = NULL;
	if (recipe->method != METHOD_FORK) {
		recipe->program = recipe->channels->program(error);
		if (recipe->program == NULL)
			return PAR_EUNAVAIL;
	}
	recipe->env = maker->make_env(pool->host, pool->n_jobs);
	if (recipe->env == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	if (recipe->method != METHOD_FORKSERVER)
		return PAR_OK;
	recipe->server = server_create(recipe->program, recipe->env, pool->settings.preload);
	if (recipe->server == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	return server_start(recipe->server, error);
}

/* Those that an earlier pool has left. */
static void lease(struct pool *pool)
{
	for (int i = 0; i < pool->n_jobs; i++) {
		struct worker *worker = executor_lease(pool->key, i);

		if (worker != NULL && adopt(pool, worker) < 0)
			executor_give(worker, pool->settings.idle_timeout_ns);
	}
}

int32_t pool_start(struct pool *pool, int n_jobs, enum method method, par_error *error)
{
	int32_t status;

	status = check_room(n_jobs, error);
	if (status < 0)
		return status;
	pool->workers = calloc((size_t)n_jobs, sizeof(struct worker *));
	if (pool->workers == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory for %d workers", n_jobs);
	pool->n_jobs = pool->n_told = n_jobs;
	status = make_recipe(pool, method, error);
	if (status < 0)
		return status;
	if (pool->keeps) {
		pool->key = executor_key(&pool->recipe);
		if (pool->key == NULL)
			return par_fail(error, PAR_ENOMEM, "no memory");
		lease(pool);
	}
	for (int i = 0; i < n_jobs && pool->recipe.method == METHOD_FORK && !pool->is_stuck; i++)
		(void)start_worker(pool, i);
	return pool->is_stuck && count_workers(pool) == 0 ? refuse(pool, error) : PAR_OK;
}

static void part_with(struct pool *pool, struct worker *worker)
{
	if (!pool->keeps || pool->settings.idle_timeout_ns == 0 || worker->retires || worker->was_killed ||
	    worker->n_out > 0) {
		leave(worker);
		return;
	}
	pool->workers[worker->slot] = NULL;
	let_go(worker);
	output_finish(&worker->output);
	executor_give(worker, pool->settings.idle_timeout_ns);
}

int32_t pool_stop(struct pool *pool)
{
	const par_ext_worker_env *maker = pool->host->extension(pool->host, PAR_EXT_WORKER_ENV);

	for (int i = 0; i < pool->n_jobs; i++)
		if (pool->workers[i] != NULL)
			part_with(pool, pool->workers[i]);
	free(pool->workers);
	pool->workers = NULL;
	pool->n_jobs = 0;
	server_destroy(pool->recipe.server);
	pool->recipe.server = NULL;
	if (pool->recipe.env != NULL)
		maker->free_env(pool->recipe.env);
	pool->recipe.env = NULL;
	free(pool->key);
	pool->key = NULL;
	pool->is_stuck = 0;
	pool->is_terminating = pool->leaving != NULL;
	return pool->is_terminating ? PAR_PENDING : PAR_OK;
}

void pool_finish(struct pool *pool)
{
	struct worker *worker;
	struct death death;

	while ((worker = pool->leaving) != NULL) {
		worker_kill(worker);
		while (!worker_reap(worker, &death))
			sched_yield();
		let_go(worker);
		pool->is_terminating = 0;
		has_left(worker);
	}
}
