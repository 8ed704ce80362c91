/* Key-encryption keys in files of their own (keyring.h has the sources), and the copies of wrapped
 * keys that must go. */
#ifndef PARTITIONS_KEY_FILE_H
#define PARTITIONS_KEY_FILE_H

#include "lib/err.h"

/* DIR/<municipality>-*.keys, the wrapped keys of backups: overwritten, synced, removed. */
VRS_CHECK enum vrs_err key_file_destroy_copies(const char *dir, const char *municipality,
                                               struct vrs_fault *fault);

#endif
