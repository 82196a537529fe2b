#include "settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT "{slot}"

int settings_next_variable(const char **at, struct variable *variable)
{
	const char *text = *at + strspn(*at, " \t");
	size_t length = strcspn(text, "= \t");

	*at = text;
	if (*text == '\0')
		return 0;
	if (length == 0 || text[length] != '=' || isdigit((unsigned char)text[0]))
		return -1;
	variable->name = text;
	variable->name_length = (int)length;
	text += length + 1;
	if (*text == '\'') {
		variable->value = ++text;
		variable->value_length = (int)strcspn(text, "'");
		if (text[variable->value_length] == '\0')
			return -1;
		*at = text + variable->value_length + 1;
	} else {
		variable->value = text;
		variable->value_length = (int)strcspn(text, " \t");
		*at = text + variable->value_length;
	}
	return 1;
}

char *settings_variable(const struct variable *variable, int slot)
{
	const char *at = variable->value, *end = at + variable->value_length;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	if (out == NULL)
		return NULL;
	(void)fprintf(out, "%.*s=", variable->name_length, variable->name);
	while (at < end) {
		if (slot >= 0 && (size_t)(end - at) >= strlen(SLOT) && strncmp(at, SLOT, strlen(SLOT)) == 0) {
			(void)fprintf(out, "%d", slot);
			at += strlen(SLOT);
		} else {
			(void)fputc(*at++, out);
		}
	}
	return fclose(out) == 0 ? text : NULL;
}

static int32_t check_variables(const char *variables, par_error *error)
{
	struct variable variable;
	int found;

	while ((found = settings_next_variable(&variables, &variable)) == 1)
		;
	if (found == 0)
		return PAR_OK;
	(void)par_fail(error, PAR_ECONFIG, "option env: \"%.100s\" is not NAME=value", variables);
	par_remedy(error, "write NAME=value NAME='two words'; {slot} is the worker's number");
	return PAR_ECONFIG;
}

int32_t settings_read(struct settings *settings, const par_host *host, const par_options *options,
                      par_error *error)
{
	settings->mpi = (enum mpi)host->option_int(options, "mpi");
	settings->launcher = host->option_text(options, "launcher");
	settings->relay = host->option_text(options, "relay");
	settings->hosts = host->option_text(options, "hosts");
	settings->hostfile = host->option_text(options, "hostfile");
	settings->address = host->option_text(options, "address");
	settings->variables = host->option_text(options, "env");
	settings->captures = host->option_int(options, "output") != 0;
	settings->start_timeout_ns = host->option_int(options, "start_timeout");
	settings->idle_timeout_ns = host->option_int(options, "idle_timeout");
	settings->abort_grace_ns = host->option_int(options, "abort_grace");
	if (*settings->hosts != '\0' && *settings->hostfile != '\0')
		return par_fail(error, PAR_ECONFIG, "options hosts and hostfile cannot both be set");
	return check_variables(settings->variables, error);
}

/* --- slots ------------------------------------------------------------------------------------- */

/* "host", "host:2", as both MPIs write it, or "host slots=2", as Open MPI does in a file. */
static int32_t slots_of(const char *text)
{
	const char *slots = strstr(text, "slots=");
	const char *colon = strchr(text, ':');
	int n = slots != NULL ? atoi(slots + 6) : colon != NULL ? atoi(colon + 1) : 1;

	return n > 0 ? n : 1;
}

static int32_t slots_of_list(const char *hosts)
{
	char *copy = strdup(hosts), *save = NULL;
	int32_t n = 0;

	for (char *at = copy != NULL ? strtok_r(copy, ", ", &save) : NULL; at != NULL;
	     at = strtok_r(NULL, ", ", &save))
		n += slots_of(at);
	free(copy);
	return n;
}

/* One that cannot be read is for the launcher to complain about. */
static int32_t slots_of_file(const char *path)
{
	FILE *file = fopen(path, "re");
	char line[1024];
	int32_t n = 0;

	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		line[strcspn(line, "#\n")] = '\0';
		if (line[strspn(line, " \t")] != '\0')
			n += slots_of(line);
	}
	fclose(file);
	return n;
}

/* Of Slurm, LSF and PBS; Open MPI's and MPICH's launchers read the rest of these themselves. */
static int32_t slots_of_allocation(void)
{
	static const char *const counts[] = {"SLURM_NTASKS", "LSB_DJOB_NUMPROC", "PBS_NP"};
	const char *file = getenv("PBS_NODEFILE");

	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		const char *text = getenv(counts[i]);

		if (text != NULL && atoi(text) > 0)
			return atoi(text);
	}
	return file != NULL ? slots_of_file(file) : 0;
}

int32_t settings_slots(const struct settings *settings)
{
	if (*settings->hosts != '\0')
		return slots_of_list(settings->hosts);
	if (*settings->hostfile != '\0')
		return slots_of_file(settings->hostfile);
	return slots_of_allocation();
}

int settings_has_others(const struct settings *settings)
{
	return *settings->hosts != '\0' || *settings->hostfile != '\0' || *settings->address != '\0' ||
	       *settings->launcher != '\0' || slots_of_allocation() > 0;
}
