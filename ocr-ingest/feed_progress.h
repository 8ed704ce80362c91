/* Where a run stands, for a person: one line that is redrawn on a terminal, otherwise a line every
 * few seconds. */
#ifndef OCR_INGEST_FEED_PROGRESS_H
#define OCR_INGEST_FEED_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "ocr-ingest/feed_journal.h"

struct feed_counts {
    uint64_t read;    /* readings from the input */
    uint64_t earlier; /* settled by earlier runs */
    uint64_t invalid; /* never sent */
    uint64_t state[FEED_STATES];
};

struct feed_progress {
    struct feed_counts counts;
    uint64_t total;      /* estimate, 0: unknown */
    const char *waiting; /* what it waits for, NULL: it works; borrowed */
    bool tty;
    bool drawn; /* the cursor stands behind a line */
    int64_t every_ms;
    int64_t started_ms; /* monotonic */
    int64_t shown_ms;
};

void feed_progress_begin(struct feed_progress *p, uint64_t total, int64_t every_s);
/* Draws when it is time to; cheap otherwise. */
void feed_progress_tick(struct feed_progress *p);
/* Ends the line on a terminal, so that something else can be written. */
void feed_progress_clear(struct feed_progress *p);
/* Readings that are recorded, or were already. */
uint64_t feed_counts_done(const struct feed_counts *c);
/* Readings that a person has to look at. */
uint64_t feed_counts_attention(const struct feed_counts *c);
/* Readings whose end is not known yet. */
uint64_t feed_counts_open(const struct feed_counts *c);
/* "12,345/60,000行 (20.5%)  登録 …  毎秒 … 行  残り約 …": at most cap-1 bytes. */
void feed_progress_text(const struct feed_progress *p, int64_t now_ms, char *out, size_t cap);

#endif
