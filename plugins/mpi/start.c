/* The start of a job: where it is to connect, the line that tells it so, and the process. */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- where -------------------------------------------------------------------------------------- */

static int32_t cannot_listen(par_error *error)
{
	return par_fail(error, PAR_EUNAVAIL, "cannot listen for the job: %s", strerror(errno));
}

/* Under a name of the kernel's: five digits, after a NUL. */
static int32_t listen_here(struct job *job, FILE *line, par_error *error)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	socklen_t size = sizeof(address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	job->listeners[0] = fd;
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(sa_family_t)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0 || listen(fd, 4) < 0)
		return cannot_listen(error);
	(void)fprintf(line, " unix:%.*s",
	              (int)(size - offsetof(struct sockaddr_un, sun_path)) - 1, address.sun_path + 1);
	return PAR_OK;
}

/* By which others reach this machine: its name, and then its addresses. */
static void put_addresses(FILE *line, int port)
{
	char name[HOST_CHARS] = "";
	struct ifaddrs *list = NULL;

	if (gethostname(name, sizeof(name) - 1) == 0)
		(void)fprintf(line, " tcp:%s:%d", name, port);
	if (getifaddrs(&list) < 0)
		return;
	for (struct ifaddrs *at = list; at != NULL; at = at->ifa_next) {
		char text[64];

		if (at->ifa_addr == NULL || at->ifa_addr->sa_family != AF_INET ||
		    getnameinfo(at->ifa_addr, sizeof(struct sockaddr_in), text, sizeof(text), NULL, 0,
		                NI_NUMERICHOST) != 0 ||
		    strncmp(text, "127.", 4) == 0)
			continue;
		(void)fprintf(line, " tcp:%s:%d", text, port);
	}
	freeifaddrs(list);
}

/* For rank 0 on another machine; who connects has to know the token. */
static int32_t listen_to_others(struct job *job, const char *name, FILE *line, par_error *error)
{
	struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t size = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	job->listeners[1] = fd;
	if (*name != '\0') {
		int code = getaddrinfo(name, NULL, &hints, &found);

		if (code != 0)
			return par_fail(error, PAR_ECONFIG, "option address: %.100s: %s", name,
			                gai_strerror(code));
		memcpy(&address, found->ai_addr, sizeof(address));
		freeaddrinfo(found);
	}
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ||
	    getsockname(fd, (struct sockaddr *)&address, &size) < 0 || listen(fd, 4) < 0)
		return cannot_listen(error);
	if (*name != '\0')
		(void)fprintf(line, " tcp:%s:%d", name, ntohs(address.sin_port));
	else
		put_addresses(line, ntohs(address.sin_port));
	return PAR_OK;
}

static int32_t make_token(struct job *job, par_error *error)
{
	unsigned char bytes[TOKEN_CHARS / 2];

	if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes))
		return par_fail(error, PAR_EUNAVAIL, "no random bytes: %s", strerror(errno));
	for (size_t i = 0; i < sizeof(bytes); i++)
		(void)snprintf(job->token + 2 * i, 3, "%02x", bytes[i]);
	return PAR_OK;
}

/* What the job is to read, of malloc. */
static int32_t make_line(struct job *job, const struct settings *settings, char **text,
                         par_error *error)
{
	size_t size;
	int32_t status = make_token(job, error);
	FILE *line = status == PAR_OK ? open_memstream(text, &size) : NULL;

	if (line == NULL)
		return status < 0 ? status : par_fail(error, PAR_ENOMEM, "no memory");
	(void)fprintf(line, "parloop-mpi %s %d %s", job->host->version, job->n_workers + 1, job->token);
	status = listen_here(job, line, error);
	if (status == PAR_OK && settings_has_others(settings))
		status = listen_to_others(job, settings->address, line, error);
	(void)fputc('\n', line);
	return fclose(line) == 0 ? status : par_fail(error, PAR_ENOMEM, "no memory");
}

/* --- the environment ------------------------------------------------------------------------------ */

static size_t count(char *const *list)
{
	size_t n = 0;

	while (list[n] != NULL)
		n++;
	return n;
}

/* Variables of the option take the place of those of the program; of malloc, as are the added. */
static char **make_env(char *const *base, const char *variables, char **added)
{
	size_t n = count(base), n_added = 0;
	struct variable variable;
	char **env = calloc(n + strlen(variables) / 2 + 2, sizeof(*env));

	for (size_t i = 0; env != NULL && i < n; i++)
		env[i] = base[i];
	while (env != NULL && settings_next_variable(&variables, &variable) == 1) {
		size_t i = 0;
		char *entry = settings_variable(&variable, -1);

		if (entry == NULL)
			break;
		added[n_added++] = entry;
		while (i < n && (strncmp(env[i], variable.name, (size_t)variable.name_length) != 0 ||
		                 env[i][variable.name_length] != '='))
			i++;
		n += i == n;
		env[i] = entry;
	}
	return env;
}

static int has_variable(char *const *env, const char *name)
{
	for (size_t n = strlen(name); *env != NULL; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return 1;
	return 0;
}

/* Its launcher says so itself, in ten lines of which none is for users of parloop; srun does not
 * mind. */
static int32_t check_root(const struct launch *launch, char *const *env, par_error *error)
{
	if (launch->mpi != MPI_OPEN || launch->is_unknown || geteuid() != 0 ||
	    (has_variable(env, "OMPI_ALLOW_RUN_AS_ROOT") &&
	     has_variable(env, "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM")))
		return PAR_OK;
	(void)par_fail(error, PAR_EUNAVAIL, "Open MPI does not start jobs for root unless it is told to");
	par_remedy(error, "be another user, or set env = OMPI_ALLOW_RUN_AS_ROOT=1 "
	                  "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1");
	return PAR_EUNAVAIL;
}

/* --- the process ------------------------------------------------------------------------------------ */

/* Numbers below 3 are free to be dup2'ed to, as ours are above them. */
static int above(int fd)
{
	int copy;

	if (fd > 2 || fd < 0)
		return fd;
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	close(fd);
	return copy;
}

static int spawn(char *const *words, char *const *env, const int fds[3], pid_t *pid)
{
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attributes;
	sigset_t signals;
	int code = posix_spawn_file_actions_init(&files);

	if (code != 0)
		return code;
	for (int i = 0; i < 3 && code == 0; i++)
		code = posix_spawn_file_actions_adddup2(&files, fds[i], i);
	if (code == 0)
		code = posix_spawn_file_actions_addclosefrom_np(&files, 3);
	if (code == 0)
		code = posix_spawnattr_init(&attributes);
	if (code == 0) {
		(void)posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF |
		                                                    POSIX_SPAWN_SETSIGMASK |
		                                                    POSIX_SPAWN_SETPGROUP);
		sigemptyset(&signals);
		(void)posix_spawnattr_setsigmask(&attributes, &signals);
		sigfillset(&signals);
		(void)posix_spawnattr_setsigdefault(&attributes, &signals);
		(void)posix_spawnattr_setpgroup(&attributes, 0);
		code = posix_spawn(pid, words[0], &files, &attributes, words, env);
		(void)posix_spawnattr_destroy(&attributes);
	}
	(void)posix_spawn_file_actions_destroy(&files);
	return code;
}

/* The line is shorter than what a pipe takes. */
static int32_t execute(struct job *job, char *const *words, char *const *env, const char *line,
                       par_error *error)
{
	int input[2] = {-1, -1}, ends[2], code = 0;
	int32_t status = output_open(&job->output, ends, error);

	if (status == PAR_OK && pipe2(input, O_CLOEXEC) < 0)
		status = par_fail(error, PAR_ENOMEM, "no pipe: %s", strerror(errno));
	if (status == PAR_OK) {
		const int fds[3] = {above(input[0]), above(ends[0]), above(ends[1])};

		(void)!write(input[1], line, strlen(line));
		code = fds[0] < 0 || fds[1] < 0 || fds[2] < 0 ? EMFILE : spawn(words, env, fds, &job->pid);
		input[0] = fds[0];
		ends[0] = fds[1];
		ends[1] = fds[2];
	}
	for (int i = 0; i < 2; i++) {
		if (input[i] >= 0)
			close(input[i]);
		if (ends[i] >= 0)
			close(ends[i]);
	}
	if (code != 0)
		status = par_fail(error, PAR_EUNAVAIL, "cannot execute %.200s: %s", words[0],
		                  strerror(code));
	if (status < 0)
		return status;
	job->pidfd = (int)syscall(SYS_pidfd_open, job->pid, 0);
	if (job->pidfd >= 0)
		return PAR_OK;
	return par_fail(error, PAR_ENOMEM, "no descriptor for a process: %s", strerror(errno));
}

static int32_t launch_job(struct job *job, const struct launch *launch, const struct settings *settings,
                          par_error *error)
{
	const par_ext_worker_env *envs = job->host->extension(job->host, PAR_EXT_WORKER_ENV);
	char **base = envs->make_env(job->host, job->n_workers);
	char **added = calloc(strlen(settings->variables) / 2 + 2, sizeof(*added));
	char **env = base != NULL && added != NULL ? make_env(base, settings->variables, added) : NULL;
	char **words = launch_words(launch, settings, job->n_workers + 1), *line = NULL;
	int32_t status = env != NULL && words != NULL ? PAR_OK : par_fail(error, PAR_ENOMEM, "no memory");

	if (status == PAR_OK)
		status = check_root(launch, env, error);
	if (status == PAR_OK)
		status = make_line(job, settings, &line, error);
	if (status == PAR_OK)
		status = execute(job, words, env, line, error);
	for (size_t i = 0; added != NULL && added[i] != NULL; i++)
		free(added[i]);
	if (base != NULL)
		envs->free_env(base);
	free(added);
	free(env);
	free(line);
	launch_free_words(words);
	return status;
}

int32_t job_start(struct job **out, struct pool *pool, const par_host *host,
                  const struct launch *launch, const struct settings *settings, int n_workers,
                  par_error *error)
{
	struct job *job = calloc(1, sizeof(*job));
	int32_t status;

	if (job == NULL)
		return par_fail(error, PAR_ENOMEM, "no memory");
	job->pool = pool;
	job->host = host;
	job->watcher = host->extension(host, PAR_EXT_FD);
	job->timer = host->extension(host, PAR_EXT_TIMER);
	job->mpi = launch->mpi;
	job->n_workers = n_workers;
	job->pidfd = job->fd = job->listeners[0] = job->listeners[1] = -1;
	job->output.streams[0].fd = job->output.streams[1].fd = -1;
	status = launch_job(job, launch, settings, error);
	job->output.is_quiet = 1;
	job->captures = settings->captures;
	if (status == PAR_OK)
		status = job_watch_start(job, settings->start_timeout_ns, error);
	if (status == PAR_OK)
		*out = job;
	else
		job_destroy(job);
	return status;
}
