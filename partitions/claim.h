/* A claim is one accepted reading of a coupon: one receipt, one row, for ever.  A dose is a claim
 * in state RECORDED or REVIEW; its row id is the dose_id.  Nothing overwrites a claim: a correction
 * is a new version and the old one moves to claim_history with who, when and why.
 *
 *              ┌────────────► RECORDED ◄──┐ settle / coupon registered
 *   a reading ─┼────────────► REVIEW ─────┤
 *              ├──► WAITING ──────────────┤ (unknown coupon; becomes one of the others once)
 *              ├──► CONFLICT ─────────────┤ (second claim to a dose number)
 *              ├──► DUPLICATE             │ (same status, date, product, lot: notes only)
 *              └──► VISIT                 ▼ (予診のみ: occupies no dose number)
 *                                     CANCELLED (also REJECTED by a settlement)
 */
#ifndef PARTITIONS_CLAIM_H
#define PARTITIONS_CLAIM_H

#include "lib/clock.h"
#include "ocr-ingest/coupon.h"
#include "partitions/erase.h"
#include "partitions/partition.h"

enum claim_state {
    CLAIM_RECORDED = 1,
    CLAIM_REVIEW = 2,
    CLAIM_WAITING = 3,
    CLAIM_CONFLICT = 4,
    CLAIM_DUPLICATE = 5,
    CLAIM_VISIT = 6,
    CLAIM_CANCELLED = 7,
};

enum { CLAIM_RECEIPT_BYTES = 16 };

struct claim {
    struct record_id id; /* dose_id */
    uint64_t version;
    uint32_t generation;
    uint64_t order; /* of arrival in the partition: the work list's cursor; set by claim_insert */
    enum claim_state state;
    uint8_t receipt[CLAIM_RECEIPT_BYTES]; /* all zero: entered inside (import, console) */
    struct coupon coupon;
    bool has_person;
    struct record_id person;
    bool given; /* status: given / not_given */
    struct civil_date vaccinated_on;
    char product[40];
    char lot[64]; /* as typed */
    char site[256];
    char physician[128];
    char read_by[16];
    char terminal[64];
    char staff[64];
    char origin[16];   /* "tablet", "import", "console", "inquiry" */
    char reasons[512]; /* space-separated rule names: why it is in review; also warnings */
    char notes[512];   /* other differences of duplicates, settlement notes */
    struct record_id duplicate_of; /* DUPLICATE: the claim it repeats */
    int64_t registered_ms;         /* 登録日時 (when the outside received it) */
    int64_t read_at_ms;            /* -1 absent */
    /* When it got its order: grows with it, as far as our clock does.  Set by claim_insert; 0: stored
     * before this was noted. */
    int64_t stored_ms;
    /* last change */
    char changed_by[64];
    char change_reason[512];
    int64_t changed_ms;
    /* The log entry that commits to its receipt's outcome (access_log.h), 0 none: its proof. */
    uint64_t log_seq;
    bool cancelled_by_terminal;
    /* Set before an insert or update: the outcome is to be handed over, and stays marked (a row of
     * TABLE_OUTCOME_UNSENT) until claim_mark_sent.  Not read back. */
    bool outcome_unsent;
};

void claim_init(struct claim *c); /* zeros, new id, read_at -1 */
void claim_wipe(struct claim *c);
VRS_CHECK enum vrs_err claim_get(struct partition *p, const struct record_id *id,
                                 struct claim *out);
VRS_CHECK enum vrs_err claim_by_receipt(struct partition *p, const uint8_t *receipt,
                                        struct claim *out);
typedef enum vrs_err claim_fn(struct claim *c, void *arg);
/* Claims to (coupon, dose number), oldest first, all states. */
VRS_CHECK enum vrs_err claims_of_turn(struct partition *p, const struct coupon *c, claim_fn *fn,
                                      void *arg);
VRS_CHECK enum vrs_err claims_of_coupon(struct partition *p, const char *coupon_number,
                                        claim_fn *fn, void *arg);
/* All claims of a person over all own coupons, oldest first. */
VRS_CHECK enum vrs_err claims_of_person(struct partition *p, const struct record_id *person,
                                        claim_fn *fn, void *arg);
/* By state (REVIEW, CONFLICT, WAITING: the work list), order after, at most limit. */
VRS_CHECK enum vrs_err claims_in_state(struct partition *p, enum claim_state s, uint64_t after,
                                       uint64_t limit, claim_fn *fn, void *arg);
/* *after: a place in the order of arrival behind which everything is that was stored at `ms` or later,
 * 0 when that cannot be told (claims from before stored_ms was noted).  A handful of reads.  It holds
 * with the clock's steps taken back: ask for a moment that lies before by more than they are. */
VRS_CHECK enum vrs_err claim_order_before(struct partition *p, int64_t ms, uint64_t *after);
VRS_CHECK enum vrs_err claim_insert(struct partition *p, struct claim *c);
/* Keeps the old version in claim_history.  changed_by, change_reason, changed_ms say why. */
VRS_CHECK enum vrs_err claim_update(struct partition *p, struct claim *c);
/* Only the hand-over mark goes: no history, no new version.  VRS_OK when there is none.  With the
 * version that was handed over, the mark of a later one stays. */
VRS_CHECK enum vrs_err claim_mark_sent_version(struct partition *p, const uint8_t *receipt,
                                               uint64_t version);
VRS_CHECK enum vrs_err claim_mark_sent(struct partition *p,
                                       const uint8_t *receipt); /* any version */
/* Sets the mark of a claim as it is: the outside lacks something of its outcome.  VRS_OK when no
 * claim has the receipt. */
VRS_CHECK enum vrs_err claim_mark_unsent(struct partition *p, const uint8_t *receipt);
/* Oldest mark first. */
VRS_CHECK enum vrs_err claims_unsent(struct partition *p, uint64_t limit, claim_fn *fn, void *arg);
VRS_CHECK enum vrs_err claim_history(struct partition *p, const struct record_id *id, claim_fn *fn,
                                     void *arg); /* oldest first, without the present one */
/* A claim with its history and mark, whatever its state. */
VRS_CHECK enum vrs_err claim_erase(struct partition *p, const struct record_id *id,
                                   struct erased *x);
VRS_CHECK enum vrs_err claims_erase_of(struct partition *p, const struct record_id *person,
                                       struct erased *x);

#endif
