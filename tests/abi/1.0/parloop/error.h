/* parloop/error.h - how anything in parloop says that it failed, and why.
 *
 * A function that can fail returns 0 (PAR_OK) or one of the negative codes
 * below and takes, last, a par_error of the caller's.  The code is for the
 * program; the four texts are for the person: what failed, the file it is
 * about, the reason (theirs and ours), and one remedy.
 *
 * The caller owns a par_error and may pass NULL where the words do not matter.
 * Whoever fills one copies its text in; nothing in it points anywhere.
 *
 *	par_error error = PAR_ERROR_INIT;
 *	if (par_map(NULL, &par_task_root, in, out, n, NULL, &error) < 0)
 *		fprintf(stderr, "%s: %s\n", error.what, error.reason);
 */
#ifndef PARLOOP_ERROR_H
#define PARLOOP_ERROR_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The codes.  A new one may be added, and is negative if something failed; none is ever renumbered. */
enum {
	PAR_OK = 0,
	PAR_PENDING = 1,     /* not done yet: host->ready() will say so (backend.h)  */
	PAR_EINVAL = -1,     /* the caller broke a rule of these headers             */
	PAR_ENOMEM = -2,     /* no memory, descriptor or thread was to be had        */
	PAR_EUNAVAIL = -3,   /* sound request, but not on this machine, not now      */
	PAR_EABORTED = -4,   /* abort_everything() overtook the batch                */
	PAR_EFAILED = -5,    /* a task failed, or anything else; the text says what  */
	PAR_ETIMEOUT = -6,   /* a time-out ran out                                   */
	PAR_ECANCELED = -7,  /* par_cancel(), or a sink that asked to stop           */
	PAR_EBUSY = -8,      /* this par_parallel is running a call already          */
	PAR_ECONFIG = -9,    /* plugins.conf, an option or a setting is wrong        */
	PAR_ENOTFOUND = -10, /* no backend, task module or task of that name         */
	PAR_ELOST = -11,     /* what ran the task died, and it may not run again     */
	PAR_ESOURCE = -12    /* the source of a streamed call failed                 */
};

/* Versions.  What stands in these headers as of 1.0 stays as it is in all of 1.x: a struct that
 * begins with its size gets further fields at its end, and nothing else changes.  So the two sides
 * of a border may be of different minor versions.  Who makes a struct sets its size to its sizeof,
 * and what is reserved to 0; who is handed one finds the fields of 1.0 in it, and asks PAR_HAS()
 * before he reads or writes one that came later.  Structs without a size never change, nor do the
 * values of constants, of which there may be further ones. */

/* True if the other side's struct is long enough to hold the whole of a field. */
#define PAR_HAS(pointer, field)                                                                 \
	((pointer)->size >= offsetof(__typeof__(*(pointer)), field) + sizeof((pointer)->field))

typedef struct par_error {
	uint32_t size;    /* sizeof(par_error): set by PAR_ERROR_INIT                */
	int32_t code;     /* PAR_OK, or what the function returned                   */
	int64_t task;     /* index of the task that failed, or -1                    */
	char what[240];   /* "cannot load backend \"gpu\"", after "plugins.conf:7: " */
	char file[320];   /* the file it is about; empty if there is none            */
	char reason[304]; /* why, with both values where two do not agree            */
	char remedy[160]; /* one thing to do about it; may be empty                  */

	/* of a task that failed, as far as known */
	int32_t worker;      /* that ran it: 0 .. n_jobs-1, or -1                    */
	int32_t attempts;    /* how often it was tried; 0: no task failed            */
	int32_t task_code;   /* what it returned                                     */
	int32_t pid;         /* of the worker that died                              */
	int32_t signal;      /* that killed it, or 0                                 */
	int32_t exit_code;   /* of one that ended by itself, or -1                   */
	int64_t peak_memory; /* of that worker, bytes; 0: unknown                    */
	char type[48];       /* the kind of failure as the task named it, else the   */
	                     /* name of the code, "PAR_EFAILED"                      */
	char host[64];       /* the machine it ran on; empty: this one               */
	char input[128];     /* the beginning of its input, made readable            */
	char trace[736];     /* where it failed, a line each, innermost first: its   */
	                     /* source line, a backtrace, the call inside it that    */
	                     /* failed ("caused by: ...")                            */
} par_error;

#define PAR_ERROR_INIT                                                                          \
	{sizeof(par_error), 0, -1, {0}, {0}, {0}, {0}, -1, 0, 0, 0, 0, -1, 0, {0}, {0}, {0}, {0}}

/* Fill the code and the reason, printf-like, and return the code, so that a
 * function can end in "return par_fail(error, PAR_EUNAVAIL, ...)".  The core
 * adds what it was doing.  error may be NULL. [any] */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4), unused))
#endif
static inline int32_t
par_fail(par_error *error, int32_t code, const char *format, ...)
{
	va_list args;

	if (error != NULL) {
		error->code = code;
		va_start(args, format);
		(void)vsnprintf(error->reason, sizeof(error->reason), format, args);
		va_end(args);
	}
	return code;
}

/* Add the remedy to an error just filled.  error may be NULL. [any] */
#if defined(__GNUC__)
__attribute__((format(printf, 2, 3), unused))
#endif
static inline void
par_remedy(par_error *error, const char *format, ...)
{
	va_list args;

	if (error != NULL) {
		va_start(args, format);
		(void)vsnprintf(error->remedy, sizeof(error->remedy), format, args);
		va_end(args);
	}
}

#ifdef __cplusplus
}
#endif
#endif
