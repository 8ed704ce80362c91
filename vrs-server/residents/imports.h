/* What the handlers of imports share. */
#ifndef VRS_SERVER_RESIDENTS_IMPORTS_H
#define VRS_SERVER_RESIDENTS_IMPORTS_H

#include "vrs-server/request.h"
#include "vrs-server/residents/import_store.h"

/* The import as its owner sees it, with its row of the ledger.  NULL: out of memory. */
json_t *import_view(const struct import *m);
/* The same into in->answer. */
VRS_CHECK enum vrs_err import_answer(struct inside_request *in, const struct import *m);
/* Its file is being walked now; loop thread. */
bool import_is_running(const struct record_id *id);

#endif
