/* POST /v1/doses:mend: what one terminal (or one lot) sent in a span of time, mended in one act that a
 * person has seen before: a tablet that misread all afternoon, a lot that was wrong all morning.
 *
 *   dry_run true   → the doses with before and after, and a digest of all of it: the preview
 *   dry_run false  → the same again; only when the digest is still the one that was seen, every dose
 *                    gets its new version, in one transaction with one log entry that names all
 *
 * Nothing is overwritten (claim.h); what is done to each is what a correction or a cancellation of
 * it alone would be, but that a review stays one: nobody has looked at it by itself. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/arena.h"
#include "lib/clock.h"
#include "lib/text.h"
#include "partitions/tally.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/doses.h"
#include "vrs-server/handlers.h"
#include "vrs-server/views.h"

enum {
    MEND_MAX = 2000,    /* doses of one act */
    SCAN_MAX = 1000000, /* doses looked at: all that came since the day before the span */
    PAGE = 1000,
    REASON_MAX = 500,
    SPAN_DAYS = 7,
    UUID_CHARS = 36
};
#define DAY_MS INT64_C(86400000)

struct mending {
    /* what is asked */
    const char *terminal, *lot_is; /* NULL: any */
    char lot_folded[256];
    int64_t from_ms, to_ms;
    const char *lot, *product, *day; /* the change: one of these, or cancel */
    struct civil_date on;
    bool cancel, dry_run;
    const char *preview, *reason;
    /* what was found */
    struct claim *claim;
    size_t count;
    uint64_t scanned, last_order;
};

static void fold(const char *lot, char *out, size_t cap) {
    struct buffer b;
    buffer_init(&b, 1024);
    text_fold_code(lot, &b);
    const char *s = buffer_cstr(&b);
    (void)snprintf(out, cap, "%s", s != NULL ? s : "");
    buffer_fini(&b);
}

/* --- the question --- */

static enum vrs_err read_span(struct mending *m, const char *from, const char *to) {
    if (!clock_parse_rfc3339(from, &m->from_ms) || !clock_parse_rfc3339(to, &m->to_ms) ||
        m->from_ms >= m->to_ms || m->to_ms - m->from_ms > SPAN_DAYS * DAY_MS)
        return ERR_BAD_FIELD;
    return VRS_OK;
}

static enum vrs_err read_change(struct inside_request *in, struct mending *m, json_t *change) {
    const struct json_field fields[] = {
        JF_STR("lot", false, 60, &m->lot), JF_STR("product", false, 39, &m->product),
        JF_STR("vaccinated_on", false, 10, &m->day), JF_BOOL("cancel", false, &m->cancel), JF_END};
    struct vrs_fault fault = {0};
    enum vrs_err e = json_read(change, fields, &fault);
    if (e != VRS_OK)
        return e;
    if ((m->lot != NULL) + (m->product != NULL) + (m->day != NULL) + m->cancel != 1)
        return ERR_BAD_FIELD;
    if (m->lot != NULL && m->lot[strspn(m->lot, " ")] == '\0')
        return ERR_R130;
    if (m->product != NULL && vaccine_find(in->server->vaccines, m->product) == NULL)
        return ERR_R132;
    if (m->day != NULL)
        e = clock_parse_date(m->day, &m->on);
    return e == VRS_OK && m->day != NULL && m->on.days > clock_today_jst().days ? ERR_R112 : e;
}

static enum vrs_err read_question(struct inside_request *in, struct mending *m) {
    const char *from = NULL, *to = NULL;
    json_t *change = NULL;
    const struct json_field fields[] = {JF_STR("terminal", false, 63, &m->terminal),
                                        JF_STR("lot", false, 60, &m->lot_is),
                                        JF_STR("from", true, 40, &from),
                                        JF_STR("to", true, 40, &to),
                                        JF_OBJECT("change", true, &change),
                                        JF_BOOL("dry_run", true, &m->dry_run),
                                        JF_STR("preview", false, 64, &m->preview),
                                        JF_STR("reason", false, REASON_MAX, &m->reason),
                                        JF_END};
    enum vrs_err e = inside_read(in, fields);
    if (e == VRS_OK && m->terminal == NULL && m->lot_is == NULL)
        e = ERR_MISSING_FIELD;
    if (e == VRS_OK)
        e = read_span(m, from, to);
    if (e == VRS_OK)
        e = read_change(in, m, change);
    if (e == VRS_OK && !m->dry_run && m->preview == NULL)
        e = ERR_MISSING_FIELD;
    if (e == VRS_OK && !m->dry_run &&
        (m->reason == NULL || m->reason[strspn(m->reason, " ")] == '\0'))
        e = ERR_REASON_REQUIRED;
    if (m->lot_is != NULL)
        fold(m->lot_is, m->lot_folded, sizeof m->lot_folded);
    return e;
}

/* --- the doses --- */

/* Would the change make it another? */
static bool changes(const struct mending *m, const struct claim *c) {
    if (m->cancel)
        return true;
    if (m->day != NULL)
        return c->vaccinated_on.days != m->on.days;
    if (!c->given) /* a visit has no product and no lot */
        return false;
    return m->lot != NULL ? strcmp(c->lot, m->lot) != 0 : strcmp(c->product, m->product) != 0;
}

static enum vrs_err see_claim(struct claim *c, void *arg) {
    struct mending *m = arg;
    char folded[256];
    m->last_order = c->order;
    if (++m->scanned > SCAN_MAX)
        return ERR_TOO_LARGE;
    if (c->registered_ms < m->from_ms || c->registered_ms >= m->to_ms ||
        (m->terminal != NULL && strcmp(c->terminal, m->terminal) != 0) || !changes(m, c))
        return VRS_OK;
    if (m->lot_is != NULL) {
        fold(c->lot, folded, sizeof folded);
        if (strcmp(folded, m->lot_folded) != 0)
            return VRS_OK;
    }
    if (m->count == MEND_MAX)
        return ERR_TOO_LARGE;
    m->claim[m->count++] = *c;
    return VRS_OK;
}

/* A reading is received before it is stored, so nothing before the span's beginning needs a look.  A
 * day in hand: for the clocks of both sides, and for steps that ours took back. */
static enum vrs_err find_claims(struct partition *p, struct mending *m) {
    static const enum claim_state states[] = {CLAIM_RECORDED, CLAIM_REVIEW, CLAIM_WAITING,
                                              CLAIM_CONFLICT, CLAIM_VISIT};
    uint64_t begin;
    enum vrs_err e = claim_order_before(p, m->from_ms - DAY_MS, &begin);
    for (size_t i = 0; i < sizeof states / sizeof states[0] && e == VRS_OK; i++) {
        uint64_t before = 0, seen = 0;
        m->last_order = begin;
        do {
            before = m->scanned;
            e = claims_in_state(p, states[i], m->last_order, PAGE, see_claim, m);
            seen = m->scanned - before;
        } while (e == VRS_OK && seen == PAGE);
    }
    return e;
}

static void change(const struct mending *m, struct claim *c) {
    INSIDE_COPY(c->lot, m->lot);
    INSIDE_COPY(c->product, m->product);
    if (m->day != NULL)
        c->vaccinated_on = m->on;
    if (m->cancel) {
        c->outcome_unsent |= c->state == CLAIM_WAITING; /* its receipt becomes final */
        c->state = CLAIM_CANCELLED;
    }
}

/* --- the preview --- */

static const char *field_of(const struct mending *m) {
    return m->cancel            ? "state"
           : m->lot != NULL     ? "lot"
           : m->product != NULL ? "product"
                                : "vaccinated_on";
}

static const char *value_of(const struct mending *m, const struct claim *c, char day[11]) {
    if (m->cancel)
        return claim_state_name(c->state);
    if (m->lot != NULL)
        return c->lot;
    if (m->product != NULL)
        return c->product;
    clock_format_date(c->vaccinated_on, day);
    return day;
}

/* Over the change and every dose with its version: whatever is done to one of them in between, and
 * whichever comes or goes, makes another. */
static enum vrs_err digest(const struct mending *m, char out[2 * CRYPTO_HASH_BYTES + 1]) {
    uint8_t hash[CRYPTO_HASH_BYTES];
    struct crypto_digest *d = crypto_digest_open();
    if (d == NULL)
        return ERR_MEMORY;
    const char *words[] = {"doses:mend", m->terminal, m->lot_is, field_of(m),
                           m->lot,       m->product,  m->day};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        const char *w = words[i] != NULL ? words[i] : "";
        crypto_digest_add(d, w, strlen(w) + 1);
    }
    crypto_digest_add(d, &m->from_ms, sizeof m->from_ms);
    crypto_digest_add(d, &m->to_ms, sizeof m->to_ms);
    for (size_t i = 0; i < m->count; i++) {
        crypto_digest_add(d, &m->claim[i].id, sizeof m->claim[i].id);
        crypto_digest_add(d, &m->claim[i].version, sizeof m->claim[i].version);
    }
    crypto_digest_close(&d, hash);
    crypto_hex(hash, sizeof hash, out);
    return VRS_OK;
}

static json_t *view_row(const struct mending *m, const struct claim *c) {
    struct claim after = *c;
    char id[33], person[33], old_day[11], new_day[11];
    change(m, &after);
    record_id_format(&c->id, id);
    record_id_format(&c->person, person);
    json_t *o = json_pack(
        "{s:s, s:s?, s:s, s:i, s:s, s:s, s:o, s:{s:s}, s:{s:s}}", "dose_id", id, "resident_id",
        c->has_person ? person : NULL, "coupon_number", c->coupon.number.digits, "dose_number",
        c->coupon.dose_number, "state", claim_state_name(c->state), "terminal", c->terminal,
        "recorded_at", view_time(c->registered_ms), "before", field_of(m), value_of(m, c, old_day),
        "after", field_of(m), value_of(m, &after, new_day));
    claim_wipe(&after);
    return o;
}

static enum vrs_err answer(struct inside_request *in, const struct mending *m,
                           const char *preview) {
    json_t *list = json_array();
    for (size_t i = 0; i < m->count; i++) {
        json_t *row = view_row(m, &m->claim[i]);
        if (row == NULL || json_array_append_new(list, row) != 0) {
            json_decref(list);
            return ERR_MEMORY;
        }
    }
    return inside_json(in, json_pack("{s:b, s:i, s:s, s:o}", "dry_run", m->dry_run, "count",
                                     (int)m->count, "preview", preview, "doses", list));
}

/* --- the act --- */

static enum vrs_err mend_all(struct inside_request *in, struct partition *p,
                             const struct mending *m) {
    struct tally_batch *tally = tally_batch_open();
    enum vrs_err e = tally != NULL ? VRS_OK : ERR_MEMORY;
    for (size_t i = 0; i < m->count && e == VRS_OK; i++) {
        struct claim c = m->claim[i];
        apply_count(tally, &c, -1);
        change(m, &c);
        in->kick_line |= c.outcome_unsent;
        dose_changed(in, &c, m->reason);
        e = claim_update(p, &c);
        apply_count(tally, &c, 1);
        claim_wipe(&c);
    }
    if (e == VRS_OK)
        e = tally_batch_flush(tally, p);
    tally_batch_close(&tally);
    return e;
}

static int by_id(const void *a, const void *b) {
    return memcmp(a, b, sizeof(struct record_id));
}

/* One entry that is found under each person that it is about. */
static enum vrs_err log_all(struct inside_request *in, struct partition *p,
                            const struct mending *m) {
    char from[25], to[25], day[11], detail[1000];
    size_t n = 0, kept = 0;
    struct record_id *person = calloc(m->count + 1, sizeof *person);
    if (person == NULL)
        return ERR_MEMORY;
    for (size_t i = 0; i < m->count; i++) {
        if (m->claim[i].has_person)
            person[n++] = m->claim[i].person;
    }
    qsort(person, n, sizeof *person, by_id);
    for (size_t i = 0; i < n; i++) {
        if (kept == 0 || !record_id_equal(&person[kept - 1], &person[i]))
            person[kept++] = person[i];
    }
    if (m->day != NULL)
        clock_format_date(m->on, day);
    clock_format_rfc3339(m->from_ms, from);
    clock_format_rfc3339(m->to_ms, to);
    (void)snprintf(detail, sizeof detail,
                   "terminal=%.63s lot=%.60s from=%s to=%s; %s → %s; %s%.700s",
                   m->terminal != NULL ? m->terminal : "*", m->lot_is != NULL ? m->lot_is : "*",
                   from, to, field_of(m),
                   m->cancel            ? claim_state_name(CLAIM_CANCELLED)
                   : m->lot != NULL     ? m->lot
                   : m->product != NULL ? m->product
                                        : day,
                   m->dry_run ? "" : "理由: ", m->dry_run ? "" : m->reason);
    enum vrs_err e = inside_log(in, p, NULL, person, kept, m->count,
                                m->dry_run  ? "ok"
                                : m->cancel ? "cancelled"
                                            : "corrected",
                                detail);
    free(person);
    return e;
}

static enum vrs_err mend_run(struct inside_request *in, struct partition *p) {
    struct mending m = {0};
    char preview[2 * CRYPTO_HASH_BYTES + 1] = "";
    enum vrs_err e = read_question(in, &m);
    if (e == VRS_OK && (m.claim = calloc(MEND_MAX, sizeof *m.claim)) == NULL)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = find_claims(p, &m);
    if (e == ERR_TOO_LARGE)
        (void)snprintf(in->detail_ja, sizeof in->detail_ja,
                       "対象が多すぎます（一度に%d件まで）。端末や時間帯を狭めてください。",
                       MEND_MAX);
    if (e == VRS_OK)
        e = digest(&m, preview);
    if (e == VRS_OK && !m.dry_run && strcmp(preview, m.preview) != 0)
        e = ERR_PREVIEW_OLD;
    if (e == VRS_OK && !m.dry_run)
        e = mend_all(in, p, &m);
    if (e == VRS_OK)
        e = log_all(in, p, &m);
    if (e == VRS_OK)
        e = answer(in, &m, preview);
    for (size_t i = 0; i < m.count; i++)
        claim_wipe(&m.claim[i]);
    free(m.claim);
    return e;
}

void doses_mend(struct http_request *rq) {
    struct inside_request *in = inside_of(rq);
    bool dry_run = json_is_true(json_object_get(in->body, "dry_run"));
    const char *key = http_header(rq, "Idempotency-Key");
    in->act = dry_run ? "dose.mend_preview" : "dose.mend";
    if (!dry_run) { /* a preview changes nothing and needs none */
        in->idempotency_key =
            key != NULL && strlen(key) == UUID_CHARS ? arena_strdup(http_arena(rq), key) : NULL;
        if (in->idempotency_key == NULL) {
            inside_refuse(in, ERR_NO_IDEMPOTENCY_KEY);
            return;
        }
    }
    inside_run(in, mend_run);
}
