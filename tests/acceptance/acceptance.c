/* acceptance.c - runs the behaviours, and prints a line for each.
 *
 *	acceptance [--only B17] [--backend threading] [--backend multiprocessing/spawn]
 *
 * number, sentence, backends, ok or why not.  The last line counts.  What a behaviour that
 * is not met has printed follows its line. */
#include "acceptance.h"

#include <parloop/worker.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { MOST_BACKENDS = 64, MOST_BEHAVIOURS = 256, TIME_LIMIT_S = 60 };

/* How one process ended; no status that anybody else would end with. */
enum verdict { MET = 0, NOT_MET = 81, LEFT_OUT = 82 };

const char *backend, *start_method;
par_error error = PAR_ERROR_INIT;

static struct backend {
	char title[96];
	char name[64];
	const char *method; /* $PARLOOP_START_METHOD; NULL: as it is */
	unsigned char is[N_CONCERNS]; /* of which kinds it is */
	char reason[1024];            /* why it cannot be had; empty: it can */
} backends[MOST_BACKENDS];
static int n_backends;

static char folder[PATH_MAX]; /* of all; each behaviour has one in it */
static int report_fd = -1;    /* in a behaviour's process: where its last words go */
static int printed_fd = -1;

extern const struct behaviour *const __start_behaviours[], *const __stop_behaviours[];

/* --- in the process of a behaviour ------------------------------------------------------------ */

static void say(const char *format, va_list args)
{
	char text[1500];
	int n = vsnprintf(text, sizeof(text), format, args);

	n = n < (int)sizeof(text) ? n : (int)sizeof(text) - 1;
	if (write(report_fd, text, (size_t)n) < 0)
		_exit(NOT_MET);
}

PRINTF(1, 2) static void say_it(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

void not_met(const char *file, int line, const char *format, ...)
{
	const char *name = strrchr(file, '/');
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	say_it(" (%s:%d)", name != NULL ? name + 1 : file, line);
	_exit(NOT_MET);
}

void leave_out(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
	_exit(LEFT_OUT);
}

void but(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	say(format, args);
	va_end(args);
}

/* ThreadSanitizer has a thread of its own, of which who is to fork warns. */
static void forget_warnings(char *text)
{
#ifdef __SANITIZE_THREAD__
	char *at, *begin, *end;

	while ((at = strstr(text, "start_method=fork with")) != NULL) {
		for (begin = at; begin > text && begin[-1] != '\n'; begin--)
			;
		end = at + strcspn(at, "\n");
		memmove(begin, *end == '\n' ? end + 1 : end, strlen(end) + (*end != '\n'));
	}
#else
	(void)text;
#endif
}

const char *printed(void)
{
	static char text[65536];
	ssize_t n;

	fflush(NULL);
	n = pread(printed_fd, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	forget_warnings(text);
	return text;
}

const char *path_of(const char *name)
{
	static char paths[4][PATH_MAX];
	static int next;
	char *path = paths[next++ % 4];

	(void)snprintf(path, sizeof(paths[0]), "%s/%s", getenv("TMPDIR"), name);
	return path;
}

const char *write_file(const char *name, const char *text)
{
	const char *path = path_of(name);
	FILE *file = fopen(path, "w");

	EXPECT(file != NULL, "%s: %s", path, strerror(errno));
	EXPECT(fputs(text, file) >= 0 && fclose(file) == 0, "%s: %s", path, strerror(errno));
	return path;
}

int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- a process for each ----------------------------------------------------------------------- */

struct outcome {
	enum verdict verdict;
	char words[2048];
	char printed[32768];
};

/* A group of its own, so that workers end with it. */
static void begin_child(int report, int output)
{
	char own[PATH_MAX + 16];

	setpgid(0, 0);
	report_fd = report;
	printed_fd = output;
	dup2(output, STDOUT_FILENO);
	dup2(output, STDERR_FILENO);
	(void)snprintf(own, sizeof(own), "%s/XXXXXX", folder);
	if (mkdtemp(own) == NULL || setenv("TMPDIR", own, 1) != 0 ||
	    setenv("XDG_CONFIG_HOME", own, 1) != 0 ||
	    (start_method != NULL && setenv("PARLOOP_START_METHOD", start_method, 1) != 0))
		not_met(__FILE__, __LINE__, "%s: %s", own, strerror(errno));
}

static int limit_s(void)
{
	const char *text = getenv("CK_DEFAULT_TIMEOUT");

	return text != NULL && atoi(text) > 0 ? 2 * atoi(text) : TIME_LIMIT_S;
}

/* How it ended; it is over then. */
static int wait_for_child(pid_t pid, int *status)
{
	struct pollfd ready = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	int in_time = ready.fd >= 0 && poll(&ready, 1, limit_s() * 1000) == 1;

	kill(-pid, SIGKILL);
	if (!in_time)
		kill(pid, SIGKILL);
	if (ready.fd >= 0)
		close(ready.fd);
	waitpid(pid, status, 0);
	return in_time;
}

/* A behaviour has one line. */
static void join_lines(char *words)
{
	for (; *words != '\0'; words++)
		if (*words == '\n')
			*words = ' ';
}

static void read_all(int fd, char *text, size_t size)
{
	ssize_t n = pread(fd, text, size - 1, 0);

	text[n > 0 ? n : 0] = '\0';
	close(fd);
}

static void judge(struct outcome *outcome, int in_time, int status)
{
	size_t used = strlen(outcome->words);
	char *end = outcome->words + used;

	outcome->verdict = NOT_MET;
	if (!in_time)
		(void)snprintf(end, sizeof(outcome->words) - used, "not done after %d s",
		               limit_s());
	else if (WIFSIGNALED(status))
		(void)snprintf(end, sizeof(outcome->words) - used, "crashed: %s",
		               strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == MET || WEXITSTATUS(status) == LEFT_OUT)
		outcome->verdict = (enum verdict)WEXITSTATUS(status);
	else if (used == 0)
		(void)snprintf(end, sizeof(outcome->words) - used, "ended with status %d",
		               WEXITSTATUS(status));
}

/* Let run() say something of that backend (NULL: of none), in a process of its own. */
static void run_apart(void (*run)(void), const struct backend *of, struct outcome *outcome)
{
	int report = memfd_create("report", MFD_CLOEXEC);
	int output = memfd_create("output", MFD_CLOEXEC);
	int status = 0, in_time;
	pid_t pid;

	fcntl(report, F_SETFL, O_APPEND);
	fcntl(output, F_SETFL, O_APPEND);
	fflush(NULL);
	pid = fork();
	if (pid == 0) {
		backend = of != NULL ? of->name : NULL;
		start_method = of != NULL ? of->method : NULL;
		begin_child(report, output);
		run();
		exit(MET); /* so that a sanitizer has its say */
	}
	if (pid < 0) {
		perror("fork");
		exit(EXIT_FAILURE);
	}
	in_time = wait_for_child(pid, &status);
	read_all(report, outcome->words, sizeof(outcome->words));
	read_all(output, outcome->printed, sizeof(outcome->printed));
	join_lines(outcome->words);
	judge(outcome, in_time, status);
}

/* --- which backends there are ----------------------------------------------------------------- */

static const char *const kinds[N_CONCERNS] = {
	[NO_BACKEND] = "",
	[EVERY_BACKEND] = "no backend is installed",
	[WITH_WORKERS] = "no backend with more than one worker is installed",
	[WITH_SHARED_MEMORY] = "no backend that shares memory is installed",
	[WITH_THREADS] = "no backend with threads is installed",
	[WITH_PROCESSES] = "no backend with worker processes is installed",
	[SURVIVING_CRASHES] = "no backend with worker processes (survives_crash) is installed",
	[STARTING_PROCESSES] = "no backend that starts processes itself (option initializer) is installed",
	[KEEPING_WORKERS] = "no backend that keeps workers (idle_worker_timeout) is installed",
};

int is_backend(enum concern concern)
{
	for (int i = 0; i < n_backends; i++)
		if (backend != NULL && strcmp(backends[i].name, backend) == 0)
			return backends[i].is[concern];
	return 0;
}

static int has_word(const char *words, const char *word)
{
	size_t length = strlen(word);

	for (const char *at = words; (at = strstr(at, word)) != NULL; at += length)
		if ((at == words || at[-1] == ' ') && (at[length] == '\0' || at[length] == ' '))
			return 1;
	return 0;
}

static int has_option(const par_backend_info *info, const char *key)
{
	for (uint32_t i = 0; i < info->n_options; i++)
		if (strcmp(info->options[i]->key, key) == 0)
			return 1;
	return 0;
}

static void add_variant(const par_backend_info *info, const char *method)
{
	struct backend *new = &backends[n_backends];

	if (n_backends == MOST_BACKENDS)
		return;
	(void)snprintf(new->name, sizeof(new->name), "%s", info->name);
	(void)snprintf(new->title, sizeof(new->title), "%s%s%s", info->name,
	               method != NULL ? "/" : "", method != NULL ? method : "");
	new->method = method;
	if (info->state == PAR_STATE_BROKEN)
		(void)snprintf(new->reason, sizeof(new->reason), "%s", info->reason);
	new->is[EVERY_BACKEND] = 1;
	new->is[WITH_SHARED_MEMORY] = (unsigned char)has_word(info->capabilities, "shares_memory");
	new->is[WITH_THREADS] = (unsigned char)has_word(info->capabilities, "uses_threads");
	new->is[WITH_PROCESSES] = !new->is[WITH_SHARED_MEMORY];
	new->is[SURVIVING_CRASHES] = (unsigned char)has_word(info->capabilities, "survives_crash");
	new->is[STARTING_PROCESSES] = new->is[WITH_PROCESSES] && has_option(info, "initializer");
	new->is[KEEPING_WORKERS] = new->is[WITH_PROCESSES] && has_option(info, "idle_worker_timeout");
	n_backends++;
}

/* One that starts processes in several ways is several backends. */
static int32_t add_backend(void *user, const par_backend_info *info)
{
	static const char *const methods[] = {"fork", "forkserver", "spawn"};

	(void)user;
	if (!has_option(info, "start_method"))
		add_variant(info, NULL);
	for (int i = 0; i < 3 && has_option(info, "start_method"); i++)
		add_variant(info, methods[i]);
	return n_backends == MOST_BACKENDS;
}

/* Says why it cannot be had, or how many workers it would have. */
static void probe(void)
{
	par_parallel *pool;
	char text[2048];
	int32_t code = par_open(&pool, PAR_SETTINGS(.backend = backend), &error);

	if (code == PAR_EUNAVAIL || code == PAR_ENOTFOUND)
		leave_out("%s", par_error_text(&error, 0, text, sizeof(text)));
	par_close(pool);
	but("%d", par_effective_n_jobs(backend, 2, &error));
}

/* As if the others were not there. */
static void keep_only(const char *name)
{
	int n = 0;

	for (int i = 0; i < n_backends; i++)
		if (strcmp(backends[i].name, name) == 0 || strcmp(backends[i].title, name) == 0)
			backends[n++] = backends[i];
	n_backends = n;
	if (n == 0) {
		printf("no backend \"%s\"\n", name);
		exit(EXIT_FAILURE);
	}
}

static void find_backends(const char *only)
{
	static struct outcome outcome;

	if (par_each_backend(add_backend, NULL, &error) != PAR_OK || n_backends == 0) {
		printf("no backend: %s: %s\n", error.what, error.reason);
		exit(EXIT_FAILURE);
	}
	if (only != NULL)
		keep_only(only);
	for (int i = 0; i < n_backends; i++) {
		struct backend *candidate = &backends[i];

		if (candidate->reason[0] != '\0')
			continue;
		run_apart(probe, candidate, &outcome);
		/* One that crashes here is asked nevertheless. */
		candidate->is[WITH_WORKERS] = atoi(outcome.words) > 1;
		if (outcome.verdict == LEFT_OUT)
			(void)snprintf(candidate->reason, sizeof(candidate->reason), "%.1000s",
			               outcome.words);
	}
}

/* --- the list --------------------------------------------------------------------------------- */

/* Several backends, one line. */
struct line {
	enum verdict verdict;
	int n; /* backends that were asked */
	char names[1024], words[8192];
	char last[2048]; /* what was said last, and is not said twice */
};

PRINTF(3, 4) static void append(char *text, size_t size, const char *format, ...)
{
	size_t used = strlen(text);
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text + used, size - used, format, args);
	va_end(args);
}

static void add_words(struct line *line, const char *words)
{
	if (words[0] == '\0' || strcmp(line->last, words) == 0)
		return;
	append(line->words, sizeof(line->words), "%s%s", line->words[0] != '\0' ? "; " : "", words);
	(void)snprintf(line->last, sizeof(line->last), "%s", words);
}

/* The worst counts; where one was left out, the others still hold. */
static void add_outcome(struct line *line, const char *name, const struct outcome *outcome)
{
	if (line->n++ == 0 || outcome->verdict == NOT_MET ||
	    (outcome->verdict == MET && line->verdict == LEFT_OUT))
		line->verdict = outcome->verdict;
	append(line->names, sizeof(line->names), "%s%s", line->n > 1 ? ", " : "",
	       name != NULL ? name : "core");
	if (outcome->verdict == NOT_MET && name != NULL)
		append(line->words, sizeof(line->words), "%s%s: %s",
		       line->words[0] != '\0' ? "; " : "",
		       name, outcome->words);
	else
		add_words(line, outcome->words);
}

static void ask(struct line *line, const struct behaviour *behaviour, const struct backend *of,
                char **shown)
{
	static struct outcome outcome;

	run_apart(behaviour->run, of, &outcome);
	add_outcome(line, of != NULL ? of->title : NULL, &outcome);
	if (outcome.verdict == NOT_MET && outcome.printed[0] != '\0' && *shown == NULL)
		*shown = strdup(outcome.printed);
}

static void print_line(const struct behaviour *behaviour, const struct line *line)
{
	printf("B%02d %s [%s]: ", behaviour->number, behaviour->sentence,
	       line->n > 0 ? line->names : "none");
	if (line->verdict == NOT_MET)
		printf("not ok: %s\n", line->words);
	else if (line->verdict == LEFT_OUT)
		printf("skipped: %s\n", line->words);
	else
		printf(line->words[0] != '\0' ? "ok, but %s\n" : "ok\n", line->words);
}

static void print_shown(char *shown)
{
	for (char *at = shown, *next; at != NULL && *at != '\0'; at = next) {
		next = at + strcspn(at, "\n");
		printf("    | %.*s\n", (int)(next - at), at);
		next += *next == '\n';
	}
	free(shown);
}

static enum verdict run_behaviour(const struct behaviour *behaviour)
{
	struct line line = {.verdict = LEFT_OUT};
	char *shown = NULL;

	if (behaviour->concern == NO_BACKEND)
		ask(&line, behaviour, NULL, &shown);
	for (int i = 0; i < n_backends; i++)
		if (backends[i].is[behaviour->concern] && backends[i].reason[0] == '\0')
			ask(&line, behaviour, &backends[i], &shown);
	if (line.n == 0)
		add_words(&line, kinds[behaviour->concern]);
	print_line(behaviour, &line);
	print_shown(shown);
	fflush(stdout);
	return line.verdict;
}

static int by_number(const void *a, const void *b)
{
	const struct behaviour *const *first = a, *const *second = b;

	return (*first)->number - (*second)->number;
}

static int run_list(int only)
{
	const struct behaviour *list[MOST_BEHAVIOURS];
	size_t n = (size_t)(__stop_behaviours - __start_behaviours);
	int met = 0, not_ok = 0, left_out = 0;

	for (size_t i = 0; i < n && i < MOST_BEHAVIOURS; i++)
		list[i] = __start_behaviours[i];
	qsort(list, n, sizeof(*list), by_number);
	for (int i = 0; i < n_backends; i++)
		if (backends[i].reason[0] != '\0')
			printf("without %s: %s\n", backends[i].title, backends[i].reason);
	for (size_t i = 0; i < n; i++) {
		enum verdict verdict;

		if (only != 0 && list[i]->number != only)
			continue;
		verdict = run_behaviour(list[i]);
		met += verdict == MET;
		not_ok += verdict == NOT_MET;
		left_out += verdict == LEFT_OUT;
	}
	printf("%d passed, %d failed, %d skipped\n", met, not_ok, left_out);
	return not_ok == 0 && met + left_out > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* --- main ------------------------------------------------------------------------------------- */

static int remove_one(const char *path, const struct stat *file, int type, struct FTW *walk)
{
	(void)file, (void)type, (void)walk;
	return remove(path);
}

static pid_t owner;

static void remove_folder(void)
{
	if (owner == getpid())
		(void)nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static void make_folder(void)
{
	const char *where = getenv("TMPDIR");

	(void)snprintf(folder, sizeof(folder), "%s/parloop-acceptance.XXXXXX",
	               where != NULL && *where != '\0' ? where : "/tmp");
	if (mkdtemp(folder) == NULL) {
		perror(folder);
		exit(EXIT_FAILURE);
	}
	owner = getpid();
	atexit(remove_folder);
	/* Nobody's own settings, unless they say so with PARLOOP_CONF. */
	setenv("XDG_CONFIG_HOME", folder, 1);
}

static int usage(void)
{
	fputs("usage: acceptance [--only B17] [--backend NAME]\n", stderr);
	return 2;
}

int main(int argc, char **argv)
{
	const char *only_backend = NULL;
	int only = 0;

	par_worker_main(argc, argv);
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return usage();
		if (strcmp(argv[i], "--only") == 0 &&
		    (only = atoi(argv[i + 1] + (argv[i + 1][0] == 'B'))) > 0)
			continue;
		if (strcmp(argv[i], "--backend") != 0)
			return usage();
		only_backend = argv[i + 1];
	}
	make_folder();
	find_backends(only_backend);
	return run_list(only);
}
