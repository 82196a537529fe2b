/* signals.h - SIGINT and SIGTERM end a call, SIGPIPE does not end the program.
 *
 * There is one set of these per program.  The first SIGINT or SIGTERM cancels the call
 * that is watched; the second ends the program at once. */
#ifndef CLI_SIGNALS_H
#define CLI_SIGNALS_H

#include <parloop/parloop.h>

/* Install the handlers; a SIGINT that was ignored when the program began (nohup, a
 * job in the background) stays so.  0, or -1 with errno. */
int signals_install(void);

/* Whose calls to cancel; NULL: nobody's. */
void signals_watch(par_parallel *parallel);

/* The first signal that came, or 0. */
int signals_caught(void);

#endif
