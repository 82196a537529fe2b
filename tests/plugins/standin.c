/* The plugin for Dask and Ray, with an engine that stands in for either: threads of the bridge. */
#define ENGINES_FOR_TESTS
#include "../../plugins/engines/bridge.c"

#include "../../plugins/engines/backend.c"
