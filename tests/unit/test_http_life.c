/* How a server and its connections end: by age, with grace, with requests still unanswered. */
#include <event2/event.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/http.h"
#include "lib/log.h"

enum { PATIENCE_MS = 5000 };

static struct event_base *base;
static struct http_server *http;
static int port;
static struct http_request *held;
static int writable_calls;

static void on_hello(struct http_request *rq) {
    http_reply_json(rq, 200, "{}", 2);
}

static void on_hold(struct http_request *rq) {
    held = rq;
}

static void on_writable(struct http_request *rq, void *arg) {
    (void)arg;
    writable_calls++;
    if (!http_stream_alive(rq)) {
        held = NULL;
        http_stream_end(rq);
    }
}

static void on_stream(struct http_request *rq) {
    held = rq;
    http_stream_begin(rq, 200, "text/plain", on_writable, NULL);
    http_stream_chunk(rq, "x", 1);
}

static const struct route routes[] = {
    {.method = ROUTE_GET, .path = "/hello", .handle = on_hello},
    {.method = ROUTE_GET, .path = "/hold", .handle = on_hold},
    {.method = ROUTE_GET, .path = "/stream", .handle = on_stream},
    {0},
};

static int setup(void **state) {
    const struct http_limits *limits = *state;
    struct vrs_fault fault;
    struct http_listener *l = NULL;
    struct http_listener_options o = {.name = "x", .address = "127.0.0.1", .routes = routes};
    if (limits != NULL)
        o.limits = *limits;
    log_init("test_http_life", LOG_ERROR);
    held = NULL;
    writable_calls = 0;
    base = http_base_open();
    assert_non_null(base);
    assert_int_equal(http_server_open(base, &http), VRS_OK);
    assert_int_equal(http_listen(http, &o, &l, &fault), VRS_OK);
    port = http_listener_port(l);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    http_server_close(&http, 0);
    event_base_free(base);
    return 0;
}

static int ask(const char *path) {
    char text[128];
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    int n = snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
    return fd;
}

static void run_until_held(void) {
    int64_t begin = clock_mono_ms();
    while (held == NULL && clock_mono_ms() - begin < PATIENCE_MS)
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
    assert_non_null(held);
}

/* What comes until the server ends the connection or `quiet_ms` pass. */
static size_t hear(int fd, char *to, size_t cap, int64_t quiet_ms, bool *ended) {
    size_t len = 0;
    int64_t begin = clock_mono_ms();
    *ended = false;
    do {
        if (http != NULL)
            (void)event_base_loop(base, EVLOOP_NONBLOCK);
        ssize_t n = recv(fd, to + len, cap - 1 - len, MSG_DONTWAIT);
        if (n > 0)
            len += (size_t)n;
        *ended = n == 0;
    } while (!*ended && clock_mono_ms() - begin < quiet_ms);
    to[len] = '\0';
    return len;
}

static void test_age(void **state) {
    char b[2048];
    bool ended = false;
    (void)state;
    int fd = ask("/hello");
    (void)hear(fd, b, sizeof b, 500, &ended);
    assert_non_null(strstr(b, "200 OK"));
    assert_false(ended);
    (void)usleep(1100000); /* older than age_ms */
    const char *again = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)send(fd, again, strlen(again), MSG_NOSIGNAL);
    (void)hear(fd, b, sizeof b, PATIENCE_MS, &ended);
    assert_non_null(strstr(b, "200 OK"));
    assert_non_null(strstr(b, "Connection: close"));
    assert_true(ended);
    (void)close(fd);
}

static void test_answered_after_close(void **state) {
    char b[2048];
    bool ended = false;
    size_t len = 0;
    (void)state;
    int fd = ask("/hold");
    run_until_held();
    http_server_close(&http, 0);
    assert_null(http);
    (void)hear(fd, b, sizeof b, PATIENCE_MS, &ended);
    assert_true(ended);
    assert_string_equal(http_header(held, "host"), "x"); /* still whole */
    assert_string_equal(http_peer_address(held), "127.0.0.1");
    assert_string_equal(http_body(held, &len), "");
    assert_null(http_tls_peer(held));
    assert_false(http_stream_alive(held));
    http_problem(held, ERR_BUSY, NULL, NULL);
    (void)close(fd);
}

static void answer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    (void)arg;
    http_reply_json(held, 200, "{\"late\":1}", 10);
}

static void test_grace(void **state) {
    char b[2048];
    bool ended = false;
    struct timeval soon = {.tv_usec = 100000};
    (void)state;
    int fd = ask("/hold");
    run_until_held();
    int64_t begin = clock_mono_ms();
    assert_int_equal(event_base_once(base, -1, EV_TIMEOUT, answer, NULL, &soon), 0);
    http_server_close(&http, PATIENCE_MS);
    assert_in_range(clock_mono_ms() - begin, 80, PATIENCE_MS - 1000); /* no longer than needed */
    (void)hear(fd, b, sizeof b, PATIENCE_MS, &ended);
    assert_non_null(strstr(b, "{\"late\":1}"));
    assert_non_null(strstr(b, "Connection: close"));
    assert_true(ended);
    (void)close(fd);
}

static void test_stream_hears_of_the_end(void **state) {
    char b[2048];
    bool ended = false;
    (void)state;
    int fd = ask("/stream");
    run_until_held();
    (void)hear(fd, b, sizeof b, 300, &ended);
    assert_true(writable_calls > 0);
    http_server_close(&http, 0);
    for (int i = 0; i < 10 && held != NULL; i++)
        (void)event_base_loop(base, EVLOOP_NONBLOCK);
    assert_null(held); /* ended by its producer */
    (void)close(fd);
}

static void test_pipelined_after_close_is_not_run(void **state) {
    char b[2048];
    bool ended = false;
    (void)state;
    int fd = ask("/hold");
    run_until_held();
    struct http_request *first = held;
    held = NULL;
    const char *next = "GET /hold HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                       "GET /hold HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)send(fd, next, strlen(next), MSG_NOSIGNAL);
    http_reply_json(first, 200, "{}", 2);
    run_until_held();
    first = held;
    held = NULL;
    http_reply_json(first, 200, "{}", 2);
    (void)hear(fd, b, sizeof b, PATIENCE_MS, &ended);
    assert_true(ended);
    assert_null(held);
    (void)close(fd);
}

int main(void) {
    static struct http_limits young = {.age_ms = 1000};
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_prestate_setup_teardown(test_age, setup, teardown, &young),
        cmocka_unit_test_setup_teardown(test_answered_after_close, setup, teardown),
        cmocka_unit_test_setup_teardown(test_grace, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stream_hears_of_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pipelined_after_close_is_not_run, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
