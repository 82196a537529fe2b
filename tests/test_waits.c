/* Who is told that a task waits for a call of its own: the backend whose worker it is, whichever
 * backend serves the call; and once per call the one that serves it.
 *
 * link: -rdynamic */
#include "scratch.h"

#include "own_backend.h"

#include <parloop/worker.h>

#include <stdatomic.h>

static par_error error = PAR_ERROR_INIT;
static _Atomic int entered, left, waited, went_on;
static _Atomic int wrong; /* told twice the same, or on another thread, or of another batch */

static const char *words(void)
{
	static char text[2000];

	return par_error_text(&error, 1, text, sizeof(text));
}

/* --- a backend that counts ----------------------------------------------------------------- */

static _Thread_local struct {
	par_batch batch;
	int waits;
} here;

static void enter(par_backend *backend)
{
	(void)backend;
	atomic_fetch_add(&entered, 1);
}

static void leave(par_backend *backend)
{
	(void)backend;
	atomic_fetch_add(&left, 1);
}

static void batch_waits(par_backend *backend, par_batch batch, int32_t waits)
{
	(void)backend;
	if (here.batch != batch || here.waits == waits)
		wrong = 1;
	here.waits = waits;
	atomic_fetch_add(waits ? &waited : &went_on, 1);
}

static void *run_here(void *arg)
{
	struct own_batch *batch = arg;
	const par_host *host = batch->host;
	int32_t status;

	here.batch = batch->batch;
	here.waits = 0;
	status = host->run(host, batch->batch);
	if (here.waits)
		wrong = 1;
	host->done(host, batch->batch, status, NULL);
	return NULL;
}

static int32_t submit(par_backend *backend, par_batch batch, void **future, par_error *why)
{
	struct own_batch *work = malloc(sizeof(*work));

	if (work == NULL)
		return par_fail(why, PAR_ENOMEM, "no memory");
	*work = (struct own_batch){.host = backend->host, .batch = batch};
	*future = work;
	if (pthread_create(&work->thread, NULL, run_here, work) == 0)
		return PAR_OK;
	free(work);
	return par_fail(why, PAR_ENOMEM, "no thread");
}

static const par_backend_ops *counting_factory(const par_host *host, const char *name)
{
	static par_backend_ops ops;

	ops = *own_factory(host, name);
	ops.submit = submit;
	ops.retrieval_enter = enter;
	ops.retrieval_exit = leave;
	ops.batch_waits = batch_waits;
	return &ops;
}

/* --- and one whose far side is told -------------------------------------------------------- */

static _Thread_local int far_waits;

static void far_side_waits(void *user, int32_t waits)
{
	if (user == NULL || far_waits == waits)
		wrong = 1;
	far_waits = waits;
	atomic_fetch_add(waits ? &waited : &went_on, 1);
}

struct parcel {
	par_backend *backend;
	par_batch batch;
	par_encoded encoded;
	pthread_t thread;
};

static const par_ext_encode *encoding(const struct parcel *parcel)
{
	return parcel->backend->host->extension(parcel->backend->host, PAR_EXT_ENCODE);
}

static int32_t send_back(void *user, const void *bytes, uint64_t n_bytes)
{
	struct parcel *parcel = user;

	return encoding(parcel)->receive(parcel->backend->host, parcel->batch, bytes, n_bytes);
}

static void *far_side(void *arg)
{
	struct parcel *parcel = arg;
	const par_host *host = parcel->backend->host;
	const par_work work = {
		.size = sizeof(work), .bytes = parcel->encoded.bytes, .n_bytes = parcel->encoded.n_bytes,
		.attachments = parcel->encoded.attachments, .n_attachments = parcel->encoded.n_attachments,
		.send = send_back, .user = parcel, .waits = far_side_waits,
	};

	host->done(host, parcel->batch, par_worker_run(&work, NULL) == PAR_OK ? PAR_OK : PAR_ELOST, NULL);
	return NULL;
}

static int32_t send_away(par_backend *backend, par_batch batch, void **future, par_error *why)
{
	struct parcel *parcel = calloc(1, sizeof(*parcel));
	int32_t status;

	if (parcel == NULL)
		return par_fail(why, PAR_ENOMEM, "no memory");
	*parcel = (struct parcel){backend, batch, {.size = sizeof(par_encoded)}, 0};
	*future = parcel;
	status = encoding(parcel)->encode(backend->host, batch, &parcel->encoded, why);
	if (status == PAR_OK && pthread_create(&parcel->thread, NULL, far_side, parcel) != 0)
		status = par_fail(why, PAR_ENOMEM, "no thread");
	if (status < 0)
		free(parcel);
	return status;
}

static int32_t fetch(par_backend *backend, par_batch batch, void *future, int32_t status, par_error *why)
{
	struct parcel *parcel = future;

	(void)backend, (void)batch, (void)why;
	pthread_join(parcel->thread, NULL);
	free(parcel);
	return status;
}

static const par_backend_ops *far_factory(const par_host *host, const char *name)
{
	static par_backend_ops ops;

	ops = *own_factory(host, name);
	ops.submit = send_away;
	ops.retrieve_result_callback = fetch;
	return &ops;
}

/* --- calls --------------------------------------------------------------------------------- */

static void begin(void)
{
	scratch_begin();
	ck_assert_int_eq(par_configure(NULL, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("counting", counting_factory,
	                                      PAR_CAPABILITIES("shares_memory"), 0, &error), PAR_OK);
	ck_assert_int_eq(par_register_backend("far", far_factory, PAR_CAPABILITIES("auto_batches"), 0,
	                                      &error), PAR_OK);
}

struct calls {
	char inner[20]; /* backend of the task's own calls */
	int n, pool;    /* how many; of an open pool? */
};

static int make_calls(par_env *env, const struct calls *calls, int *out)
{
	par_settings settings = {.size = sizeof(settings), .backend = calls->inner,
	                         .n_jobs = PAR_SET(2), .oversubscribe = PAR_SET(1)};
	par_error why = PAR_ERROR_INIT;
	par_parallel *pool = NULL;
	int64_t in[20] = {0}, squares[20];
	int32_t code = calls->pool ? par_open(&pool, &settings, &why) : PAR_OK;

	for (int i = 0; i < calls->n && code == PAR_OK; i++)
		code = par_map(pool, &par_task_own_square, in, squares, 20, pool != NULL ? NULL : &settings,
		               &why);
	par_close(pool);
	*out = calls->n;
	return code == PAR_OK ? 0 : par_fail_task(env, 1, "%s: %s", why.what, why.reason);
}
PAR_TASK_ENV(make_calls, struct calls, int)

static void make_calls_on(const char *backend, const char *inner, int n, int pool)
{
	struct calls in[3];
	int out[3];
	int32_t code;

	for (int i = 0; i < 3; i++) {
		in[i] = (struct calls){.n = n, .pool = pool};
		(void)snprintf(in[i].inner, sizeof(in[i].inner), "%s", inner);
	}
	entered = left = waited = went_on = 0;
	code = par_map(NULL, &par_task_make_calls, in, out, 3,
	               PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2), .batch_size = PAR_SET(1)),
	               &error);
	ck_assert_msg(code == PAR_OK, "%s", words());
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_eq(went_on, waited);
	ck_assert_int_eq(left, entered);
}

/* joblib's test_retrieval_context. */
START_TEST(b98_the_hook_is_entered_once_per_call_and_not_for_calls_on_others)
{
	make_calls_on("counting", "threading", 5, 0);
	ck_assert_int_eq(entered, 1);
	make_calls_on("counting", "counting", 5, 0);
	ck_assert_int_eq(entered, 1 + 3 * 5);
	make_calls_on("threading", "counting", 1, 0);
	ck_assert_int_eq(entered, 3);
}
END_TEST

/* Those of an open pool have nothing to wait for but their results, and may have them at once. */
START_TEST(whoever_serves_it_the_worker_that_waits_is_told)
{
	static const char *const inner[] = {"threading", "counting", "far"};
	int pool = _i % 2;

	make_calls_on("counting", inner[_i / 2], 4, pool);
	ck_assert_int_ge(waited, pool ? 1 : 3 * 4);
}
END_TEST

START_TEST(a_call_that_runs_its_tasks_here_waits_for_nobody)
{
	make_calls_on("counting", "sequential", 4, 0);
	ck_assert_int_eq(waited, 0);
}
END_TEST

/* It runs on our thread, and so we are the worker that waits for what it calls in turn. */
static int call_here(par_env *env, const int *in, int *out)
{
	const struct calls inner = {"threading", 1, 0};

	if (par_map(NULL, &par_task_make_calls, &inner, out, 1, PAR_SETTINGS(.backend = "sequential"), NULL) < 0)
		return par_fail_task(env, 1, "the inner call failed");
	*out += *in;
	return 0;
}
PAR_TASK_ENV(call_here, int, int)

START_TEST(what_such_a_call_calls_in_turn_its_worker_waits_for)
{
	int in[3] = {0}, out[3];
	int32_t code = par_map(NULL, &par_task_call_here, in, out, 3,
	                       PAR_SETTINGS(.backend = "counting", .n_jobs = PAR_SET(2)), &error);

	ck_assert_msg(code == PAR_OK, "%s", words());
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_ge(waited, 3);
	ck_assert_int_eq(went_on, waited);
}
END_TEST

START_TEST(one_that_runs_bytes_is_told_as_well)
{
	make_calls_on("far", "threading", 2, 0);
	ck_assert_int_ge(waited, 3 * 2);
	make_calls_on("far", "sequential", 2, 0);
	ck_assert_int_eq(waited, 0);
}
END_TEST

START_TEST(who_is_in_no_task_waits_without_a_word)
{
	waited = 0;
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "counting", .n_jobs = PAR_SET(2)), &error), 0);
	ck_assert_int_eq(own_squares(PAR_SETTINGS(.backend = "far", .n_jobs = PAR_SET(2)), &error), 0);
	ck_assert_int_eq(waited, 0);
}
END_TEST

/* --- results that are asked for one by one -------------------------------------------------- */

static int32_t ten(void *user, par_item *item)
{
	int64_t *n = user;

	if (*n == 10)
		return 0;
	*n += 1;
	item->payload = n;
	item->n_bytes = sizeof(*n);
	return 1;
}

static int iterate(par_env *env, const int *in, int *out)
{
	par_settings settings = {.size = sizeof(settings), .backend = "threading", .n_jobs = PAR_SET(2),
	                         .oversubscribe = PAR_SET(1)};
	const par_outcome *outcome;
	par_iter *iter;
	int64_t n = 0;

	*out = *in;
	if (par_iter_open(&iter, NULL, &par_task_own_square, ten, &n, &settings, NULL) < 0)
		return par_fail_task(env, 1, "it cannot be opened");
	while (par_iter_next(iter, &outcome, NULL) == 1) {
		if (here.waits)
			wrong = 1; /* we are here, and do not wait */
		*out += 1;
	}
	par_iter_close(iter, NULL);
	return 0;
}
PAR_TASK_ENV(iterate, int, int)

START_TEST(between_two_results_it_does_not_wait)
{
	int in[4] = {0}, out[4];
	int32_t code = par_map(NULL, &par_task_iterate, in, out, 4,
	                       PAR_SETTINGS(.backend = "counting", .n_jobs = PAR_SET(2)), &error);

	ck_assert_msg(code == PAR_OK, "%s", words());
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(out[i], 10);
	ck_assert_int_eq(wrong, 0);
	ck_assert_int_ge(waited, 4);
	ck_assert_int_eq(went_on, waited);
}
END_TEST

static int run(void)
{
	Suite *suite = suite_create("waits");
	TCase *tests = tcase_create("waits");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, begin, scratch_end);
	tcase_add_test(tests, b98_the_hook_is_entered_once_per_call_and_not_for_calls_on_others);
	tcase_add_loop_test(tests, whoever_serves_it_the_worker_that_waits_is_told, 0, 6);
	tcase_add_test(tests, a_call_that_runs_its_tasks_here_waits_for_nobody);
	tcase_add_test(tests, what_such_a_call_calls_in_turn_its_worker_waits_for);
	tcase_add_test(tests, one_that_runs_bytes_is_told_as_well);
	tcase_add_test(tests, who_is_in_no_task_waits_without_a_word);
	tcase_add_test(tests, between_two_results_it_does_not_wait);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed > 0;
}

int main(int argc, char **argv)
{
	par_worker_main(argc, argv);
	return run();
}
