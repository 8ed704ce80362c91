#include "vrs-server/alerts/watch.h"

#include <stdio.h>
#include <string.h>

#include "lib/log.h"
#include "lib/tls.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/request.h"

/* Whose it is: "" fields are left out. */
struct who {
    const char *municipality, *user, *terminal, *source;
};

static void note_as(struct server *s, const char *rule, const struct who *w, const char *kind,
                    const char *name, int64_t n) {
    char subject[96];
    if (name[0] == '\0')
        return;
    bool town = w->municipality[0] != '\0' && strcmp(w->municipality, REGISTRY) != 0;
    (void)snprintf(subject, sizeof subject, "%s%s%s %s", town ? w->municipality : "",
                   town ? " " : "", kind, name);
    alert_note_many(s, rule, subject, n);
}

/* The most telling name alone: user, else terminal, else source. */
static void note(struct server *s, const char *rule, const struct who *w, int64_t n) {
    const struct who nowhere = {.municipality = ""};
    if (w->user[0] != '\0')
        note_as(s, rule, w, "user", w->user, n);
    else if (w->terminal[0] != '\0')
        note_as(s, rule, w, "terminal", w->terminal, n);
    else
        note_as(s, rule, &nowhere, "source", w->source, n);
}

/* A guesser may go through accounts from one terminal, or through terminals for one account. */
static void note_login(struct server *s, const struct who *w, int64_t n) {
    const struct who nowhere = {.municipality = ""};
    note_as(s, "login_failed", w, "user", w->user, n);
    note_as(s, "login_failed", w, "terminal", w->terminal, n);
    if (w->terminal[0] == '\0')
        note_as(s, "login_failed", &nowhere, "source", w->source, n);
}

/* --- requests --- */

/* How much of persons an act shows: each one it counts, or one. */
static const struct {
    const char *act;
    enum { ONE, EACH } persons;
} reads[] = {
    {"resident.search", EACH}, {"resident.read", ONE},      {"number.reveal", ONE},
    {"dose.list", ONE},        {"dose.history", ONE},       {"review.list", EACH},
    {"inquiry.read", ONE},     {"certificate.lookup", ONE}, {"inquiry.held_list", EACH},
    {"log.read_person", ONE},
};

/* Answers that a guesser of numbers gets again and again. */
static bool is_miss(const struct inside_request *in, enum vrs_err e) {
    static const char *const acts[] = {"resident.search", "inquiry.ask", "inquiry.result",
                                       "certificate.lookup"};
    bool asks = false;
    for (size_t i = 0; in->act != NULL && i < sizeof acts / sizeof *acts; i++)
        asks |= strcmp(in->act, acts[i]) == 0;
    if (!asks)
        return false;
    if (e == ERR_NOT_FOUND || e == ERR_R170 || e == ERR_R101)
        return true;
    if (e != VRS_OK)
        return false;
    return strcmp(in->logged_result, "no_match") == 0 ||
           (strcmp(in->act, "resident.search") == 0 && in->logged_count == 0);
}

static void watch_success(const struct inside_request *in, const struct who *w) {
    for (size_t i = 0; in->act != NULL && i < sizeof reads / sizeof *reads; i++) {
        if (strcmp(reads[i].act, in->act) == 0)
            note(in->server, "mass_reads", w,
                 reads[i].persons == EACH ? (int64_t)in->logged_count : 1);
    }
}

static void watch_failure(struct server *s, const struct who *w, enum vrs_err e) {
    switch (e) {
    case ERR_BAD_LOGIN:
    case ERR_TOO_MANY:
        note_login(s, w, 1);
        break;
    case ERR_TERMINAL_REVOKED:
        note_as(s, "revoked_used", w, "terminal", w->terminal, 1);
        break;
    case ERR_UNKNOWN_SYSTEM:
        note_as(s, "unknown_terminal", w, "terminal", w->terminal, 1);
        break;
    case ERR_OTHER_MUNICIPALITY:
        note(s, "other_partition", w, 1);
        break;
    case ERR_ENROLMENT:
        note_as(s, "enrolment_guessing", &(struct who){.municipality = ""}, "source", w->source, 1);
        break;
    case ERR_FORBIDDEN:
    case ERR_APPROVAL_REQUIRED:
    case ERR_NOT_ON_ALLOW_LIST:
    case ERR_PURPOSE:
    case ERR_BASIS_REFUSED:
        note(s, "refusals", w, 1);
        break;
    case ERR_NOT_FOUND: /* things of others are not found, like what does not exist */
    case ERR_NO_METHOD:
    case ERR_BAD_REQUEST:
    case ERR_BAD_JSON:
    case ERR_TOO_DEEP:
    case ERR_UNKNOWN_FIELD:
    case ERR_BAD_MEDIA:
    case ERR_TOO_LARGE:
    case ERR_LOGIN_REQUIRED:
    case ERR_SESSION_ENDED:
        note(s, "scanning", w, 1);
        break;
    case ERR_STORAGE:
    case ERR_UNKNOWN:
    case ERR_LOG_UNWRITABLE:
        alert_note(s, "storage_failing", w->municipality[0] != '\0' ? w->municipality : REGISTRY);
        break;
    case ERR_TAMPERED:
    case ERR_CORRUPT:
        alert_note(s, "log_break", w->municipality[0] != '\0' ? w->municipality : REGISTRY);
        break;
    case ERR_NUMBER_AWAY:
        alert_state(s, "number_away", "vrs-number", true);
        break;
    default:
        break;
    }
}

void watch_answer(const struct inside_request *in, enum vrs_err e) {
    const struct tls_peer *peer = http_tls_peer(in->rq);
    const struct who w = {.municipality = in->session.municipality[0] != '\0'
                                              ? in->session.municipality
                                          : peer != NULL ? peer->municipality
                                                         : "",
                          .user = in->session.user,
                          .terminal = peer != NULL ? peer->name : "",
                          .source = http_peer_address(in->rq)};
    if (is_miss(in, e))
        note(in->server, "fishing", &w, 1);
    if (e == VRS_OK)
        watch_success(in, &w);
    else
        watch_failure(in->server, &w, e);
}

/* --- the Internet side --- */

/* Whose name counts. */
enum event_subject { LOGIN, MOST_TELLING, TERMINAL, SOURCE, SIDE };

static const struct {
    const char *name, *rule;
    enum event_subject subject;
} events[] = {
    {"session.refused", "login_failed", LOGIN},
    {"session.throttled", "login_failed", LOGIN},
    {"session.malformed", "scanning", TERMINAL},
    {"session.missing", "scanning", TERMINAL},
    {"session.not_valid", "scanning", TERMINAL},
    {"request.unknown", "scanning", TERMINAL},
    {"http.malformed", "scanning", SOURCE},
    {"request.forbidden", "refusals", MOST_TELLING},
    {"terminal.revoked_used", "revoked_used", TERMINAL},
    {"terminal.unknown", "unknown_terminal", TERMINAL},
    {"system.refused", "unknown_terminal", TERMINAL},
    {"tls.refused", "certificate_error", SOURCE},
    {"http.slow", "slow_clients", SOURCE},
    {"http.crowded", "crowded", SIDE},
    {"clock.jumped", "clock_jump", SIDE},
    {"log.fork", "log_fork", SOURCE},
    {"log.bad_proof", "log_break", SOURCE},
    {"enrolment.refused", "enrolment_guessing", SOURCE},
};

static const char this_side[] = "tablet-api";

void watch_event(struct server *s, const char *municipality, const struct line_event *ev) {
    struct who w = {.municipality = municipality,
                    .user = ev->staff,
                    .terminal = ev->terminal,
                    .source = ev->source};
    int64_t n = 1 + (int64_t)(ev->more < 1000000 ? ev->more : 1000000);
    if (strcmp(ev->name, "disk.low") == 0 || strcmp(ev->name, "disk.enough") == 0)
        alert_state(s, "disk_low", this_side, strcmp(ev->name, "disk.low") == 0);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++) {
        if (strcmp(events[i].name, ev->name) != 0)
            continue;
        switch (events[i].subject) {
        case LOGIN:
            note_login(s, &w, n);
            break;
        case SIDE:
            alert_note_many(s, events[i].rule, this_side, n);
            break;
        case SOURCE:
            w.terminal = "";
            /* fall through */
        case TERMINAL:
            w.user = "";
            /* fall through */
        case MOST_TELLING:
            note(s, events[i].rule, &w, n);
            break;
        }
    }
}

/* --- connections --- */

void watch_trouble(void *server, enum http_trouble what, const char *address, const char *why) {
    static const char *const rules[] = {[HTTP_TROUBLE_HANDSHAKE] = "certificate_error",
                                        [HTTP_TROUBLE_MALFORMED] = "scanning",
                                        [HTTP_TROUBLE_SLOW] = "slow_clients",
                                        [HTTP_TROUBLE_CROWDED] = "crowded"};
    const struct who w = {.municipality = "", .user = "", .terminal = "", .source = address};
    log_event(LOG_DEBUG, "connection.trouble", LF_STR("rule", rules[what]),
              LF_STR("source", address), LF_STR("why", why));
    if (what == HTTP_TROUBLE_CROWDED)
        alert_note(server, rules[what], "vrs-server");
    else
        note(server, rules[what], &w, 1);
}
