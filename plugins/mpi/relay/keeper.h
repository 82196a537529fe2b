/* keeper.h - the process between the program and the launcher: nothing of a job outlives the
 * program, whoever is killed.
 *
 * It executes the launcher, and ends as that does.  When the program has died, or it is told to by
 * SIGTERM, it tells the launcher to end, and a moment later kills it.  What the launcher has
 * started on this machine and left behind becomes its own, and is killed. */
#ifndef KEEPER_H
#define KEEPER_H

/* Never returns: ends as the launcher did, with its status or of the same signal. */
void keeper_run(int parent, char **command) __attribute__((noreturn));

#endif
