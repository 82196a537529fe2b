/* module.h - task modules: a .so whose tasks are listed without running any of it.
 *
 * par_module_open() and par_module_task() of parloop.h are implemented here.  A
 * module is opened once per process, whatever path names it, and stays until the
 * process ends; there is one mutex around all of them. */
#ifndef CORE_MODULE_H
#define CORE_MODULE_H

#include "elf_file.h"

#include <parloop/parloop.h>

/* The file it was loaded from: absolute, without symbolic links.  Static. [any] */
const char *module_path(const par_module *module);

/* Which file that was, for another process to compare with its own.  Static. [any] */
const struct elf_id *module_id(const par_module *module);

/* The running program as a module: its tasks stand in its section par_tasks.  They are found
 * there since a program exports no symbols, and dlopen takes none. [any] */
int32_t module_of_program(par_module **module, par_error *error);

/* Where a task of this process comes from, for another process to find it there by its name:
 * the program, or a shared object.  An error if it would not be found. [any] */
int32_t module_of_task(par_module **module, const par_task *task, par_error *error);
int module_is_program(const par_module *module);

#endif
