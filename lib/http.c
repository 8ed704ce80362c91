#include "lib/http.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/listener.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#include "lib/clock.h"
#include "lib/http_private.h"
#include "lib/log.h"

enum { BACKLOG = 1024 };

/* --- libevent's memory: requests and answers pass through it, so what it frees is wiped --- */

static void wiping_free(void *p) {
    if (p == NULL)
        return;
    explicit_bzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t n) {
    void *grown = malloc(n);
    if (grown == NULL || p == NULL)
        return grown;
    size_t had = malloc_usable_size(p);
    memcpy(grown, p, had < n ? had : n);
    wiping_free(p);
    return grown;
}

/* Before main, because libevent wants it before its first call, wherever that is. */
__attribute__((constructor)) static void install(void) {
    event_set_mem_functions(malloc, wiping_realloc, wiping_free);
}

/* --- server --- */

static void on_tick(evutil_socket_t fd, short what, void *arg) {
    struct http_server *s = arg;
    int64_t now_ms = clock_mono_ms();

    (void)fd;
    (void)what;
    for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
        conn_tick(l, now_ms);
        if (!l->closing)
            (void)evconnlistener_enable(l->socket); /* after on_accept_error */
    }
}

const char *server_date(struct http_server *s) {
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    int64_t now_s = clock_now_ms() / 1000;
    struct tm tm;
    time_t t = (time_t)now_s;

    if (now_s != s->date_s && gmtime_r(&t, &tm) != NULL) {
        s->date_s = now_s;
        (void)snprintf(s->date, sizeof s->date, "%s, %02d %s %04d %02d:%02d:%02d GMT",
                       days[tm.tm_wday], tm.tm_mday % 100, months[tm.tm_mon],
                       (tm.tm_year + 1900) % 10000, tm.tm_hour % 100, tm.tm_min % 100,
                       tm.tm_sec % 100);
    }
    return s->date;
}

struct event_base *http_base_open(void) {
    struct event_base *base = NULL;
    struct event_config *config = event_config_new();
    if (config != NULL && event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST) == 0)
        base = event_base_new_with_config(config);
    event_config_free(config);
    return base;
}

enum vrs_err http_server_open(struct event_base *base, struct http_server **out) {
    struct timeval every = {.tv_usec = HTTP_TICK_MS * 1000};
    struct http_server *s = calloc(1, sizeof *s);

    *out = NULL;
    if (s == NULL)
        return ERR_MEMORY;
    s->base = base;
    if (event_assign(&s->tick, base, -1, EV_PERSIST, on_tick, s) != 0 ||
        event_add(&s->tick, &every) != 0) {
        free(s);
        return ERR_MEMORY;
    }
    *out = s;
    return VRS_OK;
}

size_t http_connections(const struct http_server *s) {
    return s->connections;
}

/* Ends the connections of one state. */
static void end_all(struct http_listener *l, enum conn_state state) {
    struct http_conn *c, *next;
    for (c = TAILQ_FIRST(&l->list[state]); c != NULL; c = next) {
        next = TAILQ_NEXT(c, link);
        if (c->evcon == NULL)
            conn_attach(c);
        conn_end(c, "shutdown");
    }
}

static bool answers_in_flight(const struct http_server *s) {
    for (const struct http_listener *l = s->listeners; l != NULL; l = l->next) {
        if (!TAILQ_EMPTY(&l->list[CONN_BUSY]) || !TAILQ_EMPTY(&l->list[CONN_WRITE]))
            return true;
    }
    return false;
}

void http_server_close(struct http_server **server, int64_t grace_ms) {
    struct http_server *s = *server;

    if (s == NULL)
        return;
    int64_t until_ms = clock_mono_ms() + grace_ms;
    for (struct http_listener *l = s->listeners; l != NULL; l = l->next) {
        l->closing = true;
        (void)evconnlistener_disable(l->socket);
        end_all(l, CONN_IDLE);
    }
    /* Only when the loop has ended: libevent refuses to run it inside itself. */
    while (answers_in_flight(s) && clock_mono_ms() < until_ms) {
        if (event_base_loop(s->base, EVLOOP_ONCE) != 0)
            break;
    }
    while (s->listeners != NULL) {
        struct http_listener *l = s->listeners;
        for (int state = 0; state < CONN_STATES; state++)
            end_all(l, (enum conn_state)state);
        evhttp_free(l->evhttp);
        s->listeners = l->next;
        free(l);
    }
    (void)event_del(&s->tick);
    /* libevent frees bufferevents in its next turn. */
    (void)event_base_loop(s->base, EVLOOP_NONBLOCK);
    free(s->by_fd);
    free(s);
    *server = NULL;
}

/* --- listeners --- */

static struct bufferevent *on_new_connection(struct event_base *base, void *arg) {
    (void)base;
    return conn_new(arg);
}

/* No descriptors or no memory: without a pause until the next tick the loop would spin on the
 * waiting connection. (evhttp owns `arg`.) */
static void on_accept_error(struct evconnlistener *socket, void *arg) {
    (void)arg;
    log_event(LOG_WARN, "http.accept_failed", LF_INT("errno", EVUTIL_SOCKET_ERROR()));
    (void)evconnlistener_disable(socket);
}

union address {
    struct sockaddr any;
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

static enum vrs_err read_address(const struct http_listener_options *o, union address *a, int *len,
                                 struct vrs_fault *fault) {
    bool any = false, loopback = false;

    memset(a, 0, sizeof *a);
    if (o->port < 0 || o->port > 65535)
        return err_fail(fault, ERR_CONFIG, "port of listener %s", o->name);
    if (inet_pton(AF_INET, o->address, &a->v4.sin_addr) == 1) {
        a->v4.sin_family = AF_INET;
        a->v4.sin_port = htons((uint16_t)o->port);
        *len = sizeof a->v4;
        any = a->v4.sin_addr.s_addr == htonl(INADDR_ANY);
        loopback = (ntohl(a->v4.sin_addr.s_addr) >> 24) == 127;
    } else if (inet_pton(AF_INET6, o->address, &a->v6.sin6_addr) == 1) {
        a->v6.sin6_family = AF_INET6;
        a->v6.sin6_port = htons((uint16_t)o->port);
        *len = sizeof a->v6;
        any = IN6_IS_ADDR_UNSPECIFIED(&a->v6.sin6_addr);
        loopback = IN6_IS_ADDR_LOOPBACK(&a->v6.sin6_addr);
    } else {
        return err_fail(fault, ERR_CONFIG, "address of listener %s is not numeric", o->name);
    }
    if (any && !o->allow_any)
        return err_fail(fault, ERR_CONFIG, "listener %s would listen on every address", o->name);
    if (o->tls == NULL && !loopback)
        return err_fail(fault, ERR_CONFIG, "listener %s without TLS is not on loopback", o->name);
    return VRS_OK;
}

static void set_limits(struct http_listener *l) {
    struct http_limits *m = &l->o.limits;
    const struct http_limits defaults = {
        .header_bytes = 16 * 1024,
        .body_bytes = 1024 * 1024,
        .handshake_ms = 10000,
        .header_ms = 10000,
        .body_ms = 60000,
        .idle_ms = 75000,
        .age_ms = 3600000,
        .connections = 12000,
    };
    if (m->header_bytes == 0)
        m->header_bytes = defaults.header_bytes;
    if (m->body_bytes == 0)
        m->body_bytes = defaults.body_bytes;
    if (m->handshake_ms == 0)
        m->handshake_ms = defaults.handshake_ms;
    if (m->header_ms == 0)
        m->header_ms = defaults.header_ms;
    if (m->body_ms == 0)
        m->body_ms = defaults.body_ms;
    if (m->idle_ms == 0)
        m->idle_ms = defaults.idle_ms;
    if (m->age_ms == 0)
        m->age_ms = defaults.age_ms;
    if (m->connections == 0)
        m->connections = defaults.connections;
    l->max_body = m->body_bytes;
    for (const struct route *r = l->o.routes; r->path != NULL; r++) {
        if (r->max_body_bytes > l->max_body)
            l->max_body = r->max_body_bytes;
    }
}

enum vrs_err http_listen(struct http_server *s, const struct http_listener_options *o,
                         struct http_listener **out, struct vrs_fault *fault) {
    union address a;
    int len = 0, on = 1;
    struct evconnlistener *socket = NULL;
    struct http_listener *l = calloc(1, sizeof *l);

    if (out != NULL)
        *out = NULL;
    if (l == NULL)
        return err_fail(fault, ERR_MEMORY, "listener %s", o->name);
    enum vrs_err e = read_address(o, &a, &len, fault);
    if (e != VRS_OK)
        goto out;
    l->server = s;
    l->o = *o;
    (void)snprintf(l->name, sizeof l->name, "%s", o->name);
    (void)snprintf(l->address, sizeof l->address, "%s", o->address);
    l->o.name = l->name;
    l->o.address = l->address;
    for (int i = 0; i < CONN_STATES; i++)
        TAILQ_INIT(&l->list[i]);
    set_limits(l);

    socket = evconnlistener_new_bind(
        s->base, NULL, NULL, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_REUSEABLE | LEV_OPT_CLOSE_ON_EXEC,
        BACKLOG, &a.any, len);
    if (socket == NULL) {
        e = err_fail(fault, ERR_CONFIG, "listen on %s port %d", o->address, o->port);
        goto out;
    }
    /* Inherited by the connections: an answer does not wait for an acknowledgement (44 ms). */
    evutil_socket_t fd = evconnlistener_get_fd(socket);
    socklen_t name_len = sizeof a;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0 ||
        getsockname(fd, &a.any, &name_len) != 0) {
        e = err_fail(fault, ERR_IO, "socket of listener %s", o->name);
        goto out;
    }
    l->port = ntohs(a.any.sa_family == AF_INET ? a.v4.sin_port : a.v6.sin6_port);

    l->evhttp = evhttp_new(s->base);
    if (l->evhttp == NULL || evhttp_bind_listener(l->evhttp, socket) == NULL) {
        e = err_fail(fault, ERR_MEMORY, "listener %s", o->name);
        goto out;
    }
    l->socket = socket;
    socket = NULL; /* evhttp's now */
    evconnlistener_set_error_cb(l->socket, on_accept_error);
    /* The gate in http_conn.c is stricter; these are the second line. */
    evhttp_set_max_headers_size(l->evhttp, (ev_ssize_t)l->o.limits.header_bytes);
    evhttp_set_max_body_size(l->evhttp, (ev_ssize_t)l->max_body);
    evhttp_set_allowed_methods(l->evhttp, EVHTTP_REQ_GET | EVHTTP_REQ_HEAD | EVHTTP_REQ_POST |
                                              EVHTTP_REQ_PUT | EVHTTP_REQ_PATCH |
                                              EVHTTP_REQ_DELETE);
    evhttp_set_bevcb(l->evhttp, on_new_connection, l);
    evhttp_set_gencb(l->evhttp, conn_presented, l);
    l->next = s->listeners;
    s->listeners = l;
    if (out != NULL)
        *out = l;
    return VRS_OK;
out:
    if (l->evhttp != NULL)
        evhttp_free(l->evhttp);
    if (socket != NULL)
        evconnlistener_free(socket);
    free(l);
    return e;
}

int http_listener_port(const struct http_listener *l) {
    return l->port;
}
