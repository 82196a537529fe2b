/* worker.h - the other ranks: each runs the batches that the hub sends it, one after the other. */
#ifndef WORKER_H
#define WORKER_H

#include "bells.h"

/* Until the hub says that it is over; the status to exit with. */
int worker_run(struct bells *bells);

#endif
