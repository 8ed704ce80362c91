/* An import as it is stored: its place in the ledger (who, from which medium, what became of it) and
 * its sealed parts.
 *
 *   created ─► receiving ─► received ─► checking ─► checked ─► committing ─► committed
 *                                          └─► refused (header, encoding, hash)
 *   anything not committed ─► removed (discarded by a person, or swept after IMPORT_STAGED_DAYS)
 *
 * Parts hold 個人番号.  They go with the commit, with the refusal of the file, with the removal. */
#ifndef VRS_SERVER_RESIDENTS_IMPORT_STORE_H
#define VRS_SERVER_RESIDENTS_IMPORT_STORE_H

#include "lib/crypto.h"
#include "partitions/partition.h"
#include "vrs-server/residents/import_rows.h"

enum {
    IMPORT_PART_BYTES = 4 << 10, /* a transaction: others wait for so many rows at most */
    IMPORT_MAX_BYTES = 1 << 30,
    IMPORT_STAGED_DAYS = 7, /* standard; data/policies.json: import_staged */
    IMPORT_MAX_OPEN = 20,   /* neither committed, refused nor removed, a municipality */
};
#define IMPORT_MAX_OPEN_BYTES ((uint64_t)2 << 30)

enum import_state {
    IMPORT_CREATED = 1,
    IMPORT_RECEIVING,
    IMPORT_RECEIVED,
    IMPORT_CHECKING,
    IMPORT_CHECKED,
    IMPORT_COMMITTING,
    IMPORT_COMMITTED,
    IMPORT_REFUSED,
    IMPORT_REMOVED,
};
const char *import_state_name(enum import_state s);

struct import {
    struct record_id id;
    enum import_state state;
    enum import_kind kind;
    char file_name[256];
    char sha256[65];
    char user[64];
    uint64_t size, received;
    uint64_t part_bytes;               /* of each part but the last */
    uint64_t parts_done;               /* of the phase: position after a crash */
    uint64_t rows, count[ROW_RESULTS]; /* of the phase */
    uint64_t results;                  /* result parts written */
    int64_t made_ms;
    char error[16], column[64]; /* refused: code and column */
    /* the ledger (C77) */
    char medium[128], approved_by[64], terminal[64], section[64];
    int64_t touched_ms; /* last sign of life before the commit */
    int64_t committed_ms, removed_ms;
    char deletion_by[64], deletion_method[256]; /* of the data on the medium */
    int64_t deletion_ms;
};

bool import_open(const struct import *m); /* its parts are still needed */
VRS_CHECK enum vrs_err import_get(struct partition *p, const struct record_id *id,
                                  struct import *out);
VRS_CHECK enum vrs_err import_put(struct partition *p, const struct import *m, bool insert);
typedef enum vrs_err import_fn(struct import *m, void *arg);
VRS_CHECK enum vrs_err import_walk_all(struct partition *p, import_fn *fn, void *arg);
/* `what`: "hash" or "name".  The last one, *any false when there is none. */
VRS_CHECK enum vrs_err import_find(struct partition *p, const char *what, const char *value,
                                   struct import *out, bool *any);

/* Parts have ids that follow from the import's, so that one can be read without the others.
 * `what`: "part" of the file, "preview" or "result" of its rows. */
VRS_CHECK enum vrs_err import_part_put(struct partition *p, const struct record_id *import,
                                       const char *what, uint64_t n, const void *data, size_t len);
VRS_CHECK enum vrs_err import_part_get(struct partition *p, const struct record_id *import,
                                       const char *what, uint64_t n, struct record *out);
VRS_CHECK enum vrs_err import_parts_remove(struct partition *p, const struct record_id *import,
                                           const char *what, uint64_t count);
/* All of the file's parts, as many as were received. */
VRS_CHECK enum vrs_err import_file_remove(struct partition *p, const struct import *m);
/* Removes what has lain since before `before_ms`: parts and rows' previews; the ledger's row stays,
 * and the removal is an entry.  *removed imports. */
VRS_CHECK enum vrs_err imports_sweep(struct partition *p, int64_t before_ms, uint64_t *removed);

#endif
