/* Small files that hold keys: written whole, synced, readable by their owner alone; and the KEKs
 * that are such files. */
#ifndef PARTITIONS_KEY_FILE_H
#define PARTITIONS_KEY_FILE_H

#include <stddef.h>

#include "lib/err.h"

/* A new file, 0600, synced (its folder is not); nothing is left when it fails. ERR_CONFLICT when it
 * exists. */
VRS_CHECK enum vrs_err key_file_write(const char *path, const void *p, size_t n,
                                      struct vrs_fault *fault);
VRS_CHECK enum vrs_err key_file_sync_dir(const char *dir, struct vrs_fault *fault);

/* DIR/<municipality>-*.keys, the wrapped keys of backups: overwritten, synced, removed. */
VRS_CHECK enum vrs_err key_file_destroy_copies(const char *dir, const char *municipality,
                                               struct vrs_fault *fault);

#endif
