/* engines - runs batches on a cluster's engine that has to be spoken to in Python: Dask, or Ray.
 *
 * The engine schedules, places, and runs again what it lost: each batch is one of its tasks.  A bridge
 * (bridge.h, parloop_bridge.py) stands between: here are only bytes that go to it, and come back.  In
 * the engine's workers parloop_far_side.py has each batch run by a process of parloop's, so that a task
 * that crashes costs no worker of the engine. */
#include "bridge.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SHARED_OPTIONS                                                                          \
	PAR_OPTION_TEXT("secret address", "", "where the engine is; else address_file, and then " \
	                                      "its variable in the environment")                \
	PAR_OPTION_TEXT("address_file", "", "a file that says so")                              \
	PAR_OPTION_TEXT("python", "", "the interpreter that has the engine; else "              \
	                              "$PARLOOP_PYTHON, else python3")                          \
	PAR_OPTION_TIME("wait_for_workers", "10s", "0s", "87600h",                              \
	                "how long the engine may be without any before that is an error")       \
	PAR_OPTION_TIME("keep", "60s", "0s", "87600h",                                          \
	                "how long the connection is kept for the next call")                    \
	PAR_OPTION_BOOL("ship", "yes", "send workers what they do not have: task modules, the " \
	                               "program that runs them")                                \
	PAR_OPTION_TEXT("resources", "", "that a batch takes: NAME=NUMBER ...")                 \
	PAR_OPTION_INT("retries", 0, 0, 1000, "how often the engine may run a batch again by "  \
	                                      "itself; 0: as it likes")                         \
	PAR_OPTION_INT("window", 2, 1, 64, "batches out for each worker, so that none waits")    \
	PAR_OPTION_TEXT("bridge", "", "the program between; else the one beside the plugin")

#define CAPABILITIES                                                                            \
	PAR_CAPABILITIES("survives_crash can_kill reruns ships_modules auto_batches elsewhere")

#ifndef ENGINES_FOR_TESTS
PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("dask", "runs tasks on the workers of a Dask cluster")
	CAPABILITIES
	PAR_BATCH_TIMES("400ms", "1s")
	SHARED_OPTIONS
	PAR_OPTION_TEXT("workers", "", "addresses of the workers that may run them; else any")
	PAR_OPTION_TEXT("secret tls_ca_file", "", "whom to trust, if the scheduler speaks TLS")
	PAR_OPTION_TEXT("secret tls_client_cert", "", "who we are")
	PAR_OPTION_TEXT("secret tls_client_key", "", "and the key of that")
	PAR_BACKEND("ray", "runs tasks on a Ray cluster")
	CAPABILITIES
	PAR_BATCH_TIMES("200ms", "1s")
	SHARED_OPTIONS
	PAR_OPTION_TEXT("num_cpus", "", "that a batch takes; else 1")
	PAR_OPTION_TEXT("num_gpus", "", "that a batch takes"))

static const char *const names[] = {"dask", "ray"};
#else
PAR_PLUGIN(
	PAR_VERSION("1.0.0")
	PAR_BACKEND("standin", "stands in for an engine, to test the bridge without one")
	CAPABILITIES
	PAR_BATCH_TIMES("20ms", "100ms")
	SHARED_OPTIONS
	PAR_OPTION_TEXT("stand_in_workers", "2", "so many"))

static const char *const names[] = {"standin"};
#endif

enum { N_NAMES = sizeof(names) / sizeof(names[0]), MOST_HELD = 1024 };

/* How the bridge says that a batch is over. */
enum { IS_OK, IS_LOST, IS_ABORTED, IS_FAILED };

/* A batch that is out. */
struct errand {
	struct errand *next;
	par_batch batch;
};

struct par_backend {
	const par_host *host;
	const par_ext_encode *encoding;
	const par_ext_fd *watcher;
	const char *name;
	struct bridge *bridge;
	par_watch *watch;
	int32_t watched; /* for what */
	int is_ready, is_new, has_ended, is_kept, is_ending;
	int32_t workers, most, window;
	struct errand *errands;
	uint64_t *sent; /* attachments of this call */
	size_t n_sent, sent_room;
	struct bridge_start start;
	par_error refusal; /* that it has ended with */
	char *options;
	char script[PATH_MAX];
};

/* --- how a bridge is started -------------------------------------------------------------------- */

static int add_option(par_backend *backend, size_t *used, const char *key, const char *value)
{
	size_t more = strlen(key) + strlen(value) + 2;
	char *options = realloc(backend->options, *used + more);

	if (options == NULL)
		return -1;
	backend->options = options;
	(void)sprintf(options + *used, "%s=%s", key, value);
	*used += more;
	return 0;
}

/* The file that an address lies in: its directory, with a slash. */
static int folder_of(const void *address, char folder[PATH_MAX])
{
	Dl_info info;
	char *slash;

	if (dladdr(address, &info) == 0 || realpath(info.dli_fname, folder) == NULL)
		return -1;
	slash = strrchr(folder, '/');
	slash[1] = '\0';
	return 0;
}

/* The library of the program, which a worker without it is sent; parloop-worker needs none. */
static const char *library_of(const par_host *host, const char *program)
{
	const char *name = strrchr(program, '/');
	Dl_info info;
	const void *in_core;

	memcpy(&in_core, &host->log, sizeof(in_core));
	if ((name != NULL && strcmp(name, "/parloop-worker") == 0) || dladdr(in_core, &info) == 0 ||
	    strstr(info.dli_fname, "libparloop.so") == NULL)
		return "";
	return info.dli_fname;
}

static int32_t read_options(par_backend *backend, const par_options *options, par_error *error)
{
	static const char *const texts[] = {"address", "address_file", "resources", "workers",
	                                    "tls_ca_file", "tls_client_cert", "tls_client_key",
	                                    "num_cpus", "num_gpus", "stand_in_workers"};
	static const char *const numbers[] = {"wait_for_workers", "keep", "ship", "retries"};
	const par_host *host = backend->host;
	const par_ext_channel *channels = host->extension(host, PAR_EXT_CHANNEL);
	const char *program = channels != NULL ? channels->program(error) : NULL;
	const char *script = host->option_text(options, "bridge");
	size_t used = 0;
	int failed;

	if (program == NULL)
		return channels == NULL ? par_fail(error, PAR_EUNAVAIL, "this parloop is too old") : PAR_EUNAVAIL;
	failed = add_option(backend, &used, "engine", backend->name) < 0 ||
	         add_option(backend, &used, "program", program) < 0 ||
	         add_option(backend, &used, "library", library_of(host, program)) < 0;
	for (size_t i = 0; !failed && i < sizeof(texts) / sizeof(texts[0]); i++) {
		/* Those of another engine are not this one's. */
		int is_ours = (i < 3) || (i < 7 && strcmp(backend->name, "dask") == 0) ||
		              (i >= 7 && i < 9 && strcmp(backend->name, "ray") == 0) ||
		              (i == 9 && strcmp(backend->name, "standin") == 0);

		if (is_ours)
			failed = add_option(backend, &used, texts[i], host->option_text(options, texts[i])) < 0;
	}
	for (size_t i = 0; !failed && i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		char number[24];

		(void)snprintf(number, sizeof(number), "%lld",
		               (long long)host->option_int(options, numbers[i]));
		failed = add_option(backend, &used, numbers[i], number) < 0;
	}
	if (failed)
		return par_fail(error, PAR_ENOMEM, "no memory");
	backend->window = (int32_t)host->option_int(options, "window");
	backend->is_kept = host->option_int(options, "keep") > 0;
	backend->start.options = backend->options;
	backend->start.n_options = used;
	backend->start.python = host->option_text(options, "python");
	if (*backend->start.python == '\0')
		backend->start.python = secure_getenv("PARLOOP_PYTHON");
	if (backend->start.python == NULL || *backend->start.python == '\0')
		backend->start.python = "python3";
	if (*script != '\0') {
		(void)snprintf(backend->script, sizeof(backend->script), "%s", script);
	} else {
		char folder[PATH_MAX];

		if (folder_of(names, folder) < 0 ||
		    (size_t)snprintf(backend->script, sizeof(backend->script),
		                     "%sengines/parloop_bridge.py", folder) >= sizeof(backend->script))
			return par_fail(error, PAR_EUNAVAIL, "the plugin does not know where it is");
	}
	backend->start.script = backend->script;
	if (access(backend->script, R_OK) == 0)
		return PAR_OK;
	(void)par_fail(error, PAR_EUNAVAIL, "the program %s is missing", backend->script);
	par_remedy(error, "copy it there with the plugin, or name it with the option bridge");
	return PAR_EUNAVAIL;
}

/* --- what the bridge says ------------------------------------------------------------------------- */

static struct errand **find(par_backend *backend, par_batch batch)
{
	struct errand **at = &backend->errands;

	while (*at != NULL && (*at)->batch != batch)
		at = &(*at)->next;
	return *at != NULL ? at : NULL;
}

static void give_back(par_backend *backend, struct errand **at, int32_t status, const par_how *how)
{
	struct errand *errand = *at;

	*at = errand->next;
	backend->host->done(backend->host, errand->batch, status, how);
	free(errand);
}

static int32_t used_workers(const par_backend *backend)
{
	return backend->most > 0 && backend->most < backend->workers ? backend->most : backend->workers;
}

/* While there is none the bridge looks at the clock, and the core may send one. */
static void tell_capacity(const par_backend *backend)
{
	int32_t n = used_workers(backend) > 0 ? used_workers(backend) : 1;
	int64_t holds = (int64_t)n * backend->window;

	backend->host->capacity(backend->host, n, holds < MOST_HELD ? (int32_t)holds : MOST_HELD);
}

static void on_workers(par_backend *backend, int32_t n)
{
	backend->workers = n;
	if (!backend->is_ready) {
		backend->is_ready = 1;
		backend->host->ready(backend->host, PAR_OK, NULL);
	} else {
		tell_capacity(backend);
	}
}

/* "reason", "remedy", each with its NUL; those that came are. */
static const char *text_of(const struct message *message, size_t skip, int which)
{
	const char *at = message->body + skip, *end = message->body + message->size;

	for (;;) {
		const char *nul = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;

		if (nul == NULL)
			return "";
		if (which-- == 0)
			return at;
		at = nul + 1;
	}
}

static void refuse(par_backend *backend, const char *reason, const char *remedy)
{
	if (backend->refusal.code < 0)
		return;
	(void)par_fail(&backend->refusal, PAR_EUNAVAIL, "%s", reason);
	par_remedy(&backend->refusal, "%s", remedy);
}

/* There is no more to come: of a bridge that refused, when it has said good-bye. */
static void end(par_backend *backend)
{
	const par_how how = {.size = sizeof(how), .worker = -1, .exit_code = -1,
	                     .text = backend->refusal.reason};

	refuse(backend, "the process between us and the engine has ended",
	       backend->is_new ? "see what it printed, and whether the option python is right"
	                       : "see what it printed");
	backend->has_ended = 1;
	if (!backend->is_ready) {
		backend->is_ready = 1;
		backend->host->ready(backend->host, PAR_EUNAVAIL, &backend->refusal);
		return;
	}
	while (backend->errands != NULL) {
		give_back(backend, &backend->errands, PAR_EFAILED, &how);
	}
}

static void on_done(par_backend *backend, const struct message *message)
{
	static const int32_t statuses[] = {PAR_OK, PAR_ELOST, PAR_EABORTED, PAR_EFAILED};
	struct errand **at = find(backend, message->id);
	int32_t numbers[3] = {0, 0, -1};
	const char *host = text_of(message, sizeof(numbers), 0), *text = text_of(message, sizeof(numbers), 1);
	par_how how = {.size = sizeof(how), .worker = -1};

	if (at == NULL)
		return;
	if (message->size >= sizeof(numbers))
		memcpy(numbers, message->body, sizeof(numbers));
	how.pid = numbers[0];
	how.signal = numbers[1];
	how.exit_code = numbers[2];
	how.host = *host != '\0' ? host : NULL;
	how.text = *text != '\0' ? text : NULL;
	give_back(backend, at, message->n >= IS_OK && message->n <= IS_FAILED ? statuses[message->n] : PAR_ELOST,
	          &how);
}

static void on_message(par_backend *backend, const struct message *message)
{
	const par_how how = {.size = sizeof(how), .worker = -1, .exit_code = -1};
	struct errand **at;

	switch (message->kind) {
	case BRIDGE_WORKERS:
		on_workers(backend, message->n);
		break;
	case BRIDGE_REFUSE:
		refuse(backend, text_of(message, 0, 0), text_of(message, 0, 1));
		break;
	case BRIDGE_ANSWER:
		at = find(backend, message->id);
		if (at != NULL && backend->encoding->receive(backend->host, message->id, message->body,
		                                             message->size) < 0)
			give_back(backend, at, PAR_ELOST, &how);
		break;
	case BRIDGE_DONE:
		on_done(backend, message);
		break;
	case BRIDGE_RUNS_AT:
		if (find(backend, message->id) != NULL)
			backend->encoding->runs_at(backend->host, message->id, message->n, text_of(message, 0, 0));
		break;
	default:
		break;
	}
}

/* --- its socket ----------------------------------------------------------------------------------- */

static void on_socket(void *arg, int32_t events, int32_t error);

static int watch(par_backend *backend, int32_t events)
{
	if (backend->watched == events)
		return 0;
	if (backend->watch != NULL)
		backend->watcher->unwatch(backend->watch);
	backend->watch = NULL;
	backend->watched = events;
	return events == 0 ? 0 : backend->watcher->watch(backend->host, bridge_fd(backend->bridge), events,
	                                                 on_socket, backend, &backend->watch) == PAR_OK ? 0 : -1;
}

static void ended(par_backend *backend)
{
	(void)watch(backend, 0);
	if (!backend->has_ended)
		end(backend);
}

static int flush(par_backend *backend)
{
	int more;

	if (backend->has_ended)
		return 0;
	more = bridge_flush(backend->bridge);
	if (more >= 0)
		return watch(backend, more > 0 ? PAR_READABLE | PAR_WRITABLE : PAR_READABLE);
	/* What it said last is read first. */
	return watch(backend, PAR_READABLE);
}

static void on_socket(void *arg, int32_t events, int32_t error)
{
	par_backend *backend = arg;
	struct message message;
	int status;

	(void)events, (void)error;
	status = bridge_read(backend->bridge);
	while (bridge_next(backend->bridge, &message) == 1)
		on_message(backend, &message);
	if (status < 0 && backend->is_ending) {
		(void)watch(backend, 0);
		backend->host->ready(backend->host, PAR_OK, NULL);
	} else if (status < 0)
		ended(backend);
	else
		(void)flush(backend);
}

/* --- an instance ------------------------------------------------------------------------------------ */

static void destroy(par_backend *backend)
{
	if (backend->watch != NULL)
		backend->watcher->unwatch(backend->watch);
	bridge_give(backend->bridge, backend->is_kept && backend->is_ready && !backend->has_ended &&
	                                  backend->errands == NULL);
	while (backend->errands != NULL) {
		struct errand *errand = backend->errands;

		backend->errands = errand->next;
		free(errand);
	}
	free(backend->sent);
	free(backend->options);
	free(backend);
}

static int32_t create(const char *name, const par_host *host, const par_options *options,
                      par_backend **out, par_error *error)
{
	par_backend *backend = calloc(1, sizeof(*backend));
	int32_t status;

	if (backend == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	backend->host = host;
	backend->refusal = (par_error)PAR_ERROR_INIT;
	backend->name = name;
	backend->encoding = host->extension(host, PAR_EXT_ENCODE);
	backend->watcher = host->extension(host, PAR_EXT_FD);
	status = backend->encoding != NULL && backend->watcher != NULL
	                 ? read_options(backend, options, error)
	                 : par_fail(error, PAR_EUNAVAIL, "this parloop has no batches that could leave it");
	if (status == PAR_OK)
		status = bridge_take(&backend->bridge, &backend->start, &backend->is_new, error);
	if (status == PAR_OK && flush(backend) < 0)
		status = par_fail(error, PAR_ENOMEM, "no memory to watch a socket");
	if (status < 0) {
		destroy(backend);
		return status;
	}
	*out = backend;
	return PAR_PENDING;
}

static int32_t effective_n_jobs(par_backend *backend, int32_t n_jobs)
{
	int64_t n = n_jobs < 0 ? (int64_t)backend->workers + 1 + n_jobs : n_jobs;

	if (backend->workers == 0)
		return 0;
	return n < 1 ? 1 : n < backend->workers ? (int32_t)n : backend->workers;
}

static int32_t default_n_jobs(par_backend *backend)
{
	(void)backend;
	return -1;
}

/* What a cluster has later it may use later, if nobody said how many. */
static int32_t configure(par_backend *backend, const par_call *call, par_answer *answer,
                         par_error *error)
{
	(void)error;
	backend->most = call->n_jobs > 0 ? call->n_jobs : call->n_jobs == -1 ? 0 : answer->n_jobs;
	answer->holds = MOST_HELD;
	tell_capacity(backend);
	return PAR_OK;
}

/* One that is not kept is waited for: it says good-bye to the engine. */
static int32_t terminate(par_backend *backend, par_error *error)
{
	(void)error;
	if (backend->is_kept || backend->has_ended || bridge_finish(backend->bridge) < 0)
		return PAR_OK;
	backend->is_ending = 1;
	backend->has_ended = 1;
	return PAR_PENDING;
}

/* Of an array another call may have other bytes under the same number. */
static void stop_call(par_backend *backend)
{
	for (size_t i = 0; i < backend->n_sent; i++)
		(void)bridge_send(backend->bridge, BRIDGE_DROP, 0, backend->sent[i], NULL, 0);
	backend->n_sent = 0;
	if (!backend->has_ended)
		(void)flush(backend);
}

static int is_sent(par_backend *backend, const par_attachment *attachment)
{
	if (attachment->kind == PAR_ATTACH_MODULE)
		return bridge_knows(backend->bridge, attachment->id);
	for (size_t i = 0; i < backend->n_sent; i++)
		if (backend->sent[i] == attachment->id)
			return 1;
	return 0;
}

static int send_attachment(par_backend *backend, const par_attachment *attachment)
{
	struct {
		int32_t reserved, writable;
		uint8_t sha256[32];
	} head = {0, attachment->writable, {0}};
	const struct iovec parts[] = {{&head, sizeof(head)},
	                              {(void *)(uintptr_t)attachment->address, attachment->bytes}};
	uint64_t *sent;

	if (is_sent(backend, attachment))
		return 0;
	if (attachment->kind != PAR_ATTACH_MODULE) {
		if (backend->n_sent == backend->sent_room) {
			sent = reallocarray(backend->sent, backend->sent_room + 16, sizeof(*sent));
			if (sent == NULL)
				return -1;
			backend->sent = sent;
			backend->sent_room += 16;
		}
		backend->sent[backend->n_sent++] = attachment->id;
	}
	memcpy(head.sha256, attachment->sha256, sizeof(head.sha256));
	return bridge_send(backend->bridge, BRIDGE_BLOB, attachment->kind, attachment->id, parts, 2);
}

static int send_batch(par_backend *backend, par_batch batch, const par_encoded *encoded)
{
	const uint64_t counts[2] = {encoded->n_attachments, encoded->n_tasks};
	const char *name = encoded->name != NULL ? encoded->name : "batch";
	uint64_t *ids = malloc((encoded->n_attachments + 1) * sizeof(*ids));
	const struct iovec parts[] = {{(void *)(uintptr_t)counts, sizeof(counts)},
	                              {ids, encoded->n_attachments * sizeof(*ids)},
	                              {(void *)(uintptr_t)name, strlen(name) + 1},
	                              {(void *)(uintptr_t)encoded->bytes, encoded->n_bytes}};
	int failed = ids == NULL;

	for (uint32_t i = 0; !failed && i < encoded->n_attachments; i++) {
		ids[i] = encoded->attachments[i]->id;
		failed = send_attachment(backend, encoded->attachments[i]) < 0;
	}
	failed = failed || bridge_send(backend->bridge, BRIDGE_SUBMIT, 0, batch, parts, 4) < 0;
	free(ids);
	return failed ? -1 : 0;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *error)
{
	par_encoded encoded = {.size = sizeof(encoded)};
	struct errand *errand;
	int32_t status;

	(void)future;
	if (backend->has_ended)
		return par_fail(error, PAR_EUNAVAIL, "%s", backend->refusal.reason);
	status = backend->encoding->encode(backend->host, batch, &encoded, error);
	if (status < 0)
		return status;
	errand = malloc(sizeof(*errand));
	if (errand == NULL || send_batch(backend, batch, &encoded) < 0) {
		free(errand);
		return par_fail(error, PAR_ENOMEM, "no memory");
	}
	*errand = (struct errand){backend->errands, batch};
	backend->errands = errand;
	(void)flush(backend);
	return PAR_OK;
}

static int32_t kill_batch(par_backend *backend, par_batch batch, void *future)
{
	(void)future;
	if (backend->has_ended || find(backend, batch) == NULL ||
	    bridge_send(backend->bridge, BRIDGE_KILL, 0, batch, NULL, 0) < 0)
		return PAR_EFAILED;
	(void)flush(backend);
	return PAR_OK;
}

static void abort_everything(par_backend *backend, int32_t ensure_ready)
{
	(void)ensure_ready;
	if (backend->has_ended || backend->errands == NULL)
		return;
	(void)bridge_send(backend->bridge, BRIDGE_ABORT, 0, 0, NULL, 0);
	(void)flush(backend);
}

/* A task that waits for calls of its own gives its place in the engine back meanwhile; who holds it
 * for us listens at the other end of a pipe. */
static void say_to_slot(char what)
{
	const char *slot = secure_getenv("PARLOOP_ENGINE_SLOT");

	if (slot != NULL)
		(void)!write(atoi(slot), &what, 1);
}

static void retrieval_enter(par_backend *backend)
{
	(void)backend;
	say_to_slot('w');
}

static void retrieval_exit(par_backend *backend)
{
	(void)backend;
	say_to_slot('r');
}

static int32_t get_nested_backend(par_backend *backend, par_nested *nested)
{
	if (strcmp(backend->name, "ray") == 0)
		return PAR_EUNAVAIL; /* the core's rule, as in joblib */
	nested->myself = 1;
	nested->n_jobs = -1;
	return PAR_OK;
}

static int32_t create_first(const par_host *host, const par_options *options, int32_t level,
                            int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)level, (void)inner_max_num_threads;
	return create(names[0], host, options, backend, error);
}

static int32_t create_last(const par_host *host, const par_options *options, int32_t level,
                           int32_t inner_max_num_threads, par_backend **backend, par_error *error)
{
	(void)level, (void)inner_max_num_threads;
	return create(names[N_NAMES - 1], host, options, backend, error);
}

#define SHARED_OPERATIONS                                                                       \
	.size = sizeof(par_backend_ops), .abi = PAR_ABI, .destroy = destroy,                    \
	.effective_n_jobs = effective_n_jobs, .default_n_jobs = default_n_jobs,                 \
	.configure = configure, .terminate = terminate, .stop_call = stop_call, .submit = submit, .kill = kill_batch,   \
	.abort_everything = abort_everything, .get_nested_backend = get_nested_backend,         \
	.retrieval_enter = retrieval_enter, .retrieval_exit = retrieval_exit

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static const par_backend_ops first = {.create = create_first, SHARED_OPERATIONS};
	static const par_backend_ops last = {.create = create_last, SHARED_OPERATIONS};

	(void)host;
	if (strcmp(name, names[0]) == 0)
		return &first;
	return strcmp(name, names[N_NAMES - 1]) == 0 ? &last : NULL;
}
