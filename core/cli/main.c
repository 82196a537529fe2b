/* main.c - the program parloop: which subcommand, and help. */
#include "cli.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char help_head[] =
	"usage: parloop COMMAND [OPTION]...\n"
	"\n"
	"Run the tasks of a task module in parallel, on the backend of your choice.\n"
	"\n";

static const char help_tail[] =
	"  help       this text; help COMMAND the same as COMMAND --help\n"
	"\n"
	"  -h, --help     this text\n"
	"      --version  the version\n"
	"\n"
	"example: parloop map -j 4 ./tasks.so:name < inputs > results\n";

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
	const char *summary;
} commands[] = {
	{"map", map_main, map_help, "run a task for each line of standard input"},
	{"backends", backends_main, backends_help, "list the backends, and why one cannot be used"},
	{"show", show_main, show_help, "show a backend and its options"},
};

enum { N_COMMANDS = sizeof(commands) / sizeof(commands[0]) };

static const struct command *find(const char *name)
{
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
	return NULL;
}

static int refuse(const char *name)
{
	char quoted[QUOTED_SIZE];

	return report_usage("", "unknown %s \"%s\": there are map, backends, show and help",
	                    name[0] == '-' ? "option" : "command",
	                    quote(name, strlen(name), 60, quoted));
}

static int help_main(int argc, char **argv)
{
	const struct command *command;

	if (argc > 1 && strcmp(argv[1], "help") != 0) {
		command = find(argv[1]);
		return command != NULL ? print_help(command->help) : refuse(argv[1]);
	}
	(void)fputs(help_head, stdout);
	for (size_t i = 0; i < N_COMMANDS; i++)
		(void)printf("  %-9s  %s\n", commands[i].name, commands[i].summary);
	return print_help(help_tail);
}

static int print_version(void)
{
	(void)printf("parloop %s\n", par_version());
	return finish_stdout();
}

/* A standard descriptor that was closed must not become some file that is opened
 * later.  Opened the wrong way round, its use still fails. */
static void hold_standard_descriptors(void)
{
	static const int wrong_way[] = {O_WRONLY, O_RDONLY, O_RDONLY};

	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/dev/null", wrong_way[fd]);
}

int main(int argc, char **argv)
{
	const struct command *command;

	hold_standard_descriptors();
	if (argc < 2)
		return report_usage("", "no command: there are map, backends, show and help");
	if (strcmp(argv[1], "--version") == 0)
		return print_version();
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
		return help_main(1, argv);
	if (strcmp(argv[1], "help") == 0)
		return help_main(argc - 1, argv + 1);
	command = find(argv[1]);
	return command != NULL ? command->run(argc - 1, argv + 1) : refuse(argv[1]);
}
