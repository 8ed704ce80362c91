/* Cancelling from the terminal (apply.h).
 *
 * Invariant C1: a cancellation takes effect once.  Offered again, it finds its own outcome, kept under
 * its receipt as a request's answer is under its key: its dose may have been read again and be back
 * since. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "partitions/exchange.h"
#include "vrs-server/doses/told.h"
#include "vrs-server/server.h"

static bool may_cancel(const struct claim *c, const struct line_cancel *cancel,
                       int64_t received_ms) {
    return strcmp(c->terminal, cancel->terminal) == 0 &&
           clock_date_jst(c->registered_ms).days == clock_date_jst(received_ms).days;
}

enum { CANCEL_KEY_BYTES = 8 + 2 * LINE_RECEIPT_BYTES, CANCEL_KEPT_BYTES = 64 };

static void cancel_key(const uint8_t receipt[LINE_RECEIPT_BYTES], char key[CANCEL_KEY_BYTES]) {
    (void)snprintf(key, CANCEL_KEY_BYTES, "cancel ");
    crypto_hex(receipt, LINE_RECEIPT_BYTES, key + strlen(key));
}

/* C1: "dose id, or -" " " "its log entry, 0 none"; the outcome is the status. */
static enum vrs_err cancel_keep(struct partition *p, const struct line_result *r, uint64_t entry) {
    char key[CANCEL_KEY_BYTES], kept[CANCEL_KEPT_BYTES];
    cancel_key(r->receipt, key);
    (void)snprintf(kept, sizeof kept, "%s %llu", r->dose_id[0] != '\0' ? r->dose_id : "-",
                   (unsigned long long)entry);
    return idempotency_keep(p, key, "", 0, (int)r->outcome, kept, strlen(kept));
}

/* `c` is the claim as it is now: what its entry says of the dose has not changed. */
static enum vrs_err cancel_again(struct partition *p, const struct claim *c,
                                 const struct idempotent *first, struct line_result *result,
                                 struct apply_proof *proof) {
    char kept[CANCEL_KEPT_BYTES] = "";
    result->outcome = (enum line_outcome)first->status;
    if (first->answer.len < sizeof kept && first->answer.len > 0)
        memcpy(kept, first->answer.data, first->answer.len);
    char *entry = strchr(kept, ' ');
    if (entry == NULL) /* erased with its dose */
        return VRS_OK;
    *entry++ = '\0';
    if (strcmp(kept, "-") != 0)
        (void)snprintf(result->dose_id, sizeof result->dose_id, "%.32s", kept);
    uint64_t seq = strtoull(entry, NULL, 10);
    if (seq == 0 || c->version == 0)
        return VRS_OK;
    told_commit(c, result, &proof->commitment);
    return told_place(p, seq, proof);
}

static enum vrs_err cancel_before(struct partition *p, const struct claim *c,
                                  struct line_result *result, struct apply_proof *proof,
                                  bool *seen) {
    char key[CANCEL_KEY_BYTES];
    struct idempotent first = {0};
    cancel_key(result->receipt, key);
    buffer_init(&first.answer, CANCEL_KEPT_BYTES);
    enum vrs_err e = idempotency_look(p, key, "", 0, seen, &first);
    if (e == VRS_OK && *seen)
        e = cancel_again(p, c, &first, result, proof);
    buffer_fini(&first.answer);
    return e;
}

enum vrs_err apply_cancel(struct server *s, struct partition *p, const struct line_cancel *cancel,
                          int64_t received_ms, const uint8_t receipt[LINE_RECEIPT_BYTES],
                          struct tally_batch *tally, struct line_result *result,
                          struct apply_proof *proof) {
    (void)s;
    struct claim c;
    bool told = true, seen = false;
    memset(proof, 0, sizeof *proof);
    struct person holder;
    memset(&holder, 0, sizeof holder);
    memset(result, 0, sizeof *result);
    memcpy(result->receipt, receipt, LINE_RECEIPT_BYTES);
    result->outcome = LINE_CANCEL_REFUSED;
    enum vrs_err e = claim_by_receipt(p, cancel->receipt, &c);
    if (e == ERR_NOT_FOUND)
        memset(&c, 0, sizeof c);
    else if (e != VRS_OK)
        return e;
    bool found = e == VRS_OK;
    e = cancel_before(p, &c, result, proof, &seen);
    if (e != VRS_OK || seen) {
        secret_wipe(&c, sizeof c);
        return e;
    }
    if (found)
        record_id_format(&c.id, result->dose_id);
    if (found && c.state == CLAIM_CANCELLED && c.cancelled_by_terminal &&
        may_cancel(&c, cancel, received_ms)) {
        result->outcome = LINE_CANCELLED; /* by another request: done already, logged already */
        secret_wipe(&c, sizeof c);
        return VRS_OK;
    }
    /* Read before anything is counted: a damaged resident leaves no trace. */
    e = c.has_person ? person_get(p, &c.person, &holder) : VRS_OK;
    bool cancels =
        e == VRS_OK && found && c.state != CLAIM_CANCELLED && may_cancel(&c, cancel, received_ms);
    if (cancels) {
        apply_count(tally, &c, -1);
        told = c.state != CLAIM_WAITING; /* a waiting receipt becomes final: once */
        c.state = CLAIM_CANCELLED;
        c.cancelled_by_terminal = true;
        c.outcome_unsent |= !told;
        (void)snprintf(c.changed_by, sizeof c.changed_by, "%s", cancel->staff);
        (void)snprintf(c.change_reason, sizeof c.change_reason, "%s", cancel->reason);
        c.changed_ms = received_ms;
        result->outcome = LINE_CANCELLED;
    }
    const struct log_actor who = {
        .user = cancel->staff, .terminal = cancel->terminal, .source = "internet"};
    struct apply_proof of_dose;
    if (e == VRS_OK && cancels && !told) {
        e = told_outcome_log(p, "dose.cancel", &c, &holder, &who, &of_dose);
    } else if (e == VRS_OK) {
        e = told_log(p, "dose.cancel", &c, &holder, &who, line_outcome_name(result->outcome),
                     cancels ? result : NULL, proof);
        c.log_seq = 0; /* what its receipt was told is the past */
    }
    if (e == VRS_OK && cancels)
        e = claim_update(p, &c);
    if (e == VRS_OK)
        e = cancel_keep(p, result, cancels && told ? proof->place.entry : 0);
    if (e == VRS_OK)
        told_count(result->outcome);
    person_wipe(&holder);
    secret_wipe(&c, sizeof c);
    return e;
}
