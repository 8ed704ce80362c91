#include "tests/sim/day.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vrs-server/doses/line_out.h"
#include "vrs-server/keeping/sweep.h"

enum { SETTLE_STEPS = 6000, QUIET_STEPS = 80 };

struct day day;
struct day_totals day_totals;
const char *const day_towns[DAY_TOWNS] = {TOWN, OTHER};
static const char *const terminals[] = {"tablet-1", "tablet-2"};

void day_wrong(const char *format, ...) {
    va_list ap;
    if (day.wrong)
        return;
    day.wrong = true;
    va_start(ap, format);
    (void)vsnprintf(day.why, sizeof day.why, format, ap);
    va_end(ap);
}

void day_begin(uint64_t seed) {
    memset(&day, 0, sizeof day);
    day.seed = seed;
    day.chance.state = chance_mix(seed + 4);
    for (int t = 0; t < DAY_TOWNS; t++) {
        for (int i = 0; i < TOWN_COUPONS; i++) {
            record_id_new(&day.resident[t][i].job.row);
            record_id_new(&day.resident[t][i].job.person);
            day.resident[t][i].job.coupon = i;
        }
    }
}

/* ---- readings and cancellations */

void day_dose_of(int key, int body, struct line_dose *out, char municipality[7]) {
    struct chance c = {chance_mix(day.seed * 64 + (uint64_t)key)};
    static const char *const days[] = {"2021-06-29", "2021-06-30"};
    static const char *const products[] = {"comirnaty", "spikevax"};
    struct coupon coupon = {.kind = COUPON_VACCINATION};
    memset(out, 0, sizeof *out);
    /* Few coupons, so that readings meet. */
    bool here = !chance_one_in(&c, 4);
    (void)snprintf(municipality, 7, "%s", day_towns[here ? 0 : 1]);
    (void)snprintf(coupon.municipality.digits, 7, "%s", municipality);
    town_coupon(2 + (int)chance_below(&c, 2), coupon.number.digits);
    coupon.dose_number = 1 + (int)chance_one_in(&c, 4);
    coupon_format(&coupon, out->ocr_line);
    out->given = !chance_one_in(&c, 8);
    (void)snprintf(out->vaccinated_on, sizeof out->vaccinated_on, "%s", days[chance_one_in(&c, 4)]);
    (void)snprintf(out->product, sizeof out->product, "%s", products[chance_one_in(&c, 4)]);
    (void)snprintf(out->lot, sizeof out->lot, "FF%d", body == 0 ? 3620 : 9999);
    (void)snprintf(out->site, sizeof out->site, "会場");
    (void)snprintf(out->read_by, sizeof out->read_by, "ocr");
    (void)snprintf(out->terminal, sizeof out->terminal, "%s", terminals[chance_below(&c, 2)]);
    (void)snprintf(out->staff, sizeof out->staff, "site-1");
    out->read_at_ms = -1;
}

struct posting {
    struct inbox_put put; /* first */
    struct posted *posted;
};

static bool outside_dead(void) {
    return disk_is_off() || !town.up[DISK_TABLET];
}

/* The answer reaches the terminal. */
static void answered(struct posted *p, const struct inbox_put *put) {
    const struct inbox_found *f = &put->found;
    if (put->job.err == ERR_STORAGE) {
        p->answer = POSTED_REFUSED;
        return;
    }
    if (put->job.err == ERR_KEY_REUSED) {
        bool other = false;
        for (size_t i = 0; i < day.count; i++) {
            const struct posted *q = &day.posted[i];
            other |= q != p && q->key == p->key && q->body != p->body;
            if (q != p && q->key == p->key && q->body == p->body && q->answer == POSTED_ACKED)
                day_wrong("key %d: refused with the body that it was acknowledged with", p->key);
        }
        if (!other)
            day_wrong("key %d: refused as another body, and there was none", p->key);
        p->answer = POSTED_REFUSED;
        return;
    }
    if (put->job.err != VRS_OK) {
        p->answer = POSTED_UNKNOWN;
        return;
    }
    struct posted *first = NULL;
    for (size_t i = 0; i < day.count; i++)
        if (memcmp(day.posted[i].receipt, f->receipt, LINE_RECEIPT_BYTES) == 0)
            first = &day.posted[i];
    if (first == NULL || first->key != p->key || first->body != p->body) {
        day_wrong("key %d: answered with a receipt that is not its own", p->key);
        return;
    }
    if (first->answer == POSTED_REFUSED)
        day_wrong("key %d: a receipt that was refused is answered", p->key);
    for (size_t i = 0; i < day.count; i++) {
        const struct posted *q = &day.posted[i];
        if (q != first && q->key == p->key && q->answer == POSTED_ACKED && !q->other_key_holder)
            day_wrong("key %d: two receipts", p->key);
    }
    if (first != p)
        p->other_key_holder = true;
    p->answer = first->answer = POSTED_ACKED;
}

static void posted_done(struct worker_job *job) {
    struct posting *g = (struct posting *)job;
    if (!outside_dead())
        answered(g->posted, &g->put);
    else if (g->posted->answer == POSTED_ON_ITS_WAY)
        g->posted->answer = POSTED_UNKNOWN;
    buffer_fini(&g->put.plain);
    free(g);
}

static void post(struct posted *p, const char *municipality, struct buffer *plain) {
    struct posting *g = calloc(1, sizeof *g);
    if (g == NULL)
        abort();
    g->posted = p;
    g->put.kind = p->cancel ? LINE_CANCEL : LINE_DOSE;
    memcpy(g->put.receipt, p->receipt, sizeof p->receipt);
    memcpy(g->put.municipality, municipality, sizeof g->put.municipality);
    (void)snprintf(g->put.terminal, sizeof g->put.terminal, "%s", p->terminal);
    g->put.received_ms = machine_now_ms();
    g->put.has_key = true;
    crypto_sha256(&p->key, sizeof p->key, g->put.key_hash);
    crypto_sha256(plain->data, plain->len, g->put.body_mac);
    g->put.plain = *plain;
    if (inbox_submit_put(town.tablet.inbox, &g->put, posted_done) != VRS_OK)
        abort();
}

static struct posted *next_posted(void) {
    struct posted *p = &day.posted[day.count++];
    memset(p, 0, sizeof *p);
    crypto_random(p->receipt, sizeof p->receipt);
    return p;
}

static void deed_dose(void) {
    struct buffer plain;
    struct line_dose d;
    char municipality[7];
    struct posted *p = next_posted();
    p->key = (int)chance_below(&day.chance, DAY_KEYS);
    p->body = chance_one_in(&day.chance, 8);
    day_dose_of(p->key, p->body, &d, municipality);
    p->terminal = d.terminal[7] == '1' ? terminals[0] : terminals[1];
    buffer_init(&plain, 4096);
    line_dose_encode(&d, &plain);
    post(p, municipality, &plain);
}

static void deed_cancel(void) {
    struct line_cancel c = {.staff = "site-1", .reason = "誤り"};
    struct buffer plain;
    struct line_dose d;
    char municipality[7];
    struct posted *target = NULL;
    size_t from = (size_t)chance_below(&day.chance, day.count + 1);
    for (size_t i = 0; i < day.count; i++) {
        struct posted *q = &day.posted[(from + i) % day.count];
        if (q->answer == POSTED_ACKED && !q->cancel && !q->other_key_holder)
            target = q;
    }
    if (target == NULL)
        return;
    struct posted *p = next_posted();
    p->cancel = true;
    p->target = target;
    p->key = 100 + (int)(target - day.posted); /* once more: the same key and body */
    p->terminal = chance_one_in(&day.chance, 6) ? terminals[target->terminal == terminals[0]]
                                                : target->terminal;
    if (p->terminal != target->terminal)
        p->key += 100;
    memcpy(c.receipt, target->receipt, sizeof c.receipt);
    (void)snprintf(c.terminal, sizeof c.terminal, "%s", p->terminal);
    day_dose_of(target->key, target->body, &d, municipality);
    buffer_init(&plain, 4096);
    line_cancel_encode(&c, &plain);
    post(p, municipality, &plain);
}

/* ---- residents */

static void registered(struct pool_job *job) {
    struct town_registration *r = (struct town_registration *)job;
    bool dead = disk_is_off() || !town.up[DISK_SERVER];
    for (int t = 0; t < DAY_TOWNS; t++) {
        for (int i = 0; i < TOWN_COUPONS; i++) {
            if (&day.resident[t][i].job != r)
                continue;
            enum posted_answer *a = &day.resident[t][i].answer;
            day.resident[t][i].flying = false;
            if (!dead && job->err == VRS_OK)
                *a = POSTED_ACKED;
            else if (*a == POSTED_ACKED && !dead && job->err != ERR_STORAGE &&
                     job->err != ERR_UNKNOWN && job->err != ERR_NUMBER_AWAY)
                day_wrong("town %d resident %d was registered and is refused: %s", t, i,
                          err_name(job->err));
            else if (*a != POSTED_ACKED)
                *a = !dead && job->err == ERR_STORAGE && *a == POSTED_ON_ITS_WAY ? POSTED_REFUSED
                                                                                 : POSTED_UNKNOWN;
            if (!dead && town.server.line != NULL)
                line_out_kick(town.server.line, job->municipality);
        }
    }
}

static void deed_resident(void) {
    int t = chance_one_in(&day.chance, 3), i = 3 + (int)chance_below(&day.chance, 2);
    if (t == 1)
        i = 2 + (int)chance_below(&day.chance, 2);
    if (day.resident[t][i].flying)
        return;
    bool first = !day.resident[t][i].asked;
    day.resident[t][i].asked = true;
    if (first)
        day.resident[t][i].answer = POSTED_ON_ITS_WAY;
    else if (day.resident[t][i].answer == POSTED_REFUSED)
        day.resident[t][i].answer = POSTED_UNKNOWN;
    day.resident[t][i].job.job.done = registered;
    day.resident[t][i].flying = true;
    if (town_register(&day.resident[t][i].job, day_towns[t]) != VRS_OK)
        day.resident[t][i].flying = false;
}

void day_deed(void) {
    uint64_t what = chance_below(&day.chance, 10);
    if (what < 6) {
        if (town.up[DISK_TABLET] && day.count < DAY_POSTED)
            deed_dose();
    } else if (what < 8) {
        if (town.up[DISK_TABLET] && day.count > 0 && day.count < DAY_POSTED)
            deed_cancel();
    } else if (town.up[DISK_SERVER]) {
        deed_resident();
    }
}

/* ---- the end of the day */

static bool start_what_is_down(void) {
    for (int part = DISK_PARTS - 1; part >= 0; part--) {
        if (town.up[part])
            continue;
        enum vrs_err e = town_start((enum disk_part)part);
        if (e != VRS_OK && !disk_is_off() && !disk_failed())
            day_wrong("process %d does not start: %s (%s)", part, err_name(e), town.fault.text);
        if (e != VRS_OK)
            return false;
    }
    return true;
}

static bool steps(int n) {
    for (int i = 0; i < n; i++) {
        if (disk_is_off())
            return false;
        (void)machine_step(true);
    }
    return !disk_is_off();
}

bool day_settle(void) {
    struct inbox_state in;
    machine_calm();
    if (!start_what_is_down() || !steps(QUIET_STEPS))
        return false;
    sweep_orphans(&town.server);
    for (int n = 0; n < SETTLE_STEPS; n += QUIET_STEPS) {
        inbox_state(town.tablet.inbox, &in);
        if (!steps(QUIET_STEPS))
            return false;
        if (in.depth == 0)
            return true;
    }
    day_wrong("%llu entries never get their outcome", (unsigned long long)in.depth);
    return false;
}
