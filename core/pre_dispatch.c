#include "pre_dispatch.h"

#include "error.h"

#include <locale.h>
#include <dlfcn.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 30, LARGEST = 1000000 };

enum fault { SOUND, NO_ARITHMETIC, BY_ZERO, TOO_LARGE };

/* An int and a float differ where Python says so: 7 // 2 and 2 ** -1. */
struct value {
	int is_float;
	int64_t i;
	double f;
};

/* Recursive descent; the first fault stops it.  The depth is bounded because the
 * length is. */
struct parser {
	const char *at;
	enum fault fault;
};

static const struct value nothing = {.i = 0};

static struct value broken(struct parser *parser, enum fault fault)
{
	if (parser->fault == SOUND)
		parser->fault = fault;
	return nothing;
}

static double as_float(struct value value)
{
	return value.is_float ? value.f : (double)value.i;
}

/* Every value on the way is checked, so that ints never overflow. */
static struct value limited(struct parser *parser, struct value value)
{
	if (isnan(as_float(value)))
		return broken(parser, NO_ARITHMETIC);
	if (fabs(as_float(value)) > LARGEST)
		return broken(parser, TOO_LARGE);
	return value;
}

static struct value an_int(struct parser *parser, int64_t i)
{
	return limited(parser, (struct value){.i = i});
}

static struct value a_float(struct parser *parser, double f)
{
	return limited(parser, (struct value){.is_float = 1, .f = f});
}

static struct value multiply(struct parser *parser, struct value a, struct value b)
{
	if (a.is_float || b.is_float)
		return a_float(parser, as_float(a) * as_float(b));
	return an_int(parser, a.i * b.i);
}

static struct value add(struct parser *parser, struct value a, struct value b, int sign)
{
	if (a.is_float || b.is_float)
		return a_float(parser, as_float(a) + sign * as_float(b));
	return an_int(parser, a.i + sign * b.i);
}

/* Python's // rounds down and its % has the divisor's sign, for both types. */
static int64_t int_floor(int64_t a, int64_t b)
{
	return a / b - (a % b != 0 && (a < 0) != (b < 0));
}

/* fmod and pow are wanted so seldom that no program should load libm for them at its
 * start.  Without it the result is not a number, and is refused as such. */
static double from_libm(const char *name, double a, double b)
{
	void *libm = dlopen("libm.so.6", RTLD_NOW | RTLD_LOCAL);
	double (*function)(double, double) = NULL;
	double result;

	if (libm == NULL)
		return NAN;
	*(void **)&function = dlsym(libm, name);
	result = function != NULL ? function(a, b) : (double)NAN;
	dlclose(libm);
	return result;
}

static double float_modulo(double a, double b)
{
	double rest = from_libm("fmod", a, b);

	return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}

static struct value divide(struct parser *parser, const char *by, struct value a, struct value b)
{
	if (as_float(b) == 0)
		return broken(parser, BY_ZERO);
	if (strcmp(by, "/") == 0)
		return a_float(parser, as_float(a) / as_float(b));
	if (a.is_float || b.is_float) {
		double rest = float_modulo(as_float(a), as_float(b));

		if (by[0] == '%')
			return a_float(parser, rest);
		return a_float(parser, rint((as_float(a) - rest) / as_float(b)));
	}
	if (by[0] == '%')
		return an_int(parser, a.i - int_floor(a.i, b.i) * b.i);
	return an_int(parser, int_floor(a.i, b.i));
}

static struct value int_power(struct parser *parser, int64_t base, int64_t exponent)
{
	int64_t result = 1;

	if (base == 0 || base == 1)
		return an_int(parser, exponent == 0 ? 1 : base);
	if (base == -1)
		return an_int(parser, exponent % 2 == 0 ? 1 : -1);
	/* Ends after twenty doublings, however large the exponent. */
	for (; exponent > 0 && llabs(result) <= LARGEST; exponent--)
		result *= base;
	return an_int(parser, result);
}

static struct value power(struct parser *parser, struct value base, struct value exponent)
{
	if (as_float(base) == 0 && as_float(exponent) < 0)
		return broken(parser, BY_ZERO);
	if (!base.is_float && !exponent.is_float && exponent.i >= 0)
		return int_power(parser, base.i, exponent.i);
	/* A root of a negative number is complex to Python and NaN to C; neither counts
	 * tasks. */
	return a_float(parser, from_libm("pow", as_float(base), as_float(exponent)));
}

static void skip_space(struct parser *parser)
{
	parser->at += strspn(parser->at, " \t");
}

/* Take a sign of one or two characters, if it is next and no longer one is. */
static int takes(struct parser *parser, const char *sign)
{
	size_t length = strlen(sign);

	skip_space(parser);
	if (strncmp(parser->at, sign, length) != 0)
		return 0;
	if (length == 1 && strchr("*/", sign[0]) != NULL && parser->at[1] == sign[0])
		return 0;
	parser->at += length;
	return 1;
}

/* The decimal point is a point, whatever the program's locale. */
static double c_strtod(const char *text)
{
	locale_t c = newlocale(LC_ALL_MASK, "C", (locale_t)0);
	double value;

	if (c == (locale_t)0)
		return NAN;
	value = strtod_l(text, NULL, c);
	freelocale(c);
	return value;
}

static size_t digits(const char *text)
{
	return strspn(text, "0123456789");
}

static struct value number(struct parser *parser)
{
	const char *start = parser->at, *end = start + digits(start);
	size_t whole = (size_t)(end - start), fraction = 0;
	int is_float = *end == '.';

	if (is_float) {
		fraction = digits(end + 1);
		end += 1 + fraction;
	}
	if (whole + fraction == 0)
		return broken(parser, NO_ARITHMETIC);
	if (*end == 'e' || *end == 'E') {
		size_t sign = end[1] == '+' || end[1] == '-';
		size_t exponent = digits(end + 1 + sign);

		if (exponent == 0)
			return broken(parser, NO_ARITHMETIC);
		is_float = 1;
		end += 1 + sign + exponent;
	}
	parser->at = end;
	if (is_float)
		return a_float(parser, c_strtod(start));
	/* 007 is no number to Python, but 00 is. */
	if (start[0] == '0' && strspn(start, "0") != whole)
		return broken(parser, NO_ARITHMETIC);
	/* Saturates where the number is too long. */
	return an_int(parser, strtoll(start, NULL, 10));
}

static struct value sum(struct parser *parser);

static struct value atom(struct parser *parser)
{
	struct value value;

	if (parser->fault != SOUND)
		return nothing;
	if (!takes(parser, "("))
		return number(parser);
	value = sum(parser);
	return takes(parser, ")") ? value : broken(parser, NO_ARITHMETIC);
}

/* ** binds closer than the sign before it and looser than the one after it, and
 * goes from right to left. */
static struct value factor(struct parser *parser)
{
	struct value value;

	if (takes(parser, "-")) {
		value = factor(parser);
		return (struct value){value.is_float, -value.i, -value.f};
	}
	value = atom(parser);
	return takes(parser, "**") ? power(parser, value, factor(parser)) : value;
}

static struct value product(struct parser *parser)
{
	struct value value = factor(parser);

	while (parser->fault == SOUND) {
		if (takes(parser, "*"))
			value = multiply(parser, value, factor(parser));
		else if (takes(parser, "//"))
			value = divide(parser, "//", value, factor(parser));
		else if (takes(parser, "/"))
			value = divide(parser, "/", value, factor(parser));
		else if (takes(parser, "%"))
			value = divide(parser, "%", value, factor(parser));
		else
			break;
	}
	return value;
}

static struct value sum(struct parser *parser)
{
	struct value value = product(parser);

	while (parser->fault == SOUND) {
		if (takes(parser, "+"))
			value = add(parser, value, product(parser), 1);
		else if (takes(parser, "-"))
			value = add(parser, value, product(parser), -1);
		else
			break;
	}
	return value;
}

static enum fault evaluate(const char *text, int64_t *result)
{
	struct parser parser = {.at = text};
	struct value value = sum(&parser);

	skip_space(&parser);
	if (parser.fault == SOUND && *parser.at != '\0')
		return NO_ARITHMETIC;
	*result = value.is_float ? (int64_t)value.f : value.i;
	return parser.fault;
}

/* Put the value where the word is, as text, like joblib; 0 if it gets too long. */
static int substitute(const char *expression, int32_t n_jobs, char text[LONGEST + 1])
{
	static const char word[] = "n_jobs";
	char number_text[16];
	size_t used = 0, length;

	(void)snprintf(number_text, sizeof(number_text), "%d", (int)n_jobs);
	while (*expression != '\0') {
		int is_word = strncmp(expression, word, sizeof(word) - 1) == 0;

		length = is_word ? strlen(number_text) : 1;
		if (used + length > LONGEST)
			return 0;
		memcpy(text + used, is_word ? number_text : expression, length);
		used += length;
		expression += is_word ? sizeof(word) - 1 : 1;
	}
	text[used] = '\0';
	return 1;
}

__attribute__((format(printf, 3, 4))) static int32_t refuse(par_error *error,
                                                            const char *expression,
                                                            const char *reason, ...)
{
	char shown[80], words[sizeof(((par_error *)0)->reason)];
	va_list args;

	error_escape(expression, strnlen(expression, 64), shown, sizeof(shown));
	va_start(args, reason);
	(void)vsnprintf(words, sizeof(words), reason, args);
	va_end(args);
	error_set(error, PAR_ECONFIG, "pre_dispatch \"%s\"", shown);
	error_reason(error, "%s", words);
	error_remedy(error, "use \"all\", a number from 1 on, or arithmetic like \"2 * n_jobs\"");
	return PAR_ECONFIG;
}

int32_t pre_dispatch_tasks(const char *expression, int32_t n_jobs, uint64_t *tasks,
                           par_error *error)
{
	static const char *const words[] = {
		[NO_ARITHMETIC] = "not a valid or supported arithmetic expression",
		[BY_ZERO] = "it divides by zero",
		[TOO_LARGE] = "a value in it is too large",
	};
	char text[LONGEST + 1];
	enum fault fault;
	int64_t result = 0;

	/* The default is nobody's expression, and has no limit. */
	if (expression == NULL) {
		*tasks = 2 * (uint64_t)n_jobs;
		return PAR_OK;
	}
	if (strcmp(expression, "all") == 0) {
		*tasks = UINT64_MAX;
		return PAR_OK;
	}
	if (!substitute(expression, n_jobs, text))
		return refuse(error, expression, "too long: more than %d characters", LONGEST);
	fault = evaluate(text, &result);
	if (fault != SOUND)
		return refuse(error, expression, "%s (n_jobs is %d, no value may exceed %d)",
		              words[fault], (int)n_jobs, LARGEST);
	if (result < 1)
		return refuse(error, expression,
		              "pre_dispatch must be 'all' or a positive number of tasks, and this "
		              "is %lld (n_jobs is %d)",
		              (long long)result, (int)n_jobs);
	*tasks = (uint64_t)result;
	return PAR_OK;
}
