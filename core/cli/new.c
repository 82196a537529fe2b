/* new.c - parloop new NAME: a folder with a backend that works, for its author to change. */
#include "cli.h"
#include "new_files.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

const char new_help[] =
	"usage: parloop new [--language c|c++] NAME\n"
	"\n"
	"Write a folder NAME with a backend plugin of that name, which works as it is: its\n"
	"source, a Makefile, a test and a README.  Change it into yours.\n"
	"\n"
	"  -l, --language LANGUAGE  c (the default) or c++\n"
	"  -h, --help               this text\n"
	"\n"
	"example: parloop new mine && make -C mine test check install\n";

enum { LONGEST_NAME = 32 };

/* As the core wants a backend to be called. */
static int is_backend_name(const char *name)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t length = strlen(name);

	return length >= 1 && length <= LONGEST_NAME && strspn(name, letters) == length &&
	       name[0] >= 'a' && strncmp(name, "nested-", 7) != 0;
}

/* Write a text with the name in it.  0, or -1 and errno. */
static int put_named(FILE *file, const char *text, const char *name)
{
	const char *place;

	while ((place = strstr(text, NEW_FILES_NAME)) != NULL) {
		if (fwrite(text, 1, (size_t)(place - text), file) != (size_t)(place - text) ||
		    fputs(name, file) == EOF)
			return -1;
		text = place + strlen(NEW_FILES_NAME);
	}
	return fputs(text, file) == EOF ? -1 : 0;
}

static void put_path(char path[PATH_MAX], const char *name, const struct new_file *file)
{
	const char *rest = file->path;
	int is_named = strncmp(rest, NEW_FILES_NAME, strlen(NEW_FILES_NAME)) == 0;

	if (is_named)
		rest += strlen(NEW_FILES_NAME);
	(void)snprintf(path, PATH_MAX, "%s/%s%s", name, is_named ? name : "", rest);
}

static int is_wanted(const struct new_file *file, const char *language)
{
	return file->language == NULL || strcmp(file->language, language) == 0;
}

static int cannot_write(const char *path, int number)
{
	par_error error = PAR_ERROR_INIT;

	(void)par_fail(&error, PAR_EFAILED, "%s", strerror(number));
	(void)snprintf(error.what, sizeof(error.what), "cannot write a new backend");
	(void)snprintf(error.file, sizeof(error.file), "%s", path);
	if (number == EEXIST)
		par_remedy(&error, "take another name, or remove it");
	return report(&error);
}

static int write_one(const char *path, const struct new_file *file, const char *name)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	FILE *out = fd < 0 ? NULL : fdopen(fd, "w");
	int is_bad, number = errno;

	if (out == NULL)
		return cannot_write(path, number);
	is_bad = put_named(out, file->text, name);
	number = errno;
	if (fclose(out) == EOF && !is_bad) {
		number = errno;
		is_bad = 1;
	}
	return is_bad ? cannot_write(path, number) : STATUS_OK;
}

/* Half a backend is none. */
static void take_back(const char *name, const char *language)
{
	char path[PATH_MAX];

	for (const struct new_file *file = new_files; file->path != NULL; file++) {
		put_path(path, name, file);
		if (is_wanted(file, language))
			(void)unlink(path);
	}
	(void)rmdir(name);
}

static int write_all(const char *name, const char *language)
{
	int status = STATUS_OK;
	char path[PATH_MAX];

	if (mkdir(name, 0777) < 0)
		return cannot_write(name, errno);
	for (const struct new_file *file = new_files; file->path != NULL; file++) {
		if (!is_wanted(file, language))
			continue;
		put_path(path, name, file);
		status = write_one(path, file, name);
		if (status != STATUS_OK) {
			take_back(name, language);
			return status;
		}
		(void)printf("%s\n", path);
	}
	return finish_stdout();
}

static int make_new(const char *name, const char *language)
{
	char quoted[QUOTED_SIZE];

	if (!is_backend_name(name))
		return report_usage("new", "\"%s\" cannot be the name of a backend: that is "
					   "[a-z][a-z0-9_-]*, at most %d letters, and not nested-",
		                    quote(name, strlen(name), 60, quoted), LONGEST_NAME);
	if (strcmp(language, "c") != 0 && strcmp(language, "c++") != 0)
		return report_usage("new", "unknown language \"%s\": there are c and c++",
		                    quote(language, strlen(language), 60, quoted));
	return write_all(name, language);
}

int new_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"language", required_argument, NULL, 'l'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *language = "c";
	char quoted[QUOTED_SIZE];
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":l:h", options, NULL)) != -1) {
		if (option == 'h')
			return print_help(new_help);
		if (option != 'l')
			return report_option("new", argv, option);
		language = optarg;
	}
	if (optind == argc)
		return report_usage("new", "no name is given");
	if (optind + 1 < argc)
		return report_usage("new", "unexpected \"%s\"",
		                    quote(argv[optind + 1], strlen(argv[optind + 1]), 60, quoted));
	return make_new(argv[optind], language);
}
