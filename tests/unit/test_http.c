/* The HTTP layer against a real server on loopback: what it answers to clients that behave. */
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "tests/lib/http_rig.h"

static void test_answers(void **state) {
    char b[4096];
    (void)state;
    assert_int_equal(http_rig_ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\nContent-Type: application/json\r\n"));
    assert_non_null(strstr(b, "\r\nCache-Control: no-store\r\n"));
    assert_non_null(strstr(b, "\r\nX-Content-Type-Options: nosniff\r\n"));
    assert_non_null(strstr(b, "\r\nX-Test: 1\r\n"));
    assert_non_null(strstr(b, " GMT\r\n"));
    assert_null(strstr(b, "Connection"));
    assert_null(strstr(b, "Strict-Transport"));
    assert_non_null(strstr(b, "\r\n\r\n{\"hello\":1}"));

    assert_int_equal(
        http_rig_ask("GET /items/a%20b?x=1&q=%e6%9d%b1+%26&y HTTP/1.1\r\nHost: x\r\n\r\n", b,
                     sizeof b),
        200);
    assert_non_null(strstr(b, "id=a b q=東 & path=/items/{id}"));
    assert_int_equal(http_rig_ask("POST /items/7:flag HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b),
                     200);
    assert_non_null(strstr(b, "id=7 q=- path=/items/{id}:flag"));

    assert_int_equal(http_rig_ask("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 404);
    assert_non_null(strstr(b, "application/problem+json"));
    assert_non_null(strstr(b, "\"type\":\"about:blank\""));
    assert_non_null(strstr(b, "\"code\":\"not_found\""));
    assert_non_null(strstr(b, "\"status\":404"));
    assert_non_null(strstr(b, "該当するものがありません。"));
    assert_int_equal(http_rig_ask("DELETE /later HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 405);
    assert_non_null(strstr(b, "\r\nAllow: GET, POST, HEAD\r\n"));
    assert_int_equal(http_rig_ask("GET /problem HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 422);
    assert_non_null(strstr(b, "\"field\":\"dose_number\""));
    assert_int_equal(http_rig_ask("GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 503);
    assert_non_null(strstr(b, "\r\nRetry-After: "));
}

static void test_head_and_versions(void **state) {
    char b[4096];
    (void)state;
    struct http_rig_peer p = http_rig_plain();
    http_rig_say(&p, "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    size_t len = 0;
    memset(b, 0, sizeof b);
    while (strstr(b, "\r\n\r\n") == NULL && len < sizeof b - 1)
        len += (size_t)http_rig_hear_some(&p, b + len, 1);
    assert_non_null(strstr(b, "HTTP/1.1 200"));
    assert_non_null(strstr(b, "Content-Length: 11\r\n"));
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200); /* and no body of the HEAD before it */
    assert_non_null(strstr(b, "\r\nConnection: close\r\n"));
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);

    p = http_rig_plain();
    http_rig_say(&p, "GET /hello HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);
    p = http_rig_plain();
    http_rig_say(&p, "GET /quick HTTP/1.0\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_null(strstr(b, "chunked"));
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);
}

static void test_bodies(void **state) {
    char b[8192];
    (void)state;
    assert_int_equal(
        http_rig_ask("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", b,
                     sizeof b),
        200);
    assert_non_null(strstr(b, "\r\n\r\nhello"));
    assert_int_equal(
        http_rig_ask("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                     "5\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: 1\r\n\r\n",
                     b, sizeof b),
        200);
    assert_non_null(strstr(b, "\r\n\r\nhello world"));

    /* Nothing stands between the answer to a chunked request and the next answer. */
    struct http_rig_peer two = http_rig_plain();
    http_rig_say(&two, "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                       "2\r\nhi\r\n0\r\n\r\nGET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&two, b, sizeof b), 200);
    assert_int_equal(http_rig_hear(&two, b, sizeof b), 200);
    assert_memory_equal(b, "HTTP/1.1 ", 9);
    http_rig_close(&two);

    /* In three pieces, cut inside the head and inside the body. */
    struct http_rig_peer p = http_rig_plain();
    http_rig_say(&p, "POST /echo HTTP/1.1\r\nHost: x\r\nConte");
    (void)poll(NULL, 0, 50);
    http_rig_say(&p, "nt-Length: 5\r\n\r\nhe");
    (void)poll(NULL, 0, 50);
    http_rig_say(&p, "llo");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nhello"));

    /* 100-continue on the same connection. */
    http_rig_say(
        &p, "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 100);
    http_rig_say(&p, "ok");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nok"));
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    /* Too large: 413 instead of 100. */
    http_rig_say(
        &p,
        "POST /small HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 101\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 413);
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);
}

static void test_large_body(void **state) {
    enum { SIZE = 3 * 1024 * 1024 };
    char b[4096];
    char *body = malloc(SIZE);
    (void)state;
    assert_non_null(body);
    memset(body, 'y', SIZE);
    for (int tls = 0; tls < 2; tls++) {
        struct http_rig_peer p = {0};
        if (tls)
            assert_true(http_rig_tls(&p, "client", NULL, 0));
        else
            p = http_rig_plain();
        for (int i = 0; i < 2; i++) {
            http_rig_say(&p, "POST /large HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n");
            http_rig_say_n(&p, body, SIZE);
            assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
            assert_non_null(strstr(b, "\r\n\r\n3145728"));
        }
        http_rig_say(&p, "POST /large HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
        for (int i = 0; i < 3; i++) {
            http_rig_say(&p, "100000\r\n");
            http_rig_say_n(&p, body, 0x100000);
            http_rig_say(&p, "\r\n");
        }
        http_rig_say(&p, "0\r\n\r\n");
        assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
        assert_non_null(strstr(b, "\r\n\r\n3145728"));
        http_rig_close(&p);
    }
    free(body);
}

static void test_pipelining(void **state) {
    enum { MANY = 500 };
    static char all[MANY * 128];
    char b[4096], want[32];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct http_rig_peer p = {0};
        if (tls)
            assert_true(http_rig_tls(&p, "client", NULL, 0));
        else
            p = http_rig_plain();
        size_t len = 0;
        for (int i = 0; i < MANY; i++)
            len += (size_t)snprintf(all + len, sizeof all - len,
                                    "GET /items/%d HTTP/1.1\r\nHost: localhost\r\n\r\n", i);
        http_rig_say_n(&p, all, len); /* more than the read watermark, in full TLS records */
        for (int i = 0; i < MANY; i++) {
            assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
            (void)snprintf(want, sizeof want, "\r\n\r\nid=%d ", i);
            assert_non_null(strstr(b, want));
        }
        http_rig_close(&p);
    }
}

static void test_streams(void **state) {
    char b[4096];
    (void)state;
    for (int tls = 0; tls < 2; tls++) {
        struct http_rig_peer p = {0};
        if (tls)
            assert_true(http_rig_tls(&p, "client", NULL, 0));
        else
            p = http_rig_plain();
        http_rig_say(&p, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(http_rig_hear_chunks(&p), HTTP_RIG_STREAM_BYTES);
        http_rig_say(&p, "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(http_rig_hear_chunks(&p), 1000);
        http_rig_say(&p, "GET /stream?n=0 HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(http_rig_hear_chunks(&p), 0);
        http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n"); /* the connection lives on */
        assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
        http_rig_close(&p);
    }
}

static void test_tls_clients(void **state) {
    char b[4096];
    struct http_rig_peer p = {0};
    (void)state;
    assert_true(http_rig_tls(&p, "client", NULL, 0));
    assert_string_equal(SSL_get_version(p.ssl), "TLSv1.3");
    http_rig_say(&p, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nT-0001 132195 tablet 0"));
    assert_non_null(strstr(b, "\r\nStrict-Transport-Security: max-age="));
    /* Absolute form: our own name only. */
    http_rig_say(&p, "GET https://localhost:8443/hello HTTP/1.1\r\nHost: localhost:8443\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    http_rig_close(&p);
    assert_true(http_rig_tls(&p, "client", NULL, 0));
    http_rig_say(&p, "GET https://evil.example/hello HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 400);
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);

    /* An expired certificate of our authority gets through and is marked. */
    assert_true(http_rig_tls(&p, "expired", NULL, 0));
    http_rig_say(&p, "GET /peer HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_non_null(strstr(b, "\r\n\r\nT-0001 132195 tablet 1"));
    http_rig_close(&p);

    /* No certificate, a stranger's, a server's, an old protocol: nothing is answered. (With TLS
     * 1.3 the client's side of the handshake ends before it hears of the refusal.) */
    static const char *const bad[] = {NULL, "stranger", "server"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (http_rig_tls(&p, bad[i], NULL, 0)) {
            http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_int_equal(http_rig_hear(&p, b, sizeof b), 0);
        }
        http_rig_close(&p);
    }
    assert_false(http_rig_tls(&p, "client", NULL, TLS1_2_VERSION));
    http_rig_close(&p);
    /* Plain text on the TLS port. */
    p = (struct http_rig_peer){.fd = http_rig_tls_socket()};
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 0);
    http_rig_close(&p);
}

static void test_no_resumption(void **state) {
    char b[4096];
    struct http_rig_peer p = {0};
    (void)state;
    assert_true(http_rig_tls(&p, "client", NULL, 0));
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200); /* a ticket would have come before */
    SSL_SESSION *session = SSL_get1_session(p.ssl);
    assert_non_null(session);
    assert_false(SSL_SESSION_has_ticket(session));
    assert_false(SSL_SESSION_is_resumable(session));
    http_rig_close(&p);
    assert_true(http_rig_tls(&p, "client", session, 0)); /* works all the same */
    assert_false(SSL_session_reused(p.ssl));
    http_rig_close(&p);
    SSL_SESSION_free(session);
}

static void test_no_delay(void **state) {
    char b[4096];
    (void)state;
    struct http_rig_peer p = http_rig_plain();
    struct sockaddr_in mine = {0}, theirs = {0};
    socklen_t len = sizeof mine;
    assert_int_equal(getsockname(p.fd, (struct sockaddr *)&mine, &len), 0);
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
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
    http_rig_close(&p);
}

static void test_listener_rules(void **state) {
    struct vrs_fault fault;
    struct http_listener *l = NULL;
    struct http_server *s = NULL;
    struct event_base *base = http_base_open();
    (void)state;
    assert_int_equal(http_server_open(base, &s), VRS_OK);
    struct http_listener_options o = http_rig_options("x", NULL);
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
    o.port = http_listener_port(http_rig.plain); /* taken */
    assert_int_equal(http_listen(s, &o, &l, &fault), ERR_CONFIG);
    http_server_close(&s, 0);
    event_base_free(base);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_answers),     cmocka_unit_test(test_head_and_versions),
        cmocka_unit_test(test_bodies),      cmocka_unit_test(test_large_body),
        cmocka_unit_test(test_pipelining),  cmocka_unit_test(test_streams),
        cmocka_unit_test(test_tls_clients), cmocka_unit_test(test_no_resumption),
        cmocka_unit_test(test_no_delay),    cmocka_unit_test(test_listener_rules),
    };
    return cmocka_run_group_tests(tests, http_rig_setup, http_rig_teardown);
}
