/* protocol.h - what the plugin and an MPI job tell each other, and the ranks of the job among
 * themselves.
 *
 * The job is one relay program on n + 1 ranks: rank 0, the hub, has the connection to the plugin,
 * and ranks 1 to n are workers.  The launcher's standard input has one line, for the hub alone:
 *
 *	parloop-mpi VERSION RANKS TOKEN ADDRESS ADDRESS...
 *
 * with addresses of the plugin, "unix:NAME" (an abstract one) or "tcp:HOST:PORT", to be tried in
 * that order.  So the token is in no list of processes and in no environment.  The hub answers
 * with a struct hello and a struct seat_hello of each rank; from then on both send records.
 *
 * A record is a head, its bytes, and zeros up to a multiple of 8.  An MPI message is some records
 * that are whole, or a part of one that is too long (MESSAGE_BYTES).  Both sides are of the same
 * build (VERSION), and of machines alike, or MPI would not have brought them together. */
#ifndef PROTOCOL_H
#define PROTOCOL_H

#include <stdint.h>

enum record_kind {
	/* to the job */
	RECORD_BATCH = 1,  /* for that rank: struct batch_head, ids, the bytes of a batch        */
	RECORD_KEEP = 2,   /* for the hub: an attachment, whose id is batch; struct keep_head,    */
	                   /* then its bytes                                                     */
	RECORD_GIVE = 3,   /* an attachment that the hub keeps, to that rank                      */
	RECORD_FORGET = 4, /* an attachment, by who has it                                       */
	RECORD_STOP = 5,   /* what that rank has is to end early                                 */
	RECORD_ENV = 6,    /* for that rank: "NAME=value", each with its NUL                      */
	RECORD_PARK = 7,   /* nobody uses the job: without another record for so many             */
	                   /* milliseconds (batch) it ends                                       */
	RECORD_LEAVE = 8,  /* it ends now                                                        */

	/* from that rank */
	RECORD_ANSWER = 16, /* a piece of what a batch answers                                   */
	RECORD_LAST = 17,   /* the last: it is over                                              */
	RECORD_FAILED = 18, /* it is over, and was not answered                                  */
};

struct record {
	uint32_t kind;
	int32_t rank;
	uint64_t batch;
	uint64_t n_bytes; /* without what pads them */
};

struct batch_head {
	uint32_t n_ids; /* of uint64_t, which follow: attachments that it names */
	uint32_t reserved;
};

struct keep_head {
	int32_t kind;
	int32_t reserved;
	uint8_t sha256[32];
};

enum { TOKEN_CHARS = 32, HOST_CHARS = 64, BOOT_CHARS = 48 };

struct hello {
	char mark[8]; /* "parloop" */
	uint32_t n_ranks;
	uint32_t reserved;
	char token[TOKEN_CHARS];
};

struct seat_hello {
	int32_t pid;
	int32_t reserved;
	char host[HOST_CHARS];
	char boot[BOOT_CHARS]; /* the same for processes that see the same process ids */
};

static inline uint64_t padded(uint64_t n)
{
	return (n + 7) & ~UINT64_C(7);
}

/* What one MPI message has at most, and a piece of an answer. */
enum { MESSAGE_BYTES = 64 << 20, PIECE_BYTES = 1 << 20 };

#endif
