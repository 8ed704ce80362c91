#include "partitions/claim.h"

#include <string.h>

#include "lib/secret.h"
#include "partitions/fields.h"

static const struct field members[] = {
    FIELD(1, FIELD_BYTES, struct claim, receipt),
    FIELD(2, FIELD_I32, struct claim, coupon.kind),
    FIELD(3, FIELD_I32, struct claim, coupon.dose_number),
    FIELD(4, FIELD_TEXT, struct claim, coupon.municipality),
    FIELD(5, FIELD_TEXT, struct claim, coupon.number),
    FIELD(6, FIELD_BOOL, struct claim, has_person),
    FIELD(7, FIELD_BYTES, struct claim, person),
    FIELD(8, FIELD_BOOL, struct claim, given),
    FIELD(9, FIELD_I32, struct claim, vaccinated_on),
    FIELD(10, FIELD_TEXT, struct claim, product),
    FIELD(11, FIELD_TEXT, struct claim, lot),
    FIELD(12, FIELD_TEXT, struct claim, site),
    FIELD(13, FIELD_TEXT, struct claim, physician),
    FIELD(14, FIELD_TEXT, struct claim, read_by),
    FIELD(15, FIELD_TEXT, struct claim, terminal),
    FIELD(16, FIELD_TEXT, struct claim, staff),
    FIELD(17, FIELD_TEXT, struct claim, origin),
    FIELD(18, FIELD_TEXT, struct claim, reasons),
    FIELD(19, FIELD_TEXT, struct claim, notes),
    FIELD(20, FIELD_BYTES, struct claim, duplicate_of),
    FIELD(21, FIELD_I64, struct claim, registered_ms),
    FIELD(22, FIELD_I64, struct claim, read_at_ms),
    FIELD(23, FIELD_TEXT, struct claim, changed_by),
    FIELD(24, FIELD_TEXT, struct claim, change_reason),
    FIELD(25, FIELD_I64, struct claim, changed_ms),
    FIELD(26, FIELD_BOOL, struct claim, cancelled_by_terminal),
    FIELD(27, FIELD_I32, struct claim, state), /* for the history, whose rows have no state */
    FIELD(28, FIELD_I64, struct claim, log_seq),
    FIELD(29, FIELD_I64, struct claim, stored_ms),
    {0},
};

void claim_init(struct claim *c) {
    memset(c, 0, sizeof *c);
    record_id_new(&c->id);
    c->read_at_ms = -1;
}

void claim_wipe(struct claim *c) {
    secret_wipe(c, sizeof *c);
}

static bool has_receipt(const struct claim *c) {
    static const uint8_t none[CLAIM_RECEIPT_BYTES];
    return memcmp(c->receipt, none, sizeof none) != 0;
}

static enum vrs_err claim_read(const struct record *r, struct claim *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    out->order = r->order;
    return fields_decode(members, &r->text, out);
}

/* --- indexes: a coupon number is unique only inside its municipality --- */

static enum vrs_err coupon_index(struct partition *p, const char *municipality, const char *number,
                                 struct store_index *out) {
    char text[17] = "";
    memcpy(text, municipality, strnlen(municipality, 6));
    strncat(text, number, 10);
    return partition_blind(p, "claim_coupon", text, strlen(text), out);
}

static void receipt_index(const uint8_t *receipt, struct store_index *out) {
    memset(out, 0, sizeof *out);
    out->len = CLAIM_RECEIPT_BYTES;
    memcpy(out->bytes, receipt, CLAIM_RECEIPT_BYTES);
}

/* --- reading --- */

enum vrs_err claim_get(struct partition *p, const struct record_id *id, struct claim *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_CLAIM, id, &r);
    if (e == VRS_OK)
        e = claim_read(&r, out);
    record_fini(&r);
    return e;
}

struct each {
    claim_fn *fn;
    void *arg;
    int turn; /* only claims to this dose number; 0: to any */
};

static enum vrs_err each_claim(struct record *r, void *arg) {
    const struct each *each = arg;
    struct claim c;
    enum vrs_err e = claim_read(r, &c);
    if (e == VRS_OK && (each->turn == 0 || c.coupon.dose_number == each->turn))
        e = each->fn(&c, each->arg);
    claim_wipe(&c);
    return e;
}

struct found {
    struct claim *out;
    bool any;
};

static enum vrs_err take(struct record *r, void *arg) {
    struct found *f = arg;
    f->any = true;
    return claim_read(r, f->out);
}

enum vrs_err claim_by_receipt(struct partition *p, const uint8_t *receipt, struct claim *out) {
    struct store_index index;
    struct found f = {.out = out};
    receipt_index(receipt, &index);
    enum vrs_err e = record_find(p, TABLE_CLAIM, 0, &index, take, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

enum vrs_err claims_of_turn(struct partition *p, const struct coupon *c, claim_fn *fn, void *arg) {
    struct each each = {.fn = fn, .arg = arg, .turn = c->dose_number};
    struct store_index index;
    enum vrs_err e = coupon_index(p, c->municipality.digits, c->number.digits, &index);
    return e == VRS_OK ? record_find(p, TABLE_CLAIM, 2, &index, each_claim, &each) : e;
}

enum vrs_err claims_of_coupon(struct partition *p, const char *coupon_number, claim_fn *fn,
                              void *arg) {
    struct each each = {.fn = fn, .arg = arg};
    struct store_index index;
    enum vrs_err e = coupon_index(p, partition_code(p), coupon_number, &index);
    return e == VRS_OK ? record_find(p, TABLE_CLAIM, 2, &index, each_claim, &each) : e;
}

enum vrs_err claims_of_person(struct partition *p, const struct record_id *person, claim_fn *fn,
                              void *arg) {
    struct each each = {.fn = fn, .arg = arg};
    struct store_index index;
    store_index_id(person, &index);
    return record_find(p, TABLE_CLAIM, 3, &index, each_claim, &each);
}

enum vrs_err claims_in_state(struct partition *p, enum claim_state s, uint64_t after,
                             uint64_t limit, claim_fn *fn, void *arg) {
    struct each each = {.fn = fn, .arg = arg};
    return record_scan(p, TABLE_CLAIM, s, after, limit, each_claim, &each);
}

struct first {
    uint64_t order; /* 0: none */
    int64_t stored_ms;
};

static enum vrs_err take_first(struct claim *c, void *arg) {
    struct first *f = arg;
    f->order = c->order;
    f->stored_ms = c->stored_ms;
    return VRS_OK;
}

/* Between `low`, which was stored before, and `high`, behind which nothing was; orders have gaps where
 * claims were erased. */
enum vrs_err claim_order_before(struct partition *p, int64_t ms, uint64_t *after) {
    struct each each = {.fn = take_first};
    uint64_t low = 0, high;
    bool noted = true;
    *after = 0;
    enum vrs_err e = partition_engine(p)->max_order(partition_store(p), TABLE_CLAIM, &high);
    while (e == VRS_OK && low < high) {
        uint64_t middle = low + (high - low) / 2;
        struct first f = {0};
        each.arg = &f;
        e = record_scan(p, TABLE_CLAIM, UINT32_MAX, middle, 1, each_claim, &each);
        if (e != VRS_OK)
            return e;
        if (f.order == 0 || f.order > high || f.stored_ms >= ms) {
            high = middle;
        } else {
            low = f.order;
            noted = f.stored_ms != 0;
        }
    }
    if (e == VRS_OK && noted)
        *after = low;
    return e;
}

/* --- writing --- */

static enum vrs_err set_columns(struct partition *p, const struct claim *c, struct record *r) {
    r->state = c->state;
    memset(r->index, 0, sizeof r->index);
    if (has_receipt(c))
        receipt_index(c->receipt, &r->index[0]);
    if (c->has_person)
        store_index_id(&c->person, &r->index[3]);
    enum vrs_err e =
        coupon_index(p, c->coupon.municipality.digits, c->coupon.number.digits, &r->index[2]);
    buffer_clear(&r->text);
    fields_encode(members, c, &r->text);
    return e;
}

/* The outcome is marked for hand-over in the same transaction; the mark's version is the claim's.
 */
static enum vrs_err mark_unsent(struct partition *p, const struct claim *c) {
    struct record r;
    if (!c->outcome_unsent || !has_receipt(c))
        return VRS_OK;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_OUTCOME_UNSENT, &c->id, &r);
    if (e == VRS_OK)
        e = record_remove(p, TABLE_OUTCOME_UNSENT, &c->id);
    else if (e == ERR_NOT_FOUND)
        e = partition_next_order(p, TABLE_OUTCOME_UNSENT, &r.order);
    r.id = c->id;
    r.version = c->version;
    receipt_index(c->receipt, &r.index[0]);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_OUTCOME_UNSENT, &r);
    record_fini(&r);
    return e;
}

enum vrs_err claim_insert(struct partition *p, struct claim *c) {
    struct record r;
    record_init(&r);
    r.id = c->id;
    c->stored_ms = clock_now_ms();
    enum vrs_err e = set_columns(p, c, &r);
    if (e == VRS_OK)
        e = partition_next_order(p, TABLE_CLAIM, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_CLAIM, &r);
    c->version = r.version;
    c->generation = r.generation;
    c->order = r.order;
    if (e == VRS_OK)
        e = mark_unsent(p, c);
    record_fini(&r);
    return e;
}

static enum vrs_err keep_old(struct partition *p, const struct record *old) {
    struct record h;
    record_init(&h);
    record_id_new(&h.id);
    store_index_id(&old->id, &h.index[0]);
    h.order = old->version;
    h.version = old->version;
    enum vrs_err e = buffer_put(&h.text, old->text.data, old->text.len) ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = record_insert(p, TABLE_CLAIM_HISTORY, &h);
    record_fini(&h);
    return e;
}

enum vrs_err claim_update(struct partition *p, struct claim *c) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_CLAIM, &c->id, &r);
    if (e == VRS_OK && r.version != c->version)
        e = ERR_STALE_VERSION;
    if (e == VRS_OK)
        e = keep_old(p, &r);
    if (e == VRS_OK)
        e = set_columns(p, c, &r);
    if (e == VRS_OK)
        e = record_update(p, TABLE_CLAIM, &r);
    if (e == VRS_OK) {
        c->version = r.version;
        c->generation = r.generation;
        e = mark_unsent(p, c);
    }
    record_fini(&r);
    return e;
}

/* --- hand-over --- */

struct unsent {
    struct partition *partition;
    claim_fn *fn;
    void *arg;
};

struct sent {
    struct partition *partition;
    uint64_t version;
};

static enum vrs_err unmark(struct record *r, void *arg) {
    const struct sent *s = arg;
    if (r->version > s->version) /* changed since: what was handed over is not the present state */
        return VRS_OK;
    return record_remove(s->partition, TABLE_OUTCOME_UNSENT, &r->id);
}

enum vrs_err claim_mark_sent_version(struct partition *p, const uint8_t *receipt,
                                     uint64_t version) {
    struct sent s = {.partition = p, .version = version};
    struct store_index index;
    receipt_index(receipt, &index);
    return record_find(p, TABLE_OUTCOME_UNSENT, 0, &index, unmark, &s);
}

enum vrs_err claim_mark_sent(struct partition *p, const uint8_t *receipt) {
    return claim_mark_sent_version(p, receipt, UINT64_MAX);
}

enum vrs_err claim_mark_unsent(struct partition *p, const uint8_t *receipt) {
    struct claim c;
    enum vrs_err e = claim_by_receipt(p, receipt, &c);
    if (e == VRS_OK) {
        c.outcome_unsent = true;
        e = mark_unsent(p, &c);
        claim_wipe(&c);
    }
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static enum vrs_err each_unsent(struct record *r, void *arg) {
    const struct unsent *u = arg;
    struct claim c;
    enum vrs_err e = claim_get(u->partition, &r->id, &c);
    if (e == VRS_OK)
        e = u->fn(&c, u->arg);
    claim_wipe(&c);
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* erased meanwhile: nothing to tell */
}

enum vrs_err claims_unsent(struct partition *p, uint64_t limit, claim_fn *fn, void *arg) {
    struct unsent u = {.partition = p, .fn = fn, .arg = arg};
    return record_scan(p, TABLE_OUTCOME_UNSENT, UINT32_MAX, 0, limit, each_unsent, &u);
}

/* --- history and erasure --- */

struct history {
    const struct record_id *id;
    claim_fn *fn;
    void *arg;
};

static enum vrs_err each_version(struct record *r, void *arg) {
    const struct history *h = arg;
    struct claim c;
    enum vrs_err e = claim_read(r, &c);
    c.id = *h->id;
    c.version = r->order;
    if (e == VRS_OK)
        e = h->fn(&c, h->arg);
    claim_wipe(&c);
    return e;
}

enum vrs_err claim_history(struct partition *p, const struct record_id *id, claim_fn *fn,
                           void *arg) {
    struct history h = {.id = id, .fn = fn, .arg = arg};
    struct store_index index;
    store_index_id(id, &index);
    return record_find(p, TABLE_CLAIM_HISTORY, 0, &index, each_version, &h);
}

enum vrs_err claim_erase(struct partition *p, const struct record_id *id, struct erased *x) {
    char hex[33];
    struct claim c;
    enum vrs_err e = claim_get(p, id, &c);
    if (e == VRS_OK && (!buffer_put(&x->claims, c.id.bytes, sizeof c.id.bytes) ||
                        !buffer_put(&x->claims, c.receipt, sizeof c.receipt)))
        e = ERR_MEMORY;
    claim_wipe(&c);
    if (e != VRS_OK)
        return e;
    record_id_format(id, hex);
    erased_word(x, hex);
    e = erase_rows_of(p, TABLE_CLAIM_HISTORY, 0, id, ERASED_DOSE_VERSION, x);
    if (e == VRS_OK)
        e = record_remove(p, TABLE_OUTCOME_UNSENT, id);
    if (e == VRS_OK || e == ERR_NOT_FOUND)
        e = erase_row(p, TABLE_CLAIM, id, ERASED_DOSE, x);
    return e;
}

struct erasure {
    struct partition *partition;
    struct erased *erased;
};

static enum vrs_err erase_claim(struct record *r, void *arg) {
    const struct erasure *x = arg;
    return claim_erase(x->partition, &r->id, x->erased);
}

enum vrs_err claims_erase_of(struct partition *p, const struct record_id *person,
                             struct erased *x) {
    struct erasure all = {.partition = p, .erased = x};
    struct store_index index;
    store_index_id(person, &index);
    return record_find(p, TABLE_CLAIM, 3, &index, erase_claim, &all);
}
