#include "tests/load/dose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/crypto.h"

struct coupon_row {
    char municipality[7];
    char number[11];
};

struct doses {
    const struct load_options *options;
    struct civil_date from;
    struct coupon_row *coupon;
    size_t coupons;
};

static enum vrs_err read_coupons(const char *path, struct doses *d, struct vrs_fault *fault) {
    FILE *f = fopen(path, "re");
    char row[128];
    size_t cap = 0;
    enum vrs_err e = VRS_OK;
    if (f == NULL)
        return err_fail(fault, ERR_CONFIG, "cannot open %s", path);
    while (e == VRS_OK && fgets(row, sizeof row, f) != NULL) {
        struct coupon_row c = {0};
        if (d->coupons == cap) {
            cap = cap == 0 ? 4096 : 2 * cap;
            struct coupon_row *grown = realloc(d->coupon, cap * sizeof *grown);
            if (grown == NULL) {
                e = err_fail(fault, ERR_MEMORY, "coupons");
                break;
            }
            d->coupon = grown;
        }
        if (sscanf(row, "%6[0-9] %10[0-9]", c.municipality, c.number) != 2 ||
            strlen(c.municipality) != 6 || strlen(c.number) != 10)
            e = err_fail(fault, ERR_CONFIG, "%s: row %zu is no coupon", path, d->coupons + 1);
        else
            d->coupon[d->coupons++] = c;
    }
    (void)fclose(f);
    if (e == VRS_OK && d->coupons == 0)
        e = err_fail(fault, ERR_CONFIG, "%s holds no coupon", path);
    return e;
}

enum vrs_err doses_open(const struct load_options *o, struct doses **out, struct vrs_fault *fault) {
    struct doses *d = calloc(1, sizeof *d);
    *out = d;
    if (d == NULL)
        return err_fail(fault, ERR_MEMORY, "doses");
    d->options = o;
    enum vrs_err e = clock_parse_date(o->from, &d->from);
    if (e == VRS_OK)
        e = read_coupons(o->coupons, d, fault);
    if (e != VRS_OK)
        doses_close(out);
    return e;
}

void doses_close(struct doses **d) {
    if (*d == NULL)
        return;
    free((*d)->coupon);
    free(*d);
    *d = NULL;
}

uint64_t doses_count(const struct doses *d) {
    return d->coupons * (d->options->dose_last - d->options->dose_first + 1);
}

bool doses_same_town(const struct doses *d, uint64_t a, uint64_t b) {
    return strcmp(d->coupon[a % d->coupons].municipality, d->coupon[b % d->coupons].municipality) ==
           0;
}

void doses_line(const struct doses *d, uint64_t n, char out[19]) {
    const struct coupon_row *c = &d->coupon[n % d->coupons];
    unsigned turn = (unsigned)(d->options->dose_first + n / d->coupons);
    (void)snprintf(out, 19, "2%u%s%s", turn % 10, c->municipality, c->number);
}

void doses_day(const struct doses *d, uint64_t n, char out[11]) {
    const struct load_options *o = d->options;
    uint64_t turn = o->dose_first + n / d->coupons;
    const struct civil_date on = {
        .days = d->from.days + (int32_t)(n % d->coupons % o->days + (turn - 1) * o->interval_days)};
    clock_format_date(on, out);
}

void doses_write(const struct doses *d, uint64_t n, const char *key, struct buffer *out) {
    const struct load_options *o = d->options;
    char line[19], day[11];
    doses_line(d, n, line);
    doses_day(d, n, day);
    (void)buffer_printf(out,
                        "{\"ocr_line\":\"%s\",\"status\":\"given\",\"vaccinated_on\":\"%s\","
                        "\"product\":\"%s\",\"lot\":\"%s\",\"site\":\"%s\",\"read_by\":\"ocr\"",
                        line, day, o->product, o->lot, o->site);
    if (key != NULL)
        (void)buffer_printf(out, ",\"idempotency_key\":\"%s\"", key);
    (void)buffer_puts(out, key != NULL ? "}\n" : "}");
}

void doses_new_key(char out[37]) {
    uint8_t b[16];
    char hex[33];
    crypto_random(b, sizeof b);
    b[6] = (uint8_t)((b[6] & 0x0F) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3F) | 0x80);
    crypto_hex(b, sizeof b, hex);
    (void)snprintf(out, 37, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}
