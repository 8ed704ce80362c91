/* Where backups stand and how a file gets there (C129, C130).
 *
 * backup_dirs names the folders, separated by spaces; empty: STATE/backup and STATE/backup-2.  Each
 * holds, for a municipality and the name of a backup,
 *   <code>-<name>.db, .keys     sealed as they are in use
 *   <code>.tombstones           the newest tombstones: they go with the backups to where those go
 * vrs-number keeps its own folders. */
#ifndef VRS_SERVER_OPERATION_BACKUP_H
#define VRS_SERVER_OPERATION_BACKUP_H

#include "vrs-server/server.h"

enum { BACKUP_DIRS_MAX = 4, BACKUP_PATH = 512 };

struct backup_dirs {
    size_t count;
    char dir[BACKUP_DIRS_MAX][BACKUP_PATH / 2];
};
VRS_CHECK enum vrs_err backup_dirs_of(const struct server_config *c, struct backup_dirs *out,
                                      struct vrs_fault *fault);
/* At start, and for selfcheck: two folders, each on another device than the data.  In development a
 * warning each in `warnings` (may be NULL), else ERR_CONFIG. */
VRS_CHECK enum vrs_err backup_check(const struct server_config *c, struct buffer *warnings,
                                    struct vrs_fault *fault);
bool backup_name_valid(const char *name);

/* STATE/tombstones, into `dir`. */
const char *backup_tombstones(const struct server *s, char dir[BACKUP_PATH]);
/* Beside the backups; trouble is an event: the file in STATE is the one that counts. */
void backup_keep_tombstones(const struct server *s, const char *municipality);
/* On an empty machine: the longest of those that stand beside the backups. */
VRS_CHECK enum vrs_err backup_fetch_tombstones(const struct server *s, const char *municipality,
                                               struct vrs_fault *fault);

#endif
