/* main.c - the program parloop-worker: runs the batches that come by a descriptor. */
#include <parloop/worker.h>

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* Exit statuses: a parent that tries again need not after EXIT_USAGE. */
enum { EXIT_USAGE = 2 };

static const char help[] =
	"usage: parloop-worker --fd N [OPTION]...\n"
	"\n"
	"Run the batches of tasks that come by descriptor N, and answer there.  Backends start it\n"
	"for their calls; by hand there is nothing to be done with it.\n"
	"\n"
	"      --fd N        a connected socket; or, with --out, a pipe to read from\n"
	"      --out N       a pipe to write to\n"
	"      --worker N    the number of this worker, from 0: what its tasks see (default 0)\n"
	"      --probe NAME FILE  instead: load that plugin, and tell descriptor 3 that it went well\n"
	"      --parent PID  end when that process does; a process group of its own, SIGINT ignored,\n"
	"                    /dev/null on standard input\n"
	"  -h, --help        this text\n"
	"      --version     the version\n"
	"\n"
	"It ends with status 0 when the descriptor does, 1 if it cannot go on, 2 if it was started\n"
	"wrongly.\n";

__attribute__((format(printf, 1, 2))) static int usage(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)fputs("parloop-worker: ", stderr);
	(void)vfprintf(stderr, format, args);
	(void)fputs("; see parloop-worker --help\n", stderr);
	va_end(args);
	return EXIT_USAGE;
}

/* All of it is a number, from 0. */
static int parse(const char *text, int32_t *number)
{
	char *end;
	long value;

	errno = 0;
	value = strtol(text, &end, 10);
	if (errno != 0 || end == text || *end != '\0' || value < 0 || value > INT_MAX)
		return -1;
	*number = (int32_t)value;
	return 0;
}

static int32_t *find(par_serving *serving, const char *option)
{
	if (strcmp(option, "--fd") == 0)
		return &serving->in;
	if (strcmp(option, "--out") == 0)
		return &serving->out;
	if (strcmp(option, "--worker") == 0)
		return &serving->worker;
	return strcmp(option, "--parent") == 0 ? &serving->parent : NULL;
}

static int read_options(int argc, char **argv, par_serving *serving)
{
	for (int i = 1; i < argc; i += 2) {
		int32_t *number = find(serving, argv[i]);

		if (number == NULL)
			return usage("unknown option \"%.100s\"", argv[i]);
		if (i + 1 == argc)
			return usage("%s needs a number", argv[i]);
		if (parse(argv[i + 1], number) < 0)
			return usage("%s needs a number from 0, not \"%.100s\"", argv[i], argv[i + 1]);
	}
	if (serving->in < 0)
		return usage("no descriptor: --fd is missing");
	if (serving->out < 0)
		serving->out = serving->in;
	return 0;
}

/* A plugin's first load, which may end this process in any way: the parent sees how.  What is
 * wrong with its table the parent finds out itself, and says better. */
static int probe(const char *name, const char *file)
{
	enum { OUT = 3, SECONDS = 10 };
	const struct rlimit no_core = {0, 0}, cpu = {SECONDS, SECONDS};
	int fd = memfd_create("plugins.conf", MFD_CLOEXEC);
	par_error error = PAR_ERROR_INIT;
	char conf[64];

	(void)setrlimit(RLIMIT_CORE, &no_core);
	(void)setrlimit(RLIMIT_CPU, &cpu);
	if (fd < 0 || fchmod(fd, 0600) < 0 ||
	    dprintf(fd, "[parloop]\nprobe = never\n[backend %s]\npath = %s\n", name, file) < 0)
		return EXIT_FAILURE;
	(void)snprintf(conf, sizeof(conf), "/proc/self/fd/%d", fd);
	if (par_configure(conf, &error) == PAR_OK) {
		(void)par_context_push(PAR_SETTINGS(.backend = name), NULL, &error);
		(void)!write(OUT, "!", 1);
	} else {
		(void)!write(OUT, "?", 1); /* it could not be asked for, and nothing of it ran */
	}
	_exit(EXIT_SUCCESS);
}

static int finish_stdout(void)
{
	if (fflush(stdout) == 0)
		return EXIT_SUCCESS;
	perror("parloop-worker: standard output");
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	par_serving serving = {.size = sizeof(serving), .in = -1, .out = -1};
	par_error error = PAR_ERROR_INIT;
	char text[1200];
	int status;

	par_worker_main(argc, argv);
	if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		(void)fputs(help, stdout);
		return finish_stdout();
	}
	if (argc == 2 && strcmp(argv[1], "--version") == 0) {
		(void)printf("parloop-worker %s\n", par_version());
		return finish_stdout();
	}
	if (argc == 4 && strcmp(argv[1], "--probe") == 0)
		return probe(argv[2], argv[3]);
	status = read_options(argc, argv, &serving);
	if (status != 0)
		return status;
	if (par_worker_serve(&serving, &error) == PAR_OK)
		return finish_stdout();
	(void)fprintf(stderr, "parloop-worker: %s\n", par_error_text(&error, 0, text, sizeof(text)));
	return EXIT_FAILURE;
}
