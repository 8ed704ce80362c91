/* After an erasure: nothing of what was removed is left in the file (C126).
 *
 * secure_delete zeroes what is removed, and closing a file empties its journal.  But when pages are
 * split and joined, rows move, and the room that they leave keeps their bytes until it is used
 * again.  So the closed file is looked through for the seals of the removed rows, and is written
 * anew when one is found, or when it is small enough for that to be cheaper than wondering. */
#ifndef PARTITIONS_SCRUB_H
#define PARTITIONS_SCRUB_H

#include "partitions/erase.h"
#include "partitions/keyring.h"
#include "partitions/store.h"

enum { SCRUB_SMALL_BYTES = 32 << 20 };

struct scrub_result {
    uint64_t bytes; /* looked through */
    uint64_t found; /* seals that were still there */
    bool rewritten;
};

/* The file `dir`/<code>.db, which nobody has open.  `seals`: ERASE_SEAL_BYTES each.  VRS_OK: none
 * of them is in the file or beside it.  ERR_NOT_FOUND: no file. */
VRS_CHECK enum vrs_err scrub_file(const struct store_engine *engine, const char *dir,
                                  const char *municipality, const struct buffer *seals,
                                  uint64_t small_bytes, struct scrub_result *out,
                                  struct vrs_fault *fault);
/* How many of the seals are in a file; an absent file has none. */
VRS_CHECK enum vrs_err scrub_look(const char *path, const struct buffer *seals, uint64_t *found,
                                  uint64_t *bytes, struct vrs_fault *fault);

#endif
