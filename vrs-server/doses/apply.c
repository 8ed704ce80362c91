#include "vrs-server/doses/apply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/text.h"
#include "vrs-server/doses/told.h"
#include "vrs-server/server.h"

/* Invariants:
 *  A1  at most one claim of a turn (coupon, dose number) is in force; the rest are marked.
 *  A2  a receipt has one claim; applying it again changes nothing and answers the same.
 *  A3  what is applied leaves its log entry, its counts and its outcome in the same transaction.
 *  A4  the entry of a reading commits to what its receipt is told; the claim names that entry. */

enum { MAX_PRIOR = 64 };

bool claim_in_force(const struct claim *c) {
    return c->state == CLAIM_RECORDED || c->state == CLAIM_REVIEW;
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
    (void)snprintf(old->reasons, sizeof old->reasons, "%s", told_reinstated);
    (void)snprintf(old->changed_by, sizeof old->changed_by, "%s", c->staff);
    (void)snprintf(old->change_reason, sizeof old->change_reason,
                   "取消後に同じ接種が再び登録されたため");
    old->changed_ms = clock_now_ms();
    old->cancelled_by_terminal = false;
    enum vrs_err e = claim_update(p, old);
    if (e == VRS_OK) {
        decide_duplicate(c, old);
        (void)snprintf(c->reasons, sizeof c->reasons, "%s", told_reinstated);
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

/* --- recording --- */

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
    if (told_has_receipt(c)) {
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
            e = told_outcome_log(p, "dose.record", c, &holder, who, &made);
        /* The first outcome needs no mark: the inbox offers its entry until it has one. */
        if (e == VRS_OK)
            e = claim_insert(p, c);
        if (e == VRS_OK) {
            apply_count(tally, c, 1);
            told_count(told_outcome(c));
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
            e = told_log(p, "dose.take_over", c, holder, who, line_outcome_name(told_outcome(c)),
                         NULL, NULL);
        if (e == VRS_OK)
            apply_count(tally, c, 1);
        *added = e == VRS_OK;
    }
    known_close(k);
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
        c->outcome_unsent = told_has_receipt(c);
        (void)snprintf(c->changed_by, sizeof c->changed_by, "%s", w->who->user);
        (void)snprintf(c->change_reason, sizeof c->change_reason, "接種券が登録されたため");
        c->changed_ms = clock_now_ms();
        e = told_outcome_log(w->partition, "dose.record", c, &holder, w->who, &made);
        if (e == VRS_OK)
            e = claim_update(w->partition, c);
        if (e == VRS_OK) {
            apply_count(w->tally, c, 1);
            told_count(told_outcome(c));
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
