/* cli.h - what the subcommands of the program parloop share.
 *
 * The program is a caller like any other: it uses include/parloop and nothing of the
 * core's insides. */
#ifndef CLI_H
#define CLI_H

#include <parloop/parloop.h>

#include <stddef.h>

/* How the program ends.  By a signal: 128 plus its number, as a shell says it. */
enum {
	STATUS_OK = 0,
	STATUS_FAILED = 1,      /* a task failed, the time was up, no output      */
	STATUS_USAGE = 2,       /* a wrong command line or configuration             */
	STATUS_UNAVAILABLE = 3, /* a backend that cannot be had here                 */
	STATUS_PIPE = 141       /* nobody reads standard output any more             */
};

/* The subcommands: argv[0] is the subcommand's name, and they return the status. */
int map_main(int argc, char **argv);
int backends_main(int argc, char **argv);
int show_main(int argc, char **argv);
int new_main(int argc, char **argv);
int check_main(int argc, char **argv);
extern const char map_help[];
extern const char backends_help[];
extern const char show_help[];
extern const char new_help[];
extern const char check_help[];

/* The status that an error code ends the program with. */
int exit_status(int32_t code);

/* Print an error on stderr, and return its status.  One line, or the four slots on a line
 * each if a person reads it. */
int report(const par_error *error);

/* Report what is wrong with the command line; the remedy is the subcommand's --help. */
__attribute__((format(printf, 2, 3))) int report_usage(const char *command, const char *format,
                                                        ...);

/* Report what the system refused (errno as number), with the file that is behind the
 * descriptor, if it was about one (else -1). */
int report_io(const char *what, int fd, int number);

/* After the last printf: did all of it arrive?  The status for main. */
int finish_stdout(void);

/* What getopt_long has just refused, reported. */
int report_option(const char *command, char **argv, int refused);

/* Print the help on standard output. */
int print_help(const char *text);

/* Read that plugins.conf; NULL: leave the choice to the library.  The status. */
int use_config(const char *file);

/* The bytes of the printable UTF-8 character with which these n begin; 0 if there is none. */
size_t printable_bytes(const void *bytes, size_t n);

/* Make anybody's bytes fit to print between quotes: control characters and what is not
 * UTF-8 escaped, and of a long text only its beginning and its end.  Returns buffer.  It has
 * room for all that a task can say about its failure (511 bytes, task.h). */
enum { QUOTED_SIZE = 511 * 4 + 32 };
char *quote(const void *bytes, size_t n, size_t longest, char buffer[QUOTED_SIZE]);

#endif
