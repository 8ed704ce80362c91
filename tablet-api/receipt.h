/* A reading or cancellation on its way: put into the inbox, then parked until its outcome comes or
 * the time to answer is up.  Loop thread.
 *
 *     post → inbox commit → outcome known already → answered
 *                         → parked → receipts_settled → answered with the outcome
 *                                  → time is up       → answered as pending
 *                         → not stored, unknown, key reused → answered with the error */
#ifndef TABLET_API_RECEIPT_H
#define TABLET_API_RECEIPT_H

#include "tablet-api/inbox.h"

struct receipts;
struct tablet;

struct posting {
    struct inbox_put put; /* first; the caller fills it, answer in put.job.err and put.found */
    /* Called once, on the loop; the posting is the caller's again. */
    void (*answered)(struct posting *p);
    void *owner;
    char ocr_line[19];  /* of a reading that may be asked about again */
    bool clock_warning; /* the terminal's clock: told at once, also while pending */
    /* --- of receipt.c --- */
    struct receipts *receipts;
    struct posting *next_same; /* of its bucket */
    struct posting *older, *newer;
    int64_t until_ms;   /* monotonic: parked until then */
    int64_t started_us; /* monotonic */
};

VRS_CHECK enum vrs_err receipts_open(struct tablet *t, struct receipts **out);
/* Answers all that is parked as pending, and parks nothing any more. */
void receipts_stop(struct receipts *r);
/* After the inbox is closed. */
void receipts_close(struct receipts **r);
/* Always ends in `answered`, perhaps before it returns. */
void receipt_post(struct receipts *r, struct posting *p);
/* An outcome is durable: whoever waits for it is answered. */
void receipts_settled(struct receipts *r, const struct line_result *result);

/* {"receipt_id":…,"outcome":…,"dose_id":…,"warnings":[…]}; `cancels` (hex) or NULL, `key` (of a
 * batch) or NULL are added. */
void receipt_write(struct tablet *t, const struct inbox_found *f, bool clock_warning,
                   const char *cancels, const char *key, int status, struct buffer *out);
int receipt_status(const struct inbox_found *f); /* 202 while pending, else 201 */

#endif
