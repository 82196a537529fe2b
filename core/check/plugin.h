/* plugin.h - the file that is checked: what it says of itself, and its factory. */
#ifndef CHECK_PLUGIN_H
#define CHECK_PLUGIN_H

#include <parloop/backend.h>
#include <parloop/parloop.h>

#include <stddef.h>

enum { PLUGIN_BACKENDS = 32 };

struct plugin {
	const char *path; /* absolute */
	char *bytes;      /* of the file; what follows points into it, or is its own */
	size_t size;
	char *note;       /* the text; NULL: none was found */
	char *names[PLUGIN_BACKENDS];
	int n_names;

	par_factory_fn factory; /* once it is loaded */
};

/* Read the file, and of its note which backends it has; path is of malloc, and stays.  0, or
 * -1 and errno.  What is wrong in it is the core's to say: whatever makes no sense is left out. */
int plugin_read(struct plugin *plugin, const char *path);

/* Of the note: what par_register_backend() takes for that backend; the option's type, or NULL. */
const char *plugin_backend_note(const struct plugin *plugin, const char *backend);
const char *plugin_option_type(const struct plugin *plugin, const char *backend, const char *key);

/* Does its note promise that? */
int plugin_can(const struct plugin *plugin, const char *backend, const char *capability);

/* Of its dynamic section: the value of that tag, or -1; the n-th text of it, from 0, or NULL. */
int64_t plugin_tag(const struct plugin *plugin, int64_t tag);
const char *plugin_text(const struct plugin *plugin, int64_t tag, int n);

/* Call fn for each name that it shows to others, and that is not weak. */
void plugin_exports(const struct plugin *plugin, void (*fn)(void *user, const char *name), void *user);

/* Load it, as the core would.  NULL, or why not. */
const char *plugin_load(struct plugin *plugin);

#endif
