/* openmp.c - gcc's OpenMP (libgomp). */
#include <omp.h>

#include "bench.h"

static int run_static(void *arg, const struct load *load)
{
	(void)arg;
#pragma omp parallel for schedule(static)
	for (uint64_t i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
	return 0;
}

static int run_dynamic(void *arg, const struct load *load)
{
	(void)arg;
#pragma omp parallel for schedule(dynamic)
	for (uint64_t i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
	return 0;
}

static int run_guided(void *arg, const struct load *load)
{
	(void)arg;
#pragma omp parallel for schedule(guided)
	for (uint64_t i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
	return 0;
}

static int run_task(void *arg, const struct load *load)
{
	const uint64_t *in = load->in;
	uint64_t *out = load->out, n = load->n;

	(void)arg;
#pragma omp parallel
#pragma omp single
	for (uint64_t i = 0; i < n; i++) {
#pragma omp task firstprivate(in, out, i)
		out[i] = work(in[i]);
	}
	return 0;
}

static int cell(const struct load *load, struct sample *sample,
		int (*once)(void *arg, const struct load *load))
{
	omp_set_dynamic(0);
	omp_set_num_threads(JOBS);
	return sample_tasks(sample, load, once, NULL);
}

static int static_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_static);
}

static int dynamic_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_dynamic);
}

static int guided_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_guided);
}

static int task_cell(const struct load *load, struct sample *sample)
{
	return cell(load, sample, run_task);
}

const struct cell cells_openmp[] = {
	{"W1a", "gcc OpenMP task", PEER, task_cell},
	{"W1b", "gcc OpenMP static", PEER, static_cell},
	{"W1b", "gcc OpenMP guided", PEER, guided_cell},
	{"W1b", "gcc OpenMP dynamic", PEER, dynamic_cell},
	{"W2", "gcc OpenMP static", PEER, static_cell},
	{"W2", "gcc OpenMP guided", PEER, guided_cell},
	{"W2", "gcc OpenMP dynamic", PEER, dynamic_cell},
	{"W2-single", "gcc OpenMP task", PEER, task_cell},
	{"W3", "gcc OpenMP static", PEER, static_cell},
	{"W3", "gcc OpenMP dynamic", PEER, dynamic_cell},
	{"W4", "gcc OpenMP static", PEER, static_cell},
	{"W4", "gcc OpenMP guided", PEER, guided_cell},
	{"W4", "gcc OpenMP dynamic", PEER, dynamic_cell},
	{"W4", "gcc OpenMP task", PEER, task_cell},
	{"W4s", "gcc OpenMP static", PEER, static_cell},
	{"W4s", "gcc OpenMP guided", PEER, guided_cell},
	{"W4s", "gcc OpenMP dynamic", PEER, dynamic_cell},
	{"W4s", "gcc OpenMP task", PEER, task_cell},
	{NULL, NULL, PEER, NULL},
};
