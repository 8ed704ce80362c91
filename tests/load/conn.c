#include "tests/load/conn.h"

#include <arpa/inet.h>
#include <errno.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib/buffer.h"
#include "tests/load/reply.h"

enum { REPLY_MAX = 8 << 20, REQUEST_MAX = 8 << 20, READ_BYTES = 16384 };

struct conn_target {
    SSL_CTX *tls; /* NULL: plain HTTP */
    struct sockaddr_in address;
    char authority[80];
    uint64_t handshakes;
};

enum conn_state { CONN_CLOSED, CONN_CONNECTING, CONN_HANDSHAKE, CONN_OPEN };

struct conn {
    struct conn_target *target;
    struct event_base *base;
    conn_done_fn *done;
    void *arg;
    enum conn_state state;
    bool busy; /* a request is on its way */
    int fd;
    SSL *ssl;
    struct event *readable, *writable, *timer;
    struct buffer out;
    size_t sent;
    struct reply reply;
};

static enum vrs_err read_url(const char *url, struct conn_target *t, struct vrs_fault *fault) {
    char host[64];
    const char *rest = url + (t->tls != NULL ? strlen("https://") : strlen("http://"));
    const char *colon = strrchr(rest, ':');
    unsigned long port = colon != NULL ? strtoul(colon + 1, NULL, 10) : 0;
    size_t n = colon != NULL ? (size_t)(colon - rest) : 0;
    if (n == 0 || n >= sizeof host || port == 0 || port > 65535)
        return err_fail(fault, ERR_BAD_REQUEST, "not http(s)://ADDRESS:PORT");
    memcpy(host, rest, n);
    host[n] = '\0';
    t->address.sin_family = AF_INET;
    t->address.sin_port = htons((uint16_t)port);
    if (inet_pton(AF_INET, host, &t->address.sin_addr) != 1)
        return err_fail(fault, ERR_BAD_REQUEST, "the address is not numeric");
    (void)snprintf(t->authority, sizeof t->authority, "%s:%lu", host, port);
    if (t->tls != NULL && X509_VERIFY_PARAM_set1_ip_asc(SSL_CTX_get0_param(t->tls), host) != 1)
        return err_fail(fault, ERR_MEMORY, "tls");
    return VRS_OK;
}

static enum vrs_err open_tls(struct conn_target *t, const char *ca_file, const char *cert_file,
                             const char *key_file, struct vrs_fault *fault) {
    t->tls = SSL_CTX_new(TLS_client_method());
    if (t->tls == NULL)
        return err_fail(fault, ERR_MEMORY, "tls");
    (void)SSL_CTX_set_min_proto_version(t->tls, TLS1_3_VERSION);
    SSL_CTX_set_verify(t->tls, SSL_VERIFY_PEER, NULL);
    (void)SSL_CTX_set_session_cache_mode(t->tls, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(t->tls, 1);
    (void)SSL_CTX_set_mode(t->tls, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                       SSL_MODE_RELEASE_BUFFERS);
    if (ca_file == NULL || SSL_CTX_load_verify_locations(t->tls, ca_file, NULL) != 1)
        return err_fail(fault, ERR_CONFIG, "cannot read the authority %s",
                        ca_file != NULL ? ca_file : "(--ca)");
    if (cert_file != NULL && SSL_CTX_use_certificate_chain_file(t->tls, cert_file) != 1)
        return err_fail(fault, ERR_CONFIG, "cannot read the certificate %s", cert_file);
    if (key_file != NULL && SSL_CTX_use_PrivateKey_file(t->tls, key_file, 1) != 1)
        return err_fail(fault, ERR_CONFIG, "cannot read the key %s", key_file);
    return VRS_OK;
}

enum vrs_err conn_target_open(const char *url, const char *ca_file, const char *cert_file,
                              const char *key_file, struct conn_target **out,
                              struct vrs_fault *fault) {
    struct conn_target *t = calloc(1, sizeof *t);
    enum vrs_err e = VRS_OK;
    *out = t;
    if (t == NULL)
        return err_fail(fault, ERR_MEMORY, "target");
    if (strncmp(url, "https://", 8) == 0)
        e = open_tls(t, ca_file, cert_file, key_file, fault);
    else if (strncmp(url, "http://", 7) != 0)
        e = err_fail(fault, ERR_BAD_REQUEST, "not http(s)://ADDRESS:PORT");
    if (e == VRS_OK)
        e = read_url(url, t, fault);
    if (e != VRS_OK)
        conn_target_close(out);
    return e;
}

void conn_target_close(struct conn_target **t) {
    if (*t == NULL)
        return;
    SSL_CTX_free((*t)->tls);
    free(*t);
    *t = NULL;
}

const char *conn_target_authority(const struct conn_target *t) {
    return t->authority;
}

uint64_t conn_handshakes(const struct conn_target *t) {
    return t->handshakes;
}

bool conn_is_open(const struct conn *c) {
    return c->state == CONN_OPEN;
}

/* --- one connection --- */

static void hang_up(struct conn *c) {
    if (c->readable != NULL)
        event_free(c->readable);
    if (c->writable != NULL)
        event_free(c->writable);
    SSL_free(c->ssl);
    if (c->fd >= 0)
        (void)close(c->fd);
    c->readable = NULL;
    c->writable = NULL;
    c->ssl = NULL;
    c->fd = -1;
    c->state = CONN_CLOSED;
}

static void finish(struct conn *c, bool complete) {
    const struct reply *r = &c->reply;
    struct conn_reply told = {.complete = complete, .status = r->status, .len = r->body.len};
    told.body = buffer_cstr(&c->reply.body);
    if (told.body == NULL) {
        told.body = "";
        told.len = 0;
    }
    (void)event_del(c->timer);
    c->busy = false;
    if (!complete || r->close)
        hang_up(c);
    c->done(c, &told, c->arg);
}

static void lost(struct conn *c) {
    if (c->busy)
        finish(c, false);
    else
        hang_up(c); /* closed while idle: the next request opens a new one */
}

static void want_write(struct conn *c, bool on) {
    if (on)
        (void)event_add(c->writable, NULL);
    else
        (void)event_del(c->writable);
}

/* What a call that did nothing wants next; false: the connection has ended. */
static bool wants(struct conn *c, int result, bool writing) {
    if (c->ssl == NULL) {
        bool later = result < 0 && (errno == EAGAIN || errno == EINTR);
        want_write(c, later && writing);
        return later;
    }
    int why = SSL_get_error(c->ssl, result);
    ERR_clear_error();
    want_write(c, why == SSL_ERROR_WANT_WRITE);
    return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
}

static bool write_out(struct conn *c) {
    while (c->sent < c->out.len) {
        const uint8_t *rest = c->out.data + c->sent;
        size_t len = c->out.len - c->sent;
        int n = c->ssl != NULL ? SSL_write(c->ssl, rest, (int)len) : (int)write(c->fd, rest, len);
        if (n <= 0)
            return wants(c, n, true);
        c->sent += (size_t)n;
    }
    want_write(c, false);
    return true;
}

static bool read_in(struct conn *c) {
    for (;;) {
        uint8_t piece[READ_BYTES];
        int n = c->ssl != NULL ? SSL_read(c->ssl, piece, sizeof piece)
                               : (int)read(c->fd, piece, sizeof piece);
        if (n <= 0)
            return wants(c, n, false);
        if (!c->busy)
            return false; /* nothing was asked */
        (void)buffer_put(&c->reply.in, piece, (size_t)n);
        enum reply_state s = reply_read(&c->reply);
        if (s == REPLY_BAD)
            return false;
        if (s == REPLY_DONE) {
            finish(c, true);
            return true;
        }
    }
}

static bool shake(struct conn *c) {
    int n = c->ssl != NULL ? SSL_connect(c->ssl) : 1;
    if (n != 1)
        return wants(c, n, true);
    c->state = CONN_OPEN;
    c->target->handshakes++;
    want_write(c, false);
    if (c->out.len > 0)
        return write_out(c);
    finish(c, true); /* it was only to connect */
    return true;
}

static bool connected(struct conn *c) {
    int error = 0;
    socklen_t size = sizeof error;
    if (getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size) != 0 || error != 0)
        return false;
    c->state = CONN_HANDSHAKE;
    return shake(c);
}

static void on_ready(evutil_socket_t fd, short what, void *arg) {
    struct conn *c = arg;
    (void)fd;
    bool ok = true;
    if (c->state == CONN_CONNECTING)
        ok = (what & EV_WRITE) == 0 || connected(c);
    else if (c->state == CONN_HANDSHAKE)
        ok = shake(c);
    else if ((what & EV_WRITE) != 0)
        ok = write_out(c);
    else
        ok = read_in(c);
    if (!ok)
        lost(c);
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    (void)fd;
    (void)what;
    lost(arg);
}

static bool begin(struct conn *c) {
    static const int on = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (c->fd < 0)
        return false;
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (c->target->tls != NULL)
        c->ssl = SSL_new(c->target->tls);
    c->readable = event_new(c->base, c->fd, EV_READ | EV_PERSIST, on_ready, c);
    c->writable = event_new(c->base, c->fd, EV_WRITE | EV_PERSIST, on_ready, c);
    if (c->readable == NULL || c->writable == NULL ||
        (c->target->tls != NULL && (c->ssl == NULL || SSL_set_fd(c->ssl, c->fd) != 1)))
        return false;
    c->state = CONN_CONNECTING;
    if (connect(c->fd, (const struct sockaddr *)&c->target->address, sizeof c->target->address) !=
            0 &&
        errno != EINPROGRESS)
        return false;
    return event_add(c->readable, NULL) == 0 && event_add(c->writable, NULL) == 0;
}

struct conn *conn_new(struct event_base *base, const struct conn_target *t, conn_done_fn *done,
                      void *arg) {
    struct conn *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->base = base;
    c->target = (struct conn_target *)t; /* counts its handshakes */
    c->done = done;
    c->arg = arg;
    c->fd = -1;
    buffer_init(&c->out, REQUEST_MAX);
    reply_init(&c->reply, REPLY_MAX);
    c->timer = event_new(base, -1, 0, on_timer, c);
    if (c->timer == NULL) {
        conn_free(c);
        return NULL;
    }
    return c;
}

void conn_free(struct conn *c) {
    if (c == NULL)
        return;
    hang_up(c);
    if (c->timer != NULL)
        event_free(c->timer);
    buffer_fini(&c->out);
    reply_fini(&c->reply);
    free(c);
}

void conn_send(struct conn *c, const void *request, size_t len, int64_t timeout_ms) {
    const struct timeval in = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    bool ok = true;
    buffer_clear(&c->out);
    (void)buffer_put(&c->out, request, len);
    c->sent = 0;
    reply_reset(&c->reply);
    c->busy = true;
    (void)event_add(c->timer, &in);
    if (c->state == CONN_CLOSED)
        ok = begin(c);
    else if (c->state == CONN_OPEN)
        ok = write_out(c);
    if (!ok)
        event_active(c->timer, EV_TIMEOUT, 0);
}
