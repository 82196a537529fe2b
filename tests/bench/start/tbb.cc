#include <tbb/global_control.h>
#include <tbb/task_group.h>

#include "task.h"

int main()
{
	static const uint64_t in[2] = {1, 2};
	tbb::global_control control(tbb::global_control::max_allowed_parallelism, 2);
	uint64_t out[2] = {0, 0};
	tbb::task_group group;

	for (int i = 0; i < 2; i++)
		group.run([&out, i] { out[i] = task(in[i]); });
	group.wait();
	return wrong(in, out);
}
