/* verdict.h - what the test of one rule found, said from whichever thread finds it.
 *
 * A test is about one rule.  What it finds broken first counts, since one thing leads to another:
 * if that is another rule, the test is skipped as soon as it cannot go on, and says which. */
#ifndef CHECK_VERDICT_H
#define CHECK_VERDICT_H

enum verdict { VERDICT_OK, VERDICT_WARN, VERDICT_SKIP, VERDICT_FAIL, VERDICT_CRASH, VERDICT_HANG };

const char *verdict_name(enum verdict verdict); /* "ok", "warn", ... */

static inline int verdict_is_bad(enum verdict verdict)
{
	return verdict >= VERDICT_FAIL;
}

struct finding {
	enum verdict verdict;
	int is_unavailable;   /* skipped, as the backend cannot be had here       */
	char rule[8];         /* that it is about                                 */
	char words[600];      /* empty: nothing to say                            */
	char other[8];        /* a rule that is broken as well, or empty; and how */
	char other_words[600];
};

/* Begin a test in this process.  rule NULL: any rule that is broken fails it.  said is called
 * once, and then the process ends. */
void verdict_begin(const char *rule, void (*said)(const struct finding *finding));

/* That rule is broken, or broken so that the test cannot go on, or a warning about it is due. */
__attribute__((format(printf, 2, 3))) void broken(const char *rule, const char *format, ...);
__attribute__((format(printf, 3, 4), noreturn)) void broken_fatally(enum verdict verdict,
                                                                     const char *rule,
                                                                     const char *format, ...);
__attribute__((format(printf, 2, 3))) void doubtful(const char *rule, const char *format, ...);

/* The rule that the test is about is broken, or cannot be seen here. */
__attribute__((format(printf, 1, 2), noreturn)) void failed(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void skipped(const char *format, ...);
__attribute__((format(printf, 1, 2), noreturn)) void unavailable(const char *format, ...);

/* Nothing goes on, and no rule is known that says why. */
__attribute__((format(printf, 1, 2), noreturn)) void hangs(const char *format, ...);

/* The test came to its end: ok, or what was doubtful. */
__attribute__((noreturn)) void verdict_end(void);

#endif
