/* serve_process.h - what a process does to itself to be nothing else than a worker. */
#ifndef CORE_SERVE_PROCESS_H
#define CORE_SERVE_PROCESS_H

#include <parloop/backend.h>

/* Die with the thread that started this process, at once if it is dead already.  Have a process
 * group of one's own, no standard input (unless it is one of the descriptors that are served), and
 * signals as if nobody had touched them, but for those that are for the parent to act on. */
int32_t process_settle(int32_t parent, const int32_t ends[2], par_error *error);

/* Take the core and the limits that setup names. */
int32_t process_limit(const par_worker_setup *setup, par_error *error);

/* Where memory runs out, a worker is to go before its parent. */
void process_offer_memory(void);

/* What is in this process's group ends, but for itself, which is about to; as it does if it calls
 * exit(), from then on, without what its parent has registered with atexit(). */
void process_end_group(void);
void process_end_group_at_exit(int32_t parent);

/* Before anything may have started processes of its own: from now on those that stayed in this
 * one's group die with the parent too, and it is the process that counts, not its thread.  Once in
 * a process. */
void process_watch_parent(int32_t parent);

#endif
