#include "environment.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLOT "{slot}"
enum { SLOT_DIGITS = 12 };

/* One variable as it is written in the option. */
struct variable {
	const char *name, *value;
	size_t name_length, value_length;
};

/* The next of the text: 1; 0: there is none; -1: that is not one. */
static int next_variable(const char **at, struct variable *variable)
{
	const char *text = *at + strspn(*at, " \t");
	size_t length = strcspn(text, "= \t");

	if (*text == '\0')
		return 0;
	if (length == 0 || text[length] != '=' || isdigit((unsigned char)text[0]))
		return -1;
	variable->name = text;
	variable->name_length = length;
	text += length + 1;
	if (*text == '\'') {
		variable->value = ++text;
		variable->value_length = strcspn(text, "'");
		if (text[variable->value_length] == '\0')
			return -1;
		*at = text + variable->value_length + 1;
	} else {
		variable->value = text;
		variable->value_length = strcspn(text, " \t");
		*at = text + variable->value_length;
	}
	return 1;
}

int32_t environment_check(const char *variables, par_error *error)
{
	const char *at = variables != NULL ? variables : "";
	struct variable variable;
	int found;

	while ((found = next_variable(&at, &variable)) == 1)
		;
	if (found == 0)
		return PAR_OK;
	(void)par_fail(error, PAR_ECONFIG, "option env: \"%.100s\" is not NAME=value",
	               at + strspn(at, " \t"));
	par_remedy(error, "write NAME=value NAME='two words'; {slot} is the worker's number");
	return PAR_ECONFIG;
}

static size_t name_length(const char *entry)
{
	return strcspn(entry, "=");
}

static int has_name(const char *entry, const char *name, size_t length)
{
	return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

/* Put it in place of one of that name, or at the end. */
static void put(char **env, size_t *n, char *entry)
{
	size_t length = name_length(entry);

	for (size_t i = 0; i < *n; i++) {
		if (!has_name(env[i], entry, length))
			continue;
		env[i] = entry;
		return;
	}
	env[(*n)++] = entry;
}

static char *put_value(char *to, const struct variable *variable, int slot)
{
	const char *at = variable->value, *end = at + variable->value_length;

	while (at < end) {
		if ((size_t)(end - at) >= strlen(SLOT) && strncmp(at, SLOT, strlen(SLOT)) == 0) {
			to += snprintf(to, SLOT_DIGITS, "%d", slot);
			at += strlen(SLOT);
		} else {
			*to++ = *at++;
		}
	}
	*to++ = '\0';
	return to;
}

static void put_variables(char **env, size_t *n, char *room, const char *variables, int slot)
{
	struct variable variable;

	while (next_variable(&variables, &variable) == 1) {
		char *entry = room;

		memcpy(room, variable.name, variable.name_length + 1);
		room = put_value(room + variable.name_length + 1, &variable, slot);
		put(env, n, entry);
	}
}

static size_t count(char *const *entries)
{
	size_t n = 0;

	while (entries != NULL && entries[n] != NULL)
		n++;
	return n;
}

char **environment_make(char *const *base, const char *variables, int slot, char *const *lines)
{
	const char *text = variables != NULL ? variables : "", *at = text;
	size_t n_base = count(base), n_lines = count(lines), n_variables = 0, n_slots = 0, n = 0;
	size_t n_entries;
	struct variable variable;
	char **env;

	while (next_variable(&at, &variable) == 1)
		n_variables++;
	for (at = strstr(text, SLOT); at != NULL; at = strstr(at + 1, SLOT))
		n_slots++;
	n_entries = n_base + n_lines + n_variables + 1;
	env = malloc(n_entries * sizeof(*env) + strlen(text) + n_variables + n_slots * SLOT_DIGITS);
	if (env == NULL)
		return NULL;
	for (; n < n_base; n++)
		env[n] = base[n];
	put_variables(env, &n, (char *)(env + n_entries), text, slot);
	for (size_t i = 0; i < n_lines; i++)
		put(env, &n, lines[i]);
	env[n] = NULL;
	return env;
}
