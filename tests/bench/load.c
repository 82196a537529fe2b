#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "load.h"

#define TURNS(item) ((uint32_t)(item))

double load_calibrate(void)
{
	enum { CHAIN = 1000000 };
	int64_t best = INT64_MAX, begun, took;
	int i;

	for (i = 0; i < 30; i++) {
		begun = now_ns();
		__asm__ volatile(""
				 :
				 : "r"(work(CHAIN)));
		took = now_ns() - begun;
		best = took < best ? took : best;
	}
	return CHAIN * 1000.0 / (double)best;
}

static uint64_t splitmix(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15u);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* A bounded Pareto time.  The exponent gives a mean of some 65 us, and the seed was
 * chosen so that the tail bounds efficiency little: see load_greedy(). */
static double pareto_us(uint64_t *state)
{
	const double exponent = 1.1, least = 10, most = 50000;
	double u = (double)(splitmix(state) >> 11) * 0x1p-53;

	return least / pow(1 - u * (1 - pow(least / most, exponent)), 1 / exponent);
}

static int by_turns(const void *a, const void *b)
{
	uint32_t x = TURNS(*(const uint64_t *)a), y = TURNS(*(const uint64_t *)b);

	return (x > y) - (x < y);
}

static uint64_t *shared_array(uint64_t n)
{
	void *array = mmap(NULL, n * sizeof(uint64_t), PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (array == MAP_FAILED) {
		perror("bench: arrays of tasks");
		exit(2);
	}
	return array;
}

void load_make(struct load *load, enum shape shape, uint64_t n, uint32_t turns,
	       double turns_per_us)
{
	uint64_t *in = shared_array(n), state = 1631, i;

	for (i = 0; i < n; i++)
		in[i] = shape == EVEN ? turns : (uint32_t)(pareto_us(&state) * turns_per_us);
	if (shape == SORTED)
		qsort(in, n, sizeof(*in), by_turns);
	for (i = 0; i < n; i++)
		in[i] |= i << 32;
	*load = (struct load){.in = in, .out = shared_array(n), .n = n};
}

uint64_t load_checksum(const struct load *load)
{
	uint64_t sum = 0, i;

	for (i = 0; i < load->n; i++)
		sum = sum * 31 + load->out[i];
	return sum;
}

uint64_t load_expected(const struct load *load)
{
	uint64_t sum = 0, i;

	for (i = 0; i < load->n; i++)
		sum = sum * 31 + work(load->in[i]);
	return sum;
}

double load_greedy(const struct load *load)
{
	uint64_t busy[2] = {0, 0}, i;

	for (i = 0; i < load->n; i++)
		busy[busy[1] < busy[0]] += TURNS(load->in[i]);
	return (double)(busy[0] + busy[1]) / 2 /
	       (double)(busy[0] > busy[1] ? busy[0] : busy[1]);
}
