/* remote_repeated.h - large payloads of a stream, for those who move bytes: the same bytes go once.
 *
 * Many tasks are often given the same matrix.  The first copy of it is kept, and is an attachment of
 * each batch that needs it.  What is compared is the bytes, since the caller may have others there
 * by now.  So that a stream of payloads that are all different takes no more than that, a few are
 * kept, and at first sight 256 MiB of them; of what comes again where it was, as many bytes as it
 * has. */
#ifndef CORE_REMOTE_REPEATED_H
#define CORE_REMOTE_REPEATED_H

#include "shared.h"

enum { REPEATED_MOST = 16 };

struct repeated {
	struct piece {
		const void *at; /* where it was seen */
		uint64_t n;
		struct shared_copy *copy; /* NULL: seen only */
	} pieces[REPEATED_MOST];
	uint32_t n, next;
	uint64_t bytes; /* of all copies */
};

/* Those bytes as an attachment, which is valid until repeated_end(); NULL: they go with the batch. */
const par_attachment *repeated_find(struct repeated *repeated, const void *bytes, uint64_t n);

/* The call is over. */
void repeated_end(struct repeated *repeated);

#endif
