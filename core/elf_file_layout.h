/* elf_file_layout.h - a part of elf_file: does a shared object lie in memory as the dynamic loader
 * takes for granted?
 *
 * glibc believes what a file says: it maps a segment over whatever is there already, and reads,
 * writes and protects memory wherever a header points.  In a process that tries the file out that
 * may do no harm by chance, and in the next it may. */
#ifndef CORE_ELF_FILE_LAYOUT_H
#define CORE_ELF_FILE_LAYOUT_H

#include "elf_file.h"

/* What is wrong, given the n entries of its dynamic section; NULL: nothing.  Static. */
const char *elf_layout_fault(const struct elf *elf, const Elf64_Dyn *entries, size_t n);

/* Will n bytes at that address be memory of one segment, which may be used so (PF_R...)? */
int elf_layout_has(const struct elf *elf, uint64_t address, uint64_t n, uint32_t flags);

#endif
