#include "runner.h"

#include "context.h"
#include "error.h"
#include "forked.h"
#include "inner_threads.h"
#include "module_cache.h"
#include "module.h"
#include "peak.h"
#include "wire_answer.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Answers are sent when there are so many bytes of them, or when the first of them is so old
 * and a task is over.  There is twice the room, so that what is small always fits. */
enum { SEND_BYTES = 64 * 1024, ROOM = 2 * SEND_BYTES };
#define SEND_NS 2000000

/* Of an array nobody waits for a part; what is not sent yet is done again if this process dies. */
#define SEND_RANGE_NS 20000000

/* What a large reply took is given back. */
enum { KEPT_ROOM = 1024 * 1024 };

/* A piece of a range should be long enough to hide its cost, and so short that nobody minds
 * waiting for its end; it grows by at most this factor, since what was measured may not hold. */
#define PIECE_NS     500000
#define PIECE_GROWTH 8

/* Between two looks at the clock at most so many tasks of a list. */
enum { LONGEST_STRIDE = 256 };
#define STRIDE_NS 20000

/* How long the highest use of memory is believed. */
#define MEMORY_NS 100000000

enum { KNOWN_MODULES = 64, KNOWN_TASKS = 512, IDLE_RUNNERS = 64 };

/* Room for a value that does not lie where its type may: see aligned(). */
struct scratch {
	char *bytes;
	size_t room;
};

struct runner {
	par_env env; /* first: the task's pointer to it is our way back */
	const struct runner_work *work;
	struct wire_writer answers;
	int32_t sent; /* what send() said */
	int in_outcomes; /* a frame of them is open */
	size_t reply_at; /* where the outcome of the task that runs begins */
	int has_reply_room; /* it is a bytes task */
	par_error why; /* a batch cannot be run; to make one each time takes longer than a task */
	int64_t begin_ns, sent_ns, looked_ns;
	uint64_t ran;
	uint32_t since_look, stride;
	int stopped;

	/* of a range whose values go into an attachment: done, and not yet told */
	uint64_t told_first, told_n;

	/* of a task that explains */
	int explained, has_type, has_where;
	char type[sizeof(((par_error *)0)->type)], where[256], text[512];
	char trace[sizeof(((par_error *)0)->trace)];

	/* where the attachments that the batch names are */
	const char *in;
	char *out;
	const int32_t *stopping;
	struct wire_now *now;

	struct scratch scratch_in, scratch_out;
	struct wire_batch batch;
	const par_task *tasks[WIRE_TASKS];
	par_module *modules[WIRE_MODULES];

	/* by a hash of the name; another with the same one takes the place */
	par_module *known_modules[KNOWN_MODULES];
	struct {
		par_module *module;
		const par_task *task;
	} known_tasks[KNOWN_TASKS];

	int64_t memory_ns, memory;
	struct runner *next; /* idle */
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct runner *first;
	int n;
} idle = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(idle.lock);

static int64_t clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* --- sending --------------------------------------------------------------------------------- */

static void end_outcomes(struct runner *runner)
{
	if (runner->in_outcomes)
		wire_end(&runner->answers);
	runner->in_outcomes = 0;
}

/* A frame of outcomes that is open ends before it. */
static void tell_chunk(struct runner *runner)
{
	const struct wire_chunk_head head = {runner->told_first, runner->told_n, 0,
	                                     runner->batch.range.attempt};

	if (runner->told_n == 0)
		return;
	end_outcomes(runner);
	wire_put_chunk(&runner->answers, runner->batch.batch, &head);
	runner->told_n = 0;
}

static void begin_outcomes(struct runner *runner)
{
	tell_chunk(runner);
	if (!runner->in_outcomes)
		wire_begin(&runner->answers, WIRE_OUTCOMES, runner->batch.batch);
	runner->in_outcomes = 1;
}

static void send_answers(struct runner *runner)
{
	struct wire_writer *answers = &runner->answers;

	end_outcomes(runner);
	tell_chunk(runner);
	if (answers->used > 0 && runner->sent >= 0)
		runner->sent = runner->work->send(runner->work->user, answers->bytes, answers->used);
	wire_writer_clear(answers);
	if (answers->room > KEPT_ROOM)
		wire_writer_shrink(answers, ROOM);
}

/* After a task, or some: is it time to send what there is? */
static void look_at_clock(struct runner *runner)
{
	int64_t now = clock_ns(), passed = now - runner->looked_ns;

	if (passed < STRIDE_NS && runner->stride < LONGEST_STRIDE)
		runner->stride *= 2;
	else if (passed > 4 * STRIDE_NS)
		runner->stride = 1;
	runner->looked_ns = now;
	runner->since_look = 0;
	if (now - runner->sent_ns <
	    (runner->batch.head.flags & WIRE_IS_RANGE ? SEND_RANGE_NS : SEND_NS))
		return;
	send_answers(runner);
	runner->sent_ns = now;
}

/* The time between two tasks: if we have just looked, it is still the same. */
static int64_t moment(const struct runner *runner)
{
	return runner->since_look == 0 ? runner->looked_ns : clock_ns();
}

static inline void after_task(struct runner *runner)
{
	if (runner->answers.used >= SEND_BYTES)
		send_answers(runner);
	if (++runner->since_look >= runner->stride)
		look_at_clock(runner);
}

static int is_over(const struct runner *runner)
{
	return runner->sent < 0 || runner->stopped ||
	       __atomic_load_n(runner->stopping, __ATOMIC_RELAXED) != 0 ||
	       __atomic_load_n(runner->env.stopping, __ATOMIC_RELAXED) != 0;
}

/* --- what a running task may call -------------------------------------------------------------- */

static void keep_text(char *slot, size_t size, const char *text)
{
	(void)snprintf(slot, size, "%s", text);
}

static void explain(par_env *env, const char *type, const char *where, const char *text)
{
	struct runner *runner = (struct runner *)env;

	runner->explained = 1;
	runner->has_type = type != NULL;
	runner->has_where = where != NULL;
	if (type != NULL)
		keep_text(runner->type, sizeof(runner->type), type);
	if (where != NULL)
		keep_text(runner->where, sizeof(runner->where), where);
	keep_text(runner->text, sizeof(runner->text), text != NULL ? text : "");
}

static void set_reply_size(struct runner *runner, uint32_t size)
{
	memcpy(runner->answers.bytes + runner->reply_at + offsetof(struct wire_outcome_head, size),
	       &size, sizeof(size));
}

static void *no_room(struct runner *runner, const char *why)
{
	runner->answers.failed = 0;
	set_reply_size(runner, 0);
	explain(&runner->env, NULL, NULL, why);
	return NULL;
}

/* Room behind the head of the outcome, whose last word is zero where the reply has no byte. */
static void *reply_room(struct runner *runner, uint64_t size)
{
	struct wire_writer *answers = &runner->answers;
	char *room;

	answers->used = runner->reply_at + sizeof(struct wire_outcome_head);
	if (size > UINT32_MAX)
		return no_room(runner, "its reply is larger than 4 GiB");
	room = wire_room(answers, (size_t)wire_padded(size));
	if (room == NULL)
		return no_room(runner, "no memory for its reply");
	if (size % 8 != 0)
		memset(room + (size & ~UINT64_C(7)), 0, 8);
	set_reply_size(runner, (uint32_t)size);
	return room;
}

static void *reply(par_env *env, uint64_t size)
{
	struct runner *runner = (struct runner *)env;

	/* A typed task has its out value to write to. */
	return runner->has_reply_room ? reply_room(runner, size) : NULL;
}

/* --- failures --------------------------------------------------------------------------------- */

/* What a call inside it said of its own failure, as the cause of this one. */
static const char *cause_of(struct runner *runner, uint64_t index)
{
	const char *cause = context_take_note(index);

	if (cause == NULL)
		return NULL;
	(void)snprintf(runner->trace, sizeof(runner->trace), "caused by: %s", cause);
	return runner->trace;
}

static void tell_failure(struct runner *runner, uint64_t index, uint32_t attempt, int32_t code)
{
	const struct wire_outcome failure = {
		.code = code,
		.type = runner->explained && runner->has_type ? runner->type : NULL,
		.where = runner->explained && runner->has_where ? runner->where : NULL,
		.text = runner->explained ? runner->text : NULL,
		.trace = cause_of(runner, index),
	};

	wire_put_failure(&runner->answers, index, attempt, &failure);
	if (runner->batch.head.flags & WIRE_STOP_AT_FAILURE)
		runner->stopped = 1;
}

/* --- values where they may lie ------------------------------------------------------------------ */

/* A type's size is a multiple of its alignment, which nobody tells us. */
static size_t alignment_of(size_t size)
{
	size_t lowest = size & -size;

	return lowest < 64 ? lowest : 64;
}

static int is_aligned(const void *at, size_t size)
{
	return ((uintptr_t)at & (alignment_of(size) - 1)) == 0;
}

/* Aligned for anything; NULL: no memory. */
static void *scratch(struct scratch *scratch, size_t n)
{
	if (n > scratch->room) {
		free(scratch->bytes);
		scratch->bytes = NULL;
		scratch->room = 0;
		if (posix_memalign((void **)&scratch->bytes, 64, (n + 63) & ~(size_t)63) != 0)
			return NULL;
		scratch->room = (n + 63) & ~(size_t)63;
	}
	return scratch->bytes;
}

/* Run a typed task on n values wherever they lie; what it returns. */
static int32_t run_values(struct runner *runner, const par_task *task, const void *in, void *out,
                          uint64_t n, uint64_t *at)
{
	void *to = is_aligned(out, task->out_size) ? out
	                                           : scratch(&runner->scratch_out, n * task->out_size);
	const void *from = in;
	int32_t code;

	if (!is_aligned(in, task->in_size)) {
		from = scratch(&runner->scratch_in, n * task->in_size);
		if (from != NULL)
			memcpy(runner->scratch_in.bytes, in, n * task->in_size);
	}
	*at = 0;
	if (from == NULL || to == NULL) {
		explain(&runner->env, NULL, NULL, "no memory for its value");
		return PAR_ENOMEM;
	}
	code = task->range(&runner->env, from, to, n, at);
	if (to != out)
		memcpy(out, to, n * task->out_size);
	if (*at >= n)
		*at = 0; /* it says what cannot be */
	return code;
}

/* --- who runs -------------------------------------------------------------------------------- */

static void say_start(struct runner *runner, uint64_t index, uint64_t n, uint32_t attempt)
{
	struct wire_now *now = runner->now;
	int says = (runner->batch.head.flags & WIRE_SAY_STARTS) != 0;
	int64_t begin_ns = now != NULL || says ? moment(runner) : 0;

	if (now != NULL) {
		__atomic_store_n(&now->begin_ns, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&now->index, index, __ATOMIC_RELEASE);
		__atomic_store_n(&now->n, n, __ATOMIC_RELEASE);
		__atomic_store_n(&now->batch, runner->batch.batch, __ATOMIC_RELEASE);
		__atomic_store_n(&now->begin_ns, begin_ns, __ATOMIC_RELEASE);
	}
	if (says) {
		const struct wire_started started = {index, begin_ns, n, attempt, 0};

		end_outcomes(runner);
		tell_chunk(runner);
		wire_put_started(&runner->answers, runner->batch.batch, &started);
		send_answers(runner);
	}
}

static void say_nobody_runs(struct runner *runner)
{
	if (runner->now != NULL)
		__atomic_store_n(&runner->now->batch, 0, __ATOMIC_RELEASE);
}

/* --- a range ---------------------------------------------------------------------------------- */

/* n values were done from i on, into the attachment. */
static void add_to_told(struct runner *runner, uint64_t i, uint64_t n)
{
	uint64_t first = runner->batch.range.first + i;

	if (runner->told_n > 0 && runner->told_first + runner->told_n != first)
		tell_chunk(runner);
	if (runner->told_n == 0)
		runner->told_first = first;
	runner->told_n += n;
}

/* Values into the answer; returns how many succeeded. */
static uint64_t run_into_answer(struct runner *runner, uint64_t i, uint64_t n, int32_t *code)
{
	const struct wire_range *range = &runner->batch.range;
	const struct wire_chunk_head head = {range->first + i, n, range->out_size, range->attempt};
	uint64_t at = 0, done;
	char *values;

	end_outcomes(runner);
	values = wire_begin_chunk(&runner->answers, runner->batch.batch, &head);
	if (values == NULL) {
		runner->answers.failed = 0;
		runner->answers.used = runner->answers.frame;
		explain(&runner->env, NULL, NULL, "no memory for its value");
		*code = PAR_ENOMEM;
		return 0;
	}
	*code = run_values(runner, runner->tasks[0], runner->in + i * range->in_size, values, n, &at);
	done = *code == 0 ? n : at;
	wire_end_chunk(&runner->answers, &head, done);
	return done;
}

static uint64_t run_into_attachment(struct runner *runner, uint64_t i, uint64_t n, int32_t *code)
{
	const struct wire_range *range = &runner->batch.range;
	uint64_t at = 0, done;

	*code = run_values(runner, runner->tasks[0], runner->in + i * range->in_size,
	                   runner->out + i * range->out_size, n, &at);
	done = *code == 0 ? n : at;
	if (done > 0)
		add_to_told(runner, i, done);
	return done;
}

/* Up to n tasks from i on; returns how many are over. */
static uint64_t run_piece(struct runner *runner, uint64_t i, uint64_t n)
{
	const struct wire_range *range = &runner->batch.range;
	uint64_t done;
	int32_t code;

	say_start(runner, range->first + i, n, range->attempt);
	runner->env.index = range->first + i;
	runner->explained = 0;
	done = runner->out != NULL ? run_into_attachment(runner, i, n, &code)
	                           : run_into_answer(runner, i, n, &code);
	if (code == 0)
		return done;
	begin_outcomes(runner);
	tell_failure(runner, range->first + i + done, range->attempt, code);
	return done + 1;
}

static uint64_t next_piece(uint64_t piece, int64_t ns)
{
	uint64_t fits = ns > 0 ? piece * PIECE_NS / (uint64_t)ns : piece * PIECE_GROWTH;

	if (fits > piece * PIECE_GROWTH)
		fits = piece * PIECE_GROWTH;
	return fits > 0 ? fits : 1;
}

/* Values that go into the answer are not to need more than a sending's room. */
static uint64_t longest_piece(const struct runner *runner)
{
	uint64_t fits = runner->out != NULL ? UINT32_MAX : SEND_BYTES / runner->batch.range.out_size;

	return fits > 0 ? fits : 1;
}

static void run_range(struct runner *runner)
{
	const uint64_t n = runner->batch.head.n, longest = longest_piece(runner);
	const uint64_t fixed = runner->batch.range.piece;
	uint64_t piece = fixed > 0 ? fixed : 1, over;
	int64_t before;

	for (uint64_t i = 0; i < n && !is_over(runner); i += over) {
		piece = piece < longest ? piece : longest;
		before = runner->looked_ns;
		over = run_piece(runner, i, n - i < piece ? n - i : piece);
		runner->ran += over;
		if (runner->answers.used >= SEND_BYTES)
			send_answers(runner);
		look_at_clock(runner);
		if (fixed == 0 && over == piece)
			piece = next_piece(piece, runner->looked_ns - before);
	}
}

/* --- a list ----------------------------------------------------------------------------------- */

static const char *find_bytes(const struct runner *runner, const struct wire_ref *ref,
                              uint64_t size, int writes, par_error *error);

static int32_t run_typed(struct runner *runner, const par_task *task, const void *payload)
{
	void *out = reply_room(runner, task->out_size);
	uint64_t at;

	return out == NULL ? PAR_ENOMEM : run_values(runner, task, payload, out, 1, &at);
}

/* NULL: why not was explained.  Apart, since an error takes longer to clear than a task to run. */
__attribute__((noinline)) static const void *attached_payload(struct runner *runner,
                                                              const struct wire_item *item)
{
	par_error error = PAR_ERROR_INIT;
	const void *payload = find_bytes(runner, &item->ref, item->head.size, 0, &error);

	if (payload == NULL)
		explain(&runner->env, NULL, NULL, error.reason);
	return payload;
}

static int32_t run_task(struct runner *runner, const par_task *task, const struct wire_item *item)
{
	const void *payload = item->payload;

	if (__builtin_expect(payload == NULL, 0) &&
	    (payload = attached_payload(runner, item)) == NULL)
		return PAR_EINVAL;
	if (task->kind == PAR_TASK_TYPED)
		return run_typed(runner, task, payload);
	runner->has_reply_room = 1;
	return task->bytes(&runner->env, payload, item->head.size);
}

static void run_item(struct runner *runner, const struct wire_item *item)
{
	const struct wire_outcome_head head = {item->head.index, 0, item->head.attempt, 0};
	int32_t code;
	char *room;

	if (!runner->in_outcomes)
		begin_outcomes(runner);
	runner->reply_at = runner->answers.used;
	room = wire_room(&runner->answers, sizeof(head)); /* there is some: see ROOM */
	memcpy(room, &head, sizeof(head));
	runner->env.index = item->head.index;
	runner->env.attempt = item->head.attempt;
	runner->explained = 0;
	runner->has_reply_room = 0;
	code = run_task(runner, runner->tasks[item->head.task], item);
	if (__builtin_expect(code != 0, 0)) {
		runner->answers.used = runner->reply_at;
		tell_failure(runner, item->head.index, item->head.attempt, code);
	}
	runner->ran++;
}

static void run_list(struct runner *runner)
{
	const int says = runner->now != NULL || (runner->batch.head.flags & WIRE_SAY_STARTS);
	struct wire_item item;

	while (!is_over(runner) && wire_next_item(&runner->batch, &item)) {
		if (says)
			say_start(runner, item.head.index, 1, item.head.attempt);
		run_item(runner, &item);
		after_task(runner);
	}
}

/* --- which tasks ------------------------------------------------------------------------------- */

static uint32_t hash(const char *text)
{
	uint32_t sum = 2166136261u;

	for (; *text != '\0'; text++)
		sum = (sum ^ (unsigned char)*text) * 16777619u;
	return sum;
}

static int32_t other_program(const struct wire_module *wanted, const par_module *ours,
                             par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "the tasks of a program run in its own workers only");
	error_file(error, "%s", wanted->path);
	error_reason(error, "this worker is %.200s", module_path(ours));
	error_remedy(error, "call par_worker_main(argc, argv) first in its main, or put its tasks "
	                    "into a task module");
	return PAR_EUNAVAIL;
}

static int32_t check_id(const struct wire_module *wanted, const par_module *module,
                        par_error *error)
{
	char ours[ELF_ID_TEXT], theirs[ELF_ID_TEXT];

	if (wanted->id.size == 0 || elf_id_is(&wanted->id, module_id(module)))
		return PAR_OK;
	if (module_is_program(module))
		return other_program(wanted, module, error);
	error_set(error, PAR_EUNAVAIL, "the task module is not the caller's");
	error_file(error, "%s", module_path(module));
	error_reason(error, "its build id is %s, the caller's is %s",
	             elf_id_text(module_id(module), ours), elf_id_text(&wanted->id, theirs));
	error_remedy(error, "have the same file on both sides, and start the workers anew");
	return PAR_EUNAVAIL;
}

static const par_attachment *find_attachment(const struct runner *runner, uint64_t id)
{
	const struct runner_work *work = runner->work;

	for (uint32_t i = 0; i < work->n_attachments; i++)
		if (work->attachments[i]->id == id)
			return work->attachments[i];
	return NULL;
}

/* What lies there may be anything, and to open it runs it: so it is compared before that. */
static int is_at_path(const struct wire_module *wanted)
{
	struct elf_id id;
	struct elf elf;
	int is_so;

	if (elf_open(&elf, wanted->path, NULL) < 0)
		return 0;
	is_so = elf_identify(&elf, &id, NULL) == PAR_OK && elf_id_is(&wanted->id, &id);
	elf_close(&elf);
	return is_so;
}

/* Where its path says, or from what was sent along. */
static int32_t open_module(const struct runner *runner, const struct wire_module *wanted,
                           par_module **module, par_error *error)
{
	const par_attachment *content;

	if (wanted->attachment == 0 || is_at_path(wanted))
		return par_module_open(module, wanted->path, error);
	content = find_attachment(runner, wanted->attachment);
	if (content != NULL)
		return module_cache_open(module, content, error);
	error_set(error, PAR_EUNAVAIL, "the task module is not here");
	error_file(error, "%s", wanted->path);
	error_reason(error, "the caller's is not under its path, and was not sent along");
	error_remedy(error, "have the same file on both sides");
	return PAR_EUNAVAIL;
}

static int is_known(const par_module *known, const struct wire_module *wanted)
{
	return known != NULL && (strcmp(module_path(known), wanted->path) == 0 ||
	                         (wanted->attachment != 0 && elf_id_is(&wanted->id, module_id(known))));
}

static int32_t find_module(struct runner *runner, const struct wire_module *wanted,
                           par_module **module, par_error *error)
{
	par_module **known = &runner->known_modules[hash(wanted->path) % KNOWN_MODULES];
	int32_t status = PAR_OK;

	if (wanted->is_program)
		status = module_of_program(module, error);
	else if (is_known(*known, wanted))
		*module = *known;
	else
		status = open_module(runner, wanted, module, error);
	if (status < 0)
		return status;
	if (!wanted->is_program)
		*known = *module;
	return check_id(wanted, *module, error);
}

static int32_t check_task(const struct wire_task *wanted, const par_task *task,
                          const par_module *module, par_error *error)
{
	if (task->kind == wanted->kind && task->in_size == wanted->in_size &&
	    task->out_size == wanted->out_size)
		return PAR_OK;
	error_set(error, PAR_EUNAVAIL, "task \"%.100s\" is not the caller's", wanted->name);
	if (module != NULL)
		error_file(error, "%s", module_path(module));
	error_reason(error, "kind %d, %u to %u bytes; the caller's is of kind %d, %u to %u",
	             (int)task->kind, (unsigned)task->in_size, (unsigned)task->out_size,
	             (int)wanted->kind, (unsigned)wanted->in_size, (unsigned)wanted->out_size);
	error_remedy(error, "have the same file on both sides, and start the workers anew");
	return PAR_EUNAVAIL;
}

/* The task is where it was in the caller. */
static int32_t take_task(struct runner *runner, const struct wire_task *wanted,
                         const par_task **task, par_error *error)
{
	if (!runner->work->knows_addresses) {
		error_set(error, PAR_EUNAVAIL, "task \"%.100s\" is not known here", wanted->name);
		error_reason(error, "it is named by its address in the caller, of which this worker "
		                    "is not a fork");
		error_remedy(error, "define it with the macros of parloop/task.h");
		return PAR_EUNAVAIL;
	}
	*task = (const par_task *)(uintptr_t)wanted->address;
	return check_task(wanted, *task, NULL, error);
}

static int32_t find_task(struct runner *runner, const struct wire_task *wanted,
                         const par_task **task, par_error *error)
{
	par_module *module = wanted->address == 0 ? runner->modules[wanted->module] : NULL;
	uint32_t place = (hash(wanted->name) + 31 * wanted->module) % KNOWN_TASKS;
	const par_task *known = runner->known_tasks[place].task;
	int32_t status;

	if (wanted->address != 0)
		return take_task(runner, wanted, task, error);
	if (known == NULL || runner->known_tasks[place].module != module ||
	    strcmp(known->name, wanted->name) != 0) {
		status = par_module_task(module, wanted->name, &known, error);
		if (status < 0)
			return status;
		runner->known_tasks[place].module = module;
		runner->known_tasks[place].task = known;
	}
	*task = known;
	return check_task(wanted, known, module, error);
}

static int32_t find_tasks(struct runner *runner, par_error *error)
{
	const struct wire_batch *batch = &runner->batch;
	int32_t status = PAR_OK;

	for (int i = 0; status == PAR_OK && i < batch->head.n_modules; i++)
		status = find_module(runner, &batch->modules[i], &runner->modules[i], error);
	for (int i = 0; status == PAR_OK && i < batch->head.n_tasks_known; i++)
		status = find_task(runner, &batch->tasks[i], &runner->tasks[i], error);
	return status;
}

/* --- which memory ------------------------------------------------------------------------------ */

static int32_t refuse_ref(par_error *error, const struct wire_ref *ref, const char *reason)
{
	error_set(error, PAR_EINVAL, "attachment %llu cannot be used", (unsigned long long)ref->id);
	error_reason(error, "%s", reason);
	return PAR_EINVAL;
}

/* So many bytes of an attachment, or NULL. */
static const char *find_bytes(const struct runner *runner, const struct wire_ref *ref,
                              uint64_t size, int writes, par_error *error)
{
	const par_attachment *found = find_attachment(runner, ref->id);

	if (found == NULL)
		refuse_ref(error, ref, "this worker was not given it");
	else if (found->address == NULL)
		refuse_ref(error, ref, "it is not in this worker's memory");
	else if (ref->offset > found->bytes || size > found->bytes - ref->offset)
		refuse_ref(error, ref, "what the batch names of it lies beyond its end");
	else if (writes && found->writable != PAR_ATTACH_WRITE)
		refuse_ref(error, ref, "it may not be written to");
	else
		return (const char *)found->address + ref->offset;
	return NULL;
}

/* The same, for a word that several processes look at. */
static const void *find_word(const struct runner *runner, const struct wire_ref *ref, size_t size,
                             size_t align, int writes, par_error *error)
{
	const char *word = find_bytes(runner, ref, size, writes, error);

	if (word == NULL || ((uintptr_t)word & (align - 1)) == 0)
		return word;
	refuse_ref(error, ref, "what the batch names of it is not aligned");
	return NULL;
}

static int find_range(struct runner *runner, par_error *error)
{
	const struct wire_batch *batch = &runner->batch;
	const struct wire_range *range = &batch->range;

	runner->in = batch->in;
	runner->out = NULL;
	if (!(batch->head.flags & WIRE_IS_RANGE))
		return 0;
	if (range->in.id != 0)
		runner->in = find_bytes(runner, &range->in, batch->head.n * range->in_size, 0, error);
	if (range->out.id != 0)
		runner->out = (char *)(uintptr_t)find_bytes(runner, &range->out,
		                                            batch->head.n * range->out_size, 1, error);
	return runner->in == NULL || (range->out.id != 0 && runner->out == NULL) ? -1 : 0;
}

static int32_t find_memory(struct runner *runner, par_error *error)
{
	static const int32_t never = 0;
	const struct wire_batch_head *head = &runner->batch.head;
	const void *shared = runner->batch.shared;

	runner->stopping = &never;
	runner->now = runner->work->now;
	if (find_range(runner, error) < 0)
		return PAR_EINVAL;
	if (head->shared.id != 0 &&
	    (shared = find_bytes(runner, &head->shared, head->shared_size, 0, error)) == NULL)
		return PAR_EINVAL;
	if (head->stopping.id != 0 &&
	    (runner->stopping = find_word(runner, &head->stopping, sizeof(int32_t), sizeof(int32_t), 0,
	                                  error)) == NULL)
		return PAR_EINVAL;
	if (head->now.id != 0 &&
	    (runner->now = (struct wire_now *)(uintptr_t)find_word(
		     runner, &head->now, sizeof(*runner->now), sizeof(uint64_t), 1, error)) == NULL)
		return PAR_EINVAL;
	runner->env.shared = shared;
	runner->env.shared_size = head->shared_size;
	return PAR_OK;
}

/* --- the batch -------------------------------------------------------------------------------- */

/* To look takes longer than many a task. */
static int64_t recent_peak(struct runner *runner, int64_t now)
{
	if (runner->memory_ns != 0 && now - runner->memory_ns < MEMORY_NS)
		return runner->memory;
	runner->memory_ns = now;
	runner->memory = peak_memory();
	return runner->memory;
}

static void begin_run(struct runner *runner)
{
	const struct wire_batch_head *head = &runner->batch.head;

	runner->env.size = sizeof(runner->env);
	runner->env.worker = head->worker > 0 ? head->worker - 1U : runner->work->worker;
	runner->env.index = 0;
	runner->env.level = head->depth;
	runner->env.inner_max_num_threads = head->inner_max_num_threads;
	runner->env.reply = reply;
	runner->env.explain = explain;
	runner->env.call_seed = head->seed;
	runner->env.attempt = (int32_t)runner->batch.range.attempt;
	runner->env.stopping = runner->work->stopping != NULL ? runner->work->stopping
	                                                      : runner->stopping;
	runner->has_reply_room = 0;
	runner->told_n = 0;
	runner->ran = 0;
	runner->stopped = 0;
	runner->since_look = 0;
	runner->stride = 1;
	runner->begin_ns = runner->sent_ns = runner->looked_ns = clock_ns();
}

static void finish_run(struct runner *runner)
{
	int64_t now = moment(runner);
	const struct wire_finished finished = {
		.ns = now - runner->begin_ns,
		.ran = runner->ran,
		.peak_memory = recent_peak(runner, now),
		.stopped = runner->ran < runner->batch.head.n,
	};

	if (runner->now != NULL)
		__atomic_store_n(&runner->now->peak_memory, finished.peak_memory, __ATOMIC_RELAXED);
	say_nobody_runs(runner);
	end_outcomes(runner);
	tell_chunk(runner);
	wire_put_finished(&runner->answers, runner->batch.batch, &finished);
	if (runner->work->is_last != NULL)
		*runner->work->is_last = 1;
	send_answers(runner);
}

static void run_tasks(struct runner *runner)
{
	if (runner->batch.head.flags & WIRE_IS_RANGE)
		run_range(runner);
	else
		run_list(runner);
}

/* Its modules are loaded by now, with the libraries that they need. */
static void run_limited(struct runner *runner)
{
	struct inner_limit limit;

	inner_threads_enter(&limit, runner->env.inner_max_num_threads);
	run_tasks(runner);
	inner_threads_leave(&limit);
}

static void run_batch(struct runner *runner)
{
	const struct wire_batch *batch = &runner->batch;
	const struct context context = {
		.level = batch->head.level,
		.n_jobs = batch->head.nested_n_jobs,
		.backend = batch->backend,
		.options = batch->head.n_options > 0 ? batch->options : NULL,
		.depth = batch->head.depth,
		.chain = batch->chain,
		.chained = batch->head.chained,
		.around = batch->around,
		.is_below_threads = batch->head.is_below_threads,
		.cores = batch->head.cores,
		.sharers = batch->head.sharers,
		.oversubscribe = batch->head.oversubscribe,
		.inner_max_num_threads = batch->head.inner_max_num_threads,
		.task = &runner->env.index,
	};
	struct context_outside outside;

	begin_run(runner);
	outside = context_enter(&context);
	if (batch->head.inner_max_num_threads > 0)
		run_limited(runner);
	else
		run_tasks(runner);
	context_leave(&outside);
	finish_run(runner);
}

int32_t runner_greet(struct runner *runner, const struct runner_work *work)
{
	char host[HOST_NAME_MAX + 1] = "";

	(void)gethostname(host, sizeof(host) - 1);
	runner->work = work;
	runner->sent = 0;
	wire_put_hello(&runner->answers, getpid(), PAR_VERSION_STRING, host);
	send_answers(runner);
	return runner->sent;
}

int32_t runner_cannot(struct runner *runner, uint64_t batch, const struct runner_work *work,
                      const par_error *why)
{
	runner->work = work;
	runner->sent = 0;
	wire_put_cannot(&runner->answers, batch, why);
	send_answers(runner);
	return runner->sent;
}

int32_t runner_run(struct runner *runner, const struct wire_frame *frame,
                   const struct runner_work *work, par_error *error)
{
	par_error *why = &runner->why;
	int32_t status = wire_get_batch(frame, &runner->batch, why);

	runner->work = work;
	runner->sent = 0;
	if (status == PAR_OK)
		status = find_tasks(runner, why);
	if (status == PAR_OK)
		status = find_memory(runner, why);
	if (status == PAR_OK)
		run_batch(runner);
	else
		(void)runner_cannot(runner, frame->batch, work, why);
	if (status != PAR_OK)
		*why = (par_error)PAR_ERROR_INIT;
	if (runner->sent >= 0)
		return PAR_OK;
	error_set(error, PAR_ELOST, "cannot answer");
	error_reason(error, "nobody takes it any more");
	return PAR_ELOST;
}

/* --- those that there are ---------------------------------------------------------------------- */

struct runner *runner_create(void)
{
	struct runner *runner = calloc(1, sizeof(*runner));

	if (runner == NULL)
		return NULL;
	if (wire_grow(&runner->answers, ROOM) == NULL) {
		free(runner);
		return NULL;
	}
	runner->why = (par_error)PAR_ERROR_INIT;
	wire_writer_clear(&runner->answers);
	return runner;
}

void runner_destroy(struct runner *runner)
{
	if (runner == NULL)
		return;
	wire_writer_finish(&runner->answers);
	free(runner->scratch_in.bytes);
	free(runner->scratch_out.bytes);
	free(runner);
}

struct runner *runner_take(void)
{
	struct runner *runner;

	pthread_mutex_lock(&idle.lock);
	runner = idle.first;
	if (runner != NULL) {
		idle.first = runner->next;
		idle.n--;
	}
	pthread_mutex_unlock(&idle.lock);
	return runner != NULL ? runner : runner_create();
}

void runner_give(struct runner *runner)
{
	pthread_mutex_lock(&idle.lock);
	if (idle.n < IDLE_RUNNERS) {
		runner->next = idle.first;
		idle.first = runner;
		idle.n++;
		runner = NULL;
	}
	pthread_mutex_unlock(&idle.lock);
	runner_destroy(runner);
}
