/* PAR_PLUGIN in two of its sources, as the linker would leave it. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "one note"))
#define par__note par__second_note
PAR_PLUGIN(PAR_BACKEND("worse", "another"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
