#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "partitions/claim.h"
#include "partitions/person.h"
#include "partitions/tally.h"
#include "tests/sim/day.h"
#include "vrs-server/doses/apply.h"

enum { CLAIMS = 128, ENTRIES = 1024 };

/* ---- outside */

static struct inbox_found found[DAY_POSTED];
static bool is_there[DAY_POSTED];

static void look_outside(void) {
    struct inbox_db *db = inbox_db_of(town.tablet.inbox);
    if (inbox_db_begin(db, NULL) != VRS_OK) {
        day_wrong("the inbox takes no transaction");
        return;
    }
    for (size_t i = 0; i < day.count; i++) {
        struct posted *p = &day.posted[i];
        enum vrs_err e = inbox_db_by_receipt(db, p->receipt, &found[i]);
        is_there[i] = e == VRS_OK;
        if (e != VRS_OK && e != ERR_NOT_FOUND)
            day_wrong("receipt %zu: %s", i, err_name(e));
        else if (p->answer == POSTED_ACKED && !p->other_key_holder && e != VRS_OK)
            day_wrong("receipt %zu was acknowledged and is gone", i);
        else if (p->answer == POSTED_REFUSED && e == VRS_OK)
            day_wrong("receipt %zu was refused and is there", i);
        else if (e == VRS_OK && found[i].outcome == LINE_PENDING)
            day_wrong("receipt %zu has no outcome", i);
        else if (e == VRS_OK && strcmp(found[i].terminal, p->terminal) != 0)
            day_wrong("receipt %zu is another terminal's", i);
        if (is_there[i] && p->told != LINE_PENDING && p->told != found[i].outcome &&
            p->told != LINE_WAITING_FOR_COUPON && found[i].outcome != LINE_CANCELLED)
            day_wrong("receipt %zu: its outcome went from %s to %s", i, line_outcome_name(p->told),
                      line_outcome_name(found[i].outcome));
        if (is_there[i])
            p->told = found[i].outcome;
    }
    inbox_db_rollback(db);
    for (size_t i = 0; i < day.count; i++)
        for (size_t k = i + 1; k < day.count; k++)
            if (is_there[i] && is_there[k] && day.posted[i].key == day.posted[k].key)
                day_wrong("key %d has two receipts", day.posted[i].key);
}

/* ---- inside */

struct inside {
    struct pool_job job; /* first */
    bool done;
    int town;
    struct partition *partition;
    struct claim claims[CLAIMS];
    size_t count;
    struct merkle_hash told[ENTRIES];
    size_t entries, told_count;
    struct {
        char name[128];
        int64_t n;
    } tally[CLAIMS];
    size_t tallies;
    struct record_id rows[CLAIMS]; /* of vrs-number */
    size_t row_count;
    size_t links, persons;
};
static struct inside inside;

static enum vrs_err see_claim(struct claim *c, void *arg) {
    struct inside *in = arg;
    if (in->count < CLAIMS)
        in->claims[in->count++] = *c;
    return VRS_OK;
}

static enum vrs_err see_entry(const struct log_read *e, void *arg) {
    static const struct merkle_hash none;
    struct inside *in = arg;
    if (e->seq != ++in->entries)
        day_wrong("town %d: log entry %zu has number %llu", in->town, in->entries,
                  (unsigned long long)e->seq);
    if (memcmp(&e->commitment, &none, sizeof none) == 0 || in->told_count == ENTRIES)
        return VRS_OK;
    for (size_t i = 0; i < in->told_count; i++)
        if (memcmp(&in->told[i], &e->commitment, sizeof none) == 0)
            day_wrong("town %d: an outcome has two log entries", in->town);
    in->told[in->told_count++] = e->commitment;
    return VRS_OK;
}

static void count_claim(struct inside *in, const struct claim *c) {
    char date[11], name[128];
    if (!claim_in_force(c))
        return;
    clock_format_date(c->vaccinated_on, date);
    (void)snprintf(name, sizeof name, "doses/%s/%d/%s", date, c->coupon.dose_number, c->product);
    size_t i = 0;
    while (i < in->tallies && strcmp(in->tally[i].name, name) != 0)
        i++;
    if (i == in->tallies)
        (void)snprintf(in->tally[in->tallies++].name, sizeof name, "%s", name);
    in->tally[i].n++;
}

static enum vrs_err see_tally(const char *name, int64_t value, void *arg) {
    struct inside *in = arg;
    for (size_t i = 0; i < in->tallies; i++) {
        if (strcmp(in->tally[i].name, name) == 0) {
            if (in->tally[i].n != value)
                day_wrong("town %d: counter %s is %lld, doses are %lld", in->town, name,
                          (long long)value, (long long)in->tally[i].n);
            in->tally[i].n = 0;
            return VRS_OK;
        }
    }
    if (value != 0)
        day_wrong("town %d: counter %s is %lld, there is no dose", in->town, name,
                  (long long)value);
    return VRS_OK;
}

static const struct posted *posted_of(const uint8_t *receipt, size_t *at) {
    for (size_t i = 0; i < day.count; i++) {
        if (memcmp(day.posted[i].receipt, receipt, LINE_RECEIPT_BYTES) == 0) {
            *at = i;
            return &day.posted[i];
        }
    }
    return NULL;
}

static bool was_reinstated(const struct claim *c) {
    return strstr(c->reasons, "reinstated_after_cancel") != NULL;
}

/* dose ⇔ receipt ⇔ log entry ⇔ outcome */
static enum vrs_err check_claim(struct inside *in, const struct claim *c) {
    struct line_dose d;
    struct line_result told;
    struct apply_proof proof;
    char municipality[7], line[19], date[11];
    size_t at = 0;
    const struct posted *p = posted_of(c->receipt, &at);
    if (p == NULL || p->cancel || !is_there[at]) {
        day_wrong("town %d: a dose without its receipt outside", in->town);
        return VRS_OK;
    }
    day_dose_of(p->key, p->body, &d, municipality);
    coupon_format(&c->coupon, line);
    clock_format_date(c->vaccinated_on, date);
    if (strcmp(line, d.ocr_line) != 0 || strcmp(date, d.vaccinated_on) != 0 ||
        strcmp(c->lot, d.lot) != 0 || strcmp(c->product, d.product) != 0 || c->given != d.given ||
        strcmp(municipality, day_towns[in->town]) != 0)
        day_wrong("town %d: the dose of receipt %zu is not what was read", in->town, at);
    apply_result_of(c, &told);
    enum vrs_err e = apply_proof_of(in->partition, c, &told, &proof);
    bool changed = c->state == CLAIM_CANCELLED || was_reinstated(c);
    if (e != VRS_OK || (proof.place.entry == 0 && !changed))
        day_wrong("town %d: receipt %zu has no log entry (%s)", in->town, at, err_name(e));
    if (told.outcome != found[at].outcome && !changed)
        day_wrong("town %d: receipt %zu is %s inside, %s outside", in->town, at,
                  line_outcome_name(told.outcome), line_outcome_name(found[at].outcome));
    if (proof.place.entry != 0 && found[at].proof_len > 0 && told.outcome == found[at].outcome &&
        memcmp(found[at].proof, proof.commitment.bytes, sizeof proof.commitment.bytes) != 0)
        day_wrong("town %d: receipt %zu has the proof of something else", in->town, at);
    return e;
}

static void check_claims(struct inside *in) {
    for (size_t i = 0; i < in->count; i++) {
        const struct claim *a = &in->claims[i];
        (void)check_claim(in, a);
        count_claim(in, a);
        for (size_t k = i + 1; k < in->count; k++) {
            const struct claim *b = &in->claims[k];
            if (memcmp(a->receipt, b->receipt, sizeof a->receipt) == 0)
                day_wrong("town %d: a receipt has two doses", in->town);
            if (claim_in_force(a) && claim_in_force(b) &&
                strcmp(a->coupon.number.digits, b->coupon.number.digits) == 0 &&
                a->coupon.dose_number == b->coupon.dose_number)
                day_wrong("town %d: two doses of one turn are in force", in->town);
        }
    }
    /* Every reading that came is a dose here. */
    for (size_t i = 0; i < day.count; i++) {
        const struct posted *p = &day.posted[i];
        const struct claim *c = NULL;
        if (!is_there[i] || strcmp(found[i].municipality, day_towns[in->town]) != 0)
            continue;
        const uint8_t *receipt = p->cancel ? p->target->receipt : p->receipt;
        for (size_t k = 0; k < in->count; k++)
            if (memcmp(in->claims[k].receipt, receipt, LINE_RECEIPT_BYTES) == 0)
                c = &in->claims[k];
        if (c == NULL)
            day_wrong("town %d: receipt %zu has no dose", in->town, i);
        else if (p->cancel && found[i].outcome == LINE_CANCELLED && c->state != CLAIM_CANCELLED &&
                 !was_reinstated(c))
            day_wrong("town %d: what was cancelled is no longer", in->town);
        else if (p->cancel && p->terminal != p->target->terminal &&
                 found[i].outcome != LINE_CANCEL_REFUSED)
            day_wrong("town %d: another terminal cancelled", in->town);
    }
}

static enum vrs_err see_row(const struct record_id *row, void *arg) {
    struct inside *in = arg;
    if (in->row_count < CLAIMS)
        in->rows[in->row_count++] = *row;
    return VRS_OK;
}

static enum vrs_err see_link(const struct record_id *row, void *arg) {
    struct inside *in = arg;
    in->links++;
    for (size_t i = 0; i < in->row_count; i++)
        if (record_id_equal(&in->rows[i], row))
            return VRS_OK;
    day_wrong("town %d: a resident without the number", in->town);
    return VRS_OK;
}

static enum vrs_err see_person(struct person *p, void *arg) {
    struct inside *in = arg;
    in->persons++;
    for (int i = 0; i < TOWN_COUPONS; i++)
        if (record_id_equal(&day.resident[in->town][i].job.person, &p->id) &&
            day.resident[in->town][i].answer == POSTED_REFUSED)
            day_wrong("town %d: resident %d was refused and is there", in->town, i);
    return VRS_OK;
}

static enum vrs_err look_inside(struct pool_job *job, struct partition *p) {
    struct inside *in = (struct inside *)job;
    struct log_head head;
    uint64_t bad = 0;
    int t = in->town;
    in->partition = p;
    for (int s = CLAIM_RECORDED; s <= CLAIM_CANCELLED; s++)
        if (claims_in_state(p, (enum claim_state)s, 0, CLAIMS, see_claim, in) != VRS_OK)
            day_wrong("town %d: claims cannot be read", t);
    if (access_log_read(p, 0, ENTRIES, see_entry, in) != VRS_OK)
        day_wrong("town %d: the log cannot be read", t);
    enum vrs_err e = access_log_verify(p, day.head[t].size > 0 ? &day.head[t] : NULL, &head, &bad);
    if (e != VRS_OK)
        day_wrong("town %d: the log is %s at %llu", t, err_name(e), (unsigned long long)bad);
    else
        day.head[t] = head;
    check_claims(in);
    if (tally_walk(p, "doses/", see_tally, in) != VRS_OK)
        day_wrong("town %d: counters cannot be read", t);
    for (size_t i = 0; i < in->tallies; i++)
        if (in->tally[i].n != 0)
            day_wrong("town %d: counter %s is missing", t, in->tally[i].name);
    size_t had = in->count;
    if (claims_unsent(p, CLAIMS, see_claim, in) != VRS_OK || in->count != had)
        day_wrong("town %d: %zu outcomes were never handed over", t, in->count - had);
    struct record_id last = {{0}};
    for (bool more = true; more;)
        if (number_list(NULL, day_towns[t], &last, &more, see_row, in) != VRS_OK) {
            day_wrong("town %d: numbers cannot be read", t);
            break;
        }
    if (number_link_walk(p, see_link, in) != VRS_OK || person_walk(p, see_person, in) != VRS_OK)
        day_wrong("town %d: residents cannot be read", t);
    if (in->links != in->row_count || in->links != in->persons)
        day_wrong("town %d: %zu residents, %zu links, %zu numbers", t, in->persons, in->links,
                  in->row_count);
    for (int i = 0; i < TOWN_COUPONS; i++) {
        struct person person;
        struct person_coupon coupon;
        char digits[11];
        town_coupon(i, digits);
        if (day.resident[t][i].answer == POSTED_ACKED && day.resident[t][i].asked &&
            (person_get(p, &day.resident[t][i].job.person, &person) != VRS_OK ||
             coupon_get(p, digits, &coupon) != VRS_OK))
            day_wrong("town %d: resident %d was registered and is gone", t, i);
    }
    return VRS_OK;
}

static void looked(struct pool_job *job) {
    ((struct inside *)job)->done = true;
}

static bool anything_for(int t) {
    bool any = false;
    for (size_t i = 0; i < day.count; i++)
        any |= is_there[i] && strcmp(found[i].municipality, day_towns[t]) == 0;
    for (int i = 0; i < TOWN_COUPONS; i++)
        any |= day.resident[t][i].asked && day.resident[t][i].answer == POSTED_ACKED;
    return any;
}

void day_truth(void) {
    look_outside();
    for (int t = 0; t < DAY_TOWNS && !day.wrong; t++) {
        memset(&inside, 0, sizeof inside);
        inside.town = t;
        inside.job.run = look_inside;
        inside.job.done = looked;
        (void)snprintf(inside.job.municipality, sizeof inside.job.municipality, "%s", day_towns[t]);
        if (pool_submit(town.server.pool, &inside.job) != VRS_OK)
            abort();
        while (!inside.done)
            (void)machine_step(false);
        if (inside.job.err == ERR_NOT_FOUND ? anything_for(t) : inside.job.err != VRS_OK)
            day_wrong("town %d cannot be looked into: %s", t, err_name(inside.job.err));
        const char *why = "";
        struct log_signed_head h = {.size = day.head[t].size, .root = day.head[t].root};
        memcpy(h.municipality, day_towns[t], sizeof h.municipality);
        memcpy(h.epoch, day.head[t].epoch, sizeof h.epoch);
        if (h.size > 0 && heads_take(town.heads, &h, &why) != VRS_OK)
            day_wrong("town %d: the signer would refuse this log: %s", t, why);
        day_totals.doses += inside.count;
        day_totals.residents += inside.persons;
    }
    for (size_t i = 0; i < day.count; i++) {
        const struct posted *p = &day.posted[i];
        day_totals.acknowledged += p->answer == POSTED_ACKED && !p->other_key_holder;
        day_totals.again += p->other_key_holder;
        day_totals.refused += p->answer == POSTED_REFUSED;
        day_totals.unknown += p->answer == POSTED_UNKNOWN;
        day_totals.cancelled += p->cancel && is_there[i] && found[i].outcome == LINE_CANCELLED;
    }
}
