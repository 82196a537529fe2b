/* link: -ffast-math */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("fast", "changes the rounding of the thread that loads it"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
