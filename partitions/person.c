#include "partitions/person.h"

#include <stdio.h>
#include <string.h>

#include "lib/secret.h"
#include "lib/text.h"
#include "partitions/fields.h"

enum { PAGE = 500 };

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct person, addressee),
    FIELD(2, FIELD_TEXT, struct person, name),
    FIELD(3, FIELD_TEXT, struct person, kana),
    FIELD(4, FIELD_TEXT, struct person, address),
    FIELD(5, FIELD_I32, struct person, birth),
    FIELD(6, FIELD_I32, struct person, sex),
    FIELD(7, FIELD_I32, struct person, moved_out_on),
    FIELD(8, FIELD_TEXT, struct person, moved_out_to),
    FIELD(9, FIELD_I32, struct person, died_on),
    FIELD(10, FIELD_I32, struct person, removed_on),
    FIELD(11, FIELD_BOOL, struct person, no_auto_answer),
    FIELD(12, FIELD_BOOL, struct person, undisclosed),
    FIELD(13, FIELD_I64, struct person, registered_ms),
    {0},
};

bool person_date_set(struct civil_date d) {
    return d.days != INT32_MIN;
}

void person_init(struct person *p) {
    memset(p, 0, sizeof *p);
    p->birth = p->moved_out_on = p->died_on = p->removed_on = PERSON_NO_DATE;
    p->sex = SEX_UNKNOWN;
    record_id_new(&p->id);
}

void person_wipe(struct person *p) {
    secret_wipe(p, sizeof *p);
}

static enum vrs_err person_read(const struct record *r, struct person *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    return fields_decode(members, &r->text, out);
}

enum vrs_err person_get(struct partition *pt, const struct record_id *id, struct person *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(pt, TABLE_PERSON, id, &r);
    if (e == VRS_OK)
        e = person_read(&r, out);
    record_fini(&r);
    return e;
}

static enum vrs_err addressee_index(struct partition *pt, const char *addressee,
                                    struct store_index *out) {
    return partition_blind(pt, "addressee", addressee, strlen(addressee), out);
}

static enum vrs_err birth_index(struct partition *pt, struct civil_date birth,
                                struct store_index *out) {
    return partition_blind(pt, "birth", &birth.days, sizeof birth.days, out);
}

struct found {
    struct person *out;
    bool any;
};

static enum vrs_err take_first(struct record *r, void *arg) {
    struct found *f = arg;
    f->any = true;
    return person_read(r, f->out);
}

enum vrs_err person_by_addressee(struct partition *pt, const char *addressee, struct person *out) {
    struct store_index index;
    struct found f = {.out = out};
    if (addressee[0] == '\0')
        return ERR_NOT_FOUND;
    enum vrs_err e = addressee_index(pt, addressee, &index);
    if (e == VRS_OK)
        e = record_find(pt, TABLE_PERSON, 0, &index, take_first, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

/* The present row as it is, under its version, into the history. */
static enum vrs_err keep_old(struct partition *pt, const struct record *old) {
    struct record h;
    record_init(&h);
    record_id_new(&h.id);
    store_index_id(&old->id, &h.index[0]);
    h.order = old->version;
    enum vrs_err e = buffer_put(&h.text, old->text.data, old->text.len) ? VRS_OK : ERR_MEMORY;
    if (e == VRS_OK)
        e = record_insert(pt, TABLE_PERSON_HISTORY, &h);
    record_fini(&h);
    return e;
}

enum vrs_err person_put(struct partition *pt, struct person *p) {
    struct record r;
    record_init(&r);
    enum vrs_err e = VRS_OK;
    if (p->version != 0) {
        e = record_get(pt, TABLE_PERSON, &p->id, &r);
        if (e == VRS_OK && r.version != p->version)
            e = ERR_STALE_VERSION;
        if (e == VRS_OK)
            e = keep_old(pt, &r);
    }
    r.id = p->id;
    buffer_clear(&r.text);
    fields_encode(members, p, &r.text);
    memset(r.index, 0, sizeof r.index);
    if (e == VRS_OK && p->addressee[0] != '\0')
        e = addressee_index(pt, p->addressee, &r.index[0]);
    if (e == VRS_OK && person_date_set(p->birth))
        e = birth_index(pt, p->birth, &r.index[1]);
    if (e == VRS_OK)
        e = p->version == 0 ? record_insert(pt, TABLE_PERSON, &r)
                            : record_update(pt, TABLE_PERSON, &r);
    if (e == VRS_OK) {
        p->version = r.version;
        p->generation = r.generation;
    }
    record_fini(&r);
    return e;
}

struct history {
    const struct record_id *id;
    person_fn *fn;
    void *arg;
};

static enum vrs_err each_version(struct record *r, void *arg) {
    const struct history *h = arg;
    struct person p;
    enum vrs_err e = person_read(r, &p);
    p.id = *h->id;
    p.version = r->order;
    if (e == VRS_OK)
        e = h->fn(&p, h->arg);
    person_wipe(&p);
    return e;
}

enum vrs_err person_history(struct partition *pt, const struct record_id *id, person_fn *fn,
                            void *arg) {
    struct history h = {.id = id, .fn = fn, .arg = arg};
    struct store_index index;
    store_index_id(id, &index);
    return record_find(pt, TABLE_PERSON_HISTORY, 0, &index, each_version, &h);
}

/* --- search --- */

struct search {
    struct buffer prefix, kana;
    size_t limit, found;
    person_fn *fn;
    void *arg;
};

static enum vrs_err match(struct record *r, void *arg) {
    struct search *s = arg;
    struct person p;
    enum vrs_err e = person_read(r, &p);
    if (e == VRS_OK && s->found < s->limit) {
        buffer_clear(&s->kana);
        text_fold_kana(p.kana, &s->kana);
        if (s->kana.failed || s->prefix.failed) {
            e = ERR_MEMORY;
        } else if (s->kana.len >= s->prefix.len &&
                   memcmp(s->kana.data, s->prefix.data, s->prefix.len) == 0) {
            s->found++;
            e = s->fn(&p, s->arg);
        }
    }
    person_wipe(&p);
    return e;
}

enum vrs_err person_search(struct partition *pt, const char *kana_prefix, struct civil_date birth,
                           size_t limit, person_fn *fn, void *arg) {
    struct search s = {.limit = limit, .fn = fn, .arg = arg};
    struct store_index index;
    buffer_init(&s.prefix, 4096);
    buffer_init(&s.kana, 4096);
    text_fold_kana(kana_prefix, &s.prefix);
    enum vrs_err e = birth_index(pt, birth, &index);
    if (e == VRS_OK && s.prefix.len > 0) /* those born that day are few: their seals are opened */
        e = record_find(pt, TABLE_PERSON, 1, &index, match, &s);
    buffer_fini(&s.prefix);
    buffer_fini(&s.kana);
    return e;
}

struct walk {
    person_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_one(struct record *r, void *arg) {
    struct walk *w = arg;
    struct person p;
    w->last = r->id;
    w->seen++;
    enum vrs_err e = person_read(r, &p);
    if (e == VRS_OK)
        e = w->fn(&p, w->arg);
    person_wipe(&p);
    return e;
}

enum vrs_err person_page(struct partition *pt, const struct record_id *after, uint64_t limit,
                         person_fn *fn, void *arg) {
    struct walk w = {.fn = fn, .arg = arg};
    return record_walk(pt, TABLE_PERSON, after, limit, walk_one, &w);
}

enum vrs_err person_walk(struct partition *pt, person_fn *fn, void *arg) {
    struct walk w = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
        struct record_id after = w.last;
        w.seen = 0;
        e = record_walk(pt, TABLE_PERSON, first ? NULL : &after, PAGE, walk_one, &w);
    }
    return e;
}

/* --- coupons --- */

static const struct field coupon_members[] = {
    FIELD(1, FIELD_TEXT, struct person_coupon, number),
    FIELD(2, FIELD_I32, struct person_coupon, sent_on),
    FIELD(3, FIELD_I64, struct person_coupon, registered_ms),
    FIELD(4, FIELD_BYTES, struct person_coupon, person),
    {0},
};

static enum vrs_err coupon_read(const struct record *r, struct person_coupon *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    return fields_decode(coupon_members, &r->text, out);
}

struct found_coupon {
    struct person_coupon *out;
    bool any;
};

static enum vrs_err take_coupon(struct record *r, void *arg) {
    struct found_coupon *f = arg;
    f->any = true;
    return coupon_read(r, f->out);
}

static enum vrs_err coupon_index(struct partition *pt, const char *number,
                                 struct store_index *out) {
    return partition_blind(pt, "coupon", number, strlen(number), out);
}

enum vrs_err coupon_get(struct partition *pt, const char *number, struct person_coupon *out) {
    struct store_index index;
    struct found_coupon f = {.out = out};
    enum vrs_err e = coupon_index(pt, number, &index);
    if (e == VRS_OK)
        e = record_find(pt, TABLE_COUPON, 0, &index, take_coupon, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

enum vrs_err coupon_add(struct partition *pt, const struct person_coupon *c, bool *added) {
    struct person_coupon there;
    struct record r;
    *added = false;
    enum vrs_err e = coupon_get(pt, c->number.digits, &there);
    if (e == VRS_OK)
        return record_id_equal(&there.person, &c->person) ? VRS_OK : ERR_R182;
    if (e != ERR_NOT_FOUND)
        return e;
    record_init(&r);
    r.id = c->id;
    fields_encode(coupon_members, c, &r.text);
    store_index_id(&c->person, &r.index[1]);
    e = coupon_index(pt, c->number.digits, &r.index[0]);
    if (e == VRS_OK)
        e = partition_next_order(pt, TABLE_COUPON, &r.order);
    if (e == VRS_OK)
        e = record_insert(pt, TABLE_COUPON, &r);
    *added = e == VRS_OK;
    record_fini(&r);
    return e;
}

struct coupons {
    coupon_fn *fn;
    void *arg;
};

static enum vrs_err each_coupon(struct record *r, void *arg) {
    const struct coupons *x = arg;
    struct person_coupon c;
    enum vrs_err e = coupon_read(r, &c);
    return e == VRS_OK ? x->fn(&c, x->arg) : e;
}

enum vrs_err coupons_of(struct partition *pt, const struct record_id *person, coupon_fn *fn,
                        void *arg) {
    struct coupons x = {.fn = fn, .arg = arg};
    struct store_index index;
    store_index_id(person, &index);
    return record_find(pt, TABLE_COUPON, 1, &index, each_coupon, &x);
}

enum vrs_err coupon_page(struct partition *pt, const struct record_id *after, uint64_t limit,
                         coupon_fn *fn, void *arg) {
    struct coupons x = {.fn = fn, .arg = arg};
    return record_walk(pt, TABLE_COUPON, after, limit, each_coupon, &x);
}

enum vrs_err coupon_count(struct partition *pt, uint64_t *out) {
    return partition_engine(pt)->count(partition_store(pt), TABLE_COUPON, UINT32_MAX, out);
}

uint64_t coupon_changes(const struct partition *pt) {
    return partition_changes(pt, TABLE_COUPON);
}

/* --- links to numbers: the row says whose, the number itself is elsewhere --- */

enum vrs_err number_link_add(struct partition *pt, const struct record_id *number_row,
                             const struct record_id *person) {
    struct record r;
    record_init(&r);
    r.id = *number_row;
    store_index_id(person, &r.index[0]);
    enum vrs_err e = partition_next_order(pt, TABLE_NUMBER_LINK, &r.order);
    if (e == VRS_OK)
        e = record_insert(pt, TABLE_NUMBER_LINK, &r);
    record_fini(&r);
    return e;
}

enum vrs_err number_link_person(struct partition *pt, const struct record_id *number_row,
                                struct record_id *person) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(pt, TABLE_NUMBER_LINK, number_row, &r);
    if (e == VRS_OK && r.index[0].len != sizeof person->bytes)
        e = ERR_CORRUPT;
    if (e == VRS_OK)
        memcpy(person->bytes, r.index[0].bytes, sizeof person->bytes);
    record_fini(&r);
    return e;
}

struct links {
    number_link_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err each_link(struct record *r, void *arg) {
    struct links *x = arg;
    x->last = r->id;
    x->seen++;
    return x->fn(&r->id, x->arg);
}

enum vrs_err number_links_of(struct partition *pt, const struct record_id *person,
                             number_link_fn *fn, void *arg) {
    struct links x = {.fn = fn, .arg = arg};
    struct store_index index;
    store_index_id(person, &index);
    return record_find(pt, TABLE_NUMBER_LINK, 0, &index, each_link, &x);
}

enum vrs_err number_link_walk(struct partition *pt, number_link_fn *fn, void *arg) {
    struct links x = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && x.seen == PAGE; first = false) {
        struct record_id after = x.last;
        x.seen = 0;
        e = record_walk(pt, TABLE_NUMBER_LINK, first ? NULL : &after, PAGE, each_link, &x);
    }
    return e;
}

/* --- erasure --- */

static enum vrs_err note_coupon(const struct person_coupon *c, void *arg) {
    erased_word(arg, c->number.digits);
    return VRS_OK;
}

static enum vrs_err note_number(const struct record_id *row, void *arg) {
    struct erased *x = arg;
    return buffer_put(&x->numbers, row->bytes, sizeof row->bytes) ? VRS_OK : ERR_MEMORY;
}

struct blinding {
    struct partition *partition;
    struct erased *erased;
};

/* Under the log's index key, which is never rotated: a tombstone is not written twice. */
static enum vrs_err note_blind(const struct blinding *b, const char *kind, const char *value) {
    struct store_index index;
    enum vrs_err e = partition_blind_log(b->partition, kind, value, strlen(value), &index);
    if (e == VRS_OK && !buffer_put(&b->erased->blinds, index.bytes, PARTITION_BLIND_BYTES))
        e = ERR_MEMORY;
    return e;
}

static enum vrs_err blind_coupon(const struct person_coupon *c, void *arg) {
    return note_blind(arg, "erased_coupon", c->number.digits);
}

/* By what else the person is found: never the name, which others may have. */
static enum vrs_err note_person(struct partition *pt, const struct record_id *id,
                                struct erased *x) {
    struct blinding b = {.partition = pt, .erased = x};
    struct person p;
    char cell[40];
    memset(&p, 0, sizeof p);
    enum vrs_err e = person_get(pt, id, &p);
    if (e == VRS_OK && p.addressee[0] != '\0') { /* as a cell of a file */
        (void)snprintf(cell, sizeof cell, ",%s,", p.addressee);
        erased_word(x, cell);
        (void)snprintf(cell, sizeof cell, "\"%s\"", p.addressee);
        erased_word(x, cell);
        e = note_blind(&b, "erased_addressee", p.addressee);
    }
    if (e == VRS_OK)
        e = coupons_of(pt, id, note_coupon, x);
    if (e == VRS_OK)
        e = coupons_of(pt, id, blind_coupon, &b);
    if (e == VRS_OK)
        e = number_links_of(pt, id, note_number, x);
    person_wipe(&p);
    return e;
}

enum vrs_err person_erase(struct partition *pt, const struct record_id *id, struct erased *x) {
    enum vrs_err e = note_person(pt, id, x);
    if (e == VRS_OK)
        e = erase_rows_of(pt, TABLE_PERSON_HISTORY, 0, id, ERASED_PERSON_VERSION, x);
    if (e == VRS_OK)
        e = erase_rows_of(pt, TABLE_COUPON, 1, id, ERASED_COUPON, x);
    if (e == VRS_OK)
        e = erase_rows_of(pt, TABLE_NUMBER_LINK, 0, id, ERASED_NUMBER, x);
    return e == VRS_OK ? erase_row(pt, TABLE_PERSON, id, ERASED_PERSON, x) : e;
}
