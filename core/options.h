/* options.h - the options of a backend: their schema, as its note declares it, and
 * checked values. */
#ifndef CORE_OPTIONS_H
#define CORE_OPTIONS_H

#include <parloop/backend.h>

#include <stddef.h>

enum option_type { OPTION_INT, OPTION_SIZE, OPTION_TIME, OPTION_BOOL, OPTION_CHOICE, OPTION_TEXT };

struct option {
	char *key;
	char *fallback; /* the default, as written            */
	char *range;    /* "1..64", "a|b", "yes|no" or empty  */
	char *help;
	enum option_type type;
	int required, secret;
	int64_t value, lowest, highest; /* of the default; ns, bytes, place in choice */
};

struct schema {
	struct option *options;
	size_t n_options;
};

/* Parse one option line of a note ("int device 0 0..15 which card") and append it. */
int32_t schema_add(struct schema *schema, const char *line, par_error *error);
const struct option *schema_find(const struct schema *schema, const char *key);
void schema_finish(struct schema *schema);
const char *options_type_name(enum option_type type); /* "int", as in a note */

/* Values: born with the schema's defaults. */
struct par_options;
struct par_options *options_create(const struct schema *schema); /* NULL: no memory */
void options_destroy(struct par_options *options);               /* NULL is allowed */

/* Set one; an unknown key (with the nearest known), a bad type or range is
 * PAR_ECONFIG.  A secret's value is never repeated in the error. */
int32_t options_set(struct par_options *options, const char *key, const char *value,
                    par_error *error);

/* Are all that are required set?  Names the first that is not, and where to set it. */
int32_t options_complete(const struct par_options *options, const char *backend,
                         par_error *error);

/* As the host table's option_int, option_text, option_is_set. [any] */
int64_t options_int(const struct par_options *options, const char *key);
const char *options_text(const struct par_options *options, const char *key);
int32_t options_is_set(const struct par_options *options, const char *key);

/* "20ms" in ns, "64k" in bytes; 0, or -1 if it is not one. */
int options_parse_time(const char *text, int64_t *ns);
int options_parse_size(const char *text, int64_t *bytes);
int options_parse_bool(const char *text, int64_t *value); /* 0 or 1 */
int options_parse_int(const char *text, int64_t *value);

#endif
