/* module_content.h - a task module as bytes, for workers that may not have its file. */
#ifndef CORE_MODULE_CONTENT_H
#define CORE_MODULE_CONTENT_H

#include "module.h"

#include <parloop/backend.h>

/* SHA-256 of some bytes. [any] */
void module_digest(const void *bytes, uint64_t n, uint8_t digest[32]);

/* Its file's bytes and their hash, read the first time somebody asks; static from then on, with an
 * id below those of shared.h.  An error if the file is not what was loaded any more. [any] */
int32_t module_attachment(const par_module *module, const par_attachment **attachment,
                          par_error *error);

#endif
