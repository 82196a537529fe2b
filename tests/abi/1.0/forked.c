/* forked.c - a forked process for each of n_jobs. */
#define _GNU_SOURCE
#include <parloop/backend.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("forked", "a forked process for each of n_jobs")
	PAR_CAPABILITIES("survives_crash can_kill auto_batches"))

enum { MOST = 64 };

struct worker {
	par_backend *backend;
	par_channel *channel; /* NULL: nobody is in this place */
	par_watch *news, *death;
	int pid, pidfd;
};

struct par_backend {
	const par_host *host;
	const par_ext_channel *channels;
	const par_ext_fd *watcher;
	struct worker workers[MOST];
};

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	const par_ext_channel *channels = host->extension(host, PAR_EXT_CHANNEL);
	const par_ext_fd *watcher = host->extension(host, PAR_EXT_FD);

	if (channels == NULL || watcher == NULL)
		return par_fail(error, PAR_EUNAVAIL, "this parloop has no channels to workers");
	*backend = calloc(1, sizeof(**backend));
	if (*backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	(*backend)->channels = channels;
	(*backend)->watcher = watcher;
	return PAR_OK;
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	if (n_jobs < 0)
		n_jobs += backend->host->cores(backend->host) + 1;
	return n_jobs < 1 ? 1 : n_jobs > MOST ? MOST : n_jobs;
}

/* Take what it answered.  1: a batch is over. */
static int32_t hear(struct worker *worker)
{
	const par_host *host = worker->backend->host;
	const par_ext_channel *channels = worker->backend->channels;
	par_error why = PAR_ERROR_INIT;
	par_batch batch;
	int32_t status, came = 0;

	while ((status = channels->next(host, worker->channel, &batch, &why)) == PAR_OK) {
		host->done(host, batch, PAR_OK, NULL);
		came = 1;
	}
	if (status != PAR_PENDING)
		kill(worker->pid, SIGKILL); /* of no use any more; on_death() goes on */
	return came;
}

static void on_news(void *arg, int32_t events, int32_t error)
{
	hear(arg);
}

/* Its channel ends, and so does the worker, unless it is dead already. */
static void end(struct worker *worker)
{
	par_backend *backend = worker->backend;

	if (worker->news != NULL)
		backend->watcher->unwatch(worker->news);
	if (worker->death != NULL)
		backend->watcher->unwatch(worker->death);
	backend->channels->close(worker->channel);
	if (worker->pid > 0)
		waitpid(worker->pid, NULL, 0);
	if (worker->pidfd >= 0)
		close(worker->pidfd);
	*worker = (struct worker){0};
}

static void on_death(void *arg, int32_t events, int32_t error)
{
	struct worker *worker = arg;
	par_backend *backend = worker->backend;
	par_how how = {.size = sizeof(how), .worker = worker - backend->workers, .pid = worker->pid,
	               .exit_code = -1, .text = backend->channels->last_words(worker->channel)};
	siginfo_t info = {0};
	par_batch batch;

	waitid(P_PIDFD, worker->pidfd, &info, WEXITED | WNOWAIT);
	if (info.si_code == CLD_EXITED)
		how.exit_code = info.si_status;
	else
		how.signal = info.si_status;
	hear(worker); /* what it answered before counts */
	while ((batch = backend->channels->lost(backend->host, worker->channel)) != 0)
		backend->host->done(backend->host, batch, PAR_ELOST, &how);
	end(worker);
}

static int32_t start(par_backend *backend, struct worker *worker, par_error *error)
{
	const par_host *host = backend->host;
	const par_ext_fd *watcher = backend->watcher;
	const par_worker_setup setup = {.size = sizeof(setup), .worker = worker - backend->workers,
	                                .parent = getpid(), .cpu = -1};
	int32_t status = backend->channels->open(PAR_CHANNEL_FORKED, &worker->channel, error);

	if (status < 0)
		return status;
	worker->backend = backend;
	worker->pid = fork();
	if (worker->pid == 0)
		backend->channels->serve(worker->channel, &setup); /* and never returns */
	worker->pidfd = worker->pid > 0 ? pidfd_open(worker->pid, 0) : -1;
	backend->channels->started(worker->channel);
	if (worker->pidfd >= 0 &&
	    watcher->watch(host, worker->pidfd, PAR_READABLE, on_death, worker, &worker->death) >= 0 &&
	    watcher->watch(host, backend->channels->fd(worker->channel), PAR_READABLE, on_news, worker,
	                   &worker->news) >= 0)
		return PAR_OK;
	end(worker);
	return par_fail(error, PAR_ENOMEM, "there is no room for one more worker");
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	const par_ext_channel *channels = backend->channels;
	struct worker *worker = backend->workers;
	int32_t status = PAR_OK;

	/* No more than n_jobs batches are out, so one of the first n_jobs places has none. */
	while (worker->channel != NULL && channels->out(worker->channel) > 0)
		worker++;
	if (worker->channel == NULL)
		status = start(backend, worker, error);
	if (status == PAR_OK)
		status = channels->send(backend->host, worker->channel, worker - backend->workers, batch,
		                        error);
	*future = worker;
	return status;
}

static int32_t poll(par_backend *backend, int32_t sleeps)
{
	int32_t came = 0;

	for (struct worker *worker = backend->workers; worker < backend->workers + MOST; worker++) {
		if (worker->channel == NULL || backend->channels->out(worker->channel) == 0)
			continue;
		came |= hear(worker);
		if (sleeps)
			came |= backend->channels->sleeps(worker->channel, 1);
	}
	return came;
}

static int32_t kill_batch(par_backend *backend, par_batch batch, void *future)
{
	kill(((struct worker *)future)->pid, SIGKILL);
	return PAR_OK;
}

static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	for (struct worker *worker = backend->workers; worker < backend->workers + MOST; worker++)
		if (worker->channel != NULL && backend->channels->out(worker->channel) > 0)
			kill(worker->pid, SIGKILL);
}

static void destroy(par_backend *backend)
{
	for (struct worker *worker = backend->workers; worker < backend->workers + MOST; worker++)
		if (worker->channel != NULL)
			end(worker);
	free(backend);
}

static const par_backend_ops ops = {
	.size = sizeof(ops), .abi = PAR_ABI, .create = create, .destroy = destroy,
	.effective_n_jobs = effective_n_jobs, .submit = submit, .poll = poll, .kill = kill_batch,
	.abort_everything = abort_everything,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	return strcmp(name, "forked") == 0 ? &ops : NULL;
}
