#include "failing.h"

#include <signal.h>
#include <string.h>
#include <time.h>

enum {
	MOST_FAILED = 3, /* in a row that ended by themselves */
	MOST_SHOT = 50   /* that were killed, and for so long: */
};

#define SHOT_NS ((int64_t)10000000000)

void failing_warn(const struct pool *pool, const char *format, ...)
{
	char line[1200];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(line, sizeof(line), format, args);
	va_end(args);
	pool->host->log(pool->host, 2, line);
}

int failing_count_workers(const struct pool *pool)
{
	int n = 0;

	for (int i = 0; i < pool->n_jobs; i++)
		n += pool->workers[i] != NULL;
	return n;
}

/* It is said only while there is one: where there is none a batch is refused, which says why. */
void failing_tell_capacity(struct pool *pool)
{
	int n = 0;

	for (int i = 0; i < pool->n_jobs; i++)
		n += pool->workers[i] != NULL ? !pool->workers[i]->retires : !pool->is_stuck;
	if (!pool->in_call || n == pool->n_told || (n == 0 && failing_count_workers(pool) == 0))
		return;
	pool->n_told = n;
	pool->host->capacity(pool->host, n, pool_holds(n));
}

/* No more of them in this call. */
static void get_stuck(struct pool *pool, const par_error *why)
{
	int n = failing_count_workers(pool);

	if (pool->is_stuck)
		return;
	pool->is_stuck = 1;
	pool->why = *why;
	if (n == 0)
		return;
	failing_warn(pool, "%s%s%s; going on with %d of %d workers", why->what,
	             why->what[0] != '\0' ? ": " : "", why->reason, n, pool->n_jobs);
	failing_tell_capacity(pool);
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* One more was killed: is it time to give up? */
static int is_shot_always(struct pool *pool)
{
	if (pool->n_shot++ == 0)
		pool->shot_since_ns = now_ns();
	return pool->n_shot >= MOST_SHOT && now_ns() - pool->shot_since_ns >= SHOT_NS;
}

void failing_note_start(struct pool *pool, int32_t status, par_error *why)
{
	why->code = status == PAR_ELOST ? PAR_EUNAVAIL : status;
	if (status == PAR_ELOST ? is_shot_always(pool)
	                        : status == PAR_ENOMEM || ++pool->n_failed >= MOST_FAILED)
		get_stuck(pool, why);
}

static void describe_death(const struct death *death, char *text, size_t room)
{
	if (!death->is_known)
		(void)snprintf(text, room, "ended, and somebody else has taken note how");
	else if (death->signal != 0)
		(void)snprintf(text, room, "was killed by signal %d (%s)", death->signal,
		               strsignal(death->signal));
	else
		(void)snprintf(text, room, "ended with status %d", death->exit_code);
}

void failing_note_death(struct worker *worker, const struct death *death, const char *words)
{
	struct pool *pool = worker->pool;
	int was_shot = worker->why.code == PAR_OK &&
	               (death->signal == SIGKILL || death->signal == SIGTERM);
	par_error why = worker->why;
	char how[120];

	if (pool->aborts)
		return;
	if (was_shot ? !is_shot_always(pool) : ++pool->n_failed < MOST_FAILED)
		return;
	describe_death(death, how, sizeof(how));
	(void)snprintf(why.what, sizeof(why.what), "worker processes cannot start");
	if (why.code == PAR_OK)
		(void)par_fail(&why, PAR_EUNAVAIL,
		               "the last of %d in a row %s before it was ready%s%.150s",
		               was_shot ? pool->n_shot : pool->n_failed, how,
		               *words != '\0' ? ": " : "", words);
	why.code = PAR_EUNAVAIL;
	get_stuck(pool, &why);
}
