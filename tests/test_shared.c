#include "scratch.h"

#include "shared.h"

#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { PAGE = 4096, MIB = 1 << 20, SIZED = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL };

static par_error error = PAR_ERROR_INIT;

static char *allocate(uint64_t n)
{
	char *shared = par_shared_alloc(n, &error);

	ck_assert_msg(shared != NULL, "%s: %s", error.what, error.reason);
	return shared;
}

static struct shared_copy *copy_of(const void *bytes, uint64_t n, enum shared_mode mode)
{
	struct shared_copy *copy = shared_copy(bytes, n, mode, &error);

	ck_assert_msg(copy != NULL, "%s: %s", error.what, error.reason);
	return copy;
}

static uint64_t id_of(const struct shared_copy *copy)
{
	return shared_copy_attachment(copy)->id;
}

static int seals_of(const par_attachment *attachment)
{
	int seals = fcntl(attachment->fd, F_GET_SEALS);

	ck_assert_int_ge(seals, 0);
	return seals;
}

/* As a worker maps it; NULL: refused. */
static char *map(const par_attachment *attachment, int protection, int flags)
{
	void *address = mmap(NULL, attachment->bytes, protection, flags, attachment->fd, 0);

	return address != MAP_FAILED ? address : NULL;
}

static int is_found(const void *bytes, uint64_t n)
{
	const par_attachment *attachment;
	struct wire_ref ref;

	return shared_find(bytes, n, &ref, &attachment);
}

static int descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

static void refuses(uint64_t n, const char *reason, const char *remedy)
{
	int before = descriptors();

	ck_assert_ptr_null(par_shared_alloc(n, &error));
	ck_assert_int_eq(error.code, PAR_ENOMEM);
	assert_contains(error.what, "cannot share ");
	assert_contains(error.reason, reason);
	assert_contains(error.remedy, remedy);
	ck_assert_ptr_null(shared_copy(scratch_dir, n, SHARED_READ, &error));
	ck_assert_int_eq(error.code, PAR_ENOMEM);
	assert_contains(error.reason, reason);
	ck_assert_int_eq(descriptors(), before);
}

/* --- what the caller allocates ---------------------------------------------------------------- */

START_TEST(shared_memory_is_zeros_on_whole_pages)
{
	char *shared = allocate(3 * MIB + 1);
	size_t zeros = 0;

	ck_assert_uint_eq((uintptr_t)shared % PAGE, 0);
	while (zeros < 3 * MIB + 1 && shared[zeros] == 0)
		zeros++;
	ck_assert_uint_eq(zeros, 3 * MIB + 1);
	memset(shared, 'x', 3 * MIB + 1);
	par_shared_free(shared);
}
END_TEST

START_TEST(what_lies_in_a_buffer_is_found_with_its_place)
{
	char *shared = allocate(2 * PAGE + 100);
	const par_attachment *attachment;
	struct wire_ref ref;

	ck_assert_int_eq(shared_find(shared, 2 * PAGE + 100, &ref, &attachment), 1);
	ck_assert_uint_eq(ref.id, attachment->id);
	ck_assert_uint_eq(ref.offset, 0);
	ck_assert_uint_eq(attachment->size, sizeof(*attachment));
	ck_assert_int_eq(attachment->kind, PAR_ATTACH_ARRAY);
	ck_assert_uint_eq(attachment->bytes, 2 * PAGE + 100);
	ck_assert_ptr_eq(attachment->address, shared);
	ck_assert_int_eq(shared_find(shared + PAGE + 7, 50, &ref, &attachment), 1);
	ck_assert_uint_eq(ref.offset, PAGE + 7);
	ck_assert_int_eq(shared_find(shared + 2 * PAGE + 99, 1, &ref, &attachment), 1);
	par_shared_free(shared);
}
END_TEST

START_TEST(what_runs_over_an_end_is_not_shared)
{
	char *shared = allocate(PAGE + 100);

	ck_assert_int_eq(is_found(shared, PAGE + 101), 0);
	ck_assert_int_eq(is_found(shared + PAGE + 99, 2), 0);
	ck_assert_int_eq(is_found(shared + PAGE + 100, 1), 0);
	ck_assert_int_eq(is_found(shared - 1, 2), 0);
	ck_assert_int_eq(is_found(shared + 1, UINT64_MAX), 0);
	ck_assert_int_eq(is_found(shared + 1, UINT64_MAX - (uintptr_t)shared), 0);
	ck_assert_int_eq(is_found((void *)UINTPTR_MAX, 1), 0);
	ck_assert_int_eq(is_found(NULL, UINT64_MAX), 0);
	ck_assert_int_eq(is_found(&error, sizeof(error)), 0);
	par_shared_free(shared);
}
END_TEST

START_TEST(no_bytes_are_not_shared)
{
	char *shared = allocate(0), *other = allocate(0);

	ck_assert_ptr_ne(shared, other);
	ck_assert_int_eq(is_found(shared, 0), 0);
	ck_assert_int_eq(is_found(shared, 1), 0);
	par_shared_free(shared);
	par_shared_free(other);
	par_shared_free(NULL);
}
END_TEST

START_TEST(who_reads_a_buffer_gets_it_read_only)
{
	char *shared = allocate(PAGE);
	const par_attachment *in, *out;
	struct wire_ref in_ref, out_ref;

	ck_assert_int_eq(shared_find(shared + 8, 8, &in_ref, &in), 1);
	ck_assert_int_eq(shared_find_out(shared + 8, 8, &out_ref, &out), 1);
	ck_assert_uint_ne(in_ref.id, out_ref.id);
	ck_assert_uint_eq(out_ref.id, out->id);
	ck_assert_uint_eq(out_ref.offset, 8);
	ck_assert_int_eq(in->writable, PAR_ATTACH_READ);
	ck_assert_int_eq(out->writable, PAR_ATTACH_WRITE);
	ck_assert_int_eq(in->fd, out->fd);
	par_shared_free(shared);
}
END_TEST

START_TEST(workers_write_into_a_buffer)
{
	char *shared = allocate(PAGE), *theirs;
	const par_attachment *out;
	struct wire_ref ref;

	ck_assert_int_eq(shared_find_out(shared, PAGE, &ref, &out), 1);
	theirs = map(out, PROT_READ | PROT_WRITE, MAP_SHARED);
	ck_assert_ptr_nonnull(theirs);
	(void)strcpy(theirs + 100, "a result");
	ck_assert_str_eq(shared + 100, "a result");
	munmap(theirs, PAGE);
	par_shared_free(shared);
}
END_TEST

START_TEST(nobody_can_change_the_size_of_a_buffer)
{
	char *shared = allocate(PAGE);
	const par_attachment *out;
	struct wire_ref ref;

	ck_assert_int_eq(shared_find_out(shared, PAGE, &ref, &out), 1);
	ck_assert_int_eq(seals_of(out) & SIZED, SIZED);
	ck_assert_int_lt(ftruncate(out->fd, 0), 0);
	ck_assert_int_lt(ftruncate(out->fd, 2 * PAGE), 0);
	ck_assert_int_eq(fcntl(out->fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	par_shared_free(shared);
}
END_TEST

START_TEST(each_of_many_buffers_is_found)
{
	enum { N = 300 };
	char *shared[N];
	int before = descriptors();

	for (int i = 0; i < N; i++)
		shared[i] = allocate(PAGE * (1 + (uint64_t)i % 3));
	for (int i = 0; i < N; i += 2) {
		par_shared_free(shared[i]);
		ck_assert_int_eq(is_found(shared[i], 1), 0);
	}
	for (int i = 1; i < N; i += 2) {
		const par_attachment *attachment;
		struct wire_ref ref;

		ck_assert_int_eq(shared_find(shared[i] + 9, 1, &ref, &attachment), 1);
		ck_assert_ptr_eq(attachment->address, shared[i]);
		ck_assert_int_eq(shared_is_there(ref.id), 1);
	}
	for (int i = N - 1; i > 0; i -= 2)
		par_shared_free(shared[i]);
	ck_assert_int_eq(descriptors(), before);
}
END_TEST

START_TEST(a_buffer_that_was_freed_has_ended)
{
	char *shared = allocate(PAGE);
	const par_attachment *in, *out;
	struct wire_ref in_ref, out_ref;
	uint64_t ended = shared_ended();

	ck_assert_int_eq(shared_find(shared, PAGE, &in_ref, &in), 1);
	ck_assert_int_eq(shared_find_out(shared, PAGE, &out_ref, &out), 1);
	ck_assert_int_eq(shared_is_there(in_ref.id), 1);
	ck_assert_int_eq(shared_is_there(out_ref.id), 1);
	ck_assert_uint_eq(shared_ended(), ended);
	par_shared_free(shared);
	ck_assert_uint_ne(shared_ended(), ended);
	ck_assert_int_eq(shared_is_there(in_ref.id), 0);
	ck_assert_int_eq(shared_is_there(out_ref.id), 0);
	ck_assert_int_eq(shared_is_there(0), 0);
	ck_assert_int_eq(is_found(shared, 1), 0);
}
END_TEST

START_TEST(freeing_something_else_is_a_warning)
{
	char *shared = allocate(2 * PAGE);

	par_shared_free(shared + PAGE);
	assert_contains(scratch_log, "2 par_shared_free: nothing of par_shared_alloc() begins at ");
	par_shared_free(&error);
	ck_assert_int_eq(is_found(shared, 2 * PAGE), 1);
	shared[PAGE] = 1;
	par_shared_free(shared);
	scratch_log[0] = '\0';
	par_shared_free(shared);
	assert_contains(scratch_log, "was freed already");
}
END_TEST

/* --- copies ----------------------------------------------------------------------------------- */

START_TEST(a_copy_has_the_bytes)
{
	char bytes[] = "some bytes";
	struct shared_copy *copy = copy_of(bytes, sizeof(bytes), SHARED_READ);
	const par_attachment *attachment = shared_copy_attachment(copy);
	char *theirs = map(attachment, PROT_READ, MAP_SHARED);

	ck_assert_uint_ge(attachment->bytes, sizeof(bytes));
	ck_assert_int_eq(shared_is_there(attachment->id), 1);
	bytes[0] = 'S';
	ck_assert_str_eq(theirs, "some bytes");
	ck_assert_str_eq(attachment->address, "some bytes");
	munmap(theirs, attachment->bytes);
	shared_release(copy);
	shared_release(NULL);
	shared_shrink();
}
END_TEST

START_TEST(a_copy_is_little_longer_than_what_is_copied)
{
	static const uint64_t sizes[] = {0, 1, PAGE, PAGE + 1, 100000, MIB, MIB + 1, 5 * MIB - 1, 9 * MIB};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		char *bytes = malloc(sizes[i] + 1);
		struct shared_copy *copy;

		memset(bytes, 'x', sizes[i]);
		copy = copy_of(bytes, sizes[i], SHARED_READ);
		ck_assert_uint_ge(shared_copy_attachment(copy)->bytes, sizes[i]);
		ck_assert_uint_le(shared_copy_attachment(copy)->bytes, sizes[i] + sizes[i] / 8 + PAGE);
		ck_assert_int_eq(memcmp(shared_copy_attachment(copy)->address, bytes, sizes[i]), 0);
		free(bytes);
		shared_release(copy);
	}
	shared_shrink();
}
END_TEST

START_TEST(workers_cannot_write_to_a_copy_to_be_read)
{
	struct shared_copy *copy = copy_of("abc", 4, SHARED_READ);
	const par_attachment *attachment = shared_copy_attachment(copy);
	char *theirs;

	ck_assert_int_eq(attachment->writable, PAR_ATTACH_READ);
	ck_assert_int_eq(seals_of(attachment) & (SIZED | F_SEAL_FUTURE_WRITE),
	                 SIZED | F_SEAL_FUTURE_WRITE);
	ck_assert_ptr_null(map(attachment, PROT_READ | PROT_WRITE, MAP_SHARED));
	ck_assert_int_lt(pwrite(attachment->fd, "x", 1, 0), 0);
	theirs = map(attachment, PROT_READ, MAP_SHARED);
	ck_assert_ptr_nonnull(theirs);
	ck_assert_int_lt(mprotect(theirs, attachment->bytes, PROT_READ | PROT_WRITE), 0);
	munmap(theirs, attachment->bytes);
	shared_release(copy);
	shared_shrink();
}
END_TEST

START_TEST(all_workers_see_what_one_writes_to_a_writable_copy)
{
	struct shared_copy *copy = copy_of("abc", 4, SHARED_WRITE);
	const par_attachment *attachment = shared_copy_attachment(copy);
	char *one = map(attachment, PROT_READ | PROT_WRITE, MAP_SHARED);
	char *other = map(attachment, PROT_READ | PROT_WRITE, MAP_SHARED);

	ck_assert_int_eq(attachment->writable, PAR_ATTACH_WRITE);
	ck_assert_int_eq(seals_of(attachment) & SIZED, SIZED);
	one[0] = 'x';
	ck_assert_str_eq(other, "xbc");
	munmap(one, attachment->bytes);
	munmap(other, attachment->bytes);
	shared_release(copy);
	shared_shrink();
}
END_TEST

START_TEST(nobody_sees_what_one_writes_to_a_private_copy)
{
	struct shared_copy *copy = copy_of("abc", 4, SHARED_PRIVATE);
	const par_attachment *attachment = shared_copy_attachment(copy);
	char *one = map(attachment, PROT_READ | PROT_WRITE, MAP_PRIVATE);
	char *other = map(attachment, PROT_READ | PROT_WRITE, MAP_PRIVATE);

	ck_assert_int_eq(attachment->writable, PAR_ATTACH_PRIVATE);
	ck_assert_ptr_null(map(attachment, PROT_READ | PROT_WRITE, MAP_SHARED));
	one[0] = 'x';
	ck_assert_str_eq(other, "abc");
	ck_assert_str_eq(attachment->address, "abc");
	munmap(one, attachment->bytes);
	munmap(other, attachment->bytes);
	shared_release(copy);
	shared_shrink();
}
END_TEST

/* --- the pool --------------------------------------------------------------------------------- */

START_TEST(the_pages_of_a_released_copy_are_used_again)
{
	char *bytes = calloc(1, MIB);
	struct shared_copy *copy = copy_of(bytes, MIB, SHARED_READ);
	uint64_t id = id_of(copy), ended = shared_ended();
	char *theirs = map(shared_copy_attachment(copy), PROT_READ, MAP_SHARED);
	int before = descriptors();

	for (char letter = 'a'; letter < 'f'; letter++) {
		shared_release(copy);
		ck_assert_int_eq(shared_is_there(id), 1);
		memset(bytes, letter, MIB);
		copy = copy_of(bytes, MIB - (uint64_t)letter, SHARED_READ);
		ck_assert_uint_eq(id_of(copy), id);
		ck_assert_int_eq(memcmp(theirs, bytes, MIB - (size_t)letter), 0);
	}
	ck_assert_uint_eq(shared_ended(), ended);
	ck_assert_int_eq(descriptors(), before);
	munmap(theirs, shared_copy_attachment(copy)->bytes);
	shared_release(copy);
	shared_shrink();
	free(bytes);
	ck_assert_int_eq(descriptors(), before - 1);
	ck_assert_int_eq(shared_is_there(id), 0);
	ck_assert_uint_ne(shared_ended(), ended);
}
END_TEST

START_TEST(a_copy_in_use_is_not_used_again)
{
	struct shared_copy *first = copy_of("first", 6, SHARED_READ);
	struct shared_copy *second = copy_of("second", 7, SHARED_READ);

	ck_assert_uint_ne(id_of(first), id_of(second));
	ck_assert_str_eq(shared_copy_attachment(first)->address, "first");
	ck_assert_str_eq(shared_copy_attachment(second)->address, "second");
	shared_release(first);
	shared_release(second);
	shared_shrink();
}
END_TEST

START_TEST(a_copy_is_used_again_in_its_own_mode)
{
	struct shared_copy *copy = copy_of("abc", 4, SHARED_WRITE);
	uint64_t id = id_of(copy);

	shared_release(copy);
	copy = copy_of("abc", 4, SHARED_READ);
	ck_assert_uint_ne(id_of(copy), id);
	ck_assert_int_eq(shared_copy_attachment(copy)->writable, PAR_ATTACH_READ);
	shared_release(copy);
	copy = copy_of("abc", 4, SHARED_WRITE);
	ck_assert_uint_eq(id_of(copy), id);
	shared_release(copy);
	shared_shrink();
}
END_TEST

/* A worker that wrote to its view of the first would see that, and not the second. */
START_TEST(a_private_copy_has_another_id_when_it_is_used_again)
{
	struct shared_copy *copy = copy_of("abc", 4, SHARED_PRIVATE);
	uint64_t id = id_of(copy), ended = shared_ended();
	int fd = shared_copy_attachment(copy)->fd;

	shared_release(copy);
	copy = copy_of("def", 4, SHARED_PRIVATE);
	ck_assert_int_eq(shared_copy_attachment(copy)->fd, fd);
	ck_assert_uint_ne(id_of(copy), id);
	ck_assert_int_eq(shared_is_there(id), 0);
	ck_assert_int_eq(shared_is_there(id_of(copy)), 1);
	ck_assert_uint_ne(shared_ended(), ended);
	shared_release(copy);
	shared_shrink();
}
END_TEST

START_TEST(the_smallest_that_is_large_enough_is_used_again)
{
	enum { N = 4 };
	static const uint64_t sizes[N] = {4 * MIB, 2 * MIB, 3 * MIB, 64 * PAGE};
	char *bytes = calloc(1, 4 * MIB);
	struct shared_copy *copies[N];
	uint64_t ids[N];

	for (int i = 0; i < N; i++)
		copies[i] = copy_of(bytes, sizes[i], SHARED_READ);
	for (int i = 0; i < N; i++) {
		ids[i] = id_of(copies[i]);
		shared_release(copies[i]);
	}
	copies[0] = copy_of(bytes, 2 * MIB + 1, SHARED_READ);
	ck_assert_uint_eq(id_of(copies[0]), ids[2]);
	copies[1] = copy_of(bytes, MIB / 2, SHARED_READ); /* all are much larger, or too small */
	for (int i = 0; i < N; i++)
		ck_assert_uint_ne(id_of(copies[1]), ids[i]);
	shared_release(copies[0]);
	shared_release(copies[1]);
	shared_shrink();
	free(bytes);
}
END_TEST

START_TEST(the_pool_keeps_the_last_16)
{
	enum { N = 40, KEPT = 16 };
	struct shared_copy *copies[N];
	uint64_t ids[N];
	int before = descriptors();

	for (int i = 0; i < N; i++)
		copies[i] = copy_of("abc", 4, SHARED_READ);
	for (int i = 0; i < N; i++)
		ids[i] = id_of(copies[i]);
	for (int i = 0; i < N; i++)
		shared_release(copies[i]);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(shared_is_there(ids[i]), i >= N - KEPT);
	ck_assert_int_eq(descriptors(), before + KEPT);
	shared_shrink();
	ck_assert_int_eq(descriptors(), before);
}
END_TEST

START_TEST(the_pool_keeps_no_more_than_256_mib)
{
	enum { N = 3 };
	char *bytes = calloc(1, 100 * MIB);
	struct shared_copy *copies[N];
	uint64_t ids[N];
	int before = descriptors();

	for (int i = 0; i < N; i++)
		copies[i] = copy_of(bytes, 100 * MIB, SHARED_READ);
	for (int i = 0; i < N; i++) {
		ids[i] = id_of(copies[i]);
		shared_release(copies[i]);
	}
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(shared_is_there(ids[i]), i > 0);
	ck_assert_int_eq(descriptors(), before + N - 1);
	shared_shrink();
	free(bytes);
}
END_TEST

/* --- what there is not enough of -------------------------------------------------------------- */

START_TEST(refuses_more_than_there_is)
{
	static const uint64_t sizes[] = {UINT64_C(1) << 46, UINT64_C(1) << 60, INT64_MAX - 2 * PAGE};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		refuses(sizes[i], " of memory are left", "share less at a time");
	assert_contains(error.what, "cannot share 8 EiB of memory");
}
END_TEST

START_TEST(refuses_what_is_beyond_all_numbers)
{
	static const uint64_t sizes[] = {INT64_MAX, (uint64_t)INT64_MAX + 1, UINT64_MAX - PAGE,
	                                 UINT64_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		refuses(sizes[i], "no file of that size", "share less at a time");
}
END_TEST

static void limit(int resource, rlim_t most)
{
	struct rlimit limits;

	ck_assert_int_eq(getrlimit(resource, &limits), 0);
	limits.rlim_cur = most;
	ck_assert_int_eq(setrlimit(resource, &limits), 0);
}

START_TEST(refuses_beyond_the_limit_of_files_without_a_signal)
{
	limit(RLIMIT_FSIZE, MIB);
	refuses(MIB + 1, "1 MiB at most", "ulimit -f");
	par_shared_free(allocate(MIB));
}
END_TEST

START_TEST(refuses_beyond_the_limit_of_address_space)
{
	if (SANITIZED || getenv("UNDER_VALGRIND") != NULL)
		return;
	limit(RLIMIT_AS, 256 * MIB);
	refuses(300 * MIB, "256 MiB of address space", "ulimit -v");
	par_shared_free(allocate(MIB));
}
END_TEST

START_TEST(refuses_when_descriptors_are_out)
{
	int fds[64], n = 0;

	limit(RLIMIT_NOFILE, 40);
	while (n < 64 && (fds[n] = dup(0)) >= 0)
		n++;
	close(fds[--n]);
	close(fds[--n]);
	{
		char *shared = allocate(10), *other = allocate(10);

		ck_assert_ptr_null(par_shared_alloc(10, &error));
		ck_assert_int_eq(error.code, PAR_ENOMEM);
		assert_contains(error.reason, "all 40 are in use");
		assert_contains(error.remedy, "ulimit -n");
		ck_assert_ptr_null(shared_copy("abc", 4, SHARED_READ, &error));
		assert_contains(error.reason, "all 40 are in use");
		par_shared_free(shared);
		par_shared_free(allocate(10));
		par_shared_free(other);
	}
	while (n > 0)
		close(fds[--n]);
}
END_TEST

START_TEST(the_pool_gives_way_when_descriptors_are_out)
{
	int fds[64], n = 0;
	struct shared_copy *copy = copy_of("abc", 4, SHARED_READ);
	uint64_t id = id_of(copy);
	char *shared;

	limit(RLIMIT_NOFILE, 40);
	shared_release(copy);
	while (n < 64 && (fds[n] = dup(0)) >= 0)
		n++;
	shared = allocate(10);
	ck_assert_int_eq(shared_is_there(id), 0);
	par_shared_free(shared);
	while (n > 0)
		close(fds[--n]);
}
END_TEST

START_TEST(refuses_to_copy_what_is_not_there)
{
	char *nowhere;

	if (getenv("UNDER_VALGRIND") != NULL) /* sees it too, and says so */
		return;
	nowhere = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_null(shared_copy(nowhere, 10, SHARED_READ, &error));
	ck_assert_int_eq(error.code, PAR_EINVAL);
	ck_assert_ptr_null(shared_copy(nowhere, 10, SHARED_READ, NULL));
	munmap(nowhere, PAGE);
}
END_TEST

/* --- fork() ----------------------------------------------------------------------------------- */

static int our_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GET_SEALS) >= 0;
	return n;
}

static void run_in_child(void (*run)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		run(arg);
		_exit(7);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 7, "the child ended with %#x",
	              (unsigned)status);
}

#define CHILD_MUST(condition)                                                                   \
	do {                                                                                    \
		if (!(condition))                                                               \
			_exit(__LINE__ % 100 + 100);                                            \
	} while (0)

static void use_parents_buffer(void *arg)
{
	char *shared = arg, *own;

	CHILD_MUST(strcmp(shared, "the parent's") == 0);
	CHILD_MUST(!is_found(shared, 1));
	CHILD_MUST(our_descriptors() == 0);
	own = par_shared_alloc(PAGE, NULL);
	CHILD_MUST(own != NULL && is_found(own, PAGE) && !is_found(shared, 1));
	(void)strcpy(shared, "the child's");
	par_shared_free(shared);
	par_shared_free(shared);
	par_shared_free(own);
	CHILD_MUST(!is_found(own, 1));
}

START_TEST(a_child_sees_the_parents_buffer_and_frees_it_for_itself)
{
	char *shared = allocate(PAGE);

	(void)strcpy(shared, "the parent's");
	run_in_child(use_parents_buffer, shared);
	ck_assert_str_eq(shared, "the child's");
	ck_assert_int_eq(is_found(shared, PAGE), 1);
	par_shared_free(shared);
	ck_assert_str_eq(scratch_log, "");
}
END_TEST

static int is_mapped(const void *page)
{
	return msync((void *)(uintptr_t)page, PAGE, MS_ASYNC) == 0;
}

static void use_parents_copies(void *arg)
{
	struct shared_copy *copy = arg;

	CHILD_MUST(our_descriptors() == 0);
	CHILD_MUST(!is_mapped(shared_copy_attachment(copy)->address));
	shared_release(copy);
	copy = shared_copy("child", 6, SHARED_READ, NULL);
	CHILD_MUST(copy != NULL && our_descriptors() == 1);
	CHILD_MUST(strcmp(shared_copy_attachment(copy)->address, "child") == 0);
	shared_release(copy);
	shared_shrink();
	CHILD_MUST(our_descriptors() == 0);
}

START_TEST(a_child_does_not_write_into_the_parents_copies)
{
	struct shared_copy *used = copy_of("used", 5, SHARED_READ);
	struct shared_copy *pooled = copy_of("pooled", 7, SHARED_READ);
	char *theirs = map(shared_copy_attachment(pooled), PROT_READ, MAP_SHARED);

	shared_release(pooled);
	ck_assert_int_eq(is_mapped(shared_copy_attachment(used)->address), 1);
	run_in_child(use_parents_copies, used);
	ck_assert_str_eq(theirs, "pooled");
	ck_assert_str_eq(shared_copy_attachment(used)->address, "used");
	munmap(theirs, shared_copy_attachment(pooled)->bytes);
	shared_release(used);
	shared_shrink();
}
END_TEST

/* --- threads ---------------------------------------------------------------------------------- */

enum { THREADS = 4, ROUNDS = 200 };

static _Atomic int go_on;

static void *use_all(void *arg)
{
	const char letter = (char)('a' + *(int *)arg);
	char bytes[3 * PAGE];

	memset(bytes, letter, sizeof(bytes));
	for (int i = 0; i < ROUNDS; i++) {
		const uint64_t n = 1 + (uint64_t)(i * 577) % sizeof(bytes);
		struct shared_copy *copy = shared_copy(bytes, n, (enum shared_mode)(i % 3), NULL);
		char *shared = par_shared_alloc(n, NULL);
		const char *copied = copy != NULL ? shared_copy_attachment(copy)->address : NULL;
		const par_attachment *attachment;
		struct wire_ref ref;

		if (copied == NULL || shared == NULL || !shared_find(shared + n / 2, 1, &ref, &attachment) ||
		    attachment->address != shared || !shared_is_there(ref.id))
			return "a thread found nothing";
		memcpy(shared, bytes, n);
		if (copied[0] != letter || copied[n - 1] != letter || shared[n - 1] != letter)
			return "a thread found what is another's";
		par_shared_free(shared);
		shared_release(copy);
		(void)shared_ended();
	}
	return NULL;
}

START_TEST(threads_share_memory_at_once)
{
	int numbers[THREADS];
	pthread_t threads[THREADS];
	int before = descriptors();

	for (int i = 0; i < THREADS; i++) {
		numbers[i] = i;
		ck_assert_int_eq(pthread_create(&threads[i], NULL, use_all, &numbers[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		void *wrong;

		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_msg(wrong == NULL, "%s", (char *)wrong);
	}
	shared_shrink();
	ck_assert_int_eq(descriptors(), before);
}
END_TEST

static void *churn(void *arg)
{
	while (atomic_load(&go_on)) {
		struct shared_copy *copy = shared_copy("abc", 4, SHARED_READ, NULL);

		par_shared_free(par_shared_alloc(PAGE, NULL));
		shared_release(copy);
		shared_shrink();
	}
	return arg;
}

/* The child finds neither a lock that nobody will open nor a descriptor of something half made. */
static void share_in_child(void *arg)
{
	char *shared;

	(void)arg;
	CHILD_MUST(our_descriptors() == 0);
	shared = par_shared_alloc(PAGE, NULL);
	CHILD_MUST(shared != NULL && is_found(shared, PAGE));
	par_shared_free(shared);
	CHILD_MUST(our_descriptors() == 0);
}

START_TEST(a_fork_between_other_threads_finds_all_in_order)
{
	pthread_t thread;

#ifdef __SANITIZE_ADDRESS__
	printf("SKIP a_fork_between_other_threads_finds_all_in_order: a fork may find AddressSanitizer's "
	       "allocator locked\n");
	return;
#endif
	atomic_store(&go_on, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, churn, NULL), 0);
	for (int i = 0; i < 50; i++)
		run_in_child(share_in_child, NULL);
	atomic_store(&go_on, 0);
	pthread_join(thread, NULL);
	shared_shrink();
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		shared_memory_is_zeros_on_whole_pages,
		what_lies_in_a_buffer_is_found_with_its_place,
		what_runs_over_an_end_is_not_shared,
		no_bytes_are_not_shared,
		who_reads_a_buffer_gets_it_read_only,
		workers_write_into_a_buffer,
		nobody_can_change_the_size_of_a_buffer,
		each_of_many_buffers_is_found,
		a_buffer_that_was_freed_has_ended,
		freeing_something_else_is_a_warning,
		a_copy_has_the_bytes,
		a_copy_is_little_longer_than_what_is_copied,
		workers_cannot_write_to_a_copy_to_be_read,
		all_workers_see_what_one_writes_to_a_writable_copy,
		nobody_sees_what_one_writes_to_a_private_copy,
		the_pages_of_a_released_copy_are_used_again,
		a_copy_in_use_is_not_used_again,
		a_copy_is_used_again_in_its_own_mode,
		a_private_copy_has_another_id_when_it_is_used_again,
		the_smallest_that_is_large_enough_is_used_again,
		the_pool_keeps_the_last_16,
		the_pool_keeps_no_more_than_256_mib,
		refuses_more_than_there_is,
		refuses_what_is_beyond_all_numbers,
		refuses_beyond_the_limit_of_files_without_a_signal,
		refuses_beyond_the_limit_of_address_space,
		refuses_when_descriptors_are_out,
		the_pool_gives_way_when_descriptors_are_out,
		refuses_to_copy_what_is_not_there,
		a_child_sees_the_parents_buffer_and_frees_it_for_itself,
		a_child_does_not_write_into_the_parents_copies,
		threads_share_memory_at_once,
		a_fork_between_other_threads_finds_all_in_order,
	};
	Suite *suite = suite_create("shared");
	TCase *tcase = tcase_create("shared");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, scratch_begin, scratch_end);
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tcase_add_test(tcase, tests[i]);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
