/* SQLite under the discipline of this project: shared by the partitions and the Internet inbox.
 *
 * One connection a file and one file a handle, locked exclusively (no -shm, two descriptors), used
 * by one thread at a time.  Everything that decides durability is set and read back at each open.
 * The -wal file stays beside the file for ever, so that opening and closing touch no directory.
 *
 * A commit has three outcomes:
 *
 *   begin ─► work ─► commit ─┬─ VRS_OK       it survives power loss
 *              │             ├─ ERR_STORAGE  surely nothing of it is stored
 *              │             └─ ERR_UNKNOWN ─► suspect
 *              └─ I/O error ─► rollback ──────► suspect ─► reopen + full checkpoint ─► begin
 *
 * A suspect file (an fsync or write on its descriptors failed) refuses work until
 * sqlite_file_recover has opened new descriptors and checkpointed all of the journal: nothing is
 * written again through a descriptor that has failed, and nothing that was only in the page cache
 * is taken for stored.  For the same reason an open that finds a journal left by a killed process
 * checkpoints it before it returns. */
#ifndef VRS_LIB_SQLITE_FILE_H
#define VRS_LIB_SQLITE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

struct sqlite3;
struct sqlite_file;

enum {
    SQLITE_FILE_CREATE = 1,    /* make it (0600, directory synced) when absent */
    SQLITE_FILE_READ_ONLY = 2, /* a copy at rest (a backup): refused when it has a journal */
};

/* Step n brings a file of version n to n + 1, in one transaction; a new file takes them all.  An
 * upgrade that was cut off goes on at the next open.  Steps are only ever appended. */
struct sqlite_step {
    const char *sql;                         /* or: */
    enum vrs_err (*run)(struct sqlite3 *db); /* when it depends on what is in the file */
};
struct sqlite_schema {
    int32_t application_id; /* in the file's header: another program's file is refused */
    const struct sqlite_step *steps;
    size_t count;
};

/* ERR_NOT_FOUND without SQLITE_FILE_CREATE when there is no file, or one that was cut off while it
 * was made; nothing is created then.  ERR_BUSY when another process has it open.  The schema is
 * borrowed until close. */
VRS_CHECK enum vrs_err sqlite_file_open(const char *path, unsigned flags,
                                        const struct sqlite_schema *schema,
                                        struct sqlite_file **out, struct vrs_fault *fault);
/* The owner finalizes its statements first, here and before sqlite_file_recover. */
void sqlite_file_close(struct sqlite_file **f);
/* NULL after a recovery that failed. */
struct sqlite3 *sqlite_file_db(struct sqlite_file *f);

VRS_CHECK enum vrs_err sqlite_file_begin(struct sqlite_file *f, struct vrs_fault *fault);
VRS_CHECK enum vrs_err sqlite_file_commit(struct sqlite_file *f, struct vrs_fault *fault);
void sqlite_file_rollback(struct sqlite_file *f);
/* Translates what a statement answered and notes whether the file is now suspect.  SQLITE_OK, _ROW
 * and _DONE are VRS_OK; a broken constraint is ERR_CONFLICT. */
enum vrs_err sqlite_file_result(struct sqlite_file *f, int rc, const char *doing,
                                struct vrs_fault *fault);
/* One statement without parameters and results. */
VRS_CHECK enum vrs_err sqlite_file_exec(struct sqlite_file *f, const char *sql,
                                        struct vrs_fault *fault);
bool sqlite_file_suspect(const struct sqlite_file *f);
VRS_CHECK enum vrs_err sqlite_file_recover(struct sqlite_file *f, struct vrs_fault *fault);
/* All of the journal into the file, synced, the journal emptied. Outside a transaction. */
VRS_CHECK enum vrs_err sqlite_file_checkpoint(struct sqlite_file *f, struct vrs_fault *fault);
/* Upkeep that would delay a commit: for the owner's idle moments, outside a transaction.  Without
 * it a commit does it, later. */
void sqlite_file_tidy(struct sqlite_file *f);
/* May hold 16 MiB of pages in memory instead of 128 KiB, and more of its journal; also after a
 * recovery. */
void sqlite_file_favour(struct sqlite_file *f, bool on);

/* Gives back the pages in memory, outside a transaction; not those of a favoured file: false. */
bool sqlite_file_rest(struct sqlite_file *f);

/* A consistent copy at `path`, which must not exist; 0600, synced with its directory. */
VRS_CHECK enum vrs_err sqlite_file_backup(struct sqlite_file *f, const char *path,
                                          struct vrs_fault *fault);
/* name=value lines: every setting of the discipline as SQLite reads it back. */
VRS_CHECK enum vrs_err sqlite_file_describe(struct sqlite_file *f, struct buffer *out);

#endif
