#include "tablet-api/reader_line.h"

#include <arpa/inet.h>
#include <event2/buffer.h>
#include <event2/bufferevent_ssl.h>
#include <event2/event.h>
#include <event2/listener.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/text.h"
#include "lib/throttle.h"
#include "lib/tls.h"
#include "tablet-api/event.h"
#include "tablet-api/posting.h"
#include "tablet-api/published.h"
#include "tablet-api/reader_text.h"
#include "tablet-api/tablet.h"
#include "tablet-api/terminal.h"
#include "tablet-api/trouble.h"

enum {
    OF_ONE_TERMINAL = 4,    /* connections; a new one ends the oldest */
    ON_THEIR_WAY = 128,     /* readings of a connection without answer; then nothing is read */
    UNTAKEN_MAX = 64 << 10, /* bytes of answers that the peer does not take; then it is ended */
    HANDSHAKE_MS = 10000,
    LINE_MS = 30000,   /* from the first byte of a line to its end */
    LINGER_MS = 5000,  /* for the last answer to be taken */
    TERMINALS = 16384, /* names in the throttle */
    BACKLOG = 128,
    ANSWER_MAX = 8192
};

struct reader_conn {
    TAILQ_ENTRY(reader_conn) link; /* the oldest first */
    struct reader_line *line;
    struct bufferevent *bev; /* NULL: gone; the struct lives until its readings are answered */
    SSL *ssl;
    char address[48];
    struct tls_peer peer;
    bool shaken;  /* the handshake is over and `peer` known */
    bool last;    /* nothing is read any more; ends when its output is taken */
    bool reading; /* in on_read: no reading within it */
    int64_t since_ms, line_ms, done_ms; /* monotonic: accepted; last whole line; `last` was set */
    size_t on_their_way;
    struct reader_header header;
};
TAILQ_HEAD(reader_conns, reader_conn);

struct reader_line {
    struct tablet *tablet;
    const struct tls_server *tls;
    struct evconnlistener *socket;
    struct event *timer;
    struct throttle *quota; /* lines by terminal */
    struct reader_conns conns;
    size_t count;
    bool stopping;
};

/* One reading between its line and its answer. */
struct reader_post {
    struct reader_conn *conn;
    char sequence[sizeof((struct reader_reading *)0)->sequence];
};

static struct metric m_connections = {.name = "vrs_reader_connections",
                                      .help = "Connections of reader terminals now open",
                                      .type = METRIC_GAUGE,
                                      .registered = ATOMIC_FLAG_INIT};
static struct metric m_readings = {.name = "vrs_reader_readings_total",
                                   .help = "Readings that came over the reader line",
                                   .type = METRIC_COUNTER,
                                   .registered = ATOMIC_FLAG_INIT};

/* --- the end of a connection --- */

static void conn_free_if_done(struct reader_conn *c) {
    if (c->bev != NULL || c->on_their_way > 0)
        return;
    reader_header_fini(&c->header);
    free(c);
}

static void conn_end(struct reader_conn *c) {
    if (c->bev == NULL)
        return;
    if (c->ssl != NULL && SSL_is_init_finished(c->ssl)) {
        (void)SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    TAILQ_REMOVE(&c->line->conns, c, link);
    c->line->count--;
    metric_add(&m_connections, -1);
    bufferevent_free(c->bev);
    c->bev = NULL;
    conn_free_if_done(c);
}

static void say(struct reader_conn *c, const struct buffer *b) {
    if (c->bev != NULL && !b->failed && b->len > 0)
        (void)bufferevent_write(c->bev, b->data, b->len);
}

static void say_error(struct reader_conn *c, const char *sequence, enum vrs_err e,
                      const struct intake_refusal *no) {
    struct buffer b;
    buffer_init(&b, ANSWER_MAX);
    reader_text_error(sequence, e, no, &b);
    say(c, &b);
    buffer_fini(&b);
}

/* The last words: nothing more is read, and the connection ends when they are taken. */
static void say_last(struct reader_conn *c, enum vrs_err e) {
    if (c->last || c->bev == NULL)
        return;
    say_error(c, "", e, NULL);
    (void)bufferevent_disable(c->bev, EV_READ);
    c->last = true;
    c->done_ms = clock_mono_ms();
}

/* --- a line --- */

static void note(const struct reader_conn *c, const char *event, const char *municipality) {
    const struct event_note n = {.name = event,
                                 .terminal = c->peer.name,
                                 .staff = "",
                                 .source = c->address,
                                 .municipality = municipality,
                                 .thin = true};
    event_note(c->line->tablet->events, &n);
}

/* The gate of every line, as of this moment: registered, in force, and a system client that may
 * post.  What fails here ends the connection. */
static enum vrs_err admit(const struct reader_conn *c) {
    const struct tablet *t = c->line->tablet;
    const struct published_terminal *at = NULL;
    const char *event = NULL;
    enum vrs_err e = terminal_admit(t, &c->peer, &at, &event);
    if (e == VRS_OK) {
        const struct published_system *s = published_system(t->published, c->peer.fingerprint);
        event = s == NULL ? "system.refused" : "request.forbidden";
        if (s == NULL)
            e = ERR_UNKNOWN_SYSTEM;
        else if ((s->rights & RIGHT_DOSE_POST) == 0)
            e = ERR_FORBIDDEN;
    }
    if (e != VRS_OK)
        note(c, event, at != NULL ? at->municipality : "");
    return e;
}

static void read_lines(struct reader_conn *c);

static void answered(struct posting *p) {
    struct reader_post *post = p->owner;
    struct reader_conn *c = post->conn;
    struct buffer b;
    buffer_init(&b, ANSWER_MAX);
    if (p->put.job.err != VRS_OK) {
        posting_forget(c->line->tablet, p);
        reader_text_error(post->sequence, p->put.job.err, NULL, &b);
    } else {
        reader_text_receipt(post->sequence, &p->put.found, p->clock_warning, &b);
    }
    say(c, &b);
    buffer_fini(&b);
    posting_free(p);
    free(post);
    c->on_their_way--;
    if (c->bev != NULL)
        read_lines(c);
    else
        conn_free_if_done(c);
}

/* VRS_OK: `answered` will be called, or was. */
static enum vrs_err post(struct reader_conn *c, const struct reader_reading *r, struct intake *in,
                         int64_t now_ms) {
    struct tablet *t = c->line->tablet;
    char key[INTAKE_KEY_SIZE];
    reader_key(&c->header, r->sequence, key);
    struct posting *p = posting_of_dose(in, key, c->peer.name, "", now_ms);
    struct reader_post *own = calloc(1, sizeof *own);
    if (p == NULL || own == NULL || posting_asks(t, in, p)) {
        enum vrs_err e = p == NULL || own == NULL ? ERR_MEMORY : ERR_SAME_COUPON;
        if (p != NULL)
            posting_free(p);
        free(own);
        return e;
    }
    own->conn = c;
    memcpy(own->sequence, r->sequence, sizeof own->sequence);
    p->owner = own;
    p->answered = answered;
    c->on_their_way++;
    metric_add(&m_readings, 1);
    receipt_post(t->receipts, p);
    return VRS_OK;
}

static void take_reading(struct reader_conn *c, const char *line) {
    const struct intake_rules rules = posting_rules(c->line->tablet);
    struct reader_reading r;
    struct intake_refusal no = {0};
    struct intake in;
    struct buffer body;
    enum vrs_err e = VRS_OK;
    if (!reader_reading_read(line, &r)) {
        say_error(c, "", ERR_BAD_REQUEST, NULL);
        return;
    }
    if (c->header.fields == NULL) {
        say_error(c, r.sequence, ERR_MISSING_FIELD, NULL);
        return;
    }
    buffer_init(&body, 2 * (size_t)READER_TEXT_MAX);
    e = reader_body(&c->header, &r, &body);
    if (e == VRS_OK)
        e = intake_read(&rules, body.data, body.len, false, NULL, &in, &no);
    if (e == VRS_OK)
        e = post(c, &r, &in, rules.now_ms);
    if (e != VRS_OK)
        say_error(c, r.sequence, e, &no);
    secret_wipe(&in, sizeof in);
    secret_wipe(&no, sizeof no);
    buffer_fini(&body);
}

/* A header is judged at once, with a coupon that is nobody's in the place of the reading. */
static enum vrs_err try_header(const struct reader_conn *c, const struct reader_header *h,
                               struct intake_refusal *no) {
    const struct intake_rules rules = posting_rules(c->line->tablet);
    struct reader_reading r = {.sequence = "1"};
    struct intake in;
    struct buffer body;
    char digits[32];
    (void)snprintf(digits, sizeof digits, "21%s0000000000",
                   municipality_at(rules.municipalities, 0)->code.digits);
    r.digits = digits;
    buffer_init(&body, 2 * (size_t)READER_TEXT_MAX);
    enum vrs_err e = reader_body(h, &r, &body);
    if (e == VRS_OK)
        e = intake_read(&rules, body.data, body.len, false, NULL, &in, no);
    buffer_fini(&body);
    return e;
}

static void take_header(struct reader_conn *c, const char *line) {
    struct intake_refusal no = {0};
    struct reader_header h = {0};
    enum vrs_err e = reader_header_read(line, &h, &no.fault);
    if (e == VRS_OK)
        e = try_header(c, &h, &no);
    /* Whatever was chosen before does not hold any more: readings under a header that was refused
     * must not go out with the one before it. */
    reader_header_fini(&c->header);
    if (e != VRS_OK) {
        reader_header_fini(&h);
        say_error(c, "", e, &no);
        return;
    }
    c->header = h;
    char now[25];
    struct buffer b;
    clock_format_rfc3339(clock_now_ms(), now);
    buffer_init(&b, ANSWER_MAX);
    (void)buffer_printf(&b, "OK VRS1 %s\n", now);
    say(c, &b);
    buffer_fini(&b);
}

static void take_line(struct reader_conn *c, char *line, size_t len) {
    if (len > 0 && line[len - 1] == '\r')
        line[--len] = '\0';
    if (len == 0)
        return;
    c->line_ms = clock_mono_ms();
    enum vrs_err e = admit(c);
    if (e != VRS_OK) {
        say_last(c, e);
        return;
    }
    if (len > READER_TEXT_MAX) {
        say_last(c, ERR_TOO_LARGE);
        return;
    }
    struct throttle *quota = c->line->quota;
    struct reader_reading r = {0};
    if (!throttle_allows(quota, c->peer.name, NULL)) {
        (void)reader_reading_read(line, &r);
        say_error(c, r.sequence, ERR_TOO_MANY, NULL);
        return;
    }
    throttle_count(quota, c->peer.name);
    if (strlen(line) != len || !text_valid_utf8(line, len))
        say_error(c, "", ERR_BAD_REQUEST, NULL);
    else if (reader_text_is_header(line))
        take_header(c, line);
    else
        take_reading(c, line);
}

static void read_lines(struct reader_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    if (c->reading || !c->shaken || c->line->stopping)
        return;
    c->reading = true;
    while (!c->last && c->on_their_way < ON_THEIR_WAY) {
        size_t len = 0;
        char *line = evbuffer_readln(in, &len, EVBUFFER_EOL_LF);
        if (line == NULL) {
            if (evbuffer_get_length(in) > READER_TEXT_MAX)
                say_last(c, ERR_TOO_LARGE);
            break;
        }
        take_line(c, line, len);
        secret_wipe(line, len);
        free(line);
    }
    c->reading = false;
    if (c->last)
        return;
    if (c->on_their_way >= ON_THEIR_WAY)
        (void)bufferevent_disable(c->bev, EV_READ);
    else
        (void)bufferevent_enable(c->bev, EV_READ);
}

/* --- the connection --- */

static void on_read(struct bufferevent *bev, void *arg) {
    (void)bev;
    read_lines(arg);
}

static void on_written(struct bufferevent *bev, void *arg) {
    struct reader_conn *c = arg;
    if (c->last && c->on_their_way == 0 && evbuffer_get_length(bufferevent_get_output(bev)) == 0)
        conn_end(c);
}

/* A terminal that lost its connection comes back before we know: its oldest goes. */
static void end_oldest_of(struct reader_line *r, const struct reader_conn *newest) {
    struct reader_conn *oldest = NULL, *c;
    size_t n = 0;
    TAILQ_FOREACH(c, &r->conns, link) {
        if (!c->shaken || strcmp(c->peer.serial, newest->peer.serial) != 0)
            continue;
        if (oldest == NULL)
            oldest = c;
        n++;
    }
    if (n > OF_ONE_TERMINAL)
        conn_end(oldest);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    struct reader_conn *c = arg;
    struct tablet *t = c->line->tablet;
    if ((what & BEV_EVENT_CONNECTED) != 0) {
        c->shaken = tls_peer_read(c->ssl, &c->peer);
        if (!c->shaken) {
            conn_end(c);
            return;
        }
        c->line_ms = clock_mono_ms();
        end_oldest_of(c->line, c);
        read_lines(c);
        return;
    }
    unsigned long code = bufferevent_get_openssl_error(bev);
    if (!c->shaken && code != 0) {
        const char *why = ERR_reason_error_string(code);
        trouble_connection(t, HTTP_TROUBLE_HANDSHAKE, c->address, why != NULL ? why : "TLS");
    }
    conn_end(c);
}

static void address_text(const struct sockaddr *a, char *out, size_t cap) {
    const void *from = a->sa_family == AF_INET
                           ? (const void *)&((const struct sockaddr_in *)(const void *)a)->sin_addr
                           : &((const struct sockaddr_in6 *)(const void *)a)->sin6_addr;
    if (inet_ntop(a->sa_family, from, out, (socklen_t)cap) == NULL)
        out[0] = '\0';
}

static struct bufferevent *new_bufferevent(struct reader_line *r, evutil_socket_t fd, SSL **ssl) {
    *ssl = SSL_new(tls_server_native(r->tls));
    if (*ssl == NULL)
        return NULL;
    struct bufferevent *bev =
        bufferevent_openssl_socket_new(r->tablet->base, fd, *ssl, BUFFEREVENT_SSL_ACCEPTING,
                                       BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (bev == NULL)
        SSL_free(*ssl);
    return bev;
}

static void on_accept(struct evconnlistener *socket, evutil_socket_t fd, struct sockaddr *from,
                      int len, void *arg) {
    struct reader_line *r = arg;
    char address[48];
    (void)socket;
    (void)len;
    address_text(from, address, sizeof address);
    bool crowded = r->count >= (size_t)r->tablet->config.reader_connections;
    struct reader_conn *c = crowded ? NULL : calloc(1, sizeof *c);
    if (c != NULL)
        c->bev = new_bufferevent(r, fd, &c->ssl);
    if (c == NULL || c->bev == NULL) {
        if (crowded)
            trouble_connection(r->tablet, HTTP_TROUBLE_CROWDED, address, "reader line");
        free(c);
        evutil_closesocket(fd);
        return;
    }
    memcpy(c->address, address, sizeof c->address);
    c->line = r;
    c->since_ms = c->line_ms = clock_mono_ms();
    TAILQ_INSERT_TAIL(&r->conns, c, link);
    r->count++;
    metric_add(&m_connections, 1);
    bufferevent_openssl_set_allow_dirty_shutdown(c->bev, 1);
    bufferevent_setcb(c->bev, on_read, on_written, on_event, c);
    bufferevent_setwatermark(c->bev, EV_READ, 0, 4 * (size_t)READER_TEXT_MAX);
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

/* --- deadlines --- */

static void look_at(struct reader_conn *c, int64_t now_ms) {
    const struct tablet_config *f = &c->line->tablet->config;
    size_t untaken = evbuffer_get_length(bufferevent_get_output(c->bev));
    bool begun = evbuffer_get_length(bufferevent_get_input(c->bev)) > 0;
    if (c->last) {
        if ((untaken == 0 && c->on_their_way == 0) || now_ms - c->done_ms > LINGER_MS)
            conn_end(c);
        return;
    }
    if ((!c->shaken && now_ms - c->since_ms > HANDSHAKE_MS) || untaken > UNTAKEN_MAX) {
        trouble_connection(c->line->tablet, HTTP_TROUBLE_SLOW, c->address, "reader line");
        conn_end(c);
        return;
    }
    if (!c->shaken || c->on_their_way > 0)
        return;
    bool idle = now_ms - c->line_ms > f->reader_idle_s * 1000;
    bool slow = begun && now_ms - c->line_ms > LINE_MS;
    if (idle || slow || now_ms - c->since_ms > f->reader_age_s * 1000)
        say_last(c, ERR_TIMEOUT);
}

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    struct reader_line *r = arg;
    struct reader_conn *next = NULL;
    int64_t now_ms = clock_mono_ms();
    (void)fd;
    (void)what;
    for (struct reader_conn *c = TAILQ_FIRST(&r->conns); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        look_at(c, now_ms);
    }
    (void)evconnlistener_enable(r->socket); /* after on_accept_error */
}

/* No descriptors: without a pause until the next tick the loop would spin. */
static void on_accept_error(struct evconnlistener *socket, void *arg) {
    (void)arg;
    log_event(LOG_WARN, "reader.accept_failed", LF_INT("errno", EVUTIL_SOCKET_ERROR()));
    (void)evconnlistener_disable(socket);
}

/* --- life --- */

static enum vrs_err listen_on(struct reader_line *r, struct vrs_fault *fault) {
    const struct tablet_config *f = &r->tablet->config;
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a;
    int len = 0, on = 1;
    memset(&a, 0, sizeof a);
    if (inet_pton(AF_INET, f->reader_address, &a.v4.sin_addr) == 1) {
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons((uint16_t)f->reader_port);
        len = sizeof a.v4;
    } else if (inet_pton(AF_INET6, f->reader_address, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons((uint16_t)f->reader_port);
        len = sizeof a.v6;
    } else {
        return err_fail(fault, ERR_CONFIG, "reader_address must be numeric");
    }
    r->socket = evconnlistener_new_bind(
        r->tablet->base, on_accept, r,
        LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC, BACKLOG, &a.any, len);
    if (r->socket == NULL)
        return err_fail(fault, ERR_CONFIG, "listen on %s port %d", f->reader_address,
                        (int)f->reader_port);
    evconnlistener_set_error_cb(r->socket, on_accept_error);
    if (setsockopt(evconnlistener_get_fd(r->socket), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        return err_fail(fault, ERR_IO, "socket of the reader line");
    return VRS_OK;
}

enum vrs_err reader_line_open(struct tablet *t, const struct tls_server *tls,
                              struct reader_line **out, struct vrs_fault *fault) {
    const struct timeval second = {.tv_sec = 1};
    struct reader_line *r = calloc(1, sizeof *r);
    *out = r;
    if (r == NULL)
        return err_fail(fault, ERR_MEMORY, "reader line");
    r->tablet = t;
    r->tls = tls;
    TAILQ_INIT(&r->conns);
    metric_register(&m_connections);
    metric_register(&m_readings);
    r->quota = throttle_open(TERMINALS, (unsigned)t->config.reader_lines, 60000);
    r->timer = event_new(t->base, -1, EV_PERSIST, on_tick, r);
    if (r->quota == NULL || r->timer == NULL)
        return err_fail(fault, ERR_MEMORY, "reader line");
    enum vrs_err e = listen_on(r, fault);
    if (e == VRS_OK && event_add(r->timer, &second) != 0)
        e = err_fail(fault, ERR_MEMORY, "reader line");
    return e;
}

void reader_line_stop(struct reader_line *r) {
    if (r == NULL || r->stopping)
        return;
    r->stopping = true;
    if (r->socket != NULL)
        evconnlistener_free(r->socket);
    r->socket = NULL;
    if (r->timer != NULL)
        event_free(r->timer);
    r->timer = NULL;
    for (struct reader_conn *c = TAILQ_FIRST(&r->conns), *next; c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        conn_end(c);
    }
}

void reader_line_close(struct reader_line **r) {
    if (*r == NULL)
        return;
    reader_line_stop(*r);
    throttle_close(&(*r)->quota);
    free(*r);
    *r = NULL;
}
