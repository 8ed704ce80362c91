/* A growing byte buffer with a stated maximum; wiped when it grows and when it ends. */
#ifndef VRS_LIB_BUFFER_H
#define VRS_LIB_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
    uint8_t *data;
    size_t len;
    size_t cap;
    size_t max;
    bool failed; /* sticky: out of memory or over max; later writes do nothing */
};

void buffer_init(struct buffer *b, size_t max);
void buffer_fini(struct buffer *b);  /* wipes and frees */
void buffer_clear(struct buffer *b); /* wipes the content, keeps the memory and the maximum */
bool buffer_put(struct buffer *b, const void *p, size_t n);
/* Appends n bytes that the caller fills; NULL when the buffer failed.  Valid until the next call.
 */
uint8_t *buffer_grow(struct buffer *b, size_t n);
bool buffer_puts(struct buffer *b, const char *s);
bool buffer_printf(struct buffer *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Terminates with a NUL that is not counted; NULL when the buffer failed. */
const char *buffer_cstr(struct buffer *b);
void buffer_drop_front(struct buffer *b, size_t n);

#endif
