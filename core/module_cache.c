#include "module_cache.h"

#include "error.h"
#include "forked.h"
#include "module_content.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { NAME = 2 * 32 + sizeof(".so") };

/* What is not whole after that time never will be; and one that was asked for so recently is
 * about to be opened. */
enum { STALE_S = 3600, RECENT_S = 60 };

/* Begins the name of what is not whole yet. */
static const char unfinished[] = ".part-";

/* --- the folder ------------------------------------------------------------------------------ */

static const char *environment(const char *name)
{
	const char *value = secure_getenv(name);

	return value == NULL || value[0] != '/' ? NULL : value;
}

static int32_t refuse_folder(const char *folder, const char *reason, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "cannot keep a task module that was sent here");
	error_file(error, "%s", folder);
	error_reason(error, "%s", reason);
	error_remedy(error, "name a folder that is this user's alone in $PARLOOP_CACHE");
	return PAR_EUNAVAIL;
}

static void name_folder(char folder[PATH_MAX])
{
	const char *named = environment("PARLOOP_CACHE"), *cache = environment("XDG_CACHE_HOME");
	const char *home = environment("HOME");

	if (named != NULL)
		(void)snprintf(folder, PATH_MAX, "%s", named);
	else if (cache != NULL)
		(void)snprintf(folder, PATH_MAX, "%s/parloop", cache);
	else if (home != NULL)
		(void)snprintf(folder, PATH_MAX, "%s/.cache/parloop", home);
	else
		(void)snprintf(folder, PATH_MAX, "/tmp/parloop-%u", (unsigned)geteuid());
}

/* With those above it. */
static int make_folder(char *folder)
{
	for (char *slash = strchr(folder + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(folder, 0700);
		*slash = '/';
	}
	return mkdir(folder, 0700) < 0 && errno != EEXIST ? -1 : 0;
}

/* The folder, open, which nobody else can write to. */
static int32_t open_folder(char folder[PATH_MAX], int *fd, par_error *error)
{
	struct stat file;

	name_folder(folder);
	if (make_folder(folder) < 0)
		return refuse_folder(folder, strerror(errno), error);
	*fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*fd < 0)
		return refuse_folder(folder, strerror(errno), error);
	if (fstat(*fd, &file) == 0 && file.st_uid == geteuid() && (file.st_mode & 077) == 0)
		return PAR_OK;
	close(*fd);
	return refuse_folder(folder, "it can be read or written by others", error);
}

/* --- what it has --------------------------------------------------------------------------- */

static int has_content(int fd, const par_attachment *attachment)
{
	struct stat file;
	char *bytes;
	int is_so;

	if (fstat(fd, &file) < 0 || !S_ISREG(file.st_mode) ||
	    (uint64_t)file.st_size != attachment->bytes || (bytes = malloc(attachment->bytes)) == NULL)
		return 0;
	is_so = pread(fd, bytes, attachment->bytes, 0) == (ssize_t)attachment->bytes &&
	        memcmp(bytes, attachment->address, attachment->bytes) == 0;
	free(bytes);
	return is_so;
}

/* It is asked for now, which is what its time says. */
static int is_there(int folder, const char *name, const par_attachment *attachment)
{
	int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	int is_so;

	if (fd < 0)
		return 0;
	is_so = has_content(fd, attachment);
	if (is_so)
		(void)futimens(fd, NULL);
	close(fd);
	return is_so;
}

static int write_whole(int fd, const char *bytes, uint64_t n)
{
	while (n > 0) {
		ssize_t done = write(fd, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return -1;
		bytes += done;
		n -= (uint64_t)done;
	}
	return 0;
}

static int add(int folder, const char *name, const par_attachment *attachment)
{
	static _Atomic unsigned counter;
	char part[NAME_MAX];
	int fd, why, failed;

	(void)snprintf(part, sizeof(part), "%s%ld-%u-%.16s", unfinished, (long)getpid(),
	               atomic_fetch_add(&counter, 1), name);
	fd = openat(folder, part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0700);
	if (fd < 0)
		return -1;
	failed = write_whole(fd, attachment->address, attachment->bytes) < 0;
	why = errno;
	failed |= close(fd) < 0 || (!failed && renameat(folder, part, folder, name) < 0);
	if (!failed)
		return 0;
	(void)unlinkat(folder, part, 0);
	errno = why;
	return -1;
}

/* --- room ------------------------------------------------------------------------------------- */

/* Visit the files that may go, in any order; *oldest is the one not asked for the longest. */
static uint64_t look_around(DIR *folder, time_t now, char oldest[NAME_MAX + 1])
{
	time_t oldest_time = now - RECENT_S;
	uint64_t bytes = 0;
	struct dirent *entry;
	struct stat file;

	oldest[0] = '\0';
	rewinddir(folder);
	while ((entry = readdir(folder)) != NULL) {
		if (fstatat(dirfd(folder), entry->d_name, &file, AT_SYMLINK_NOFOLLOW) < 0 ||
		    !S_ISREG(file.st_mode))
			continue;
		if (strncmp(entry->d_name, unfinished, strlen(unfinished)) == 0) {
			if (file.st_mtime < now - STALE_S)
				(void)unlinkat(dirfd(folder), entry->d_name, 0);
			continue;
		}
		bytes += (uint64_t)file.st_size;
		if (file.st_mtime >= oldest_time)
			continue;
		oldest_time = file.st_mtime;
		(void)strcpy(oldest, entry->d_name);
	}
	return bytes;
}

static void make_room(int fd)
{
	int own = dup(fd);
	DIR *folder = own >= 0 ? fdopendir(own) : NULL;
	char oldest[NAME_MAX + 1];

	if (folder == NULL) {
		if (own >= 0)
			close(own);
		return;
	}
	while (look_around(folder, time(NULL), oldest) > MODULE_CACHE_BYTES && oldest[0] != '\0')
		if (unlinkat(fd, oldest, 0) < 0)
			break;
	closedir(folder);
}

/* --- what this process has open ------------------------------------------------------------------ */

/* Its file may be gone since, or be another one of the same content, which the C library would not
 * look at. */
struct opened {
	struct opened *next;
	par_module *module;
	uint8_t sha256[32];
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct opened *first;
} opened = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(opened.lock);

static par_module *find_opened(const par_attachment *attachment)
{
	for (struct opened *one = opened.first; one != NULL; one = one->next)
		if (memcmp(one->sha256, attachment->sha256, sizeof(one->sha256)) == 0)
			return one->module;
	return NULL;
}

/* Without memory it is not remembered. */
static void remember(const par_attachment *attachment, par_module *module)
{
	struct opened *one = malloc(sizeof(*one));

	if (one == NULL)
		return;
	one->module = module;
	memcpy(one->sha256, attachment->sha256, sizeof(one->sha256));
	one->next = opened.first;
	opened.first = one;
}

/* --- all of it ---------------------------------------------------------------------------------- */

static int32_t refuse_content(const par_attachment *attachment, const char *reason, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "a task module that was sent here cannot be used");
	error_reason(error, "%s (%llu bytes)", reason, (unsigned long long)attachment->bytes);
	error_remedy(error, "have the same file on both sides, and start the workers anew");
	return PAR_EUNAVAIL;
}

static int32_t check_content(const par_attachment *attachment, par_error *error)
{
	uint8_t digest[sizeof(attachment->sha256)];
	int32_t status;

	if (!PAR_HAS(attachment, sha256) || attachment->kind != PAR_ATTACH_MODULE)
		return refuse_content(attachment, "it is something else", error);
	if (attachment->address == NULL)
		return refuse_content(attachment, "it is not in this worker's memory", error);
	status = elf_check_bytes(attachment->address, attachment->bytes, "the task module", error);
	if (status < 0) {
		error_prefix(error, "cannot use a task module that was sent here");
		error_remedy(error, "have a build of it for this machine under its path here");
		return status;
	}
	module_digest(attachment->address, attachment->bytes, digest);
	if (memcmp(digest, attachment->sha256, sizeof(digest)) == 0)
		return PAR_OK;
	return refuse_content(attachment, "it was damaged on the way: its SHA-256 is another", error);
}

static int32_t open_new(par_module **module, const par_attachment *attachment, par_error *error)
{
	char folder[PATH_MAX], path[PATH_MAX + NAME], name[NAME];
	int fd;
	int32_t status = open_folder(folder, &fd, error);

	if (status < 0)
		return status;
	for (int i = 0; i < 32; i++)
		(void)snprintf(name + 2 * i, 3, "%02x", attachment->sha256[i]);
	(void)strcpy(name + 64, ".so");
	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	if (!is_there(fd, name, attachment)) {
		if (add(fd, name, attachment) < 0)
			status = refuse_folder(folder, strerror(errno), error);
		else
			make_room(fd);
	}
	close(fd);
	if (status == PAR_OK)
		status = par_module_open(module, path, error);
	return status;
}

int32_t module_cache_open(par_module **module, const par_attachment *attachment, par_error *error)
{
	int32_t status = check_content(attachment, error);

	if (status < 0)
		return status;
	pthread_mutex_lock(&opened.lock);
	*module = find_opened(attachment);
	if (*module == NULL) {
		status = open_new(module, attachment, error);
		if (status == PAR_OK)
			remember(attachment, *module);
	}
	pthread_mutex_unlock(&opened.lock);
	return status;
}
