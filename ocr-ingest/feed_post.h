/* Sending readings to tablet-api until each is settled: one batch at a time, again with the same
 * keys after every answer that does not say what became of them. */
#ifndef OCR_INGEST_FEED_POST_H
#define OCR_INGEST_FEED_POST_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

#include "lib/json.h"
#include "ocr-ingest/feed_journal.h"
#include "ocr-ingest/feed_options.h"
#include "ocr-ingest/feed_progress.h"

struct feed_post;

struct feed_item {
    uint64_t row;
    char key[FEED_KEY_SIZE];
    char *body; /* one NDJSON line with its newline; owned by whoever made the item */
    size_t len;
    bool settled;
};

/* What became of one; called on the way, as soon as it is known. */
typedef enum vrs_err feed_settled_fn(uint64_t row, enum feed_state state, const char *code,
                                     const char *receipt, const json_t *answer, void *arg);

struct feed_post_options {
    const struct feed_options *o;
    struct feed_progress *progress;
    const volatile sig_atomic_t *stop;
    feed_settled_fn *settled;
    void *arg;
};

VRS_CHECK enum vrs_err feed_post_open(const struct feed_post_options *po, struct feed_post **out,
                                      struct vrs_fault *fault);
void feed_post_close(struct feed_post **p);
/* VRS_OK: all settled.  ERR_TIMEOUT: given up, or stopped; anything else: it makes no sense to go
 * on (refused log-in, revoked terminal …).  What is not settled is unknown. */
VRS_CHECK enum vrs_err feed_post_batch(struct feed_post *p, struct feed_item *item, size_t count,
                                       struct vrs_fault *fault);
/* Asks what became of a receipt; `settled` is called when there is an answer. */
VRS_CHECK enum vrs_err feed_post_ask(struct feed_post *p, uint64_t row, const char *receipt,
                                     struct vrs_fault *fault);
/* Lets `ms` pass, drawing progress; false when stopped. */
bool feed_post_pause(struct feed_post *p, int64_t ms);

#endif
