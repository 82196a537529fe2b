/* Calls a function that nobody has. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "is not linked with what it calls"))

int nobody_defines_this(void);

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return nobody_defines_this() ? &stub_ops : NULL;
}
