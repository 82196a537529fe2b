/* nearest.h - "did you mean ...?": the known word that a mistyped one is closest to. */
#ifndef CORE_NEAREST_H
#define CORE_NEAREST_H

#include <stddef.h>

/* Born as {.word = what was typed}; best is NULL until something close was offered. */
struct nearest {
	const char *word;
	const char *best;
	size_t distance;
};

/* Consider a known word; the caller keeps it alive as long as best is used. */
void nearest_offer(struct nearest *nearest, const char *known);

/* How many letters must be added, dropped, changed or swapped to make a of b; words
 * beyond 63 letters are only compared up to there. */
size_t nearest_distance(const char *a, const char *b);

#endif
