/* The HTTP layer against a real server on loopback: what it answers, and every hole that it
 * closes.  The server runs in its own thread; a test is a client that behaves badly. */
#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <event2/thread.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"
#include "lib/pki.h"
#include "lib/tls.h"

enum {
    HANDSHAKE_MS = 500,
    HEADER_MS = 500,
    BODY_MS = 700,
    IDLE_MS = 900,
    CAP = 20,
    PATIENCE_MS = 8000, /* above this something hangs */
    STREAM_BYTES = 24 * 1024 * 1024
};

static struct {
    char folder[64];
    struct event_base *base;
    struct http_server *http;
    struct tls_server *tls;
    struct http_listener *plain, *secure;
    pthread_t thread;
    atomic_int held;
    atomic_int answered;
    atomic_size_t produced;
    atomic_int ended;
} srv;

static char *path_of(const char *name) {
    static char paths[8][128];
    static int at;
    at = (at + 1) % 8;
    (void)snprintf(paths[at], sizeof paths[at], "%s/%s", srv.folder, name);
    return paths[at];
}

/* --- handlers --- */

static void on_hello(struct http_request *rq) {
    assert_ptr_equal(http_arg(rq), &srv);
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
    srv.held--;
    srv.answered++;
    http_reply_json(rq, 200, "{}", 2);
}

static void on_later(struct http_request *rq) {
    struct timeval wait = {.tv_usec = 100000};
    srv.held++;
    assert_int_equal(event_base_once(srv.base, -1, EV_TIMEOUT, answer_later, rq, &wait), 0);
}

static void on_big(struct http_request *rq) {
    size_t len = STREAM_BYTES;
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
        srv.ended++;
        free(s);
        http_stream_end(rq);
        return;
    }
    memset(block, 's', sizeof block);
    size_t n = s->left < sizeof block ? s->left : sizeof block;
    s->left -= n;
    srv.produced += n;
    http_stream_chunk(rq, block, n);
}

static void on_stream(struct http_request *rq) {
    const char *n = http_query(rq, "n");
    struct stream *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->left = n != NULL ? strtoul(n, NULL, 10) : STREAM_BYTES;
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
    (void)event_base_dispatch(srv.base);
    return NULL;
}

static struct http_listener_options options(const char *name, const struct tls_server *tls) {
    return (struct http_listener_options){
        .name = name,
        .address = "127.0.0.1",
        .tls = tls,
        .routes = routes,
        .arg = &srv,
        .limits = {.header_bytes = 8192,
                   .body_bytes = 64 * 1024,
                   .handshake_ms = HANDSHAKE_MS,
                   .header_ms = HEADER_MS,
                   .body_ms = BODY_MS,
                   .idle_ms = IDLE_MS,
                   .connections = CAP},
    };
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
        assert_int_equal(pki_make_ca(path_of(cert), path_of(key), name, days, &fault), VRS_OK);
    else
        assert_int_equal(pki_make_cert(path_of(ca_cert), path_of(ca_key), subject, addresses, days,
                                       path_of(cert), path_of(key), &fault),
                         VRS_OK);
}

static int group_setup(void **state) {
    struct vrs_fault fault;
    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    log_init("test_http", LOG_ERROR);
    (void)snprintf(srv.folder, sizeof srv.folder, "/tmp/test_http.XXXXXX");
    assert_non_null(mkdtemp(srv.folder));
    struct pki_subject server = {.name = "server"};
    struct pki_subject tablet = {.name = "T-0001", .municipality = "132195", .kind = "tablet"};
    make("ca", "ca", NULL, NULL, 30);
    make("other-ca", "other-ca", NULL, NULL, 30);
    make("server", "ca", &server, "127.0.0.1,localhost", 30);
    make("client", "ca", &tablet, NULL, 30);
    make("expired", "ca", &tablet, NULL, -2);
    make("stranger", "other-ca", &tablet, NULL, 30);

    struct tls_server_options to = {.cert_file = path_of("server.crt"),
                                    .key_file = path_of("server.key"),
                                    .client = TLS_CLIENT_REQUIRED,
                                    .client_ca_file = path_of("ca.crt")};
    assert_int_equal(tls_server_open(&to, &srv.tls, &fault), VRS_OK);
    assert_int_equal(evthread_use_pthreads(), 0); /* the test ends the loop from outside */
    srv.base = http_base_open();
    assert_non_null(srv.base);
    assert_int_equal(http_server_open(srv.base, &srv.http), VRS_OK);
    struct http_listener_options plain = options("plain", NULL), tls = options("tls", srv.tls);
    assert_int_equal(http_listen(srv.http, &plain, &srv.plain, &fault), VRS_OK);
    assert_int_equal(http_listen(srv.http, &tls, &srv.secure, &fault), VRS_OK);
    assert_int_equal(pthread_create(&srv.thread, NULL, serve, NULL), 0);
    return 0;
}

static int group_teardown(void **state) {
    char command[128];
    (void)state;
    event_base_loopbreak(srv.base);
    assert_int_equal(pthread_join(srv.thread, NULL), 0);
    http_server_close(&srv.http, 100);
    assert_null(srv.http);
    tls_server_close(&srv.tls);
    event_base_free(srv.base);
    (void)snprintf(command, sizeof command, "rm -rf '%s'", srv.folder);
    return system(command);
}

/* --- the client --- */

struct peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

static struct peer open_plain(void) {
    struct peer p = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_listener_port(srv.plain))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_true(p.fd >= 0);
    assert_int_equal(connect(p.fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(setsockopt(p.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return p;
}

static int connect_tls_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_listener_port(srv.secure))};
    struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    return fd;
}

/* cert NULL: none.  `session` may be offered. */
static bool open_tls(struct peer *p, const char *cert, SSL_SESSION *session, int max_version) {
    char file[32];
    p->fd = connect_tls_port();
    p->ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_load_verify_file(p->ctx, path_of("ca.crt")), 1);
    SSL_CTX_set_verify(p->ctx, SSL_VERIFY_PEER, NULL);
    if (max_version != 0)
        SSL_CTX_set_max_proto_version(p->ctx, max_version);
    if (cert != NULL) {
        (void)snprintf(file, sizeof file, "%s.crt", cert);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(p->ctx, path_of(file)), 1);
        (void)snprintf(file, sizeof file, "%s.key", cert);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(p->ctx, path_of(file), SSL_FILETYPE_PEM), 1);
    }
    p->ssl = SSL_new(p->ctx);
    SSL_set_fd(p->ssl, p->fd);
    if (session != NULL)
        SSL_set_session(p->ssl, session);
    int r = SSL_connect(p->ssl);
    ERR_clear_error();
    return r == 1;
}

static void hang_up(struct peer *p) {
    if (p->ssl != NULL) {
        SSL_free(p->ssl);
        SSL_CTX_free(p->ctx);
    }
    (void)close(p->fd);
    p->fd = -1;
}

static void say_n(struct peer *p, const char *s, size_t n) {
    if (p->ssl != NULL)
        (void)SSL_write(p->ssl, s, (int)n);
    else
        (void)send(p->fd, s, n, MSG_NOSIGNAL);
}

static void say(struct peer *p, const char *s) {
    say_n(p, s, strlen(s));
}

static ssize_t hear_some(struct peer *p, char *to, size_t cap) {
    if (p->ssl == NULL)
        return recv(p->fd, to, cap, 0);
    int n = SSL_read(p->ssl, to, (int)cap);
    ERR_clear_error();
    return n;
}

/* One answer (head and Content-Length body) into `to`; returns its status, 0 when the connection
 * ended first. */
static int hear(struct peer *p, char *to, size_t cap) {
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
        ssize_t n = hear_some(p, to + len, 1);
        if (n <= 0)
            return 0;
        len += (size_t)n;
        to[len] = '\0';
    }
}

/* Whether the server ends the connection; milliseconds it took. */
static bool ends(struct peer *p, int64_t *took_ms) {
    char sink[4096];
    int64_t begin = clock_mono_ms();
    ssize_t n;
    while ((n = hear_some(p, sink, sizeof sink)) > 0) {
    }
    bool timed_out = p->ssl == NULL && n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    if (took_ms != NULL)
        *took_ms = clock_mono_ms() - begin;
    return !timed_out && clock_mono_ms() - begin < PATIENCE_MS;
}

static int ask(const char *request, char *to, size_t cap) {
    struct peer p = open_plain();
    say(&p, request);
    int status = hear(&p, to, cap);
    hang_up(&p);
    return status;
}

/* --- what it answers --- */

static void test_answers(void **state) {
    char b[4096];
    (void)state;
    assert_int_equal(ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(b, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(b, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(b, "\r\nX-Test: 1\r\n"));
    assert_non_null(strstr(b, " GMT\r\n"));
    assert_null(strstr(b, "Connection"));
    assert_null(strstr(b, "Strict-Transport"));
    assert_non_null(strstr(b, "\r\n\r\n{\"hello\":1}"));

    assert_int_equal(
        ask("GET /items/a%20b?x=1&q=%e6%9d%b1+%26&y HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b),
        200);
    assert_non_null(strstr(b, "id=a b q=東 & path=/items/{id}"));
    assert_int_equal(ask("POST /items/7:flag HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 200);
    assert_non_null(strstr(b, "id=7 q=- path=/items/{id}:flag"));

    assert_int_equal(ask("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 404);
    assert_non_null(strstr(b, "application/problem+json"));
    assert_non_null(strstr(b, "\"type\":\"about:blank\""));
    assert_non_null(strstr(b, "\"code\":\"not_found\""));
    assert_non_null(strstr(b, "\"status\":404"));
    assert_non_null(strstr(b, "該当するものがありません。"));
    assert_int_equal(ask("DELETE /later HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 405);
    assert_non_null(strstr(b, "\r\nAllow: GET, POST, HEAD\r\n"));
    assert_int_equal(ask("GET /problem HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 422);
    assert_non_null(strstr(b, "\"field\":\"dose_number\""));
    assert_int_equal(ask("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 503);
    assert_non_null(strstr(b, "\r\nRetry-After: "));
}

static void test_head_and_versions(void **state) {
    char b[4096];
    (void)state;
    struct peer p = open_plain();
    say(&p, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    size_t len = 0;
    memset(b, 0, sizeof b);
    while (strstr(b, "\r\n\r\n") == NULL && len < sizeof b - 1)
        len += (size_t)hear_some(&p, b + len, 1);
    assert_non_null(strstr(b, "HTTP/1.1 200"));
    assert_non_null(strstr(b, "Content-Length: 11\r\n"));
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200); /* and no body of the HEAD before it */
    assert_non_null(strstr(b, "\r\nConnection: close\r\n"));
    assert_true(ends(&p, NULL));
    hang_up(&p);

    p = open_plain();
    say(&p, "GET /hello HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_true(ends(&p, NULL));
    hang_up(&p);
    p = open_plain();
    say(&p, "GET /quick HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_null(strstr(b, "chunked"));
    assert_true(ends(&p, NULL));
    hang_up(&p);
}

static void test_bodies(void **state) {
    char b[8192];
    (void)state;
    assert_int_equal(
        ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nhello"));
    assert_int_equal(ask("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                         "5\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\n",
                         b, sizeof b),
                     200);
    assert_non_null(strstr(b, "\r\n\r\nhello world"));

    /* Nothing stands between the answer to a chunked request and the next answer. */
    struct peer two = open_plain();
    say(&two, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
              "2\r\nhi\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&two, b, sizeof b), 200);
    assert_int_equal(hear(&two, b, sizeof b), 200);
    assert_memory_equal(b, "HTTP/1.1 ", 9);
    hang_up(&two);

    /* In three pieces, cut inside the head and inside the body. */
    struct peer p = open_plain();
    say(&p, "POST /echo HTTP/1.1\r\nHost: x\r\nConte");
    (void)poll(NULL, 0, 50);
    say(&p, "nt-Length: 5\r\n\r\nhe");
    (void)poll(NULL, 0, 50);
    say(&p, "llo");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nhello"));

    /* 100-continue on the same connection. */
    say(&p, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 100);
    say(&p, "ok");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nok"));
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    /* Too large: 413 instead of 100. */
    say(&p,
        "POST /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 413);
    assert_true(ends(&p, NULL));
    hang_up(&p);
}

static void test_large_body(void **state) {
    enum { SIZE = 3 * 1024 * 1024 };
    char b[4096];
    char *body = malloc(SIZE);
    (void)state;
    assert_non_null(body);
    memset(body, 'y', SIZE);
    for (int tls = 0; tls < 2; tls++) {
        struct peer p = {0};
        if (tls)
            assert_true(open_tls(&p, "client", NULL, 0));
        else
            p = open_plain();
        for (int i = 0; i < 2; i++) {
            say(&p, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n");
            say_n(&p, body, SIZE);
            assert_int_equal(hear(&p, b, sizeof b), 200);
            assert_non_null(strstr(b, "\r\n\r\n3145728"));
        }
        say(&p, "POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 3; i++) {
            say(&p, "100000\r\n");
            say_n(&p, body, 0x100000);
            say(&p, "\r\n");
        }
        say(&p, "0\r\n\r\n");
        assert_int_equal(hear(&p, b, sizeof b), 200);
        assert_non_null(strstr(b, "\r\n\r\n3145728"));
        hang_up(&p);
    }
    free(body);
}

static void test_pipelining(void **state) {
    enum { MANY = 500 };
    static char all[MANY * 128];
    char b[4096], want[32];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct peer p = {0};
        if (tls)
            assert_true(open_tls(&p, "client", NULL, 0));
        else
            p = open_plain();
        size_t len = 0;
        for (int i = 0; i < MANY; i++)
            len += (size_t)snprintf(all + len, sizeof all - len,
                                    "GET /items/%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        say_n(&p, all, len); /* more than the read watermark, in full TLS records */
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(hear(&p, b, sizeof b), 200);
            (void)snprintf(want, sizeof want, "\r\n\r\nid=%d ", i);
            assert_non_null(strstr(b, want));
        }
        hang_up(&p);
    }
}

/* --- what it refuses --- */

static void test_refusals(void **state) {
    static const struct {
        const char *request;
        int status;
    } cases[] = {
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello", 400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"
         "5\r\nhello\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: "
         "chunked\r\n\r\n0\r\n\r\n",
         400},
        {"POST /echo HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost:\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: a@b\r\n\r\n", 400},
        {"GET http://other/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET https://x/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET ftp://x/hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET http://u@x/hello HTTP/1.1\r\nHost: u@x\r\n\r\n", 400},
        {"GET hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"TRACE /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"get /hello HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"G\tET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hel\x01lo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hel\x7flo HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hell\xc3\xb6 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello#x HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET  /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello  HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
        {"GET /hello HTTP/2.0\r\nHost: x\r\n\r\n", 400},
        {"GET /hello HTTP/1.10\r\nHost: x\r\n\r\n", 400},
        {"GET /hello\r\nHost: x\r\n\r\n", 400},
        {"GET /items/%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/%0a HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/%zz HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/%4 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/a%2fb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/a%5Cb HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/../hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /items/%2e%2E HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /./hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello?q=%00 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello?q=%1 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\nHost: x\n\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\n Host: x\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nA\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\n: b\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nA: \x02\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nIf-Match: 1\r\nIf-Match: 2\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nExpect: magic\r\n\r\n", 400},
        {"GET /hello HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc", 400},
        {"HEAD /hello HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
        {"\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 101\r\n\r\n", 413},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 65537\r\n\r\n", 413},
        {"POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n", 413},
        {"POST /small HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n"
         "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"
         "8901234567890\r\n0\r\n\r\n",
         413},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n", 0},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello\r\n", 0},
        {"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
         "ffffffffffffffff\r\nhello\r\n",
         0},
    };
    char b[4096];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct peer p = open_plain();
        say(&p, cases[i].request);
        /* What follows on the connection must never be read as a request. */
        say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        int status = hear(&p, b, sizeof b);
        if (cases[i].status != 0 && status != cases[i].status) {
            print_error("case %zu: %d instead of %d\n", i, status, cases[i].status);
            fail();
        }
        if (cases[i].status == 0)
            assert_true(status == 400 || status == 413);
        else
            assert_non_null(strstr(b, "application/problem+json"));
        assert_non_null(strcasestr(b, "\r\nConnection: close\r\n"));
        assert_null(strstr(b, "hello\":1"));
        assert_true(ends(&p, NULL));
        hang_up(&p);
    }

    /* NUL in the request line and in a header, which C strings do not show. */
    static const char nul_path[] = "GET /hello\0x HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char nul_value[] = "GET /hello HTTP/1.1\r\nHost: x\0y\r\n\r\n";
    struct peer p = open_plain();
    say_n(&p, nul_path, sizeof nul_path - 1);
    assert_int_equal(hear(&p, b, sizeof b), 400);
    hang_up(&p);
    p = open_plain();
    say_n(&p, nul_value, sizeof nul_value - 1);
    assert_int_equal(hear(&p, b, sizeof b), 400);
    hang_up(&p);

    /* In absolute form with the same host it is fine. */
    assert_int_equal(ask("GET http://x/hello HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 200);
}

static void test_header_limits(void **state) {
    char b[4096];
    (void)state;
    char *big = calloc(1, 20000);
    assert_non_null(big);
    struct peer p = open_plain();
    (void)strcpy(big, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    memset(big + strlen(big), 'a', 9000);
    say(&p, big); /* no end in sight */
    assert_int_equal(hear(&p, b, sizeof b), 413);
    assert_true(ends(&p, NULL));
    hang_up(&p);

    p = open_plain();
    (void)strcpy(big, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 70; i++)
        (void)strcat(big, "A: b\r\n");
    (void)strcat(big, "\r\n");
    say(&p, big);
    assert_int_equal(hear(&p, b, sizeof b), 413);
    hang_up(&p);

    p = open_plain();
    (void)snprintf(big, 20000, "GET /%07000d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
    say(&p, big);
    assert_int_equal(hear(&p, b, sizeof b), 404);
    hang_up(&p);
    free(big);
}

/* --- deadlines --- */

static void drip(struct peer *p, const char *text, int64_t *lived_ms) {
    int64_t begin = clock_mono_ms();
    struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
    for (size_t i = 0; text[i % strlen(text)] != '\0'; i++) {
        say_n(p, text + i % strlen(text), 1);
        if (poll(&pfd, 1, 30) > 0 || clock_mono_ms() - begin > PATIENCE_MS)
            break;
    }
    *lived_ms = clock_mono_ms() - begin;
}

static void test_deadlines(void **state) {
    int64_t ms = 0;
    char b[4096];
    (void)state;
    struct peer p = open_plain();
    drip(&p,
         "GET /hello HTTP/1.1\r\nHost: x\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         &ms);
    assert_in_range(ms, HEADER_MS - 50, HEADER_MS + 700);
    hang_up(&p);

    p = open_plain();
    say(&p, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
    drip(&p, "z", &ms);
    assert_in_range(ms, BODY_MS - 50, BODY_MS + 700);
    hang_up(&p);

    p = open_plain();
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_true(ends(&p, &ms));
    assert_in_range(ms, IDLE_MS - 100, IDLE_MS + 700);
    hang_up(&p);

    p = (struct peer){.fd = connect_tls_port()}; /* says nothing */
    assert_true(ends(&p, &ms));
    assert_in_range(ms, HANDSHAKE_MS - 50, HANDSHAKE_MS + 700);
    hang_up(&p);
    p = (struct peer){.fd = connect_tls_port()}; /* a hello, byte by byte */
    drip(&p, "\x16\x03\x01\x01\xfc\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01", &ms);
    assert_in_range(ms, 1, HANDSHAKE_MS + 700);
    hang_up(&p);

    /* A TLS client that connects early and asks later is within its rights. */
    assert_true(open_tls(&p, "client", NULL, 0));
    (void)poll(NULL, 0, HANDSHAKE_MS + 200);
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    hang_up(&p);
}

static void test_slow_reader(void **state) {
    char b[4096];
    (void)state;
    static const char *const requests[] = {"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        struct peer p = open_plain();
        int64_t begin = clock_mono_ms();
        srv.produced = 0;
        say(&p, requests[i]);
        while (http_connections(srv.http) == 0 && clock_mono_ms() - begin < PATIENCE_MS)
            (void)poll(NULL, 0, 1);
        size_t before = http_connections(srv.http);
        for (;;) { /* a byte now and then */
            (void)poll(NULL, 0, 50);
            if (recv(p.fd, b, 1, MSG_DONTWAIT) == 0 || http_connections(srv.http) < before)
                break;
            assert_true(clock_mono_ms() - begin < PATIENCE_MS);
        }
        if (i == 1) /* no more was made than the sockets and the low mark hold */
            assert_in_range(srv.produced, 1, STREAM_BYTES / 2);
        hang_up(&p);
    }
}

/* --- memory and number --- */

static long resident_kb(void) {
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &pages), 2);
    (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A client that sends requests for ever and never reads. */
static void test_pipelining_client_that_never_reads(void **state) {
    static char block[64 * 1024];
    static const char one[] = "GET /items/0123456789 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    size_t len = 0, sent = 0;
    (void)state;
    while (len + sizeof one < sizeof block) {
        memcpy(block + len, one, sizeof one - 1);
        len += sizeof one - 1;
    }
    struct peer p = open_plain();
    long before = resident_kb();
    int64_t begin = clock_mono_ms();
    size_t at = 0;
    while (clock_mono_ms() - begin < 500) {
        ssize_t n = send(p.fd, block + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0 && errno != EAGAIN)
            break;
        if (n < 0) {
            (void)poll(NULL, 0, 5);
            continue;
        }
        sent += (size_t)n;
        at = (at + (size_t)n) % len;
    }
    print_message("sent %zu kB, resident +%ld kB\n", sent / 1024, resident_kb() - before);
    assert_true(sent < 64 * 1024 * 1024); /* the server stopped taking it */
#ifndef __SANITIZE_ADDRESS__              /* which keeps freed memory for a while */
    assert_true(resident_kb() - before < 16 * 1024);
#endif
    hang_up(&p);
}

static void wait_connections(size_t n) {
    int64_t begin = clock_mono_ms();
    while (http_connections(srv.http) != n && clock_mono_ms() - begin < PATIENCE_MS)
        (void)poll(NULL, 0, 10);
    assert_int_equal(http_connections(srv.http), n);
}

static void test_cap(void **state) {
    struct peer p[CAP + 5];
    char b[4096];
    (void)state;
    wait_connections(0);
    for (int i = 0; i < CAP; i++)
        p[i] = open_plain();
    wait_connections(CAP);
    /* Idle ones make room, the oldest first. */
    for (int i = CAP; i < CAP + 5; i++) {
        p[i] = open_plain();
        say(&p[i], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(hear(&p[i], b, sizeof b), 200);
        assert_true(ends(&p[i - CAP], NULL));
    }
    assert_int_equal(http_connections(srv.http), CAP);
    for (int i = 0; i < CAP + 5; i++)
        hang_up(&p[i]);
    wait_connections(0);

    /* Busy ones do not: the new one is refused. */
    for (int i = 0; i < CAP; i++) {
        p[i] = open_plain();
        say(&p[i], "GET /hel"); /* a head is coming */
    }
    wait_connections(CAP);
    (void)poll(NULL, 0, 50);
    p[CAP] = open_plain();
    assert_true(ends(&p[CAP], NULL));
    for (int i = 0; i <= CAP; i++)
        hang_up(&p[i]);
    wait_connections(0);
}

/* --- clients that vanish --- */

static void test_vanished_before_answer(void **state) {
    (void)state;
    wait_connections(0);
    srv.answered = 0;
    for (int tls = 0; tls < 2; tls++) {
        for (int i = 0; i < 10; i++) {
            struct peer p = {0};
            if (tls)
                assert_true(open_tls(&p, "client", NULL, 0));
            else
                p = open_plain();
            int held = srv.held;
            say(&p, "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
            int64_t begin = clock_mono_ms();
            while (srv.held <= held && clock_mono_ms() - begin < PATIENCE_MS && srv.answered < 20)
                (void)poll(NULL, 0, 1);
            if (i % 2 == 0) { /* with a reset */
                struct linger now = {.l_onoff = 1};
                (void)setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            }
            hang_up(&p);
        }
    }
    wait_connections(0);
    assert_int_equal(srv.held, 0);
    assert_int_equal(srv.answered, 20);
}

static void test_vanished_from_stream(void **state) {
    char b[4096];
    (void)state;
    srv.ended = 0;
    for (int i = 0; i < 10; i++) {
        struct peer p = {0};
        if (i % 2)
            assert_true(open_tls(&p, "client", NULL, 0));
        else
            p = open_plain();
        say(&p, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(hear_some(&p, b, sizeof b) > 0);
        hang_up(&p);
    }
    int64_t begin = clock_mono_ms();
    while (srv.ended < 10 && clock_mono_ms() - begin < PATIENCE_MS)
        (void)poll(NULL, 0, 10);
    assert_int_equal(srv.ended, 10);
    wait_connections(0);
}

static size_t hear_chunks(struct peer *p) {
    static char b[64 * 1024];
    size_t total = 0, have = 0;
    for (;;) { /* head */
        assert_true(hear_some(p, b + have, 1) == 1);
        have++;
        if (have >= 4 && memcmp(b + have - 4, "\r\n\r\n", 4) == 0)
            break;
    }
    for (;;) {
        char size[16] = "";
        for (size_t i = 0; i < sizeof size - 1; i++) {
            assert_true(hear_some(p, size + i, 1) == 1);
            if (size[i] == '\n')
                break;
        }
        size_t n = strtoul(size, NULL, 16), left = n + 2;
        while (left > 0) {
            ssize_t r = hear_some(p, b, left < sizeof b ? left : sizeof b);
            assert_true(r > 0);
            left -= (size_t)r;
        }
        if (n == 0)
            return total;
        total += n;
    }
}

static void test_streams(void **state) {
    char b[4096];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct peer p = {0};
        if (tls)
            assert_true(open_tls(&p, "client", NULL, 0));
        else
            p = open_plain();
        say(&p, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(hear_chunks(&p), STREAM_BYTES);
        say(&p, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(hear_chunks(&p), 1000);
        say(&p, "GET /stream?n=0 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(hear_chunks(&p), 0);
        say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection lives on */
        assert_int_equal(hear(&p, b, sizeof b), 200);
        hang_up(&p);
    }
}

/* --- TLS --- */

static void test_tls_clients(void **state) {
    char b[4096];
    struct peer p = {0};
    (void)state;
    assert_true(open_tls(&p, "client", NULL, 0));
    assert_string_equal(SSL_get_version(p.ssl), "TLSv1.3");
    say(&p, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nT-0001 132195 tablet 0"));
    assert_non_null(strstr(b, "\r\nStrict-Transport-Security: max-age="));
    /* Absolute form: our own name only. */
    say(&p, "GET https://localhost:8443/hello HTTP/1.1\r\nHost: localhost:8443\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    hang_up(&p);
    assert_true(open_tls(&p, "client", NULL, 0));
    say(&p, "GET https://evil.example/hello HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 400);
    assert_true(ends(&p, NULL));
    hang_up(&p);

    /* An expired certificate of our authority gets through and is marked. */
    assert_true(open_tls(&p, "expired", NULL, 0));
    say(&p, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nT-0001 132195 tablet 1"));
    hang_up(&p);

    /* No certificate, a stranger's, a server's, an old protocol: nothing is answered. (With TLS
     * 1.3 the client's side of the handshake ends before it hears of the refusal.) */
    static const char *const bad[] = {NULL, "stranger", "server"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (open_tls(&p, bad[i], NULL, 0)) {
            say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_int_equal(hear(&p, b, sizeof b), 0);
        }
        hang_up(&p);
    }
    assert_false(open_tls(&p, "client", NULL, TLS1_2_VERSION));
    hang_up(&p);
    /* Plain text on the TLS port. */
    p = (struct peer){.fd = connect_tls_port()};
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 0);
    hang_up(&p);
}

static void test_no_resumption(void **state) {
    char b[4096];
    struct peer p = {0};
    (void)state;
    assert_true(open_tls(&p, "client", NULL, 0));
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200); /* a ticket would have come before */
    SSL_SESSION *session = SSL_get1_session(p.ssl);
    assert_non_null(session);
    assert_false(SSL_SESSION_has_ticket(session));
    assert_false(SSL_SESSION_is_resumable(session));
    hang_up(&p);
    assert_true(open_tls(&p, "client", session, 0)); /* works all the same */
    assert_false(SSL_session_reused(p.ssl));
    hang_up(&p);
    SSL_SESSION_free(session);
}

static void test_no_delay(void **state) {
    char b[4096];
    (void)state;
    struct peer p = open_plain();
    struct sockaddr_in mine, theirs;
    socklen_t len = sizeof mine;
    assert_int_equal(getsockname(p.fd, (struct sockaddr *)&mine, &len), 0);
    say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(hear(&p, b, sizeof b), 200);
    bool found = false;
    for (int fd = 3; fd < 512; fd++) { /* the server's end is in this process */
        int on = 0;
        socklen_t on_len = sizeof on;
        len = sizeof theirs;
        if (getpeername(fd, (struct sockaddr *)&theirs, &len) == 0 &&
            theirs.sin_port == mine.sin_port) {
            assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, &on_len), 0);
            assert_int_not_equal(on, 0);
            found = true;
        }
    }
    assert_true(found);
    hang_up(&p);
}

static void test_listener_rules(void **state) {
    struct vrs_fault fault;
    struct http_listener *l = NULL;
    struct http_server *s = NULL;
    struct event_base *base = http_base_open();
    (void)state;
    assert_int_equal(http_server_open(base, &s), VRS_OK);
    struct http_listener_options o = options("x", NULL);
    o.address = "0.0.0.0";
    assert_int_equal(http_listen(s, &o, &l, &fault), ERR_CONFIG);
    o.allow_any = true; /* but not without TLS */
    assert_int_equal(http_listen(s, &o, &l, &fault), ERR_CONFIG);
    o.address = "localhost";
    assert_int_equal(http_listen(s, &o, &l, &fault), ERR_CONFIG);
    o.address = "::1";
    enum vrs_err e = http_listen(s, &o, &l, &fault); /* where there is IPv6 */
    assert_true(e == VRS_OK || e == ERR_CONFIG);
    o.address = "127.0.0.1";
    o.port = http_listener_port(srv.plain); /* taken */
    assert_int_equal(http_listen(s, &o, &l, &fault), ERR_CONFIG);
    http_server_close(&s, 0);
    event_base_free(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),
        cmocka_unit_test(test_head_and_versions),
        cmocka_unit_test(test_bodies),
        cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_pipelining),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_pipelining_client_that_never_reads),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_vanished_before_answer),
        cmocka_unit_test(test_vanished_from_stream),
        cmocka_unit_test(test_streams),
        cmocka_unit_test(test_tls_clients),
        cmocka_unit_test(test_no_resumption),
        cmocka_unit_test(test_no_delay),
        cmocka_unit_test(test_listener_rules),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
