/* Exports nothing: the factory is not there. */
#include "stub.h"

PAR_PLUGIN(PAR_BACKEND("bad", "has no factory"))
