#include "pool.h"

#include "parking.h"

#include <ctype.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

/* Batches that a worker may have. */
enum { HOLDS_EACH = 256, MOST_HELD = 1 << 16 };

/* So many more batches another has before one that seems slow gets the next. */
enum { PATIENCE = 16 };

/* --- batches ---------------------------------------------------------------------------------------- */

static struct errand *take_errand(struct pool *pool)
{
	struct errand *errand = pool->spare;

	if (errand == NULL)
		return malloc(sizeof(*errand));
	pool->spare = errand->next;
	return errand;
}

static void put_errand(struct pool *pool, struct errand *errand)
{
	errand->next = pool->spare;
	pool->spare = errand;
}

static void append(struct pool *pool, struct errand *errand)
{
	struct queue *queue = &pool->queues[errand->worker];

	if (queue->n == 0)
		queue->heard = pool->n_back;
	errand->next = NULL;
	*queue->end = errand;
	queue->end = &errand->next;
	queue->n++;
	pool->n_out++;
}

/* The first of a queue, which is over. */
static void give_back(struct pool *pool, struct queue *queue, int32_t status, const par_how *how)
{
	struct errand *errand = queue->first;

	queue->first = errand->next;
	if (queue->first == NULL)
		queue->end = &queue->first;
	queue->n--;
	queue->heard = ++pool->n_back;
	pool->n_out--;
	pool->host->done(pool->host, errand->batch, status, how);
	put_errand(pool, errand);
}

static void give_all_back(struct pool *pool, int32_t status, const par_how *how)
{
	for (int i = 0; i < pool->n_jobs; i++)
		while (pool->queues[i].first != NULL)
			give_back(pool, &pool->queues[i], status, how);
}

/* Since it was heard of last others were: what it is at may take long. */
static int seems_slow(const struct pool *pool, const struct queue *queue)
{
	return queue->n > 0 && queue->heard < pool->n_back;
}

/* The one with the fewest; some more, rather than behind what takes long. */
static int choose_worker(const struct pool *pool)
{
	int best = 0, least = INT_MAX;

	for (int i = 0; i < pool->n_jobs && least > 0; i++) {
		const struct queue *queue = &pool->queues[i];
		int n = queue->n + (seems_slow(pool, queue) ? PATIENCE : 0);

		if (n < least) {
			least = n;
			best = i;
		}
	}
	return best;
}

static int32_t send(struct pool *pool, struct errand *errand)
{
	const struct seat *seat = &pool->job->seats[errand->worker + 1];

	pool->encoding->runs_at(pool->host, errand->batch, errand->worker,
	                        seat->is_near ? NULL : seat->hello.host);
	errand->was_sent = 1;
	return job_put_batch(pool->job, errand->worker + 1, errand->batch, &errand->encoded);
}

/* --- jobs ------------------------------------------------------------------------------------------- */

/* What our own relay complains of; else the end of what the launcher said, on one line. */
static void quote_tail(struct job *job, char *text, size_t size)
{
	const char *ours = output_complaint(&job->output);
	const char *tail = *ours != '\0' ? ours : output_tail(&job->output);
	size_t n = strlen(tail), used = 0;

	if (tail != ours && n >= size)
		tail += n + 1 - size;
	for (; *tail != '\0' && used + 1 < size; tail++)
		if (!isspace((unsigned char)*tail))
			text[used++] = *tail;
		else if (used > 0 && text[used - 1] != ' ')
			text[used++] = ' ';
	text[used] = '\0';
}

static void explain_start(struct pool *pool, struct job *job)
{
	char tail[240], how[100];

	quote_tail(job, tail, sizeof(tail));
	if (job->was_killed)
		(void)snprintf(how, sizeof(how), "the job did not start within %g s",
		               (double)pool->settings.start_timeout_ns / 1e9);
	else if (WIFSIGNALED(job->wait_status))
		(void)snprintf(how, sizeof(how), "the launcher was killed by signal %d",
		               WTERMSIG(job->wait_status));
	else
		(void)snprintf(how, sizeof(how), "the launcher ended with status %d before its ranks were there",
		               WEXITSTATUS(job->wait_status));
	pool->why = (par_error)PAR_ERROR_INIT;
	(void)par_fail(&pool->why, PAR_EUNAVAIL, "%s%s%s", how, *tail != '\0' ? ": " : "", tail);
	if (pool->launch.is_slurm)
		par_remedy(&pool->why, "srun has to be told --mpi=pmix for Open MPI, --mpi=pmi2 for MPICH; in an "
		                       "allocation --overcommit for one rank more than it has tasks");
	else
		par_remedy(&pool->why, "try it by hand: %.100s hostname", pool->launch.command);
}

static int32_t start_job(struct pool *pool, par_error *error)
{
	const par_ext_worker_env *envs = pool->host->extension(pool->host, PAR_EXT_WORKER_ENV);
	char **env = envs->make_env(pool->host, pool->n_jobs);
	char *key = env != NULL ? parking_key(&pool->launch, &pool->settings, pool->n_jobs, env) : NULL;
	int32_t status = PAR_PENDING;

	if (env != NULL)
		envs->free_env(env);
	if (key == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	pool->job = parking_take(key);
	if (pool->job != NULL) {
		status = job_adopt(pool->job, pool, pool->host, error);
	} else {
		status = job_start(&pool->job, pool, pool->host, &pool->launch, &pool->settings, pool->n_jobs,
		                   error);
		if (status == PAR_OK)
			status = PAR_PENDING;
	}
	if (status < 0) {
		if (pool->job != NULL)
			job_destroy(pool->job);
		pool->job = NULL;
		free(key);
	} else if (pool->job->key == NULL) {
		pool->job->key = key;
	} else {
		free(key);
	}
	return status;
}

/* Thread limits, which a launcher takes along on this machine only, and the option env. */
static int32_t send_environment(struct pool *pool, int worker)
{
	static const char *const limits[] = {
		"OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS",
		"VECLIB_MAXIMUM_THREADS", "NUMBA_NUM_THREADS", "NUMEXPR_NUM_THREADS",
	};
	const par_ext_worker_env *envs = pool->host->extension(pool->host, PAR_EXT_WORKER_ENV);
	const char *at = pool->settings.variables;
	struct record record = {.kind = RECORD_ENV, .rank = worker + 1};
	struct variable variable;
	char **env = envs->make_env(pool->host, pool->n_jobs), *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);
	int32_t status = PAR_ENOMEM;

	for (size_t i = 0; out != NULL && env != NULL && env[i] != NULL; i++)
		for (size_t j = 0; j < sizeof(limits) / sizeof(limits[0]); j++)
			if (strncmp(env[i], limits[j], strlen(limits[j])) == 0 &&
			    env[i][strlen(limits[j])] == '=')
				(void)fwrite(env[i], 1, strlen(env[i]) + 1, out);
	while (out != NULL && settings_next_variable(&at, &variable) == 1) {
		char *entry = settings_variable(&variable, worker);

		if (entry != NULL)
			(void)fwrite(entry, 1, strlen(entry) + 1, out);
		free(entry);
	}
	if (out != NULL && fclose(out) == 0) {
		record.n_bytes = size;
		status = job_put(pool->job, &record, text, size, 0);
	}
	if (env != NULL)
		envs->free_env(env);
	free(text);
	return status;
}

/* Workers of this machine use its cores. */
static void fill_answer(struct pool *pool, par_answer *answer)
{
	int n_near = 0;

	for (int rank = 1; rank <= pool->n_jobs; rank++)
		n_near += pool->job->seats[rank].is_near;
	if (n_near == pool->n_jobs)
		answer->capabilities &= ~(uint32_t)PAR_ELSEWHERE;
	answer->holds = pool->n_jobs > MOST_HELD / HOLDS_EACH ? MOST_HELD : pool->n_jobs * HOLDS_EACH;
	if (answer->holds < pool->n_jobs)
		answer->holds = pool->n_jobs;
}

static void lose_job(struct pool *pool, int32_t status)
{
	struct job *job = pool->job;

	(void)status;
	pool_job_ended(pool, job, NULL);
	job_kill(job);
}

void pool_job_ready(struct pool *pool, struct job *job)
{
	int32_t status = PAR_OK;

	for (int i = 0; status == PAR_OK && i < pool->n_jobs; i++)
		status = send_environment(pool, i);
	for (int i = 0; i < pool->n_jobs; i++)
		for (struct errand *errand = pool->queues[i].first; status == PAR_OK && errand != NULL;
		     errand = errand->next)
			status = send(pool, errand);
	if (status < 0) {
		lose_job(pool, status);
		return;
	}
	job_flush(job);
	if (pool->answer == NULL)
		return;
	fill_answer(pool, pool->answer);
	pool->answer = NULL;
	pool->host->ready(pool->host, PAR_OK, NULL);
}

/* --- what comes back --------------------------------------------------------------------------------- */

void pool_take(struct pool *pool, struct job *job, const struct record *record, const char *bytes)
{
	struct queue *queue = &pool->queues[record->rank - 1];
	int32_t status = PAR_OK;

	/* It runs them in their order, so whatever it says is about the first. */
	if (queue->first == NULL || queue->first->batch != record->batch) {
		job->seats[record->rank].exit_code = -1;
		pool_job_ended(pool, job, &job->seats[record->rank]);
		job_kill(job);
		return;
	}
	if (record->n_bytes > 0)
		status = pool->encoding->receive(pool->host, record->batch, bytes, record->n_bytes);
	if (status < 0) {
		pool_job_ended(pool, job, &job->seats[record->rank]);
		job_kill(job);
	} else if (record->kind != RECORD_ANSWER) {
		give_back(pool, queue, record->kind == RECORD_LAST ? PAR_OK : PAR_EFAILED, NULL);
	}
}

/* --- what is lost ------------------------------------------------------------------------------------ */

static par_how how_of(const struct seat *seat, const char *text)
{
	return (par_how){
		.size = sizeof(par_how),
		.worker = seat->rank - 1,
		.pid = seat->hello.pid,
		.signal = seat->signal,
		.exit_code = seat->exit_code,
		.host = seat->is_near ? NULL : seat->hello.host,
		.text = *text != '\0' ? text : NULL,
	};
}

static int is_killed(const struct job *job)
{
	return WIFSIGNALED(job->wait_status) && WTERMSIG(job->wait_status) == SIGKILL;
}

/* Of who began it all is lost that it was sent; of another one what it may have begun comes back
 * unharmed.  Where nobody knows who it was, it may have been any; or the launcher was killed. */
static void lose(struct pool *pool, struct job *job, const struct seat *culprit)
{
	const char *text = output_tail(&job->output);

	for (int i = 0; i < pool->n_jobs; i++) {
		struct queue *queue = &pool->queues[i];
		par_how how = how_of(&job->seats[i + 1], text);

		if (culprit == NULL && how.signal == 0 && is_killed(job))
			how.signal = SIGKILL;
		if (pool->aborts) {
			while (queue->first != NULL)
				give_back(pool, queue, PAR_EABORTED, NULL);
		} else if (culprit == &job->seats[i + 1]) {
			while (queue->first != NULL && queue->first->was_sent)
				give_back(pool, queue, PAR_ELOST, &how);
		} else if (queue->first != NULL && queue->first->was_sent) {
			give_back(pool, queue, culprit == NULL ? PAR_ELOST : PAR_EABORTED,
			          culprit == NULL ? &how : NULL);
		}
		for (struct errand *errand = queue->first; errand != NULL; errand = errand->next)
			errand->was_sent = 0;
	}
}

static void fail_all(struct pool *pool)
{
	const par_how how = {.size = sizeof(how), .worker = -1, .exit_code = -1, .text = pool->why.reason};

	if (pool->answer != NULL) {
		pool->answer = NULL;
		pool->host->ready(pool->host, pool->why.code, &pool->why);
	}
	give_all_back(pool, pool->aborts ? PAR_EABORTED : pool->why.code, &how);
}

void pool_job_ended(struct pool *pool, struct job *job, const struct seat *culprit)
{
	if (pool->job != job)
		return;
	pool->job = NULL;
	job->next = pool->leaving;
	pool->leaving = job;
	if (job->state == JOB_STARTS) {
		explain_start(pool, job);
		fail_all(pool);
		return;
	}
	lose(pool, job, culprit);
	pool->why = (par_error)PAR_ERROR_INIT;
	if (pool->n_out > 0 && start_job(pool, &pool->why) < 0)
		fail_all(pool);
	else if (pool->job != NULL && pool->job->state == JOB_READY)
		pool_job_ready(pool, pool->job);
}

static void sweep(void *arg)
{
	struct pool *pool = arg;

	while (pool->dead != NULL) {
		struct job *job = pool->dead;

		pool->dead = job->next;
		job_destroy(job);
	}
	if (!pool->is_terminating || pool->leaving != NULL)
		return;
	pool->is_terminating = 0;
	pool->host->ready(pool->host, PAR_OK, NULL);
}

void pool_job_gone(struct pool *pool, struct job *job)
{
	for (struct job **at = &pool->leaving; *at != NULL; at = &(*at)->next) {
		if (*at != job)
			continue;
		*at = job->next;
		break;
	}
	job->next = pool->dead;
	pool->dead = job;
	(void)pool->host->post(pool->host, sweep, pool);
}

/* --- its life ----------------------------------------------------------------------------------------- */

int32_t pool_init(struct pool *pool, const par_host *host, par_error *error)
{
	pool->host = host;
	pool->timer = host->extension(host, PAR_EXT_TIMER);
	pool->encoding = host->extension(host, PAR_EXT_ENCODE);
	if (pool->encoding != NULL && PAR_HAS(pool->encoding, runs_at))
		return PAR_OK;
	return par_fail(error, PAR_EUNAVAIL, "this parloop is too old for the plugin");
}

int32_t pool_start(struct pool *pool, par_answer *answer, par_error *error)
{
	int32_t status = launch_find(&pool->launch, &pool->settings, error);

	if (status < 0)
		return status;
	pool->n_jobs = answer->n_jobs;
	pool->queues = calloc((size_t)pool->n_jobs, sizeof(*pool->queues));
	if (pool->queues == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	for (int i = 0; i < pool->n_jobs; i++)
		pool->queues[i].end = &pool->queues[i].first;
	status = start_job(pool, error);
	if (status == PAR_OK)
		fill_answer(pool, answer);
	if (status == PAR_PENDING)
		pool->answer = answer;
	return status;
}

static void park(struct pool *pool)
{
	const struct record record = {.kind = RECORD_PARK,
	                              .batch = (uint64_t)(pool->settings.idle_timeout_ns / 1000000)};
	struct job *job = pool->job;

	if (!job_is_alive(job) || record.batch == 0 || job_put(job, &record, NULL, 0, 0) < 0) {
		job->next = pool->leaving;
		pool->leaving = job;
		job_leave(job);
		return;
	}
	job_flush(job);
	job_let_go(job);
	parking_add(job);
}

int32_t pool_stop(struct pool *pool)
{
	if (pool->job != NULL)
		park(pool);
	pool->job = NULL;
	if (pool->leaving == NULL)
		return PAR_OK;
	pool->is_terminating = 1;
	return PAR_PENDING;
}

void pool_finish(struct pool *pool)
{
	struct job *lists[] = {pool->job, pool->leaving, pool->dead};

	for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
		while (lists[i] != NULL) {
			struct job *next = i > 0 ? lists[i]->next : NULL;

			job_destroy(lists[i]);
			lists[i] = next;
		}
	while (pool->spare != NULL) {
		struct errand *next = pool->spare->next;

		free(pool->spare);
		pool->spare = next;
	}
	free(pool->queues);
	launch_finish(&pool->launch);
}

/* --- the operations ----------------------------------------------------------------------------------- */

int32_t pool_submit(struct pool *pool, par_batch batch, void **future, par_error *error)
{
	struct errand *errand = take_errand(pool);
	int32_t status;

	if (errand == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	*errand = (struct errand){.batch = batch, .worker = choose_worker(pool),
	                          .encoded.size = sizeof(errand->encoded)};
	status = pool->encoding->encode(pool->host, batch, &errand->encoded, error);
	if (status == PAR_OK && pool->job == NULL)
		status = start_job(pool, error);
	if (status >= 0 && pool->job->state == JOB_READY)
		status = send(pool, errand);
	if (status < 0) {
		put_errand(pool, errand);
		return status;
	}
	append(pool, errand);
	*future = (void *)(intptr_t)errand->worker;
	return PAR_OK;
}

int32_t pool_poll(struct pool *pool)
{
	struct job *job = pool->job;

	if (job == NULL || job->state != JOB_READY)
		return 0;
	job_flush(job);
	return job_hear(job);
}

static int is_out(const struct pool *pool, par_batch batch, int worker)
{
	const struct errand *errand = pool->queues[worker].first;

	while (errand != NULL && errand->batch != batch)
		errand = errand->next;
	return errand != NULL;
}

/* The others of the job are killed with it, and not lost. */
int32_t pool_kill(struct pool *pool, par_batch batch, int worker)
{
	struct job *job = pool->job;
	struct seat *seat;

	while (pool->job == job && job_hear(job))
		;
	if (pool->job != job || job->state != JOB_READY || !is_out(pool, batch, worker))
		return PAR_OK;
	seat = &job->seats[worker + 1];
	seat->signal = SIGKILL;
	pool_job_ended(pool, job, seat);
	job_kill(job);
	return PAR_OK;
}

void pool_end_call(struct pool *pool)
{
	if (pool->grace != NULL)
		pool->timer->stop(pool->grace);
	pool->grace = NULL;
	pool->aborts = 0;
	if (pool->job != NULL && pool->job->state == JOB_READY)
		job_forget_shared(pool->job);
}

static void on_grace(void *arg)
{
	struct pool *pool = arg;

	if (pool->n_out > 0 && pool->job != NULL)
		lose_job(pool, PAR_EABORTED);
}

void pool_abort(struct pool *pool)
{
	struct record record = {.kind = RECORD_STOP};
	struct job *job = pool->job;

	pool->aborts = 1;
	if (job == NULL || job->state == JOB_STARTS) {
		give_all_back(pool, PAR_EABORTED, NULL);
		return;
	}
	if (job->state != JOB_READY)
		return;
	for (int i = 0; i < pool->n_jobs; i++) {
		record.rank = i + 1;
		if (pool->queues[i].first != NULL)
			(void)job_put(job, &record, NULL, 0, 0);
	}
	job_flush(job);
	if (pool->timer->start(pool->host, pool->settings.abort_grace_ns, 0, on_grace, pool,
	                       &pool->grace) < 0)
		lose_job(pool, PAR_EABORTED);
}
