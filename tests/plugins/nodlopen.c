/* link: -Wl,-z,nodlopen */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "forbids what loads it"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
