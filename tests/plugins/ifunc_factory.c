/* The factory is chosen at load, and nothing is chosen: dlsym finds NULL, without error. */
#define parloop_backend_v1 declared_backend_v1
#include "stub.h"
#undef parloop_backend_v1

PAR_PLUGIN(PAR_BACKEND("bad", "its factory is an indirect function"))

typedef void *(*factory_fn)(void);

/* Runs before any sanitizer is ready. */
__attribute__((no_sanitize("address", "undefined", "thread"), used)) static factory_fn choose(void)
{
	return NULL;
}

__attribute__((visibility("default"), ifunc("choose"))) void *parloop_backend_v1(void);
