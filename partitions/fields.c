#include "partitions/fields.h"

#include <assert.h>
#include <stdbool.h>
#include <string.h>

#include "lib/wire.h"

static void encode_one(const struct field *f, const char *at, struct buffer *out) {
    int64_t wide;
    int32_t narrow;
    bool flag;
    switch (f->type) {
    case FIELD_TEXT:
        if (at[0] != '\0')
            wire_put_str(out, f->tag, at);
        break;
    case FIELD_I64:
        memcpy(&wide, at, sizeof wide);
        wire_put_u64(out, f->tag, (uint64_t)wide);
        break;
    case FIELD_I32:
        assert(f->size == sizeof narrow);
        memcpy(&narrow, at, sizeof narrow);
        wire_put_u64(out, f->tag, (uint64_t)(int64_t)narrow);
        break;
    case FIELD_BOOL:
        memcpy(&flag, at, sizeof flag);
        if (flag)
            wire_put_u64(out, f->tag, 1);
        break;
    case FIELD_BYTES:
        wire_put(out, f->tag, at, f->size);
        break;
    }
}

void fields_encode(const struct field *fields, const void *from, struct buffer *out) {
    for (const struct field *f = fields; f->tag != 0; f++)
        encode_one(f, (const char *)from + f->offset, out);
}

static bool decode_one(const struct field *f, const struct wire_field *w, char *at) {
    uint64_t n = 0;
    if (f->type == FIELD_TEXT)
        return wire_str(w, at, f->size);
    if (f->type == FIELD_BYTES)
        return wire_fixed(w, at, f->size);
    if (!wire_u64(w, &n))
        return false;
    if (f->type == FIELD_I64) {
        memcpy(at, &n, sizeof n);
    } else if (f->type == FIELD_I32) {
        int64_t wide = (int64_t)n;
        int32_t narrow = (int32_t)wide;
        if (narrow != wide)
            return false;
        memcpy(at, &narrow, sizeof narrow);
    } else {
        bool flag = n != 0;
        memcpy(at, &flag, sizeof flag);
    }
    return true;
}

enum vrs_err fields_decode(const struct field *fields, const struct buffer *text, void *to) {
    struct wire_reader r;
    struct wire_field w;
    bool more;
    wire_open(&r, text->data, text->len);
    for (;;) {
        enum vrs_err e = wire_next(&r, &w, &more);
        if (e != VRS_OK || !more)
            return e;
        for (const struct field *f = fields; f->tag != 0; f++) {
            if (f->tag == w.tag && !decode_one(f, &w, (char *)to + f->offset))
                return ERR_CORRUPT;
        }
    }
}
