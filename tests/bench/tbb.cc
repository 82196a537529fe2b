// tbb.cc - oneTBB.
#include <tbb/blocked_range.h>
#include <tbb/global_control.h>
#include <tbb/parallel_for.h>
#include <tbb/partitioner.h>
#include <tbb/task_group.h>

#include "bench.h"

static int run_auto(void *, const struct load *load)
{
	const uint64_t *in = load->in;
	uint64_t *out = load->out;

	tbb::parallel_for(
		tbb::blocked_range<uint64_t>(0, load->n),
		[=](const tbb::blocked_range<uint64_t> &range) {
			for (uint64_t i = range.begin(); i != range.end(); i++)
				out[i] = work(in[i]);
		},
		tbb::auto_partitioner());
	return 0;
}

static int run_group(void *, const struct load *load)
{
	const uint64_t *in = load->in;
	uint64_t *out = load->out;
	tbb::task_group group;

	for (uint64_t i = 0; i < load->n; i++)
		group.run([=] { out[i] = work(in[i]); });
	group.wait();
	return 0;
}

static int cell(const struct load *load, struct sample *sample,
		int (*once)(void *arg, const struct load *load))
{
	tbb::global_control control(tbb::global_control::max_allowed_parallelism, JOBS);

	return sample_tasks(sample, load, once, nullptr);
}

static int auto_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_auto);
}

static int group_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_group);
}

extern "C" const struct cell cells_tbb[] = {
	{"W1a", "TBB task_group", PEER, group_cell},
	{"W1b", "TBB auto", PEER, auto_cell},
	{"W2", "TBB auto", PEER, auto_cell},
	{"W2-single", "TBB task_group", PEER, group_cell},
	{"W3", "TBB auto", PEER, auto_cell},
	{"W3", "TBB task_group", PEER, group_cell},
	{"W4", "TBB auto", PEER, auto_cell},
	{"W4", "TBB task_group", PEER, group_cell},
	{"W4s", "TBB auto", PEER, auto_cell},
	{"W4s", "TBB task_group", PEER, group_cell},
	{nullptr, nullptr, PEER, nullptr},
};
