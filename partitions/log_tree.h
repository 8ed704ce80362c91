/* The RFC 6962 tree over the access log of an open partition (access_log.h says what a leaf is).
 * Inside partitions only: partition.c carries it and tells it of commits, access_log.c appends.
 *
 * Stored: when 256^L leaves are complete (L ≥ 1), the root of that subtree is a row of
 * TABLE_LOG_TILE: state = L, order = its number + 1, text = 32 bytes, written in the savepoint of
 * the append that completes it.  A purged tile of leaves has, besides, one row of level 0 with its
 * 256 leaf hashes, so that every proof can still be made.
 *
 * In memory: per level the hashes of the tile that is being filled, with the nodes above them, and
 * the last tile that was filled or read.  They follow committed rows only:
 *
 *   append     the leaf waits by its sequence, which an undone one shares with its successor
 *   commit     what waits, up to the last sequence that is stored, joins the tree
 *   rollback   nothing
 *   unknown    the tree is read anew
 *
 * Invariant: while `loaded`, size, root and hashes are those of the rows of the last commit. */
#ifndef PARTITIONS_LOG_TREE_H
#define PARTITIONS_LOG_TREE_H

#include "lib/merkle.h"
#include "partitions/partition.h"

struct log_tree;

enum {
    LOG_TILE_BITS = 8,
    LOG_TILE_WIDTH = 1 << LOG_TILE_BITS,
    LOG_TILE_LEVELS = 7, /* 256^7 entries */
    LOG_EPOCH_BYTES = 40
};

/* ---- for partition.c */

struct log_tree *log_tree_new(void); /* NULL: no memory */
void log_tree_free(struct log_tree **t);
/* Inside a transaction: reads the tree, and writes the tiles that an older file lacks.  A log whose
 * rows do not make a tree is no failure here: appends and proofs then answer ERR_TAMPERED. */
VRS_CHECK enum vrs_err log_tree_load(struct log_tree *t, struct partition *p);
void log_tree_before_commit(struct log_tree *t, struct partition *p);
void log_tree_after_commit(struct log_tree *t, enum vrs_err outcome);
void log_tree_undone(struct log_tree *t, bool whole_transaction);
void log_tree_forget(struct log_tree *t); /* read anew at the next use */

/* ---- for the log */

VRS_CHECK enum vrs_err log_tree_append(struct partition *p, uint64_t seq,
                                       const struct merkle_hash *leaf);
void log_tree_epoch_set(struct partition *p); /* the epoch's name was changed in this transaction */

struct log_tree_state {
    uint64_t size;
    struct merkle_hash root;
    char epoch[LOG_EPOCH_BYTES];
};
VRS_CHECK enum vrs_err log_tree_state(struct partition *p, const struct log_tree_state **out);
/* With what the present transaction has appended. */
VRS_CHECK enum vrs_err log_tree_now(struct partition *p, struct log_tree_state *out);
/* Subtrees of the committed tree, as lib/merkle.h asks for them; `arg` is the partition.  Outside a
 * transaction rows are read in one of its own. */
VRS_CHECK enum vrs_err log_tree_read(unsigned level, uint64_t index, struct merkle_hash *out,
                                     void *arg);

/* ---- log_tile.c: rows */

void log_row_id(uint64_t seq, struct record_id *out);
VRS_CHECK enum vrs_err log_leaf(const struct store_index *commitment,
                                const struct merkle_hash *entry_hash, struct merkle_hash *leaf);
/* Of a row of TABLE_LOG as it is stored. */
VRS_CHECK enum vrs_err log_row_leaf(const struct store_row *row, struct merkle_hash *entry_hash,
                                    struct merkle_hash *leaf);
/* A stored tile: `count` hashes (1, or LOG_TILE_WIDTH at level 0).  ERR_NOT_FOUND. */
VRS_CHECK enum vrs_err log_tile_get(struct partition *p, unsigned level, uint64_t index,
                                    struct merkle_hash *out, size_t count);
VRS_CHECK enum vrs_err log_tile_put(struct partition *p, unsigned level, uint64_t index,
                                    const struct merkle_hash *hashes, size_t count);
/* The leaves of tile `index` that have rows, from its first on. */
VRS_CHECK enum vrs_err log_tile_rows(struct partition *p, uint64_t index,
                                     struct merkle_hash out[LOG_TILE_WIDTH], size_t *count);
/* The leaves of complete tile `index` from the rows, or from what a purge kept of them. */
VRS_CHECK enum vrs_err log_tile_leaves(struct partition *p, uint64_t index,
                                       struct merkle_hash out[LOG_TILE_WIDTH]);

#endif
