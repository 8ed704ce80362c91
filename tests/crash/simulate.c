// needs: tests/sim/disk.c tests/sim/disk_calls.c tests/sim/machine.c tests/sim/line.c
// needs: tests/sim/town.c tests/sim/inside.c tests/sim/outside.c tests/sim/day.c tests/sim/truth.c
// needs: tests/sim/power_cut.c tests/sim/nth_failure.c tests/sim/states.c tests/sim/clerk.c
// needs: tablet-api/inbox.c tablet-api/inbox_db.c tablet-api/line.c tablet-api/line_in.c
// needs: vrs-server/doses/apply.c vrs-server/doses/told.c vrs-server/doses/cancel.c
// needs: vrs-server/doses/rules.c vrs-server/doses/line_out.c vrs-server/doses/line_outcomes.c
// needs: vrs-server/doses/line_entry.c vrs-server/doses/prove.c vrs-server/log/act.c vrs-server/request.c
// needs: vrs-server/inquiries/inquiries.c vrs-server/inquiries/inquiry_flow.c
// needs: vrs-server/inquiries/permit.c
// needs: vrs-server/keeping/tombstone.c vrs-server/keeping/sweep.c vrs-server/signer/heads.c
// needs: vrs-server/number/area.c vrs-server/number/copy.c vrs-server/number/rotate.c
// needs: vrs-server/number/carry.c vrs-server/number/access.c vrs-server/number/message.c
// needs: -Wl,--wrap=sqlite_setup_connection -Wl,--wrap=inbox_db_by_key
// needs: -Wl,--wrap=inbox_db_settle -Wl,--wrap=claims_of_turn -Wl,--wrap=idempotency_look
// needs: -Wl,--wrap=idempotency_keep -Wl,--wrap=permit_use
/* Simulated days of a town (tests/sim/README.md), one a seed:
 *
 *   simulate KIND FIRST COUNT [MISTAKE]   seeds FIRST … FIRST + COUNT - 1
 *
 * Ends with the first seed that shows something wrong: status 1, or 3 with a planted mistake. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "lib/sqlite_setup.h"
#include "partitions/claim.h"
#include "partitions/exchange.h"
#include "tests/sim/clerk.h"
#include "tests/sim/runs.h"
#include "vrs-server/inquiries/permit.h"

static const struct kind {
    const char *name;
    void (*run)(uint64_t seed);
} kinds[] = {{"power", run_power_cut},
             {"failure", run_nth_failure},
             {"some-failures", run_some_failures},
             {"states", run_states}};

/* ---- planted mistakes */

static struct {
    const char *pragma; /* after the discipline was set and read back */
    bool any_body, forget_outcomes, no_turns, do_again, no_permits;
} planted;

/* NOLINTBEGIN: the linker's names */
#define WRAP(type, name, ...)                                                                      \
    type __real_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__);                                                               \
    type __wrap_##name(__VA_ARGS__)

WRAP(int, sqlite_setup_connection, struct sqlite3 *db, bool read_only, const char **name, char *got,
     size_t cap) {
    int rc = __real_sqlite_setup_connection(db, read_only, name, got, cap);
    return rc == SQLITE_OK && planted.pragma != NULL
               ? sqlite3_exec(db, planted.pragma, NULL, NULL, NULL)
               : rc;
}

WRAP(enum vrs_err, inbox_db_by_key, struct inbox_db *db, const uint8_t *key,
     struct inbox_found *out) {
    enum vrs_err e = __real_inbox_db_by_key(db, key, out);
    const struct inbox_put *asked =
        (const struct inbox_put *)(const void *)(key - offsetof(struct inbox_put, key_hash));
    if (planted.any_body)
        memcpy(out->body_mac, asked->body_mac, sizeof out->body_mac);
    return e;
}

WRAP(enum vrs_err, inbox_db_settle, struct inbox_db *db, const struct line_result *r,
     int64_t now_ms, enum inbox_change *change) {
    *change = INBOX_SAME;
    return planted.forget_outcomes && chance_one_in(&machine_chance, 4)
               ? VRS_OK
               : __real_inbox_db_settle(db, r, now_ms, change);
}

WRAP(enum vrs_err, claims_of_turn, struct partition *p, const struct coupon *c, claim_fn *fn,
     void *arg) {
    return planted.no_turns ? VRS_OK : __real_claims_of_turn(p, c, fn, arg);
}
WRAP(enum vrs_err, idempotency_look, struct partition *p, const char *key, const void *body,
     size_t len, bool *seen, struct idempotent *out) {
    enum vrs_err e = __real_idempotency_look(p, key, body, len, seen, out);
    if (planted.do_again)
        *seen = false;
    return e;
}

WRAP(enum vrs_err, idempotency_keep, struct partition *p, const char *key, const void *body,
     size_t len, int status, const void *answer, size_t answer_len) {
    return planted.do_again
               ? VRS_OK
               : __real_idempotency_keep(p, key, body, len, status, answer, answer_len);
}
WRAP(enum vrs_err, permit_use, struct permits *p, const uint8_t *id, const struct permit_terms *t,
     int64_t now_ms) {
    return planted.no_permits ? VRS_OK : __real_permit_use(p, id, t, now_ms);
}
/* NOLINTEND */

/* What a crash says, made before each run: a signal handler may not format. */
static char epitaph[64];
static size_t epitaph_len;

static void on_crash(int sig) {
    (void)!write(STDOUT_FILENO, epitaph, epitaph_len);
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

static bool mistake(const char *name) {
    const struct {
        const char *name, *pragma;
        bool *on;
    } mistakes[] = {{"sync does nothing", NULL, &disk_lies.sync},
                    {"folders are not synced", NULL, &disk_lies.folder_sync},
                    {"a failed sync is taken for one", NULL, &disk_lies.failed_sync},
                    {"synchronous=OFF", "PRAGMA synchronous=OFF", NULL},
                    {"synchronous=NORMAL", "PRAGMA synchronous=NORMAL", NULL},
                    {"a key stands for any body", NULL, &planted.any_body},
                    {"outcomes are forgotten", NULL, &planted.forget_outcomes},
                    {"a turn is not looked up", NULL, &planted.no_turns},
                    {"a request is done again", NULL, &planted.do_again},
                    {"nobody looks at the permit", NULL, &planted.no_permits}};
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++) {
        if (strcmp(mistakes[i].name, name) != 0)
            continue;
        planted.pragma = mistakes[i].pragma;
        if (mistakes[i].on != NULL)
            *mistakes[i].on = true;
        return true;
    }
    return false;
}

/* ---- the runs */

static void show_totals(void) {
    const struct {
        const char *name;
        uint64_t n;
    } totals[] = {{"acknowledged", day_totals.acknowledged},
                  {"asked again", day_totals.again},
                  {"refused", day_totals.refused},
                  {"unknown", day_totals.unknown},
                  {"doses", day_totals.doses},
                  {"cancelled", day_totals.cancelled},
                  {"residents", day_totals.residents},
                  {"power losses", town.losses},
                  {"kills", town.kills},
                  {"inquiries", clerk_totals.asked},
                  {"match", clerk_totals.match},
                  {"no match", clerk_totals.no_match},
                  {"aborted", clerk_totals.aborted}};
    for (size_t i = 0; i < sizeof totals / sizeof *totals; i++)
        (void)printf("%s%s %llu", i == 0 ? "" : ", ", totals[i].name,
                     (unsigned long long)totals[i].n);
    (void)printf("\n");
}

int main(int argc, char **argv) {
    const struct kind *kind = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(kinds[i].name, argv[1]) == 0)
            kind = &kinds[i];
    if (kind == NULL || argc < 4 || (argc > 4 && !mistake(argv[4]))) {
        (void)fprintf(stderr, "usage: simulate KIND FIRST COUNT [MISTAKE]\n");
        return 2;
    }
    uint64_t first = strtoull(argv[2], NULL, 10), count = strtoull(argv[3], NULL, 10);
    uint64_t trace = 0;
    (void)signal(SIGABRT, on_crash);
    (void)signal(SIGSEGV, on_crash);
    (void)signal(SIGALRM, on_crash);
    town_found();
    for (uint64_t i = 0; i < count; i++) {
        const uint64_t seed = first + i;
        epitaph_len = (size_t)snprintf(epitaph, sizeof epitaph, "crashed: seed %llu\n",
                                       (unsigned long long)seed);
        kind->run(seed);
        if (day.wrong) {
            (void)printf("seed %llu (the %llu.): %s\n", (unsigned long long)seed,
                         (unsigned long long)i + 1, day.why);
            return argc > 4 ? 3 : 1;
        }
        trace = chance_mix(trace ^ disk_trace());
    }
    (void)printf("%llu seeds from %llu, trace %016llx\n", (unsigned long long)count,
                 (unsigned long long)first, (unsigned long long)trace);
    show_totals();
    return 0;
}
