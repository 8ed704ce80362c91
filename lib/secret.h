/* Types for what must not leak: they wipe themselves, and nothing prints them. */
#ifndef VRS_LIB_SECRET_H
#define VRS_LIB_SECRET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

/* A 256-bit key.  A struct, so that it cannot be mixed up with other bytes. */
struct secret_key {
    uint8_t bytes[32];
};

void secret_wipe(void *p, size_t n);                       /* not optimised away */
bool secret_equal(const void *a, const void *b, size_t n); /* constant time */

/* Locked, dump-excluded memory for long-lived keys (mlock + MADV_DONTDUMP; when the lock limit is
 * reached the memory is still dump-excluded and one warning is logged). */
void *secret_alloc(size_t n);
void secret_free(void *p, size_t n); /* wipes; NULL is fine */

/* Installs wiping allocators for jansson and OpenSSL, and seeds jansson's hash.  Call first in
 * main, before any other library call. */
void secret_install_allocators(void);

#endif
