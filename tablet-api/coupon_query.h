/* POST /v1/coupons:check: asks the inside about a coupon while the asker waits.  In memory only;
 * the 18 digits are sealed before they are kept, and gone with the answer.  Loop thread. */
#ifndef TABLET_API_COUPON_QUERY_H
#define TABLET_API_COUPON_QUERY_H

#include "lib/crypto.h"
#include "tablet-api/line.h"

struct coupon_queries;
struct http_request;
struct tablet;

VRS_CHECK enum vrs_err coupon_queries_open(struct tablet *t, struct coupon_queries **out);
/* Answers all that wait as inside_away. */
void coupon_queries_close(struct coupon_queries **q);
VRS_CHECK enum vrs_err coupon_queries_seal_to(struct coupon_queries *q,
                                              const uint8_t key[CRYPTO_X25519_BYTES]);
bool coupon_queries_waiting(const struct coupon_queries *q); /* some were not handed over yet */
/* Appends them to a LINE_PULLED; each is handed over once. */
void coupon_queries_collect(struct coupon_queries *q, struct buffer *out);
/* An answer that comes too late finds nobody. */
void coupon_queries_answer(struct coupon_queries *q, uint64_t id, enum line_coupon_status status);

void coupon_check(struct http_request *rq);

#endif
