/* hints.h - prefer and require: which backend suits a call, if the one that was found does
 * not.
 *
 * joblib's rules, except that n_jobs stays what it was.  Where nobody names a backend
 * prefer chooses among what there is, and never fails for lack of it; require overrules a
 * context's backend, and is an error against a call's. */
#ifndef CORE_HINTS_H
#define CORE_HINTS_H

#include "registry.h"
#include "scope.h"

/* Are they values that mean something, and agree?  PAR_EINVAL names the key. */
int32_t hints_check(const char *prefer, const char *require, par_error *error);

/* The backend for a wish, loaded.  With another than it names, it loses what was not
 * asked for by the call itself.  From verbose 10 a line says so if a context's is not
 * used. */
int32_t hints_choose(struct wish *wish, const par_settings *settings, int64_t verbose,
                     const struct provider **provider, par_error *error);

/* Another backend is to serve the wish after all. */
void hints_forget(struct wish *wish);

#endif
