/* The words of the reader line (docs/reader-line.md): what a terminal says, what it is answered.
 * Pure: no I/O, no clock. */
#ifndef TABLET_API_READER_TEXT_H
#define TABLET_API_READER_TEXT_H

#include <jansson.h>

#include "tablet-api/inbox_db.h"
#include "tablet-api/intake.h"

enum { READER_TEXT_MAX = 4096 /* bytes of a line without its end */ };

/* VRS1 product=… lot=… date=… site=… run=<uuid> [physician=…] [read_by=…] [status=…] */
struct reader_header {
    json_t *fields; /* as POST /v1/doses names them, without the coupon; NULL: no header yet */
    char run[INTAKE_KEY_SIZE];
    uint8_t hash[CRYPTO_HASH_BYTES]; /* of the fields, whatever their order and spelling was */
};

bool reader_text_is_header(const char *line);
/* On error the fault's text is the name of the word; *out is as it was. */
VRS_CHECK enum vrs_err reader_header_read(const char *line, struct reader_header *out,
                                          struct vrs_fault *fault);
void reader_header_fini(struct reader_header *h);

struct reader_reading {
    char sequence[13];  /* decimal, without leading zeros; "" when it could not be read */
    bool confirmed;     /* "12!": a person says that the same coupon again is meant */
    const char *digits; /* the rest of the line */
};
/* False: there is no sequence number in front. */
bool reader_reading_read(const char *line, struct reader_reading *out);
/* The idempotency key of a reading: the same for the same header, run and sequence, so that a
 * terminal that lost its connection gets the same receipt.  (intake_key_hash scopes it to the
 * terminal.) */
void reader_key(const struct reader_header *h, const char *sequence, char out[INTAKE_KEY_SIZE]);
/* The body of POST /v1/doses that this reading stands for. */
VRS_CHECK enum vrs_err reader_body(const struct reader_header *h, const struct reader_reading *r,
                                   struct buffer *out);

/* Answers, with the line end. */
void reader_text_receipt(const char *sequence, const struct inbox_found *f, bool clock_warning,
                         struct buffer *out);
/* "" as sequence: about the header or the connection.  `no` may be NULL. */
void reader_text_error(const char *sequence, enum vrs_err e, const struct intake_refusal *no,
                       struct buffer *out);

#endif
