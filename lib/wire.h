/* The one binary encoding: AAD, record plaintexts, messages between processes, bodies on the line.
 *
 * A sequence of fields: tag (u8, 1..255), length (u32 big-endian), bytes.  Integers are 8 bytes
 * big-endian.  A message may nest: the bytes of a field are again a sequence of fields.  Readers of
 * stored records skip tags they do not know (that is how records evolve); a repeated tag is a list.
 */
#ifndef VRS_LIB_WIRE_H
#define VRS_LIB_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/buffer.h"
#include "lib/err.h"

/* Writers append to a buffer whose sticky `failed` says at the end whether all fitted. */
void wire_put(struct buffer *b, uint8_t tag, const void *p, size_t n);
void wire_put_str(struct buffer *b, uint8_t tag, const char *s); /* NULL writes nothing */
void wire_put_u64(struct buffer *b, uint8_t tag, uint64_t v);
/* Nesting: size_t mark = wire_begin(b, tag); …puts…; wire_end(b, mark); */
size_t wire_begin(struct buffer *b, uint8_t tag);
void wire_end(struct buffer *b, size_t mark);

struct wire_field {
    uint8_t tag;
    const uint8_t *data; /* borrowed from the input */
    size_t len;
};

struct wire_reader {
    const uint8_t *p;
    const uint8_t *end;
};

void wire_open(struct wire_reader *r, const void *data, size_t len);
void wire_nested(struct wire_reader *r, const struct wire_field *f);
/* VRS_OK with *more=true and *f filled; VRS_OK with *more=false at the end; ERR_CORRUPT when the
 * bytes are not a sequence of fields. */
VRS_CHECK enum vrs_err wire_next(struct wire_reader *r, struct wire_field *f, bool *more);

/* Typed readings of one field: false when the length is wrong (or, for str, a NUL is inside or it
 * does not fit with its terminator). */
VRS_CHECK bool wire_u64(const struct wire_field *f, uint64_t *out);
VRS_CHECK bool wire_fixed(const struct wire_field *f, void *out, size_t n);
VRS_CHECK bool wire_str(const struct wire_field *f, char *out, size_t cap);

/* A message between processes is read strictly: every tag (below 32) once, none unknown. */
#define WIRE_BIT(tag) (UINT32_C(1) << (tag))
struct wire_shape {
    uint32_t needed, optional; /* WIRE_BITs */
};
/* Hands each field to `take`, which answers false when it does not know or like it; *seen: the tags
 * that were there.  ERR_PROTOCOL: no sequence of fields, a tag twice, one that was not taken. */
VRS_CHECK enum vrs_err wire_each_once(const void *data, size_t len,
                                      bool (*take)(const struct wire_field *f, void *arg),
                                      void *arg, uint32_t *seen);
VRS_CHECK bool wire_fits(uint32_t seen, const struct wire_shape *shape);

#endif
