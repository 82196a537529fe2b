/* launch.h - which command starts the job: the launcher of an MPI, and the relay that was built for
 * the same. */
#ifndef LAUNCH_H
#define LAUNCH_H

#include "settings.h"

struct launch {
	enum mpi mpi;      /* never MPI_AUTO */
	char *command;     /* the launcher's, with {n} */
	char *relay;       /* absolute */
	int is_unknown;    /* the launcher may be of any MPI: srun */
	int is_slurm;      /* it is that */
};

/* Nothing of it is run.  PAR_EUNAVAIL says what is missing. */
int32_t launch_find(struct launch *launch, const struct settings *settings, par_error *error);
void launch_finish(struct launch *launch);

/* The words to execute for so many ranks: NULL: no memory. */
char **launch_words(const struct launch *launch, const struct settings *settings, int n_ranks);
void launch_free_words(char **words); /* NULL is allowed */

/* "Open MPI", "MPICH" */
const char *launch_mpi_name(enum mpi mpi);

#endif
