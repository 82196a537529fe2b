/* wire.h - the frames in which a batch goes to a worker and its answers come back: the same
 * on pipes, sockets and through a cluster's engine.
 *
 * A frame is a head of 24 bytes and a body; all numbers are little-endian, and stand at
 * multiples of their size counted from the frame's begin.
 *
 *	 0  u8   'p', 'w'     a stream that has lost its place is seen at once
 *	 2  u8   version      WIRE_VERSION
 *	 3  u8   kind         below
 *	 4  u32  0
 *	 8  u64  size         bytes of the body, a multiple of 8
 *	16  u64  batch        the batch that it is about; 0: none
 *
 * A text in a body is its length as u32, with the NUL at its end (0: no text at all, NULL),
 * then its bytes, then zeros up to a multiple of 8.  What bodies hold is in wire_batch.h
 * (to a worker) and wire_answer.h (from one); some are small enough to say here:
 *
 *	ATTACH  what travels beside batches, each once per worker: u64 id, u64 bytes, i32 kind
 *	        and u8 writable (of backend.h), u8 how, u16 0, u8[32] sha256; then the bytes, if how
 *	        is WIRE_INLINE.  WIRE_PASSED: a descriptor came with it (SCM_RIGHTS), in the
 *	        order of these frames.
 *	DETACH  u64 id: will not be named again
 *	SETUP   what a process that was executed as a worker does to itself, before anything else:
 *	        struct wire_setup; the texts initializer and initarg
 *
 * A version is for the whole of it: both sides are of one parloop, and a worker that is not
 * says so (hello), so nothing is guessed.
 *
 * What is read was written by somebody else and may be anything: each length, count, place
 * and text is checked against the bytes that are there, and nothing is allocated because of a
 * number, only for bytes that came. */
#ifndef CORE_WIRE_H
#define CORE_WIRE_H

#include <parloop/backend.h>

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the frames are little-endian, as parloop's machines are"
#endif

enum { WIRE_VERSION = 2 };

enum wire_kind {
	/* to a worker */
	WIRE_BATCH = 1,
	WIRE_ATTACH = 2,
	WIRE_DETACH = 3,
	WIRE_SETUP = 4,

	/* from one */
	WIRE_HELLO = 16,   /* first of all                                       */
	WIRE_STARTED = 17, /* a task begins; only if the batch asks for it       */
	WIRE_OUTCOMES = 18, /* tasks that are over                               */
	WIRE_CHUNK = 19,   /* a part of a range that succeeded, with its values  */
	WIRE_FINISHED = 20, /* the batch is over                                 */
	WIRE_CANNOT = 21,  /* the batch is over, and why no task of it could run */
	WIRE_OUTPUT = 22   /* lines that a task wrote; kept free, nobody sends it */
};

struct wire_head {
	unsigned char mark[2];
	uint8_t version;
	uint8_t kind;
	uint32_t reserved;
	uint64_t size;
	uint64_t batch;
};

_Static_assert(sizeof(struct wire_head) == 24, "the head of a frame has its size");

/* A place in an attachment; id 0: nowhere. */
struct wire_ref {
	uint64_t id;
	uint64_t offset;
};

static inline uint64_t wire_padded(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* --- writing ----------------------------------------------------------------------------- */

/* Bytes to be sent, the owner's; grows.  Large payloads may stay where they are: they are
 * remembered in their place among the bytes, and sent from there. */
struct wire_writer {
	char *bytes;
	size_t used, room;
	size_t frame;    /* where the frame that is being written begins */
	uint64_t apart;  /* bytes that stay where they are, of all frames */
	uint64_t frame_apart;
	size_t stays;    /* payloads of so many bytes do; 0: all are copied */
	struct wire_piece *pieces;
	size_t n_pieces, pieces_room;
	int failed;      /* no memory: what was written since is not to be sent */
	int lent;        /* bytes is somebody else's memory */
};

struct wire_piece {
	size_t at; /* after so many of the bytes */
	const void *bytes;
	size_t n;
};

void wire_writer_init(struct wire_writer *writer, size_t stays);
void wire_writer_finish(struct wire_writer *writer);

/* Forget what was written, and keep the memory. */
static inline void wire_writer_clear(struct wire_writer *writer)
{
	writer->used = writer->n_pieces = writer->frame = 0;
	writer->apart = writer->frame_apart = 0;
	writer->failed = 0;
}

/* Of an empty one: write into so many bytes of the caller's.  What does not fit moves all of it
 * into memory of our own, and lent is 0 then. */
void wire_writer_lend(struct wire_writer *writer, void *bytes, size_t room);

/* Of an empty one: give memory back beyond so many bytes. */
void wire_writer_shrink(struct wire_writer *writer, size_t room);

/* How many bytes there are to be sent. */
static inline uint64_t wire_writer_size(const struct wire_writer *writer)
{
	return writer->used + writer->apart;
}

/* The bytes from offset on, of all that is to be sent, as at most n pieces of memory;
 * returns how many. */
int wire_writer_pieces(const struct wire_writer *writer, uint64_t offset, struct iovec *pieces,
                       int n);

/* Room for n more bytes in the frame, to be written at once: it moves with the next. NULL: no
 * memory. */
char *wire_grow(struct wire_writer *writer, size_t n);
static inline char *wire_room(struct wire_writer *writer, size_t n)
{
	char *room;

	if (__builtin_expect(n > writer->room - writer->used, 0))
		return wire_grow(writer, n);
	room = writer->bytes + writer->used;
	writer->used += n;
	return room;
}

/* A frame, from its head to its end; what is written between them is its body.  On no memory
 * writer->failed is set, and the frame must not be sent. */
void wire_begin(struct wire_writer *writer, enum wire_kind kind, uint64_t batch);
void wire_end(struct wire_writer *writer);

/* Append a struct as it stands, bytes that are padded, or a text. */
void wire_put(struct wire_writer *writer, const void *bytes, size_t n);
void wire_put_bytes(struct wire_writer *writer, const void *bytes, size_t n); /* may stay */
void wire_put_text(struct wire_writer *writer, const char *text); /* NULL is allowed */

/* --- reading ------------------------------------------------------------------------------ */

/* A frame that is whole.  Its body is valid until the next frame is asked for. */
struct wire_frame {
	enum wire_kind kind;
	uint64_t batch;
	const char *body;
	size_t size;
};

/* From bytes as they come to frames.  Frames that lie whole in what came are not copied. */
struct wire_reader {
	const char *lent; /* what came, and was not looked at yet */
	size_t n_lent;
	char *partial; /* a frame whose end has not come */
	size_t used, room;
	uint64_t limit; /* bytes that a body may have; 0: any number */
	int lost;       /* what came made no sense: nothing after it does */
};

void wire_reader_init(struct wire_reader *reader, uint64_t limit);
void wire_reader_finish(struct wire_reader *reader);

/* Here is more; it must stay valid until wire_next() returned 0. */
void wire_reader_lend(struct wire_reader *reader, const void *bytes, size_t n);

/* The next frame: 1; 0: its end has not come yet; an error: this is not what we
 * speak, and it ends here. */
int32_t wire_next(struct wire_reader *reader, struct wire_frame *frame, par_error *error);

/* In the middle of a frame?  Then an end of file is a loss. */
static inline int wire_reader_waits(const struct wire_reader *reader)
{
	return reader->used > 0;
}

/* The one frame in these bytes, all of them. */
int32_t wire_whole(const void *bytes, size_t n, struct wire_frame *frame, par_error *error);

/* Reading a body from its begin to its end. */
struct wire_cursor {
	const char *at;
	size_t left;
};

static inline struct wire_cursor wire_body(const struct wire_frame *frame)
{
	return (struct wire_cursor){frame->body, frame->size};
}

/* n bytes, and what pads them; NULL: there are not as many. */
static inline const char *wire_take(struct wire_cursor *cursor, uint64_t n)
{
	const char *at = cursor->at;

	if (__builtin_expect(n > cursor->left || wire_padded(n) > cursor->left, 0))
		return NULL;
	cursor->at += wire_padded(n);
	cursor->left -= wire_padded(n);
	return at;
}

/* A struct of whole words; 0, or -1: it is cut. */
static inline int wire_get(struct wire_cursor *cursor, void *out, size_t n)
{
	const char *at = wire_take(cursor, n);

	if (__builtin_expect(at == NULL, 0))
		return -1;
	memcpy(out, at, n);
	return 0;
}

/* A text, in place, with its NUL, which another one may come before; NULL where it is none.  0, or -1. */
int wire_get_text(struct wire_cursor *cursor, const char **text);

/* Refuse a frame: what is wrong with it. */
__attribute__((format(printf, 2, 3))) int32_t wire_refuse(par_error *error, const char *format, ...);

/* --- what travels beside ------------------------------------------------------------------- */

enum { WIRE_INLINE = 1, WIRE_PASSED = 2 };

struct wire_attach {
	uint64_t id;
	uint64_t bytes;
	int32_t kind;
	uint8_t writable;
	uint8_t how;
	uint16_t reserved;
	uint8_t sha256[32];
};

_Static_assert(sizeof(struct wire_attach) == 56, "an attachment's frame has its size");

/* how: as above; inline needs an address. */
void wire_put_attach(struct wire_writer *writer, const par_attachment *attachment, int how);
void wire_put_detach(struct wire_writer *writer, uint64_t id);

/* bytes: those inline, else NULL. */
int32_t wire_get_attach(const struct wire_frame *frame, struct wire_attach *attach,
                        const void **bytes, par_error *error);
int32_t wire_get_detach(const struct wire_frame *frame, uint64_t *id, par_error *error);

/* Of par_worker_setup in backend.h. */
struct wire_setup {
	int64_t memory;
	int64_t cpu_time_ns;
	int32_t worker, parent, cpu;
	uint32_t reserved;
};

_Static_assert(sizeof(struct wire_setup) == 32, "a setup has its size");

/* Texts of what is read lie in the frame. */
void wire_put_setup(struct wire_writer *writer, const par_worker_setup *setup);
int32_t wire_get_setup(const struct wire_frame *frame, par_worker_setup *setup, par_error *error);

#endif
