/* abi.h - structs that cross the border to a program, a plugin or a task module, and may be of
 * another minor version than ours: shorter or longer, but never otherwise different. */
#ifndef CORE_ABI_H
#define CORE_ABI_H

#include <stddef.h>
#include <stdint.h>

/* The bytes of a struct up to the end of that field.  With the last one that 1.0 had: the least
 * that a struct of that type has, whatever is appended to ours. */
#define ABI_UP_TO(type, field) (offsetof(type, field) + sizeof(((type *)0)->field))

/* Of a struct that begins with its size, of which we know that many bytes: is anything set behind
 * them?  That is wanted of a later parloop, and here it would be forgotten without a word. */
int abi_wants_more(const void *sized, size_t known);

#endif
