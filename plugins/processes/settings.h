/* settings.h - what the options of an instance say, read once. */
#ifndef SETTINGS_H
#define SETTINGS_H

#include <parloop/backend.h>

enum method { METHOD_AUTO, METHOD_FORK, METHOD_FORKSERVER, METHOD_SPAWN };
enum output_mode { OUTPUT_PASS, OUTPUT_PREFIX, OUTPUT_CAPTURE, OUTPUT_INHERIT };

/* Texts are the core's and valid as long as the instance; NULL where the option is empty. */
struct settings {
	enum method method;
	enum output_mode output;
	const char *initializer, *initarg;
	const char *preload;   /* task modules for the fork server, parted by colons   */
	const char *variables; /* for the environment: "NAME=value ...", with {slot}    */
	int pins;
	int64_t memory_limit, max_growth; /* bytes; 0: any */
	int64_t cpu_limit_ns;             /* 0: any        */
	int64_t abort_grace_ns, idle_timeout_ns;
	int64_t start_timeout_ns; /* 0: never */
};

/* Of multiprocessing, whose start method may also come from the environment; of loky. */
int32_t settings_read_multiprocessing(struct settings *settings, const par_host *host,
                                      const par_options *options, par_error *error);
int32_t settings_read_loky(struct settings *settings, const par_host *host,
                           const par_options *options, par_error *error);

/* As the option is written. */
const char *settings_method_name(enum method method);

/* Threads of this process; 0: nobody knows. */
int settings_count_threads(void);

#endif
