#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

enum { REDRAW_MS = 100, LINE_SIZE = 256 };

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

void meter_start(struct meter *meter, int wanted)
{
	const char *term = getenv("TERM");
	int dumb = term == NULL || strcmp(term, "dumb") == 0;

	*meter = (struct meter){.on = wanted && !dumb && isatty(STDERR_FILENO)};
	meter->started_ns = now_ns();
}

/* "1:02:03", or "2:03" within the first hour. */
static void print_elapsed(int64_t elapsed_ns, char *buffer, size_t size)
{
	int64_t s = elapsed_ns / 1000000000;

	if (s < 3600)
		(void)snprintf(buffer, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
	else
		(void)snprintf(buffer, size, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60),
		               (int)(s % 60));
}

char *meter_line(const struct meter_point *point, int64_t elapsed_ns, char *buffer, int size)
{
	double seconds = (double)elapsed_ns / 1e9;
	double rate = seconds > 0 ? (double)point->done / seconds : 0;
	char elapsed[32], total[32] = "";

	print_elapsed(elapsed_ns, elapsed, sizeof(elapsed));
	if (point->taken_all)
		(void)snprintf(total, sizeof(total), " of %" PRIu64, point->taken);
	(void)snprintf(buffer, (size_t)size,
	               "done %" PRIu64 "%s  failed %" PRIu64 "  running %" PRIu64 "  %s  %.*f/s",
	               point->done, total, point->failed, point->taken - point->done, elapsed,
	               rate < 10, rate);
	return buffer;
}

/* A line that wraps cannot be erased. */
static int columns(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col < 2)
		return 79;
	return window.ws_col - 1;
}

void meter_update(struct meter *meter, const struct meter_point *point)
{
	char line[LINE_SIZE];
	int64_t now;

	if (!meter->on)
		return;
	now = now_ns();
	if (now - meter->drawn_ns < REDRAW_MS * INT64_C(1000000))
		return;
	(void)meter_line(point, now - meter->started_ns, line, sizeof(line));
	(void)dprintf(STDERR_FILENO, "\r%.*s\033[K", columns(), line);
	meter->drawn_ns = now;
	meter->shown = 1;
}

void meter_erase(struct meter *meter)
{
	if (!meter->shown)
		return;
	(void)dprintf(STDERR_FILENO, "\r\033[K");
	meter->shown = 0;
}
