/* The operator's tool.  It talks to vrs-server's control socket and never opens a live file; only
 * `init` and `terminal issue` write files of their own (keys, certificates). */
#ifndef VRS_SERVER_VRSCTL_VRSCTL_H
#define VRS_SERVER_VRSCTL_VRSCTL_H

#include "lib/json.h"

/* One command over the control socket.  *reply (new) also when it failed there; ERR_IO when nobody
 * listens.  `request` is stolen. */
VRS_CHECK enum vrs_err vrsctl_call(const char *socket_path, json_t *request, json_t **reply);

/* vrs-signer's folders below `dir`, its first log key, and the terminals' authorities moved there.
 * What is there stays: an older stack gets what it lacks. */
VRS_CHECK enum vrs_err vrsctl_signer_make(const char *dir, struct vrs_fault *fault);
int vrsctl_signer_init(const char *dir);
int vrsctl_signer_new_key(const char *keys_dir); /* the next log key; the old ones stay */

/* Each takes the words after its name; returns the exit status. */
int vrsctl_init(int argc, char **argv);
int vrsctl_terminal_issue(const char *socket_path, int argc, char **argv);
int vrsctl_selfcheck(const char *socket_path, int argc, char **argv);

int vrsctl_allow_list_init(const char *dir); /* its authority's key, where there is none */
/* Checks the list, signs it with the key (64 hex digits, 0600) and prints what vrs-server loads. */
int vrsctl_allow_list_sign(const char *file, const char *key_file);

#endif
