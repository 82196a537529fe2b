/* sanitizers.c - what the sanitizers should know of every program of ours; linked with each. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_options(void);

/* TSan does not see libuv close a descriptor (it does so by a system call of its own), so
 * that the next one who gets the number, on another thread, looks like a race.  Nor does it see the
 * loader's lock, under which name_of() reads the name of a library. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void)
{
	return "race:libuv.so\nrace:epoll_create1\nrace:eventfd\nrace:closedir\nrace:name_of\n";
}

/* It would wait a second at the end of each of hundreds of processes. */
__attribute__((visibility("default"))) const char *__tsan_default_options(void)
{
	return "atexit_sleep_ms=0";
}
