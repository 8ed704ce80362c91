/* The snapshot that tablet-api lives by: site staff (password hashes, rights), revoked terminals,
 * system clients, the inbox key; signed, with a version that only grows (tablet-api/line.h).
 * Loop thread; made from the registry in a pool job. */
#ifndef VRS_SERVER_ACCOUNTS_SNAPSHOT_H
#define VRS_SERVER_ACCOUNTS_SNAPSHOT_H

#include "lib/client.h"
#include "vrs-server/server.h"

struct snapshot;

/* A 32-byte key as 64 hex digits in a file that only its owner may read. */
VRS_CHECK enum vrs_err snapshot_read_key(const char *path, struct secret_key *out,
                                         struct vrs_fault *fault);
/* `inbox_key` is the private key: its public half goes outward.  Makes and pushes at once. */
VRS_CHECK enum vrs_err snapshot_open(struct server *s, struct client *line,
                                     const struct secret_key *inbox_key, struct snapshot **out,
                                     struct vrs_fault *fault);
/* Accounts or terminals changed: a new version is made and pushed. */
void snapshot_changed(struct snapshot *s);
/* What a pull told: pushes again when the outside lacks the newest or it is half its age. */
void snapshot_outside_has(struct snapshot *s, uint64_t version);

/* Nothing is made or pushed any more: the line is about to be closed; jobs in the pool may end yet. */
void snapshot_stop(struct snapshot *s);

#endif
