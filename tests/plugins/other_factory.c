/* Built for a parloop to come. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "has the factory of another ABI"))

__attribute__((visibility("default"))) const void *parloop_backend_v2(void);
const void *parloop_backend_v2(void)
{
	return &stub_ops;
}
