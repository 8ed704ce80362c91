#include "lib/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/secret.h"

void buffer_init(struct buffer *b, size_t max) {
    *b = (struct buffer){.max = max};
}

void buffer_fini(struct buffer *b) {
    if (b->data != NULL)
        secret_wipe(b->data, b->cap);
    free(b->data);
    *b = (struct buffer){.max = b->max};
}

void buffer_clear(struct buffer *b) {
    if (b->data != NULL)
        secret_wipe(b->data, b->cap);
    b->len = 0;
    b->failed = false;
}

/* Room for n more bytes of content and `extra` that are not counted.  realloc would leave a copy in
 * freed memory, so growing is allocate, copy, wipe. */
static bool reserve(struct buffer *b, size_t n, size_t extra) {
    if (b->failed)
        return false;
    if (b->len > b->max || n > b->max - b->len || b->len + n > SIZE_MAX - extra) {
        b->failed = true;
        return false;
    }
    size_t need = b->len + n + extra;
    if (need <= b->cap)
        return true;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    uint8_t *grown = malloc(cap);
    if (grown == NULL) {
        b->failed = true;
        return false;
    }
    if (b->data != NULL) {
        memcpy(grown, b->data, b->len);
        secret_wipe(b->data, b->cap);
        free(b->data);
    }
    b->data = grown;
    b->cap = cap;
    return true;
}

uint8_t *buffer_grow(struct buffer *b, size_t n) {
    if (!reserve(b, n, 1))
        return NULL;
    uint8_t *p = b->data + b->len;
    b->len += n;
    return p;
}

bool buffer_put(struct buffer *b, const void *p, size_t n) {
    if (n == 0)
        return !b->failed;
    uint8_t *to = buffer_grow(b, n);
    if (to == NULL)
        return false;
    memcpy(to, p, n);
    return true;
}

bool buffer_puts(struct buffer *b, const char *s) {
    return buffer_put(b, s, strlen(s));
}

bool buffer_printf(struct buffer *b, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0)
        b->failed = true;
    if (b->failed || !reserve(b, (size_t)n, 1))
        return false;
    va_start(ap, fmt);
    (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    va_end(ap);
    b->len += (size_t)n;
    return true;
}

const char *buffer_cstr(struct buffer *b) {
    if (!reserve(b, 0, 1))
        return NULL;
    b->data[b->len] = 0;
    return (const char *)b->data;
}

void buffer_drop_front(struct buffer *b, size_t n) {
    if (n > b->len)
        n = b->len;
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    secret_wipe(b->data + b->len - n, n);
    b->len -= n;
}
