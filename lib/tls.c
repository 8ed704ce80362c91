#include "lib/tls.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/clock.h"

/* TLS 1.2 for old terminals: forward secrecy and AEAD, nothing else. */
static const char suites_tls12[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
                                   "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-AES128-GCM-SHA256:"
                                   "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-RSA-CHACHA20-POLY1305";
static const char suites_tls13[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:P-256:P-384";

enum { CHAIN_MAX_DEPTH = 2 };

struct tls_server {
    SSL_CTX *ctx;
};

/* The first OpenSSL error as the fault's text; clears the thread's queue. */
static enum vrs_err fail(struct vrs_fault *fault, enum vrs_err e, const char *what,
                         const char *file) {
    char reason[96];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return err_fail(fault, e, "%s %s: %s", what, file, code != 0 ? reason : "failed");
}

/* An expired (or not yet valid) end certificate of the right authority passes, so that the
 * terminal can be told by a 403; everything else that OpenSSL finds wrong fails the handshake. */
static int on_verify(int ok, X509_STORE_CTX *store) {
    if (ok)
        return 1;
    int why = X509_STORE_CTX_get_error(store);
    if (X509_STORE_CTX_get_error_depth(store) == 0 &&
        (why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID)) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        return 1;
    }
    return 0;
}

static enum vrs_err require_client(SSL_CTX *ctx, const char *ca_file, struct vrs_fault *fault) {
    if (ca_file == NULL)
        return err_fail(fault, ERR_CONFIG, "client certificates need an authority file");
    if (SSL_CTX_load_verify_file(ctx, ca_file) != 1)
        return fail(fault, ERR_CONFIG, "read", ca_file);
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(ca_file);
    if (names == NULL)
        return fail(fault, ERR_CONFIG, "read", ca_file);
    SSL_CTX_set_client_CA_list(ctx, names);
    SSL_CTX_set_verify_depth(ctx, CHAIN_MAX_DEPTH);
    SSL_CTX_set_verify(
        ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT | SSL_VERIFY_CLIENT_ONCE, on_verify);
    return VRS_OK;
}

enum vrs_err tls_server_open(const struct tls_server_options *o, struct tls_server **out,
                             struct vrs_fault *fault) {
    static const unsigned char session_context[] = "vrs";
    enum vrs_err e = VRS_OK;
    struct tls_server *t = calloc(1, sizeof *t);

    *out = NULL;
    if (t == NULL)
        return err_fail(fault, ERR_MEMORY, "tls server");
    t->ctx = SSL_CTX_new(TLS_server_method());
    if (t->ctx == NULL) {
        e = fail(fault, ERR_CRYPTO, "make", "context");
        goto out;
    }
    /* No resumption in any form: every connection proves its certificate and has its own keys. */
    SSL_CTX_set_options(t->ctx, SSL_OP_NO_TICKET | SSL_OP_NO_COMPRESSION | SSL_OP_NO_RENEGOTIATION |
                                    SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_CLEANSE_PLAINTEXT |
                                    SSL_OP_NO_SESSION_RESUMPTION_ON_RENEGOTIATION);
    SSL_CTX_set_mode(t->ctx, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_OFF);
    if (SSL_CTX_set_num_tickets(t->ctx, 0) != 1 ||
        SSL_CTX_set_session_id_context(t->ctx, session_context, sizeof session_context - 1) != 1 ||
        SSL_CTX_set_min_proto_version(t->ctx, o->tls12 ? TLS1_2_VERSION : TLS1_3_VERSION) != 1 ||
        SSL_CTX_set_cipher_list(t->ctx, suites_tls12) != 1 ||
        SSL_CTX_set_ciphersuites(t->ctx, suites_tls13) != 1 ||
        SSL_CTX_set1_groups_list(t->ctx, groups) != 1) {
        e = fail(fault, ERR_CRYPTO, "set up", "context");
        goto out;
    }
    if (SSL_CTX_use_certificate_chain_file(t->ctx, o->cert_file) != 1) {
        e = fail(fault, ERR_CONFIG, "read", o->cert_file);
        goto out;
    }
    if (SSL_CTX_use_PrivateKey_file(t->ctx, o->key_file, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(t->ctx) != 1) {
        e = fail(fault, ERR_CONFIG, "read", o->key_file);
        goto out;
    }
    if (o->client == TLS_CLIENT_REQUIRED) {
        e = require_client(t->ctx, o->client_ca_file, fault);
        if (e != VRS_OK)
            goto out;
    }
    *out = t;
    t = NULL;
out:
    tls_server_close(&t);
    return e;
}

void tls_server_close(struct tls_server **t) {
    if (*t == NULL)
        return;
    SSL_CTX_free((*t)->ctx);
    free(*t);
    *t = NULL;
}

void *tls_server_native(const struct tls_server *t) {
    return t->ctx;
}

static int64_t asn1_ms(const ASN1_TIME *at) {
    struct tm tm;
    if (ASN1_TIME_to_tm(at, &tm) != 1)
        return 0; /* long ago: counts as expired */
    return (int64_t)timegm(&tm) * 1000;
}

/* One attribute of the subject as text without NUL or control characters; "" when absent, double
 * or longer than the room: a name that is cut short could be another terminal's. */
static void subject_text(const X509 *cert, int nid, char *out, size_t cap) {
    const X509_NAME *name = X509_get_subject_name(cert);

    out[0] = '\0';
    int at = X509_NAME_get_index_by_NID(name, nid, -1);
    if (at < 0 || X509_NAME_get_index_by_NID(name, nid, at) >= 0)
        return;
    const ASN1_STRING *value = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
    int n = ASN1_STRING_length(value);
    const unsigned char *p = ASN1_STRING_get0_data(value);
    if (n <= 0 || (size_t)n >= cap)
        return;
    for (int i = 0; i < n; i++) {
        if (p[i] < 0x20 || p[i] == 0x7f)
            return;
    }
    memcpy(out, p, (size_t)n);
    out[n] = '\0';
}

bool tls_peer_read(void *ssl, struct tls_peer *out) {
    unsigned int len = 0;
    X509 *cert = SSL_get0_peer_certificate(ssl);

    memset(out, 0, sizeof *out);
    if (cert == NULL || SSL_get_verify_result(ssl) != X509_V_OK)
        return false;
    subject_text(cert, NID_commonName, out->name, sizeof out->name);
    subject_text(cert, NID_organizationName, out->municipality, sizeof out->municipality);
    if (strlen(out->municipality) != 6 || strspn(out->municipality, "0123456789") != 6)
        out->municipality[0] = '\0';
    subject_text(cert, NID_organizationalUnitName, out->kind, sizeof out->kind);
    if (X509_digest(cert, EVP_sha256(), out->fingerprint, &len) != 1 ||
        len != sizeof out->fingerprint)
        return false;

    const ASN1_INTEGER *serial = X509_get0_serialNumber(cert);
    int n = ASN1_STRING_length(serial);
    const unsigned char *p = ASN1_STRING_get0_data(serial);
    if (n <= 0 || (size_t)n * 2 >= sizeof out->serial)
        return false;
    for (int i = 0; i < n; i++) {
        static const char hex[] = "0123456789abcdef";
        out->serial[2 * i] = hex[p[i] >> 4];
        out->serial[2 * i + 1] = hex[p[i] & 15];
    }
    out->not_after_ms = asn1_ms(X509_get0_notAfter(cert));
    int64_t now_ms = clock_now_ms();
    out->expired = now_ms > out->not_after_ms || now_ms < asn1_ms(X509_get0_notBefore(cert));
    return true;
}

int64_t tls_server_days_left(const struct tls_server *t) {
    const X509 *cert = SSL_CTX_get0_certificate(t->ctx);
    int64_t left_ms = asn1_ms(X509_get0_notAfter(cert)) - clock_now_ms();
    int64_t day_ms = INT64_C(86400000);
    return left_ms >= 0 ? left_ms / day_ms : -((-left_ms + day_ms - 1) / day_ms);
}

bool tls_server_is_named(const struct tls_server *t, const char *authority) {
    char host[256];
    const char *end = NULL;

    if (*authority == '[') {
        authority++;
        end = strchr(authority, ']');
    } else {
        end = authority + strcspn(authority, ":");
    }
    if (end == NULL || end == authority || (size_t)(end - authority) >= sizeof host)
        return false;
    memcpy(host, authority, (size_t)(end - authority));
    host[end - authority] = '\0';
    X509 *cert = SSL_CTX_get0_certificate(t->ctx);
    return X509_check_ip_asc(cert, host, 0) == 1 || X509_check_host(cert, host, 0, 0, NULL) == 1;
}
