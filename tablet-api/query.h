/* Questions to the inside that somebody waits for: about a coupon, an enrolment, a renewal.  Handed
 * over with the next pull, answered over the line, or not in time.  In memory only; what is asked is
 * sealed to the inside before it is kept, and gone with the answer.  Loop thread. */
#ifndef TABLET_API_QUERY_H
#define TABLET_API_QUERY_H

#include "lib/crypto.h"
#include "tablet-api/line.h"

struct queries;
struct http_request;
struct tablet;

VRS_CHECK enum vrs_err queries_open(struct tablet *t, struct queries **out);
/* All that wait get no answer. */
void queries_close(struct queries **q);
VRS_CHECK enum vrs_err queries_seal_to(struct queries *q, const uint8_t key[CRYPTO_X25519_BYTES]);
bool queries_waiting(const struct queries *q); /* some were not handed over yet */
/* Appends them to a LINE_PULLED; each is handed over once. */
void queries_collect(struct queries *q, struct buffer *out);
/* An answer that comes too late finds nobody. */
void queries_answer(struct queries *q, const struct line_answer *a);

/* Must answer rq.  `a` NULL: the inside did not answer in time. */
typedef void query_done_fn(struct http_request *rq, const struct line_answer *a);
struct query_ask {
    enum line_query_kind kind;
    const char *municipality; /* six digits */
    const char *from;         /* as in struct line_query */
    const void *plain;        /* sealed, not kept */
    size_t len;
    query_done_fn *done;
};
/* VRS_OK: `done` will be called.  ERR_BUSY: too many wait; ERR_INSIDE_AWAY: no key yet. */
VRS_CHECK enum vrs_err queries_ask(struct queries *q, struct http_request *rq,
                                   const struct query_ask *ask);

#endif
