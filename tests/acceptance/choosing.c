/* choosing.c - which backend a call gets, from whom it gets its settings: B06 to B25.
 *
 * Mostly the core's business: "custom" is a backend of this program's, with threads; "plain" has
 * nothing but this address space, "remote" not even that. */
#include "own_backend.h"

#include "acceptance.h"

#define CUSTOM(...) PAR_SETTINGS(.backend = "custom", __VA_ARGS__)

static void begin(void)
{
	if (backend == NULL)
		MUST(par_configure(NULL, &error));
	MUST(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error));
	MUST(par_register_backend("plain", own_factory, NULL, 0, &error));
	MUST(par_register_backend("remote", own_factory, PAR_CAPABILITIES("survives_crash"), 0,
	                          &error));
}

static void push(const par_settings *settings)
{
	MUST(par_context_push(settings, NULL, &error));
}

static void pop(void)
{
	MUST(par_context_pop(NULL, &error));
}

static void make_default(const char *name)
{
	MUST(par_set_default(PAR_SETTINGS(.backend = name), &error));
}

/* A call with these settings gets that backend, with so many workers. */
static void expect_call(const char *name, int32_t n_jobs, const par_settings *settings)
{
	par_parallel *pool;

	MUST(par_open(&pool, settings, &error));
	EXPECT_TEXT(name, par_backend_name(pool));
	EXPECT_INT(n_jobs, par_n_jobs(pool));
	par_close(pool);
}

static void expect_refused(int32_t code, const char *words, const par_settings *settings)
{
	par_parallel *pool;

	MUST_BE(code, own_squares(settings, &error));
	EXPECT_CONTAINS(words, error.what);
	MUST_BE(code, par_open(&pool, settings, &error));
	EXPECT_CONTAINS(words, error.what);
}

/* --- names ------------------------------------------------------------------------------------ */

BEHAVIOUR(6, NO_BACKEND, "an unknown backend is refused by the call and by the context, with a "
                         "list of those there are")
{
	expect_refused(PAR_ENOTFOUND, "Invalid backend: nobody, expected one of [",
	               PAR_SETTINGS(.backend = "nobody"));
	EXPECT_CONTAINS("'threading'", error.what);
	MUST_BE(PAR_ENOTFOUND, par_context_push(PAR_SETTINGS(.backend = "nobody"), NULL, &error));
	EXPECT_CONTAINS("'threading'", error.what);
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
}

static int32_t is_custom(void *user, const par_backend_info *info)
{
	*(int *)user |= strcmp(info->name, "custom") == 0;
	return 0;
}

BEHAVIOUR(7, NO_BACKEND, "a backend that is registered is there, and the default if it was made "
                         "so, until another is")
{
	int listed = 0;

	begin();
	MUST(par_each_backend(is_custom, &listed, &error));
	EXPECT(listed, "custom is not listed");
	MUST(par_register_backend("custom", own_factory, OWN_NOTE, 1, &error));
	EXPECT_TEXT("custom", par_default_backend());
	expect_call("custom", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
	MUST(par_set_default(NULL, &error));
	EXPECT_TEXT("threading", par_default_backend());
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
}

struct visitor {
	pthread_barrier_t *step;
	int32_t n_jobs;
};

/* Does not use what the others do, the error for one. */
static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	par_context *context;
	int32_t seen;

	if (par_context_push(PAR_SETTINGS(.n_jobs = {1, visitor->n_jobs}), &context,
	                     NULL) != PAR_OK)
		not_met(__FILE__, __LINE__, "cannot push");
	pthread_barrier_wait(visitor->step);
	seen = par_effective_n_jobs("custom", PAR_UNSET, NULL);
	EXPECT_INT(visitor->n_jobs, seen);
	EXPECT_INT(PAR_OK, own_squares(NULL, NULL));
	pthread_barrier_wait(visitor->step);
	EXPECT_INT(PAR_OK, par_context_pop(context, NULL));
	return NULL;
}

static void run_visitors(void)
{
	struct visitor visitors[4];
	pthread_t threads[4];
	pthread_barrier_t step;

	pthread_barrier_init(&step, NULL, 4);
	for (int i = 0; i < 4; i++) {
		visitors[i] = (struct visitor){&step, 2 + i};
		EXPECT_INT(0, pthread_create(&threads[i], NULL, visit, &visitors[i]));
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&step);
}

BEHAVIOUR(8, EVERY_BACKEND,
          "a context switches backend and n_jobs for its own thread, and leaving it restores them")
{
	int32_t n_jobs = par_effective_n_jobs(backend, 3, &error);

	begin();
	make_default("custom");
	push(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(3)));
	expect_call(backend, n_jobs, NULL);
	run_visitors();
	expect_call(backend, n_jobs, NULL);
	pop();
	expect_call("custom", 1, NULL);
}

BEHAVIOUR(9, NO_BACKEND, "constructor options given to the context reach the factory's create, and "
                         "those of the call win")
{
	const char *const outer[] = {"endpoint=here", "api_key=secret", NULL};
	const char *const inner[] = {"endpoint=there", NULL};

	begin();
	push(CUSTOM(.options = outer));
	MUST(own_squares(NULL, &error));
	EXPECT_TEXT("here", own.endpoint);
	EXPECT_TEXT("secret", own.api_key);
	MUST(own_squares(PAR_SETTINGS(.options = inner), &error));
	EXPECT_TEXT("there", own.endpoint);
	EXPECT_TEXT("secret", own.api_key);
	pop();
	MUST(own_squares(CUSTOM(.n_jobs = {0}), &error));
	EXPECT_TEXT("nowhere", own.endpoint);
}

BEHAVIOUR(10, NO_BACKEND, "a backend of the program's own needs no plugin and no plugins.conf "
                          "(ours: a name, never an instance)")
{
	MUST(par_configure(NULL, &error));
	MUST(par_register_backend("mine", own_factory, OWN_NOTE, 0, &error));
	MUST(own_squares(PAR_SETTINGS(.backend = "mine", .n_jobs = PAR_SET(2)), &error));
	EXPECT_INT(1, own.creates);
	EXPECT(own.batches > 0, "it ran no batch");
}

BEHAVIOUR(11, NO_BACKEND, "a context holds without a scope, until it is popped")
{
	par_context *context;

	begin();
	MUST(par_context_push(CUSTOM(.n_jobs = PAR_SET(3)), &context, &error));
	expect_call("custom", 3, NULL);
	MUST(own_squares(NULL, &error));
	expect_call("custom", 3, NULL);
	MUST(par_context_pop(context, &error));
	expect_call("sequential", 1, NULL);
}

static _Atomic int loader_calls;

static int32_t load(const char *name, par_error *why)
{
	loader_calls++;
	return par_register_backend(name, own_factory, OWN_NOTE, 0, why);
}

BEHAVIOUR(12, NO_BACKEND,
          "a lazy backend is loaded at the first use of its name, from code and from [lazy] alike")
{
	char text[512];

	(void)snprintf(text, sizeof(text), "[lazy]\nsequential = %s/sequential.so\n", PAR_PLUGINS);
	MUST(par_configure(write_file("plugins.conf", text), &error));
	MUST(par_register_external("late", load, NULL, &error));
	EXPECT_INT(0, loader_calls);
	push(PAR_SETTINGS(.backend = "late", .n_jobs = PAR_SET(2)));
	EXPECT_INT(1, loader_calls);
	expect_call("late", 2, NULL);
	MUST(own_squares(NULL, &error));
	EXPECT_INT(1, loader_calls);
	expect_call("sequential", 1, PAR_SETTINGS(.backend = "sequential"));
}

/* --- settings that meet ----------------------------------------------------------------------- */

BEHAVIOUR(13, EVERY_BACKEND,
          "a context that names no backend sets the rest: n_jobs, batch_size, pre_dispatch")
{
	begin();
	make_default(backend);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(2), .batch_size = PAR_SET(3), .pre_dispatch = "all"));
	expect_call(backend, par_effective_n_jobs(backend, 2, &error), NULL);
	MUST(own_squares(NULL, &error));
	push(PAR_SETTINGS(.batch_size = PAR_SET(-3)));
	MUST_BE(PAR_EINVAL, own_squares(NULL, &error));
	EXPECT_CONTAINS("batch_size must be", error.what);
}

BEHAVIOUR(14, NO_BACKEND, "what the call says wins over the context")
{
	begin();
	push(CUSTOM(.n_jobs = PAR_SET(4), .verbose = PAR_SET(70), .batch_size = PAR_SET(0)));
	MUST(own_squares(PAR_SETTINGS(.n_jobs = PAR_SET(2), .verbose = PAR_SET(0),
	                              .batch_size = PAR_SET(PAR_AUTO)), &error));
	EXPECT_INT(2, own.call.n_jobs);
	EXPECT_INT(0, own.call.verbose);
	expect_call("threading", 4, PAR_SETTINGS(.backend = "threading", .batch_size = PAR_SET(1)));
}

BEHAVIOUR(15, NO_BACKEND, "a bad prefer or require in a context is told to who calls, by its name")
{
	begin();
	push(PAR_SETTINGS(.prefer = "proccesses"));
	expect_refused(PAR_EINVAL, "prefer=proccesses is not a valid backend hint", NULL);
	pop();
	push(PAR_SETTINGS(.require = "shared"));
	expect_refused(PAR_EINVAL, "require=shared is not a valid backend constraint", NULL);
}

BEHAVIOUR(16, NO_BACKEND, "constructor options need a backend beside them")
{
	const char *const options[] = {"endpoint=here", NULL};

	begin();
	push(CUSTOM(.n_jobs = {0}));
	MUST_BE(PAR_EINVAL, par_context_push(PAR_SETTINGS(.options = options), NULL, &error));
	EXPECT_CONTAINS("only supported when backend is set", error.what);
	MUST_BE(PAR_EINVAL, par_context_push(PAR_SETTINGS(.inner_max_num_threads = PAR_SET(2)),
	                                     NULL, &error));
	MUST_BE(PAR_EINVAL, par_set_default(PAR_SETTINGS(.options = options), &error));
	expect_call("custom", 1, NULL);
}

BEHAVIOUR(17, NO_BACKEND, "an inner context inherits what it leaves unset")
{
	begin();
	push(CUSTOM(.n_jobs = {0}));
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)));
	expect_call("custom", 3, NULL);
	pop();
	pop();
	push(PAR_SETTINGS(.verbose = PAR_SET(52)));
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)));
	push(CUSTOM(.n_jobs = {0}));
	expect_call("custom", 3, NULL);
	EXPECT_INT(2, own.call.verbose);
}

BEHAVIOUR(18, EVERY_BACKEND, "inner_max_num_threads reaches the backend (ours: on every one, also "
                             "where joblib's does not know it), and is refused if it is no limit")
{
	begin();
	MUST(own_squares(CUSTOM(.inner_max_num_threads = PAR_SET(2)), &error));
	EXPECT_INT(2, own.inner);
	push(PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2), .inner_max_num_threads = PAR_SET(2)));
	expect_call(backend, par_effective_n_jobs(backend, 2, &error), NULL);
	pop();
	expect_refused(PAR_EINVAL, "must be a positive integer, got: 0",
	               PAR_SETTINGS(.backend = backend, .inner_max_num_threads = PAR_SET(0)));
}

BEHAVIOUR(19, NO_BACKEND, "n_jobs unset at the call inherits; unset in an inner context it is the "
                          "backend's default")
{
	begin();
	own.default_n_jobs = 5;
	push(CUSTOM(.n_jobs = PAR_SET(3)));
	expect_call("custom", 3, NULL);
	expect_call("custom", 3, PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)));
	push(PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)));
	expect_call("custom", 5, NULL);
	pop();
	expect_call("custom", 3, NULL);
}

/* --- hints ------------------------------------------------------------------------------------ */

static void expect_soft_hints(void)
{
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
	expect_call("plain", 2, PAR_SETTINGS(.backend = "plain", .n_jobs = PAR_SET(2),
	                                     .prefer = "threads"));
	make_default("remote");
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2), .prefer = "threads"));
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2), .require = "sharedmem"));
	MUST(par_register_backend("loky", own_factory, NULL, 0, &error));
	make_default("custom");
	expect_call("loky", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2), .prefer = "processes"));
	MUST(par_set_default(NULL, &error));
}

BEHAVIOUR(20, NO_BACKEND,
          "hints choose where nobody names a backend (ours: neither loses the context's n_jobs)")
{
	begin();
	expect_soft_hints();
	push(PAR_SETTINGS(.backend = "plain", .n_jobs = PAR_SET(2)));
	expect_call("plain", 2, PAR_SETTINGS(.prefer = "threads"));
	pop();
	/* joblib would have n_jobs 1 in both. */
	push(PAR_SETTINGS(.backend = "remote", .n_jobs = PAR_SET(3)));
	expect_call("threading", 3, PAR_SETTINGS(.require = "sharedmem"));
	pop();
	make_default("remote");
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3), .prefer = "threads"));
	expect_call("threading", 3, NULL);
}

BEHAVIOUR(21, EVERY_BACKEND,
          "hints never keep a call from running, whatever the default and n_jobs")
{
	static const char *const prefer[] = {NULL, "threads", "processes"};
	static const int n_jobs[] = {1, 2, -1};
	uint64_t in[10] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, out[10];

	make_default(backend);
	for (int i = 0; i < 18; i++) {
		const char *require = i / 9 ? "sharedmem" : NULL;

		if (require != NULL && i % 3 == 2)
			continue; /* these two do not agree */
		MUST(par_map(NULL, task("mix"), in, out, 10,
		             PAR_SETTINGS(.prefer = prefer[i % 3], .require = require,
		                          .n_jobs = PAR_SET(n_jobs[i / 3 % 3])), &error));
		expect_mixed(in, out, 10);
	}
}

BEHAVIOUR(22, NO_BACKEND,
          "sharedmem overrules a context's backend that has none, and says so from verbose 10 on")
{
	static const char notice[] = "Using threading as parloop backend instead of remote as the "
	                             "latter does not provide shared memory semantics.\n";

	begin();
	push(CUSTOM(.n_jobs = PAR_SET(2)));
	expect_call("custom", 2, PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(10)));
	push(PAR_SETTINGS(.backend = "remote"));
	expect_call("threading", 2, PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(9)));
	EXPECT_TEXT("", printed());
	expect_call("threading", 2, PAR_SETTINGS(.require = "sharedmem", .verbose = PAR_SET(10)));
	EXPECT_TEXT(notice, printed());
}

BEHAVIOUR(23, NO_BACKEND, "hints that mean nothing or contradict are refused, and so is a named "
                          "backend without sharedmem")
{
	begin();
	expect_refused(PAR_EINVAL, "prefer=fibers is not a valid backend hint, expected one of "
	                           "'processes', 'threads'", PAR_SETTINGS(.prefer = "fibers"));
	expect_refused(PAR_EINVAL,
	               "require=ram is not a valid backend constraint, expected 'sharedmem'",
	               PAR_SETTINGS(.require = "ram"));
	expect_refused(PAR_EINVAL, "are inconsistent settings",
	               PAR_SETTINGS(.prefer = "processes", .require = "sharedmem"));
	expect_refused(PAR_EINVAL, "Backend remote does not support shared memory",
	               PAR_SETTINGS(.backend = "remote", .require = "sharedmem"));
}

BEHAVIOUR(24, NO_BACKEND, "a backend without workers says that it has none")
{
	begin();
	own.has_no_worker = 1;
	expect_refused(PAR_EUNAVAIL, "custom has no active worker", CUSTOM(.n_jobs = PAR_SET(2)));
	EXPECT_INT(0, par_effective_n_jobs("custom", 2, &error));
	EXPECT_CONTAINS("custom has no active worker", error.what);
}

static int32_t load_nothing(const char *name, par_error *why)
{
	return par_fail(why, PAR_EUNAVAIL, "%s is not installed", name);
}

BEHAVIOUR(25, NO_BACKEND, "an optional backend that is missing says what to install")
{
	MUST(par_configure(NULL, &error));
	MUST(par_register_external("dask", load_nothing, "install dask and distributed", &error));
	expect_refused(PAR_EUNAVAIL, "\"dask\"", PAR_SETTINGS(.backend = "dask"));
	EXPECT_TEXT("dask is not installed", error.reason);
	EXPECT_TEXT("install dask and distributed", error.remedy);
	/* And the context stays what it was. */
	MUST_BE(PAR_EUNAVAIL, par_context_push(PAR_SETTINGS(.backend = "dask"), NULL, &error));
	expect_call("threading", 2, PAR_SETTINGS(.n_jobs = PAR_SET(2)));
}
