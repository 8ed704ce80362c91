/* Certificate requests (PKCS#10): what a device makes, and what is looked at before one is signed. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "lib/crypto.h"
#include "lib/pki.h"

static enum vrs_err fail(struct vrs_fault *fault, enum vrs_err e, const char *what) {
    ERR_clear_error();
    return err_fail(fault, e, "%s", what);
}

/* The key of the file, or a new one written to it that nobody could read before us. */
static enum vrs_err key_of_file(const char *file, EVP_PKEY **out, struct vrs_fault *fault) {
    FILE *f = fopen(file, "re");
    *out = NULL;
    if (f != NULL) {
        *out = PEM_read_PrivateKey(f, NULL, NULL, NULL);
        (void)fclose(f);
        return *out != NULL ? VRS_OK : fail(fault, ERR_CRYPTO, "the key file cannot be read");
    }
    if (errno != ENOENT)
        return err_fail(fault, ERR_IO, "open %s", file);
    int fd = open(file, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    f = fd >= 0 ? fdopen(fd, "w") : NULL;
    if (f == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return err_fail(fault, ERR_IO, "create %s", file);
    }
    *out = EVP_EC_gen("P-256");
    bool ok = *out != NULL && PEM_write_PrivateKey(f, *out, NULL, NULL, 0, NULL, NULL) == 1 &&
              fflush(f) == 0 && fsync(fileno(f)) == 0;
    ok = fclose(f) == 0 && ok;
    if (ok)
        return VRS_OK;
    (void)unlink(file);
    EVP_PKEY_free(*out);
    *out = NULL;
    return fail(fault, ERR_CRYPTO, "the key cannot be made");
}

enum vrs_err pki_make_request(const char *key_file, const char *name, struct buffer *out,
                              struct vrs_fault *fault) {
    EVP_PKEY *key = NULL;
    X509_REQ *request = NULL;
    BIO *memory = NULL;
    const char *text = NULL;
    enum vrs_err e = key_of_file(key_file, &key, fault);
    if (e != VRS_OK)
        return e;
    request = X509_REQ_new();
    memory = BIO_new(BIO_s_mem());
    X509_NAME *subject = request != NULL ? X509_REQ_get_subject_name(request) : NULL;
    if (subject == NULL || memory == NULL || X509_REQ_set_version(request, 0) != 1 ||
        X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)name, -1,
                                   -1, 0) != 1 ||
        X509_REQ_set_pubkey(request, key) != 1 || X509_REQ_sign(request, key, EVP_sha256()) <= 0 ||
        PEM_write_bio_X509_REQ(memory, request) != 1) {
        e = fail(fault, ERR_CRYPTO, "the request cannot be made");
    } else {
        long n = BIO_get_mem_data(memory, &text);
        if (n <= 0 || !buffer_put(out, text, (size_t)n))
            e = ERR_MEMORY;
    }
    BIO_free(memory);
    X509_REQ_free(request);
    EVP_PKEY_free(key);
    return e;
}

static enum vrs_err hash_key(X509_PUBKEY *key, char hash[65]) {
    uint8_t digest[CRYPTO_HASH_BYTES];
    unsigned char *der = NULL;
    int n = key != NULL ? i2d_X509_PUBKEY(key, &der) : -1;
    if (n <= 0)
        return ERR_CRYPTO;
    crypto_sha256(der, (size_t)n, digest);
    crypto_hex(digest, sizeof digest, hash);
    OPENSSL_free(der);
    return VRS_OK;
}

/* P-256 or better; RSA of 3072 bits or more. */
static bool strong(EVP_PKEY *key) {
    return key != NULL &&
           ((EVP_PKEY_get_base_id(key) == EVP_PKEY_EC && EVP_PKEY_get_bits(key) >= 256) ||
            (EVP_PKEY_get_base_id(key) == EVP_PKEY_RSA && EVP_PKEY_get_bits(key) >= 3072 &&
             EVP_PKEY_get_bits(key) <= 8192));
}

enum vrs_err pki_request_key(const char *pem, size_t len, char hash[65]) {
    enum vrs_err e = ERR_BAD_FIELD;
    if (len == 0 || len > PKI_REQUEST_MAX)
        return e;
    BIO *memory = BIO_new_mem_buf(pem, (int)len);
    X509_REQ *request = memory != NULL ? PEM_read_bio_X509_REQ(memory, NULL, NULL, NULL) : NULL;
    EVP_PKEY *key = request != NULL ? X509_REQ_get0_pubkey(request) : NULL;
    if (strong(key) && X509_REQ_verify(request, key) == 1)
        e = hash_key(X509_REQ_get_X509_PUBKEY(request), hash);
    ERR_clear_error();
    X509_REQ_free(request);
    BIO_free(memory);
    return e;
}

enum vrs_err pki_cert_key(const char *pem, size_t len, char hash[65]) {
    BIO *memory = len <= PKI_REQUEST_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    X509 *cert = memory != NULL ? PEM_read_bio_X509(memory, NULL, NULL, NULL) : NULL;
    enum vrs_err e = cert != NULL ? hash_key(X509_get_X509_PUBKEY(cert), hash) : ERR_BAD_FIELD;
    ERR_clear_error();
    X509_free(cert);
    BIO_free(memory);
    return e;
}

enum vrs_err pki_cert_fingerprint(const char *pem, size_t len, char hash[65]) {
    uint8_t digest[CRYPTO_HASH_BYTES];
    unsigned char *der = NULL;
    BIO *memory = len <= PKI_REQUEST_MAX ? BIO_new_mem_buf(pem, (int)len) : NULL;
    X509 *cert = memory != NULL ? PEM_read_bio_X509(memory, NULL, NULL, NULL) : NULL;
    int n = cert != NULL ? i2d_X509(cert, &der) : -1;
    if (n > 0) {
        crypto_sha256(der, (size_t)n, digest);
        crypto_hex(digest, sizeof digest, hash);
    }
    OPENSSL_free(der);
    ERR_clear_error();
    X509_free(cert);
    BIO_free(memory);
    return n > 0 ? VRS_OK : ERR_BAD_FIELD;
}
