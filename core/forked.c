#include "forked.h"

/* Of the linker's making: where that section begins and ends. */
extern pthread_mutex_t *const __start_par_locks[] __attribute__((weak, visibility("hidden")));
extern pthread_mutex_t *const __stop_par_locks[] __attribute__((weak, visibility("hidden")));

void forked_renew_locks(void)
{
	static const pthread_mutex_t open = PTHREAD_MUTEX_INITIALIZER;

	for (pthread_mutex_t *const *lock = __start_par_locks; lock < __stop_par_locks; lock++)
		**lock = open;
}
