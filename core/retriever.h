/* retriever.h - the thread that asks for results, for backends that cannot call back:
 * oldest batch first. */
#ifndef CORE_RETRIEVER_H
#define CORE_RETRIEVER_H

#include <parloop/backend.h>

/* For one instance; done is the host's.  NULL: no thread or memory. */
struct retriever *retriever_create(const par_backend_ops *ops, par_backend *backend,
                                   const par_host *host);

/* Ends when every batch was retrieved.  NULL is allowed. [loop] */
void retriever_destroy(struct retriever *retriever);

/* Before a batch goes out: have room for it.  0, or -1 if there is no memory. [loop] */
int retriever_reserve(struct retriever *retriever);

/* It went out. [loop] */
void retriever_add(struct retriever *retriever, par_batch batch, void *future);

#endif
