/* corpus.h - what a fuzz target is where no fuzzer drives it: a program that runs what it is given.
 *
 *	TARGET [--mutations N] [--seed S] FILE|FOLDER...
 *		each file as it is, and then N changed copies of them, always the same of a seed
 *	TARGET --show K [--seed S] FILE|FOLDER...
 *		write the Kth changed copy to standard output
 *
 * All of it runs in a process of its own: whatever it dies of, the input is named.  Included by
 * each target after its LLVMFuzzerTestOneInput; with clang's fuzzer (-DFUZZER) that has the main. */
#ifndef TESTS_FUZZ_CORPUS_H
#define TESTS_FUZZ_CORPUS_H
#ifndef FUZZER

#include <errno.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LONGEST_INPUT = 1 << 17, MOST_INPUTS = 4096 };

struct input {
	char *name;
	uint8_t *bytes;
	size_t n;
};

static struct input inputs[MOST_INPUTS];
static size_t n_inputs;

/* --- what it is given ------------------------------------------------------------------------ */

static int take_file(const char *path, const struct stat *about, int type, struct FTW *walk)
{
	struct input *input = &inputs[n_inputs];
	FILE *file;

	(void)about;
	if (type != FTW_F || path[walk->base] == '.')
		return 0;
	file = n_inputs < MOST_INPUTS ? fopen(path, "re") : NULL;
	if (file == NULL)
		return -1;
	input->name = strdup(path);
	input->bytes = malloc(LONGEST_INPUT);
	if (input->name == NULL || input->bytes == NULL)
		return -1;
	input->n = fread(input->bytes, 1, LONGEST_INPUT, file);
	n_inputs++;
	return fclose(file);
}

/* The order in a folder is the file system's; in a changed copy it is to be the same everywhere. */
static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct input *)a)->name, ((const struct input *)b)->name);
}

static int take_all(char *const *paths)
{
	for (; *paths != NULL; paths++) {
		size_t before = n_inputs;

		if (nftw(*paths, take_file, 8, FTW_PHYS) != 0 || n_inputs == before) {
			(void)fprintf(stderr, "%s: no input can be read there\n", *paths);
			return -1;
		}
	}
	qsort(inputs, n_inputs, sizeof(inputs[0]), by_name);
	return 0;
}

/* --- a changed copy -------------------------------------------------------------------------- */

struct copy {
	uint8_t bytes[LONGEST_INPUT];
	size_t n;
	uint64_t random;
};

static size_t below(struct copy *copy, size_t limit)
{
	copy->random ^= copy->random << 13;
	copy->random ^= copy->random >> 7;
	copy->random ^= copy->random << 17;
	return limit == 0 ? 0 : (size_t)((copy->random >> 11) % limit);
}

static void remove_at(struct copy *copy, size_t at, size_t n)
{
	memmove(copy->bytes + at, copy->bytes + at + n, copy->n - at - n);
	copy->n -= n;
}

static void insert_at(struct copy *copy, size_t at, const uint8_t *bytes, size_t n)
{
	if (n > sizeof(copy->bytes) - copy->n)
		return;
	memmove(copy->bytes + at + n, copy->bytes + at, copy->n - at);
	memcpy(copy->bytes + at, bytes, n);
	copy->n += n;
}

/* Of some input, from some place on. */
static void insert_part(struct copy *copy, size_t at)
{
	const struct input *from = &inputs[below(copy, n_inputs)];
	size_t start = below(copy, from->n), n = below(copy, from->n - start) % 64;

	insert_at(copy, at, from->bytes + start, n);
}

/* A number that a size or an offset may not be. */
static void write_number(struct copy *copy, size_t at)
{
	static const uint64_t numbers[] = {0, 1, 7, 64, 255, 4096, INT32_MAX, UINT32_MAX, INT64_MAX,
	                                   UINT64_MAX, (uint64_t)1 << 63, UINT64_MAX - 7};
	const uint64_t number = numbers[below(copy, sizeof(numbers) / sizeof(numbers[0]))];
	const size_t size = (size_t)1 << below(copy, 4);

	if (copy->n - at >= size)
		memcpy(copy->bytes + at, &number, size);
}

static void change(struct copy *copy)
{
	const size_t at = below(copy, copy->n);
	uint8_t byte = (uint8_t)below(copy, 256);

	switch (below(copy, 8)) {
	case 0:
		insert_at(copy, at, &byte, 1);
		break;
	case 1:
		insert_part(copy, at);
		break;
	case 2:
		remove_at(copy, at, below(copy, copy->n - at) % 64);
		break;
	case 3:
		copy->n = at;
		break;
	case 4:
		write_number(copy, at);
		break;
	case 5:
		if (copy->n > 0)
			copy->bytes[at] ^= (uint8_t)(1 << byte % 8);
		break;
	default:
		if (copy->n > 0)
			copy->bytes[at] = byte;
	}
}

/* The same for a seed and a number, whatever was made before. */
static void make_copy(struct copy *copy, uint64_t seed, uint64_t number)
{
	const struct input *from;

	copy->random = (seed << 32 ^ number) * UINT64_C(0x9e3779b97f4a7c15) | 1;
	(void)below(copy, 2);
	from = &inputs[below(copy, n_inputs)];
	memcpy(copy->bytes, from->bytes, from->n);
	copy->n = from->n;
	for (size_t left = 1 + below(copy, 6); left > 0; left--)
		change(copy);
}

/* --- running them ---------------------------------------------------------------------------- */

/* In memory of that very size, so that a sanitizer sees the first byte behind it. */
static void run_one(const uint8_t *bytes, size_t n)
{
	uint8_t *exact = malloc(n > 0 ? n : 1);

	if (exact == NULL)
		abort();
	memcpy(exact, bytes, n);
	LLVMFuzzerTestOneInput(exact, n);
	free(exact);
}

static void run_inputs(uint64_t seed, uint64_t mutations, volatile uint64_t *at)
{
	static struct copy copy;

	for (*at = 0; *at < n_inputs; ++*at)
		run_one(inputs[*at].bytes, inputs[*at].n);
	for (; *at - n_inputs < mutations; ++*at) {
		make_copy(&copy, seed, *at - n_inputs);
		run_one(copy.bytes, copy.n);
	}
}

static int tell(const char *program, uint64_t seed, uint64_t at, int status)
{
	(void)printf("%s: ended with %s %d in ", program, WIFSIGNALED(status) ? "signal" : "status",
	             WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	if (at < n_inputs)
		(void)printf("%s\n", inputs[at].name);
	else
		(void)printf("copy %llu: --show %llu --seed %llu shows it\n",
		             (unsigned long long)(at - n_inputs), (unsigned long long)(at - n_inputs),
		             (unsigned long long)seed);
	return EXIT_FAILURE;
}

static int run_all(const char *program, uint64_t seed, uint64_t mutations)
{
	volatile uint64_t *at = mmap(NULL, sizeof(*at), PROT_READ | PROT_WRITE,
	                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid = at == MAP_FAILED ? -1 : fork();
	int status;

	if (pid == 0) {
		run_inputs(seed, mutations, at);
		exit(EXIT_SUCCESS); /* a search for leaks comes here, if there is one */
	}
	while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (pid < 0) {
		perror(program);
		return EXIT_FAILURE;
	}
	if (status != 0)
		return tell(program, seed, *at, status);
	(void)printf("%zu inputs, %llu changed copies\n", n_inputs, (unsigned long long)mutations);
	return EXIT_SUCCESS;
}

static int show(uint64_t seed, uint64_t number)
{
	static struct copy copy;

	make_copy(&copy, seed, number);
	return fwrite(copy.bytes, 1, copy.n, stdout) == copy.n && fflush(stdout) == 0 ? EXIT_SUCCESS
	                                                                              : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	uint64_t seed = 1, mutations = 0, shown = UINT64_MAX;
	int i = 1;

	for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
		uint64_t number = strtoull(argv[i + 1], NULL, 10);

		if (strcmp(argv[i], "--mutations") == 0)
			mutations = number;
		else if (strcmp(argv[i], "--seed") == 0)
			seed = number;
		else if (strcmp(argv[i], "--show") == 0)
			shown = number;
		else
			break;
	}
	if (i == argc || argv[i][0] == '-') {
		(void)fprintf(stderr, "usage: %s [--mutations N | --show K] [--seed S] FILE|FOLDER...\n",
		              argv[0]);
		return 2;
	}
	if (take_all(argv + i) < 0)
		return EXIT_FAILURE;
	return shown != UINT64_MAX ? show(seed, shown) : run_all(argv[0], seed, mutations);
}

#endif
#endif
