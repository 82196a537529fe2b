/* link: -Wl,-z,execstack */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "would make the whole program's stacks executable"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
