/* common.c - what many behaviours need. */
#include "acceptance.h"

#include "../tasks/conformance.h"

const par_task *task(const char *name)
{
	static const char *const files[] = {PAR_BUILD "/tasks/acceptance.so",
	                                    PAR_BUILD "/tasks/conformance.so"};
	par_module *module;
	const par_task *found;

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		MUST(par_module_open(&module, files[i], &error));
		if (par_module_task(module, name, &found, &error) == PAR_OK)
			return found;
	}
	not_met(__FILE__, __LINE__, "%s", error.what);
}

par_parallel *open_n(int64_t n_jobs)
{
	par_parallel *pool;

	MUST(par_open(&pool, PAR_SETTINGS(.backend = backend, .n_jobs = {1, n_jobs}), &error));
	return pool;
}

int32_t give_count(void *user, par_item *item)
{
	struct count *count = user;

	if (count->given == count->n)
		return 0;
	count->value = count->first + count->given++;
	item->payload = &count->value;
	item->n_bytes = sizeof(count->value);
	return 1;
}

void expect_mixed(const uint64_t *in, const uint64_t *out, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		EXPECT(out[i] == conformance_mix(in[i]), "out[%llu]: expected %llu, got %llu",
		       (unsigned long long)i, (unsigned long long)conformance_mix(in[i]),
		       (unsigned long long)out[i]);
}

static int32_t take_mixed(void *user, const par_outcome *outcome)
{
	uint64_t *got = user, value;

	EXPECT_INT(*got, outcome->index);
	EXPECT_INT(sizeof(value), outcome->n_bytes);
	memcpy(&value, outcome->bytes, sizeof(value));
	expect_mixed(got, &value, 1);
	(*got)++;
	return 0;
}

/* The source and the sink share what they are given. */
static struct count twenty;

static int32_t give_twenty(void *got, par_item *item)
{
	(void)got;
	return give_count(&twenty, item);
}

void expect_usable(par_parallel *pool)
{
	uint64_t in[20], out[20], got = 0;

	twenty = (struct count){.n = 20};
	MUST(par_run(pool, task("mix"), give_twenty, take_mixed, &got, NULL, &error));
	EXPECT_INT(20, got);
	for (uint64_t i = 0; i < 20; i++)
		in[i] = i;
	MUST(par_map(pool, task("mix"), in, out, 20, NULL, &error));
	expect_mixed(in, out, 20);
}
