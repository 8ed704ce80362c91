#include "lib/http_private.h"

#include <event2/bufferevent_ssl.h>
#include <event2/http_struct.h>
#include <openssl/err.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"

static struct metric m_connections = {.name = "vrs_http_connections",
                                      .help = "Connections now open",
                                      .type = METRIC_GAUGE,
                                      .registered = ATOMIC_FLAG_INIT};
static struct metric m_refused = {.name = "vrs_http_refused_total",
                                  .help = "Requests refused before they reached a handler",
                                  .type = METRIC_COUNTER,
                                  .registered = ATOMIC_FLAG_INIT};
static struct metric m_overdue = {.name = "vrs_http_deadlines_total",
                                  .help = "Connections ended by a deadline or the cap",
                                  .type = METRIC_COUNTER,
                                  .registered = ATOMIC_FLAG_INIT};

static int64_t allowed_ms(const struct http_conn *c, enum conn_state s) {
    const struct http_limits *l = &c->listener->o.limits;
    switch (s) {
    case CONN_HANDSHAKE:
        return l->handshake_ms;
    case CONN_IDLE:
        return l->idle_ms;
    case CONN_HEAD:
        return l->header_ms;
    case CONN_BODY:
    case CONN_WRITE:
        return l->body_ms;
    case CONN_LINGER:
        return HTTP_LINGER_MS;
    case CONN_BUSY:
    case CONN_STATES:
        break;
    }
    return INT64_MAX / 2; /* the handler has its own deadlines */
}

/* Bytes of answers that the peer's side has taken so far. */
static uint64_t taken(const struct http_conn *c) {
    size_t waiting = evbuffer_get_length(bufferevent_get_output(c->bev));
    return c->added > waiting ? c->added - waiting : 0;
}

static void enter(struct http_conn *c, enum conn_state s) {
    TAILQ_REMOVE(&c->listener->list[c->state], c, link);
    c->state = s;
    c->deadline_ms = clock_mono_ms() + allowed_ms(c, s);
    c->taken_seen = taken(c);
    TAILQ_INSERT_TAIL(&c->listener->list[s], c, link);
}

static size_t head_watermark(const struct http_conn *c) {
    return c->listener->o.limits.header_bytes + HTTP_SLACK_BYTES;
}

static void tell(const struct http_conn *c, enum http_trouble what, const char *why) {
    const struct http_listener_options *o = &c->listener->o;
    if (o->trouble != NULL && !c->listener->closing)
        o->trouble(o->arg, what, c->address, why);
}

/* A handshake that failed by what was said in it; who only went away again is no trouble. */
static void tell_handshake(struct http_conn *c) {
    unsigned long code = bufferevent_get_openssl_error(c->bev);
    const char *why = code != 0 ? ERR_reason_error_string(code) : NULL;
    if (code != 0)
        tell(c, HTTP_TROUBLE_HANDSHAKE, why != NULL ? why : "TLS");
}

/* --- the end, whoever brings it about --- */

static void on_close(struct evhttp_connection *evcon, void *arg) {
    struct http_conn *c = arg;
    struct http_listener *l = c->listener;
    struct http_request *rq = c->rq;

    (void)evcon;
    log_event(LOG_DEBUG, "http.closed", LF_STR("listener", l->name),
              LF_STR("reason", c->reason != NULL ? c->reason : "peer"));
    if (c->ssl != NULL && c->state == CONN_HANDSHAKE && !SSL_is_init_finished(c->ssl))
        tell_handshake(c);
    (void)evbuffer_remove_cb_entry(bufferevent_get_input(c->bev), c->input_cb);
    (void)event_del(&c->later);
    TAILQ_REMOVE(&l->list[c->state], c, link);
    l->connections--;
    l->server->connections--;
    metric_add(&m_connections, -1);
    if (c->fd >= 0 && (size_t)c->fd < l->server->fds && l->server->by_fd[c->fd] == c)
        l->server->by_fd[c->fd] = NULL;
    if (c->ssl != NULL && SSL_is_init_finished(c->ssl)) {
        (void)SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    if (rq != NULL && rq->evreq == NULL) {
        request_free(rq); /* never handed out */
    } else if (rq != NULL) {
        rq->conn = NULL;
        if (rq->streaming && rq->writable != NULL)
            event_active(&rq->gone, EV_TIMEOUT, 0);
    } else if (c->evreq != NULL) {
        evhttp_request_free(c->evreq); /* answered, not wholly sent: evhttp let go of it */
    }
    free(c);
}

void conn_end(struct http_conn *c, const char *reason) {
    c->reason = reason;
    /* As if the bufferevent had timed out: evhttp then lets go of a request that is handed out,
     * frees the connection, and calls on_close. */
    c->evhttp_event(c->bev, BEV_EVENT_READING | BEV_EVENT_TIMEOUT, c->evcon);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    struct http_conn *c = arg;
    c->evhttp_event(bev, what, c->evcon);
}

/* --- refusal: answer, close our half, read on a little so that the answer is not lost --- */

static void on_refusal_written(struct bufferevent *bev, void *arg) {
    struct http_conn *c = arg;
    if (evbuffer_get_length(bufferevent_get_output(bev)) > 0)
        return;
    if (c->ssl != NULL) {
        (void)SSL_shutdown(c->ssl);
        ERR_clear_error();
    }
    (void)shutdown(c->fd, SHUT_WR);
}

static void refuse(struct http_conn *c, const struct vrs_fault *why) {
    struct evbuffer *out = bufferevent_get_output(c->bev);

    metric_add(&m_refused, 1);
    log_event(LOG_DEBUG, "http.refused", LF_STR("listener", c->listener->name), LF_ERR(why->err),
              LF_STR("why", why->text));
    c->reason = "refused";
    tell(c, HTTP_TROUBLE_MALFORMED, why->text);
    c->raw = 0;
    if (c->rq != NULL)
        request_free(c->rq);
    c->rq = NULL;
    bufferevent_setcb(c->bev, NULL, on_refusal_written, on_event, c);
    refusal_write(c->listener->server, out, why->err, c->ssl != NULL);
    enter(c, CONN_LINGER);
    (void)bufferevent_enable(c->bev, EV_READ | EV_WRITE);
}

static void linger(struct http_conn *c, struct evbuffer *in) {
    size_t n = evbuffer_get_length(in);
    c->raw += n;
    (void)evbuffer_drain(in, n);
    if (c->raw > HTTP_LINGER_BYTES)
        (void)bufferevent_disable(c->bev, EV_READ);
}

/* --- the gate before evhttp's parser --- */

static enum vrs_err accept_head(struct http_conn *c, struct http_request *rq, size_t head_len,
                                struct vrs_fault *fault) {
    struct http_listener *l = c->listener;
    struct http_head *h = &rq->head;

    if (h->absolute) {
        bool ours = h->scheme_tls == (l->o.tls != NULL);
        if (ours && l->o.tls != NULL)
            ours = tls_server_is_named(l->o.tls, h->authority);
        if (!ours)
            return err_fail(fault, ERR_BAD_REQUEST, "target names another host");
    }
    route_find(l->o.routes, h->method, h->path, &rq->match);
    rq->body_limit = l->o.limits.body_bytes;
    if (rq->match.route != NULL && rq->match.route->max_body_bytes > 0)
        rq->body_limit = rq->match.route->max_body_bytes;
    if (h->length > rq->body_limit)
        return err_fail(fault, ERR_TOO_LARGE, "Content-Length");

    if (c->ssl != NULL && !c->has_peer &&
        (SSL_get_verify_mode(c->ssl) & SSL_VERIFY_FAIL_IF_NO_PEER_CERT)) {
        if (!tls_peer_read(c->ssl, &c->peer))
            return err_fail(fault, ERR_FORBIDDEN, "no client certificate");
        c->has_peer = true;
    }
    if (c->has_peer && clock_now_ms() > c->peer.not_after_ms)
        c->peer.expired = true; /* meanwhile, on a kept connection */
    if (c->has_peer)
        rq->peer = arena_memdup(rq->arena, &c->peer, sizeof c->peer);
    rq->address = arena_strdup(rq->arena, c->address);
    if (rq->address == NULL || (c->has_peer && rq->peer == NULL))
        return err_fail(fault, ERR_MEMORY, "request");

    size_t body = h->chunked ? rq->body_limit : (size_t)h->length;
    bufferevent_setwatermark(c->bev, EV_READ, 0, head_len + body + HTTP_SLACK_BYTES);
    (void)bufferevent_set_max_single_read(
        c->bev, body > HTTP_LARGE_READ_BYTES ? HTTP_LARGE_READ_BYTES : HTTP_SMALL_READ_BYTES);
    c->raw = 0;
    c->raw_max = h->chunked ? (uint64_t)rq->body_limit * 2 + 2 * HTTP_SLACK_BYTES : UINT64_MAX;
    c->close = !h->keep_alive;
    return VRS_OK;
}

/* A new request in its own arena, with its own copy of the head. */
static enum vrs_err read_head(struct http_conn *c, const void *bytes, size_t n,
                              struct vrs_fault *fault) {
    struct arena *arena = arena_open(HTTP_ARENA_BYTES);
    struct http_request *rq = arena != NULL ? arena_alloc(arena, sizeof *rq) : NULL;
    char *copy = rq != NULL ? arena_memdup(arena, bytes, n) : NULL;

    if (copy == NULL) {
        arena_close(&arena);
        return err_fail(fault, ERR_MEMORY, "request");
    }
    rq->arena = arena;
    rq->base = c->listener->server->base;
    rq->arg = c->listener->o.arg;
    rq->tls = c->ssl != NULL;
    rq->started_us = clock_mono_us();
    c->rq = rq;
    enum vrs_err e = http_head_read(copy, n, &rq->head, fault);
    return e == VRS_OK ? accept_head(c, rq, n, fault) : e;
}

/* Looks at what has come of a head.  Leaves evhttp's callbacks in place only when the head is
 * whole and accepted. */
static void gate(struct http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t limit = c->listener->o.limits.header_bytes;
    size_t n = evbuffer_get_length(in);
    struct vrs_fault fault;
    bool was_waiting = c->state == CONN_HEAD;

    if (!was_waiting) {
        c->scanned = 0;
        enter(c, CONN_HEAD);
    }
    if (n > limit)
        n = limit;
    const uint8_t *p = evbuffer_pullup(in, (ev_ssize_t)n);
    enum http_scan found = p != NULL ? http_head_scan(p, n, &c->scanned) : HTTP_SCAN_BAD;
    if (found == HTTP_SCAN_BAD) {
        (void)err_fail(&fault, ERR_BAD_REQUEST, "line end");
        refuse(c, &fault);
    } else if (found == HTTP_SCAN_MORE && n == limit) {
        (void)err_fail(&fault, ERR_TOO_LARGE, "head");
        refuse(c, &fault);
    } else if (found == HTTP_SCAN_MORE) {
        if (!was_waiting)
            bufferevent_setcb(c->bev, NULL, NULL, c->evhttp_event, c->evcon);
    } else if (read_head(c, p, c->scanned, &fault) != VRS_OK) {
        refuse(c, &fault);
    } else {
        enter(c, CONN_BODY);
        if (was_waiting)
            bufferevent_setcb(c->bev, c->evhttp_read, c->evhttp_write, c->evhttp_event, c->evcon);
    }
}

/* Called by the input buffer before the bufferevent's read callback. */
static void on_input(struct evbuffer *in, const struct evbuffer_cb_info *info, void *arg) {
    struct http_conn *c = arg;
    struct vrs_fault fault;

    if (info->n_added == 0)
        return;
    switch (c->state) {
    case CONN_HANDSHAKE:
    case CONN_IDLE:
    case CONN_HEAD:
        gate(c);
        break;
    case CONN_BODY:
        c->raw += info->n_added;
        if (c->raw > c->raw_max) {
            (void)err_fail(&fault, ERR_TOO_LARGE, "chunks");
            refuse(c, &fault);
        }
        break;
    case CONN_LINGER:
        break;
    case CONN_BUSY:
    case CONN_WRITE:
    case CONN_STATES:
        return;
    }
    if (c->state == CONN_LINGER)
        linger(c, in);
}

/* --- a request and its answer --- */

static void on_complete(struct evhttp_request *evreq, void *arg) {
    struct http_conn *c = arg;

    (void)evreq;
    c->evreq = NULL;
    enter(c, CONN_IDLE);
    /* What was pipelined is in the buffer already, or held back inside OpenSSL. evhttp goes on to
     * it by a callback that it queues after this one. */
    if (evbuffer_get_length(bufferevent_get_input(c->bev)) > 0 ||
        (c->ssl != NULL && SSL_pending(c->ssl) > 0))
        event_active(&c->later, EV_TIMEOUT, 0);
}

static void resume(struct http_conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);

    if (c->state != CONN_IDLE)
        return;
    if (evbuffer_get_length(in) > 0) {
        gate(c);
        return;
    }
    /* bufferevent_openssl waits for the socket although the rest of a record is decrypted. */
    char rest[HTTP_LARGE_READ_BYTES];
    int n = c->ssl != NULL ? SSL_pending(c->ssl) : 0;
    if (n > 0 && (n = SSL_read(c->ssl, rest, sizeof rest)) > 0) {
        (void)evbuffer_add(in, rest, (size_t)n);
        explicit_bzero(rest, (size_t)n);
        bufferevent_trigger(c->bev, EV_READ, 0);
    }
}

static void answered(struct http_conn *c) {
    struct evhttp_request *evreq = c->evreq;
    if (c->close)
        (void)evhttp_add_header(evhttp_request_get_output_headers(evreq), "Connection", "close");
    /* The output is empty, so this ends the request at once: on_complete, and perhaps on_close. */
    evhttp_send_reply_end(evreq);
}

static void on_written(struct bufferevent *bev, void *arg) {
    struct http_conn *c = arg;

    if (c->state != CONN_WRITE)
        return;
    if (c->rq != NULL) { /* a stream that goes on */
        enter(c, CONN_WRITE);
        if (c->rq->writable != NULL)
            c->rq->writable(c->rq, c->rq->writable_arg);
        return;
    }
    if (evbuffer_get_length(bufferevent_get_output(bev)) == 0)
        answered(c);
}

bool conn_closes(struct http_conn *c) {
    if (c->listener->closing || clock_mono_ms() - c->opened_ms > c->listener->o.limits.age_ms)
        c->close = true;
    return c->close;
}

/* Small answers leave at once, in one TLS record, without a turn of the loop. */
static bool sent_directly(struct http_conn *c, size_t added) {
    struct evbuffer *out = bufferevent_get_output(c->bev);
    struct evbuffer_iovec all;

    if (c->ssl == NULL || added > HTTP_LARGE_READ_BYTES || evbuffer_get_length(out) != added ||
        evbuffer_peek(out, -1, NULL, &all, 1) != 1)
        return false;
    ERR_clear_error();
    int n = SSL_write(c->ssl, all.iov_base, (int)all.iov_len);
    if (n <= 0) {
        /* The socket is full, or broken: the bufferevent tries the same bytes again. */
        ERR_clear_error();
        return false;
    }
    (void)evbuffer_drain(out, (size_t)n);
    return evbuffer_get_length(out) == 0;
}

void conn_send(struct http_conn *c, size_t added) {
    bool stream = c->rq != NULL;

    c->added += added;
    if (!stream && c->state == CONN_BUSY && sent_directly(c, added)) {
        answered(c);
        return;
    }
    bufferevent_setwatermark(c->bev, EV_WRITE, stream ? HTTP_STREAM_LOW_BYTES : 0, 0);
    if (c->state != CONN_WRITE || !stream)
        enter(c, CONN_WRITE);
    (void)bufferevent_enable(c->bev, EV_WRITE);
}

void conn_presented(struct evhttp_request *evreq, void *arg) {
    struct http_listener *l = arg;
    struct evhttp_connection *evcon = evhttp_request_get_connection(evreq);
    struct bufferevent *bev = evhttp_connection_get_bufferevent(evcon);
    evutil_socket_t fd = bufferevent_getfd(bev);
    struct http_conn *c = fd >= 0 && (size_t)fd < l->server->fds ? l->server->by_fd[fd] : NULL;

    if (c == NULL || c->evcon != evcon || c->state != CONN_BODY || c->rq == NULL) {
        evhttp_send_error(evreq, HTTP_SERVUNAVAIL, NULL); /* closes; only when memory ran out */
        return;
    }
    struct http_request *rq = c->rq;
    evhttp_request_set_on_complete_cb(evreq, on_complete, c);
    /* evhttp uses one flag for both directions: a chunked request would get a last chunk appended
     * to our answer. */
    evreq->chunked = 0;
    rq->conn = c;
    rq->evreq = evreq;
    c->evreq = evreq;
    bufferevent_setcb(bev, NULL, on_written, on_event, c);
    bufferevent_setwatermark(bev, EV_READ, 0, head_watermark(c));
    (void)bufferevent_set_max_single_read(bev, HTTP_SMALL_READ_BYTES);
    enter(c, CONN_BUSY);

    if (evbuffer_get_length(evhttp_request_get_input_buffer(evreq)) > rq->body_limit) {
        c->close = true;
        http_problem(rq, ERR_TOO_LARGE, NULL, NULL);
    } else if (rq->match.route == NULL) {
        enum vrs_err e = rq->match.other_method ? ERR_NO_METHOD : ERR_NOT_FOUND;
        if (c->listener->o.unrouted != NULL)
            c->listener->o.unrouted(rq, e);
        else
            http_problem(rq, e, NULL, NULL);
    } else if (c->listener->o.gate == NULL || c->listener->o.gate(rq)) {
        rq->match.route->handle(rq);
    }
}

/* --- the beginning --- */

static void on_later(evutil_socket_t fd, short what, void *arg) {
    struct http_conn *c = arg;
    (void)fd;
    (void)what;
    if (c->evcon == NULL)
        conn_attach(c);
    else
        resume(c);
}

/* Called back in the same turn of the loop in which evhttp accepted the connection, so before any
 * byte of it can be read.  The bufferevent's argument is evhttp's connection (libevent 2.1). */
void conn_attach(struct http_conn *c) {
    void *evcon = NULL;
    struct http_server *s = c->listener->server;
    char *address = NULL;
    ev_uint16_t port = 0;

    bufferevent_getcb(c->bev, &c->evhttp_read, &c->evhttp_write, &c->evhttp_event, &evcon);
    c->evcon = evcon;
    c->fd = bufferevent_getfd(c->bev);
    evhttp_connection_set_closecb(c->evcon, on_close, c);
    evhttp_connection_get_peer(c->evcon, &address, &port);
    (void)strncpy(c->address, address != NULL ? address : "", sizeof c->address - 1);
    if ((size_t)c->fd >= s->fds) {
        size_t fds = ((size_t)c->fd + 256) * 2;
        struct http_conn **grown = realloc(s->by_fd, fds * sizeof *grown);
        if (grown == NULL) {
            conn_end(c, "memory");
            return;
        }
        memset(grown + s->fds, 0, (fds - s->fds) * sizeof *grown);
        s->by_fd = grown;
        s->fds = fds;
    }
    s->by_fd[c->fd] = c;
    if (c->surplus) {
        metric_add(&m_overdue, 1);
        tell(c, HTTP_TROUBLE_CROWDED, "cap");
        conn_end(c, "cap");
    }
}

static struct bufferevent *new_bufferevent(struct http_listener *l, SSL **ssl) {
    *ssl = NULL;
    if (l->o.tls == NULL)
        return bufferevent_socket_new(l->server->base, -1, BEV_OPT_CLOSE_ON_FREE);
    *ssl = SSL_new(tls_server_native(l->o.tls));
    if (*ssl == NULL)
        return NULL;
    struct bufferevent *bev = bufferevent_openssl_socket_new(
        l->server->base, -1, *ssl, BUFFEREVENT_SSL_ACCEPTING, BEV_OPT_CLOSE_ON_FREE);
    if (bev != NULL)
        bufferevent_openssl_set_allow_dirty_shutdown(bev, 1);
    return bev;
}

struct bufferevent *conn_new(struct http_listener *l) {
    struct http_conn *c = calloc(1, sizeof *c);
    struct bufferevent *bev = c != NULL ? new_bufferevent(l, &c->ssl) : NULL;

    if (bev == NULL) {
        /* evhttp would then serve this connection in plain text: end the process rather. */
        log_plain(LOG_ERROR, "http.no_memory");
        abort();
    }
    if (l->connections >= l->o.limits.connections) {
        struct http_conn *oldest = TAILQ_FIRST(&l->list[CONN_IDLE]);
        if (oldest != NULL && oldest->evcon != NULL) {
            metric_add(&m_overdue, 1);
            tell(oldest, HTTP_TROUBLE_CROWDED, "cap");
            conn_end(oldest, "cap");
        } else {
            c->surplus = true;
        }
    }
    c->listener = l;
    c->bev = bev;
    c->fd = -1;
    c->opened_ms = clock_mono_ms();
    c->state = c->ssl != NULL ? CONN_HANDSHAKE : CONN_IDLE;
    c->deadline_ms = c->opened_ms + allowed_ms(c, c->state);
    TAILQ_INSERT_TAIL(&l->list[c->state], c, link);
    l->connections++;
    l->server->connections++;
    metric_add(&m_connections, 1);
    bufferevent_setwatermark(bev, EV_READ, 0, head_watermark(c));
    (void)bufferevent_set_max_single_read(bev, HTTP_SMALL_READ_BYTES);
    c->input_cb = evbuffer_add_cb(bufferevent_get_input(bev), on_input, c);
    (void)event_assign(&c->later, l->server->base, -1, 0, on_later, c);
    event_active(&c->later, EV_TIMEOUT, 0);
    return bev;
}

/* --- deadlines --- */

static void overdue(struct http_conn *c) {
    static const char *const names[CONN_STATES] = {"handshake", "idle",        "head",  "body",
                                                   "busy",      "slow reader", "linger"};

    if (c->evcon == NULL) { /* cannot be: attached in its first turn */
        enter(c, c->state);
        return;
    }
    if (c->state == CONN_HANDSHAKE && SSL_is_init_finished(c->ssl)) {
        enter(c, CONN_IDLE); /* connected early, nothing asked yet */
        return;
    }
    if (c->state == CONN_WRITE) {
        if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0 ||
            taken(c) - c->taken_seen >= HTTP_PROGRESS_BYTES) {
            enter(c, CONN_WRITE); /* the producer pauses, or the peer takes it */
            return;
        }
    }
    if (c->state != CONN_IDLE && c->state != CONN_LINGER) {
        metric_add(&m_overdue, 1);
        tell(c, HTTP_TROUBLE_SLOW, names[c->state]);
    }
    conn_end(c, names[c->state]);
}

void conn_tick(struct http_listener *l, int64_t now_ms) {
    for (int s = 0; s < CONN_STATES; s++) {
        struct http_conn *c;
        while ((c = TAILQ_FIRST(&l->list[s])) != NULL && c->deadline_ms <= now_ms)
            overdue(c);
    }
}
