/* Says that it cannot live with a core as old as this. */
#define PAR_NEEDS_MINOR 9
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "needs a newer core"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
