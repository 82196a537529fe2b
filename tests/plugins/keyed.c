/* Wants to be told where it listens, and a password. */
#include "stub.h"

PAR_PLUGIN(
	PAR_BACKEND("keyed", "asks for a password")
	PAR_OPTION_TEXT("required endpoint", "", "where it listens")
	PAR_OPTION_TEXT("required secret password", "", "who we are"))

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	(void)host, (void)name;
	return &stub_ops;
}
