/* What lives as long as one request lives in that request's arena: freed, and wiped, at once.
 * An arena belongs to one thread at a time. */
#ifndef VRS_LIB_ARENA_H
#define VRS_LIB_ARENA_H

#include <stddef.h>

struct arena;

/* NULL when out of memory.  `max_bytes` bounds the sum of all allocations. */
struct arena *arena_open(size_t max_bytes);
void arena_close(struct arena **a); /* wipes, frees, sets *a to NULL; NULL is fine */

/* Zeroed memory aligned for any type, NULL when the bound or the memory is exhausted. */
void *arena_alloc(struct arena *a, size_t size);
char *arena_strdup(struct arena *a, const char *s);
char *arena_strndup(struct arena *a, const char *s, size_t n);
void *arena_memdup(struct arena *a, const void *p, size_t n);
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
