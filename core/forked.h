/* forked.h - locks in a child of fork(), which another thread of its parent may have held.
 *
 * What stands under them is whole wherever that thread may have been: it changes by one word, or
 * is not used in a worker. */
#ifndef CORE_FORKED_H
#define CORE_FORKED_H

#include <pthread.h>

/* After the definition of a lock: a child may renew it. */
#define FORKED_RENEWS(lock)         FORKED__RENEWS(lock, __LINE__)
#define FORKED__RENEWS(lock, line)  FORKED__RENEWS_(lock, line)
#define FORKED__RENEWS_(lock, line)                                                             \
	__attribute__((section("par_locks"), used)) static pthread_mutex_t *const renews_##line = \
		&(lock)

/* In the child, before anything else: all of them are open. */
void forked_renew_locks(void);

#endif
