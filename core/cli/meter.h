/* meter.h - one line on a terminal about how far a call is.
 *
 * Drawn at most ten times a second, by whoever delivers results, and erased before
 * anything else is written to the terminal. */
#ifndef CLI_METER_H
#define CLI_METER_H

#include <stdint.h>

struct meter {
	int on, shown;
	int64_t started_ns, drawn_ns;
};

/* What it shows. */
struct meter_point {
	uint64_t taken, done, failed;
	int taken_all; /* taken is all that there is */
};

/* On stderr, if that is a terminal and the user wants it. */
void meter_start(struct meter *meter, int wanted);
void meter_update(struct meter *meter, const struct meter_point *point);
void meter_erase(struct meter *meter);

/* The line itself, without any escape sequence.  Returns buffer. */
char *meter_line(const struct meter_point *point, int64_t elapsed_ns, char *buffer, int size);

#endif
