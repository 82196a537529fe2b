/* Asks in the factory for what only instances get. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("nosy", "calls everything"))

static void never(void *arg)
{
	(void)arg;
	abort();
}

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)name;
	host->log(host, 1, "hello from the factory");
	if (host->run(host, 1) == PAR_OK || host->post(host, never, NULL) == PAR_OK ||
	    host->extension(host, PAR_EXT_TIMER) != NULL || host->option_int(NULL, "x") != 0 ||
	    host->option_text(NULL, "x")[0] != '\0' || host->option_is_set(NULL, "x") != 0)
		return NULL;
	host->done(host, 1, PAR_OK, NULL);
	host->ready(host, PAR_OK, NULL);
	host->capacity(host, 1, 1);
	return host->cores(host) == 1 && host->stopping(host, 1) ? &stub_ops : NULL;
}
