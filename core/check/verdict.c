#include "verdict.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *current; /* the rule; NULL: each */
static void (*tell)(const struct finding *finding);
static atomic_flag has_ended = ATOMIC_FLAG_INIT;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct finding found; /* under lock: the other rule, and what is doubtful */

const char *verdict_name(enum verdict verdict)
{
	static const char *const names[] = {"ok", "warn", "skip", "fail", "crash", "hang"};

	return names[verdict];
}

void verdict_begin(const char *rule, void (*said)(const struct finding *finding))
{
	current = rule;
	tell = said;
}

/* Where a debugger is to stop. */
__attribute__((noinline)) static void rule_is_broken(void)
{
	__asm__ volatile("");
}

/* The first to come here ends the process; others wait for that. */
__attribute__((noreturn)) static void end(enum verdict verdict, const char *rule, const char *words)
{
	while (atomic_flag_test_and_set(&has_ended))
		pause();
	if (verdict_is_bad(verdict))
		rule_is_broken();
	found.verdict = verdict;
	(void)snprintf(found.rule, sizeof(found.rule), "%s", rule != NULL ? rule : "");
	if (words != found.words)
		(void)snprintf(found.words, sizeof(found.words), "%s", words);
	tell(&found);
	_exit(verdict <= VERDICT_SKIP ? EXIT_SUCCESS : EXIT_FAILURE);
}

static int is_current(const char *rule)
{
	return current == NULL || strcmp(current, rule) == 0;
}

static void note_other(const char *rule, const char *words)
{
	pthread_mutex_lock(&lock);
	if (found.other[0] == '\0') {
		(void)snprintf(found.other_words, sizeof(found.other_words), "%s", words);
		(void)snprintf(found.other, sizeof(found.other), "%s", rule);
	}
	pthread_mutex_unlock(&lock);
}

/* Does another rule that is broken explain it? */
static void end_if_explained(void)
{
	char words[100];

	if (found.other[0] == '\0')
		return;
	(void)snprintf(words, sizeof(words), "not seen, as rule %s is broken", found.other);
	end(VERDICT_SKIP, current, words);
}

#define PUT_WORDS(words, format)                                                                \
	do {                                                                                    \
		va_list args;                                                                   \
		va_start(args, format);                                                         \
		(void)vsnprintf(words, sizeof(words), format, args);                            \
		va_end(args);                                                                   \
	} while (0)

void broken(const char *rule, const char *format, ...)
{
	char words[sizeof(found.words)];

	PUT_WORDS(words, format);
	if (!is_current(rule)) {
		note_other(rule, words);
		return;
	}
	end_if_explained();
	end(VERDICT_FAIL, rule, words);
}

void broken_fatally(enum verdict verdict, const char *rule, const char *format, ...)
{
	char words[sizeof(found.words)];

	PUT_WORDS(words, format);
	if (!is_current(rule))
		note_other(rule, words);
	end_if_explained();
	end(verdict, rule, words);
}

void doubtful(const char *rule, const char *format, ...)
{
	if (current == NULL || strcmp(current, rule) != 0 || found.words[0] != '\0')
		return;
	PUT_WORDS(found.words, format);
}

void failed(const char *format, ...)
{
	char words[sizeof(found.words)];

	end_if_explained();
	PUT_WORDS(words, format);
	end(VERDICT_FAIL, current, words);
}

void hangs(const char *format, ...)
{
	char words[sizeof(found.words)];

	end_if_explained();
	PUT_WORDS(words, format);
	end(VERDICT_HANG, current, words);
}

void skipped(const char *format, ...)
{
	char words[sizeof(found.words)];

	end_if_explained();
	PUT_WORDS(words, format);
	end(VERDICT_SKIP, current, words);
}

void unavailable(const char *format, ...)
{
	char words[sizeof(found.words)];

	end_if_explained();
	PUT_WORDS(words, format);
	found.is_unavailable = 1;
	end(VERDICT_SKIP, current, words);
}

void verdict_end(void)
{
	end(found.words[0] != '\0' ? VERDICT_WARN : VERDICT_OK, current, found.words);
}
