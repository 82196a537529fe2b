/* scratch.h - for tests that need files: a folder that is removed at exit, and what
 * was logged. */
#ifndef TESTS_SCRATCH_H
#define TESTS_SCRATCH_H

#include <parloop/parloop.h>

#include <check.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNUSED __attribute__((unused))

static char scratch_dir[] = "/tmp/parloop-test-XXXXXX";
static pid_t scratch_owner;
static char scratch_log[16384];

UNUSED static int scratch_remove_one(const char *path, const struct stat *file, int type,
                                     struct FTW *walk)
{
	(void)file, (void)type, (void)walk;
	return remove(path);
}

UNUSED static void scratch_remove(void)
{
	if (scratch_owner == getpid())
		(void)nftw(scratch_dir, scratch_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

UNUSED static void scratch_keep_log(void *user, int32_t level, const char *line)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	size_t used;

	(void)user;
	pthread_mutex_lock(&lock);
	used = strlen(scratch_log);
	(void)snprintf(scratch_log + used, sizeof(scratch_log) - used, "%d %s\n", level, line);
	pthread_mutex_unlock(&lock);
}

/* A fixture, once per test: each runs in a process of its own. */
UNUSED static void scratch_begin(void)
{
	(void)strcpy(scratch_dir, "/tmp/parloop-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(scratch_dir));
	scratch_owner = getpid();
	setenv("XDG_CONFIG_HOME", scratch_dir, 1);
	unsetenv("PARLOOP_CONF");
	unsetenv("PARLOOP_PLUGIN_DIR");
	scratch_log[0] = '\0';
	par_set_log(scratch_keep_log, NULL);
}

UNUSED static void scratch_end(void)
{
	scratch_remove();
}

/* A path in it; valid until the eighth call after. */
UNUSED static const char *scratch_path(const char *name)
{
	static char paths[8][256];
	static int next;
	char *path = paths[next++ % 8];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", scratch_dir, name);
	return path;
}

UNUSED static const char *scratch_write(const char *name, const void *bytes, size_t n)
{
	const char *path = scratch_path(name);
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, n, file), n);
	ck_assert_int_eq(fclose(file), 0);
	return path;
}

/* The same, with the folders it needs. */
UNUSED static void scratch_put(const char *name, const char *text)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s", scratch_path(name));
	for (char *at = path + strlen(scratch_dir) + 1; (at = strchr(at, '/')) != NULL; at++) {
		*at = '\0';
		(void)mkdir(path, 0700);
		*at = '/';
	}
	scratch_write(name, text, strlen(text));
}

/* All of a file; of malloc. */
UNUSED static char *scratch_read(const char *path, size_t *n)
{
	FILE *file = fopen(path, "r");
	struct stat stat_buffer;
	char *bytes;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(fstat(fileno(file), &stat_buffer), 0);
	*n = (size_t)stat_buffer.st_size;
	bytes = malloc(*n + 1);
	ck_assert_ptr_nonnull(bytes);
	ck_assert_uint_eq(fread(bytes, 1, *n, file), *n);
	(void)fclose(file);
	return bytes;
}

/* As `install`: a new file, put in its place whole. */
UNUSED static const char *scratch_copy(const char *from, const char *name)
{
	size_t n;
	char *bytes = scratch_read(from, &n);
	char path[256], temporary[300];

	(void)snprintf(path, sizeof(path), "%s", scratch_write("copying", bytes, n));
	(void)snprintf(temporary, sizeof(temporary), "%s", scratch_path(name));
	ck_assert_int_eq(rename(path, temporary), 0);
	free(bytes);
	return scratch_path(name);
}

/* A plugin of tests/plugins, as built. */
#define PLUGIN(name) PAR_BUILD "/tests/plugins/" name ".so"

#define assert_contains(text, part)                                                             \
	ck_assert_msg(strstr(text, part) != NULL, "\"%s\" does not contain \"%s\"", text, part)

#endif
