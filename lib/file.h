/* Plain files, so that a power cut leaves the old one or the new one, whole: written, synced, then
 * given their name, and the folder synced.  All are 0600 and never follow a link.  Errors:
 * ERR_STORAGE (the disk), ERR_IO (reading, renaming), ERR_NOT_FOUND where it is said. */
#ifndef VRS_LIB_FILE_H
#define VRS_LIB_FILE_H

#include <stddef.h>

#include "lib/err.h"

VRS_CHECK enum vrs_err file_sync_dir(const char *dir, struct vrs_fault *fault);
VRS_CHECK enum vrs_err file_sync_dir_of(const char *path, struct vrs_fault *fault);
/* A new file, synced (its folder is not); nothing is left when it fails.  ERR_CONFLICT when it
 * exists. */
VRS_CHECK enum vrs_err file_write_new(const char *path, const void *p, size_t n,
                                      struct vrs_fault *fault);
/* A synced file takes the place of `to`, in the same file system, for good. */
VRS_CHECK enum vrs_err file_move(const char *from, const char *to, struct vrs_fault *fault);
/* Beside `to`, synced, read back from the disk and compared, then moved there.  ERR_NOT_FOUND when
 * there is no `from`. */
VRS_CHECK enum vrs_err file_copy(const char *from, const char *to, struct vrs_fault *fault);
/* ERR_STORAGE when they differ. */
VRS_CHECK enum vrs_err file_same_content(const char *a, const char *b, struct vrs_fault *fault);

#endif
