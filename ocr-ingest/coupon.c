#include "ocr-ingest/coupon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/csv.h"

enum { MUNICIPALITIES_MAX = 4096 };

static bool all_digits(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return false;
        }
    }
    return s[n] == '\0';
}

static bool exact_digits(const char *s, size_t n) {
    return s != NULL && strnlen(s, n + 1) == n && all_digits(s, n);
}

bool municipality_code_valid(const char *digits) {
    if (!exact_digits(digits, 6)) {
        return false;
    }
    int sum = 0;
    for (int i = 0; i < 5; i++) {
        sum += (digits[i] - '0') * (6 - i);
    }
    return (11 - sum % 11) % 10 == digits[5] - '0';
}

bool municipality_code_set(struct municipality_code *out, const char *digits) {
    if (!municipality_code_valid(digits)) {
        return false;
    }
    memcpy(out->digits, digits, sizeof out->digits);
    return true;
}

bool coupon_number_set(struct coupon_number *out, const char *digits) {
    if (!exact_digits(digits, 10)) {
        return false;
    }
    memcpy(out->digits, digits, sizeof out->digits);
    return true;
}

bool personal_number_valid(const char *digits) {
    static const int weights[11] = {6, 5, 4, 3, 2, 7, 6, 5, 4, 3, 2};
    if (!exact_digits(digits, 12) || strcmp(digits, "000000000000") == 0) {
        return false;
    }
    int sum = 0;
    for (size_t i = 0; i < 11; i++) {
        sum += (digits[i] - '0') * weights[i];
    }
    int r = sum % 11;
    return (r <= 1 ? 0 : 11 - r) == digits[11] - '0';
}

void coupon_format(const struct coupon *c, char out[19]) {
    out[0] = (char)('0' + (int)c->kind);
    out[1] = (char)('0' + c->dose_number);
    memcpy(out + 2, c->municipality.digits, 6);
    memcpy(out + 8, c->number.digits, 10);
    out[18] = '\0';
}

struct municipality_list {
    struct municipality *items;
    size_t count;
    size_t cap;
    struct vrs_fault *fault; /* while reading */
};

static bool set_text(char *out, size_t cap, const char *s) {
    size_t n = strlen(s);
    if (n == 0 || n >= cap) {
        return false;
    }
    memcpy(out, s, n + 1);
    return true;
}

static enum vrs_err add_row(const struct csv_row *row, void *arg) {
    struct municipality_list *l = arg;
    if (row->cells < 4) {
        return err_fail(l->fault, ERR_F005, "municipalities, row %llu: four columns needed",
                        (unsigned long long)row->number);
    }
    if (row->number == 1) {
        if (strcmp(row->cell[0], "code") != 0) {
            return err_fail(l->fault, ERR_F006, "municipalities: the first column must be code");
        }
        return VRS_OK;
    }
    if (l->count == MUNICIPALITIES_MAX) {
        return err_fail(l->fault, ERR_F008, "municipalities: more than %d", MUNICIPALITIES_MAX);
    }
    if (l->count == l->cap) {
        size_t cap = l->cap != 0 ? l->cap * 2 : 512;
        struct municipality *items = reallocarray(l->items, cap, sizeof *items);
        if (items == NULL) {
            return err_fail(l->fault, ERR_MEMORY, "municipalities");
        }
        l->items = items;
        l->cap = cap;
    }
    struct municipality *m = &l->items[l->count];
    memset(m, 0, sizeof *m);
    if (!municipality_code_set(&m->code, row->cell[0])) {
        return err_fail(l->fault, ERR_R102, "municipalities, row %llu: check digit",
                        (unsigned long long)row->number);
    }
    if (!set_text(m->prefecture, sizeof m->prefecture, row->cell[1]) ||
        !set_text(m->name, sizeof m->name, row->cell[2]) ||
        !set_text(m->kana, sizeof m->kana, row->cell[3])) {
        return err_fail(l->fault, ERR_R180, "municipalities, row %llu: a name is empty or too long",
                        (unsigned long long)row->number);
    }
    l->count++;
    return VRS_OK;
}

static int by_code(const void *a, const void *b) {
    const struct municipality *x = a;
    const struct municipality *y = b;
    return strcmp(x->code.digits, y->code.digits);
}

static int code_to_item(const void *key, const void *item) {
    const struct municipality *m = item;
    return strcmp(key, m->code.digits);
}

enum vrs_err municipality_list_open(const char *csv_path, struct municipality_list **out,
                                    struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    FILE *f = NULL;
    struct csv_reader *reader = NULL;
    struct municipality_list *l = calloc(1, sizeof *l);
    if (l == NULL) {
        return err_fail(fault, ERR_MEMORY, "municipalities");
    }
    l->fault = fault;
    f = fopen(csv_path, "re");
    if (f == NULL) {
        e = err_fail(fault, ERR_CONFIG, "open %s", csv_path);
        goto out;
    }
    reader = csv_reader_open(add_row, l);
    if (reader == NULL) {
        e = err_fail(fault, ERR_MEMORY, "municipalities");
        goto out;
    }
    char chunk[16384];
    size_t n;
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        e = csv_feed(reader, chunk, n);
        if (e != VRS_OK) {
            goto out;
        }
    }
    if (ferror(f)) {
        e = err_fail(fault, ERR_IO, "read %s", csv_path);
        goto out;
    }
    e = csv_end(reader);
    if (e != VRS_OK) {
        goto out;
    }
    if (l->count == 0) {
        e = err_fail(fault, ERR_F004, "%s holds no municipality", csv_path);
        goto out;
    }
    qsort(l->items, l->count, sizeof *l->items, by_code);
    for (size_t i = 1; i < l->count; i++) {
        if (by_code(&l->items[i - 1], &l->items[i]) == 0) {
            e = err_fail(fault, ERR_R140, "%s: code %s twice", csv_path, l->items[i].code.digits);
            goto out;
        }
    }
    l->fault = NULL;
    *out = l;
    l = NULL;
out:
    csv_reader_close(&reader);
    if (f != NULL) {
        (void)fclose(f);
    }
    municipality_list_close(&l);
    return e;
}

void municipality_list_close(struct municipality_list **l) {
    if (l != NULL && *l != NULL) {
        free((*l)->items);
        free(*l);
        *l = NULL;
    }
}

size_t municipality_count(const struct municipality_list *l) {
    return l->count;
}

const struct municipality *municipality_at(const struct municipality_list *l, size_t i) {
    return i < l->count ? &l->items[i] : NULL;
}

const struct municipality *municipality_find(const struct municipality_list *l, const char *code) {
    return bsearch(code, l->items, l->count, sizeof *l->items, code_to_item);
}
