/* hand.c - a manager and workers as one writes them with MPI: rank 0 sends tasks, so many a message,
 * and some messages ahead to each of the others; these send results back.
 *
 *	mpirun -n 3 mpi-hand-openmpi TASKS TURNS A-MESSAGE REPEATS
 *
 * prints nanoseconds a task, a line for each repetition. */
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../payload.h"

enum { MOST = 1024, AHEAD = 4, TAG_TASKS = 1, TAG_RESULTS = 2, TAG_END = 3 };

struct message {
	uint64_t first;
	uint64_t values[MOST];
};

struct run {
	uint64_t *in, *out, n, each, sent;
};

static void work_off(void)
{
	struct message message;
	MPI_Status status;
	int size;

	for (;;) {
		MPI_Recv(&message, sizeof(message), MPI_BYTE, 0, MPI_ANY_TAG, MPI_COMM_WORLD, &status);
		if (status.MPI_TAG == TAG_END)
			return;
		MPI_Get_count(&status, MPI_BYTE, &size);
		for (int i = 0; i < size / 8 - 1; i++)
			message.values[i] = work(message.values[i]);
		MPI_Send(&message, size, MPI_BYTE, 0, TAG_RESULTS, MPI_COMM_WORLD);
	}
}

static void send_next(struct run *run, int rank)
{
	struct message message = {.first = run->sent};
	uint64_t n = run->n - run->sent < run->each ? run->n - run->sent : run->each;

	if (n == 0)
		return;
	memcpy(message.values, run->in + run->sent, n * 8);
	MPI_Send(&message, (int)(8 + n * 8), MPI_BYTE, rank, TAG_TASKS, MPI_COMM_WORLD);
	run->sent += n;
}

static double run_once(struct run *run, int n_ranks)
{
	double begin = MPI_Wtime();
	struct message message;
	MPI_Status status;
	uint64_t back = 0;
	int size;

	run->sent = 0;
	for (int i = 0; i < AHEAD; i++)
		for (int rank = 1; rank < n_ranks; rank++)
			send_next(run, rank);
	for (; back < run->n; back += (uint64_t)size / 8 - 1) {
		MPI_Recv(&message, sizeof(message), MPI_BYTE, MPI_ANY_SOURCE, TAG_RESULTS,
			 MPI_COMM_WORLD, &status);
		MPI_Get_count(&status, MPI_BYTE, &size);
		memcpy(run->out + message.first, message.values, (size_t)size - 8);
		send_next(run, status.MPI_SOURCE);
	}
	return (MPI_Wtime() - begin) * 1e9 / (double)run->n;
}

static int is_right(const struct run *run)
{
	uint64_t i;

	for (i = 0; i < run->n; i += run->n / 1000 + 1)
		if (run->out[i] != work(run->in[i]))
			return 0;
	return 1;
}

static int manage(char **argv, int n_ranks)
{
	struct run run = {.n = strtoull(argv[1], NULL, 10), .each = strtoull(argv[3], NULL, 10)};
	uint64_t turns = strtoull(argv[2], NULL, 10), i;
	int status = EXIT_SUCCESS;

	run.in = malloc(run.n * 8);
	run.out = calloc(run.n, 8);
	if (run.in == NULL || run.out == NULL || run.each > MOST)
		return EXIT_FAILURE;
	for (i = 0; i < run.n; i++)
		run.in[i] = i << 32 | turns;
	run_once(&run, n_ranks);
	for (i = 0; i < strtoull(argv[4], NULL, 10); i++) {
		printf("%f\n", run_once(&run, n_ranks));
		if (!is_right(&run))
			status = EXIT_FAILURE;
	}
	for (int rank = 1; rank < n_ranks; rank++)
		MPI_Send(NULL, 0, MPI_BYTE, rank, TAG_END, MPI_COMM_WORLD);
	return status;
}

int main(int argc, char **argv)
{
	int rank, n_ranks, status = EXIT_SUCCESS;

	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &n_ranks);
	if (rank > 0)
		work_off();
	else if (argc == 5)
		status = manage(argv, n_ranks);
	MPI_Finalize();
	return status;
}
