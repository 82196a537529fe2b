/* pre_dispatch.h - how many tasks to take from the source before the first has
 * completed, from the setting's text. */
#ifndef CORE_PRE_DISPATCH_H
#define CORE_PRE_DISPATCH_H

#include <parloop/error.h>

#include <stdint.h>

/* "all": UINT64_MAX.  Else arithmetic in n_jobs, with Python's meaning, as joblib
 * takes it, except that numbers are decimal and blanks may stand in front: ints and
 * floats, + - * / // % ** and unary -, parentheses; the result is truncated.  NULL:
 * "2 * n_jobs".
 *
 * PAR_ECONFIG if it is longer than 30 characters once n_jobs has its value, if it
 * is not arithmetic, if any value in it is beyond a million, or if the result is
 * below 1; then *tasks is left alone.  Never crashes, whatever the text: it may
 * come from anywhere. [any] */
int32_t pre_dispatch_tasks(const char *expression, int32_t n_jobs, uint64_t *tasks,
                           par_error *error);

#endif
