#include "launch.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RELAY "parloop-mpi-relay"
#define COUNT "{n}"

static const struct known {
	const char *name, *suffix, *packages;
	const char *launchers[3]; /* those that are looked for; the last is whose it happens to be */
	const char *options;
	const char *marks[3];     /* what the file of a launcher is called, somewhere in its name */
	const char *hosts, *hostfile;
} known[N_MPIS] = {
	[MPI_OPEN] = {"Open MPI", "openmpi", "openmpi-bin and libopenmpi-dev",
	              {"mpirun.openmpi", "mpirun", "mpiexec"}, "--oversubscribe --bind-to none -n " COUNT,
	              {"orterun", "prterun", "openmpi"}, "--host", "--hostfile"},
	[MPI_CH] = {"MPICH", "mpich", "mpich and libmpich-dev",
	            {"mpiexec.hydra", "mpirun", "mpiexec"}, "-n " COUNT,
	            {"hydra", "mpich", "mpich"}, "-hosts", "-f"},
};

const char *launch_mpi_name(enum mpi mpi)
{
	return known[mpi].name;
}

/* --- which MPI a launcher is of ------------------------------------------------------------------- */

/* As a shell would find it; of malloc, NULL: there is none. */
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");
	char file[PATH_MAX];

	if (strchr(name, '/') != NULL)
		return access(name, X_OK) == 0 ? strdup(name) : NULL;
	for (path = path != NULL ? path : "/usr/local/bin:/usr/bin:/bin"; *path != '\0';) {
		int n = (int)strcspn(path, ":");

		(void)snprintf(file, sizeof(file), "%.*s/%s", n, path, name);
		if (n > 0 && access(file, X_OK) == 0)
			return strdup(file);
		path += n + (path[n] == ':');
	}
	return NULL;
}

/* What it is a link to tells; else what lies beside it. */
static enum mpi mpi_of(const char *program)
{
	char real[PATH_MAX], beside[PATH_MAX + 16], *slash;
	int is_open, is_ch;

	if (realpath(program, real) == NULL || (slash = strrchr(real, '/')) == NULL)
		return MPI_AUTO;
	for (enum mpi mpi = MPI_OPEN; mpi < N_MPIS; mpi++)
		for (int i = 0; i < 3; i++)
			if (strstr(slash, known[mpi].marks[i]) != NULL)
				return mpi;
	if (strncmp(slash, "/mpi", 4) != 0)
		return MPI_AUTO;
	*slash = '\0';
	(void)snprintf(beside, sizeof(beside), "%s/ompi_info", real);
	is_open = access(beside, X_OK) == 0;
	(void)snprintf(beside, sizeof(beside), "%s/mpichversion", real);
	is_ch = access(beside, X_OK) == 0;
	return is_open == is_ch ? MPI_AUTO : is_open ? MPI_OPEN : MPI_CH;
}

/* --- its relay ------------------------------------------------------------------------------------ */

/* Beside this plugin, or where it was built; of malloc, NULL: there is none. */
static char *find_relay(const struct settings *settings, enum mpi mpi)
{
	static const char *const folders[] = {"", "../", "../build/"};
	char path[PATH_MAX], *slash, *real;
	Dl_info self;

	if (*settings->relay != '\0')
		return access(settings->relay, X_OK) == 0 ? realpath(settings->relay, NULL) : NULL;
	if (dladdr((const void *)(uintptr_t)known, &self) == 0 || self.dli_fname == NULL)
		return NULL;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s", self.dli_fname);
		slash = strrchr(path, '/');
		slash = slash != NULL ? slash + 1 : path;
		(void)snprintf(slash, sizeof(path) - (size_t)(slash - path), "%s" RELAY ".%s", folders[i],
		               known[mpi].suffix);
		if (access(path, X_OK) == 0 && (real = realpath(path, NULL)) != NULL)
			return real;
	}
	return NULL;
}

static int32_t no_relay(const struct settings *settings, enum mpi mpi, par_error *error)
{
	if (*settings->relay != '\0') {
		(void)par_fail(error, PAR_EUNAVAIL, "option relay: %.200s: %s", settings->relay,
		               strerror(errno));
		return PAR_EUNAVAIL;
	}
	(void)par_fail(error, PAR_EUNAVAIL, RELAY ".%s, which runs the tasks in an %s job, was not built",
	               known[mpi].suffix, known[mpi].name);
	par_remedy(error, "install %s and make parloop again", known[mpi].packages);
	return PAR_EUNAVAIL;
}

/* --- the launcher --------------------------------------------------------------------------------- */

static int32_t use(struct launch *launch, const char *command, const char *options,
                   const struct settings *settings, par_error *error)
{
	launch->relay = find_relay(settings, launch->mpi);
	if (launch->relay == NULL)
		return no_relay(settings, launch->mpi, error);
	if (asprintf(&launch->command, "%s %s", command, options) >= 0)
		return PAR_OK;
	launch->command = NULL;
	return par_fail(error, PAR_ENOMEM, "no memory");
}

static int32_t wrong_pair(const struct settings *settings, enum mpi is, const char *program,
                          par_error *error)
{
	(void)par_fail(error, PAR_ECONFIG, "the launcher %.150s is %s's, and mpi = %s", program,
	               known[is].name, known[settings->mpi].suffix);
	par_remedy(error, "set mpi = %s, or launcher = %s %s", known[is].suffix,
	           known[settings->mpi].launchers[0], known[settings->mpi].options);
	return PAR_ECONFIG;
}

static int32_t no_such_launcher(const char *name, par_error *error)
{
	(void)par_fail(error, PAR_EUNAVAIL, "option launcher: there is no program \"%.150s\"", name);
	par_remedy(error, "install %s or %s, or correct the option", known[MPI_OPEN].packages,
	           known[MPI_CH].packages);
	return PAR_EUNAVAIL;
}

/* The one that the option names. */
static int32_t find_named(struct launch *launch, const struct settings *settings, par_error *error)
{
	char name[PATH_MAX] = "", *program;
	const char *base;
	enum mpi is;

	(void)sscanf(settings->launcher, "%4095s", name);
	base = strrchr(name, '/') != NULL ? strrchr(name, '/') + 1 : name;
	launch->is_slurm = strcmp(base, "srun") == 0;
	program = find_program(name);
	if (program == NULL)
		return no_such_launcher(name, error);
	is = mpi_of(program);
	launch->is_unknown = is == MPI_AUTO;
	if (is != MPI_AUTO && settings->mpi != MPI_AUTO && is != settings->mpi) {
		int32_t status = wrong_pair(settings, is, program, error);

		free(program);
		return status;
	}
	free(program);
	launch->mpi = is != MPI_AUTO ? is : settings->mpi;
	/* Nobody knows: the first that there is, which says so itself if it is not that. */
	for (enum mpi mpi = MPI_OPEN; mpi < N_MPIS && launch->mpi == MPI_AUTO; mpi++) {
		char *relay = find_relay(settings, mpi);

		if (relay != NULL || mpi == N_MPIS - 1)
			launch->mpi = mpi;
		free(relay);
	}
	if (strstr(settings->launcher, COUNT) == NULL) {
		(void)par_fail(error, PAR_ECONFIG, "option launcher: \"%.150s\" has no " COUNT,
		               settings->launcher);
		par_remedy(error, "write " COUNT " where it is told the number of ranks");
		return PAR_ECONFIG;
	}
	if (launch->is_unknown && settings->mpi == MPI_AUTO &&
	    (*settings->hosts != '\0' || *settings->hostfile != '\0')) {
		(void)par_fail(error, PAR_ECONFIG, "whose launcher \"%.100s\" is, and how it is told of "
		               "hosts, is not known", name);
		par_remedy(error, "say so in the option launcher itself");
		return PAR_ECONFIG;
	}
	return use(launch, settings->launcher, "", settings, error);
}

/* One that is there and of that MPI, by its name or by what it is: of malloc. */
static char *find_launcher(enum mpi mpi)
{
	for (int i = 0; i < 3; i++) {
		char *program = find_program(known[mpi].launchers[i]);

		if (program != NULL && mpi_of(program) == mpi)
			return program;
		free(program);
	}
	return NULL;
}

static int32_t no_launcher(const struct settings *settings, par_error *error)
{
	if (settings->mpi != MPI_AUTO) {
		(void)par_fail(error, PAR_EUNAVAIL, "no launcher of %s was found in $PATH",
		               known[settings->mpi].name);
		par_remedy(error, "install %s, or set the option launcher", known[settings->mpi].packages);
	} else {
		(void)par_fail(error, PAR_EUNAVAIL, "no launcher of an MPI was found in $PATH");
		par_remedy(error, "install %s, or %s, and make parloop again", known[MPI_OPEN].packages,
		           known[MPI_CH].packages);
	}
	return PAR_EUNAVAIL;
}

int32_t launch_find(struct launch *launch, const struct settings *settings, par_error *error)
{
	int32_t status = PAR_PENDING;

	*launch = (struct launch){.mpi = MPI_AUTO};
	if (*settings->launcher != '\0')
		return find_named(launch, settings, error);
	for (enum mpi mpi = MPI_OPEN; mpi < N_MPIS && status != PAR_OK; mpi++) {
		char *program;

		if (settings->mpi != MPI_AUTO && settings->mpi != mpi)
			continue;
		program = find_launcher(mpi);
		if (program == NULL)
			continue;
		launch->mpi = mpi;
		status = use(launch, program, known[mpi].options, settings, error);
		free(program);
	}
	return status == PAR_PENDING ? no_launcher(settings, error) : status;
}

void launch_finish(struct launch *launch)
{
	free(launch->command);
	free(launch->relay);
	*launch = (struct launch){0};
}

/* --- its words ------------------------------------------------------------------------------------ */

struct words {
	char **list;
	size_t n, room;
	int failed;
};

static void add(struct words *words, const char *text, size_t length, const char *count)
{
	char *word = NULL;
	size_t size;
	FILE *out;

	if (words->n + 1 >= words->room) {
		size_t room = words->room > 0 ? 2 * words->room : 32;
		char **list = reallocarray(words->list, room, sizeof(*list));

		if (list == NULL) {
			words->failed = 1;
			return;
		}
		words->list = list;
		words->room = room;
	}
	out = open_memstream(&word, &size);
	for (size_t i = 0; out != NULL && i < length;) {
		if (length - i >= strlen(COUNT) && strncmp(text + i, COUNT, strlen(COUNT)) == 0) {
			(void)fputs(count, out);
			i += strlen(COUNT);
		} else {
			(void)fputc(text[i++], out);
		}
	}
	if (out == NULL || fclose(out) != 0)
		words->failed = 1;
	words->list[words->n++] = word;
	words->list[words->n] = NULL;
}

static void add_text(struct words *words, const char *text)
{
	add(words, text, strlen(text), "");
}

void launch_free_words(char **words)
{
	for (size_t i = 0; words != NULL && words[i] != NULL; i++)
		free(words[i]);
	free(words);
}

char **launch_words(const struct launch *launch, const struct settings *settings, int n_ranks)
{
	struct words words = {0};
	char count[16], self[16];

	(void)snprintf(count, sizeof(count), "%d", n_ranks);
	(void)snprintf(self, sizeof(self), "%d", (int)getpid());
	add_text(&words, launch->relay);
	add_text(&words, "--keep");
	add_text(&words, self);
	for (const char *at = launch->command; *(at += strspn(at, " \t")) != '\0';) {
		int is_quoted = *at == '\'';
		size_t length = strcspn(at + is_quoted, is_quoted ? "'" : " \t");

		add(&words, at + is_quoted, length, count);
		at += is_quoted + length;
		at += is_quoted && *at == '\'';
	}
	if (*settings->hosts != '\0') {
		add_text(&words, known[launch->mpi].hosts);
		add_text(&words, settings->hosts);
	}
	if (*settings->hostfile != '\0') {
		add_text(&words, known[launch->mpi].hostfile);
		add_text(&words, settings->hostfile);
	}
	add_text(&words, launch->relay);
	add_text(&words, "--rank");
	if (!words.failed)
		return words.list;
	launch_free_words(words.list);
	return NULL;
}
