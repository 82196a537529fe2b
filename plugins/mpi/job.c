#include "job.h"

#include "place.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	READ_ROOM = 256 * 1024,
	STAYS = 16 * 1024, /* bytes of that length are not copied to be sent */
	PIECES = 64,       /* of memory, for one system call */
};

#define TICK_NS    1000000
#define STRANGE_NS ((int64_t)2000000000) /* for one that connects, and does not say who it is */
#define EXIT_NS    ((int64_t)50000000)   /* until it is known of what a rank has died */
#define END_NS     ((int64_t)3000000000) /* until the launcher has ended */

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void stop_watch(par_watch **watch, void (*stop)(par_watch *watch))
{
	if (*watch != NULL)
		stop(*watch);
	*watch = NULL;
}

static void begin_dying(struct job *job);

/* --- sending -------------------------------------------------------------------------------------- */

static int32_t no_memory(par_error *error)
{
	return par_fail(error, PAR_ENOMEM, "no memory");
}

static char *room_in_out(struct job *job, size_t n)
{
	size_t room = job->out_room > 0 ? job->out_room : 4096;
	char *out;

	while (room < job->out_n + n)
		room *= 2;
	if (room != job->out_room) {
		out = realloc(job->out, room);
		if (out == NULL)
			return NULL;
		job->out = out;
		job->out_room = room;
	}
	job->out_n += n;
	return job->out + job->out_n - n;
}

static int add_piece(struct job *job, const void *bytes, size_t n)
{
	size_t room = job->pieces_room > 0 ? 2 * job->pieces_room : 16;
	struct piece *pieces;

	if (job->n_pieces == job->pieces_room) {
		pieces = reallocarray(job->pieces, room, sizeof(*pieces));
		if (pieces == NULL)
			return -1;
		job->pieces = pieces;
		job->pieces_room = room;
	}
	job->pieces[job->n_pieces++] = (struct piece){job->out_n, bytes, n};
	job->apart += n;
	return 0;
}

static int32_t put_bytes(struct job *job, const void *bytes, uint64_t n, int may_stay)
{
	static const char zeros[8];
	char *room;

	if (n == 0)
		return PAR_OK;
	if (may_stay && n >= STAYS) {
		if (add_piece(job, bytes, (size_t)n) < 0)
			return PAR_ENOMEM;
	} else {
		room = room_in_out(job, (size_t)n);
		if (room == NULL)
			return PAR_ENOMEM;
		memcpy(room, bytes, (size_t)n);
	}
	if (n % 8 == 0)
		return PAR_OK;
	room = room_in_out(job, (size_t)(padded(n) - n));
	if (room == NULL)
		return PAR_ENOMEM;
	memcpy(room, zeros, (size_t)(padded(n) - n));
	return PAR_OK;
}

int32_t job_put(struct job *job, const struct record *record, const void *bytes, uint64_t n,
                int may_stay)
{
	char *room = room_in_out(job, sizeof(*record));

	if (room == NULL)
		return PAR_ENOMEM;
	memcpy(room, record, sizeof(*record));
	return put_bytes(job, bytes, n, may_stay);
}

/* What is still to be sent, from there on. */
static int pieces_of(const struct job *job, uint64_t skipped, struct iovec *list)
{
	size_t at = 0;
	int n = 0;

	for (size_t i = 0; i <= job->n_pieces && n < PIECES; i++) {
		const struct piece *piece = i < job->n_pieces ? &job->pieces[i] : NULL;
		const struct iovec parts[2] = {
			{job->out + at, (piece != NULL ? piece->at : job->out_n) - at},
			{piece != NULL ? (void *)(uintptr_t)piece->bytes : NULL, piece != NULL ? piece->n : 0},
		};

		for (int j = 0; j < 2 && n < PIECES; j++) {
			if (skipped >= parts[j].iov_len) {
				skipped -= parts[j].iov_len;
				continue;
			}
			list[n].iov_base = (char *)parts[j].iov_base + skipped;
			list[n++].iov_len = parts[j].iov_len - skipped;
			skipped = 0;
		}
		at = piece != NULL ? piece->at : at;
	}
	return n;
}

static void on_news(void *arg, int32_t events, int32_t error);

/* Be told of room, or not. */
static void want_room(struct job *job, int wants)
{
	if (job->wants_room == wants || job->fd < 0 || job->pool == NULL)
		return;
	stop_watch(&job->news, job->watcher->unwatch);
	job->wants_room = wants;
	if (job->watcher->watch(job->host, job->fd, PAR_READABLE | (wants ? PAR_WRITABLE : 0), on_news, job,
	                        &job->news) < 0)
		job->news = NULL;
}

void job_flush(struct job *job)
{
	while (job->fd >= 0 && job->out_sent < job->out_n + job->apart) {
		struct iovec list[PIECES];
		struct msghdr message = {.msg_iov = list};
		ssize_t n;

		message.msg_iovlen = (size_t)pieces_of(job, job->out_sent, list);
		n = sendmsg(job->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			want_room(job, 1);
			return;
		}
		/* One that is gone is heard of when it is read. */
		if (n < 0)
			break;
		job->out_sent += (uint64_t)n;
	}
	job->out_n = job->n_pieces = 0;
	job->out_sent = job->apart = 0;
	want_room(job, 0);
}

/* --- attachments ------------------------------------------------------------------------------------ */

static struct kept *find_kept(struct job *job, uint64_t id)
{
	for (size_t i = 0; i < job->n_kept; i++)
		if (job->kept[i].id == id)
			return &job->kept[i];
	return NULL;
}

static struct kept *keep(struct job *job, const par_attachment *attachment)
{
	const struct record record = {.kind = RECORD_KEEP, .batch = attachment->id,
	                              .n_bytes = sizeof(struct keep_head) + attachment->bytes};
	struct keep_head head = {.kind = attachment->kind};
	struct kept *kept = reallocarray(job->kept, job->n_kept + 1, sizeof(*kept));

	if (kept == NULL)
		return NULL;
	job->kept = kept;
	kept += job->n_kept;
	*kept = (struct kept){attachment->id, attachment->kind, calloc(1, (size_t)job->n_workers + 1)};
	if (PAR_HAS(attachment, sha256))
		memcpy(head.sha256, attachment->sha256, sizeof(head.sha256));
	if (kept->given == NULL || job_put(job, &record, &head, sizeof(head), 0) < 0 ||
	    put_bytes(job, attachment->address, attachment->bytes, 1) < 0) {
		free(kept->given);
		return NULL;
	}
	job->n_kept++;
	return kept;
}

static int32_t give(struct job *job, int rank, const par_attachment *attachment)
{
	const struct record record = {.kind = RECORD_GIVE, .rank = rank, .batch = attachment->id};
	struct kept *kept = find_kept(job, attachment->id);

	if (kept == NULL)
		kept = keep(job, attachment);
	if (kept == NULL)
		return PAR_ENOMEM;
	if (kept->given[rank])
		return PAR_OK;
	kept->given[rank] = 1;
	return job_put(job, &record, NULL, 0, 0);
}

void job_forget_shared(struct job *job)
{
	struct record record = {.kind = RECORD_FORGET};
	size_t n = 0;

	for (size_t i = 0; i < job->n_kept; i++) {
		if (job->kept[i].kind == PAR_ATTACH_MODULE) {
			job->kept[n++] = job->kept[i];
			continue;
		}
		record.batch = job->kept[i].id;
		free(job->kept[i].given);
		(void)job_put(job, &record, NULL, 0, 0);
	}
	job->n_kept = n;
	job_flush(job);
}

int32_t job_put_batch(struct job *job, int rank, uint64_t batch, const par_encoded *encoded)
{
	const struct batch_head head = {.n_ids = encoded->n_attachments};
	const struct record record = {
		.kind = RECORD_BATCH,
		.rank = rank,
		.batch = batch,
		.n_bytes = sizeof(head) + head.n_ids * sizeof(uint64_t) + encoded->n_bytes,
	};
	int32_t status = PAR_OK;

	for (uint32_t i = 0; status == PAR_OK && i < head.n_ids; i++)
		status = give(job, rank, encoded->attachments[i]);
	if (status == PAR_OK)
		status = job_put(job, &record, &head, sizeof(head), 0);
	for (uint32_t i = 0; status == PAR_OK && i < head.n_ids; i++)
		status = put_bytes(job, &encoded->attachments[i]->id, sizeof(uint64_t), 0);
	return status < 0 ? status : put_bytes(job, encoded->bytes, encoded->n_bytes, 1);
}

/* --- receiving -------------------------------------------------------------------------------------- */

/* More room, if a record needs it; what is left of one is moved to the front. */
static int make_room_in(struct job *job, uint64_t need)
{
	char *in;

	if (job->in_at > 0)
		memmove(job->in, job->in + job->in_at, job->in_n - job->in_at);
	job->in_n -= job->in_at;
	job->in_at = 0;
	if (need < READ_ROOM)
		need = READ_ROOM;
	if (need <= job->in_room)
		return 0;
	in = realloc(job->in, (size_t)need);
	if (in == NULL)
		return -1;
	job->in = in;
	job->in_room = (size_t)need;
	return 0;
}

/* Is what came of the length that it says it is? */
static int is_record(const struct job *job, const struct record *record)
{
	return record->rank > 0 && record->rank <= job->n_workers && record->n_bytes <= PIECE_BYTES &&
	       (record->kind == RECORD_ANSWER || record->kind == RECORD_LAST ||
	        record->kind == RECORD_FAILED);
}

static void take_records(struct job *job)
{
	struct record record;

	while (job->state == JOB_READY || job->state == JOB_DYING) {
		size_t left = job->in_n - job->in_at, size;

		if (left < sizeof(record))
			break;
		memcpy(&record, job->in + job->in_at, sizeof(record));
		if (!is_record(job, &record)) {
			job->in_at = job->in_n = 0;
			begin_dying(job);
			return;
		}
		size = sizeof(record) + (size_t)padded(record.n_bytes);
		if (left < size)
			break;
		job->in_at += size;
		pool_take(job->pool, job, &record, job->in + job->in_at - size + sizeof(record));
	}
	if (make_room_in(job, sizeof(record) + PIECE_BYTES + 8) < 0)
		begin_dying(job);
}

static void be_ready(struct job *job);

/* 1: something came. */
int job_hear(struct job *job)
{
	ssize_t n;

	if (job->fd < 0)
		return 0;
	n = recv(job->fd, job->in + job->in_n, job->in_room - job->in_n, MSG_DONTWAIT);
	if (n > 0) {
		job->in_n += (size_t)n;
		if (job->state == JOB_STARTS)
			be_ready(job);
		else
			take_records(job);
		return 1;
	}
	if (n == 0 || (errno != EAGAIN && errno != EINTR))
		begin_dying(job);
	return 0;
}

static void on_news(void *arg, int32_t events, int32_t error)
{
	struct job *job = arg;

	(void)error;
	if (events & PAR_WRITABLE)
		job_flush(job);
	(void)job_hear(job);
}

/* --- its end ---------------------------------------------------------------------------------------- */

/* The kernel remembers how a process ended although somebody else has waited for it: since Linux
 * 6.15, of which our headers may not know. */
struct exit_info {
	uint64_t mask, cgroup;
	uint32_t ids[11];
	int32_t status;
};
#define EXIT_INFO      _IOWR(0xFF, 11, struct exit_info)
#define EXIT_INFO_EXIT (UINT64_C(1) << 3)

static int is_over(int pidfd)
{
	struct pollfd death = {.fd = pidfd, .events = POLLIN};

	return pidfd >= 0 && poll(&death, 1, 0) > 0;
}

static int is_known(const struct seat *seat)
{
	return seat->signal != 0 || seat->exit_code >= 0;
}

static void ask_kernel(struct seat *seat)
{
	struct exit_info info = {.mask = EXIT_INFO_EXIT};

	if (is_known(seat) || ioctl(seat->pidfd, EXIT_INFO, &info) < 0 ||
	    (info.mask & EXIT_INFO_EXIT) == 0)
		return;
	if (WIFSIGNALED(info.status))
		seat->signal = WTERMSIG(info.status);
	else
		seat->exit_code = WEXITSTATUS(info.status);
}

/* What the launcher says of it: Open MPI "process rank 1 with PID 0 on node x exited on signal 9",
 * MPICH "PID 123 RUNNING AT x" and "EXIT CODE: 9". */
static void ask_launcher(struct job *job)
{
	const char *tail = output_tail(&job->output), *at;
	int rank, pid, code;

	at = strstr(tail, " noticed that process rank ");
	if (at != NULL && sscanf(at, " noticed that process rank %d with PID %*d on node %*s exited on "
	                             "signal %d", &rank, &code) == 2 &&
	    rank >= 0 && rank <= job->n_workers) {
		job->seats[rank].is_dead = 1;
		job->seats[rank].signal = code;
	}
	at = strstr(tail, "PID ");
	for (rank = 0; at != NULL && sscanf(at, "PID %d RUNNING AT", &pid) == 1 && rank <= job->n_workers;
	     rank++) {
		if (job->seats[rank].hello.pid != pid || (at = strstr(at, "EXIT CODE: ")) == NULL ||
		    sscanf(at, "EXIT CODE: %d", &code) != 1)
			continue;
		job->seats[rank].is_dead = 1;
		if (!is_known(&job->seats[rank]) && code < 64)
			job->seats[rank].signal = code;
		else if (!is_known(&job->seats[rank]))
			job->seats[rank].exit_code = code & 0xff;
		return;
	}
}

/* Signals by which a launcher ends the others. */
static int is_of_launcher(const struct seat *seat)
{
	return seat->signal == SIGKILL || seat->signal == SIGTERM;
}

/* Who began: one that died of something else than the rest, or the only one that is dead, where all
 * are seen.  NULL: it is not known. */
static const struct seat *find_culprit(const struct job *job)
{
	const struct seat *culprit = NULL;
	int n_dead = 0, n_far = 0;

	for (int rank = 0; rank <= job->n_workers; rank++) {
		const struct seat *seat = &job->seats[rank];

		n_far += !seat->is_near;
		if (!seat->is_dead)
			continue;
		n_dead++;
		if (culprit == NULL || (is_known(seat) && !is_of_launcher(seat) &&
		                        (!is_known(culprit) || is_of_launcher(culprit))))
			culprit = seat;
	}
	if (culprit != NULL && is_known(culprit) && !is_of_launcher(culprit))
		return culprit;
	return n_dead == 1 && (n_far == 0 || !culprit->is_near) ? culprit : NULL;
}

static void end(struct job *job)
{
	const struct seat *culprit;

	output_drain(&job->output);
	for (int rank = 0; job->seats != NULL && rank <= job->n_workers; rank++)
		if (job->seats[rank].is_dead)
			ask_kernel(&job->seats[rank]);
	if (job->state == JOB_DYING && job->seats != NULL)
		ask_launcher(job);
	culprit = job->seats != NULL ? find_culprit(job) : NULL;
	pool_job_ended(job->pool, job, culprit);
	job_kill(job);
}

/* While it is dying: do we know of what? */
static void on_tick(void *arg)
{
	struct job *job = arg;
	int64_t passed = now_ns() - job->since_ns;
	int n_dead = 0, n_known = 0, n_far = 0, n_own = 0;

	for (int rank = 0; rank <= job->n_workers; rank++) {
		struct seat *seat = &job->seats[rank];

		seat->is_dead |= is_over(seat->pidfd);
		if (seat->is_dead)
			ask_kernel(seat);
		n_dead += seat->is_dead;
		n_known += seat->is_dead && is_known(seat);
		n_own += seat->is_dead && is_known(seat) && !is_of_launcher(seat);
		n_far += !seat->is_near;
	}
	/* The kernel knows as soon as the launcher has looked; else we wait for what that says, as we do
	 * where the launcher may have killed ours since one of another machine died. */
	if (((n_far == 0 || n_own > 0) &&
	     ((n_dead > 0 && n_known == n_dead) || (n_own > 0 && passed > EXIT_NS))) ||
	    passed > END_NS || is_over(job->pidfd))
		end(job);
}

static void begin_dying(struct job *job)
{
	int was_starting = job->state == JOB_STARTS;

	if (job->state != JOB_READY && !was_starting)
		return;
	stop_watch(&job->news, job->watcher->unwatch);
	/* Somebody else has connected, and gone: the right one may still come. */
	if (was_starting) {
		close(job->fd);
		job->fd = -1;
		job->in_n = 0;
		return;
	}
	job->state = JOB_DYING;
	job->since_ns = now_ns();
	/* What was answered before counts. */
	while (job_hear(job))
		;
	if (job->state == JOB_DYING &&
	    job->timer->start(job->host, TICK_NS, TICK_NS, on_tick, job, &job->tick) < 0)
		end(job);
}

static void on_seat_death(void *arg, int32_t events, int32_t error)
{
	struct seat *seat = arg;

	(void)events, (void)error;
	seat->is_dead = 1;
	stop_watch(&seat->death, seat->job->watcher->unwatch);
	begin_dying(seat->job);
}

/* The keeper has ended, and nothing is left of the job on this machine. */
static void on_death(void *arg, int32_t events, int32_t error)
{
	struct job *job = arg;
	enum job_state state = job->state;

	(void)events, (void)error;
	stop_watch(&job->death, job->watcher->unwatch);
	(void)waitpid(job->pid, &job->wait_status, 0);
	job->pid = 0;
	output_drain(&job->output);
	if (state == JOB_READY)
		begin_dying(job);
	if (state == JOB_LEAVES) {
		job->state = JOB_GONE;
		pool_job_gone(job->pool, job);
	} else if (job->state == JOB_DYING || job->state == JOB_STARTS) {
		end(job);
	}
}

static void unwatch_seats(struct job *job)
{
	for (int rank = 0; job->seats != NULL && rank <= job->n_workers; rank++)
		stop_watch(&job->seats[rank].death, job->watcher->unwatch);
}

/* Nobody hears it any more. */
static void disconnect(struct job *job)
{
	for (int i = 0; i < 2; i++) {
		stop_watch(&job->calls[i], job->watcher->unwatch);
		if (job->listeners[i] >= 0)
			close(job->listeners[i]);
		job->listeners[i] = -1;
	}
	stop_watch(&job->news, job->watcher->unwatch);
	stop_watch(&job->tick, job->timer->stop);
	stop_watch(&job->deadline, job->timer->stop);
	unwatch_seats(job);
	if (job->fd >= 0)
		close(job->fd);
	job->fd = -1;
	job->out_n = job->n_pieces = 0;
	job->out_sent = job->apart = 0;
}

static void kill_keeper(struct job *job)
{
	job->was_killed = 1;
	if (job->pid > 0)
		(void)kill(job->pid, SIGTERM);
}

static void on_late_end(void *arg)
{
	kill_keeper(arg);
}

void job_kill(struct job *job)
{
	disconnect(job);
	job->output.is_quiet = 1;
	job->state = JOB_LEAVES;
	for (int rank = 0; job->seats != NULL && rank <= job->n_workers; rank++)
		if (job->seats[rank].pidfd >= 0)
			(void)syscall(SYS_pidfd_send_signal, job->seats[rank].pidfd, SIGKILL, NULL, 0);
	kill_keeper(job);
	if (job->pid == 0) {
		job->state = JOB_GONE;
		pool_job_gone(job->pool, job);
	}
}

void job_leave(struct job *job)
{
	const struct record record = {.kind = RECORD_LEAVE};
	int has_left;

	if (job->state != JOB_READY) {
		job_kill(job);
		return;
	}
	has_left = job_put(job, &record, NULL, 0, 0) == PAR_OK;
	job_flush(job);
	has_left &= job->out_n == 0;
	if (!has_left || job->timer->start(job->host, END_NS, 0, on_late_end, job, &job->deadline) < 0) {
		job_kill(job);
		return;
	}
	stop_watch(&job->news, job->watcher->unwatch);
	unwatch_seats(job);
	job->state = JOB_LEAVES;
}

int job_is_alive(struct job *job)
{
	char byte;

	return job->state == JOB_READY && !is_over(job->pidfd) &&
	       recv(job->fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

void job_destroy(struct job *job)
{
	if (job->watcher != NULL && job->pool != NULL)
		disconnect(job);
	if (job->pid > 0) {
		(void)kill(job->pid, SIGTERM);
		(void)waitpid(job->pid, NULL, 0);
	}
	if (job->death != NULL)
		job->watcher->unwatch(job->death);
	if (job->fd >= 0)
		close(job->fd);
	output_close(&job->output);
	if (job->pidfd >= 0)
		close(job->pidfd);
	for (int rank = 0; job->seats != NULL && rank <= job->n_workers; rank++)
		if (job->seats[rank].pidfd >= 0)
			close(job->seats[rank].pidfd);
	for (size_t i = 0; i < job->n_kept; i++)
		free(job->kept[i].given);
	free(job->kept);
	free(job->seats);
	free(job->pieces);
	free(job->in);
	free(job->out);
	free(job->key);
	free(job);
}

/* --- its beginning ---------------------------------------------------------------------------------- */

static int32_t watch_seats(struct job *job, par_error *error)
{
	for (int rank = 0; rank <= job->n_workers; rank++) {
		struct seat *seat = &job->seats[rank];

		if (seat->pidfd >= 0 && job->watcher->watch(job->host, seat->pidfd, PAR_READABLE,
		                                            on_seat_death, seat, &seat->death) < 0)
			return no_memory(error);
	}
	return PAR_OK;
}

int32_t job_adopt(struct job *job, struct pool *pool, const par_host *host, par_error *error)
{
	job->pool = pool;
	job->host = host;
	if (job->watcher->watch(job->host, job->pidfd, PAR_READABLE, on_death, job, &job->death) < 0 ||
	    (job->fd >= 0 && job->watcher->watch(job->host, job->fd, PAR_READABLE, on_news, job,
	                                         &job->news) < 0) ||
	    output_watch(&job->output, job->host, job->watcher) < 0)
		return no_memory(error);
	return job->state == JOB_READY ? watch_seats(job, error) : PAR_OK;
}

void job_let_go(struct job *job)
{
	stop_watch(&job->death, job->watcher->unwatch);
	stop_watch(&job->news, job->watcher->unwatch);
	job->wants_room = 0;
	unwatch_seats(job);
	output_unwatch(&job->output);
	job->pool = NULL;
}

/* Tokens are compared in the same time, wherever they differ. */
static int is_token(const struct job *job, const char *token)
{
	unsigned char differs = 0;

	for (int i = 0; i < TOKEN_CHARS; i++)
		differs |= (unsigned char)(job->token[i] ^ token[i]);
	return differs == 0;
}

static int32_t meet(struct job *job, const struct seat_hello *list)
{
	struct seat_hello own;

	place_describe(&own);
	job->seats = calloc((size_t)job->n_workers + 1, sizeof(*job->seats));
	if (job->seats == NULL)
		return PAR_ENOMEM;
	for (int rank = 0; rank <= job->n_workers; rank++) {
		struct seat *seat = &job->seats[rank];

		*seat = (struct seat){.job = job, .rank = rank, .pidfd = -1, .exit_code = -1};
		memcpy(&seat->hello, &list[rank], sizeof(seat->hello));
		seat->hello.host[HOST_CHARS - 1] = seat->hello.boot[BOOT_CHARS - 1] = '\0';
		seat->is_near = place_is_same(&seat->hello, &own);
		if (seat->is_near)
			seat->pidfd = (int)syscall(SYS_pidfd_open, seat->hello.pid, 0);
	}
	return watch_seats(job, NULL);
}

static void be_ready(struct job *job)
{
	size_t n = sizeof(struct hello) + ((size_t)job->n_workers + 1) * sizeof(struct seat_hello);
	struct hello hello;

	if (job->in_n < sizeof(hello))
		return;
	memcpy(&hello, job->in, sizeof(hello));
	if (memcmp(hello.mark, "parloop", 8) != 0 || !is_token(job, hello.token) ||
	    hello.n_ranks != (uint32_t)job->n_workers + 1) {
		begin_dying(job);
		return;
	}
	if (job->in_n < n)
		return;
	if (meet(job, (const struct seat_hello *)(const void *)(job->in + sizeof(hello))) < 0) {
		end(job);
		return;
	}
	for (int i = 0; i < 2; i++) {
		stop_watch(&job->calls[i], job->watcher->unwatch);
		if (job->listeners[i] >= 0)
			close(job->listeners[i]);
		job->listeners[i] = -1;
	}
	stop_watch(&job->deadline, job->timer->stop);
	stop_watch(&job->tick, job->timer->stop);
	job->in_at = n;
	job->state = JOB_READY;
	job->output.is_quiet = job->captures;
	(void)make_room_in(job, sizeof(struct record) + PIECE_BYTES + 8);
	pool_job_ready(job->pool, job);
}

static void on_strange(void *arg)
{
	struct job *job = arg;

	stop_watch(&job->tick, job->timer->stop);
	begin_dying(job);
}

static int is_ours(int fd)
{
	struct ucred who;
	socklen_t size = sizeof(who);
	int domain = 0;
	socklen_t domain_size = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &domain_size) < 0 || domain != AF_UNIX)
		return 1;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) == 0 && who.uid == geteuid();
}

/* One at a time: who else calls waits until it is known who this is. */
static void on_call(void *arg, int32_t events, int32_t error)
{
	struct job *job = arg;
	int fd;

	(void)events, (void)error;
	if (job->fd >= 0)
		return;
	for (int i = 0; i < 2 && job->fd < 0; i++) {
		fd = job->listeners[i] >= 0
		             ? accept4(job->listeners[i], NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)
		             : -1;
		if (fd >= 0 && !is_ours(fd))
			close(fd);
		else
			job->fd = fd;
	}
	if (job->fd < 0)
		return;
	stop_watch(&job->tick, job->timer->stop);
	if (make_room_in(job, sizeof(struct hello) +
	                              ((size_t)job->n_workers + 1) * sizeof(struct seat_hello)) < 0 ||
	    job->watcher->watch(job->host, job->fd, PAR_READABLE, on_news, job, &job->news) < 0 ||
	    job->timer->start(job->host, STRANGE_NS, 0, on_strange, job, &job->tick) < 0)
		begin_dying(job);
}

static void on_deadline(void *arg)
{
	struct job *job = arg;

	job->was_killed = 1;
	end(job);
}

int32_t job_watch_start(struct job *job, int64_t timeout_ns, par_error *error)
{
	for (int i = 0; i < 2; i++)
		if (job->listeners[i] >= 0 &&
		    job->watcher->watch(job->host, job->listeners[i], PAR_READABLE, on_call, job,
		                        &job->calls[i]) < 0)
			return no_memory(error);
	if (timeout_ns > 0 &&
	    job->timer->start(job->host, timeout_ns, 0, on_deadline, job, &job->deadline) < 0)
		return no_memory(error);
	return job_adopt(job, job->pool, job->host, error);
}
