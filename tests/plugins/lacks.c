/* A table for each required function, without it. */
#include "stub.h"

#include <string.h>

PAR_PLUGIN(
	PAR_BACKEND("no-create", "")
	PAR_BACKEND("no-destroy", "")
	PAR_BACKEND("no-jobs", "")
	PAR_BACKEND("no-submit", ""))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static par_backend_ops tables[4];

	(void)host;
	for (int i = 0; i < 4; i++)
		tables[i] = stub_ops;
	tables[0].create = NULL;
	tables[1].destroy = NULL;
	tables[2].effective_n_jobs = NULL;
	tables[3].submit = NULL;
	return strcmp(name, "no-create") == 0    ? &tables[0]
	       : strcmp(name, "no-destroy") == 0 ? &tables[1]
	       : strcmp(name, "no-jobs") == 0    ? &tables[2]
	                                         : &tables[3];
}
