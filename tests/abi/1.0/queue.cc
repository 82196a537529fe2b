/* queue.cc - a backend for parloop: threads that take their batches from a queue.
 *
 * It works as it is.  Where the threads and the queue are, put your engine: submit() gives it a
 * number, and one of its workers calls run() and done() with that.  No exception may leave a
 * function that the core calls. */
#include <parloop/backend.h>

#include <algorithm>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <exception>
#include <mutex>
#include <new>
#include <queue>
#include <thread>
#include <vector>

PAR_PLUGIN(
	PAR_VERSION("0.1")
	PAR_BACKEND("queue", "threads that take their batches from a queue")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches")
	PAR_OPTION_INT("most", 64, 1, 1024, "threads at most"))

struct par_backend {
	const par_host *host;
	int32_t most;
	bool ending = false;
	std::mutex lock;
	std::condition_variable work;
	std::queue<par_batch> queue;
	std::vector<std::thread> threads;
};

static int32_t create(const par_host *host, const par_options *options, int32_t, int32_t,
                      par_backend **backend, par_error *error)
{
	*backend = new (std::nothrow) par_backend;
	if (*backend == nullptr)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(*backend)->host = host;
	(*backend)->most = static_cast<int32_t>(host->option_int(options, "most"));
	return PAR_OK;
}

static void destroy(par_backend *backend)
{
	{
		std::lock_guard<std::mutex> guard(backend->lock);
		backend->ending = true;
	}
	backend->work.notify_all();
	for (std::thread &thread : backend->threads)
		thread.join();
	delete backend;
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	if (n_jobs < 0)
		n_jobs += backend->host->cores(backend->host) + 1;
	return std::max<int32_t>(1, std::min(n_jobs, backend->most));
}

static void worker(par_backend *backend)
{
	const par_host *host = backend->host;
	std::unique_lock<std::mutex> guard(backend->lock);

	for (;;) {
		backend->work.wait(guard, [=] { return backend->ending || !backend->queue.empty(); });
		if (backend->queue.empty())
			return;
		par_batch batch = backend->queue.front();
		backend->queue.pop();
		guard.unlock();
		host->done(host, batch, host->run(host, batch), nullptr);
		guard.lock();
	}
}

/* Make the workers.  Signals are the program's affair, and reach its own threads. */
static int32_t configure(par_backend *backend, const par_call *, par_answer *answer,
                         par_error *error)
{
	std::vector<std::thread> &threads = backend->threads;
	sigset_t all, before;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	try {
		while (threads.size() < static_cast<std::size_t>(answer->n_jobs))
			threads.emplace_back(worker, backend);
	} catch (const std::exception &) {
		answer->n_jobs = static_cast<int32_t>(threads.size());
	}
	pthread_sigmask(SIG_SETMASK, &before, nullptr);
	return threads.empty() ? par_fail(error, PAR_ENOMEM, "cannot start a thread") : PAR_OK;
}

static int32_t submit(par_backend *backend, par_batch batch, void **, par_error *error)
{
	try {
		std::lock_guard<std::mutex> guard(backend->lock);
		backend->queue.push(batch);
	} catch (const std::exception &) {
		return par_fail(error, PAR_ENOMEM, "no memory for one more batch");
	}
	backend->work.notify_one();
	return PAR_OK;
}

static constexpr par_backend_ops make_ops()
{
	par_backend_ops ops = {};
	ops.size = sizeof(ops);
	ops.abi = PAR_ABI;
	ops.create = create;
	ops.destroy = destroy;
	ops.effective_n_jobs = effective_n_jobs;
	ops.configure = configure;
	ops.submit = submit;
	return ops;
}

static constexpr par_backend_ops ops = make_ops();

const par_backend_ops *parloop_backend_v1(const par_host *, const char *name)
{
	return std::strcmp(name, "queue") == 0 ? &ops : nullptr;
}
