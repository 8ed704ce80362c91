#include "partitions/tally.h"

#include <stdlib.h>
#include <string.h>

#include "partitions/fields.h"

enum { NAME_BYTES = 128, PAGE = 500 };

struct tally {
    char name[NAME_BYTES];
    int64_t value;
};

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct tally, name),
    FIELD(2, FIELD_I64, struct tally, value),
    {0},
};

/* The row's id follows from the name, blindly: a counter is found without an index. */
static enum vrs_err tally_index(struct partition *p, const char *name, struct store_index *out) {
    return partition_blind(p, "tally", name, strlen(name), out);
}

/* `old`: it stands under the id of the old index key. */
static enum vrs_err tally_read(struct partition *p, const char *name, struct record *r,
                               struct tally *out, bool *old) {
    struct record_id id;
    struct store_index index;
    memset(out, 0, sizeof *out);
    *old = false;
    enum vrs_err e = tally_index(p, name, &index);
    store_index_row(&index, false, &id);
    if (e == VRS_OK)
        e = record_get(p, TABLE_TALLY, &id, r);
    if (e == ERR_NOT_FOUND && index.old_len > 0) {
        struct record_id before;
        store_index_row(&index, true, &before);
        e = record_get(p, TABLE_TALLY, &before, r);
        *old = e == VRS_OK;
    }
    if (e == VRS_OK)
        e = fields_decode(members, &r->text, out);
    if (e == ERR_NOT_FOUND)
        r->id = id;
    r->index[0] = index;
    return e;
}

/* The row under another id; its counting goes on. */
static enum vrs_err tally_move(struct partition *p, struct record *r) {
    struct record_id to;
    store_index_row(&r->index[0], false, &to);
    enum vrs_err e = record_remove(p, TABLE_TALLY, &r->id);
    r->id = to;
    return e == VRS_OK ? record_insert(p, TABLE_TALLY, r) : e;
}

enum vrs_err tally_get(struct partition *p, const char *name, int64_t *out) {
    struct record r;
    struct tally t;
    record_init(&r);
    bool old;
    enum vrs_err e = tally_read(p, name, &r, &t, &old);
    record_fini(&r);
    *out = t.value;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err tally_add(struct partition *p, const char *name, int64_t n) {
    struct record r;
    struct tally t;
    if (strlen(name) >= NAME_BYTES)
        return ERR_INTERNAL;
    record_init(&r);
    bool old;
    enum vrs_err e = tally_read(p, name, &r, &t, &old);
    bool absent = e == ERR_NOT_FOUND;
    if (e == VRS_OK || absent) {
        memcpy(t.name, name, strlen(name) + 1);
        t.value += n;
        buffer_clear(&r.text);
        fields_encode(members, &t, &r.text);
        e = old      ? tally_move(p, &r)
            : absent ? record_insert(p, TABLE_TALLY, &r)
                     : record_update(p, TABLE_TALLY, &r);
    }
    record_fini(&r);
    return e;
}

struct walk {
    const char *prefix;
    tally_fn *fn;
    void *arg;
    struct record_id last;
    size_t seen;
};

static enum vrs_err walk_one(struct record *r, void *arg) {
    struct walk *w = arg;
    struct tally t = {0};
    w->last = r->id;
    w->seen++;
    enum vrs_err e = fields_decode(members, &r->text, &t);
    if (e == VRS_OK && strncmp(t.name, w->prefix, strlen(w->prefix)) == 0)
        e = w->fn(t.name, t.value, w->arg);
    return e;
}

enum vrs_err tally_walk(struct partition *p, const char *prefix, tally_fn *fn, void *arg) {
    struct walk w = {.prefix = prefix, .fn = fn, .arg = arg, .seen = PAGE};
    enum vrs_err e = VRS_OK;
    for (bool first = true; e == VRS_OK && w.seen == PAGE; first = false) {
        struct record_id after = w.last;
        w.seen = 0;
        e = record_walk(p, TABLE_TALLY, first ? NULL : &after, PAGE, walk_one, &w);
    }
    return e;
}

struct tally_batch {
    struct tally *list;
    size_t count, cap;
    enum vrs_err failed; /* sticky until the flush */
};

struct tally_batch *tally_batch_open(void) {
    return calloc(1, sizeof(struct tally_batch));
}

void tally_batch_close(struct tally_batch **b) {
    if (*b != NULL)
        free((*b)->list);
    free(*b);
    *b = NULL;
}

void tally_batch_add(struct tally_batch *b, const char *name, int64_t n) {
    for (size_t i = 0; i < b->count; i++) {
        if (strcmp(b->list[i].name, name) == 0) {
            b->list[i].value += n;
            return;
        }
    }
    if (b->count == b->cap) {
        size_t cap = b->cap == 0 ? 16 : 2 * b->cap;
        struct tally *grown = realloc(b->list, cap * sizeof *grown);
        if (grown == NULL) {
            b->failed = ERR_MEMORY;
            return;
        }
        b->list = grown;
        b->cap = cap;
    }
    if (strlen(name) >= NAME_BYTES) {
        b->failed = ERR_INTERNAL;
        return;
    }
    struct tally *t = &b->list[b->count++];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, strlen(name));
    t->value = n;
}

enum vrs_err tally_batch_flush(struct tally_batch *b, struct partition *p) {
    enum vrs_err e = b->failed;
    for (size_t i = 0; i < b->count && e == VRS_OK; i++) {
        if (b->list[i].value != 0)
            e = tally_add(p, b->list[i].name, b->list[i].value);
    }
    b->count = 0;
    b->failed = VRS_OK;
    return e;
}
