#include "lib/arena.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/secret.h"

enum { BLOCK_BYTES = 4096 };

struct block {
    struct block *next;
    size_t size;
    size_t used;
    max_align_t data[];
};

struct arena {
    struct block *blocks; /* the newest first: allocations come from it */
    size_t max;
    size_t total; /* sum of what was handed out, padding included */
};

struct arena *arena_open(size_t max_bytes) {
    struct arena *a = calloc(1, sizeof *a);
    if (a != NULL)
        a->max = max_bytes;
    return a;
}

void arena_close(struct arena **a) {
    if (*a == NULL)
        return;
    for (struct block *b = (*a)->blocks, *next; b != NULL; b = next) {
        next = b->next;
        secret_wipe(b->data, b->size);
        free(b);
    }
    free(*a);
    *a = NULL;
}

void *arena_alloc(struct arena *a, size_t size) {
    const size_t align = _Alignof(max_align_t);
    if (size > a->max - a->total)
        return NULL;
    size_t need = (size + align - 1) / align * align;
    if (need == 0)
        need = align;
    if (need < size || need > a->max - a->total)
        return NULL;
    struct block *b = a->blocks;
    if (b == NULL || need > b->size - b->used) {
        size_t room = need > BLOCK_BYTES ? need : BLOCK_BYTES;
        b = calloc(1, sizeof *b + room);
        if (b == NULL)
            return NULL;
        b->size = room;
        b->next = a->blocks;
        a->blocks = b;
    }
    void *p = (uint8_t *)b->data + b->used;
    b->used += need;
    a->total += need;
    return p;
}

char *arena_strdup(struct arena *a, const char *s) {
    return arena_strndup(a, s, strlen(s));
}

char *arena_strndup(struct arena *a, const char *s, size_t n) {
    n = strnlen(s, n);
    char *p = n == SIZE_MAX ? NULL : arena_alloc(a, n + 1);
    if (p != NULL)
        memcpy(p, s, n);
    return p;
}

void *arena_memdup(struct arena *a, const void *p, size_t n) {
    void *copy = arena_alloc(a, n);
    if (copy != NULL && n > 0)
        memcpy(copy, p, n);
    return copy;
}

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *p = n < 0 ? NULL : arena_alloc(a, (size_t)n + 1);
    if (p == NULL)
        return NULL;
    va_start(ap, fmt);
    (void)vsnprintf(p, (size_t)n + 1, fmt, ap);
    va_end(ap);
    return p;
}
