/* The control socket that vrsctl talks to: a unix socket below the state folder, 0600, peer = root
 * or the daemon's own uid.  One JSON object a line each way:
 *   {"verb": "user.apply", …} → {"ok": true, …} | {"ok": false, "code", "detail"}
 * Every command is logged in the registry's access log (C72).  No verb answers personal data. */
#ifndef VRS_SERVER_OPERATION_CONTROL_H
#define VRS_SERVER_OPERATION_CONTROL_H

#include "vrs-server/server.h"

VRS_CHECK enum vrs_err control_open(struct server *s, struct control **out,
                                    struct vrs_fault *fault);
void control_close(struct control **c);

#endif
