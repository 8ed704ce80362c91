/* TLS contexts by OpenSSL 3.0: 1.3 preferred, 1.2 with AEAD suites for old terminals, tickets and
 * session resumption off, own authorities only. */
#ifndef VRS_LIB_TLS_H
#define VRS_LIB_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum tls_client_cert {
    TLS_CLIENT_NONE,     /* never asked for */
    TLS_CLIENT_REQUIRED, /* from `client_ca`, else the handshake fails; an expired one passes and is
                            marked, so that it can get a 403 that a browser can show */
};

struct tls_server_options {
    const char *cert_file;
    const char *key_file;
    enum tls_client_cert client;
    const char *client_ca_file;
    bool tls12; /* also TLS 1.2, ECDHE + AEAD only */
};

struct tls_server; /* shared by the listeners of one thread */

/* Who is at the other end, read from the certificate after the handshake. */
struct tls_peer {
    char name[64];           /* subject CN: the terminal's id */
    char municipality[8];    /* subject O when it is a 6-digit code, else "" */
    char kind[16];           /* subject OU: "tablet", "reader", "lgwan", "system", "line" */
    uint8_t fingerprint[32]; /* SHA-256 of the DER */
    char serial[48];         /* hex */
    bool expired;            /* or not yet valid */
    int64_t not_after_ms;
};

VRS_CHECK enum vrs_err tls_server_open(const struct tls_server_options *o, struct tls_server **out,
                                       struct vrs_fault *fault);
void tls_server_close(struct tls_server **t);
/* SSL_CTX *, for the HTTP layer and the line listener only. */
void *tls_server_native(const struct tls_server *t);
/* From an SSL * after the handshake: false without a peer certificate. */
bool tls_peer_read(void *ssl, struct tls_peer *out);
/* Whether the server's certificate is for this host ("name", "name:port", "[::1]:443"). */
bool tls_server_is_named(const struct tls_server *t, const char *authority);
/* Days until the server's certificate ends (negative: ended). */
int64_t tls_server_days_left(const struct tls_server *t);

#endif
