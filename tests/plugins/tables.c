/* A table for each thing that can be wrong with its head. */
#include "stub.h"

#include <string.h>

PAR_PLUGIN(
	PAR_BACKEND("size-0", "empty table")
	PAR_BACKEND("size-24", "shorter than ABI 1.0")
	PAR_BACKEND("size-181", "not in steps of 8")
	PAR_BACKEND("size-huge", "longer than a page")
	PAR_BACKEND("abi-0", "older major")
	PAR_BACKEND("abi-2", "newer major")
	PAR_BACKEND("newer", "longer than ours, and newer: no fault"))

/* A later ABI's, with fields that this parloop has never heard of. */
static const struct {
	par_backend_ops ops;
	void *later[4];
} newer = {{STUB_TABLE}, {(void *)1, (void *)2, (void *)3, (void *)4}};

const par_backend_ops *parloop_backend_v1(const par_host *host, const char *name)
{
	static par_backend_ops tables[7];
	static const uint32_t sizes[] = {0, 24, 181, 0x7fffffff};
	static union {
		char bytes[sizeof(newer)];
		par_backend_ops ops;
	} longer;

	(void)host;
	for (int i = 0; i < 7; i++)
		tables[i] = stub_ops;
	for (int i = 0; i < 4; i++)
		tables[i].size = sizes[i];
	tables[4].abi = 0;
	tables[5].abi = 2u << 16;
	memcpy(longer.bytes, &newer, sizeof(newer));
	longer.ops.size = sizeof(newer);
	longer.ops.abi = PAR_ABI + 7;
	return strcmp(name, "size-0") == 0      ? &tables[0]
	       : strcmp(name, "size-24") == 0   ? &tables[1]
	       : strcmp(name, "size-181") == 0  ? &tables[2]
	       : strcmp(name, "size-huge") == 0 ? &tables[3]
	       : strcmp(name, "abi-0") == 0     ? &tables[4]
	       : strcmp(name, "abi-2") == 0     ? &tables[5]
	                                        : &longer.ops;
}
