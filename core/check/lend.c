#include "lend.h"

#include "verdict.h"

#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* What was lent last stays known, so that a late use has a name. */
enum { KEPT = 512, COMMON = 0, RARE = 1, KINDS };

struct loan {
	char *pages;
	size_t size;    /* of the pages that can be touched; one follows that cannot */
	const char *what, *until, *rule;
	int is_over;
};
static struct loan loans[KINDS][KEPT];
static unsigned n_loans[KINDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t page;

/* A place, for which the oldest that is over is forgotten. */
static struct loan *take_place(int kind)
{
	for (unsigned i = 0; i < KEPT; i++) {
		struct loan *loan = &loans[kind][n_loans[kind]++ % KEPT];

		if (loan->pages == NULL)
			return loan;
		if (!loan->is_over)
			continue;
		(void)munmap(loan->pages, loan->size + page);
		return loan;
	}
	abort(); /* hundreds are out at once: a loan is not ended where it should be */
}

static void *lend_as(int kind, size_t size, const char *what, const char *until, const char *rule)
{
	struct loan *loan;
	char *pages;

	size = (size + 15) / 16 * 16;
	pthread_mutex_lock(&lock);
	page = (size_t)sysconf(_SC_PAGESIZE);
	loan = take_place(kind);
	loan->size = (size + page - 1) / page * page;
	pages = mmap(NULL, loan->size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (pages == MAP_FAILED || mprotect(pages + loan->size, page, PROT_NONE) < 0)
		abort();
	loan->pages = pages;
	loan->what = what;
	loan->until = until;
	loan->rule = rule;
	loan->is_over = 0;
	pthread_mutex_unlock(&lock);
	return pages + loan->size - size;
}

void *lend(size_t size, const char *what, const char *until, const char *rule)
{
	return lend_as(COMMON, size, what, until, rule);
}

void *lend_rare(size_t size, const char *what, const char *until, const char *rule)
{
	return lend_as(RARE, size, what, until, rule);
}

static struct loan *find(const void *address)
{
	for (int kind = 0; kind < KINDS; kind++)
		for (struct loan *loan = loans[kind]; loan < loans[kind] + KEPT; loan++)
			if (loan->pages != NULL && (uintptr_t)address >= (uintptr_t)loan->pages &&
			    (uintptr_t)address < (uintptr_t)loan->pages + loan->size + page)
				return loan;
	return NULL;
}

void lend_end(void *lent)
{
	struct loan *loan;

	pthread_mutex_lock(&lock);
	loan = find(lent);
	loan->is_over = 1;
	(void)mprotect(loan->pages, loan->size, PROT_NONE);
	pthread_mutex_unlock(&lock);
}

/* What is not ours to explain kills the process, as it would have. */
static void on_fault(int number, siginfo_t *info, void *context)
{
	const struct loan *loan = find(info->si_addr);

	(void)context;
	if (loan != NULL && loan->is_over)
		broken_fatally(VERDICT_CRASH, loan->rule, "%s is used after %s", loan->what, loan->until);
	if (loan != NULL)
		broken_fatally(VERDICT_CRASH, "C7", "%s is used beyond its size", loan->what);
	(void)signal(number, SIG_DFL);
}

void lend_watch(void)
{
	struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};

	(void)sigaction(SIGSEGV, &action, NULL);
}
