#include "conf_lines.h"

#include "error.h"
#include "forked.h"

#include <errno.h>
#include <fcntl.h>
#include <ini.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
	LONGEST_LINE = 4000,      /* what a path needs, and no more */
	LONGEST_FILE = 1024 * 1024
};

/* The file in memory, and where the reader is. */
struct text {
	const struct conf_lines *lines;
	char *at, *end;
	int line;
	int pending; /* this line was given to libinih, and nothing came back yet */
};

/* --- the file ------------------------------------------------------------------------------ */

static int32_t cannot_read(const char *path, const char *why, par_error *error)
{
	error_set(error, PAR_ECONFIG, "cannot read the configuration");
	error_file(error, "%s", path);
	error_reason(error, "%s", why);
	return PAR_ECONFIG;
}

/* Of malloc, with a NUL behind its last byte.  What is added while it is read is left out. */
static int32_t read_all(int fd, const char *path, size_t size, char **bytes, size_t *n,
                        par_error *error)
{
	size_t used = 0;
	ssize_t got = 1;

	if (size > LONGEST_FILE)
		return cannot_read(path, "longer than 1 MiB", error);
	*bytes = malloc(size + 1);
	if (*bytes == NULL)
		return error_memory(error, "reading the configuration");
	while (used < size && got != 0) {
		got = read(fd, *bytes + used, size - used);
		if (got < 0 && errno != EINTR)
			return cannot_read(path, strerror(errno), error);
		used += got > 0 ? (size_t)got : 0;
	}
	(*bytes)[used] = '\0';
	*n = used;
	return PAR_OK;
}

/* O_NONBLOCK: a FIFO that nobody writes to would be waited for. */
static int32_t read_file(const char *path, char **bytes, size_t *n, par_error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	struct stat file;
	int32_t status;

	*bytes = NULL;
	if (fd < 0)
		return cannot_read(path, strerror(errno), error);
	if (fstat(fd, &file) < 0)
		status = cannot_read(path, strerror(errno), error);
	else if (S_ISDIR(file.st_mode))
		status = cannot_read(path, "is a directory", error);
	else if (!S_ISREG(file.st_mode))
		status = cannot_read(path, "not a regular file", error);
	else
		status = read_all(fd, path, (size_t)file.st_size, bytes, n, error);
	close(fd);
	return status;
}

/* --- its lines ----------------------------------------------------------------------------- */

static void bad(const struct text *text, const char *why)
{
	text->lines->bad(text->lines->user, text->line, why);
}

static char *skip_blanks(char *at)
{
	return at + strspn(at, " \t\r\f\v");
}

/* "[name]", with nothing but a comment behind it. */
static void read_section(struct text *text, char *line)
{
	char *close_at = strchr(line, ']');
	char *rest;

	if (close_at == NULL) {
		bad(text, "a section ends in \"]\"");
		return;
	}
	rest = skip_blanks(close_at + 1);
	if (*rest != '\0' && *rest != ';' && *rest != '#') {
		bad(text, "after \"]\" the line ends");
		return;
	}
	*close_at = '\0';
	text->lines->section(text->lines->user, text->line, skip_blanks(line + 1));
}

/* Take the next line out of the file: NULL at its end. */
static char *take_line(struct text *text, size_t *length)
{
	char *line = text->at, *newline;

	if (line >= text->end)
		return NULL;
	newline = memchr(line, '\n', (size_t)(text->end - line));
	text->at = newline == NULL ? text->end : newline + 1;
	*length = (size_t)((newline == NULL ? text->end : newline) - line);
	line[*length] = '\0';
	text->line++;
	return line;
}

/* What of a line is libinih's to split; NULL: nothing. */
static const char *entry_of(struct text *text, char *line, size_t length)
{
	char *start = skip_blanks(line);

	if (strlen(line) != length) {
		bad(text, "has a NUL byte");
		return NULL;
	}
	if (length > LONGEST_LINE) {
		bad(text, "is longer than 4000 bytes");
		return NULL;
	}
	if (*start == '\0' || *start == ';' || *start == '#')
		return NULL;
	if (*start != '[')
		return start;
	read_section(text, start);
	return NULL;
}

static void finish_pending(struct text *text)
{
	if (text->pending)
		bad(text, "is neither [section] nor key = value");
	text->pending = 0;
}

/* libinih's reader: a line at a time, without its indentation, which libinih would
 * take for the continuation of the line before; sections are kept back. */
static char *next_line(char *buffer, int size, void *user)
{
	struct text *text = user;
	const char *entry = NULL;
	size_t length;

	finish_pending(text);
	while (entry == NULL) {
		char *line = take_line(text, &length);

		if (line == NULL)
			return NULL;
		entry = entry_of(text, line, length);
	}
	text->pending = 1;
	length = strlen(entry);
	if (length + 2 > (size_t)size) /* cannot be: ini_max_line is ours, see parse() */
		length = (size_t)size - 2;
	memcpy(buffer, entry, length);
	memcpy(buffer + length, "\n", 2);
	return buffer;
}

static int on_entry(void *user, const char *section, const char *key, const char *value)
{
	struct text *text = user;

	(void)section;
	text->pending = 0;
	text->lines->entry(text->lines->user, text->line, key, value);
	return 1;
}

/* libinih's settings are global to the process: ours hold for the time of one parse,
 * and are set back for whoever else uses it. */
static int32_t parse(struct text *text, par_error *error)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	FORKED_RENEWS(lock);
	int result, max_line, initial;
	bool stack, comments, stop;

	pthread_mutex_lock(&lock);
	max_line = ini_max_line;
	initial = ini_initial_alloc;
	stack = ini_use_stack;
	comments = ini_allow_inline_comments;
	stop = ini_stop_on_first_error;
	ini_max_line = ini_initial_alloc = LONGEST_LINE + 8;
	ini_use_stack = false;
	ini_allow_inline_comments = false;
	ini_stop_on_first_error = false;
	result = ini_parse_stream(next_line, text, on_entry, text);
	ini_max_line = max_line;
	ini_initial_alloc = initial;
	ini_use_stack = stack;
	ini_allow_inline_comments = comments;
	ini_stop_on_first_error = stop;
	pthread_mutex_unlock(&lock);
	finish_pending(text);
	/* What is wrong with a line was told already; -2 is libinih's lack of memory. */
	return result == -2 ? error_memory(error, "reading the configuration") : PAR_OK;
}

int32_t conf_lines_read(const struct conf_lines *lines, const char *path, par_error *error)
{
	static const char mark[] = "\xef\xbb\xbf";
	struct text text = {.lines = lines};
	char *bytes;
	size_t n = 0;
	int32_t status = read_file(path, &bytes, &n, error);

	if (status == PAR_OK) {
		text.at = n >= 3 && memcmp(bytes, mark, 3) == 0 ? bytes + 3 : bytes;
		text.end = bytes + n;
		status = parse(&text, error);
	}
	free(bytes);
	return status;
}
