#include "cgroup.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

struct walk {
	const char *root, *controller;
	void (*visit)(void *user, const char *folder);
	void *user;
};

int cgroup_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[PATH_MAX];
	FILE *file;
	int found;

	if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, name) >= sizeof(path))
		return 0;
	file = fopen(path, "re");
	if (file == NULL)
		return 0;
	found = fgets(line, (int)size, file) != NULL;
	fclose(file);
	return found;
}

/* A cgroup and all above it: a slice's quota binds its services.  In a container the path may
 * be the host's, and then only the mount's own root is there. */
static void visit_path(const struct walk *walk, const char *mount, const char *cgroup)
{
	char folder[PATH_MAX];
	size_t top;
	char *slash;

	top = (size_t)snprintf(folder, sizeof(folder), "%s/sys/fs/cgroup%s", walk->root, mount);
	if (top + strlen(cgroup) >= sizeof(folder))
		return;
	/* ".." leads out of what is mounted here, to cgroups that are not ours. */
	if (strstr(cgroup, "..") == NULL && strcmp(cgroup, "/") != 0)
		strcat(folder, cgroup);
	for (;;) {
		walk->visit(walk->user, folder);
		slash = strrchr(folder, '/');
		if (slash == NULL || (size_t)(slash - folder) < top)
			return;
		*slash = '\0';
	}
}

static int has_word(const char *list, const char *word)
{
	size_t length = strlen(word);

	for (; list != NULL; list = strchr(list, ',')) {
		list += *list == ',';
		if (strncmp(list, word, length) == 0 && strchr(",", list[length]) != NULL)
			return 1;
	}
	return 0;
}

/* Of version 1: mounted under the name of its controllers, and often under that of each. */
static void visit_mounts(const struct walk *walk, const char *controllers, const char *path)
{
	char mount[256];

	(void)snprintf(mount, sizeof(mount), "/%s", walk->controller);
	visit_path(walk, mount, path);
	(void)snprintf(mount, sizeof(mount), "/%s", controllers);
	if (strcmp(controllers, walk->controller) != 0)
		visit_path(walk, mount, path);
}

/* One line of /proc/self/cgroup, "4:cpu,cpuacct:/path" or, for v2, "0::/path". */
static void visit_line(const struct walk *walk, char *line)
{
	char *controllers = strchr(line, ':');
	char *path = controllers != NULL ? strchr(controllers + 1, ':') : NULL;

	if (path == NULL)
		return;
	*controllers++ = '\0';
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (*controllers == '\0') {
		visit_path(walk, "", path);
		visit_path(walk, "/unified", path);
	}
	if (has_word(controllers, walk->controller))
		visit_mounts(walk, controllers, path);
}

void cgroup_visit(const char *root, const char *controller,
                  void (*visit)(void *user, const char *folder), void *user)
{
	const struct walk walk = {root, controller, visit, user};
	char line[PATH_MAX + 256];
	FILE *file;

	(void)snprintf(line, sizeof(line), "%s/proc/self/cgroup", root);
	file = fopen(line, "re");
	if (file == NULL)
		return;
	while (fgets(line, sizeof(line), file) != NULL)
		visit_line(&walk, line);
	fclose(file);
}
