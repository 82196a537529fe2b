/* python.c - what Python's users have on two processes: multiprocessing.Pool and joblib, by
 * small scripts (peers.py, start/start.py).  BENCH_SOURCES is the folder of the former. */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"
#include "noise.h"

enum { MOST_FIGURES = 100 };

static int await_success(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -1;
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

/* Can that interpreter do this?  It says nothing. */
static int can_run(const char *python, const char *words)
{
	char *const argv[] = {(char *)python, "-c", (char *)words, NULL};
	posix_spawn_file_actions_t actions;
	extern char **environ;
	pid_t pid;
	int error;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	error = posix_spawnp(&pid, python, &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return error == 0 && await_success(pid) == 0;
}

/* Debian's Python, which has Debian's joblib, or the first; NULL, and why, if neither can. */
static const char *choose_python(struct sample *sample, const char *words)
{
	static const char *const known[] = {"/usr/bin/python3", "python3"};
	size_t i;

	for (i = 0; i < sizeof(known) / sizeof(*known); i++)
		if (can_run(known[i], words))
			return known[i];
	sample_fail(sample, "no python3 that can \"%s\"", words);
	return NULL;
}

/* --- figures that a script prints -------------------------------------------------------- */

static int start_script(struct sample *sample, char *const argv[], pid_t *pid, FILE **lines)
{
	posix_spawn_file_actions_t actions;
	extern char **environ;
	int ends[2], error;

	if (pipe2(ends, O_CLOEXEC) != 0)
		return sample_fail(sample, "pipe2: %s", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	error = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	*lines = fdopen(ends[0], "r");
	if (error != 0 || *lines == NULL)
		return sample_fail(sample, "%s: %s", argv[0], strerror(error != 0 ? error : errno));
	return 0;
}

static int read_figures(FILE *lines, double *figures)
{
	int n = 0;

	while (n < MOST_FIGURES && fscanf(lines, "%lf", &figures[n]) == 1)
		n++;
	fclose(lines);
	return n;
}

static int run_script(struct sample *sample, char *const argv[])
{
	double figures[MOST_FIGURES];
	struct noise noise;
	FILE *lines = NULL;
	pid_t pid;
	int n;

	noise_begin(&noise);
	if (start_script(sample, argv, &pid, &lines) != 0)
		return -1;
	n = read_figures(lines, figures);
	if (await_success(pid) != 0 || n == 0)
		return sample_fail(sample, "%s %s failed", argv[1], argv[2]);
	sample->others_s = noise_end(&noise, &sample->cpus_s);
	return sample_figures(sample, figures, n);
}

/* The script has inputs of its own and checks what became of them; the harness, which knows
 * nothing of these, gets what it expects. */
static void satisfy_harness(const struct load *load)
{
	uint64_t i;

	for (i = 0; i < load->n; i++)
		load->out[i] = work(load->in[i]);
}

static int script_cell(const struct load *load, struct sample *sample, const char *modules,
		       const char *name, uint64_t tasks)
{
	const char *python = choose_python(sample, modules);
	char n[24], repeats[12];
	char *const argv[] = {(char *)python, BENCH_SOURCES "/peers.py", (char *)name, n, repeats,
			      NULL};

	if (python == NULL)
		return -1;
	snprintf(n, sizeof(n), "%llu", (unsigned long long)tasks);
	snprintf(repeats, sizeof(repeats), "%d", sample->repeats);
	satisfy_harness(load);
	return run_script(sample, argv);
}

static int pool_map_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import multiprocessing", "pool-map", load->n);
}

/* Some 2 us a task, so fewer of them. */
static int joblib_map_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import joblib", "joblib-map", load->n / 20 + 1);
}

static int value_1m_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import joblib, numpy", "value-1M", load->n / 10 + 1);
}

static int memmap_1m_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import joblib, numpy", "memmap-1M", load->n / 10 + 1);
}

static int value_64m_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import joblib, numpy", "value-64M", load->n);
}

static int memmap_64m_cell(const struct load *load, struct sample *sample)
{
	return script_cell(load, sample, "import joblib, numpy", "memmap-64M", load->n);
}

/* --- from nothing to the end ------------------------------------------------------------- */

/* More than a second each. */
static int start_cell(const struct load *load, struct sample *sample)
{
	const char *python = choose_python(sample, "import joblib");
	char *const argv[] = {(char *)python, BENCH_SOURCES "/start/start.py", NULL};

	(void)load;
	if (python == NULL)
		return -1;
	sample->repeats = 1;
	return sample_starts(sample, argv);
}

const struct cell cells_python[] = {
	{"W1b-processes", "Python Pool.map", PEER, pool_map_cell},
	{"W1b-processes", "joblib loky", PEER, joblib_map_cell},
	{"W5-1M", "joblib loky, by value", PEER, value_1m_cell},
	{"W5-1M", "joblib loky, memmap", PEER, memmap_1m_cell},
	{"W5-64M", "joblib loky, by value", PEER, value_64m_cell},
	{"W5-64M", "joblib loky, memmap", PEER, memmap_64m_cell},
	{"W6-processes", "joblib loky", PEER, start_cell},
	{NULL, NULL, PEER, NULL},
};
