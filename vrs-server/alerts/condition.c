#include "vrs-server/alerts/condition.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/pki.h"
#include "vrs-server/alerts/alert.h"
#include "vrs-server/alerts/alert_rules.h"
#include "vrs-server/doses/line_out.h"
#include "vrs-server/log/log_watch.h"
#include "vrs-server/terminals/terminal.h"

enum { TURN_S = 10, CLOCK_STEP_MS = 3000, DAY_TURNS = 86400 / TURN_S, FIRST_VERIFY_TURN = 1 };
#define DAY_MS INT64_C(86400000)

struct conditions {
    struct server *server;
    struct event *timer;
    unsigned turns;
    int64_t wall_minus_mono_ms;
    struct log_watch *logs;
    char (*ending)[7]; /* towns with a terminal whose certificate ends soon */
    size_t endings;
};

static int64_t limit_of(const struct server *s, const char *rule) {
    return alert_rules_find(alerts_rules(s->alerts), rule)->limit;
}

/* --- one look each --- */

static void look_at_disk(struct server *s) {
    struct statvfs v;
    if (statvfs(s->config.state_dir, &v) != 0 || v.f_blocks == 0)
        return;
    double free_percent = 100.0 * (double)v.f_bavail / (double)v.f_blocks;
    alert_state(s, "disk_low", "vrs-server", free_percent < (double)limit_of(s, "disk_low"));
}

static void look_at_line(struct server *s) {
    int64_t silent_s = line_out_seconds_since_pull(s->line);
    int64_t oldest_ms = line_out_oldest_ms(s->line);
    int64_t waiting_s = oldest_ms > 0 ? (clock_now_ms() - oldest_ms) / 1000 : 0;
    bool silent = silent_s > limit_of(s, "line_silent");
    alert_state(s, "line_silent", "tablet-api", silent);
    if (!silent) /* what waits there is known only while it speaks */
        alert_state(s, "pending_old", "tablet-api", waiting_s > limit_of(s, "pending_old"));
}

/* The wall clock against the one that only runs. */
static void look_at_clock(struct conditions *c) {
    int64_t now = clock_now_ms() - clock_mono_ms();
    int64_t step = now - c->wall_minus_mono_ms;
    c->wall_minus_mono_ms = now;
    if (c->turns > 0 && llabs(step) > CLOCK_STEP_MS) {
        log_event(LOG_WARN, "clock.jumped", LF_INT("step_ms", step));
        alert_note(c->server, "clock_jump", "vrs-server");
    }
}

static void look_at_socket(struct server *s, const char *path, const char *rule,
                           const char *program) {
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    bool there = connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 || errno == EAGAIN;
    (void)close(fd);
    alert_state(s, rule, program, !there);
}

static void look_at_certificate(struct server *s, const char *subject, const char *file) {
    char serial[48];
    int64_t not_after_ms;
    struct vrs_fault fault = {0};
    if (pki_cert_info(file, serial, &not_after_ms, &fault) != VRS_OK)
        return;
    int64_t left_ms = not_after_ms - clock_now_ms();
    alert_state(s, "certificate_ending", subject,
                left_ms < limit_of(s, "certificate_ending") * DAY_MS);
}

/* --- registered terminals, once a day --- */

struct terminals_job {
    struct pool_job job; /* first */
    struct conditions *conditions;
    char (*town)[7]; /* with a terminal that ends soon */
    size_t towns;
    char soon[11], today[11];
};

static bool is_among(const char *town, char (*list)[7], size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i], town) == 0)
            return true;
    }
    return false;
}

static void tell_town(struct server *s, const char *town, bool on) {
    char subject[32];
    (void)snprintf(subject, sizeof subject, "%s terminals", town);
    alert_state(s, "certificate_ending", subject, on);
}

static enum vrs_err see_terminal(struct terminal *t, void *arg) {
    struct terminals_job *j = arg;
    if (t->state != TERMINAL_ACTIVE || strcmp(t->valid_until, j->soon) > 0 ||
        strcmp(t->valid_until, j->today) < 0)
        return VRS_OK;
    if (is_among(t->municipality, j->town, j->towns))
        return VRS_OK;
    char(*longer)[7] = reallocarray(j->town, j->towns + 1, sizeof *longer);
    if (longer == NULL)
        return ERR_MEMORY;
    j->town = longer;
    (void)snprintf(longer[j->towns++], sizeof *longer, "%s", t->municipality);
    return VRS_OK;
}

static enum vrs_err terminals_run(struct pool_job *job, struct partition *registry) {
    struct terminals_job *j = (struct terminals_job *)job;
    j->towns = 0;
    return terminal_walk(registry, see_terminal, j);
}

static void terminals_done(struct pool_job *job) {
    struct terminals_job *j = (struct terminals_job *)job;
    struct conditions *c = j->conditions;
    if (job->err == VRS_OK) {
        char(*before)[7] = c->ending;
        size_t count = c->endings;
        c->ending = j->town;
        c->endings = j->towns;
        j->town = before;
        for (size_t i = 0; i < count; i++) {
            if (!is_among(before[i], c->ending, c->endings))
                tell_town(c->server, before[i], false);
        }
        for (size_t i = 0; i < c->endings; i++)
            tell_town(c->server, c->ending[i], true);
    }
    free(j->town);
    free(j);
}

static void look_at_terminals(struct conditions *c) {
    struct server *s = c->server;
    struct terminals_job *j = calloc(1, sizeof *j);
    if (j == NULL)
        return;
    struct civil_date today = clock_today_jst(), soon = today;
    soon.days += (int32_t)limit_of(s, "certificate_ending");
    clock_format_date(today, j->today);
    clock_format_date(soon, j->soon);
    j->conditions = c;
    (void)snprintf(j->job.municipality, sizeof j->job.municipality, "%s", REGISTRY);
    j->job.flags = POOL_CREATE;
    j->job.run = terminals_run;
    j->job.done = terminals_done;
    if (pool_submit(s->pool, &j->job) != VRS_OK)
        free(j);
}

/* --- the turn --- */

static void on_turn(evutil_socket_t fd, short what, void *arg) {
    (void)fd, (void)what;
    struct conditions *c = arg;
    struct server *s = c->server;
    look_at_clock(c);
    look_at_disk(s);
    look_at_line(s);
    look_at_socket(s, s->config.number_socket, "number_away", "vrs-number");
    look_at_socket(s, s->config.signer_socket, "signer_away", "vrs-signer");
    if (c->turns % 360 == 0) { /* hourly: a new certificate ends the alert */
        look_at_certificate(s, "vrs-server", s->config.cert_file);
        look_at_certificate(s, "vrs-server line", s->config.line_cert_file);
    }
    if (c->turns % DAY_TURNS == 1)
        look_at_terminals(c);
    if (c->turns % DAY_TURNS == FIRST_VERIFY_TURN)
        log_watch_begin(c->logs);
    log_watch_turn(c->logs);
    c->turns++;
}

enum vrs_err conditions_open(struct server *s, struct conditions **out) {
    const struct timeval every = {.tv_sec = TURN_S};
    struct conditions *c = calloc(1, sizeof *c);
    *out = c;
    if (c == NULL)
        return ERR_MEMORY;
    c->server = s;
    c->timer = event_new(s->base, -1, EV_PERSIST, on_turn, c);
    c->logs = log_watch_open(s);
    if (c->logs == NULL || c->timer == NULL || event_add(c->timer, &every) != 0)
        return ERR_MEMORY;
    on_turn(-1, 0, c);
    return VRS_OK;
}

/* Jobs in the pool still name the struct: it stays. */
void conditions_close(struct conditions **c) {
    if (*c == NULL)
        return;
    if ((*c)->timer != NULL)
        event_free((*c)->timer);
    (*c)->timer = NULL;
}
