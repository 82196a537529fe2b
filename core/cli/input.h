/* input.h - the inputs of the tasks: lines of a descriptor, or arguments.
 *
 * A line is handed out where it was read, without a copy, and stays there until
 * input_release() says that its task is over.  Memory is bounded by what is
 * handed out, plus one line. */
#ifndef CLI_INPUT_H
#define CLI_INPUT_H

#include <stddef.h>
#include <stdint.h>

struct input;

enum { INPUT_NOT_YET = 2 };

/* Pieces of a descriptor that end in that byte; the end of the file ends the last one.
 * NULL: no memory. */
struct input *input_create_lines(int fd, char end);

/* Arguments, up to a NULL; borrowed.  NULL: no memory. */
struct input *input_create_arguments(char **arguments);
void input_destroy(struct input *input);

/* The next input, valid and unchanged until input_release() was called for it and this
 * function again.  Never waits.  1; 0 at the end; 2 if it is not there yet; -1 if it
 * cannot be read: input_error(). */
int input_next(struct input *input, const char **bytes, size_t *n);

/* Why it returned -1: an errno; EFBIG if a line has 4 GiB or more. */
int input_error(const struct input *input);

/* How many were handed out. */
uint64_t input_taken(const struct input *input);

/* The task of that index, from 0, is over; each once, in any order. */
void input_release(struct input *input, uint64_t index);

/* An input that is still handed out; 0, or -1 if it is not. */
int input_find(const struct input *input, uint64_t index, const char **bytes, size_t *n);

#endif
