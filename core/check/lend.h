/* lend.h - memory that a plugin may use for a while, and no byte beyond it: it ends where a page
 * ends that nobody can touch, and is taken away when the while is over. */
#ifndef CHECK_LEND_H
#define CHECK_LEND_H

#include <stddef.h>

/* Zeroed, aligned for anything; who touches it when it is over breaks rule.  what and until are
 * texts that stay: "the par_call of configure()", "configure() returned".  Of those that are over
 * the last hundreds stay known; one that is rare is not pushed out by the others. */
void *lend(size_t size, const char *what, const char *until, const char *rule);
void *lend_rare(size_t size, const char *what, const char *until, const char *rule);

/* Now it is over. */
void lend_end(void *lent);

/* From now on who touches what is not lent to him is found, and the rule is broken. */
void lend_watch(void);

#endif
