/* output.h - results on a descriptor: buffered, every write checked, and never held back
 * for long.
 *
 * A thread flushes what has lain in the buffer for some milliseconds, because nobody
 * tells the program that no further result will come soon.  It starts with the first
 * result that has to wait, so that a backend can fork its workers before. */
#ifndef CLI_OUTPUT_H
#define CLI_OUTPUT_H

#include <stddef.h>

struct output;

/* Each record ends in that byte.  Flushes each of them if the descriptor is a terminal.
 * broken(user) is called once, from any thread, when a write failed.  NULL: no
 * memory. */
struct output *output_create(int fd, char end, void (*broken)(void *user), void *user);

/* Discards what was not flushed; joins the thread. */
void output_destroy(struct output *output);

/* 0, or -1 if this or an earlier write failed: output_error() says the errno. */
int output_record(struct output *output, const void *bytes, size_t n);
int output_flush(struct output *output);
int output_error(struct output *output);

#endif
