#include "options.h"

#include "error.h"
#include "log.h"
#include "nearest.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const type_names[] = {"int", "size", "time", "bool", "choice", "text"};

struct value {
	char *text; /* of text options, and as written of the others; NULL: the default */
	int64_t value;
	int set;
};

struct par_options {
	const struct schema *schema;
	struct value values[]; /* one for each option of the schema, in its order */
};

/* --- numbers with units -------------------------------------------------------------------- */

int options_parse_int(const char *text, int64_t *value)
{
	char *end;
	long long number;

	if (!isdigit((unsigned char)text[text[0] == '-' || text[0] == '+']))
		return -1;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0 || *end != '\0')
		return -1;
	*value = number;
	return 0;
}

int options_parse_size(const char *text, int64_t *bytes)
{
	static const char units[] = "kmgt";
	const char *unit;
	char *end;
	long long number;
	int shift;

	if (!isdigit((unsigned char)text[0]))
		return -1;
	errno = 0;
	number = strtoll(text, &end, 10);
	if (errno != 0)
		return -1;
	if (*end == '\0') {
		*bytes = number;
		return 0;
	}
	unit = strchr(units, tolower((unsigned char)*end));
	if (unit == NULL || (end[1] != '\0' && strcmp(end + 1, "iB") != 0))
		return -1;
	shift = 10 * (int)(unit - units + 1);
	if (number > INT64_MAX >> shift)
		return -1;
	*bytes = number << shift;
	return 0;
}

static int64_t time_unit(const char *text)
{
	/* clang-format off */
	static const struct { const char *name; int64_t ns; } units[] = {
		{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000},
		{"min", 60 * INT64_C(1000000000)}, {"h", 3600 * INT64_C(1000000000)},
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++)
		if (strcmp(text, units[i].name) == 0)
			return units[i].ns;
	return 0;
}

/* The part after the point, of one unit; *text is moved behind it.  Digits that are
 * too small to count are read and dropped. */
static int64_t parse_fraction(const char **text, int64_t unit)
{
	int64_t sum = 0;

	for (; isdigit((unsigned char)**text); (*text)++) {
		unit /= 10;
		sum += (**text - '0') * unit;
	}
	return sum;
}

/* No floating point, so that a time reads back as it was written. */
int options_parse_time(const char *text, int64_t *ns)
{
	const char *digits = text, *name;
	int64_t whole = 0, unit, fraction = 0;

	if (strcmp(text, "0") == 0) {
		*ns = 0;
		return 0;
	}
	name = text + strspn(text, "0123456789.");
	unit = time_unit(name);
	if (unit == 0 || !isdigit((unsigned char)text[0]))
		return -1;
	for (; isdigit((unsigned char)*digits); digits++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *digits - '0', &whole))
			return -1;
	if (*digits == '.') {
		digits++;
		fraction = parse_fraction(&digits, unit);
	}
	if (digits != name || name[-1] == '.')
		return -1;
	if (__builtin_mul_overflow(whole, unit, &whole) ||
	    __builtin_add_overflow(whole, fraction, &whole))
		return -1;
	*ns = whole;
	return 0;
}

int options_parse_bool(const char *text, int64_t *value)
{
	static const char *const words[] = {"no", "yes", "off", "on", "false", "true", "0", "1"};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(text, words[i]) == 0) {
			*value = (int64_t)(i % 2);
			return 0;
		}
	}
	return -1;
}

/* The place of text in "a|b|c". */
static int parse_choice(const char *all, const char *text, int64_t *value)
{
	size_t length = strlen(text);
	int64_t place = 0;

	if (length == 0 || strchr(text, '|') != NULL)
		return -1;
	for (const char *at = all; at != NULL; place++) {
		if (strncmp(at, text, length) == 0 && (at[length] == '|' || at[length] == '\0')) {
			*value = place;
			return 0;
		}
		at = strchr(at, '|');
		at = at == NULL ? NULL : at + 1;
	}
	return -1;
}

static int parse_number(enum option_type type, const char *text, int64_t *value)
{
	switch (type) {
	case OPTION_INT:
		return options_parse_int(text, value);
	case OPTION_SIZE:
		return options_parse_size(text, value);
	case OPTION_TIME:
		return options_parse_time(text, value);
	default:
		return -1;
	}
}

static int has_bounds(enum option_type type)
{
	return type == OPTION_INT || type == OPTION_SIZE || type == OPTION_TIME;
}

/* 0, -1: not a value of that type, -2: out of range. */
static int parse_value(const struct option *option, const char *text, int64_t *value)
{
	*value = 0;
	if (option->type == OPTION_TEXT)
		return 0;
	if (option->type == OPTION_BOOL)
		return options_parse_bool(text, value);
	if (option->type == OPTION_CHOICE)
		return parse_choice(option->range, text, value);
	if (parse_number(option->type, text, value) < 0)
		return -1;
	return *value < option->lowest || *value > option->highest ? -2 : 0;
}

/* --- the schema ---------------------------------------------------------------------------- */

/* Cut the next word off a line: NULL at its end. */
static char *next_word(char **line)
{
	char *word;

	*line += strspn(*line, " \t");
	if (**line == '\0')
		return NULL;
	word = *line;
	*line += strcspn(*line, " \t");
	if (**line != '\0')
		*(*line)++ = '\0';
	return word;
}

/* A text's default stands in quotes, and may have spaces. */
static char *next_quoted(char **line)
{
	char *text, *end;

	*line += strspn(*line, " \t");
	text = *line + 1;
	if (**line != '"')
		return NULL;
	end = strchr(text, '"');
	if (end == NULL)
		return NULL;
	*end = '\0';
	*line = end + 1;
	return text;
}

static int32_t bad_line(par_error *error, const char *line, const char *why)
{
	error_set(error, PAR_EUNAVAIL, "option line \"%.100s\" of the note", line);
	error_reason(error, "%s", why);
	return PAR_EUNAVAIL;
}

static int find_type(const char *word)
{
	for (int i = 0; i < (int)(sizeof(type_names) / sizeof(type_names[0])); i++)
		if (strcmp(word, type_names[i]) == 0)
			return i;
	return -1;
}

static int is_key(const char *key)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789_-";
	size_t length = strlen(key);

	return length <= 32 && islower((unsigned char)key[0]) && strspn(key, letters) == length;
}

/* "lo..hi" of numbers. */
static int parse_bounds(struct option *option, const char *range)
{
	const char *dots = strstr(range, "..");
	char low[64];

	if (dots == NULL || (size_t)(dots - range) >= sizeof(low))
		return -1;
	memcpy(low, range, (size_t)(dots - range));
	low[dots - range] = '\0';
	if (parse_number(option->type, low, &option->lowest) < 0 ||
	    parse_number(option->type, dots + 2, &option->highest) < 0)
		return -1;
	return option->lowest <= option->highest ? 0 : -1;
}

/* The words of a line, still pointing into it. */
struct words {
	char *key, *fallback, *range, *help;
};

static const char *split_line(struct option *option, char *line, struct words *words)
{
	char *word = next_word(&line);
	int type = word == NULL ? -1 : find_type(word);

	if (type < 0)
		return "begins with no type of option";
	option->type = (enum option_type)type;
	while ((word = next_word(&line)) != NULL) {
		if (strcmp(word, "required") == 0)
			option->required = 1;
		else if (strcmp(word, "secret") == 0)
			option->secret = 1;
		else
			break;
	}
	if (word == NULL || !is_key(word))
		return "its key is not of the form [a-z][a-z0-9_-]*, at most 32 letters";
	if (strcmp(word, "path") == 0)
		return "\"path\" is a key of plugins.conf itself";
	words->key = word;
	words->fallback = type == OPTION_TEXT ? next_quoted(&line) : next_word(&line);
	if (words->fallback == NULL)
		return "has no default";
	words->range = "";
	if (has_bounds(option->type) || type == OPTION_CHOICE)
		words->range = next_word(&line);
	else if (type == OPTION_BOOL)
		words->range = "yes|no";
	if (words->range == NULL)
		return "has no range";
	words->help = line + strspn(line, " \t");
	return NULL;
}

/* A required option's default is never used, and so need not be a value. */
static const char *check_words(struct option *option, const struct words *words)
{
	if (has_bounds(option->type) && parse_bounds(option, words->range) < 0)
		return "its range is not lowest..highest";
	option->range = words->range;
	if (parse_value(option, words->fallback, &option->value) < 0 && !option->required)
		return "its default is not a value of its type and range";
	return NULL;
}

static void option_finish(struct option *option)
{
	free(option->key);
	free(option->fallback);
	free(option->range);
	free(option->help);
}

static int32_t append_option(struct schema *schema, struct option option,
                             const struct words *words, par_error *error)
{
	struct option *grown;

	option.key = strdup(words->key);
	option.fallback = strdup(words->fallback);
	option.range = strdup(words->range);
	option.help = strdup(words->help);
	grown = reallocarray(schema->options, schema->n_options + 1, sizeof(*grown));
	if (grown != NULL)
		schema->options = grown;
	if (grown == NULL || option.key == NULL || option.fallback == NULL ||
	    option.range == NULL || option.help == NULL) {
		option_finish(&option);
		return error_memory(error, "reading an option of a note");
	}
	schema->options[schema->n_options++] = option;
	return PAR_OK;
}

int32_t schema_add(struct schema *schema, const char *line, par_error *error)
{
	struct option option = {0};
	struct words words = {0};
	char *copy = strdup(line);
	const char *why;
	int32_t status;

	if (copy == NULL)
		return error_memory(error, "reading an option of a note");
	why = split_line(&option, copy, &words);
	if (why == NULL)
		why = check_words(&option, &words);
	if (why == NULL && schema_find(schema, words.key) != NULL)
		why = "the key was declared before";
	if (why != NULL)
		status = bad_line(error, line, why);
	else
		status = append_option(schema, option, &words, error);
	free(copy);
	return status;
}

const struct option *schema_find(const struct schema *schema, const char *key)
{
	for (size_t i = 0; i < schema->n_options; i++)
		if (strcmp(schema->options[i].key, key) == 0)
			return &schema->options[i];
	return NULL;
}

void schema_finish(struct schema *schema)
{
	for (size_t i = 0; i < schema->n_options; i++)
		option_finish(&schema->options[i]);
	free(schema->options);
	*schema = (struct schema){0};
}

const char *options_type_name(enum option_type type)
{
	return type_names[type];
}

/* --- values -------------------------------------------------------------------------------- */

struct par_options *options_create(const struct schema *schema)
{
	struct par_options *options;

	options = calloc(1, sizeof(*options) + schema->n_options * sizeof(options->values[0]));
	if (options == NULL)
		return NULL;
	options->schema = schema;
	for (size_t i = 0; i < schema->n_options; i++)
		options->values[i].value = schema->options[i].value;
	return options;
}

/* Secrets are wiped: they should not be found in freed memory, or in a core file. */
static void forget_text(char *text)
{
	if (text == NULL)
		return;
	explicit_bzero(text, strlen(text));
	free(text);
}

void options_destroy(struct par_options *options)
{
	if (options == NULL)
		return;
	for (size_t i = 0; i < options->schema->n_options; i++)
		forget_text(options->values[i].text);
	free(options);
}

static int32_t unknown_key(const struct schema *schema, const char *key, par_error *error)
{
	struct nearest nearest = {.word = key};
	char shown[80], known[200] = "";

	for (size_t i = 0; i < schema->n_options; i++) {
		size_t used = strlen(known);

		nearest_offer(&nearest, schema->options[i].key);
		(void)snprintf(known + used, sizeof(known) - used, "%s%s", i > 0 ? ", " : "",
		               schema->options[i].key);
	}
	error_set(error, PAR_ECONFIG, "unknown option \"%s\"",
	          error_escape(key, strlen(key), shown, sizeof(shown)));
	if (schema->n_options == 0)
		error_reason(error, "this backend has no options");
	else
		error_reason(error, "this backend has %s", known);
	if (nearest.best != NULL)
		error_remedy(error, "did you mean \"%s\"?", nearest.best);
	return PAR_ECONFIG;
}

static const char *wanted(enum option_type type)
{
	switch (type) {
	case OPTION_INT:
		return "a whole number";
	case OPTION_SIZE:
		return "a size, such as 512, 64k or 1M";
	case OPTION_TIME:
		return "a time with its unit, such as 500us, 20ms, 1.5s or 2min";
	case OPTION_BOOL:
		return "yes or no";
	default:
		return "one of its choices";
	}
}

static int32_t bad_value(const struct option *option, const char *text, int out_of_range,
                         par_error *error)
{
	char shown[100] = "the value (secret, not shown)";

	if (!option->secret)
		error_escape(text, strlen(text), shown, sizeof(shown));
	error_set(error, PAR_ECONFIG, "option \"%s\"", option->key);
	if (out_of_range || option->type == OPTION_CHOICE)
		error_reason(error, "%s is not in %s; the default is %s", shown, option->range,
		             option->fallback);
	else
		error_reason(error, "%s is not %s; the default is %s", shown, wanted(option->type),
		             option->fallback);
	if (option->required)
		error_remedy(error, "set it to %s",
			     has_bounds(option->type) ? option->range : wanted(option->type));
	else if (strpbrk(text, ";#") != NULL && option->type != OPTION_TEXT)
		error_remedy(error, "a comment needs a line of its own");
	return PAR_ECONFIG;
}

int32_t options_set(struct par_options *options, const char *key, const char *value,
                    par_error *error)
{
	const struct option *option = schema_find(options->schema, key);
	struct value *slot;
	int64_t number;
	char *copy;
	int status;

	if (option == NULL)
		return unknown_key(options->schema, key, error);
	status = parse_value(option, value, &number);
	if (status < 0)
		return bad_value(option, value, status == -2, error);
	copy = strdup(value);
	if (copy == NULL)
		return error_memory(error, "setting an option");
	slot = &options->values[option - options->schema->options];
	forget_text(slot->text);
	*slot = (struct value){.text = copy, .value = number, .set = 1};
	return PAR_OK;
}

int32_t options_complete(const struct par_options *options, const char *backend,
                         par_error *error)
{
	for (size_t i = 0; i < options->schema->n_options; i++) {
		const struct option *option = &options->schema->options[i];

		if (!option->required || options->values[i].set)
			continue;
		error_set(error, PAR_ECONFIG, "option \"%s\" of backend \"%s\" is required",
		          option->key, backend);
		error_reason(error, "nobody set it (%s%s%s)", type_names[option->type],
		             option->help[0] ? ": " : "", option->help);
		error_remedy(error, "write %s = ... under [backend %s] in plugins.conf, or pass "
				    "%s=...",
		             option->key, backend, option->key);
		return PAR_ECONFIG;
	}
	return PAR_OK;
}

/* The option of that key, if the plugin may read it so; else a bug of the plugin's. */
static const struct option *find_readable(const struct par_options *options, const char *key,
                                          int as_text)
{
	const struct option *option = schema_find(options->schema, key);

	if (option == NULL) {
		log_line(LOG_ERROR, "a backend reads option \"%.40s\", which its note does not "
				    "declare",
		         key);
		return NULL;
	}
	if (as_text ? option->type == OPTION_TEXT || option->type == OPTION_CHOICE
	            : option->type != OPTION_TEXT)
		return option;
	log_line(LOG_ERROR, "a backend reads option \"%s\" as %s, but its note declares it as %s",
	         key, as_text ? "text" : "a number", type_names[option->type]);
	return NULL;
}

int64_t options_int(const struct par_options *options, const char *key)
{
	const struct option *option = find_readable(options, key, 0);

	return option == NULL ? 0 : options->values[option - options->schema->options].value;
}

const char *options_text(const struct par_options *options, const char *key)
{
	const struct option *option = find_readable(options, key, 1);
	const struct value *slot;

	if (option == NULL)
		return "";
	slot = &options->values[option - options->schema->options];
	return slot->text != NULL ? slot->text : option->fallback;
}

int32_t options_is_set(const struct par_options *options, const char *key)
{
	const struct option *option = schema_find(options->schema, key);

	if (option != NULL)
		return options->values[option - options->schema->options].set;
	log_line(LOG_ERROR, "a backend asks for option \"%.40s\", which its note does not declare",
	         key);
	return 0;
}
