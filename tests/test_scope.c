/* link: -rdynamic */
#include "scratch.h"

#include "own_backend.h"
#include "scope.h"
#include "settings.h"

#include <dlfcn.h>

static par_error error = PAR_ERROR_INIT;

static void begin(void)
{
	scratch_begin();
	ck_assert_int_eq(par_configure(NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("custom", own_factory, OWN_NOTE, 0, &error), PAR_OK);
}

static void push(const par_settings *settings, par_context **context)
{
	int32_t code = par_context_push(settings, context, &error);

	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
}

static void pop(par_context *context)
{
	int32_t code = par_context_pop(context, &error);

	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
}

/* What a call that says nothing gets. */
static const char *backend_now(int32_t *n_jobs)
{
	static char name[40];
	par_parallel *pool;

	ck_assert_msg(par_open(&pool, NULL, &error) == PAR_OK, "%s: %s", error.what, error.reason);
	(void)snprintf(name, sizeof(name), "%s", par_backend_name(pool));
	*n_jobs = par_n_jobs(pool);
	par_close(pool);
	return name;
}

#define assert_now(name, n)                                                                     \
	do {                                                                                    \
		int32_t n_jobs_now;                                                             \
		ck_assert_str_eq(backend_now(&n_jobs_now), name);                               \
		ck_assert_int_eq(n_jobs_now, n);                                                \
	} while (0)

/* --- somebody else's calls ----------------------------------------------------------------- */

typedef int means_fn(const double (*pairs)[2], double *means, size_t n);

static means_fn *load_means(void)
{
	void *library = dlopen(PAR_BUILD "/tests/libs/means.so", RTLD_NOW | RTLD_LOCAL);
	means_fn *means = NULL;
	void *symbol;

	ck_assert_msg(library != NULL, "%s", dlerror());
	symbol = dlsym(library, "means_of_pairs");
	memcpy(&means, &symbol, sizeof(means));
	ck_assert_ptr_nonnull(symbol);
	return means;
}

START_TEST(a_library_runs_on_the_backend_that_its_caller_chose)
{
	static const double pairs[3][2] = {{1, 3}, {10, 20}, {-1, 1}};
	double means[3] = {0};
	means_fn *means_of_pairs = load_means();
	par_context *context;

	ck_assert_int_eq(means_of_pairs(pairs, means, 3), PAR_OK);
	ck_assert_int_eq(own.batches, 0);
	memset(means, 0, sizeof(means));
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(2)), &context);
	ck_assert_int_eq(means_of_pairs(pairs, means, 3), PAR_OK);
	pop(context);
	ck_assert(means[0] == 2 && means[1] == 15 && means[2] == 0);
	ck_assert_int_gt(own.batches, 0);
	ck_assert_int_eq(own.call.n_jobs, 2);
	own.batches = 0;
	ck_assert_int_eq(means_of_pairs(pairs, means, 3), PAR_OK);
	ck_assert_int_eq(own.batches, 0);
}
END_TEST

/* --- pushing and popping ------------------------------------------------------------------- */

START_TEST(b08_a_context_switches_backend_and_n_jobs_and_leaving_restores_them)
{
	par_context *context;

	assert_now("sequential", 1);
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), &context);
	assert_now("custom", 3);
	pop(context);
	assert_now("sequential", 1);
}
END_TEST

START_TEST(what_is_to_be_shared_is_inherited)
{
	static const par_settings call = {.size = sizeof(call)};
	par_context *outer, *inner;
	par_settings settings;
	struct wish wish;

	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.max_nbytes = PAR_SET(7)), &error), PAR_OK);
	push(PAR_SETTINGS(.mmap_mode = "c"), &outer);
	ck_assert_int_eq(scope_settings(&settings, &call, &wish, conf_get(&error), &error), PAR_OK);
	ck_assert_int_eq(settings.max_nbytes.value, 7);
	ck_assert_str_eq(settings.mmap_mode, "c");
	settings_finish(&settings);
	push(PAR_SETTINGS(.mmap_mode = "r", .max_nbytes = PAR_SET(-1)), &inner);
	ck_assert_int_eq(scope_settings(&settings, &call, &wish, conf_get(&error), &error), PAR_OK);
	ck_assert_int_eq(settings.max_nbytes.value, -1);
	ck_assert_str_eq(settings.mmap_mode, "r");
	settings_finish(&settings);
	pop(inner);
	pop(outer);
}
END_TEST

START_TEST(a_mode_that_means_nothing_is_refused_by_the_call)
{
	int64_t in = 4, out = 0;
	par_context *context;

	push(PAR_SETTINGS(.mmap_mode = "rw"), &context);
	ck_assert_int_eq(par_map(NULL, &par_task_own_square, &in, &out, 1, NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "mmap_mode must be 'r', 'r+', 'w+' or 'c', got: 'rw'");
	ck_assert_int_eq(par_map(NULL, &par_task_own_square, &in, &out, 1,
	                         PAR_SETTINGS(.mmap_mode = "r"), &error),
	                 PAR_OK);
	pop(context);
}
END_TEST

struct visitor {
	pthread_barrier_t *step;
	int32_t n_jobs;
};

static void *visit(void *arg)
{
	struct visitor *visitor = arg;
	par_context *context;
	par_error why = PAR_ERROR_INIT;

	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &why), 1);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.n_jobs = {1, visitor->n_jobs}), &context, &why),
	                 PAR_OK);
	pthread_barrier_wait(visitor->step);
	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &why), visitor->n_jobs);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "threading"), &why), PAR_OK);
	pthread_barrier_wait(visitor->step);
	ck_assert_int_eq(par_context_pop(context, &why), PAR_OK);
	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &why), 1);
	return NULL;
}

START_TEST(b08_contexts_of_different_threads_do_not_meet)
{
	pthread_barrier_t step;
	struct visitor visitors[4];
	pthread_t threads[4];

	push(PAR_SETTINGS(.n_jobs = PAR_SET(9)), NULL);
	pthread_barrier_init(&step, NULL, 4);
	for (int i = 0; i < 4; i++) {
		visitors[i] = (struct visitor){&step, 2 + i};
		ck_assert_int_eq(pthread_create(&threads[i], NULL, visit, &visitors[i]), 0);
	}
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&step);
	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &error), 9);
}
END_TEST

START_TEST(what_was_pushed_may_be_forgotten_by_the_caller)
{
	char backend[] = "custom", endpoint[] = "endpoint=here";
	const char *options[] = {endpoint, NULL};

	push(PAR_SETTINGS(.backend = backend, .options = options), NULL);
	memset(backend, 'x', sizeof(backend) - 1);
	memset(endpoint, 'x', sizeof(endpoint) - 1);
	options[0] = NULL;
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "here");
}
END_TEST

static int32_t run_in_block(const char *backend)
{
	PAR_CONTEXT(context, &error, .backend = backend, .n_jobs = PAR_SET(2));
	PAR_CONTEXT(inner, &error, .verbose = PAR_SET(0));

	if (context == NULL || inner == NULL)
		return error.code;
	return own_squares(NULL, &error);
}

START_TEST(the_macro_ends_with_its_block)
{
	ck_assert_int_eq(run_in_block("custom"), PAR_OK);
	ck_assert_int_eq(own.call.n_jobs, 2);
	assert_now("sequential", 1);
	ck_assert_int_eq(run_in_block("nobody"), PAR_ENOTFOUND);
	assert_now("sequential", 1);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

static void *pop_elsewhere(void *context)
{
	par_error why = PAR_ERROR_INIT;

	ck_assert_int_eq(par_context_pop(context, &why), PAR_EINVAL);
	assert_contains(why.reason, "another thread has pushed it");
	ck_assert_int_eq(par_context_pop(NULL, &why), PAR_EINVAL);
	assert_contains(why.what, "no context to pop");
	return NULL;
}

START_TEST(another_thread_may_not_pop_it)
{
	par_context *context;
	pthread_t thread;

	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)), &context);
	ck_assert_int_eq(pthread_create(&thread, NULL, pop_elsewhere, context), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &error), 3);
	pop(context);
}
END_TEST

START_TEST(popping_out_of_order_is_refused_and_changes_nothing)
{
	par_context *outer, *inner;

	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)), &outer);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(4)), &inner);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(5)), NULL);
	ck_assert_int_eq(par_context_pop(outer, &error), PAR_EINVAL);
	assert_contains(error.reason, "out of order: 2 that were pushed after it");
	ck_assert_int_eq(par_effective_n_jobs("custom", PAR_UNSET, &error), 5);
	pop(NULL);
	pop(inner);
	ck_assert_int_eq(par_context_pop(inner, &error), PAR_EINVAL);
	assert_contains(error.reason, "popped already");
	pop(outer);
	ck_assert_int_eq(par_context_pop(NULL, &error), PAR_EINVAL);
}
END_TEST

START_TEST(b11_a_context_holds_without_a_scope_until_it_is_popped)
{
	par_context *context;

	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), &context);
	assert_now("custom", 3);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	assert_now("custom", 3);
	pop(context);
	assert_now("sequential", 1);
}
END_TEST

static void *push_and_leave(void *unused)
{
	par_error why = PAR_ERROR_INIT;

	(void)unused;
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custom"), NULL, &why), PAR_OK);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.pre_dispatch = "all"), NULL, &why), PAR_OK);
	return NULL;
}

/* The leak checker has the last word. */
START_TEST(b11_what_a_thread_leaves_behind_ends_with_it)
{
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, push_and_leave, NULL), 0);
	pthread_join(thread, NULL);
	assert_now("sequential", 1);
}
END_TEST

/* --- what is in it ------------------------------------------------------------------------- */

START_TEST(b09_options_of_a_context_reach_create_and_those_of_the_call_win)
{
	const char *const outer[] = {"endpoint=here", "api_key=secret", NULL};
	const char *const inner[] = {"endpoint=there", NULL};

	push(PAR_SETTINGS(.backend = "custom", .options = outer), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "here");
	ck_assert_str_eq(own.api_key, "secret");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.options = inner), &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "there");
	ck_assert_str_eq(own.api_key, "secret");
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "custom", .options = inner), &error),
	                 PAR_OK);
	ck_assert_str_eq(own.endpoint, "there");
	ck_assert_str_eq(own.api_key, "secret");
}
END_TEST

START_TEST(b09_options_stay_with_their_backend)
{
	const char *const options[] = {"endpoint=here", NULL}, *const bad[] = {"endpint=here", NULL};
	par_context *context;

	push(PAR_SETTINGS(.backend = "custom", .options = options,
	                  .inner_max_num_threads = PAR_SET(2)), &context);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "threading"), &error), PAR_OK);
	push(PAR_SETTINGS(.backend = "threading"), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	push(PAR_SETTINGS(.backend = "custom"), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_str_eq(own.endpoint, "nowhere");
	ck_assert_int_eq(own.inner, 0);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custom", .options = bad), NULL,
	                                  &error), PAR_ECONFIG);
	assert_contains(error.what, "unknown option \"endpint\"");
}
END_TEST

START_TEST(an_option_that_is_required_may_come_with_the_call)
{
	const char *const options[] = {"key=1234", NULL};

	ck_assert_int_eq(par_register_backend("keyed", own_factory,
	                                      PAR_CAPABILITIES("shares_memory")
	                                      PAR_OPTION_TEXT("required secret key", "", "a key"), 0,
	                                      &error), PAR_OK);
	push(PAR_SETTINGS(.backend = "keyed"), NULL);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.options = options), &error), PAR_OK);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_ECONFIG);
	assert_contains(error.what, "option \"key\" of backend \"keyed\" is required");
}
END_TEST

START_TEST(b13_a_context_need_not_name_a_backend)
{
	push(PAR_SETTINGS(.n_jobs = PAR_SET(2), .pre_dispatch = "n_jobs * nothing"), NULL);
	assert_now("threading", 2);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	push(PAR_SETTINGS(.batch_size = PAR_SET(-3)), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "batch_size must be");
}
END_TEST

START_TEST(b14_what_the_call_says_wins_over_the_context)
{
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(4), .verbose = PAR_SET(70),
	                  .batch_size = PAR_SET(0)), NULL);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.n_jobs = PAR_SET(1), .verbose = PAR_SET(0),
	                                          .batch_size = PAR_SET(PAR_AUTO)), &error), PAR_OK);
	ck_assert_int_eq(own.call.n_jobs, 1);
	ck_assert_int_eq(own.call.verbose, 0);
	own.batches = 0;
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "threading", .verbose = PAR_SET(0),
	                                          .batch_size = PAR_SET(1)), &error), PAR_OK);
	ck_assert_int_eq(own.batches, 0);
}
END_TEST

START_TEST(b15_a_bad_hint_in_a_context_is_told_to_who_calls)
{
	par_context *context;

	push(PAR_SETTINGS(.prefer = "proccesses"), &context);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "prefer=proccesses is not a valid backend hint");
	assert_contains(error.what, "'processes', 'threads'");
	pop(context);
	push(PAR_SETTINGS(.require = "shared"), &context);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "require=shared is not a valid backend constraint");
	assert_contains(error.what, "'sharedmem'");
}
END_TEST

START_TEST(b16_options_without_a_backend_are_refused)
{
	const char *const options[] = {"endpoint=here", NULL};

	push(PAR_SETTINGS(.backend = "custom"), NULL);
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.options = options), NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "only supported when backend is set");
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.inner_max_num_threads = PAR_SET(2)), NULL,
	                                  &error), PAR_EINVAL);
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.options = options), &error), PAR_EINVAL);
	pop(NULL);
	assert_now("sequential", 1);
}
END_TEST

START_TEST(b17_an_inner_context_inherits_what_it_leaves_unset)
{
	push(PAR_SETTINGS(.backend = "custom"), NULL);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)), NULL);
	assert_now("custom", 3);
	pop(NULL);
	pop(NULL);
	push(PAR_SETTINGS(.verbose = PAR_SET(52), .batch_size = PAR_SET(5)), NULL);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(3)), NULL);
	push(PAR_SETTINGS(.backend = "custom"), NULL);
	assert_now("custom", 3);
	ck_assert_int_eq(own.call.n_jobs, 3);
	ck_assert_int_eq(own.call.verbose, 2);
}
END_TEST

/* joblib refuses it where the backend does not know of it; here the core does what it asks for. */
START_TEST(b18_a_thread_limit_is_for_every_backend)
{
	push(PAR_SETTINGS(.backend = "threading", .inner_max_num_threads = PAR_SET(2)), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	pop(NULL);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "sequential",
	                                          .inner_max_num_threads = PAR_SET(2)), &error),
	                 PAR_OK);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2),
	                                          .inner_max_num_threads = PAR_SET(-1)), &error),
	                 PAR_EINVAL);
	assert_contains(error.what, "must be a positive integer, got: -1");
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.backend = "custom",
	                                               .inner_max_num_threads = PAR_SET(0)), NULL,
	                                  &error), PAR_EINVAL);
	assert_contains(error.what, "must be a positive integer, got: 0");
	push(PAR_SETTINGS(.backend = "custom", .inner_max_num_threads = PAR_SET(2)), NULL);
	ck_assert_int_eq(own_squares(NULL, &error), PAR_OK);
	ck_assert_int_eq(own.inner, 2);
	ck_assert_int_eq(own.call.inner_max_num_threads, 2);
}
END_TEST

START_TEST(b19_n_jobs_unset_at_the_call_inherits)
{
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), NULL);
	assert_now("custom", 3);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)), &error), PAR_OK);
	ck_assert_int_eq(own.call.n_jobs, 3);
}
END_TEST

START_TEST(b19_n_jobs_unset_in_a_context_is_the_backends_default)
{
	own.default_n_jobs = 5;
	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.n_jobs = PAR_SET(2)), &error), PAR_OK);
	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), NULL);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)), NULL);
	assert_now("custom", 5);
	push(PAR_SETTINGS(.backend = "threading"), NULL);
	assert_now("sequential", 1);
	pop(NULL);
	pop(NULL);
	assert_now("custom", 3);
}
END_TEST

START_TEST(b19_and_not_what_plugins_conf_says)
{
	static const char text[] = "[parloop]\nn_jobs = 4\n";

	ck_assert_int_eq(par_configure(scratch_write("plugins.conf", text, sizeof(text) - 1), &error),
	                 PAR_OK);
	assert_now("threading", 4);
	push(PAR_SETTINGS(.n_jobs = PAR_SET(PAR_UNSET)), NULL);
	assert_now("sequential", 1);
}
END_TEST

START_TEST(what_is_for_a_single_call_is_refused)
{
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.on_error = PAR_COLLECT), NULL, &error),
	                 PAR_EINVAL);
	assert_contains(error.what, "are for single calls");
	ck_assert_int_eq(par_context_push(PAR_SETTINGS(.order = PAR_UNORDERED), NULL, &error),
	                 PAR_EINVAL);
	ck_assert_int_eq(par_context_push(&(par_settings){0}, NULL, &error), PAR_EINVAL);
	assert_contains(error.what, "have no size");
	push(NULL, NULL);
	pop(NULL);
}
END_TEST

START_TEST(an_open_pool_stays_what_it_is)
{
	par_parallel *pool;

	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), NULL);
	ck_assert_int_eq(par_open(&pool, NULL, &error), PAR_OK);
	pop(NULL);
	ck_assert_str_eq(par_backend_name(pool), "custom");
	ck_assert_int_eq(par_map(pool, &par_task_own_square, NULL, NULL, 0,
	                         PAR_SETTINGS(.prefer = "threads"), &error), PAR_EINVAL);
	par_close(pool);
}
END_TEST

/* --- the process --------------------------------------------------------------------------- */

static void *see_default(void *unused)
{
	(void)unused;
	ck_assert_int_eq(par_effective_n_jobs(NULL, PAR_UNSET, NULL), 4);
	ck_assert_int_eq(own_squares(NULL, NULL), PAR_OK);
	return NULL;
}

START_TEST(the_default_is_for_all_threads_and_below_every_context)
{
	const char *const options[] = {"endpoint=here", NULL};
	pthread_t thread;

	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = "custom", .options = options,
	                                              .n_jobs = PAR_SET(4)), &error), PAR_OK);
	ck_assert_str_eq(par_default_backend(), "custom");
	ck_assert_int_eq(pthread_create(&thread, NULL, see_default, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_str_eq(own.endpoint, "here");
	push(PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(2)), NULL);
	assert_now("threading", 2);
	push(PAR_SETTINGS(.backend = "custom"), NULL);
	assert_now("custom", 2);
	ck_assert_str_eq(own.endpoint, "here");
	pop(NULL);
	pop(NULL);
	ck_assert_int_eq(par_set_default(NULL, &error), PAR_OK);
	assert_now("sequential", 1);
}
END_TEST

START_TEST(another_default_backend_does_not_get_the_options_of_the_first)
{
	const char *const options[] = {"endpoint=here", NULL};

	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = "custom", .options = options,
	                                              .n_jobs = PAR_SET(2)), &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("newer", own_factory, OWN_NOTE, 1, &error), PAR_OK);
	assert_now("newer", 2);
	ck_assert_str_eq(own.endpoint, "nowhere");
}
END_TEST

/* --- tasks --------------------------------------------------------------------------------- */

struct sight {
	int32_t level;
	int32_t pop_code;
	int32_t n_jobs; /* of a call that says nothing */
	char backend[32];
	int32_t pushed_n_jobs;
};

static int look(par_env *env, const int *unused, struct sight *sight)
{
	par_parallel *pool;
	par_context *context;

	(void)unused;
	sight->level = env->level;
	sight->pop_code = par_context_pop(NULL, NULL);
	if (par_open(&pool, NULL, NULL) < 0)
		return 1;
	(void)snprintf(sight->backend, sizeof(sight->backend), "%s", par_backend_name(pool));
	sight->n_jobs = par_n_jobs(pool);
	par_close(pool);
	if (par_context_push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(7),
	                                  .oversubscribe = PAR_SET(1)), &context, NULL) < 0)
		return 2;
	sight->pushed_n_jobs = par_effective_n_jobs(NULL, PAR_UNSET, NULL);
	return par_context_pop(context, NULL);
}
PAR_TASK_ENV(look, int, struct sight)

static void look_from(const par_settings *settings, struct sight sights[40])
{
	int in[40] = {0};
	int32_t code;

	memset(sights, 0, 40 * sizeof(*sights));
	code = par_map(NULL, &par_task_look, in, sights, 40, settings, &error);
	ck_assert_msg(code == PAR_OK, "%s: %s", error.what, error.reason);
}

/* Whichever thread runs them, the caller's too. */
START_TEST(tasks_see_backend_and_n_jobs_of_their_call_and_nothing_of_the_context)
{
	struct sight sights[40];

	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3), .pre_dispatch = "nonsense"), NULL);
	look_from(PAR_SETTINGS(.backend = "threading", .pre_dispatch = "all", .batch_size = PAR_SET(1)),
	          sights);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(sights[i].level, 1);
		ck_assert_str_eq(sights[i].backend, "sequential");
		ck_assert_int_eq(sights[i].n_jobs, 1);
		ck_assert_int_eq(sights[i].pop_code, PAR_EINVAL);
		ck_assert_int_eq(sights[i].pushed_n_jobs, 7);
	}
	assert_now("custom", 3);
}
END_TEST

START_TEST(n_jobs_1_is_transparent_but_its_tasks_cannot_end_the_context)
{
	struct sight sights[40];

	push(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3)), NULL);
	look_from(PAR_SETTINGS(.backend = "threading", .n_jobs = PAR_SET(1)), sights);
	for (int i = 0; i < 40; i++) {
		ck_assert_str_eq(sights[i].backend, "custom");
		ck_assert_int_eq(sights[i].n_jobs, 3);
		ck_assert_int_eq(sights[i].pop_code, PAR_EINVAL);
	}
	assert_now("custom", 3);
}
END_TEST

static int push_only(const int *in, int *out)
{
	*out = *in;
	return par_context_push(PAR_SETTINGS(.n_jobs = PAR_SET(5)), NULL, NULL);
}
PAR_TASK(push_only, int, int)

START_TEST(what_tasks_leave_behind_ends_with_their_batch)
{
	int values[4] = {0};

	push(PAR_SETTINGS(.n_jobs = PAR_SET(2)), NULL);
	ck_assert_int_eq(par_map(NULL, &par_task_push_only, values, values, 4, NULL, &error), PAR_OK);
	assert_now("threading", 2);
	ck_assert_int_eq(par_map(NULL, &par_task_push_only, values, values, 4,
	                         PAR_SETTINGS(.n_jobs = PAR_SET(1)), &error), PAR_OK);
	assert_now("threading", 2);
	assert_contains(scratch_log, "pushed and not popped");
}
END_TEST

START_TEST(the_default_of_the_process_is_for_outermost_calls)
{
	struct sight sights[40];

	ck_assert_int_eq(par_set_default(PAR_SETTINGS(.backend = "custom", .n_jobs = PAR_SET(3),
	                                              .batch_size = PAR_SET(1)), &error), PAR_OK);
	look_from(NULL, sights);
	for (int i = 0; i < 40; i++) {
		ck_assert_int_eq(sights[i].level, 1);
		ck_assert_int_eq(sights[i].n_jobs, 1);
		ck_assert_str_eq(sights[i].backend, "sequential");
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("scope");
	TCase *tests = tcase_create("scope");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, a_library_runs_on_the_backend_that_its_caller_chose);
	tcase_add_test(tests, b08_a_context_switches_backend_and_n_jobs_and_leaving_restores_them);
	tcase_add_test(tests, what_is_to_be_shared_is_inherited);
	tcase_add_test(tests, a_mode_that_means_nothing_is_refused_by_the_call);
	tcase_add_test(tests, b08_contexts_of_different_threads_do_not_meet);
	tcase_add_test(tests, what_was_pushed_may_be_forgotten_by_the_caller);
	tcase_add_test(tests, the_macro_ends_with_its_block);
	tcase_add_test(tests, another_thread_may_not_pop_it);
	tcase_add_test(tests, popping_out_of_order_is_refused_and_changes_nothing);
	tcase_add_test(tests, b11_a_context_holds_without_a_scope_until_it_is_popped);
	tcase_add_test(tests, b11_what_a_thread_leaves_behind_ends_with_it);
	tcase_add_test(tests, b09_options_of_a_context_reach_create_and_those_of_the_call_win);
	tcase_add_test(tests, b09_options_stay_with_their_backend);
	tcase_add_test(tests, an_option_that_is_required_may_come_with_the_call);
	tcase_add_test(tests, b13_a_context_need_not_name_a_backend);
	tcase_add_test(tests, b14_what_the_call_says_wins_over_the_context);
	tcase_add_test(tests, b15_a_bad_hint_in_a_context_is_told_to_who_calls);
	tcase_add_test(tests, b16_options_without_a_backend_are_refused);
	tcase_add_test(tests, b17_an_inner_context_inherits_what_it_leaves_unset);
	tcase_add_test(tests, b18_a_thread_limit_is_for_every_backend);
	tcase_add_test(tests, b19_n_jobs_unset_at_the_call_inherits);
	tcase_add_test(tests, b19_n_jobs_unset_in_a_context_is_the_backends_default);
	tcase_add_test(tests, b19_and_not_what_plugins_conf_says);
	tcase_add_test(tests, what_is_for_a_single_call_is_refused);
	tcase_add_test(tests, an_open_pool_stays_what_it_is);
	tcase_add_test(tests, the_default_is_for_all_threads_and_below_every_context);
	tcase_add_test(tests, another_default_backend_does_not_get_the_options_of_the_first);
	tcase_add_test(tests, tasks_see_backend_and_n_jobs_of_their_call_and_nothing_of_the_context);
	tcase_add_test(tests, n_jobs_1_is_transparent_but_its_tasks_cannot_end_the_context);
	tcase_add_test(tests, what_tasks_leave_behind_ends_with_their_batch);
	tcase_add_test(tests, the_default_of_the_process_is_for_outermost_calls);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
