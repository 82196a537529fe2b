/* options.c - lines of a note that declare options, an empty line, and "key=value" texts for them,
 * a line each. */
#include "error.h"
#include "options.h"
#include "promise.h"
#include "registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { MOST_LINES = 64 };

/* --- what was declared ----------------------------------------------------------------------- */

static void check_declared(const struct schema *schema, const struct option *option)
{
	promise(schema_find(schema, option->key) == option);
	promise(strcmp(options_type_name(option->type), "") != 0);
	promise(option->fallback != NULL && option->range != NULL && option->help != NULL);
}

static void declare(struct schema *schema, const char *line)
{
	const size_t before = schema->n_options;
	par_error error = PAR_ERROR_INIT;
	int32_t status = schema_add(schema, line, &error);

	promise(schema->n_options == before + (status == PAR_OK));
	if (status == PAR_OK)
		check_declared(schema, &schema->options[before]);
	else
		promise_error(&error, status);
}

/* --- what is set ----------------------------------------------------------------------------- */

static int is_number(const struct option *option)
{
	return option->type != OPTION_TEXT;
}

static int is_text(const struct option *option)
{
	return option->type == OPTION_TEXT || option->type == OPTION_CHOICE;
}

static int has_range(const struct option *option)
{
	return option->type == OPTION_INT || option->type == OPTION_SIZE || option->type == OPTION_TIME;
}

/* "b" is the second of "a|b|c". */
static int is_at(const struct option *option, int64_t place, const char *word)
{
	const char *at = option->range;

	for (; place > 0 && at != NULL; place--)
		at = strchr(at, '|') == NULL ? NULL : strchr(at, '|') + 1;
	return at != NULL && strncmp(at, word, strlen(word)) == 0 &&
	       strchr("|", at[strlen(word)]) != NULL;
}

static void check_set(const struct par_options *options, const struct option *option,
                      const char *value)
{
	int64_t number = is_number(option) ? options_int(options, option->key) : 0;

	promise(options_is_set(options, option->key));
	if (is_text(option))
		promise(strcmp(options_text(options, option->key), value) == 0);
	if (has_range(option))
		promise(option->lowest <= number && number <= option->highest);
	if (option->type == OPTION_BOOL)
		promise(number == 0 || number == 1);
	if (option->type == OPTION_CHOICE)
		promise(is_at(option, number, value));
}

/* Nothing of it but its key and what its declaration says. */
static void check_secret(const struct option *option, const char *value, const par_error *error)
{
	char text[2400];

	par_error_text(error, 0, text, sizeof(text));
	if (strlen(value) >= 16 && strstr(option->range, value) == NULL &&
	    strstr(option->fallback, value) == NULL && strstr(option->key, value) == NULL)
		promise(strstr(text, value) == NULL);
}

static void set(const struct schema *schema, struct par_options *options, const char *setting)
{
	const char *equals = strchr(setting, '=');
	char *key = equals == NULL ? NULL : strndup(setting, (size_t)(equals - setting));
	const struct option *option = key == NULL ? NULL : schema_find(schema, key);
	par_error error = PAR_ERROR_INIT;
	int64_t before;
	int was_set;
	int32_t status;

	if (option == NULL) {
		promise(key == NULL || options_set(options, key, equals + 1, &error) == PAR_ECONFIG);
		free(key);
		return;
	}
	was_set = options_is_set(options, key);
	before = is_number(option) ? options_int(options, key) : 0;
	status = options_set(options, key, equals + 1, &error);
	if (status == PAR_OK) {
		check_set(options, option, equals + 1);
	} else {
		promise_error(&error, status);
		promise(options_is_set(options, key) == was_set);
		promise(!is_number(option) || options_int(options, key) == before);
		if (option->secret)
			check_secret(option, equals + 1, &error);
	}
	free(key);
}

/* As a call does, all of them at once. */
static int32_t set_all(const struct schema *schema, const char *const *settings)
{
	const struct provider provider = {.name = "fuzzed", .schema = schema};
	struct par_options *options;
	par_error error = PAR_ERROR_INIT;
	int32_t status = registry_check_options(&provider, settings, &error);

	if (status < 0) {
		promise_error(&error, status);
		return status;
	}
	status = registry_options(&provider, settings, &options, &error);
	if (status == PAR_OK)
		options_destroy(options);
	else
		promise_error(&error, status);
	return PAR_OK;
}

/* --- the input ------------------------------------------------------------------------------- */

static void take_settings(const struct schema *schema, char *rest)
{
	struct par_options *options = options_create(schema);
	const char *settings[MOST_LINES + 1];
	int n = 0;
	char *line;

	promise(options != NULL);
	while (n < MOST_LINES && (line = strsep(&rest, "\n")) != NULL)
		settings[n++] = line;
	settings[n] = NULL;
	for (int i = 0; i < n; i++)
		set(schema, options, settings[i]);
	options_destroy(options);
	/* Whatever is set first is right by itself if all of them are right together. */
	if (set_all(schema, settings) == PAR_OK) {
		settings[n / 2] = NULL;
		promise(set_all(schema, settings) == PAR_OK);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	char *text = malloc(n + 1), *rest = text, *line;
	struct schema schema = {0};

	promise(text != NULL);
	memcpy(text, bytes, n);
	text[n] = '\0';
	setenv("PARLOOP_CONF", "/dev/null", 1);
	par_set_log(promise_log, NULL);
	for (int i = 0; i < MOST_LINES && (line = strsep(&rest, "\n")) != NULL && line[0] != '\0'; i++)
		declare(&schema, line);
	if (rest != NULL)
		take_settings(&schema, rest);
	schema_finish(&schema);
	free(text);
	return 0;
}

#include "corpus.h"
