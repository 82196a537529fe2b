/* bench.c - every cell once a round, all of them interleaved, odd rounds backwards.
 * README.md says how to read what comes out. */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "calls.h"
#include "noise.h"
#include "table.h"

#define CELL_SECONDS 60 /* a cell that takes longer hangs */
#define QUICK        5  /* --quick divides by that */

#define NOISE_ALLOWED 0.05
#define NOISE_TICKS_S 0.03 /* less than that may be rounding of the kernel's ticks */

static struct workload workloads[] = {
	{
		.id = "W1a",
		.title = "single submissions of no-ops, 8 bytes in, 8 out, in order",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 1000000,
		.repeats = 3,
	},
	{
		.id = "W1b",
		.title = "10 million tasks of about 1 ns, each peer's own batching",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 10000000,
		.repeats = 7,
	},
	{
		.id = "W2",
		.title = "tasks of 1 us, each peer's own batching",
		.view = EFFICIENCY,
		.unit = "least ns",
		.unit_size = 1,
		.shape = EVEN,
		.n = 100000,
		.task_us = 1,
		.repeats = 3,
	},
	{
		.id = "W2-single",
		.title = "tasks of 1 us, submitted one by one",
		.view = EFFICIENCY,
		.unit = "least ns",
		.unit_size = 1,
		.shape = EVEN,
		.n = 100000,
		.task_us = 1,
		.repeats = 3,
	},
	{
		.id = "W3",
		.title = "tasks of 100 us",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = EVEN,
		.n = 2000,
		.task_us = 100,
		.repeats = 3,
	},
	{
		.id = "W4",
		.title = "heavy-tailed tasks, 10 us to 50 ms",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = PARETO,
		.n = 20000,
		.repeats = 1,
	},
	{
		.id = "W4s",
		.title = "the same, sorted ascending",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = SORTED,
		.n = 20000,
		.repeats = 1,
	},
	{
		.id = "back",
		.title = "one task on an open pool, there and back",
		.unit = "us",
		.unit_size = 1e3,
		.repeats = 300,
	},
	{
		.id = "W1b-processes",
		.title = "2 million tasks of about 1 ns, in two processes",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 2000000,
		.repeats = 3,
	},
	{
		.id = "W2-processes",
		.title = "tasks of 1 us, in two processes",
		.view = EFFICIENCY,
		.unit = "least ns",
		.unit_size = 1,
		.shape = EVEN,
		.n = 100000,
		.task_us = 1,
		.repeats = 3,
	},
	{
		.id = "W3-processes",
		.title = "tasks of 100 us, in two processes",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = EVEN,
		.n = 2000,
		.task_us = 100,
		.repeats = 3,
	},
	{
		.id = "W4-processes",
		.title = "heavy-tailed tasks, 10 us to 50 ms, in two processes",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = PARETO,
		.n = 20000,
		.repeats = 1,
	},
	{
		.id = "W4s-processes",
		.title = "the same, sorted ascending",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = SORTED,
		.n = 20000,
		.repeats = 1,
	},
	{
		.id = "W5-full",
		.title = "echoes of 64 bytes by two processes, kept busy",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 100000,
		.repeats = 3,
	},
	{
		.id = "W5-one",
		.title = "echoes of 64 bytes by another process, one at a time",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 20000,
		.repeats = 3,
	},
	{
		.id = "W5-1M",
		.title = "1 MiB read by another process, one at a time",
		.unit = "us a task",
		.unit_size = 1e3,
		.shape = EVEN,
		.n = 500,
		.repeats = 3,
	},
	{
		.id = "W5-64M",
		.title = "64 MiB read by another process, one at a time",
		.unit = "ms a task",
		.unit_size = 1e6,
		.shape = EVEN,
		.n = 5,
		.repeats = 3,
	},
	{
		.id = "W6",
		.title = "start a process, open, 2 tasks, close, end",
		.unit = "us",
		.unit_size = 1e3,
		.repeats = 40,
	},
	{
		.id = "W6-processes",
		.title = "start a process, 2 worker processes, 2 tasks, their end",
		.unit = "us",
		.unit_size = 1e3,
		.repeats = 20,
	},
	{
		.id = "W6b",
		.title = "a worker dies: until the first result of its replacement",
		.unit = "us",
		.unit_size = 1e3,
		.repeats = 20,
	},
	{
		.id = "W1a-openmpi",
		.title = "single submissions of no-ops to two ranks of Open MPI",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 200000,
		.repeats = 5,
	},
	{
		.id = "W1b-openmpi",
		.title = "2 million tasks of about 1 ns, on two ranks of Open MPI",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 2000000,
		.repeats = 5,
	},
	{
		.id = "W3-openmpi",
		.title = "tasks of 100 us, on two ranks of Open MPI",
		.view = EFFICIENCY,
		.unit = "least ns",
		.unit_size = 1,
		.shape = EVEN,
		.n = 5000,
		.task_us = 100,
		.repeats = 3,
	},
	{
		.id = "W1a-mpich",
		.title = "single submissions of no-ops to two ranks of MPICH",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 200000,
		.repeats = 5,
	},
	{
		.id = "W1b-mpich",
		.title = "2 million tasks of about 1 ns, on two ranks of MPICH",
		.unit = "ns a task",
		.unit_size = 1,
		.shape = EVEN,
		.n = 2000000,
		.repeats = 5,
	},
	{
		.id = "W3-mpich",
		.title = "tasks of 100 us, on two ranks of MPICH",
		.view = EFFICIENCY,
		.unit = "least ns",
		.unit_size = 1,
		.shape = EVEN,
		.n = 5000,
		.task_us = 100,
		.repeats = 3,
	},
	{
		.id = "W9",
		.title = "a million queued tasks of 8 bytes, at their peak (least: when queued)",
		.unit = "bytes a task",
		.unit_size = 1,
		.repeats = 1,
	},
	{
		.id = "W9-ahead",
		.title = "tasks taken before the first has completed, pre_dispatch = 100",
		.unit = "tasks",
		.unit_size = 1,
		.repeats = 1,
	},
	{
		.id = "W9-workers",
		.title = "memory that an idle worker process has to itself",
		.unit = "MB",
		.unit_size = 1,
		.repeats = 1,
	},
	{
		.id = "inner",
		.title = "OpenBLAS in the tasks of two workers: products of 256 x 256",
		.view = EFFICIENCY,
		.unit = "least us",
		.unit_size = 1e3,
		.shape = EVEN,
		.n = 400,
		.repeats = 3,
	},
	{
		.id = "calls",
		.title = "system calls per 1000 tasks",
		.unit = "calls",
		.unit_size = 1,
		.repeats = 1,
	},
};
enum { WORKLOADS = sizeof(workloads) / sizeof(*workloads) };

static const struct peer {
	const char *name;
	const struct cell *cells;
} peers[] = {
	{"parloop", cells_ours},
	{"parloop in processes", cells_processes},
	{"MPI", cells_mpi},
	{"OpenBLAS inside tasks", cells_inner},
	{"W6", cells_start},
	{"gcc's OpenMP", cells_openmp},
	{"oneTBB", cells_tbb},
	{"libuv", cells_uv},
	{"GLib", cells_glib},
	{"Python", cells_python},
	{"pools", cells_pools},
	{"limits", cells_limit},
	{"limits of processes", cells_spin},
	{"strace", cells_calls},
};
enum { PEERS = sizeof(peers) / sizeof(*peers) };

struct options {
	int rounds;
	int quick;
	const char *only; /* ids, separated by commas; NULL: all */
	const char *cell; /* WORKLOAD/NAME: run that one, here, and print nothing */
	uint64_t tasks;   /* of --cell */
	int repeats;      /* of --cell */
};

static struct table table; /* large, and one */

/* --- one cell, once, in a process of its own ----------------------------------------- */

static struct sample *shared_sample; /* written by the child */

static void run_child(const struct row *row)
{
	/* Killed with the harness, and by the alarm if it hangs; what it has started is
	 * of its session, and killed when it has ended. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	alarm(CELL_SECONDS);
	setsid();
	noise_prevent();
	_exit(row->cell->fn(&row->workload->load, shared_sample) == 0 ? 0 : 1);
}

static int check_child(const struct row *row, int status, struct sample *sample)
{
	*sample = *shared_sample;
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		return sample_fail(sample, "not done after %d seconds", CELL_SECONDS);
	if (WIFSIGNALED(status))
		return sample_fail(sample, "killed by %s", strsignal(WTERMSIG(status)));
	if (WEXITSTATUS(status) != 0)
		return -1;
	if (row->workload->load.n > 0 &&
	    load_checksum(&row->workload->load) != row->workload->expected)
		return sample_fail(sample, "its results are wrong");
	return 0;
}

static int measure_once(const struct row *row, struct sample *sample)
{
	int status;
	pid_t pid;

	*shared_sample = (struct sample){.repeats = row->workload->repeats};
	pid = fork();
	if (pid == 0)
		run_child(row);
	if (pid < 0)
		return sample_fail(sample, "fork: %s", strerror(errno));
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return sample_fail(sample, "waitpid: %s", strerror(errno));
	kill(-pid, SIGKILL);
	return check_child(row, status, sample);
}

static int is_noisy(const struct sample *sample)
{
	return sample->others_s > NOISE_TICKS_S &&
	       sample->others_s > NOISE_ALLOWED * sample->cpus_s;
}

/* A sample that others disturbed is taken once more, and the quieter one kept. */
static void measure(struct row *row)
{
	struct sample sample = {0}, again = {0};

	if (measure_once(row, &sample) != 0) {
		memcpy(row->error, sample.error, sizeof(row->error));
		return;
	}
	if (is_noisy(&sample) && measure_once(row, &again) == 0 &&
	    again.others_s * sample.cpus_s < sample.others_s * again.cpus_s)
		sample = again;
	table_add(row, &sample);
}

/* --- which cells, and their loads ---------------------------------------------------- */

static int is_wanted(const struct options *options, const char *id)
{
	const char *at = options->only;
	size_t length = strlen(id), given;

	if (at == NULL)
		return 1;
	for (;; at += given + 1) {
		given = strcspn(at, ",");
		if (given == length && strncmp(at, id, length) == 0)
			return 1;
		/* W2 takes W2-single along. */
		if (given < length && id[given] == '-' && strncmp(at, id, given) == 0)
			return 1;
		if (at[given] == '\0')
			return 0;
	}
}

static void make_load(struct workload *workload, double turns_per_us)
{
	double turns = workload->task_us * turns_per_us;

	if (workload->shape == NONE)
		return;
	load_make(&workload->load, workload->shape, workload->n, turns < 1 ? 1 : (uint32_t)turns,
		  turns_per_us);
	workload->expected = load_expected(&workload->load);
}

static void add_rows(const struct workload *workload, const struct cell *cells)
{
	const struct cell *cell;

	for (cell = cells; cell != NULL && cell->name != NULL; cell++)
		if (strcmp(cell->workload, workload->id) == 0 && table.n < MOST_ROWS) {
			table.rows[table.n].cell = cell;
			table.rows[table.n++].workload = workload;
		}
}

/* Ours first, then the peers, the limits last: as the peers stand in their table. */
static void prepare(const struct options *options, double turns_per_us)
{
	struct workload *workload;
	int p;

	for (workload = workloads; workload < workloads + WORKLOADS; workload++) {
		if (!is_wanted(options, workload->id))
			continue;
		/* Fewer heavy-tailed tasks could not be shared out evenly by anybody. */
		if (options->quick && workload->shape == EVEN)
			workload->n /= QUICK;
		make_load(workload, turns_per_us);
		for (p = 0; p < PEERS; p++)
			add_rows(workload, peers[p].cells);
	}
}

/* --- the rounds ---------------------------------------------------------------------- */

static void progress(int round, int rounds, const struct row *row)
{
	if (!isatty(STDERR_FILENO))
		return;
	if (row == NULL)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "\r\033[Kround %d of %d: %s %s", round + 1, rounds,
			row->workload->id, row->cell->name);
}

/* A count has no noise, and needs to be taken only once. */
static int is_due(const struct row *row, int round)
{
	return row->error[0] == '\0' && (round == 0 || strcmp(row->workload->id, "calls") != 0);
}

static void run_rounds(int rounds)
{
	struct row *row;
	int round, i;

	for (round = 0; round < rounds; round++)
		for (i = 0; i < table.n; i++) {
			row = &table.rows[round % 2 ? table.n - 1 - i : i];
			if (!is_due(row, round))
				continue;
			progress(round, rounds, row);
			measure(row);
		}
	progress(0, 0, NULL);
}

static void report(const struct options *options, double turns_per_us)
{
	const struct workload *workload;
	int p;

	printf("%d rounds; %ld cores, %d threads; %.0f turns of the chain in a microsecond\n",
	       options->rounds, sysconf(_SC_NPROCESSORS_ONLN), JOBS, turns_per_us);
	for (p = 0; p < PEERS; p++)
		if (peers[p].cells == NULL)
			printf("%s is left out: it was not there when the benchmark was built\n",
			       peers[p].name);
	for (workload = workloads; workload < workloads + WORKLOADS; workload++)
		if (is_wanted(options, workload->id))
			table_print(&table, workload);
	goals_print(&table);
}

/* --- one cell, for calls.c ----------------------------------------------------------- */

static int run_cell(const struct options *options)
{
	struct sample sample = {.repeats = options->repeats};
	struct options one = *options;
	char id[16];
	int i, w;

	snprintf(id, sizeof(id), "%.*s", (int)strcspn(options->cell, "/"), options->cell);
	one.only = id;
	for (w = 0; w < WORKLOADS; w++)
		if (options->tasks > 0 && workloads[w].n > 0)
			workloads[w].n = options->tasks;
	prepare(&one, load_calibrate());
	for (i = 0; i < table.n; i++)
		if (strcmp(table.rows[i].cell->name, options->cell + strlen(id) + 1) == 0 &&
		    strcmp(table.rows[i].workload->id, id) == 0)
			return table.rows[i].cell->fn(&table.rows[i].workload->load, &sample) != 0;
	return 2;
}

/* --- options ------------------------------------------------------------------------- */

static int usage(int status)
{
	fprintf(status == 0 ? stdout : stderr,
		"usage: bench [--rounds N] [--only W1b,W2,...] [--quick]\n"
		"  --rounds N  measure every cell N times (5)\n"
		"  --only IDS  only these of W1a W1b W2 W3 W4 W4s back W5 W6 W6b W9 inner calls,\n"
		"              or one of their kinds: W2-single W2-processes W5-full ...\n"
		"  --quick     two rounds of a fifth of the tasks\n");
	return status;
}

static int parse(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{"rounds", required_argument, NULL, 'r'},
		{"only", required_argument, NULL, 'o'},
		{"quick", no_argument, NULL, 'q'},
		{"cell", required_argument, NULL, 'c'},
		{"tasks", required_argument, NULL, 't'},
		{"repeats", required_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "", known, NULL)) != -1)
		switch (option) {
		case 'r':
			options->rounds = atoi(optarg);
			break;
		case 'o':
			options->only = optarg;
			break;
		case 'q':
			options->quick = 1;
			break;
		case 'c':
			options->cell = optarg;
			break;
		case 't':
			options->tasks = strtoull(optarg, NULL, 10);
			break;
		case 'n':
			options->repeats = atoi(optarg);
			break;
		case 'h':
			exit(usage(0));
		default:
			return -1;
		}
	if (options->rounds == 0)
		options->rounds = options->quick ? 2 : 5;
	return optind == argc && options->rounds > 0 && options->rounds <= MOST_ROUNDS ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct options options = {.repeats = 1};
	double turns_per_us;

	if (parse(&options, argc, argv) != 0)
		return usage(2);
	if (options.cell != NULL)
		return run_cell(&options);
	shared_sample = mmap(NULL, sizeof(*shared_sample), PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared_sample == MAP_FAILED) {
		perror("bench");
		return 2;
	}
	turns_per_us = load_calibrate();
	prepare(&options, turns_per_us);
	if (table.n == 0)
		return usage(2);
	run_rounds(options.rounds);
	report(&options, turns_per_us);
	return 0;
}
