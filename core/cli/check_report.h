/* check_report.h - how parloop check says what it found: to people, and to programs. */
#ifndef CLI_CHECK_REPORT_H
#define CLI_CHECK_REPORT_H

#include "../check/run.h"

struct result {
	int number, is_unseen; /* skipped, because a rule is broken without which none can be seen */
	const char *backend; /* NULL: it is about the file */
	const char *title;
	struct finding finding;
	char output[RUN_OUTPUT];
};

/* For each verdict, how many; by number of the verdict. */
struct counts {
	int of[VERDICT_HANG + 1];
};

static inline int counts_bad(const struct counts *counts)
{
	return counts->of[VERDICT_FAIL] + counts->of[VERDICT_CRASH] + counts->of[VERDICT_HANG];
}

struct format {
	void (*begin)(const char *file);
	void (*show)(const struct result *result);
	void (*end)(const struct counts *counts);
};

extern const struct format format_text, format_tap, format_json;

#endif
