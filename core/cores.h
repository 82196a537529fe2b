/* cores.h - cores as they are soldered, of which each may be several cpus to the system. */
#ifndef CORE_CORES_H
#define CORE_CORES_H

/* How many of the machine's are online: as /sys/devices/system/cpu says, else /proc/cpuinfo; 0 if
 * neither does.  root is put before both, for tests. [any] */
int cores_physical(const char *root);

#endif
