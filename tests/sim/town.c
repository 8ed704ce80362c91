#include "tests/sim/town.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "partitions/exchange.h"
#include "partitions/person.h"
#include "tablet-api/line_in.h"
#include "tests/sim/line.h"
#include "vrs-server/doses/apply.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/doses/prove.h"
#include "vrs-server/inquiries/permit.h"

struct town town;

static void must(enum vrs_err e, const char *what) {
    if (e == VRS_OK)
        return;
    (void)fprintf(stderr, "town: %s: %s (%s)\n", what, err_name(e), town.fault.text);
    abort();
}

/* ---- keys: the KEKs never touch the disk */

static enum vrs_err load_kek(const char *where, enum key_area area, bool previous,
                             struct secret_key *out, struct vrs_fault *fault) {
    (void)where, (void)fault;
    memset(out->bytes, (int)area, sizeof out->bytes);
    return previous ? ERR_NOT_FOUND : VRS_OK;
}
static const struct kek_source keks = {"simulated", load_kek};

/* ---- processes */

static enum vrs_err start_tablet(void) {
    static const struct inbox_options o = {.path = DISK_ROOT "/tablet/inbox.db",
                                           .max_queued = 1000,
                                           .retention_ms = 90 * INT64_C(86400000)};
    uint8_t pub[CRYPTO_X25519_BYTES];
    memset(&town.tablet, 0, sizeof town.tablet);
    enum vrs_err e = inbox_open(&o, &town.tablet.inbox, &town.fault);
    if (e == VRS_OK)
        e = crypto_x25519_public(&town.line_key, pub);
    if (e == VRS_OK)
        e = inbox_seal_to(town.tablet.inbox, pub);
    if (e == VRS_OK)
        e = inbox_start(town.tablet.inbox, NULL);
    machine_outside = true;
    if (e == VRS_OK)
        e = line_door_open(&town.tablet, &town.tablet.line);
    machine_outside = false;
    if (e == VRS_OK)
        machine_door = &town.tablet;
    return e;
}

static void stop_tablet(void) {
    machine_door = NULL;
    line_drop_all();
    inbox_close(&town.tablet.inbox);
    line_door_close(&town.tablet.line);
}

/* As main.c's, without erasures. */
static enum vrs_err opened(struct partition *p, bool first, void *arg) {
    uint64_t aborted;
    (void)arg;
    return first ? inquiries_abort_open(p, INT64_MAX, &aborted) : VRS_OK;
}

static enum vrs_err start_server(void) {
    struct server *s = &town.server;
    const struct pool_options o = {.engine = &store_sqlite,
                                   .dir = DISK_ROOT "/server/partitions",
                                   .workers = 1,
                                   .max_open = 8,
                                   .max_queued = 1000,
                                   .opened = opened,
                                   .committed = prove_committed,
                                   .arg = s};
    s->config.pull_max = 100;
    s->config.pull_wait_ms = 25000;
    s->config.workers = 1;
    struct pool_options with_keys = o;
    enum vrs_err e = keyring_open(DISK_ROOT "/server/keys", &keks, "",
                                  1U << KEY_RECORDS | 1U << KEY_LOG, &s->keys, &town.fault);
    with_keys.keys = s->keys;
    if (e == VRS_OK && (s->permits = permits_open()) == NULL)
        e = ERR_MEMORY;
    if (e == VRS_OK)
        e = pool_open(NULL, &with_keys, &s->pool, &town.fault);
    if (e == VRS_OK)
        e = line_out_open(s, &s->line, &town.fault);
    return e;
}

static void stop_server(void) {
    struct server *s = &town.server;
    line_out_close(&s->line);
    pool_close(&s->pool);
    keyring_close(&s->keys);
    permits_close(&s->permits);
    machine_drop_timers(false);
}

static enum vrs_err start_number(void) {
    enum vrs_err e = keyring_open(DISK_ROOT "/number/keys", &keks, "", 1U << KEY_NUMBERS,
                                  &town.number_keys, &town.fault);
    const struct area_options o = {.engine = &store_sqlite,
                                   .state_dir = DISK_ROOT "/number",
                                   .keys = town.number_keys,
                                   .max_open = 4};
    return e == VRS_OK ? area_open(&o, &town.area, &town.fault) : e;
}

static void stop_number(void) {
    area_close(&town.area);
    keyring_close(&town.number_keys);
}

static void stop_signer(void) {
    heads_close(&town.heads);
}

static const struct {
    enum vrs_err (*start)(void);
    void (*stop)(void);
} processes[DISK_PARTS] = {
    [DISK_TABLET] = {start_tablet, stop_tablet},
    [DISK_SERVER] = {start_server, stop_server},
    [DISK_NUMBER] = {start_number, stop_number},
    [DISK_SIGNER] = {NULL, stop_signer},
};

enum vrs_err town_start(enum disk_part part) {
    disk_revive(part);
    town.starts[part]++;
    town.fault = (struct vrs_fault){0};
    enum vrs_err e = part == DISK_SIGNER ? heads_open(DISK_ROOT "/signer", &town.heads, &town.fault)
                                         : processes[part].start();
    if (e == VRS_OK)
        town.up[part] = true;
    else
        processes[part].stop();
    return e;
}

/* What it would still do while it unwinds reaches no disk, and nobody hears it. */
void town_kill(enum disk_part part) {
    if (!town.up[part])
        return;
    town.up[part] = false;
    town.kills++;
    disk_kill(part);
    processes[part].stop();
}

static void kill_all(void) {
    for (int part = 0; part < DISK_PARTS; part++)
        town_kill((enum disk_part)part);
}

void town_power_loss(void) {
    town.losses++;
    disk_power_off();
    kill_all();
    disk_power_on();
}

/* ---- residents */

void town_coupon(int coupon, char digits[11]) {
    (void)snprintf(digits, 11, "%010u", 5000U + (unsigned)coupon % 100);
}

void town_number(int resident, char digits[13]) {
    char text[24];
    for (int check = 0; check < 10; check++) {
        (void)snprintf(text, sizeof text, "%011d%d", 12345678 + resident, check);
        memcpy(digits, text, 12);
        digits[12] = '\0';
        if (personal_number_valid(digits))
            return;
    }
}

static enum vrs_err register_run(struct pool_job *job, struct partition *p) {
    const struct town_registration *r = (const struct town_registration *)job;
    static const struct number_access why = {"resident.register", "register", "clerk"};
    static const struct log_actor clerk = {.user = "clerk", .source = "lgwan"};
    struct person person;
    struct person_coupon coupon = {.person = r->person, .registered_ms = clock_now_ms()};
    struct personal_number number;
    struct record_id other;
    struct tally_batch *tally = tally_batch_open();
    bool added = false;
    uint64_t settled = 0;
    town_number(r->coupon, number.digits);
    town_coupon(r->coupon, coupon.number.digits);
    enum vrs_err e = person_get(p, &r->person, &person);
    if (e != ERR_NOT_FOUND) { /* asked again after an unknown outcome */
        tally_batch_close(&tally);
        return e;
    }
    e = coupon_get(p, coupon.number.digits, &coupon);
    if (e == ERR_NOT_FOUND) { /* of nobody yet */
        e = number_put(town.server.number[0], partition_code(p), &r->row, &number, &why);
        person_init(&person);
        person.id = r->person;
        (void)snprintf(person.addressee, sizeof person.addressee, "A%d", r->coupon);
        (void)snprintf(person.name, sizeof person.name, "住民 %d", r->coupon);
        person.birth.days = -3650;
        person.sex = SEX_FEMALE;
        record_id_new(&coupon.id);
        if (e == VRS_OK)
            e = person_put(p, &person);
        if (e == VRS_OK)
            e = number_link_add(p, &r->row, &person.id);
        if (e == VRS_OK)
            e = coupon_add(p, &coupon, &added);
        const struct log_entry entry = {.actor = clerk,
                                        .act = "resident.create",
                                        .purpose = "vaccination_record",
                                        .result = "ok",
                                        .count = 1,
                                        .person = &person,
                                        .subjects = &person.id,
                                        .subject_count = 1};
        if (e == VRS_OK)
            e = access_log_append(p, &entry, NULL);
        if (e == VRS_OK)
            e = apply_waiting(&town.server, p, coupon.number.digits, &clerk, tally, &settled);
        if (e == VRS_OK)
            e = tally_batch_flush(tally, p);
    } else if (e == VRS_OK) {
        other = coupon.person;
        e = record_id_equal(&other, &r->person) ? VRS_OK : ERR_R182;
    }
    tally_batch_close(&tally);
    return e;
}

enum vrs_err town_register(struct town_registration *r, const char *municipality) {
    r->job.run = register_run;
    r->job.flags = POOL_CREATE;
    (void)snprintf(r->job.municipality, sizeof r->job.municipality, "%s", municipality);
    return pool_submit(town.server.pool, &r->job);
}

/* ---- the beginning */

static void founded(struct pool_job *job) {
    must(job->err, "register");
}

static void start_all(void) {
    for (int part = DISK_PARTS - 1; part >= 0; part--)
        must(town_start((enum disk_part)part), "start");
}

void town_found(void) {
    struct server *s = &town.server;
    log_init("simulated", (enum log_level)(LOG_ERROR + 1));
    must(municipality_list_open("data/municipalities.csv", &s->municipalities, &town.fault),
         "municipalities");
    must(vaccine_list_open("data/vaccines.json", &s->vaccines, &town.fault), "vaccines");
    must(rule_list_open("data/rules.json", &s->rules, &town.fault), "rules");
    static const struct machine_network none;
    machine_reset(1, &none);
    crypto_random(town.line_key.bytes, sizeof town.line_key.bytes);
    disk_format(1);
    start_all();
    for (int i = 0; i < TOWN_RESIDENTS; i++) {
        struct town_registration r = {.job.done = founded, .coupon = i};
        record_id_new(&r.row);
        record_id_new(&r.person);
        must(town_register(&r, TOWN), "register");
        for (int n = 0; n < 200; n++)
            (void)machine_step(false);
    }
    /* As on a day like any other: stopped in order, so nothing is left to mend. */
    processes[DISK_SERVER].stop();
    processes[DISK_TABLET].stop();
    processes[DISK_NUMBER].stop();
    processes[DISK_SIGNER].stop();
    memset(town.up, 0, sizeof town.up);
    disk_keep();
}

void town_begin(uint64_t seed, const struct machine_network *network) {
    kill_all();
    disk_reset(seed);
    machine_reset(seed, network);
}

void town_end(void) {
    disk_fail(0, 0, 0, false);
    disk_cut_at(0);
    kill_all();
}
