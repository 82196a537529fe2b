/* late.c - a backend that nobody knows until its library (late_library.c) registers it, or until
 * plugins.conf says where it is.
 *
 *	$ ./late
 *	Invalid backend: late, expected one of [...]: no plugin offers it in ...
 *	$ ./late ./late_library.so
 *	0 1 2 3 4 5 6 7 8 9
 *	$ printf '[lazy]\nlate = %s/late_library.so\n' "$PWD" >plugins.conf
 *	$ PARLOOP_CONF=plugins.conf ./late
 *	0 1 2 3 4 5 6 7 8 9
 */
#include <dlfcn.h>
#include <parloop/parloop.h>
#include <string.h>

static int same(const int *in, int *out)
{
	*out = *in;
	return 0;
}
PAR_TASK(same, int, int)

/* What Python does on import. */
static int32_t import(const char *file, par_error *error)
{
	int32_t (*register_late)(par_error *error) = NULL;
	void *library = dlopen(file, RTLD_NOW);
	void *symbol = library != NULL ? dlsym(library, "register_late") : NULL;

	if (symbol == NULL)
		return par_fail(error, PAR_ENOTFOUND, "%s", dlerror());
	memcpy(&register_late, &symbol, sizeof(symbol));
	return register_late(error);
}

int main(int argc, char **argv)
{
	par_error error = PAR_ERROR_INIT;
	int in[10], out[10];

	for (int i = 0; i < 10; i++)
		in[i] = i;
	if (argc > 1 && import(argv[1], &error) < 0)
		return fprintf(stderr, "%s: %s\n", argv[1], error.reason), 1;
	if (par_map(NULL, &par_task_same, in, out, 10, PAR_SETTINGS(.backend = "late"), &error) < 0)
		return fprintf(stderr, "%s: %s\n", error.what, error.reason), 1;
	for (int i = 0; i < 10; i++)
		printf("%d%c", out[i], i < 9 ? ' ' : '\n');
	return 0;
}
