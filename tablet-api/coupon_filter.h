/* GET /v1/coupon-filter/{digits}: the shard of the site's own municipality that covers ticket numbers
 * with these two last digits, made and signed inside (docs/decisions/0013-coupon-filter.md).  It
 * passes through: nothing of it is kept here, and it is the tablet that checks it. */
#ifndef TABLET_API_COUPON_FILTER_H
#define TABLET_API_COUPON_FILTER_H

struct http_request;

void coupon_filter_get(struct http_request *rq);

#endif
