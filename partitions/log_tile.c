/* The rows that the tree is made of: leaves as their entries give them, and stored tiles. */
#include <string.h>

#include "partitions/log_tree.h"

void log_row_id(uint64_t seq, struct record_id *out) {
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < 8; i++)
        out->bytes[15 - i] = (uint8_t)(seq >> (8 * i));
}

static void tile_id(unsigned level, uint64_t index, struct record_id *out) {
    log_row_id(index, out);
    out->bytes[0] = (uint8_t)(level + 1);
}

enum vrs_err log_leaf(const struct store_index *commitment, const struct merkle_hash *entry_hash,
                      struct merkle_hash *leaf) {
    uint8_t text[1 + 2 * CRYPTO_HASH_BYTES] = {0};
    if (commitment->len != 0 && commitment->len != CRYPTO_HASH_BYTES)
        return ERR_TAMPERED;
    memcpy(text + 1, commitment->bytes, commitment->len);
    memcpy(text + 1 + CRYPTO_HASH_BYTES, entry_hash->bytes, CRYPTO_HASH_BYTES);
    crypto_sha256(text, sizeof text, leaf->bytes);
    return VRS_OK;
}

enum vrs_err log_row_leaf(const struct store_row *row, struct merkle_hash *entry_hash,
                          struct merkle_hash *leaf) {
    crypto_sha256(row->blob, row->blob_len, entry_hash->bytes);
    return log_leaf(&row->index[1], entry_hash, leaf);
}

enum vrs_err log_tile_get(struct partition *p, unsigned level, uint64_t index,
                          struct merkle_hash *out, size_t count) {
    struct record_id id;
    struct record r;
    tile_id(level, index, &id);
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_LOG_TILE, &id, &r);
    if (e == VRS_OK &&
        (r.state != level || r.order != index + 1 || r.text.len != count * sizeof *out))
        e = ERR_TAMPERED;
    if (e == VRS_OK)
        memcpy(out, r.text.data, r.text.len);
    record_fini(&r);
    return e;
}

enum vrs_err log_tile_put(struct partition *p, unsigned level, uint64_t index,
                          const struct merkle_hash *hashes, size_t count) {
    struct record r;
    record_init(&r);
    tile_id(level, index, &r.id);
    r.state = level;
    r.order = index + 1;
    (void)buffer_put(&r.text, hashes, count * sizeof *hashes);
    enum vrs_err e = record_insert(p, TABLE_LOG_TILE, &r);
    record_fini(&r);
    return e == ERR_CONFLICT ? ERR_TAMPERED : e; /* of a tree that was longer once */
}

struct leaves {
    struct merkle_hash *out;
    uint64_t after; /* sequence before the first */
    size_t count;
};

static enum vrs_err add_leaf(const struct store_row *row, void *arg) {
    struct leaves *l = arg;
    struct record_id id;
    struct merkle_hash entry_hash;
    log_row_id(row->order, &id);
    if (row->order != l->after + l->count + 1 || memcmp(id.bytes, row->id, sizeof id.bytes) != 0)
        return ERR_TAMPERED;
    return log_row_leaf(row, &entry_hash, &l->out[l->count++]);
}

enum vrs_err log_tile_rows(struct partition *p, uint64_t index,
                           struct merkle_hash out[LOG_TILE_WIDTH], size_t *count) {
    struct leaves l = {.out = out, .after = index << LOG_TILE_BITS};
    enum vrs_err e = partition_engine(p)->scan(partition_store(p), TABLE_LOG, UINT32_MAX, l.after,
                                               LOG_TILE_WIDTH, add_leaf, &l);
    *count = l.count;
    return e;
}

enum vrs_err log_tile_leaves(struct partition *p, uint64_t index,
                             struct merkle_hash out[LOG_TILE_WIDTH]) {
    size_t count = 0;
    enum vrs_err e = log_tile_get(p, 0, index, out, LOG_TILE_WIDTH);
    if (e != ERR_NOT_FOUND)
        return e;
    e = log_tile_rows(p, index, out, &count);
    return e == VRS_OK && count < LOG_TILE_WIDTH ? ERR_TAMPERED : e;
}
