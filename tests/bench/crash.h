/* crash.h - how a task that dies once and the cell that waits for it understand each other: by
 * a file without a name, which outlives the worker and which its replacement opens too. */
#ifndef BENCH_CRASH_H
#define BENCH_CRASH_H

#include <stdint.h>

/* What stands in the file.  Each field is written by one side, once a trip. */
struct crash_file {
	uint64_t standing; /* the worker that is to survive is busy                  */
	uint64_t died_ns;  /* when the other one killed itself, by the clock of all   */
	uint64_t over;     /* the result of its replacement is there                  */
};

/* The payload of the task "crash", which replies with its process id, 8 bytes. */
struct crash_order {
	char path[56];
	uint64_t stands_by; /* keep a worker busy until the other task is over; 0: die, if nobody has */
};

#endif
