/* access_log_verify: everything that the log says of itself, from the stored rows alone. */
#include <stdlib.h>
#include <string.h>

#include "partitions/access_log.h"
#include "partitions/log_tree.h"

enum { PAGE = 500 };

struct check {
    struct partition *partition;
    const struct log_head *from;
    struct log_head head;
    uint64_t purged;    /* entries that are missing at the start */
    uint64_t declared;  /* as the last purge says */
    bool epoch_known;   /* an entry has named head.epoch */
    bool from_restored; /* `from` is of an epoch whose end a restore lost, as its entry says */
    struct merkle_range range;
    struct merkle_range tiles[LOG_TILE_LEVELS]; /* that is being filled, by level */
    struct merkle_hash purged_root;
    uint64_t subject_rows; /* that there must be */
    struct record_id last;
    uint64_t seen, beyond;
};

static bool same(const struct merkle_hash *a, const struct merkle_hash *b) {
    return memcmp(a->bytes, b->bytes, sizeof a->bytes) == 0;
}

static enum vrs_err tampered(enum vrs_err e) {
    /* A row that is gone, whose key does not exist or that says nothing is a broken log, too. */
    return e == ERR_NOT_FOUND || e == ERR_CRYPTO || e == ERR_CORRUPT ? ERR_TAMPERED : e;
}

/* The tiles that end with this leaf are stored as they follow from the leaves. */
static enum vrs_err check_tiles(struct check *c, const struct merkle_hash *leaf) {
    struct merkle_hash hash = *leaf, stored;
    uint64_t count = c->range.size;
    for (unsigned level = 0; level < LOG_TILE_LEVELS; level++) {
        merkle_range_add(&c->tiles[level], &hash);
        if (c->tiles[level].size < LOG_TILE_WIDTH)
            return VRS_OK;
        merkle_range_root(&c->tiles[level], &hash);
        merkle_range_init(&c->tiles[level]);
        count >>= LOG_TILE_BITS;
        enum vrs_err e = log_tile_get(c->partition, level + 1, count - 1, &stored, 1);
        if (e != VRS_OK || !same(&hash, &stored))
            return e == VRS_OK ? ERR_TAMPERED : tampered(e);
    }
    return ERR_TAMPERED;
}

static enum vrs_err check_leaf(struct check *c, const struct merkle_hash *leaf) {
    struct merkle_hash root;
    merkle_range_add(&c->range, leaf);
    enum vrs_err e = check_tiles(c, leaf);
    if (e == VRS_OK && c->from != NULL && c->from->size == c->range.size) {
        merkle_range_root(&c->range, &root);
        e = same(&root, &c->from->root) ? VRS_OK : ERR_TAMPERED;
    }
    return e;
}

static enum vrs_err check_purged(struct check *c, uint64_t *bad) {
    struct merkle_hash leaves[LOG_TILE_WIDTH];
    enum vrs_err e = (c->purged & (LOG_TILE_WIDTH - 1)) == 0 ? VRS_OK : ERR_TAMPERED;
    *bad = 1;
    while (e == VRS_OK && c->range.size < c->purged) {
        *bad = c->range.size + 1;
        e = tampered(
            log_tile_get(c->partition, 0, c->range.size >> LOG_TILE_BITS, leaves, LOG_TILE_WIDTH));
        for (size_t i = 0; e == VRS_OK && i < LOG_TILE_WIDTH; i++)
            e = check_leaf(c, &leaves[i]);
    }
    merkle_range_root(&c->range, &c->purged_root);
    return e;
}

/* ---- what entries say of the log */

static enum vrs_err see_epoch(struct check *c, const struct log_read *r) {
    struct log_epoch_text t;
    const struct log_head *from = c->from;
    (void)strncpy(c->head.epoch, r->result, sizeof c->head.epoch - 1);
    c->epoch_known = true;
    if (r->clear[0] == '\0')
        return VRS_OK; /* of a file from before the tree */
    if (!log_epoch_parse(r->clear, &t) || strcmp(t.epoch, r->result) != 0 ||
        strcmp(t.municipality, partition_code(c->partition)) != 0 || t.restored != r->seq - 1 ||
        t.known < t.restored)
        return ERR_TAMPERED;
    if (from != NULL && strcmp(from->epoch, t.previous) == 0 && from->size > t.restored) {
        if (from->size > t.known || (from->size == t.known && !same(&from->root, &t.known_root)))
            return ERR_TAMPERED;
        c->from_restored = true;
        c->from = NULL; /* what comes now is another history */
    }
    return VRS_OK;
}

static enum vrs_err see_purge(struct check *c, const struct log_read *r) {
    struct log_purge_text t;
    if (!log_purge_parse(r->clear, &t) ||
        strcmp(t.municipality, partition_code(c->partition)) != 0 || t.size >= r->seq ||
        (c->epoch_known && strcmp(t.epoch, c->head.epoch) != 0))
        return ERR_TAMPERED;
    memcpy(c->head.epoch, t.epoch, sizeof c->head.epoch);
    c->epoch_known = true;
    c->declared = t.size;
    return t.size != c->purged || same(&t.root, &c->purged_root) ? VRS_OK : ERR_TAMPERED;
}

static enum vrs_err see_entry(const struct log_read *r, void *arg) {
    struct check *c = arg;
    struct merkle_hash clear;
    if (r->clear[0] != '\0') {
        crypto_sha256(r->clear, strlen(r->clear), clear.bytes);
        if (!same(&clear, &r->commitment))
            return ERR_TAMPERED;
    }
    if (r->subject_count > 1)
        c->subject_rows += r->subject_count;
    enum vrs_err e = check_leaf(c, &r->leaf);
    if (e == VRS_OK && strcmp(r->purpose, "operation") == 0) {
        if (strcmp(r->act, "log.epoch") == 0)
            e = see_epoch(c, r);
        else if (strcmp(r->act, "log.purge") == 0)
            e = see_purge(c, r);
    }
    return e;
}

/* ---- subjects and counts */

static enum vrs_err count_subject(struct record *r, void *arg) {
    struct check *c = arg;
    c->last = r->id;
    c->seen++;
    c->beyond += r->order <= c->purged || r->order > c->head.size;
    return VRS_OK;
}

/* Every one opens, and there are as many as the entries say: an entry hides from nobody. */
static enum vrs_err check_subjects(struct check *c) {
    enum vrs_err e = VRS_OK;
    uint64_t before = 0;
    for (bool first = true; e == VRS_OK && (first || c->seen == before + PAGE); first = false) {
        struct record_id after = c->last;
        before = c->seen;
        e = record_walk(c->partition, TABLE_LOG_SUBJECT, first ? NULL : &after, PAGE, count_subject,
                        c);
    }
    if (e == VRS_OK && (c->seen != c->subject_rows || c->beyond > 0))
        e = ERR_TAMPERED;
    return tampered(e);
}

static enum vrs_err check_counts(struct check *c) {
    const struct store_engine *engine = partition_engine(c->partition);
    struct store *s = partition_store(c->partition);
    uint64_t rows = 0, tiles = 0, all = 0, expected = c->purged >> LOG_TILE_BITS, sum = 0;
    enum vrs_err e = engine->count(s, TABLE_LOG, UINT32_MAX, &rows);
    if (e == VRS_OK)
        e = engine->count(s, TABLE_LOG_TILE, UINT32_MAX, &all);
    for (uint32_t level = 0; e == VRS_OK && level < LOG_TILE_LEVELS; level++) {
        e = engine->count(s, TABLE_LOG_TILE, level, &tiles);
        if (level > 0)
            expected = c->head.size >> (LOG_TILE_BITS * level);
        sum += expected;
        if (e == VRS_OK && tiles != expected)
            e = ERR_TAMPERED;
    }
    if (e == VRS_OK && (rows != c->head.size - c->purged || all != sum))
        e = ERR_TAMPERED; /* beside the sequence */
    return e;
}

static enum vrs_err note_first(const struct store_row *row, void *arg) {
    *(uint64_t *)arg = row->order;
    return VRS_OK;
}

static enum vrs_err begin(struct check *c, char meta_epoch[LOG_EPOCH_BYTES]) {
    const struct store_engine *engine = partition_engine(c->partition);
    struct store *s = partition_store(c->partition);
    uint64_t first = 0;
    enum vrs_err e = engine->meta_get(s, "log_epoch", meta_epoch, LOG_EPOCH_BYTES);
    if (e == ERR_NOT_FOUND) {
        memcpy(meta_epoch, "1", 2);
        e = VRS_OK;
    }
    if (e == VRS_OK)
        e = engine->max_order(s, TABLE_LOG, &c->head.size);
    if (e == VRS_OK)
        e = engine->scan(s, TABLE_LOG, UINT32_MAX, 0, 1, note_first, &first);
    c->purged = first > 0 ? first - 1 : 0;
    c->epoch_known = c->purged == 0;
    memcpy(c->head.epoch, "1", 2);
    return e;
}

enum vrs_err access_log_verify(struct partition *p, const struct log_head *from,
                               struct log_head *head, uint64_t *bad_seq) {
    char meta_epoch[LOG_EPOCH_BYTES];
    struct check *c = calloc(1, sizeof *c);
    *bad_seq = 0;
    memset(head, 0, sizeof *head);
    if (c == NULL)
        return ERR_MEMORY;
    c->partition = p;
    c->from = from;
    enum vrs_err e = begin(c, meta_epoch);
    if (e == VRS_OK)
        e = check_purged(c, bad_seq);
    for (uint64_t seq = c->purged + 1; e == VRS_OK && seq <= c->head.size; seq++) {
        *bad_seq = seq;
        e = tampered(access_log_one(p, seq, see_entry, c));
    }
    merkle_range_root(&c->range, &c->head.root);
    if (e == VRS_OK) {
        *bad_seq = c->declared != c->purged ? 1 : c->head.size + 1;
        if (c->declared != c->purged || !c->epoch_known || strcmp(meta_epoch, c->head.epoch) != 0)
            e = ERR_TAMPERED; /* taken from the start, or another epoch */
        else if (from != NULL && from->size > c->head.size && !c->from_restored)
            e = ERR_TAMPERED; /* cut off */
    }
    if (e == VRS_OK)
        e = check_counts(c);
    if (e == VRS_OK)
        e = check_subjects(c);
    if (e != ERR_TAMPERED)
        *bad_seq = 0;
    *head = c->head;
    free(c);
    return e;
}
