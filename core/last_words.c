#include "last_words.h"

#include "peak.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>
#include <unistd.h>
#include <unwind.h>

enum { FRAMES = 32, STACK = 64 * 1024 };

static const struct fault {
	int signal;
	const char *name;
	int has_address;
} faults[] = {
	{SIGSEGV, "SIGSEGV", 1}, {SIGBUS, "SIGBUS", 1}, {SIGFPE, "SIGFPE", 1},
	{SIGILL, "SIGILL", 1},   {SIGABRT, "SIGABRT", 0},
};

enum { N_FAULTS = sizeof(faults) / sizeof(faults[0]) };

static struct {
	char *words;
	size_t room;
	uint32_t *n;
	int64_t *peak;
	void (*end)(void);
	pid_t process; /* whose they are: not those that a task has forked */
	int speaks; /* a second fault, or one on another thread, has nothing to add */
	struct sigaction before[N_FAULTS];
	char stack[STACK];
} last;

/* --- writing, without libc -------------------------------------------------------------------- */

struct text {
	char *at, *end;
};

static void add(struct text *text, const char *words)
{
	while (*words != '\0' && text->at < text->end)
		*text->at++ = *words++;
}

static void add_hex(struct text *text, uintptr_t number)
{
	char digits[2 * sizeof(number) + 1];
	char *at = digits + sizeof(digits) - 1;

	*at = '\0';
	do {
		*--at = "0123456789abcdef"[number % 16];
		number /= 16;
	} while (number > 0);
	add(text, "0x");
	add(text, at);
}

/* What is there can be read from now on, whatever happens to the rest. */
static void say(const struct text *text)
{
	__atomic_store_n(last.n, (uint32_t)(text->at - last.words), __ATOMIC_RELEASE);
}

/* --- where it was ----------------------------------------------------------------------------- */

struct frames {
	uintptr_t addresses[FRAMES];
	int n;
	uintptr_t fault; /* those before it are of the handler */
};

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *user)
{
	struct frames *frames = user;
	int is_exact = 0;
	uintptr_t address = _Unwind_GetIPInfo(context, &is_exact);

	if (address == 0)
		return _URC_END_OF_STACK;
	/* A caller is named by its call, not by what comes after it. */
	if (!is_exact)
		address--;
	if (frames->n == 0 && address != frames->fault && frames->fault != 0)
		return _URC_NO_REASON;
	frames->addresses[frames->n++] = address;
	return frames->n < FRAMES ? _URC_NO_REASON : _URC_END_OF_STACK;
}

static uintptr_t where(const void *context)
{
#if defined(__x86_64__)
	return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
#elif defined(__aarch64__)
	return (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#else
	(void)context;
	return 0;
#endif
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* As addr2line takes it: the file, and the place in it. */
static void add_place(struct text *text, uintptr_t address)
{
	Dl_info info;

	add(text, "\n  ");
	if (dladdr((void *)address, &info) == 0 || info.dli_fname == NULL) {
		add_hex(text, address);
		return;
	}
	add(text, base_name(info.dli_fname));
	add(text, "+");
	add_hex(text, address - (uintptr_t)info.dli_fbase);
	if (info.dli_sname != NULL) {
		add(text, " ");
		add(text, info.dli_sname);
	}
}

static void speak(const struct fault *fault, const siginfo_t *info, const void *context)
{
	struct text text = {last.words, last.words + last.room};
	struct frames frames = {.n = 0, .fault = where(context)};

	add(&text, fault->name);
	if (fault->has_address) {
		add(&text, " at address ");
		add_hex(&text, (uintptr_t)info->si_addr);
	}
	say(&text);
	(void)_Unwind_Backtrace(add_frame, &frames);
	/* Where a jump led into nowhere, nothing of it is found. */
	if (frames.n == 0)
		frames.addresses[frames.n++] = frames.fault;
	for (int i = 0; i < frames.n; i++) {
		add_place(&text, frames.addresses[i]);
		say(&text);
	}
}

/* --- dying ------------------------------------------------------------------------------------ */

/* Whatever happens in here ends the process as the fault would have. */
static void restore(void)
{
	for (int i = 0; i < N_FAULTS; i++)
		(void)sigaction(faults[i].signal, &last.before[i], NULL);
}

static void on_fault(int signal, siginfo_t *info, void *context)
{
	int i = 0;

	while (i < N_FAULTS - 1 && faults[i].signal != signal)
		i++;
	restore();
	if (getpid() == last.process && __atomic_exchange_n(&last.speaks, 1, __ATOMIC_ACQ_REL) == 0) {
		__atomic_store_n(last.peak, peak_memory(), __ATOMIC_RELAXED);
		speak(&faults[i], info, context);
	}
	last.end();
	/* Sent, or by abort(), it does not come again by itself. */
	if (info->si_code <= 0)
		(void)raise(signal);
}

void last_words_begin(char *words, size_t room, uint32_t *n, int64_t *peak, void (*end)(void))
{
	const stack_t stack = {.ss_sp = last.stack, .ss_size = sizeof(last.stack)};
	stack_t now = {.ss_flags = 0};
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	last.words = words;
	last.room = room;
	last.n = n;
	last.peak = peak;
	last.end = end;
	last.process = getpid();
	last.speaks = 0;
	(void)sigemptyset(&action.sa_mask);
	/* A sanitizer has one, and gives back what it finds. */
	if (sigaltstack(NULL, &now) == 0 && (now.ss_flags & SS_DISABLE) != 0)
		(void)sigaltstack(&stack, NULL);
	for (int i = 0; i < N_FAULTS; i++)
		(void)sigaction(faults[i].signal, &action, &last.before[i]);
}
