#include "trust.h"

#include "error.h"
#include "log.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

static int is_overridden(void)
{
	const char *value = secure_getenv("PARLOOP_ALLOW_WORLD_WRITABLE");

	return value != NULL && strcmp(value, "yes") == 0;
}

static int32_t refuse(const char *path, const char *part, const char *why, const char *change,
                      par_error *error)
{
	error_set(error, PAR_EUNAVAIL, "%s", "");
	error_file(error, "%s", path);
	if (strcmp(path, part) == 0)
		error_reason(error, "%s", why);
	else
		error_reason(error, "its folder %.200s %s", part, why);
	error_remedy(error, "%s %.100s", change, part);
	return PAR_EUNAVAIL;
}

/* Whose it is may change it: in a container that is often meant so. */
static void warn_of_others(const char *part, const struct stat *file)
{
	if (file->st_uid != 0 && file->st_uid != geteuid())
		log_once(part, LOG_WARNING, "%s is user %u's, who can have this program run what they like",
		         part, (unsigned)file->st_uid);
	else if (geteuid() == 0 && (file->st_mode & S_IWGRP) != 0 && file->st_gid != 0)
		log_once(part, LOG_WARNING, "%s may be written by group %u, who can have root run what they "
		         "like", part, (unsigned)file->st_gid);
}

/* The file itself, or a folder above it. */
static int32_t check_part(const char *path, const char *part, par_error *error)
{
	int is_secure = getauxval(AT_SECURE) != 0;
	struct stat file;

	if (stat(part, &file) < 0)
		return PAR_OK;
	if (S_ISDIR(file.st_mode) && (file.st_mode & S_ISVTX) != 0)
		return PAR_OK;
	if ((file.st_mode & S_IWOTH) != 0 && !is_overridden())
		return refuse(path, part, "may be written by everybody", "chmod o-w", error);
	if (!is_secure) {
		warn_of_others(part, &file);
		return PAR_OK;
	}
	if ((file.st_mode & S_IWGRP) != 0)
		return refuse(path, part, "may be written by its group", "chmod g-w", error);
	if (file.st_uid != 0 && file.st_uid != geteuid())
		return refuse(path, part, "is neither root's nor this user's", "chown root", error);
	return PAR_OK;
}

static int32_t check_upwards(const char *path, const char *real, par_error *error)
{
	char part[PATH_MAX];
	char *slash;

	if (strlen(real) >= sizeof(part))
		return PAR_OK;
	(void)strcpy(part, real);
	for (;;) {
		int32_t status = check_part(path, strcmp(part, real) == 0 ? path : part, error);

		slash = strrchr(part, '/');
		if (status < 0 || slash == NULL || strcmp(part, "/") == 0)
			return status;
		slash[slash == part] = '\0';
	}
}

/* Both the way that is written and where its symbolic links lead. */
int32_t trust_check(const char *path, par_error *error)
{
	char real[PATH_MAX];
	int32_t status = check_upwards(path, path, error);

	if (status == PAR_OK && realpath(path, real) != NULL && strcmp(path, real) != 0)
		status = check_upwards(path, real, error);
	return status;
}
