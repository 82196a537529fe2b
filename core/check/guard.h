/* guard.h - the checking host: it stands between the core and a plugin.
 *
 * To the core it is a backend of the program's, with the plugin's note; to the plugin it is the
 * core, of which it hands everything on.  So the plugin is driven by the real core, on real loops
 * and with real worker processes, and each call is looked at from both sides: who calls it on
 * which thread, when, with what, and what is answered. */
#ifndef CHECK_GUARD_H
#define CHECK_GUARD_H

#include "plugin.h"

#include <parloop/backend.h>

#include <pthread.h>
#include <stdatomic.h>

/* What a test wants to be otherwise; zero: nothing. */
struct guard_plan {
	int terminates_twice;
	int configure_fails; /* for the core it has, whatever the plugin answered */
	const char *lacks;   /* a service that the core has not; "": it has none  */
};
extern struct guard_plan guard_plan;

/* What was seen so far. */
struct guard_seen {
	_Atomic int creates, configures, submits, runs, dones, kills, aborts, destroys;
	_Atomic int batch_sizes;         /* compute_batch_size() */
	const par_host *_Atomic factory; /* the host that factories see */
	struct guard *_Atomic last;      /* the instance that was made last, while it lives */
};
extern struct guard_seen guard_seen;

/* Offer the plugin's backend to the core, under its own name. */
int32_t guard_register(struct plugin *plugin, const char *backend, par_error *error);

/* Ask the instance that was made last, which lives, on this thread. */
int32_t guard_effective_n_jobs(int32_t n_jobs);
const void *guard_extension(const char *id);

/* Has the plugin's table the operation kill?  Once the backend was used. */
int guard_has_kill(void);

/* How often something went to the plugin or came from it. */
long guard_moves(void);

/* Nothing has moved for so long: say what is being waited for. */
__attribute__((noreturn)) void guard_explain_hang(int limit_s);

/* The typical time that each of its [loop] functions took, of those called three times or more:
 * calls fn with each. */
void guard_each_pace(void (*fn)(const char *function, double typical_ms));

/* --- for guard_services.c ------------------------------------------------------------------ */

/* What the plugin has in place of an instance's host, and the core's for that. */
struct guard;
struct guard *guard_of(const par_host *host);
const par_host *guard_core(const struct guard *guard);

/* Is this the loop's thread?  Else rule T1 is broken: that is where function may be called. */
void guard_on_loop(const struct guard *guard, const char *function);

/* The batch must be out; function has it. */
void guard_is_out(struct guard *guard, par_batch batch, const char *function);

/* The service of that id as the plugin is to see it, and what knows nothing of hosts as it is.
 * NULL: there is none, or none that can be stood in front of. */
const void *guard_service(const par_host *core, const char *id);

#endif
