#include "lib/pki.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Certificates begin an hour early: clocks of terminals differ. */
enum { BACKDATE_S = 3600, DAY_S = 86400 };

static enum vrs_err fail(struct vrs_fault *fault, const char *what, const char *file) {
    char reason[96];
    unsigned long code = ERR_get_error();
    ERR_error_string_n(code, reason, sizeof reason);
    ERR_clear_error();
    return err_fail(fault, ERR_CRYPTO, "%s %s: %s", what, file, code != 0 ? reason : "failed");
}

/* A stream on a new file that nobody could read before us; NULL with errno set. */
static FILE *create(const char *file, mode_t mode) {
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return NULL;
    FILE *f = fdopen(fd, "w");
    if (f == NULL)
        (void)close(fd);
    return f;
}

/* Closes and says whether everything reached the file. */
static bool finish(FILE *f, bool written) {
    bool ok = written && fflush(f) == 0 && fsync(fileno(f)) == 0;
    return fclose(f) == 0 && ok;
}

static enum vrs_err write_pair(X509 *cert, EVP_PKEY *key, const char *cert_file,
                               const char *key_file, struct vrs_fault *fault) {
    FILE *f = create(key_file, 0600);
    if (f == NULL)
        return err_fail(fault, ERR_IO, "create %s", key_file);
    if (!finish(f, PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL) == 1)) {
        (void)unlink(key_file);
        return fail(fault, "write", key_file);
    }
    f = create(cert_file, 0644);
    if (f == NULL) {
        enum vrs_err e = err_fail(fault, ERR_IO, "create %s", cert_file);
        (void)unlink(key_file);
        return e;
    }
    if (!finish(f, PEM_write_X509(f, cert) == 1)) {
        (void)unlink(cert_file);
        (void)unlink(key_file);
        return fail(fault, "write", cert_file);
    }
    return VRS_OK;
}

static enum vrs_err read_cert(const char *file, X509 **out, struct vrs_fault *fault) {
    FILE *f = fopen(file, "re");
    *out = NULL;
    if (f == NULL)
        return err_fail(fault, ERR_IO, "open %s", file);
    *out = PEM_read_X509(f, NULL, NULL, NULL);
    (void)fclose(f);
    return *out != NULL ? VRS_OK : fail(fault, "read", file);
}

static enum vrs_err read_key(const char *file, EVP_PKEY **out, struct vrs_fault *fault) {
    FILE *f = fopen(file, "re");
    *out = NULL;
    if (f == NULL)
        return err_fail(fault, ERR_IO, "open %s", file);
    *out = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    (void)fclose(f);
    return *out != NULL ? VRS_OK : fail(fault, "read", file);
}

static bool add_text(X509_NAME *name, const char *field, const char *text) {
    return text == NULL || X509_NAME_add_entry_by_txt(name, field, MBSTRING_UTF8,
                                                      (const unsigned char *)text, -1, -1, 0) == 1;
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value) {
    X509V3_CTX ctx;
    X509V3_set_ctx_nodb(&ctx);
    X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    bool ok = ext != NULL && X509_add_ext(cert, ext, -1) == 1;
    X509_EXTENSION_free(ext);
    return ok;
}

/* "127.0.0.1,localhost" → "IP:127.0.0.1,DNS:localhost"; false when it does not fit. */
static bool alternative_names(const char *addresses, char *out, size_t cap) {
    char copy[512];
    size_t len = 0;

    if (strlen(addresses) >= sizeof copy)
        return false;
    memcpy(copy, addresses, strlen(addresses) + 1);
    out[0] = '\0';
    char *rest = NULL;
    for (char *one = strtok_r(copy, ", ", &rest); one != NULL; one = strtok_r(NULL, ", ", &rest)) {
        unsigned char ip[16];
        bool numeric = inet_pton(AF_INET, one, ip) == 1 || inet_pton(AF_INET6, one, ip) == 1;
        int n = snprintf(out + len, cap - len, "%s%s:%s", len == 0 ? "" : ",",
                         numeric ? "IP" : "DNS", one);
        if (n < 0 || (size_t)n >= cap - len)
            return false;
        len += (size_t)n;
    }
    return len > 0;
}

/* Serial, dates, subject and public key: what every certificate has.  New, NULL on failure. */
static X509 *new_cert(const struct pki_subject *subject, EVP_PKEY *key, int days) {
    unsigned char random[16];
    time_t now = time(NULL);
    X509 *cert = X509_new();
    BIGNUM *serial = NULL;
    bool ok = false;

    if (cert == NULL || RAND_bytes(random, sizeof random) != 1)
        goto out;
    random[0] = (unsigned char)((random[0] & 0x7f) | 0x40); /* positive, of one length */
    serial = BN_bin2bn(random, sizeof random, NULL);
    time_t begin = subject->begins_ms != 0 ? (time_t)(subject->begins_ms / 1000) : now - BACKDATE_S;
    time_t end = now + (time_t)days * DAY_S;
    if (end <= begin)
        begin = end - DAY_S;
    X509_NAME *name = X509_get_subject_name(cert);
    ok = serial != NULL && X509_set_version(cert, X509_VERSION_3) == 1 &&
         BN_to_ASN1_INTEGER(serial, X509_get_serialNumber(cert)) != NULL &&
         ASN1_TIME_set(X509_getm_notBefore(cert), begin) != NULL &&
         ASN1_TIME_set(X509_getm_notAfter(cert), end) != NULL &&
         add_text(name, "O", subject->municipality) && add_text(name, "OU", subject->kind) &&
         add_text(name, "CN", subject->name) && X509_set_pubkey(cert, key) == 1;
out:
    BN_free(serial);
    if (!ok) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

enum vrs_err pki_make_ca(const char *cert_file, const char *key_file, const char *name, int days,
                         struct vrs_fault *fault) {
    enum vrs_err e = VRS_OK;
    struct pki_subject subject = {.name = name};
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = key != NULL ? new_cert(&subject, key, days) : NULL;

    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(cert)) != 1 ||
        !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
        !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
        !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
        X509_sign(cert, key, EVP_sha256()) <= 0) {
        e = fail(fault, "make", cert_file);
        goto out;
    }
    e = write_pair(cert, key, cert_file, key_file, fault);
out:
    X509_free(cert);
    EVP_PKEY_free(key);
    return e;
}

/* The certificate of `key`, signed by the authority; `names`: subjectAltName of a server, NULL for a
 * client.  New, NULL on failure. */
static X509 *sign_cert(X509 *ca, EVP_PKEY *ca_key, const struct pki_subject *subject, EVP_PKEY *key,
                       const char *names, int days) {
    X509 *cert = new_cert(subject, key, days);
    if (cert == NULL || X509_set_issuer_name(cert, X509_get_subject_name(ca)) != 1 ||
        !add_extension(cert, ca, NID_basic_constraints, "critical,CA:FALSE") ||
        !add_extension(cert, ca, NID_key_usage, "critical,digitalSignature") ||
        !add_extension(cert, ca, NID_ext_key_usage, names != NULL ? "serverAuth" : "clientAuth") ||
        !add_extension(cert, ca, NID_subject_key_identifier, "hash") ||
        !add_extension(cert, ca, NID_authority_key_identifier, "keyid:always") ||
        (names != NULL && !add_extension(cert, ca, NID_subject_alt_name, names)) ||
        X509_sign(cert, ca_key, EVP_sha256()) <= 0) {
        X509_free(cert);
        return NULL;
    }
    return cert;
}

enum vrs_err pki_make_cert(const char *ca_cert_file, const char *ca_key_file,
                           const struct pki_subject *subject, const char *addresses, int days,
                           const char *cert_file, const char *key_file, struct vrs_fault *fault) {
    char names[640];
    X509 *ca = NULL, *cert = NULL;
    EVP_PKEY *ca_key = NULL, *key = NULL;
    enum vrs_err e = read_cert(ca_cert_file, &ca, fault);

    if (e == VRS_OK)
        e = read_key(ca_key_file, &ca_key, fault);
    if (e != VRS_OK)
        goto out;
    if (addresses != NULL && !alternative_names(addresses, names, sizeof names)) {
        e = err_fail(fault, ERR_BAD_FIELD, "addresses of %s", cert_file);
        goto out;
    }
    key = EVP_EC_gen("P-256");
    cert = key != NULL ? sign_cert(ca, ca_key, subject, key, addresses != NULL ? names : NULL, days)
                       : NULL;
    if (cert == NULL) {
        e = fail(fault, "make", cert_file);
        goto out;
    }
    e = write_pair(cert, key, cert_file, key_file, fault);
out:
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
    return e;
}

enum vrs_err pki_write_p12(const char *cert_file, const char *key_file, const char *ca_file,
                           const char *password, const char *p12_file, struct vrs_fault *fault) {
    enum { ITERATIONS = 100000 };
    X509 *cert = NULL, *ca = NULL;
    EVP_PKEY *key = NULL;
    STACK_OF(X509) *chain = sk_X509_new_null();
    PKCS12 *p12 = NULL;
    enum vrs_err e = read_cert(cert_file, &cert, fault);

    if (e == VRS_OK)
        e = read_key(key_file, &key, fault);
    if (e == VRS_OK)
        e = read_cert(ca_file, &ca, fault);
    if (e != VRS_OK)
        goto out;
    if (chain == NULL || sk_X509_push(chain, ca) <= 0) {
        e = err_fail(fault, ERR_MEMORY, "chain");
        goto out;
    }
    p12 = PKCS12_create(password, "VRS terminal", key, cert, chain, NID_aes_256_cbc,
                        NID_aes_256_cbc, ITERATIONS, ITERATIONS, 0);
    if (p12 == NULL) {
        e = fail(fault, "make", p12_file);
        goto out;
    }
    FILE *f = create(p12_file, 0600);
    if (f == NULL) {
        e = err_fail(fault, ERR_IO, "create %s", p12_file);
        goto out;
    }
    if (!finish(f, i2d_PKCS12_fp(f, p12) == 1)) {
        (void)unlink(p12_file);
        e = fail(fault, "write", p12_file);
    }
out:
    PKCS12_free(p12);
    sk_X509_free(chain);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    return e;
}

static bool cert_info(X509 *cert, char serial[48], int64_t *not_after_ms) {
    struct tm tm;
    const ASN1_INTEGER *number = X509_get0_serialNumber(cert);
    int n = ASN1_STRING_length(number);
    const unsigned char *p = ASN1_STRING_get0_data(number);
    if (n <= 0 || n > 23 || ASN1_TIME_to_tm(X509_get0_notAfter(cert), &tm) != 1)
        return false;
    for (int i = 0; i < n; i++)
        (void)snprintf(serial + 2 * (size_t)i, 3, "%02x", p[i]);
    *not_after_ms = (int64_t)timegm(&tm) * 1000;
    return true;
}

enum vrs_err pki_cert_info(const char *cert_file, char serial[48], int64_t *not_after_ms,
                           struct vrs_fault *fault) {
    X509 *cert = NULL;
    enum vrs_err e = read_cert(cert_file, &cert, fault);
    if (e == VRS_OK && !cert_info(cert, serial, not_after_ms))
        e = err_fail(fault, ERR_CORRUPT, "serial or end of %s", cert_file);
    X509_free(cert);
    return e;
}

enum vrs_err pki_sign_request(const char *ca_cert_file, const char *ca_key_file,
                              const char *request_pem, size_t request_len,
                              const struct pki_subject *subject, int days, struct buffer *out,
                              char serial[48], int64_t *not_after_ms, struct vrs_fault *fault) {
    X509 *ca = NULL, *cert = NULL;
    EVP_PKEY *ca_key = NULL;
    BIO *in = NULL, *pem = BIO_new(BIO_s_mem());
    X509_REQ *request = NULL;
    char *text, hash[65];
    enum vrs_err e = read_cert(ca_cert_file, &ca, fault);
    if (e == VRS_OK)
        e = read_key(ca_key_file, &ca_key, fault);
    if (e != VRS_OK)
        goto out;
    e = pki_request_key(request_pem, request_len, hash);
    if (e != VRS_OK) {
        e = err_fail(fault, e, "the request does not verify, or its key is too weak");
        goto out;
    }
    in = BIO_new_mem_buf(request_pem, (int)request_len);
    request = in != NULL ? PEM_read_bio_X509_REQ(in, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    cert = key != NULL ? sign_cert(ca, ca_key, subject, key, NULL, days) : NULL;
    if (cert == NULL || pem == NULL || PEM_write_bio_X509(pem, cert) != 1 ||
        !cert_info(cert, serial, not_after_ms)) {
        e = fail(fault, "sign a request by", ca_cert_file);
        goto out;
    }
    long n = BIO_get_mem_data(pem, &text);
    e = n > 0 && buffer_put(out, text, (size_t)n) ? VRS_OK : ERR_TOO_LARGE;
out:
    X509_REQ_free(request);
    BIO_free(in);
    BIO_free(pem);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(ca_key);
    return e;
}
