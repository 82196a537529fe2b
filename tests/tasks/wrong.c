/* wrong.c - descriptions of tasks that must be refused, one for each field. */
#include <parloop/task.h>

#define EXPORT __attribute__((visibility("default")))

static int32_t nothing(par_env *env, const void *payload, uint64_t size)
{
	(void)env, (void)payload, (void)size;
	return 0;
}

#define WRONG(symbol, ...)                                                                      \
	EXPORT extern const par_task par_task_##symbol;                                         \
	const par_task par_task_##symbol = {__VA_ARGS__};

WRONG(short_size, 16, PAR_TASK_ABI, "short_size", PAR_TASK_BYTES, 0, 0, 0, NULL, nothing)
WRONG(other_abi, sizeof(par_task), 99, "other_abi", PAR_TASK_BYTES, 0, 0, 0, NULL, nothing)
WRONG(renamed, sizeof(par_task), PAR_TASK_ABI, "elsewhere", PAR_TASK_BYTES, 0, 0, 0, NULL, nothing)
WRONG(nameless, sizeof(par_task), PAR_TASK_ABI, NULL, PAR_TASK_BYTES, 0, 0, 0, NULL, nothing)
WRONG(other_kind, sizeof(par_task), PAR_TASK_ABI, "other_kind", 3, 0, 0, 0, NULL, nothing)
WRONG(no_bytes, sizeof(par_task), PAR_TASK_ABI, "no_bytes", PAR_TASK_BYTES, 0, 0, 0, NULL, NULL)
WRONG(no_range, sizeof(par_task), PAR_TASK_ABI, "no_range", PAR_TASK_TYPED, 8, 8, 0, NULL, nothing)

/* An object that is shorter than a description, and code. */
EXPORT extern const uint32_t par_task_tiny;
const uint32_t par_task_tiny = sizeof(par_task);

EXPORT int par_task_code(void);
int par_task_code(void)
{
	return 0;
}
