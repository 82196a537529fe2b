/* report.c - everything that the program says on stderr, and how it ends then. */
#include "cli.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int exit_status(int32_t code)
{
	switch (code) {
	case PAR_OK:
		return STATUS_OK;
	case PAR_EINVAL:
	case PAR_ECONFIG:
	case PAR_ENOTFOUND:
		return STATUS_USAGE;
	case PAR_EUNAVAIL:
		return STATUS_UNAVAILABLE;
	default:
		return STATUS_FAILED;
	}
}

int report(const par_error *error)
{
	char text[2048];

	(void)par_error_text(error, isatty(STDERR_FILENO), text, sizeof(text));
	(void)fprintf(stderr, "parloop: %s\n", text);
	return exit_status(error->code);
}

int report_usage(const char *command, const char *format, ...)
{
	par_error error = PAR_ERROR_INIT;
	va_list args;

	error.code = PAR_EINVAL;
	va_start(args, format);
	(void)vsnprintf(error.what, sizeof(error.what), format, args);
	va_end(args);
	par_remedy(&error, "see parloop %s%s--help", command, *command ? " " : "");
	return report(&error);
}

int report_io(const char *what, int fd, int number)
{
	par_error error = PAR_ERROR_INIT;
	char link[64];

	(void)par_fail(&error, PAR_EFAILED, "%s", strerror(number));
	(void)snprintf(error.what, sizeof(error.what), "%s", what);
	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	/* Cut at the slot's end if need be; empty if /proc is not there. */
	if (readlink(link, error.file, sizeof(error.file) - 1) < 0)
		error.file[0] = '\0';
	return report(&error);
}

int finish_stdout(void)
{
	int number = 0;

	if (fflush(stdout) != 0)
		number = errno;
	else if (ferror(stdout))
		number = EIO;
	if (number == 0)
		return STATUS_OK;
	if (number == EPIPE)
		return STATUS_PIPE;
	return report_io("cannot write standard output", STDOUT_FILENO, number);
}

int report_option(const char *command, char **argv, int refused)
{
	char quoted[QUOTED_SIZE], letter[2] = {(char)optopt, '\0'};
	const char *given = optind > 0 ? argv[optind - 1] : "";
	int is_long = strncmp(given, "--", 2) == 0;

	if (refused == ':')
		return report_usage(command, "option %s%s needs a value", is_long ? "" : "-",
		                    is_long ? given : letter);
	if (is_long && optopt != 0)
		return report_usage(command, "option %s takes no value",
		                    quote(given, strcspn(given, "="), 60, quoted));
	if (is_long)
		return report_usage(command, "unknown option \"%s\"",
		                    quote(given, strlen(given), 60, quoted));
	return report_usage(command, "unknown option \"-%s\"", quote(letter, 1, 60, quoted));
}

int print_help(const char *text)
{
	(void)fputs(text, stdout);
	return finish_stdout();
}

int use_config(const char *file)
{
	par_error error = PAR_ERROR_INIT;

	if (file == NULL || par_configure(file, &error) == PAR_OK)
		return STATUS_OK;
	return report(&error);
}
