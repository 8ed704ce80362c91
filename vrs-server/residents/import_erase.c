/* Erasure: a file that is not committed yet may hold the person. */
#include "lib/clock.h"
#include "partitions/erase.h"
#include "vrs-server/handlers.h"
#include "vrs-server/residents/import_store.h"

struct holding {
    struct partition *partition;
    struct erased *erased;
    const struct record_id *import;
    struct buffer carry; /* the end of the part before: a word may stand over the edge */
    bool holds;
    struct record_id last;
    size_t seen;
};

enum { CARRY_BYTES = 64, PAGE = 16 };

static enum vrs_err look_at_part(struct record *r, void *arg) {
    struct holding *h = arg;
    size_t tail = r->text.len < CARRY_BYTES ? r->text.len : CARRY_BYTES;
    bool ok = buffer_put(&h->carry, r->text.data, tail); /* the beginning of this one behind it */
    h->holds |= erased_in(h->erased, h->carry.data, h->carry.len) ||
                erased_in(h->erased, r->text.data, r->text.len);
    buffer_clear(&h->carry);
    ok = ok && buffer_put(&h->carry, r->text.data + r->text.len - tail, tail);
    return ok ? VRS_OK : ERR_MEMORY;
}

/* Its row of the ledger stays. */
static enum vrs_err mark_removed(struct partition *p, const struct record_id *id) {
    struct import m;
    enum vrs_err e = import_get(p, id, &m);
    m.state = IMPORT_REMOVED;
    m.removed_ms = clock_now_ms();
    return e == VRS_OK ? import_put(p, &m, false) : e;
}

static enum vrs_err look_at_import(struct record *r, void *arg) {
    struct holding *h = arg;
    struct store_index index;
    h->last = r->id;
    h->seen++;
    if (r->state == IMPORT_COMMITTED || r->state == IMPORT_REMOVED)
        return VRS_OK; /* its content is gone; results name rows, not people */
    h->holds = false;
    buffer_clear(&h->carry);
    store_index_id(&r->id, &index);
    enum vrs_err e = record_find(h->partition, TABLE_IMPORT_PART, 0, &index, look_at_part, h);
    if (e != VRS_OK || !h->holds)
        return e;
    if (r->state == IMPORT_COMMITTING || r->state == IMPORT_CHECKING)
        return ERR_CONFLICT; /* first one, then the other */
    uint64_t imports = h->erased->count[ERASED_IMPORT];
    e = erase_rows_of(h->partition, TABLE_IMPORT_PART, 0, &r->id, ERASED_IMPORT, h->erased);
    if (e == VRS_OK)
        e = mark_removed(h->partition, &r->id);
    h->erased->count[ERASED_IMPORT] = imports + 1;
    return e;
}

enum vrs_err imports_erase(struct partition *p, struct erased *x) {
    struct holding h = {.partition = p, .erased = x, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    buffer_init(&h.carry, 2 * CARRY_BYTES);
    for (bool first = true; e == VRS_OK && h.seen == PAGE; first = false) {
        struct record_id after = h.last;
        h.seen = 0;
        e = record_walk(p, TABLE_IMPORT, first ? NULL : &after, PAGE, look_at_import, &h);
    }
    buffer_fini(&h.carry);
    return e;
}
