/* parking.h - jobs that nobody uses at the moment, process-wide. [any] */
#ifndef PARKING_H
#define PARKING_H

#include "job.h"

/* What jobs have to have in common to stand in for one another; of malloc. NULL: no memory. */
char *parking_key(const struct launch *launch, const struct settings *settings, int n_workers,
                  char *const *env);

/* One with that key, which lives; NULL: there is none. */
struct job *parking_take(const char *key);

/* Keep it, with its key; it is on no loop. */
void parking_add(struct job *job);

#endif
