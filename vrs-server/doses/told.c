#include "vrs-server/doses/told.h"

#include <stdio.h>
#include <string.h>

#include "lib/metric.h"

const char told_reinstated[] = "reinstated_after_cancel";

static struct metric outcomes[] = {
#define M(name_of)                                                                                 \
    {                                                                                              \
        .name = "vrs_outcomes_total", .help = "Claims by outcome",                                 \
        .label = "outcome=\"" name_of "\"", .type = METRIC_COUNTER                                 \
    }
    [LINE_RECORDED] = M("recorded"),
    [LINE_RECORDED_FOR_REVIEW] = M("recorded_for_review"),
    [LINE_CONFLICT] = M("conflict"),
    [LINE_WAITING_FOR_COUPON] = M("waiting_for_coupon"),
    [LINE_DUPLICATE] = M("duplicate"),
    [LINE_CANCELLED] = M("cancelled"),
    [LINE_CANCEL_REFUSED] = M("cancel_refused"),
#undef M
};

void told_count(enum line_outcome o) {
    metric_add(&outcomes[o], 1);
}

enum line_outcome told_outcome(const struct claim *c) {
    switch (c->state) {
    case CLAIM_RECORDED:
    case CLAIM_VISIT:
        return LINE_RECORDED;
    case CLAIM_REVIEW:
        return LINE_RECORDED_FOR_REVIEW;
    case CLAIM_WAITING:
        return LINE_WAITING_FOR_COUPON;
    case CLAIM_CONFLICT:
        return LINE_CONFLICT;
    case CLAIM_DUPLICATE:
        /* The same dose again after it was cancelled: the old one is back, for review. */
        return strstr(c->reasons, told_reinstated) != NULL ? LINE_RECORDED_FOR_REVIEW
                                                           : LINE_DUPLICATE;
    case CLAIM_CANCELLED:
        return LINE_CANCELLED;
    }
    return LINE_PENDING;
}

void apply_result_of(const struct claim *c, struct line_result *result) {
    memset(result, 0, sizeof *result);
    memcpy(result->receipt, c->receipt, sizeof result->receipt);
    result->outcome = told_outcome(c);
    record_id_format(c->state == CLAIM_DUPLICATE ? &c->duplicate_of : &c->id, result->dose_id);
    memcpy(result->warnings, c->reasons, sizeof result->warnings);
}

bool told_has_receipt(const struct claim *c) {
    static const uint8_t none[CLAIM_RECEIPT_BYTES];
    return memcmp(c->receipt, none, sizeof none) != 0;
}

void told_commit(const struct claim *c, const struct line_result *r, struct merkle_hash *out) {
    char receipt[2 * LINE_RECEIPT_BYTES + 1], ocr_line[19], date[11];
    crypto_hex(r->receipt, sizeof r->receipt, receipt);
    coupon_format(&c->coupon, ocr_line);
    clock_format_date(c->vaccinated_on, date);
    const struct proof_statement s = {.receipt_id = receipt,
                                      .dose_id = r->dose_id,
                                      .outcome = line_outcome_name(r->outcome),
                                      .ocr_line = ocr_line,
                                      .status = c->given ? "given" : "not_given",
                                      .vaccinated_on = date,
                                      .product = c->product,
                                      .lot = c->lot};
    proof_commitment(&s, out);
}

static enum vrs_err see_entry(const struct log_read *e, void *arg) {
    struct apply_proof *proof = arg;
    if (memcmp(&e->commitment, &proof->commitment, sizeof e->commitment) == 0)
        proof->place = (struct log_place){.entry = e->seq, .entry_hash = e->entry_hash};
    return VRS_OK;
}

enum vrs_err told_place(struct partition *p, uint64_t entry, struct apply_proof *proof) {
    enum vrs_err e = access_log_one(p, entry, see_entry, proof);
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* purged after its years */
}

enum vrs_err apply_proof_of(struct partition *p, const struct claim *c, const struct line_result *r,
                            struct apply_proof *out) {
    memset(out, 0, sizeof *out);
    if (c->log_seq == 0 || !told_has_receipt(c))
        return VRS_OK;
    told_commit(c, r, &out->commitment);
    return told_place(p, c->log_seq, out);
}

enum vrs_err told_log(struct partition *p, const char *act, const struct claim *c,
                      const struct person *holder, const struct log_actor *who, const char *result,
                      const struct line_result *told, struct apply_proof *proof) {
    if (told != NULL)
        told_commit(c, told, &proof->commitment);
    const struct log_entry entry = {.actor = *who,
                                    .act = act,
                                    .purpose = "vaccination_record",
                                    .result = result,
                                    .detail = c->origin,
                                    .count = 1,
                                    .person = c->has_person ? holder : NULL,
                                    .subjects = c->has_person ? &c->person : NULL,
                                    .subject_count = c->has_person ? 1 : 0,
                                    .commitment = told != NULL ? &proof->commitment : NULL};
    return told != NULL ? access_log_append_at(p, &entry, &proof->place)
                        : access_log_append(p, &entry, NULL);
}

enum vrs_err told_outcome_log(struct partition *p, const char *act, struct claim *c,
                              const struct person *holder, const struct log_actor *who,
                              struct apply_proof *proof) {
    struct line_result told;
    memset(proof, 0, sizeof *proof);
    apply_result_of(c, &told);
    enum vrs_err e = told_log(p, act, c, holder, who, line_outcome_name(told.outcome),
                              told_has_receipt(c) ? &told : NULL, proof);
    c->log_seq = proof->place.entry;
    return e;
}
