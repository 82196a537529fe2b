/* A good plugin, changed where a file says what it is, or cut, and dropped where a program looks for
 * plugins: ten thousand times, and at every length.  The program asks for the backend each time,
 * and goes on.
 *
 *	CHANGED_SEED=7 CHANGED_COPIES=100000 build/tests/test_changed	others, and more of them
 *	CHANGED_FIRST=4669 CHANGED_COPIES=4670 build/tests/test_changed	one of them */
#include "scratch.h"

#include "elf_file.h"
#include "error.h"
#include "loader.h"
#include "note.h"
#include "registry.h"

#include <dirent.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { COPIES = 300, LENGTHS_LOADED = 20 };
#else
enum { COPIES = 10000, LENGTHS_LOADED = INT32_MAX };
#endif

/* What hosts tell the test of: they are processes that end when one was mapped, since a path is mapped
 * once, and a name loaded once.  There are some beside each other, each with a folder of its own. */
enum { LANES = 2 };

static struct told {
	int at;        /* which copy it is about to look at */
	int n_read;    /* could be read: something of ours and whole */
	int n_loaded;
	int n_harmed;
	int n_late;    /* was not done after 5 s; the machine may be busy */
	char why[400]; /* what a host found wrong */
} *lanes, *told; /* told: of this one */

/* --- the good one ----------------------------------------------------------------------------- */

static char *whole;
static size_t size;
static char dropped[300];
static uint64_t seed, state;

/* Without what only a debugger reads, which is most of it. */
static void begin(void)
{
	char command[700];
	const char *wanted = getenv("CHANGED_SEED");

	scratch_begin();
	setenv("XDG_CACHE_HOME", scratch_dir, 1);
	(void)snprintf(command, sizeof(command), "strip -o %s %s", scratch_path("whole.so"), PLUGIN("good"));
	ck_assert_int_eq(system(command), 0);
	whole = scratch_read(scratch_path("whole.so"), &size);
	seed = wanted != NULL ? strtoull(wanted, NULL, 10) : 20261128;
	lanes = mmap(NULL, LANES * sizeof(*lanes), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(lanes, MAP_FAILED);
}

static void end(void)
{
	free(whole);
	munmap(lanes, LANES * sizeof(*lanes));
	scratch_end();
}

/* --- changed ---------------------------------------------------------------------------------- */

static uint64_t next_random(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static const Elf64_Ehdr *header(void)
{
	return (const Elf64_Ehdr *)(const void *)whole;
}

/* Where the first segment of that type lies. */
static size_t segment(uint32_t type, size_t *n)
{
	const Elf64_Phdr *segments = (const Elf64_Phdr *)(const void *)(whole + header()->e_phoff);

	for (int i = 0; i < header()->e_phnum; i++)
		if (segments[i].p_type == type) {
			*n = segments[i].p_filesz;
			return segments[i].p_offset;
		}
	ck_abort_msg("no segment of type %u", type);
}

/* A place in what says what the file is. */
static size_t choose_place(void)
{
	size_t at = 0, n = sizeof(Elf64_Ehdr);

	switch (next_random() % 8) {
	case 0:
		break;
	case 1:
		at = header()->e_shoff;
		n = (size_t)header()->e_shnum * sizeof(Elf64_Shdr);
		break;
	case 2:
	case 3:
		at = segment(PT_DYNAMIC, &n);
		break;
	case 4:
		at = segment(PT_NOTE, &n);
		break;
	default:
		at = header()->e_phoff;
		n = (size_t)header()->e_phnum * sizeof(Elf64_Phdr);
	}
	return at + next_random() % n;
}

static void change(char *copy)
{
	static const uint64_t numbers[] = {0, 1, 8, 4096, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX};
	const size_t at = choose_place(), width = (size_t)1 << next_random() % 4;
	uint64_t number = numbers[next_random() % 8];

	if (next_random() % 3 == 0 && at + width <= size)
		memcpy(copy + (at & ~(width - 1)), &number, width);
	else if (next_random() % 2 == 0)
		copy[at] = (char)(copy[at] ^ (1 << next_random() % 8));
	else
		copy[at] = (char)next_random();
}

/* The same for a seed and a number. */
static size_t make_changed(char *copy, int number)
{
	state = (seed << 32 ^ (uint64_t)number) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	(void)next_random();
	memcpy(copy, whole, size);
	for (uint64_t left = 1 + next_random() % 4; left > 0; left--)
		change(copy);
	return size;
}

/* --- the host --------------------------------------------------------------------------------- */

static int count_descriptors(void)
{
	DIR *folder = opendir("/proc/self/fd");
	int n = 0;

	while (folder != NULL && readdir(folder) != NULL)
		n++;
	(void)closedir(folder);
	return n;
}

__attribute__((format(printf, 1, 2))) static _Noreturn void host_fails(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(told->why, sizeof(told->why), format, args);
	va_end(args);
	_exit(1);
}

/* A new file each time, and never taken for the one before, however fast this goes. */
static void drop(const char *copy, size_t n, int number)
{
	const struct timespec times[2] = {{.tv_sec = number}, {.tv_sec = number}};
	int fd;

	(void)unlink(dropped);
	fd = open(dropped, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0 || write(fd, copy, n) != (ssize_t)n || futimens(fd, times) < 0 || close(fd) < 0)
		host_fails("cannot write %s: %s", dropped, strerror(errno));
}

/* What is looked at without running any of it. */
static int can_be_read(void)
{
	par_error ignored = PAR_ERROR_INIT;
	struct note *note;
	int is_good;

	if (note_read(&note, dropped, &ignored) < 0)
		return 0;
	is_good = note_find(note, "good") != NULL && loader_check(dropped, &ignored) == PAR_OK;
	note_destroy(note);
	return is_good;
}

static void check_refusal(int32_t status, const par_error *error)
{
	char text[1200];

	par_error_text(error, 0, text, sizeof(text));
	if (error->code != status || error->reason[0] == '\0')
		host_fails("it is not said why: %s", text);
	/* That of another name is what a changed note has. */
	if (status != PAR_ENOTFOUND && (status != PAR_EUNAVAIL || strcmp(error->file, dropped) != 0))
		host_fails("it is not said of which file: %s", text);
}

/* May the loader have kept it?  Also if it was refused then. */
static int is_mapped(void)
{
	return dlopen(dropped, RTLD_LAZY | RTLD_NOLOAD) != NULL;
}

static void ask(void)
{
	const int descriptors = count_descriptors(), is_read = can_be_read();
	const struct provider *provider;
	par_error error = PAR_ERROR_INIT;
	int32_t status = registry_find("good", &provider, &error);

	told->n_read += is_read;
	told->n_late += strstr(error.reason, "has not finished loading") != NULL;
	if (status != PAR_OK)
		check_refusal(status, &error);
	else if (!is_read)
		host_fails("it was loaded, although it cannot be read");
	if (count_descriptors() != descriptors)
		host_fails("it left a descriptor open");
	if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD)
		host_fails("it left a process behind");
	told->n_loaded += status == PAR_OK;
}

static void ignore_log(void *user, int32_t level, const char *line)
{
	(void)user, (void)level, (void)line;
}

static _Noreturn void be_host(size_t (*make)(char *copy, int number), int n)
{
	char *copy = malloc(size);

	if (copy == NULL)
		host_fails("no memory");
	par_set_log(ignore_log, NULL);
	for (; told->at < n && !is_mapped(); told->at += LANES) {
		drop(copy, make(copy, told->at), told->at);
		ask();
	}
	_exit(0);
}

/* One host after the other, until all of this lane were looked at. */
static _Noreturn void run_lane(size_t (*make)(char *copy, int number), int n)
{
	char name[30];

	(void)snprintf(name, sizeof(name), "drop%d", (int)(told - lanes));
	(void)snprintf(dropped, sizeof(dropped), "%s/good.so", scratch_path(name));
	setenv("PARLOOP_PLUGIN_DIR", scratch_path(name), 1);
	setenv("PARLOOP_CONF", "/dev/null", 1);
	if (mkdir(scratch_path(name), 0755) < 0)
		host_fails("mkdir: %s", strerror(errno));
	while (told->at < n) {
		pid_t host = fork();
		int status;

		if (host == 0)
			be_host(make, n);
		if (host < 0 || waitpid(host, &status, 0) != host)
			host_fails("fork: %s", strerror(errno));
		if (status == 0)
			continue;
		(void)fprintf(stderr, "the host ended with status %#x at number %d of seed %llu: %s\n", status,
		              told->at, (unsigned long long)seed, told->why);
		told->n_harmed++;
		told->at += LANES;
	}
	_exit(0);
}

/* All from first on; returns the sums. */
static struct told look_at_all(size_t (*make)(char *copy, int number), int first, int n)
{
	struct told sum = {0};
	pid_t pids[LANES];

	for (int i = 0; i < LANES; i++) {
		told = &lanes[i];
		told->at = first + i;
		pids[i] = fork();
		ck_assert_int_ge(pids[i], 0);
		if (pids[i] == 0)
			run_lane(make, n);
	}
	for (int i = 0; i < LANES; i++) {
		int status;

		ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
		ck_assert_msg(status == 0, "%s", lanes[i].why);
		sum.n_read += lanes[i].n_read;
		sum.n_loaded += lanes[i].n_loaded;
		sum.n_late += lanes[i].n_late;
		sum.n_harmed += lanes[i].n_harmed;
	}
	ck_assert_int_eq(sum.n_harmed, 0);
	return sum;
}

/* --- tests ------------------------------------------------------------------------------------ */

START_TEST(no_change_of_what_a_file_says_harms_the_host)
{
	const char *wanted = getenv("CHANGED_COPIES"), *first = getenv("CHANGED_FIRST");
	const int n = wanted != NULL ? atoi(wanted) : COPIES;
	struct told sum = look_at_all(make_changed, first != NULL ? atoi(first) : 0, n);

	printf("seed %llu: %d changed copies, %d were probed, %d loaded, %d hung\n",
	       (unsigned long long)seed, n, sum.n_read, sum.n_loaded, sum.n_late);
	if (wanted != NULL)
		return;
	ck_assert_int_gt(sum.n_read, n / 50);
	ck_assert_int_lt(sum.n_read, n);
	ck_assert_int_gt(sum.n_loaded, 0);
	ck_assert_int_lt(sum.n_loaded, sum.n_read);
}
END_TEST

static size_t make_cut(char *copy, int number)
{
	memcpy(copy, whole, size);
	return (size_t)number;
}

static int is_whole_at(size_t length)
{
	char path[300];
	struct note *note;
	par_error ignored = PAR_ERROR_INIT;
	int is_good;

	(void)snprintf(path, sizeof(path), "%s", scratch_path("cut.so"));
	ck_assert_int_eq(truncate(path, (off_t)length), 0);
	is_good = note_read(&note, path, &ignored) == PAR_OK;
	if (is_good)
		note_destroy(note);
	return is_good && loader_check(path, &ignored) == PAR_OK;
}

/* Only the section headers, which nobody needs, lie behind what is loaded. */
START_TEST(no_length_of_a_file_harms_the_host)
{
	size_t length = size, shortest, n_loaded;
	struct told sum;

	scratch_write("cut.so", whole, size);
	while (length > 0 && is_whole_at(length))
		length--;
	shortest = length + 1;
	for (; length > 0; length--)
		ck_assert_msg(!is_whole_at(length), "whole with %zu bytes, but not with %zu", length, shortest - 1);
	ck_assert_uint_lt(shortest, size);
	/* The last that are refused, too. */
	n_loaded = size - shortest < LENGTHS_LOADED ? size - shortest : LENGTHS_LOADED;
	sum = look_at_all(make_cut, (int)shortest - 50, (int)(shortest + n_loaded));
	printf("%zu lengths, whole from %zu on: %d were probed, %d loaded\n", size, shortest, sum.n_read,
	       sum.n_loaded);
	ck_assert_uint_eq((size_t)sum.n_read, n_loaded);
	ck_assert_uint_eq((size_t)(sum.n_loaded + sum.n_late), n_loaded);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("changed");
	TCase *tests = tcase_create("changed");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 280);
	tcase_add_checked_fixture(tests, begin, end);
	tcase_add_test(tests, no_change_of_what_a_file_says_harms_the_host);
	tcase_add_test(tests, no_length_of_a_file_harms_the_host);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
