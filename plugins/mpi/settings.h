/* settings.h - what the options of an instance say, read once. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <parloop/backend.h>

enum mpi { MPI_AUTO, MPI_OPEN, MPI_CH, N_MPIS };

/* Texts are the core's and valid as long as the instance; "" where the option is not set. */
struct settings {
	enum mpi mpi;
	const char *launcher, *relay;
	const char *hosts, *hostfile;
	const char *address;
	const char *variables; /* "NAME=value ...", with {slot} */
	int captures;          /* output of tasks is kept for errors only */
	int64_t start_timeout_ns, idle_timeout_ns, abort_grace_ns;
};

int32_t settings_read(struct settings *settings, const par_host *host, const par_options *options,
                      par_error *error);

/* How many workers hosts, hostfile or an allocation of the batch system's have room for; 0: none
 * of them says so. */
int32_t settings_slots(const struct settings *settings);

/* May there be other machines, as far as one can tell before the job runs?  A launcher of the user's
 * may know of some. */
int settings_has_others(const struct settings *settings);

/* The next "NAME=value" or NAME='two words' of a text: 1, where it is; 0: there is none; -1: that
 * is not one. */
struct variable {
	const char *name, *value;
	int name_length, value_length;
};
int settings_next_variable(const char **at, struct variable *variable);

/* The value with {slot} replaced, "NAME=value", of malloc; slot -1: it stays.  NULL: no memory. */
char *settings_variable(const struct variable *variable, int slot);

#endif
