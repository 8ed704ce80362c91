#include "vrs-server/doses/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/metric.h"
#include "lib/text.h"
#include "partitions/exchange.h"
#include "vrs-server/server.h"

/* Invariants:
 *  A1  at most one claim of a turn (coupon, dose number) is in force; the rest are marked.
 *  A2  a receipt has one claim; applying it again changes nothing and answers the same.
 *  A3  what is applied leaves its log entry, its counts and its outcome in the same transaction.
 *  A4  the entry of a reading commits to what its receipt is told; the claim names that entry.
 *  A5  a cancellation takes effect once: offered again, it finds its own outcome, though the dose may
 *      have been read and reinstated meanwhile. */

enum { MAX_PRIOR = 64 };

static const char reinstated[] = "reinstated_after_cancel";

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

bool claim_in_force(const struct claim *c) {
    return c->state == CLAIM_RECORDED || c->state == CLAIM_REVIEW;
}

static enum line_outcome outcome_of(const struct claim *c) {
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
        return strstr(c->reasons, reinstated) != NULL ? LINE_RECORDED_FOR_REVIEW : LINE_DUPLICATE;
    case CLAIM_CANCELLED:
        return LINE_CANCELLED;
    }
    return LINE_PENDING;
}

void apply_result_of(const struct claim *c, struct line_result *result) {
    memset(result, 0, sizeof *result);
    memcpy(result->receipt, c->receipt, sizeof result->receipt);
    result->outcome = outcome_of(c);
    record_id_format(c->state == CLAIM_DUPLICATE ? &c->duplicate_of : &c->id, result->dose_id);
    memcpy(result->warnings, c->reasons, sizeof result->warnings);
}

void apply_count(struct tally_batch *tally, const struct claim *c, int64_t n) {
    char date[11], name[128];
    if (!claim_in_force(c))
        return;
    clock_format_date(c->vaccinated_on, date);
    (void)snprintf(name, sizeof name, "doses/%s/%d/%s", date, c->coupon.dose_number, c->product);
    tally_batch_add(tally, name, n);
}

/* --- comparing --- */

static bool same_lot(const char *a, const char *b) {
    struct buffer fa, fb;
    buffer_init(&fa, 1024);
    buffer_init(&fb, 1024);
    text_fold_code(a, &fa);
    text_fold_code(b, &fb);
    bool same = !fa.failed && !fb.failed && fa.len == fb.len &&
                (fa.len == 0 || memcmp(fa.data, fb.data, fa.len) == 0);
    buffer_fini(&fa);
    buffer_fini(&fb);
    return same;
}

/* Status, date, product and lot after normalisation: the whole meaning of "the same dose". */
static bool same_dose(const struct claim *a, const struct claim *b) {
    return a->given == b->given && a->vaccinated_on.days == b->vaccinated_on.days &&
           strcmp(a->product, b->product) == 0 && same_lot(a->lot, b->lot);
}

static void note_difference(struct claim *c, const char *field, const char *first,
                            const char *second) {
    size_t len = strlen(c->notes);
    if (strcmp(first, second) != 0)
        (void)snprintf(c->notes + len, sizeof c->notes - len, "%s%s: %s", len > 0 ? "; " : "",
                       field, second);
}

/* --- what is known of the turn and the person --- */

struct known {
    const struct claim *claim; /* the new one */
    struct claim in_force;     /* of the turn; version 0: none */
    struct claim same;         /* the same dose or visit already there */
    struct claim cancelled;    /* the same dose, cancelled */
    struct claim *prior;       /* the person's doses in force; grown as they come */
    size_t priors;
};

static void known_close(struct known *k) {
    if (k->prior != NULL)
        secret_wipe(k->prior, k->priors * sizeof *k->prior);
    free(k->prior);
    secret_wipe(k, sizeof *k);
    free(k);
}

static enum vrs_err see_turn(struct claim *c, void *arg) {
    struct known *k = arg;
    if (record_id_equal(&c->id, &k->claim->id))
        return VRS_OK;
    bool same = same_dose(c, k->claim);
    if (claim_in_force(c) && k->in_force.version == 0)
        k->in_force = *c;
    if (same && k->same.version == 0 &&
        (claim_in_force(c) || c->state == CLAIM_VISIT || c->state == CLAIM_CONFLICT))
        k->same = *c;
    if (same && c->state == CLAIM_CANCELLED)
        k->cancelled = *c;
    return VRS_OK;
}

static enum vrs_err see_person(struct claim *c, void *arg) {
    struct known *k = arg;
    if (!claim_in_force(c) || record_id_equal(&c->id, &k->claim->id) || k->priors >= MAX_PRIOR)
        return VRS_OK;
    if ((k->priors & (k->priors - 1)) ==
        0) { /* 0, or a power of two: full; realloc does not wipe */
        struct claim *grown = calloc(k->priors > 0 ? 2 * k->priors : 1, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        if (k->prior != NULL) {
            memcpy(grown, k->prior, k->priors * sizeof *grown);
            secret_wipe(k->prior, k->priors * sizeof *k->prior);
            free(k->prior);
        }
        k->prior = grown;
    }
    k->prior[k->priors++] = *c;
    return VRS_OK;
}

/* --- deciding --- */

static enum vrs_err find_holder(struct partition *p, struct claim *c, struct person *holder) {
    struct person_coupon coupon;
    enum vrs_err e = coupon_get(p, c->coupon.number.digits, &coupon);
    if (e == VRS_OK) {
        e = person_get(p, &coupon.person, holder);
        c->person = coupon.person;
    }
    c->has_person = e == VRS_OK;
    return e == ERR_NOT_FOUND ? VRS_OK : e;
}

static void decide_duplicate(struct claim *c, const struct claim *first) {
    c->state = CLAIM_DUPLICATE;
    c->duplicate_of = first->state == CLAIM_DUPLICATE ? first->duplicate_of : first->id;
    note_difference(c, "site", first->site, c->site);
    note_difference(c, "physician", first->physician, c->physician);
    note_difference(c, "terminal", first->terminal, c->terminal);
}

static enum vrs_err reinstate(struct partition *p, struct claim *c, struct claim *old,
                              struct tally_batch *tally) {
    old->state = CLAIM_REVIEW;
    (void)snprintf(old->reasons, sizeof old->reasons, "%s", reinstated);
    (void)snprintf(old->changed_by, sizeof old->changed_by, "%s", c->staff);
    (void)snprintf(old->change_reason, sizeof old->change_reason,
                   "取消後に同じ接種が再び登録されたため");
    old->changed_ms = clock_now_ms();
    old->cancelled_by_terminal = false;
    enum vrs_err e = claim_update(p, old);
    if (e == VRS_OK) {
        decide_duplicate(c, old);
        (void)snprintf(c->reasons, sizeof c->reasons, "%s", reinstated);
        apply_count(tally, old, 1);
    }
    return e;
}

static enum vrs_err decide_given(struct server *s, struct partition *p, struct claim *c,
                                 const struct person *holder, struct known *k,
                                 struct tally_batch *tally, bool clock_warning) {
    if (k->same.version != 0) {
        decide_duplicate(c, &k->same);
        return VRS_OK;
    }
    if (k->cancelled.version != 0 && k->in_force.version == 0)
        return reinstate(p, c, &k->cancelled, tally);
    enum vrs_err e = claims_of_person(p, &c->person, see_person, k);
    if (e != VRS_OK)
        return e;
    const struct claim *prior[MAX_PRIOR];
    for (size_t i = 0; i < k->priors; i++)
        prior[i] = &k->prior[i];
    const struct rule_input in = {.claim = c,
                                  .person = holder,
                                  .prior = prior,
                                  .priors = k->priors,
                                  .vaccines = s->vaccines,
                                  .today = clock_date_jst(c->registered_ms),
                                  .clock_warning = clock_warning};
    struct rule_result found;
    rules_apply(s->rules, &in, &found);
    memcpy(c->reasons, found.names, sizeof c->reasons);
    c->state = k->in_force.version != 0 ? CLAIM_CONFLICT
               : found.review           ? CLAIM_REVIEW
                                        : CLAIM_RECORDED;
    return VRS_OK;
}

/* Sets state, person and reasons of a claim. */
static enum vrs_err decide(struct server *s, struct partition *p, struct claim *c,
                           struct person *holder, struct tally_batch *tally, bool clock_warning) {
    enum vrs_err e = find_holder(p, c, holder);
    if (e != VRS_OK)
        return e;
    if (!c->has_person) {
        c->state = CLAIM_WAITING;
        (void)snprintf(c->reasons, sizeof c->reasons, "coupon_not_registered");
        return VRS_OK;
    }
    struct known *k = calloc(1, sizeof *k);
    if (k == NULL)
        return ERR_MEMORY;
    k->claim = c;
    e = claims_of_turn(p, &c->coupon, see_turn, k);
    if (e == VRS_OK && !c->given) {
        c->state = CLAIM_VISIT; /* 予診のみ occupies no dose number */
        if (k->same.version != 0)
            decide_duplicate(c, &k->same);
    } else if (e == VRS_OK) {
        e = decide_given(s, p, c, holder, k, tally, clock_warning);
    }
    known_close(k);
    return e;
}

/* --- what a receipt is told, as its log entry commits to it (A4) --- */

static bool has_receipt(const struct claim *c) {
    static const uint8_t none[CLAIM_RECEIPT_BYTES];
    return memcmp(c->receipt, none, sizeof none) != 0;
}

static void commit_to(const struct claim *c, const struct line_result *r, struct merkle_hash *out) {
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

enum vrs_err apply_proof_of(struct partition *p, const struct claim *c, const struct line_result *r,
                            struct apply_proof *out) {
    memset(out, 0, sizeof *out);
    if (c->log_seq == 0 || !has_receipt(c))
        return VRS_OK;
    commit_to(c, r, &out->commitment);
    enum vrs_err e = access_log_one(p, c->log_seq, see_entry, out);
    return e == ERR_NOT_FOUND ? VRS_OK : e; /* purged after its years */
}

/* --- recording --- */

/* `told`: what the entry commits to, NULL nothing. */
static enum vrs_err log_claim(struct partition *p, const char *act, const struct claim *c,
                              const struct person *holder, const struct log_actor *who,
                              const char *result, const struct line_result *told,
                              struct apply_proof *proof) {
    if (told != NULL)
        commit_to(c, told, &proof->commitment);
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

/* The entry of what was decided, named by the claim, which is stored after it. */
static enum vrs_err log_outcome(struct partition *p, const char *act, struct claim *c,
                                const struct person *holder, const struct log_actor *who,
                                struct apply_proof *proof) {
    struct line_result told;
    memset(proof, 0, sizeof *proof);
    apply_result_of(c, &told);
    enum vrs_err e = log_claim(p, act, c, holder, who, line_outcome_name(told.outcome),
                               has_receipt(c) ? &told : NULL, proof);
    c->log_seq = proof->place.entry;
    return e;
}

enum vrs_err apply_claim(struct server *s, struct partition *p, struct claim *c,
                         const struct log_actor *who, struct tally_batch *tally, bool clock_warning,
                         struct line_result *result, struct apply_proof *proof) {
    struct person holder;
    struct line_result told;
    struct apply_proof made;
    enum vrs_err e = ERR_NOT_FOUND;
    bool before_now = false;
    memset(&holder, 0, sizeof holder);
    memset(&made, 0, sizeof made);
    if (has_receipt(c)) {
        struct claim before;
        e = claim_by_receipt(p, c->receipt, &before);
        before_now = e == VRS_OK;
        if (before_now) /* A2 */
            *c = before;
        secret_wipe(&before, sizeof before);
    }
    if (e == ERR_NOT_FOUND) {
        e = decide(s, p, c, &holder, tally, clock_warning);
        if (e == VRS_OK)
            e = log_outcome(p, "dose.record", c, &holder, who, &made);
        /* The first outcome needs no mark: the inbox offers its entry until it has one. */
        if (e == VRS_OK)
            e = claim_insert(p, c);
        if (e == VRS_OK) {
            apply_count(tally, c, 1);
            metric_add(&outcomes[outcome_of(c)], 1);
        }
    }
    apply_result_of(c, &told);
    if (e == VRS_OK && before_now && proof != NULL)
        e = apply_proof_of(p, c, &told, &made);
    if (e == VRS_OK && result != NULL)
        *result = told;
    if (e == VRS_OK && proof != NULL)
        *proof = made;
    person_wipe(&holder);
    return e;
}

enum vrs_err apply_taken_over(struct server *s, struct partition *p, struct claim *c,
                              const struct person *holder, const struct log_actor *who,
                              struct tally_batch *tally, bool *added) {
    struct known *k = calloc(1, sizeof *k);
    if (k == NULL)
        return ERR_MEMORY;
    k->claim = c;
    c->has_person = true;
    c->person = holder->id;
    *added = false;
    enum vrs_err e = claims_of_turn(p, &c->coupon, see_turn, k);
    if (e == VRS_OK && k->same.version == 0) {
        if (c->given)
            e = decide_given(s, p, c, holder, k, tally, false);
        else
            c->state = CLAIM_VISIT;
        if (e == VRS_OK)
            e = claim_insert(p, c);
        if (e == VRS_OK)
            e = log_claim(p, "dose.take_over", c, holder, who, line_outcome_name(outcome_of(c)),
                          NULL, NULL);
        if (e == VRS_OK)
            apply_count(tally, c, 1);
        *added = e == VRS_OK;
    }
    known_close(k);
    return e;
}

/* --- cancelling from the terminal --- */

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

/* A5: "dose id, or -" " " "its log entry, 0 none"; the outcome is the status. */
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
    commit_to(c, result, &proof->commitment);
    enum vrs_err e = access_log_one(p, seq, see_entry, proof);
    return e == ERR_NOT_FOUND ? VRS_OK : e;
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
    e = VRS_OK;
    bool cancels = found && c.state != CLAIM_CANCELLED && may_cancel(&c, cancel, received_ms);
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
    if (e == VRS_OK && c.has_person)
        e = person_get(p, &c.person, &holder);
    const struct log_actor who = {
        .user = cancel->staff, .terminal = cancel->terminal, .source = "internet"};
    struct apply_proof of_dose;
    if (e == VRS_OK && cancels && !told) {
        e = log_outcome(p, "dose.cancel", &c, &holder, &who, &of_dose);
    } else if (e == VRS_OK) {
        e = log_claim(p, "dose.cancel", &c, &holder, &who, line_outcome_name(result->outcome),
                      cancels ? result : NULL, proof);
        c.log_seq = 0; /* what its receipt was told is the past */
    }
    if (e == VRS_OK && cancels)
        e = claim_update(p, &c);
    if (e == VRS_OK)
        e = cancel_keep(p, result, cancels && told ? proof->place.entry : 0);
    if (e == VRS_OK)
        metric_add(&outcomes[result->outcome], 1);
    person_wipe(&holder);
    secret_wipe(&c, sizeof c);
    return e;
}

/* --- waiting claims whose coupon was registered --- */

struct waiting {
    struct server *server;
    struct partition *partition;
    const struct log_actor *who;
    struct tally_batch *tally;
    uint64_t settled;
};

static enum vrs_err apply_again(struct claim *c, void *arg) {
    struct waiting *w = arg;
    struct person holder;
    struct apply_proof made;
    memset(&holder, 0, sizeof holder);
    if (c->state != CLAIM_WAITING)
        return VRS_OK;
    c->reasons[0] = '\0';
    enum vrs_err e = decide(w->server, w->partition, c, &holder, w->tally, false);
    if (e == VRS_OK && c->state != CLAIM_WAITING) {
        c->outcome_unsent = has_receipt(c);
        (void)snprintf(c->changed_by, sizeof c->changed_by, "%s", w->who->user);
        (void)snprintf(c->change_reason, sizeof c->change_reason, "接種券が登録されたため");
        c->changed_ms = clock_now_ms();
        e = log_outcome(w->partition, "dose.record", c, &holder, w->who, &made);
        if (e == VRS_OK)
            e = claim_update(w->partition, c);
        if (e == VRS_OK) {
            apply_count(w->tally, c, 1);
            metric_add(&outcomes[outcome_of(c)], 1);
            w->settled++;
        }
    }
    person_wipe(&holder);
    return e;
}

enum vrs_err apply_waiting(struct server *s, struct partition *p, const char *coupon,
                           const struct log_actor *who, struct tally_batch *tally,
                           uint64_t *settled) {
    struct waiting w = {.server = s, .partition = p, .who = who, .tally = tally};
    enum vrs_err e = claims_of_coupon(p, coupon, apply_again, &w);
    *settled = w.settled;
    return e;
}
