/* The filter of a municipality's issued ticket numbers (docs/decisions/0013-coupon-filter.md): filled
 * from its partition in slices, so that doses pass between them; then it never changes.
 *
 *   filter_make ─► slice ─► … ─► slice ─► done(filter): shards ─► filter_shard: signed when first asked
 *
 * A filter knows every coupon that was issued when its first slice began (made_ms).  One that comes
 * later may be missing; one that goes may stay.  Making, holding and releasing: loop thread; filter_shard:
 * on the municipality's worker. */
#ifndef VRS_SERVER_TERMINALS_FILTER_BUILD_H
#define VRS_SERVER_TERMINALS_FILTER_BUILD_H

#include "lib/buffer.h"
#include "vrs-server/server.h"
#include "vrs-server/signer/signer.h"

enum {
    FILTER_DIGITS = 2, /* a shard is named by at most so many last digits */
    FILTER_SHARD_COUPONS =
        32768, /* a town with more a shard has more shards, if there can be more */
    FILTER_SHARD_MAX_BYTES = 1 << 20 /* of its bits: the answer fits into a post of the line */
};

struct coupon_filter;

/* `f`: one reference for the callee, NULL with the reason why there is none. */
typedef void filter_made_fn(struct coupon_filter *f, enum vrs_err e, void *arg);
VRS_CHECK enum vrs_err filter_make(struct server *s, const char *municipality, filter_made_fn *done,
                                   void *arg);
void filter_hold(struct coupon_filter *f);
void filter_release(struct coupon_filter **f); /* *f may be NULL */

int64_t filter_made_ms(const struct coupon_filter *f);
int64_t filter_ends_ms(const struct coupon_filter *f);
uint64_t filter_changes(const struct coupon_filter *f); /* coupon_changes when it began */
size_t filter_bytes(const struct coupon_filter *f);

/* Appends the shard that covers these FILTER_DIGITS last digits as JSON, signed.
 * ERR_SIGNER_AWAY; ERR_TOO_LARGE: more coupons than any town has. */
VRS_CHECK enum vrs_err filter_shard(struct coupon_filter *f, const char *digits,
                                    struct signer_client *signer, struct buffer *out);
/* The signed text, as the tablet puts it together anew; `shard` "" for all. */
void filter_text(const char *municipality, const char *shard, const char *made_at,
                 const char *ends_at, const char *key_hex, size_t bytes, const char *sha256_hex,
                 struct buffer *out);

#endif
