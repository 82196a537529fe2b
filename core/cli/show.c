/* show.c - parloop show NAME: what a backend is and which options it takes. */
#include "cli.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

const char show_help[] =
	"usage: parloop show [--config FILE] NAME\n"
	"\n"
	"Show a backend and its options, for -o KEY=VALUE and for [backend NAME] in\n"
	"plugins.conf.  Nothing of it is run.  The value of a secret is never shown.\n"
	"nested-NAME is NAME at every level: loops inside its tasks run on it as well.\n"
	"\n"
	"      --config FILE  the plugins.conf to use\n"
	"  -h, --help         this text\n";

static const char *or_none(const char *text)
{
	return text != NULL && text[0] != '\0' ? text : "-";
}

static void print_option(const par_option_info *option)
{
	(void)printf("\n  %s\n", option->key);
	if (or_none(option->help)[0] != '-')
		(void)printf("    %s\n", option->help);
	(void)printf("    type %s", option->type);
	if (option->range != NULL && option->range[0] != '\0')
		(void)printf(", %s", option->range);
	if (option->required)
		(void)printf(", required");
	else
		(void)printf(", default %s", option->fallback != NULL && option->fallback[0] != '\0'
		                                     ? option->fallback
		                                     : "\"\"");
	(void)printf("%s\n", option->secret ? ", secret" : "");
	if (option->secret)
		return;
	if (option->value != NULL)
		(void)printf("    plugins.conf sets it to %s\n", option->value);
}

static void print_backend(const par_backend_info *info)
{
	(void)printf("%s - %s\n", info->name, or_none(info->summary));
	if (strncmp(info->name, "nested-", 7) == 0)
		(void)printf("  levels        all: loops inside its tasks run on it as well\n");
	(void)printf("  version       %s\n", or_none(info->version));
	(void)printf("  file          %s\n", info->file != NULL ? info->file : "built in");
	(void)printf("  ABI           %s\n", or_none(info->abi));
	(void)printf("  capabilities  %s\n", or_none(info->capabilities));
	(void)printf("\n%s\n", info->n_options > 0 ? "options:" : "It has no options.");
	for (uint32_t i = 0; i < info->n_options; i++)
		print_option(info->options[i]);
}

static int32_t show(void *user, const par_backend_info *info)
{
	int *status = user;

	print_backend(info);
	*status = finish_stdout();
	return 0;
}

static int show_one(const char *name)
{
	par_error error = PAR_ERROR_INIT;
	int status = STATUS_OK;

	if (par_show_backend(name, show, &status, &error) < 0)
		return report(&error);
	return status;
}

int show_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"config", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *config = NULL;
	char quoted[QUOTED_SIZE];
	int option, status;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":h", options, NULL)) != -1) {
		if (option == 'h')
			return print_help(show_help);
		if (option != 'c')
			return report_option("show", argv, option);
		config = optarg;
	}
	if (optind == argc)
		return report_usage("show", "no backend is named");
	if (optind + 1 < argc)
		return report_usage("show", "unexpected \"%s\"",
		                    quote(argv[optind + 1], strlen(argv[optind + 1]), 60, quoted));
	status = use_config(config);
	return status == STATUS_OK ? show_one(argv[optind]) : status;
}
