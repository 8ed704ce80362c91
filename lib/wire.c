#include "lib/wire.h"

#include <string.h>

enum { HEAD_BYTES = 5 };

static void store_u32(uint8_t *p, size_t v) {
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
}

/* The head of a field of n bytes; false when the buffer failed or n needs more than 32 bits. */
static bool put_head(struct buffer *b, uint8_t tag, size_t n) {
    if (n > UINT32_MAX || tag == 0) {
        b->failed = true;
        return false;
    }
    uint8_t *head = buffer_grow(b, HEAD_BYTES);
    if (head == NULL)
        return false;
    head[0] = tag;
    store_u32(head + 1, n);
    return true;
}

void wire_put(struct buffer *b, uint8_t tag, const void *p, size_t n) {
    if (put_head(b, tag, n))
        (void)buffer_put(b, p, n);
}

void wire_put_str(struct buffer *b, uint8_t tag, const char *s) {
    if (s != NULL)
        wire_put(b, tag, s, strlen(s));
}

void wire_put_u64(struct buffer *b, uint8_t tag, uint64_t v) {
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(v >> (56 - 8 * i));
    wire_put(b, tag, bytes, sizeof bytes);
}

size_t wire_begin(struct buffer *b, uint8_t tag) {
    (void)put_head(b, tag, 0);
    return b->len;
}

void wire_end(struct buffer *b, size_t mark) {
    if (b->failed)
        return;
    if (mark < HEAD_BYTES || mark > b->len || b->len - mark > UINT32_MAX) {
        b->failed = true;
        return;
    }
    store_u32(b->data + mark - 4, b->len - mark);
}

void wire_open(struct wire_reader *r, const void *data, size_t len) {
    r->p = data;
    r->end = len == 0 ? r->p : r->p + len;
}

void wire_nested(struct wire_reader *r, const struct wire_field *f) {
    wire_open(r, f->data, f->len);
}

enum vrs_err wire_next(struct wire_reader *r, struct wire_field *f, bool *more) {
    *more = false;
    if (r->p == r->end)
        return VRS_OK;
    size_t left = (size_t)(r->end - r->p);
    if (left < HEAD_BYTES || r->p[0] == 0)
        return ERR_CORRUPT;
    size_t len =
        (size_t)r->p[1] << 24 | (size_t)r->p[2] << 16 | (size_t)r->p[3] << 8 | (size_t)r->p[4];
    if (len > left - HEAD_BYTES)
        return ERR_CORRUPT;
    *f = (struct wire_field){.tag = r->p[0], .data = r->p + HEAD_BYTES, .len = len};
    r->p += HEAD_BYTES + len;
    *more = true;
    return VRS_OK;
}

bool wire_u64(const struct wire_field *f, uint64_t *out) {
    if (f->len != 8)
        return false;
    uint64_t v = 0;
    for (int i = 0; i < 8; i++)
        v = v << 8 | f->data[i];
    *out = v;
    return true;
}

bool wire_fixed(const struct wire_field *f, void *out, size_t n) {
    if (f->len != n)
        return false;
    if (n > 0)
        memcpy(out, f->data, n);
    return true;
}

bool wire_str(const struct wire_field *f, char *out, size_t cap) {
    if (f->len >= cap || memchr(f->data, 0, f->len) != NULL)
        return false;
    memcpy(out, f->data, f->len);
    out[f->len] = '\0';
    return true;
}

enum vrs_err wire_each_once(const void *data, size_t len,
                            bool (*take)(const struct wire_field *f, void *arg), void *arg,
                            uint32_t *seen) {
    struct wire_reader reader;
    struct wire_field f;
    bool more;
    *seen = 0;
    wire_open(&reader, data, len);
    for (;;) {
        if (wire_next(&reader, &f, &more) != VRS_OK)
            return ERR_PROTOCOL;
        if (!more)
            return VRS_OK;
        if (f.tag >= 32 || (*seen & WIRE_BIT(f.tag)) != 0 || !take(&f, arg))
            return ERR_PROTOCOL;
        *seen |= WIRE_BIT(f.tag);
    }
}

bool wire_fits(uint32_t seen, const struct wire_shape *shape) {
    return (seen & shape->needed) == shape->needed &&
           (seen & ~(shape->needed | shape->optional)) == 0;
}
