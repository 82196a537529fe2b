#include "state.h"

#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Call fn with each number that is a name in the folder. */
static void each_number(FILE *list, const char *folder, void (*fn)(FILE *list, int number, int own))
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (isdigit((unsigned char)entry->d_name[0]))
			fn(list, atoi(entry->d_name), dirfd(dir));
	(void)closedir(dir);
}

static void put_thread(FILE *list, int number, int own)
{
	char path[64], name[32] = "";
	FILE *comm;

	(void)own;
	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/comm", number);
	comm = fopen(path, "re");
	if (comm != NULL && fgets(name, sizeof(name), comm) != NULL)
		name[strcspn(name, "\n")] = '\0';
	if (comm != NULL)
		(void)fclose(comm);
	(void)fprintf(list, "thread %d (%s)\n", number, name);
}

static void put_descriptor(FILE *list, int number, int own)
{
	char link[64], target[PATH_MAX];
	ssize_t n;

	if (number == own)
		return;
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", number);
	n = readlink(link, target, sizeof(target) - 1);
	if (n < 0)
		return;
	target[n] = '\0';
	(void)fprintf(list, "descriptor %d (%s)\n", number, target);
}

static void put_children_of(FILE *list, int number, int own)
{
	char path[64];
	FILE *children;
	int child;

	(void)own;
	(void)snprintf(path, sizeof(path), "/proc/self/task/%d/children", number);
	children = fopen(path, "re");
	if (children == NULL)
		return;
	while (fscanf(children, "%d", &child) == 1)
		(void)fprintf(list, "child process %d\n", child);
	(void)fclose(children);
}

static void put_dispositions(FILE *list)
{
	struct sigaction action;

	for (int number = 1; number < NSIG; number++) {
		if (sigaction(number, NULL, &action) < 0)
			continue;
		(void)fprintf(list, "disposition of signal %d (%s): %s\n", number,
		              sigabbrev_np(number) != NULL ? sigabbrev_np(number) : "real-time",
		              action.sa_handler == SIG_DFL   ? "default"
		              : action.sa_handler == SIG_IGN ? "ignored"
		                                             : "a handler");
	}
}

static void put_mask(FILE *list)
{
	sigset_t mask;

	(void)pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (int number = 1; number < NSIG; number++)
		if (sigismember(&mask, number) == 1)
			(void)fprintf(list, "blocked signal %d\n", number);
}

static void put_umask(FILE *list)
{
	FILE *status = fopen("/proc/self/status", "re");
	char line[200];

	while (status != NULL && fgets(line, sizeof(line), status) != NULL)
		if (strncmp(line, "Umask:", 6) == 0)
			(void)fprintf(list, "umask %s", line + 6 + strspn(line + 6, " \t"));
	if (status != NULL)
		(void)fclose(status);
}

static void put_rounding(FILE *list)
{
#if defined(__x86_64__)
	enum { STATUS = 0x3f }; /* what was raised since; no setting */
	uint16_t x87;

	__asm__ volatile("fnstcw %0" : "=m"(x87));
	(void)fprintf(list, "rounding mxcsr %x x87 %x\n", __builtin_ia32_stmxcsr() & ~(unsigned)STATUS,
	              x87);
#else
	(void)list;
#endif
}

static void put(FILE *list, int what)
{
	char folder[PATH_MAX];

	if (what & STATE_THREADS)
		each_number(list, "/proc/self/task", put_thread);
	if (what & STATE_DESCRIPTORS)
		each_number(list, "/proc/self/fd", put_descriptor);
	if (what & STATE_CHILDREN)
		each_number(list, "/proc/self/task", put_children_of);
	if (what & STATE_DISPOSITIONS)
		put_dispositions(list);
	if (what & STATE_MASK)
		put_mask(list);
	if (what & STATE_UMASK)
		put_umask(list);
	if (what & STATE_FOLDER)
		(void)fprintf(list, "folder %s\n", getcwd(folder, sizeof(folder)) == NULL ? "?" : folder);
	if (what & STATE_LOCALE)
		(void)fprintf(list, "locale %s\n", setlocale(LC_ALL, NULL));
	for (char **variable = environ; (what & STATE_ENVIRONMENT) && *variable != NULL; variable++)
		(void)fprintf(list, "environment %.*s\n", (int)strcspn(*variable, "\n"), *variable);
	if (what & STATE_ROUNDING)
		put_rounding(list);
}

char *state_now(int what)
{
	char *text;
	size_t size;
	FILE *list = open_memstream(&text, &size);

	if (list == NULL)
		abort();
	put(list, what);
	if (fclose(list) == EOF)
		abort();
	return text;
}

/* Has the list that line? */
static int has(const char *list, const char *line, size_t length)
{
	for (; *list != '\0'; list += strcspn(list, "\n") + 1)
		if (strcspn(list, "\n") == length && strncmp(list, line, length) == 0)
			return 1;
	return 0;
}

/* The first line of one that the other has not, marked. */
static char *missing(const char *from, const char *in, char mark)
{
	char *found;

	for (; *from != '\0'; from += strcspn(from, "\n") + 1) {
		size_t length = strcspn(from, "\n");

		if (!has(in, from, length))
			return asprintf(&found, "%c%.*s", mark, (int)length, from) < 0 ? NULL : found;
	}
	return NULL;
}

char *state_changed(char *before, int what)
{
	char *now = state_now(what);
	char *found = missing(now, before, '+');

	if (found == NULL)
		found = missing(before, now, '-');
	free(before);
	free(now);
	return found;
}

size_t state_count(int what)
{
	char *now = state_now(what);
	size_t n = 0;

	for (const char *at = now; *at != '\0'; at++)
		n += *at == '\n';
	free(now);
	return n;
}
