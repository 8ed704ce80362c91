/* The holes of the layer below that ours closes, each tried from outside. */
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
        struct http_rig_peer p = http_rig_plain();
        http_rig_say(&p, cases[i].request);
        /* What follows on the connection must never be read as a request. */
        http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        int status = http_rig_hear(&p, b, sizeof b);
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
        assert_true(http_rig_ends(&p, NULL));
        http_rig_close(&p);
    }

    /* NUL in the request line and in a header, which C strings do not show. */
    static const char nul_path[] = "GET /hello\0x HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char nul_value[] = "GET /hello HTTP/1.1\r\nHost: x\0y\r\n\r\n";
    struct http_rig_peer p = http_rig_plain();
    http_rig_say_n(&p, nul_path, sizeof nul_path - 1);
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 400);
    http_rig_close(&p);
    p = http_rig_plain();
    http_rig_say_n(&p, nul_value, sizeof nul_value - 1);
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 400);
    http_rig_close(&p);

    /* In absolute form with the same host it is fine. */
    assert_int_equal(http_rig_ask("GET http://x/hello HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b),
                     200);
}

static void test_header_limits(void **state) {
    char b[4096];
    (void)state;
    char *big = calloc(1, 20000);
    assert_non_null(big);
    struct http_rig_peer p = http_rig_plain();
    (void)strcpy(big, "GET /hello HTTP/1.1\r\nHost: x\r\nA: ");
    memset(big + strlen(big), 'a', 9000);
    http_rig_say(&p, big); /* no end in sight */
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 413);
    assert_true(http_rig_ends(&p, NULL));
    http_rig_close(&p);

    p = http_rig_plain();
    (void)strcpy(big, "GET /hello HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 70; i++)
        (void)strcat(big, "A: b\r\n");
    (void)strcat(big, "\r\n");
    http_rig_say(&p, big);
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 413);
    http_rig_close(&p);

    p = http_rig_plain();
    (void)snprintf(big, 20000, "GET /%07000d HTTP/1.1\r\nHost: x\r\n\r\n", 0);
    http_rig_say(&p, big);
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 404);
    http_rig_close(&p);
    free(big);
}

static void drip(struct http_rig_peer *p, const char *text) {
    int64_t begin = clock_mono_ms();
    struct pollfd pfd = {.fd = p->fd, .events = POLLIN};
    for (size_t i = 0; text[i % strlen(text)] != '\0'; i++) {
        http_rig_say_n(p, text + i % strlen(text), 1);
        if (poll(&pfd, 1, 30) > 0 || clock_mono_ms() - begin > HTTP_RIG_PATIENCE_MS)
            break;
    }
}

/* No sooner than its deadline, and not never: how much later is the machine's affair.  What began
 * before the server's timer did cannot seem shorter than it. */
static void ended_by(int64_t deadline_ms, int64_t began_ms) {
    assert_in_range(clock_mono_ms() - began_ms, deadline_ms - 50, HTTP_RIG_PATIENCE_MS);
}

static void test_deadlines(void **state) {
    char b[4096];
    (void)state;
    http_rig.hasty = true;
    int64_t begin = clock_mono_ms();
    struct http_rig_peer p = http_rig_plain();
    drip(&p,
         "GET /hello HTTP/1.1\r\nHost: x\r\nA: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
    ended_by(HTTP_RIG_HEADER_MS, begin);
    http_rig_close(&p);

    begin = clock_mono_ms();
    p = http_rig_plain();
    http_rig_say(&p, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
    drip(&p, "z");
    ended_by(HTTP_RIG_BODY_MS, begin);
    http_rig_close(&p);

    begin = clock_mono_ms();
    p = http_rig_plain();
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    assert_true(http_rig_ends(&p, NULL));
    ended_by(HTTP_RIG_IDLE_MS, begin);
    http_rig_close(&p);

    begin = clock_mono_ms();
    p = (struct http_rig_peer){.fd = http_rig_tls_socket()}; /* says nothing */
    assert_true(http_rig_ends(&p, NULL));
    ended_by(HTTP_RIG_HANDSHAKE_MS, begin);
    http_rig_close(&p);
    begin = clock_mono_ms();
    p = (struct http_rig_peer){.fd = http_rig_tls_socket()}; /* a hello, byte by byte */
    drip(&p, "\x16\x03\x01\x01\xfc\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01\x01");
    ended_by(51, begin); /* it may be seen to be none before */
    http_rig_close(&p);

    /* A TLS client that connects early and asks later is within its rights. */
    assert_true(http_rig_tls(&p, "client", NULL, 0));
    (void)poll(NULL, 0, HTTP_RIG_HANDSHAKE_MS + 200);
    http_rig_say(&p, "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_int_equal(http_rig_hear(&p, b, sizeof b), 200);
    http_rig_close(&p);
    http_rig.hasty = false;
}

static void test_slow_reader(void **state) {
    char b[4096];
    (void)state;
    http_rig.hasty = true;
    static const char *const requests[] = {"GET /big HTTP/1.1\r\nHost: x\r\n\r\n",
                                           "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (int i = 0; i < 2; i++) {
        struct http_rig_peer p = http_rig_plain();
        int64_t begin = clock_mono_ms();
        http_rig.produced = 0;
        http_rig_say(&p, requests[i]);
        while (http_connections(http_rig.http) == 0 &&
               clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS)
            (void)poll(NULL, 0, 1);
        size_t before = http_connections(http_rig.http);
        for (;;) { /* a byte now and then */
            (void)poll(NULL, 0, 50);
            if (recv(p.fd, b, 1, MSG_DONTWAIT) == 0 || http_connections(http_rig.http) < before)
                break;
            assert_true(clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS);
        }
        if (i == 1) /* no more was made than the sockets and the low mark hold */
            assert_in_range(http_rig.produced, 1, HTTP_RIG_STREAM_BYTES / 2);
        http_rig_close(&p);
    }
    http_rig.hasty = false;
}

/* Sanitisers keep freed memory for a while, so the resident size says nothing under them. */
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITISED 1
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITISED 1
#endif

static long resident_kb(void) {
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld %ld", &all, &pages), 2);
    (void)fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* A client that sends requests for ever and never reads. */
static void flood(struct http_rig_peer *p) {
    static char block[12 * 1024];
    static const char one[] = "GET /items/0123456789 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    struct timeval shortly = {.tv_usec = 50000};
    size_t len = 0, sent = 0, at = 0;

    while (len + sizeof one < sizeof block) {
        memcpy(block + len, one, sizeof one - 1);
        len += sizeof one - 1;
    }
    (void)setsockopt(p->fd, SOL_SOCKET, SO_SNDTIMEO, &shortly, sizeof shortly);
    long before = resident_kb();
    int64_t begin = clock_mono_ms();
    while (clock_mono_ms() - begin < 500) {
        ssize_t n = p->ssl != NULL ? SSL_write(p->ssl, block, (int)len)
                                   : send(p->fd, block + at, len - at, MSG_NOSIGNAL);
        if (n <= 0)
            continue;
        sent += (size_t)n;
        at = (at + (size_t)n) % len; /* requests stay whole */
    }
    print_message("sent %zu kB, resident +%ld kB\n", sent / 1024, resident_kb() - before);
    assert_in_range(sent, 1, 64 * 1024 * 1024); /* the server stopped taking it */
#ifndef SANITISED
    assert_true(resident_kb() - before < 16 * 1024);
#endif
}

static void test_pipelining_client_that_never_reads(void **state) {
    struct http_rig_peer p = http_rig_plain();
    (void)state;
    flood(&p);
    http_rig_close(&p);
    p = (struct http_rig_peer){0};
    assert_true(http_rig_tls(&p, "client", NULL, 0));
    flood(&p);
    http_rig_close(&p);
}

static void test_cap(void **state) {
    struct http_rig_peer p[HTTP_RIG_CAP + 5];
    char b[4096];
    (void)state;
    http_rig_wait_connections(0);
    for (int i = 0; i < HTTP_RIG_CAP; i++)
        p[i] = http_rig_plain();
    http_rig_wait_connections(HTTP_RIG_CAP);
    /* Idle ones make room, the oldest first. */
    for (int i = HTTP_RIG_CAP; i < HTTP_RIG_CAP + 5; i++) {
        p[i] = http_rig_plain();
        http_rig_say(&p[i], "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_int_equal(http_rig_hear(&p[i], b, sizeof b), 200);
        assert_true(http_rig_ends(&p[i - HTTP_RIG_CAP], NULL));
    }
    assert_int_equal(http_connections(http_rig.http), HTTP_RIG_CAP);
    for (int i = 0; i < HTTP_RIG_CAP + 5; i++)
        http_rig_close(&p[i]);
    http_rig_wait_connections(0);

    /* Busy ones do not: the new one is refused. */
    for (int i = 0; i < HTTP_RIG_CAP; i++) {
        p[i] = http_rig_plain();
        http_rig_say(&p[i], "GET /hel"); /* a head is coming */
    }
    http_rig_wait_connections(HTTP_RIG_CAP);
    (void)poll(NULL, 0, 50);
    p[HTTP_RIG_CAP] = http_rig_plain();
    assert_true(http_rig_ends(&p[HTTP_RIG_CAP], NULL));
    for (int i = 0; i <= HTTP_RIG_CAP; i++)
        http_rig_close(&p[i]);
    http_rig_wait_connections(0);
}

static void test_vanished_before_answer(void **state) {
    (void)state;
    http_rig_wait_connections(0);
    http_rig.answered = 0;
    for (int tls = 0; tls < 2; tls++) {
        for (int i = 0; i < 10; i++) {
            struct http_rig_peer p = {0};
            if (tls)
                assert_true(http_rig_tls(&p, "client", NULL, 0));
            else
                p = http_rig_plain();
            int asked = http_rig.asked;
            http_rig_say(&p, "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
            int64_t begin = clock_mono_ms();
            while (http_rig.asked == asked && clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS)
                (void)poll(NULL, 0, 1);
            if (i % 2 == 0) { /* with a reset */
                struct linger now = {.l_onoff = 1};
                (void)setsockopt(p.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            }
            http_rig_close(&p);
        }
    }
    http_rig_wait_connections(0);
    assert_int_equal(http_rig.held, 0);
    assert_int_equal(http_rig.answered, 20);
}

static void test_vanished_from_stream(void **state) {
    char b[4096];
    (void)state;
    http_rig.ended = 0;
    for (int i = 0; i < 10; i++) {
        struct http_rig_peer p = {0};
        if (i % 2)
            assert_true(http_rig_tls(&p, "client", NULL, 0));
        else
            p = http_rig_plain();
        http_rig_say(&p, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        assert_true(http_rig_hear_some(&p, b, sizeof b) > 0);
        http_rig_close(&p);
    }
    int64_t begin = clock_mono_ms();
    while (http_rig.ended < 10 && clock_mono_ms() - begin < HTTP_RIG_PATIENCE_MS)
        (void)poll(NULL, 0, 10);
    assert_int_equal(http_rig.ended, 10);
    http_rig_wait_connections(0);
}

/* Clients that do anything at any time; what matters is that the server lives, and that all of
 * them are gone in the end.  The seed is printed; VRS_SEED repeats a run. */
static void test_monkeys(void **state) {
    enum { CLIENTS = 16, STEPS = 4000 };
    static const char *const words[] = {
        "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        "HEAD /hello HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
        "POST /later HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
        "GET /later HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /stream?n=300000 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /stream HTTP/1.0\r\nHost: x\r\n\r\n",
        "GET /quick HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n",
        "0123456789",
        "\r\n",
        "rubbish\r\n\r\n",
    };
    struct http_rig_peer p[CLIENTS];
    static char sink[64 * 1024];
    const char *given = getenv("VRS_SEED");
    unsigned short seed[3] = {
        1, 2, given != NULL ? (unsigned short)atoi(given) : (unsigned short)getpid()};
    (void)state;
    print_message("seed %d\n", seed[2]);
    http_rig_wait_connections(0);
    for (int i = 0; i < CLIENTS; i++)
        p[i].fd = -1;
    for (int step = 0; step < STEPS; step++) {
        struct http_rig_peer *c = &p[nrand48(seed) % CLIENTS];
        if (c->fd < 0) {
            *c = (struct http_rig_peer){.fd = -1};
            if (nrand48(seed) % 4 == 0)
                (void)http_rig_tls(c, "client", NULL, 0);
            else
                *c = http_rig_plain();
            struct timeval shortly = {.tv_usec = 1000};
            (void)setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &shortly, sizeof shortly);
            (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &shortly, sizeof shortly);
        }
        const char *w = words[(size_t)nrand48(seed) % (sizeof words / sizeof words[0])];
        switch (nrand48(seed) % 8) {
        case 0:
            if (nrand48(seed) % 2 == 0) {
                struct linger now = {.l_onoff = 1};
                (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
            }
            http_rig_close(c);
            break;
        case 1:
            (void)http_rig_hear_some(c, sink, (size_t)nrand48(seed) % sizeof sink + 1);
            break;
        case 2:
            http_rig_say_n(c, w, (size_t)nrand48(seed) % strlen(w) + 1);
            break;
        case 3:
            (void)shutdown(c->fd, SHUT_WR);
            break;
        default:
            http_rig_say(c, w);
            break;
        }
    }
    for (int i = 0; i < CLIENTS; i++) {
        if (p[i].fd >= 0)
            http_rig_close(&p[i]);
    }
    http_rig_wait_connections(0);
    assert_int_equal(http_rig.held, 0);
    char b[4096];
    assert_int_equal(http_rig_ask("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n", b, sizeof b), 200);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_header_limits),
        cmocka_unit_test(test_deadlines),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_pipelining_client_that_never_reads),
        cmocka_unit_test(test_cap),
        cmocka_unit_test(test_vanished_before_answer),
        cmocka_unit_test(test_vanished_from_stream),
        cmocka_unit_test(test_monkeys),
    };
    return cmocka_run_group_tests(tests, http_rig_setup, http_rig_teardown);
}
