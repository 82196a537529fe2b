/* quote.c - other people's bytes, fit for a terminal and for one line of a log. */
#include "cli.h"

#include <stdio.h>

/* How long a UTF-8 character is that begins with this byte; 0 if none does. */
static size_t length_of(unsigned char first)
{
	if (first < 0x80)
		return 1;
	if (first < 0xc2 || first > 0xf4)
		return 0;
	return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t printable_bytes(const void *bytes, size_t n)
{
	const unsigned char *p = bytes;
	size_t length = length_of(*p);

	if (length == 0 || length > n)
		return 0;
	if (length == 1)
		return *p >= 0x20 && *p != 0x7f;
	for (size_t i = 1; i < length; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	/* Overlong forms, surrogates, beyond U+10FFFF; and the control characters
	 * U+0080 to U+009F, which a terminal obeys. */
	if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f) ||
	    (*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f) ||
	    (*p == 0xc2 && p[1] < 0xa0))
		return 0;
	return length;
}

static size_t put(const unsigned char *p, size_t n, char *out)
{
	static const char from[] = "\n\t\r\"\\", to[] = "ntr\"\\";
	size_t length;

	for (size_t i = 0; from[i] != '\0'; i++)
		if (*p == (unsigned char)from[i]) {
			out[0] = '\\';
			out[1] = to[i];
			return 2;
		}
	length = printable_bytes(p, n);
	for (size_t i = 0; i < length; i++)
		out[i] = (char)p[i];
	return length > 0 ? length : (size_t)sprintf(out, "\\x%02x", *p);
}

/* Bytes that belong to one character stay together where a long text is cut. */
static size_t not_inside(const unsigned char *p, size_t n, size_t at)
{
	for (int i = 0; i < 3 && at > 0 && at < n && (p[at] & 0xc0) == 0x80; i++)
		at--;
	return at;
}

static size_t put_all(const unsigned char *p, size_t n, char *out)
{
	size_t used = 0;

	for (size_t i = 0, step; i < n; i += step) {
		step = printable_bytes(p + i, n - i);
		used += put(p + i, n - i, out + used);
		if (step == 0)
			step = 1;
	}
	return used;
}

char *quote(const void *bytes, size_t n, size_t longest, char buffer[QUOTED_SIZE])
{
	const unsigned char *p = bytes;
	size_t head, tail, used = 0;

	/* A byte becomes four at most; the rest is for the dots and for characters kept whole. */
	if (longest > (QUOTED_SIZE - 32) / 4)
		longest = (QUOTED_SIZE - 32) / 4;
	head = n <= longest ? n : not_inside(p, n, longest * 2 / 3);
	tail = n <= longest ? n : not_inside(p, n, n - longest / 3);
	used += put_all(p, head, buffer);
	if (tail > head)
		used += (size_t)sprintf(buffer + used, "...");
	used += put_all(p + tail, n - tail, buffer + used);
	buffer[used] = '\0';
	return buffer;
}
