/* What stands in the messages of vrs-signer (signer.h says what they mean), and its end of them: a
 * request is read strictly, its answer is written beside it. */
#ifndef VRS_SERVER_SIGNER_MESSAGE_H
#define VRS_SERVER_SIGNER_MESSAGE_H

#include "vrs-server/signer/signer.h"

enum signer_verb {
    SIGNER_HEAD = 1,
    SIGNER_STATEMENT,
    SIGNER_CERT,
    SIGNER_KEYS,
    SIGNER_STATUS,
    SIGNER_LAST,
    SIGNER_ANSWER = 100
};

/* Field tags of both directions. */
enum signer_tag {
    SIGNER_T_VERB = 1,
    SIGNER_T_ERR,
    SIGNER_T_EPOCH, /* of a HEAD, with municipality, size and root */
    SIGNER_T_SIZE,
    SIGNER_T_ROOT,
    SIGNER_T_HEAD, /* proof_head_encode: the answer */
    SIGNER_T_KIND,
    SIGNER_T_TEXT, /* of a statement, of STATUS; a request or certificate in PEM */
    SIGNER_T_NAME,
    SIGNER_T_MUNICIPALITY,
    SIGNER_T_DAYS,
    SIGNER_T_BEGINS_MS,
    SIGNER_T_KEY_ID,
    SIGNER_T_SIGNATURE,
    SIGNER_T_KEY, /* 8 characters of key id, then the public key; repeated */
    SIGNER_T_SERIAL,
    SIGNER_T_NOT_AFTER_MS
};

enum {
    SIGNER_MAX_MESSAGE = 1 << 17, /* a statement is a text of some pages, or names a digest */
    SIGNER_MAX_TEXT = SIGNER_MAX_MESSAGE - 1024,
    SIGNER_MAX_NAME = 64,
    SIGNER_MAX_KIND = 15,
    SIGNER_MAX_REQUEST = 8192, /* PKCS#10 in PEM */
    SIGNER_MAX_DAYS = 1826
};

struct signer_request {
    enum signer_verb verb;
    struct log_signed_head head;
    char kind[SIGNER_MAX_KIND + 1], name[SIGNER_MAX_NAME + 1], municipality[7];
    uint64_t days;
    int64_t begins_ms;
    struct buffer text;
    /* the answer */
    enum vrs_err err;
    struct buffer fields; /* behind verb and error; sent only with VRS_OK */
};

/* Copies out of the message.  ERR_PROTOCOL: unknown verb or field, a field twice, one too few, too
 * many or of a wrong form.  Afterwards signer_request_fini in either case. */
VRS_CHECK enum vrs_err signer_request_read(struct signer_request *r, const uint8_t *p, size_t n);
void signer_request_fini(struct signer_request *r);
/* Appends the answer with its head. */
void signer_answer_write(const struct signer_request *r, struct buffer *out);

#endif
