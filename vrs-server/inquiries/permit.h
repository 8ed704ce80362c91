/* 情報提供許可証 (C85): the permit that an inquiry needs at the other side.  Issued when the asker's
 * OPEN is committed, for exactly one request: asker, provider, business, the items that the
 * allow-list permits, and the request itself.  Used once, by the provider's step, which computes all
 * of that for itself; then, and after its time, it is gone.
 *
 * In memory only: a wrongly addressed inquiry must leave nothing at the other side (C81), and what a
 * crash cuts off is asked again by a person.  The request is held as an HMAC under a key of the
 * permit's own, wiped with it.  Any thread. */
#ifndef VRS_SERVER_INQUIRIES_PERMIT_H
#define VRS_SERVER_INQUIRIES_PERMIT_H

#include <stddef.h>
#include <stdint.h>

#include "lib/err.h"

enum { PERMIT_ID_BYTES = 16, PERMIT_LIFE_MS = 120000, PERMITS_MAX = 20000 };

struct permit_terms { /* borrowed */
    const char *asker, *provider, *business;
    const char *items;   /* as view_items_for gives them */
    const void *request; /* what is asked: number, basis … */
    size_t len;
};

struct permits;
struct permits *permits_open(void);
void permits_close(struct permits **p);
/* ERR_BUSY: too many are out. */
VRS_CHECK enum vrs_err permit_issue(struct permits *p, const struct permit_terms *t, int64_t now_ms,
                                    uint8_t id[PERMIT_ID_BYTES]);
/* ERR_PERMIT unless it is there, in its time, and all terms are the same.  It is gone afterwards,
 * whether it fitted or not. */
VRS_CHECK enum vrs_err permit_use(struct permits *p, const uint8_t id[PERMIT_ID_BYTES],
                                  const struct permit_terms *t, int64_t now_ms);
size_t permits_out(struct permits *p);

#endif
