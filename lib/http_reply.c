#include "lib/http_private.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/metric.h"

enum { HEAD_MAX_BYTES = 8192, PROBLEM_MAX_BYTES = 256 * 1024 };

static struct metric m_seconds = {.name = "vrs_http_request_seconds",
                                  .help = "From the whole head to the answer",
                                  .type = METRIC_HISTOGRAM,
                                  .registered = ATOMIC_FLAG_INIT};
#define REQUESTS(l)                                                                                \
    {                                                                                              \
        .name = "vrs_http_requests_total", .help = "Answers by class of status",                   \
        .label = "class=\"" l "\"", .type = METRIC_COUNTER, .registered = ATOMIC_FLAG_INIT         \
    }
static struct metric m_requests[] = {REQUESTS("1xx"), REQUESTS("2xx"), REQUESTS("3xx"),
                                     REQUESTS("4xx"), REQUESTS("5xx")};

void request_free(struct http_request *rq) {
    struct arena *a = rq->arena;
    if (rq->streaming)
        (void)event_del(&rq->gone);
    arena_close(&a);
}

/* --- what was asked --- */

const struct route *http_route(const struct http_request *rq) {
    return rq->match.route;
}

const char *http_method(const struct http_request *rq) {
    return route_method_name(rq->head.method);
}

const char *http_path(const struct http_request *rq) {
    return rq->head.path;
}

void *http_arg(const struct http_request *rq) {
    return rq->arg;
}

struct arena *http_arena(struct http_request *rq) {
    return rq->arena;
}

const char *http_header(const struct http_request *rq, const char *name) {
    return http_head_field(&rq->head, name);
}

const char *http_param(const struct http_request *rq, const char *name) {
    size_t n = strlen(name);
    for (size_t i = 0; i < rq->match.params; i++) {
        const char *its = rq->match.param[i].name;
        if (strncmp(its, name, n) == 0 && its[n] == '}')
            return rq->match.param[i].value;
    }
    return NULL;
}

const char *http_query(const struct http_request *rq, const char *name) {
    const char *p = rq->head.query;
    while (*p != '\0') {
        size_t n = strcspn(p, "&");
        size_t key_len = strcspn(p, "&=");
        char *key = arena_strndup(rq->arena, p, key_len);
        if (key == NULL)
            return NULL;
        if (http_decode(key, true) && strcmp(key, name) == 0) {
            const char *from = key_len < n ? p + key_len + 1 : "";
            char *value = arena_strndup(rq->arena, from, key_len < n ? n - key_len - 1 : 0);
            return value != NULL && http_decode(value, true) ? value : NULL;
        }
        p += n;
        p += *p == '&';
    }
    return NULL;
}

const void *http_body(const struct http_request *rq, size_t *len) {
    struct evbuffer *in = evhttp_request_get_input_buffer(rq->evreq);
    *len = evbuffer_get_length(in);
    const void *p = "";
    if (*len > 0)
        p = evbuffer_pullup(in, -1);
    if (p == NULL) { /* no memory to make it contiguous: reads as no body, which no JSON is */
        *len = 0;
        p = "";
    }
    return p;
}

const char *http_peer_address(const struct http_request *rq) {
    return rq->address;
}

const struct tls_peer *http_tls_peer(const struct http_request *rq) {
    return rq->peer;
}

int64_t http_started_us(const struct http_request *rq) {
    return rq->started_us;
}

void http_set_context(struct http_request *rq, void *ctx) {
    rq->context = ctx;
}

void *http_context(const struct http_request *rq) {
    return rq->context;
}

/* --- the answer's head --- */

static const char *phrase(int status) {
    static const struct {
        int status;
        const char *text;
    } phrases[] = {
        {200, "OK"},
        {201, "Created"},
        {202, "Accepted"},
        {204, "No Content"},
        {206, "Partial Content"},
        {303, "See Other"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {406, "Not Acceptable"},
        {409, "Conflict"},
        {410, "Gone"},
        {411, "Length Required"},
        {412, "Precondition Failed"},
        {413, "Content Too Large"},
        {415, "Unsupported Media Type"},
        {422, "Unprocessable Content"},
        {428, "Precondition Required"},
        {429, "Too Many Requests"},
        {500, "Internal Server Error"},
        {502, "Bad Gateway"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof phrases / sizeof phrases[0]; i++) {
        if (phrases[i].status == status)
            return phrases[i].text;
    }
    return "Status";
}

/* Text that grows in one fixed room; overflow is sticky. */
struct text {
    char *p;
    size_t len;
    size_t cap;
    bool failed;
};

static void put(struct text *t, const char *s) {
    size_t n = strlen(s);
    if (t->failed || n > t->cap - t->len) {
        t->failed = true;
        return;
    }
    memcpy(t->p + t->len, s, n);
    t->len += n;
}

static void put_field(struct text *t, const char *name, const char *value) {
    put(t, name);
    put(t, ": ");
    put(t, value);
    put(t, "\r\n");
}

static void put_start(struct text *t, int status, const char *date, bool tls) {
    char line[64];
    (void)snprintf(line, sizeof line, "HTTP/1.1 %d ", status);
    put(t, line);
    put(t, phrase(status));
    put(t, "\r\n");
    put_field(t, "Date", date);
    put(t, "X-Content-Type-Options: nosniff\r\n");
    if (tls)
        put(t, "Strict-Transport-Security: max-age=63072000\r\n");
}

static bool has_extra(const struct http_request *rq, const char *name) {
    for (size_t i = 0; i < rq->extras; i++) {
        if (strcasecmp(rq->extra[i].name, name) == 0)
            return true;
    }
    return false;
}

void http_set_header(struct http_request *rq, const char *name, const char *value) {
    if (rq->extras == HTTP_MAX_EXTRA || strpbrk(name, "\r\n: ") != NULL ||
        strpbrk(value, "\r\n") != NULL) {
        log_plain(LOG_WARN, "http.header_dropped");
        return;
    }
    const char *n = arena_strdup(rq->arena, name);
    const char *v = arena_strdup(rq->arena, value);
    if (n != NULL && v != NULL)
        rq->extra[rq->extras++] = (struct http_field){n, v};
}

static void put_head(struct http_request *rq, struct text *t, int status, const char *type) {
    struct http_conn *c = rq->conn;
    put_start(t, status, server_date(c->listener->server), rq->tls);
    if (!has_extra(rq, "Cache-Control"))
        put(t, "Cache-Control: no-store\r\n");
    if (type != NULL)
        put_field(t, "Content-Type", type);
    for (size_t i = 0; i < rq->extras; i++)
        put_field(t, rq->extra[i].name, rq->extra[i].value);
    if (conn_closes(c))
        put(t, "Connection: close\r\n");
    else if (!rq->head.http11)
        put(t, "Connection: keep-alive\r\n");
}

static void count(const struct http_request *rq, int status) {
    if (status >= 100 && status < 600)
        metric_add(&m_requests[status / 100 - 1], 1);
    metric_observe_us(&m_seconds, clock_mono_us() - rq->started_us);
}

/* Gives the request back: its arena is wiped before the answer has left. */
static void finish(struct http_request *rq, size_t added) {
    struct http_conn *c = rq->conn;
    struct evhttp_request *evreq = rq->evreq;

    request_free(rq);
    if (c == NULL) {
        evhttp_request_free(evreq); /* evhttp has let go of it */
        return;
    }
    c->rq = NULL;
    conn_send(c, added);
}

void http_reply(struct http_request *rq, int status, const char *type, const void *body,
                size_t len) {
    enum { TOGETHER_BYTES = 16000 }; /* head and body in one TLS record */
    char number[48];

    count(rq, status);
    if (rq->conn == NULL) {
        finish(rq, 0);
        return;
    }
    bool may_have_body = status != 204 && status != 304;
    bool send_body = may_have_body && rq->head.method != ROUTE_HEAD && len > 0;
    bool together = send_body && len <= TOGETHER_BYTES - HEAD_MAX_BYTES;
    size_t cap = HEAD_MAX_BYTES + (together ? len : 0);
    struct evbuffer *out = bufferevent_get_output(rq->conn->bev);
    struct evbuffer_iovec room;
    if (evbuffer_reserve_space(out, (ev_ssize_t)cap, &room, 1) != 1) {
        conn_end(rq->conn, "memory");
        finish(rq, 0);
        return;
    }
    struct text t = {.p = room.iov_base, .cap = HEAD_MAX_BYTES};
    put_head(rq, &t, status, may_have_body ? type : NULL);
    if (may_have_body) {
        (void)snprintf(number, sizeof number, "Content-Length: %zu\r\n\r\n", len);
        put(&t, number);
    } else {
        put(&t, "\r\n");
    }
    if (t.failed) {
        log_plain(LOG_ERROR, "http.head_too_large");
        conn_end(rq->conn, "head too large");
        finish(rq, 0);
        return;
    }
    if (together)
        memcpy(t.p + t.len, body, len);
    room.iov_len = t.len + (together ? len : 0);
    bool ok = evbuffer_commit_space(out, &room, 1) == 0 &&
              (!send_body || together || evbuffer_add(out, body, len) == 0);
    if (!ok)
        conn_end(rq->conn, "memory");
    finish(rq, t.len + (send_body ? len : 0));
}

void http_reply_json(struct http_request *rq, int status, const char *json, size_t len) {
    http_reply(rq, status, "application/json", json, len);
}

/* --- problems --- */

static int append(const char *p, size_t n, void *arg) {
    struct buffer *b = arg;
    return buffer_put(b, p, n) ? 0 : -1;
}

static bool problem_text(struct buffer *b, enum vrs_err e, const char *detail,
                         const json_t *extra) {
    json_t *doc = json_object();
    bool ok = doc != NULL;

    if (extra != NULL)
        ok = ok && json_object_update(doc, (json_t *)(uintptr_t)extra) == 0;
    ok = ok && json_object_set_new(doc, "type", json_string("about:blank")) == 0 &&
         json_object_set_new(doc, "title", json_string(err_title(e))) == 0 &&
         json_object_set_new(doc, "status", json_integer(err_status(e))) == 0 &&
         json_object_set_new(doc, "code", json_string(err_name(e))) == 0 &&
         json_object_set_new(doc, "detail", json_string(detail)) == 0 &&
         json_dump_callback(doc, append, b, JSON_COMPACT) == 0;
    json_decref(doc);
    return ok;
}

static void allow_header(struct http_request *rq) {
    /* Which methods the path has: asked of the table again, 405 is rare. */
    char allow[64] = "";
    const struct route *routes = rq->conn->listener->o.routes;
    for (int m = ROUTE_GET; m <= ROUTE_HEAD; m++) {
        struct route_match found;
        route_find(routes, (enum route_method)m, rq->head.path, &found);
        if (found.route == NULL)
            continue;
        if (allow[0] != '\0')
            (void)strncat(allow, ", ", sizeof allow - strlen(allow) - 1);
        (void)strncat(allow, route_method_name((enum route_method)m),
                      sizeof allow - strlen(allow) - 1);
    }
    http_set_header(rq, "Allow", allow);
}

void http_problem(struct http_request *rq, enum vrs_err e, const char *detail_ja,
                  const struct json_t *extra) {
    struct buffer b;
    buffer_init(&b, PROBLEM_MAX_BYTES);
    if (err_retryable(e) && !has_extra(rq, "Retry-After"))
        http_set_header(rq, "Retry-After", "2");
    if (e == ERR_NO_METHOD && rq->conn != NULL && rq->match.route == NULL)
        allow_header(rq);
    if (!problem_text(&b, e, detail_ja != NULL ? detail_ja : err_detail_ja(e), extra))
        buffer_clear(&b);
    http_reply(rq, err_status(e), "application/problem+json", b.data, b.len);
    buffer_fini(&b);
}

void http_problem_fault(struct http_request *rq, const struct vrs_fault *fault) {
    json_t *extra = NULL;
    if (fault->err == ERR_UNKNOWN_FIELD || fault->err == ERR_MISSING_FIELD ||
        fault->err == ERR_BAD_FIELD)
        extra = json_pack("{s:s}", "field", fault->text);
    http_problem(rq, fault->err, NULL, extra);
    json_decref(extra);
}

void refusal_write(struct http_server *s, struct evbuffer *out, enum vrs_err e, bool tls) {
    char room[HEAD_MAX_BYTES], number[64];
    struct text t = {.p = room, .cap = sizeof room};
    struct buffer b;

    buffer_init(&b, PROBLEM_MAX_BYTES);
    if (!problem_text(&b, e, err_detail_ja(e), NULL))
        buffer_clear(&b);
    put_start(&t, err_status(e), server_date(s), tls);
    put(&t, "Cache-Control: no-store\r\nContent-Type: application/problem+json\r\n");
    (void)snprintf(number, sizeof number, "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                   b.len);
    put(&t, number);
    (void)evbuffer_add(out, room, t.len);
    if (b.len > 0)
        (void)evbuffer_add(out, b.data, b.len);
    metric_add(&m_requests[err_status(e) / 100 - 1], 1);
    buffer_fini(&b);
}

/* --- streams --- */

static void on_gone(evutil_socket_t fd, short what, void *arg) {
    struct http_request *rq = arg;
    (void)fd;
    (void)what;
    rq->writable(rq, rq->writable_arg);
}

void http_stream_begin(struct http_request *rq, int status, const char *type,
                       void (*writable)(struct http_request *rq, void *arg), void *arg) {
    char room[HEAD_MAX_BYTES];
    struct text t = {.p = room, .cap = sizeof room};
    struct http_conn *c = rq->conn;

    count(rq, status);
    rq->writable = writable;
    rq->writable_arg = arg;
    rq->streaming = true;
    (void)event_assign(&rq->gone, rq->base, -1, 0, on_gone, rq);
    if (c == NULL) {
        if (writable != NULL)
            event_active(&rq->gone, EV_TIMEOUT, 0);
        return;
    }
    rq->chunked = rq->head.http11;
    if (!rq->chunked)
        c->close = true; /* HTTP/1.0: the end of the connection ends the answer */
    put_head(rq, &t, status, type);
    put(&t, rq->chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
    if (t.failed || evbuffer_add(bufferevent_get_output(c->bev), room, t.len) != 0) {
        conn_end(c, "head too large");
        return;
    }
    conn_send(c, t.len);
}

void http_stream_chunk(struct http_request *rq, const void *p, size_t n) {
    char size[24];

    if (rq->conn == NULL || n == 0 || rq->head.method == ROUTE_HEAD)
        return;
    struct evbuffer *out = bufferevent_get_output(rq->conn->bev);
    size_t had = evbuffer_get_length(out);
    int len = snprintf(size, sizeof size, "%zx\r\n", n);
    bool ok = (!rq->chunked || evbuffer_add(out, size, (size_t)len) == 0) &&
              evbuffer_add(out, p, n) == 0 && (!rq->chunked || evbuffer_add(out, "\r\n", 2) == 0);
    if (!ok) {
        conn_end(rq->conn, "memory");
        return;
    }
    conn_send(rq->conn, evbuffer_get_length(out) - had);
}

bool http_stream_alive(const struct http_request *rq) {
    return rq->conn != NULL;
}

void http_stream_end(struct http_request *rq) {
    size_t added = 0;
    if (rq->conn != NULL && rq->chunked && rq->head.method != ROUTE_HEAD) {
        added = 5;
        if (evbuffer_add(bufferevent_get_output(rq->conn->bev), "0\r\n\r\n", added) != 0)
            conn_end(rq->conn, "memory");
    }
    finish(rq, added);
}
