#include "shared.h"

#include "error.h"
#include "log.h"
#include "shared_file.h"

#include <parloop/parloop.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Released copies that are kept, all together. */
enum { MOST_POOLED = 16, MOST_POOLED_BYTES = 256 << 20 };

/* Those below are for who has attachments of his own. */
#define FIRST_ID (UINT64_C(1) << 32)

/* What par_shared_alloc() made. */
struct buffer {
	struct shared_file file;
	uint64_t n; /* bytes that were asked for */
	par_attachment in, out; /* workers read it, and write to it */
};

struct shared_copy {
	struct shared_file file;
	enum shared_mode mode;
	par_attachment attachment;
	uint64_t released; /* 0: in use; else the larger the later */
	int is_populated;
	int is_of_parent; /* this process is a fork of the one that made it */
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	struct buffer **buffers; /* in the order of their addresses */
	size_t n_buffers, buffers_room;
	struct shared_copy **copies; /* all of them, in no order */
	size_t n_copies, copies_room;
	uint64_t *ids; /* of what is there, ascending */
	size_t n_ids, ids_room;
	uint64_t last_id;
	uint64_t last_release;
} all = {.lock = PTHREAD_MUTEX_INITIALIZER, .last_id = FIRST_ID - 1};

/* All buffers lie between these.  Who may ask for one knows that it was made, and so sees bounds
 * that have it. */
static _Atomic uintptr_t lowest = UINTPTR_MAX, highest;

static _Atomic uint64_t ended;

/* --- fork() ----------------------------------------------------------------------------------- */

static void before_fork(void)
{
	pthread_mutex_lock(&all.lock);
}

static void in_parent(void)
{
	pthread_mutex_unlock(&all.lock);
}

/* Its descriptors would keep memory that the parent gives back, and their numbers may soon be
 * somebody else's.  Of a copy it has no pages (MADV_DONTFORK). */
static void in_child(void)
{
	for (size_t i = 0; i < all.n_buffers; i++)
		shared_file_close(&all.buffers[i]->file);
	for (size_t i = 0; i < all.n_copies; i++) {
		struct shared_copy *copy = all.copies[i];

		shared_file_close(&copy->file);
		copy->is_of_parent = 1;
		if (copy->released != 0)
			free(copy);
	}
	all.n_copies = all.n_ids = 0;
	pthread_mutex_unlock(&all.lock);
}

static void watch(void)
{
	(void)pthread_atfork(before_fork, in_parent, in_child);
}

/* Before the first piece of memory is made. */
static void watch_forks(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, watch);
}

int shared_parse_mode(const char *text, enum shared_mode *mode)
{
	static const struct {
		const char *text;
		enum shared_mode mode;
	} modes[] = {
		{"r", SHARED_READ},
		{"r+", SHARED_WRITE},
		{"w+", SHARED_WRITE},
		{"c", SHARED_PRIVATE},
	};

	for (size_t i = 0; i < sizeof(modes) / sizeof(modes[0]); i++) {
		if (strcmp(modes[i].text, text) != 0)
			continue;
		*mode = modes[i].mode;
		return 0;
	}
	return -1;
}

/* --- ids, under lock -------------------------------------------------------------------------- */

/* An array that has room for so many: moved, or NULL and as it was. */
static void *grown(void *array, size_t n, size_t *room, size_t size)
{
	size_t more = *room > 0 ? 2 * *room : 16;

	if (n <= *room)
		return array;
	array = reallocarray(array, more, size);
	if (array != NULL)
		*room = more;
	return array;
}

static int have_room_for_ids(size_t n)
{
	uint64_t *ids = grown(all.ids, all.n_ids + n, &all.ids_room, sizeof(*ids));

	if (ids == NULL)
		return -1;
	all.ids = ids;
	return 0;
}

static uint64_t new_id(void)
{
	return all.ids[all.n_ids++] = ++all.last_id;
}

/* Where it is, or would be. */
static size_t find_id(uint64_t id)
{
	size_t first = 0, after = all.n_ids;

	while (first < after) {
		size_t middle = first + (after - first) / 2;

		if (all.ids[middle] < id)
			first = middle + 1;
		else
			after = middle;
	}
	return first;
}

static void end_id(uint64_t id)
{
	size_t at = find_id(id);

	if (at == all.n_ids || all.ids[at] != id)
		return;
	all.n_ids--;
	memmove(all.ids + at, all.ids + at + 1, (all.n_ids - at) * sizeof(*all.ids));
	atomic_fetch_add_explicit(&ended, 1, memory_order_release);
}

uint64_t shared_ended(void)
{
	return atomic_load_explicit(&ended, memory_order_acquire);
}

int shared_is_there(uint64_t id)
{
	size_t at;
	int is_there;

	pthread_mutex_lock(&all.lock);
	at = find_id(id);
	is_there = at < all.n_ids && all.ids[at] == id;
	pthread_mutex_unlock(&all.lock);
	return is_there;
}

static par_attachment attachment_of(const struct shared_file *file, uint64_t bytes,
                                    enum shared_mode mode)
{
	const int is_moved = mode == SHARED_BROADCAST;

	return (par_attachment){
		.size = sizeof(par_attachment),
		.kind = is_moved ? PAR_ATTACH_BROADCAST : PAR_ATTACH_ARRAY,
		.id = new_id(),
		.bytes = bytes,
		.address = file->address,
		.fd = is_moved ? -1 : file->fd,
		.writable = is_moved ? PAR_ATTACH_READ : (int32_t)mode,
	};
}

/* --- sizes ------------------------------------------------------------------------------------ */

/* So many bytes as whole pages; UINT64_MAX: it is too much. */
static uint64_t whole_pages(uint64_t n)
{
	const uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

	if (n > INT64_MAX - page)
		return UINT64_MAX;
	return n == 0 ? page : (n + page - 1) & ~(page - 1);
}

/* At most an eighth more, so that the next copy, which may be a little longer, fits too. */
static uint64_t room_for_copy(uint64_t n)
{
	uint64_t step = n >= 8 && n <= INT64_MAX / 2 ? UINT64_C(1) << (60 - __builtin_clzll(n)) : 1;

	return whole_pages((n + step - 1) & ~(step - 1));
}

/* --- the pool of copies ----------------------------------------------------------------------- */

static int have_room_for_copy(void)
{
	struct shared_copy **copies =
		grown(all.copies, all.n_copies + 1, &all.copies_room, sizeof(*copies));

	if (copies == NULL)
		return -1;
	all.copies = copies;
	return have_room_for_ids(1);
}

/* Under lock: nobody finds it any more, and its memory is to be freed without. */
static void remove_copy(struct shared_copy *copy)
{
	for (size_t i = 0; i < all.n_copies; i++)
		if (all.copies[i] == copy)
			all.copies[i] = all.copies[--all.n_copies];
	end_id(copy->attachment.id);
	shared_file_close(&copy->file);
}

/* What was released first, if those that are pooled are too many, or too much; NULL: they are not.
 * Removed. */
static struct shared_copy *take_surplus(size_t most, uint64_t most_bytes)
{
	struct shared_copy *oldest = NULL;
	uint64_t bytes = 0;
	size_t n = 0;

	pthread_mutex_lock(&all.lock);
	for (size_t i = 0; i < all.n_copies; i++) {
		struct shared_copy *copy = all.copies[i];

		if (copy->released == 0)
			continue;
		n++;
		bytes += copy->file.room;
		if (oldest == NULL || copy->released < oldest->released)
			oldest = copy;
	}
	if (n <= most && bytes <= most_bytes)
		oldest = NULL;
	if (oldest != NULL)
		remove_copy(oldest);
	pthread_mutex_unlock(&all.lock);
	return oldest;
}

/* Returns whether it gave anything back. */
static int trim_pool(size_t most, uint64_t most_bytes)
{
	struct shared_copy *copy;
	int given = 0;

	while ((copy = take_surplus(most, most_bytes)) != NULL) {
		shared_file_unmap(&copy->file);
		free(copy);
		given = 1;
	}
	return given;
}

/* The smallest that is large enough, but not much larger.  Who wrote to his private view of it
 * would not see what is written here, so that has another id. */
static struct shared_copy *take_pooled(uint64_t n, enum shared_mode mode)
{
	const uint64_t room = room_for_copy(n);
	struct shared_copy *best = NULL;

	pthread_mutex_lock(&all.lock);
	for (size_t i = 0; i < all.n_copies; i++) {
		struct shared_copy *copy = all.copies[i];

		if (copy->released != 0 && copy->mode == mode && copy->file.room >= n &&
		    copy->file.room / 2 <= room && (best == NULL || copy->file.room < best->file.room))
			best = copy;
	}
	if (best != NULL && (mode == SHARED_PRIVATE || mode == SHARED_BROADCAST)) {
		end_id(best->attachment.id);
		best->attachment.id = new_id();
	}
	if (best != NULL)
		best->released = 0;
	pthread_mutex_unlock(&all.lock);
	return best;
}

/* --- making copies ---------------------------------------------------------------------------- */

/* Have the file of something new and put it among the others, all under the lock: a fork() sees
 * both or nothing.  Returns 0 or an errno. */
static int create_copy(struct shared_copy *copy, uint64_t room, enum shared_mode mode)
{
	int why = ENOMEM;

	pthread_mutex_lock(&all.lock);
	*copy = (struct shared_copy){.file.fd = -1, .mode = mode};
	if (have_room_for_copy() == 0)
		why = shared_file_create(&copy->file, room);
	if (why == 0) {
		(void)madvise(copy->file.address, (size_t)room, MADV_DONTFORK);
		copy->attachment = attachment_of(&copy->file, room, mode);
		all.copies[all.n_copies++] = copy;
	}
	pthread_mutex_unlock(&all.lock);
	return why;
}

static void end_copy(struct shared_copy *copy)
{
	pthread_mutex_lock(&all.lock);
	remove_copy(copy);
	pthread_mutex_unlock(&all.lock);
	shared_file_unmap(&copy->file);
}

static int make_copy(struct shared_copy *copy, const void *bytes, uint64_t n, enum shared_mode mode)
{
	const uint64_t room = room_for_copy(n);
	int why = shared_file_check(room);

	if (why == 0)
		why = create_copy(copy, room, mode);
	if (why != 0)
		return why;
	why = shared_file_write(&copy->file, bytes, n);
	if (why == 0)
		why = shared_file_reserve(&copy->file, n);
	if (why == 0)
		why = shared_file_seal(&copy->file, mode != SHARED_WRITE);
	if (why != 0)
		end_copy(copy);
	return why;
}

/* Where there is not enough of something, the pool has some. */
static int may_help(int why)
{
	return (why == ENOMEM || why == ENOSPC || why == EDQUOT || why == EMFILE || why == ENFILE) &&
	       trim_pool(0, 0);
}

/* The first copy is written to the file; to map its pages pays for those that follow. */
static void refill(struct shared_copy *copy, const void *bytes, uint64_t n)
{
	if (!copy->is_populated)
		shared_file_populate(&copy->file);
	copy->is_populated = 1;
	if (n > 0)
		memcpy(copy->file.address, bytes, (size_t)n);
}

/* What lies behind the copy is not worth moving. */
static void fit(struct shared_copy *copy, uint64_t n)
{
	if (copy->mode == SHARED_BROADCAST)
		copy->attachment.bytes = n;
}

struct shared_copy *shared_copy(const void *bytes, uint64_t n, enum shared_mode mode,
                                par_error *error)
{
	struct shared_copy *copy = take_pooled(n, mode);
	int why;

	if (copy != NULL) {
		refill(copy, bytes, n);
		fit(copy, n);
		return copy;
	}
	watch_forks();
	copy = malloc(sizeof(*copy));
	if (copy == NULL) {
		(void)error_memory(error, "cannot keep a copy");
		return NULL;
	}
	why = make_copy(copy, bytes, n, mode);
	if (why != 0 && may_help(why))
		why = make_copy(copy, bytes, n, mode);
	if (why == 0) {
		fit(copy, n);
		return copy;
	}
	(void)shared_file_refuse(error, n, why);
	free(copy);
	return NULL;
}

const par_attachment *shared_copy_attachment(const struct shared_copy *copy)
{
	return &copy->attachment;
}

void shared_release(struct shared_copy *copy)
{
	if (copy == NULL)
		return;
	if (copy->is_of_parent) {
		free(copy);
		return;
	}
	pthread_mutex_lock(&all.lock);
	copy->released = ++all.last_release;
	pthread_mutex_unlock(&all.lock);
	(void)trim_pool(MOST_POOLED, MOST_POOLED_BYTES);
}

void shared_shrink(void)
{
	(void)trim_pool(0, 0);
}

/* --- what the caller allocates ---------------------------------------------------------------- */

/* Under lock: how many begin at or before that. */
static size_t buffers_until(uintptr_t address)
{
	size_t first = 0, after = all.n_buffers;

	while (first < after) {
		size_t middle = first + (after - first) / 2;

		if ((uintptr_t)all.buffers[middle]->file.address <= address)
			first = middle + 1;
		else
			after = middle;
	}
	return first;
}

static void set_bounds(void)
{
	uintptr_t first = UINTPTR_MAX, after = 0;

	if (all.n_buffers > 0) {
		const struct shared_file *last = &all.buffers[all.n_buffers - 1]->file;

		first = (uintptr_t)all.buffers[0]->file.address;
		after = (uintptr_t)last->address + last->room;
	}
	atomic_store_explicit(&lowest, first, memory_order_relaxed);
	atomic_store_explicit(&highest, after, memory_order_relaxed);
}

static int have_room_for_buffer(void)
{
	struct buffer **buffers =
		grown(all.buffers, all.n_buffers + 1, &all.buffers_room, sizeof(*buffers));

	if (buffers == NULL)
		return -1;
	all.buffers = buffers;
	return have_room_for_ids(2);
}

static void insert_buffer(struct buffer *buffer)
{
	size_t at = buffers_until((uintptr_t)buffer->file.address);

	memmove(all.buffers + at + 1, all.buffers + at, (all.n_buffers - at) * sizeof(*all.buffers));
	all.buffers[at] = buffer;
	all.n_buffers++;
	set_bounds();
}

static int create_buffer(struct buffer *buffer, uint64_t n, uint64_t room)
{
	int why = ENOMEM;

	pthread_mutex_lock(&all.lock);
	*buffer = (struct buffer){.file.fd = -1, .n = n};
	if (have_room_for_buffer() == 0)
		why = shared_file_create(&buffer->file, room);
	if (why == 0) {
		buffer->in = attachment_of(&buffer->file, n, SHARED_READ);
		buffer->out = attachment_of(&buffer->file, n, SHARED_WRITE);
		insert_buffer(buffer);
	}
	pthread_mutex_unlock(&all.lock);
	return why;
}

/* The one that begins there, which nobody finds any more; NULL: none does. */
static struct buffer *take_buffer(const void *address)
{
	struct buffer *buffer = NULL;
	size_t at;

	pthread_mutex_lock(&all.lock);
	at = buffers_until((uintptr_t)address);
	if (at > 0 && all.buffers[at - 1]->file.address == address) {
		buffer = all.buffers[--at];
		all.n_buffers--;
		memmove(all.buffers + at, all.buffers + at + 1,
		        (all.n_buffers - at) * sizeof(*all.buffers));
		set_bounds();
		end_id(buffer->in.id);
		end_id(buffer->out.id);
		shared_file_close(&buffer->file);
	}
	pthread_mutex_unlock(&all.lock);
	return buffer;
}

static void free_buffer(const void *address)
{
	struct buffer *buffer = take_buffer(address);

	if (buffer == NULL) {
		log_line(LOG_WARNING,
		         "par_shared_free: nothing of par_shared_alloc() begins at %p, or it was "
		         "freed already; ignored",
		         address);
		return;
	}
	shared_file_unmap(&buffer->file);
	free(buffer);
}

static int make_buffer(struct buffer *buffer, uint64_t n)
{
	const uint64_t room = whole_pages(n);
	int why = shared_file_check(room);

	if (why == 0)
		why = create_buffer(buffer, n, room);
	if (why != 0)
		return why;
	why = shared_file_reserve(&buffer->file, 0);
	if (why == 0)
		why = shared_file_seal(&buffer->file, 0);
	if (why == 0) {
		shared_file_populate(&buffer->file);
		return 0;
	}
	(void)take_buffer(buffer->file.address);
	shared_file_unmap(&buffer->file);
	return why;
}

void *par_shared_alloc(uint64_t n_bytes, par_error *error)
{
	struct buffer *buffer = malloc(sizeof(*buffer));
	int why;

	if (buffer == NULL) {
		(void)error_memory(error, "cannot share memory");
		return NULL;
	}
	watch_forks();
	why = make_buffer(buffer, n_bytes);
	if (why != 0 && may_help(why))
		why = make_buffer(buffer, n_bytes);
	if (why == 0)
		return buffer->file.address;
	(void)shared_file_refuse(error, n_bytes, why);
	free(buffer);
	return NULL;
}

void par_shared_free(void *shared)
{
	if (shared != NULL)
		free_buffer(shared);
}

static int find(const void *bytes, uint64_t n, int writes, struct wire_ref *ref,
                const par_attachment **attachment)
{
	const uintptr_t first = (uintptr_t)bytes;
	const struct buffer *buffer;
	uint64_t offset;
	size_t at;
	int found = 0;

	pthread_mutex_lock(&all.lock);
	at = buffers_until(first);
	buffer = at > 0 ? all.buffers[at - 1] : NULL;
	offset = buffer != NULL ? first - (uintptr_t)buffer->file.address : 0;
	/* Of the parent's there is no descriptor. */
	if (buffer != NULL && buffer->file.fd >= 0 && offset < buffer->n && n <= buffer->n - offset) {
		*attachment = writes ? &buffer->out : &buffer->in;
		*ref = (struct wire_ref){(*attachment)->id, offset};
		found = 1;
	}
	pthread_mutex_unlock(&all.lock);
	return found;
}

static int may_be_shared(const void *bytes, uint64_t n)
{
	const uintptr_t first = (uintptr_t)bytes;

	return first < atomic_load_explicit(&highest, memory_order_relaxed) && n > 0 &&
	       first >= atomic_load_explicit(&lowest, memory_order_relaxed);
}

int shared_find(const void *bytes, uint64_t n, struct wire_ref *ref,
                const par_attachment **attachment)
{
	return may_be_shared(bytes, n) && find(bytes, n, 0, ref, attachment);
}

int shared_find_out(const void *bytes, uint64_t n, struct wire_ref *ref,
                    const par_attachment **attachment)
{
	return may_be_shared(bytes, n) && find(bytes, n, 1, ref, attachment);
}
