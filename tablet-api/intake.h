/* A posted reading → a dose that can be sealed, or the reason why not.  Only what this side can see
 * alone is checked (form, check digit, product, a future date); everything else is the inside's to
 * keep and judge.  Pure: no I/O, no clock of its own. */
#ifndef TABLET_API_INTAKE_H
#define TABLET_API_INTAKE_H

#include "lib/crypto.h"
#include "lib/json.h"
#include "ocr-ingest/repair.h"
#include "ocr-ingest/vaccine.h"
#include "tablet-api/line.h"

struct intake_rules {
    const struct municipality_list *municipalities;
    const struct vaccine_list *vaccines;
    int64_t now_ms;             /* the server's wall clock */
    int64_t clock_tolerance_ms; /* a terminal clock off by more is warned about */
};

enum { INTAKE_KEY_SIZE = 37 };

struct intake {
    struct line_dose dose; /* terminal and staff are the caller's to fill */
    char municipality[7];
    char key[INTAKE_KEY_SIZE]; /* idempotency_key of a batch item */
    bool confirmed_again;      /* a person says: the same coupon again is meant */
};

struct intake_refusal {
    struct vrs_fault fault; /* text is the field where the error is about one */
    bool repairable;
    size_t candidates;
    struct repair_candidate candidate[REPAIR_MAX_CANDIDATES];
};

/* The body of POST /v1/doses, or with `batch` one line of :batch (which holds its key).
 * `date_header` is the terminal's Date, NULL when it sent none.  On error *no is filled. */
VRS_CHECK enum vrs_err intake_read(const struct intake_rules *rules, const void *body, size_t len,
                                   bool batch, const char *date_header, struct intake *out,
                                   struct intake_refusal *no);
/* A line alone (coupons:check): the coupon, or candidates. */
VRS_CHECK enum vrs_err intake_line(const struct intake_rules *rules, const char *text,
                                   struct coupon *out, struct intake_refusal *no);
/* A UUID of any version, any case → lower case. */
VRS_CHECK bool intake_key(const char *text, char out[INTAKE_KEY_SIZE]);
/* What stands for the key: scoped to the terminal, so that terminals never meet. */
void intake_key_hash(const char *key, const char *terminal, uint8_t out[CRYPTO_HASH_BYTES]);
/* HMAC(key, content): the same reading with other spacing or field order is the same body; who was
 * logged in and how wrong the clock was do not count.  Doses and
 * cancellations never look alike. */
void intake_dose_mac(const char *key, const struct line_dose *d, uint8_t out[CRYPTO_HASH_BYTES]);
void intake_cancel_mac(const char *key, const struct line_cancel *c,
                       uint8_t out[CRYPTO_HASH_BYTES]);
/* {"field": …} and {"candidates": [{ocr_line, changes}]} of a refusal, as a new reference; NULL
 * when there is nothing to add. */
json_t *intake_extra(const struct intake_refusal *no);

#endif
