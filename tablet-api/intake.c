#include "tablet-api/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/text.h"

static enum vrs_err refuse(struct intake_refusal *no, enum vrs_err e, const char *field) {
    return err_fail(&no->fault, e, "%s", field);
}

bool intake_key(const char *text, char out[INTAKE_KEY_SIZE]) {
    if (text == NULL || strlen(text) != INTAKE_KEY_SIZE - 1)
        return false;
    for (size_t i = 0; i < INTAKE_KEY_SIZE - 1; i++) {
        char c = text[i];
        if (i == 8 || i == 13 || i == 18 || i == 23) {
            if (c != '-')
                return false;
        } else if (c >= 'A' && c <= 'F') {
            c = (char)(c - 'A' + 'a');
        } else if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
            return false;
        }
        out[i] = c;
    }
    out[INTAKE_KEY_SIZE - 1] = '\0';
    return true;
}

void intake_key_hash(const char *key, const char *terminal, uint8_t out[CRYPTO_HASH_BYTES]) {
    char text[128];
    int n = snprintf(text, sizeof text, "%s\n%.80s", key, terminal);
    crypto_sha256(text, (size_t)n, out);
}

static void mac(const char *key, uint8_t kind, struct buffer *b, uint8_t out[CRYPTO_HASH_BYTES]) {
    (void)buffer_put(b, &kind, 1);
    crypto_hmac_sha256(key, strlen(key), b->data, b->len, out);
    buffer_fini(b);
}

void intake_dose_mac(const char *key, const struct line_dose *d, uint8_t out[CRYPTO_HASH_BYTES]) {
    struct line_dose content = *d;
    struct buffer b;
    content.staff[0] = '\0';
    content.clock_warning = false;
    buffer_init(&b, 4096);
    line_dose_encode(&content, &b);
    mac(key, LINE_DOSE, &b, out);
}

void intake_cancel_mac(const char *key, const struct line_cancel *c,
                       uint8_t out[CRYPTO_HASH_BYTES]) {
    struct line_cancel content = *c;
    struct buffer b;
    content.staff[0] = '\0';
    buffer_init(&b, 4096);
    line_cancel_encode(&content, &b);
    mac(key, LINE_CANCEL, &b, out);
}

/* --- the coupon --- */

enum vrs_err intake_line(const struct intake_rules *rules, const char *text, struct coupon *out,
                         struct intake_refusal *no) {
    struct vrs_fault fault = {0};
    enum vrs_err e = line_parse(text, rules->municipalities, out, &fault);
    if (e == VRS_OK)
        return VRS_OK;
    no->repairable = true;
    no->candidates = repair_candidates(text, rules->municipalities, no->candidate);
    return refuse(no, e, "ocr_line");
}

/* A string of digits, or for 券種 and 回数 also a number. */
static const char *digits_of(const json_t *v, bool number_too, char room[16]) {
    if (json_is_string(v) && json_string_length(v) < 16)
        return json_string_value(v);
    if (number_too && json_is_integer(v) && json_integer_value(v) >= 0 &&
        json_integer_value(v) <= 9) {
        (void)snprintf(room, 16, "%d", (int)json_integer_value(v));
        return room;
    }
    return NULL;
}

/* The four parts typed one by one → the 18 digits. */
static enum vrs_err compose(json_t *parts, char out[64], struct intake_refusal *no) {
    static const struct {
        const char *name;
        bool number_too;
        size_t digits;
        enum vrs_err wrong;
    } want[] = {{"kind", true, 1, ERR_R106},
                {"dose_number", true, 1, ERR_R120},
                {"municipality_code", false, 6, ERR_R102},
                {"coupon_number", false, 10, ERR_R101}};
    const char *name;
    json_t *value;
    json_object_foreach(parts, name, value) {
        size_t i = 0;
        while (i < 4 && strcmp(want[i].name, name) != 0)
            i++;
        if (i == 4)
            return refuse(no, ERR_UNKNOWN_FIELD, "coupon");
    }
    out[0] = '\0';
    for (size_t i = 0; i < 4; i++) {
        char room[16];
        char plain[16];
        const json_t *v = json_object_get(parts, want[i].name);
        if (v == NULL)
            return refuse(no, ERR_MISSING_FIELD, want[i].name);
        const char *s = digits_of(v, want[i].number_too, room);
        if (s == NULL)
            return refuse(no, ERR_BAD_FIELD, want[i].name);
        line_normalise(s, plain, sizeof plain);
        if (strlen(plain) != want[i].digits || strspn(plain, "0123456789") != want[i].digits)
            return refuse(no, want[i].wrong, want[i].name);
        (void)strncat(out, plain, 16);
    }
    return VRS_OK;
}

static enum vrs_err read_coupon(const struct intake_rules *rules, const char *ocr_line,
                                json_t *parts, struct coupon *c, struct intake_refusal *no) {
    char composed[64];
    if (ocr_line == NULL && parts == NULL)
        return refuse(no, ERR_MISSING_FIELD, "ocr_line");
    if (ocr_line != NULL && parts != NULL)
        return refuse(no, ERR_BAD_FIELD, "coupon");
    if (ocr_line == NULL) {
        enum vrs_err e = compose(parts, composed, no);
        if (e != VRS_OK)
            return e;
        ocr_line = composed;
    }
    return intake_line(rules, ocr_line, c, no);
}

/* --- the terminal's clock --- */

/* IMF-fixdate (RFC 9110 5.6.7). */
static bool parse_date_header(const char *s, int64_t *utc_ms) {
    struct tm tm = {0};
    if (s == NULL || strlen(s) != 29)
        return false;
    const char *end = strptime(s, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    if (end == NULL || *end != '\0')
        return false;
    *utc_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

/* The Date header is the terminal's clock now; without one (a browser may not send it) only a
 * reading from the future gives a wrong clock away. */
static bool clock_wrong(const struct intake_rules *rules, const char *date_header,
                        int64_t read_at_ms) {
    int64_t theirs = 0;
    int64_t latest = rules->now_ms + rules->clock_tolerance_ms;
    if (parse_date_header(date_header, &theirs)) {
        if (theirs > latest || theirs < rules->now_ms - rules->clock_tolerance_ms)
            return true;
        return read_at_ms >= 0 && read_at_ms > theirs + rules->clock_tolerance_ms;
    }
    return read_at_ms >= 0 && read_at_ms > latest;
}

/* --- the reading --- */

struct raw {
    const char *ocr_line;
    json_t *coupon;
    const char *status;
    const char *vaccinated_on;
    const char *product;
    const char *lot;
    const char *site;
    const char *physician;
    const char *read_by;
    const char *read_at;
    const char *key;
};

static bool one_of(const char *s, const char *const *list) {
    for (; *list != NULL; list++) {
        if (strcmp(s, *list) == 0)
            return true;
    }
    return false;
}

static enum vrs_err copy_text(const char *from, char *to, size_t cap, const char *field,
                              struct intake_refusal *no) {
    if (strlen(from) >= cap || !text_printable(from))
        return refuse(no, ERR_R180, field);
    memcpy(to, from, strlen(from) + 1);
    return VRS_OK;
}

static bool blank(const char *lot) {
    struct buffer b;
    buffer_init(&b, 1024);
    text_fold_code(lot, &b);
    bool empty = b.len == 0;
    buffer_fini(&b);
    return empty;
}

static enum vrs_err check_date(const struct intake_rules *rules, const struct raw *raw,
                               struct line_dose *d, struct intake_refusal *no) {
    struct civil_date on;
    enum vrs_err e = clock_parse_date(raw->vaccinated_on, &on);
    if (e != VRS_OK)
        return refuse(no, e, "vaccinated_on");
    if (on.days > clock_date_jst(rules->now_ms).days)
        return refuse(no, ERR_R112, "vaccinated_on");
    clock_format_date(on, d->vaccinated_on);
    return VRS_OK;
}

/* A visit without a shot (not_given) names no product and no lot. */
static enum vrs_err check_vaccine(const struct intake_rules *rules, const struct raw *raw,
                                  struct line_dose *d, struct intake_refusal *no) {
    if (d->given || raw->product[0] != '\0') {
        if (vaccine_find(rules->vaccines, raw->product) == NULL ||
            strlen(raw->product) >= sizeof d->product)
            return refuse(no, ERR_R132, "product");
    }
    if (d->given && blank(raw->lot))
        return refuse(no, ERR_R130, "lot");
    enum vrs_err e = copy_text(raw->product, d->product, sizeof d->product, "product", no);
    return e != VRS_OK ? e : copy_text(raw->lot, d->lot, sizeof d->lot, "lot", no);
}

static enum vrs_err check_all(const struct intake_rules *rules, const struct raw *raw,
                              const char *date_header, struct intake *out,
                              struct intake_refusal *no) {
    static const char *const readers[] = {"ocr", "qr", "nw7", "manual", "punch", NULL};
    struct line_dose *d = &out->dose;
    struct coupon c;
    enum vrs_err e = read_coupon(rules, raw->ocr_line, raw->coupon, &c, no);
    if (e != VRS_OK)
        return e;
    coupon_format(&c, d->ocr_line);
    memcpy(out->municipality, c.municipality.digits, sizeof out->municipality);
    if (strcmp(raw->status, "given") != 0 && strcmp(raw->status, "not_given") != 0)
        return refuse(no, ERR_BAD_FIELD, "status");
    d->given = raw->status[0] == 'g';
    if (d->given && c.kind == COUPON_EXAMINED_ONLY)
        return refuse(no, ERR_R107, "status");
    e = check_date(rules, raw, d, no);
    if (e == VRS_OK)
        e = check_vaccine(rules, raw, d, no);
    if (e == VRS_OK)
        e = copy_text(raw->site, d->site, sizeof d->site, "site", no);
    if (e == VRS_OK && d->site[0] == '\0')
        e = refuse(no, ERR_R181, "site");
    if (e == VRS_OK)
        e = copy_text(raw->physician, d->physician, sizeof d->physician, "physician", no);
    if (e != VRS_OK)
        return e;
    if (!one_of(raw->read_by, readers))
        return refuse(no, ERR_BAD_FIELD, "read_by");
    memcpy(d->read_by, raw->read_by, strlen(raw->read_by) + 1);
    d->read_at_ms = -1;
    if (raw->read_at != NULL && !clock_parse_rfc3339(raw->read_at, &d->read_at_ms))
        return refuse(no, ERR_BAD_FIELD, "read_at");
    d->clock_warning = clock_wrong(rules, date_header, d->read_at_ms);
    return VRS_OK;
}

enum vrs_err intake_read(const struct intake_rules *rules, const void *body, size_t len, bool batch,
                         const char *date_header, struct intake *out, struct intake_refusal *no) {
    struct raw raw = {.product = "", .lot = "", .physician = ""};
    json_t *doc = NULL;
    const struct json_field fields[] = {
        JF_STR("ocr_line", false, 200, &raw.ocr_line),
        JF_OBJECT("coupon", false, &raw.coupon),
        JF_STR("status", true, 16, &raw.status),
        JF_STR("vaccinated_on", true, 16, &raw.vaccinated_on),
        JF_STR("product", false, 200, &raw.product),
        JF_STR("lot", false, 200, &raw.lot),
        JF_STR("site", true, 1000, &raw.site),
        JF_STR("physician", false, 1000, &raw.physician),
        JF_STR("read_by", true, 16, &raw.read_by),
        JF_STR("read_at", false, 40, &raw.read_at),
        batch ? (struct json_field)JF_STR("idempotency_key", true, 64, &raw.key)
              : (struct json_field)JF_BOOL("confirmed_again", false, &out->confirmed_again),
        JF_END};
    memset(out, 0, sizeof *out);
    memset(no, 0, sizeof *no);
    enum vrs_err e = json_parse(body, len, &doc, &no->fault);
    if (e == VRS_OK)
        e = json_read(doc, fields, &no->fault);
    if (e == VRS_OK && batch && !intake_key(raw.key, out->key))
        e = refuse(no, ERR_NO_IDEMPOTENCY_KEY, "idempotency_key");
    if (e == VRS_OK)
        e = check_all(rules, &raw, date_header, out, no);
    json_decref(doc);
    return e;
}

json_t *intake_extra(const struct intake_refusal *no) {
    json_t *extra = NULL;
    enum vrs_err e = no->fault.err;
    bool no_field = e == ERR_BAD_JSON || e == ERR_TOO_DEEP || e == ERR_BAD_REQUEST;
    if (!no_field && no->fault.text[0] != '\0')
        extra = json_pack("{s:s}", "field", no->fault.text);
    if (!no->repairable)
        return extra;
    json_t *list = json_array();
    for (size_t i = 0; i < no->candidates; i++)
        (void)json_array_append_new(list, json_pack("{s:s, s:i}", "ocr_line", no->candidate[i].line,
                                                    "changes", no->candidate[i].changes));
    if (extra == NULL)
        extra = json_object();
    (void)json_object_set_new(extra, "candidates", list);
    return extra;
}
