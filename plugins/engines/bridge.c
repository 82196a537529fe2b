#include "bridge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

enum { READ_BYTES = 256 * 1024, MOST_IDLE = 4, PIECES = 16 };

struct head {
	uint32_t kind;
	int32_t n;
	uint64_t id, size;
};

/* Not sent yet. */
struct queued {
	struct queued *next;
	const char *apart; /* follows what is copied */
	size_t n_copied, n_apart;
	char copied[];
};

struct bridge {
	struct bridge *next; /* idle */
	pid_t pid, owner;
	int is_finished; /* it ends this moment */
	int fd;
	char *options;
	size_t n_options;

	uint64_t *known; /* modules that it has */
	size_t n_known;

	struct queued *first, **last;
	size_t sent; /* of the first */

	char *bytes; /* came, and not looked at */
	size_t at, used, room;
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct bridge *idle;
	pid_t ended[64]; /* to be waited for */
	int n_ended;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* --- the process -------------------------------------------------------------------------------- */

/* Those that have ended by now; nobody waits for them. */
static void reap(void)
{
	for (int i = 0; i < all.n_ended;)
		if (waitpid(all.ended[i], NULL, WNOHANG) == 0)
			i++;
		else
			all.ended[i] = all.ended[--all.n_ended];
}

static void bury(struct bridge *bridge)
{
	close(bridge->fd);
	if (bridge->owner == getpid() && bridge->is_finished) {
		while (waitpid(bridge->pid, NULL, 0) < 0 && errno == EINTR)
			;
		bridge->owner = 0;
	}
	pthread_mutex_lock(&all.lock);
	reap();
	if (bridge->owner == getpid() && all.n_ended < (int)(sizeof(all.ended) / sizeof(all.ended[0])))
		all.ended[all.n_ended++] = bridge->pid;
	pthread_mutex_unlock(&all.lock);
	while (bridge->first != NULL) {
		struct queued *queued = bridge->first;

		bridge->first = queued->next;
		free(queued);
	}
	free(bridge->options);
	free(bridge->known);
	free(bridge->bytes);
	free(bridge);
}

static int spawn(struct bridge *bridge, const struct bridge_start *start, int theirs)
{
	char parent[16];
	char *const argv[] = {(char *)(uintptr_t)start->python, (char *)(uintptr_t)start->script, parent, NULL};
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attributes;
	sigset_t none;
	int why;

	(void)snprintf(parent, sizeof(parent), "%ld", (long)getpid());
	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, theirs, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO);
	posix_spawnattr_init(&attributes);
	posix_spawnattr_setsigmask(&attributes, &none);
	posix_spawnattr_setpgroup(&attributes, 0); /* Ctrl-C is for the program */
	posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
	why = posix_spawnp(&bridge->pid, start->python, &actions, &attributes, argv, environ);
	posix_spawnattr_destroy(&attributes);
	posix_spawn_file_actions_destroy(&actions);
	return why;
}

static int32_t start_new(struct bridge **out, const struct bridge_start *start, par_error *error)
{
	struct bridge *bridge = calloc(1, sizeof(*bridge));
	const struct iovec options = {(char *)(uintptr_t)start->options, start->n_options};
	int ends[2] = {-1, -1}, why;

	if (bridge != NULL)
		bridge->options = malloc(start->n_options);
	if (bridge == NULL || bridge->options == NULL ||
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
		if (bridge != NULL)
			free(bridge->options);
		free(bridge);
		return par_fail(error, PAR_ENOMEM, "no memory, or no descriptors for a socket");
	}
	memcpy(bridge->options, start->options, start->n_options);
	bridge->n_options = start->n_options;
	bridge->fd = ends[0];
	bridge->last = &bridge->first;
	bridge->owner = getpid();
	why = spawn(bridge, start, ends[1]);
	close(ends[1]);
	if (why == 0 && fcntl(bridge->fd, F_SETFL, O_NONBLOCK) == 0 &&
	    bridge_send(bridge, BRIDGE_OPEN, 0, 0, &options, 1) == 0) {
		/* That was the last part, which need not stay. */
		bridge->first->apart = bridge->options;
		*out = bridge;
		return PAR_OK;
	}
	if (why != 0)
		bridge->owner = 0; /* there is no process */
	bury(bridge);
	if (why == 0)
		return par_fail(error, PAR_ENOMEM, "no memory");
	(void)par_fail(error, PAR_EUNAVAIL, "the interpreter \"%s\" cannot be executed: %s",
	               start->python, strerror(why));
	par_remedy(error, "install python3, or name an interpreter with the option python or "
	                  "$PARLOOP_PYTHON");
	return PAR_EUNAVAIL;
}

/* Of a fork's parent: those are not for the child, which has no descriptors of them. */
static void forget_foreign(void)
{
	for (struct bridge **at = &all.idle; *at != NULL;)
		if ((*at)->owner != getpid())
			*at = (*at)->next;
		else
			at = &(*at)->next;
}

static struct bridge *take_idle(const struct bridge_start *start)
{
	struct bridge *found = NULL;

	pthread_mutex_lock(&all.lock);
	reap();
	forget_foreign();
	for (struct bridge **at = &all.idle; *at != NULL && found == NULL;)
		if ((*at)->n_options == start->n_options &&
		    memcmp((*at)->options, start->options, start->n_options) == 0) {
			found = *at;
			*at = found->next;
		} else {
			at = &(*at)->next;
		}
	pthread_mutex_unlock(&all.lock);
	return found;
}

int32_t bridge_take(struct bridge **bridge, const struct bridge_start *start, int *is_new,
                    par_error *error)
{
	struct message message;

	*is_new = 0;
	while ((*bridge = take_idle(start)) != NULL) {
		/* What it said since is old. */
		while (bridge_read(*bridge) == 0 && bridge_next(*bridge, &message) == 1)
			;
		if (bridge_read(*bridge) == 0 && bridge_send(*bridge, BRIDGE_LEASE, 0, 0, NULL, 0) == 0 &&
		    bridge_flush(*bridge) >= 0)
			return PAR_OK;
		bury(*bridge);
	}
	*is_new = 1;
	return start_new(bridge, start, error);
}

void bridge_give(struct bridge *bridge, int is_usable)
{
	int n = 0;

	if (bridge == NULL)
		return;
	is_usable = is_usable && bridge->owner == getpid() &&
	            bridge_send(bridge, BRIDGE_RELEASE, 0, 0, NULL, 0) == 0 && bridge_flush(bridge) == 0;
	pthread_mutex_lock(&all.lock);
	for (struct bridge *other = all.idle; other != NULL; other = other->next)
		n++;
	if (is_usable && n < MOST_IDLE) {
		bridge->next = all.idle;
		all.idle = bridge;
		bridge = NULL;
	}
	pthread_mutex_unlock(&all.lock);
	if (bridge != NULL)
		bury(bridge);
}

int bridge_finish(struct bridge *bridge)
{
	bridge->is_finished = 1;
	return shutdown(bridge->fd, SHUT_WR);
}

int bridge_fd(const struct bridge *bridge)
{
	return bridge->fd;
}

int bridge_knows(struct bridge *bridge, uint64_t id)
{
	uint64_t *known;

	for (size_t i = 0; i < bridge->n_known; i++)
		if (bridge->known[i] == id)
			return 1;
	known = reallocarray(bridge->known, bridge->n_known + 1, sizeof(*known));
	if (known == NULL)
		return 0; /* it is sent again */
	bridge->known = known;
	known[bridge->n_known++] = id;
	return 0;
}

/* --- to it ------------------------------------------------------------------------------------------ */

int bridge_send(struct bridge *bridge, uint32_t kind, int32_t n, uint64_t id,
                const struct iovec *parts, int n_parts)
{
	struct head head = {kind, n, id, 0};
	struct queued *queued;
	size_t copied = sizeof(head);
	char *to;

	for (int i = 0; i < n_parts; i++) {
		head.size += parts[i].iov_len;
		copied += i < n_parts - 1 ? parts[i].iov_len : 0;
	}
	queued = malloc(sizeof(*queued) + copied);
	if (queued == NULL)
		return -1;
	memcpy(queued->copied, &head, sizeof(head));
	to = queued->copied + sizeof(head);
	for (int i = 0; i < n_parts - 1; i++) {
		memcpy(to, parts[i].iov_base, parts[i].iov_len);
		to += parts[i].iov_len;
	}
	queued->next = NULL;
	queued->n_copied = copied;
	queued->apart = n_parts > 0 ? parts[n_parts - 1].iov_base : NULL;
	queued->n_apart = n_parts > 0 ? parts[n_parts - 1].iov_len : 0;
	*bridge->last = queued;
	bridge->last = &queued->next;
	return 0;
}

/* What is left of one, in two pieces at most. */
static int pieces_of(const struct queued *queued, size_t sent, struct iovec *pieces)
{
	int n = 0;

	if (sent < queued->n_copied)
		pieces[n++] = (struct iovec){(char *)(uintptr_t)queued->copied + sent,
		                             queued->n_copied - sent};
	sent = sent > queued->n_copied ? sent - queued->n_copied : 0;
	if (sent < queued->n_apart)
		pieces[n++] = (struct iovec){(char *)(uintptr_t)queued->apart + sent,
		                             queued->n_apart - sent};
	return n;
}

static void note_sent(struct bridge *bridge, size_t n)
{
	bridge->sent += n;
	while (bridge->first != NULL &&
	       bridge->sent >= bridge->first->n_copied + bridge->first->n_apart) {
		struct queued *queued = bridge->first;

		bridge->sent -= queued->n_copied + queued->n_apart;
		bridge->first = queued->next;
		free(queued);
	}
	if (bridge->first == NULL)
		bridge->last = &bridge->first;
}

int bridge_flush(struct bridge *bridge)
{
	while (bridge->first != NULL) {
		struct iovec pieces[2 * PIECES];
		struct msghdr message = {.msg_iov = pieces};
		size_t sent = bridge->sent;
		ssize_t n;

		for (struct queued *queued = bridge->first;
		     queued != NULL && message.msg_iovlen + 2 < 2 * PIECES; queued = queued->next) {
			message.msg_iovlen += (size_t)pieces_of(queued, sent, pieces + message.msg_iovlen);
			sent = 0;
		}
		n = sendmsg(bridge->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN || errno == ENOBUFS ? 1 : -1;
		note_sent(bridge, (size_t)n);
	}
	return 0;
}

/* --- from it ------------------------------------------------------------------------------------------ */

static int make_room(struct bridge *bridge, size_t n)
{
	char *bytes;

	if (bridge->at > 0) {
		memmove(bridge->bytes, bridge->bytes + bridge->at, bridge->used - bridge->at);
		bridge->used -= bridge->at;
		bridge->at = 0;
	}
	if (bridge->room - bridge->used >= n)
		return 0;
	bytes = realloc(bridge->bytes, bridge->used + n);
	if (bytes == NULL)
		return -1;
	bridge->bytes = bytes;
	bridge->room = bridge->used + n;
	return 0;
}

int bridge_read(struct bridge *bridge)
{
	for (;;) {
		ssize_t n;

		if (make_room(bridge, READ_BYTES) < 0)
			return -1;
		n = recv(bridge->fd, bridge->bytes + bridge->used, bridge->room - bridge->used, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -1;
		if (n == 0) {
			bridge->is_finished = 1;
			return -1;
		}
		bridge->used += (size_t)n;
		if (bridge->used < bridge->room)
			return 0;
	}
}

int bridge_next(struct bridge *bridge, struct message *message)
{
	struct head head;

	if (bridge->used - bridge->at < sizeof(head))
		return 0;
	memcpy(&head, bridge->bytes + bridge->at, sizeof(head));
	if (head.size > bridge->used - bridge->at - sizeof(head))
		return 0;
	*message = (struct message){head.kind, head.n, head.id, head.size,
	                            bridge->bytes + bridge->at + sizeof(head)};
	bridge->at += sizeof(head) + head.size;
	return 1;
}
