#include "signals.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

static _Atomic(par_parallel *) watched;
static atomic_int caught;

static void on_signal(int number)
{
	int before = 0, saved_errno = errno;
	par_parallel *parallel;

	if (!atomic_compare_exchange_strong(&caught, &before, number))
		_exit(128 + number);
	parallel = atomic_load(&watched);
	if (parallel != NULL)
		par_cancel(parallel);
	errno = saved_errno;
}

/* A handler and not SIG_IGN, because what a backend executes would inherit that. */
static void on_pipe(int number)
{
	(void)number;
}

static int install(int number, void (*handler)(int))
{
	struct sigaction action = {.sa_handler = handler}, before;

	/* No SA_RESTART: whoever waits is to see that something happened. */
	if (sigaction(number, NULL, &before) < 0)
		return -1;
	if (handler == on_signal && before.sa_handler == SIG_IGN)
		return 0;
	return sigaction(number, &action, NULL);
}

int signals_install(void)
{
	sigset_t ours;

	if (install(SIGINT, on_signal) < 0 || install(SIGTERM, on_signal) < 0 ||
	    install(SIGPIPE, on_pipe) < 0)
		return -1;
	sigemptyset(&ours);
	sigaddset(&ours, SIGINT);
	sigaddset(&ours, SIGTERM);
	return sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

void signals_watch(par_parallel *parallel)
{
	atomic_store(&watched, parallel);
}

int signals_caught(void)
{
	return atomic_load(&caught);
}
