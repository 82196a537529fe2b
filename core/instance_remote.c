/* The services of backend.h for workers in another address space: batches as bytes, and channels
 * to worker processes. */
#include "error.h"
#include "instance.h"
#include "log.h"

#include <stdlib.h>
#include <string.h>

static struct instance *instance_of(const par_host *host)
{
	return (struct instance *)(uintptr_t)host;
}

/* A batch of an instance that sends them elsewhere; NULL: it is not out. */
static struct batch *find(struct instance *instance, par_batch handle)
{
	return instance->has_remote ? batch_find(&instance->batches, handle) : NULL;
}

static uint32_t place_of(const struct instance *instance, const struct batch *batch)
{
	return (uint32_t)(batch - instance->batches.places);
}

static int32_t is_not_out(par_error *error)
{
	error_set(error, PAR_EINVAL, "a batch that is not out cannot be sent");
	error_remedy(error, "send it from submit(), once");
	return PAR_EINVAL;
}

/* --- channels ----------------------------------------------------------------------------------- */

static int32_t attach(struct remote *remote, par_channel *channel, par_error *error)
{
	int32_t status = PAR_OK;

	for (uint32_t i = 0; status == PAR_OK && i < remote->n_attachments; i++)
		status = channel_attach(channel, remote->attachments[i], error);
	return status;
}

static int32_t send_batch(const par_host *host, par_channel *channel, int32_t worker,
                          par_batch handle, par_error *error)
{
	struct instance *instance = instance_of(host);
	struct batch *batch = find(instance, handle);
	struct wire_writer *writer;
	int32_t status;

	if (batch == NULL)
		return is_not_out(error);
	status = remote_prepare(&instance->remote, place_of(instance, batch), channel, error);
	if (status == PAR_OK)
		status = attach(&instance->remote, channel, error);
	if (status < 0)
		return status;
	instance->remote.parcels[place_of(instance, batch)].worker = worker;
	writer = channel_begin(channel);
	if (writer != NULL)
		remote_encode(&instance->remote, place_of(instance, batch), handle, writer);
	if (writer == NULL || writer->failed) {
		if (writer != NULL)
			channel_withdraw(channel);
		return error_memory(error, "cannot send a batch");
	}
	return channel_commit(channel, handle, error);
}

static int32_t next_batch(const par_host *host, par_channel *channel, par_batch *handle,
                          par_error *error)
{
	struct instance *instance = instance_of(host);
	struct wire_frame frame;
	struct batch *batch;
	int32_t status;

	*handle = 0;
	while ((status = channel_next(channel, &frame, error)) > 0) {
		batch = find(instance, frame.batch);
		if (batch == NULL)
			return wire_refuse(error, "an answer is about a batch that is not out");
		status = remote_take(&instance->remote, place_of(instance, batch), &frame, error);
		if (status < 0)
			return status;
		if (status > 0) {
			*handle = channel_over(channel);
			/* From now on its channel may be closed. */
			remote_note_lost(&instance->remote, place_of(instance, batch));
			return PAR_OK;
		}
	}
	return status < 0 ? status : PAR_PENDING;
}

static par_batch take_lost(const par_host *host, par_channel *channel)
{
	struct instance *instance = instance_of(host);
	par_batch handle = channel_over(channel);
	struct batch *batch = find(instance, handle);

	if (batch != NULL)
		remote_note_lost(&instance->remote, place_of(instance, batch));
	return handle;
}

const par_ext_channel *instance_channels(void)
{
	static const par_ext_channel services = {
		.size = sizeof(services),
		.open = channel_open,
		.close = channel_close,
		.ends = channel_ends,
		.describe = channel_describe,
		.program = channel_program,
		.serve = channel_serve,
		.started = channel_started,
		.fd = channel_fd,
		.is_ready = channel_is_ready,
		.send = send_batch,
		.next = next_batch,
		.sleeps = channel_sleeps,
		.stop = channel_stop,
		.out = channel_out,
		.lost = take_lost,
		.last_words = channel_last_words,
	};

	return &services;
}

/* --- bytes ---------------------------------------------------------------------------------------- */

static int32_t encode(const par_host *host, par_batch handle, par_encoded *encoded,
                      par_error *error)
{
	struct instance *instance = instance_of(host);
	struct batch *batch = find(instance, handle);

	if (batch == NULL)
		return is_not_out(error);
	return remote_bytes(&instance->remote, place_of(instance, batch), handle, encoded, error);
}

static int32_t receive(const par_host *host, par_batch handle, const void *bytes, uint64_t n_bytes)
{
	struct instance *instance = instance_of(host);
	struct batch *batch = find(instance, handle);
	par_error error = PAR_ERROR_INIT;
	char text[1200];
	int32_t status;

	if (batch == NULL)
		return PAR_EINVAL;
	status = remote_receive(&instance->remote, place_of(instance, batch), bytes, n_bytes, &error);
	if (status < 0)
		log_line(LOG_WARNING, "%s: %s", instance->provider->name,
		         par_error_text(&error, 0, text, sizeof(text)));
	instance_notify(instance);
	return status < 0 ? status : PAR_OK;
}

static void runs_at(const par_host *host, par_batch handle, int32_t worker, const char *machine)
{
	struct instance *instance = instance_of(host);
	struct batch *batch = find(instance, handle);

	if (batch != NULL)
		remote_runs_at(&instance->remote, place_of(instance, batch), worker, machine);
}

const par_ext_encode *instance_encoding(void)
{
	static const par_ext_encode services = {
		.size = sizeof(services),
		.encode = encode,
		.receive = receive,
		.runs_at = runs_at,
	};

	return &services;
}
