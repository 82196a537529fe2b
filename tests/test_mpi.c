/* The backend mpi on the real Open MPI and MPICH, through the public API alone: results, errors,
 * ends of calls, and of ranks, launchers and programs.
 *
 * Under a sanitizer the relay is that of the plain build, since an MPI says much of itself there;
 * the plugin is under it.
 *
 * link: -rdynamic */
#include "scratch.h"
#include "shared.h"
#include "tasks/processes.h"

#include <parloop/parloop.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define PLAIN PAR_CHECKOUT "/build"
#else
#define PLAIN PAR_BUILD
#endif

enum { N_MPIS = 2, MOST = 10000, WORDS = 1 << 20 };

static const struct mpi {
	const char *name, *other, *launcher;
} mpis[N_MPIS] = {
	{"openmpi", "mpich", "mpirun.openmpi --oversubscribe --bind-to none -n {n}"},
	{"mpich", "openmpi", "mpiexec.hydra -n {n}"},
};

static par_error error = PAR_ERROR_INIT;
static uint64_t in[MOST], out[MOST];
static int32_t statuses[MOST];

static const char *error_line(void)
{
	static char text[4096];

	return par_error_text(&error, 1, text, sizeof(text));
}

#define MUST_BE(expected, call)                                                                 \
	do {                                                                                    \
		int32_t must_code = (call);                                                     \
		ck_assert_msg(must_code == (expected), "%s: %s, expected %s; %s", #call,        \
		              par_code_name(must_code), par_code_name(expected), error_line()); \
	} while (0)
#define MUST(call)            MUST_BE(PAR_OK, call)
#define HAS(text, part)       ck_assert_msg(strstr(text, part) != NULL, "\"%s\" is not in: %s", part, text)

/* --- what a test has -------------------------------------------------------------------------- */

static int is_there(int mpi)
{
	char relay[PATH_MAX];

	(void)snprintf(relay, sizeof(relay), PLAIN "/parloop-mpi-relay.%s", mpis[mpi].name);
	return access(relay, X_OK) == 0;
}

static const par_task *task_of(const char *module_name, const char *name)
{
	char path[PATH_MAX];
	par_module *module;
	const par_task *found;

	(void)snprintf(path, sizeof(path), PLAIN "/tasks/%s.so", module_name);
	MUST(par_module_open(&module, path, &error));
	MUST(par_module_task(module, name, &found, &error));
	return found;
}

#define ROOT "env=OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1"

static int32_t try_open(par_parallel **pool, int mpi, int n_jobs, const char *first,
                        const char *second)
{
	char name[64], relay[PATH_MAX + 32];
	const char *options[] = {name, relay, ROOT, "idle_timeout=0s", first, first != NULL ? second : NULL,
	                         NULL};

	(void)snprintf(name, sizeof(name), "mpi=%s", mpis[mpi].name);
	(void)snprintf(relay, sizeof(relay), "relay=" PLAIN "/parloop-mpi-relay.%s", mpis[mpi].name);
	return par_open(pool, PAR_SETTINGS(.backend = "mpi", .options = options, .n_jobs = PAR_SET(n_jobs)),
	                &error);
}

static par_parallel *open_pool(int mpi, const char *first, const char *second)
{
	par_parallel *pool;

	MUST(try_open(&pool, mpi, 2, first, second));
	return pool;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* --- processes ----------------------------------------------------------------------------------- */

/* Those of this test's jobs are known by a variable that it has set. */
static char mark[64];

static int has_mark(const char *pid)
{
	char path[64];
	size_t n, length = strlen(mark);
	char *bytes;
	FILE *file;
	int found = 0;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/environ", pid);
	file = fopen(path, "re");
	bytes = file != NULL ? malloc(1 << 18) : NULL;
	n = bytes != NULL ? fread(bytes, 1, (1 << 18) - 1, file) : 0;
	for (size_t at = 0; at < n && !found; at += strnlen(bytes + at, n - at) + 1)
		found = n - at > length && memcmp(bytes + at, mark, length) == 0 && bytes[at + length] == '\0';
	free(bytes);
	if (file != NULL)
		fclose(file);
	return found;
}

static void name_of(const char *pid, char name[4096])
{
	char path[64];
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "/proc/%.20s/cmdline", pid);
	file = fopen(path, "re");
	n = file != NULL ? fread(name, 1, 4095, file) : 0;
	for (size_t i = 0; i + 1 < n; i++)
		if (name[i] == '\0')
			name[i] = ' ';
	name[n] = '\0';
	if (file != NULL)
		fclose(file);
}

/* Processes of the job whose command has that word, and not that; of this program none. */
static int find(const char *word, const char *but, pid_t pids[16])
{
	DIR *folder = opendir("/proc");
	struct dirent *entry;
	char name[4096];
	int n = 0;

	ck_assert_ptr_nonnull(folder);
	while ((entry = readdir(folder)) != NULL && n < 16) {
		if (!isdigit((unsigned char)entry->d_name[0]) || atoi(entry->d_name) == getpid() ||
		    !has_mark(entry->d_name))
			continue;
		name_of(entry->d_name, name);
		if (strstr(name, word) != NULL && (but == NULL || strstr(name, but) == NULL))
			pids[n++] = atoi(entry->d_name);
	}
	closedir(folder);
	return n;
}

/* Those that are ending have a moment for it. */
static void expect_nobody(void)
{
	pid_t pids[16];
	char name[4096] = "", pid[16];
	int n = 0;

	for (int64_t begin = now_ms(); now_ms() - begin < 8000; usleep(10000))
		if ((n = find("", NULL, pids)) == 0)
			return;
	(void)snprintf(pid, sizeof(pid), "%d", pids[0]);
	name_of(pid, name);
	ck_abort_msg("%d processes are left, one is %s", n, name);
}

static void begin(void)
{
	scratch_begin();
	(void)snprintf(mark, sizeof(mark), "PARLOOP_TEST_MARK=%d", (int)getpid());
	(void)putenv(mark);
	for (int i = 0; i < MOST; i++) {
		in[i] = (uint64_t)i;
		out[i] = UINT64_MAX;
		statuses[i] = 1;
	}
}

static void end(void)
{
	expect_nobody();
	shared_shrink();
	scratch_end();
}

/* One task at a time. */
static int32_t map_some(par_parallel *pool, const par_task *task, uint64_t n)
{
	memset(out, 0xff, sizeof(out));
	return par_map(pool, task, in, out, n,
	               PAR_SETTINGS(.batch_size = PAR_SET(1), .on_error = PAR_COLLECT,
	                            .statuses = statuses),
	               &error);
}

static void expect_triples(par_parallel *pool)
{
	const par_task *triple = task_of("remote", "triple");

	for (int i = 0; i < 100; i++)
		in[i] = (uint64_t)i;
	MUST(map_some(pool, triple, 100));
	for (uint64_t i = 0; i < 100; i++)
		ck_assert_uint_eq(out[i], 3 * i);
}

/* --- streams ------------------------------------------------------------------------------------------ */

static struct {
	uint64_t n, given, taken;
	uint64_t size;
	char *payload;
	uint64_t largest;
	int is_unordered;
	char seen[MOST];
	char last[4096];
} stream;

static int32_t give(void *user, par_item *item)
{
	(void)user;
	if (stream.given == stream.n)
		return 0;
	item->payload = stream.payload;
	item->n_bytes = stream.size > 0 ? stream.size : stream.given % 200;
	stream.given++;
	return 1;
}

static int32_t take(void *user, const par_outcome *outcome)
{
	(void)user;
	ck_assert_int_eq(outcome->status, PAR_OK);
	ck_assert_uint_eq(outcome->n_bytes, stream.size > 0 ? stream.size : outcome->index % 200);
	ck_assert_int_eq(memcmp(outcome->bytes, stream.payload, outcome->n_bytes), 0);
	if (!stream.is_unordered)
		ck_assert_uint_eq(outcome->index, stream.taken);
	ck_assert_int_eq(stream.seen[outcome->index]++, 0);
	stream.taken++;
	return 0;
}

static void run_stream(par_parallel *pool, uint64_t n, uint64_t size, int is_unordered, int batch_size)
{
	memset(&stream, 0, sizeof(stream));
	stream.n = n;
	stream.size = size;
	stream.is_unordered = is_unordered;
	stream.payload = malloc(size > 0 ? size : 200);
	for (uint64_t i = 0; i < (size > 0 ? size : 200); i++)
		stream.payload[i] = (char)(i * 7 + i / 251);
	MUST(par_run(pool, task_of("remote", "echo"), give, take, NULL,
	             PAR_SETTINGS(.order = is_unordered ? PAR_UNORDERED : PAR_ORDERED,
	                          .batch_size = PAR_SET(batch_size)),
	             &error));
	ck_assert_uint_eq(stream.taken, n);
	free(stream.payload);
}

/* A text for a text. */
static int32_t give_name(void *user, par_item *item)
{
	if (stream.given++ > 0)
		return 0;
	item->payload = user;
	item->n_bytes = strlen(user);
	return 1;
}

static int32_t take_text(void *user, const par_outcome *outcome)
{
	(void)user;
	(void)snprintf(stream.last, sizeof(stream.last), "%.*s", (int)outcome->n_bytes,
	               (const char *)outcome->bytes);
	return 0;
}

static const char *ask(par_parallel *pool, const char *task, const char *text)
{
	char copy[256];

	memset(&stream, 0, sizeof(stream));
	(void)snprintf(copy, sizeof(copy), "%s", text);
	MUST(par_run(pool, task_of("processes", task), give_name, take_text, copy, NULL, &error));
	return stream.last;
}

/* --- results -------------------------------------------------------------------------------------------- */

START_TEST(tasks_go_there_and_back)
{
	par_parallel *pool = open_pool(_i, NULL, NULL);
	const par_task *triple = task_of("remote", "triple");
	int seats[2] = {0, 0};

	MUST(par_map(pool, triple, in, out, MOST, NULL, &error));
	for (uint64_t i = 0; i < MOST; i++)
		ck_assert_uint_eq(out[i], 3 * i);
	/* Ten thousand batches. */
	MUST(map_some(pool, triple, MOST));
	for (uint64_t i = 0; i < MOST; i++)
		ck_assert_uint_eq(out[i], 3 * i);
	run_stream(pool, 5000, 0, 0, PAR_AUTO);
	run_stream(pool, 5000, 0, 1, PAR_AUTO);
	run_stream(pool, 2000, 0, 0, 1);
	/* Both take part, and are other processes than this one. */
	for (int i = 0; i < 8; i++)
		in[i] = 30;
	MUST(map_some(pool, task_of("mpi", "seat"), 8));
	for (int i = 0; i < 8; i++)
		seats[out[i]]++;
	ck_assert_int_gt(seats[0], 0);
	ck_assert_int_gt(seats[1], 0);
	MUST(map_some(pool, task_of("processes", "pid"), 8));
	for (int i = 0; i < 8; i++)
		ck_assert_uint_ne(out[i], (uint64_t)getpid());
	par_close(pool);
}
END_TEST

/* More than goes in one piece, or one message; and what all tasks see, which changes from one call to
 * the next. */
START_TEST(much_goes_there_and_back)
{
	par_parallel *pool = open_pool(_i, NULL, NULL);
	const par_task *look_up = task_of("mpi", "look_up");
	uint64_t *shared = malloc(WORDS * sizeof(*shared));

	run_stream(pool, 6, 5000003, 0, PAR_AUTO);
	for (uint64_t call = 1; call <= 3; call++) {
		for (uint64_t i = 0; i < WORDS; i++)
			shared[i] = i * call;
		for (uint64_t i = 0; i < 1000; i++)
			in[i] = i * (WORDS / 1000);
		MUST(par_map(pool, look_up, in, out, 1000,
		             PAR_SETTINGS(.shared = shared, .shared_size = WORDS * sizeof(*shared),
		                          .batch_size = PAR_SET(10)),
		             &error));
		for (uint64_t i = 0; i < 1000; i++)
			ck_assert_uint_eq(out[i], in[i] * call);
	}
	free(shared);
	par_close(pool);
}
END_TEST

START_TEST(errors_and_what_is_around_a_task)
{
	par_parallel *pool = open_pool(_i, "env=OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 "
	                               "CARD={slot} WORDS='two words'", NULL);
	const char *threads = getenv("OMP_NUM_THREADS");

	MUST_BE(PAR_EFAILED, map_some(pool, task_of("remote", "picky"), 10));
	ck_assert_int_eq(error.task, 3);
	ck_assert_str_eq(error.type, "Shy");
	ck_assert_str_eq(error.reason, "not at once");
	ck_assert_str_eq(error.host, "");
	ck_assert(error.worker == 0 || error.worker == 1);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(statuses[i], i == 3 || i >= 7 ? PAR_EFAILED : PAR_OK);
	ck_assert_uint_eq(out[2], 2);
	/* Calls inside. */
	in[0] = 1;
	MUST(map_some(pool, task_of("mpi", "nest"), 1));
	ck_assert_uint_eq(out[0], 385);
	/* The environment. */
	ck_assert_str_eq(ask(pool, "variable", "WORDS"), "two words");
	ck_assert(isdigit((unsigned char)*ask(pool, "variable", "CARD")));
	if (threads == NULL)
		ck_assert(isdigit((unsigned char)*ask(pool, "variable", "OMP_NUM_THREADS")));
	par_close(pool);
}
END_TEST

/* --- ends of calls ---------------------------------------------------------------------------------------- */

static void *cancel_later(void *pool)
{
	usleep(200000);
	par_cancel(pool);
	return NULL;
}

START_TEST(calls_end_early)
{
	par_parallel *pool = open_pool(_i, NULL, NULL);
	const par_task *wait = task_of("mpi", "wait_for_end"), *die = task_of("processes", "die");
	pid_t before[16], after[16];
	pthread_t thread;
	int n;

	/* Tasks that listen end by themselves, and the job stays. */
	n = find("--rank", "--keep", before);
	MUST_BE(PAR_ETIMEOUT, par_map(pool, wait, in, out, 4, PAR_SETTINGS(.call_timeout = PAR_SET(0.2)), &error));
	expect_triples(pool);
	ck_assert_int_eq(find("--rank", "--keep", after), n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(before[i], after[i]);
	/* Those that do not take it along. */
	in[0] = in[1] = DIE_OF_OLD_AGE;
	MUST_BE(PAR_ETIMEOUT, par_map(pool, die, in, out, 2, PAR_SETTINGS(.call_timeout = PAR_SET(0.2)), &error));
	expect_triples(pool);
	/* A task that takes too long is charged, and no other. */
	for (int i = 0; i < 10; i++)
		in[i] = i == 4 ? DIE_OF_OLD_AGE : DIE_NOT;
	MUST_BE(PAR_EFAILED, par_map(pool, die, in, out, 10,
	                              PAR_SETTINGS(.task_timeout = PAR_SET(0.3), .on_error = PAR_COLLECT,
	                                           .statuses = statuses),
	                              &error));
	ck_assert_int_eq(error.task, 4);
	for (int i = 0; i < 10; i++)
		ck_assert_int_eq(statuses[i], i == 4 ? PAR_ETIMEOUT : PAR_OK);
	ck_assert_int_eq(pthread_create(&thread, NULL, cancel_later, pool), 0);
	MUST_BE(PAR_ECANCELED, par_map(pool, wait, in, out, 4, NULL, &error));
	pthread_join(thread, NULL);
	expect_triples(pool);
	par_close(pool);
}
END_TEST

/* --- deaths ------------------------------------------------------------------------------------------------- */

START_TEST(a_task_that_kills_its_rank_is_found)
{
	par_parallel *pool = open_pool(_i, "output=capture", NULL);

	for (int i = 0; i < 40; i++)
		in[i] = i == 17 ? DIE_SEGV : DIE_NOT;
	MUST_BE(PAR_EFAILED, map_some(pool, task_of("processes", "die"), 40));
	ck_assert_int_eq(error.task, 17);
	ck_assert_int_eq(error.signal, SIGSEGV);
	ck_assert_str_eq(error.type, "SIGSEGV");
	for (int i = 0; i < 40; i++)
		ck_assert_int_eq(statuses[i], i == 17 ? PAR_ELOST : PAR_OK);
	expect_triples(pool);
	par_close(pool);
}
END_TEST

/* Somebody kills a part of the job while tasks run. */
static struct {
	const char *word, *but;
	int which; /* of those */
	pid_t pid;
} victim;

static void *kill_later(void *unused)
{
	pid_t pids[16];
	int n = 0;

	(void)unused;
	usleep(100000);
	for (int i = 0; i < 200 && n <= victim.which; i++) {
		n = find(victim.word, victim.but, pids);
		usleep(5000);
	}
	if (n > victim.which)
		kill(victim.pid = pids[victim.which], SIGKILL);
	return NULL;
}

static void expect_survival(int mpi, const char *word, const char *but, int which)
{
	par_parallel *pool = open_pool(mpi, "output=capture", NULL);
	pthread_t thread;

	victim.word = word;
	victim.but = but;
	victim.which = which;
	victim.pid = 0;
	for (int i = 0; i < 40; i++)
		in[i] = 20;
	ck_assert_int_eq(pthread_create(&thread, NULL, kill_later, NULL), 0);
	MUST(map_some(pool, task_of("processes", "pid"), 40));
	pthread_join(thread, NULL);
	ck_assert_int_gt(victim.pid, 0);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(statuses[i], PAR_OK);
		ck_assert_uint_ne(out[i], UINT64_MAX);
	}
	expect_triples(pool);
	par_close(pool);
}

/* Rank 0, or one that works. */
START_TEST(a_rank_may_be_killed)
{
	expect_survival(_i, "--rank", " -n ", 0);
}
END_TEST

START_TEST(so_may_another)
{
	expect_survival(_i, "--rank", " -n ", 2);
}
END_TEST

START_TEST(the_launcher_may_be_killed)
{
	expect_survival(_i, " -n 3", "--keep", 0);
}
END_TEST

START_TEST(the_keeper_may_be_killed)
{
	expect_survival(_i, "--keep", NULL, 0);
}
END_TEST

START_TEST(nothing_outlives_the_program)
{
	pid_t child, pids[16];
	int n = 0;

	child = fork();
	if (child == 0) {
		par_parallel *pool;

		if (try_open(&pool, _i, 2, NULL, NULL) < 0)
			_exit(1);
		in[0] = in[1] = DIE_OF_OLD_AGE;
		(void)par_map(pool, task_of("processes", "die"), in, out, 2, NULL, &error);
		_exit(1);
	}
	/* The keeper, the launcher and three ranks at least. */
	for (int i = 0; i < 2000 && n < 5; i++) {
		n = find("", NULL, pids);
		ck_assert_int_eq(waitpid(child, NULL, WNOHANG), 0);
		usleep(5000);
	}
	ck_assert_int_ge(n, 5);
	(void)kill(child, SIGKILL);
	ck_assert_int_eq(waitpid(child, NULL, 0), child);
	expect_nobody();
}
END_TEST

/* --- the job ---------------------------------------------------------------------------------------------- */

static uint64_t cpu_ticks(const pid_t *pids, int n)
{
	uint64_t sum = 0;

	for (int i = 0; i < n; i++) {
		char path[64], text[1024];
		unsigned long user = 0, system = 0;
		const char *at;
		FILE *file;
		size_t length;

		(void)snprintf(path, sizeof(path), "/proc/%d/stat", pids[i]);
		file = fopen(path, "re");
		length = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;
		text[length] = '\0';
		at = strrchr(text, ')');
		if (at != NULL)
			(void)sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system);
		sum += user + system;
		if (file != NULL)
			fclose(file);
	}
	return sum;
}

START_TEST(idle_ranks_sleep)
{
	par_parallel *pool = open_pool(_i, NULL, NULL);
	pid_t pids[16];
	uint64_t before;
	int n;

	expect_triples(pool);
	n = find("", NULL, pids);
	ck_assert_int_ge(n, 5);
	usleep(200000);
	before = cpu_ticks(pids, n);
	usleep(1000000);
	/* Of the hundred ticks of one second that one of them would burn. */
	ck_assert_uint_le(cpu_ticks(pids, n) - before, 10);
	par_close(pool);
}
END_TEST

START_TEST(a_job_is_kept_for_the_next_call)
{
	char name[64], relay[PATH_MAX + 32];
	const char *options[] = {name, relay, ROOT, "idle_timeout=700ms", NULL};
	par_parallel *pool;
	pid_t before[16], after[16];
	int n;

	(void)snprintf(name, sizeof(name), "mpi=%s", mpis[_i].name);
	(void)snprintf(relay, sizeof(relay), "relay=" PLAIN "/parloop-mpi-relay.%s", mpis[_i].name);
	for (int call = 0; call < 2; call++) {
		MUST(par_open(&pool, PAR_SETTINGS(.backend = "mpi", .options = options, .n_jobs = PAR_SET(2)),
		              &error));
		expect_triples(pool);
		n = find("--rank", "--keep", call == 0 ? before : after);
		par_close(pool);
	}
	ck_assert_int_ge(n, 3);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(before[i], after[i]);
	/* Nobody comes any more: it ends by itself, and this process has not waited for it yet. */
	for (int64_t from = now_ms(); now_ms() - from < 8000 && find("--rank", NULL, after) > 0;)
		usleep(10000);
	ck_assert_int_eq(find("--rank", NULL, after), 0);
	options[3] = "idle_timeout=0s";
	MUST(par_open(&pool, PAR_SETTINGS(.backend = "mpi", .options = options, .n_jobs = PAR_SET(2)), &error));
	par_close(pool);
}
END_TEST

START_TEST(hosts_say_how_many_there_are)
{
	char file[PATH_MAX], list[PATH_MAX + 32], hosts[64];
	par_parallel *pool;

	(void)snprintf(file, sizeof(file), "%s",
	               scratch_write("hosts", _i == 0 ? "localhost slots=3\n" : "localhost:3\n",
	                             _i == 0 ? 18 : 12));
	(void)snprintf(list, sizeof(list), "hostfile=%s", file);
	MUST(try_open(&pool, _i, 3, list, NULL));
	expect_triples(pool);
	par_close(pool);
	(void)snprintf(hosts, sizeof(hosts), "hosts=localhost:2");
	MUST(try_open(&pool, _i, 2, hosts, NULL));
	expect_triples(pool);
	par_close(pool);
	MUST(try_open(&pool, _i, -1, list, NULL));
	ck_assert_int_eq(par_n_jobs(pool), 3);
	par_close(pool);
	MUST_BE(PAR_ECONFIG, try_open(&pool, _i, 2, list, hosts));
	HAS(error.reason, "cannot both be set");
}
END_TEST

/* --- what is missing --------------------------------------------------------------------------------------- */

START_TEST(what_is_missing_is_said)
{
	char text[PATH_MAX], relay[PATH_MAX];
	par_parallel *pool;

	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=no-such-mpirun -n {n}", NULL));
	HAS(error.reason, "there is no program \"no-such-mpirun\"");
	HAS(error.remedy, "install openmpi-bin and libopenmpi-dev or mpich and libmpich-dev");
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "relay=/nowhere/relay", NULL));
	HAS(error.reason, "/nowhere/relay: No such file");
	MUST_BE(PAR_ECONFIG, try_open(&pool, _i, 2, _i == 0 ? "launcher=mpirun.openmpi" : "launcher=mpiexec.hydra", NULL));
	HAS(error.reason, "has no {n}");
	/* One that fails, and one that hangs. */
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=sh -c 'echo no such queue >&2; exit 3' {n}", NULL));
	HAS(error.reason, "ended with status 3");
	HAS(error.reason, "no such queue");
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=sh -c 'echo waiting for an allocation; exec sleep 60' {n}",
	                               "start_timeout=300ms"));
	HAS(error.reason, "did not start within 0.3 s");
	HAS(error.reason, "waiting for an allocation");
	/* A status is no signal. */
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=sh -c 'exit 255' {n}", NULL));
	HAS(error.reason, "the launcher ended with status 255 ");
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=sh -c 'kill -HUP $$' {n}", NULL));
	HAS(error.reason, "the launcher was killed by signal 1");
	/* What the relay says is kept, whatever others say afterwards. */
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, "launcher=sh -c 'echo 0: parloop-mpi-relay: no luck >&2; "
	                                             "seq 100000; exit 3' {n}", NULL));
	HAS(error.reason, "were there: parloop-mpi-relay: no luck");
	ck_assert_ptr_null(strstr(error.reason, "luck "));
	/* The launcher of one with the relay of another. */
	(void)snprintf(text, sizeof(text), "launcher=%s", mpis[1 - _i].launcher);
	MUST_BE(is_there(1 - _i) ? PAR_ECONFIG : PAR_EUNAVAIL, try_open(&pool, _i, 2, text, NULL));
	if (!is_there(1 - _i))
		return;
	HAS(error.reason, _i == 0 ? "is MPICH's, and mpi = openmpi" : "is Open MPI's, and mpi = mpich");
	/* And where one cannot see it. */
	(void)snprintf(text, sizeof(text), "launcher=env %s", mpis[_i].launcher);
	(void)snprintf(relay, sizeof(relay), "relay=" PLAIN "/parloop-mpi-relay.%s", mpis[1 - _i].name);
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, _i, 2, text, relay));
	HAS(error.reason, "is of another MPI than this relay");
}
END_TEST

/* MPICH's launcher dies if rank 0 ends before it has taken what is on standard input, and with it dies
 * what the ranks have said: here more than a pipe holds. */
START_TEST(a_relay_of_another_mpi_takes_its_input)
{
	static const char *const launched[] = {"HYDI_CONTROL_FD=0 PMI_RANK=0",
	                                       "OMPI_COMM_WORLD_SIZE=3 OMPI_COMM_WORLD_RANK=0"};
	char command[PATH_MAX + 200], taken[PATH_MAX];

	(void)snprintf(taken, sizeof(taken), "%s/taken", scratch_dir);
	(void)snprintf(command, sizeof(command),
	               "{ head -c 1000000 /dev/zero && : >%s; } | "
	               "env %s " PLAIN "/parloop-mpi-relay.%s --rank 2>%s/said",
	               taken, launched[_i], mpis[_i].name, scratch_dir);
	ck_assert_int_ne(system(command), 0);
	ck_assert_int_eq(access(taken, F_OK), 0);
	(void)snprintf(command, sizeof(command), "grep -q 'is of another MPI' %s/said", scratch_dir);
	ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(root_is_told)
{
	par_parallel *pool;

	if (geteuid() != 0 || getenv("OMPI_ALLOW_RUN_AS_ROOT") != NULL)
		return;
	MUST_BE(PAR_EUNAVAIL, try_open(&pool, 0, 2, "env=A=1", NULL));
	HAS(error.reason, "does not start jobs for root");
	HAS(error.remedy, "OMPI_ALLOW_RUN_AS_ROOT=1");
	MUST_BE(PAR_ECONFIG, try_open(&pool, 0, 2, "env=A", NULL));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("mpi");
	TCase *tests = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	if (getenv("UNDER_VALGRIND") != NULL) {
		puts("SKIP the backend mpi (it has worker processes)\n1 passed, 0 failed, 0 skipped");
		return EXIT_SUCCESS;
	}
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, end);
	for (int mpi = 0; mpi < N_MPIS; mpi++) {
		const int after = mpi + 1;

		if (!is_there(mpi)) {
			printf("SKIP the backend mpi on %s (" PLAIN "/parloop-mpi-relay.%s was not built)\n",
			       mpis[mpi].name, mpis[mpi].name);
			printf("100%%: Checks: 1, Failures: 0, Errors: 0\n");
			continue;
		}
		tcase_add_loop_test(tests, tasks_go_there_and_back, mpi, after);
		tcase_add_loop_test(tests, much_goes_there_and_back, mpi, after);
		tcase_add_loop_test(tests, errors_and_what_is_around_a_task, mpi, after);
		tcase_add_loop_test(tests, calls_end_early, mpi, after);
		tcase_add_loop_test(tests, a_task_that_kills_its_rank_is_found, mpi, after);
		tcase_add_loop_test(tests, a_rank_may_be_killed, mpi, after);
		tcase_add_loop_test(tests, so_may_another, mpi, after);
		tcase_add_loop_test(tests, the_launcher_may_be_killed, mpi, after);
		tcase_add_loop_test(tests, the_keeper_may_be_killed, mpi, after);
		tcase_add_loop_test(tests, nothing_outlives_the_program, mpi, after);
		tcase_add_loop_test(tests, idle_ranks_sleep, mpi, after);
		tcase_add_loop_test(tests, a_job_is_kept_for_the_next_call, mpi, after);
		tcase_add_loop_test(tests, hosts_say_how_many_there_are, mpi, after);
		tcase_add_loop_test(tests, what_is_missing_is_said, mpi, after);
		tcase_add_loop_test(tests, a_relay_of_another_mpi_takes_its_input, mpi, after);
		if (mpi == 0)
			tcase_add_test(tests, root_is_told);
	}
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
