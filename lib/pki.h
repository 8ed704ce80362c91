/* Making certificates for a development stack and for terminals: P-256 keys, short chains.
 *
 * vrsctl, tests, and of the daemons vrs-signer alone (certificates of enrolled terminals). */
#ifndef VRS_LIB_PKI_H
#define VRS_LIB_PKI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

struct pki_subject {
    const char *name;         /* CN */
    const char *municipality; /* O, may be NULL */
    const char *kind;         /* OU, may be NULL */
    int64_t begins_ms; /* valid from; 0: now (a demonstration's clock may run years behind) */
};

/* Writes cert and key as PEM (key 0600) with O_EXCL: never overwrites. */
VRS_CHECK enum vrs_err pki_make_ca(const char *cert_file, const char *key_file, const char *name,
                                   int days, struct vrs_fault *fault);
/* `addresses`: comma-separated IPs and DNS names for the subjectAltName, NULL for a client
 * certificate.  days may be negative (an expired certificate for tests). */
VRS_CHECK enum vrs_err pki_make_cert(const char *ca_cert_file, const char *ca_key_file,
                                     const struct pki_subject *subject, const char *addresses,
                                     int days, const char *cert_file, const char *key_file,
                                     struct vrs_fault *fault);
/* PKCS#12 for device management: cert, key and the issuing CA under a password. */
VRS_CHECK enum vrs_err pki_write_p12(const char *cert_file, const char *key_file,
                                     const char *ca_file, const char *password,
                                     const char *p12_file, struct vrs_fault *fault);
/* Serial (hex) and end of a certificate file. */
VRS_CHECK enum vrs_err pki_cert_info(const char *cert_file, char serial[48], int64_t *not_after_ms,
                                     struct vrs_fault *fault);

/* --- certificate requests (pki_request.c) --- */

enum { PKI_REQUEST_MAX = 8192 };
/* Appends a PKCS#10 request (PEM) by the key of the file, which is made (P-256, 0600) when there is
 * none.  `name`: CN; who signs decides the subject. */
VRS_CHECK enum vrs_err pki_make_request(const char *key_file, const char *name, struct buffer *out,
                                        struct vrs_fault *fault);
/* SHA-256 of the public key (DER), hex: what a renewal is held against.  ERR_BAD_FIELD: no request,
 * its signature does not verify (so it proves the private key), or the key is weak. */
VRS_CHECK enum vrs_err pki_request_key(const char *pem, size_t len, char hash[65]);
VRS_CHECK enum vrs_err pki_cert_key(const char *pem, size_t len, char hash[65]);
VRS_CHECK enum vrs_err pki_cert_fingerprint(const char *pem, size_t len, char hash[65]);

/* Signs the key of a PKCS#10 request (PEM) as a client certificate and appends it as PEM.  Subject,
 * days and extensions are the caller's: the request gives only its key, and the proof that its
 * maker has the private half.  ERR_BAD_FIELD as pki_request_key.  (pki.c) */
VRS_CHECK enum vrs_err pki_sign_request(const char *ca_cert_file, const char *ca_key_file,
                                        const char *request_pem, size_t request_len,
                                        const struct pki_subject *subject, int days,
                                        struct buffer *out, char serial[48], int64_t *not_after_ms,
                                        struct vrs_fault *fault);

#endif
