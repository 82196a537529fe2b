/* choices.h - what the command line of parloop map asks for. */
#ifndef CLI_CHOICES_H
#define CLI_CHOICES_H

#include <parloop/parloop.h>

#include <stddef.h>

struct choices {
	par_settings settings;
	const char **options; /* KEY=VALUE, ends in NULL; ours */
	size_t n_options;
	const char *config;
	char *module, *task;  /* MODULE.so:TASK, split         */
	char **arguments;     /* after ":::"; NULL: read lines */
	char end;
	int verbosity, progress;
	int has_deadline;
};

enum { GO_ON = -1 };

/* GO_ON, or the status to end with; in any case to be finished.  argv is the caller's,
 * is changed, and is to stay. */
int choices_parse(struct choices *choices, int argc, char **argv);
void choices_finish(struct choices *choices);

#endif
