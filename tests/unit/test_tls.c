/* TLS contexts, shaken hands with in memory: who gets through, and as whom. */
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "lib/clock.h"
#include "lib/pki.h"
#include "lib/tls.h"

static char folder[64];

static const char *at(const char *name) {
    static char paths[8][128];
    static int i;
    i = (i + 1) % 8;
    (void)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, name);
    return paths[i];
}

static bool make(const char *ca, const char *name, const struct pki_subject *s,
                 const char *addresses, int days) {
    char ca_crt[32], ca_key[32], crt[32], key[32];
    struct vrs_fault fault;
    (void)snprintf(ca_crt, sizeof ca_crt, "%s.crt", ca);
    (void)snprintf(ca_key, sizeof ca_key, "%s.key", ca);
    (void)snprintf(crt, sizeof crt, "%s.crt", name);
    (void)snprintf(key, sizeof key, "%s.key", name);
    if (s == NULL)
        return pki_make_ca(at(crt), at(key), name, days, &fault) == VRS_OK;
    return pki_make_cert(at(ca_crt), at(ca_key), s, addresses, days, at(crt), at(key), &fault) ==
           VRS_OK;
}

static int setup(void **state) {
    struct pki_subject server = {.name = "server"};
    struct pki_subject full = {.name = "T-1", .municipality = "132195", .kind = "tablet"};
    struct pki_subject odd = {.name = "日本の端末", .municipality = "Tokyo", .kind = "system"};
    char long_name[65];
    memset(long_name, 'n', 64);
    long_name[64] = '\0';
    struct pki_subject too_long = {.name = long_name};
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/test_tls.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    return make(NULL, "ca", NULL, NULL, 30) && make(NULL, "other", NULL, NULL, 30) &&
                   make(NULL, "old-ca", NULL, NULL, -1) &&
                   make("ca", "server", &server, "127.0.0.1,localhost", 10) &&
                   make("ca", "full", &full, NULL, 10) && make("ca", "odd", &odd, NULL, 10) &&
                   make("ca", "long", &too_long, NULL, 10) &&
                   make("ca", "expired", &full, NULL, -1) &&
                   make("other", "stranger", &full, NULL, 10) &&
                   make("other", "stranger-expired", &full, NULL, -1) &&
                   make("old-ca", "of-old-ca", &full, NULL, 10)
               ? 0
               : -1;
}

static int teardown(void **state) {
    char command[96];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static struct tls_server *server(enum tls_client_cert client, const char *ca, bool tls12) {
    struct tls_server *t = NULL;
    struct vrs_fault fault;
    struct tls_server_options o = {.cert_file = at("server.crt"),
                                   .key_file = at("server.key"),
                                   .client = client,
                                   .client_ca_file = ca != NULL ? at(ca) : NULL,
                                   .tls12 = tls12};
    assert_int_equal(tls_server_open(&o, &t, &fault), VRS_OK);
    return t;
}

/* Shakes hands; on success reads the peer as the server sees it. */
static bool shake(const struct tls_server *t, const char *cert, int version, const char *ciphers,
                  struct tls_peer *peer, bool *has_peer) {
    char file[32];
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_load_verify_file(ctx, at("ca.crt")), 1);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_security_level(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, version);
    SSL_CTX_set_max_proto_version(ctx, version);
    if (ciphers != NULL)
        assert_int_equal(SSL_CTX_set_cipher_list(ctx, ciphers), 1);
    if (cert != NULL) {
        (void)snprintf(file, sizeof file, "%s.crt", cert);
        assert_int_equal(SSL_CTX_use_certificate_chain_file(ctx, at(file)), 1);
        (void)snprintf(file, sizeof file, "%s.key", cert);
        assert_int_equal(SSL_CTX_use_PrivateKey_file(ctx, at(file), SSL_FILETYPE_PEM), 1);
    }
    SSL *client = SSL_new(ctx), *ssl = SSL_new(tls_server_native(t));
    BIO *a = NULL, *b = NULL;
    assert_int_equal(BIO_new_bio_pair(&a, 0, &b, 0), 1);
    SSL_set_bio(client, a, a);
    SSL_set_bio(ssl, b, b);
    SSL_set_connect_state(client);
    SSL_set_accept_state(ssl);
    for (int i = 0; i < 20; i++) {
        (void)SSL_do_handshake(client);
        (void)SSL_do_handshake(ssl);
    }
    bool ok = SSL_is_init_finished(client) && SSL_is_init_finished(ssl);
    if (ok)
        *has_peer = tls_peer_read(ssl, peer);
    SSL_free(client);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    ERR_clear_error();
    return ok;
}

static void test_peer(void **state) {
    struct tls_peer p;
    bool has = false;
    (void)state;
    struct tls_server *t = server(TLS_CLIENT_REQUIRED, "ca.crt", false);
    assert_true(shake(t, "full", TLS1_3_VERSION, NULL, &p, &has));
    assert_true(has);
    assert_string_equal(p.name, "T-1");
    assert_string_equal(p.municipality, "132195");
    assert_string_equal(p.kind, "tablet");
    assert_int_equal(strlen(p.serial), 32);
    assert_false(p.expired);
    assert_true(p.not_after_ms > clock_now_ms());
    char serial[48];
    int64_t end_ms = 0;
    assert_int_equal(pki_cert_info(at("full.crt"), serial, &end_ms, NULL), VRS_OK);
    assert_string_equal(serial, p.serial);
    assert_int_equal(end_ms, p.not_after_ms);

    assert_true(shake(t, "odd", TLS1_3_VERSION, NULL, &p, &has));
    assert_string_equal(p.name, "日本の端末");
    assert_string_equal(p.municipality, ""); /* not a code */
    /* A name that does not fit is nobody's, not somebody else's. */
    assert_true(shake(t, "long", TLS1_3_VERSION, NULL, &p, &has));
    assert_string_equal(p.name, "");
    tls_server_close(&t);
    assert_null(t);
}

static void test_who_gets_through(void **state) {
    struct tls_peer p;
    bool has = false;
    (void)state;
    struct tls_server *t = server(TLS_CLIENT_REQUIRED, "ca.crt", false);
    assert_true(shake(t, "expired", TLS1_3_VERSION, NULL, &p, &has));
    assert_true(has);
    assert_true(p.expired);
    assert_false(shake(t, NULL, TLS1_3_VERSION, NULL, &p, &has));
    assert_false(shake(t, "stranger", TLS1_3_VERSION, NULL, &p, &has));
    assert_false(shake(t, "stranger-expired", TLS1_3_VERSION, NULL, &p, &has));
    assert_false(shake(t, "server", TLS1_3_VERSION, NULL, &p, &has)); /* wrong purpose */
    tls_server_close(&t);
    /* An expired authority is no authority. */
    t = server(TLS_CLIENT_REQUIRED, "old-ca.crt", false);
    assert_false(shake(t, "of-old-ca", TLS1_3_VERSION, NULL, &p, &has));
    tls_server_close(&t);
    /* Never asked for: a certificate that is there is not seen. */
    t = server(TLS_CLIENT_NONE, NULL, false);
    assert_true(shake(t, "full", TLS1_3_VERSION, NULL, &p, &has));
    assert_false(has);
    tls_server_close(&t);
}

static void test_versions_and_suites(void **state) {
    struct tls_peer p;
    bool has = false;
    (void)state;
    struct tls_server *t = server(TLS_CLIENT_REQUIRED, "ca.crt", false);
    assert_false(shake(t, "full", TLS1_2_VERSION, NULL, &p, &has));
    tls_server_close(&t);
    t = server(TLS_CLIENT_REQUIRED, "ca.crt", true);
    assert_true(shake(t, "full", TLS1_2_VERSION, NULL, &p, &has));
    assert_true(shake(t, "full", TLS1_3_VERSION, NULL, &p, &has));
    assert_false(shake(t, "full", TLS1_1_VERSION, NULL, &p, &has));
    assert_true(shake(t, "full", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-GCM-SHA256", &p, &has));
    assert_false(shake(t, "full", TLS1_2_VERSION, "ECDHE-ECDSA-AES128-SHA256", &p, &has)); /* CBC */
    assert_false(shake(t, "full", TLS1_2_VERSION, "AES128-GCM-SHA256", &p, &has));
    tls_server_close(&t);
}

static void test_bad_files(void **state) {
    struct tls_server *t = NULL;
    struct vrs_fault fault;
    char cert[128], key[128], other[128];
    (void)state;
    (void)snprintf(cert, sizeof cert, "%s/server.crt", folder);
    (void)snprintf(key, sizeof key, "%s/server.key", folder);
    (void)snprintf(other, sizeof other, "%s/full.key", folder);
    struct tls_server_options o = {.cert_file = "/nonexistent", .key_file = key};
    assert_int_equal(tls_server_open(&o, &t, &fault), ERR_CONFIG);
    assert_non_null(strstr(fault.text, "/nonexistent"));
    assert_null(t);
    o = (struct tls_server_options){.cert_file = cert, .key_file = other};
    assert_int_equal(tls_server_open(&o, &t, &fault), ERR_CONFIG);
    o = (struct tls_server_options){
        .cert_file = cert, .key_file = key, .client = TLS_CLIENT_REQUIRED};
    assert_int_equal(tls_server_open(&o, &t, &fault), ERR_CONFIG);
    o.client_ca_file = key;
    assert_int_equal(tls_server_open(&o, &t, &fault), ERR_CONFIG);
    tls_server_close(&t);
}

static void test_names_and_days(void **state) {
    (void)state;
    struct tls_server *t = server(TLS_CLIENT_NONE, NULL, false);
    assert_true(tls_server_is_named(t, "localhost"));
    assert_true(tls_server_is_named(t, "LOCALHOST:8443"));
    assert_true(tls_server_is_named(t, "127.0.0.1:1"));
    assert_false(tls_server_is_named(t, "[::1]:8443"));
    assert_false(tls_server_is_named(t, "[127.0.0.1"));
    assert_false(tls_server_is_named(t, "evil.example"));
    assert_false(tls_server_is_named(t, ""));
    assert_false(tls_server_is_named(t, ":1"));
    assert_in_range(tls_server_days_left(t), 9, 10);
    tls_server_close(&t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_peer),
        cmocka_unit_test(test_who_gets_through),
        cmocka_unit_test(test_versions_and_suites),
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_names_and_days),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
