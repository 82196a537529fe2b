#include "pool.h"

int main(void)
{
	return pool(fork_worker);
}
