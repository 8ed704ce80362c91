/* POST /v1/coupons:check and :pre-shot: asks the inside about a coupon while the asker waits.
 *
 *   valid, own municipality      → DOCTOR: its status; unknown: candidates, if any; ok, but the dose
 *                                  that is meant would be too early: the first day that is not
 *   valid, another municipality  → COUPON: known or not, nothing else
 *   not valid                    → DOCTOR of the own municipality: candidates, if any; else what the
 *                                  form alone suggests, as invalid
 *
 * Candidates are issued coupons, and a day tells of the dose before: each costs a place in the
 * terminal's daily quota, and is only ever shown to a person. */
#ifndef TABLET_API_COUPON_QUERY_H
#define TABLET_API_COUPON_QUERY_H

struct http_request;

void coupon_check(struct http_request *rq);
void coupon_pre_shot(struct http_request *rq);

#endif
