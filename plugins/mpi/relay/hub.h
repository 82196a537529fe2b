/* hub.h - rank 0: between the plugin's connection and the ranks that work. */
#ifndef HUB_H
#define HUB_H

#include "bells.h"

/* Until the plugin has no more use for the job, or is gone.  line: what came on standard input.
 * Returns the status to exit with; the ranks then end by themselves.  If they cannot be asked to,
 * the job is aborted. */
int hub_run(struct bells *bells, const char *line);

#endif
