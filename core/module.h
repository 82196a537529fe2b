/* module.h - task modules: a .so whose tasks are listed without running any of it.
 *
 * par_module_open() and par_module_task() of parloop.h are implemented here.  A
 * module is opened once per process, whatever path names it, and stays until the
 * process ends; there is one mutex around all of them. */
#ifndef CORE_MODULE_H
#define CORE_MODULE_H

#include <parloop/parloop.h>

/* The file it was loaded from: absolute, without symbolic links.  Static. [any] */
const char *module_path(const par_module *module);

#endif
