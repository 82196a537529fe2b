/* meter.h - one line on a terminal about how far a call is.
 *
 * Drawn whenever the library tells the progress, and erased before anything else is
 * written to the terminal. */
#ifndef CLI_METER_H
#define CLI_METER_H

#include <parloop/parloop.h>

#include <stddef.h>

struct meter {
	int on, shown;
};

/* On stderr, if that is a terminal and the user wants it. */
void meter_start(struct meter *meter, int wanted);
void meter_draw(struct meter *meter, const par_progress *progress);
void meter_erase(struct meter *meter);

#endif
