/* A server in its own thread with routes of every kind, two listeners (plain, mutual TLS) with
 * short deadlines, and a client that can behave badly.  For test_http*.c. */
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

enum {
    RIG_HANDSHAKE_MS = 500,
    RIG_HEADER_MS = 500,
    RIG_BODY_MS = 700,
    RIG_IDLE_MS = 900,
    RIG_CAP = 20,
    RIG_PATIENCE_MS = 8000, /* above this something hangs */
    RIG_STREAM_BYTES = 24 * 1024 * 1024
};

struct rig {
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
};
extern struct rig rig;

struct rig_peer {
    int fd;
    SSL_CTX *ctx;
    SSL *ssl;
};

char *rig_path(const char *name);
struct http_listener_options rig_options(const char *name, const struct tls_server *tls);
int rig_setup(void **state);
int rig_teardown(void **state);
struct rig_peer rig_plain(void);
int rig_tls_socket(void);
bool rig_tls(struct rig_peer *p, const char *cert, SSL_SESSION *session, int max_version);
void rig_close(struct rig_peer *p);
void rig_say_n(struct rig_peer *p, const char *s, size_t n);
void rig_say(struct rig_peer *p, const char *s);
ssize_t rig_hear_some(struct rig_peer *p, char *to, size_t cap);
int rig_hear(struct rig_peer *p, char *to, size_t cap);
bool rig_ends(struct rig_peer *p, int64_t *took_ms);
int rig_ask(const char *request, char *to, size_t cap);
size_t rig_hear_chunks(struct rig_peer *p);
void rig_wait_connections(size_t n);

#endif
