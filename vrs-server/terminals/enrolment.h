/* Enrolment of terminals of the Internet side: a one-time code, made by somebody with the right
 * terminal.manage, lets one device have one certificate; and renewal by a registered terminal.
 *
 *   code: 20 characters of Crockford's base32, XXXXX-XXXXX-XXXXX-XXXXX: 7 name the row, 12 are the
 *   secret (60 bits), the last checks the others.  Stored: a blind index of the 7, SHA-256 of all.
 *
 *   OPEN ──right code──► USED ──same code, same key, within 10 minutes──► the same certificate
 *     └──5 wrong secrets──► CLOSED            (a lost answer); anything else is refused
 *
 * Renewal keeps the key: the request is signed by it, so whoever relays a request gains a
 * certificate that only the terminal can use.  Another key is another enrolment. */
#ifndef VRS_SERVER_TERMINALS_ENROLMENT_H
#define VRS_SERVER_TERMINALS_ENROLMENT_H

#include "vrs-server/signer/signer.h"
#include "vrs-server/terminals/terminal.h"

enum enrolment_state { ENROLMENT_OPEN = 1, ENROLMENT_USED, ENROLMENT_CLOSED };
enum {
    ENROLMENT_CODE_SIZE = 24, /* 20 characters, three hyphens, NUL */
    ENROLMENT_MAX_MINUTES = 1440,
    ENROLMENT_TRIES = 5,
    ENROLMENT_REPEAT_MS = 600000,
    ENROLMENT_DAYS = 365,      /* of a certificate */
    ENROLMENT_GRACE_DAYS = 7,  /* that a renewed certificate still works */
    ENROLMENT_RENEW_DAYS = 60, /* before the end: renewal at any time; earlier: once a day */
    ENROLMENT_CERT_MAX = 4096
};

struct enrolment {
    struct record_id id;
    uint64_t version;
    uint32_t generation;
    enum enrolment_state state;
    char kind[16];
    char name[64];
    char site[128];
    char municipality[7];
    char rights[256];
    char binding[16];
    char made_by[64];
    int64_t made_ms, expires_ms;
    uint64_t tries;     /* wrong secrets */
    uint8_t secret[32]; /* SHA-256 of the code */
    char key_hash[65];  /* of the request that used it */
    int64_t used_ms;
    char certificate[ENROLMENT_CERT_MAX]; /* PEM: given again when the answer was lost */
};

/* kind, name, municipality … are the caller's.  ERR_CONFLICT: the name is another terminal's;
 * ERR_BAD_FIELD.  `code` is shown once and kept nowhere. */
VRS_CHECK enum vrs_err enrolment_make(struct partition *registry, struct enrolment *e,
                                      int64_t minutes, char code[ENROLMENT_CODE_SIZE]);

struct enrolment_result {
    enum vrs_err refusal; /* VRS_OK: a certificate */
    bool known;           /* the code named a row: `terminal` holds its kind, name, municipality */
    bool repeated;
    struct terminal terminal; /* registered now */
    struct terminal replaced; /* renewal: the one before; serial "" none */
    char certificate[ENROLMENT_CERT_MAX];
};
/* Both: VRS_OK with the verdict in *out (a refusal counts as a try and must be committed), or an
 * error of the store or the signer (ERR_SIGNER_AWAY: nothing happened, to be tried again). */
VRS_CHECK enum vrs_err enrolment_use(struct partition *registry, struct signer_client *signer,
                                     const char *code, const char *request_pem,
                                     struct enrolment_result *out);
VRS_CHECK enum vrs_err enrolment_renew(struct partition *registry, struct signer_client *signer,
                                       const char *serial, const char *request_pem,
                                       struct enrolment_result *out);

/* Upper case without hyphens and spaces, O I L read as 0 1 1; false: not a code. */
bool enrolment_code_plain(const char *text, char out[21]);

#endif
