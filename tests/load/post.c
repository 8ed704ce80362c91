#include "tests/load/post.h"

#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/clock.h"
#include "tests/load/ask.h"
#include "tests/load/dose.h"
#include "tests/load/login.h"
#include "tests/load/reply.h"
#include "tests/load/stats.h"

enum { TICK_MS = 1, BACKOFF_MS = 20, BACKOFF_MAX_MS = 500, COMPLAINTS = 5 };
enum { OPENING = 256 }; /* so many connections are opened at once */
enum { OUTCOMES = 16 };

struct item {
    uint64_t n;
    int64_t due_us; /* when it should have been sent: waiting for a connection counts */
    char key[JOURNAL_KEY];
    char receipt[JOURNAL_RECEIPT]; /* of the first answer, when it is sent once more */
    bool settled;
};

struct slot {
    struct run *run;
    struct conn *conn;
    struct event *timer;
    unsigned tries;
    bool connected, in_flight;
    char header[512]; /* the session that the request in flight carries */
    size_t count;     /* 0: idle */
    struct item item[];
};

struct run {
    const struct load_options *options;
    const struct conn_target *target;
    struct event_base *base;
    struct login *login;
    struct doses *doses; /* or */
    struct asks *asks;
    struct journal *journal;
    struct event *tick, *term, *interrupt, *word;
    struct slot **slot;
    struct buffer request, body;
    int64_t start_us, stop_us, give_up_us;
    double cpu_s;
    uint64_t next, limit, opened, connecting, busy;
    bool ready, started, broken;
    /* results */
    uint64_t requests, acknowledged, in_time, status_201, status_202, answers, retried, lost;
    uint64_t refused_503, failed, again, contradictions;
    unsigned complaints;
    struct stats stats;
    struct {
        char name[JOURNAL_OUTCOME];
        uint64_t count;
    } outcome[OUTCOMES];
    int64_t last_us; /* of the last acknowledgement */
};

static void fill(struct slot *s);

static void complain(struct run *r, int status, const char *text, size_t len) {
    if (r->complaints++ < COMPLAINTS)
        (void)fprintf(stderr, "vrs-load: %d %.*s\n", status, len > 300 ? 300 : (int)len, text);
}

/* --- answers --- */

static void count_outcome(struct run *r, const char *name) {
    for (size_t i = 0; i < OUTCOMES; i++) {
        if (r->outcome[i].name[0] == '\0')
            (void)snprintf(r->outcome[i].name, sizeof r->outcome[i].name, "%s", name);
        if (strcmp(r->outcome[i].name, name) == 0) {
            r->outcome[i].count++;
            return;
        }
    }
}

static void done_at(struct run *r, int64_t due_us) {
    r->last_us = clock_mono_us();
    r->in_time += r->last_us <= r->stop_us;
    stats_add(&r->stats, r->last_us - due_us);
}

static void acknowledged(struct run *r, struct item *i, int status, const char *text, size_t len) {
    struct journal_entry e = {.status = status};
    (void)snprintf(e.key, sizeof e.key, "%s", i->key);
    doses_line(r->doses, i->n, e.line);
    doses_day(r->doses, i->n, e.day);
    if (!reply_member(text, len, "receipt_id", e.receipt, sizeof e.receipt) ||
        !reply_member(text, len, "outcome", e.outcome, sizeof e.outcome)) {
        complain(r, status, text, len);
        r->failed++;
        i->settled = true;
        return;
    }
    if (i->receipt[0] != '\0') { /* it was sent once more */
        r->again++;
        if (strcmp(i->receipt, e.receipt) != 0) {
            complain(r, status, "the same key got another receipt", 33);
            r->contradictions++;
        }
        i->settled = true;
        return;
    }
    if (journal_add(r->journal, &e) != VRS_OK) {
        (void)fprintf(stderr, "vrs-load: the journal cannot be written\n");
        r->broken = true;
        (void)event_base_loopbreak(r->base);
        return;
    }
    r->acknowledged++;
    r->status_201 += status == 201;
    r->status_202 += status == 202;
    count_outcome(r, e.outcome);
    done_at(r, i->due_us);
    i->settled = r->options->again == 0 || i->n % r->options->again != 0;
    if (!i->settled)
        memcpy(i->receipt, e.receipt, sizeof i->receipt);
}

static void item_answer(struct slot *s, struct item *i, int status, const char *text, size_t len) {
    struct run *r = s->run;
    if (r->asks != NULL && asks_right(r->asks, status, text, len)) {
        i->settled = true;
        r->answers++;
        done_at(r, i->due_us);
    } else if (r->doses != NULL && (status == 201 || status == 202)) {
        acknowledged(r, i, status, text, len);
    } else if (status == 401) {
        login_lost(r->login, s->header);
    } else if (status < 500 && status != 408 && status != 429) {
        complain(r, status, text, len);
        r->failed++;
        i->settled = true;
    } else {
        r->refused_503 += status == 503;
    }
}

static struct item *item_of_key(struct slot *s, const char *key) {
    for (size_t i = 0; i < s->count; i++) {
        if (!s->item[i].settled && strcmp(s->item[i].key, key) == 0)
            return &s->item[i];
    }
    return NULL;
}

/* Every whole line that came is an answer, also of a batch that was cut off. */
static void batch_answers(struct slot *s, const char *text, size_t len) {
    const char *end = text + len;
    const char *stop = NULL;
    for (const char *at = text; at < end && (stop = memchr(at, '\n', (size_t)(end - at))) != NULL;
         at = stop + 1) {
        char key[JOURNAL_KEY], status[8];
        size_t n = (size_t)(stop - at);
        struct item *i = NULL;
        if (reply_member(at, n, "idempotency_key", key, sizeof key))
            i = item_of_key(s, key);
        if (i != NULL && reply_member(at, n, "status", status, sizeof status))
            item_answer(s, i, (int)strtol(status, NULL, 10), at, n);
    }
}

static void drop_settled(struct slot *s) {
    size_t kept = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (!s->item[i].settled)
            s->item[kept++] = s->item[i];
    }
    s->count = kept;
}

/* --- sending --- */

static void send_later(struct slot *s) {
    unsigned shift = s->tries < 6 ? s->tries : 6;
    int64_t ms = (int64_t)BACKOFF_MS << shift;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    ms += (int64_t)(clock_mono_us() % (ms + 1)); /* so that they do not all come at once */
    const struct timeval in = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    s->tries++;
    (void)event_add(s->timer, &in);
}

static void write_request(struct run *r, struct slot *s) {
    const char *host = conn_target_authority(r->target);
    bool batch = r->options->batch > 1;
    buffer_clear(&r->request);
    buffer_clear(&r->body);
    if (r->asks != NULL) {
        asks_write(r->asks, s->item[0].n, host, s->header, s->item[0].key, &r->request);
        return;
    }
    for (size_t i = 0; i < s->count; i++)
        doses_write(r->doses, s->item[i].n, batch ? s->item[i].key : NULL, &r->body);
    (void)buffer_printf(&r->request, "POST /v1/doses%s HTTP/1.1\r\nHost: %s\r\n%s",
                        batch ? ":batch" : "", host, s->header);
    if (!batch)
        (void)buffer_printf(&r->request, "Idempotency-Key: %s\r\n", s->item[0].key);
    (void)buffer_printf(&r->request, "Content-Type: application/%s\r\nContent-Length: %zu\r\n\r\n",
                        batch ? "x-ndjson" : "json", r->body.len);
    (void)buffer_put(&r->request, r->body.data, r->body.len);
}

static void send_now(struct slot *s) {
    struct run *r = s->run;
    const char *header = login_header(r->login);
    if (header == NULL) {
        if (login_hopeless(r->login))
            (void)event_base_loopbreak(r->base);
        s->tries = 0;
        send_later(s);
        return;
    }
    (void)snprintf(s->header, sizeof s->header, "%s", header);
    write_request(r, s);
    r->requests++;
    s->in_flight = true;
    conn_send(s->conn, r->request.data, r->request.len, (int64_t)r->options->timeout_ms);
}

static void begin(struct run *r) {
    int64_t now = clock_mono_us();
    r->started = true;
    r->cpu_s = stats_cpu_s();
    r->start_us = now;
    r->stop_us = now + (int64_t)r->options->seconds * 1000000;
    r->give_up_us = r->stop_us + (int64_t)r->options->drain_s * 1000000;
    (void)fprintf(stderr, "begin\n");
    for (size_t i = 0; i < r->options->connections; i++)
        fill(r->slot[i]);
}

static void on_word(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    begin(arg);
}

static void get_ready(struct run *r) {
    r->ready = true;
    if (!r->options->wait) {
        begin(r);
    } else {
        (void)fprintf(stderr, "ready\n");
        if (event_add(r->word, NULL) != 0) {
            (void)fprintf(stderr, "vrs-load: --wait needs a pipe as standard input\n");
            (void)event_base_loopbreak(r->base);
        }
    }
}

/* The next connection; `connecting` counts those that are not there yet. */
static void open_next(struct run *r) {
    if (r->opened < r->options->connections)
        conn_send(r->slot[r->opened++]->conn, NULL, 0, (int64_t)r->options->timeout_ms);
}

static void on_reply(struct conn *c, const struct conn_reply *reply, void *arg) {
    struct slot *s = arg;
    struct run *r = s->run;
    (void)c;
    s->in_flight = false;
    if (!s->connected) { /* all handshakes and the log-in come before the clock starts */
        s->connected = reply->complete;
        if (!s->connected) {
            send_later(s);
        } else {
            s->tries = 0;
            r->connecting--;
            open_next(r);
        }
        return;
    }
    size_t before = s->count;
    if (r->options->batch > 1 && reply->status == 200 && r->doses != NULL) {
        batch_answers(s, reply->body, reply->len);
    } else if (reply->complete) {
        for (size_t i = 0; i < s->count; i++)
            item_answer(s, &s->item[i], reply->status, reply->body, reply->len);
    }
    r->lost += !reply->complete;
    bool again = s->count > 0 && s->item[0].receipt[0] != '\0';
    drop_settled(s);
    if (s->count == 0) {
        r->busy--;
        s->tries = 0;
        fill(s);
    } else if (!again && reply->complete && s->item[0].receipt[0] != '\0') {
        send_now(s); /* once more, at once */
    } else {
        r->retried += s->count;
        if (s->count < before)
            s->tries = 0;
        send_later(s);
    }
}

static void on_slot_timer(evutil_socket_t fd, short what, void *arg) {
    struct slot *s = arg;
    (void)fd;
    (void)what;
    if (!s->connected)
        conn_send(s->conn, NULL, 0, (int64_t)s->run->options->timeout_ms);
    else if (s->count > 0)
        send_now(s);
}

/* When the next request is due; now at the latest, as far as the run goes on. */
static bool due(const struct run *r, int64_t now, int64_t *at) {
    const struct load_options *o = r->options;
    *at = o->rate > 0 ? r->start_us + (int64_t)(r->next * 1000000 / o->rate) : now;
    return r->started && !o->idle && now < r->stop_us && *at <= now;
}

/* The next dose, false when there is none. */
static bool take(struct run *r, struct item *i, int64_t due_us) {
    if (r->next >= r->limit)
        return false;
    memset(i, 0, sizeof *i);
    i->n = r->next++;
    i->due_us = due_us;
    doses_new_key(i->key);
    return true;
}

static void fill(struct slot *s) {
    struct run *r = s->run;
    int64_t due_us; /* of a batch: when its first dose is; it comes as a whole */
    if (!due(r, clock_mono_us(), &due_us))
        return;
    while (s->count < r->options->batch &&
           (s->count == 0 || !r->options->by_town ||
            doses_same_town(r->doses, s->item[0].n, r->next)) &&
           take(r, &s->item[s->count], due_us))
        s->count++;
    if (s->count == 0)
        return;
    r->busy++;
    send_now(s);
}

/* --- the run --- */

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    struct run *r = arg;
    (void)fd;
    (void)what;
    if (!r->started) {
        if (login_hopeless(r->login))
            (void)event_base_loopbreak(r->base);
        if (r->connecting == 0 && login_header(r->login) != NULL && !r->ready)
            get_ready(r);
        return;
    }
    int64_t now = clock_mono_us();
    bool over = now >= r->stop_us || r->next >= r->limit;
    if (!over && r->options->rate > 0) {
        for (size_t i = 0; i < r->options->connections; i++) {
            if (r->slot[i]->count == 0)
                fill(r->slot[i]);
        }
    }
    if ((over && r->busy == 0) || now >= r->give_up_us)
        (void)event_base_loopbreak(r->base);
}

static void on_signal(evutil_socket_t fd, short what, void *arg) {
    struct run *r = arg;
    (void)fd;
    (void)what;
    int64_t now = clock_mono_us();
    if (!r->started)
        (void)event_base_loopbreak(r->base);
    if (now < r->stop_us) {
        r->stop_us = now;
        r->give_up_us = now + (int64_t)r->options->drain_s * 1000000;
    }
}

static uint64_t unsettled(const struct run *r) {
    uint64_t n = 0;
    for (size_t i = 0; i < r->options->connections && r->slot != NULL; i++)
        n += r->slot[i] != NULL ? r->slot[i]->count : 0;
    return n;
}

static uint64_t still_open(const struct run *r) {
    uint64_t n = 0;
    for (size_t i = 0; i < r->options->connections; i++)
        n += conn_is_open(r->slot[i]->conn);
    return n;
}

static void print(struct run *r) {
    uint64_t done = r->doses != NULL ? r->acknowledged : r->answers;
    int64_t until_us = r->last_us < r->stop_us && r->last_us > 0 ? r->last_us : r->stop_us;
    double s = (double)(until_us - r->start_us) / 1e6;
    double cpu_s = stats_cpu_s() - r->cpu_s;
    stats_sort(&r->stats);
    (void)printf("{\"connections\":%" PRIu64 ",\"batch\":%" PRIu64 ",\"rate\":%" PRIu64
                 ",\"seconds\":%.3f,\"begun\":%" PRIu64 ",\"sent\":%" PRIu64 ",\"answers\":%" PRIu64
                 ",\"acknowledged\":%" PRIu64 ",\"201\":%" PRIu64 ",\"202\":%" PRIu64,
                 r->options->connections, r->options->batch, r->options->rate, s, r->next,
                 r->requests, done, r->acknowledged, r->status_201, r->status_202);
    (void)printf(",\"retried\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"503\":%" PRIu64
                 ",\"failed\":%" PRIu64 ",\"unsettled\":%" PRIu64 ",\"again\":%" PRIu64
                 ",\"contradictions\":%" PRIu64 ",\"handshakes\":%" PRIu64 ",\"open\":%" PRIu64,
                 r->retried, r->lost, r->refused_503, r->failed, unsettled(r), r->again,
                 r->contradictions, conn_handshakes(r->target), still_open(r));
    (void)printf(",\"per_s\":%.1f,\"p50_ms\":%.2f,\"p90_ms\":%.2f,\"p99_ms\":%.2f,\"max_ms\":%.2f"
                 ",\"cpu_s\":%.3f,\"cpu_ms_each\":%.4f,\"outcomes\":{",
                 s > 0 ? (double)r->in_time / s : 0, stats_ms(&r->stats, 50),
                 stats_ms(&r->stats, 90), stats_ms(&r->stats, 99), stats_ms(&r->stats, 100), cpu_s,
                 done > 0 ? cpu_s * 1000 / (double)done : 0);
    for (size_t i = 0; i < OUTCOMES && r->outcome[i].name[0] != '\0'; i++)
        (void)printf("%s\"%s\":%" PRIu64, i > 0 ? "," : "", r->outcome[i].name,
                     r->outcome[i].count);
    (void)printf("}}\n");
}

static enum vrs_err open_slots(struct run *r) {
    const struct load_options *o = r->options;
    r->slot = calloc(o->connections, sizeof(struct slot *));
    for (size_t i = 0; r->slot != NULL && i < o->connections; i++) {
        struct slot *s = calloc(1, sizeof *s + o->batch * sizeof s->item[0]);
        if (s == NULL)
            return ERR_MEMORY;
        r->slot[i] = s;
        s->run = r;
        s->conn = conn_new(r->base, r->target, on_reply, s);
        s->timer = event_new(r->base, -1, 0, on_slot_timer, s);
        if (s->conn == NULL || s->timer == NULL)
            return ERR_MEMORY;
        r->connecting++;
    }
    for (int i = 0; r->slot != NULL && i < OPENING; i++)
        open_next(r);
    return r->slot != NULL ? VRS_OK : ERR_MEMORY;
}

static enum vrs_err open_run(struct run *r, struct vrs_fault *fault) {
    const struct load_options *o = r->options;
    const struct timeval tick = {.tv_usec = TICK_MS * 1000};
    buffer_init(&r->request, 8 << 20);
    buffer_init(&r->body, 8 << 20);
    r->limit = o->count > 0 ? o->count : UINT64_MAX;
    enum vrs_err e = VRS_OK;
    if (o->get != NULL || o->post != NULL || o->idle) {
        e = asks_open(o, &r->asks, fault);
    } else {
        e = doses_open(o, &r->doses, fault);
        if (e == VRS_OK)
            e = journal_open(o->journal, &r->journal, fault);
        if (e == VRS_OK && r->limit > doses_count(r->doses))
            r->limit = doses_count(r->doses);
    }
    if (e != VRS_OK)
        return e;
    r->base = event_base_new();
    if (r->base == NULL)
        return err_fail(fault, ERR_MEMORY, "event loop");
    r->tick = event_new(r->base, -1, EV_PERSIST, on_tick, r);
    r->term = evsignal_new(r->base, SIGTERM, on_signal, r);
    r->interrupt = evsignal_new(r->base, SIGINT, on_signal, r);
    e = login_open(r->base, r->target, o, &r->login, fault);
    if (e != VRS_OK)
        return e;
    if (o->wait && (r->word = event_new(r->base, STDIN_FILENO, EV_READ, on_word, r)) == NULL)
        return err_fail(fault, ERR_MEMORY, "event loop");
    if (r->tick == NULL || r->term == NULL || r->interrupt == NULL ||
        event_add(r->tick, &tick) != 0 || event_add(r->term, NULL) != 0 ||
        event_add(r->interrupt, NULL) != 0 || open_slots(r) != VRS_OK)
        return err_fail(fault, ERR_MEMORY, "event loop");
    return VRS_OK;
}

static void close_run(struct run *r) {
    for (size_t i = 0; i < r->options->connections && r->slot != NULL; i++) {
        if (r->slot[i] == NULL)
            continue;
        conn_free(r->slot[i]->conn);
        if (r->slot[i]->timer != NULL)
            event_free(r->slot[i]->timer);
        free(r->slot[i]);
    }
    free(r->slot);
    login_close(&r->login);
    struct event *events[] = {r->tick, r->term, r->interrupt, r->word};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (events[i] != NULL)
            event_free(events[i]);
    }
    if (r->base != NULL)
        event_base_free(r->base);
    doses_close(&r->doses);
    asks_close(&r->asks);
    journal_close(&r->journal);
    stats_fini(&r->stats);
    buffer_fini(&r->request);
    buffer_fini(&r->body);
}

enum vrs_err post_run(const struct load_options *o, const struct conn_target *t, bool *ok,
                      struct vrs_fault *fault) {
    struct run r = {.options = o, .target = t};
    enum vrs_err e = open_run(&r, fault);
    *ok = false;
    if (e == VRS_OK) {
        (void)event_base_dispatch(r.base);
        print(&r);
        *ok =
            r.started && !r.broken && r.failed == 0 && r.contradictions == 0 && unsettled(&r) == 0;
    }
    close_run(&r);
    return e;
}
