/* The input of a run: OCR lines, one coupon a line, a CSV (layout "doses": header line, columns
 * by name), or lines in fixed width (feed_fixed.h).  Every reading is checked as far as can be seen here; what is not valid is handed on
 * with the reason, so that it is reported and never sent. */
#ifndef OCR_INGEST_FEED_SOURCE_H
#define OCR_INGEST_FEED_SOURCE_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "ocr-ingest/feed_options.h"
#include "ocr-ingest/repair.h"
#include "ocr-ingest/vaccine.h"

/* Borrowed for the call. */
struct feed_reading {
    uint64_t row;       /* line, or the row a spreadsheet shows */
    enum vrs_err err;   /* VRS_OK: may be sent */
    const char *column; /* that the error is about, "" for the whole row */
    const char *note;   /* Japanese, instead of the error's own text; NULL: none */
    struct repair_candidate candidate[REPAIR_MAX_CANDIDATES];
    size_t candidates;
    /* filled when err is VRS_OK */
    char line[19];
    bool given;
    char vaccinated_on[11];
    const char *product; /* "" for a visit without a shot */
    const char *lot;
    const char *site;
    const char *physician;
    const char *read_by;
};

struct feed_sink {
    enum vrs_err (*reading)(const struct feed_reading *r, void *arg);
    enum vrs_err (*idle)(void *arg); /* the input pauses */
    void *arg;
};

/* Rows in a regular file, roughly (line ends); 0 when it cannot be known. */
uint64_t feed_source_estimate(const struct feed_options *o);
/* Reads to the end, or until *stop is set (then ERR_TIMEOUT), or until the sink fails.  The fault
 * names a mistake in the file as a whole (header, encoding); the sink's errors come back as they
 * are, with the fault untouched. */
VRS_CHECK enum vrs_err feed_source_run(const struct feed_options *o,
                                       const struct municipality_list *municipalities,
                                       const struct vaccine_list *vaccines,
                                       const struct feed_sink *sink,
                                       const volatile sig_atomic_t *stop, struct vrs_fault *fault);

#endif
