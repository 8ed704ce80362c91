#include "vrs-server/operation/rotation_turn.h"

#include <stdio.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"
#include "partitions/access_log.h"
#include "partitions/fields.h"

static const struct {
    const char *what;
    const char *area;
    enum rotation_order order;
    enum rotate_what rotate;
    enum key_area key_area;
} kinds[] = {
    {"data", "records", ROTATE_RECORDS_DATA, ROTATE_DATA, KEY_RECORDS},
    {"index", "records", ROTATE_RECORDS_INDEX, ROTATE_INDEX, KEY_RECORDS},
    {"data", "log", ROTATE_LOG_DATA, ROTATE_DATA, KEY_LOG},
    {"data", "numbers", ROTATE_NUMBERS_DATA, ROTATE_DATA, KEY_NUMBERS},
    {"index", "numbers", ROTATE_NUMBERS_INDEX, ROTATE_INDEX, KEY_NUMBERS},
};
enum { KINDS = sizeof kinds / sizeof *kinds };

unsigned rotation_order(const char *what, const char *area) {
    unsigned order = 0;
    if (strcmp(what, "kek") == 0)
        return area[0] == '\0' ? ROTATE_KEKS : 0;
    for (int i = 0; i < KINDS; i++) {
        if (strcmp(what, kinds[i].what) == 0 &&
            (area[0] == '\0' || strcmp(area, kinds[i].area) == 0))
            order |= kinds[i].order;
    }
    return order;
}

/* ---- one municipality */

/* The registry holds no numbers, and a town may have none yet. */
static enum vrs_err numbers(struct server *s, unsigned worker, const char *code, const char *order,
                            const char *by, struct number_rotation *out) {
    memset(out, 0, sizeof *out);
    if (strcmp(code, REGISTRY) == 0)
        return VRS_OK;
    enum vrs_err e = number_rotate(s->number[worker], code, order, by, out);
    return e == ERR_NOT_FOUND || e == ERR_NO_SUCH_MUNICIPALITY ? VRS_OK : e;
}

/* What is wanted of vrs-number stands here first, so that it may be away. */
static enum vrs_err want_numbers(struct partition *p, enum rotate_what what, const char *by) {
    struct rotation r;
    enum vrs_err e = rotate_get(p, what, KEY_NUMBERS, &r);
    if ((e == VRS_OK && r.phase != ROTATE_DONE) || (e != VRS_OK && e != ERR_NOT_FOUND))
        return e;
    r = (struct rotation){
        .what = what, .area = KEY_NUMBERS, .phase = ROTATE_PREPARED, .begun_ms = clock_now_ms()};
    (void)snprintf(r.by, sizeof r.by, "%s", by);
    return rotate_note(p, &r);
}

enum vrs_err rotation_begin(struct server *s, unsigned worker, struct partition *p, unsigned order,
                            const char *by) {
    struct number_rotation n;
    struct rotation r;
    enum vrs_err e = VRS_OK;
    for (int i = 0; i < KINDS && e == VRS_OK; i++) {
        if (!(order & kinds[i].order))
            continue;
        e = kinds[i].key_area == KEY_NUMBERS
                ? want_numbers(p, kinds[i].rotate, by)
                : rotate_begin(p, kinds[i].rotate, kinds[i].key_area, by, &r);
    }
    if (e == VRS_OK && (order & ROTATE_KEKS))
        e = numbers(s, worker, partition_code(p), "kek", by, &n);
    return e;
}

static enum vrs_err note(struct partition *p, const char *by, const char *act, const char *result,
                         const char *detail) {
    const struct log_entry entry = {.actor = {.user = by[0] != '\0' ? by : "system:rotation",
                                              .section = "operation",
                                              .terminal = "vrs-server",
                                              .source = "system"},
                                    .act = act,
                                    .purpose = "operation",
                                    .result = result,
                                    .detail = detail};
    return access_log_append(p, &entry, NULL);
}

/* C76: which key, when, on whose order. */
static enum vrs_err note_key(struct partition *p, const struct rotation *r, const char *area,
                             const char *by, const char *act, const char *result) {
    char detail[160], begun[25];
    clock_format_rfc3339(r->begun_ms, begun);
    (void)snprintf(detail, sizeof detail,
                   "%s %s: key_id %u replaced by %u, %llu rows sealed anew, begun %s", area,
                   r->what == ROTATE_DATA ? "encrypt" : "index", r->from_key, r->to_key,
                   (unsigned long long)r->changed, begun);
    return note(p, by, act, result, detail);
}

static bool open_rotation(const struct rotation *r) {
    return r->phase != 0 && r->phase != ROTATE_DONE;
}

static enum vrs_err keks(struct server *s, const char *code, struct partition *p,
                         struct rotation_turn *t, struct vrs_fault *fault) {
    char detail[80];
    size_t wrapped;
    enum vrs_err e = keyring_rewrap(s->keys, code, &wrapped, fault);
    if (e != VRS_OK || wrapped == 0 || p == NULL)
        return e;
    t->more = true;
    (void)snprintf(detail, sizeof detail, "%zu keys under the present KEK", wrapped);
    return note(p, t->by, "keys.rewrap", "ok", detail);
}

/* At most one step of what is under way here. */
static enum vrs_err records_step(struct partition *p, struct rotation_turn *t,
                                 struct vrs_fault *fault) {
    for (int i = 0; i < KINDS; i++) {
        struct rotation r;
        if (kinds[i].key_area == KEY_NUMBERS)
            continue;
        enum vrs_err e = rotate_get(p, kinds[i].rotate, kinds[i].key_area, &r);
        if (e == ERR_NOT_FOUND || (e == VRS_OK && !open_rotation(&r)))
            continue;
        t->more = true;
        if (e == VRS_OK)
            e = rotate_step(p, &r, fault);
        if (e == VRS_OK && r.phase == ROTATE_DONE)
            e = note_key(p, &r, kinds[i].area, r.by,
                         kinds[i].key_area == KEY_LOG ? "keys.rotated" : "keys.destroy", "ok");
        return e;
    }
    return VRS_OK;
}

/* What vrs-number said of it, kept here with our own phase. */
static void take_over(struct rotation *known, const struct rotation *said) {
    struct rotation before = *known;
    *known = *said;
    known->what = before.what;
    known->area = KEY_NUMBERS;
    known->begun_ms = before.begun_ms;
    memcpy(known->by, before.by, sizeof known->by);
    known->phase = said->phase == 0                 ? ROTATE_DONE /* it has no numbers */
                   : said->phase == ROTATE_PREPARED ? ROTATE_WALKING
                                                    : said->phase;
}

/* At most one step.  vrs-server logs before it asks: a number key is destroyed in the turn after the
 * one that stored that it is clean, with the entry. */
static enum vrs_err number_step(struct server *s, unsigned worker, struct partition *p,
                                struct rotation *known) {
    static const char *const orders[] = {
        [ROTATE_PREPARED] = "", [ROTATE_WALKING] = "step", [ROTATE_CLEAN] = "destroy"};
    int which = known->what == ROTATE_DATA ? 0 : 1;
    struct number_rotation n;
    enum rotate_phase before = known->phase;
    const char *order = before != ROTATE_PREPARED    ? orders[before]
                        : known->what == ROTATE_DATA ? "data"
                                                     : "index";
    enum vrs_err e = numbers(s, worker, partition_code(p), order, known->by, &n);
    if (e != VRS_OK)
        return e;
    take_over(known, &n.of[which]);
    if (known->phase == ROTATE_CLEAN && before != ROTATE_CLEAN)
        e = note_key(p, known, "numbers", known->by, "keys.destroy", "ordered");
    else if (known->phase == ROTATE_DONE && before == ROTATE_CLEAN)
        e = note_key(p, known, "numbers", known->by, "keys.destroy", "ok");
    return e == VRS_OK ? rotate_note(p, known) : e;
}

static enum vrs_err numbers_step(struct server *s, unsigned worker, struct partition *p,
                                 struct rotation_turn *t) {
    static const enum rotate_what both[] = {ROTATE_DATA, ROTATE_INDEX};
    for (int i = 0; i < 2; i++) {
        struct rotation known;
        enum vrs_err e = rotate_get(p, both[i], KEY_NUMBERS, &known);
        if (e == ERR_NOT_FOUND || (e == VRS_OK && !open_rotation(&known)))
            continue;
        t->more = true;
        return e == VRS_OK ? number_step(s, worker, p, &known) : e;
    }
    return VRS_OK;
}

/* Its keys were all destroyed: there is nothing left to rotate. */
static bool ended(struct keyring *keys, const char *municipality) {
    const struct secret_key *key;
    uint32_t id;
    return keyring_active(keys, municipality, KEY_RECORDS, KEY_ENCRYPT, &id, &key) == ERR_NOT_FOUND;
}

enum vrs_err rotation_turn(struct server *s, unsigned worker, const char *municipality,
                           struct partition *p, struct rotation_turn *t, struct vrs_fault *fault) {
    t->more = false;
    if (ended(s->keys, municipality))
        return VRS_OK;
    enum vrs_err e = keks(s, municipality, p, t, fault);
    if (e != VRS_OK || p == NULL)
        return e;
    if (t->order != 0) {
        t->more = true;
        return rotation_begin(s, worker, p, t->order, t->by);
    }
    e = records_step(p, t, fault);
    return e == VRS_OK && !t->more ? numbers_step(s, worker, p, t) : e;
}

/* ---- all of them */

static const struct field all_members[] = {
    FIELD(1, FIELD_I32, struct rotation_all, order),
    FIELD(2, FIELD_TEXT, struct rotation_all, by),
    FIELD(3, FIELD_TEXT, struct rotation_all, after),
    FIELD(4, FIELD_I64, struct rotation_all, begun_ms),
    FIELD(5, FIELD_I64, struct rotation_all, ended_ms),
    {0},
};

static enum vrs_err all_load(struct partition *registry, struct record *r,
                             struct rotation_all *out) {
    static const char name[] = "rotation/all";
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct record_id id;
    crypto_sha256(name, sizeof name - 1, hash);
    memcpy(id.bytes, hash, sizeof id.bytes);
    memset(out, 0, sizeof *out);
    enum vrs_err e = record_get(registry, TABLE_ROTATION, &id, r);
    r->id = id;
    return e == VRS_OK ? fields_decode(all_members, &r->text, out) : e;
}

enum vrs_err rotation_all_get(struct partition *registry, struct rotation_all *out) {
    struct record r;
    record_init(&r);
    enum vrs_err e = all_load(registry, &r, out);
    record_fini(&r);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

enum vrs_err rotation_all_put(struct partition *registry, const struct rotation_all *all) {
    struct record r;
    struct rotation_all before;
    record_init(&r);
    enum vrs_err e = all_load(registry, &r, &before);
    bool absent = e == ERR_NOT_FOUND;
    buffer_clear(&r.text);
    fields_encode(all_members, all, &r.text);
    if (absent)
        e = record_insert(registry, TABLE_ROTATION, &r);
    else if (e == VRS_OK)
        e = record_update(registry, TABLE_ROTATION, &r);
    record_fini(&r);
    return e;
}

enum vrs_err rotation_begin_all(struct partition *registry, unsigned order, const char *by) {
    struct rotation_all all;
    enum vrs_err e = rotation_all_get(registry, &all);
    if (e == VRS_OK && all.order != 0)
        return all.order == order ? VRS_OK : ERR_IN_PROGRESS;
    all = (struct rotation_all){.order = order, .begun_ms = clock_now_ms()};
    (void)snprintf(all.by, sizeof all.by, "%s", by);
    return e == VRS_OK ? rotation_all_put(registry, &all) : e;
}

/* ---- shown */

static json_t *show_one(const struct rotation *r, const char *area) {
    char begun[25], ended[25] = "";
    clock_format_rfc3339(r->begun_ms, begun);
    if (r->phase == ROTATE_DONE)
        clock_format_rfc3339(r->ended_ms, ended);
    uint64_t done = r->phase >= ROTATE_CLEAN || r->done > r->total ? r->total : r->done;
    return json_pack("{s:s,s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:s,s:s*}", "area", area, "what",
                     r->what == ROTATE_DATA ? "data" : "index", "phase",
                     rotate_phase_name(r->phase), "from_key_id", (json_int_t)r->from_key,
                     "to_key_id", (json_int_t)r->to_key, "rows_done", (json_int_t)done,
                     "rows_total", (json_int_t)r->total, "rows_changed", (json_int_t)r->changed,
                     "begun_at", begun, "ended_at", ended[0] != '\0' ? ended : NULL);
}

json_t *rotation_show(struct server *s, unsigned worker, struct partition *p, bool *under_way) {
    struct number_rotation n;
    json_t *list = json_array();
    const char *code = partition_code(p);
    enum vrs_err e = numbers(s, worker, code, "status", "", &n);
    for (int i = 0; i < KINDS; i++) {
        struct rotation r;
        if (rotate_get(p, kinds[i].rotate, kinds[i].key_area, &r) != VRS_OK)
            continue;
        *under_way |= open_rotation(&r);
        (void)json_array_append_new(list, show_one(&r, kinds[i].area));
    }
    uint64_t left = keyring_under_previous(s->keys, code) + n.keys_under_previous_kek;
    *under_way |= left > 0;
    return json_pack("{s:o,s:I,s:s}", "rotations", list, "keys_under_previous_kek",
                     (json_int_t)left, "number_state", err_name(e));
}

struct left {
    struct keyring *keys;
    uint64_t keys_left;
    json_int_t municipalities;
};

static void count_left(const char *code, void *arg) {
    struct left *left = arg;
    left->keys_left += keyring_under_previous(left->keys, code);
    left->municipalities++;
}

json_t *rotation_show_all(struct server *s, struct partition *registry, bool *under_way) {
    struct rotation_all all;
    struct left left = {.keys = s->keys};
    char begun[25] = "", ended[25] = "";
    if (rotation_all_get(registry, &all) != VRS_OK)
        return NULL;
    keyring_each(s->keys, count_left, &left);
    if (all.begun_ms != 0)
        clock_format_rfc3339(all.begun_ms, begun);
    if (all.ended_ms != 0)
        clock_format_rfc3339(all.ended_ms, ended);
    size_t waiting = rotations_waiting(s->rotations);
    *under_way |= all.order != 0 || left.keys_left > 0 || waiting > 0;
    return json_pack("{s:I,s:I,s:I,s:b,s:s,s:s*,s:s*}", "municipalities", left.municipalities,
                     "waiting", (json_int_t)waiting, "keys_under_previous_kek",
                     (json_int_t)left.keys_left, "all_ordered", (int)(all.order != 0), "done_up_to",
                     all.after, "begun_at", begun[0] != '\0' ? begun : NULL, "ended_at",
                     ended[0] != '\0' ? ended : NULL);
}
