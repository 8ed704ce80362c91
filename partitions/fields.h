/* Records as wire messages, described by one table a struct: tag ↔ member.  A tag is never reused;
 * a member that is new in a later version simply has no field in older records. */
#ifndef PARTITIONS_FIELDS_H
#define PARTITIONS_FIELDS_H

#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

enum field_type {
    FIELD_TEXT,  /* char[size], NUL-terminated; empty is not written */
    FIELD_I64,   /* int64_t or uint64_t */
    FIELD_I32,   /* int, int32_t, an enum, struct civil_date */
    FIELD_BOOL,  /* bool */
    FIELD_BYTES, /* exactly size bytes */
};

struct field {
    uint8_t tag; /* 0 ends the table */
    enum field_type type;
    size_t offset;
    size_t size;
};

#define FIELD(tag, type, of, member)                                                               \
    { tag, type, offsetof(of, member), sizeof(((of *)0)->member) }

void fields_encode(const struct field *fields, const void *from, struct buffer *out);
/* Members without a field in the message stay as they are. ERR_CORRUPT for a wrong length. */
VRS_CHECK enum vrs_err fields_decode(const struct field *fields, const struct buffer *text,
                                     void *to);

#endif
