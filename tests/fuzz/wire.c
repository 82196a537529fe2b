/* wire.c - bytes as they might come from anywhere, given to all that reads frames.
 *
 * Built as the others it runs what it is given as arguments, files or folders, once each (the
 * corpus, tests/fuzz/wire/, by tests/test_fuzz.sh); with clang's fuzzer:
 *
 *	clang -fsanitize=fuzzer,address,undefined -DFUZZER -D_GNU_SOURCE -Iinclude -Icore \
 *		tests/fuzz/wire.c core/wire*.c core/error.c -o fuzz-wire && ./fuzz-wire tests/fuzz/wire
 */
#include "wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

#include "read_frames.h"

/* The first byte says in pieces of which size the others come. */
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n)
{
	if (n == 0)
		return 0;
	read_frames(bytes + 1, n - 1, bytes[0] % 64 == 0 ? n : bytes[0] % 64);
	return 0;
}

#ifndef FUZZER
#include <dirent.h>
#include <limits.h>
#include <stdio.h>

static int run_file(const char *path)
{
	static uint8_t bytes[1 << 20];
	FILE *file = fopen(path, "re");
	size_t n;

	if (file == NULL) {
		perror(path);
		return -1;
	}
	n = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	LLVMFuzzerTestOneInput(bytes, n);
	return 0;
}

/* How many files there were, or -1. */
static int run_folder(const char *path)
{
	DIR *folder = opendir(path);
	struct dirent *entry;
	char file[PATH_MAX];
	int n = 0;

	if (folder == NULL)
		return run_file(path) == 0 ? 1 : -1;
	while ((entry = readdir(folder)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (run_file(file) < 0)
			break;
		n++;
	}
	closedir(folder);
	return entry == NULL ? n : -1;
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		int n = run_folder(argv[i]);

		if (n <= 0)
			return EXIT_FAILURE;
		(void)printf("%s: %d\n", argv[i], n);
	}
	return EXIT_SUCCESS;
}
#endif
