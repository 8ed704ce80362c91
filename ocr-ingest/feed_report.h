/* What needs a person after a run: a CSV that opens in a spreadsheet, one line a reading, in the
 * order of the input.  It may hold coupon numbers (candidates), so it is 0600. */
#ifndef OCR_INGEST_FEED_REPORT_H
#define OCR_INGEST_FEED_REPORT_H

#include "ocr-ingest/feed_journal.h"
#include "ocr-ingest/feed_source.h"

struct feed_report;

/* `data_dir`: rules.json there holds the texts of warnings; without it their codes stand alone. */
struct feed_report *feed_report_open(const char *data_dir); /* NULL: out of memory */
void feed_report_close(struct feed_report **r);
/* A reading that is not sent.  Rows must grow. */
VRS_CHECK enum vrs_err feed_report_invalid(struct feed_report *r,
                                           const struct feed_reading *reading);
/* Writes the file (new, then moved into place), with the journal's readings that need a person
 * (NULL: none). *lines: how many.  `seen`: 1 for rows that the input had, up to seen_rows; NULL
 * when the input was not read to its end. */
VRS_CHECK enum vrs_err feed_report_write(const struct feed_report *r, const struct feed_journal *j,
                                         const unsigned char *seen, uint64_t seen_rows,
                                         const char *path, uint64_t *lines,
                                         struct vrs_fault *fault);

#endif
