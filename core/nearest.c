#include "nearest.h"

#include <string.h>

enum { LONGEST = 63 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

size_t nearest_distance(const char *a, const char *b)
{
	size_t rows[3][LONGEST + 1];
	size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);

	for (size_t j = 0; j <= m; j++)
		rows[0][j] = j;
	for (size_t i = 1; i <= n; i++) {
		size_t *now = rows[i % 3], *before = rows[(i + 2) % 3], *first = rows[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= m; j++) {
			now[j] = least(before[j - 1] + (a[i - 1] != b[j - 1]),
			               least(before[j], now[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], first[j - 2] + 1);
		}
	}
	return rows[n % 3][m];
}

/* A third of the letters may be wrong; beyond that a suggestion is noise. */
void nearest_offer(struct nearest *nearest, const char *known)
{
	size_t distance = nearest_distance(nearest->word, known);

	if (distance > 1 + strlen(known) / 3 || distance >= strlen(known))
		return;
	if (nearest->best != NULL && distance >= nearest->distance)
		return;
	nearest->best = known;
	nearest->distance = distance;
}
