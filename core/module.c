#include "module.h"

#include "abi.h"
#include "elf_file.h"
#include "error.h"
#include "forked.h"
#include "nearest.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <link.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TASK_SYMBOL  "par_task_"
#define TASK_SECTION "par_tasks"
#define TASK_SIZE    ABI_UP_TO(par_task, bytes) /* at least */

/* Names of tasks, without the symbols' prefix. */
struct names {
	char **names;
	size_t n;
	int no_memory;
};

struct par_module {
	par_module *next;
	dev_t device;
	ino_t inode;
	char *path;
	void *handle; /* NULL: the program */
	struct names tasks; /* sorted */
	struct elf_id id;
	const char *section; /* the program's: its tasks' descriptions, one after the other */
	size_t section_size;
};

static struct {
	pthread_mutex_t lock;
	/* under lock */
	par_module *first;
	par_module *program;
} modules = {.lock = PTHREAD_MUTEX_INITIALIZER};
FORKED_RENEWS(modules.lock);

const char *module_path(const par_module *module)
{
	return module->path;
}

const struct elf_id *module_id(const par_module *module)
{
	return &module->id;
}

int module_is_program(const par_module *module)
{
	return module->handle == NULL;
}

/* --- which tasks it has ------------------------------------------------------------------ */

static int add_name(struct names *tasks, const char *name)
{
	char **names;

	tasks->no_memory = 1;
	names = reallocarray(tasks->names, tasks->n + 1, sizeof(*names));
	if (names == NULL)
		return 1;
	tasks->names = names;
	names[tasks->n] = strdup(name);
	if (names[tasks->n] == NULL)
		return 1;
	tasks->n++;
	tasks->no_memory = 0;
	return 0;
}

static int add_symbol(void *user, const char *symbol, unsigned type)
{
	return type == STT_OBJECT ? add_name(user, symbol + strlen(TASK_SYMBOL)) : 0;
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_finish(struct names *tasks)
{
	for (size_t i = 0; i < tasks->n; i++)
		free(tasks->names[i]);
	free(tasks->names);
	*tasks = (struct names){0};
}

static int32_t list_tasks(const struct elf *elf, struct names *tasks, par_error *error)
{
	int32_t status = elf_symbols(elf, TASK_SYMBOL, add_symbol, tasks, error);

	if (status < 0)
		return status;
	if (tasks->no_memory)
		return error_memory(error, "listing the tasks of a module");
	if (tasks->n > 0) {
		qsort(tasks->names, tasks->n, sizeof(*tasks->names), compare_names);
		return PAR_OK;
	}
	error_set(error, PAR_EINVAL, "%s", "");
	error_file(error, "%s", elf->path);
	error_reason(error, "it has no tasks: no data symbol begins with " TASK_SYMBOL);
	error_remedy(error, "define them with PAR_TASK or PAR_TASK_OF_BYTES of parloop/task.h");
	return PAR_EINVAL;
}

/* --- opening ------------------------------------------------------------------------------ */

static int32_t refuse_path(par_error *error, const char *path, const char *reason)
{
	error_set(error, PAR_EINVAL, "%s", "");
	error_file(error, "%s", path);
	error_reason(error, "%s", reason);
	return PAR_EINVAL;
}

/* dlopen would look for a bare name in the libraries' directories, and expands "$". */
static int32_t check_path(const char *path, par_error *error)
{
	if (path == NULL || path[0] == '\0')
		return refuse_path(error, "", "no file is named");
	if (strlen(path) >= PATH_MAX)
		return refuse_path(error, path, "the path is too long");
	if (strchr(path, '$') != NULL)
		return refuse_path(error, path, "a path with \"$\" cannot be loaded");
	if (strchr(path, '/') != NULL)
		return PAR_OK;
	refuse_path(error, path, "a name without \"/\" names no file here");
	error_remedy(error, "write ./%s", path);
	return PAR_EINVAL;
}

static void module_destroy(par_module *module)
{
	if (module == NULL)
		return;
	names_finish(&module->tasks);
	free(module->path);
	free(module);
}

static int32_t create(par_module **out, const struct elf *elf, par_error *error)
{
	par_module *module = calloc(1, sizeof(*module));
	int32_t status;

	if (module == NULL)
		return error_memory(error, "opening a task module");
	module->device = elf->stat.st_dev;
	module->inode = elf->stat.st_ino;
	status = list_tasks(elf, &module->tasks, error);
	if (status == PAR_OK)
		status = elf_identify(elf, &module->id, error);
	if (status < 0)
		goto fail;
	module->path = realpath(elf->path, NULL);
	if (module->path == NULL && errno == ENOMEM) {
		status = error_memory(error, "opening a task module");
		goto fail;
	}
	if (module->path == NULL || strchr(module->path, '$') != NULL) {
		status = refuse_path(error, elf->path, "its real path cannot be loaded");
		goto fail;
	}
	*out = module;
	return PAR_OK;
fail:
	module_destroy(module);
	return status;
}

/* The error of dlopen names the file at its beginning; we have a slot for that. */
static const char *without_path(const char *text, const char *path)
{
	size_t n = strlen(path);

	if (text == NULL)
		return "no reason given";
	return strncmp(text, path, n) == 0 && strncmp(text + n, ": ", 2) == 0 ? text + n + 2 : text;
}

static int32_t load(par_module *module, par_error *error)
{
	module->handle = dlopen(module->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (module->handle == NULL) {
		error_set(error, PAR_EUNAVAIL, "%s", "");
		error_file(error, "%s", module->path);
		error_reason(error, "%s", without_path(dlerror(), module->path));
		return PAR_EUNAVAIL;
	}
	/* For a path that it has loaded already the C library does not look at the file. */
	for (par_module *other = modules.first; other != NULL; other = other->next)
		if (other->handle == module->handle) {
			error_set(error, PAR_EUNAVAIL, "%s", "");
			error_file(error, "%s", module->path);
			error_reason(error, "the file was replaced since it was loaded");
			error_remedy(error, "start the program anew");
			return PAR_EUNAVAIL;
		}
	return PAR_OK;
}

static par_module *find(const struct stat *file)
{
	for (par_module *module = modules.first; module != NULL; module = module->next)
		if (module->device == file->st_dev && module->inode == file->st_ino)
			return module;
	return NULL;
}

static int32_t open_new(par_module **out, const struct elf *elf, par_error *error)
{
	par_module *module = NULL;
	int32_t status;

	if (elf_is_program(elf)) {
		refuse_path(error, elf->path, "it is a program, not a shared object");
		error_remedy(error, "build it with cc -shared -fPIC");
		return PAR_EINVAL;
	}
	status = create(&module, elf, error);
	if (status < 0)
		return status;
	status = load(module, error);
	if (status < 0) {
		module_destroy(module);
		return status;
	}
	module->next = modules.first;
	*out = modules.first = module;
	return PAR_OK;
}

static int32_t open_path(par_module **out, const char *path, par_error *error)
{
	struct elf elf;
	int32_t status = check_path(path, error);

	if (status == PAR_OK)
		status = elf_open(&elf, path, error);
	if (status < 0)
		return status;
	pthread_mutex_lock(&modules.lock);
	*out = find(&elf.stat);
	if (*out == NULL)
		status = open_new(out, &elf, error);
	pthread_mutex_unlock(&modules.lock);
	elf_close(&elf);
	return status;
}

/* Whoever refused the file knows the reason, but neither what it was for nor what to do. */
static void complete(par_error *error)
{
	if (error == NULL)
		return;
	if (error->what[0] == '\0')
		error_prefix(error, "cannot open the task module");
	if (error->remedy[0] == '\0' && error->code == PAR_ENOTFOUND)
		error_remedy(error, "check the path, or build the module");
	else if (error->remedy[0] == '\0')
		error_remedy(error, "name a .so whose tasks are defined with parloop/task.h");
}

int32_t par_module_open(par_module **module, const char *path, par_error *error)
{
	int32_t status;

	if (module == NULL) {
		error_set(error, PAR_EINVAL, "cannot open a task module");
		error_reason(error, "module is NULL");
		return PAR_EINVAL;
	}
	*module = NULL;
	status = open_path(module, path, error);
	if (status < 0)
		complete(error);
	return status;
}

/* --- tasks ---------------------------------------------------------------------------------- */

/* "count, echo, upper", as many as fit. */
static void join_names(const struct names *tasks, char *buffer, size_t size)
{
	size_t used = 0;

	for (size_t i = 0; i < tasks->n; i++) {
		size_t room = strlen(tasks->names[i]) + sizeof(", ...");

		if (used + room + sizeof(", ...") > size) {
			(void)snprintf(buffer + used, size - used, "%s...", i > 0 ? ", " : "");
			return;
		}
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", i > 0 ? ", " : "",
		                         tasks->names[i]);
	}
}

static int32_t unknown_task(const par_module *module, const char *name, par_error *error)
{
	struct nearest nearest = {.word = name};
	char shown[100], has[220];

	error_escape(name, strlen(name), shown, sizeof(shown));
	if (name[0] == '\0')
		error_set(error, PAR_ENOTFOUND, "no task of the module is named");
	else
		error_set(error, PAR_ENOTFOUND, "there is no task \"%s\"", shown);
	error_file(error, "%s", module->path);
	join_names(&module->tasks, has, sizeof(has));
	error_reason(error, "the module has: %s", has);
	for (size_t i = 0; i < module->tasks.n; i++)
		nearest_offer(&nearest, module->tasks.names[i]);
	if (nearest.best != NULL && name[0] != '\0')
		error_remedy(error, "did you mean \"%s\"?", nearest.best);
	else
		error_remedy(error, "name one of those");
	return PAR_ENOTFOUND;
}

__attribute__((format(printf, 4, 5))) static int32_t
refuse_task(const par_module *module, const char *name, par_error *error, const char *format, ...)
{
	char reason[sizeof(error->reason)];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	error_set(error, PAR_EINVAL, "task \"%.100s\" cannot be used", name);
	error_file(error, "%s", module->path);
	error_reason(error, "%s", reason);
	error_remedy(error, "build the module anew with this parloop's headers");
	return PAR_EINVAL;
}

/* Is what the module says about its task something that we can call?  Each field is looked
 * at only if those before it say that it is there. */
static int32_t check_task(const par_module *module, const char *name, const par_task *task,
                          par_error *error)
{
	if (!PAR_HAS(task, bytes))
		return refuse_task(module, name, error, "its description says %u bytes, not %zu",
		                   (unsigned)task->size, TASK_SIZE);
	if (task->abi != PAR_TASK_ABI)
		return refuse_task(module, name, error, "made for task ABI %u, this parloop has %d",
		                   (unsigned)task->abi, PAR_TASK_ABI);
	if (task->name == NULL || strcmp(task->name, name) != 0)
		return refuse_task(module, name, error, "its description is that of \"%.100s\"",
		                   task->name != NULL ? task->name : "");
	if (task->kind != PAR_TASK_TYPED && task->kind != PAR_TASK_BYTES)
		return refuse_task(module, name, error, "of kind %d, known are %d and %d",
		                   (int)task->kind, PAR_TASK_TYPED, PAR_TASK_BYTES);
	if (task->kind == PAR_TASK_BYTES && task->bytes == NULL)
		return refuse_task(module, name, error, "a bytes task without a function");
	if (task->kind == PAR_TASK_TYPED && task->range == NULL)
		return refuse_task(module, name, error, "a typed task without a function");
	if (task->kind == PAR_TASK_TYPED && (task->in_size == 0 || task->out_size == 0))
		return refuse_task(module, name, error, "it maps %u bytes to %u, at least 1 each",
		                   (unsigned)task->in_size, (unsigned)task->out_size);
	return PAR_OK;
}

/* The symbol's own size: what lies behind a shorter one is not the description's. */
static size_t symbol_size(const void *address)
{
	Elf64_Sym *symbol = NULL;
	Dl_info info;

	if (dladdr1(address, &info, (void **)&symbol, RTLD_DL_SYMENT) == 0 || symbol == NULL)
		return 0;
	return symbol->st_size;
}

/* The next description in the section, or NULL: none, or what is there is none. */
static const par_task *next_in_section(const par_module *module, size_t *at)
{
	const par_task *task = (const par_task *)(const void *)(module->section + *at);
	size_t left = module->section_size - *at;

	if (left < TASK_SIZE || task->size < TASK_SIZE || task->size % 8 != 0 ||
	    task->size > left || task->name == NULL)
		return NULL;
	*at += task->size;
	return task;
}

static const par_task *find_in_section(const par_module *module, const char *name)
{
	const par_task *task;
	size_t at = 0;

	while ((task = next_in_section(module, &at)) != NULL)
		if (strcmp(task->name, name) == 0)
			return task;
	return NULL;
}

static int is_listed(const par_module *module, const char *name)
{
	return bsearch(&name, module->tasks.names, module->tasks.n, sizeof(name), compare_names) !=
	       NULL;
}

int32_t par_module_task(par_module *module, const char *name, const par_task **task,
                        par_error *error)
{
	char symbol[NAME_MAX + sizeof(TASK_SYMBOL)];
	const par_task *found;
	int32_t status;

	if (module == NULL || name == NULL || task == NULL) {
		error_set(error, PAR_EINVAL, "cannot find a task");
		error_reason(error, "module, name or task is NULL");
		return PAR_EINVAL;
	}
	*task = NULL;
	if (strlen(name) > NAME_MAX || !is_listed(module, name))
		return unknown_task(module, name, error);
	(void)snprintf(symbol, sizeof(symbol), TASK_SYMBOL "%s", name);
	found = module_is_program(module) ? find_in_section(module, name) : dlsym(module->handle, symbol);
	if (found == NULL)
		return refuse_task(module, name, error, "the loader does not find its symbol");
	if (!module_is_program(module) && symbol_size(found) < TASK_SIZE)
		return refuse_task(module, name, error, "its description has %zu bytes, not %zu",
		                   symbol_size(found), TASK_SIZE);
	status = check_task(module, name, found, error);
	if (status == PAR_OK)
		*task = found;
	return status;
}

/* --- the program ----------------------------------------------------------------------------- */

static int list_section(par_module *module)
{
	const par_task *task;
	size_t at = 0;

	while ((task = next_in_section(module, &at)) != NULL)
		if (add_name(&module->tasks, task->name) != 0)
			return -1;
	qsort(module->tasks.names, module->tasks.n, sizeof(*module->tasks.names), compare_names);
	return 0;
}

static int first_object(struct dl_phdr_info *info, size_t size, void *user)
{
	(void)size;
	*(struct dl_phdr_info *)user = *info;
	return 1;
}

/* Is that the file that runs here?  /proc/self/exe is another's under valgrind, and a path may
 * have been replaced since. */
static int is_running(const struct elf *elf, const struct dl_phdr_info *program)
{
	return elf->header.e_phnum == program->dlpi_phnum &&
	       memcmp(elf->segments, program->dlpi_phdr,
	              program->dlpi_phnum * sizeof(*program->dlpi_phdr)) == 0;
}

static int32_t open_running(struct elf *elf, const char *path,
                            const struct dl_phdr_info *program, par_error *error)
{
	int32_t status = elf_open_program(elf, "/proc/self/exe", error);

	if (status == PAR_OK && is_running(elf, program))
		return PAR_OK;
	if (status == PAR_OK)
		elf_close(elf);
	status = elf_open_program(elf, path, error);
	if (status < 0 || is_running(elf, program))
		return status;
	elf_close(elf);
	error_set(error, PAR_EUNAVAIL, "%s", "");
	error_file(error, "%s", path);
	error_reason(error, "the file was replaced since it was started");
	error_remedy(error, "start the program anew");
	return PAR_EUNAVAIL;
}

static int32_t take_section(par_module *module, const struct elf *elf,
                            const struct dl_phdr_info *program, par_error *error)
{
	uint64_t address, size;
	int32_t status = elf_find_section(elf, TASK_SECTION, &address, &size, error);

	/* A program without tasks is one all the same: it may have run those of modules. */
	if (status == PAR_ENOTFOUND)
		return PAR_OK;
	if (status < 0)
		return status;
	module->section = (const char *)(uintptr_t)(program->dlpi_addr + address);
	module->section_size = size;
	return list_section(module) < 0 ? error_memory(error, "listing the tasks of the program")
	                                : PAR_OK;
}

static int32_t create_program(par_module **out, par_error *error)
{
	par_module *module = calloc(1, sizeof(*module));
	struct dl_phdr_info program = {0};
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);
	struct elf elf;
	int32_t status;

	path[length > 0 ? length : 0] = '\0';
	if (module == NULL || (module->path = strdup(path)) == NULL) {
		module_destroy(module);
		return error_memory(error, "looking for the tasks of the program");
	}
	dl_iterate_phdr(first_object, &program);
	status = open_running(&elf, path, &program, error);
	if (status == PAR_OK) {
		status = elf_identify(&elf, &module->id, error);
		if (status == PAR_OK)
			status = take_section(module, &elf, &program, error);
		elf_close(&elf);
	}
	if (status < 0)
		module_destroy(module);
	else
		*out = module;
	return status;
}

int32_t module_of_program(par_module **module, par_error *error)
{
	int32_t status = PAR_OK;

	pthread_mutex_lock(&modules.lock);
	if (modules.program == NULL)
		status = create_program(&modules.program, error);
	*module = modules.program;
	pthread_mutex_unlock(&modules.lock);
	if (status < 0 && error != NULL && error->what[0] == '\0')
		error_prefix(error, "cannot look up the program's own tasks");
	return status;
}

static int is_in_program(const par_module *program, const par_task *task)
{
	const char *address = (const char *)task;

	return address >= program->section && address < program->section + program->section_size;
}

int32_t module_of_task(par_module **module, const par_task *task, par_error *error)
{
	const par_task *found;
	Dl_info info = {0};
	int32_t status = module_of_program(module, error);

	if (status < 0 || is_in_program(*module, task))
		return status;
	if (dladdr(task, &info) == 0 || info.dli_fname == NULL) {
		error_set(error, PAR_EINVAL, "task \"%.100s\" cannot leave this process", task->name);
		error_reason(error, "it stands in no file");
		error_remedy(error, "define it with the macros of parloop/task.h");
		return PAR_EINVAL;
	}
	status = par_module_open(module, info.dli_fname, error);
	if (status < 0)
		return status;
	status = par_module_task(*module, task->name, &found, error);
	if (status < 0 || found == task)
		return status;
	return refuse_task(*module, task->name, error, "under its name there is another");
}
