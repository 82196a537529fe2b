/* place.h - what of a process tells whether another one sees its id, and shares its memory. */
#ifndef PLACE_H
#define PLACE_H

#include "protocol.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static inline void place_describe(struct seat_hello *seat)
{
	int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
	char boot[40] = "";
	struct stat space;

	memset(seat, 0, sizeof(*seat));
	seat->pid = (int32_t)getpid();
	(void)gethostname(seat->host, sizeof(seat->host) - 1);
	if (fd >= 0) {
		ssize_t n = read(fd, boot, 36);

		boot[n > 0 ? n : 0] = '\0';
		close(fd);
	}
	if (stat("/proc/self/ns/pid", &space) == 0)
		(void)snprintf(seat->boot, sizeof(seat->boot), "%.36s%lx", boot,
		               (unsigned long)space.st_ino);
}

static inline int place_is_same(const struct seat_hello *a, const struct seat_hello *b)
{
	return a->boot[0] != '\0' && strncmp(a->boot, b->boot, sizeof(a->boot)) == 0;
}

#endif
