/* A server in its own thread with routes of every kind, listeners (plain, mutual TLS) with the
 * deadlines of lib/http.h and, for tests of deadlines, others with short ones; and a client that can behave badly.
 * For test_http*.c. */
#ifndef VRS_TESTS_LIB_HTTP_RIG_H
#define VRS_TESTS_LIB_HTTP_RIG_H

#include <openssl/ssl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lib/http.h"
#include "lib/tls.h"

enum { /* of the hasty listeners */
       HTTP_RIG_HANDSHAKE_MS = 500,
       HTTP_RIG_HEADER_MS = 500,
       HTTP_RIG_BODY_MS = 700,
       HTTP_RIG_IDLE_MS = 2500
};
enum {
    HTTP_RIG_CAP = 20,
    HTTP_RIG_PATIENCE_MS = 8000, /* above this something hangs */
    HTTP_RIG_STREAM_BYTES = 24 * 1024 * 1024
};

struct http_rig {
    char folder[64];
    struct event_base *base;
    struct http_server *http;
    struct tls_server *tls;
    struct http_listener *plain, *secure, *hasty_plain, *hasty_secure;
    bool hasty; /* clients go to the hasty ones */
    pthread_t thread;
    atomic_int held, asked; /* requests for later: unanswered, all */
    atomic_int answered;
    atomic_size_t produced;
    atomic_int ended;
};
extern struct http_rig http_rig;

struct http_rig_peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

char *http_rig_path(const char *name);
struct http_listener_options http_rig_options(const char *name, const struct tls_server *tls);
int http_rig_setup(void **state);
int http_rig_teardown(void **state);
struct http_rig_peer http_rig_plain(void);
int http_rig_tls_socket(void);
bool http_rig_tls(struct http_rig_peer *p, const char *cert, SSL_SESSION *session, int max_version);
void http_rig_close(struct http_rig_peer *p);
void http_rig_say_n(struct http_rig_peer *p, const char *s, size_t n);
void http_rig_say(struct http_rig_peer *p, const char *s);
ssize_t http_rig_hear_some(struct http_rig_peer *p, char *to, size_t cap);
int http_rig_hear(struct http_rig_peer *p, char *to, size_t cap);
bool http_rig_ends(struct http_rig_peer *p, int64_t *took_ms);
int http_rig_ask(const char *request, char *to, size_t cap);
size_t http_rig_hear_chunks(struct http_rig_peer *p);
void http_rig_wait_connections(size_t n);

#endif
