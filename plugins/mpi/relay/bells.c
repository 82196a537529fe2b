#include "bells.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

/* Where nobody rings: a tenth of the time that nothing came, between these. */
#define SHORTEST_NS 20000
#define LONGEST_NS  10000000

enum { LONG = 64 * 1024 };

int64_t bells_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t bells_patience(int64_t since_ns, int64_t now_ns)
{
	int64_t ns = (now_ns - since_ns) / 10;

	return ns < SHORTEST_NS ? SHORTEST_NS : ns > LONGEST_NS ? LONGEST_NS : ns;
}

/* The kernel chooses a name: five digits, after a NUL. */
static int open_socket(char name[BELL_NAME])
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0 ||
	    size > offsetof(struct sockaddr_un, sun_path) + BELL_NAME) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	memset(name, 0, BELL_NAME);
	memcpy(name, address.sun_path, size - offsetof(struct sockaddr_un, sun_path));
	return fd;
}

static void find_words(struct bells *bells)
{
	MPI_Group all, near;
	MPI_Aint size;
	int unit;

	MPI_Comm_group(MPI_COMM_WORLD, &all);
	MPI_Comm_group(bells->machine, &near);
	for (int rank = 0; rank < bells->n_ranks; rank++) {
		int there = MPI_UNDEFINED;

		MPI_Group_translate_ranks(all, 1, &rank, near, &there);
		if (there == MPI_UNDEFINED)
			continue;
		MPI_Win_shared_query(bells->window, there, &size, &unit, &bells->words[rank]);
		bells->n_near++;
	}
	MPI_Group_free(&all);
	MPI_Group_free(&near);
}

/* An MPI prepares for long messages when the first is sent, and both sides have to look several times
 * until that is done: so it is done here, before anybody sleeps. */
static void meet(const struct bells *bells)
{
	static char to[LONG], from[LONG];
	int first = bells->rank == 0 ? 1 : 0, last = bells->rank == 0 ? bells->n_ranks - 1 : 0;

	for (int rank = first; rank <= last; rank++)
		MPI_Sendrecv(to, LONG, MPI_BYTE, rank, 0, from, LONG, MPI_BYTE, rank, 0, MPI_COMM_WORLD,
		             MPI_STATUS_IGNORE);
}

int bells_open(struct bells *bells)
{
	struct bell_words *mine;
	char name[BELL_NAME];

	memset(bells, 0, sizeof(*bells));
	MPI_Comm_rank(MPI_COMM_WORLD, &bells->rank);
	MPI_Comm_size(MPI_COMM_WORLD, &bells->n_ranks);
	bells->words = calloc((size_t)bells->n_ranks, sizeof(*bells->words));
	bells->names = calloc((size_t)bells->n_ranks, sizeof(*bells->names));
	bells->fd = open_socket(name);
	if (bells->words == NULL || bells->names == NULL || bells->fd < 0) {
		perror("parloop-mpi-relay: a socket to be woken by");
		return -1;
	}
	MPI_Allgather(name, BELL_NAME, MPI_BYTE, bells->names, BELL_NAME, MPI_BYTE, MPI_COMM_WORLD);
	MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, bells->rank, MPI_INFO_NULL,
	                    &bells->machine);
	MPI_Win_allocate_shared(sizeof(struct bell_words), 1, MPI_INFO_NULL, bells->machine, &mine,
	                        &bells->window);
	memset(mine, 0, sizeof(*mine));
	find_words(bells);
	meet(bells);
	MPI_Barrier(MPI_COMM_WORLD);
	return 0;
}

void bells_close(struct bells *bells)
{
	MPI_Win_free(&bells->window);
	MPI_Comm_free(&bells->machine);
	close(bells->fd);
	free(bells->words);
	free(bells->names);
}

void bells_ring(struct bells *bells, int rank)
{
	struct bell_words *words = bells->words[rank];
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1;

	if (words == NULL)
		return;
	/* What was sent comes first, as whoever lies down looks for it last. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&words->sleeps, __ATOMIC_RELAXED) == 0 ||
	    __atomic_exchange_n(&words->sleeps, 0, __ATOMIC_SEQ_CST) == 0)
		return;
	memcpy(address.sun_path, bells->names[rank], BELL_NAME);
	size += (socklen_t)strnlen(bells->names[rank] + 1, BELL_NAME - 1);
	(void)sendto(bells->fd, "", 1, 0, (struct sockaddr *)&address, size);
}

int bells_rings(const struct bells *bells, int rank)
{
	return bells->words[rank] != NULL;
}

int bells_awaits(const struct bells *bells, int rank)
{
	return __atomic_load_n(&bells->words[rank]->awaited, __ATOMIC_SEQ_CST) != 0;
}

void bells_await(struct bells *bells, int rank)
{
	if (bells->words[rank] != NULL)
		__atomic_store_n(&bells->words[rank]->awaited, 1, __ATOMIC_SEQ_CST);
}

int bells_tell_taken(struct bells *bells, int rank)
{
	struct bell_words *mine = bells->words[bells->rank];

	if (bells->words[rank] == NULL || __atomic_load_n(&mine->awaited, __ATOMIC_SEQ_CST) == 0)
		return 0;
	__atomic_store_n(&mine->awaited, 0, __ATOMIC_SEQ_CST);
	bells_ring(bells, rank);
	return 1;
}

int bells_probe(int rank, MPI_Status *status)
{
	int is_there = 0;

	for (int i = 0; i < 2 && !is_there; i++)
		MPI_Iprobe(rank, 0, MPI_COMM_WORLD, &is_there, status);
	return is_there;
}

void bells_lie_down(struct bells *bells)
{
	__atomic_store_n(&bells->words[bells->rank]->sleeps, 1, __ATOMIC_SEQ_CST);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void bells_get_up(struct bells *bells)
{
	__atomic_store_n(&bells->words[bells->rank]->sleeps, 0, __ATOMIC_SEQ_CST);
}

int bells_sleep(struct bells *bells, struct pollfd *other, int64_t ns)
{
	const struct timespec time = {ns / 1000000000, ns % 1000000000};
	struct pollfd fds[2] = {{.fd = bells->fd, .events = POLLIN}};
	int was_rung = 0;
	char rung[64];

	if (other != NULL)
		fds[1] = *other;
	(void)ppoll(fds, other != NULL ? 2 : 1, ns < 0 ? NULL : &time, NULL);
	while (recv(bells->fd, rung, sizeof(rung), 0) > 0)
		was_rung = 1;
	return was_rung;
}
