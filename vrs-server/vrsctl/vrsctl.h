/* The operator's tool.  It talks to vrs-server's control socket and never opens a live file; only
 * `init` and `terminal issue` write files of their own (keys, certificates). */
#ifndef VRS_SERVER_VRSCTL_VRSCTL_H
#define VRS_SERVER_VRSCTL_VRSCTL_H

#include "lib/json.h"

/* One command over the control socket.  *reply (new) also when it failed there; ERR_IO when nobody
 * listens.  `request` is stolen. */
VRS_CHECK enum vrs_err vrsctl_call(const char *socket_path, json_t *request, json_t **reply);

/* Each takes the words after its name; returns the exit status. */
int vrsctl_init(int argc, char **argv);
int vrsctl_terminal_issue(const char *socket_path, int argc, char **argv);
int vrsctl_selfcheck(const char *socket_path, int argc, char **argv);

#endif
