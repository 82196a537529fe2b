/* variant.c - a backend that keeps every rule, and with -DBREAKS_X one that breaks rule X alone.
 * tests/test_check.sh builds them all, and has parloop check say which is which. */
#define _GNU_SOURCE
#include <parloop/backend.h>

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

PAR_PLUGIN(
	PAR_VERSION("1.0")
#ifdef BREAKS_B9
	PAR_BACKEND("variant", "threads that take their batches from a pipe")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches runs_inline")
#elif defined BREAKS_B10
	PAR_BACKEND("variant", "threads that take their batches from a pipe")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches survives_crash")
#elif defined BREAKS_B11
	PAR_BACKEND("variant", "threads that take their batches from a pipe")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches can_kill")
#else
	PAR_BACKEND("variant", "threads that take their batches from a pipe")
	PAR_CAPABILITIES("shares_memory uses_threads auto_batches")
#endif
	PAR_OPTION_INT("chunk", 1, 0, 8, "a number")
	PAR_OPTION_CHOICE("mode", "slow", "slow|fast", "a choice")
	PAR_OPTION_TEXT("label", "", "a text"))

#ifdef BREAKS_F1
#define par__note par__second_note
PAR_PLUGIN(PAR_BACKEND("another", "of a second note"))
#endif
#ifdef BREAKS_F2
__attribute__((visibility("default"))) int variant_helper = 1;
#endif
#ifdef BREAKS_F3
__asm__(".text\n.quad parloop_backend_v1\n");
#endif
#ifdef BREAKS_F5
static __thread int storage __attribute__((tls_model("initial-exec")));
#endif

struct par_backend {
	const par_host *host;
	int n_threads, queue[2], is_dead;
	pthread_t threads[64], creator;
	const par_call *kept;
	char *block;
};

/* --- what happens when it is loaded ----------------------------------------------------------- */

static void nothing(int number)
{
	(void)number;
}

static void *wait_long(void *arg)
{
	sleep(60);
	return arg;
}

__attribute__((constructor, unused)) static void constructor(void)
{
#ifdef BREAKS_L1_CRASH
	abort();
#elif defined BREAKS_L1_HANG
	for (;;)
		pause();
#elif defined BREAKS_L1_EXIT
	exit(0);
#elif defined BREAKS_L2
	usleep(400000);
#elif defined BREAKS_L3
	puts("hello, I am a plugin");
#elif defined BREAKS_L4
	pthread_t thread;

	pthread_create(&thread, NULL, wait_long, NULL);
#elif defined BREAKS_L5
	(void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
#elif defined BREAKS_L6
	signal(SIGUSR1, nothing);
#elif defined BREAKS_L7
	umask(0);
#endif
	(void)nothing, (void)wait_long;
}

/* --- an instance ------------------------------------------------------------------------------ */

#ifdef BREAKS_B13
static void die_in_child(void)
{
	abort();
}
#endif

#ifdef BREAKS_B14
static _Atomic int n_instances;
#endif

static int32_t create(const par_host *host, const par_options *options, int32_t level,
                      int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)level, (void)inner_max_num_threads;
#ifdef BREAKS_B14
	if (n_instances++ > 0) {
		n_instances--;
		return par_fail(error, PAR_EUNAVAIL, "there is one already");
	}
#endif
	*backend = calloc(1, sizeof(**backend));
	if (*backend == NULL || pipe2((*backend)->queue, O_CLOEXEC) < 0) {
		free(*backend);
		return par_fail(error, PAR_ENOMEM, "no memory, or no descriptors for a pipe");
	}
	(*backend)->host = host;
	(*backend)->creator = pthread_self();
	(void)host->option_int(options, "chunk");
	(void)host->option_int(options, "mode");
	(void)host->option_text(options, "label");
#ifdef BREAKS_C5
	(void)host->option_int(options, "nonesuch");
#elif defined BREAKS_C5_TYPE
	(void)host->option_int(options, "label");
#elif defined BREAKS_C6
	(void)!getenv(100 / (int)host->option_int(options, "chunk") > 50 ? "A" : "B");
#elif defined BREAKS_C7
	(void)((const char *volatile *)host)[sizeof(*host) / sizeof(char *)];
#elif defined BREAKS_C9
	if (malloc(64) == NULL)
		return PAR_ENOMEM;
#elif defined BREAKS_C10
	if (((const par_ext_timer *)host->extension(host, PAR_EXT_TIMER))->size < sizeof(par_ext_timer))
		return PAR_EUNAVAIL;
#elif defined BREAKS_B13
	static int is_done;

	if (!is_done++)
		pthread_atfork(NULL, NULL, die_in_child);
#endif
	return PAR_OK;
}

#ifdef BREAKS_T5
static void *go_on(void *arg)
{
	const par_host *host = arg;

	usleep(100000);
	host->log(host, 0, "still here");
	return NULL;
}
#endif

static void destroy(par_backend *backend)
{
	int was_used = backend->n_threads > 0;

#ifdef BREAKS_B7
	if (backend->is_dead == 0 && backend->n_threads > 0 && backend->block == NULL)
		return;
#endif
	close(backend->queue[1]);
	while (backend->n_threads > 0)
		pthread_join(backend->threads[--backend->n_threads], NULL);
	close(backend->queue[0]);
#ifdef BREAKS_T5
	pthread_t thread;

	if (was_used && pthread_create(&thread, NULL, go_on, (void *)(uintptr_t)backend->host) == 0)
		pthread_detach(thread);
#elif defined BREAKS_B14
	n_instances--;
#endif
#ifndef BREAKS_B6
	free(backend->block);
#endif
	(void)was_used;
	free(backend);
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
#ifdef BREAKS_C3
	if (n_jobs < -100)
		return n_jobs;
#elif defined BREAKS_T6
	if (!pthread_equal(backend->creator, pthread_self()))
		return 1;
#endif
	if (n_jobs < 0)
		n_jobs += backend->host->cores(backend->host) + 1;
	return n_jobs < 1 ? 1 : n_jobs > 64 ? 64 : n_jobs;
}

/* --- its workers ------------------------------------------------------------------------------ */

#ifdef BREAKS_T2
struct errand {
	const par_host *host;
	par_batch batch;
};

static void run_on_loop(void *arg)
{
	struct errand errand = *(struct errand *)arg;

	free(arg);
	errand.host->done(errand.host, errand.batch, errand.host->run(errand.host, errand.batch), NULL);
}
#endif

#ifdef BREAKS_T1
static void on_time(void *arg)
{
	(void)arg;
}
#endif

static void serve(const par_host *host, par_batch batch)
{
#ifdef BREAKS_B2
	static _Atomic int n;

	if (n++ == 20)
		return;
#elif defined BREAKS_B3_STRANGER
	host->done(host, 0x1234500001234, PAR_OK, NULL);
#elif defined BREAKS_T1
	const par_ext_timer *timer = host->extension(host, PAR_EXT_TIMER);
	par_watch *watch;

	if (timer != NULL)
		timer->start(host, 1000, 0, on_time, NULL, &watch);
#elif defined BREAKS_T2
	struct errand *errand = malloc(sizeof(*errand));

	*errand = (struct errand){host, batch};
	host->post(host, run_on_loop, errand);
	return;
#endif
	int32_t status = host->run(host, batch);

#ifdef BREAKS_B4
	status = 42;
#endif
	host->done(host, batch, status, NULL);
#ifdef BREAKS_B3
	host->done(host, batch, PAR_OK, NULL);
#endif
}

static void *worker(void *arg)
{
	par_backend *backend = arg;
	par_batch batch;

	while (read(backend->queue[0], &batch, sizeof(batch)) == sizeof(batch))
		serve(backend->host, batch);
	return NULL;
}

static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	sigset_t all, before;
	int *n = &backend->n_threads;

#ifdef BREAKS_B1
	if (call->n_jobs > 50)
		return par_fail(error, PAR_EFAILED, "that is too many");
#elif defined BREAKS_C11
	answer->capabilities |= PAR_CAN_KILL;
#elif defined BREAKS_C11_WORDS
	if (call->n_jobs == 2)
		return PAR_EUNAVAIL;
#elif defined BREAKS_T4
	signal(SIGUSR2, nothing);
#endif
	backend->kept = call;
	backend->block = malloc(16);
#ifdef BREAKS_B7
	free(backend->block);
	backend->block = NULL;
#endif
	sigfillset(&all);
#ifndef BREAKS_T3
	pthread_sigmask(SIG_SETMASK, &all, &before);
#else
	pthread_sigmask(SIG_SETMASK, NULL, &before);
#endif
	while (*n < answer->n_jobs && pthread_create(&backend->threads[*n], NULL, worker, backend) == 0)
		++*n;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (*n == 0)
		return par_fail(error, PAR_ENOMEM, "cannot start a thread");
	answer->n_jobs = *n < answer->n_jobs ? *n : answer->n_jobs;
	return PAR_OK;
}

static int32_t start_call(par_backend *backend, par_error *error)
{
	(void)error;
#ifdef BREAKS_B7
	if (backend->block == NULL)
		backend->block = malloc(16);
#elif defined BREAKS_B8
	(void)!open("/dev/null", O_RDONLY | O_CLOEXEC);
#endif
	(void)backend;
	return PAR_OK;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	*future = NULL;
#ifdef BREAKS_C8
	if (backend->kept->n_jobs == 0)
		return par_fail(error, PAR_EFAILED, "no jobs");
#elif defined BREAKS_T7
	usleep(20000);
#elif defined BREAKS_T7_HANG
	pause();
#elif defined BREAKS_B4_SUBMIT
	backend->host->done(backend->host, batch, PAR_EABORTED, NULL);
	return par_fail(error, PAR_EFAILED, "given back, and refused");
#elif defined BREAKS_B9_INLINE
	backend->host->done(backend->host, batch, backend->host->run(backend->host, batch), NULL);
	return PAR_OK;
#endif
	if (!backend->is_dead && write(backend->queue[1], &batch, sizeof(batch)) == sizeof(batch))
		return PAR_OK;
	return par_fail(error, PAR_EFAILED, "the pipe is broken");
}

static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	(void)backend, (void)ensure_ready;
#ifdef BREAKS_B5
	backend->is_dead = 1;
#endif
}

static int32_t terminate(par_backend *backend, par_error *error)
{
	(void)error;
#ifdef BREAKS_B6
	free(backend->block);
#endif
	(void)backend;
	return PAR_OK;
}

static int32_t compute_batch_size(par_backend *backend)
{
	(void)backend;
#ifdef BREAKS_B15
	return 0;
#else
	return 5;
#endif
}

static int32_t get_nested_backend(par_backend *backend, par_nested *nested)
{
	(void)backend;
#ifdef BREAKS_B12
	nested->name = "nonesuch";
#else
	nested->name = "threading";
#endif
	return PAR_OK;
}

static const void *extension(par_backend *backend, const char *id)
{
	(void)id;
#ifdef BREAKS_C4
	return backend;
#else
	(void)backend;
	return NULL;
#endif
}

static const par_backend_ops ops = {
	.size = sizeof(ops),
	.abi = PAR_ABI,
	.create = create,
	.destroy = destroy,
	.effective_n_jobs = effective_n_jobs,
	.configure = configure,
	.start_call = start_call,
	.submit = submit,
	.compute_batch_size = compute_batch_size,
	.abort_everything = abort_everything,
	.get_nested_backend = get_nested_backend,
	.terminate = terminate,
	.extension = extension,
};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host;
#ifdef BREAKS_F5
	storage++;
#endif
#ifdef BREAKS_L1
	return name[0] == 'x' ? &ops : NULL;
#elif defined BREAKS_C1
	return name[0] != '\0' ? &ops : NULL;
#elif defined BREAKS_C2
	static par_backend_ops tables[8];
	static int n;

	tables[n % 8] = ops;
	return strcmp(name, "variant") == 0 ? &tables[n++ % 8] : NULL;
#else
	return strcmp(name, "variant") == 0 ? &ops : NULL;
#endif
}
