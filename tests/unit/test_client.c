/* The client and the admin listener, with the server on the same loop. */
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/admin.h"
#include "lib/client.h"
#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/metric.h"
#include "lib/pki.h"
#include "lib/tls.h"

enum { PATIENCE_MS = 8000, REPLY_MAX = 10000 };

static char folder[64];
static struct event_base *base;
static struct http_server *http;
static struct tls_server *tls, *other_tls;
static struct http_listener *listener, *other;
static struct client *client;
static struct http_request *held;
static int handled;

static const char *at(const char *name) {
    static char paths[8][128];
    static int i;
    i = (i + 1) % 8;
    (void)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
    return paths[i];
}

static void on_echo(struct http_request *rq) {
    char text[512];
    size_t len = 0;
    const void *body = http_body(rq, &len);
    const struct tls_peer *p = http_tls_peer(rq);
    const char *key = http_header(rq, "Idempotency-Key");
    const char *type = http_header(rq, "Content-Type");
    handled++;
    (void)snprintf(text, sizeof text, "%s|%s|%s|%s|%.*s", route_method_name(http_route(rq)->method),
                   p->name, key != NULL ? key : "-", type != NULL ? type : "-", (int)len,
                   (const char *)body);
    http_reply(rq, 200, "text/plain", text, strlen(text));
}

static void on_size(struct http_request *rq) {
    size_t n = strtoul(http_param(rq, "n"), NULL, 10);
    char *p = calloc(1, n + 1);
    memset(p, 'x', n);
    http_reply(rq, 200, "text/plain", p, n);
    free(p);
}

static void on_hold(struct http_request *rq) {
    held = rq;
}

static void on_busy(struct http_request *rq) {
    http_set_header(rq, "Retry-After", "7");
    http_problem(rq, ERR_BUSY, NULL, NULL);
}

static const struct route routes[] = {
    {.method = ROUTE_GET, .path = "/echo", .handle = on_echo},
    {.method = ROUTE_POST, .path = "/echo", .handle = on_echo},
    {.method = ROUTE_PUT, .path = "/echo", .handle = on_echo},
    {.method = ROUTE_DELETE, .path = "/echo", .handle = on_echo},
    {.method = ROUTE_GET, .path = "/size/{n}", .handle = on_size},
    {.method = ROUTE_POST, .path = "/hold", .handle = on_hold},
    {.method = ROUTE_GET, .path = "/busy", .handle = on_busy},
    {0},
};

static struct tls_server *open_tls(const char *name, struct http_listener **l) {
    char cert[32], key[32];
    struct vrs_fault fault;
    struct tls_server *t = NULL;
    (void)snprintf(cert, sizeof cert, "%s.crt", name);
    (void)snprintf(key, sizeof key, "%s.key", name);
    struct tls_server_options o = {.cert_file = at(cert),
                                   .key_file = at(key),
                                   .client = TLS_CLIENT_REQUIRED,
                                   .client_ca_file = at("ca.crt")};
    assert_int_equal(tls_server_open(&o, &t, &fault), VRS_OK);
    struct http_listener_options lo = {
        .name = name, .address = "127.0.0.1", .tls = t, .routes = routes};
    assert_int_equal(http_listen(http, &lo, l, &fault), VRS_OK);
    return t;
}

static struct client *open_client(int port, const char *cert, int64_t connections) {
    char url[64], crt[32], key[32];
    struct vrs_fault fault;
    struct client *c = NULL;
    (void)snprintf(url, sizeof url, "https://127.0.0.1:%d", port);
    (void)snprintf(crt, sizeof crt, "%s.crt", cert != NULL ? cert : "");
    (void)snprintf(key, sizeof key, "%s.key", cert != NULL ? cert : "");
    struct client_options o = {.base_url = url,
                               .ca_file = at("ca.crt"),
                               .cert_file = cert != NULL ? at(crt) : NULL,
                               .key_file = cert != NULL ? at(key) : NULL,
                               .max_reply_bytes = REPLY_MAX,
                               .max_connections = connections};
    assert_int_equal(client_open(base, &o, &c, &fault), VRS_OK);
    return c;
}

static int setup(void **state) {
    struct vrs_fault fault;
    struct pki_subject server = {.name = "server"}, inside = {.name = "inside", .kind = "line"};
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    log_init("test_client", LOG_ERROR);
    (void)snprintf(folder, sizeof folder, "/tmp/test_client.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    assert_int_equal(pki_make_ca(at("ca.crt"), at("ca.key"), "ca", 5, &fault), VRS_OK);
    assert_int_equal(pki_make_ca(at("x.crt"), at("x.key"), "x", 5, &fault), VRS_OK);
    assert_int_equal(pki_make_cert(at("ca.crt"), at("ca.key"), &server, "127.0.0.1", 5,
                                   at("server.crt"), at("server.key"), &fault),
                     VRS_OK);
    assert_int_equal(pki_make_cert(at("x.crt"), at("x.key"), &server, "127.0.0.1", 5,
                                   at("other.crt"), at("other.key"), &fault),
                     VRS_OK);
    assert_int_equal(pki_make_cert(at("ca.crt"), at("ca.key"), &inside, NULL, 5, at("inside.crt"),
                                   at("inside.key"), &fault),
                     VRS_OK);
    base = http_base_open();
    assert_int_equal(http_server_open(base, &http), VRS_OK);
    tls = open_tls("server", &listener);
    other_tls = open_tls("other", &other);
    client = open_client(http_listener_port(listener), "inside", 2);
    return 0;
}

static int teardown(void **state) {
    char command[96];
    (void)state;
    client_close(&client);
    assert_null(client);
    http_server_close(&http, 0);
    tls_server_close(&tls);
    tls_server_close(&other_tls);
    event_base_free(base);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

/* --- one call, waited for --- */

struct result {
    int count;
    enum vrs_err err;
    bool sent;
    int status;
    char type[64];
    char body[REPLY_MAX + 1];
    size_t len;
    int64_t retry_after_ms;
    char date[64];
};

static void keep(const struct client_reply *r, void *arg) {
    struct result *out = arg;
    out->count++;
    out->err = r->err;
    out->sent = r->sent;
    out->status = r->status;
    out->len = r->len;
    out->retry_after_ms = r->retry_after_ms;
    (void)snprintf(out->type, sizeof out->type, "%s", r->content_type);
    (void)snprintf(out->date, sizeof out->date, "%s", r->date);
    if (r->len > 0)
        memcpy(out->body, r->body, r->len);
    out->body[r->len] = '\0';
}

static void run_until(const int *count, int n) {
    int64_t begin = clock_mono_ms();
    while (*count < n && clock_mono_ms() - begin < PATIENCE_MS)
        (void)event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(*count, n);
}

static void run_until_held(void) {
    int64_t begin = clock_mono_ms();
    while (held == NULL && clock_mono_ms() - begin < PATIENCE_MS)
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
    assert_non_null(held);
}

static struct result call(struct client *c, const char *method, const char *path, const char *body,
                          int64_t timeout_ms) {
    static const char *const headers[] = {"Idempotency-Key: k-1", NULL};
    struct result r = {0};
    struct client_call what = {.method = method,
                               .path = path,
                               .content_type = body != NULL ? "application/json" : NULL,
                               .headers = headers,
                               .body = body,
                               .len = body != NULL ? strlen(body) : 0,
                               .timeout_ms = timeout_ms,
                               .done = keep,
                               .arg = &r};
    assert_int_equal(client_start(c, &what), VRS_OK);
    run_until(&r.count, 1);
    assert_int_equal(client_in_flight(c), 0);
    return r;
}

static void test_methods(void **state) {
    (void)state;
    struct result r = call(client, "POST", "/echo", "{\"a\":1}", PATIENCE_MS);
    assert_int_equal(r.err, VRS_OK);
    assert_int_equal(r.status, 200);
    assert_true(r.sent);
    assert_string_equal(r.body, "POST|inside|k-1|application/json|{\"a\":1}");
    assert_string_equal(r.type, "text/plain");
    assert_non_null(strstr(r.date, " GMT"));
    assert_int_equal(r.retry_after_ms, -1);
    r = call(client, "GET", "/echo", NULL, PATIENCE_MS);
    assert_string_equal(r.body, "GET|inside|k-1|-|");
    r = call(client, "PUT", "/echo", "{}", PATIENCE_MS);
    assert_string_equal(r.body, "PUT|inside|k-1|application/json|{}");
    r = call(client, "DELETE", "/echo", "{\"reason\":\"x\"}", PATIENCE_MS);
    assert_string_equal(r.body, "DELETE|inside|k-1|application/json|{\"reason\":\"x\"}");
    r = call(client, "POST", "/echo", NULL, PATIENCE_MS);
    assert_string_equal(r.body, "POST|inside|k-1|-|");
    r = call(client, "HEAD", "/echo", NULL, PATIENCE_MS);
    assert_int_equal(r.status, 200);
    assert_int_equal(r.len, 0);
    r = call(client, "GET", "/echo", NULL, PATIENCE_MS); /* options of the calls before are gone */
    assert_string_equal(r.body, "GET|inside|k-1|-|");
    r = call(client, "GET", "/busy", NULL, PATIENCE_MS);
    assert_int_equal(r.status, 503);
    assert_int_equal(r.retry_after_ms, 7000);
    assert_string_equal(r.type, "application/problem+json");
    assert_int_equal(http_connections(http), 1); /* all on one connection */
}

static void test_reply_limit(void **state) {
    (void)state;
    struct result r = call(client, "GET", "/size/10000", NULL, PATIENCE_MS);
    assert_int_equal(r.err, VRS_OK);
    assert_int_equal(r.len, REPLY_MAX);
    r = call(client, "GET", "/size/10001", NULL, PATIENCE_MS);
    assert_int_equal(r.err, ERR_PROTOCOL);
    assert_true(r.sent);
    assert_int_equal(r.len, 0);
}

static void test_deadline_is_unknown(void **state) {
    (void)state;
    int64_t begin = clock_mono_ms();
    struct result r = call(client, "POST", "/hold", "{}", 1000);
    assert_int_equal(r.err, ERR_TIMEOUT);
    assert_true(r.sent);
    assert_in_range(clock_mono_ms() - begin, 950, PATIENCE_MS);
    assert_non_null(held);
    http_reply_json(held, 200, "{}", 2); /* nobody listens */
    held = NULL;
}

static void test_queued_call_was_not_sent(void **state) {
    struct result a = {0}, b = {0};
    (void)state;
    struct client *one = open_client(http_listener_port(listener), "inside", 1);
    struct client_call what = {
        .method = "POST", .path = "/hold", .timeout_ms = PATIENCE_MS, .done = keep, .arg = &a};
    assert_int_equal(client_start(one, &what), VRS_OK);
    run_until_held();
    what.timeout_ms = 300;
    what.arg = &b;
    assert_int_equal(client_start(one, &what), VRS_OK);
    assert_int_equal(client_in_flight(one), 2);
    run_until(&b.count, 1);
    assert_int_equal(b.err, ERR_INSIDE_AWAY);
    assert_false(b.sent);
    assert_int_equal(a.count, 0);
    http_reply_json(held, 200, "{}", 2);
    held = NULL;
    run_until(&a.count, 1);
    assert_int_equal(a.err, VRS_OK);
    client_close(&one);
}

static void test_nobody_there(void **state) {
    (void)state;
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, not listening */
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    struct client *c = open_client(ntohs(a.sin_port), "inside", 2);
    struct result r = call(c, "POST", "/echo", "{}", PATIENCE_MS);
    assert_int_equal(r.err, ERR_INSIDE_AWAY);
    assert_false(r.sent);
    client_close(&c);
    /* Listening, but it never shakes hands. */
    assert_int_equal(listen(fd, 1), 0);
    c = open_client(ntohs(a.sin_port), "inside", 2);
    r = call(c, "POST", "/echo", "{}", 300);
    assert_int_equal(r.err, ERR_INSIDE_AWAY);
    assert_false(r.sent);
    client_close(&c);
    (void)close(fd);
}

static void test_wrong_certificates(void **state) {
    (void)state;
    int before = handled;
    struct client *c = open_client(http_listener_port(other), "inside", 2);
    struct result r = call(c, "POST", "/echo", "{}", PATIENCE_MS); /* server of another authority */
    assert_int_equal(r.err, ERR_PROTOCOL);
    assert_false(r.sent);
    client_close(&c);
    c = open_client(http_listener_port(listener), NULL, 2); /* we have none */
    r = call(c, "POST", "/echo", "{}", PATIENCE_MS);
    assert_int_not_equal(r.err, VRS_OK);
    client_close(&c);
    assert_int_equal(handled, before);

    struct vrs_fault fault;
    struct client_options o = {.base_url = "http://127.0.0.1:1", .ca_file = at("ca.crt")};
    assert_int_equal(client_open(base, &o, &c, &fault), ERR_CONFIG);
    assert_null(c);
    o = (struct client_options){.base_url = "https://127.0.0.1:1", .ca_file = at("none.crt")};
    assert_int_equal(client_open(base, &o, &c, &fault), ERR_CONFIG);
}

/* --- calls from inside callbacks --- */

static struct {
    struct client *client;
    int done;
    struct result second;
} nested;

static void never(const struct client_reply *r, void *arg) {
    (void)r;
    (void)arg;
    fail();
}

static void start_another(const struct client_reply *r, void *arg) {
    struct client_call what = {.method = "GET",
                               .path = "/echo",
                               .timeout_ms = PATIENCE_MS,
                               .done = keep,
                               .arg = &nested.second};
    (void)arg;
    assert_int_equal(r->err, VRS_OK);
    nested.done++;
    assert_int_equal(client_start(nested.client, &what), VRS_OK);
}

static void close_it(const struct client_reply *r, void *arg) {
    (void)r;
    (void)arg;
    nested.done++;
    client_close(&nested.client);
}

static void test_from_callbacks(void **state) {
    struct client_call what = {
        .method = "GET", .path = "/echo", .timeout_ms = PATIENCE_MS, .done = start_another};
    struct client_call hold = {
        .method = "POST", .path = "/hold", .timeout_ms = PATIENCE_MS, .done = never};
    (void)state;
    memset(&nested, 0, sizeof nested);
    nested.client = open_client(http_listener_port(listener), "inside", 4);
    assert_int_equal(client_start(nested.client, &what), VRS_OK);
    run_until(&nested.second.count, 1);
    assert_int_equal(nested.second.status, 200);

    assert_int_equal(client_start(nested.client, &hold), VRS_OK); /* cancelled by the close */
    while (held == NULL)
        (void)event_base_loop(base, EVLOOP_ONCE);
    nested.done = 0;
    what.done = close_it;
    assert_int_equal(client_start(nested.client, &what), VRS_OK);
    run_until(&nested.done, 1);
    assert_null(nested.client);
    http_reply_json(held, 200, "{}", 2);
    held = NULL;
    for (int i = 0; i < 5; i++)
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
}

/* --- admin --- */

static bool ready_flag;

static bool is_ready(void *arg, char *why, size_t cap) {
    assert_ptr_equal(arg, &ready_flag);
    (void)snprintf(why, cap, "number_away");
    return ready_flag;
}

/* A plain exchange with a server on the same loop. */
static void exchange(int port, const char *path, char *out, size_t cap) {
    char request[128];
    size_t len = 0;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    int n = snprintf(request, sizeof request,
                     "GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", path);
    assert_int_equal(send(fd, request, (size_t)n, MSG_NOSIGNAL), n);
    for (int64_t begin = clock_mono_ms(); clock_mono_ms() - begin < PATIENCE_MS;) {
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
        ssize_t r = recv(fd, out + len, cap - 1 - len, MSG_DONTWAIT);
        if (r == 0)
            break;
        if (r > 0)
            len += (size_t)r;
    }
    out[len] = '\0';
    (void)close(fd);
}

static void test_admin(void **state) {
    static struct metric m = {.name = "vrs_test_total",
                              .help = "A test",
                              .type = METRIC_COUNTER,
                              .registered = ATOMIC_FLAG_INIT};
    char text[32768], want[64], date[11];
    struct vrs_fault fault;
    struct http_listener *l = NULL;
    (void)state;
    struct admin_options o = {.program = "test", .ready = is_ready, .arg = &ready_flag};
    assert_int_equal(admin_listen(http, &o, &l, &fault), VRS_OK);
    int port = http_listener_port(l);

    exchange(port, "/healthz", text, sizeof text);
    assert_non_null(strstr(text, "HTTP/1.1 200 OK\r\n"));
    clock_format_date(clock_today_jst(), date);
    (void)snprintf(want, sizeof want, "{\"status\":\"ok\",\"program\":\"test\",\"date\":\"%s\"}",
                   date);
    assert_non_null(strstr(text, want));
    exchange(port, "/readyz", text, sizeof text);
    assert_non_null(strstr(text, "HTTP/1.1 503"));
    assert_non_null(strstr(text, "number_away"));
    ready_flag = true;
    exchange(port, "/readyz", text, sizeof text);
    assert_non_null(strstr(text, "HTTP/1.1 200"));
    metric_add(&m, 3);
    exchange(port, "/metrics", text, sizeof text);
    assert_non_null(strstr(text, "vrs_test_total 3\n"));
    assert_non_null(strstr(text, "vrs_http_requests_total{class=\"2xx\"}"));

    struct admin_options wide = {.program = "test", .address = "0.0.0.0"};
    assert_int_equal(admin_listen(http, &wide, &l, &fault), ERR_CONFIG);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_reply_limit),
        cmocka_unit_test(test_deadline_is_unknown),
        cmocka_unit_test(test_queued_call_was_not_sent),
        cmocka_unit_test(test_nobody_there),
        cmocka_unit_test(test_wrong_certificates),
        cmocka_unit_test(test_from_callbacks),
        cmocka_unit_test(test_admin),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
