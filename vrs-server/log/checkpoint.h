/* Signed heads in two places that their signer cannot rewrite: every checkpoint_s seconds those that
 * changed go into the municipality's own partition (TABLE_CHECKPOINT) and over the line to
 * tablet-api (tablet-api/checkpoints.h), which keeps them under another uid and host and shows them
 * to everybody. */
#ifndef VRS_SERVER_LOG_CHECKPOINT_H
#define VRS_SERVER_LOG_CHECKPOINT_H

#include "lib/client.h"
#include "ocr-ingest/proof.h"
#include "partitions/partition.h"

struct checkpoints;
struct http_request;
struct server;

/* Before the pool: its workers note heads from their first commit on. */
VRS_CHECK enum vrs_err checkpoints_open(struct server *s, struct checkpoints **out);
/* Loop thread; the line's client is borrowed. */
VRS_CHECK enum vrs_err checkpoints_start(struct checkpoints *c, struct client *line);
void checkpoints_stop(struct checkpoints *c); /* before the client closes */
void checkpoints_close(struct checkpoints **c);
/* The newest key that the snapshot tells the outside; a head by another one makes a new snapshot.
 * Any thread. */
void checkpoints_key_told(struct checkpoints *c, const char *key_id);
/* The head was signed; any thread. */
void checkpoint_note(struct checkpoints *c, const struct log_signed_head *h);

/* In the partition's transaction: keeps a head; one of a size that is there already is VRS_OK.  Of
 * rows older than a week the last of each hour stays. */
VRS_CHECK enum vrs_err checkpoint_put(struct partition *p, const struct log_signed_head *h);
typedef enum vrs_err checkpoint_fn(const struct log_signed_head *h, void *arg);
/* Those of more entries than `after_size`, at most `limit`. */
VRS_CHECK enum vrs_err checkpoint_list(struct partition *p, uint64_t after_size, uint64_t limit,
                                       checkpoint_fn *fn, void *arg);

/* GET /v1/access-log/checkpoints */
void checkpoints_list(struct http_request *rq);

#endif
