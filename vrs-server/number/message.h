/* vrs-number's end of the messages: a request is read strictly, its answer is written beside it.
 * What is not exactly a request ends the connection. */
#ifndef VRS_SERVER_NUMBER_MESSAGE_H
#define VRS_SERVER_NUMBER_MESSAGE_H

#include "vrs-server/number/number.h"

struct number_request {
    enum number_verb verb;
    uint64_t id;
    char municipality[7]; /* "" for STATUS */
    bool has_row;
    struct record_id row;
    struct personal_number number;
    char right[NUMBER_MAX_RIGHT + 1]; /* "" missing, as the next two */
    char purpose[NUMBER_MAX_PURPOSE + 1];
    char user[NUMBER_MAX_USER + 1];
    char name[NUMBER_MAX_NAME + 1];
    struct buffer text; /* of CARRY_IN */
    /* the answer */
    enum vrs_err err;
    struct buffer fields; /* encoded fields behind id and error; sent only with VRS_OK */
};

/* Copies out of the message (without its head).  ERR_PROTOCOL: unknown verb or field, a field
 * twice, one too few, too many or of a wrong length.  Afterwards number_request_fini in either
 * case. */
VRS_CHECK enum vrs_err number_request_read(struct number_request *r, const uint8_t *p, size_t n);
void number_request_fini(struct number_request *r); /* wipes */
/* Appends the answer with its head. */
void number_answer_write(const struct number_request *r, struct buffer *out);

#endif
