/* Takes its time in the factory, and counts how often that is called. */
#include "stub.h"

#include <time.h>

PAR_PLUGIN(PAR_VERSION("2") PAR_BACKEND("slow", "loads slowly"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static int calls;
	char line[40];

	(void)name;
	(void)snprintf(line, sizeof(line), "factory call %d", ++calls);
	host->log(host, 2, line);
	nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
	return &stub_ops;
}
