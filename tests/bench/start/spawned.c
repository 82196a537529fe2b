#include "spawned.h"

#include "pool.h"

static int start(pid_t *pid, int *fd)
{
	return spawn_worker(HELPER, pid, fd);
}

int main(void)
{
	return pool(start);
}
