/* The number area: one sealed file a municipality with its numbers and the journal of what was
 * revealed.
 *
 *   STATE/files/<code>.db    numbers and journal      STATE/keys/<code>.keys   wrapped data keys
 *   STATE/backup/<code>-<name>.{db,keys}              STATE/stage/             a restore at work
 *   the same once more in the second backup folder
 *
 * Invariants:
 *  A1  a file is made by an allowed put, or for a migration, only; every other verb finds an absent one empty.
 *  A2  what was answered VRS_OK is durable (a put, an erasure, a journal entry).
 *  A3  no number is in an answer whose journal entry is not committed.
 *  A4  a restore never shortens the journal.
 *  A5  an erased number is in no file, journal or free room when its erasure is answered.
 * One thread. */
#ifndef VRS_SERVER_NUMBER_AREA_H
#define VRS_SERVER_NUMBER_AREA_H

#include "partitions/keyring.h"
#include "partitions/store.h"
#include "vrs-server/number/message.h"

struct area_options {
    const struct store_engine *engine;
    const char *state_dir;         /* copied */
    const char *second_backup_dir; /* copied; NULL or "": STATE/backup-2 */
    struct keyring *keys;          /* borrowed; KEY_NUMBERS is enough */
    size_t max_open;               /* files kept open, least recently used closed above */
};

struct area;
/* Makes the folders that are missing (0700). */
VRS_CHECK enum vrs_err area_open(const struct area_options *o, struct area **out,
                                 struct vrs_fault *fault);
void area_close(struct area **a);

/* Runs requests of one municipality in order, those between two that run alone (backup, restore, rotate) in one
 * transaction, and fills err and fields of each.  Returns after the commit.  Not STATUS. */
void area_run(struct area *a, struct number_request *const *requests, size_t n);
/* key=value lines: counts since the start, commit latency, the PRAGMA read-back of one open file.
 */
void area_status(struct area *a, struct buffer *out);

/* Tests stop or kill the process at these moments; NULL otherwise. */
enum area_moment { AREA_LOOKED, AREA_COMMITTING, AREA_COMMITTED };
extern void (*area_moment_fn)(enum area_moment m);

#endif
