#include "probe.h"

#include "error.h"
#include "log.h"
#include "paths.h"

#include <parloop/parloop.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
	LIMIT_MS = 5000,
	NAP_MS = 10, /* where there is no pidfd */
	CHILD_FD = 3
};

int probe_parse_mode(const char *text, enum probe_mode *mode)
{
	static const char *const names[] = {"auto", "always", "never"};

	for (int i = 0; i < 3; i++)
		if (strcmp(text, names[i]) == 0) {
			*mode = (enum probe_mode)i;
			return 0;
		}
	return -1;
}

/* --- what is remembered: a line for each file --------------------------------------------------- */

/* 0; -1: there is no place for it. */
static int memory_path(char path[PATH_MAX], int make)
{
	const char *cache = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
	int n = cache != NULL && cache[0] == '/'
	                ? snprintf(path, PATH_MAX - 32, "%s", cache)
	        : home != NULL && home[0] == '/' ? snprintf(path, PATH_MAX - 32, "%s/.cache", home)
	                                         : -1;

	if (n < 0 || n >= PATH_MAX - 32)
		return -1;
	if (make)
		(void)mkdir(path, 0700);
	(void)strcat(path, "/parloop");
	if (make)
		(void)mkdir(path, 0700);
	(void)strcat(path, "/probed");
	return 0;
}

/* Which file it is, and as which version of parloop sees it. */
static int identify(const char *path, char line[200])
{
	struct stat file;

	if (stat(path, &file) < 0)
		return -1;
	return snprintf(line, 200, "%llx:%llx %lld %lld.%09ld %lld.%09ld %s\n",
	                (unsigned long long)file.st_dev, (unsigned long long)file.st_ino,
	                (long long)file.st_size, (long long)file.st_mtim.tv_sec, file.st_mtim.tv_nsec,
	                (long long)file.st_ctim.tv_sec, file.st_ctim.tv_nsec, PAR_VERSION_STRING);
}

static int is_remembered(const char *line)
{
	char path[PATH_MAX], other[200];
	FILE *memory;
	int found = 0;

	if (memory_path(path, 0) < 0 || (memory = fopen(path, "re")) == NULL)
		return 0;
	while (!found && fgets(other, sizeof(other), memory) != NULL)
		found = strcmp(other, line) == 0;
	(void)fclose(memory);
	return found;
}

/* A short line at the end of a file is written whole, or not at all. */
static void remember(const char *line)
{
	char path[PATH_MAX];
	int fd = memory_path(path, 1) < 0
	                 ? -1
	                 : open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return;
	(void)!write(fd, line, strlen(line));
	(void)close(fd);
}

/* --- the child: parloop-worker, which loads it and says so --------------------------------------- */

static int start(const char *path, const char *name, int out, pid_t *pid)
{
	const char *program = paths_worker();
	char *const argv[] = {(char *)(uintptr_t)program, "--probe", (char *)(uintptr_t)name,
	                      (char *)(uintptr_t)path, NULL};
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int code;

	if (posix_spawn_file_actions_init(&files) != 0 || posix_spawnattr_init(&attributes) != 0)
		return ENOMEM;
	(void)posix_spawn_file_actions_adddup2(&files, out, CHILD_FD);
	for (int fd = 0; fd < CHILD_FD; fd++)
		(void)posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
	(void)posix_spawn_file_actions_addclosefrom_np(&files, CHILD_FD + 1);
	(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK |
	                                                    POSIX_SPAWN_SETPGROUP);
	sigemptyset(&signals);
	(void)posix_spawnattr_setsigmask(&attributes, &signals);
	sigfillset(&signals);
	(void)posix_spawnattr_setsigdefault(&attributes, &signals);
	(void)posix_spawnattr_setpgroup(&attributes, 0);
	code = posix_spawn(pid, program, &files, &attributes, argv, environ);
	(void)posix_spawnattr_destroy(&attributes);
	(void)posix_spawn_file_actions_destroy(&files);
	return code;
}

static int64_t now_ms(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

enum end { CAME_THROUGH, NOT_TRIED, ENDED, HUNG };

static int has_ended(pid_t pid)
{
	siginfo_t about = {0};

	return waitid(P_PID, (id_t)pid, &about, WEXITED | WNOHANG | WNOWAIT) == 0 && about.si_pid == pid;
}

/* Until it says so, or its process ends: never mind who else has the pipe, or whether it has. */
static enum end await(int in, pid_t pid)
{
	struct pollfd fds[2] = {{.fd = in, .events = POLLIN}, {.fd = pidfd_open(pid, 0), .events = POLLIN}};
	int64_t until = now_ms() + LIMIT_MS, left;
	enum end end = HUNG;

	while (end == HUNG && (left = until - now_ms()) > 0) {
		int ended;
		ssize_t n;
		char word;

		(void)poll(fds, 2, fds[1].fd >= 0 || left < NAP_MS ? (int)left : NAP_MS);
		ended = has_ended(pid); /* before what it said last is read */
		n = read(in, &word, 1);
		if (n == 1)
			end = word == '!' ? CAME_THROUGH : NOT_TRIED;
		else if (ended)
			end = ENDED;
		else if (n == 0)
			fds[0].fd = -1;
	}
	if (fds[1].fd >= 0)
		(void)close(fds[1].fd);
	return end;
}

static int32_t refuse(const char *path, const char *what, par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "%s", "");
	error_file(error, "%s", path);
	error_reason(error, "%s", what);
	error_remedy(error, "`parloop check %.100s` says more; probe = never loads it without asking", path);
	return PAR_EUNAVAIL;
}

/* PAR_PENDING: nobody knows. */
static int32_t judge(enum end end, int status, const char *path, par_error *error)
{
	char what[120];

	if (end == CAME_THROUGH)
		return PAR_OK;
	if (end == NOT_TRIED)
		return PAR_PENDING;
	if (end == HUNG)
		(void)snprintf(what, sizeof(what), "it has not finished loading after %d s", LIMIT_MS / 1000);
	else if (WIFSIGNALED(status))
		(void)snprintf(what, sizeof(what), "it crashes while it is loaded (SIG%s)",
		               sigabbrev_np(WTERMSIG(status)));
	else
		(void)snprintf(what, sizeof(what), "it ends the process while it is loaded, with status %d",
		               WEXITSTATUS(status));
	return refuse(path, what, error);
}

static int32_t try_in_child(enum probe_mode mode, const char *path, const char *name, int fds[2],
                            par_error *error)
{
	int status = 0, code;
	enum end end;
	pid_t pid;

	code = start(path, name, fds[1], &pid);
	(void)close(fds[1]);
	if (code != 0) {
		log_line(LOG_DEBUG, "%s is not probed: %s: %s", path, paths_worker(), strerror(code));
		return mode == PROBE_ALWAYS ? refuse(path, "it cannot be probed: parloop-worker does not start",
		                                     error)
		                            : PAR_PENDING;
	}
	end = await(fds[0], pid);
	(void)kill(-pid, SIGKILL); /* and whatever it started */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return judge(end, status, path, error);
}

/* --- the whole ---------------------------------------------------------------------------------- */

static int came_with_parloop(const char *path)
{
	static const char *const names[] = {"sequential.so", "threading.so", "processes.so"};
	const char *folder = paths_plugin_dir();
	size_t length = strlen(folder);

	if (strncmp(path, folder, length) != 0 || path[length] != '/')
		return 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(path + length + 1, names[i]) == 0)
			return 1;
	return 0;
}

int32_t probe_file(enum probe_mode mode, const char *path, const char *name, par_error *error)
{
	char line[200];
	int fds[2];
	int32_t status;

	if (mode == PROBE_NEVER || (mode == PROBE_AUTO && came_with_parloop(path)))
		return PAR_OK;
	if (identify(path, line) < 0 || (mode == PROBE_AUTO && is_remembered(line)))
		return PAR_OK;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
		return error_memory(error, "probing a plugin");
	status = try_in_child(mode, path, name, fds, error);
	(void)close(fds[0]);
	if (status == PAR_OK && !is_remembered(line))
		remember(line);
	return status < 0 ? status : PAR_OK;
}
