/* cgroup.h - where the limits of this process's cgroups stand. */
#ifndef CORE_CGROUP_H
#define CORE_CGROUP_H

#include <stddef.h>

/* Call visit with the folder of each cgroup that this process is in, and of those above it, whose
 * limits hold too: of version 2, and those of version 1 for that controller ("cpu").  A folder
 * need not be there; the same may come twice.  root is put before /proc/self/cgroup and
 * /sys/fs/cgroup, for tests. [any] */
void cgroup_visit(const char *root, const char *controller,
                  void (*visit)(void *user, const char *folder), void *user);

/* Read the first line of a file there; 0 if there is none. [any] */
int cgroup_line(const char *folder, const char *name, char *line, size_t size);

#endif
