#include "ocr-ingest/vaccine.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/json.h"
#include "lib/text.h"

enum {
    VACCINE_FILE_MAX = 1 << 20,
    PRODUCTS_MAX = 200,
    ALIASES_MAX = 16,
    ROWS_MAX = 64,
    CODE_MAX = 128 /* bytes of a folded lot or maker */
};

struct age_row {
    struct civil_date from, to;
    int min_years, max_years, min_months;
};

struct interval_row {
    struct civil_date from, to;
    int dose_from, dose_to, min_days;
};

struct lot_row {
    const char *prefix;
    size_t length;
};

/* `v` first: a struct vaccine handed out is the beginning of its product. */
struct product {
    struct vaccine v;
    bool default_for_maker;
    const char *alias[ALIASES_MAX];
    size_t aliases;
    struct age_row *age;
    size_t ages;
    struct interval_row *interval;
    size_t intervals;
    struct lot_row *lot;
    size_t lots;
};

struct vaccine_list {
    json_t *doc; /* owns every string */
    struct product *product;
    size_t count;
    struct buffer text;
};

static const struct product *product_of(const struct vaccine *v) {
    return (const struct product *)(const void *)v;
}

static bool parse_day(const char *s, struct civil_date *out) {
    return s != NULL && clock_parse_date(s, out) == VRS_OK;
}

/* "from" and "to" of a row, both inclusive; a null "to" is for ever. */
static bool read_days(const json_t *row, struct civil_date *from, struct civil_date *to) {
    const json_t *end = json_object_get(row, "to");
    if (!parse_day(json_string_value(json_object_get(row, "from")), from)) {
        return false;
    }
    if (end == NULL || json_is_null(end)) {
        to->days = INT32_MAX;
        return true;
    }
    return parse_day(json_string_value(end), to) && from->days <= to->days;
}

/* A small integer; null or absent gives `missing`. */
static bool read_int(const json_t *row, const char *name, int missing, int max, int *out) {
    const json_t *v = json_object_get(row, name);
    if (v == NULL || json_is_null(v)) {
        *out = missing;
        return true;
    }
    json_int_t n = json_integer_value(v);
    if (!json_is_integer(v) || n < 0 || n > max) {
        return false;
    }
    *out = (int)n;
    return true;
}

static bool read_ages(const json_t *rows, struct product *p) {
    size_t n = json_array_size(rows);
    if (n > ROWS_MAX || (n > 0 && (p->age = calloc(n, sizeof *p->age)) == NULL)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct age_row *a = &p->age[i];
        const json_t *row = json_array_get(rows, i);
        if (!read_days(row, &a->from, &a->to) ||
            !read_int(row, "min_years", -1, 150, &a->min_years) ||
            !read_int(row, "max_years", -1, 150, &a->max_years) ||
            !read_int(row, "min_months", -1, 36, &a->min_months)) {
            return false;
        }
        p->ages++;
    }
    return true;
}

static bool read_intervals(const json_t *rows, struct product *p) {
    size_t n = json_array_size(rows);
    if (n > ROWS_MAX || (n > 0 && (p->interval = calloc(n, sizeof *p->interval)) == NULL)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        struct interval_row *r = &p->interval[i];
        const json_t *row = json_array_get(rows, i);
        if (!read_days(row, &r->from, &r->to) || !read_int(row, "dose_from", 1, 9, &r->dose_from) ||
            !read_int(row, "dose_to", 9, 9, &r->dose_to) ||
            !read_int(row, "min_days", -1, 36500, &r->min_days) || r->dose_from > r->dose_to) {
            return false;
        }
        p->intervals++;
    }
    return true;
}

static bool read_lots(const json_t *rows, struct product *p) {
    size_t n = json_array_size(rows);
    if (n > ROWS_MAX || (n > 0 && (p->lot = calloc(n, sizeof *p->lot)) == NULL)) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *row = json_array_get(rows, i);
        const char *prefix = json_string_value(json_object_get(row, "prefix"));
        int length = 0;
        if (prefix == NULL || !read_int(row, "length", -1, CODE_MAX, &length) || length < 1) {
            return false;
        }
        p->lot[i] = (struct lot_row){.prefix = prefix, .length = (size_t)length};
        p->lots++;
    }
    return true;
}

static bool read_product(const json_t *obj, struct product *p) {
    p->v.id = json_string_value(json_object_get(obj, "id"));
    p->v.maker_ja = json_string_value(json_object_get(obj, "maker_ja"));
    p->v.name_ja = json_string_value(json_object_get(obj, "name_ja"));
    const char *licensed = json_string_value(json_object_get(obj, "licensed_from"));
    if (p->v.id == NULL || p->v.maker_ja == NULL || p->v.name_ja == NULL ||
        !parse_day(licensed, &p->v.licensed_from)) {
        return false;
    }
    p->default_for_maker = json_is_true(json_object_get(obj, "default_for_maker"));
    const json_t *aliases = json_object_get(obj, "maker_aliases");
    if (json_array_size(aliases) > ALIASES_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(aliases); i++) {
        p->alias[p->aliases] = json_string_value(json_array_get(aliases, i));
        if (p->alias[p->aliases++] == NULL) {
            return false;
        }
    }
    return read_ages(json_object_get(obj, "ages"), p) &&
           read_intervals(json_object_get(obj, "intervals"), p) &&
           read_lots(json_object_get(obj, "lots"), p);
}

static enum vrs_err read_file(const char *path, struct buffer *b, struct vrs_fault *fault) {
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        return err_fail(fault, ERR_CONFIG, "open %s", path);
    }
    char chunk[8192];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0 && buffer_put(b, chunk, n)) {
    }
    bool bad = ferror(f) != 0;
    (void)fclose(f);
    if (bad || b->failed) {
        return err_fail(fault, ERR_CONFIG, "read %s", path);
    }
    return VRS_OK;
}

enum vrs_err vaccine_list_open(const char *json_path, struct vaccine_list **out,
                               struct vrs_fault *fault) {
    struct buffer file;
    buffer_init(&file, VACCINE_FILE_MAX);
    enum vrs_err e;
    struct vaccine_list *l = calloc(1, sizeof *l);
    if (l == NULL) {
        e = err_fail(fault, ERR_MEMORY, "vaccines");
        goto out;
    }
    buffer_init(&l->text, VACCINE_FILE_MAX);
    e = read_file(json_path, &file, fault);
    if (e == VRS_OK) {
        e = json_parse(file.data, file.len, &l->doc, fault);
    }
    if (e != VRS_OK) {
        goto out;
    }
    const json_t *products = json_object_get(l->doc, "products");
    size_t n = json_array_size(products);
    if (n == 0 || n > PRODUCTS_MAX) {
        e = err_fail(fault, ERR_CONFIG, "%s: 1 to %d products needed", json_path, PRODUCTS_MAX);
        goto out;
    }
    l->product = calloc(n, sizeof *l->product);
    if (l->product == NULL) {
        e = err_fail(fault, ERR_MEMORY, "vaccines");
        goto out;
    }
    for (size_t i = 0; i < n; i++) {
        struct product *p = &l->product[l->count++];
        if (!read_product(json_array_get(products, i), p)) {
            e = err_fail(fault, ERR_CONFIG, "%s: product %zu (%s) is malformed", json_path, i + 1,
                         p->v.id != NULL ? p->v.id : "no id");
            goto out;
        }
        if (vaccine_find(l, p->v.id) != &p->v) {
            e = err_fail(fault, ERR_CONFIG, "%s: product %s twice", json_path, p->v.id);
            goto out;
        }
    }
    if (!json_write(&l->text, l->doc) || buffer_cstr(&l->text) == NULL) {
        e = err_fail(fault, ERR_MEMORY, "vaccines");
        goto out;
    }
    *out = l;
    l = NULL;
out:
    buffer_fini(&file);
    vaccine_list_close(&l);
    return e;
}

void vaccine_list_close(struct vaccine_list **l) {
    if (l == NULL || *l == NULL) {
        return;
    }
    for (size_t i = 0; (*l)->product != NULL && i < (*l)->count; i++) {
        free((*l)->product[i].age);
        free((*l)->product[i].interval);
        free((*l)->product[i].lot);
    }
    free((*l)->product);
    json_decref((*l)->doc);
    buffer_fini(&(*l)->text);
    free(*l);
    *l = NULL;
}

const struct vaccine *vaccine_find(const struct vaccine_list *l, const char *id) {
    for (size_t i = 0; i < l->count; i++) {
        if (strcmp(l->product[i].v.id, id) == 0) {
            return &l->product[i].v;
        }
    }
    return NULL;
}

/* Folded into out; false when it is longer than any code or maker may be. */
static bool fold(const char *s, char out[CODE_MAX]) {
    struct buffer b;
    buffer_init(&b, CODE_MAX - 1);
    text_fold_code(s, &b);
    bool ok = !b.failed;
    if (ok) {
        if (b.len > 0) {
            memcpy(out, b.data, b.len);
        }
        out[b.len] = '\0';
    }
    buffer_fini(&b);
    return ok;
}

static bool same_folded(const char *folded, const char *s) {
    char other[CODE_MAX];
    return s != NULL && fold(s, other) && strcmp(folded, other) == 0;
}

static bool made_by(const struct product *p, const char *folded) {
    if (same_folded(folded, p->v.maker_ja)) {
        return true;
    }
    for (size_t i = 0; i < p->aliases; i++) {
        if (same_folded(folded, p->alias[i])) {
            return true;
        }
    }
    return false;
}

const struct vaccine *vaccine_by_maker(const struct vaccine_list *l, const char *maker_ja) {
    const struct vaccine *exact = vaccine_find(l, maker_ja);
    char folded[CODE_MAX];
    if (exact != NULL || !fold(maker_ja, folded) || folded[0] == '\0') {
        return exact;
    }
    const struct vaccine *found = NULL;
    for (size_t i = 0; i < l->count; i++) {
        const struct product *p = &l->product[i];
        if (same_folded(folded, p->v.id) || same_folded(folded, p->v.name_ja)) {
            return &p->v;
        }
        if (p->default_for_maker && made_by(p, folded)) {
            if (found != NULL) {
                return NULL;
            }
            found = &p->v;
        }
    }
    return found;
}

bool vaccine_lot_plausible(const struct vaccine_list *l, const struct vaccine *v, const char *lot) {
    (void)l;
    const struct product *p = product_of(v);
    char folded[CODE_MAX];
    if (!fold(lot, folded) || folded[0] == '\0') {
        return false;
    }
    for (size_t i = 0; i < p->lots; i++) {
        if (strlen(folded) == p->lot[i].length && text_starts_with(folded, p->lot[i].prefix)) {
            return true;
        }
    }
    return p->lots == 0;
}

int vaccine_min_days(const struct vaccine_list *l, const struct vaccine *v, int dose_number,
                     struct civil_date on) {
    (void)l;
    const struct product *p = product_of(v);
    for (size_t i = 0; i < p->intervals; i++) {
        const struct interval_row *r = &p->interval[i];
        if (dose_number >= r->dose_from && dose_number <= r->dose_to && on.days >= r->from.days &&
            on.days <= r->to.days) {
            return r->min_days;
        }
    }
    return -1;
}

static const struct age_row *age_row(const struct vaccine *v, struct civil_date on) {
    const struct product *p = product_of(v);
    for (size_t i = 0; i < p->ages; i++) {
        if (on.days >= p->age[i].from.days && on.days <= p->age[i].to.days)
            return &p->age[i];
    }
    return NULL;
}

void vaccine_ages(const struct vaccine_list *l, const struct vaccine *v, struct civil_date on,
                  int *min_years, int *max_years) {
    (void)l;
    const struct age_row *a = age_row(v, on);
    *min_years = a != NULL ? a->min_years : -1;
    *max_years = a != NULL ? a->max_years : -1;
}

bool vaccine_too_young(const struct vaccine_list *l, const struct vaccine *v,
                       struct civil_date birth, struct civil_date on) {
    (void)l;
    const struct age_row *a = age_row(v, on);
    if (a == NULL)
        return false;
    return clock_age_years(birth, on) < a->min_years || clock_age_months(birth, on) < a->min_months;
}

const char *vaccine_list_json(const struct vaccine_list *l) {
    return (const char *)l->text.data;
}
