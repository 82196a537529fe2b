#include "cores.h"

#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lowest of the cpus that one shares its core with, itself among them; -1: unknown. */
static long first_of_core(const char *folder, const char *cpu)
{
	static const char *const names[] = {"core_cpus_list", "thread_siblings_list"};
	char path[PATH_MAX];
	long first = -1;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && first < 0; i++) {
		FILE *file;

		if ((size_t)snprintf(path, sizeof(path), "%s/%s/topology/%s", folder, cpu, names[i]) >=
		    sizeof(path))
			return -1;
		file = fopen(path, "re");
		if (file == NULL)
			continue;
		if (fscanf(file, "%ld", &first) != 1)
			first = -1;
		fclose(file);
	}
	return first;
}

/* Each core at the first of its cpus; one that is offline has no topology. */
static int count_in_sys(const char *root)
{
	char folder[PATH_MAX], *end;
	struct dirent *entry;
	DIR *dir;
	int n = 0;

	(void)snprintf(folder, sizeof(folder), "%s/sys/devices/system/cpu", root);
	dir = opendir(folder);
	while (dir != NULL && (entry = readdir(dir)) != NULL) {
		long cpu;

		if (strncmp(entry->d_name, "cpu", 3) != 0)
			continue;
		cpu = strtol(entry->d_name + 3, &end, 10);
		if (end != entry->d_name + 3 && *end == '\0')
			n += first_of_core(folder, entry->d_name) == cpu;
	}
	if (dir != NULL)
		closedir(dir);
	return n;
}

struct cores {
	struct core {
		int package, number;
	} *known;
	size_t n, room;
	int no_memory;
};

static void add_core(struct cores *cores, struct core core)
{
	for (size_t i = 0; i < cores->n; i++)
		if (cores->known[i].package == core.package && cores->known[i].number == core.number)
			return;
	if (cores->n == cores->room) {
		size_t room = 2 * cores->room + 16;
		struct core *more = realloc(cores->known, room * sizeof(*more));

		if (more == NULL) {
			cores->no_memory = 1;
			return;
		}
		cores->known = more;
		cores->room = room;
	}
	cores->known[cores->n++] = core;
}

/* A core's number counts in its package, whose line comes first, where there is one at all. */
static int count_in_proc(const char *root)
{
	struct cores cores = {0};
	struct core core = {0};
	char line[4096];
	FILE *file;
	int n;

	(void)snprintf(line, sizeof(line), "%s/proc/cpuinfo", root);
	file = fopen(line, "re");
	if (file == NULL)
		return 0;
	while (fgets(line, sizeof(line), file) != NULL) {
		if (sscanf(line, "physical id : %d", &core.package) == 1)
			continue;
		if (sscanf(line, "core id : %d", &core.number) == 1)
			add_core(&cores, core);
	}
	fclose(file);
	n = cores.no_memory ? 0 : (int)cores.n;
	free(cores.known);
	return n;
}

int cores_physical(const char *root)
{
	int n = count_in_sys(root);

	return n > 0 ? n : count_in_proc(root);
}
