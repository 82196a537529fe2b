/* main.c - parloop-mpi-relay: an MPI job that runs batches for a program outside of MPI, which is
 * the plugin's other half (protocol.h); and, with --keep, the launcher's keeper (keeper.h).
 *
 * There is one for each MPI, since what is linked with one cannot be started by another. */
#include "../place.h"

#include "hub.h"
#include "keeper.h"
#include "worker.h"

#include <parloop/parloop.h>
#include <parloop/worker.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { LINE_ROOM = 4096, EXIT_USAGE = 2 };

/* Of standard input, without what may come after it. */
static int read_line(char *line, size_t room)
{
	size_t n = 0;

	while (n + 1 < room && read(STDIN_FILENO, line + n, 1) == 1)
		if (line[n++] == '\n')
			break;
	line[n] = '\0';
	return n > 0 && line[n - 1] == '\n' ? 0 : -1;
}

/* What rank 0 is written but does not take ends MPICH's launcher: it dies of that, and of what the
 * ranks have said nobody hears. */
static void read_all(void)
{
	char bytes[256];

	while (read(STDIN_FILENO, bytes, sizeof(bytes)) > 0)
		;
}

/* Is this the job that was meant? */
static int check_line(const char *line, int n_ranks)
{
	char version[40] = "";
	int wanted = 0;

	/* One of those that a launcher of another MPI has started: another one says so. */
	if (*line == '\0' && n_ranks == 1)
		return -1;
	if (sscanf(line, "parloop-mpi %39s %d", version, &wanted) != 2) {
		(void)fprintf(stderr, "parloop-mpi-relay: the launcher passes no standard input to rank 0\n");
		return -1;
	}
	if (strcmp(version, par_version()) != 0) {
		(void)fprintf(stderr, "parloop-mpi-relay: this relay is of parloop %s, the program of %s\n",
		              par_version(), version);
		return -1;
	}
	if (wanted != n_ranks) {
		(void)fprintf(stderr,
		              "parloop-mpi-relay: %d ranks were to be started, and this is one of %d: the "
		              "launcher is of another MPI than this relay (" RELAY_MPI "), or its option is "
		              "not {n}\n",
		              wanted, n_ranks);
		return -1;
	}
	return 0;
}

static int begin(int rank, int n_ranks, char *line)
{
	int status = 0;

	if (rank == 0)
		status = read_line(line, LINE_ROOM) < 0 ? check_line("", n_ranks) : check_line(line, n_ranks);
	MPI_Bcast(&status, 1, MPI_INT, 0, MPI_COMM_WORLD);
	return status;
}

/* By what launchers leave in the environment.  An MPI under another's launcher takes each rank for
 * a job of its own, or waits for ever. */
static int is_of_other_launcher(void)
{
	int is_hydra = getenv("HYDI_CONTROL_FD") != NULL || getenv("PMI_FD") != NULL;
	int is_open = getenv("OMPI_COMM_WORLD_SIZE") != NULL;

	return strcmp(RELAY_MPI, "openmpi") == 0 ? getenv("HYDI_CONTROL_FD") != NULL && !is_open
	                                         : is_open && !is_hydra;
}

/* As either launcher tells it to who has not called MPI yet. */
static int is_first_rank(void)
{
	const char *open = getenv("OMPI_COMM_WORLD_RANK"), *hydra = getenv("PMI_RANK");
	const char *rank = open != NULL ? open : hydra;

	return rank != NULL && strcmp(rank, "0") == 0;
}

/* What Open MPI has in /dev/shm is removed at the end of a rank, unless that is killed.  Once all
 * have mapped it its name may go; at the end Open MPI wants it back, to remove it. */
static void name_segment(int is_there)
{
	const char *job = getenv("OMPI_MCA_ess_base_jobid"), *rank = getenv("OMPI_COMM_WORLD_LOCAL_RANK");
	char host[HOST_CHARS] = "", path[160];
	static int was_there;
	int fd;

	if (job == NULL || rank == NULL || gethostname(host, sizeof(host) - 1) < 0)
		return;
	(void)snprintf(path, sizeof(path), "/dev/shm/vader_segment.%.*s.%u.%lx.%.8s", (int)strcspn(host, "."),
	               host, (unsigned)geteuid(), strtoul(job, NULL, 10), rank);
	if (!is_there) {
		was_there = unlink(path) == 0;
	} else if (was_there) {
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd >= 0)
			close(fd);
	}
}

static int be_rank(int argc, char **argv)
{
	struct seat_hello seat;
	struct bells bells;
	char line[LINE_ROOM];
	int rank, n_ranks, status = EXIT_FAILURE;

	if (is_of_other_launcher()) {
		(void)fprintf(stderr, "parloop-mpi-relay: the launcher is of another MPI than this relay, "
		                      "which is " RELAY_MPI "'s\n");
		if (is_first_rank())
			read_all();
		return EXIT_FAILURE;
	}
	/* Open MPI's own way to wait costs who does it the rest of his turn; ours is to sleep. */
	(void)setenv("OMPI_MCA_mpi_yield_when_idle", "0", 1);
	MPI_Init(&argc, &argv);
	MPI_Comm_rank(MPI_COMM_WORLD, &rank);
	MPI_Comm_size(MPI_COMM_WORLD, &n_ranks);
	if (begin(rank, n_ranks, line) == 0 && bells_open(&bells) == 0) {
		name_segment(0);
		if (rank > 0) {
			place_describe(&seat);
			MPI_Gather(&seat, sizeof(seat), MPI_BYTE, NULL, 0, MPI_BYTE, 0, MPI_COMM_WORLD);
		}
		status = rank == 0 ? hub_run(&bells, line) : worker_run(&bells);
		bells_close(&bells);
	}
	name_segment(1);
	MPI_Finalize();
	name_segment(0);
	return status;
}

int main(int argc, char **argv)
{
	par_worker_main(argc, argv);
	if (argc > 3 && strcmp(argv[1], "--keep") == 0)
		keeper_run(atoi(argv[2]), argv + 3);
	if (argc == 2 && strcmp(argv[1], "--rank") == 0)
		return be_rank(argc, argv);
	(void)fprintf(stderr, "parloop-mpi-relay (" RELAY_MPI ", parloop %s): the backend mpi starts it\n",
	              par_version());
	return EXIT_USAGE;
}
