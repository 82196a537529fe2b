/* guard_services.c - the services of the core that know an instance by its host: each is handed on
 * with the core's host in place of the one that the plugin has. */
#include "guard.h"

#include "verdict.h"

#include <pthread.h>
#include <string.h>

_Static_assert(sizeof(par_ext_fd) == 24, "each function is handed on");
_Static_assert(sizeof(par_ext_timer) == 24, "each function is handed on");
_Static_assert(sizeof(par_ext_worker_env) == 24, "each function is handed on");
_Static_assert(sizeof(par_ext_encode) == 32, "each function is handed on");
_Static_assert(sizeof(par_ext_channel) == 136, "each function is handed on");

static const par_ext_fd *core_fd;
static const par_ext_timer *core_timer;
static const par_ext_worker_env *core_env;
static const par_ext_encode *core_encode;
static const par_ext_channel *core_channel;

static int32_t watch(const par_host *host, int32_t fd, int32_t events,
                     void (*on_ready)(void *arg, int32_t events, int32_t error), void *arg,
                     par_watch **out)
{
	guard_on_loop(guard_of(host), "watch() of parloop.fd/1");
	return core_fd->watch(guard_core(guard_of(host)), fd, events, on_ready, arg, out);
}

static int32_t start(const par_host *host, int64_t after_ns, int64_t every_ns,
                     void (*on_time)(void *arg), void *arg, par_watch **out)
{
	guard_on_loop(guard_of(host), "start() of parloop.timer/1");
	return core_timer->start(guard_core(guard_of(host)), after_ns, every_ns, on_time, arg, out);
}

static char **make_env(const par_host *host, int32_t n_workers)
{
	return core_env->make_env(guard_core(guard_of(host)), n_workers);
}

static int32_t encode(const par_host *host, par_batch batch, par_encoded *encoded, par_error *error)
{
	guard_on_loop(guard_of(host), "encode()");
	guard_is_out(guard_of(host), batch, "encode()");
	return core_encode->encode(guard_core(guard_of(host)), batch, encoded, error);
}

static int32_t receive(const par_host *host, par_batch batch, const void *bytes, uint64_t n_bytes)
{
	guard_is_out(guard_of(host), batch, "receive()");
	return core_encode->receive(guard_core(guard_of(host)), batch, bytes, n_bytes);
}

static void runs_at(const par_host *host, par_batch batch, int32_t worker, const char *machine)
{
	guard_is_out(guard_of(host), batch, "runs_at()");
	core_encode->runs_at(guard_core(guard_of(host)), batch, worker, machine);
}

static int32_t send(const par_host *host, par_channel *channel, int32_t worker, par_batch batch,
                    par_error *error)
{
	guard_on_loop(guard_of(host), "send() of a channel");
	guard_is_out(guard_of(host), batch, "send() of a channel");
	return core_channel->send(guard_core(guard_of(host)), channel, worker, batch, error);
}

static int32_t next(const par_host *host, par_channel *channel, par_batch *batch, par_error *error)
{
	guard_on_loop(guard_of(host), "next() of a channel");
	return core_channel->next(guard_core(guard_of(host)), channel, batch, error);
}

static par_batch lost(const par_host *host, par_channel *channel)
{
	guard_on_loop(guard_of(host), "lost() of a channel");
	return core_channel->lost(guard_core(guard_of(host)), channel);
}

static const void *guard_channel(const void *service)
{
	static par_ext_channel channel;

	if (core_channel != NULL)
		return &channel;
	core_channel = service;
	channel = *core_channel;
	channel.send = send;
	channel.next = next;
	channel.lost = lost;
	return &channel;
}

/* They are the same for all instances, so the first to ask makes them. */
static const void *make_service(const void *service, const char *id)
{
	static par_ext_fd fd = {.size = sizeof(fd), .watch = watch};
	static par_ext_timer timer = {.size = sizeof(timer), .start = start};
	static par_ext_worker_env env = {.size = sizeof(env), .make_env = make_env};
	static const par_ext_encode encoding = {.size = sizeof(encoding), .encode = encode, .receive = receive,
	                                        .runs_at = runs_at};

	if (strcmp(id, PAR_EXT_FD) == 0 && core_fd == NULL) {
		core_fd = service;
		fd.unwatch = core_fd->unwatch;
	}
	if (strcmp(id, PAR_EXT_FD) == 0)
		return &fd;
	if (strcmp(id, PAR_EXT_TIMER) == 0 && core_timer == NULL) {
		core_timer = service;
		timer.stop = core_timer->stop;
	}
	if (strcmp(id, PAR_EXT_TIMER) == 0)
		return &timer;
	if (strcmp(id, PAR_EXT_WORKER_ENV) == 0 && core_env == NULL) {
		core_env = service;
		env.free_env = core_env->free_env;
	}
	if (strcmp(id, PAR_EXT_WORKER_ENV) == 0)
		return &env;
	if (strcmp(id, PAR_EXT_ENCODE) == 0) {
		if (core_encode == NULL)
			core_encode = service;
		return &encoding;
	}
	return strcmp(id, PAR_EXT_CHANNEL) == 0 ? guard_channel(service) : NULL;
}

const void *guard_service(const par_host *core, const char *id)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	const void *service = core->extension(core, id);

	if (service == NULL)
		return NULL;
	pthread_mutex_lock(&lock);
	service = make_service(service, id);
	pthread_mutex_unlock(&lock);
	return service;
}
