#include "vrs-server/setting.h"

#include <string.h>

#include "partitions/fields.h"

static const struct {
    const char *name, *label;
    int64_t standard, lowest, highest;
} list[SETTING_COUNT] = {
#define X(sym, text, def, low, high, japanese) [sym] = {text, japanese, def, low, high},
    SETTINGS(X)
#undef X
};

/* One row a setting that was ever changed, found by its name. */
struct kept {
    char name[64];
    int64_t value;
};

static const struct field members[] = {
    FIELD(1, FIELD_TEXT, struct kept, name),
    FIELD(2, FIELD_I64, struct kept, value),
    {0},
};

const char *setting_name(enum setting s) {
    return list[s].name;
}

const char *setting_label(enum setting s) {
    return list[s].label;
}

void setting_bounds(enum setting s, int64_t *standard, int64_t *lowest, int64_t *highest) {
    *standard = list[s].standard;
    *lowest = list[s].lowest;
    *highest = list[s].highest;
}

bool setting_by_name(const char *name, enum setting *out) {
    for (int s = 0; s < SETTING_COUNT; s++) {
        if (strcmp(list[s].name, name) == 0) {
            *out = (enum setting)s;
            return true;
        }
    }
    return false;
}

struct found {
    struct record_id id;
    uint64_t version; /* 0: never set */
    uint32_t generation;
    struct kept kept;
};

static enum vrs_err take(struct record *r, void *arg) {
    struct found *f = arg;
    f->id = r->id;
    f->version = r->version;
    f->generation = r->generation;
    return fields_decode(members, &r->text, &f->kept);
}

static enum vrs_err find(struct partition *p, enum setting s, struct store_index *index,
                         struct found *out) {
    memset(out, 0, sizeof *out);
    memcpy(out->kept.name, list[s].name, strlen(list[s].name));
    out->kept.value = list[s].standard;
    enum vrs_err e = partition_blind(p, "setting", list[s].name, strlen(list[s].name), index);
    return e == VRS_OK ? record_find(p, TABLE_SETTING, 0, index, take, out) : e;
}

enum vrs_err setting_get(struct partition *p, enum setting s, int64_t *out) {
    struct store_index index;
    struct found f;
    enum vrs_err e = find(p, s, &index, &f);
    *out = f.kept.value;
    return e;
}

/* Retention below the legal floor of five years does not exist; 0 switches it off. */
static bool in_bounds(enum setting s, int64_t value) {
    if (s == SETTING_RETENTION_YEARS && value >= 1 && value <= 4)
        return false;
    return value >= list[s].lowest && value <= list[s].highest;
}

enum vrs_err setting_put(struct partition *p, enum setting s, int64_t value) {
    struct store_index index;
    struct found f;
    if (!in_bounds(s, value))
        return ERR_BAD_FIELD;
    enum vrs_err e = find(p, s, &index, &f);
    if (e != VRS_OK)
        return e;
    struct record r;
    record_init(&r);
    r.index[0] = index;
    f.kept.value = value;
    fields_encode(members, &f.kept, &r.text);
    if (f.version == 0) {
        record_id_new(&r.id);
        e = record_insert(p, TABLE_SETTING, &r);
    } else {
        r.id = f.id;
        r.version = f.version;
        r.generation = f.generation;
        e = record_update(p, TABLE_SETTING, &r);
    }
    record_fini(&r);
    return e;
}

enum vrs_err settings_version(struct partition *p, uint64_t *out) {
    enum vrs_err e = VRS_OK;
    *out = 1;
    for (int s = 0; s < SETTING_COUNT && e == VRS_OK; s++) {
        struct store_index index;
        struct found f;
        e = find(p, (enum setting)s, &index, &f);
        *out += f.version;
    }
    return e;
}
