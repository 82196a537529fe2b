#include "loader.h"

#include "abi.h"
#include "elf_file.h"
#include "error.h"
#include "forked.h"
#include "log.h"

#include <parloop/parloop.h>

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FACTORY "parloop_backend_v1"

enum {
	SMALLEST_TABLE = ABI_UP_TO(par_backend_ops, batch_waits), /* of ABI 1.0 */
	LARGEST_TABLE = 4096
};

/* A load on its way. */
struct load {
	const char *path; /* NULL: linked in */
	const struct note *note;
	const char *name;
	void *handle;
	par_error *error;
};

__attribute__((format(printf, 2, 3))) static int32_t
refuse(const struct load *load, const char *format, ...)
{
	char reason[sizeof(load->error->reason)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	error_set(load->error, PAR_EUNAVAIL, "%s", "");
	if (load->path != NULL)
		error_file(load->error, "%s", load->path);
	error_reason(load->error, "%s", reason);
	return PAR_EUNAVAIL;
}

/* --- the host that a factory sees: it makes nothing, so it gets next to nothing ------------ */

static void refuse_service(const char *service)
{
	log_line(LOG_ERROR, "a plugin's factory calls host->%s, which is for instances only",
		 service);
}

static void host_log(const par_host *host, int32_t level, const char *line)
{
	(void)host;
	log_line(level, "%s", line);
}

static int32_t host_run(const par_host *host, par_batch batch)
{
	(void)host, (void)batch;
	refuse_service("run");
	return PAR_EINVAL;
}

static void host_done(const par_host *host, par_batch batch, int32_t status, const par_how *how)
{
	(void)host, (void)batch, (void)status, (void)how;
	refuse_service("done");
}

static int32_t host_stopping(const par_host *host, par_batch batch)
{
	(void)host, (void)batch;
	refuse_service("stopping");
	return 1;
}

static int32_t host_post(const par_host *host, void (*fn)(void *arg), void *arg)
{
	(void)host, (void)fn, (void)arg;
	refuse_service("post");
	return PAR_EINVAL;
}

static void host_ready(const par_host *host, int32_t status, const par_error *error)
{
	(void)host, (void)status, (void)error;
	refuse_service("ready");
}

static void host_capacity(const par_host *host, int32_t workers, int32_t batches)
{
	(void)host, (void)workers, (void)batches;
	refuse_service("capacity");
}

static int32_t host_cores(const par_host *host)
{
	(void)host;
	refuse_service("cores");
	return 1;
}

static int64_t host_option_int(const par_options *options, const char *key)
{
	(void)options, (void)key;
	refuse_service("option_int");
	return 0;
}

static const char *host_option_text(const par_options *options, const char *key)
{
	(void)options, (void)key;
	refuse_service("option_text");
	return "";
}

static int32_t host_option_is_set(const par_options *options, const char *key)
{
	(void)options, (void)key;
	refuse_service("option_is_set");
	return 0;
}

static const void *host_extension(const par_host *host, const char *id)
{
	(void)host, (void)id;
	return NULL;
}

static const par_host factory_host = {
	.size = sizeof(par_host),
	.abi = PAR_ABI,
	.version = PAR_VERSION_STRING,
	.log = host_log,
	.run = host_run,
	.done = host_done,
	.stopping = host_stopping,
	.post = host_post,
	.ready = host_ready,
	.capacity = host_capacity,
	.cores = host_cores,
	.option_int = host_option_int,
	.option_text = host_option_text,
	.option_is_set = host_option_is_set,
	.extension = host_extension,
};

/* --- before it is loaded ------------------------------------------------------------------- */

/* What the file exports of the name that we look for, and of its relatives. */
struct exports {
	int found, is_function;
	char other[64]; /* parloop_backend_v2: of another parloop */
};

static int note_export(void *user, const char *name, unsigned type)
{
	struct exports *exports = user;

	if (strcmp(name, FACTORY) == 0) {
		exports->found = 1;
		exports->is_function = type == STT_FUNC;
		return 1;
	}
	(void)snprintf(exports->other, sizeof(exports->other), "%s", name);
	return 0;
}

/* Nothing of a file without the symbol need run, nor of one where it is data. */
static int32_t check_exports(const struct load *load)
{
	struct exports exports = {0};
	struct elf elf;
	int32_t status = elf_open(&elf, load->path, load->error);

	if (status < 0)
		return status;
	status = elf_symbols(&elf, "parloop_backend_v", note_export, &exports, load->error);
	elf_close(&elf);
	if (status < 0)
		return status;
	if (exports.found && !exports.is_function)
		return refuse(load, "its " FACTORY " is not a function");
	if (exports.found)
		return PAR_OK;
	if (exports.other[0] != '\0')
		return refuse(load, "exports no " FACTORY " (has %s: built for another parloop)",
		              exports.other);
	refuse(load, "exports no " FACTORY);
	error_remedy(load->error, "define it in the source that has PAR_PLUGIN, not as static");
	return PAR_EUNAVAIL;
}

/* The place for trying a file that was never seen in a child process first, where a
 * constructor may crash, hang or exit without harm.  Everything before this ran no
 * code of the plugin; everything after does. */
static int32_t check_before_running(const struct load *load)
{
	return check_exports(load);
}

/* --- loading it ---------------------------------------------------------------------------- */

/* glibc names the library that is missing, but not who wants it; what it says of the
 * file itself begins with the path, which has a slot of its own. */
static int32_t cannot_load(const struct load *load, const char *why)
{
	size_t length = strlen(load->path);
	const char *missing;

	if (why == NULL)
		why = "dlopen failed without a word";
	if (strncmp(why, load->path, length) == 0 && strncmp(why + length, ": ", 2) == 0)
		why += length + 2;
	missing = strstr(why, ": cannot open shared object file: No such file");
	if (missing != NULL) {
		refuse(load, "needs %.*s, which is not installed", (int)(missing - why), why);
		error_remedy(load->error, "install it, or name its folder in LD_LIBRARY_PATH");
		return PAR_EUNAVAIL;
	}
	refuse(load, "%s", why);
	if (strstr(why, "static TLS") != NULL)
		error_remedy(load->error, "build it with -ftls-model=global-dynamic");
	else if (strstr(why, "failed to map segment") != NULL)
		error_remedy(load->error, "is it on a file system mounted noexec?");
	else if (strstr(why, "undefined symbol") != NULL)
		error_remedy(load->error, "link it with -Wl,-z,defs and the library that has it");
	return PAR_EUNAVAIL;
}

/* How this thread rounds, where the machine keeps that in a register.  By hand, because
 * fegetenv() is libm's, which no program should load for this. */
struct rounding {
	uint32_t sse;
	uint16_t x87;
};

#if defined(__x86_64__)
enum { SSE_STATUS = 0x3f }; /* what was raised since; no setting */

static struct rounding rounding_now(void)
{
	struct rounding now = {__builtin_ia32_stmxcsr() & ~(uint32_t)SSE_STATUS, 0};

	__asm__ volatile("fnstcw %0" : "=m"(now.x87));
	return now;
}

static void round_as(struct rounding before)
{
	__builtin_ia32_ldmxcsr(before.sse);
	__asm__ volatile("fldcw %0" : : "m"(before.x87));
}
#else
static struct rounding rounding_now(void)
{
	return (struct rounding){0, 0};
}

static void round_as(struct rounding before)
{
	(void)before;
}
#endif

/* A plugin built with -ffast-math changes the arithmetic of the thread that loads it. */
static int32_t open_handle(struct load *load)
{
	const struct rounding before = rounding_now();
	struct rounding after;
	const char *why;

	load->handle = dlopen(load->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	why = load->handle == NULL ? dlerror() : NULL;
	after = rounding_now();
	if (after.sse != before.sse || after.x87 != before.x87) {
		round_as(before);
		log_line(LOG_WARNING, "%s changed how this program rounds (is it built with "
				      "-ffast-math?); undone",
			 load->path);
	}
	return load->handle == NULL ? cannot_load(load, why) : PAR_OK;
}

/* Is this note where the file has it?  Looked for among the loaded objects. */
struct note_check {
	const struct link_map *map;
	const struct note *note;
	int is_same;
};

static int compare_note(struct dl_phdr_info *info, size_t size, void *user)
{
	struct note_check *check = user;
	const struct note *note = check->note;

	(void)size;
	if (info->dlpi_addr != check->map->l_addr ||
	    strcmp(info->dlpi_name, check->map->l_name) != 0)
		return 0;
	for (unsigned i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
		uint64_t inside = note->address - segment->p_vaddr;

		if (segment->p_type == PT_LOAD && (segment->p_flags & PF_R) != 0 &&
		    note->address >= segment->p_vaddr && inside <= segment->p_memsz &&
		    note->size <= segment->p_memsz - inside)
			check->is_same = memcmp((const char *)info->dlpi_addr + note->address,
			                        note->text, note->size) == 0;
	}
	return 1;
}

/* glibc returns what it has already loaded under this path, also if the file was
 * replaced since; and somebody may have replaced it between our check and dlopen. */
static int32_t check_note(const struct load *load, const struct link_map *map)
{
	struct note_check check = {.map = map, .note = load->note};

	if (load->note->address == 0)
		return PAR_OK; /* its section is not loaded: nothing to compare */
	dl_iterate_phdr(compare_note, &check);
	if (check.is_same)
		return PAR_OK;
	refuse(load, "what is loaded is not what the file says: another version of it is in use "
	       "already, or it was replaced just now");
	error_remedy(load->error, "restart the program");
	return PAR_EUNAVAIL;
}

/* dlsym also finds the symbol in a library that the plugin is linked with. */
static int32_t check_owner(const struct load *load, void *symbol)
{
	struct link_map *map = NULL, *owner = NULL;
	const ElfW(Sym) *entry = NULL;
	Dl_info info;

	if (dlinfo(load->handle, RTLD_DI_LINKMAP, &map) != 0 || map == NULL)
		return refuse(load, "%s", dlerror());
	if (dladdr1(symbol, &info, (void **)&owner, RTLD_DL_LINKMAP) == 0 || owner != map)
		return refuse(load, "its " FACTORY " lies in another library");
	if (dladdr1(symbol, &info, (void **)&entry, RTLD_DL_SYMENT) != 0 && entry != NULL &&
	    ELF64_ST_TYPE(entry->st_info) != STT_FUNC)
		return refuse(load, "its " FACTORY " is not a function");
	return check_note(load, map);
}

/* --- its table ----------------------------------------------------------------------------- */

static int32_t check_functions(const struct load *load, const par_backend_ops *ops)
{
	const char *missing = ops->create == NULL             ? "create"
	                      : ops->destroy == NULL          ? "destroy"
	                      : ops->effective_n_jobs == NULL ? "effective_n_jobs"
	                      : ops->submit == NULL           ? "submit"
	                                                      : NULL;

	if (missing == NULL)
		return PAR_OK;
	refuse(load, "its table has no %s, which is required", missing);
	error_remedy(load->error, "required are create, destroy, effective_n_jobs and submit");
	return PAR_EUNAVAIL;
}

/* The table is read once, and may be longer or shorter than ours. */
static int32_t copy_table(const struct load *load, const par_backend_ops *theirs,
                          par_backend_ops *ops)
{
	uint32_t size = theirs->size, major = theirs->abi >> 16;

	if (size < SMALLEST_TABLE || size > LARGEST_TABLE || size % 8 != 0)
		return refuse(load, "its table has size %u, which is none: ABI 1.0 has %u, and at "
				    "most %u in steps of 8",
			      size, (unsigned)SMALLEST_TABLE,
		              (unsigned)LARGEST_TABLE);
	if (major != PAR_ABI_MAJOR)
		return refuse(load, "its table is of ABI %u.%u, this parloop offers %d.%d", major,
		              theirs->abi & 0xffffu, PAR_ABI_MAJOR, PAR_ABI_MINOR);
	memset(ops, 0, sizeof(*ops));
	memcpy(ops, theirs, size < sizeof(*ops) ? size : sizeof(*ops));
	return check_functions(load, ops);
}

static int32_t call_factory(const struct load *load, par_factory_fn factory, par_backend_ops *ops)
{
	const par_backend_ops *theirs = factory(&factory_host, load->name);

	if (theirs != NULL)
		return copy_table(load, theirs, ops);
	if (load->path == NULL)
		return refuse(load, "the factory that was registered answers NULL for it");
	return refuse(load, "note and code disagree: the note has backend \"%s\", " FACTORY
	              " answers NULL for it", load->name);
}

/* The conversion of a data pointer to a function is POSIX's to promise, not C's. */
static int32_t load_locked(struct load *load, par_backend_ops *ops)
{
	par_factory_fn factory;
	void *symbol;
	int32_t status = check_before_running(load);

	if (status == PAR_OK)
		status = open_handle(load);
	if (status < 0)
		return status;
	symbol = dlsym(load->handle, FACTORY);
	if (symbol == NULL)
		return refuse(load, "exports no " FACTORY);
	status = check_owner(load, symbol);
	if (status < 0)
		return status;
	memcpy(&factory, &symbol, sizeof(factory));
	return call_factory(load, factory, ops);
}

/* A factory is promised that it is never called twice at once, also by two names. */
static pthread_mutex_t one_at_a_time = PTHREAD_MUTEX_INITIALIZER;
FORKED_RENEWS(one_at_a_time);

int32_t loader_load(const char *path, const struct note *note, const char *name,
                    par_backend_ops *ops, par_error *error)
{
	struct load load = {.path = path, .note = note, .name = name, .error = error};
	int32_t status;

	/* Without a slash dlopen would search, and it replaces what begins with "$". */
	if (path[0] != '/' || strchr(path, '$') != NULL)
		return refuse(&load, "not an absolute path without \"$\"");
	pthread_mutex_lock(&one_at_a_time);
	status = load_locked(&load, ops);
	pthread_mutex_unlock(&one_at_a_time);
	return status;
}

int32_t loader_check(const char *path, par_error *error)
{
	struct load load = {.path = path, .error = error};

	return check_exports(&load);
}

int32_t loader_link(par_factory_fn factory, const char *name, par_backend_ops *ops,
                    par_error *error)
{
	struct load load = {.name = name, .error = error};
	int32_t status;

	pthread_mutex_lock(&one_at_a_time);
	status = call_factory(&load, factory, ops);
	pthread_mutex_unlock(&one_at_a_time);
	return status;
}
