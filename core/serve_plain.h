/* serve_plain.h - a worker process whose batches, attachments and answers somebody else moves, who
 * need not be a C program: the messages are in parloop/worker.h. */
#ifndef CORE_SERVE_PLAIN_H
#define CORE_SERVE_PLAIN_H

#include <parloop/worker.h>

/* Serve two pipes until the end of one of them: PAR_OK.  Else why it cannot go on. */
int32_t serve_plain(const par_serving *serving, par_error *error);

#endif
