#include "failure.h"

#include "cli.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* A kind that the task named: else it is that of its status. */
static const char *own_type(const par_outcome *outcome)
{
	const char *type = outcome->type;

	return type != NULL && strcmp(type, par_code_name(outcome->status)) != 0 ? type : "";
}

static void print_reason(const par_outcome *outcome)
{
	const char *message = outcome->message, *type = own_type(outcome);
	char quoted[QUOTED_SIZE];

	if (type[0] != '\0')
		(void)fprintf(stderr, "%s: ", quote(type, strlen(type), SIZE_MAX, quoted));
	if (message != NULL)
		(void)fputs(quote(message, strlen(message), SIZE_MAX, quoted), stderr);
	else if (outcome->status == PAR_EFAILED)
		(void)fprintf(stderr, "failed with code %" PRId32, outcome->code);
	else
		(void)fputs(par_code_name(outcome->status), stderr);
	if (outcome->attempts > 1)
		(void)fprintf(stderr, " (%" PRId32 " attempts)", outcome->attempts);
	(void)fputc('\n', stderr);
}

static void print_trace(const char *trace)
{
	char quoted[QUOTED_SIZE];
	size_t n;

	for (; trace != NULL && trace[0] != '\0'; trace += n + (trace[n] == '\n')) {
		n = strcspn(trace, "\n");
		(void)fprintf(stderr, "    %s\n", quote(trace, n, SIZE_MAX, quoted));
	}
}

void failure_show(const par_outcome *outcome)
{
	char quoted[QUOTED_SIZE];

	(void)fprintf(stderr, "parloop: task %" PRIu64 " (\"%s\"): ", outcome->index + 1,
	              quote(outcome->payload, outcome->payload_bytes, 60, quoted));
	print_reason(outcome);
	print_trace(outcome->trace);
}

void failure_show_error(const par_error *error, const void *input, size_t n)
{
	const par_outcome outcome = {
		.status = error->code,
		.index = (uint64_t)error->task,
		.code = error->task_code,
		.attempts = error->attempts,
		.message = error->reason,
		.payload = input,
		.payload_bytes = n,
		.type = error->type,
		.trace = error->trace,
	};

	failure_show(&outcome);
}
