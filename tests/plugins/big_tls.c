/* More static thread storage than is left after start. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "wants too much of what is scarce"))

static __thread char storage[400000] __attribute__((tls_model("initial-exec")));

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	storage[0]++;
	return &stub_ops;
}
