/* The second place: signed heads of every municipality's log, kept where their signer cannot
 * rewrite them (another uid, in production another host), and open to everybody.
 *
 * STATE/checkpoints/<municipality>: one head a line (proof_head_json, filled up with spaces to
 * CHECKPOINT_LINE_BYTES), only appended to, oldest first; durable before the inside is told.  A head
 * that contradicts what stands there — smaller, another root at the same size, an epoch that was
 * left behind — is refused and is the event "log.fork", which raises an alert inside.
 *
 * Kept at least seven years; of those older than a week the last of each hour stays (thinned out
 * when a file is first touched after a start, and when it has grown).  A thread of its own owns the
 * files. */
#ifndef TABLET_API_CHECKPOINTS_H
#define TABLET_API_CHECKPOINTS_H

#include "ocr-ingest/proof.h"

struct checkpoints;
struct event_base;
struct http_request;
struct tablet;

enum { CHECKPOINT_LINE_BYTES = 384, CHECKPOINT_PAGE = 200 };

/* `dir` is made (0700); before the sandbox or after.  `base` NULL: no thread (tests). */
VRS_CHECK enum vrs_err checkpoints_open(struct event_base *base, const char *dir,
                                        struct checkpoints **out, struct vrs_fault *fault);
void checkpoints_close(struct checkpoints **c);
struct worker;
struct worker *checkpoints_worker(struct checkpoints *c); /* the thread */

/* The parts below the thread, for its tests: on the caller's thread. */
enum checkpoint_found { CHECKPOINT_KEPT, CHECKPOINT_THERE, CHECKPOINT_FORK };
VRS_CHECK enum vrs_err checkpoints_keep(struct checkpoints *c, const struct log_signed_head *h,
                                        enum checkpoint_found *out);
VRS_CHECK enum vrs_err checkpoints_sync(struct checkpoints *c);
/* {"checkpoints": […], "next": RFC 3339 or absent}: at most CHECKPOINT_PAGE of those signed after
 * since_ms, oldest first; since_ms < 0: the newest ones. */
VRS_CHECK enum vrs_err checkpoints_read(struct checkpoints *c, const char *municipality,
                                        int64_t since_ms, struct buffer *out);

/* checkpoints_http.c: POST /line/v1/checkpoints */
void line_checkpoints(struct http_request *rq);
/* GET /v1/log/checkpoints/{municipality}?since= (public) */
void checkpoints_get(struct http_request *rq);

#endif
