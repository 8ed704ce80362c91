/* The same 18 digits twice within seconds from one terminal: the old national app showed the
 * previous reading as the new one, so this is a question to a person, not a dose.
 *
 * Kept in memory only, as keyed hashes in a bounded table: after a restart, or when the table
 * forgets, a repeated reading is a `duplicate` for the inside as ever.  Loop thread. */
#ifndef TABLET_API_AGAIN_H
#define TABLET_API_AGAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/crypto.h"

struct again;

/* window_ms 0: nothing is ever asked.  NULL: out of memory. */
struct again *again_open(size_t readings, int64_t window_ms);
void again_close(struct again **a);
/* True: ask, and nothing is remembered.  False: take it; it is the one that the next is compared
 * with.  The same key again is a repeated request, never a question. */
bool again_asks(struct again *a, const char *terminal, const char *ocr_line,
                const uint8_t key_hash[CRYPTO_HASH_BYTES], bool confirmed);
/* It could not be stored: the next one is the first. */
void again_forget(struct again *a, const char *terminal, const char *ocr_line,
                  const uint8_t key_hash[CRYPTO_HASH_BYTES]);

#endif
