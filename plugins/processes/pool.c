#include "pool.h"

#include "executor.h"
#include "failing.h"
#include "tending.h"

#include <stdlib.h>
#include <sys/resource.h>

enum {
	HOLDS_EACH = 64, /* batches that a worker may have; the core sends as many as make sense */
	MOST_HELD = 65536,
	PATIENCE = 16, /* batches of others, for each worker, until one is behind */
	FDS_EACH = 7   /* descriptors of a worker at most, while it starts */
};

int32_t pool_holds(int32_t n_workers)
{
	if (n_workers > MOST_HELD / HOLDS_EACH)
		return n_workers > MOST_HELD ? n_workers : MOST_HELD;
	return n_workers * HOLDS_EACH;
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
	uint64_t most = (uint64_t)pool->n_jobs * PATIENCE;

	return worker->n_out > 0 && (!worker->is_proven || pool->n_over - worker->heard > most);
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
	fresh = tending_start(pool, empty);
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
	if (worker->n_out++ == 0) {
		worker->heard = pool->n_over;
		tending_look_after(worker);
	}
	worker->last_used = ++pool->n_sent;
	*future = worker;
	return PAR_OK;
}

/* Of a batch that was just given back the worker may be gone. */
int32_t pool_kill(struct pool *pool, const void *future)
{
	for (int i = 0; i < pool->n_jobs; i++) {
		struct worker *worker = pool->workers[i];

		if (worker != future || worker == NULL || worker->n_out == 0)
			continue;
		worker_kill(worker);
		return PAR_OK;
	}
	return PAR_EINVAL;
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
	    pool->timer->start(pool->host, pool->settings.abort_grace_ns, 0, on_grace, pool,
	                       &pool->grace) < 0)
		on_grace(pool);
}

/* To hear what came is to be awake, so it comes first. */
int32_t pool_poll(struct pool *pool, int32_t sleeps)
{
	int came = 0;

	for (int i = 0; i < pool->n_jobs; i++) {
		struct worker *worker = pool->workers[i];

		if (worker == NULL || worker->n_out == 0)
			continue;
		came |= tending_hear(worker) > 0;
		if (sleeps && worker->n_out > 0)
			came |= worker->channels->sleeps(worker->channel, 1);
	}
	/* What was urgent is done. */
	if (sleeps && !came && pool->has_answered)
		tending_keep_spare(pool);
	return came;
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
	failing_tell_capacity(pool);
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
	tending_keep_spare(pool);
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
	               "%d workers take %lld descriptors, and this process may have %lld open",
	               n_jobs, (long long)n_jobs * FDS_EACH, (long long)files.rlim_cur);
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

		if (worker != NULL && tending_adopt(pool, worker) < 0)
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
		(void)tending_start(pool, i);
	return pool->is_stuck && failing_count_workers(pool) == 0 ? refuse(pool, error) : PAR_OK;
}

static void part_with(struct pool *pool, struct worker *worker)
{
	int is_good = !worker->retires && !worker->was_killed && worker->n_out == 0;

	if (!pool->keeps || pool->settings.idle_timeout_ns == 0 || !is_good) {
		tending_dismiss(worker);
		return;
	}
	if (worker == pool->spare)
		pool->spare = NULL;
	else
		pool->workers[worker->slot] = NULL;
	tending_let_go(worker);
	output_finish(&worker->output);
	executor_give(worker, pool->settings.idle_timeout_ns);
}

int32_t pool_stop(struct pool *pool)
{
	const par_ext_worker_env *maker = pool->host->extension(pool->host, PAR_EXT_WORKER_ENV);

	for (int i = 0; i < pool->n_jobs; i++)
		if (pool->workers[i] != NULL)
			part_with(pool, pool->workers[i]);
	if (pool->spare != NULL)
		part_with(pool, pool->spare);
	pool->spare_after = 0;
	tending_look_away(pool);
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
	tending_finish(pool);
}
