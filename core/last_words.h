/* last_words.h - what a process that dies of a signal can still write about it. */
#ifndef CORE_LAST_WORDS_H
#define CORE_LAST_WORDS_H

#include <stddef.h>
#include <stdint.h>

/* From now on who dies here of a fault (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT) writes into those
 * bytes, and how many there are: the signal, where it was, and who called, a line each; and the most
 * memory that it ever had.  Then it calls end(), which can do with what a signal handler may do, and
 * dies of it as it would have.  Whoever handles these signals later does that instead.  Once in a
 * process; the stack of this thread may have been used up, that of others should not. */
void last_words_begin(char *words, size_t room, uint32_t *n, int64_t *peak, void (*end)(void));

#endif
