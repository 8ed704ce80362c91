/* The line: what the inside (vrs-server) and tablet-api say to each other.  The inside opens every
 * connection (HTTPS, mutual TLS, an authority of its own); tablet-api never connects anywhere.
 *
 * Bodies are lib/wire messages, content type application/vnd.vrs.line.  Shared by both programs:
 * this header and line.c hold no secrets and no storage.
 *
 *   POST /line/v1/pull      LINE_PULL      → LINE_PULLED     long poll: answers at once when there
 *                                                            is anything, else after wait_ms
 *   POST /line/v1/outcomes  LINE_OUTCOMES  → LINE_ACKED      only after they are durable outside
 *   POST /line/v1/answers   LINE_ANSWERS   → LINE_ACKED      answers to queries
 *   POST /line/v1/checkpoints LINE_CHECKPOINTS → LINE_ACKED  signed heads, durable outside; one that
 *                                                            contradicts what is kept is an event
 *   PUT  /line/v1/snapshot  signed JSON    → 204; 409 when not newer; 422 bad signature
 *   POST /line/v1/replay    LINE_REPLAY    → LINE_PULLED     entries of one municipality after a
 *                                                            restore, settled ones too
 */
#ifndef TABLET_API_LINE_H
#define TABLET_API_LINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

#define LINE_CONTENT_TYPE "application/vnd.vrs.line"

enum {
    LINE_RECEIPT_BYTES = 16,
    LINE_MAX_ENTRIES = 1000,
    LINE_MAX_BODY = 4 << 20,
    LINE_COMMITMENT_BYTES = 32,
    LINE_MAX_PROOF = 2048
};

enum line_entry_kind {
    LINE_DOSE = 1,   /* a reading */
    LINE_CANCEL = 2, /* :cancel of a receipt by the same terminal */
    LINE_EVENT = 3,  /* log-in, refusal or alert of the Internet side; the terminal's or
                        the user's municipality, "000000" where neither is known */
};

/* One durable, sealed inbox entry.  `sealed` is crypto_sealer's form; its AAD is line_aad(). */
struct line_entry {
    uint64_t seq;   /* inbox order, grows, never reused */
    uint64_t epoch; /* of the inbox: a new number when an inbox is made or restored */
    enum line_entry_kind kind;
    uint8_t receipt[LINE_RECEIPT_BYTES]; /* random */
    char municipality[7];                /* of the coupon */
    int64_t received_ms;                 /* UTC: 登録日時 */
    const uint8_t *sealed;
    size_t sealed_len;
};

/* AAD of a sealed entry: kind, receipt, municipality, received_ms. */
void line_aad(const struct line_entry *e, struct buffer *out);

enum line_query_kind {
    LINE_QUERY_COUPON = 1,   /* coupons:check; sealed: the 18 digits */
    LINE_QUERY_ENROL = 2,    /* a device with a one-time code; sealed: struct line_enrolment */
    LINE_QUERY_RENEW = 3,    /* a terminal's new certificate; sealed: struct line_enrolment */
    LINE_QUERY_DOCTOR = 4,   /* coupons:check at the own site; sealed: struct line_doctor */
    LINE_QUERY_PRE_SHOT = 5, /* coupons:pre-shot; sealed: struct line_pre_shot */
    LINE_QUERY_FILTER = 6    /* coupon-filter; sealed: the last two digits of a ticket number */
};

/* What waits for the inside's answer: nothing of it is stored outside. */
struct line_query {
    uint64_t id;
    enum line_query_kind kind;
    char municipality[7];  /* of the coupon, DOCTOR, FILTER: of the terminal; else "000000" */
    char from[48];         /* serial of the asking terminal's certificate; ENROL: peer address */
    const uint8_t *sealed; /* AAD = line_query_aad() */
    size_t sealed_len;
};
void line_query_aad(const struct line_query *q, struct buffer *out); /* "query", id, kind, from */

struct line_enrolment {
    char code[64]; /* as typed; "" for a renewal */
    char request_pem[4096];
};
void line_enrolment_encode(const struct line_enrolment *e, struct buffer *out);
VRS_CHECK enum vrs_err line_enrolment_decode(const void *p, size_t n, struct line_enrolment *out);

/* A line as it was read, valid or not, with what the reader doubted. */
struct line_doctor {
    char text[64];       /* normalised (ocr-ingest/line.h) */
    char second[19];     /* the next best digits, ' ' none; "" not known */
    char confidence[37]; /* 18 × two hex digits; "" not known */
    /* Of the dose that is meant, "" nobody asks about its interval: */
    char product[40];
    char vaccinated_on[11];
};
void line_doctor_encode(const struct line_doctor *d, struct buffer *out);
VRS_CHECK enum vrs_err line_doctor_decode(const void *p, size_t n, struct line_doctor *out);

struct line_pre_shot {
    char ocr_line[19];
    char product[40];
};
void line_pre_shot_encode(const struct line_pre_shot *d, struct buffer *out);
VRS_CHECK enum vrs_err line_pre_shot_decode(const void *p, size_t n, struct line_pre_shot *out);

/* The plaintext inside a sealed LINE_DOSE / LINE_CANCEL entry (wire fields). */
struct line_dose {
    char ocr_line[19];      /* the coupon, normalised */
    bool given;             /* status given / not_given */
    char vaccinated_on[11]; /* YYYY-MM-DD */
    char product[40];
    char lot[64]; /* as typed */
    char site[256];
    char physician[128];
    char read_by[16];   /* ocr qr nw7 manual punch */
    int64_t read_at_ms; /* -1 absent */
    char terminal[64];  /* certificate CN */
    char staff[64];     /* user id, "" for system clients */
    bool clock_warning; /* the terminal's clock was wrong */
};
void line_dose_encode(const struct line_dose *d, struct buffer *out);
VRS_CHECK enum vrs_err line_dose_decode(const void *p, size_t n, struct line_dose *out);

/* The plaintext of a LINE_DOSE entry when the terminal had sealed the reading itself, because it had
 * to wait: inside `sealed` is line_dose_encode, its AAD is line_relay_aad().  tablet-api cannot look
 * inside, so nothing of it was checked; who says they read it is claimed, who brought it is known. */
struct line_relay {
    const uint8_t *sealed; /* crypto_sealer's form; borrowed */
    size_t sealed_len;
    char key[37]; /* Idempotency-Key of the reading */
    char terminal[64];
    char staff[64];
};
void line_relay_encode(const struct line_relay *r, struct buffer *out);
/* ERR_CORRUPT also for a plain dose: none of its fields are here. */
VRS_CHECK enum vrs_err line_relay_decode(const void *p, size_t n, struct line_relay *out);
void line_relay_aad(const char *key, const char *municipality, struct buffer *out);

struct line_cancel {
    uint8_t receipt[LINE_RECEIPT_BYTES]; /* of the claim to cancel */
    char terminal[64];
    char staff[64];
    char reason[512];
};
void line_cancel_encode(const struct line_cancel *c, struct buffer *out);
VRS_CHECK enum vrs_err line_cancel_decode(const void *p, size_t n, struct line_cancel *out);

struct line_event {
    char name[48]; /* "session.opened", "session.refused", "terminal.revoked_used" … */
    char terminal[64];
    char staff[64];
    char source[48]; /* peer address */
    int64_t at_ms;
    uint64_t more; /* earlier ones of this name and terminal that were only counted */
};
void line_event_encode(const struct line_event *e, struct buffer *out);
VRS_CHECK enum vrs_err line_event_decode(const void *p, size_t n, struct line_event *out);

/* Outcome of an entry: no personal data in it. */
enum line_outcome {
    LINE_PENDING = 0,
    LINE_RECORDED = 1,
    LINE_RECORDED_FOR_REVIEW = 2,
    LINE_WAITING_FOR_COUPON = 3, /* may become one of the final ones later, once */
    LINE_CONFLICT = 4,
    LINE_DUPLICATE = 5,
    LINE_CANCELLED = 6,      /* a cancel entry that took effect; also the claim it cancelled */
    LINE_CANCEL_REFUSED = 7, /* other terminal, other day, no such claim */
    LINE_NOTED = 8,          /* an event */
};
const char *line_outcome_name(enum line_outcome o); /* "recorded_for_review" */
bool line_outcome_final(enum line_outcome o);       /* all but pending and waiting */

struct line_result {
    uint8_t receipt[LINE_RECEIPT_BYTES];
    enum line_outcome outcome;
    char dose_id[33];   /* hex, "" none */
    char warnings[512]; /* space-separated codes (rules.json names): texts are looked up outside */
    /* The commitment to the receipt's statement, then proof_encode (proof.h); borrowed.  0 bytes:
     * the signer was away; the same outcome comes again with it. */
    const uint8_t *proof;
    size_t proof_len;
};

enum line_message {
    LINE_PULL = 1,
    LINE_PULLED,
    LINE_OUTCOMES,
    LINE_ACKED,
    LINE_ANSWERS,
    LINE_REPLAY,
    LINE_CHECKPOINTS
};

struct line_pull {
    uint64_t after_seq; /* unsettled entries with seq above this */
    uint64_t max;
    uint64_t wait_ms;
};
void line_pull_encode(const struct line_pull *p, struct buffer *out);
VRS_CHECK enum vrs_err line_pull_decode(const void *p, size_t n, struct line_pull *out);

struct line_replay {
    char municipality[7];
    uint64_t after_seq;
    uint64_t max;
};
void line_replay_encode(const struct line_replay *p, struct buffer *out);
VRS_CHECK enum vrs_err line_replay_decode(const void *p, size_t n, struct line_replay *out);

/* LINE_PULLED: begin, then entries and queries, in any number. The header also carries tablet-api's
 * snapshot version (so the inside knows whether to push), its inbox depth and wall clock. */
struct line_pulled_head {
    uint64_t snapshot_version;
    uint64_t depth;    /* entries without outcome */
    int64_t oldest_ms; /* received_ms of the oldest of them, 0 none */
    int64_t now_ms;
};
void line_pulled_begin(const struct line_pulled_head *h, struct buffer *out);
void line_pulled_entry(const struct line_entry *e, struct buffer *out);
void line_pulled_query(const struct line_query *q, struct buffer *out);
/* Entries and queries borrow from the body.  Callbacks may be NULL. */
VRS_CHECK enum vrs_err line_pulled_decode(const void *p, size_t n, struct line_pulled_head *h,
                                          enum vrs_err (*entry)(const struct line_entry *, void *),
                                          enum vrs_err (*query)(const struct line_query *, void *),
                                          void *arg);

void line_outcomes_begin(struct buffer *out);
void line_outcomes_add(const struct line_result *r, struct buffer *out);
VRS_CHECK enum vrs_err
line_outcomes_decode(const void *p, size_t n,
                     enum vrs_err (*each)(const struct line_result *, void *), void *arg);

/* LINE_ACKED: the receipts that are durable outside now. */
void line_acked_begin(struct buffer *out);
void line_acked_add(const uint8_t receipt[LINE_RECEIPT_BYTES], struct buffer *out);
VRS_CHECK enum vrs_err
line_acked_decode(const void *p, size_t n,
                  void (*each)(const uint8_t receipt[LINE_RECEIPT_BYTES], void *), void *arg);

enum line_coupon_status {
    LINE_COUPON_OK = 1,
    LINE_COUPON_UNKNOWN,
    LINE_COUPON_RECORDED,
    LINE_COUPON_MOVED_OUT
};
struct line_answer {
    uint64_t id;                    /* of the query */
    enum line_coupon_status status; /* COUPON, DOCTOR; 0 else */
    char refusal[40];               /* the others: stable name of the error, "" none */
    const uint8_t *body; /* the others: JSON for the device.  DOCTOR, unknown: JSON list of
                                       at most three candidates; ok: {"earliest_on"} when the dose
                                       would be too early; or nothing.  Borrowed */
    size_t len;
};
void line_answers_begin(struct buffer *out);
void line_answers_add(const struct line_answer *a, struct buffer *out);
VRS_CHECK enum vrs_err line_answers_decode(const void *p, size_t n,
                                           void (*each)(const struct line_answer *, void *),
                                           void *arg);

/* Signed heads of the log, each proof_head_encode. */
void line_checkpoints_begin(struct buffer *out);
void line_checkpoints_add(const void *head, size_t len, struct buffer *out);
VRS_CHECK enum vrs_err
line_checkpoints_decode(const void *p, size_t n,
                        enum vrs_err (*each)(const uint8_t *head, size_t len, void *), void *arg);

/* The snapshot (PUT body, JSON):
 * {"signature": base64 Ed25519 over the exact bytes of `snapshot`, "snapshot": "<JSON text>"}
 * snapshot text: {"version": n, "made_at": RFC 3339, "max_age_s": n, "inbox_key": base64 X25519,
 *  "users": [{"user_id","password_hash","roles":["site_staff"],"rights":["dose.post",…],
 *             "municipality_code","site","valid_until":"YYYY-MM-DD"}],
 *  "revoked": ["serial hex", …],
 *  "terminals": [{"serial": hex, "name", "kind", "municipality_code", "site", "binding",
 *                 "works_until"?: RFC 3339}],
 *  "log_keys": [base64 Ed25519, …],    those of vrs-signer, the newest first
 *  "system_clients": [{"fingerprint": hex, "name", "rights": […]}]}
 * tablet-api knows the verification key from its configuration. */

#endif
