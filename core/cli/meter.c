#include "meter.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { LINE_SIZE = 256 };

void meter_start(struct meter *meter, int wanted)
{
	const char *term = getenv("TERM");
	int dumb = term == NULL || strcmp(term, "dumb") == 0;

	*meter = (struct meter){.on = wanted && !dumb && isatty(STDERR_FILENO)};
}

/* "1:02:03", or "2:03" within the first hour. */
static void print_time(double seconds, char *buffer, size_t size)
{
	int64_t s = (int64_t)seconds;

	if (s < 3600)
		(void)snprintf(buffer, size, "%d:%02d", (int)(s / 60), (int)(s % 60));
	else
		(void)snprintf(buffer, size, "%" PRId64 ":%02d:%02d", s / 3600, (int)(s / 60 % 60),
		               (int)(s % 60));
}

/* "done 3 of 9  failed 0  running 2  0:12  0.3/s  0:24 left" */
static void print_line(const par_progress *progress, char *buffer, size_t size)
{
	double rate = progress->elapsed_s > 0 ? (double)progress->done / progress->elapsed_s : 0;
	char elapsed[32], total[32] = "", left[48] = "", time[32];

	print_time(progress->elapsed_s, elapsed, sizeof(elapsed));
	if (progress->total != UINT64_MAX)
		(void)snprintf(total, sizeof(total), " of %" PRIu64, progress->total);
	if (progress->remaining_s >= 0) {
		print_time(progress->remaining_s, time, sizeof(time));
		(void)snprintf(left, sizeof(left), "  %s left", time);
	}
	(void)snprintf(buffer, size,
	               "done %" PRIu64 "%s  failed %" PRIu64 "  running %" PRIu64 "  %s  %.*f/s%s",
	               progress->done, total, progress->failed, progress->running, elapsed,
	               rate < 10, rate, left);
}

/* A line that wraps cannot be erased. */
static int columns(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || window.ws_col < 2)
		return 79;
	return window.ws_col - 1;
}

void meter_draw(struct meter *meter, const par_progress *progress)
{
	char line[LINE_SIZE];

	if (!meter->on)
		return;
	print_line(progress, line, sizeof(line));
	(void)dprintf(STDERR_FILENO, "\r%.*s\033[K", columns(), line);
	meter->shown = 1;
}

void meter_erase(struct meter *meter)
{
	if (!meter->shown)
		return;
	(void)dprintf(STDERR_FILENO, "\r\033[K");
	meter->shown = 0;
}
