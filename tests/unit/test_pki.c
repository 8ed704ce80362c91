/* Certificates as they are made, and as the TLS layer reads them. */
#include <openssl/pkcs12.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
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

static int setup(void **state) {
    struct vrs_fault fault;
    struct pki_subject server = {.name = "server"};
    (void)state;
    (void)snprintf(folder, sizeof folder, "/tmp/test_pki.XXXXXX");
    if (mkdtemp(folder) == NULL)
        return -1;
    if (pki_make_ca(at("ca.crt"), at("ca.key"), "開発用認証局", 30, &fault) != VRS_OK)
        return -1;
    return pki_make_cert(at("ca.crt"), at("ca.key"), &server, "127.0.0.1, ::1,vrs.example", 10,
                         at("server.crt"), at("server.key"), &fault) == VRS_OK
               ? 0
               : -1;
}

static int teardown(void **state) {
    char command[96];
    (void)state;
    (void)snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

static X509 *load(const char *file) {
    FILE *f = fopen(file, "re");
    assert_non_null(f);
    X509 *cert = PEM_read_X509(f, NULL, NULL, NULL);
    (void)fclose(f);
    assert_non_null(cert);
    return cert;
}

static int verify(X509 *cert, int purpose) {
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *ctx = X509_STORE_CTX_new();
    assert_int_equal(X509_STORE_load_file(store, at("ca.crt")), 1);
    assert_int_equal(X509_STORE_CTX_init(ctx, store, cert, NULL), 1);
    assert_int_equal(X509_STORE_CTX_set_purpose(ctx, purpose), 1);
    X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(ctx), X509_V_FLAG_X509_STRICT);
    (void)X509_verify_cert(ctx);
    int why = X509_STORE_CTX_get_error(ctx);
    X509_STORE_CTX_free(ctx);
    X509_STORE_free(store);
    return why;
}

static void test_files(void **state) {
    struct stat st;
    struct vrs_fault fault;
    struct pki_subject s = {.name = "x"};
    (void)state;
    assert_int_equal(stat(at("ca.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(at("server.key"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    /* Nothing is written over. */
    assert_int_equal(pki_make_ca(at("ca.crt"), at("new.key"), "x", 1, &fault), ERR_IO);
    assert_int_not_equal(access(at("new.key"), F_OK), 0);
    assert_int_equal(pki_make_cert(at("ca.crt"), at("ca.key"), &s, NULL, 1, at("new.crt"),
                                   at("server.key"), &fault),
                     ERR_IO);
    assert_int_equal(pki_make_cert(at("none.crt"), at("ca.key"), &s, NULL, 1, at("new.crt"),
                                   at("new.key"), &fault),
                     ERR_IO);
    assert_int_equal(pki_make_cert(at("ca.crt"), at("ca.key"), &s, " ,", 1, at("new.crt"),
                                   at("new.key"), &fault),
                     ERR_BAD_FIELD);
}

static void test_chain_and_names(void **state) {
    (void)state;
    X509 *cert = load(at("server.crt"));
    assert_int_equal(verify(cert, X509_PURPOSE_SSL_SERVER), X509_V_OK);
    assert_int_equal(verify(cert, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_INVALID_PURPOSE);
    assert_int_equal(X509_check_ip_asc(cert, "127.0.0.1", 0), 1);
    assert_int_equal(X509_check_ip_asc(cert, "::1", 0), 1);
    assert_int_equal(X509_check_host(cert, "vrs.example", 0, 0, NULL), 1);
    assert_int_equal(X509_check_host(cert, "server", 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT, NULL),
                     0);
    X509_free(cert);
}

static void test_client_certificate(void **state) {
    struct vrs_fault fault;
    struct pki_subject s = {.name = "T-1", .municipality = "132195", .kind = "tablet"};
    char serial[48], again[48];
    int64_t end_ms = 0;
    (void)state;
    assert_int_equal(
        pki_make_cert(at("ca.crt"), at("ca.key"), &s, NULL, 10, at("t.crt"), at("t.key"), &fault),
        VRS_OK);
    X509 *cert = load(at("t.crt"));
    assert_int_equal(verify(cert, X509_PURPOSE_SSL_CLIENT), X509_V_OK);
    assert_int_equal(verify(cert, X509_PURPOSE_SSL_SERVER), X509_V_ERR_INVALID_PURPOSE);
    X509_free(cert);
    assert_int_equal(pki_cert_info(at("t.crt"), serial, &end_ms, &fault), VRS_OK);
    assert_int_equal(strlen(serial), 32);
    int64_t want = clock_now_ms() + INT64_C(10) * 86400000;
    assert_in_range(end_ms, want - 60000, want + 60000);
    assert_int_equal(pki_cert_info(at("server.crt"), again, &end_ms, &fault), VRS_OK);
    assert_string_not_equal(serial, again);
    assert_int_equal(pki_cert_info(at("t.key"), again, &end_ms, &fault), ERR_CRYPTO);

    s.name = "T-2"; /* expired */
    assert_int_equal(pki_make_cert(at("ca.crt"), at("ca.key"), &s, NULL, -3, at("old.crt"),
                                   at("old.key"), &fault),
                     VRS_OK);
    cert = load(at("old.crt"));
    assert_int_equal(verify(cert, X509_PURPOSE_SSL_CLIENT), X509_V_ERR_CERT_HAS_EXPIRED);
    X509_free(cert);
}

static void test_p12(void **state) {
    struct vrs_fault fault;
    X509 *cert = NULL;
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *others = NULL;
    (void)state;
    assert_int_equal(pki_write_p12(at("server.crt"), at("server.key"), at("ca.crt"), "ひみつ-1",
                                   at("t.p12"), &fault),
                     VRS_OK);
    FILE *f = fopen(at("t.p12"), "re");
    assert_non_null(f);
    PKCS12 *p12 = d2i_PKCS12_fp(f, NULL);
    (void)fclose(f);
    assert_non_null(p12);
    assert_int_equal(PKCS12_parse(p12, "wrong", &key, &cert, &others), 0);
    assert_int_equal(PKCS12_parse(p12, "ひみつ-1", &key, &cert, &others), 1);
    assert_int_equal(X509_check_private_key(cert, key), 1);
    assert_int_equal(sk_X509_num(others), 1);
    sk_X509_pop_free(others, X509_free);
    X509_free(cert);
    EVP_PKEY_free(key);
    PKCS12_free(p12);
    assert_int_equal(
        pki_write_p12(at("server.crt"), at("server.key"), at("ca.crt"), "x", at("t.p12"), &fault),
        ERR_IO);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_chain_and_names),
        cmocka_unit_test(test_client_certificate),
        cmocka_unit_test(test_p12),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
