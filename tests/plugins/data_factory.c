/* What should be a function is data: calling it would crash. */
#include <stdint.h>

#define parloop_backend_v1 declared_backend_v1
#include "stub.h"
#undef parloop_backend_v1

PAR_PLUGIN(PAR_BACKEND("bad", "its factory is data"))

__attribute__((visibility("default"))) extern const uint64_t parloop_backend_v1[4];
const uint64_t parloop_backend_v1[4] = {1, 2, 3, 4};
