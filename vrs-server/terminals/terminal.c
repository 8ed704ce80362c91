#include "vrs-server/terminals/terminal.h"

#include <ctype.h>
#include <string.h>

#include "partitions/fields.h"

static const struct field members[] = {FIELD(1, FIELD_TEXT, struct terminal, name),
                                       FIELD(2, FIELD_TEXT, struct terminal, kind),
                                       FIELD(3, FIELD_TEXT, struct terminal, municipality),
                                       FIELD(4, FIELD_TEXT, struct terminal, serial),
                                       FIELD(5, FIELD_TEXT, struct terminal, fingerprint),
                                       FIELD(6, FIELD_TEXT, struct terminal, rights),
                                       FIELD(7, FIELD_TEXT, struct terminal, valid_until),
                                       FIELD(8, FIELD_TEXT, struct terminal, site),
                                       FIELD(9, FIELD_TEXT, struct terminal, binding),
                                       FIELD(10, FIELD_TEXT, struct terminal, key_hash),
                                       FIELD(11, FIELD_I64, struct terminal, made_ms),
                                       FIELD(12, FIELD_TEXT, struct terminal, made_by),
                                       FIELD(13, FIELD_I64, struct terminal, works_until_ms),
                                       FIELD(14, FIELD_TEXT, struct terminal, revoked_by),
                                       FIELD(15, FIELD_TEXT, struct terminal, revoke_reason),
                                       FIELD(16, FIELD_I64, struct terminal, revoked_ms),
                                       FIELD(17, FIELD_I64, struct terminal, last_used_ms),
                                       {0}};

enum { PAGE = 500 };

void terminal_plain_serial(const char *from, char out[48]) {
    size_t n = 0;
    while (from[0] == '0' && from[1] != '\0')
        from++;
    for (; *from != '\0' && n < 47; from++)
        out[n++] = (char)tolower((unsigned char)*from);
    out[n] = '\0';
}

bool terminal_is_inside(const struct terminal *t) {
    return strcmp(t->kind, TERMINAL_LGWAN) == 0 || strcmp(t->kind, TERMINAL_LGWAN_SYSTEM) == 0;
}

static enum vrs_err read_row(const struct record *r, struct terminal *out) {
    memset(out, 0, sizeof *out);
    out->id = r->id;
    out->version = r->version;
    out->generation = r->generation;
    out->state = (enum terminal_state)r->state;
    return fields_decode(members, &r->text, out);
}

enum vrs_err terminal_put(struct partition *registry, struct terminal *t) {
    right_mask rights;
    char plain[48];
    struct record r;
    /* An unknown right in data is a mistake somebody must see (default deny). */
    if (!right_mask_parse(t->rights, &rights))
        return ERR_BAD_FIELD;
    terminal_plain_serial(t->serial, plain);
    memcpy(t->serial, plain, sizeof plain);
    record_init(&r);
    r.id = t->id;
    r.version = t->version;
    r.generation = t->generation;
    r.state = t->state;
    fields_encode(members, t, &r.text);
    enum vrs_err e = partition_blind(registry, "serial", plain, strlen(plain), &r.index[0]);
    if (e == VRS_OK)
        e = t->version == 0 ? record_insert(registry, TABLE_TERMINAL, &r)
                            : record_update(registry, TABLE_TERMINAL, &r);
    t->version = r.version;
    t->generation = r.generation;
    record_fini(&r);
    return e;
}

enum vrs_err terminal_touch(struct partition *registry, const struct record_id *id, int64_t at_ms) {
    struct record r;
    struct terminal t;
    record_init(&r);
    enum vrs_err e = record_get(registry, TABLE_TERMINAL, id, &r);
    if (e == VRS_OK)
        e = read_row(&r, &t);
    if (e == VRS_OK) {
        t.last_used_ms = at_ms;
        buffer_clear(&r.text);
        fields_encode(members, &t, &r.text);
        e = record_reseal(registry, TABLE_TERMINAL, &r);
    }
    record_fini(&r);
    return e;
}

enum vrs_err terminal_get(struct partition *registry, const struct record_id *id,
                          struct terminal *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = record_get(registry, TABLE_TERMINAL, id, &r);
    if (e == VRS_OK)
        e = read_row(&r, out);
    record_fini(&r);
    return e;
}

struct found {
    struct terminal *out;
    bool any;
};

static enum vrs_err take(struct record *r, void *arg) {
    struct found *f = arg;
    f->any = true;
    return read_row(r, f->out);
}

enum vrs_err terminal_by_serial(struct partition *registry, const char *serial,
                                struct terminal *out) {
    char plain[48];
    struct store_index index;
    struct found f = {.out = out};
    terminal_plain_serial(serial, plain);
    enum vrs_err e = partition_blind(registry, "serial", plain, strlen(plain), &index);
    if (e == VRS_OK)
        e = record_find(registry, TABLE_TERMINAL, 0, &index, take, &f);
    return e == VRS_OK && !f.any ? ERR_NOT_FOUND : e;
}

struct walk {
    terminal_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_one(struct record *r, void *arg) {
    struct walk *w = arg;
    struct terminal t;
    w->last = r->id;
    w->seen++;
    enum vrs_err e = read_row(r, &t);
    return e == VRS_OK ? w->fn(&t, w->arg) : e;
}

enum vrs_err terminal_walk(struct partition *registry, terminal_fn *fn, void *arg) {
    struct walk w = {.fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
        struct record_id after = w.last;
        w.seen = 0;
        e = record_walk(registry, TABLE_TERMINAL, first ? NULL : &after, PAGE, walk_one, &w);
    }
    return e;
}

struct by_name {
    const char *name;
    struct terminal *out;
    bool any;
};

static enum vrs_err see_name(struct terminal *t, void *arg) {
    struct by_name *b = arg;
    if (strcmp(t->name, b->name) != 0)
        return VRS_OK;
    bool better = !b->any || (t->state == TERMINAL_ACTIVE) > (b->out->state == TERMINAL_ACTIVE) ||
                  (t->state == b->out->state && t->made_ms > b->out->made_ms);
    if (better)
        *b->out = *t;
    b->any = true;
    return VRS_OK;
}

enum vrs_err terminal_by_name(struct partition *registry, const char *name, struct terminal *out) {
    struct by_name b = {.name = name, .out = out};
    enum vrs_err e = terminal_walk(registry, see_name, &b);
    return e == VRS_OK && !b.any ? ERR_NOT_FOUND : e;
}

/* --- stopping a device --- */

struct same_device {
    const struct terminal *as;
    struct record_id id[16]; /* of those that still work; more in the next round */
    size_t count;
};

static enum vrs_err see_same(struct terminal *t, void *arg) {
    struct same_device *s = arg;
    if (t->state == TERMINAL_ACTIVE && strcmp(t->name, s->as->name) == 0 &&
        strcmp(t->kind, s->as->kind) == 0 && strcmp(t->municipality, s->as->municipality) == 0 &&
        s->count < sizeof s->id / sizeof *s->id)
        s->id[s->count++] = t->id;
    return VRS_OK;
}

static enum vrs_err revoke_one(struct partition *registry, const struct record_id *id,
                               const struct terminal *as) {
    struct terminal t;
    enum vrs_err e = terminal_get(registry, id, &t);
    t.state = TERMINAL_REVOKED;
    t.revoked_ms = as->revoked_ms;
    memcpy(t.revoked_by, as->revoked_by, sizeof t.revoked_by);
    memcpy(t.revoke_reason, as->revoke_reason, sizeof t.revoke_reason);
    return e == VRS_OK ? terminal_put(registry, &t) : e;
}

enum vrs_err terminal_revoke(struct partition *registry, struct terminal *t) {
    struct same_device same = {.as = t, .count = 1};
    t->state = TERMINAL_REVOKED;
    enum vrs_err e = terminal_put(registry, t);
    while (e == VRS_OK && same.count > 0) {
        same.count = 0;
        e = terminal_walk(registry, see_same, &same);
        for (size_t i = 0; i < same.count && e == VRS_OK; i++)
            e = revoke_one(registry, &same.id[i], t);
    }
    return e;
}
