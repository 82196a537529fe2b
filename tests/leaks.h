/* leaks.h - does a test leave anything behind?
 *
 *	struct leaks leaks;
 *
 *	leaks_begin(&leaks);
 *	...
 *	leaks_end(&leaks);
 *
 * Around every test of check this is done by around.c.  What counts: threads,
 * descriptors, child processes, entries of /dev/shm that are named after us and of $TMPDIR, signal
 * dispositions and this thread's mask.  It fails the test with the names of what is
 * left, and of descriptors that are gone though the test did not open them.
 *
 * Give $TMPDIR a folder of its own first (leaks_own_tmpdir): others use /tmp too.
 * The test must run in a process of its own, as check does it. */
#ifndef TESTS_LEAKS_H
#define TESTS_LEAKS_H

#include <check.h>
#include <ctype.h>
#include <dirent.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LEAKS_USED __attribute__((unused)) static

struct leaks {
	char *tmpdir; /* as it was then: tests have environments of their own */
	char *before; /* a list of what there was, a line each */
};

LEAKS_USED const char *leaks_tmpdir(void)
{
	const char *folder = getenv("TMPDIR");

	return folder != NULL && *folder != '\0' ? folder : "/tmp";
}

/* Of those that others use as well, what has that word in its name. */
LEAKS_USED void leaks_folder(FILE *list, const char *folder, const char *word)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL)
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
		    strstr(entry->d_name, word) != NULL)
			fprintf(list, "file %s/%s\n", folder, entry->d_name);
	closedir(dir);
}

LEAKS_USED void leaks_threads(FILE *list)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL)
		if (isdigit((unsigned char)entry->d_name[0]))
			fprintf(list, "thread %s\n", entry->d_name);
	closedir(dir);
}

LEAKS_USED void leaks_descriptors(FILE *list)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL) {
		char target[PATH_MAX];
		ssize_t n;

		if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == dirfd(dir))
			continue;
		n = readlinkat(dirfd(dir), entry->d_name, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = '\0';
		fprintf(list, "descriptor %s -> %s\n", entry->d_name, target);
	}
	closedir(dir);
}

/* The parent's id stands after the name, which may contain anything, and the state. */
LEAKS_USED int leaks_is_child(const char *pid, char *name, size_t size)
{
	char path[64], text[512];
	const char *close;
	FILE *file;
	size_t n;
	int parent;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/stat", pid);
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	n = fread(text, 1, sizeof(text) - 1, file);
	fclose(file);
	text[n] = '\0';
	close = strrchr(text, ')');
	if (close == NULL || sscanf(close + 1, " %*c %d", &parent) != 1 || parent != getpid())
		return 0;
	(void)snprintf(name, size, "%.*s", (int)(close + 1 - text), text);
	return 1;
}

LEAKS_USED void leaks_children(FILE *list)
{
	DIR *dir = opendir("/proc");
	struct dirent *entry;
	char name[128];

	ck_assert_ptr_nonnull(dir);
	while ((entry = readdir(dir)) != NULL)
		if (isdigit((unsigned char)entry->d_name[0]) &&
		    leaks_is_child(entry->d_name, name, sizeof(name)))
			fprintf(list, "child %s\n", name);
	closedir(dir);
}

LEAKS_USED void leaks_signals(FILE *list)
{
	sigset_t mask;

	pthread_sigmask(SIG_BLOCK, NULL, &mask);
	for (int i = 1; i < NSIG; i++) {
		struct sigaction action;

		if (sigaction(i, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			fprintf(list, "signal %d handled\n", i);
		if (sigismember(&mask, i) == 1)
			fprintf(list, "signal %d blocked\n", i);
	}
}

/* To be freed. */
LEAKS_USED char *leaks_list(const char *tmpdir)
{
	char *text = NULL;
	size_t size = 0;
	FILE *list = open_memstream(&text, &size);

	ck_assert_ptr_nonnull(list);
	leaks_threads(list);
	leaks_descriptors(list);
	leaks_children(list);
	leaks_folder(list, "/dev/shm", "parloop");
	leaks_folder(list, tmpdir, "");
	leaks_signals(list);
	fclose(list);
	return text;
}

LEAKS_USED int leaks_has_line(const char *list, const char *line, size_t length)
{
	for (; *list != '\0'; list += strcspn(list, "\n") + 1)
		if (strncmp(list, line, length + 1) == 0)
			return 1;
	return 0;
}

/* Append to report the lines of one list that another has not, if they begin so. */
LEAKS_USED void leaks_difference(const char *list, const char *other, const char *beginning,
                                 const char *word, char *report, size_t size)
{
	for (const char *line = list; *line != '\0'; line += strcspn(line, "\n") + 1) {
		size_t length = strcspn(line, "\n"), used = strlen(report);

		if (strncmp(line, beginning, strlen(beginning)) == 0 &&
		    !leaks_has_line(other, line, length))
			(void)snprintf(report + used, size - used, "%s %.*s; ", word, (int)length,
			               line);
	}
}

LEAKS_USED void *leaks_no_thread(void *arg)
{
	return arg;
}

LEAKS_USED void leaks_moment(void)
{
	struct timespec moment = {.tv_nsec = 1000000};

	nanosleep(&moment, NULL);
}

LEAKS_USED void leaks_begin(struct leaks *leaks)
{
	pthread_t thread;
	char *again;
	int same = 0;

	/* A sanitizer starts a thread of its own with the first of ours. */
	ck_assert_int_eq(pthread_create(&thread, NULL, leaks_no_thread, NULL), 0);
	pthread_join(thread, NULL);
	leaks->tmpdir = strdup(leaks_tmpdir());
	ck_assert_ptr_nonnull(leaks->tmpdir);
	leaks->before = leaks_list(leaks->tmpdir);
	/* A joined thread may be listed for a moment longer. */
	for (int i = 0; i < 1000 && !same; i++) {
		leaks_moment();
		again = leaks_list(leaks->tmpdir);
		same = strcmp(again, leaks->before) == 0;
		free(leaks->before);
		leaks->before = again;
	}
}

/* What is left, in one line; empty: nothing.  What ended may be listed for a moment
 * longer, so it counts if it is there for so long. */
LEAKS_USED const char *leaks_report(struct leaks *leaks, int milliseconds, char *report,
                                    size_t size)
{
	for (int i = 0; i <= milliseconds; i++) {
		char *after = leaks_list(leaks->tmpdir);

		report[0] = '\0';
		leaks_difference(after, leaks->before, "", "left:", report, size);
		leaks_difference(leaks->before, after, "descriptor", "gone:", report, size);
		free(after);
		if (report[0] == '\0')
			break;
		leaks_moment();
	}
	return report;
}

LEAKS_USED void leaks_forget(struct leaks *leaks)
{
	free(leaks->tmpdir);
	free(leaks->before);
	*leaks = (struct leaks){NULL, NULL};
}

LEAKS_USED void leaks_end(struct leaks *leaks)
{
	const char *wait_ms = getenv("LEAKS_WAIT_MS");
	char report[1024]; /* check takes no longer messages */

	leaks_report(leaks, wait_ms != NULL ? atoi(wait_ms) : 5000, report, sizeof(report));
	leaks_forget(leaks);
	ck_assert_msg(report[0] == '\0', "%s", report);
}

/* Of the test that runs (around.c); one whose beginnings are no leak, such as what a backend makes
 * once per process, begins it again. */
extern struct leaks leaks_of_test;

LEAKS_USED void leaks_begin_again(void)
{
	leaks_forget(&leaks_of_test);
	leaks_begin(&leaks_of_test);
}

/* Call it in main; the folder is to be removed at its end. */
LEAKS_USED void leaks_own_tmpdir(char folder[PATH_MAX])
{
	(void)snprintf(folder, PATH_MAX, "%s/parloop-test.XXXXXX", leaks_tmpdir());
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		exit(EXIT_FAILURE);
	}
	setenv("TMPDIR", folder, 1);
}

#endif
