/* conf_check.h - the part of plugins.conf that plugins must agree to: paths that are
 * to lead to a plugin of that name, and options that its note must declare. */
#ifndef CORE_CONF_CHECK_H
#define CORE_CONF_CHECK_H

#include "conf.h"

/* Call tell for each thing wrong.  Runs no code of a plugin, and opens nothing of
 * [lazy].  Only memory can fail. */
int32_t conf_check(const struct conf *conf,
                   void (*tell)(void *user, int line, par_error *problem), void *user,
                   par_error *error);

#endif
