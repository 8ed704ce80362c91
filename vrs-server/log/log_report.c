#include "vrs-server/log/log_report.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/text.h"

enum { BUCKETS = 4096 };
static const int64_t hour_ms = 3600000, day_ms = 86400000, jst_ms = 9 * 3600000;

/* A set of hashes: how many different persons or towns. */
struct distinct {
    uint64_t *slot; /* 0: free */
    size_t cap, count;
};

struct named {
    uint64_t sequence;
    int64_t at_ms;
    uint64_t weight; /* how many it stands for */
};

/* What one user (or terminal) did by one rule in one stretch of time.  When the next stretch begins
 * a group that tells nothing is used again, so that memory is for users and findings. */
struct group {
    struct group *next, *all; /* of the bucket; of the report, in order of making */
    uint64_t stretch;
    struct distinct distinct;
    uint64_t more; /* persons of entries that name several at once */
    bool closed;   /* a finding of a stretch that is over */
    struct named *named;
    size_t cap;
    struct log_finding f;
};

struct log_report {
    struct log_rules *rules;
    int64_t off_from, off_to;
    struct group *bucket[BUCKETS], *first, **last;
    uint64_t seq, looked_at;
    int64_t at_ms;
};

static uint64_t hash_of(const char *s, uint64_t h) {
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * 1099511628211U;
    return h;
}

static enum vrs_err distinct_add(struct distinct *d, const char *name) {
    uint64_t h = hash_of(name, 14695981039346656037U) | 1;
    if (2 * d->count >= d->cap) {
        size_t cap = d->cap == 0 ? 64 : 2 * d->cap;
        uint64_t *grown = calloc(cap, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        for (size_t i = 0; i < d->cap; i++) {
            size_t at = (size_t)(d->slot[i] >> 1) & (cap - 1);
            while (d->slot[i] != 0 && grown[at] != 0)
                at = (at + 1) & (cap - 1);
            if (d->slot[i] != 0)
                grown[at] = d->slot[i];
        }
        free(d->slot);
        d->slot = grown;
        d->cap = cap;
    }
    size_t at = (size_t)(h >> 1) & (d->cap - 1);
    while (d->slot[at] != 0 && d->slot[at] != h)
        at = (at + 1) & (d->cap - 1);
    d->count += d->slot[at] == 0;
    d->slot[at] = h;
    return VRS_OK;
}

struct log_report *log_report_open(struct log_rules *rules, int64_t off_from, int64_t off_to) {
    struct log_report *r = calloc(1, sizeof *r);
    if (r == NULL)
        return NULL;
    r->rules = rules;
    r->off_from = off_from;
    r->off_to = off_to;
    r->last = &r->first;
    return r;
}

void log_report_close(struct log_report **rp) {
    if (*rp == NULL)
        return;
    for (struct group *g = (*rp)->first, *next; g != NULL; g = next) {
        next = g->all;
        free(g->distinct.slot);
        free(g->named);
        free(g);
    }
    free(*rp);
    *rp = NULL;
}

uint64_t log_report_looked_at(const struct log_report *r) {
    return r->looked_at;
}

/* --- groups --- */

static bool known(const char *user) {
    return strcmp(user, "-") != 0;
}

static bool is_finding(struct log_report *r, const struct group *g) {
    const struct log_threshold *t = log_rule_threshold(r->rules, g->f.rule);
    if (g->f.rule == LOG_FISHING)
        return t->on && g->f.total >= (uint64_t)t->count &&
               100 * g->f.count >= (uint64_t)t->miss_percent * g->f.total;
    return t->on && g->f.count >= (uint64_t)t->count;
}

static void group_begin(struct group *g, const struct log_read *e, uint64_t stretch) {
    g->stretch = stretch;
    if (g->distinct.cap > 0)
        memset(g->distinct.slot, 0, g->distinct.cap * sizeof *g->distinct.slot);
    g->distinct.count = 0;
    g->more = 0;
    g->f.count = g->f.total = 0;
    g->f.sequences = 0;
    g->f.from_ms = g->f.to_ms = e->at_ms;
    (void)snprintf(g->f.terminal, sizeof g->f.terminal, "%s", e->terminal);
}

static bool is_of(const struct group *g, enum log_rule rule, const struct log_read *e) {
    return !g->closed && g->f.rule == rule && strcmp(g->f.user, e->user) == 0 &&
           (known(e->user) || strcmp(g->f.terminal, e->terminal) == 0);
}

/* Nobody's acts are counted by the terminal that they came from. */
static struct group *group_of(struct log_report *r, enum log_rule rule, const struct log_read *e,
                              uint64_t stretch) {
    uint64_t h = hash_of(known(e->user) ? "" : e->terminal, hash_of(e->user, (uint64_t)rule + 1));
    struct group **at = &r->bucket[h % BUCKETS], *g = *at;
    while (g != NULL && !is_of(g, rule, e))
        g = g->next;
    if (g != NULL && g->stretch != stretch && is_finding(r, g)) {
        g->closed = true;
        g = NULL;
    } else if (g != NULL && g->stretch != stretch) {
        group_begin(g, e, stretch);
    }
    if (g != NULL)
        return g;
    g = calloc(1, sizeof *g);
    if (g == NULL)
        return NULL;
    g->f.rule = rule;
    (void)snprintf(g->f.user, sizeof g->f.user, "%s", e->user);
    group_begin(g, e, stretch);
    g->next = *at;
    *at = g;
    *r->last = g;
    r->last = &g->all;
    return g;
}

static enum vrs_err name_entry(struct group *g, const struct log_read *e, uint64_t weight) {
    struct log_finding *f = &g->f;
    if (f->sequences == g->cap && g->cap < LOG_FINDING_SEQUENCES) {
        size_t cap = g->cap == 0 ? 8 : 2 * g->cap;
        cap = cap < LOG_FINDING_SEQUENCES ? cap : LOG_FINDING_SEQUENCES;
        struct named *grown = reallocarray(g->named, cap, sizeof *grown);
        if (grown == NULL)
            return ERR_MEMORY;
        g->named = grown;
        g->cap = cap;
    }
    if (f->sequences < g->cap)
        g->named[f->sequences++] =
            (struct named){.sequence = e->seq, .at_ms = e->at_ms, .weight = weight};
    f->to_ms = e->at_ms;
    if (known(e->user) && strcmp(f->terminal, e->terminal) != 0)
        (void)snprintf(f->terminal, sizeof f->terminal, "-"); /* several */
    return VRS_OK;
}

static uint64_t stretch_of(const struct log_read *e, int64_t length_ms) {
    return (uint64_t)((e->at_ms + jst_ms) / length_ms);
}

/* --- the rules --- */

static enum vrs_err off_hours(struct log_report *r, const struct log_read *e) {
    int64_t hour = (e->at_ms + jst_ms) % day_ms / hour_ms;
    bool off = r->off_from <= r->off_to ? hour >= r->off_from && hour < r->off_to
                                        : hour >= r->off_from || hour < r->off_to;
    if (!off && !log_rules_day_off(r->rules, clock_date_jst(e->at_ms)))
        return VRS_OK;
    struct group *g = group_of(r, LOG_OFF_HOURS, e, stretch_of(e, day_ms));
    if (g == NULL)
        return ERR_MEMORY;
    g->f.count++;
    return name_entry(g, e, 1);
}

static enum vrs_err mass_reads(struct log_report *r, const struct log_read *e, enum log_rule rule,
                               int64_t length_ms) {
    struct group *g = group_of(r, rule, e, stretch_of(e, length_ms));
    if (g == NULL)
        return ERR_MEMORY;
    enum vrs_err err = VRS_OK;
    if (e->subject_count > 1)
        g->more += e->subject_count;
    else
        err = distinct_add(&g->distinct, e->addressee);
    g->f.count = g->distinct.count + g->more;
    g->f.total++;
    return err == VRS_OK ? name_entry(g, e, 1) : err;
}

/* So many within the window, wherever it begins; what follows closely belongs to the same run.  A
 * threshold above LOG_FINDING_SEQUENCES is met by as many. */
static enum vrs_err refusals(struct log_report *r, const struct log_read *e) {
    const int64_t window_ms = log_rule_threshold(r->rules, LOG_REFUSALS)->minutes * 60000;
    struct group *g = group_of(r, LOG_REFUSALS, e, 0);
    if (g == NULL)
        return ERR_MEMORY;
    bool found = is_finding(r, g);
    if (found && e->at_ms - g->f.to_ms > window_ms) {
        g->closed = true;
        g = group_of(r, LOG_REFUSALS, e, 0);
        if (g == NULL)
            return ERR_MEMORY;
    } else if (!found) { /* what is older than the window goes */
        size_t old = 0;
        while (old < g->f.sequences && e->at_ms - g->named[old].at_ms > window_ms)
            g->f.count -= g->named[old++].weight;
        g->f.sequences -= old;
        if (old > 0)
            memmove(g->named, g->named + old, g->f.sequences * sizeof *g->named);
        g->f.from_ms = g->f.sequences > 0 ? g->named[0].at_ms : e->at_ms;
    }
    uint64_t weight = 1 + (strstr(e->detail, "more=") != NULL ? e->count : 0);
    g->f.count += weight;
    return name_entry(g, e, weight);
}

static bool number_question(const struct log_read *e, bool *miss) {
    if (strcmp(e->act, "resident.search") == 0 && strcmp(e->detail, "personal_number") == 0) {
        *miss = e->count == 0;
        return true;
    }
    if (strcmp(e->act, "inquiry.result") == 0) {
        *miss = strcmp(e->result, "no_match") == 0;
        return true;
    }
    *miss = strcmp(e->result, "not_found") == 0;
    return strcmp(e->act, "certificate.lookup") == 0;
}

static enum vrs_err fishing(struct log_report *r, const struct log_read *e) {
    bool miss;
    if (!number_question(e, &miss))
        return VRS_OK;
    struct group *g = group_of(r, LOG_FISHING, e, stretch_of(e, day_ms));
    if (g == NULL)
        return ERR_MEMORY;
    g->f.total++;
    g->f.count += miss;
    return miss ? name_entry(g, e, 1) : VRS_OK;
}

/* The term is not in the log; that it stood beside the one before is ("near"). */
static enum vrs_err coupon_sweep(struct log_report *r, const struct log_read *e) {
    if (strcmp(e->detail, "coupon_number near") != 0)
        return VRS_OK;
    struct group *g = group_of(r, LOG_COUPON_SWEEP, e, stretch_of(e, day_ms));
    if (g == NULL)
        return ERR_MEMORY;
    g->f.count++;
    return name_entry(g, e, 1);
}

static enum vrs_err code_sweep(struct log_report *r, const struct log_read *e) {
    if (strcmp(e->act, "inquiry.ask") != 0 || strcmp(e->result, "sent") != 0)
        return VRS_OK;
    struct group *g = group_of(r, LOG_CODE_SWEEP, e, stretch_of(e, day_ms));
    if (g == NULL)
        return ERR_MEMORY;
    enum vrs_err err = distinct_add(&g->distinct, e->detail);
    g->f.count = g->distinct.count;
    g->f.total++;
    return err == VRS_OK ? name_entry(g, e, 1) : err;
}

/* Of the log itself, nobody's. */
static enum vrs_err log_trouble(struct log_report *r, const struct log_read *e, enum log_rule rule,
                                uint64_t count) {
    const struct log_read nobody = {.seq = e->seq, .at_ms = e->at_ms, .user = "-", .terminal = "-"};
    struct group *g = group_of(r, rule, &nobody, e->seq);
    if (g == NULL)
        return ERR_MEMORY;
    g->f.count = count;
    return name_entry(g, &nobody, 1);
}

static enum vrs_err order(struct log_report *r, const struct log_read *e) {
    int64_t seconds = log_rule_threshold(r->rules, LOG_CLOCK_STEP)->seconds;
    enum vrs_err err = VRS_OK;
    if (r->seq == 0)
        return VRS_OK;
    if (e->seq != r->seq + 1)
        err = log_trouble(r, e, LOG_GAP, e->seq - r->seq - 1);
    if (err == VRS_OK && r->at_ms - e->at_ms > seconds * 1000)
        err = log_trouble(r, e, LOG_CLOCK_STEP, 1);
    return err;
}

enum vrs_err log_report_add(struct log_report *r, const struct log_read *e) {
    if (r->seq != 0 && e->seq <= r->seq)
        return VRS_OK;
    enum vrs_err err = order(r, e);
    r->seq = e->seq;
    r->at_ms = e->at_ms;
    r->looked_at++;
    /* The Internet side's and the system's own acts are nobody's at a desk. */
    bool person = strcmp(e->source, "lgwan") == 0 && !text_starts_with(e->user, "system:");
    if (err == VRS_OK && log_rules_refusal(r->rules, e->result))
        err = refusals(r, e);
    if (err != VRS_OK || !person || !known(e->user))
        return err;
    err = off_hours(r, e);
    if (err == VRS_OK && log_rules_look(r->rules, e->act) && e->subject_count > 0) {
        err = mass_reads(r, e, LOG_MASS_HOUR, hour_ms);
        if (err == VRS_OK)
            err = mass_reads(r, e, LOG_MASS_DAY, day_ms);
    }
    if (err == VRS_OK)
        err = fishing(r, e);
    if (err == VRS_OK)
        err = coupon_sweep(r, e);
    return err == VRS_OK ? code_sweep(r, e) : err;
}

static enum vrs_err tell(const struct group *g, log_finding_fn *fn, void *arg) {
    uint64_t sequence[LOG_FINDING_SEQUENCES];
    struct log_finding f = g->f;
    for (size_t i = 0; i < f.sequences; i++)
        sequence[i] = g->named[i].sequence;
    f.sequence = sequence;
    return fn(&f, arg);
}

enum vrs_err log_report_end(struct log_report *r, log_finding_fn *fn, void *arg) {
    enum vrs_err e = VRS_OK;
    for (enum log_rule rule = 0; rule < LOG_RULE_COUNT; rule++) {
        for (const struct group *g = r->first; e == VRS_OK && g != NULL; g = g->all) {
            if (g->f.rule == rule && is_finding(r, g))
                e = tell(g, fn, arg);
        }
    }
    return e;
}
