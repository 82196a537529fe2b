/* mpi.c - parloop's backend mpi beside a manager and workers written by hand (mpi/hand.c), on Open
 * MPI and on MPICH.  The program by hand has inputs of its own and checks its results itself. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <parloop/parloop.h>

#include "bench.h"
#include "noise.h"

#define OPENMPI "openmpi"
#define MPICH   "mpich"
#define ROOT    "OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"

enum { MOST_FIGURES = 100 };

/* --- ours ---------------------------------------------------------------------------------- */

struct pool {
	par_parallel *parallel;
	const par_task *task;
	par_error error;
};

static int map_once(void *arg, const struct load *load)
{
	struct pool *pool = arg;

	return par_map(pool->parallel, pool->task, load->in, load->out, load->n, NULL, &pool->error);
}

static int ours(const struct load *load, struct sample *sample, const char *mpi, int batch_size)
{
	char which[32], path[PATH_MAX];
	const char *options[] = {which, "env=" ROOT, "idle_timeout=0s", NULL};
	par_settings settings = {.size = sizeof(settings),
				 .backend = "mpi",
				 .options = options,
				 .n_jobs = PAR_SET(JOBS),
				 .batch_size = PAR_SET(batch_size)};
	struct pool pool = {.error = PAR_ERROR_INIT};
	par_module *module;
	int result;

	snprintf(which, sizeof(which), "mpi=%s", mpi);
	if (par_module_open(&module, built_path(path, "tasks.so"), &pool.error) != PAR_OK ||
	    par_module_task(module, "turn", &pool.task, &pool.error) != PAR_OK ||
	    par_open(&pool.parallel, &settings, &pool.error) != PAR_OK)
		return sample_fail(sample, "%s: %s", pool.error.what, pool.error.reason);
	result = sample_tasks(sample, load, map_once, &pool);
	if (result != 0 && sample->error[0] == '\0')
		sample_fail(sample, "%s: %s", pool.error.what, pool.error.reason);
	par_close(pool.parallel);
	return result;
}

/* --- by hand --------------------------------------------------------------------------------- */

static int run_by_hand(struct sample *sample, const char *command)
{
	double figures[MOST_FIGURES];
	struct noise noise;
	FILE *lines;
	int n = 0;

	noise_begin(&noise);
	lines = popen(command, "re");
	if (lines == NULL)
		return sample_fail(sample, "popen: %s", strerror(errno));
	while (n < MOST_FIGURES && fscanf(lines, "%lf", &figures[n]) == 1)
		n++;
	if (pclose(lines) != 0 || n == 0)
		return sample_fail(sample, "%.150s failed", command);
	sample->others_s = noise_end(&noise, &sample->cpus_s);
	return sample_figures(sample, figures, n);
}

static int by_hand(const struct load *load, struct sample *sample, const char *mpi, int each)
{
	char program[PATH_MAX], name[32], command[PATH_MAX + 256];
	uint64_t i;

	snprintf(name, sizeof(name), "mpi-hand-%s", mpi);
	snprintf(command, sizeof(command), ROOT " %s -n %d %s %llu %llu %d %d",
		 strcmp(mpi, OPENMPI) == 0 ? "mpirun.openmpi --oversubscribe --bind-to none"
					   : "mpiexec.hydra",
		 JOBS + 1, built_path(program, name), (unsigned long long)load->n,
		 (unsigned long long)(uint32_t)load->in[0], each, sample->repeats);
	for (i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
	return run_by_hand(sample, command);
}

/* --- cells ------------------------------------------------------------------------------------ */

#define CELLS(mpi)                                                                            \
	static int mpi##_auto(const struct load *load, struct sample *sample)                 \
	{                                                                                     \
		return ours(load, sample, #mpi, PAR_AUTO);                                    \
	}                                                                                     \
	static int mpi##_single(const struct load *load, struct sample *sample)               \
	{                                                                                     \
		return ours(load, sample, #mpi, 1);                                           \
	}                                                                                     \
	static int mpi##_hand_32(const struct load *load, struct sample *sample)              \
	{                                                                                     \
		return by_hand(load, sample, #mpi, 32);                                       \
	}                                                                                     \
	static int mpi##_hand_1(const struct load *load, struct sample *sample)               \
	{                                                                                     \
		return by_hand(load, sample, #mpi, 1);                                        \
	}
CELLS(openmpi)
CELLS(mpich)

static int work_all(void *arg, const struct load *load)
{
	uint64_t i;

	(void)arg;
	for (i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
	return 0;
}

static int serial_cell(const struct load *load, struct sample *sample)
{
	return sample_tasks(sample, load, work_all, NULL);
}

#define ROWS(mpi)                                                                             \
	{"W1b-" #mpi, "parloop mpi", OURS, mpi##_auto},                                       \
	{"W1b-" #mpi, "by hand, 32 a message", PEER, mpi##_hand_32},                          \
	{"W1a-" #mpi, "parloop mpi, one by one", OURS, mpi##_single},                         \
	{"W1a-" #mpi, "by hand, one a message", PEER, mpi##_hand_1},                          \
	{"W1a-" #mpi, "by hand, 32 a message", LIMIT, mpi##_hand_32},                         \
	{"W3-" #mpi, "parloop mpi", OURS, mpi##_auto},                                        \
	{"W3-" #mpi, "parloop mpi, one by one", EXTRA, mpi##_single},                         \
	{"W3-" #mpi, "by hand, one a message", PEER, mpi##_hand_1},                           \
	{"W3-" #mpi, "serial", SERIAL, serial_cell}

const struct cell cells_mpi[] = {
	ROWS(openmpi),
	ROWS(mpich),
	{0},
};
