#include "new_files.h"

#include <stddef.h>

/* A file of core/cli/new/ as it is, with a NUL behind it.  make runs in the top folder. */
#define EMBED(symbol, file)                                                                     \
	__asm__(".pushsection .rodata\n" #symbol ":\n\t.incbin \"core/cli/new/" file "\"\n"     \
	        "\t.byte 0\n\t.popsection");                                                    \
	extern const char symbol[] __attribute__((visibility("hidden")));

EMBED(new_file_c, "mybackend.c")
EMBED(new_file_cc, "mybackend.cc")
EMBED(new_file_makefile, "Makefile")
EMBED(new_file_test, "test.c")
EMBED(new_file_readme, "README.md")

const struct new_file new_files[] = {
	{"mybackend.c", "c", new_file_c},
	{"mybackend.cc", "c++", new_file_cc},
	{"Makefile", NULL, new_file_makefile},
	{"test.c", NULL, new_file_test},
	{"README.md", NULL, new_file_readme},
	{NULL, NULL, NULL},
};
