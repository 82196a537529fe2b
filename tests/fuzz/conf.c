/* conf.c - bytes as a plugins.conf, in a folder where good.so is a plugin. */
#include "conf.h"
#include "conf_lines.h"
#include "note.h"
#include "promise.h"

#include <ctype.h>
#include <math.h>
#include <sys/mman.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

/* --- the file, in memory --------------------------------------------------------------------- */

static char folder[200], written[sizeof(folder) + 20], plugin[sizeof(folder) + 20];
static pid_t owner;

static void remove_all(void)
{
	if (getpid() != owner)
		return;
	(void)unlink(plugin);
	(void)unlink(written);
	(void)rmdir(folder);
}

static void link_to(const char *target, char path[sizeof(written)], const char *name)
{
	(void)snprintf(path, sizeof(written), "%s/%s", folder, name);
	promise(symlink(target, path) == 0);
}

static void begin(const char *memory)
{
	const char *tmp = getenv("TMPDIR");

	(void)snprintf(folder, sizeof(folder), "%s/parloop-fuzz-XXXXXX", tmp != NULL ? tmp : "/tmp");
	promise(mkdtemp(folder) != NULL);
	owner = getpid();
	(void)atexit(remove_all);
	link_to(memory, written, "plugins.conf");
	link_to(PAR_BUILD "/tests/plugins/good.so", plugin, "good.so");
	unsetenv("PARLOOP_PLUGIN_DIR");
	par_set_log(promise_log, NULL);
}

static void write_file(const uint8_t *bytes, size_t n)
{
	static int fd = -1;
	char memory[40];

	if (fd < 0) {
		fd = memfd_create("plugins.conf", MFD_CLOEXEC);
		(void)snprintf(memory, sizeof(memory), "/proc/self/fd/%d", fd);
		begin(memory);
	}
	promise(fchmod(fd, 0600) == 0 && ftruncate(fd, 0) == 0 && pwrite(fd, bytes, n, 0) == (ssize_t)n);
}

/* --- its lines: each that says something is told of, once, in order -------------------------- */

struct lines {
	const char *at, *end; /* what was not told of yet */
	int number;           /* of the line before it */
	int n_bad;
};

static int is_blank(char c)
{
	return c == ' ' || (c >= '\t' && c <= '\r' && c != '\n');
}

/* Does this line say nothing?  Even of a comment it is told if it has a NUL, or is too long. */
static int is_silent(const char *line, size_t n)
{
	if (n > 4000 || memchr(line, '\0', n) != NULL)
		return 0;
	while (n > 0 && is_blank(*line)) {
		line++;
		n--;
	}
	return n == 0 || *line == ';' || *line == '#';
}

/* Go on to the next line that says something; *n is its length; NULL: there is none. */
static const char *next_line(struct lines *lines, size_t *n)
{
	while (lines->at < lines->end) {
		const char *line = lines->at, *newline = memchr(line, '\n', (size_t)(lines->end - line));

		*n = (size_t)((newline == NULL ? lines->end : newline) - line);
		lines->at = newline == NULL ? lines->end : newline + 1;
		lines->number++;
		if (!is_silent(line, *n))
			return line;
	}
	return NULL;
}

static void told(struct lines *lines, int number, const char *part, const char *other)
{
	size_t n;
	const char *line = next_line(lines, &n);

	promise(line != NULL && number == lines->number);
	promise(part == NULL || memmem(line, n, part, strlen(part)) != NULL);
	promise(other == NULL || memmem(line, n, other, strlen(other)) != NULL);
}

static void on_section(void *user, int line, const char *name)
{
	promise(strchr(name, ']') == NULL && !is_blank(name[0]));
	told(user, line, name, NULL);
}

static void on_entry(void *user, int line, const char *key, const char *value)
{
	size_t length = strlen(value);

	promise(!isspace((unsigned char)key[0]) && key[0] != '[');
	promise(length == 0 || (!isspace((unsigned char)value[0]) &&
	                        !isspace((unsigned char)value[length - 1])));
	told(user, line, key, value);
}

static void on_bad(void *user, int line, const char *why)
{
	struct lines *lines = user;

	promise(why[0] != '\0');
	told(lines, line, NULL, NULL);
	lines->n_bad++;
}

/* How many lines were bad. */
static int read_lines(const uint8_t *bytes, size_t n)
{
	const char *text = (const char *)bytes;
	const size_t mark = n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
	struct lines lines = {.at = text + mark, .end = text + n};
	const struct conf_lines readers = {on_section, on_entry, on_bad, &lines};
	par_error error = PAR_ERROR_INIT;
	int32_t status = conf_lines_read(&readers, written, &error);

	if (status < 0)
		promise_error(&error, status);
	else
		promise(next_line(&lines, &n) == NULL);
	return lines.n_bad;
}

/* --- what it says ---------------------------------------------------------------------------- */

static void check_settings(const struct conf *conf)
{
	const par_real *times[] = {&conf->timeout, &conf->task_timeout, &conf->call_timeout};

	promise(note_is_name(note_plain_name(conf->default_backend)));
	promise(!conf->n_jobs.set || conf->n_jobs.value != 0);
	promise(!conf->batch_size.set || conf->batch_size.value > 0 || conf->batch_size.value == PAR_AUTO);
	promise(!conf->max_nbytes.set || conf->max_nbytes.value >= -1);
	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++)
		promise(!times[i]->set || (isfinite(times[i]->value) && times[i]->value > 0));
	promise(!conf->close_timeout.set || conf->close_timeout.value >= 0);
	promise(conf->batch_shortest_ns >= 0 && conf->batch_longest_ns >= 0);
	promise(conf->batch_longest_ns == 0 || conf->batch_shortest_ns <= conf->batch_longest_ns);
	promise(conf->plugin_dirs != NULL && conf->plugin_dirs[0] != NULL);
	for (size_t i = 0; conf->plugin_dirs[i] != NULL; i++)
		promise(conf->plugin_dirs[i][0] == '/');
}

static void check_conf(const struct conf *conf)
{
	check_settings(conf);
	for (size_t i = 0; i < conf->n_backends; i++) {
		const struct conf_backend *backend = &conf->backends[i];

		promise(note_is_name(backend->name) && backend->line > 0);
		promise(conf_find_backend(conf, backend->name) == backend);
		promise(backend->path == NULL ||
		        (backend->path[0] == '/' && strchr(backend->path, '$') == NULL));
	}
	for (size_t i = 0; i < conf->n_lazy; i++) {
		promise(note_is_name(conf->lazy[i].name) && conf->lazy[i].line > 0);
		promise(conf_find_lazy(conf, conf->lazy[i].name) == &conf->lazy[i]);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	par_error error = PAR_ERROR_INIT;
	struct conf *conf;
	int n_bad, fd;
	int32_t status;

	write_file(bytes, n);
	fd = promise_fd();
	n_bad = read_lines(bytes, n);
	status = conf_read(&conf, written, &error);
	if (status == PAR_OK) {
		promise(n_bad == 0);
		check_conf(conf);
		conf_destroy(conf);
	} else {
		promise_error(&error, status);
		promise(status == PAR_ECONFIG && error.file[0] != '\0');
	}
	promise(promise_fd() == fd);
	return 0;
}

#include "corpus.h"
