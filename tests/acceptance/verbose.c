/* verbose.c - what a call says of itself: B107. */
#include "acceptance.h"

#include <stdlib.h>

/* The place of a '|' in each line "... Done x out of y | ...": the same in all of them. */
static int lines_with_bar_at(const char *text, size_t *place)
{
	int n = 0;

	for (const char *at = text; (at = strstr(at, "Done ")) != NULL; n++) {
		size_t bar = strcspn(at, "|\n");

		EXPECT(at[bar] == '|', "no | in \"%.*s\"", (int)bar, at);
		if (n == 0)
			*place = bar;
		EXPECT_INT(*place, bar);
		at += bar;
	}
	return n;
}

BEHAVIOUR(107, EVERY_BACKEND, "\"Done x out of y |\" has columns of constant width over 100 tasks")
{
	uint64_t in[100] = {0}, out[100];
	size_t place = 0;
	int n;

	MUST(par_map(NULL, task("mix"), in, out, 100,
	             PAR_SETTINGS(.backend = backend, .n_jobs = PAR_SET(2), .verbose = PAR_SET(11),
	                          .batch_size = PAR_SET(1)), &error));
	n = lines_with_bar_at(printed(), &place);
	EXPECT_BETWEEN(1, 101, n);
	EXPECT_INT(strlen("Done 100 out of 100 "), place);
	EXPECT_CONTAINS("Done 100 out of 100 | elapsed:", printed());
	EXPECT_CONTAINS("finished\n", printed());
}
