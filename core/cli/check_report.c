#include "check_report.h"

#include "cli.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *colour(enum verdict verdict)
{
	static const char *const colours[] = {"\033[32m", "\033[33m", "\033[2m",
	                                      "\033[31m", "\033[31m", "\033[31m"};

	return isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL ? colours[verdict] : "";
}

/* A line of somebody's: what is not to be printed is shown as a number. */
static void print_line(const char *before, const char *line, size_t length)
{
	(void)printf("%s", before);
	for (size_t i = 0, step; i < length; i += step) {
		step = printable_bytes(line + i, length - i);
		if (step > 0)
			(void)printf("%.*s", (int)step, line + i);
		else
			(void)printf("\\x%02x", (unsigned char)line[i]);
		step += step == 0;
	}
	(void)printf("\n");
}

static void print_output(const char *output, const char *before)
{
	for (; *output != '\0'; output += strspn(output, "\n")) {
		size_t length = strcspn(output, "\n");

		print_line(before, output, length);
		output += length;
	}
}

/* --- for people ------------------------------------------------------------------------------- */

static void begin_text(const char *file)
{
	(void)printf("%s\n", file);
}

static void show_text(const struct result *result)
{
	static const char *around;
	const struct finding *finding = &result->finding;
	const char *on = colour(finding->verdict);

	if (result->is_unseen)
		return;
	if (result->backend != NULL && around != result->backend)
		(void)printf("backend \"%s\"\n", result->backend);
	around = result->backend;
	(void)printf("  %s%-5s%s  %-3s  %s\n", on, verdict_name(finding->verdict), *on ? "\033[0m" : "",
	             finding->rule, result->title);
	if (finding->words[0] != '\0')
		print_line("              ", finding->words, strlen(finding->words));
	if (verdict_is_bad(finding->verdict))
		print_output(result->output, "              | ");
	(void)fflush(stdout);
}

static void end_text(const struct counts *counts)
{
	(void)printf("%d ok, %d warnings, %d skipped, %d broken\n", counts->of[VERDICT_OK],
	             counts->of[VERDICT_WARN], counts->of[VERDICT_SKIP],
	             counts_bad(counts));
}

/* --- for programs ----------------------------------------------------------------------------- */

static void begin_tap(const char *file)
{
	(void)printf("TAP version 13\n# %s\n", file);
}

static void show_tap(const struct result *result)
{
	const struct finding *finding = &result->finding;

	(void)printf("%s %d - %s %s%s%s", verdict_is_bad(finding->verdict) ? "not ok" : "ok", result->number,
	             finding->rule, result->backend != NULL ? result->backend : "",
	             result->backend != NULL ? ": " : "", result->title);
	if (finding->verdict == VERDICT_SKIP)
		print_line(" # SKIP ", finding->words, strlen(finding->words));
	else
		(void)printf("\n");
	if (finding->verdict != VERDICT_SKIP && finding->verdict != VERDICT_OK) {
		(void)printf("# %s", verdict_name(finding->verdict));
		print_line(": ", finding->words, strlen(finding->words));
	}
	if (verdict_is_bad(finding->verdict))
		print_output(result->output, "# | ");
	(void)fflush(stdout);
}

static void end_tap(const struct counts *counts)
{
	int n = 0;

	for (int i = 0; i <= VERDICT_HANG; i++)
		n += counts->of[i];
	(void)printf("1..%d\n", n);
}

static void print_json(const char *key, const char *text)
{
	size_t left = strlen(text);

	(void)printf("\"%s\": \"", key);
	for (size_t step; left > 0; text += step, left -= step) {
		step = printable_bytes(text, left);
		if (*text == '"' || *text == '\\')
			(void)printf("\\%c", *text);
		else if (step > 0)
			(void)printf("%.*s", (int)step, text);
		else
			(void)printf("\\u%04x", (unsigned char)*text);
		step += step == 0;
	}
	(void)printf("\"");
}

static void begin_json(const char *file)
{
	(void)printf("{");
	print_json("file", file);
	(void)printf(", ");
	print_json("parloop", par_version());
	(void)printf(", \"results\": [");
}

static void show_json(const struct result *result)
{
	(void)printf("%s\n  {", result->number > 1 ? "," : "");
	print_json("rule", result->finding.rule);
	(void)printf(", ");
	if (result->backend != NULL)
		print_json("backend", result->backend);
	else
		(void)printf("\"backend\": null");
	(void)printf(", ");
	print_json("title", result->title);
	(void)printf(", ");
	print_json("status", verdict_name(result->finding.verdict));
	(void)printf(", ");
	print_json("words", result->finding.words);
	(void)printf(", ");
	print_json("output", verdict_is_bad(result->finding.verdict) ? result->output : "");
	(void)printf("}");
}

static void end_json(const struct counts *counts)
{
	(void)printf("\n], \"counts\": {");
	for (int i = 0; i <= VERDICT_HANG; i++)
		(void)printf("%s\"%s\": %d", i > 0 ? ", " : "", verdict_name((enum verdict)i), counts->of[i]);
	(void)printf("}}\n");
}

const struct format format_text = {begin_text, show_text, end_text};
const struct format format_tap = {begin_tap, show_tap, end_tap};
const struct format format_json = {begin_json, show_json, end_json};
