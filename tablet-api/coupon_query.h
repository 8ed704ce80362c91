/* POST /v1/coupons:check: asks the inside about a coupon while the asker waits. */
#ifndef TABLET_API_COUPON_QUERY_H
#define TABLET_API_COUPON_QUERY_H

struct http_request;

void coupon_check(struct http_request *rq);

#endif
