/* rules.h - what a plugin must keep, a test for each.  The manual has the same table. */
#ifndef CHECK_RULES_H
#define CHECK_RULES_H

struct rule {
	const char *id;    /* "B3": its level's letter, and a number that it keeps */
	const char *title; /* as the manual has it                                 */
	void (*test)(void); /* in a process of its own; see verdict.h              */
};

/* Of a level; each list ends in an id NULL. */
extern const struct rule rules_file[], rules_load[];                                /* F, L */
extern const struct rule rules_contract[], rules_behaviour[], rules_threads[]; /* C, B, T */

/* Random sequences of legal calls: that many steps, the same for the same seed. */
void rules_fuzz(unsigned long seed, long steps);

#endif
