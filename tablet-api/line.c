/* Each struct on the line is a table of fields; one writer and one strict reader walk the tables.
 *
 * A message is a wire sequence whose first field names its type; a field that its type does not
 * have, a repeated single field and a missing required one are refused (ERR_PROTOCOL).  The
 * plaintexts of sealed entries are stored for months, so their readers skip fields that a later
 * version added (ERR_CORRUPT when they are malformed). */
#include "tablet-api/line.h"

#include <string.h>

#include "lib/wire.h"

enum field_type {
    FIELD_STR,    /* char[cap], may be empty */
    FIELD_DIGITS, /* char[cap], exactly cap - 1 ASCII digits */
    FIELD_FIXED,  /* uint8_t[cap] */
    FIELD_BLOB,   /* const uint8_t * at offset, size_t at `cap`; borrowed from the input */
    FIELD_U64,
    FIELD_I64,
    FIELD_BOOL,
    FIELD_ENUM /* an enum (unsigned int here), low..high */
};

struct field {
    uint8_t tag;
    enum field_type type;
    bool required;
    size_t offset;
    size_t cap;
    unsigned low, high;
};

_Static_assert(sizeof(enum line_outcome) == sizeof(unsigned), "FIELD_ENUM copies an unsigned");

#define MEMBER(s, m) offsetof(struct s, m), sizeof(((struct s *)0)->m)
#define END                                                                                        \
    { .tag = 0 }

static const struct field entry_fields[] = {
    {1, FIELD_U64, true, MEMBER(line_entry, seq), 0, 0},
    {2, FIELD_U64, true, MEMBER(line_entry, epoch), 0, 0},
    {3, FIELD_ENUM, true, MEMBER(line_entry, kind), LINE_DOSE, LINE_EVENT},
    {4, FIELD_FIXED, true, MEMBER(line_entry, receipt), 0, 0},
    {5, FIELD_DIGITS, true, MEMBER(line_entry, municipality), 0, 0},
    {6, FIELD_I64, true, MEMBER(line_entry, received_ms), 0, 0},
    {7, FIELD_BLOB, true, offsetof(struct line_entry, sealed),
     offsetof(struct line_entry, sealed_len), 0, 0},
    END};

static const struct field aad_fields[] = {
    {3, FIELD_ENUM, true, MEMBER(line_entry, kind), LINE_DOSE, LINE_EVENT},
    {4, FIELD_FIXED, true, MEMBER(line_entry, receipt), 0, 0},
    {5, FIELD_DIGITS, true, MEMBER(line_entry, municipality), 0, 0},
    {6, FIELD_I64, true, MEMBER(line_entry, received_ms), 0, 0},
    END};

static const struct field query_fields[] = {
    {1, FIELD_U64, true, MEMBER(line_query, id), 0, 0},
    {2, FIELD_DIGITS, true, MEMBER(line_query, municipality), 0, 0},
    {3, FIELD_STR, false, MEMBER(line_query, from), 0, 0},
    {4, FIELD_BLOB, true, offsetof(struct line_query, sealed),
     offsetof(struct line_query, sealed_len), 0, 0},
    {5, FIELD_ENUM, true, MEMBER(line_query, kind), LINE_QUERY_COUPON, LINE_QUERY_FILTER},
    END};

static const struct field query_aad_fields[] = {
    {2, FIELD_U64, true, MEMBER(line_query, id), 0, 0},
    {3, FIELD_STR, true, MEMBER(line_query, from), 0, 0},
    {5, FIELD_ENUM, true, MEMBER(line_query, kind), LINE_QUERY_COUPON, LINE_QUERY_FILTER},
    END};

static const struct field enrolment_fields[] = {
    {1, FIELD_STR, false, MEMBER(line_enrolment, code), 0, 0},
    {2, FIELD_STR, true, MEMBER(line_enrolment, request_pem), 0, 0},
    END};

static const struct field doctor_fields[] = {
    {1, FIELD_STR, true, MEMBER(line_doctor, text), 0, 0},
    {2, FIELD_STR, false, MEMBER(line_doctor, second), 0, 0},
    {3, FIELD_STR, false, MEMBER(line_doctor, confidence), 0, 0},
    {4, FIELD_STR, false, MEMBER(line_doctor, product), 0, 0},
    {5, FIELD_STR, false, MEMBER(line_doctor, vaccinated_on), 0, 0},
    END};

static const struct field pre_shot_fields[] = {
    {1, FIELD_DIGITS, true, MEMBER(line_pre_shot, ocr_line), 0, 0},
    {2, FIELD_STR, true, MEMBER(line_pre_shot, product), 0, 0},
    END};

static const struct field dose_fields[] = {
    {1, FIELD_DIGITS, true, MEMBER(line_dose, ocr_line), 0, 0},
    {2, FIELD_BOOL, true, MEMBER(line_dose, given), 0, 0},
    {3, FIELD_STR, true, MEMBER(line_dose, vaccinated_on), 0, 0},
    {4, FIELD_STR, true, MEMBER(line_dose, product), 0, 0},
    {5, FIELD_STR, true, MEMBER(line_dose, lot), 0, 0},
    {6, FIELD_STR, true, MEMBER(line_dose, site), 0, 0},
    {7, FIELD_STR, false, MEMBER(line_dose, physician), 0, 0},
    {8, FIELD_STR, true, MEMBER(line_dose, read_by), 0, 0},
    {9, FIELD_I64, true, MEMBER(line_dose, read_at_ms), 0, 0},
    {10, FIELD_STR, true, MEMBER(line_dose, terminal), 0, 0},
    {11, FIELD_STR, false, MEMBER(line_dose, staff), 0, 0},
    {12, FIELD_BOOL, true, MEMBER(line_dose, clock_warning), 0, 0},
    END};

static const struct field relay_fields[] = {
    {20, FIELD_BLOB, true, offsetof(struct line_relay, sealed),
     offsetof(struct line_relay, sealed_len), 0, 0},
    {21, FIELD_STR, true, MEMBER(line_relay, key), 0, 0},
    {22, FIELD_STR, true, MEMBER(line_relay, terminal), 0, 0},
    {23, FIELD_STR, false, MEMBER(line_relay, staff), 0, 0},
    END};

static const struct field cancel_fields[] = {
    {1, FIELD_FIXED, true, MEMBER(line_cancel, receipt), 0, 0},
    {2, FIELD_STR, true, MEMBER(line_cancel, terminal), 0, 0},
    {3, FIELD_STR, false, MEMBER(line_cancel, staff), 0, 0},
    {4, FIELD_STR, true, MEMBER(line_cancel, reason), 0, 0},
    END};

static const struct field event_fields[] = {
    {1, FIELD_STR, true, MEMBER(line_event, name), 0, 0},
    {2, FIELD_STR, false, MEMBER(line_event, terminal), 0, 0},
    {3, FIELD_STR, false, MEMBER(line_event, staff), 0, 0},
    {4, FIELD_STR, false, MEMBER(line_event, source), 0, 0},
    {5, FIELD_I64, true, MEMBER(line_event, at_ms), 0, 0},
    {6, FIELD_U64, false, MEMBER(line_event, more), 0, 0},
    END};

static const struct field result_fields[] = {
    {1, FIELD_FIXED, true, MEMBER(line_result, receipt), 0, 0},
    {2, FIELD_ENUM, true, MEMBER(line_result, outcome), LINE_PENDING, LINE_NOTED},
    {3, FIELD_STR, false, MEMBER(line_result, dose_id), 0, 0},
    {4, FIELD_STR, false, MEMBER(line_result, warnings), 0, 0},
    {5, FIELD_BLOB, false, offsetof(struct line_result, proof),
     offsetof(struct line_result, proof_len), 0, 0},
    END};

static const struct field pull_fields[] = {{1, FIELD_U64, true, MEMBER(line_pull, after_seq), 0, 0},
                                           {2, FIELD_U64, true, MEMBER(line_pull, max), 0, 0},
                                           {3, FIELD_U64, true, MEMBER(line_pull, wait_ms), 0, 0},
                                           END};

static const struct field replay_fields[] = {
    {1, FIELD_DIGITS, true, MEMBER(line_replay, municipality), 0, 0},
    {2, FIELD_U64, true, MEMBER(line_replay, after_seq), 0, 0},
    {3, FIELD_U64, true, MEMBER(line_replay, max), 0, 0},
    END};

static const struct field head_fields[] = {
    {1, FIELD_U64, true, MEMBER(line_pulled_head, snapshot_version), 0, 0},
    {2, FIELD_U64, true, MEMBER(line_pulled_head, depth), 0, 0},
    {3, FIELD_I64, true, MEMBER(line_pulled_head, oldest_ms), 0, 0},
    {4, FIELD_I64, true, MEMBER(line_pulled_head, now_ms), 0, 0},
    END};

static const struct field answer_fields[] = {
    {1, FIELD_U64, true, MEMBER(line_answer, id), 0, 0},
    {2, FIELD_ENUM, false, MEMBER(line_answer, status), LINE_COUPON_OK, LINE_COUPON_MOVED_OUT},
    {3, FIELD_STR, false, MEMBER(line_answer, refusal), 0, 0},
    {4, FIELD_BLOB, false, offsetof(struct line_answer, body), offsetof(struct line_answer, len), 0,
     0},
    END};

/* Fields of a message. */
enum { MESSAGE_TYPE = 1, MESSAGE_BODY = 2, MESSAGE_ENTRY = 3, MESSAGE_QUERY = 4, MESSAGE_ITEM = 5 };

static void write_fields(const struct field *fields, const void *from, struct buffer *out) {
    for (const struct field *f = fields; f->tag != 0; f++) {
        const uint8_t *at = (const uint8_t *)from + f->offset;
        uint64_t u = 0;
        switch (f->type) {
        case FIELD_STR:
        case FIELD_DIGITS:
            if (f->required || *at != '\0')
                wire_put_str(out, f->tag, (const char *)at);
            break;
        case FIELD_FIXED:
            wire_put(out, f->tag, at, f->cap);
            break;
        case FIELD_BLOB: {
            const uint8_t *data = NULL;
            size_t len = 0;
            memcpy(&data, at, sizeof data);
            memcpy(&len, (const uint8_t *)from + f->cap, sizeof len);
            if (f->required || len > 0)
                wire_put(out, f->tag, data, len);
            break;
        }
        case FIELD_U64:
        case FIELD_I64:
            memcpy(&u, at, sizeof u);
            wire_put_u64(out, f->tag, u);
            break;
        case FIELD_BOOL:
            wire_put_u64(out, f->tag, *(const bool *)at ? 1 : 0);
            break;
        case FIELD_ENUM: {
            unsigned e = 0;
            memcpy(&e, at, sizeof e);
            if (f->required || e != 0)
                wire_put_u64(out, f->tag, e);
            break;
        }
        }
    }
}

static bool all_digits(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (s[i] < '0' || s[i] > '9')
            return false;
    }
    return s[n] == '\0';
}

static bool read_field(const struct field *f, const struct wire_field *w, void *into) {
    uint8_t *at = (uint8_t *)into + f->offset;
    uint64_t u = 0;
    switch (f->type) {
    case FIELD_STR:
        return wire_str(w, (char *)at, f->cap);
    case FIELD_DIGITS:
        return wire_str(w, (char *)at, f->cap) && all_digits((const char *)at, f->cap - 1);
    case FIELD_FIXED:
        return wire_fixed(w, at, f->cap);
    case FIELD_BLOB:
        memcpy(at, &w->data, sizeof w->data);
        memcpy((uint8_t *)into + f->cap, &w->len, sizeof w->len);
        return w->len > 0;
    case FIELD_U64:
    case FIELD_I64:
        if (!wire_u64(w, &u))
            return false;
        memcpy(at, &u, sizeof u);
        return true;
    case FIELD_BOOL:
        if (!wire_u64(w, &u) || u > 1)
            return false;
        *(bool *)at = u == 1;
        return true;
    case FIELD_ENUM: {
        if (!wire_u64(w, &u) || u < f->low || u > f->high)
            return false;
        unsigned e = (unsigned)u;
        memcpy(at, &e, sizeof e);
        return true;
    }
    }
    return false;
}

/* Fills *into (size bytes, zeroed first).  `skip` lets unknown fields pass. */
static enum vrs_err read_fields(const struct field *fields, struct wire_reader *r, bool skip,
                                void *into, size_t size) {
    uint32_t seen = 0;
    memset(into, 0, size);
    for (;;) {
        struct wire_field w;
        bool more = false;
        enum vrs_err e = wire_next(r, &w, &more);
        if (e != VRS_OK)
            return e;
        if (!more)
            break;
        const struct field *f = fields;
        while (f->tag != 0 && f->tag != w.tag)
            f++;
        if (f->tag == 0) {
            if (!skip)
                return ERR_PROTOCOL;
            continue;
        }
        uint32_t bit = (uint32_t)1 << f->tag;
        if ((seen & bit) != 0 || !read_field(f, &w, into))
            return ERR_CORRUPT;
        seen |= bit;
    }
    for (const struct field *f = fields; f->tag != 0; f++) {
        if (f->required && (seen & ((uint32_t)1 << f->tag)) == 0)
            return ERR_CORRUPT;
    }
    return VRS_OK;
}

static enum vrs_err read_record(const struct field *fields, const void *p, size_t n, void *into,
                                size_t size) {
    struct wire_reader r;
    wire_open(&r, p, n);
    return read_fields(fields, &r, true, into, size);
}

/* A nested struct of a message: strict. */
static enum vrs_err read_nested(const struct field *fields, const struct wire_field *w, void *into,
                                size_t size) {
    struct wire_reader r;
    wire_nested(&r, w);
    return read_fields(fields, &r, false, into, size) == VRS_OK ? VRS_OK : ERR_PROTOCOL;
}

static void write_nested(uint8_t tag, const struct field *fields, const void *from,
                         struct buffer *out) {
    size_t mark = wire_begin(out, tag);
    write_fields(fields, from, out);
    wire_end(out, mark);
}

static void begin(enum line_message type, struct buffer *out) {
    wire_put_u64(out, MESSAGE_TYPE, (uint64_t)type);
}

static enum vrs_err open_message(struct wire_reader *r, const void *p, size_t n,
                                 enum line_message type) {
    struct wire_field w;
    bool more = false;
    uint64_t got = 0;
    wire_open(r, p, n);
    if (wire_next(r, &w, &more) != VRS_OK || !more || w.tag != MESSAGE_TYPE ||
        !wire_u64(&w, &got) || got != (uint64_t)type)
        return ERR_PROTOCOL;
    return VRS_OK;
}

/* The next field of an opened message; *more false at its end. */
static enum vrs_err next_field(struct wire_reader *r, struct wire_field *w, bool *more) {
    return wire_next(r, w, more) == VRS_OK ? VRS_OK : ERR_PROTOCOL;
}

static void write_single(enum line_message type, const struct field *fields, const void *from,
                         struct buffer *out) {
    begin(type, out);
    write_nested(MESSAGE_BODY, fields, from, out);
}

static enum vrs_err read_single(enum line_message type, const struct field *fields, const void *p,
                                size_t n, void *into, size_t size) {
    struct wire_reader r;
    struct wire_field w;
    bool more = false;
    enum vrs_err e = open_message(&r, p, n, type);
    if (e == VRS_OK)
        e = next_field(&r, &w, &more);
    if (e == VRS_OK && (!more || w.tag != MESSAGE_BODY))
        e = ERR_PROTOCOL;
    if (e == VRS_OK)
        e = read_nested(fields, &w, into, size);
    if (e == VRS_OK)
        e = next_field(&r, &w, &more);
    if (e == VRS_OK && more)
        e = ERR_PROTOCOL;
    return e;
}

void line_aad(const struct line_entry *e, struct buffer *out) {
    wire_put_str(out, 1, "inbox-entry-1");
    write_fields(aad_fields, e, out);
}

void line_query_aad(const struct line_query *q, struct buffer *out) {
    wire_put_str(out, 1, "query");
    write_fields(query_aad_fields, q, out);
}

void line_enrolment_encode(const struct line_enrolment *e, struct buffer *out) {
    write_fields(enrolment_fields, e, out);
}

enum vrs_err line_enrolment_decode(const void *p, size_t n, struct line_enrolment *out) {
    return read_record(enrolment_fields, p, n, out, sizeof *out);
}

void line_doctor_encode(const struct line_doctor *d, struct buffer *out) {
    write_fields(doctor_fields, d, out);
}

enum vrs_err line_doctor_decode(const void *p, size_t n, struct line_doctor *out) {
    return read_record(doctor_fields, p, n, out, sizeof *out);
}

void line_pre_shot_encode(const struct line_pre_shot *d, struct buffer *out) {
    write_fields(pre_shot_fields, d, out);
}

enum vrs_err line_pre_shot_decode(const void *p, size_t n, struct line_pre_shot *out) {
    return read_record(pre_shot_fields, p, n, out, sizeof *out);
}

void line_dose_encode(const struct line_dose *d, struct buffer *out) {
    write_fields(dose_fields, d, out);
}

enum vrs_err line_dose_decode(const void *p, size_t n, struct line_dose *out) {
    return read_record(dose_fields, p, n, out, sizeof *out);
}

void line_relay_encode(const struct line_relay *r, struct buffer *out) {
    write_fields(relay_fields, r, out);
}

enum vrs_err line_relay_decode(const void *p, size_t n, struct line_relay *out) {
    return read_record(relay_fields, p, n, out, sizeof *out);
}

void line_relay_aad(const char *key, const char *municipality, struct buffer *out) {
    wire_put_str(out, 1, "tablet-reading-1");
    wire_put_str(out, 2, key);
    wire_put_str(out, 3, municipality);
}

void line_cancel_encode(const struct line_cancel *c, struct buffer *out) {
    write_fields(cancel_fields, c, out);
}

enum vrs_err line_cancel_decode(const void *p, size_t n, struct line_cancel *out) {
    return read_record(cancel_fields, p, n, out, sizeof *out);
}

void line_event_encode(const struct line_event *e, struct buffer *out) {
    write_fields(event_fields, e, out);
}

enum vrs_err line_event_decode(const void *p, size_t n, struct line_event *out) {
    return read_record(event_fields, p, n, out, sizeof *out);
}

const char *line_outcome_name(enum line_outcome o) {
    static const char *const names[] = {
        [LINE_PENDING] = "pending",
        [LINE_RECORDED] = "recorded",
        [LINE_RECORDED_FOR_REVIEW] = "recorded_for_review",
        [LINE_WAITING_FOR_COUPON] = "waiting_for_coupon",
        [LINE_CONFLICT] = "conflict",
        [LINE_DUPLICATE] = "duplicate",
        [LINE_CANCELLED] = "cancelled",
        [LINE_CANCEL_REFUSED] = "cancel_refused",
        [LINE_NOTED] = "noted",
    };
    return o <= LINE_NOTED ? names[o] : "unknown";
}

bool line_outcome_final(enum line_outcome o) {
    return o != LINE_PENDING && o != LINE_WAITING_FOR_COUPON;
}

void line_pull_encode(const struct line_pull *p, struct buffer *out) {
    write_single(LINE_PULL, pull_fields, p, out);
}

enum vrs_err line_pull_decode(const void *p, size_t n, struct line_pull *out) {
    return read_single(LINE_PULL, pull_fields, p, n, out, sizeof *out);
}

void line_replay_encode(const struct line_replay *p, struct buffer *out) {
    write_single(LINE_REPLAY, replay_fields, p, out);
}

enum vrs_err line_replay_decode(const void *p, size_t n, struct line_replay *out) {
    return read_single(LINE_REPLAY, replay_fields, p, n, out, sizeof *out);
}

void line_pulled_begin(const struct line_pulled_head *h, struct buffer *out) {
    write_single(LINE_PULLED, head_fields, h, out);
}

void line_pulled_entry(const struct line_entry *e, struct buffer *out) {
    write_nested(MESSAGE_ENTRY, entry_fields, e, out);
}

void line_pulled_query(const struct line_query *q, struct buffer *out) {
    write_nested(MESSAGE_QUERY, query_fields, q, out);
}

enum vrs_err line_pulled_decode(const void *p, size_t n, struct line_pulled_head *h,
                                enum vrs_err (*entry)(const struct line_entry *, void *),
                                enum vrs_err (*query)(const struct line_query *, void *),
                                void *arg) {
    struct wire_reader r;
    struct wire_field w;
    bool more = false;
    enum vrs_err e = open_message(&r, p, n, LINE_PULLED);
    if (e == VRS_OK)
        e = next_field(&r, &w, &more);
    if (e == VRS_OK && (!more || w.tag != MESSAGE_BODY))
        e = ERR_PROTOCOL;
    if (e == VRS_OK)
        e = read_nested(head_fields, &w, h, sizeof *h);
    while (e == VRS_OK) {
        e = next_field(&r, &w, &more);
        if (e != VRS_OK || !more)
            break;
        if (w.tag == MESSAGE_ENTRY) {
            struct line_entry one;
            e = read_nested(entry_fields, &w, &one, sizeof one);
            if (e == VRS_OK && entry != NULL)
                e = entry(&one, arg);
        } else if (w.tag == MESSAGE_QUERY) {
            struct line_query one;
            e = read_nested(query_fields, &w, &one, sizeof one);
            if (e == VRS_OK && query != NULL)
                e = query(&one, arg);
        } else {
            e = ERR_PROTOCOL;
        }
    }
    return e;
}

void line_outcomes_begin(struct buffer *out) {
    begin(LINE_OUTCOMES, out);
}

void line_outcomes_add(const struct line_result *r, struct buffer *out) {
    write_nested(MESSAGE_ITEM, result_fields, r, out);
}

enum vrs_err line_outcomes_decode(const void *p, size_t n,
                                  enum vrs_err (*each)(const struct line_result *, void *),
                                  void *arg) {
    struct wire_reader r;
    enum vrs_err e = open_message(&r, p, n, LINE_OUTCOMES);
    while (e == VRS_OK) {
        struct wire_field w;
        bool more = false;
        e = next_field(&r, &w, &more);
        if (e != VRS_OK || !more)
            break;
        struct line_result one;
        e = w.tag == MESSAGE_ITEM ? read_nested(result_fields, &w, &one, sizeof one) : ERR_PROTOCOL;
        if (e == VRS_OK && (one.proof_len > LINE_MAX_PROOF ||
                            (one.proof_len > 0 && one.proof_len <= LINE_COMMITMENT_BYTES)))
            e = ERR_PROTOCOL;
        if (e == VRS_OK && each != NULL)
            e = each(&one, arg);
    }
    return e;
}

void line_acked_begin(struct buffer *out) {
    begin(LINE_ACKED, out);
}

void line_acked_add(const uint8_t receipt[LINE_RECEIPT_BYTES], struct buffer *out) {
    wire_put(out, MESSAGE_ITEM, receipt, LINE_RECEIPT_BYTES);
}

enum vrs_err line_acked_decode(const void *p, size_t n,
                               void (*each)(const uint8_t receipt[LINE_RECEIPT_BYTES], void *),
                               void *arg) {
    struct wire_reader r;
    enum vrs_err e = open_message(&r, p, n, LINE_ACKED);
    while (e == VRS_OK) {
        struct wire_field w;
        bool more = false;
        uint8_t receipt[LINE_RECEIPT_BYTES];
        e = next_field(&r, &w, &more);
        if (e != VRS_OK || !more)
            break;
        if (w.tag != MESSAGE_ITEM || !wire_fixed(&w, receipt, sizeof receipt))
            e = ERR_PROTOCOL;
        else if (each != NULL)
            each(receipt, arg);
    }
    return e;
}

void line_answers_begin(struct buffer *out) {
    begin(LINE_ANSWERS, out);
}

void line_answers_add(const struct line_answer *a, struct buffer *out) {
    write_nested(MESSAGE_ITEM, answer_fields, a, out);
}

enum vrs_err line_answers_decode(const void *p, size_t n,
                                 void (*each)(const struct line_answer *, void *), void *arg) {
    struct wire_reader r;
    enum vrs_err e = open_message(&r, p, n, LINE_ANSWERS);
    while (e == VRS_OK) {
        struct wire_field w;
        bool more = false;
        e = next_field(&r, &w, &more);
        if (e != VRS_OK || !more)
            break;
        struct line_answer one;
        e = w.tag == MESSAGE_ITEM ? read_nested(answer_fields, &w, &one, sizeof one) : ERR_PROTOCOL;
        if (e == VRS_OK && each != NULL)
            each(&one, arg);
    }
    return e;
}

void line_checkpoints_begin(struct buffer *out) {
    begin(LINE_CHECKPOINTS, out);
}

void line_checkpoints_add(const void *head, size_t len, struct buffer *out) {
    wire_put(out, MESSAGE_ITEM, head, len);
}

enum vrs_err line_checkpoints_decode(const void *p, size_t n,
                                     enum vrs_err (*each)(const uint8_t *head, size_t len, void *),
                                     void *arg) {
    struct wire_reader r;
    enum vrs_err e = open_message(&r, p, n, LINE_CHECKPOINTS);
    while (e == VRS_OK) {
        struct wire_field w;
        bool more = false;
        e = next_field(&r, &w, &more);
        if (e != VRS_OK || !more)
            break;
        e = w.tag == MESSAGE_ITEM ? each(w.data, w.len, arg) : ERR_PROTOCOL;
    }
    return e;
}
