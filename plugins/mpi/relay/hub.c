#include "hub.h"

#include "outbox.h"

#include "../place.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum {
	READ_ROOM = 256 * 1024,
	MOST_UNREAD = 64 << 20, /* answers that the plugin has not taken: the ranks have to wait */
	MESSAGES_AT_ONCE = 64,
};

/* After it had something to do the hub looks around for so long, before it sleeps; and so long it
 * sleeps at most while a message is under way, or a rank of another machine has work. */
#define LOOK_NS 2000
#define WAIT_NS 100000000

struct seat {
	struct outbox outbox;
	uint64_t n_sent; /* batches, of all */
	uint64_t n_out;
};

struct hub {
	struct bells *bells;
	struct seat *seats; /* by rank */
	uint64_t n_out, n_far_out;
	struct kept *kept;
	int fd;
	char *in;  /* of the plugin, from in_at to in_n */
	size_t in_at, in_n, in_room;
	char *out; /* for the plugin */
	size_t out_at, out_n, out_room;
	int is_leaving, has_lost;
	int64_t park_ns, since_ns;
};

/* --- the connection ----------------------------------------------------------------------------- */

static int connect_unix(const char *name)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = strlen(name);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || n + 1 > sizeof(address.sun_path))
		return fd;
	memcpy(address.sun_path + 1, name, n);
	if (connect(fd, (struct sockaddr *)&address,
	            (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + n)) == 0)
		return fd;
	close(fd);
	return -1;
}

static int connect_tcp(char *name)
{
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
	char *port = strrchr(name, ':');
	int fd = -1, one = 1;

	if (port == NULL)
		return -1;
	*port++ = '\0';
	if (getaddrinfo(name, port, &hints, &list) != 0)
		return -1;
	for (struct addrinfo *at = list; at != NULL && fd < 0; at = at->ai_next) {
		fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, at->ai_addr, at->ai_addrlen) == 0)
			continue;
		close(fd);
		fd = -1;
	}
	freeaddrinfo(list);
	if (fd >= 0)
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	return fd;
}

/* The first of the addresses that can be reached. */
static int connect_any(char *addresses)
{
	char *save = NULL;
	int fd = -1;

	for (char *at = strtok_r(addresses, " \n", &save); at != NULL && fd < 0;
	     at = strtok_r(NULL, " \n", &save))
		fd = strncmp(at, "unix:", 5) == 0 ? connect_unix(at + 5)
		                                  : strncmp(at, "tcp:", 4) == 0 ? connect_tcp(at + 4) : -1;
	return fd;
}

/* --- what goes to the plugin --------------------------------------------------------------------- */

static char *room_in_out(struct hub *hub, size_t n)
{
	size_t room = hub->out_room;
	char *out;

	if (hub->out_at == hub->out_n)
		hub->out_at = hub->out_n = 0;
	if (hub->out_n + n <= room)
		return hub->out + hub->out_n;
	while (room < hub->out_n + n)
		room = room > 0 ? 2 * room : READ_ROOM;
	out = realloc(hub->out, room);
	if (out == NULL) {
		(void)fprintf(stderr, "parloop-mpi-relay: no memory for answers\n");
		MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
		abort();
	}
	hub->out = out;
	hub->out_room = room;
	return hub->out + hub->out_n;
}

/* 1: some went. */
static int write_out(struct hub *hub)
{
	ssize_t n;

	if (hub->out_at == hub->out_n)
		return 0;
	n = send(hub->fd, hub->out + hub->out_at, hub->out_n - hub->out_at, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (n < 0 && errno != EAGAIN && errno != EINTR)
		hub->has_lost = 1;
	if (n <= 0)
		return 0;
	hub->out_at += (size_t)n;
	return 1;
}

/* Which batches are over. */
static void count(struct hub *hub, int rank, const char *at, size_t n)
{
	struct record record;

	for (const char *end = at + n; (size_t)(end - at) >= sizeof(record);
	     at += sizeof(record) + padded(record.n_bytes)) {
		memcpy(&record, at, sizeof(record));
		if (record.kind != RECORD_LAST && record.kind != RECORD_FAILED)
			continue;
		hub->seats[rank].n_out--;
		hub->n_out--;
		hub->n_far_out -= hub->bells->words[rank] == NULL;
	}
}

/* 1: something came from a rank. */
static int hear_ranks(struct hub *hub)
{
	int did = 0;

	for (int i = 0; i < MESSAGES_AT_ONCE && hub->out_n - hub->out_at < MOST_UNREAD; i++) {
		MPI_Status status;
		char *room;
		int n;

		if (!bells_probe(MPI_ANY_SOURCE, &status))
			break;
		MPI_Get_count(&status, MPI_BYTE, &n);
		room = room_in_out(hub, (size_t)n);
		MPI_Recv(room, n, MPI_BYTE, status.MPI_SOURCE, 0, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
		hub->out_n += (size_t)n;
		count(hub, status.MPI_SOURCE, room, (size_t)n);
		did = 1;
	}
	return did;
}

/* --- what comes from it ---------------------------------------------------------------------------- */

static void no_memory(void)
{
	(void)fprintf(stderr, "parloop-mpi-relay: no memory for a batch\n");
	MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
	abort();
}

static void forward(struct hub *hub, const struct record *record, const char *bytes)
{
	char *room = outbox_record(&hub->seats[record->rank].outbox, record);

	if (room == NULL)
		no_memory();
	else if (record->n_bytes > 0)
		memcpy(room, bytes, (size_t)record->n_bytes);
}

static void forward_batch(struct hub *hub, const struct record *record, const char *bytes)
{
	struct seat *seat = &hub->seats[record->rank];
	struct bell_words *words = hub->bells->words[record->rank];

	/* What was told to end has ended. */
	if (words != NULL && seat->n_out == 0)
		__atomic_store_n(&words->stopping, 0, __ATOMIC_SEQ_CST);
	forward(hub, record, bytes);
	seat->n_sent++;
	if (words != NULL)
		__atomic_store_n(&words->n_sent, seat->n_sent, __ATOMIC_RELAXED);
	seat->n_out++;
	hub->n_out++;
	hub->n_far_out += words == NULL;
}

static void keep(struct hub *hub, const struct record *record, const char *bytes)
{
	uint64_t n = sizeof(*record) + padded(record->n_bytes);
	struct kept *kept = malloc(sizeof(*kept) + (size_t)n);

	if (kept == NULL) {
		no_memory();
		return;
	}
	*kept = (struct kept){.next = hub->kept, .id = record->batch, .refs = 1, .n = n};
	memcpy(kept->bytes, record, sizeof(*record));
	memcpy(kept->bytes + sizeof(*record), bytes, (size_t)record->n_bytes);
	memset(kept->bytes + sizeof(*record) + record->n_bytes, 0,
	       (size_t)(padded(record->n_bytes) - record->n_bytes));
	hub->kept = kept;
}

static void give(struct hub *hub, const struct record *record)
{
	struct kept *kept = hub->kept;

	while (kept != NULL && kept->id != record->batch)
		kept = kept->next;
	if (kept != NULL && outbox_kept(&hub->seats[record->rank].outbox, kept) < 0)
		no_memory();
}

/* A rank that never had it does not mind. */
static void forget(struct hub *hub, const struct record *record)
{
	struct record each = *record;

	for (struct kept **at = &hub->kept; *at != NULL; at = &(*at)->next) {
		struct kept *kept = *at;

		if (kept->id != record->batch)
			continue;
		*at = kept->next;
		kept_release(kept);
		break;
	}
	for (each.rank = 1; each.rank < hub->bells->n_ranks; each.rank++)
		forward(hub, &each, "");
}

/* Of another machine it is told by a message, which says of how many batches: those that come
 * later are others. */
static void stop(struct hub *hub, const struct record *record)
{
	struct seat *seat = &hub->seats[record->rank];
	struct bell_words *words = hub->bells->words[record->rank];

	if (seat->n_out == 0)
		return;
	if (words != NULL)
		__atomic_store_n(&words->stopping, 1, __ATOMIC_SEQ_CST);
	else
		MPI_Send(&seat->n_sent, 1, MPI_UINT64_T, record->rank, 1, MPI_COMM_WORLD);
}

static void leave(struct hub *hub)
{
	struct record record = {.kind = RECORD_LEAVE};

	for (record.rank = 1; record.rank < hub->bells->n_ranks && !hub->is_leaving; record.rank++)
		forward(hub, &record, "");
	hub->is_leaving = 1;
}

static void obey(struct hub *hub, const struct record *record, const char *bytes)
{
	int is_rank = record->rank > 0 && record->rank < hub->bells->n_ranks;

	hub->park_ns = 0;
	switch (record->kind) {
	case RECORD_BATCH:
		if (is_rank)
			forward_batch(hub, record, bytes);
		break;
	case RECORD_KEEP:
		keep(hub, record, bytes);
		break;
	case RECORD_GIVE:
		if (is_rank)
			give(hub, record);
		break;
	case RECORD_FORGET:
		forget(hub, record);
		break;
	case RECORD_STOP:
		if (is_rank)
			stop(hub, record);
		break;
	case RECORD_ENV:
		if (is_rank)
			forward(hub, record, bytes);
		break;
	case RECORD_PARK:
		hub->park_ns = bells_now() + (int64_t)record->batch * 1000000;
		break;
	case RECORD_LEAVE:
		leave(hub);
		break;
	default:
		(void)fprintf(stderr, "parloop-mpi-relay: a record of kind %u\n", record->kind);
		hub->has_lost = 1;
	}
}

/* Those that are whole; what is left of the last is moved to the front, where there is room. */
static void obey_all(struct hub *hub)
{
	uint64_t need = READ_ROOM;
	struct record record;

	while (hub->in_n - hub->in_at >= sizeof(record)) {
		memcpy(&record, hub->in + hub->in_at, sizeof(record));
		need = sizeof(record) + padded(record.n_bytes);
		if (hub->in_n - hub->in_at < need)
			break;
		obey(hub, &record, hub->in + hub->in_at + sizeof(record));
		hub->in_at += (size_t)need;
		need = READ_ROOM;
	}
	if (hub->in_at > 0)
		memmove(hub->in, hub->in + hub->in_at, hub->in_n - hub->in_at);
	hub->in_n -= hub->in_at;
	hub->in_at = 0;
	need = need > READ_ROOM ? need : READ_ROOM;
	if (need > hub->in_room) {
		char *in = realloc(hub->in, (size_t)need);

		if (in == NULL) {
			no_memory();
			return;
		}
		hub->in = in;
		hub->in_room = (size_t)need;
	}
}

/* 1: something came. */
static int read_in(struct hub *hub)
{
	ssize_t n = recv(hub->fd, hub->in + hub->in_n, hub->in_room - hub->in_n, MSG_DONTWAIT);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		hub->has_lost = 1;
	if (n <= 0)
		return 0;
	hub->in_n += (size_t)n;
	obey_all(hub);
	return 1;
}

/* --- the loop ------------------------------------------------------------------------------------ */

static int flush_all(struct hub *hub)
{
	int did = 0;

	for (int rank = 1; rank < hub->bells->n_ranks; rank++)
		if (!outbox_is_empty(&hub->seats[rank].outbox))
			did |= outbox_flush(&hub->seats[rank].outbox);
	return did;
}

static int all_went(const struct hub *hub)
{
	for (int rank = 1; rank < hub->bells->n_ranks; rank++)
		if (!outbox_is_empty(&hub->seats[rank].outbox))
			return 0;
	return 1;
}

static int some_takes_turns(const struct hub *hub)
{
	for (int rank = 1; rank < hub->bells->n_ranks; rank++)
		if (outbox_takes_turns(&hub->seats[rank].outbox))
			return 1;
	return 0;
}

static int turn(struct hub *hub)
{
	int did = read_in(hub);

	did |= flush_all(hub);
	did |= hear_ranks(hub);
	return write_out(hub) | did;
}

/* Ranks of this machine ring; others, and messages on which they are at work, are looked for. */
static int64_t time_to_sleep(const struct hub *hub, int64_t now)
{
	int64_t ns = hub->n_out > 0 || !all_went(hub) ? WAIT_NS : -1;

	if (hub->n_far_out > 0 || some_takes_turns(hub))
		ns = bells_patience(hub->since_ns, now);
	if (hub->park_ns > 0 && (ns < 0 || hub->park_ns - now < ns))
		ns = hub->park_ns > now ? hub->park_ns - now : 0;
	return ns;
}

static void rest(struct hub *hub)
{
	struct pollfd plugin = {.fd = hub->fd, .events = POLLIN};
	int64_t now = bells_now();

	if (now - hub->since_ns < LOOK_NS)
		return;
	if (hub->out_at < hub->out_n)
		plugin.events |= POLLOUT;
	bells_lie_down(hub->bells);
	if (hear_ranks(hub) || flush_all(hub) ||
	    bells_sleep(hub->bells, &plugin, time_to_sleep(hub, now)))
		hub->since_ns = bells_now();
	bells_get_up(hub->bells);
}

static void serve(struct hub *hub)
{
	hub->since_ns = bells_now();
	while (!hub->has_lost && !(hub->is_leaving && all_went(hub))) {
		if (turn(hub))
			hub->since_ns = bells_now();
		else if (hub->park_ns > 0 && bells_now() >= hub->park_ns)
			leave(hub);
		else
			rest(hub);
	}
}

/* --- its beginning and its end --------------------------------------------------------------------- */

static void say_hello(struct hub *hub, const char *token)
{
	struct hello hello = {.mark = "parloop", .n_ranks = (uint32_t)hub->bells->n_ranks};
	char *room = room_in_out(hub, sizeof(hello));

	memcpy(hello.token, token, TOKEN_CHARS);
	memcpy(room, &hello, sizeof(hello));
	hub->out_n += sizeof(hello);
}

static void introduce(struct hub *hub)
{
	size_t n = (size_t)hub->bells->n_ranks * sizeof(struct seat_hello);
	struct seat_hello own;
	char *room = room_in_out(hub, n);

	place_describe(&own);
	MPI_Gather(&own, sizeof(own), MPI_BYTE, room, sizeof(own), MPI_BYTE, 0, MPI_COMM_WORLD);
	hub->out_n += n;
}

/* The line was checked: VERSION RANKS TOKEN ADDRESSES. */
static int begin(struct hub *hub, const char *line)
{
	char token[TOKEN_CHARS + 1] = "", *addresses;
	int at = 0;

	if (sscanf(line, "parloop-mpi %*s %*d %32s %n", token, &at) != 1 || at == 0)
		return -1;
	addresses = strdup(line + at);
	hub->fd = addresses != NULL ? connect_any(addresses) : -1;
	free(addresses);
	if (hub->fd < 0) {
		(void)fprintf(stderr, "parloop-mpi-relay: rank 0 cannot reach the program at %s", line + at);
		return -1;
	}
	say_hello(hub, token);
	introduce(hub);
	return 0;
}

int hub_run(struct bells *bells, const char *line)
{
	struct hub hub = {.bells = bells, .fd = -1};

	hub.seats = calloc((size_t)bells->n_ranks, sizeof(*hub.seats));
	hub.in = malloc(READ_ROOM);
	hub.in_room = READ_ROOM;
	if (hub.seats == NULL || hub.in == NULL || begin(&hub, line) < 0)
		MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
	for (int rank = 1; rank < bells->n_ranks; rank++)
		outbox_init(&hub.seats[rank].outbox, bells, rank);
	serve(&hub);
	if (hub.has_lost)
		MPI_Abort(MPI_COMM_WORLD, EXIT_FAILURE);
	close(hub.fd);
	free(hub.seats);
	free(hub.in);
	free(hub.out);
	return EXIT_SUCCESS;
}
