#include "engine.h"

#include "error.h"

#include <stdlib.h>
#include <string.h>

/* What auto-batching aims for where neither plugins.conf nor the note says (ns). */
#define BATCH_SHORTEST_NS 5000000
#define BATCH_LONGEST_NS  50000000

struct engine *engine_create(struct loop *loop, const struct provider *provider,
                             const char *const *settings, const struct par_call *wants,
                             int n_jobs_is_set)
{
	struct engine *engine;

	if (posix_memalign((void **)&engine, CACHE_LINE, sizeof(*engine)) != 0)
		return NULL;
	memset(engine, 0, sizeof(*engine));
	call_init(&engine->call);
	instance_init(&engine->instance, loop, &engine->call, provider, settings, wants);
	engine->instance.n_jobs_is_set = n_jobs_is_set;
	return engine;
}

static void wake_loop(void *engine)
{
	instance_notify(&((struct engine *)engine)->instance);
}

static int64_t either(int64_t first, int64_t second, int64_t third)
{
	return first > 0 ? first : second > 0 ? second : third;
}

int32_t engine_equip(struct engine *engine, const struct conf *conf, par_error *error)
{
	const struct provider *provider = engine->instance.provider;
	struct call *call = &engine->call;
	uint32_t n_jobs = (uint32_t)engine->instance.answer.n_jobs;

	call->clock = loop_now;
	call->wake = wake_loop;
	call->wake_arg = engine;
	if (call_seat(call, n_jobs) < 0)
		return error_memory(error, "cannot seat the workers");
	batcher_init(&engine->batcher, 0,
	             either(conf->batch_shortest_ns, provider->batch_shortest_ns, BATCH_SHORTEST_NS),
	             either(conf->batch_longest_ns, provider->batch_longest_ns, BATCH_LONGEST_NS));
	engine->has_equipment = 1;
	return PAR_OK;
}

int32_t engine_step(struct engine *engine, enum instance_goal goal, par_error *error)
{
	return instance_step(&engine->instance, goal, error);
}

int engine_is_deserted(struct engine *engine)
{
	struct batch *batch = batch_take_completed(&engine->instance.batches), *next;

	for (; batch != NULL; batch = next) {
		par_error ignored = PAR_ERROR_INIT;

		next = batch->next;
		(void)instance_retire(&engine->instance, batch, &ignored);
	}
	return engine->instance.batches.n_out == 0;
}

static void drop_slots(struct engine *engine)
{
	struct slots *slots = &engine->call.slots;
	uint64_t first = engine->slots_taken > slots->base ? engine->slots_taken - slots->base : 0;

	for (uint64_t i = slots->mask == UINT64_MAX ? 0 : first; i < engine->slots_taken; i++)
		slot_clear(slots_at(slots, i));
	slots_finish(slots);
}

void engine_free(struct engine *engine)
{
	if (engine->has_slots)
		drop_slots(engine);
	call_finish(&engine->call);
	nesting_finish(&engine->nesting);
	free(engine);
}
