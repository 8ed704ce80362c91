/* What is kept seven years goes then, and leaves its hashes. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "partitions/access_log.h"
#include "partitions/log_tree.h"

enum { PAGE = 500 };

enum vrs_err access_log_purge_day(int64_t at_ms, int years, struct civil_date *out) {
    char day[11], then[40];
    clock_format_date(clock_date_jst(at_ms), day);
    long year = strtol(day, NULL, 10) + years;
    (void)snprintf(then, sizeof then, "%04ld%s", year, day + 4);
    if (clock_parse_date(then, out) == VRS_OK)
        return VRS_OK;
    (void)snprintf(then, sizeof then, "%04ld-03-01", year); /* of 29 February */
    return clock_parse_date(then, out);
}

struct purge {
    struct civil_date today;
    int years;
    bool old;
};

static enum vrs_err see_age(const struct log_read *r, void *arg) {
    struct purge *v = arg;
    struct civil_date day;
    enum vrs_err e = access_log_purge_day(r->at_ms, v->years, &day);
    v->old = v->old && e == VRS_OK && v->today.days > day.days;
    return e;
}

/* Every entry of the tile is old enough: the clock may have been set back in between.  Its last one
 * is asked first. */
static enum vrs_err tile_old(struct partition *p, struct purge *v, uint64_t tile) {
    uint64_t first = (tile << LOG_TILE_BITS) + 1;
    v->old = true;
    enum vrs_err e = access_log_one(p, first + LOG_TILE_WIDTH - 1, see_age, v);
    for (uint64_t i = 0; e == VRS_OK && v->old && i < LOG_TILE_WIDTH; i++)
        e = access_log_one(p, first + i, see_age, v);
    return e == ERR_NOT_FOUND ? ERR_TAMPERED : e;
}

static enum vrs_err remove_tile(struct partition *p, uint64_t tile) {
    struct merkle_hash leaves[LOG_TILE_WIDTH], root, stored;
    struct record_id id;
    enum vrs_err e = log_tile_leaves(p, tile, leaves);
    if (e == VRS_OK)
        e = log_tile_get(p, 1, tile, &stored, 1);
    merkle_root(leaves, LOG_TILE_WIDTH, &root);
    if (e == VRS_OK && memcmp(&root, &stored, sizeof root) != 0)
        e = ERR_TAMPERED;
    if (e == VRS_OK)
        e = log_tile_put(p, 0, tile, leaves, LOG_TILE_WIDTH);
    for (uint64_t i = 0; e == VRS_OK && i < LOG_TILE_WIDTH; i++) {
        log_row_id((tile << LOG_TILE_BITS) + i + 1, &id);
        e = record_remove(p, TABLE_LOG, &id);
    }
    return e;
}

struct subjects {
    uint64_t last; /* of the purged sequences */
    struct record_id ids[PAGE];
    size_t count;
};

static enum vrs_err note_subject(const struct store_row *row, void *arg) {
    struct subjects *s = arg;
    if (row->order <= s->last)
        memcpy(s->ids[s->count++].bytes, row->id, sizeof row->id);
    return VRS_OK;
}

static enum vrs_err remove_subjects(struct partition *p, uint64_t last) {
    struct subjects s = {.last = last};
    enum vrs_err e = VRS_OK;
    do {
        s.count = 0;
        e = partition_engine(p)->scan(partition_store(p), TABLE_LOG_SUBJECT, UINT32_MAX, 0, PAGE,
                                      note_subject, &s);
        for (size_t i = 0; e == VRS_OK && i < s.count; i++)
            e = record_remove(p, TABLE_LOG_SUBJECT, &s.ids[i]);
    } while (e == VRS_OK && s.count == PAGE);
    return e;
}

static enum vrs_err append_purge(struct partition *p, const struct log_actor *who, uint64_t first,
                                 uint64_t last) {
    struct log_head head;
    struct log_purge_text t = {.size = last};
    char detail[120], clear[LOG_TEXT_BYTES];
    enum vrs_err e = access_log_head(p, &head);
    if (e == VRS_OK)
        e = access_log_root_at(p, last, &t.root);
    memcpy(t.municipality, partition_code(p), sizeof t.municipality);
    memcpy(t.epoch, head.epoch, sizeof t.epoch);
    log_purge_text(&t, clear);
    (void)snprintf(detail, sizeof detail, "entries %llu-%llu", (unsigned long long)first,
                   (unsigned long long)last);
    const struct log_entry entry = {.actor = *who,
                                    .act = "log.purge",
                                    .purpose = "operation",
                                    .result = "ok",
                                    .detail = detail,
                                    .count = last - first + 1,
                                    .clear = clear};
    return e == VRS_OK ? access_log_append(p, &entry, NULL) : e;
}

static enum vrs_err note_first(const struct store_row *row, void *arg) {
    *(uint64_t *)arg = row->order;
    return VRS_OK;
}

enum vrs_err access_log_purge(struct partition *p, const struct log_actor *who, int years,
                              unsigned max_tiles, uint64_t *purged) {
    struct purge v = {.today = clock_today_jst(), .years = years};
    struct log_head head;
    uint64_t first = 0;
    *purged = 0;
    assert(years >= LOG_KEEP_YEARS);
    if (years < LOG_KEEP_YEARS)
        return ERR_FORBIDDEN;
    enum vrs_err e = access_log_head(p, &head);
    if (e == VRS_OK)
        e = partition_engine(p)->scan(partition_store(p), TABLE_LOG, UINT32_MAX, 0, 1, note_first,
                                      &first);
    if (e == VRS_OK && first > 0 && ((first - 1) & (LOG_TILE_WIDTH - 1)) != 0)
        e = ERR_TAMPERED;
    if (e != VRS_OK || first == 0)
        return e;
    uint64_t start = (first - 1) >> LOG_TILE_BITS, end = start;
    while (e == VRS_OK && end - start < max_tiles && (end + 1) << LOG_TILE_BITS < head.size) {
        e = tile_old(p, &v, end);
        if (e != VRS_OK || !v.old)
            break;
        end++;
    }
    if (e != VRS_OK || end == start)
        return e;
    uint64_t last = end << LOG_TILE_BITS;
    e = append_purge(p, who, first, last);
    for (uint64_t tile = start; e == VRS_OK && tile < end; tile++)
        e = remove_tile(p, tile);
    if (e == VRS_OK)
        e = remove_subjects(p, last);
    if (e == VRS_OK)
        *purged = last - first + 1;
    return e;
}
