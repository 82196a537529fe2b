/* scope.h - settings that hold beyond a call: those that a thread has pushed (joblib's
 * parallel_config), and the process-wide default.
 *
 * A context holds settings, merged with those around it, and never an instance.  The
 * default is for outermost calls: what tasks call inherits backend and n_jobs alone. */
#ifndef CORE_SCOPE_H
#define CORE_SCOPE_H

#include "conf.h"

#include <parloop/parloop.h>

enum wish_by { BY_CALL, BY_CONTEXT, BY_NOBODY };

/* What is asked of the backend, and who did. */
struct wish {
	const char *backend; /* never NULL; as long as the settings live */
	enum wish_by backend_by;
	const char *const *options; /* of the settings */
	size_t n_inherited;         /* of the options, the first: not the call's own */
	par_int inner_max_num_threads;
	int inner_is_inherited;
	int resets_n_jobs; /* it is to be the backend's default, whatever plugins.conf says */
};

/* The settings of an open on this thread, once every layer had its say; what plugins.conf
 * has to say is left out.  Must be finished with settings_finish() if PAR_OK. */
int32_t scope_settings(par_settings *out, const par_settings *call, struct wish *wish,
                       const struct conf *conf, par_error *error);

/* Is it a limit, if there is one?  A backend's workers need not know of it. */
int32_t scope_check_inner(par_int inner, par_error *error);

#endif
