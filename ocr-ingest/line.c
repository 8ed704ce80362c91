#include "ocr-ingest/line.h"

#include <stdint.h>
#include <string.h>

#include "lib/text.h"

static bool is_gap(uint32_t c) {
    return c <= 0x20 || c == 0x7f || c == '-' || c == 0xa0 || c == 0xad ||
           (c >= 0x2000 && c <= 0x2015) || c == 0x2028 || c == 0x2029 || c == 0x2212 ||
           c == 0x3000 || c == 0x30fc || c == 0xfeff || c == 0xff70;
}

/* A digit, an upper-case letter, or '?' for what is neither. */
static char plain(uint32_t c) {
    if ((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z')) {
        return (char)c;
    }
    if (c >= 'a' && c <= 'z') {
        return (char)(c - 'a' + 'A');
    }
    if (c == '|' || c == '!' || c == 0xa6) {
        return 'I';
    }
    return c == 0x3007 || c == 0x25cb ? 'O' : '?'; /* 〇 ○ */
}

static bool digits_only(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return false;
        }
    }
    return true;
}

void line_normalise(const char *text, char *out, size_t cap) {
    if (cap == 0) {
        return;
    }
    const char *p = text;
    const char *end = text + strlen(text);
    size_t n = 0;
    while (p < end && n + 1 < cap) {
        uint32_t c = text_decode(&p, end);
        if (c >= 0xff01 && c <= 0xff5e) {
            c = c - 0xff01 + 0x21;
        }
        if (!is_gap(c)) {
            out[n++] = plain(c);
        }
    }
    out[n] = '\0';
    /* Start and stop characters that an NW-7 scanner types around the digits. */
    if (n >= 3 && out[0] >= 'A' && out[0] <= 'D' && out[n - 1] >= 'A' && out[n - 1] <= 'D' &&
        digits_only(out + 1, n - 2)) {
        memmove(out, out + 1, n - 2);
        out[n - 2] = '\0';
    }
}

enum vrs_err line_parse(const char *text, const struct municipality_list *known, struct coupon *out,
                        struct vrs_fault *fault) {
    char s[64];
    line_normalise(text, s, sizeof s);
    size_t n = strlen(s);
    if (n != 18) {
        return err_fail(fault, ERR_R104, "%zu characters instead of 18 digits", n);
    }
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9') {
            return err_fail(fault, ERR_R104, "character %zu is not a digit", i + 1);
        }
    }
    if (s[0] != '1' && s[0] != '2') {
        return err_fail(fault, ERR_R106, "digit 1: kind of coupon");
    }
    if (s[1] == '0') {
        return err_fail(fault, ERR_R120, "digit 2: dose number");
    }
    char code[7];
    memcpy(code, s + 2, 6);
    code[6] = '\0';
    struct coupon c = {.kind = s[0] == '2' ? COUPON_VACCINATION : COUPON_EXAMINED_ONLY,
                       .dose_number = s[1] - '0'};
    if (!municipality_code_set(&c.municipality, code)) {
        return err_fail(fault, ERR_R102, "digits 3-8: municipality check digit");
    }
    if (known != NULL && municipality_find(known, code) == NULL) {
        return err_fail(fault, ERR_R105, "digits 3-8: no such municipality");
    }
    if (!coupon_number_set(&c.number, s + 8)) {
        return err_fail(fault, ERR_R101, "digits 9-18: coupon number");
    }
    *out = c;
    return VRS_OK;
}
