#include "error.h"

#include <parloop/parloop.h>

#include <stdarg.h>
#include <stddef.h>
#include <string.h>

static void fill(char *slot, size_t size, const char *format, va_list args)
{
	(void)vsnprintf(slot, size, format, args);
}

/* What the caller has room for: he may have been compiled with another version. */
static uint32_t room_in(const par_error *error)
{
	const uint32_t least = offsetof(par_error, worker), most = sizeof(*error);

	return error->size < least ? least : error->size > most ? most : error->size;
}

void error_copy(par_error *error, const par_error *from)
{
	const uint32_t room = room_in(error), has = room_in(from), size = error->size;

	memcpy(error, from, room < has ? room : has);
	error->size = size;
}

void error_clear(par_error *error)
{
	static const par_error none = PAR_ERROR_INIT;

	error_copy(error, &none);
}

int32_t error_set(par_error *error, int32_t code, const char *what, ...)
{
	va_list args;

	if (error == NULL)
		return code;
	error_clear(error);
	error->code = code;
	va_start(args, what);
	fill(error->what, sizeof(error->what), what, args);
	va_end(args);
	return code;
}

void error_file(par_error *error, const char *file, ...)
{
	char path[4096 + 64];
	size_t length;
	va_list args;

	if (error == NULL)
		return;
	va_start(args, file);
	fill(path, sizeof(path), file, args);
	va_end(args);
	length = strlen(path);
	if (length < sizeof(error->file))
		memcpy(error->file, path, length + 1);
	else
		(void)snprintf(error->file, sizeof(error->file), "...%s",
		               path + length - (sizeof(error->file) - 4));
}

void error_reason(par_error *error, const char *reason, ...)
{
	va_list args;

	if (error == NULL)
		return;
	va_start(args, reason);
	fill(error->reason, sizeof(error->reason), reason, args);
	va_end(args);
}

void error_remedy(par_error *error, const char *remedy, ...)
{
	va_list args;

	if (error == NULL)
		return;
	va_start(args, remedy);
	fill(error->remedy, sizeof(error->remedy), remedy, args);
	va_end(args);
}

void error_prefix(par_error *error, const char *before, ...)
{
	char what[sizeof(error->what)];
	size_t length;
	va_list args;

	if (error == NULL)
		return;
	memcpy(what, error->what, sizeof(what));
	va_start(args, before);
	fill(error->what, sizeof(error->what), before, args);
	va_end(args);
	length = strlen(error->what);
	(void)snprintf(error->what + length, sizeof(error->what) - length, "%s", what);
}

int32_t error_memory(par_error *error, const char *what)
{
	error_set(error, PAR_ENOMEM, "%s", what);
	error_reason(error, "no memory");
	return PAR_ENOMEM;
}

char *error_escape(const char *text, size_t n, char *buffer, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)text[i];
		int is_control = c < 0x20 || c == 0x7f;

		if (used + (is_control ? 4 : 1) >= size)
			break;
		if (is_control)
			used += (size_t)snprintf(buffer + used, size - used, "\\x%02x", c);
		else
			buffer[used++] = (char)c;
	}
	if (size > 0)
		buffer[used] = '\0';
	return buffer;
}

const char *par_code_name(int32_t code)
{
	/* clang-format off */
	static const struct { int32_t code; const char *name; } names[] = {
		{PAR_OK, "PAR_OK"}, {PAR_PENDING, "PAR_PENDING"}, {PAR_EINVAL, "PAR_EINVAL"},
		{PAR_ENOMEM, "PAR_ENOMEM"}, {PAR_EUNAVAIL, "PAR_EUNAVAIL"},
		{PAR_EABORTED, "PAR_EABORTED"}, {PAR_EFAILED, "PAR_EFAILED"},
		{PAR_ETIMEOUT, "PAR_ETIMEOUT"}, {PAR_ECANCELED, "PAR_ECANCELED"},
		{PAR_EBUSY, "PAR_EBUSY"}, {PAR_ECONFIG, "PAR_ECONFIG"},
		{PAR_ENOTFOUND, "PAR_ENOTFOUND"}, {PAR_ELOST, "PAR_ELOST"},
		{PAR_ESOURCE, "PAR_ESOURCE"},
	};
	/* clang-format on */

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].code == code)
			return names[i].name;
	return "unknown code";
}

/* What people typed, and what plugins and the system said, is made fit for a terminal and for one
 * line of a log. */
static void append(char *buffer, size_t size, const char *text)
{
	size_t used = strlen(buffer);

	error_escape(text, strlen(text), buffer + used, size - used);
}

char *par_error_text(const par_error *error, int32_t lines, char *buffer, size_t size)
{
	static const char *const label[] = {"file", "reason", "remedy"};
	const char *slot[] = {error->file, error->reason, error->remedy};
	size_t used;

	if (size == 0)
		return buffer;
	buffer[0] = '\0';
	append(buffer, size, error->what[0] ? error->what : par_code_name(error->code));
	for (int i = 0; i < 3; i++) {
		if (slot[i][0] == '\0')
			continue;
		used = strlen(buffer);
		if (lines)
			(void)snprintf(buffer + used, size - used, "\n    %-7s ", label[i]);
		else
			(void)snprintf(buffer + used, size - used, "%s", i == 1 ? ": " : "; ");
		append(buffer, size, slot[i]);
	}
	return buffer;
}
