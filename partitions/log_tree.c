#include "partitions/log_tree.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

/* The first `count` hashes of a tile with every complete node above them, in the order in which they
 * become complete (a Merkle mountain range): a whole one has 511. */
struct tile {
    uint64_t index;
    unsigned count;
    size_t room;
    struct merkle_hash *nodes;
};

struct log_tree {
    struct log_tree_state state;
    bool loaded;
    enum vrs_err broken; /* while loaded: the rows make no tree */
    struct tile open[LOG_TILE_LEVELS];
    struct tile kept[LOG_TILE_LEVELS]; /* complete, or count 0 */
    /* the present transaction */
    struct merkle_hash *waiting; /* leaves state.size, … */
    size_t waiting_room;
    uint64_t last;  /* sequence appended last; state.size: none */
    bool unsure;    /* a savepoint was undone: ask the store for `last` */
    bool new_epoch; /* log_epoch was written */
    bool rebuilt;   /* tiles were written by log_tree_load */
};

/* ---- tiles in memory */

/* Node `index` of `level` above the hashes; it is complete. */
static const struct merkle_hash *tile_node(const struct tile *t, unsigned level, uint64_t index) {
    uint64_t last = ((index + 1) << level) - 1;
    assert(last < t->count);
    return &t->nodes[2 * last - (unsigned)__builtin_popcountll(last) + level];
}

static bool tile_add(struct tile *t, const struct merkle_hash *hash) {
    assert(t->count < LOG_TILE_WIDTH);
    size_t at = 2U * t->count - (unsigned)__builtin_popcount(t->count);
    size_t need = at + 1 + (unsigned)__builtin_ctz(t->count + 1);
    if (need > t->room) {
        size_t room = t->room == 0 ? 16 : 2 * t->room;
        struct merkle_hash *grown = reallocarray(t->nodes, room, sizeof *grown);
        if (grown == NULL)
            return false;
        t->nodes = grown;
        t->room = room;
    }
    t->nodes[at] = *hash;
    for (size_t width = 1; at + 1 < need; at++, width = 2 * width + 1)
        merkle_node(&t->nodes[at - width], &t->nodes[at], &t->nodes[at + 1]);
    t->count++;
    return true;
}

static const struct merkle_hash *tile_root(const struct tile *t) {
    return tile_node(t, LOG_TILE_BITS, 0);
}

static void tile_free(struct tile *t) {
    free(t->nodes);
    *t = (struct tile){0};
}

static void forget_tiles(struct log_tree *t) {
    for (unsigned level = 0; level < LOG_TILE_LEVELS; level++) {
        tile_free(&t->open[level]);
        tile_free(&t->kept[level]);
    }
}

/* One more hash at `level`; a tile that becomes whole is one more hash of the level above. */
static bool tree_add(struct log_tree *t, unsigned level, const struct merkle_hash *hash) {
    struct tile *open = &t->open[level];
    if (!tile_add(open, hash))
        return false;
    if (open->count < LOG_TILE_WIDTH)
        return true;
    struct tile full = *open;
    *open = t->kept[level]; /* its memory */
    open->index = full.index + 1;
    open->count = 0;
    t->kept[level] = full;
    return level + 1 < LOG_TILE_LEVELS && tree_add(t, level + 1, tile_root(&full));
}

static void range_of(const struct log_tree *t, struct merkle_range *r) {
    merkle_range_init(r);
    for (unsigned level = LOG_TILE_LEVELS; level-- > 0;) {
        const struct tile *open = &t->open[level];
        uint64_t done = 0;
        for (unsigned bit = LOG_TILE_BITS; bit-- > 0;) {
            if ((open->count >> bit & 1) == 0)
                continue;
            (void)merkle_range_add_subtree(r, level * LOG_TILE_BITS + bit,
                                           tile_node(open, bit, done >> bit));
            done += UINT64_C(1) << bit;
        }
    }
}

static void find_root(struct log_tree *t) {
    struct merkle_range r;
    range_of(t, &r);
    merkle_range_root(&r, &t->state.root);
}

/* ---- loading */

/* The hashes of a complete tile: leaves, or the roots of 256 tiles of the level below. */
static enum vrs_err read_hashes(struct partition *p, unsigned level, uint64_t index,
                                struct merkle_hash out[LOG_TILE_WIDTH]) {
    enum vrs_err e = VRS_OK;
    if (level == 0)
        return log_tile_leaves(p, index, out);
    for (uint64_t i = 0; e == VRS_OK && i < LOG_TILE_WIDTH; i++)
        e = log_tile_get(p, level, (index << LOG_TILE_BITS) + i, &out[i], 1);
    return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
}

struct log_tree *log_tree_new(void) {
    return calloc(1, sizeof(struct log_tree));
}

void log_tree_free(struct log_tree **t) {
    if (*t == NULL)
        return;
    forget_tiles(*t);
    free((*t)->waiting);
    free(*t);
    *t = NULL;
}

void log_tree_forget(struct log_tree *t) {
    t->loaded = false;
}

/* Tiles that are missing: of a file from before there were any. */
static enum vrs_err rebuild(struct log_tree *t, struct partition *p, unsigned level,
                            uint64_t tiles) {
    struct merkle_hash hashes[LOG_TILE_WIDTH], root;
    enum vrs_err e = VRS_OK;
    for (uint64_t i = 0; e == VRS_OK && i < tiles; i++) {
        e = log_tile_get(p, level, i, &root, 1);
        if (e != ERR_NOT_FOUND)
            continue;
        e = read_hashes(p, level - 1, i, hashes);
        if (e == VRS_OK) {
            merkle_root(hashes, LOG_TILE_WIDTH, &root);
            e = log_tile_put(p, level, i, &root, 1);
        }
        t->rebuilt = true;
    }
    return e;
}

static enum vrs_err load_level(struct log_tree *t, struct partition *p, unsigned level) {
    struct tile *open = &t->open[level];
    struct merkle_hash hashes[LOG_TILE_WIDTH];
    uint64_t here = t->state.size >> (LOG_TILE_BITS * level), stored = 0;
    enum vrs_err e = VRS_OK;
    open->index = here >> LOG_TILE_BITS;
    size_t count = (size_t)(here & (LOG_TILE_WIDTH - 1));
    if (level == 0) {
        size_t rows = 0;
        e = log_tile_rows(p, open->index, hashes, &rows);
        if (e == VRS_OK && rows != count)
            e = ERR_TAMPERED;
    } else {
        e = partition_engine(p)->count(partition_store(p), TABLE_LOG_TILE, level, &stored);
        if (e == VRS_OK && stored > here)
            e = ERR_TAMPERED; /* the log was longer once */
        else if (e == VRS_OK && stored < here)
            e = rebuild(t, p, level, here);
        for (uint64_t i = 0; e == VRS_OK && i < count; i++)
            e = log_tile_get(p, level, (open->index << LOG_TILE_BITS) + i, &hashes[i], 1);
    }
    for (size_t i = 0; e == VRS_OK && i < count; i++)
        e = tile_add(open, &hashes[i]) ? VRS_OK : ERR_MEMORY;
    return e;
}

enum vrs_err log_tree_load(struct log_tree *t, struct partition *p) {
    const struct store_engine *engine = partition_engine(p);
    forget_tiles(t);
    t->broken = VRS_OK;
    t->unsure = t->new_epoch = false;
    enum vrs_err e =
        engine->meta_get(partition_store(p), "log_epoch", t->state.epoch, sizeof t->state.epoch);
    if (e == ERR_NOT_FOUND) {
        memcpy(t->state.epoch, "1", 2);
        e = VRS_OK;
    }
    if (e == VRS_OK)
        e = engine->max_order(partition_store(p), TABLE_LOG, &t->state.size);
    if (e == VRS_OK && t->state.size >> (LOG_TILE_BITS * LOG_TILE_LEVELS) != 0)
        e = ERR_TAMPERED;
    for (unsigned level = 0; e == VRS_OK && level < LOG_TILE_LEVELS; level++)
        e = load_level(t, p, level);
    if (e == ERR_TAMPERED || e == ERR_CRYPTO || e == ERR_NOT_FOUND) {
        log_event(LOG_ERROR, "access_log.broken", LF_STR("municipality", partition_code(p)));
        t->broken = ERR_TAMPERED;
        e = VRS_OK;
    } else if (e == VRS_OK) {
        find_root(t);
    }
    t->last = t->state.size;
    t->loaded = e == VRS_OK;
    return e;
}

/* The tree of the partition, read anew when it has to be. */
static enum vrs_err tree_of(struct partition *p, struct log_tree **out) {
    struct log_tree *t = *out = partition_log_tree(p);
    if (t == NULL)
        return ERR_INTERNAL; /* a partition without the log's keys */
    if (t->loaded)
        return t->broken;
    if (partition_in_transaction(p)) {
        /* Rows of this very transaction would pass for committed ones. */
        if (t->last != t->state.size)
            return ERR_STORAGE;
        enum vrs_err e = log_tree_load(t, p);
        return e != VRS_OK ? e : t->broken;
    }
    enum vrs_err e = partition_begin(p);
    if (e == VRS_OK)
        e = log_tree_load(t, p);
    if (e == VRS_OK)
        e = partition_commit(p);
    else
        partition_rollback(p);
    return e != VRS_OK ? e : t->broken;
}

/* ---- the transaction */

static struct merkle_hash *waiting_leaf(struct log_tree *t, uint64_t leaf) {
    size_t at = (size_t)(leaf - t->state.size);
    if (at >= t->waiting_room) {
        size_t room = t->waiting_room == 0 ? 8 : t->waiting_room;
        while (room <= at)
            room *= 2;
        struct merkle_hash *grown = reallocarray(t->waiting, room, sizeof *grown);
        if (grown == NULL)
            return NULL;
        t->waiting = grown;
        t->waiting_room = room;
    }
    return &t->waiting[at];
}

/* Every tile that ends with `size` leaves. */
static enum vrs_err complete_tiles(struct log_tree *t, struct partition *p, uint64_t size) {
    struct merkle_hash hashes[LOG_TILE_WIDTH], root;
    uint64_t first = size - LOG_TILE_WIDTH, tiles = size >> LOG_TILE_BITS;
    for (uint64_t i = 0; i < LOG_TILE_WIDTH; i++)
        hashes[i] = first + i < t->state.size ? *tile_node(&t->open[0], 0, i)
                                              : t->waiting[first + i - t->state.size];
    merkle_root(hashes, LOG_TILE_WIDTH, &root);
    enum vrs_err e = log_tile_put(p, 1, tiles - 1, &root, 1);
    for (unsigned level = 2; e == VRS_OK && (tiles & (LOG_TILE_WIDTH - 1)) == 0; level++) {
        tiles >>= LOG_TILE_BITS;
        e = read_hashes(p, level - 1, tiles - 1, hashes);
        if (e == VRS_OK) {
            merkle_root(hashes, LOG_TILE_WIDTH, &root);
            e = log_tile_put(p, level, tiles - 1, &root, 1);
        }
    }
    return e;
}

enum vrs_err log_tree_append(struct partition *p, uint64_t seq, const struct merkle_hash *leaf) {
    struct log_tree *t;
    enum vrs_err e = tree_of(p, &t);
    if (e != VRS_OK)
        return e;
    if (seq <= t->state.size)
        return ERR_TAMPERED; /* rows went without us */
    struct merkle_hash *place = waiting_leaf(t, seq - 1);
    if (place == NULL)
        return ERR_MEMORY;
    *place = *leaf;
    t->last = seq;
    t->unsure = false;
    return (seq & (LOG_TILE_WIDTH - 1)) == 0 ? complete_tiles(t, p, seq) : VRS_OK;
}

void log_tree_epoch_set(struct partition *p) {
    struct log_tree *t = partition_log_tree(p);
    if (t != NULL)
        t->new_epoch = true;
}

void log_tree_before_commit(struct log_tree *t, struct partition *p) {
    const struct store_engine *engine = partition_engine(p);
    if (t->loaded && t->unsure &&
        engine->max_order(partition_store(p), TABLE_LOG, &t->last) != VRS_OK)
        t->loaded = false;
    if (t->loaded && t->new_epoch &&
        engine->meta_get(partition_store(p), "log_epoch", t->state.epoch, sizeof t->state.epoch) !=
            VRS_OK)
        t->loaded = false;
    t->unsure = false;
}

void log_tree_after_commit(struct log_tree *t, enum vrs_err outcome) {
    bool good = outcome == VRS_OK;
    if (!good && (outcome == ERR_UNKNOWN || t->new_epoch))
        t->loaded = false;
    if (!good) {
        log_tree_undone(t, true);
        return;
    }
    if (t->loaded && t->broken == VRS_OK && t->last > t->state.size) {
        for (uint64_t leaf = t->state.size; good && leaf < t->last; leaf++)
            good = tree_add(t, 0, &t->waiting[leaf - t->state.size]);
        t->state.size = t->last;
        if (good)
            find_root(t);
        else
            t->loaded = false;
    }
    t->last = t->state.size;
    t->new_epoch = t->rebuilt = false;
}

void log_tree_undone(struct log_tree *t, bool whole_transaction) {
    if (t->rebuilt)
        t->loaded = false;
    if (!whole_transaction) {
        t->unsure = t->last > t->state.size;
        return;
    }
    t->last = t->state.size;
    t->unsure = t->new_epoch = t->rebuilt = false;
}

/* ---- reading */

enum vrs_err log_tree_state(struct partition *p, const struct log_tree_state **out) {
    struct log_tree *t;
    enum vrs_err e = tree_of(p, &t);
    *out = e == VRS_OK ? &t->state : NULL;
    return e;
}

enum vrs_err log_tree_now(struct partition *p, struct log_tree_state *out) {
    const struct store_engine *engine = partition_engine(p);
    struct log_tree *t;
    struct merkle_range r;
    enum vrs_err e = tree_of(p, &t);
    if (e != VRS_OK)
        return e;
    *out = t->state;
    if (t->unsure)
        e = engine->max_order(partition_store(p), TABLE_LOG, &t->last);
    if (e == VRS_OK && t->new_epoch)
        e = engine->meta_get(partition_store(p), "log_epoch", out->epoch, sizeof out->epoch);
    if (e != VRS_OK)
        return e;
    t->unsure = false;
    range_of(t, &r);
    for (; out->size < t->last; out->size++)
        merkle_range_add(&r, &t->waiting[out->size - t->state.size]);
    merkle_range_root(&r, &out->root);
    return VRS_OK;
}

/* A complete tile into t->kept[level]. */
static enum vrs_err keep_tile(struct log_tree *t, struct partition *p, unsigned level,
                              uint64_t index) {
    struct merkle_hash hashes[LOG_TILE_WIDTH];
    struct tile *kept = &t->kept[level];
    bool own = !partition_in_transaction(p);
    enum vrs_err e = own ? partition_begin(p) : VRS_OK;
    if (e == VRS_OK) {
        e = read_hashes(p, level, index, hashes);
        if (own)
            partition_rollback(p);
    }
    kept->count = 0;
    kept->index = index;
    for (size_t i = 0; e == VRS_OK && i < LOG_TILE_WIDTH; i++)
        e = tile_add(kept, &hashes[i]) ? VRS_OK : ERR_MEMORY;
    if (e != VRS_OK)
        kept->count = 0;
    return e;
}

enum vrs_err log_tree_read(unsigned level, uint64_t index, struct merkle_hash *out, void *arg) {
    struct partition *p = arg;
    struct log_tree *t;
    enum vrs_err e = tree_of(p, &t);
    if (e != VRS_OK)
        return e;
    unsigned bit = level % LOG_TILE_BITS;
    level /= LOG_TILE_BITS;
    if (level >= LOG_TILE_LEVELS)
        return ERR_BAD_FIELD;
    uint64_t tile = index >> (LOG_TILE_BITS - bit);
    uint64_t within = index & ((UINT64_C(1) << (LOG_TILE_BITS - bit)) - 1);
    const struct tile *from = &t->open[level];
    if (tile > from->index ||
        (tile == from->index && ((within + 1) << bit) > (uint64_t)from->count))
        return ERR_BAD_FIELD; /* beyond the tree */
    if (tile < from->index) {
        from = &t->kept[level];
        if (from->count != LOG_TILE_WIDTH || from->index != tile)
            e = keep_tile(t, p, level, tile);
    }
    if (e == VRS_OK)
        *out = *tile_node(from, bit, within);
    return e;
}
