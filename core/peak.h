/* peak.h - the most memory that this process has ever had. */
#ifndef CORE_PEAK_H
#define CORE_PEAK_H

#include <stdint.h>

/* Bytes; 0: unknown.  (What getrusage says counts what ran in this process before it was executed
 * anew.)  Async-signal-safe. [any] */
int64_t peak_memory(void);

#endif
