/* The note promises a backend that the factory does not have. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("good", "promised, not kept"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static int calls;
	char line[40];

	(void)name;
	(void)snprintf(line, sizeof(line), "factory call %d", ++calls);
	host->log(host, 2, line);
	return NULL;
}
