/* run.h - a test in a process of its own, where it may crash and hang, or in this one. */
#ifndef CHECK_RUN_H
#define CHECK_RUN_H

#include "verdict.h"

enum { RUN_OUTPUT = 400 };

/* rule NULL: see verdict_begin().  output is the end of what the test printed. */
void run_in_child(void (*test)(void), const char *rule, int limit_s, struct finding *finding,
                  char output[RUN_OUTPUT]);

/* For a debugger: no limit, and said() ends the process. */
__attribute__((noreturn)) void run_here(void (*test)(void), const char *rule,
                                        void (*said)(const struct finding *finding));

#endif
