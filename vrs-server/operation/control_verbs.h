/* The commands of the control socket.  Each runs as pool jobs, leaves an entry in the registry's
 * access log (C72), and answers a JSON object without personal data. */
#ifndef VRS_SERVER_OPERATION_CONTROL_VERBS_H
#define VRS_SERVER_OPERATION_CONTROL_VERBS_H

#include "lib/json.h"
#include "vrs-server/server.h"

struct control_call;
/* Once, on the loop; `reply` is a new reference or NULL. */
typedef void control_done_fn(struct control_call *call, enum vrs_err e, json_t *reply, void *arg);

/* `request` is stolen, also on error.  A verb that is none ends as ERR_NOT_FOUND, with its entry. */
VRS_CHECK enum vrs_err control_start(struct server *s, json_t *request, control_done_fn *done,
                                     void *arg, struct control_call **out);

#endif
