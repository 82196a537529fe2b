/* count.c - the task of `make run`: a file's lines, words and bytes as wc counts them in the
 * C locale, and its CRC-32.  The payload is the file's path, the reply
 * "lines words bytes crc32".
 *
 * link: -lz
 */
#include <parloop/task.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <unistd.h>
#include <zlib.h>

struct counts {
	uint64_t lines, words, bytes;
	uLong crc;
	int in_word;
};

/* As in wc of coreutils: white space ends a word, a printable character makes one, and
 * any other byte does neither. */
static void count_bytes(struct counts *counts, const unsigned char *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = bytes[i];

		counts->lines += c == '\n';
		if (c == ' ' || (c >= '\t' && c <= '\r')) {
			counts->words += (uint64_t)counts->in_word;
			counts->in_word = 0;
		} else if (c > ' ' && c < 0x7f) {
			counts->in_word = 1;
		}
	}
	counts->bytes += n;
	counts->crc = crc32(counts->crc, bytes, (uInt)n);
}

static int count_file(struct counts *counts, int fd)
{
	unsigned char buffer[64 * 1024];
	ssize_t n;

	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n > 0)
			count_bytes(counts, buffer, (size_t)n);
		else if (errno != EINTR)
			return -1;
	}
	counts->words += (uint64_t)counts->in_word;
	return 0;
}

/* Payloads are bytes, not strings. */
static int as_path(char path[PATH_MAX], const void *payload, uint64_t size)
{
	if (size >= PATH_MAX || memchr(payload, '\0', (size_t)size) != NULL)
		return -1;
	memcpy(path, payload, (size_t)size);
	path[size] = '\0';
	return 0;
}

static int count(par_env *env, const void *payload, uint64_t size)
{
	struct counts counts = {.crc = crc32(0, Z_NULL, 0)};
	char path[PATH_MAX], reply[128];
	int fd, failed, n;

	if (as_path(path, payload, size) < 0)
		return par_fail_task(env, EINVAL, "not a path");
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return par_fail_task(env, errno, "cannot open it: %s", strerror(errno));
	failed = count_file(&counts, fd) < 0 ? errno : 0;
	(void)close(fd);
	if (failed)
		return par_fail_task(env, failed, "cannot read it: %s", strerror(failed));
	n = snprintf(reply, sizeof(reply), "%" PRIu64 " %" PRIu64 " %" PRIu64 " %08lx",
	             counts.lines, counts.words, counts.bytes, counts.crc);
	return par_reply(env, reply, (uint64_t)n);
}

PAR_TASK_OF_BYTES(count)
