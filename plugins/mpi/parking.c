#include "parking.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_PARKED = 4 };

static struct {
	pthread_mutex_t lock;
	/* under lock, newest first */
	struct job *first;
} parked = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* In a child of fork() they are the parent's. */
static void before_fork(void)
{
	pthread_mutex_lock(&parked.lock);
}

static void after_fork(void)
{
	pthread_mutex_unlock(&parked.lock);
}

static void in_child(void)
{
	struct job *job = parked.first;

	parked.first = NULL;
	after_fork();
	while (job != NULL) {
		struct job *next = job->next;

		job->pid = 0;
		job_destroy(job);
		job = next;
	}
}

static void prepare(void)
{
	(void)pthread_atfork(before_fork, after_fork, in_child);
}

static uint64_t hash_text(uint64_t hash, const char *text)
{
	do
		hash = (hash ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	while (*text++ != '\0');
	return hash;
}

char *parking_key(const struct launch *launch, const struct settings *settings, int n_workers,
                  char *const *env)
{
	uint64_t hash = UINT64_C(0xcbf29ce484222325);
	char folder[PATH_MAX], *key = NULL;

	for (; *env != NULL; env++)
		hash = hash_text(hash, *env);
	if (getcwd(folder, sizeof(folder)) == NULL)
		folder[0] = '\0';
	if (asprintf(&key, "%s\n%s\n%s\n%s\n%s\n%s\n%s\n%d %d %016llx", launch->command, launch->relay,
	             settings->hosts, settings->hostfile, settings->address, settings->variables, folder,
	             n_workers, settings->captures, (unsigned long long)hash) < 0)
		return NULL;
	return key;
}

/* Those that have ended meanwhile, and those beyond so many: of malloc no more than they. */
static struct job *take_out(struct job **list, size_t most)
{
	struct job *out = NULL;
	size_t n = 0;

	while (*list != NULL) {
		struct job *job = *list;

		if (job_is_alive(job) && n < most) {
			n++;
			list = &job->next;
			continue;
		}
		*list = job->next;
		job->next = out;
		out = job;
	}
	return out;
}

static void destroy_all(struct job *job)
{
	while (job != NULL) {
		struct job *next = job->next;

		job_destroy(job);
		job = next;
	}
}

struct job *parking_take(const char *key)
{
	struct job *job = NULL, *dead;

	pthread_mutex_lock(&parked.lock);
	dead = take_out(&parked.first, SIZE_MAX);
	for (struct job **at = &parked.first; *at != NULL; at = &(*at)->next) {
		if (strcmp((*at)->key, key) != 0)
			continue;
		job = *at;
		*at = job->next;
		break;
	}
	pthread_mutex_unlock(&parked.lock);
	destroy_all(dead);
	return job;
}

void parking_add(struct job *job)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct job *dead;

	pthread_once(&once, prepare);
	pthread_mutex_lock(&parked.lock);
	job->next = parked.first;
	parked.first = job;
	dead = take_out(&parked.first, MOST_PARKED);
	pthread_mutex_unlock(&parked.lock);
	destroy_all(dead);
}
