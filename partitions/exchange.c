#include "partitions/exchange.h"

#include <string.h>

#include "lib/crypto.h"
#include "lib/secret.h"
#include "lib/wire.h"
#include "partitions/fields.h"

enum { RESULT_MAX_BYTES = 1 << 20, PAGE = 500 };

/* --- inquiries --- */

static const struct field inquiry_members[] = {
    FIELD(1, FIELD_TEXT, struct inquiry, from_municipality),
    FIELD(2, FIELD_BOOL, struct inquiry, has_person),
    FIELD(3, FIELD_BYTES, struct inquiry, person),
    FIELD(4, FIELD_TEXT, struct inquiry, purpose),
    FIELD(5, FIELD_TEXT, struct inquiry, basis_kind),
    FIELD(6, FIELD_TEXT, struct inquiry, basis_document),
    FIELD(7, FIELD_TEXT, struct inquiry, basis_obtained_on),
    FIELD(8, FIELD_TEXT, struct inquiry, identity_method),
    FIELD(9, FIELD_TEXT, struct inquiry, identity_checked_on),
    FIELD(10, FIELD_TEXT, struct inquiry, user),
    FIELD(11, FIELD_TEXT, struct inquiry, section),
    FIELD(12, FIELD_TEXT, struct inquiry, terminal),
    FIELD(13, FIELD_I64, struct inquiry, asked_ms),
    FIELD(14, FIELD_I64, struct inquiry, expires_ms),
    {0},
};
enum { TAG_RESULT = 20 };

void inquiry_init(struct inquiry *q) {
    memset(q, 0, sizeof *q);
    record_id_new(&q->id);
    buffer_init(&q->result, RESULT_MAX_BYTES);
}

void inquiry_fini(struct inquiry *q) {
    buffer_fini(&q->result);
    secret_wipe(q, sizeof *q);
}

static enum vrs_err read_result(const struct record *r, struct inquiry *out) {
    struct wire_reader reader;
    struct wire_field f;
    bool more;
    wire_open(&reader, r->text.data, r->text.len);
    for (;;) {
        enum vrs_err e = wire_next(&reader, &f, &more);
        if (e != VRS_OK || !more)
            return e;
        if (f.tag == TAG_RESULT && !buffer_put(&out->result, f.data, f.len))
            return ERR_MEMORY;
    }
}

static enum vrs_err inquiry_read(const struct record *r, struct inquiry *out) {
    inquiry_fini(out);
    inquiry_init(out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    out->state = (enum inquiry_state)r->state;
    enum vrs_err e = fields_decode(inquiry_members, &r->text, out);
    return e == VRS_OK ? read_result(r, out) : e;
}

enum vrs_err inquiry_get(struct partition *p, const struct record_id *id, struct inquiry *out) {
    struct record r;
    struct record_id wanted = *id; /* may stand in *out */
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_INQUIRY, &wanted, &r);
    if (e == VRS_OK)
        e = inquiry_read(&r, out);
    record_fini(&r);
    return e;
}

enum vrs_err inquiry_put(struct partition *p, struct inquiry *q) {
    struct record r;
    record_init(&r);
    enum vrs_err e = q->version == 0 ? VRS_OK : record_get(p, TABLE_INQUIRY, &q->id, &r);
    if (e == VRS_OK && q->version != 0 && r.version != q->version)
        e = ERR_STALE_VERSION;
    r.id = q->id;
    r.state = q->state;
    memset(r.index, 0, sizeof r.index);
    if (q->has_person)
        store_index_id(&q->person, &r.index[0]);
    buffer_clear(&r.text);
    fields_encode(inquiry_members, q, &r.text);
    if (q->result.len > 0)
        wire_put(&r.text, TAG_RESULT, q->result.data, q->result.len);
    if (e == VRS_OK && q->version == 0)
        e = partition_next_order(p, TABLE_INQUIRY, &r.order);
    if (e == VRS_OK)
        e = q->version == 0 ? record_insert(p, TABLE_INQUIRY, &r)
                            : record_update(p, TABLE_INQUIRY, &r);
    if (e == VRS_OK) {
        q->version = r.version;
        q->generation = r.generation;
    }
    record_fini(&r);
    return e;
}

struct inquiries {
    struct partition *partition;
    inquiry_fn *fn;
    void *arg;
    int64_t now_ms;
    uint64_t count, seen, last;
    struct erased *erased; /* may be NULL */
};

static enum vrs_err each_inquiry(struct record *r, void *arg) {
    struct inquiries *x = arg;
    struct inquiry q;
    inquiry_init(&q);
    enum vrs_err e = inquiry_read(r, &q);
    if (e == VRS_OK)
        e = x->fn(&q, x->arg);
    inquiry_fini(&q);
    return e;
}

enum vrs_err inquiries_in_state(struct partition *p, enum inquiry_state s, uint64_t limit,
                                inquiry_fn *fn, void *arg) {
    struct inquiries x = {.fn = fn, .arg = arg};
    return record_scan(p, TABLE_INQUIRY, s, 0, limit, each_inquiry, &x);
}

static enum vrs_err expire_one(struct record *r, void *arg) {
    struct inquiries *x = arg;
    struct inquiry q;
    x->last = r->order;
    x->seen++;
    inquiry_init(&q);
    enum vrs_err e = inquiry_read(r, &q);
    if (e == VRS_OK && q.expires_ms != 0 && q.expires_ms <= x->now_ms) {
        buffer_clear(&q.result); /* secure_delete wipes the old row */
        q.state = INQUIRY_EXPIRED;
        if (x->erased != NULL)
            e = erase_note_seal(x->partition, TABLE_INQUIRY, &q.id, x->erased);
        if (e == VRS_OK)
            e = inquiry_put(x->partition, &q);
        x->count++;
    }
    inquiry_fini(&q);
    return e;
}

static enum vrs_err abort_one(struct record *r, void *arg) {
    struct inquiries *x = arg;
    struct inquiry q;
    inquiry_init(&q);
    enum vrs_err e = inquiry_read(r, &q);
    bool late = e == VRS_OK && q.asked_ms <= x->now_ms;
    q.state = INQUIRY_ABORTED;
    if (late)
        e = inquiry_put(x->partition, &q);
    x->count += late;
    inquiry_fini(&q);
    return e;
}

enum vrs_err inquiries_expire(struct partition *p, int64_t now_ms, uint64_t *expired,
                              struct erased *erased) {
    static const enum inquiry_state kept[] = {INQUIRY_MATCH, INQUIRY_TAKEN_OVER};
    struct inquiries x = {.partition = p, .now_ms = now_ms, .erased = erased};
    enum vrs_err e = VRS_OK;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        x.last = 0;
        x.seen = PAGE;
        while (e == VRS_OK && x.seen == PAGE) {
            x.seen = 0;
            e = record_scan(p, TABLE_INQUIRY, kept[i], x.last, PAGE, expire_one, &x);
        }
    }
    *expired = x.count;
    return e;
}

enum vrs_err inquiries_abort_open(struct partition *p, int64_t asked_until_ms, uint64_t *aborted) {
    struct inquiries x = {.partition = p, .now_ms = asked_until_ms};
    enum vrs_err e = record_scan(p, TABLE_INQUIRY, INQUIRY_OPEN, 0, UINT32_MAX, abort_one, &x);
    *aborted = x.count;
    return e;
}

/* --- erasure --- */

static enum vrs_err note_inquiry(struct record *r, void *arg) {
    char hex[33];
    record_id_format(&r->id, hex);
    erased_word(arg, hex);
    return VRS_OK;
}

enum { HELD_OPEN = 1 };

static enum vrs_err must_be_decided(struct record *r, void *arg) {
    (void)arg;
    return r->state == HELD_OPEN ? ERR_CONFLICT : VRS_OK;
}

enum vrs_err inquiries_erase_of(struct partition *p, const struct record_id *person,
                                struct erased *x) {
    struct store_index index;
    store_index_id(person, &index);
    enum vrs_err e = record_find(p, TABLE_HELD, 0, &index, must_be_decided, NULL);
    if (e == VRS_OK)
        e = record_find(p, TABLE_INQUIRY, 0, &index, note_inquiry, x);
    if (e == VRS_OK)
        e = erase_rows_of(p, TABLE_HELD, 0, person, ERASED_INQUIRY, x);
    return e == VRS_OK ? erase_rows_of(p, TABLE_INQUIRY, 0, person, ERASED_INQUIRY, x) : e;
}

/* --- held inquiries --- */

static const struct field held_members[] = {
    FIELD(1, FIELD_BYTES, struct held_inquiry, inquiry),
    FIELD(2, FIELD_TEXT, struct held_inquiry, asker),
    FIELD(3, FIELD_BYTES, struct held_inquiry, person),
    FIELD(4, FIELD_TEXT, struct held_inquiry, purpose),
    FIELD(5, FIELD_TEXT, struct held_inquiry, basis_kind),
    FIELD(6, FIELD_I64, struct held_inquiry, asked_ms),
    FIELD(7, FIELD_TEXT, struct held_inquiry, decided_by),
    FIELD(8, FIELD_TEXT, struct held_inquiry, decision_reason),
    FIELD(9, FIELD_I64, struct held_inquiry, decided_ms),
    {0},
};

static enum vrs_err held_read(const struct record *r, struct held_inquiry *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    out->state = r->state;
    return fields_decode(held_members, &r->text, out);
}

enum vrs_err held_get(struct partition *p, const struct record_id *id, struct held_inquiry *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(p, TABLE_HELD, id, &r);
    if (e == VRS_OK)
        e = held_read(&r, out);
    record_fini(&r);
    return e;
}

enum vrs_err held_put(struct partition *p, struct held_inquiry *h) {
    struct record r;
    record_init(&r);
    enum vrs_err e = h->version == 0 ? VRS_OK : record_get(p, TABLE_HELD, &h->id, &r);
    if (e == VRS_OK && h->version != 0 && r.version != h->version)
        e = ERR_STALE_VERSION;
    r.id = h->id;
    r.state = h->state;
    store_index_id(&h->person, &r.index[0]);
    buffer_clear(&r.text);
    fields_encode(held_members, h, &r.text);
    if (e == VRS_OK && h->version == 0)
        e = partition_next_order(p, TABLE_HELD, &r.order);
    if (e == VRS_OK)
        e = h->version == 0 ? record_insert(p, TABLE_HELD, &r) : record_update(p, TABLE_HELD, &r);
    if (e == VRS_OK) {
        h->version = r.version;
        h->generation = r.generation;
    }
    record_fini(&r);
    return e;
}

struct held_each {
    held_fn *fn;
    void *arg;
};

static enum vrs_err each_held(struct record *r, void *arg) {
    const struct held_each *x = arg;
    struct held_inquiry h;
    enum vrs_err e = held_read(r, &h);
    return e == VRS_OK ? x->fn(&h, x->arg) : e;
}

enum vrs_err held_list(struct partition *p, uint32_t state, uint64_t limit, held_fn *fn,
                       void *arg) {
    struct held_each x = {.fn = fn, .arg = arg};
    return record_scan(p, TABLE_HELD, state, 0, limit, each_held, &x);
}

/* --- 情報提供等の記録 --- */

static const struct field provision_members[] = {
    FIELD(1, FIELD_I64, struct provision, at_ms),
    FIELD(2, FIELD_BOOL, struct provision, asked_here),
    FIELD(3, FIELD_TEXT, struct provision, other),
    FIELD(4, FIELD_BOOL, struct provision, has_person),
    FIELD(5, FIELD_BYTES, struct provision, person),
    FIELD(6, FIELD_TEXT, struct provision, addressee),
    FIELD(7, FIELD_TEXT, struct provision, purpose),
    FIELD(8, FIELD_TEXT, struct provision, basis_kind),
    FIELD(9, FIELD_TEXT, struct provision, basis_document),
    FIELD(10, FIELD_TEXT, struct provision, user),
    FIELD(11, FIELD_TEXT, struct provision, terminal),
    FIELD(12, FIELD_TEXT, struct provision, result),
    FIELD(13, FIELD_I64, struct provision, doses),
    FIELD(14, FIELD_BYTES, struct provision, inquiry),
    {0},
};

enum vrs_err provision_add(struct partition *p, struct provision *v) {
    struct record r;
    record_init(&r);
    r.id = v->id;
    if (v->has_person)
        store_index_id(&v->person, &r.index[0]);
    fields_encode(provision_members, v, &r.text);
    enum vrs_err e = partition_next_order(p, TABLE_PROVISION, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_PROVISION, &r);
    v->sequence = r.order;
    record_fini(&r);
    return e;
}

struct provisions {
    provision_fn *fn;
    void *arg;
};

static enum vrs_err each_provision(struct record *r, void *arg) {
    const struct provisions *x = arg;
    struct provision v;
    memset(&v, 0, sizeof v);
    v.id = r->id;
    v.sequence = r->order;
    enum vrs_err e = fields_decode(provision_members, &r->text, &v);
    return e == VRS_OK ? x->fn(&v, x->arg) : e;
}

enum vrs_err provisions_read(struct partition *p, uint64_t after, uint64_t limit, provision_fn *fn,
                             void *arg) {
    struct provisions x = {.fn = fn, .arg = arg};
    return record_scan(p, TABLE_PROVISION, UINT32_MAX, after, limit, each_provision, &x);
}

/* --- idempotency --- */

enum { TAG_STATUS = 1, TAG_BODY_HMAC, TAG_ANSWER, TAG_MADE_MS };

static void key_id(const char *key, struct record_id *out) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    crypto_sha256(key, strlen(key), hash);
    memcpy(out->bytes, hash, sizeof out->bytes);
}

static enum vrs_err read_answer(const struct record *r, const uint8_t body[CRYPTO_HASH_BYTES],
                                struct idempotent *out) {
    struct wire_reader reader;
    struct wire_field f;
    bool more, same = false;
    uint64_t status = 0;
    wire_open(&reader, r->text.data, r->text.len);
    for (;;) {
        enum vrs_err e = wire_next(&reader, &f, &more);
        if (e != VRS_OK)
            return e;
        if (!more)
            break;
        if (f.tag == TAG_BODY_HMAC)
            same = f.len == CRYPTO_HASH_BYTES && secret_equal(f.data, body, f.len);
        else if (f.tag == TAG_STATUS && !wire_u64(&f, &status))
            return ERR_CORRUPT;
        else if (f.tag == TAG_ANSWER && !buffer_put(&out->answer, f.data, f.len))
            return ERR_MEMORY;
    }
    if (!same) {
        buffer_clear(&out->answer);
        return ERR_KEY_REUSED;
    }
    out->status = (int)status;
    return VRS_OK;
}

enum vrs_err idempotency_look(struct partition *p, const char *key, const void *body, size_t len,
                              bool *seen, struct idempotent *out) {
    struct record r;
    struct record_id id;
    uint8_t hmac[CRYPTO_HASH_BYTES];
    key_id(key, &id);
    crypto_hmac_sha256(key, strlen(key), body, len, hmac);
    record_init(&r);
    *seen = false;
    enum vrs_err e = record_get(p, TABLE_IDEMPOTENCY, &id, &r);
    if (e == VRS_OK) {
        *seen = true;
        e = read_answer(&r, hmac, out);
    } else if (e == ERR_NOT_FOUND) {
        e = VRS_OK;
    }
    record_fini(&r);
    return e;
}

enum vrs_err idempotency_keep(struct partition *p, const char *key, const void *body, size_t len,
                              int status, const void *answer, size_t answer_len) {
    struct record r;
    uint8_t hmac[CRYPTO_HASH_BYTES];
    record_init(&r);
    key_id(key, &r.id);
    crypto_hmac_sha256(key, strlen(key), body, len, hmac);
    wire_put_u64(&r.text, TAG_STATUS, (uint64_t)status);
    wire_put(&r.text, TAG_BODY_HMAC, hmac, sizeof hmac);
    wire_put(&r.text, TAG_ANSWER, answer, answer_len);
    wire_put_u64(&r.text, TAG_MADE_MS, (uint64_t)clock_now_ms());
    enum vrs_err e = partition_next_order(p, TABLE_IDEMPOTENCY, &r.order);
    if (e == VRS_OK)
        e = record_insert(p, TABLE_IDEMPOTENCY, &r);
    record_fini(&r);
    return e;
}

struct forgetting {
    struct partition *partition;
    struct erased *erased;
    struct record_id last;
    size_t seen;
};

/* The key and its status stay, so that the request is not run again; the answer goes. */
static enum vrs_err forget_answer(struct record *r, void *arg) {
    static const char gone[] = "{\"erased\":true}";
    struct forgetting *f = arg;
    struct wire_reader reader;
    struct wire_field field;
    struct buffer kept;
    bool more, holds = false;
    f->last = r->id;
    f->seen++;
    buffer_init(&kept, 1024);
    wire_open(&reader, r->text.data, r->text.len);
    enum vrs_err e;
    while ((e = wire_next(&reader, &field, &more)) == VRS_OK && more) {
        if (field.tag == TAG_ANSWER)
            holds = erased_in(f->erased, field.data, field.len);
        else
            wire_put(&kept, field.tag, field.data, field.len);
    }
    wire_put(&kept, TAG_ANSWER, gone, sizeof gone - 1);
    if (e == VRS_OK && holds) {
        e = erase_note_seal(f->partition, TABLE_IDEMPOTENCY, &r->id, f->erased);
        buffer_clear(&r->text);
        if (e == VRS_OK && (kept.failed || !buffer_put(&r->text, kept.data, kept.len)))
            e = ERR_MEMORY;
        if (e == VRS_OK)
            e = record_reseal(f->partition, TABLE_IDEMPOTENCY, r);
        f->erased->count[ERASED_ANSWER]++;
    }
    buffer_fini(&kept);
    return e;
}

enum vrs_err idempotency_erase(struct partition *p, struct erased *x) {
    struct forgetting f = {.partition = p, .erased = x, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && f.seen == PAGE; first = false) {
        struct record_id after = f.last;
        f.seen = 0;
        e = record_walk(p, TABLE_IDEMPOTENCY, first ? NULL : &after, PAGE, forget_answer, &f);
    }
    return e;
}

struct purge {
    struct partition *partition;
    int64_t before_ms;
    uint64_t removed;
    bool stop;
};

/* 0: kept by an earlier version, which did not say when. */
static enum vrs_err made_at(const struct record *r, uint64_t *out) {
    struct wire_reader reader;
    struct wire_field f;
    bool more = true;
    *out = 0;
    wire_open(&reader, r->text.data, r->text.len);
    while (more) {
        enum vrs_err e = wire_next(&reader, &f, &more);
        if (e != VRS_OK)
            return e;
        if (more && f.tag == TAG_MADE_MS && !wire_u64(&f, out))
            return ERR_CORRUPT;
    }
    return VRS_OK;
}

static enum vrs_err purge_one(struct record *r, void *arg) {
    struct purge *x = arg;
    uint64_t made_ms;
    if (x->stop)
        return VRS_OK;
    enum vrs_err e = made_at(r, &made_ms);
    if (e == VRS_OK && made_ms == 0) { /* its time runs from now */
        wire_put_u64(&r->text, TAG_MADE_MS, (uint64_t)clock_now_ms());
        return record_reseal(x->partition, TABLE_IDEMPOTENCY, r);
    }
    if (e != VRS_OK || (int64_t)made_ms >= x->before_ms) {
        x->stop = true; /* those behind it are younger */
        return e;
    }
    x->removed++;
    return record_remove(x->partition, TABLE_IDEMPOTENCY, &r->id);
}

enum vrs_err idempotency_purge(struct partition *p, int64_t before_ms, uint64_t limit,
                               uint64_t *removed) {
    struct purge x = {.partition = p, .before_ms = before_ms};
    enum vrs_err e = record_scan(p, TABLE_IDEMPOTENCY, UINT32_MAX, 0, limit, purge_one, &x);
    *removed = x.removed;
    return e;
}
