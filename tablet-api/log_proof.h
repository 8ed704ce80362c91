/* Proofs of receipts on their way to the terminal: checked against the signer's pinned keys before
 * they are passed on, and those keys for whoever asks.  Loop thread.
 *
 * What can be checked here is that the receipt's commitment is a leaf of the signed tree; that the
 * commitment is that of the statement only the terminal can tell, which knows the dose. */
#ifndef TABLET_API_LOG_PROOF_H
#define TABLET_API_LOG_PROOF_H

#include "ocr-ingest/proof.h"
#include "tablet-api/inbox_db.h"

struct http_request;
struct tablet;

enum { LOG_HEADS_KEPT = 64 };

/* Heads whose signature was good: all receipts of one commit share one. */
struct log_heads {
    struct log_signed_head good[LOG_HEADS_KEPT];
    size_t next;
};

/* Appends ,"proof":{…} when the receipt has a proof that holds.  One of a key that is not published
 * here yet is left out for now; one that does not hold is an event. */
void log_proof_write(struct tablet *t, const struct inbox_found *f, struct buffer *out);

/* GET /v1/log/keys (public) */
void log_keys_get(struct http_request *rq);

#endif
