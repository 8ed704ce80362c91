#include "tests/lib/http_rig.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <openssl/err.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/pki.h"

struct http_rig http_rig;

char *http_rig_path(const char *name) {
    static char paths[8][128];
    static int at;
    at = (at + 1) % 8;
    (void)snprintf(paths[at], sizeof paths[at], "%s/%s", http_rig.folder, name);
    return paths[at];
}

/* --- handlers --- */

static void on_hello(struct http_request *rq) {
    assert_ptr_equal(http_arg(rq), &http_rig);
    http_set_header(rq, "X-Test", "1");
    http_reply_json(rq, 200, "{\"hello\":1}", 11);
}

static void on_item(struct http_request *rq) {
    char text[300];
    const char *q = http_query(rq, "q");
    (void)snprintf(text, sizeof text, "id=%s q=%s path=%s", http_param(rq, "id"),
                   q != NULL ? q : "-", http_route(rq)->path);
    http_reply(rq, 200, "text/plain", text, strlen(text));
}

static void on_echo(struct http_request *rq) {
    size_t len = 0;
    const void *body = http_body(rq, &len);
    http_reply(rq, 200, "application/octet-stream", body, len);
}

static void on_count(struct http_request *rq) {
    char text[32];
    size_t len = 0;
    (void)http_body(rq, &len);
    (void)snprintf(text, sizeof text, "%zu", len);
    http_reply(rq, 200, "text/plain", text, strlen(text));
}

static void on_peer(struct http_request *rq) {
    char text[200] = "none";
    const struct tls_peer *p = http_tls_peer(rq);
    if (p != NULL)
        (void)snprintf(text, sizeof text, "%s %s %s %d", p->name, p->municipality, p->kind,
                       p->expired);
    http_reply(rq, 200, "text/plain", text, strlen(text));
}

static void answer_later(evutil_socket_t fd, short what, void *arg) {
    struct http_request *rq = arg;
    (void)fd;
    (void)what;
    size_t len = 0;
    (void)http_body(rq, &len); /* still readable when the client has gone */
    assert_non_null(http_header(rq, "Host"));
    http_rig.held--;
    http_rig.answered++;
    http_reply_json(rq, 200, "{}", 2);
}

static void on_later(struct http_request *rq) {
    struct timeval wait = {.tv_usec = 100000};
    http_rig.held++;
    http_rig.asked++;
    assert_int_equal(event_base_once(http_rig.base, -1, EV_TIMEOUT, answer_later, rq, &wait), 0);
}

static void on_big(struct http_request *rq) {
    size_t len = HTTP_RIG_STREAM_BYTES;
    char *p = malloc(len);
    assert_non_null(p);
    memset(p, 'x', len);
    http_reply(rq, 200, "text/plain", p, len);
    free(p);
}

struct stream {
    size_t left;
};

static void produce(struct http_request *rq, void *arg) {
    static char block[32 * 1024];
    struct stream *s = arg;
    if (!http_stream_alive(rq) || s->left == 0) {
        http_rig.ended++;
        free(s);
        http_stream_end(rq);
        return;
    }
    memset(block, 's', sizeof block);
    size_t n = s->left < sizeof block ? s->left : sizeof block;
    s->left -= n;
    http_rig.produced += n;
    http_stream_chunk(rq, block, n);
}

static void on_stream(struct http_request *rq) {
    const char *n = http_query(rq, "n");
    struct stream *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->left = n != NULL ? strtoul(n, NULL, 10) : HTTP_RIG_STREAM_BYTES;
    http_stream_begin(rq, 200, "application/x-ndjson", produce, s);
}

static void on_quick_stream(struct http_request *rq) {
    http_stream_begin(rq, 200, "text/csv", NULL, NULL);
    for (int i = 0; i < 100; i++)
        http_stream_chunk(rq, "0123456789", 10);
    http_stream_end(rq);
}

static void on_problem(struct http_request *rq) {
    struct vrs_fault fault = {.err = ERR_BAD_FIELD};
    (void)snprintf(fault.text, sizeof fault.text, "dose_number");
    http_problem_fault(rq, &fault);
}

static void on_busy(struct http_request *rq) {
    http_problem(rq, ERR_BUSY, NULL, NULL);
}

static const struct route routes[] = {
    {ROUTE_GET, "/hello", NULL, 0, 0, on_hello, "greets"},
    {ROUTE_GET, "/items/{id}", NULL, 0, 0, on_item, ""},
    {ROUTE_POST, "/items/{id}:flag", NULL, 0, 0, on_item, ""},
    {ROUTE_POST, "/echo", NULL, 0, 0, on_echo, ""},
    {ROUTE_POST, "/small", NULL, 0, 100, on_count, ""},
    {ROUTE_POST, "/large", NULL, 0, 4 * 1024 * 1024, on_count, ""},
    {ROUTE_GET, "/peer", NULL, 0, 0, on_peer, ""},
    {ROUTE_POST, "/later", NULL, 0, 0, on_later, ""},
    {ROUTE_GET, "/later", NULL, 0, 0, on_later, ""},
    {ROUTE_GET, "/big", NULL, 0, 0, on_big, ""},
    {ROUTE_GET, "/stream", NULL, 0, 0, on_stream, ""},
    {ROUTE_GET, "/quick", NULL, 0, 0, on_quick_stream, ""},
    {ROUTE_GET, "/problem", NULL, 0, 0, on_problem, ""},
    {ROUTE_GET, "/busy", NULL, 0, 0, on_busy, ""},
    {0},
};

/* --- server --- */

static void *serve(void *arg) {
    (void)arg;
    (void)event_base_dispatch(http_rig.base);
    return NULL;
}

struct http_listener_options http_rig_options(const char *name, const struct tls_server *tls) {
    return (struct http_listener_options){
        .name = name,
        .address = "127.0.0.1",
        .tls = tls,
        .routes = routes,
        .arg = &http_rig,
        .limits = {.header_bytes = 8192, .body_bytes = 64 * 1024, .connections = HTTP_RIG_CAP},
    };
}

static struct http_listener_options hasty(const char *name, const struct tls_server *tls) {
    struct http_listener_options o = http_rig_options(name, tls);
    o.limits.handshake_ms = HTTP_RIG_HANDSHAKE_MS;
    o.limits.header_ms = HTTP_RIG_HEADER_MS;
    o.limits.body_ms = HTTP_RIG_BODY_MS;
    o.limits.idle_ms = HTTP_RIG_IDLE_MS;
    return o;
}

static void make(const char *name, const char *ca, const struct pki_subject *subject,
                 const char *addresses, int days) {
    char cert[32], key[32], ca_cert[32], ca_key[32];
    struct vrs_fault fault;
    (void)snprintf(cert, sizeof cert, "%s.crt", name);
    (void)snprintf(key, sizeof key, "%s.key", name);
    (void)snprintf(ca_cert, sizeof ca_cert, "%s.crt", ca);
    (void)snprintf(ca_key, sizeof ca_key, "%s.key", ca);
    if (subject == NULL)
        assert_int_equal(pki_make_ca(http_rig_path(cert), http_rig_path(key), name, days, &fault),
                         VRS_OK);
    else
        assert_int_equal(pki_make_cert(http_rig_path(ca_cert), http_rig_path(ca_key), subject,
                                       addresses, days, http_rig_path(cert), http_rig_path(key),
                                       &fault),
                         VRS_OK);
}

int http_rig_setup(void **state) {
    struct vrs_fault fault;
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    log_init("test_http", LOG_ERROR);
    (void)snprintf(http_rig.folder, sizeof http_rig.folder, "/tmp/test_http.XXXXXX");
    assert_non_null(mkdtemp(http_rig.folder));
    struct pki_subject server = {.name = "server"};
    struct pki_subject tablet = {.name = "T-0001", .municipality = "132195", .kind = "tablet"};
    make("ca", "ca", NULL, NULL, 30);
    make("other-ca", "other-ca", NULL, NULL, 30);
    make("server", "ca", &server, "127.0.0.1,localhost", 30);
    make("client", "ca", &tablet, NULL, 30);
    make("expired", "ca", &tablet, NULL, -2);
    make("stranger", "other-ca", &tablet, NULL, 30);

    struct tls_server_options to = {.cert_file = http_rig_path("server.crt"),
                                    .key_file = http_rig_path("server.key"),
                                    .client = TLS_CLIENT_REQUIRED,
                                    .client_ca_file = http_rig_path("ca.crt")};
    assert_int_equal(tls_server_open(&to, &http_rig.tls, &fault), VRS_OK);
    assert_int_equal(evthread_use_pthreads(), 0); /* the test ends the loop from outside */
    http_rig.base = http_base_open();
    assert_non_null(http_rig.base);
    assert_int_equal(http_server_open(http_rig.base, &http_rig.http), VRS_OK);
    struct http_listener_options plain = http_rig_options("plain", NULL),
                                 tls = http_rig_options("tls", http_rig.tls),
                                 hasty_plain = hasty("hasty plain", NULL),
                                 hasty_tls = hasty("hasty tls", http_rig.tls);
    assert_int_equal(http_listen(http_rig.http, &plain, &http_rig.plain, &fault), VRS_OK);
    assert_int_equal(http_listen(http_rig.http, &tls, &http_rig.secure, &fault), VRS_OK);
    assert_int_equal(http_listen(http_rig.http, &hasty_plain, &http_rig.hasty_plain, &fault),
                     VRS_OK);
    assert_int_equal(http_listen(http_rig.http, &hasty_tls, &http_rig.hasty_secure, &fault),
                     VRS_OK);
    assert_int_equal(pthread_create(&http_rig.thread, NULL, serve, NULL), 0);
    return 0;
}

int http_rig_teardown(void **state) {
    char command[128];
    (void)state;
    event_base_loopbreak(http_rig.base);
    assert_int_equal(pthread_join(http_rig.thread, NULL), 0);
    http_server_close(&http_rig.http, 100);
    assert_null(http_rig.http);
    tls_server_close(&http_rig.tls);
    event_base_free(http_rig.base);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", http_rig.folder);
    return system(command);
}

/* --- the client --- */

static int connected(const struct http_listener *l) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct timeval patience = {.tv_sec = HTTP_RIG_PATIENCE_MS / 1000};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_listener_port(l))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

struct http_rig_peer http_rig_plain(void) {
    return (struct http_rig_peer){
        .fd = connected(http_rig.hasty ? http_rig.hasty_plain : http_rig.plain)};
}

int http_rig_tls_socket(void) {
    return connected(http_rig.hasty ? http_rig.hasty_secure : http_rig.secure);
}

/* cert NULL: none.  `session` may be offered. */
bool http_rig_tls(struct http_rig_peer *p, const char *cert, SSL_SESSION *session,
                  int max_version) {
    char file[32];
    p->fd = http_rig_tls_socket();
    p->ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_load_verify_file(p->ctx, http_rig_path("ca.crt")), 1);
    SSL_CTX_set_verify(p->ctx, SSL_VERIFY_PEER, NULL);
    if (max_version != 0)
        SSL_CTX_set_max_proto_version(p->ctx, max_version);
    if (cert != NULL) {
        (void)snprintf(file, sizeof file, "%s.crt", cert);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(p->ctx, http_rig_path(file)), 1);
        (void)snprintf(file, sizeof file, "%s.key", cert);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(p->ctx, http_rig_path(file), SSL_FILETYPE_PEM),
                         1);
    }
    p->ssl = SSL_new(p->ctx);
    SSL_set_fd(p->ssl, p->fd);
    if (session != NULL)
        SSL_set_session(p->ssl, session);
    int r = SSL_connect(p->ssl);
    ERR_clear_error();
    return r == 1;
}

void http_rig_close(struct http_rig_peer *p) {
    if (p->ssl != NULL) {
        SSL_free(p->ssl);
        SSL_CTX_free(p->ctx);
    }
    (void)close(p->fd);
    p->fd = -1;
}

void http_rig_say_n(struct http_rig_peer *p, const char *s, size_t n) {
    if (p->ssl != NULL)
        (void)SSL_write(p->ssl, s, (int)n);
    else
        (void)send(p->fd, s, n, MSG_NOSIGNAL);
}

void http_rig_say(struct http_rig_peer *p, const char *s) {
    http_rig_say_n(p, s, strlen(s));
}

ssize_t http_rig_hear_some(struct http_rig_peer *p, char *to, size_t cap) {
    if (p->ssl == NULL)
        return recv(p->fd, to, cap, 0);
    int n = SSL_read(p->ssl, to, (int)cap);
    ERR_clear_error();
    return n;
}

/* One answer (head and Content-Length body) into `to`; returns its status, 0 when the connection
 * ended first. */
int http_rig_hear(struct http_rig_peer *p, char *to, size_t cap) {
    size_t len = 0;
    to[0] = '\0';
    for (;;) {
        char *end = strstr(to, "\r\n\r\n");
        if (end != NULL) {
            const char *cl = strcasestr(to, "\r\nContent-Length: ");
            size_t body = cl != NULL && cl < end ? strtoul(cl + 18, NULL, 10) : 0;
            if (len >= (size_t)(end + 4 - to) + body)
                return memcmp(to, "HTTP/1.1 ", 9) == 0 ? (int)strtol(to + 9, NULL, 10) : -1;
        }
        assert_true(len + 1 < cap);
        /* One byte at a time before the body, so that a pipelined answer stays unread. */
        ssize_t n = http_rig_hear_some(p, to + len, 1);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        to[len] = '\0';
    }
}

/* Whether the server ends the connection; milliseconds it took. */
bool http_rig_ends(struct http_rig_peer *p, int64_t *took_ms) {
    char sink[4096];
    int64_t begin = clock_mono_ms();
    ssize_t n;
    while ((n = http_rig_hear_some(p, sink, sizeof sink)) > 0) {
    }
    bool timed_out = p->ssl == NULL && n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (took_ms != NULL)
        *took_ms = clock_mono_ms() - begin;
    return !timed_out && clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS;
}

int http_rig_ask(const char *request, char *to, size_t cap) {
    struct http_rig_peer p = http_rig_plain();
    http_rig_say(&p, request);
    int status = http_rig_hear(&p, to, cap);
    http_rig_close(&p);
    return status;
}

size_t http_rig_hear_chunks(struct http_rig_peer *p) {
    static char b[64 * 1024];
    size_t total = 0, have = 0;
    for (;;) { /* head */
        assert_true(http_rig_hear_some(p, b + have, 1) == 1);
        have++;
        if (have >= 4 && memcmp(b + have - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    for (;;) {
        char size[16] = "";
        for (size_t i = 0; i < sizeof size - 1; i++) {
            assert_true(http_rig_hear_some(p, size + i, 1) == 1);
            if (size[i] == '\n')
                break;
        }
        size_t n = strtoul(size, NULL, 16), left = n + 2;
        while (left > 0) {
            ssize_t r = http_rig_hear_some(p, b, left < sizeof b ? left : sizeof b);
            assert_true(r > 0);
            left -= (size_t)r;
        }
        if (n == 0)
            return total;
        total += n;
    }
}

void http_rig_wait_connections(size_t n) {
    int64_t begin = clock_mono_ms();
    while (http_connections(http_rig.http) != n && clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS)
        (void)poll(NULL, 0, 10);
    assert_int_equal(http_connections(http_rig.http), n);
}
